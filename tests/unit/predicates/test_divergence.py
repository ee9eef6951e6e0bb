"""Divergence: silent on what a stream always does, quick on what it never did, honest on too little data."""

import msgspec
import numpy as np
import pytest
from scipy.optimize import brentq

from detector.contract.calibration import CalibratedPredicate
from detector.contract.model import Reference
from detector.predicates.base import Budget, Outcome
from detector.predicates.bins import binner_for
from detector.predicates.divergence import Divergence
from tests.builders import T0, dense, play, record, segment, spec

STRICT = Budget(run_length=1e9, alpha=1e-9)
LOOSE = Budget(run_length=1e9, alpha=1e-4)  # the most that any contract comes to
USUAL = np.array([1, 2, 5, 9, 14, 18, 18, 14, 9, 5, 3, 2]) / 100


def tilted(nats):
    """The usual distribution tilted upwards until it diverges from itself by so many nats."""

    def at(slope):
        weights = USUAL * np.exp(slope * np.arange(len(USUAL)))
        return weights / weights.sum()

    def excess(slope):
        p = at(slope)
        return (p * np.log(p / USUAL)).sum() - nats

    return at(brentq(excess, 0, 20)) if nats else USUAL


def seconds(rng, shares, per_s, start=0, field="output_tokens", **common):
    """For each of the distributions one second of calls; bin i holds values of i bits."""
    for second, share in enumerate(shares, start):
        bins = rng.choice(len(share), size=per_s, p=share)
        yield [record(second + 0.5, **{field: (1 << int(i)) >> 1}, **common) for i in bins]


def judge(budget=STRICT, window_s=60.0, **fields):
    return Divergence(spec("divergence", window_s=window_s, **fields), budget)


def learnt(rng, per_s=100, window_s=60.0, extra_s=30, **fields):
    """A judge that has learnt the usual distribution, and the second at which that was."""
    made, lasts = judge(window_s=window_s, **fields), int(3 * window_s) + 5 + extra_s
    for _ in play(made, seconds(rng, [USUAL] * lasts, per_s)):
        pass
    assert made.armed
    assert not made.latched
    return made, lasts


@pytest.mark.parametrize("per_s", [2, 5, 20, 100])
def test_it_is_silent_while_nothing_changes(per_s):
    """At any rate, ten minutes of independent calls give no breach, on six seeds and a loose budget."""
    armed = breaches = 0
    for seed in range(6):
        made, rng = judge(LOOSE), np.random.default_rng(seed)
        for _, verdict in play(made, seconds(rng, [USUAL] * 600, per_s)):
            armed += verdict.outcome is Outcome.CLEAR
            breaches += made.latched

    assert breaches == 0
    assert armed > 6 * 300


@pytest.mark.parametrize(("nats", "median", "most"), [(0.3, 7, 12), (0.7, 5, 8), (1.5, 4, 6)])
def test_a_drift_is_found_in_seconds(nats, median, most):
    """At 100 calls/s a drift is found within the seconds that show it in a ten-second window."""
    delays = []
    for seed in range(7):
        rng = np.random.default_rng(seed)
        made, start = learnt(rng)
        drift = play(made, seconds(rng, [tilted(nats)] * 60, 100, start), start)
        delays.append(next(second for second, _ in drift if made.latched) - start)

    assert np.median(delays) <= median
    assert max(delays) <= most


def test_what_diverges_less_than_the_threshold_does_not_matter():
    """A certain but small drift, half of the threshold, never breaches."""
    rng = np.random.default_rng(1)
    made, start = learnt(rng)

    assert not any(made.latched for _ in play(made, seconds(rng, [tilted(0.035)] * 300, 200, start), start))


def test_a_breach_ends_within_ten_seconds_of_its_cause():
    """Once the usual distribution is back, the breach ends; the long windows need not have forgotten it."""
    rng = np.random.default_rng(2)
    made, start = learnt(rng)
    for _ in play(made, seconds(rng, [tilted(0.7)] * 30, 100, start), start, frozen=True):
        pass
    assert made.latched
    back = play(made, seconds(rng, [USUAL] * 60, 100, start + 30), start + 30, frozen=True)

    assert next(second for second, _ in back if not made.latched) <= start + 30 + 10
    assert not any(made.latched for _ in back)


