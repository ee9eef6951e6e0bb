"""Answers compared with answers to the like: callers may come and go, what each gets may not change."""

import msgspec
import numpy as np
import pytest

from detector.contract.calibration import CalibratedPredicate
from detector.predicates.base import Budget, Outcome
from detector.predicates.divergence import Divergence
from detector.predicates.given import GivenYardstick, yardstick_of
from detector.predicates.known_drifts import KnownDrifts
from detector.predicates.yardstick import LEAST_REFERENCE, Yardstick
from tests.builders import dense, play, record, segment, spec

BINS = 18
BUDGET = Budget(run_length=1e9, alpha=1e-6)
TENANTS = ("ada", "bob", "cyd", "dan")
# Mean bit length of each tenant's answers: far apart, so that their mix is most of the distribution.
USUAL = {"ada": 3.0, "bob": 6.0, "cyd": 9.0, "dan": 12.0}


def shares(middles, spread=1.2):
    """Distributions over the bins, one row for each middle."""
    weights = np.exp(-0.5 * ((np.arange(BINS) - np.array(middles)[:, None]) / spread) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def pairs(rng, mix, given, n):
    """Counts of n pairs, flat."""
    return rng.multinomial(n, (np.asarray(mix)[:, None] * given).ravel())


def far(yardstick, window):
    """(judged, raw, less chance) of one window."""
    totals = window[np.newaxis]
    sizes = yardstick.judged(totals, [int(window.sum())])
    (raw,), (bias,) = yardstick.distances(totals, sizes), yardstick.biases(totals, sizes)
    return sizes[0], raw, raw - bias


def test_a_single_stratum_is_the_plain_distance():
    """Distance, bias, test and degrees of freedom are those of the field by itself."""
    rng = np.random.default_rng(1)
    (share,) = shares([6])
    reference, window = rng.multinomial(5000, share), rng.multinomial(400, np.roll(share, 1))
    plain, given = Yardstick(reference), GivenYardstick(reference, 1)

    assert far(given, window)[:2] == pytest.approx(far(plain, window)[:2], rel=1e-9)
    assert far(given, window)[2] == pytest.approx(far(plain, window)[2], rel=0.02)
    assert given.freedom == plain.freedom
    assert [i for i, _, _ in given.contributions(window, 400, 3)] == [
        i for i, _, _ in plain.contributions(window, 400, 3)
    ]
    for tolerance in (0.0, 0.2, 0.5, 1.0):
        raw = far(plain, window)[1]
        plainly, likewise = (
            each.certain(raw, 400, window, design_effect=1.0, tolerance=tolerance, alpha=1e-6)
            for each in (plain, given)
        )
        assert plainly == likewise


@pytest.mark.parametrize("n", [100, 1000, 5000])
def test_another_mix_of_callers_is_no_distance(n):
    """Whatever share each stratum has of a window: chance explains all of it, and nothing is certain."""
    rng, given = np.random.default_rng(2), shares([3, 6, 9, 12])
    found, certain = [], 0
    for _ in range(200):
        yardstick = GivenYardstick(pairs(rng, [0.7, 0.1, 0.1, 0.1], given, 20_000), 4)
        window = pairs(rng, rng.dirichlet([0.5] * 4), given, n)
        judged, raw, left = far(yardstick, window)
        found.append(left)
        certain += yardstick.certain(raw, judged, window, design_effect=1.0, tolerance=0.035, alpha=1e-4)
        assert judged == n

    assert -0.002 < np.mean(found) < 0.012
    assert certain == 0
    # The plain distance of the same pairs would be far.
    assert far(Yardstick(pairs(rng, [0.7, 0.1, 0.1, 0.1], given, 20_000)), window)[2] > 0.1 or n < 100


def test_the_distance_is_the_mean_over_the_strata():
    """sum p(x) KL(P(y|x) || Q(y|x)), p being the window's own mix."""
    rng, before, after = np.random.default_rng(3), shares([4, 8, 12]), shares([4, 9, 11.5])
    mix = np.array([0.5, 0.2, 0.3])
    yardstick = GivenYardstick(pairs(rng, [0.2, 0.4, 0.4], before, 2_000_000), 3)
    truth = float((mix[:, None] * after * np.log(after / before)).sum())

    assert far(yardstick, pairs(rng, mix, after, 500_000))[2] == pytest.approx(truth, rel=0.02)
    assert truth > 0.09


def test_a_stratum_that_the_reference_hardly_knows_is_not_judged():
    """Neither its distance nor its records count; a window of nothing else has none."""
    rng, given = np.random.default_rng(4), shares([5, 10])
    known = pairs(rng, [1, 0], given, 5000)
    reference = known + pairs(rng, [0, 1], given, LEAST_REFERENCE - 1)
    yardstick = GivenYardstick(reference, 2)
    strange = pairs(rng, [0, 1], shares([5, 2]), 400)
    usual = pairs(rng, [1, 0], given, 300)

    assert far(yardstick, usual + strange)[0] == 300
    assert far(yardstick, usual + strange)[1:] == pytest.approx(far(yardstick, usual)[1:])
    assert far(yardstick, strange) == (0, 0.0, 0.0)
    assert yardstick.beyond_chance(strange, 1.0) is None
    assert {i // BINS for i, _, _ in yardstick.contributions(usual + strange, 300, 50)} == {0}
    assert yardstick.freedom == int((known > 0).sum()) - 1
    # One more record, and it is known.
    more = reference.copy()
    more[BINS + 10] += 1
    assert far(yardstick_of(more, 2), usual + strange)[0] == 700


def calls(rng, mix, second, per_s, middles, **common):
    """A second of calls: tenants by `mix`, the bit length of an answer about its tenant's middle."""
    for i, number in enumerate(rng.choice(len(TENANTS), size=per_s, p=mix)):
        tenant = TENANTS[number]
        bits = int(np.clip(np.rint(rng.normal(middles[tenant], 0.8)), 1, 16))
        yield record(second + (i + 0.5) / per_s, tenant=tenant, output_tokens=1 << bits - 1, **common)


def steady(_):
    return [0.4, 0.3, 0.2, 0.1]


def stream(rng, seconds, per_s=40, mix=steady, middles=USUAL, start=0):
    for second in range(start, start + seconds):
        yield list(calls(rng, mix(second), second, per_s, middles))


def judge(**fields):
    return Divergence(spec("divergence", window_s=30.0, **fields), BUDGET)


def played(made, seconds, start=0):
    """Seconds in which it held."""
    return [second for second, _ in play(made, seconds, start) if made.latched]


def turned(second):
    """The mix from the second minute on."""
    return steady(second) if second < 130 else [0.1, 0.2, 0.3, 0.4]


def test_callers_that_come_and_go_are_no_drift_of_the_answers():
    """The mix turns over: plain, that is a drift of the answers; given the tenant it is none."""
    plain, given = judge(), judge(given="tenant")

    assert played(plain, stream(np.random.default_rng(5), 200, mix=turned))
    assert not played(given, stream(np.random.default_rng(5), 200, mix=turned))
    assert given.verdict.outcome is Outcome.CLEAR


def test_answers_that_change_are_found_whatever_the_mix_does():
    """Everybody's answers get one bit shorter while the mix turns over: found, by tenants that are named."""
    made, rng = judge(given="tenant"), np.random.default_rng(6)
    assert not played(made, stream(rng, 150, mix=turned))
    shorter = {tenant: bits - 1 for tenant, bits in USUAL.items()}
    held = played(made, stream(rng, 30, mix=turned, middles=shorter, start=150), 150)

    assert held
    assert held[0] - 150 <= 12
    names = [name for name in made.verdict.detail if name.startswith("output_tokens")]
    assert names
    assert all(" at tenant " in name for name in names)
    assert "of those calls, was" in str(made.verdict.detail[names[0]])
    # And over when they are as they were.
    assert played(made, stream(rng, 60, mix=turned, start=180), 180)[-1] < 215


def test_calls_without_either_value_are_left_out():
    """Nothing is known of a call that has no answer, or no length of its question."""
    made = judge(given="input_tokens")
    for _ in play(
        made,
        (
            [record(s + 0.1, output_tokens=5), record(s + 0.2, input_tokens=70), record(s + 0.3, error="500")]
            for s in range(120)
        ),
    ):
        pass

    assert made.verdict.outcome is Outcome.LEARNING
    assert made.verdict.samples == 0


def test_lengths_are_told_apart_by_octaves():
    """Longer questions get longer answers; more of them is no drift, and longer answers to each are one."""

    def seconds(rng, longest, factor, start, count):
        for second in range(start, start + count):
            lengths = 2 ** rng.uniform(4, longest, 40)
            yield [
                record(
                    second + (i + 0.5) / 40,
                    input_tokens=int(length),
                    output_tokens=int(factor * length * 2 ** rng.normal(0, 0.5)) + 1,
                )
                for i, length in enumerate(lengths)
            ]

    made, plain, rng = judge(given="input_tokens"), judge(), np.random.default_rng(7)
    assert not played(made, seconds(rng, 12, 1, 0, 130))
    assert not played(made, seconds(rng, 9, 1, 130, 40), 130)
    assert played(made, seconds(rng, 9, 3, 170, 30), 170)
    assert not played(plain, seconds(rng, 12, 1, 0, 130))
    assert played(plain, seconds(rng, 9, 1, 130, 40), 130)


def test_a_snapshot_goes_on_as_if_nothing_had_been():
    """State, saved and loaded now and then, leads to the same verdicts."""
    rng = np.random.default_rng(8)
    shorter = {tenant: bits - 1 for tenant, bits in USUAL.items()}
    seconds = [*stream(rng, 150), *stream(rng, 40, middles=shorter, start=150)]
    one, other, seen = judge(given="tenant"), judge(given="tenant"), []
    for (second, verdict), _ in zip(play(one, seconds), play(other, seconds), strict=True):
        if second % 37 == 0:
            saved = msgspec.msgpack.decode(msgspec.msgpack.encode(other.state()), strict=False)
            fresh = judge(given="tenant")
            fresh.load(saved)
            other.__dict__.update(fresh.__dict__)
        else:
            assert other.verdict == verdict
        seen.append(verdict.outcome)
        assert other.latched == one.latched

    assert Outcome.BREACH in seen


def test_what_is_calibrated_counts_from_the_first_second():
    """Categories and reference of a calibration: armed at once, and of strangers nothing is known."""
    rng, given = np.random.default_rng(9), shares([USUAL[tenant] for tenant in TENANTS], 0.8)
    reference = pairs(rng, [0.4, 0.3, 0.2, 0.1], given, 20_000)
    calibrated = CalibratedPredicate(
        categories=TENANTS, reference=tuple(reference.tolist()), thresholds_nats={3: 0.3, 10: 0.1, 30: 0.07}
    )
    made = Divergence(spec("divergence", window_s=30.0, given="tenant"), BUDGET, calibrated)
    shorter = {tenant: bits - 1 for tenant, bits in USUAL.items()}

    assert not played(made, stream(rng, 10, mix=lambda _: [0.1, 0.2, 0.3, 0.4]))
    assert made.armed
    assert played(made, stream(rng, 15, middles=shorter, start=10), 10)
    alone = Divergence(spec("divergence", window_s=30.0, given="tenant"), BUDGET, calibrated)
    strangers = ([record(s + i / 40, tenant="eve", output_tokens=9) for i in range(40)] for s in range(30))
    assert not played(alone, strangers)
    assert alone.verdict.outcome is Outcome.INSUFFICIENT


def test_calls_as_arrays_are_counted_like_calls_as_lists():
    """Over several seconds, failed calls and fallbacks' answers and missing values among them."""
    rng, one, other = np.random.default_rng(10), judge(given="tenant"), judge(given="tenant")
    rows = [
        record(
            float(rng.uniform(0, 3)),
            tenant=TENANTS[int(rng.integers(4))],
            output_tokens=None if i % 7 == 0 else int(rng.integers(1, 500)),
            error="500" if i % 11 == 0 else "",
            served_by="rule" if i % 5 == 0 else "primary",
        )
        for i in range(2000)
    ]
    part = segment(rows, boundary=0)
    one.absorb(part)
    other.absorb(dense(part, [60, 130]))

    assert one.state() == other.state()
    assert sum(sum(counts) for _, counts in one.state()["ring"]["open"]) > 600


@pytest.mark.parametrize("sizes", [(700,), (1, 499, 200), (499, 2, 199), (333, 333, 34)])
def test_the_callers_with_most_calls_have_a_stratum_whoever_came_first(sizes):
    """Of the first 500 calls, however they come; those calls themselves, and all others, are not counted."""
    made, rng, start = judge(given="tenant"), np.random.default_rng(12), 0
    first = [f"probe{i}" for i in range(20)]
    often = [f"t{int(i)}" for i in rng.geometric(0.2, 680)]
    rows = [record(1.0 - i / 1000, tenant=name, output_tokens=8) for i, name in enumerate(first + often)]
    for size in sizes:
        made.absorb(segment(rows[start : start + size], boundary=0))
        start += size
    counted = np.sum([counts for _, counts in made.state()["ring"]["open"]], axis=0).reshape(15, BINS)
    names = [made._binner.name(i * BINS).removeprefix("0..0 at tenant ") for i in range(15)]

    assert set(names) > {"t1", "t2", "t3", "t4", "t5"}
    assert [often[480:].count(name) for name in names] == counted[:, 4].tolist()
    assert counted[names.index("t1"), 4] > 20


def test_calls_that_report_no_answer_are_no_error():
    """A segment over two seconds in which nothing was measured, as lists and as arrays."""
    for shape in (lambda part: part, dense):
        made = judge(given="tenant")
        made.absorb(shape(segment([record(0.2), record(1.2)], boundary=0)))
        made.absorb(shape(segment([record(0.2), record(1.2, error="500", output_tokens=3)], boundary=0)))

        assert made.state()["ring"]["open"] == []


def test_a_harmless_drift_makes_nothing_else_harmless():
    """The same again is no news within the hour, and another one is."""
    rng, made = np.random.default_rng(13), judge(given="tenant")
    one = USUAL | {"dan": USUAL["dan"] - 4}
    another = USUAL | {"ada": USUAL["ada"] + 6, "bob": USUAL["bob"] + 5}
    assert not played(made, stream(rng, 150))
    assert played(made, stream(rng, 20, middles=one, start=150), 150)
    made.tolerate()
    assert 229 not in played(made, stream(rng, 60, start=170), 170)
    assert not played(made, stream(rng, 30, middles=one, start=230), 230)
    assert not played(made, stream(rng, 40, start=260), 260)

    assert played(made, stream(rng, 20, middles=another, start=300), 300)


def test_calls_that_cannot_be_compared_are_too_little_and_never_healthy():
    """The calibration knows one caller from a hundred calls: where he alone calls, nothing is judged."""
    rng, given = np.random.default_rng(22), shares([USUAL[tenant] for tenant in TENANTS], 0.8)
    reference = pairs(rng, [0.4, 0.3, 0.3, 0], given, 20_000) + pairs(rng, [0, 0, 0, 1], given, 100)
    calibrated = CalibratedPredicate(
        categories=TENANTS, reference=tuple(reference.tolist()), thresholds_nats={3: 0.3, 10: 0.1, 30: 0.07}
    )
    made = Divergence(spec("divergence", window_s=30.0, given="tenant"), BUDGET, calibrated)

    assert not played(made, stream(rng, 20, mix=lambda _: [0, 0, 0, 1]))
    assert made.verdict.outcome is Outcome.INSUFFICIENT
    assert made.verdict.samples == 0
    assert not played(made, stream(rng, 20, mix=lambda _: [0.5, 0, 0, 0.5], start=20), 20)
    assert made.verdict.outcome is Outcome.CLEAR


def of_fifteen(rng):
    """A judge with a calibration of fifteen callers, who they are, and what all of them get."""
    names = tuple(f"t{i:02}" for i in range(15))
    (share,) = shares([8], 1.0)
    calibrated = CalibratedPredicate(
        categories=names,
        reference=tuple(np.tile(rng.multinomial(4000, share), 15).tolist()),
        thresholds_nats={10: 0.3, 30: 0.2, 60: 0.1},
    )
    made = Divergence(spec("divergence", window_s=60.0, given="tenant"), BUDGET, calibrated)
    return made, names, share


def test_an_hour_that_knows_less_does_not_take_the_place_of_a_calibration():
    """Fifteen callers at a call a second: their own hour never holds enough of each, and a drift is found."""
    rng = np.random.default_rng(14)
    made, names, share = of_fifteen(rng)

    def seconds(start, count, shift=0):
        for s in range(start, start + count):
            bits = int(rng.choice(BINS, p=share)) + shift
            yield [record(s + 0.5, tenant=names[int(rng.integers(15))], output_tokens=1 << bits >> 1)]

    assert not played(made, seconds(0, 1500))
    assert made.armed
    assert played(made, seconds(1500, 90, 3), 1500)


def test_an_hour_that_knows_one_caller_does_not_take_the_place_of_a_calibration_of_all():
    """Half of the calls are one caller's; what changes are the answers to the others, and it is found."""
    rng = np.random.default_rng(17)
    made, names, share = of_fifteen(rng)

    def seconds(start, count, shift=0):
        for s in range(start, start + count):
            callers = [0 if rng.random() < 0.5 else int(rng.integers(1, 15)) for _ in range(5)]
            yield [
                record(
                    s + i / 5,
                    tenant=names[caller],
                    output_tokens=1 << int(rng.choice(BINS, p=share)) + (shift if caller else 0) >> 1,
                )
                for i, caller in enumerate(callers)
            ]

    assert not played(made, seconds(0, 600))
    assert played(made, seconds(600, 60, 3), 600)


def test_too_few_calls_of_each_caller_are_learning_and_never_healthy():
    """Uncalibrated, at a call a second of fifteen callers: no hour knows one of them."""
    rng = np.random.default_rng(18)
    made = Divergence(spec("divergence", window_s=30.0, given="tenant"), BUDGET)
    seconds = (
        [record(s + 0.5, tenant=f"t{int(rng.integers(15))}", output_tokens=int(rng.integers(1, 500)))]
        for s in range(2400)
    )

    assert not played(made, seconds)
    assert made.verdict.outcome is Outcome.LEARNING


def test_a_place_that_knows_a_part_of_a_window_does_not_make_it_harmless():
    """What was harmless was one caller's; the other one's answers were hardly seen then."""
    rng, given = np.random.default_rng(19), shares([5, 10])
    known = KnownDrifts(2)
    there = pairs(rng, [1, 0], given, 100) + pairs(rng, [0, 1], given, 10)
    known.remember(there, pairs(rng, [0.5, 0.5], given, 4000), 0)
    strange = pairs(rng, [1, 0], given, 400) + pairs(rng, [0, 1], shares([5, 3]), 300)

    nothing = np.zeros_like(there)
    assert known.is_known(pairs(rng, [1, 0], given, 400), 400, 0.1, 1.0, nothing, 10)
    assert not known.is_known(strange, 700, 0.1, 1.0, nothing, 10)


def test_barely_known_strata_are_as_far_as_chance_has_it():
    """Each of fifteen with 340 records of reference: what chance explains is all there is, on the mean."""
    rng, given, mix = np.random.default_rng(20), shares(range(2, 17)), np.full(15, 1 / 15)
    found = []
    for _ in range(60):
        reference = np.concatenate([rng.multinomial(340, row) for row in given])
        found.append(far(GivenYardstick(reference, 15), pairs(rng, mix, given, 6000))[2])

    assert abs(np.mean(found)) < 0.004


def test_a_stratum_of_small_reference_and_much_of_the_window_is_no_certain_change():
    """Its part of the sum varies more than the others': at most 1 in 10 where 1 in 1,000 is meant."""
    rng, given = np.random.default_rng(21), shares(range(2, 17))
    mix = np.array([0.7] + [0.3 / 14] * 14)
    certain = 0
    for _ in range(300):
        reference = np.concatenate(
            [rng.multinomial(20_000 if i else 310, row) for i, row in enumerate(given)]
        )
        yardstick, window = GivenYardstick(reference, 15), pairs(rng, mix, given, 6000)
        judged, raw, _ = far(yardstick, window)
        certain += yardstick.certain(raw, judged, window, design_effect=1.0, tolerance=0.0, alpha=1e-3)

    assert certain <= 30


def test_what_is_usual_has_not_crept_by_chance():
    """An hour of few calls of each caller is further from the first one by chance alone."""
    rng, given = np.random.default_rng(15), shares(range(3, 18))
    mix = np.full(15, 1 / 15)
    first = yardstick_of(pairs(rng, mix, given, 60_000), 15)
    found = [yardstick_of(pairs(rng, mix, given, n), 15).far_from(first) for n in (300, 4600, 6000, 20_000)]

    assert found[0] == 0.0  # no caller is known
    assert all(abs(each) < 0.01 for each in found)
    crept = yardstick_of(pairs(rng, mix, np.roll(given, 1, axis=1), 20_000), 15)
    assert crept.far_from(first) > 0.2


def test_accepting_a_drift_learns_who_calls_now():
    """Callers who are gone keep no place from those who came."""
    made, rng = judge(given="tenant"), np.random.default_rng(16)
    assert not played(made, stream(rng, 150))
    renamed = (
        [record(s + i / 40, tenant=f"new{i % 3}", output_tokens=9) for i in range(40)]
        for s in range(150, 400)
    )
    made.rebase()
    assert not made._stream.ring.sizes.any()
    assert not played(made, renamed, 150)

    assert made.armed


def test_the_smallest_drift_is_told_by_the_calls_that_are_judged():
    """However many calls come: of those that belong to no stratum nothing can be found."""
    rng = np.random.default_rng(11)
    made = judge(given="tenant")
    assert not played(made, stream(rng, 170))

    assert made.finds(1e6) == made.finds(40.0)
    assert made.finds(10.0) > made.finds(40.0)
