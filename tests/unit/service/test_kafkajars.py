"""What this machine lacks for a Kafka from its jars is said, not guessed at later."""

from pathlib import Path

import pytest

from detector.service import kafkajars


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the only folder on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def _program(folder: Path, name: str, line: str = "exit 0") -> None:
    (folder / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def _java(folder: Path, version: str) -> None:
    _program(folder, "java", f"echo 'openjdk version \"{version}\" 2024-01-01' >&2")


def test_no_java_is_named(programs: Path) -> None:
    """Without Java the reason says so, whatever else is there."""
    _program(programs, "mvn")

    assert kafkajars.missing() == "java is not on the path"


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.20"])
def test_an_old_java_is_refused(programs: Path, version: str) -> None:
    """A Java older than the broker's class files is refused with both versions; 1.8 reads as 8."""
    _java(programs, version)
    _program(programs, "mvn")

    said = kafkajars.missing() or ""

    assert str(kafkajars.MIN_JAVA) in said
    assert f"version {8 if version.startswith('1.') else 11}," in said


def test_maven_is_needed_only_until_the_jars_are_cached(programs: Path) -> None:
    """Maven is asked for while the cache is empty, and no longer."""
    _java(programs, "17.0.15")
    before = kafkajars.missing() or ""
    kafkajars.cache_dir().mkdir(parents=True)

    assert "mvn" in before
    assert kafkajars.missing() is None
    assert kafkajars.fetch() == kafkajars.cache_dir()


def test_a_failed_download_leaves_no_cache(programs: Path) -> None:
    """When Maven fails, its words are in the error and the next try starts from nothing."""
    _java(programs, "21")
    _program(programs, "mvn", "echo no route to the repository; exit 1")

    with pytest.raises(kafkajars.LocalKafkaUnavailableError, match="no route to the repository"):
        kafkajars.fetch()

    assert not kafkajars.cache_dir().exists()
