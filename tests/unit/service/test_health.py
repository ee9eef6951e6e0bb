"""What a worker says of itself, told from a shell that stands still."""

import time
from types import SimpleNamespace
from typing import Any

import structlog
from prometheus_client.parser import text_string_to_metric_families

from detector.contract.model import Contract, Mode
from detector.service.complaints import Complaints
from detector.service.health import HINTS, readiness, render_metrics
from detector.service.metrics import Metrics
from detector.service.ownership import Phase
from detector.service.settings import Settings
from detector.service.shell import Shell
from detector.service.survey import Standing
from detector.service.topics_admin import Cluster

COUNTS = {
    "judged": 90,
    "late": 3,
    "clamped": 4,
    "verdicts": 5,
    "verdicts_skipped": 2,
    "verdicts_unjoined": 7,
    "evicted": 1,
    "overdue": 6,
}
FOUND = {"errors": Standing(routes={"armed": 4, "unusable": 2}, named={"unusable": ["a", "b"]})}


MODES = {
    "slow": Mode(name="slow", when="errors"),
    "early": Mode(name="early", when="errors", severity="notice"),
    "tried": Mode(name="tried", when="errors", shadow=True),
}


def worker(**armed: float) -> Any:
    return SimpleNamespace(
        cover=SimpleNamespace(
            counts=lambda: COUNTS, restored=True, kept_back=0, survey=SimpleNamespace(found=dict(FOUND))
        ),
        pipeline=SimpleNamespace(armed=lambda: armed),
        catching_up=False,
        position={"telemetry": 7, "evaluations": 0},
    )


def shell(workers: dict[int, Any], *, generation: int = 1) -> Any:
    box = SimpleNamespace(under_way=0, refused=0, stuck_s=0.0)
    return SimpleNamespace(
        metrics=Metrics(),
        workers=workers,
        generation=generation,
        gone=(),
        contract=SimpleNamespace(predicates=["errors", "silence"], modes=dict(MODES)),
        topic_of={"telemetry": "t", "evaluations": "e"},
        seen=lambda name, number: (10, None),
        feed=SimpleNamespace(reached_s=time.monotonic()),
        outboxes={"control": box, "bulk": box, "snapshots": box},
        desk=SimpleNamespace(
            owner_id="w",
            active=dict,
            phase=lambda number: Phase.OWNING,
            epoch=lambda number: 9,
            lease_s=15.0,
            beat_at=lambda number: time.time() - 20 * (number == 4),
            unread=SimpleNamespace(counts={"detector.overrides": 2}),
        ),
    )


def series(rendered: bytes) -> dict[tuple[str, ...], float]:
    """Value by name and label values, in the order of the labels' names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(rendered.decode())
        for sample in family.samples
    }


def test_every_count_of_the_pipeline_is_exported() -> None:
    """What was judged in another way than it asked for can be seen from outside."""
    found = series(render_metrics(shell({3: worker()})))

    assert found["detector_judged_records_total", "3"] == 90
    assert found["detector_late_records_total", "3"] == 3
    assert found["detector_clamped_records_total", "3"] == 4
    assert found["detector_judged_verdicts_total", "3"] == 5
    assert found["detector_skipped_verdicts_total", "3"] == 2
    assert found["detector_unjoined_verdicts_total", "3"] == 7
    assert found["detector_evicted_routes_total", "3"] == 1
    assert found["detector_revert_attempts_overdue_total", "3"] == 6


def test_what_only_grows_is_a_counter_and_is_named_like_one() -> None:
    """Prometheus' own lint objects to anything else, and tools choose `rate` by the type."""
    rendered = render_metrics(shell({3: worker()})).decode()
    kinds = dict(line.split()[2:] for line in rendered.splitlines() if line.startswith("# TYPE"))
    named = {name for name in kinds if name.endswith("_total")}

    assert named == {name for name, kind in kinds.items() if kind == "counter"}
    assert {"detector_judged_records_total", "detector_outbox_refused_messages_total"} <= named


def test_counts_do_not_fall_while_a_partition_is_restored() -> None:
    """A reload takes up one route after the other; what falls and rises counts as so many new ones."""
    known = shell({3: worker()})
    render_metrics(known)
    restoring = worker()
    restoring.cover.restored, restoring.cover.counts = False, lambda: dict.fromkeys(COUNTS, 0)
    known.workers[3] = restoring

    assert series(render_metrics(known))["detector_judged_records_total", "3"] == 90


