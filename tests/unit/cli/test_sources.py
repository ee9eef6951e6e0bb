"""Flags, environment and file: every verb takes its brokers from the first that names some."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from detector.cli.main import build
from detector.cli.on_broker import on_broker

if TYPE_CHECKING:
    from detector.bench.place import Place

EXAMPLE = Path(__file__).parents[2] / "data" / "contracts" / "example.yaml"
NOBODY = "127.0.0.1:1"  # what is refused at once


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in ("BOOTSTRAP", "SETTINGS", "CONTRACT", "EMBEDDED"):
        monkeypatch.delenv(f"DETECTOR_{name}", raising=False)


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    """A file that names a broker."""
    file = tmp_path / "settings.toml"
    file.write_text(f'bootstrap = "{NOBODY}"\n', "utf-8")
    return file


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_a_bench_uses_the_broker_that_any_source_names(
    source: str, settings_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is started beside it, and the user's own figures are not those of another broker."""

    async def where(place: "Place") -> str:
        return place.settings.bootstrap

    if source == "environment":
        monkeypatch.setenv("DETECTOR_BOOTSTRAP", NOBODY)
    found = on_broker(
        where,
        bootstrap=NOBODY if source == "flag" else None,
        settings_file=settings_file if source == "file" else None,
        partitions=1,
    )

    assert found == NOBODY


ORDER = ("--reason", "x")


@pytest.mark.parametrize(
    "args",
    [
        ("run", "--contract", str(EXAMPLE), "--embedded"),
        ("otlp",),
        ("drill", "--contract", str(EXAMPLE)),
        ("bench", "throughput"),
        ("bench", "latency"),
        ("state",),
        ("tail",),
        ("accept", "chat", *ORDER),
        ("force", "chat", "on", "--for", "10m", *ORDER),
        ("unforce", "chat"),
        ("label", "chat", "true", "--incidents", "incidents.csv"),
    ],
    ids=lambda args: " ".join(args[:2]),
)
def test_every_verb_with_settings_takes_their_file_from_the_environment(
    args: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator's shell points to one installation, whatever the verb."""
    missing = tmp_path / "missing.toml"
    monkeypatch.setenv("DETECTOR_SETTINGS", str(missing))
    result = CliRunner().invoke(build(), args)

    assert result.exit_code == 2
    assert str(missing) in result.stderr


def test_a_mistyped_variable_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, and the command goes on; a file that is no TOML is named."""
    monkeypatch.setenv("DETECTOR_BOOSTRAP", NOBODY)
    file = tmp_path / "settings.toml"
    file.write_text("bootstrap = kafka:9092\n", "utf-8")
    went_on = CliRunner().invoke(build(), ["unforce", "chat", "--bootstrap", NOBODY])
    refused = CliRunner().invoke(build(), ["state", "--settings", str(file)])

    assert went_on.exit_code == 1
    assert went_on.stderr.count("DETECTOR_BOOSTRAP is no setting; is DETECTOR_BOOTSTRAP meant?") == 1
    assert refused.exit_code == 2
    assert f"settings file {file}: " in refused.stderr
    assert "bootstrap: text has to be in quotes" in refused.stderr


def test_a_drill_takes_the_contract_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that `run` judges by."""
    missing = tmp_path / "missing.yaml"
    monkeypatch.setenv("DETECTOR_CONTRACT", str(missing))
    result = CliRunner().invoke(build(), ["drill"])

    assert result.exit_code == 2
    assert str(missing) in result.stderr


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"BOOTSTRAP": "a:b:c"}, "bootstrap: expected HOST:PORT"),
        ({"BOOTSTRAP": "127.0.0.1:99999"}, "bootstrap: expected a port in 1..65535"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CAFILE": "no-such.pem"}, "ssl_cafile"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_setting_that_no_client_could_use_is_wrong_use(
    environ: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told by name before anything is contacted, not as a client's own surprise."""
    for name, value in environ.items():
        monkeypatch.setenv(f"DETECTOR_{name}", value)
    result = CliRunner().invoke(build(), ["state"])

    assert result.exit_code == 2
    assert says in result.stderr
