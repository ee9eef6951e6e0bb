"""Which offsets may be committed: those of messages all of whose records are acknowledged. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

Place = tuple[str, int]  # topic, partition


@dataclass(slots=True, eq=False)
class Taken:
    """A message that was read.

    Attributes:
        offset: its own.
        number: of the last message that was made of it, as the outbox counts them; 0 where there is none.
        held: how many of its verdicts wait for their calls.
    """

    offset: int
    number: int = 0
    held: int = 0


class Progress:
    """What was read of each partition and is not covered yet, in the order in which it was read."""

    def __init__(self) -> None:
        self._taken: dict[Place, deque[Taken]] = {}

    def take(self, place: Place, offset: int) -> Taken:
        """A message was read; what becomes of it is written into what this returns."""
        taken = Taken(offset)
        self._taken.setdefault(place, deque()).append(taken)
        return taken

    def covered(self, acked: int) -> dict[Place, int]:
        """Offsets to commit where there is news; `acked`: up to which number messages are acknowledged."""
        news = {}
        for place, messages in self._taken.items():
            while messages and not messages[0].held and messages[0].number <= acked:
                news[place] = messages.popleft().offset + 1
        return news

    def drop(self, places: Iterable[Place]) -> None:
        """These partitions are read by somebody else, or again."""
        for place in places:
            self._taken.pop(place, None)
