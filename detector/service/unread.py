"""What the control and override topics hold that is no record of theirs: counted, and told of in the log."""

from math import inf

from detector.service.controlfeed import Read
from detector.service.logs import logger
from topics.errors import DecodeError

_MOST_TOLD = 20  # in each span of so many seconds; a flood would bury all else
_SPAN_S = 10.0
_LONGEST_KEY = 200


class Unread:
    """Each message counts once, and is told of once, however often its topic is read again.

    Attributes:
        counts: by topic.
    """

    def __init__(self, *topics: str) -> None:
        self.counts = dict.fromkeys(topics, 0)
        self._through: dict[str, int] = {}
        self._span_began = -inf
        self._told = self._untold = 0
        self._log = logger(part="control_feed")

    def met(self, read: Read, error: DecodeError, now: float) -> None:
        """A message that could not be read, in the order of its log. `now`: Unix seconds."""
        if read.offset <= self._through.get(read.topic, -1):
            return
        self._through[read.topic] = read.offset
        self.counts[read.topic] += 1
        if not 0 <= now - self._span_began < _SPAN_S:
            self._span_began, self._told = now, 0
        if self._told >= _MOST_TOLD:
            self._untold += 1
            return
        untold = {"untold_before": self._untold} if self._untold else {}
        self._told, self._untold = self._told + 1, 0
        self._log.warning(
            "unreadable_message",
            topic=read.topic,
            offset=read.offset,
            key=(read.key or b"").decode("utf-8", "backslashreplace")[:_LONGEST_KEY],
            path=error.path,
            expected=error.expected,
            **untold,
        )

    def begin_anew(self) -> None:
        """A topic was made anew: its offsets begin again."""
        self._through.clear()
