"""Rates and exceedances: which calls count, when a judge flips, and that a walk can be undone."""

import copy

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import JudgeQuality, PredicateSpec
from detector.predicates.base import Budget, Outcome
from detector.predicates.registry import judge_for
from detector.predicates.shiryaev_roberts import MOST_PATIENCE
from detector.windows.shares import Share
from tests.builders import BUDGET, T0, dense, evaluation, record, segment, spec, walk

# One way to be bad for each kind of judge; None is "not measured".
KINDS = {
    "hallucinated": (spec("rate"), {"hallucinated": True}, {"hallucinated": False}, {"hallucinated": None}),
    "error": (spec("rate", field="error"), {"error": "500"}, {"error": ""}, None),
    "latency": (spec("exceedance"), {"latency_s": 0.3}, {"latency_s": 0.1}, {"latency_s": None}),
    "upstream": (
        spec("exceedance", field="upstream_s", above_ms=100.0),
        {"upstream_s": 0.2},
        {"upstream_s": 0.1},
        {"upstream_s": None},
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS)


def made(kind, budget=BUDGET):
    return judge_for(KINDS[kind][0], budget)


def calls(kind, pattern, **common):
    """One call per symbol: `!` bad, `.` good, `?` not measured."""
    _, bad, good, unknown = KINDS[kind]
    fields = {"!": bad, ".": good, "?": unknown}
    return [record(i * 0.01, **(fields[symbol] | common)) for i, symbol in enumerate(pattern)]


@EACH
def test_a_burst_breaches_at_the_record_that_completes_the_evidence(kind):
    """After good traffic a run of bad calls breaches at the sixth of them, and says how bad it is."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 100))

    assert walk(judge, calls(kind, "..!!!!!!!!")) == 7
    assert (judge.latched, judge.verdict.outcome) == (True, Outcome.BREACH)
    assert (judge.verdict.value, judge.verdict.threshold, judge.verdict.samples) == (1.0, 0.01, 6)


@EACH
def test_good_calls_lead_back(kind):
    """Once breached, a hundred good calls end the breach."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 100 + "!" * 6))

    assert walk(judge, calls(kind, "." * 100)) is not None
    assert (judge.latched, judge.verdict.outcome) == (False, Outcome.CLEAR)


@EACH
def test_what_a_fallback_answered_never_counts(kind):
    """Any number of bad calls answered by a fallback, or good ones while breached, change nothing."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 100))
    assert walk(judge, calls(kind, "!" * 500, served_by="rule")) is None

    walk(judge, calls(kind, "!" * 6))
    assert judge.latched
    assert walk(judge, calls(kind, "." * 5000, served_by="rule")) is None
    assert judge.latched


@EACH
def test_while_a_scope_is_active_only_calls_made_since_count(kind):
    """A call that began before the change does not count after it, unless it is a probe."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 100))
    slow = {"latency_s": 0.3} if kind != "latency" else {}
    late = [record(10.1 + i * 0.001, **(KINDS[kind][1] | slow)) for i in range(100)]

    assert walk(judge, late, since=10.0) is None
    assert walk(judge, [msgspec.structs.replace(call, probe=True) for call in late], since=10.0) == 5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][3]])
def test_not_judged_is_neither_good_nor_bad(kind):
    """Calls that were not measured between others leave the decision at the same record."""
    with_gaps, without = made(kind), made(kind)
    walk(with_gaps, calls(kind, "." * 50 + "?" * 500))
    walk(without, calls(kind, "." * 50))
    pattern = "!?!??!???!!?!!"
    found = walk(with_gaps, calls(kind, pattern))

    assert pattern[: found + 1].count("!") == walk(without, calls(kind, pattern.replace("?", ""))) + 1


