"""Where reading begins after an assignment."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from detector.contract.model import Contract
from detector.service.logs import logger
from detector.service.marks import Snapshots
from detector.service.metrics import Metrics
from detector.service.snapshots import SnapshotReader

_BEYOND_WINDOWS_S = 3600.0


class PartitionsAddedError(RuntimeError):
    """The telemetry has grown; the topics that have as many partitions are to be seen to first."""


class Starts:
    """Puts what snapshots cover and what the broker still has together."""

    def __init__(
        self,
        consumer: Any,
        input_of: Mapping[str, str],
        contract: Contract,
        metrics: Metrics,
        *,
        partitions: int,
        embedded: bool,
    ) -> None:
        """Args: `consumer`: the transport's; `input_of`: topic to input name; `partitions`: at the start."""
        self._partitions = partitions
        self._call = consumer.in_thread
        self._input_of = input_of
        self._metrics = metrics
        self._embedded = embedded
        self._reference_s = _BEYOND_WINDOWS_S + max(
            (spec.window_s for spec in contract.predicates.values()), default=0.0
        )
        self._log = logger(part="starts")

    async def ends_of(self, partition: int) -> dict[str, int] | None:
        """End offset of each input of a partition now; None, after a moment, if the broker does not tell."""
        tps = frozenset(TP(topic, partition) for topic in self._input_of)
        try:
            ends = await self._call("ends", tps)
        except (KafkaError, OSError):
            await asyncio.sleep(0.2)
            return None
        return {self._input_of[tp.topic]: offset for tp, offset in ends.items()}

    async def look(
        self, reader: SnapshotReader, inputs: frozenset[TP]
    ) -> tuple[dict[int, Snapshots], dict[TP, int], dict[TP, int]]:
        """What the snapshots hold, where to begin and what ends there are, however long it takes to be told.

        Raises:
            PartitionsAddedError: an input has more partitions than when the topics were looked at.
        """
        if any(tp.partition >= self._partitions for tp in inputs):
            raise PartitionsAddedError(f"more partitions than the {self._partitions} at the start")
        while True:
            try:
                found = await reader.read({tp.partition for tp in inputs})
                return found, *await self.find(inputs, found)
            except (KafkaError, OSError) as error:
                self._log.warning("restore_waits", error=repr(error))
                await asyncio.sleep(0.5)

    async def find(
        self, inputs: frozenset[TP], found: Mapping[int, Snapshots]
    ) -> tuple[dict[TP, int], dict[TP, int]]:
        """Where to begin and what ends there are now, per partition of both inputs.

        State that covers more than a topic holds is of a topic that is no more: it is thrown away.

        Raises:
            KafkaError: the broker cannot be reached.
        """
        ends: dict[TP, int] = await self._call("ends", inputs)
        begins: dict[TP, int] = await self._call("begins", inputs)
        self._discard(inputs, found, ends)
        starts = {}
        new = set()
        for tp in inputs:
            covered = found[tp.partition].covered.get(self._input_of[tp.topic])
            if covered is None:
                new.add(tp)
            elif covered < begins[tp]:
                self._log.warning(
                    "records_gone", topic=tp.topic, partition=tp.partition, wanted=covered, first=begins[tp]
                )
                starts[tp] = begins[tp]
            else:
                starts[tp] = covered
        if new:
            starts |= await self._first(frozenset(new), begins, ends)
        return starts, ends

    def _discard(self, inputs: frozenset[TP], found: Mapping[int, Snapshots], ends: Mapping[TP, int]) -> None:
        for tp in inputs:
            name, end, snapshots = self._input_of[tp.topic], ends[tp], found[tp.partition]
            covered = snapshots.covered.get(name, 0)
            # A route may say so where the mark does not: the new topic's mark beside the old one's routes.
            # It would take every record below its offset for one that it has had.
            beyond = [key for key in snapshots.routes if snapshots.covers[key].get(name, 0) > end]
            if covered > end or beyond:
                self._log.error(
                    "state_discarded",
                    topic=tp.topic,
                    partition=tp.partition,
                    covered=covered,
                    routes=len(snapshots.routes) if covered > end else len(beyond),
                    end=end,
                    why="the state covers more than the topic holds: it was made anew",
                )
                self._metrics.discarded.inc()
            if covered > end:
                snapshots.drop(snapshots.routes)
                snapshots.covered, snapshots.mark = {}, None
            else:
                snapshots.drop(beyond)

    async def _first(
        self, new: frozenset[TP], begins: Mapping[TP, int], ends: Mapping[TP, int]
    ) -> dict[TP, int]:
        """Without state, as far back as the longest reference reaches: what it takes to have one again."""
        if self._embedded:  # it does not search by time, and holds nothing old
            return {tp: begins[tp] for tp in new}
        by_time = await self._call("at_time", new, time.time() - self._reference_s)
        return {tp: ends[tp] if (offset := by_time.get(tp)) is None else offset for tp in new}