def test_evidence_names_what_moved():
    """A breach tells distance, threshold, records, window, and the bins that moved most."""
    rng = np.random.default_rng(3)
    made, start = learnt(rng)
    drift = play(made, seconds(rng, [tilted(0.7)] * 20, 100, start), start)
    verdict = next(verdict for _, verdict in drift if made.latched)

    assert verdict.value > verdict.threshold >= 0.07
    assert verdict.samples >= 30
    assert verdict.window_s in (3, 10, 30, 60)
    bins = [name for name in verdict.detail if name.startswith("output_tokens ")]
    assert 1 <= len(bins) <= 3
    assert verdict.detail["threshold_from"] in ("contract", "learnt wander")
    assert verdict.detail["effective_samples"] == verdict.samples
    assert set(verdict.detail) == {*bins, "design_effect", "effective_samples", "threshold_from"}


def test_nothing_is_judged_before_it_has_been_learnt():
    """
    window 10 s:  0 fills the window   10 a reference as long   20 how far windows stray   30 armed
    """
    made, rng = judge(window_s=10.0), np.random.default_rng(4)
    outcomes = [verdict.outcome for _, verdict in play(made, seconds(rng, [USUAL] * 40, 100))]
    armed = outcomes.index(Outcome.CLEAR)

    assert 27 <= armed <= 33
    assert set(outcomes[:armed]) == {Outcome.LEARNING}
    assert set(outcomes[armed:]) == {Outcome.CLEAR}


def test_too_few_records_are_an_outcome_and_hold_the_latch():
    """When traffic all but stops, the verdict is insufficient, and a breach neither ends nor begins."""
    rng = np.random.default_rng(5)
    made, start = learnt(rng, window_s=10.0)
    for _ in play(made, [[]] * 60, start):
        pass
    assert (made.verdict.outcome, made.latched, made.armed) == (Outcome.INSUFFICIENT, False, False)

    made, start = learnt(rng, window_s=10.0)
    for _ in play(made, seconds(rng, [tilted(1.5)] * 10, 100, start), start, frozen=True):
        pass
    for _ in play(made, [[]] * 60, start + 10, frozen=True):
        pass
    assert (made.verdict.outcome, made.latched) == (Outcome.INSUFFICIENT, True)


def test_the_contracts_own_minimum_is_kept():
    """`min_samples` raises the number of records below which nothing is judged."""
    made, rng = judge(window_s=10.0, min_samples=2000), np.random.default_rng(6)
    outcomes = {verdict.outcome for _, verdict in play(made, seconds(rng, [USUAL] * 60, 100))}

    assert outcomes == {Outcome.LEARNING, Outcome.INSUFFICIENT}


def cycle(length, period_s=20, nats=1.0):
    there = tilted(nats)
    for second in range(length):
        weight = 0.5 - 0.5 * np.cos(2 * np.pi * second / period_s)
        yield weight * there + (1 - weight) * USUAL


def test_what_leaves_the_windows_after_a_breach_does_not_enter_the_reference():
    """Panes that closed while a breach was open stay out when they leave the windows after it."""
    rng = np.random.default_rng(15)
    made, start = learnt(rng, window_s=30.0)
    bit = np.eye(16)[15]
    for _ in play(made, seconds(rng, [bit] * 20, 100, start), start, frozen=True):
        pass
    before = reference_of(made)
    for _ in play(made, seconds(rng, [USUAL] * 90, 100, start + 20), start + 20):
        pass

    assert reference_of(made).sum() > before.sum()
    assert reference_of(made)[15] == 0


def reference_of(made):
    return np.sum([counts for _, counts in made.state()["reference"]["buckets"]], axis=0)