@pytest.mark.parametrize("kind", ["latency", "upstream"])
def test_failed_calls_have_no_latency(kind):
    """A failure's duration, short or long, is no measurement of speed."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 100))

    assert walk(judge, calls(kind, "!" * 500, error="timeout")) is None
    walk(judge, calls(kind, "!" * 6))
    assert walk(judge, calls(kind, "." * 500, error="429")) is None
    assert judge.latched


def test_a_limit_itself_is_not_above_it():
    """Exactly 200 ms is within a limit of 200 ms."""
    judge = judge_for(spec("exceedance"), BUDGET)
    walk(judge, [record(i, latency_s=0.1) for i in range(50)])

    assert walk(judge, [record(60 + i, latency_s=0.2) for i in range(100)]) is None


@EACH
def test_traffic_that_was_never_within_its_ceiling_is_unusable_until_it_is(kind):
    """30 % bad from the first record on is a notice, not a breach; once seen healthy, it can breach."""
    judge = made(kind)
    walk(judge, calls(kind, "!.." * 40))
    assert (judge.latched, judge.armed, judge.verdict.outcome) == (False, False, Outcome.UNUSABLE)

    walk(judge, calls(kind, "." * 1000))
    judge.close(T0 + 1, frozen=False)
    assert (judge.armed, judge.verdict.outcome) == (True, Outcome.CLEAR)

    walk(judge, calls(kind, "." * 200))
    walk(judge, calls(kind, "!.." * 40))
    assert (judge.latched, judge.verdict.outcome) == (True, Outcome.BREACH)


@pytest.mark.parametrize(
    ("rate", "calibrated"),
    [(rate, False) for rate in (0.014, 0.0175, 0.02, 0.03, 0.05, 0.1, 0.3)]
    + [(rate, True) for rate in (0.011, 0.014, 0.02, 0.05, 0.3)],
)
def test_traffic_that_always_exceeds_its_ceiling_never_acts(rate, calibrated):
    """Its own lulls look like a recovery from its own bursts; 100,000 calls of eight streams."""
    known = CalibratedPredicate(records=10**5, rate=rate, ceiling=1.2 * rate, usable=False, run_length=1e6)
    for seed in range(8):
        judge = of_errors(known if calibrated else None)
        if calibrated:
            assert (judge.armed, judge.verdict.outcome) == (False, Outcome.UNUSABLE)
        assert not latched_at(judge, np.random.default_rng(seed).random(100_000) < rate)


def of_errors(known=None):
    return judge_for(
        PredicateSpec(name="e", type="rate", field="error", ceiling=0.01, stated=("ceiling",)),
        Budget(run_length=1e8, alpha=1e-9),
        known,
    )


def latched_at(judge, flags):
    """Ends of the hundreds of calls at which the judge holds."""
    start, found = 0, []
    while start < len(flags):
        end = min(start - start % 100 + 100, len(flags))
        index = judge.take(range(start, end), np.flatnonzero(flags[start:end]).tolist())
        start = end if index is None else index + 1
        judge.close(T0 + start // 100, frozen=False)
        if judge.latched:
            found.append(start)
    return found


@pytest.mark.parametrize("rate", [0.003, 0.014, 0.0175])
def test_an_outage_is_no_proof_that_traffic_is_otherwise_healthy(rate):
    """What is always a little beyond its ceiling does not act after one either, and one is soon over."""
    found = 0
    for seed in range(8):
        flags = np.random.default_rng(seed).random(100_000) < rate
        flags[1000:1060] = True
        held = latched_at(of_errors(), flags)
        found += bool(held)

        assert all(1000 < each < 4000 for each in held)
    assert found == 8 or rate > 0.01


def test_an_outage_in_which_it_all_began_does_not_count_against_what_came_after():
    """Fewer bad calls than in it are a fault, once traffic has been healthy for a while."""
    for seed in range(6):
        rates = np.repeat([0.3, 0.003, 0.06], [300, 6000, 1500])
        held = latched_at(of_errors(), np.random.default_rng(seed).random(len(rates)) < rates)

        assert held
        assert held[0] > 6300


def test_what_is_calm_by_night_and_beyond_its_ceiling_by_day_is_known_to_be_both():
    """0.7 % and 2.1 % in turn, from the day on, at a ceiling of 1 %: no morning is a change."""
    for seed in range(6):
        rates = np.tile(np.repeat([0.021, 0.007], 20_000), 4)
        flags = np.random.default_rng(seed).random(len(rates)) < rates

        assert not latched_at(of_errors(), flags)


@given(st.lists(st.booleans(), max_size=1500), st.lists(st.integers(1, 1500), max_size=5))
def test_while_unusable_no_call_flips_and_batches_change_nothing(good, cuts):
    """So all may wait until their pane closes; what comes after the proof in that pane is left out."""
    flags = [not each for each in good] + [False] * 700

    def run(ends):
        judge = never_within(field="error")
        start = 0
        for end in sorted({*ends, len(flags)}):
            bad = [i for i, flag in enumerate(flags[start:end]) if flag]
            assert judge.calm
            assert judge.patience == MOST_PATIENCE
            assert judge.take(range(start, end), bad) is None
            start = max(start, end)
        judge.close(T0 + 1, frozen=False)
        return judge.state(), judge.verdict.outcome

    assert run([each for each in cuts if each <= len(flags)]) == run([])
    assert run([])[1] is Outcome.CLEAR


def stated(ceiling=0.01, **keys):
    return PredicateSpec(name="e", type="rate", ceiling=ceiling, stated=("ceiling",), **keys)


def exceeded(ceiling=0.01, **keys):
    """A judge whose ceiling calibration found to be exceeded."""
    known = CalibratedPredicate(records=10**5, rate=0.05, ceiling=0.06, usable=False, run_length=1e6)
    return judge_for(stated(ceiling, **keys), BUDGET, known)


def never_within(**keys):
    """A judge that has met nothing but traffic beyond its ceiling."""
    judge = judge_for(stated(**keys), BUDGET)
    walk(judge, calls("error", "!.." * 40))
    assert judge.verdict.outcome is Outcome.UNUSABLE
    return judge


def test_what_comes_after_the_proof_in_its_pane_takes_nothing_back():
    """Else it would matter how the calls of a pane were cut into batches."""
    judge = never_within(field="error")
    for pattern in ("." * 700, "!" * 5, "." * 3):
        assert walk(judge, calls("error", pattern)) is None
    judge.close(T0 + 1, frozen=False)

    assert judge.verdict.outcome is Outcome.CLEAR


def test_what_is_unusable_says_nothing_of_the_share_judged():
    """Its test has seen no call; a breach says which share of the calls had a verdict."""
    judge = exceeded(field="error")
    judge.absorb(segment([*calls("error", "!.." * 20)]))

    assert "judged_share" not in judge.verdict.detail


def test_what_calibration_has_found_since_counts_for_state_from_before():
    """A restored judge must not be taken for one that can be used, nor the other way round."""
    usable = judge_for(
        stated(field="error"), BUDGET, CalibratedPredicate(records=10**5, rate=0.002, ceiling=0.004)
    )

    assert usable.identity != exceeded(field="error").identity
    assert exceeded(field="error").identity == exceeded(field="error").identity


ERRING = JudgeQuality(sensitivity=0.5, specificity=1.0)


def test_a_stated_ceiling_is_held_to_what_an_erring_judge_shows_of_it():
    """Of 2 % it shows 1 %, and healthy calls were bad in up to 1.8 % of its verdicts."""
    known = CalibratedPredicate(records=10**5, rate=0.015, ceiling=0.018, usable=False, run_length=1e6)
    judge = judge_for(stated(0.02, field="hallucinated", judge=ERRING), BUDGET, known)

    assert judge.verdict.outcome is Outcome.UNUSABLE


@pytest.mark.parametrize("judge", [None, JudgeQuality(sensitivity=0.9, specificity=0.97)])
def test_a_ceiling_that_is_no_longer_stated_is_the_learnt_one_and_can_be_used(judge):
    """`usable: false` was said of the contract's own ceiling, which has been taken out since."""
    known = CalibratedPredicate(records=10**5, rate=0.1, ceiling=0.15, usable=False, run_length=1e6)
    unstated = PredicateSpec(name="e", type="rate", field="hallucinated", judge=judge)

    assert judge_for(unstated, BUDGET, known).verdict.outcome is not Outcome.UNUSABLE


