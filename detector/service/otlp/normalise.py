"""Makes telemetry records and evaluations of batches, and sends them; waits for nothing.

What cannot be used goes to the dead letters, and its neighbours go on.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, structs

from detector.service.logs import logger
from detector.service.otlp import logs, spans
from detector.service.otlp.attributes import LeftOut
from detector.service.otlp.counts import Counts
from detector.service.otlp.decode import Encoding, decode_logs, decode_spans
from detector.service.otlp.join import Join
from detector.service.otlp.letters import letter_of_log, letter_of_span
from detector.service.otlp.logs import EVENT, Call, Verdict, evaluation_of, verdict_of
from detector.service.otlp.model import RESPONSE_ID, Log, Span
from detector.service.otlp.progress import Place, Taken
from detector.service.otlp.spans import is_call, record_of
from detector.service.outbox import Outbox
from detector.service.refused import Refused
from topics.errors import DecodeError
from topics.names import Topics
from topics.telemetry import TelemetryRecord

SPANS, LOGS = "spans", "logs"
# A call that ended longer ago says nothing of its primary now: a fault that is over must not move its route.
MAX_AGE_S = 300.0
_TELL_EVERY_S = 10.0
SENT = "sent"  # spans whose records a process before this one has sent


class Received(Struct, frozen=True):
    """A message as it was read; `signal` is `SPANS`, `LOGS` or `SENT`."""

    signal: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any = ()


@dataclass(slots=True, eq=False)
class _Held:
    """A verdict whose call is not known yet, and where it came from."""

    verdict: Verdict
    log: Log
    raw: Received
    taken: Taken


def new_join() -> "Join[_Held]":
    """A memory of calls and of verdicts that wait for one, empty."""
    return Join()


class Normaliser:
    """Between what is read and what is sent; one for all partitions, since verdicts and calls meet here."""

    def __init__(
        self,
        outbox: Outbox,
        refused: Refused,
        *,
        declared: Topics,
        encoding: Encoding,
        counts: Counts,
        join: "Join[_Held]",
        max_age_s: float = MAX_AGE_S,
    ) -> None:
        self.join = join
        self._max_age_s = max_age_s
        self._told_at_s = -_TELL_EVERY_S
        self._outbox, self._refused = outbox, refused
        self._telemetry, self._evaluations = declared.telemetry.name, declared.evaluations.name
        self._encoding, self._counts = encoding, counts

    def take(self, raw: Received, taken: Taken, *, clock_s: float, now: float) -> None:
        """Send what a message holds.

        Args:
            raw: the message.
            taken: told of what has to be acknowledged before its offset is committed.
            clock_s: of the clock that `expire` is given.
            now: Unix seconds.
        """
        self._counts.message(raw.topic)
        try:
            if raw.signal == SPANS:
                self._spans(raw, taken, decode_spans(raw.value, self._encoding), now)
            else:
                self._logs(raw, taken, decode_logs(raw.value, self._encoding), clock_s, now)
        except DecodeError as error:
            self._dead(raw, taken, error, now)
        except Exception as error:
            # An error of ours; read again, the message would stop its partition for ever.
            logger(part="otlp").error("batch_failed", topic=raw.topic, offset=raw.offset, exc_info=error)
            self._dead(
                raw, taken, DecodeError("$", f"expected to be understood: {type(error).__name__}"), now
            )

    def recall(self, raw: Received, *, now: float) -> None:
        """Remember the calls of a message, and send nothing but the verdicts that wait for them.

        Args:
            raw: all that was made of it is acknowledged.
            now: Unix seconds.
        """
        with contextlib.suppress(DecodeError):
            for span in decode_spans(raw.value, self._encoding):
                if not is_call(span.attributes):
                    continue
                with contextlib.suppress(DecodeError):
                    if (record := record_of(span)) is not None:
                        self._remember(span, record, now)

    def forget(self, places: Collection[Place]) -> None:
        """These partitions are read by somebody else, or again: so are the verdicts of theirs that wait."""
        if places:
            self.join.drop(lambda held: (held.raw.topic, held.raw.partition) in places)

    def expire(self, *, clock_s: float, now: float) -> None:
        """Give up verdicts that have waited too long for their calls; arguments as of `take`."""
        for held in self.join.expire(clock_s):
            self._unjoined(held, now)

    def _spans(self, raw: Received, taken: Taken, found: list[Span], now: float) -> None:
        outcomes: Counter[spans.Outcome] = Counter()
        left_out: LeftOut = []
        send, topic = self._outbox.send, self._telemetry
        for span in found:
            if not is_call(span.attributes):
                outcomes[spans.Outcome.OTHER] += 1
                continue
            if self.join.knows(span.ids):
                # An exporter tried again, or the batch is read again: its record may still be under way.
                outcomes[spans.Outcome.REPEATED] += 1
                taken.number = self._outbox.last
                continue
            try:
                record = record_of(span, left_out)
                if record is None:
                    outcomes[spans.Outcome.CALLERS_FAULT] += 1
                    continue
                value = spans.value_of(record)
            except DecodeError as error:
                outcomes[spans.Outcome.MALFORMED] += 1
                self._dead(raw, taken, error, now, letter_of_span(span))
                continue
            if record.event_time < now - self._max_age_s:
                outcomes[spans.Outcome.TOO_OLD] += 1
            else:
                outcomes[spans.Outcome.PUBLISHED] += 1
                taken.number = send(topic, record.route.encode(), value, [])
            self._remember(span, record, now)
        self._counts.spans(outcomes)
        if left_out:
            self._counts.left_out(len(left_out))
            self._tell(left_out[0], raw, len(left_out))

    def _tell(self, first: DecodeError, raw: Received, fields: int) -> None:
        """Say now and then which attribute it is: the count does not."""
        if (at_s := time.monotonic()) - self._told_at_s >= _TELL_EVERY_S:
            self._told_at_s = at_s
            logger(part="otlp").warning(
                "fields_left_out",
                fields=fields,
                topic=raw.topic,
                offset=raw.offset,
                path=first.path,
                expected=first.expected,
            )

    def _remember(self, span: Span, record: TelemetryRecord, now: float) -> None:
        # Of routes and deployments there are few.
        route, deployment = sys.intern(record.route), sys.intern(record.deployment)
        answered = bool(span.attributes.get(RESPONSE_ID))
        call = Call(route, record.request_id, deployment, record.event_time, answered)
        for held in self.join.remember(span.ids, call):
            held.taken.held -= 1
            self._publish(held, call, now)

    def _logs(self, raw: Received, taken: Taken, found: list[Log], clock_s: float, now: float) -> None:
        for log in found:
            if log.event_name != EVENT:
                self._counts.evaluations({logs.Outcome.OTHER: 1})
                continue
            try:
                verdict = verdict_of(log)
            except DecodeError as error:
                self._counts.evaluations({logs.Outcome.MALFORMED: 1})
                self._dead(raw, taken, error, now, letter_of_log(log))
                continue
            if verdict is None:
                self._counts.evaluations({logs.Outcome.NO_VERDICT: 1})
                continue
            # Without the batch, which may be a megabyte and have texts in it.
            held = _Held(verdict, log, structs.replace(raw, value=None), taken)
            if (call := self.join.find(verdict.ids, verdict.response_id)) is not None:
                self._publish(held, call, now)
                continue
            taken.held += 1
            for given_up in self.join.wait(verdict.ids, verdict.response_id, held, clock_s):
                self._unjoined(given_up, now)

    def _publish(self, held: _Held, call: Call, now: float) -> None:
        try:
            value = logs.value_of(evaluation_of(held.verdict, call))
        except DecodeError as error:
            self._counts.evaluations({logs.Outcome.MALFORMED: 1})
            self._dead(held.raw, held.taken, error, now, letter_of_log(held.log))
            return
        self._counts.evaluations({logs.Outcome.PUBLISHED: 1})
        held.taken.number = self._outbox.send(self._evaluations, call.route.encode(), value, [])

    def _unjoined(self, held: _Held, now: float) -> None:
        held.taken.held -= 1
        self._counts.evaluations({logs.Outcome.UNJOINED: 1})
        error = DecodeError("$.spanId", "expected a call that was seen lately, or comes within the wait")
        self._dead(held.raw, held.taken, error, now, letter_of_log(held.log), stage="join")

    def _dead(
        self,
        raw: Received,
        taken: Taken,
        error: DecodeError,
        now: float,
        letter: bytes | None = None,
        *,
        stage: str = "decode",
    ) -> None:
        """Send a whole message, or `letter` in its place, to the dead letters."""
        self._counts.dead_letter(raw.topic)
        if letter is not None:
            raw = structs.replace(raw, value=letter)
        self._refused.dead_letter(raw.partition, raw.signal, raw, error, now, stage=stage)
        taken.number = self._outbox.last