def test_the_distance_that_is_told_is_free_of_the_bias_of_few_records():
    """At five calls a second, where the raw distance is 0.1 nats under no change, 0 +- 0.02 is told."""
    made, rng = judge(window_s=10.0), np.random.default_rng(16)
    told = [verdict.value for _, verdict in play(made, seconds(rng, [USUAL] * 900, 5)) if made.armed]

    assert len(told) > 600
    assert abs(np.mean(told)) < 0.02


def test_a_stream_that_always_cycles_stays_silent_though_it_exceeds_the_threshold():
    """What windows strayed while learning is not news later, even beyond the wished 0.07 nats."""
    worst = 0.0
    for seed in range(3):
        made, rng = judge(window_s=60.0), np.random.default_rng(seed)
        for _, verdict in play(made, seconds(rng, cycle(1200), 100)):
            assert not made.latched
            worst = max(worst, verdict.value or 0.0)

    assert worst > 0.07


def test_a_cycling_stream_still_shows_a_drift_beyond_its_cycle():
    """The learnt threshold is not deafness: values never met in any phase of the cycle are found."""
    made, rng = judge(window_s=60.0), np.random.default_rng(1)
    for _ in play(made, seconds(rng, cycle(400), 100)):
        pass

    assert any(made.latched for _ in play(made, seconds(rng, [np.eye(16)[15]] * 20, 100, 400), 400))


@pytest.mark.parametrize(("frozen", "still"), [(True, True), (False, False)], ids=["frozen", "not frozen"])
def test_a_frozen_reference_does_not_absorb_a_drift(frozen, still):
    """Half an hour of drift is still one if the reference was frozen, and the new normal if not."""
    rng = np.random.default_rng(7)
    made, start = learnt(rng, per_s=40, window_s=10.0, extra_s=265)
    for _ in play(made, seconds(rng, [tilted(0.3)] * 1800, 40, start), start, frozen=frozen):
        pass

    assert made.latched == still


@pytest.mark.parametrize(
    ("field", "served_by", "found"),
    [
        ("input_tokens", "primary", True),
        ("input_tokens", "rule", True),
        ("output_tokens", "primary", True),
        ("output_tokens", "rule", False),
    ],
)
def test_questions_are_judged_whoever_answers_and_answers_only_of_the_primary(field, served_by, found):
    """Calls that a fallback answered tell how the inputs are, and nothing of the primary's outputs."""
    rng = np.random.default_rng(8)
    made, start = judge(window_s=10.0, field=field), 40
    for _ in play(made, seconds(rng, [USUAL] * start, 100, field=field)):
        pass
    calls = seconds(rng, [tilted(1.5)] * 15, 100, start, field=field, served_by=served_by)

    assert any(made.latched for _ in play(made, calls, start)) == found


def test_failed_calls_are_not_in_the_distribution():
    """A 429 has one token; a burst of them is no drift of the answers."""
    rng = np.random.default_rng(9)
    made, start = learnt(rng, window_s=10.0)
    burst = [[record(start + s + 0.5, output_tokens=1, error="429")] * 100 for s in range(15)]
    mixed = [a + b for a, b in zip(burst, seconds(rng, [USUAL] * 15, 100, start), strict=True)]

    assert not any(made.latched for _ in play(made, mixed, start))


def test_a_change_of_state_empties_the_windows_of_answers_but_not_of_questions():
    """After a restart only calls made from then on say how the primary is; what is asked goes on."""
    rng = np.random.default_rng(10)
    verdicts = {}
    for field in ("output_tokens", "input_tokens"):
        made = judge(window_s=10.0, field=field)
        for _ in play(made, seconds(rng, [USUAL] * 40, 100, field=field)):
            pass
        made.restart(T0 + 40.0)
        made.close(T0 + 41, frozen=False)
        verdicts[field] = made.verdict

    assert verdicts["output_tokens"].outcome is Outcome.INSUFFICIENT
    assert verdicts["input_tokens"].outcome is Outcome.CLEAR