def test_to_release_makes_nothing_usable():
    """A deployment's judge takes over its route's state, and cannot act on what the route's could not."""
    route, deployment = exceeded(field="error"), exceeded(field="error")
    walk(route, calls("error", "!.." * 20))
    deployment.load(route.state())
    deployment.release()

    assert walk(deployment, calls("error", "!" * 100)) is None
    assert (deployment.latched, deployment.verdict.outcome) == (False, Outcome.UNUSABLE)


def test_a_judge_of_late_verdicts_is_usable_again_without_a_pane():
    """Panes close by telemetry, of which there may be none; verdicts wait in no inbox."""
    judge = judge_for(stated(evaluation="v"), BUDGET)

    def told(pattern):
        verdicts = [evaluation(i, failed=symbol == "!") for i, symbol in enumerate(pattern)]
        return judge.judge_verdicts(range(len(pattern)), verdicts)

    told("!.." * 40)
    assert judge.verdict.outcome is Outcome.UNUSABLE
    assert told("." * 1000) is not None
    assert told("." * 200) is None
    assert told("!.." * 40) is not None
    assert judge.latched


def test_that_it_was_over_is_kept_with_the_state():
    """Just usable again, without a call since: armed, before and after a restore."""
    judge, taken = never_within(field="error"), judge_for(stated(field="error"), BUDGET)
    walk(judge, calls("error", "." * 1000))
    judge.close(T0 + 1, frozen=False)
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state())))

    assert judge.armed
    assert taken.armed


