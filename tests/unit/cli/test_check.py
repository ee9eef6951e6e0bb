"""`detector check` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

CONTRACTS = Path(__file__).parents[2] / "data" / "contracts"


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detector", "check", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_good_file_is_exit_0_and_says_so() -> None:
    """No finding: one closing line."""
    done = run(CONTRACTS / "example.yaml")

    assert (done.returncode, done.stdout, done.stderr) == (0, "1 file checked, no finding\n", "")


def test_findings_are_exit_1_with_place_rule_and_advice() -> None:
    """One line `file:line:column rule message`, the advice indented below it, a count at the end."""
    bad = CONTRACTS / "bad" / "unknown-fallback.yaml"
    done = run(CONTRACTS / "example.yaml", bad)
    place = bad.read_text().split("\n", 1)[0].split()[-1]
    first, advice, count = done.stdout.splitlines()

    assert done.returncode == 1
    assert first.startswith(f"{bad}:{place} unknown-fallback ")
    assert advice.startswith("    ")
    assert count == "2 files checked, 1 finding in 1 of them"


def test_json_is_one_document() -> None:
    """Every finding with all its fields; `ok` only without any."""
    bad = CONTRACTS / "bad" / "unused-key.yaml"
    done = run("--json", bad)
    document = json.loads(done.stdout)
    (found,) = document["findings"]

    assert done.returncode == 1
    assert document["ok"] is False
    assert set(found) == {"file", "line", "column", "rule", "message", "advice", "severity"}
    assert (found["file"], found["rule"], found["severity"]) == (str(bad), "unused-key", "warning")
    assert json.loads(run("--json", CONTRACTS / "example.yaml").stdout) == {"findings": [], "ok": True}


def test_a_file_that_is_not_there_is_wrong_use() -> None:
    """Exit 2 and the reason on stderr; what the other files hold is told all the same."""
    for wrong in ("no-such-file.yaml", str(CONTRACTS)):
        done = run(wrong, CONTRACTS / "bad" / "unused-key.yaml")
        document = json.loads(run("--json", wrong, CONTRACTS / "example.yaml").stdout)

        assert done.returncode == 2
        assert " unused-key " in done.stdout
        assert done.stdout.endswith("1 file checked, 1 finding in 1 of them\n")
        assert wrong in done.stderr
        assert document == {"findings": [], "ok": False}


def test_where_no_file_could_be_read_nothing_is_said_to_be_without_finding() -> None:
    """Stdout is the result, and there is none."""
    done = run("no-such-file.yaml", str(CONTRACTS))

    assert (done.returncode, done.stdout) == (2, "")
    assert "no-such-file.yaml" in done.stderr


def test_no_file_is_wrong_use() -> None:
    """There is nothing to be well."""
    assert run().returncode == 2
