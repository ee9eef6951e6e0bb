"""The plain rules do what they say, and are as wrong as their docstrings say."""

import numpy as np
import pytest

from detector.predicates.base import Outcome
from detector.predicates.registry import judge_for
from tests.builders import BUDGET, T0, play, record, segment, spec, walk


def latencies(pattern):
    return [record(i * 0.1, latency_s=0.3 if symbol == "!" else 0.1) for i, symbol in enumerate(pattern)]


@pytest.mark.parametrize(
    ("pattern", "flip"),
    [
        ("!!.!!.!!.", None),
        ("..!!!..", 4),
        ("!!!", 2),
        ("!!", None),
    ],
)
def test_three_in_a_row_breach_and_nothing_less(pattern, flip):
    """`consecutive: 3` flips at the third slow call in a row."""
    judge = judge_for(spec("exceedance", "literal"), BUDGET)

    assert walk(judge, latencies(pattern)) == flip
    assert judge.latched == (flip is not None)


def test_three_good_ones_in_a_row_end_it():
    """A latched run rule ends after as many fast calls in a row, counted over segments."""
    judge = judge_for(spec("exceedance", "literal"), BUDGET)
    walk(judge, latencies("!!!"))

    assert walk(judge, latencies("..!..")) is None
    assert walk(judge, latencies(".")) == 0
    assert not judge.latched


def test_a_run_does_not_reach_over_a_change_of_state():
    """Two slow calls before a change and one after it are no run of three."""
    judge = judge_for(spec("exceedance", "literal"), BUDGET)
    walk(judge, latencies("!!"))
    judge.restart(0.0)

    assert walk(judge, latencies("!")) is None


def test_three_in_a_row_is_wrong_on_healthy_traffic():
    """
    Recorded as wrong: with 1 % of healthy calls above the limit the rule fires some 0.99 times in a million
    calls, where the default method on the same calls stays silent.
    """
    slow = np.random.default_rng(12).random(12_000_000) < 0.01
    starts = np.flatnonzero(slow[:-2] & slow[1:-1] & slow[2:])
    literal = judge_for(spec("exceedance", "literal"), BUDGET)
    default = judge_for(spec("exceedance"), BUDGET)
    walk(default, latencies("." * 100))
    around = slow[starts[0] - 500 : starts[0] + 500]
    records = latencies("".join("!" if each else "." for each in around))

    assert 3 <= len(starts) <= 25  # 12 expected, four standard deviations either way
    assert walk(literal, records) is not None
    assert walk(default, records) is None


def rate_seconds(shares, per_s=20, start=0):
    rng = np.random.default_rng(1)
    return [
        [record(second + 0.5, hallucinated=bool(flag)) for flag in rng.random(per_s) < share]
        for second, share in enumerate(shares, start)
    ]


def test_the_literal_rate_is_the_share_of_the_window():
    """Bad calls over judged ones in the last `window_s` seconds, against the ceiling."""
    judge = judge_for(spec("rate", "literal", window_s=5.0, ceiling=0.3), BUDGET)
    shares = [verdict.value for _, verdict in play(judge, rate_seconds([1, 0, 0, 0, 0, 0, 0]))]

    assert shares == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 0, 0])
    assert not judge.latched


def test_the_literal_rate_counts_a_call_in_the_pane_of_its_second():
    """What has come before its pane closes is no part of the windows that end before; what is late is."""
    judge = judge_for(spec("rate", "literal", field="error", window_s=5.0, ceiling=0.3), BUDGET)
    judge.absorb(segment([record(1.5), record(2.5, error="x"), record(0.5)], boundary=1))
    judge.close(T0 + 2, frozen=False)
    assert (judge.latched, judge.verdict.samples) == (False, 2)
    judge.close(T0 + 3, frozen=False)

    assert (judge.latched, judge.verdict.samples) == (True, 3)


def test_the_literal_rate_is_wrong_on_few_calls():
    """Recorded as wrong: one bad call of one is 100 %, and breaches at any ceiling."""
    judge = judge_for(spec("rate", "literal", window_s=5.0, ceiling=0.9), BUDGET)
    for _ in play(judge, [[record(0.5, hallucinated=True)]]):
        pass

    assert judge.latched


def test_the_literal_rate_holds_without_data():
    """An empty window neither breaches nor clears."""
    judge = judge_for(spec("rate", "literal", window_s=2.0), BUDGET)
    for _ in play(judge, [*rate_seconds([1]), *[[]] * 10]):
        pass

    assert judge.latched


def token_seconds(rng, medians, per_s):
    return [
        [record(second + 0.5, output_tokens=int(rng.lognormal(np.log(median), 1))) for _ in range(per_s)]
        for second, median in enumerate(medians)
    ]


