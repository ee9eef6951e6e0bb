"""What is sent of a batch, what is given up, and when its offset may be committed."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.message import Message

from detector.service.otlp import normalise as module
from detector.service.otlp.counts import Counts
from detector.service.otlp.decode import decode_logs, decode_spans
from detector.service.otlp.join import Join
from detector.service.otlp.normalise import LOGS, SENT, SPANS, Normaliser, Received
from detector.service.otlp.progress import Taken
from detector.service.refused import Refused
from tests.builders import T0
from tests.otlp_builders import CHAT, as_json, batch_of_logs, log, span, traces, verdict
from topics.names import topics
from topics.telemetry import decode_evaluation, decode_telemetry

TELEMETRY, EVALUATIONS, DEAD = "llm.telemetry", "llm.evaluations", "detector.deadletter"


@dataclass
class Box:
    """An outbox that keeps what it is given."""

    sent: list[tuple[str, bytes | None, bytes | None, dict[str, bytes]]] = field(default_factory=list)

    @property
    def last(self) -> int:
        return len(self.sent)

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any, **_: Any) -> int:
        self.sent.append((topic, key, value, dict(headers)))
        return len(self.sent)

    def to(self, topic: str) -> list[Any]:
        return [message[1:] for message in self.sent if message[0] == topic]


class Bench:
    """A normaliser and what it is given and sends."""

    def __init__(self, encoding: Any = "otlp_proto", **join: Any) -> None:
        self.box, self.counts, self.encoding = Box(), Counts(), encoding
        refused = Refused(
            self.box,  # type: ignore[arg-type]
            deadletter=DEAD,
            inputs={SPANS: "otlp_spans", LOGS: "otlp_logs"},
            max_bytes=10_000,
        )
        self.normaliser = Normaliser(
            self.box,  # type: ignore[arg-type]
            refused,
            declared=topics(),
            encoding=encoding,
            counts=self.counts,
            join=Join(**join),
            max_age_s=300.0,
        )

    def take(
        self, signal: str, batch: Message | bytes | None, *, offset: int = 0, clock_s: float = 0.0
    ) -> Taken:
        value = batch
        if isinstance(batch, Message):
            value = batch.SerializeToString() if self.encoding == "otlp_proto" else as_json(batch)
        raw = Received(signal, f"otlp_{signal}", 2, offset, b"k", value, (("h", b"v"),))  # type: ignore[arg-type]
        taken = Taken(offset)
        self.normaliser.take(raw, taken, clock_s=clock_s, now=T0 + 1.0)
        return taken

    def counted(self, name: str) -> dict[str, float]:
        """Outcomes that were counted at all."""
        (family,) = (each for each in self.counts.registry.collect() if each.name == name)
        return {
            sample.labels["outcome"]: sample.value
            for sample in family.samples
            if sample.name.endswith("_total") and sample.value
        }


@pytest.mark.parametrize("encoding", ["otlp_proto", "otlp_json"])
def test_each_call_is_sent_under_its_route(encoding: str) -> None:
    """In order; the batch is covered with the last of them."""
    bench = Bench(encoding)
    other = CHAT | {"gen_ai.request.model": "embed"}
    taken = bench.take(SPANS, traces(span(at=1), span({"http.route": "/"}), span(other, at=2)))

    sent = [(key, decode_telemetry(value)) for key, value, _ in bench.box.to(TELEMETRY)]
    assert [(key, record.route, record.event_time) for key, record in sent] == [
        (b"chat", "chat", T0 + 1),
        (b"embed", "embed", T0 + 2),
    ]
    assert (taken.number, taken.held) == (2, 0)
    assert bench.counted("detector_otlp_spans") == {"published": 2, "other": 1}


def test_a_batch_that_is_none_is_a_dead_letter_as_it_came() -> None:
    """With its key, bytes and headers, and where it lay."""
    bench = Bench()
    taken = bench.take(SPANS, b"\xffgarbage", offset=17)

    ((key, value, headers),) = bench.box.to(DEAD)
    assert (key, value, headers["h"]) == (b"k", b"\xffgarbage", b"v")
    errors = {name.removeprefix("detector.errors."): text for name, text in headers.items() if name != "h"}
    assert errors.keys() == set("exception message path topic partition offset stage timestamp".split())
    assert (errors["topic"], errors["partition"], errors["offset"], errors["stage"]) == (
        b"otlp_spans",
        b"2",
        b"17",
        b"decode",
    )
    assert taken.number == 1


def test_a_message_without_a_value_stops_nothing() -> None:
    """A tombstone is no batch; the client sends no message that is empty altogether."""
    bench = Bench()
    bench.take(SPANS, None)

    assert [(key, value) for key, value, _ in bench.box.to(DEAD)] == [(b"k", None)]


def test_a_span_that_is_none_goes_alone_and_without_texts() -> None:
    """Its neighbours are sent; the letter is a batch of that span, of the attributes that are read."""
    bench = Bench()
    bad = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3, "gen_ai.input.messages": "SECRET"}
    taken = bench.take(SPANS, traces(span(), span(bad, number=9, failed=True), span()))

    assert len(bench.box.to(TELEMETRY)) == 2
    ((_, value, headers),) = bench.box.to(DEAD)
    assert headers["detector.errors.path"] == b"$.attributes['gen_ai.request.model']"
    assert b"SECRET" not in value
    assert decode_spans(value, "otlp_json") == decode_spans(
        traces(span(bad, number=9, failed=True)).SerializeToString(), "otlp_proto"
    )
    assert taken.number == 3
    assert bench.counted("detector_otlp_spans") == {"published": 2, "malformed": 1}


def test_a_call_by_its_callers_fault_is_counted_and_not_sent() -> None:
    bench = Bench()
    bench.take(SPANS, traces(span(CHAT | {"error.type": "400"}, failed=True)))

    assert bench.box.sent == []
    assert bench.counted("detector_otlp_spans") == {"callers_fault": 1}


def test_what_is_left_out_of_a_failing_call_is_counted_and_the_call_is_sent() -> None:
    bench = Bench()
    bench.take(SPANS, traces(span(CHAT | {"detector.tenant": ["a"], "error.type": 503}, failed=True)))

    ((_, value, _),) = bench.box.to(TELEMETRY)
    assert decode_telemetry(value).error == "503"
    assert bench.box.to(DEAD) == []
    assert bench.counts.registry.get_sample_value("detector_otlp_fields_left_out_total") == 1


def test_a_verdict_on_a_call_that_was_seen_is_sent_at_once() -> None:
    bench = Bench()
    bench.take(SPANS, traces(span(number=4)))
    taken = bench.take(LOGS, batch_of_logs(verdict(number=4), log(event_name="other")))

    ((key, value, _),) = bench.box.to(EVALUATIONS)
    call = decode_telemetry(bench.box.to(TELEMETRY)[0][1])
    made = decode_evaluation(value)
    assert (key, made.route, made.request_id, made.call_time) == (
        b"chat",
        "chat",
        call.request_id,
        call.event_time,
    )
    assert (taken.number, taken.held) == (2, 0)
    assert bench.counted("detector_otlp_evaluations") == {"published": 1, "other": 1}


@pytest.mark.parametrize(
    ("attributes", "joined"),
    [
        ({}, 1),
        ({"gen_ai.request.id": "q"}, 1),
        ({"gen_ai.response.id": "r"}, 1),
        ({"gen_ai.response.id": "s"}, 0),
    ],
)
def test_only_a_response_of_another_name_keeps_a_verdict_from_the_call_of_its_span(
    attributes: dict[str, Any], joined: int
) -> None:
    """A call that has no response's id, or one of the request only, contradicts nothing."""
    bench = Bench()
    bench.take(SPANS, traces(span(CHAT | attributes, number=4)))
    bench.take(LOGS, batch_of_logs(verdict(number=4, attributes={"gen_ai.response.id": "r"})))

    assert len(bench.box.to(EVALUATIONS)) == joined


