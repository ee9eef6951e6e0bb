"""What a worker says of itself: readiness and metrics."""

import contextlib
import time
from typing import Any

from aiokafka.errors import KafkaError

from detector.service.ownership import Phase
from detector.service.partition import INPUTS
from detector.service.shell import Shell
from detector.service.survey import together
from detector.service.topics_admin import topic_names

_READY_WITHIN_S = 10.0
_MADE_AGAIN = "gone; a restart of a worker makes it again"
HINTS = {
    "assignment": "the group has given no partition: are there more workers than partitions, or is Read on "
    "the group, and Describe on its topics, not allowed?",
    "broker": "`detector state` with the same settings says why no broker answers",
}


def readiness(shell: Shell) -> dict[str, Any]:
    """Whether all is assigned, claimed, caught up and the broker in reach; with what is missing."""
    since = time.monotonic() - shell.feed.reached_s
    partitions = {
        str(partition): {
            "claimed": shell.desk.phase(partition) is Phase.OWNING,
            "caught_up": not worker.catching_up,
            "epoch": shell.desk.epoch(partition),
        }
        for partition, worker in sorted(shell.workers.items())
    }
    away = since > _READY_WITHIN_S
    stuck = [name for name, box in shell.outboxes.items() if box.stuck_s > _READY_WITHIN_S]
    # What waits for a topic that is gone says nothing of the broker.
    missing = [f"topic {name}: {_MADE_AGAIN}" for name in shell.gone] if away or stuck else []
    if not missing:
        missing = [*(["broker"] if away else []), *(f"outbox {name}" for name in stuck)]
    if shell.generation < 0:
        missing.append("assignment")
    missing += [f"partition {number}: claim" for number, state in partitions.items() if not state["claimed"]]
    missing += [
        f"partition {number}: catch up" for number, state in partitions.items() if not state["caught_up"]
    ]
    now, lease_s = time.time(), shell.desk.lease_s
    missing += [
        f"partition {number}: heartbeat"  # gateways go back to the primary, whatever is published
        for number, state in partitions.items()
        if state["claimed"] and now - shell.desk.beat_at(int(number)) > lease_s
    ]
    return {
        "ready": not missing,
        "missing": missing,
        "partitions": partitions,
        "owner": shell.desk.owner_id,
    }


async def look_for_topics(shell: Shell) -> None:
    """Find out which of a worker's topics are gone, where something waits for the broker."""
    missing = readiness(shell)["missing"]
    waits = any(what.startswith(("broker", "outbox", "topic")) for what in missing)
    gone: list[str] = []
    if waits:
        with contextlib.suppress(KafkaError, OSError):
            present = await topic_names(shell.settings.client_options())
            ours = (topic.name for topic in shell.declared.all() if topic is not shell.declared.acks)
            gone = [name for name in ours if name not in present]
    shell.gone = gone


def render_metrics(shell: Shell) -> bytes:
    """Bring gauges and tallies up to date and render all."""
    metrics, active = shell.metrics, shell.desk.active()
    metrics.foresee(shell.contract.modes.values())
    for by_predicate in (metrics.armed, metrics.predicate_routes):
        by_predicate.clear()  # a reload may have dropped some
    for number, worker in shell.workers.items():
        label = str(number)
        metrics.owned.labels(label).set(shell.desk.phase(number) is Phase.OWNING)
        metrics.caught_up.labels(label).set(not worker.catching_up)
        metrics.epoch.labels(label).set(shell.desk.epoch(number))
        metrics.beat.labels(label).set(shell.desk.beat_at(number))
        metrics.kept_back.labels(label).set(worker.cover.kept_back)
        if worker.cover.restored:  # a count that fell meanwhile would be taken for one that began again
            counts = worker.cover.counts()
            metrics.judged.set(label, counts["judged"])
            metrics.late.set(label, counts["late"])
            metrics.clamped.set(label, counts["clamped"])
            metrics.verdicts.set(label, counts["verdicts"])
            metrics.verdicts_skipped.set(label, counts["verdicts_skipped"])
            metrics.verdicts_unjoined.set(label, counts["verdicts_unjoined"])
            metrics.evicted.set(label, counts["evicted"])
            metrics.overdue.set(label, counts["overdue"])
        metrics.active.labels(label).set(active.get(number, 0))
        for name, share in worker.pipeline.armed().items():
            metrics.armed.labels(label, name).set(share)
        for name in INPUTS:
            end, _ = shell.seen(name, number)
            if end is not None:
                metrics.lag.labels(label, shell.topic_of[name]).set(
                    max(0, end - worker.position.get(name, 0))
                )
    for name, outbox in shell.outboxes.items():
        metrics.outbox.labels(name).set(outbox.under_way)
        metrics.refused.set(name, outbox.refused)
    for topic, count in shell.desk.unread.counts.items():
        metrics.unreadable.set(topic, count)
    for predicate in shell.contract.predicates:
        held = [worker.cover.survey.found.get(predicate) for worker in shell.workers.values()]
        for outcome, routes in together(standing for standing in held if standing).routes.items():
            metrics.predicate_routes.labels(predicate, outcome).set(routes)
    if shell.feed.reached_s > 0:
        metrics.broker.set(time.time() - (time.monotonic() - shell.feed.reached_s))
    return metrics.render()
