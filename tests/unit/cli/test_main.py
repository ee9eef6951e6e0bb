"""The command line's promises: exit codes, where output goes, help that starts fast."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from detector import __version__

ROOT_ARGS = [sys.executable, "-m", "detector"]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ROOT_ARGS, *args], capture_output=True, text=True, timeout=60, check=False)


def test_version_is_printed_on_stdout():
    """`--version` prints name and version and ends well."""
    result = run("--version")

    assert (result.returncode, result.stdout) == (0, f"detector {__version__}\n")


@pytest.mark.parametrize("args", [(), ("no-such-verb",), ("schema",), ("schema", "--no-such-option")])
def test_wrong_use_exits_with_2_and_explains_on_stderr(args):
    """No verb, an unknown verb, a missing argument and an unknown option are all wrong use."""
    result = run(*args)

    assert result.returncode == 2
    assert "Usage: detector" in result.stdout + result.stderr


def verbs_of(*above):
    """Every verb that does something, with the groups above it."""
    text = run(*above, "--help").stdout
    for line in text.partition("Commands:")[2].splitlines():
        if line[2:3].strip():
            verb = (*above, line.split()[0])
            below = list(verbs_of(*verb))
            yield from below or [verb]


def test_every_verb_has_help_with_an_example():
    """The help of each verb shows how to call it."""
    verbs = list(verbs_of())

    assert ("schema",) in verbs
    for verb in verbs:
        help_text = run(*verb, "--help")
        assert help_text.returncode == 0
        assert f"  detector {' '.join(verb)}" in help_text.stdout, verb


def test_help_imports_neither_faust_nor_numpy():
    """A verb imports what it needs when it runs, so that help does not wait for it."""
    program = (
        "import sys; from detector.cli.main import build; build()\n"
        "print([name for name in ('faust', 'numpy', 'pyarrow', 'aiokafka', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert result.stdout == "[]\n"


def test_bare_install_names_the_extra_and_exits_with_2():
    """Without typer the command says what to install, on stderr, and nothing else."""
    program = "import sys\nsys.modules['typer'] = None\nfrom detector.cli.main import main\nmain()\n"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert result.returncode == 2
    assert "pip install 'llm-fallback-detector[service]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("variable", ["", "DETECTOR_CONTRACT"])
def test_run_asks_where_the_brokers_are(variable, monkeypatch):
    """It does not try an address that nobody gave; the contract may come from the environment."""
    example = Path(__file__).parents[2] / "data" / "contracts" / "example.yaml"
    monkeypatch.delenv("DETECTOR_BOOTSTRAP", raising=False)
    if variable:
        monkeypatch.setenv(variable, str(example))
    result = run("run", *([] if variable else ["--contract", str(example)]))

    assert result.returncode == 2
    assert "--bootstrap HOST:PORT, or --embedded" in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "--bootstrap HOST:PORT"),
        (("--bootstrap", "127.0.0.1:1", "--spans", "x", "--logs", "x"), "expected two topics"),
        (("--bootstrap", "127.0.0.1:1", "--spans", "", "--logs", ""), "are both empty"),
        (("--bootstrap", "127.0.0.1:1", "--encoding", "jaeger_proto"), "jaeger_proto"),
    ],
)
def test_otlp_says_what_it_cannot_do_without(args, says, monkeypatch):
    """Brokers, a topic for each signal, and an encoding that it reads."""
    monkeypatch.delenv("DETECTOR_BOOTSTRAP", raising=False)
    result = run("otlp", *args)

    assert result.returncode == 2
    assert says in result.stderr


def test_a_session_that_outlives_the_lease_does_not_start():
    """`run` refuses settings with which one worker's death would let every lease lapse, and says which."""
    example = Path(__file__).parents[2] / "data" / "contracts" / "example.yaml"
    with subprocess.Popen(
        [*ROOT_ARGS, "run", "--contract", str(example), "--bootstrap", "127.0.0.1:1", "--http-port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DETECTOR_SESSION_TIMEOUT_S": "60"},
    ) as process:
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()

    assert process.returncode == 2
    assert "session_timeout_s" in errors
    assert "lease_s is 15" in errors


@pytest.mark.parametrize(
    ("host", "code", "says"),
    [
        ("0.0.0.256", 2, "http_host: expected a host name or an IP address, got '0.0.0.256'"),
        ("192.0.2.1", 1, "cannot listen on 192.0.2.1:8080"),
    ],
    ids=["no address", "another machine's"],
)
def test_an_address_that_cannot_be_listened_on_is_told_in_a_line(host, code, says):
    """What can never be one is wrong use; another machine's is a start that fails with the reason."""
    example = Path(__file__).parents[2] / "data" / "contracts" / "example.yaml"
    result = run("run", "--contract", str(example), "--bootstrap", "127.0.0.1:1", "--http-host", host)

    assert result.returncode == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr
