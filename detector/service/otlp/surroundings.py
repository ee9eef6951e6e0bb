"""Whether the broker answers, and whether the topics are there that are written to and read.

None is made here: workers make the former, a collector the latter.
"""

import asyncio
import time
from collections.abc import Iterable
from math import inf

from aiokafka.errors import KafkaError

from detector.service import topics_admin
from detector.service.logs import logger
from detector.service.reach import Reach
from detector.service.settings import Settings
from topics.names import Topics

_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0)
_LOOK_S = 2.0
_LOOK_AGAIN_S = 5.0
_AWAY_AFTER_S = 15.0
_SAY_EVERY_S = 60.0
_ADVICE = (
    "a start of `detector run` makes those that are written to; the collector's exporter those that are "
    "read, or you, where brokers make none by themselves"
)


class CannotStartError(RuntimeError):
    """The process cannot do its work, and trying again cannot help; the message says why."""


class Surroundings:
    """Looks at them: at the start until what is written to is there, then now and then."""

    def __init__(self, settings: Settings, declared: Topics, inputs: Iterable[str]) -> None:
        """Nothing is contacted yet."""
        self._settings = settings
        self._wanted = [
            topic.name for topic in (declared.telemetry, declared.evaluations, declared.deadletter)
        ]
        self._inputs = list(inputs)
        self._deadletter = declared.deadletter.name
        self._gone: list[str] = []
        self._unread: list[str] = []
        self._reached_s = self._said_s = -inf
        self._log = logger(part="otlp")

    @property
    def away(self) -> bool:
        """Whether the broker has not answered for a while."""
        return time.monotonic() - self._reached_s > _AWAY_AFTER_S

    def missing(self) -> list[str]:
        """What `/readyz` says is missing."""
        return ["broker"] if self.away else [f"topic {name}" for name in self._gone]

    def unread(self) -> list[str]:
        """What is to be read and is not there, which keeps nobody from reading the rest."""
        return [f"topic {name}" for name in self._unread]

    async def wait(self) -> int:
        """Wait for the broker and the topics that are written to, however long it takes.

        Returns:
            What a dead letter may take, in bytes.

        Raises:
            CannotStartError: the broker refuses us.
        """
        attempt, reach = 0, Reach(self._settings)
        options = self._settings.client_options()
        while True:
            try:
                if (reason := await topics_admin.refusal(options)) is not None:
                    raise CannotStartError(reason)
                await self._look()
            except (KafkaError, OSError) as error:
                if topics_admin.is_fatal(error):
                    raise CannotStartError(f"the broker refuses: {error!r}") from None
                wait_s = _BACK_OFF_S[min(attempt, len(_BACK_OFF_S) - 1)]
                attempt += 1
                advice = await reach.news(error)
                self._log.warning(
                    "broker_unreachable",
                    bootstrap=self._settings.bootstrap,
                    error=repr(error),
                    retry_in_s=wait_s,
                    **({"advice": advice} if advice else {}),
                )
                await asyncio.sleep(wait_s)
            else:
                await asyncio.sleep(_LOOK_S)
                if not self._gone:
                    return await topics_admin.record_bytes(options, self._deadletter)

    async def watch(self) -> None:
        """Look again and again; who reads and who sends say in the log when the broker is away."""
        while True:
            await asyncio.sleep(_LOOK_AGAIN_S)
            try:
                await self._look()
            except (KafkaError, OSError):
                continue

    async def _look(self) -> None:
        present = await topics_admin.topic_names(self._settings.client_options())
        self._reached_s = now = time.monotonic()
        self._gone = [name for name in self._wanted if name not in present]
        self._unread = [name for name in self._inputs if name not in present]
        missing = self._gone + self._unread
        if missing and now - self._said_s >= _SAY_EVERY_S:
            self._said_s = now
            self._log.warning("topics_missing", topics=missing, advice=_ADVICE)
