"""What a predicate sees of a run of records."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.contract import fields as contract_fields
from detector.windows.array_segment import join
from detector.windows.arrays import array_of, floats_of
from detector.windows.columns import DERIVED
from detector.windows.kinds import KINDS
from tests.builders import T0, dense, record, segment
from topics.telemetry import TelemetryRecord

CALLS = st.lists(
    st.builds(
        lambda at, served_by, probe, error, latency, tokens, verdict: record(
            at,
            served_by=served_by,
            probe=probe,
            error=error,
            latency_s=latency,
            output_tokens=tokens,
            hallucinated=verdict,
            token_ids=tokens and [tokens, 1],
        ),
        at=st.floats(0, 5),
        served_by=st.sampled_from(["primary", "primary", "rule"]),
        probe=st.booleans(),
        error=st.sampled_from(["", "", "500"]),
        latency=st.none() | st.floats(0, 3),
        tokens=st.none() | st.integers(0, 100) | st.just(2**53),
        verdict=st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
SINCE = st.none() | st.floats(0, 5)


def seen(part):
    return {
        "primary": [part.offsets[i] for i in part.primary()],
        "ok": [part.offsets[i] for i in part.primary_ok()],
        "succeeded": [part.offsets[i] for i in part.succeeded()],
        "tokens": list(part.pick("output_tokens", part.primary_ok())),
    }


@given(calls=CALLS, since=SINCE)
def test_only_the_primarys_calls_made_since_the_change_tell_how_it_is(calls, since):
    """A call counts if the primary answered it and, after a change of state, is a probe or began since."""

    def tells(call):
        began = call.event_time - (call.latency_s or 0.0)
        return call.served_by == "primary" and (since is None or call.probe or began >= T0 + since)

    found = seen(segment(calls, since=since))

    assert found["primary"] == [i for i, call in enumerate(calls) if tells(call)]
    assert found["ok"] == [i for i, call in enumerate(calls) if tells(call) and not call.error]
    assert found["succeeded"] == [i for i, call in enumerate(calls) if not call.error]
    assert found["tokens"] == [call.output_tokens for call in calls if tells(call) and not call.error]


@given(calls=CALLS, since=SINCE, data=st.data())
def test_joining_undoes_cutting(calls, since, data):
    """Segments cut from one run and joined again show what the run shows; seconds and offsets too."""
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(calls) - 1)), max_size=4)) - {len(calls)})
    whole = segment(calls, since=since, boundary=0)
    edges = [0, *cuts, len(calls)]
    parts = [segment(calls[a:b], since=since, boundary=0, offset=a) for a, b in pairwise(edges)]
    joined = join(parts)

    assert seen(joined) == seen(whole)
    assert (list(joined.times), list(joined.offsets)) == (list(whole.times), list(whole.offsets))
    assert list(joined.seconds()) == list(whole.seconds())
    assert joined.boundary == whole.boundary


@given(calls=CALLS, since=SINCE, data=st.data())
def test_a_head_shows_what_its_records_alone_would(calls, since, data):
    """`head(n)` equals a segment of the first n records."""
    length = data.draw(st.integers(1, len(calls)))
    head = segment(calls, since=since, boundary=0).head(length)
    alone = segment(calls[:length], since=since, boundary=0)

    assert seen(head) == seen(alone)
    assert (list(head.times), list(head.offsets)) == (list(alone.times), list(alone.offsets))
    assert (head.fresh, head.boundary) == (alone.fresh, alone.boundary)


@given(calls=CALLS)
def test_each_record_has_its_second(calls):
    """`seconds` are the floors of the times, or a single one that all share."""
    part = segment(calls)
    floors = [int(call.event_time) for call in calls]

    assert list(part.seconds()) == ([floors[0]] if len(set(floors)) == 1 else floors)


def test_a_feature_is_read_by_its_name():
    """`features.<name>` is a column; a record without the feature was not measured."""
    part = segment([record(features={"score": 0.5}), record(features={"other": 1.0})])

    assert list(part.pick("features.score", range(2))) == [0.5, None]


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"latency_s": 2.1, "ttft_s": 0.1, "output_tokens": 101}, 0.02),
        ({"latency_s": 2.1, "ttft_s": 0.1, "output_tokens": 1}, None),
        ({"latency_s": 2.1, "ttft_s": 0.1, "output_tokens": 0}, None),
        ({"latency_s": 2.1, "ttft_s": 0.1}, None),
        ({"latency_s": 2.1, "output_tokens": 101}, None),
        ({"ttft_s": 0.1, "output_tokens": 101}, None),
        ({"latency_s": 0.1, "ttft_s": 0.2, "output_tokens": 101}, None),
    ],
)
def test_the_time_per_output_token_needs_all_its_parts(measured, expected):
    """It is a column like any other; where a part is missing or contradicts another, it is not measured."""
    part = segment([record(0.0, **measured)], fields=("tpot_s", "latency_s"))

    assert part.columns["tpot_s"][0] == pytest.approx(expected)
    assert part.columns["latency_s"][0] == measured.get("latency_s")


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"ttft_s": 0.5, "queue_s": 0.4}, 0.1),
        ({"ttft_s": 0.5, "queue_s": 0.0}, 0.5),
        ({"ttft_s": 0.5, "queue_s": 0.5}, 0.0),
        ({"ttft_s": 0.5}, None),
        ({"queue_s": 0.4}, None),
        ({"ttft_s": 0.3, "queue_s": 0.4}, None),
    ],
)
def test_the_first_token_without_its_wait_needs_both(measured, expected):
    """A wait that was not measured is not a wait of zero, and one longer than the whole is a mistake."""
    part = segment([record(0.0, **measured)], fields=("ttft_unqueued_s",))

    assert part.columns["ttft_unqueued_s"][0] == pytest.approx(expected)


def test_what_a_contract_may_name_can_be_read():
    """The derived fields that `check` lets pass are those that are derived."""
    assert set(DERIVED) == set(KINDS) - set(TelemetryRecord.__struct_fields__)
    assert all(contract_fields.field_kind(name) == "number" for name in DERIVED)
    assert not set(DERIVED) & set(TelemetryRecord.__struct_fields__)


@given(calls=CALLS, data=st.data())
def test_arrays_show_what_lists_show(calls, data):
    """A segment gathered from arrays, cut anywhere, reads as one that was made of lists; its parts too."""
    fields = ("served_by", "error", "latency_s", "output_tokens", "hallucinated", "token_ids")
    whole = segment(calls, boundary=0, fields=fields)
    cuts = data.draw(st.sets(st.integers(0, len(calls)), max_size=4))
    some = sorted(data.draw(st.sets(st.integers(0, len(calls) - 1), min_size=1)))
    length = data.draw(st.integers(1, len(calls)))
    laid = dense(whole, cuts)
    pairs = [
        (laid, whole),
        (laid.only(some), whole.only(some)),
        (laid.head(length), whole.head(length)),
        (join([whole, laid]), join([whole, whole])),
        (join([laid, whole, laid]), join([whole, whole, whole])),
    ]

    for found, expected in pairs:
        assert seen(found) == seen(expected)
        assert (list(found.times), list(found.offsets)) == (list(expected.times), list(expected.offsets))
        assert list(found.seconds()) == list(expected.seconds())
        assert (found.newest, found.last, len(found)) == (expected.newest, expected.last, len(expected))
        for field in expected.columns:
            assert list(found.columns[field]) == list(expected.columns[field])
            assert list(map(type, found.columns[field])) == list(map(type, expected.columns[field]))


@given(calls=CALLS, primary=st.booleans(), ok=st.booleans())
def test_numbers_are_the_values_that_were_measured(calls, primary, ok):
    """With their positions: of the primary's calls or of all, of those that did not fail or of all."""
    part = dense(segment(calls, boundary=0))
    counted = set(part.primary()) if primary else set(range(len(calls)))
    wanted = [
        i
        for i, call in enumerate(calls)
        if i in counted and not (ok and call.error) and call.latency_s is not None
    ]
    positions, values = part.numbers("latency_s", primary=primary, ok=ok)

    assert list(positions) == wanted
    assert values.tolist() == [calls[i].latency_s for i in wanted]
    assert [part.primary()[i] for i in part.failed(part.primary())] == [
        i for i in part.primary() if calls[i].error
    ]


def test_equal_texts_become_one_object():
    """Thousands of names that wait take the memory of a few."""
    names = ["".join(("ac", "me")) for _ in range(3)]
    array = array_of("tenant", names)

    assert names[0] is not names[1]
    assert array[0] is array[1] is array[2]


@given(st.lists(st.none() | st.booleans() | st.integers(0, 2**53) | st.floats(-1e300, 1e300)))
def test_numbers_become_what_they_are(values):
    """Counts, durations, yes and no; what was not measured is NaN, zero is zero."""
    found = floats_of(values).tolist()

    assert [None if math.isnan(each) else each for each in found] == values


@pytest.mark.parametrize("laid", [lambda part: part, dense], ids=["lists", "arrays"])
def test_the_first_call_after_a_time(laid):
    """In order of arrival; there may be none."""
    part = laid(segment([record(at) for at in (3.0, 1.0, 5.0, 4.0)]))

    assert [part.first_after(T0 + at) for at in (0.0, 3.0, 4.5)] == [T0 + 3.0, T0 + 5.0, T0 + 5.0]
    assert part.first_after(T0 + 5.0) is None
