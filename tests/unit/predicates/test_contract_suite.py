"""What every judge in the registry keeps to, whatever it judges; a new one is picked up by itself."""

import copy
from functools import cache
from typing import get_args

import msgspec
import numpy as np
import pytest

from detector.contract.loader import check_text
from detector.contract.model import Method, PredicateSpec, PredicateType
from detector.predicates.base import Budget
from detector.predicates.registry import PREDICATES, judge_for
from tests.builders import T0, calls_of, dense, evaluation, record, segment

BUDGET = Budget(run_length=1e6, alpha=1e-6)
HEALTHY_S, FAULTY_S = 45, 15
SPECS = {
    "divergence": {"field": "output_tokens", "window_s": 10.0},
    "rate": {"field": "hallucinated", "window_s": 10.0, "ceiling": 0.05},
    "exceedance": {"field": "latency_s", "above_ms": 500.0, "window_s": 10.0, "ceiling": 0.05},
    "absence": {"after_s": 5.0},
    "evaluation": {"evaluation": "hallucination", "ceiling": 0.05},
    "attribution": {"cause": "hardware_throttling"},
    "repetition": {"field": "token_ids", "above_share": 0.7, "ceiling": 0.05},
    "shortfall": {"field": "logprob_mean", "below_nats": 0.5, "ceiling": 0.05},
}
EACH = pytest.mark.parametrize("entry", PREDICATES, ids=[f"{kind}-{method}" for kind, method in PREDICATES])
# An attribution is told by its route, which sees all predicates; by itself it never latches.
ALONE = pytest.mark.parametrize(
    "entry", [each for each in PREDICATES if each[0] != "attribution"], ids="-".join
)
RIVERS = {"adwin", "kswin", "page_hinkley"}
TELLERS = [(kind, "default") for kind in ("rate", "exceedance", "repetition", "shortfall")]
SAVED = [entry for entry in PREDICATES if entry[1] not in RIVERS]


def made(entry):
    kind, method = entry
    of_type = "rate" if kind == "evaluation" else kind
    return judge_for(PredicateSpec(name="p", type=of_type, method=method, **SPECS[kind]), BUDGET)


def traffic(entry):
    """Each second's calls and late verdicts: healthy, then failing in every way, then silent."""
    rng, per_s = np.random.default_rng(0), 8 if entry[1] == "kswin" else 40  # it takes 0.25 ms a call
    for second in range(HEALTHY_S + FAULTY_S):
        bad = second >= HEALTHY_S
        yield (
            [
                record(
                    second + i / per_s,
                    request_id=f"{second}-{i}",
                    input_tokens=200,
                    logprob_mean=float(rng.normal(-2.0 if bad else -0.5, 0.1)),
                    token_ids=[1, 2] * 8 if bad else list(range(16)),
                    output_tokens=int(rng.lognormal(8 if bad else 4, 0.5)),
                    latency_s=float(rng.lognormal(1 if bad else -3, 0.3)),
                    hallucinated=bool(rng.random() < (0.9 if bad else 0.005)),
                )
                for i in range(per_s)
            ],
            [
                evaluation(second + i / 10, failed=bool(rng.random() < (0.9 if bad else 0.0)))
                for i in range(10)
            ],
        )
    yield from [([], [])] * 12


def live(judge, seconds, start=0, before=lambda second, judge: judge, laid=lambda part: part):
    """Everything that shows of a judge: flips, latch and verdict of each second."""
    seen = []
    for second, (records, verdicts) in enumerate(seconds, start):
        judge = before(second, judge)
        while records:
            part = laid(segment(records, boundary=second))
            flip = judge.observe(part)
            head = part if flip is None else part.head(flip + 1)
            if flip is not None and flip < len(part) - 1:
                judge.rollback()
                assert judge.observe(head) == flip
            judge.absorb(head)
            seen.append((second, flip, judge.latched))
            records = records[len(head) :]
        if verdicts and hasattr(judge, "judge_verdicts"):
            seen += [
                (second, judge.judge_verdicts((i,), verdicts), judge.latched) for i in range(len(verdicts))
            ]
        judge.close(T0 + second + 1, frozen=judge.latched)
        judge.tick(T0 + second + 1)
        seen.append((second, judge.latched, judge.verdict.outcome, judge.armed))
    return seen