def test_a_verdict_before_its_call_waits_and_holds_its_offset() -> None:
    """It is sent behind the call's own record, and its batch is covered with it."""
    bench = Bench()
    taken = bench.take(LOGS, batch_of_logs(verdict(number=4), verdict("other", number=5)))

    assert (bench.box.sent, taken.held) == ([], 2)
    bench.take(SPANS, traces(span(number=4)))
    assert [message[0] for message in bench.box.sent] == [TELEMETRY, EVALUATIONS]
    assert (taken.number, taken.held) == (2, 1)


def test_a_verdict_that_no_call_comes_for_is_a_dead_letter() -> None:
    """At the end of its wait, without the batch that it came in; its offset is held no longer."""
    bench = Bench(wait_s=60)
    taken = bench.take(LOGS, batch_of_logs(verdict(number=4)), clock_s=10.0)
    bench.normaliser.expire(clock_s=69.9, now=T0 + 60.9)
    assert (bench.box.sent, taken.held) == ([], 1)

    bench.normaliser.expire(clock_s=70.0, now=T0 + 61.0)

    ((key, value, headers),) = bench.box.to(DEAD)
    assert (key, headers["detector.errors.stage"]) == (b"k", b"join")
    assert decode_logs(value, "otlp_json") == decode_logs(
        batch_of_logs(verdict(number=4)).SerializeToString(), "otlp_proto"
    )
    assert (taken.number, taken.held) == (1, 0)
    assert bench.counted("detector_otlp_evaluations") == {"unjoined": 1}


