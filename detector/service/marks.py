"""A partition's mark: what its snapshots cover, beside the snapshots themselves.

Pure. One mark per partition lies on the snapshot topic under a key that cannot be a route (it is not
UTF-8). It carries the least offset that a restore has to read from, per input topic. Routes that nobody
called since their snapshot stand as they are: the mark says for them too how far they are covered.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

import msgspec

from detector.service.survey import Standing
from topics.codec import decoder

MARK_KEY = b"\xffmark"
EPOCH_HEADER = "detector.epoch"
COVERS_HEADER = "detector.covers"
MAX_SNAPSHOT_BYTES = 512 * 1024


class Mark(msgspec.Struct, kw_only=True):
    """What is written beside the snapshots of one partition.

    Attributes:
        partition, owner, epoch, issued_at: who wrote it, when (Unix s).
        since: end offset of the snapshot partition when this owner restored from it.
        covered: per input (`telemetry`, `evaluations`): least offset that a restore must read from.
        position: per input: next offset to be judged when it was written.
        complete: every judged record was covered then, so `counts` are exactly those of the snapshots.
        gone: what of `counts` evicted routes had counted, and how many of them there were.
        counts: judged, malformed and so on, since the partition's beginning.
        refused: per input, what of `counts` the pipeline does not keep, below `covered`.
        armed: per predicate, share of records judged while armed.
        predicates: per predicate, on how many routes it is armed, learning and so on.
        withheld: routes that the panic threshold keeps on their primary, at most 50.
        calibrated: when the calibration that is judged by was made, ISO 8601; empty: there is none.
        origins: per `topic/partition`, the greatest offset of re-keyed records seen below `covered`.
    """

    partition: int
    owner: str
    epoch: int
    issued_at: float
    since: int = 0
    covered: dict[str, int] = {}
    position: dict[str, int] = {}
    complete: bool = False
    counts: dict[str, int] = {}
    gone: dict[str, int] = {}
    refused: dict[str, dict[str, int]] = {}
    armed: dict[str, float] = {}
    predicates: dict[str, Standing] = {}
    withheld: list[str] = []
    calibrated: str = ""
    origins: dict[str, int] = {}


encode_mark = msgspec.json.Encoder().encode
decode_mark = decoder(Mark)


class Snapshots(msgspec.Struct, kw_only=True):
    """What one partition of the snapshot topic held at its end: the last value of every key.

    Attributes:
        mark: the mark with the greatest epoch, None where there is none.
        routes: route to snapshot, those that changed last behind the others.
        covers: route to what its snapshot covers, per input.
        dropped: routes whose snapshots do not count and are to be removed from the topic.
        covered: where to read on from; empty without a mark.
        end: end offset of the snapshot partition.
    """

    mark: Mark | None = None
    routes: dict[bytes, bytes] = {}
    covers: dict[bytes, dict[str, int]] = {}
    dropped: list[bytes] = []
    covered: dict[str, int] = {}
    end: int = 0

    def drop(self, keys: Iterable[bytes]) -> None:
        """Take routes out: their snapshots do not count."""
        for key in list(keys):
            del self.routes[key]
            self.dropped.append(key)


Message = tuple[int, bytes, bytes | None, Mapping[str, bytes]]


def collect(messages: Iterable[Message], end: int) -> Snapshots:
    """Put the messages (offset, key, value, headers) of one partition, in the order of the log, together.

    A worker that lost the partition without knowing may have written after its successor. Its mark loses
    by its epoch. Its snapshot has replaced the successor's under that route, so reading goes back to what
    it covers: the route then catches up by itself.
    """
    mark: Mark | None = None
    values: dict[bytes, Message] = {}
    for message in messages:
        _, key, value, _ = message
        if key == MARK_KEY:
            found = decode_mark(value)
            if mark is None or found.epoch >= mark.epoch:
                mark = found
        elif value is None:
            values.pop(key, None)
        else:
            values[key] = message
    covered = dict(mark.covered) if mark else {}
    covers = {key: read_covers(headers.get(COVERS_HEADER, b"")) for key, (_, _, _, headers) in values.items()}
    if mark is not None:
        for key, (offset, _, _, headers) in values.items():
            if offset >= mark.since and int(headers.get(EPOCH_HEADER, b"0")) < mark.epoch:
                for name, until in covers[key].items():
                    covered[name] = min(covered.get(name, until), until)
    routes = {
        key: value
        for key, (_, _, value, _) in sorted(values.items(), key=lambda item: sum(covers[item[0]].values()))
        if value is not None
    }
    return Snapshots(mark=mark, routes=routes, covers=covers, covered=covered, end=end)


def write_covers(position: Mapping[str, int]) -> bytes:
    """Encode what a snapshot covers for its header.

    >>> read_covers(write_covers({"telemetry": 7}))
    {'telemetry': 7}
    """
    return ",".join(f"{name}={offset}" for name, offset in position.items()).encode()


def read_covers(header: bytes) -> dict[str, int]:
    """Decode what `write_covers` wrote."""
    pairs = (item.partition("=") for item in header.decode().split(",") if item)
    return {name: int(offset) for name, _, offset in pairs}


class Covered:
    """What acknowledged snapshots cover, per input.

    A snapshot counts once it and all snapshots taken before it are acknowledged. With each one goes the
    least offset that no snapshot taken until then contains; once it is acknowledged, that is covered.
    """

    def __init__(self, covered: Mapping[str, int]) -> None:
        self.acked = dict(covered)
        self._taken: deque[tuple[int, dict[str, int]]] = deque()
        self._kept_back: dict[str, int] = {}

    def keep_back(self, route: str, taken: int) -> None:
        """The route's snapshot number `taken` is refused: no more is covered until a later one is not."""
        self._kept_back[route] = max(taken, self._kept_back.get(route, taken))

    def let_go(self, route: str, taken: int) -> None:
        """The route's snapshot number `taken` is acknowledged."""
        if self._kept_back.get(route, taken) < taken:
            del self._kept_back[route]

    @property
    def kept_back(self) -> int:
        """How many routes keep what is covered back."""
        return len(self._kept_back)

    def took(self, number: int, uncovered: Mapping[str, int]) -> None:
        """A snapshot was sent as message `number`; `uncovered`: what remains below the position then."""
        self._taken.append((number, dict(uncovered)))

    def acknowledge(self, number: int) -> None:
        """All messages up to this number are acknowledged."""
        while self._taken and self._taken[0][0] <= number:
            self.advance(self._taken.popleft()[1])

    def advance(self, uncovered: Mapping[str, int]) -> None:
        """Everything below these offsets is covered; nothing goes back."""
        if self._kept_back:
            return
        for name, offset in uncovered.items():
            self.acked[name] = max(self.acked.get(name, offset), offset)

    @property
    def waiting(self) -> bool:
        """Whether a snapshot is sent and not acknowledged."""
        return bool(self._taken)


