"""Which call a verdict is of: its span, or its response, among those seen lately.

Bounded in number and in time. Pure: time is an argument.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from detector.service.otlp.logs import Call

MOST_CALLS = 200_000
MOST_WAITING = 50_000
WAIT_S = 60.0

W = TypeVar("W")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[W]):
    number: int
    ids: bytes
    response_id: str
    what: W
    until: float


class Join(Generic[W]):
    """The calls that are remembered, and what waits for one (`W` is what the caller keeps of it)."""

    def __init__(
        self, *, most_calls: int = MOST_CALLS, most_waiting: int = MOST_WAITING, wait_s: float = WAIT_S
    ) -> None:
        self._most_calls, self._most_waiting, self._wait_s = most_calls, most_waiting, wait_s
        self._order: deque[tuple[bytes, Call]] = deque()
        self._by_ids: dict[bytes, Call] = {}
        self._by_response: dict[str, Call] = {}
        self._waiting: OrderedDict[int, _Waiting[W]] = OrderedDict()
        self._by_key: dict[bytes | str, list[_Waiting[W]]] = {}
        self._number = 0

    @property
    def calls(self) -> int:
        """How many calls are remembered."""
        return len(self._order)

    @property
    def waiting(self) -> int:
        """How many verdicts wait for their call."""
        return len(self._waiting)

    def knows(self, ids: bytes) -> bool:
        """Whether the call of this span is remembered."""
        return ids in self._by_ids

    def remember(self, ids: bytes, call: Call) -> list[W]:
        """Remember a call; returns what has waited for it, in the order in which it came.

        One that is known stays as it is: to have it twice would push another one out.
        """
        if self.knows(ids):
            return []
        if len(self._order) >= self._most_calls:
            self._forget_oldest()
        self._order.append((ids, call))
        self._by_ids[ids] = self._by_response[call.request_id] = call
        if not self._waiting:
            return []
        found = {each.number: each for key in (ids, call.request_id) for each in self._by_key.get(key, ())}
        joined = [each for each in found.values() if self.find(each.ids, each.response_id) is not None]
        for each in joined:
            self._end(each)
        return [each.what for each in sorted(joined, key=lambda each: each.number)]

    def find(self, ids: bytes, response_id: str) -> Call | None:
        """The call of a span, else that of a response; None where neither is remembered.

        A span whose response is another than the one that is named is not taken: a judge may be called in a
        span of its own, whose ids its verdict then has. One that does not say its response contradicts
        nothing.
        """
        call = self._by_ids.get(ids) if ids else None
        if call is not None and response_id in ("", call.request_id):
            return call
        named = self._by_response.get(response_id) if response_id else None
        return named if named is not None or call is None or call.answered else call

    def wait(self, ids: bytes, response_id: str, what: W, now: float) -> list[W]:
        """Have something wait for its call; returns what is given up for it, where too many wait.

        Args:
            ids, response_id: as for `find`, which did not find it; one of them at least.
            what: handed back once.
            now: seconds of the clock that `expire` is given, too.
        """
        self._number += 1
        each = _Waiting(self._number, ids, response_id, what, now + self._wait_s)
        for key in (ids, response_id):
            if key:
                self._by_key.setdefault(key, []).append(each)
        self._waiting[each.number] = each
        return [self._end(self._oldest())] if len(self._waiting) > self._most_waiting else []

    def expire(self, now: float) -> list[W]:
        """What has waited for too long, oldest first."""
        out = []
        while self._waiting and self._oldest().until <= now:
            out.append(self._end(self._oldest()))
        return out

    def drop(self, which: Callable[[W], bool]) -> None:
        """Let go of some that wait, without a word."""
        for each in [each for each in self._waiting.values() if which(each.what)]:
            self._end(each)

    def _oldest(self) -> _Waiting[W]:
        return next(iter(self._waiting.values()))

    def _end(self, each: _Waiting[W]) -> W:
        del self._waiting[each.number]
        for key in (each.ids, each.response_id):
            if key:
                self._by_key[key].remove(each)
                if not self._by_key[key]:
                    del self._by_key[key]
        return each.what

    def _forget_oldest(self) -> None:
        ids, call = self._order.popleft()
        if self._by_ids.get(ids) is call:
            del self._by_ids[ids]
        if self._by_response.get(call.request_id) is call:
            del self._by_response[call.request_id]