@pytest.mark.parametrize("keys", [{"field": "error"}, {"evaluation": "v"}])
def test_what_calibration_found_to_exceed_the_ceiling_is_told_of_by_the_next_calibration_alone(keys):
    """A calm night is no proof that the ceiling is kept; by day the same traffic would be a fault."""
    judge, taken = exceeded(**keys), exceeded(**keys)
    for _ in range(2):
        for n, bad in ((5000, []), (300, [*range(0, 300, 3)])):
            assert judge.take(range(n), bad) is None
            judge.close(T0 + 1, frozen=False)
            assert (judge.latched, judge.armed, judge.verdict.outcome) == (False, False, Outcome.UNUSABLE)
        taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state())))
        judge, taken = taken, judge


@pytest.mark.parametrize(("kind", "acts"), [("hallucinated", True), ("error", True), ("latency", False)])
def test_total_failure_from_the_start_is_acted_on_but_a_wrong_limit_is_not(kind, acts):
    """Every call ever seen failing is an outage; every call being slow is a limit that is wrong."""
    judge = made(kind)
    walk(judge, calls(kind, "!" * 50))

    assert judge.latched == acts
    assert judge.verdict.outcome == (Outcome.BREACH if acts else Outcome.UNUSABLE)


@EACH
def test_a_change_of_state_does_not_forget_that_traffic_was_healthy(kind):
    """After a restart a known healthy stream that turns bad breaches; it is not called unusable."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 5000))
    judge.restart(0.0)
    walk(judge, calls(kind, "!.." * 60))

    assert (judge.latched, judge.verdict.outcome) == (True, Outcome.BREACH)


@EACH
def test_a_restart_drops_old_evidence(kind):
    """Five bad calls before a change of state and one after it are not six."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 100 + "!" * 5))
    judge.restart(0.0)

    assert walk(judge, calls(kind, "!")) is None
    assert not judge.latched


PATTERNS = st.text(st.sampled_from("....!!"), min_size=1, max_size=40)
SHORT = Budget(run_length=30.0, alpha=1e-4)


@EACH
@given(before=st.lists(PATTERNS, max_size=4), wrong=PATTERNS, right=PATTERNS)
@settings(max_examples=60)
def test_a_walk_can_be_undone(kind, before, wrong, right):
    """observe, rollback, observe something else: as if the first had never been seen."""
    judge = made(kind, SHORT)
    for pattern in before:
        walk(judge, calls(kind, pattern))
    untouched = copy.deepcopy(judge)
    walk(judge, calls(kind, wrong))
    judge.rollback()

    assert judge.state() == untouched.state()
    assert judge.verdict == untouched.verdict
    assert walk(judge, calls(kind, right)) == walk(untouched, calls(kind, right))
    assert judge.state() == untouched.state()


@EACH
@given(patterns=st.lists(PATTERNS, min_size=1, max_size=5), cut=st.integers(1, 39))
@settings(max_examples=60)
def test_a_walk_does_not_depend_on_how_it_is_cut(kind, patterns, cut):
    """One run walked whole or in two parts flips at the same call and ends in the same state."""
    whole, parts = made(kind, SHORT), made(kind, SHORT)
    for pattern in patterns:
        found = walk(whole, calls(kind, pattern))
        records, flips = calls(kind, pattern), None
        for start, end in ((0, cut), (cut, len(records))):
            if flips is None and records[start:end]:
                flip = walk(parts, records[start:end])
                flips = None if flip is None else start + flip
        assert flips == found
        assert parts.state() == whole.state()


@pytest.mark.parametrize("method", ["default", "literal", "page_hinkley"])
def test_a_feature_that_is_text_is_not_above_any_limit(method):
    """A feature may be text in some records; these are not measured, whatever the method."""
    judge = judge_for(spec("exceedance", method, field="features.score", above_ms=500.0), BUDGET)
    records = [record(i * 0.01, features={"score": "n/a" if i % 2 else 0.1}) for i in range(100)]
    part = segment(records)

    assert judge.observe(part) is None
    judge.absorb(part)
    assert not judge.latched