class Origins:
    """Which re-keyed records have been seen, as it stood at any covered offset.

    A restart reads on from the covered offset and meets the records after it again; judged against what
    was seen later they would be dropped as repeats. So what is remembered is dated by the own offset.
    """

    def __init__(self, seen: Mapping[str, int]) -> None:
        self._covered = dict(seen)
        self._latest = dict(seen)
        self._since: deque[tuple[int, str, int]] = deque()

    def accept(self, origin: str, offset: int, at: int) -> bool:
        """Whether a record re-keyed from `origin` (topic/partition), `offset` there and `at` here, is new."""
        if offset <= self._latest.get(origin, -1):
            return False
        self._latest[origin] = offset
        self._since.append((at, origin, offset))
        return True

    def as_of(self, covered: int) -> dict[str, int]:
        """What had been seen below this own offset; it is not asked for lower ones afterwards."""
        while self._since and self._since[0][0] < covered:
            _, origin, offset = self._since.popleft()
            self._covered[origin] = offset
        return dict(self._covered)


class Counted:
    """Counts of records by name, as they stood at any covered offset: what is read again is counted again.

    Attributes:
        total: everything counted.
    """

    def __init__(self, counted: Mapping[str, int]) -> None:
        self.total = Counter(counted)
        self._covered = Counter(counted)
        self._since: deque[tuple[int, str]] = deque()

    def add(self, name: str, at: int) -> None:
        """Count the record at an own offset; offsets do not go back."""
        self.total[name] += 1
        self._since.append((at, name))

    def as_of(self, covered: int) -> dict[str, int]:
        """What had been counted below this own offset; it is not asked for lower ones afterwards."""
        while self._since and self._since[0][0] < covered:
            self._covered[self._since.popleft()[1]] += 1
        return dict(self._covered)