def test_a_verdict_whose_partition_is_gone_is_left_to_its_next_reader() -> None:
    """It is not committed, so that it is read again: here it neither joins nor dies."""
    bench = Bench(wait_s=60)
    bench.take(LOGS, batch_of_logs(verdict(number=4)))
    bench.normaliser.forget([("otlp_logs", 1), ("otlp_spans", 2)])
    assert bench.normaliser.join.waiting == 1

    bench.normaliser.forget([("otlp_logs", 2)])
    bench.take(SPANS, traces(span(number=4)))
    bench.normaliser.expire(clock_s=1e9, now=T0 + 100.0)

    assert [message[0] for message in bench.box.sent] == [TELEMETRY]


def test_a_call_that_was_sent_before_is_remembered_and_not_sent() -> None:
    """The verdict that waits for it is; what is no call, or no batch, does no harm."""
    bench = Bench()
    bench.take(LOGS, batch_of_logs(verdict(number=4)))
    batch = traces(span(number=4), span({}), span({"gen_ai.operation.name": "chat"}))
    for value in (batch.SerializeToString(), b"\xff", None):
        raw = Received(SENT, "otlp_spans", 0, 0, None, value)
        bench.normaliser.recall(raw, now=T0 + 1.0)

    assert [message[0] for message in bench.box.sent] == [EVALUATIONS]
    assert bench.counted("detector_otlp_spans") == {}


@pytest.mark.parametrize("recalled", [False, True])
def test_a_call_that_comes_again_is_counted_and_not_sent(recalled: bool) -> None:
    """Its batch is covered with whatever is under way, which may be its record."""
    bench = Bench()
    batch = traces(span(number=4))
    if recalled:
        raw = Received(SENT, "otlp_spans", 2, 0, None, batch.SerializeToString())
        bench.normaliser.recall(raw, now=T0 + 1.0)
    else:
        bench.take(SPANS, batch)
    bench.take(SPANS, traces(span(number=5)))
    before = len(bench.box.sent)

    taken = bench.take(SPANS, batch)

    assert len(bench.box.sent) == taken.number == before
    assert bench.normaliser.join.calls == 2
    assert bench.counted("detector_otlp_spans")["repeated"] == 1


def test_too_many_that_wait_are_given_up_and_not_guessed() -> None:
    bench = Bench(most_waiting=1)
    first = bench.take(LOGS, batch_of_logs(verdict("a", number=4)))
    bench.take(LOGS, batch_of_logs(verdict("b", number=5)))

    ((_, value, _),) = bench.box.to(DEAD)
    assert "a" in {each["value"].get("stringValue") for each in _attributes_of(value)}
    assert first.held == 0


def _attributes_of(value: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(value)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0][
        "attributes"
    ]
    return found


def test_a_verdict_that_is_none_goes_alone() -> None:
    bench = Bench()
    bench.take(SPANS, traces(span(number=4)))
    bench.take(LOGS, batch_of_logs(verdict(label="so so", number=4), verdict(number=4)))

    assert len(bench.box.to(EVALUATIONS)) == 1
    assert bench.counted("detector_otlp_evaluations") == {"published": 1, "malformed": 1}


def test_a_judge_that_failed_is_counted() -> None:
    bench = Bench()
    bench.take(LOGS, batch_of_logs(log({"gen_ai.evaluation.name": "x", "error.type": "timeout"}, number=4)))

    assert bench.box.sent == []
    assert bench.counted("detector_otlp_evaluations") == {"no_verdict": 1}


def test_an_error_of_ours_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is a dead letter, or its partition would be read from there for ever."""

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "record_of", fail)
    bench = Bench()
    taken = bench.take(SPANS, traces(span()))

    ((_, _, headers),) = bench.box.to(DEAD)
    assert b"ZeroDivisionError" in headers["detector.errors.message"]
    assert taken.number == 1


def test_every_outcome_has_its_series_from_the_start() -> None:
    """No rate tells of an event that a series begins with."""
    text = Counts().render().decode()

    for outcome in ("published", "repeated", "other", "callers_fault", "malformed"):
        assert f'detector_otlp_spans_total{{outcome="{outcome}"}} 0.0' in text
    for outcome in ("published", "other", "no_verdict", "malformed", "unjoined"):
        assert f'detector_otlp_evaluations_total{{outcome="{outcome}"}} 0.0' in text


@pytest.mark.parametrize(("age_s", "outcome"), [(300.0, "published"), (300.1, "too_old")])
def test_a_span_that_ended_long_ago_makes_no_telemetry(age_s: float, outcome: str) -> None:
    """A fault that is over would activate its route; a verdict on that call still finds it."""
    bench = Bench()
    raw = Received(SPANS, "otlp_spans", 0, 0, None, traces(span(CHAT)).SerializeToString())
    bench.normaliser.take(raw, Taken(0), clock_s=0.0, now=T0 + age_s)

    assert len(bench.box.to(TELEMETRY)) == (outcome == "published")
    assert bench.normaliser.join.calls == 1
    found = bench.counts.registry.get_sample_value("detector_otlp_spans_total", {"outcome": outcome})
    assert found == 1