def test_percentiles_go_into_the_evidence_of_a_breach():
    """A latency breach tells the percentiles of the last minute, within 1 %."""
    judge = judge_for(spec("exceedance"), BUDGET)
    records = [record(i * 0.01, latency_s=0.1) for i in range(100)] + [
        record(1 + i * 0.01, latency_s=0.5) for i in range(6)
    ]
    judge.observe(segment(records))
    judge.absorb(segment(records))

    assert judge.verdict.detail["p50"] == pytest.approx(0.1, rel=0.01)
    assert judge.verdict.detail["p99"] == pytest.approx(0.5, rel=0.01)


def test_a_share_below_the_ceiling_stays_silent():
    """A million calls at half the ceiling with the contract's run length raise nothing."""
    judge, rng = judge_for(spec("rate"), BUDGET), np.random.default_rng(8)
    good, bad = record(hallucinated=False), record(hallucinated=True)
    for _ in range(100):
        assert walk(judge, [bad if flag else good for flag in rng.random(2000) < 0.005]) is None


def verdicts(judge, evaluations):
    return judge.judge_verdicts(range(len(evaluations)), evaluations)


@pytest.mark.parametrize(
    ("limits", "bad", "good", "unknown"),
    [
        ({}, {"failed": True}, {"failed": False}, {}),
        ({"score_below": 0.5}, {"score": 0.4}, {"score": 0.5}, {}),
        ({"score_above": 0.5}, {"score": 0.6}, {"score": 0.5}, {}),
        ({"score_below": 0.5}, {"score": 0.4, "failed": False}, {"score": 0.5, "failed": True}, {}),
        ({"score_below": 0.5}, {"failed": True}, {"failed": False}, {}),
        ({}, {"failed": True}, {"failed": False}, {"score": 0.1}),
    ],
    ids=[
        "failed",
        "below",
        "above",
        "score before failed",
        "failed where there is no score",
        "score unasked",
    ],
)
def test_a_late_verdict_is_read_as_the_contract_says(limits, bad, good, unknown):
    """A score beyond its limit is bad, else `failed` decides, else it was not judged."""
    judge = judge_for(spec("rate", field="", evaluation="hallucination", **limits), BUDGET)

    assert verdicts(judge, [evaluation(i, **good) for i in range(100)]) is None
    assert verdicts(judge, [evaluation(i, **unknown) for i in range(100)]) is None
    assert verdicts(judge, [evaluation(i, **bad) for i in range(9)]) == 5


def test_a_time_per_output_token_can_be_too_long():
    """An exceedance of the derived field breaches on slow decoding, however short the whole call is."""
    judge = judge_for(spec("exceedance", field="tpot_s", above_ms=50.0), BUDGET)
    fast = {"latency_s": 1.0, "ttft_s": 0.2, "output_tokens": 101}
    slow = {"latency_s": 1.0, "ttft_s": 0.2, "output_tokens": 5}
    part = segment([record(i, **fast) for i in range(100)], fields=("tpot_s",))
    assert judge.observe(part) is None

    assert judge.observe(segment([record(100 + i, **slow) for i in range(10)], fields=("tpot_s",))) == 5


def test_a_wait_in_a_queue_is_not_a_late_start():
    """An exceedance of the derived field is silent while calls queue, and breaches when they start late."""
    judge = judge_for(spec("exceedance", field="ttft_unqueued_s", above_ms=100.0), BUDGET)
    field = ("ttft_unqueued_s",)
    waiting = [record(i, ttft_s=3.05, queue_s=3.0) for i in range(1000)]
    assert judge.observe(segment(waiting, fields=field)) is None

    late = [record(1000 + i, ttft_s=3.05, queue_s=2.0) for i in range(10)]
    assert judge.observe(segment(late, fields=field)) == 5


def first_outcome(pattern):
    """What a rate with ceiling 2 % first says of a stream of calls, True for a bad one."""
    judge = judge_for(spec("rate", ceiling=0.02), BUDGET)
    walk(judge, calls("hallucinated", "".join("!" if bad else "." for bad in pattern)))
    return judge.verdict.outcome


def test_traffic_that_was_always_beyond_its_ceiling_is_no_change():
    """Of 300 streams at nine times the ceiling from the first call on, two at most are acted on."""
    draw = np.random.default_rng(7)
    found = [first_outcome(draw.random(500) < 0.18) for _ in range(300)]

    assert found.count(Outcome.BREACH) <= 2
    assert found.count(Outcome.UNUSABLE) >= 298


