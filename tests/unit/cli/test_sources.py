"""Flags, environment and file: every verb takes its brokers from the first that names some."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detector.cli.on_broker import on_broker

if TYPE_CHECKING:
    from detector.bench.place import Place

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
