"""Which incidents are large enough to be found, by what `detector calibrate` predicted beforehand."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter

from detector.contract.model import Contract
from detector.lab.calibrate.learn import Learnt
from detector.lab.incidents import Incident
from detector.windows.columns import value_of
from topics.telemetry import TelemetryRecord

_time = attrgetter("event_time")


class Reach:
    """The smallest share or divergence found with 99 % power within so many seconds, per predicate."""

    def __init__(self, contract: Contract, learnt: Sequence[Learnt]) -> None:
        self._contract = contract
        self._curves = {each.spec.name: each.curve for each in learnt}

    def covers(self, incident: Incident, size: float, records: Sequence[TelemetryRecord]) -> bool:
        """Whether an incident is above the smallest detectable within its own duration.

        `size` is the divergence of a drift, nats; the share of calls that another one strikes is counted in
        the `records` of its time, which are in the order of time.
        """
        return any(
            self._covers(name, incident, size, records)
            for name in self._contract.modes[incident.mode].predicates
        )

    def _covers(self, name: str, incident: Incident, size: float, records: Sequence[TelemetryRecord]) -> bool:
        lasts = incident.end - incident.start
        needed = [least for seconds, least in self._curves.get(name, ()) if least and seconds <= lasts]
        if not needed:
            return False
        struck = size if incident.mode.endswith("drift") else self._share(name, incident, records)
        return struck >= min(needed)

    def _share(self, name: str, incident: Incident, records: Sequence[TelemetryRecord]) -> float:
        spec = self._contract.predicates[name]
        read = value_of(spec.field)
        first = bisect_left(records, incident.start, key=_time)
        inside = records[first : bisect_right(records, incident.end, lo=first, key=_time)]
        if spec.field == "error":
            bad = [bool(each.error) for each in inside]
        elif spec.type == "exceedance":
            limit = (spec.above_ms or 0.0) / 1000.0
            bad = [value > limit for each in inside if (value := read(each)) is not None]
        else:
            bad = [bool(value) for each in inside if (value := read(each)) is not None]
        return sum(bad) / len(bad) if bad else 0.0
