"""Healthy traffic that slowly becomes another is told of once a day, and diverts nobody."""

from detector.pipeline import Pipeline
from tests.builders import T0, contract, in_order, record, run, spec
from topics.control import Override

PER_S = 5
CREEPS_S, STAYS_S = 3000, 4000
CONTRACT = contract([spec("divergence", name="answers", window_s=60.0, threshold_nats=0.3)])


def calls(start, lasts, *, share_from, share_to):
    """Long answers come to be this share of all."""
    for i in range(int(lasts * PER_S)):
        share = share_from + (share_to - share_from) * i / (lasts * PER_S)
        yield record(start + i / PER_S, output_tokens=50 if i * 7919 % 1000 < 1000 * share else 5)


def creeping():
    yield from calls(0, 4000, share_from=0.1, share_to=0.1)
    yield from calls(4000, CREEPS_S, share_from=0.1, share_to=0.6)
    yield from calls(4000 + CREEPS_S, STAYS_S, share_from=0.6, share_to=0.6)


STREAM = in_order(list(creeping()))
DECIDED = run(Pipeline(CONTRACT), STREAM)


def told(decisions):
    return [each for each in decisions if "crept" in each.reason]


def test_it_is_told_once_and_nothing_acts():
    (notice,) = told(DECIDED)
    assert [each for each in DECIDED if each.disposition == "act"] == []
    assert (notice.disposition, notice.state, notice.mode) == ("notice", "inactive", "answers")
    assert notice.evidence.value > notice.evidence.threshold >= 0.3
    assert "the first hour" in notice.reason
    assert notice.at > T0 + 4000 + CREEPS_S / 2


def test_traffic_that_stays_as_it_is_is_no_creep():
    stream = in_order(list(calls(0, 9000, share_from=0.3, share_to=0.3)))

    assert run(Pipeline(CONTRACT), stream) == []


def test_a_restart_keeps_what_was_at_first():
    cut = 30_000
    first, second = Pipeline(CONTRACT), Pipeline(CONTRACT)
    decisions = run(first, STREAM[:cut])
    second.restore(first.snapshot("chat"))

    assert decisions + run(second, STREAM[cut:]) == DECIDED


def test_what_is_accepted_is_the_new_beginning():
    """The notice asks for it: then it is over, nothing is learnt anew, and the next creep is told at once."""
    pipeline = Pipeline(CONTRACT)
    run(pipeline, STREAM)
    judge = pipeline.route("chat").judges["answers"]
    assert judge.crept is not None
    at = STREAM.arrivals[-1]

    said = pipeline.accept(
        Override(scope="chat", state="inactive", until=at, issued_at=at, accept=True, reason="new prompt")
    )
    assert said[0].reason.endswith("new prompt; what answers has crept to is its beginning")
    assert (judge.crept, judge.armed) == (None, True)

    start = 4000 + CREEPS_S + STAYS_S
    back = [*calls(start, CREEPS_S, share_from=0.6, share_to=0.1)]
    back += calls(start + CREEPS_S, STAYS_S, share_from=0.1, share_to=0.1)
    assert len(told(run(pipeline, in_order(back)))) == 1
