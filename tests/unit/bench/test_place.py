"""A bench's worker is told everything that sets it apart from a real one on the same brokers."""

from pathlib import Path

import pytest

from detector.bench.place import environment, prepare
from detector.service.settings import Settings


@pytest.mark.parametrize("source", ["environment", "file"])
def test_a_bench_does_not_join_the_group_of_a_real_worker(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its topics are its own; a member that reads others would have the whole group rebalance."""
    file = tmp_path / "settings.toml"
    file.write_text('group = "real"\n', "utf-8")
    if source == "environment":
        monkeypatch.setenv("DETECTOR_GROUP", "real")
    with prepare(Settings(bootstrap="x:1", group="real"), given=True, partitions=1, say=print) as place:
        worker = Settings.from_sources(
            {"topic_prefix": place.settings.topic_prefix}, environment(place), file.read_text("utf-8")
        )

    assert worker.group_id == place.settings.group_id == f"{place.settings.topic_prefix}detector"