def test_every_pair_that_a_contract_may_name_has_a_judge():
    """The registry has a judge for exactly the pairs of source and method that `check` lets pass."""
    text = """
version: 1
predicates:
  p: {{type: {type}, method: {method}, {keys}}}
modes:
  m: {{when: p}}
fallbacks:
  rule: {{type: rule, p99_ms: 20, share: 1}}
matrix:
  - {{mode: "*", input_class: "*", fallbacks: [rule]}}
"""
    keys = {
        "divergence": "field: output_tokens",
        "rate": "field: hallucinated",
        "exceedance": "field: latency_s, above_ms: 200",
        "absence": "after_s: 30",
        "evaluation": "evaluation: hallucination",
        "attribution": "cause: hardware_throttling",
        "repetition": "field: token_ids, above_share: 0.7",
        "shortfall": "field: output_tokens, below_share: 0.3",
    }
    assert set(get_args(PredicateType)) | {"evaluation"} == set(keys)
    allowed = {
        (kind, method)
        for kind, given in keys.items()
        for method in get_args(Method)
        if not any(
            finding.rule == "unknown-choice"
            for finding in check_text(
                text.format(type="rate" if kind == "evaluation" else kind, method=method, keys=given)
            )
        )
    }

    assert allowed == set(PREDICATES)


def test_a_pair_that_does_not_exist_is_refused():
    """Asking for a judge that nobody wrote names the predicate, the type and the method."""
    with pytest.raises(ValueError, match="p: no method 'adwin' for type 'absence'"):
        judge_for(PredicateSpec(name="p", type="absence", method="adwin"), BUDGET)


@cache
def undisturbed(entry):
    return live(made(entry), traffic(entry))


@ALONE
def test_a_judge_finds_a_gross_fault(entry):
    """Each judge latches when everything goes wrong; the default methods are silent until then."""
    latched = [each[0] for each in undisturbed(entry) if (each[2] if len(each) == 3 else each[1])]

    assert any(second >= HEALTHY_S for second in latched)
    assert entry[1] != "default" or min(latched) >= HEALTHY_S


@EACH
def test_a_judge_is_deterministic(entry):
    """Two judges that are shown the same come to the same."""
    assert live(made(entry), traffic(entry)) == undisturbed(entry)


@EACH
def test_a_judge_leaves_what_it_is_shown_alone(entry):
    """Records and columns of a segment are the same after a judge has seen it."""
    judge, records = made(entry), [record(i / 40, output_tokens=i, latency_s=1.0) for i in range(40)]
    part = segment(records)
    before = copy.deepcopy((part.offsets, part.columns, part.times))
    judge.observe(part)
    judge.rollback()
    judge.absorb(part)
    judge.close(T0 + 1, frozen=False)

    assert (part.offsets, part.columns, part.times) == before


def through_msgpack(entry, judge):
    taken = made(entry)
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(judge.state()), strict=False))
    return taken


@pytest.mark.parametrize("entry", SAVED, ids=["-".join(entry) for entry in SAVED])
@pytest.mark.parametrize("cut", [3, 20, 44, 47, 53, 61, 68])
def test_a_judge_goes_on_from_its_state(entry, cut):
    """State through msgpack into a new judge, at any moment: everything after it is the same."""

    def move(second, judge):
        if second != cut:
            return judge
        taken = through_msgpack(entry, judge)
        assert (taken.latched, taken.armed) == (judge.latched, judge.armed)
        return taken

    assert live(made(entry), traffic(entry), before=move) == undisturbed(entry)


@ALONE
def test_a_latch_outlives_a_restart(entry):
    """Whatever else a judge forgets, a breach that was open is open in the judge that takes over."""
    open_ones = []

    def look(second, judge):
        if judge.latched:
            open_ones.append(through_msgpack(entry, judge).latched)
        return judge

    live(made(entry), traffic(entry), before=look)

    assert open_ones
    assert all(open_ones)