@pytest.mark.parametrize("gap", [12, 500, 100_000])
def test_skipping_empty_panes_equals_closing_them(gap):
    """Once idle, a jump over panes without records leaves the judge as closing each of them would."""
    jumped, closed = (learnt(np.random.default_rng(11), window_s=10.0) for _ in range(2))
    (jumped, start), (closed, _) = jumped, closed
    second = start
    while not jumped.idle():
        second += 1
        jumped.close(T0 + second, frozen=False)
        closed.close(T0 + second, frozen=False)
    jumped.skip(T0 + second + gap, frozen=False)
    for boundary in range(second + 1, second + min(gap, 2000) + 1):
        closed.close(T0 + boundary, frozen=False)
    if gap <= 2000:
        assert jumped.state() == closed.state()
    assert jumped.verdict == closed.verdict

    rng = np.random.default_rng(12)
    back = play(jumped, seconds(rng, [USUAL] * 15, 100, second + gap), second + gap)
    assert not any(jumped.latched for _ in back)


def test_templates_and_other_names_are_categories():
    """A new prompt template that takes over half of the calls is found by name."""
    rng = np.random.default_rng(13)
    made = judge(window_s=10.0, field="template")

    def calls(names, start, length):
        return [
            [record(start + s + 0.5, template=str(rng.choice(names))) for _ in range(100)]
            for s in range(length)
        ]

    for _ in play(made, calls(["a", "b", "c"], 0, 40)):
        pass
    found = play(made, calls(["a", "b", "c", "flood", "flood", "flood"], 40, 15), 40)
    verdict = next(verdict for _, verdict in found if made.latched)

    assert any("flood" in name for name in verdict.detail)


def test_a_numeric_feature_may_be_negative():
    """A mean log-probability that falls is a drift of the answers."""
    rng = np.random.default_rng(14)
    made = judge(window_s=10.0, field="logprob_mean")

    def calls(mean, start, length):
        return [
            [record(start + s + 0.5, logprob_mean=float(rng.normal(mean, 0.1))) for _ in range(100)]
            for s in range(length)
        ]

    for _ in play(made, calls(-0.5, 0, 40)):
        pass

    assert any(made.latched for _ in play(made, calls(-1.5, 40, 15), 40))


def test_a_burst_of_names_never_seen_is_told_apart_from_the_rare_ones():
    """With more names than bins, a flood of new ones is found though none of them has a bin of its own."""
    rng = np.random.default_rng(17)
    made = judge(window_s=10.0, field="template")
    usual = [f"t{i}" for i in range(40)]

    def calls(names, start, length):
        for s in range(length):
            yield [record(start + s + 0.5, template=str(rng.choice(names))) for _ in range(100)]

    for _ in play(made, calls(usual, 0, 40)):
        pass
    assert made.armed
    found = play(made, calls([*usual, *(f"new{i}" for i in range(10))], 40, 15), 40)
    verdict = next(verdict for _, verdict in found if made.latched)

    assert "template never seen before" in verdict.detail


def tokens(rng, start, length, vocabulary, per_s=20, each=40):
    for s in range(length):
        yield [
            record(start + s + 0.5, token_ids=rng.choice(vocabulary, size=each).tolist())
            for _ in range(per_s)
        ]


def test_token_ids_are_a_distribution_of_their_own():
    """Another vocabulary in a third of the tokens is found; tokens count for a sixth of a record each."""
    rng, usual = np.random.default_rng(18), np.arange(5000) ** 2
    made = judge(window_s=10.0, field="token_ids")
    for _ in play(made, tokens(rng, 0, 60, usual)):
        assert not made.latched
    assert made.armed
    strange = np.concatenate([usual, np.full(2500, 77)])
    found = play(made, tokens(rng, 60, 15, strange), 60)
    verdict = next(verdict for _, verdict in found if made.latched)

    assert verdict.detail["design_effect"] == 6.0
    assert verdict.samples % 20 == 0  # every second one of forty


def calibrated(**fields):
    counts = tuple((USUAL * 100_000).astype(int).tolist() + [0] * 6)
    usual = {"records": 100_000, "reference": counts, "thresholds_nats": {3: 0.09, 10: 0.08, 60: 0.07}}
    return CalibratedPredicate(**(usual | fields))