def test_a_change_is_found_behind_calls_that_were_within_the_ceiling():
    """The same rate behind 600 calls at half the ceiling is a breach, nearly always."""
    draw = np.random.default_rng(8)
    streams = [np.concatenate([draw.random(600) < 0.01, draw.random(500) < 0.18]) for _ in range(200)]

    assert [first_outcome(stream) for stream in streams].count(Outcome.BREACH) >= 198


def test_a_recovery_that_was_undone_leaves_the_share_of_calls_with_a_verdict():
    """Another judge flipped before: the calls absorbed next are counted like all others."""
    judge = made("hallucinated")
    walk(judge, calls("hallucinated", "." * 100))
    walk(judge, calls("hallucinated", "!!!!!!!!"))
    assert judge.latched
    judge.restart(T0)
    healthy = segment(calls("hallucinated", "." * 400))
    before = judge.state()["calls"]
    assert judge.observe(healthy) is not None
    judge.rollback()
    judge.absorb(healthy.head(100))

    assert judge.state()["calls"] == before + 100


@pytest.mark.parametrize("laid", [lambda part: part, dense], ids=["lists", "arrays"])
def test_a_call_at_its_limit_keeps_it(laid):
    """200 ms are not above 200 ms."""
    judge = made("latency")
    walk(judge, calls("latency", "." * 100))

    assert judge.observe(laid(segment([record(2 + i / 100, latency_s=0.2) for i in range(200)]))) is None
    assert judge.flagged is not None
    assert len(judge.flagged[1]) == 0


def way_back(judge, kind):
    """Good calls that it takes until a breach is over."""
    return walk(judge, calls(kind, "." * 1000)) + 1


@EACH
@pytest.mark.parametrize("saved", [False, True], ids=["as-it-is", "taken-over"])
def test_a_breach_that_is_back_at_once_takes_longer_to_be_over(kind, saved):
    """Twice as many good calls, four times, and as many as at first once it has been away for long."""
    judge, needed = made(kind), []
    for healthy in (100, 50, 50, 8000):
        for _ in range(2):
            walk(judge, calls(kind, "." * (healthy // 2)))
            judge.restart(T0)  # another mode's change of state
        walk(judge, calls(kind, "!" * 6))
        judge.restart(T0)
        if saved:
            other = made(kind)
            other.load(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state()), strict=False))
            judge = other
        needed.append(way_back(judge, kind))
        judge.restart(T0)
    first = needed[0]

    assert needed == [first, pytest.approx(2 * first, abs=2), pytest.approx(4 * first, abs=4), first]


@EACH
def test_a_breach_that_others_have_found_takes_as_long_after_a_takeover(kind):
    """Relapses before it are not its own: neither the judge nor its successor asks more of its way back."""
    judge, other = made(kind), made(kind)
    for _ in range(2):
        walk(judge, calls(kind, "." * 100 + "!" * 6))
        way_back(judge, kind)
    walk(judge, calls(kind, "." * 100))
    judge.breach(Share(100, 50), {})
    other.load(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state()), strict=False))

    assert way_back(other, kind) == way_back(judge, kind)


@EACH
def test_a_breach_that_was_undone_is_no_relapse(kind):
    """Walked, undone, and walked again up to another call: once, not twice."""
    judge = made(kind)
    walk(judge, calls(kind, "." * 100 + "!" * 6))
    first = way_back(judge, kind)
    assert walk(judge, calls(kind, "." * 50 + "!" * 6)) is not None
    judge.rollback()
    assert walk(judge, calls(kind, "." * 50 + "!" * 6)) is not None

    assert way_back(judge, kind) == pytest.approx(2 * first, abs=2)


def test_a_fault_below_twice_its_ceiling_holds_its_route_as_long_as_it_lasts():
    """Of the verdicts 12 % are bad where a fifth may be, then a third: one breach, found and not given up."""
    judge, draw = judge_for(spec("rate", ceiling=0.2), BUDGET), np.random.default_rng(3)
    flips = []
    for share, count in ((0.12, 5_000), (0.33, 20_000)):
        bad = draw.random(count) < share
        start = 0
        while start < count:
            some = [record(i * 0.01, hallucinated=bool(each)) for i, each in enumerate(bad[start:])]
            flip = walk(judge, some)
            start += count if flip is None else flip + 1
            flips += [] if flip is None else [judge.latched]

    assert flips == [True]
