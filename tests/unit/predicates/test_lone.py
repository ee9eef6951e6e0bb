"""One caller's own failures move nobody else, and everybody's failures still move all."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from detector.pipeline import Pipeline
from detector.predicates.lone import NONE, LoneCaller
from detector.predicates.registry import judge_for
from tests.builders import BUDGET, T0, contract, dense, in_order, record, run, segment, spec

ALONE = spec("rate", name="errors", field="error", unless_alone="tenant")
PLAIN = spec("rate", name="errors", field="error")
CALLS = st.lists(st.tuples(st.sampled_from(["a", "b", ""]), st.booleans()), max_size=80)


def left(calls, cuts=()):
    """(judged, bad) indices that are kept of (caller, bad) pairs, walked in pieces."""
    lone, judged, wrong = LoneCaller(), [], []
    for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), len(calls)], strict=True):
        part = calls[first:last]
        bad = [i for i, (_, is_bad) in enumerate(part) if is_bad]
        kept, still = lone.leave_out(range(len(part)), bad, lambda i, part=part: part[i][0])
        judged += [first + i for i in kept]
        wrong += [first + kept[i] for i in still]
    return judged, wrong


@given(calls=CALLS, data=st.data())
def test_pieces_leave_out_what_the_whole_does(calls, data):
    cuts = data.draw(st.lists(st.integers(0, len(calls)), max_size=5))

    assert left(calls, cuts) == left(calls)


@given(calls=CALLS)
def test_only_bad_calls_of_a_row_of_one_caller_are_left_out(calls):
    """Good ones never, the first three never, those of nobody known never, and the order stays."""
    judged, wrong = left(calls)
    gone = sorted(set(range(len(calls))) - set(judged))

    assert judged == sorted(judged)
    assert wrong == [i for i in judged if calls[i][1]]
    for i in gone:
        bad_before = [calls[j][0] for j in range(i) if calls[j][1]]
        assert calls[i][0]
        assert bad_before[-3:] == 3 * [calls[i][0]]


def test_they_are_left_out_once_others_were_good_and_the_row_is_long_for_its_share():
    row = [("a", True), *[("b", False)] * 4, *[("a", True)] * 4, ("b", False), *[("a", True)] * 4]

    assert [i for i in range(len(row)) if i not in left(row)[0]] == [10, 11, 12, 13]


def test_a_row_is_left_out_from_where_chance_makes_it_less_than_once_in_twenty():
    """At half of the calls a row of five is one in 16, of six one in 32."""
    row = [("a", True), *[("b", False)] * 32, *[("a", False)] * 31, *[("a", True)] * 6]

    assert [i for i in range(len(row)) if i not in left(row)[0]] == [68, 69]


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_what_strikes_everybody_counts_though_one_caller_makes_most_calls(share, rate):
    """Rows of bad calls of that one are no wonder then: hardly any is left out."""
    draw = random.Random(3)
    calls = [
        ("a" if draw.random() < share else f"b{draw.randrange(9)}", draw.random() < rate)
        for _ in range(20_000)
    ]
    bad = sum(is_bad for _, is_bad in calls)

    assert bad - len(left(calls)[1]) < 0.06 * bad


def test_callers_that_nobody_names_are_no_row():
    row = [("", True), *[("b", False)] * 9, *[("", True)] * 9]

    assert len(left(row)[0]) == len(row)


def test_good_calls_that_come_in_a_piece_of_their_own_count():
    row = [("a", True), *[("b", False)] * 12, *[("a", True)] * 4]

    assert left(row, [1, 3, 6, 13]) == left(row)
    assert left(row)[1] == [0, 13, 14]


def test_another_callers_row_begins_with_none():
    row = [("a", True), *[("c", False)] * 9, *[("b", True)] * 4]

    assert len(left(row)[0]) == len(row)


def test_a_row_ends_with_the_alarm_and_with_its_end():
    """What was walked beyond it is walked again."""
    judge = judge_for(ALONE, BUDGET)
    fields = ("error", "tenant")
    judge.observe(segment([record(i / 20, tenant="t0") for i in range(2000)], fields=fields))
    calls = [record(100 + i / 20, tenant=f"t{i}", error="500") for i in range(20)]

    assert judge.observe(segment(calls, fields=fields)) is not None
    assert judge.state()["lone"] == NONE

    well = [record(110 + i / 20, tenant="t0", error="500" if i == 0 else "") for i in range(999)]
    assert judge.observe(segment(well, fields=fields)) is not None
    assert judge.state()["lone"] == NONE


def test_good_calls_of_the_caller_itself_tell_nothing():
    row = [("a", True), *[("a", False)] * 50, *[("a", True)] * 9]

    assert len(left(row)[0]) == len(row)


def traffic(fails, seconds=60, per_s=20, tenants=10, seed=1):
    """Calls of tenants alike, one in 500 bad; `fails(tenant)`: which share of its calls is from 20 s on."""
    draw = random.Random(seed)
    for i in range(seconds * per_s):
        at, tenant = i / per_s, f"t{draw.randrange(tenants)}"
        share = fails(tenant) if at >= 20 else 0.002
        yield record(at, tenant=tenant, error="500" if draw.random() < share else "")


def found(which, calls, batches=()):
    pipeline = Pipeline(contract([which]))
    decisions = run(pipeline, in_order(calls), batches)
    return [(each.kind, each.at) for each in decisions if each.disposition == "act"]


@pytest.mark.parametrize("seed", range(5))
def test_one_caller_that_fails_moves_nobody_else(seed):
    """A tenth of the traffic fails, all of it of one tenant: an alarm without the key, none with it."""
    calls = list(traffic(lambda tenant: 0.9 if tenant == "t3" else 0.002, seed=seed))

    assert found(PLAIN, calls)
    assert found(ALONE, calls) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_fault_of_everybody_is_found_as_soon(share):
    """Within a second of when it would be found without the key."""
    calls = list(traffic(lambda tenant: share))
    plain, alone = found(PLAIN, calls), found(ALONE, calls)

    assert plain[0][0] == alone[0][0] == "activated"
    assert alone[0][1] - plain[0][1] <= 1.0


@pytest.mark.parametrize("others", [0, 1, 2])
def test_a_caller_that_is_most_of_the_traffic_counts(others):
    """Whoever makes all of ten calls, or nine or eight, is not left alone with a primary that fails."""
    calls = [
        record(
            i / 20,
            tenant="o" if i % 10 < others else "t0",
            error="500" if i > 400 and i % 10 >= others else "",
        )
        for i in range(800)
    ]

    assert found(ALONE, calls)


def test_a_fault_of_everybody_is_found_while_one_caller_fails_anyway():
    calls = list(traffic(lambda tenant: 1.0 if tenant == "t3" else 0.002, seconds=40))
    calls += [record(40 + each.event_time % 1e6 % 1, tenant=each.tenant, error="500") for each in calls[:20]]

    assert found(ALONE, calls)


def test_batches_make_no_difference():
    calls = list(traffic(lambda tenant: 0.8 if tenant in ("t3", "t4") else 0.002))

    assert found(ALONE, calls) == found(ALONE, calls, range(7, 1200, 7)) != []


def test_what_is_taken_back_is_walked_again_alike():
    """A roll-back undoes the row; arrays are walked as lists are; a restored judge goes on where it was."""
    calls = [
        record(i / 20, tenant="t0" if i % 9 == 0 else "t1", error="500" if i % 9 == 0 else "")
        for i in range(90)
    ]
    fields = ("error", "tenant")
    judge, other = judge_for(ALONE, BUDGET), judge_for(ALONE, BUDGET)
    part = segment(calls[:45], fields=fields)
    judge.observe(part)
    judge.rollback()
    judge.observe(part)
    other.observe(dense(segment(calls[:45], fields=fields), (10, 30)))
    assert judge.state() == other.state()
    assert judge.state()["lone"] == ("t0", 5, 40, 45, "t0", 2)

    taken = judge_for(ALONE, BUDGET)
    taken.load(judge.state())
    for each in (judge, taken):
        each.observe(segment(calls[45:], fields=fields))
    assert judge.flagged[1] == taken.flagged[1] == []


def back(which):
    """When the calls come back: everybody fails for ten seconds, and from then on one tenant alone."""
    draw = random.Random(2)
    calls = []
    for i in range(1600):
        at, tenant = i / 20, f"t{draw.randrange(10)}"
        bad = 20 <= at < 30 or (at >= 30 and tenant == "t3")
        calls.append(record(at, tenant=tenant, error="500" if bad else "", probe=at > 21))
    return [kind for kind, _ in found(which, calls)]


def test_one_caller_that_goes_on_failing_does_not_hold_back_all():
    assert back(ALONE)[-1] == "deactivated"
    assert "deactivated" not in back(PLAIN)


def test_a_filter_may_stand_before_it():
    """Calls that are filtered out break no row and count for nothing."""
    where = (("input_class", ("default",)),)
    calls = [
        replace(each, input_class="risky" if i % 3 == 0 else "default")
        for i, each in enumerate(traffic(lambda tenant: 0.9 if tenant == "t3" else 0.002, seconds=90))
    ]
    calls = [replace(each, error="500") if each.input_class == "risky" else each for each in calls]

    assert found(dataclasses.replace(ALONE, where=where), calls) == []
    assert found(dataclasses.replace(PLAIN, where=where), calls)


def told(calls, batches=()):
    """Notices, the time of each in seconds after the first call."""
    pipeline = Pipeline(contract([ALONE]))
    decisions = run(pipeline, in_order(calls), batches)
    return [(round(each.at - T0), each.reason) for each in decisions if each.disposition == "notice"]


def failing(periods, seconds):
    """Ten tenants; t3 has nothing but errors, or t4 in later periods."""
    for i in range(seconds * 20):
        at, tenant = i / 20, f"t{i * 7 % 10}"
        whose = next((who for who, begin, end in periods if begin <= at < end), "")
        yield record(at, tenant=tenant, error="429" if tenant == whose else "")


def test_whose_calls_are_left_out_is_told_once_an_hour():
    """Not for a handful, again for somebody else, and after an hour only if it goes on."""
    calls = list(failing([("t3", 20, 23), ("t3", 300, 400), ("t4", 500, 560), ("t4", 4200, 4400)], 8000))
    said = told(calls)

    assert [at // 60 for at, _ in said] == [5, 8, 70]
    assert "bad calls of 't3' alone are left out" in said[0][1]
    assert "bad calls of 't4' alone" in said[1][1]
    assert said == told(calls, range(13, len(calls), 1013))


def test_what_was_told_is_not_told_again_after_a_restore():
    calls = list(failing([("t3", 20, 200)], 300))
    pipeline = Pipeline(contract([ALONE]))
    stream = in_order(calls)
    assert any("'t3' alone" in each.reason for each in run(pipeline, stream[:2600]))
    taken = Pipeline(contract([ALONE]))
    taken.restore(pipeline.snapshot("chat"))

    assert not any("alone" in each.reason for each in run(taken, stream[2600:]))


def test_what_another_callers_calls_came_to_is_not_counted_for_this_one():
    assert len(told(list(failing([("t3", 45, 70), ("t4", 120, 123)], 300)))) == 1


def test_through_a_filter_it_is_told_too():
    seen = dataclasses.replace(ALONE, where=(("input_class", ("default",)),))
    decisions = run(Pipeline(contract([seen])), in_order(failing([("t3", 45, 70)], 300)))

    assert any("'t3' alone" in each.reason for each in decisions)


def test_what_was_seen_before_a_restore_is_not_seen_again():
    """Three of one minute and four of another are no five of one."""
    calls = list(failing([("t3", 45, 48), ("t3", 110, 112)], 300))
    stream, pipeline = in_order(calls), Pipeline(contract([ALONE]))
    assert len({each.tenant for each in calls if each.error}) == 1
    said = run(pipeline, stream[:2100])
    taken = Pipeline(contract([ALONE]))
    taken.restore(pipeline.snapshot("chat"))
    said += run(taken, stream[2100:])

    assert not any("alone" in each.reason for each in said)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(1, 6), st.sampled_from("abcd"), st.integers(0, 12)),
        min_size=5,
        max_size=60,
    ),
    cuts=st.sets(st.integers(1, 900), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_restores_make_no_difference_to_any_rows(rows, cuts):
    """Rows of bad calls behind healthy traffic, beside a rate that counts them all: decisions and state."""
    calls = [("b", False)] * 300
    for caller, bad, other, good in rows:
        calls += [(caller, True)] * bad + [(other, False)] * good
    stream = in_order(
        record(i / 50, tenant=who, error="500" if bad else "", hallucinated=bad, probe=i > 350)
        for i, (who, bad) in enumerate(calls)
    )
    both = contract([ALONE, spec("rate", name="made_up")], false_alarms_per_week=1e6)
    whole, parts = Pipeline(both), Pipeline(both)
    expected, decisions, start = run(whole, stream), [], 0
    for end in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        decisions += run(parts, stream[start:end])
        saved, parts, start = parts.snapshot("chat"), Pipeline(both), end
        parts.restore(saved)

    assert decisions == expected
    assert parts.route("chat").judges["errors"].alone == whole.route("chat").judges["errors"].alone