def test_a_calibrated_stream_is_armed_at_once():
    """With a calibration a drift is found that began ten seconds after the start."""
    rng = np.random.default_rng(19)
    made = Divergence(spec("divergence", window_s=60.0), STRICT, calibrated())
    outcomes = [verdict.outcome for _, verdict in play(made, seconds(rng, [USUAL] * 10, 100))]
    found = play(made, seconds(rng, [tilted(0.7)] * 10, 100, 10), 10)
    verdict = next(verdict for _, verdict in found if made.latched)

    assert outcomes[2] is Outcome.CLEAR
    assert Outcome.LEARNING not in outcomes
    assert verdict.detail["threshold_from"] in ("contract", "calibration")


def test_a_calibrated_tolerance_is_not_news():
    """What healthy traffic is known to wander by is not found; without that knowledge it is."""
    found = []
    for tolerance in (None, 0.5):
        rng = np.random.default_rng(20)
        made = Divergence(spec("divergence", window_s=60.0), STRICT, calibrated(tolerance_nats=tolerance))
        found.append(any(made.latched for _ in play(made, seconds(rng, [tilted(0.3)] * 60, 100))))

    assert found == [True, False]


def test_calibrated_edges_and_categories_are_the_bins():
    """Counts fall where the calibration's own did; a bin is named by its edges or its category."""
    edges = binner_for("latency_s", calibrated(edges=(0.1, 0.2), reference=(1, 1, 1)))
    listed = binner_for("template", calibrated(categories=("a", "b"), reference=(1, 1, 1)))

    assert edges.count([0.05, 0.1, 0.15, 0.2, 9.0]) == [1, 2, 2]
    assert [edges.name(i) for i in range(3)] == ["under 0.1", "0.1..0.2", "0.2 and more"]
    assert listed.count(["a", "c", "b", "b", "d"]) == [1, 2, 2]
    assert [listed.name(i) for i in range(3)] == ["a", "b", "other"]


@pytest.mark.parametrize("phi", [1.0, 8.0])
def test_calls_in_clusters_need_their_design_effect(phi):
    """Sessions of eight like calls fire where taken as independent, and are silent as what they are."""
    breaches = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        made = Divergence(spec("divergence", window_s=60.0, design_effect=phi), LOOSE, calibrated())
        for second in range(300):
            bins = np.repeat(rng.choice(len(USUAL), size=4, p=USUAL), 8)
            made.absorb(segment([record(second + 0.5, output_tokens=(1 << int(i)) >> 1) for i in bins]))
            made.close(T0 + second + 1, frozen=False)
            breaches += made.latched

    assert (breaches == 0) == (phi > 1)


@pytest.mark.parametrize(("mode", "found"), [("fixed", True), ("trailing", False)])
def test_only_a_fixed_reference_sees_a_slow_creep(mode, found):
    """A drift that takes forty minutes is the new normal to a trailing reference, and none to a fixed one."""
    rng = np.random.default_rng(21)
    made, start = learnt(rng, per_s=40, window_s=10.0, reference=Reference(mode=mode))
    shares = [tilted(1e-4 + 0.3 * second / 2400) for second in range(0, 2400, 60) for _ in range(60)]
    latched = [made.latched for _ in play(made, seconds(rng, shares, 40, start), start)]

    assert any(latched) == found


def test_an_accepted_drift_is_the_new_normal():
    """After `rebase` the judge learns anew, is silent on the drift, and finds the way back to be one."""
    rng = np.random.default_rng(22)
    made, start = learnt(rng, window_s=10.0)
    for _ in play(made, seconds(rng, [tilted(0.7)] * 20, 100, start), start, frozen=True):
        pass
    assert made.latched
    made.rebase()
    after = list(play(made, seconds(rng, [tilted(0.7)] * 80, 100, start + 20), start + 20))

    assert made.armed
    assert not any(verdict.outcome is Outcome.BREACH for _, verdict in after)
    assert any(made.latched for _ in play(made, seconds(rng, [USUAL] * 20, 100, start + 100), start + 100))


