"""What a worker says of itself, told from a shell that stands still."""

import time
from types import SimpleNamespace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from detector.service.health import render_metrics
from detector.service.metrics import Metrics
from detector.service.ownership import Phase

COUNTS = {"judged": 90, "late": 3, "clamped": 4, "verdicts": 5, "verdicts_skipped": 2, "evicted": 1}


def worker(**armed: float) -> Any:
    return SimpleNamespace(
        cover=SimpleNamespace(counts=lambda: COUNTS),
        pipeline=SimpleNamespace(armed=lambda: armed),
        catching_up=False,
        position={"telemetry": 7, "evaluations": 0},
    )


def shell(workers: dict[int, Any], *, generation: int = 1) -> Any:
    box = SimpleNamespace(under_way=0)
    return SimpleNamespace(
        metrics=Metrics(),
        workers=workers,
        generation=generation,
        topic_of={"telemetry": "t", "evaluations": "e"},
        seen=lambda name, number: (10, None),
        feed=SimpleNamespace(reached_s=time.monotonic()),
        control=box,
        bulk=box,
        snapshots=box,
        desk=SimpleNamespace(
            owner_id="w", active=dict, phase=lambda number: Phase.OWNING, epoch=lambda number: 9
        ),
    )


def series(rendered: bytes) -> dict[tuple[str, ...], float]:
    """Value by name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(rendered.decode())
        for sample in family.samples
    }


def test_every_count_of_the_pipeline_is_exported() -> None:
    """What was judged in another way than it asked for can be seen from outside."""
    found = series(render_metrics(shell({3: worker()})))

    assert found["detector_judged_records", "3"] == 90
    assert found["detector_late_records", "3"] == 3
    assert found["detector_clamped_records", "3"] == 4