@EACH
def test_no_data_is_no_breach(entry):
    """A judge that has seen nothing, or nothing that was measured, is never latched."""
    judge = made(entry)
    assert not any(judge.latched for _ in live(judge, [([], [])] * 400))

    judge = made(entry)
    unmeasured = [
        ([record(second + i / 10) for i in range(10)], [evaluation(second)]) for second in range(100)
    ]
    for _ in live(judge, unmeasured):
        assert not judge.latched


@EACH
def test_a_walk_that_is_undone_leaves_no_trace(entry):
    """After observe and rollback a judge goes on as if it had not observed."""
    faulty = [record(HEALTHY_S - 1, output_tokens=50_000, latency_s=9.0, hallucinated=True)] * 60

    def detour(second, judge):
        if second in (10, 30, HEALTHY_S):
            judge.observe(segment(faulty, boundary=second))
            judge.rollback()
        return judge

    assert live(made(entry), traffic(entry), before=detour) == undisturbed(entry)


@EACH
def test_whatever_a_calm_judge_holds_against_a_call_was_a_suspicion(entry):
    """So says a judge that has seen nothing, unless what is suspicious is learnt: then the judge itself."""
    scout, bad_ones = made(entry), []

    def look(second, judge):
        if judge.walks and judge.calm:
            part = segment([*seconds[second][0], *seconds[HEALTHY_S][0]], boundary=second)
            suspects = set((judge if judge.local else scout).suspects(calls_of(part)))
            judge.observe(part)
            told = judge.flagged
            judge.rollback()
            if told is not None:
                bad_ones.extend(told[0][i] for i in told[1])
                assert suspects.issuperset(told[0][i] for i in told[1])
        return judge

    seconds = list(traffic(entry))
    live(made(entry), seconds, before=look)

    assert bad_ones or entry not in TELLERS


@EACH
def test_calls_that_were_laid_out_as_arrays_are_judged_like_all_others(entry):
    """Flips, verdicts and what is saved, with calls that failed, were not measured, or went elsewhere."""

    def spoilt():
        draw = np.random.default_rng(1)
        for records, verdicts in traffic(entry):
            for call in records:
                luck = draw.random()
                if luck < 0.1:
                    call.error, call.latency_s, call.output_tokens = "500", None, None
                elif luck < 0.2:
                    call.served_by = "rule"
                elif luck < 0.3:
                    call.hallucinated = call.logprob_mean = None
            yield records, verdicts

    plain, arrays = made(entry), made(entry)

    assert live(plain, spoilt()) == live(arrays, spoilt(), laid=lambda part: dense(part, {1, len(part) // 2}))
    if entry in SAVED:
        assert plain.state() == arrays.state()
        assert (plain.verdict, plain.flagged is None) == (arrays.verdict, arrays.flagged is None)


@EACH
def test_as_many_suspects_as_a_calm_judge_bears_do_not_make_it_flip(entry):
    """At any moment of healthy and of faulty traffic; that is what calls may wait on."""

    def tempt(second, judge):
        if judge.walks and judge.calm and judge.patience:
            bad = record(second, output_tokens=1, latency_s=9.0, hallucinated=True, logprob_mean=-9.0)
            assert judge.observe(segment([bad] * judge.patience, boundary=second)) is None
            judge.rollback()
        return judge

    assert live(made(entry), traffic(entry), before=tempt) == undisturbed(entry)


@EACH
def test_idle_means_that_empty_panes_change_nothing(entry):
    """While a judge says that it is idle, skipping panes and closing them come to the same."""
    skipped, closed = made(entry), made(entry)
    seconds = list(traffic(entry))[:HEALTHY_S]
    live(skipped, seconds)
    live(closed, seconds)
    second = HEALTHY_S
    while not skipped.idle() and second < HEALTHY_S + 100:
        second += 1
        skipped.close(T0 + second, frozen=False)
        closed.close(T0 + second, frozen=False)
    assert skipped.idle()
    skipped.skip(T0 + second + 30, frozen=False)
    for boundary in range(second + 1, second + 31):
        closed.close(T0 + boundary, frozen=False)

    calm = {"output_tokens": 50, "latency_s": 0.05, "hallucinated": False}
    later = [([record(second + 30 + s + i / 10, **calm) for i in range(10)], []) for s in range(15)]
    assert live(skipped, later, second + 30) == live(closed, later, second + 30)