def test_what_is_deaf_is_exported_over_all_partitions() -> None:
    """Routes per predicate and outcome add up over partitions; with the last one gone there are none."""
    known = shell({3: worker(), 4: worker()})
    found = series(render_metrics(known))
    known.workers.clear()
    left = series(render_metrics(known))

    assert found["detector_predicate_routes", "unusable", "errors"] == 4
    assert found["detector_predicate_routes", "armed", "errors"] == 8
    assert found["detector_predicate_routes", "learning", "silence"] == 0
    assert left["detector_predicate_routes", "unusable", "errors"] == 0


def test_a_predicate_that_is_gone_leaves_no_series() -> None:
    """After a reload without it."""
    known = shell({3: worker(errors=1.0)})
    assert ("detector_armed_share", "3", "errors") in series(render_metrics(known))
    known.contract.predicates.remove("errors")
    known.workers = {3: worker()}

    assert not [name for name in series(render_metrics(known)) if "errors" in name]


def test_decisions_are_counted_from_nothing_on() -> None:
    """No rate tells of an event that a series begins with."""
    found = series(render_metrics(shell({3: worker()})))

    counted = {key[1:] for key, count in found.items() if key[0] == "detector_decisions_total" and not count}
    assert ("act", "activated", "slow") in counted
    assert ("notice", "activated", "early") in counted
    assert ("shadow", "deactivated", "tried") in counted


def test_a_lease_that_has_run_out_is_not_ready() -> None:
    """Gateways have gone back to the primary then, though all is claimed and caught up."""
    assert readiness(shell({3: worker(), 4: worker()}))["missing"] == ["partition 4: heartbeat"]


def test_a_topic_that_is_gone_is_named_and_not_the_broker() -> None:
    """Only while something waits for it: one that is there again is no reason."""
    known = shell({3: worker()})
    known.gone = ["detector.control"]
    assert readiness(known)["ready"]

    known.feed.reached_s -= 20
    known.outboxes["control"].stuck_s = 20.0
    assert readiness(known)["missing"] == [
        "topic detector.control: gone; a restart of a worker makes it again"
    ]

    known.gone = []
    assert readiness(known)["missing"][0] == "broker"


def test_a_partition_that_is_gone_leaves_no_series() -> None:
    """A gauge that nobody sets any more would show its last value for ever; the others stay."""
    known = shell({3: worker(errors=1.0), 30: worker(errors=0.5)})
    before = series(render_metrics(known))

    del known.workers[3]
    known.metrics.forget(3)
    after = series(render_metrics(known))

    assert set(before) - set(after) == {key for key in before if key[1:2] == ("3",)}
    assert {key[0] for key in set(before) - set(after)} >= {
        "detector_partition_lag_records",
        "detector_armed_share",
        "detector_judged_records_total",
    }


class Group:
    """What a shell asks of the transport's consumer."""

    def __init__(self) -> None:
        self.app = SimpleNamespace(consumer_generation_id=4)

    async def force_commit(self) -> None:
        """Nothing to commit."""

    async def in_thread(self, name: str, *_: Any) -> None:
        """Nothing to ask."""


async def test_ready_needs_a_place_in_the_group_though_not_a_partition() -> None:
    """Given none in a completed rebalance: ready. Revoked, and not heard of since: not."""
    real = Shell(Settings(), Contract(), Cluster(8, 1_000_000), owner_id="w")
    real.attach(Group())
    real.feed.reached_s = time.monotonic()
    assert readiness(real)["missing"] == ["assignment"]

    real.joined([])
    assert readiness(real)["ready"]

    await real.revoked()
    assert readiness(real)["missing"] == ["assignment"]


def test_what_is_missing_is_said_every_half_minute_until_it_is_there() -> None:
    """Not at once: a start takes some seconds; and with a hint where nothing else tells of the cause."""
    complaints = Complaints(HINTS)
    with structlog.testing.capture_logs() as said:
        for second in range(0, 100, 5):
            complaints.look(["assignment"], float(second))
        complaints.look([], 100.0)
        for second in (105.0, 135.0):
            complaints.look(["broker", "outbox control"], second)

    assert [each["for_s"] for each in said] == [30, 60, 90, 30]
    assert {each["event"] for each in said} == {"not_ready"}
    assert "Read on the group" in said[0]["hint"]
    assert "detector state" in said[-1]["hint"]