def test_a_route_of_three_calls_a_second_gets_clear_and_says_how_long_it_takes():
    """Few calls take longer windows to clear: the bound is said while it is over ten seconds, and is kept."""
    rng = np.random.default_rng(23)
    made, start = learnt(rng, per_s=3, extra_s=100)
    for _ in play(made, seconds(rng, [tilted(1.5)] * 60, 3, start), start, frozen=True):
        pass
    assert made.latched
    assert "that takes" in made.progress() or made._stream.clear_span <= 10
    back = play(made, seconds(rng, [USUAL] * 80, 3, start + 60), start + 60, frozen=True)

    assert next(second for second, _ in back if not made.latched) <= start + 60 + 33


def test_a_group_that_drifts_is_found_and_named():
    """One tenant of ten whose answers collapse is a trifle in the whole, and found by its name."""
    rng, found = np.random.default_rng(24), {}
    for by in ((), ("tenant",)):
        made = judge(window_s=10.0, by=by)
        calls = list(by_tenant(rng, 0, 40, USUAL)) + list(by_tenant(rng, 40, 20, tilted(1.0)))
        for _, verdict in play(made, calls):
            if made.latched:
                found.setdefault(by, verdict.detail)

    assert () not in found
    assert found["tenant",]["tenant"] == "t3"


def by_tenant(rng, start, length, share):
    for second in range(start, start + length):
        calls = []
        for i, here in enumerate([share if i == 3 else USUAL for i in range(10)]):
            drawn = rng.choice(len(here), size=60 if i == 0 else 15, p=here)
            calls += [record(second + 0.5, output_tokens=(1 << int(b)) >> 1, tenant=f"t{i}") for b in drawn]
        yield calls


def test_groups_are_bounded_and_survive_a_snapshot():
    """However many tenants come, at most twenty groups are kept; a restored judge goes on the same."""
    rng = np.random.default_rng(25)
    made, taken = judge(window_s=10.0, by=("tenant",)), judge(window_s=10.0, by=("tenant",))

    def calls(start, length):
        for second in range(start, start + length):
            yield [
                record(second + 0.5, output_tokens=int(n), tenant=f"t{n % 60}")
                for n in rng.integers(0, 900, 50)
            ]

    for _ in play(made, calls(0, 45)):
        assert len(made.state()["strata"]) <= 20
    taken.load(msgspec.msgpack.decode(msgspec.msgpack.encode(made.state()), strict=False))
    later = list(calls(45, 30))
    list(play(made, later, 45))
    list(play(taken, later, 45))

    assert taken.state() == made.state()
    assert taken.verdict == made.verdict


def test_a_text_has_the_bin_that_it_got_when_it_came():
    """The names that are told do not depend on where calls of two seconds, out of order, were parted."""
    calls = [record(i % 2 + i / 1000, template=f"t{i}") for i in range(40)]
    whole, parted = judge(window_s=10.0, field="template"), judge(window_s=10.0, field="template")
    whole.absorb(segment(calls, boundary=0))
    for first in range(0, 40, 3):
        parted.absorb(segment(calls[first : first + 3], boundary=0))

    assert whole.state() == parted.state()


@pytest.mark.parametrize("field", ["input_tokens", "output_tokens"])
def test_whose_calls_count_does_not_depend_on_how_they_came(field):
    """Inputs on every call that did not fail, outputs on the primary's alone; laid out as arrays or not."""
    calls = [
        record(
            i / 20,
            served_by="rule" if i % 3 == 0 else "primary",
            error="500" if i % 7 == 0 else "",
            **{field: i * 10},
        )
        for i in range(60)
    ]
    listed, laid = judge(window_s=10.0, field=field), judge(window_s=10.0, field=field)
    listed.absorb(segment(calls, boundary=0))
    laid.absorb(dense(segment(calls, boundary=0), {17}))

    assert laid.state() == listed.state()
    counted = sum(sum(counts) for _, counts in laid.state()["ring"]["open"])
    assert counted == sum(
        not call.error and (field == "input_tokens" or call.served_by == "primary") for call in calls
    )