def test_the_literal_divergence_compares_with_the_first_whole_window():
    """It learns one window, then finds a shift of the median by eight against it."""
    rng = np.random.default_rng(2)
    judge = judge_for(spec("divergence", "literal", window_s=20.0), BUDGET)
    found = [
        (verdict.outcome, judge.latched)
        for _, verdict in play(judge, token_seconds(rng, [100] * 60 + [800] * 30, 200))
    ]

    assert {outcome for outcome, _ in found[:20]} == {Outcome.LEARNING}
    assert not any(latched for _, latched in found[:60])
    assert any(latched for _, latched in found[60:])


def test_the_literal_divergence_is_wrong_on_few_records():
    """Recorded as wrong: at five calls a second it fires though nothing changes; the default does not."""
    rng = np.random.default_rng(3)
    calls = token_seconds(rng, [100] * 200, 5)
    literal = judge_for(spec("divergence", "literal", window_s=20.0), BUDGET)
    default = judge_for(spec("divergence", window_s=20.0), BUDGET)

    assert any(literal.latched for _ in play(literal, calls))
    assert not any(default.latched for _ in play(default, calls))


def test_a_literal_divergence_counts_records_of_the_primary_that_did_not_fail():
    """Fallbacks' answers and failures are no part of the window."""
    judge = judge_for(spec("divergence", "literal", window_s=2.0), BUDGET)
    good = [record(0.5, output_tokens=5), record(0.6)]
    other = [record(0.7, output_tokens=5, served_by="rule"), record(0.8, output_tokens=5, error="500")]
    for second in range(5):
        judge.absorb(segment([*good, *other], boundary=second))
        judge.close(segment(good).boundary + 1 + second, frozen=False)

    assert judge.verdict.samples <= 2


def test_the_literal_rate_keeps_one_count_for_each_pane():
    """However many parts its calls come in."""
    whole, parted = (judge_for(spec("rate", "literal", window_s=5.0, ceiling=0.3), BUDGET) for _ in range(2))
    calls = [record(i / 50, hallucinated=i % 4 == 0) for i in range(40)]
    whole.absorb(segment(calls, boundary=0))
    for call in calls:
        parted.absorb(segment([call], boundary=0))

    assert whole.state() == parted.state()


def test_a_rate_counts_judged_calls_wherever_they_stand_among_others():
    """Between calls that nobody judged and answers of fallbacks: 3 of 4 bad, whatever the batches."""
    verdicts = [None, True, False, True, None, False, None, True]
    calls = [
        record(0.1 * i, hallucinated=verdict, served_by="rule" if i == 2 else "primary")
        for i, verdict in enumerate(verdicts)
    ]
    for size in (1, 3, 8):
        judge = judge_for(spec("rate", "literal", ceiling=0.5), BUDGET)
        for first in range(0, len(calls), size):
            judge.absorb(segment(calls[first : first + size]))
        judge.close(T0 + 1, frozen=False)

        assert (judge.verdict.value, judge.verdict.samples) == (0.75, 4)


def test_a_late_verdict_counts_in_its_own_second():
    """It leaves the window when its second does, not when it came."""
    judge = judge_for(spec("rate", "literal", ceiling=0.5, window_s=10.0), BUDGET)
    judge.absorb(segment([record(20.5, hallucinated=False), record(14.5, hallucinated=True)], boundary=20))
    judge.close(T0 + 21, frozen=False)
    assert judge.verdict.value == 0.5
    judge.close(T0 + 26, frozen=False)
    assert judge.verdict.value == 0.0


@pytest.mark.parametrize(
    ("kind", "fields", "bad", "said"),
    [
        ("rate", {"window_s": 10.0}, {"hallucinated": True}, "100.00% of 40 calls bad in 10 s"),
        ("exceedance", {}, {"latency_s": 0.3}, "0 of 3 calls in a row within the limit"),
    ],
)
def test_the_way_back_is_told_in_the_rules_own_words(kind, fields, bad, said):
    """Nobody counts probes for these rules, so attempts to revert say what the rule sees."""
    judge = judge_for(spec(kind, "literal", **fields), BUDGET)
    calls = [record(i / 40, **bad) for i in range(40)]
    judge.observe(segment(calls)) if judge.walks else judge.absorb(segment(calls))
    judge.close(T0 + 1, frozen=False)

    assert judge.latched
    assert judge.progress() == said


def test_an_accepted_literal_divergence_is_measured_from_what_its_window_holds():
    """The next whole window is the reference, of which nothing is as it was before; also after a restore."""
    rng = np.random.default_rng(4)
    judge = judge_for(spec("divergence", "literal", window_s=20.0), BUDGET)
    calls = token_seconds(rng, [100] * 30 + [800] * 60, 200)
    for _ in play(judge, calls[:40]):
        pass
    assert judge.latched

    judge.rebase()
    assert (judge.latched, judge.verdict.outcome) == (False, Outcome.LEARNING)
    again = judge_for(spec("divergence", "literal", window_s=20.0), BUDGET)
    again.load(judge.state())
    outcomes = [verdict.outcome for _, verdict in play(again, calls[40:], start=40)]
    assert outcomes == [Outcome.LEARNING] * 20 + [Outcome.CLEAR] * 30
