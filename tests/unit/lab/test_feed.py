"""How rows and time reach a pipeline: never dependent on batches, in file order, with one tick a second."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.lab.feed import Feed
from topics.partitioner import partition_for
from topics.telemetry import Evaluation, TelemetryRecord

T0 = 1_700_000_000


@dataclass
class Tape:
    """A judge that decides nothing and remembers what it was given."""

    events: list = field(default_factory=list)
    arrivals: list = field(default_factory=list)

    def step(self, records, offsets, arrivals):
        assert len(records) == len(offsets) == len(arrivals) > 0
        self.arrivals += [
            (record.event_time - T0, at - T0) for record, at in zip(records, arrivals, strict=True)
        ]
        self.events += offsets
        return []

    def step_evaluations(self, evaluations, offsets, arrivals):
        told = [event for event in self.events if isinstance(event, tuple) and event[0] == "verdict"]
        assert list(offsets) == [len(told)]  # they ascend, as on a topic
        self.events += [("verdict", int(each.request_id)) for each in evaluations]
        return []

    def tick(self, now, *, ended=False):
        self.events.append(("tick", now))
        return []


def play(times, batch=4096, partitions=1, routes=("chat",), patience_s=60.0):
    tapes = [Tape() for _ in range(partitions)]
    feed = Feed(tapes, lateness_s=2.0, patience_s=patience_s, batch=batch)
    for offset, time in enumerate(times):
        feed.add(TelemetryRecord(event_time=T0 + time, route=routes[offset % len(routes)]), offset)
    feed.finish()
    return feed, [tape.events for tape in tapes]


times_of = st.lists(st.floats(0, 30, allow_nan=False), max_size=60)


@given(times_of, st.integers(1, 7))
def test_the_size_of_batches_changes_nothing_that_a_pipeline_can_see(times, batch):
    """Records and ticks come in the same order however many records go in one step."""
    assert play(times, batch)[1] == play(times)[1]


@given(times_of)
def test_every_row_is_handed_over_once_in_file_order(times):
    """Nothing is lost, doubled or sorted."""
    ((*events,),) = play(times)[1]

    assert [event for event in events if isinstance(event, int)] == list(range(len(times)))


@given(times_of)
def test_each_whole_second_is_one_tick_between_the_rows_before_and_after_it(times):
    """The next row after a tick lies at or past it, all rows before it do not; the last panes too."""
    ((*events,),) = play(times)[1]
    ticks = [event[1] for event in events if not isinstance(event, int)]

    assert all(later - earlier == 1 for earlier, later in pairwise(ticks))
    if times:
        assert ticks[-1] == int(T0 + max(times)) + 3
    for position, event in enumerate(events):
        if isinstance(event, int):
            continue
        before = [T0 + times[each] for each in events[:position] if isinstance(each, int)]
        after = next((T0 + times[each] for each in events[position:] if isinstance(each, int)), None)
        if after is not None:
            assert max(before) < event[1] <= after


def test_ticks_get_rare_in_a_gap_once_patience_is_over():
    """Every second has its tick until then, each minute after, and always the last one before a row."""
    _, (events,) = play([0.0, 200.0], patience_s=10.0)
    ticks = [event[1] - T0 for event in events if not isinstance(event, int)]

    assert ticks == [*range(1, 11), 70, 130, 190, 200, 201, 202, 203]


def test_a_gap_of_years_takes_a_bounded_number_of_ticks():
    """A clock that jumps costs a moment, not an hour."""
    _, (events,) = play([0.0, 3e9 - T0, 3e9 - T0])

    assert 1000 < len(events) < 2000


@given(times_of, st.integers(2, 5))
def test_partitions_get_the_rows_of_their_routes_and_all_ticks(times, partitions):
    """Each route's rows go to the partition that Kafka's partitioner names, and time passes in all alike."""
    routes = ("chat", "code", "search", "sql")
    _, tapes = play(times, partitions=partitions, routes=routes)
    ticks = [[event for event in tape if not isinstance(event, int)] for tape in tapes]

    for partition, tape in enumerate(tapes):
        assert [event for event in tape if isinstance(event, int)] == [
            offset
            for offset in range(len(times))
            if partition_for(routes[offset % len(routes)].encode(), partitions) == partition
        ]
        assert ticks[partition] == ticks[0]


def test_a_verdict_stamped_a_year_ahead_is_left_where_it_is():
    """It can be joined to no call, and time does not run on for it."""
    tape = Tape()
    far = Evaluation(event_time=T0 + 31_536_000, route="chat", request_id="0", name="v")
    feed = Feed([tape], lateness_s=2.0, patience_s=60.0, evaluations=[(0, far)])
    for offset in range(6):
        feed.add(TelemetryRecord(event_time=T0 + offset, route="chat"), offset)
    feed.finish()

    assert ("verdict", 0) not in tape.events
    assert max(event[1] for event in tape.events if isinstance(event, tuple)) < T0 + 700


@pytest.mark.parametrize(("times", "bounds"), [([], (None, None)), ([5, 1, 3], (T0 + 1, T0 + 5))])
def test_the_bounds_of_event_time_are_known(times, bounds):
    """First and last event time are the least and the greatest, in whatever order rows come."""
    feed, _ = play(times)

    assert (feed.first, feed.last) == bounds


def test_late_verdicts_come_when_they_were_made():
    """Before the first tick behind them, in the order of their times, those after the last record too."""
    tape = Tape()
    made = [(0, 4.2), (1, 1.5), (2, 9.0)]
    verdicts = [
        (row, Evaluation(event_time=T0 + at, route="chat", request_id=str(row), name="v")) for row, at in made
    ]
    feed = Feed([tape], lateness_s=2.0, patience_s=60.0, evaluations=verdicts)
    for offset in range(6):
        feed.add(TelemetryRecord(event_time=T0 + offset, route="chat"), offset)
    feed.finish()
    verdicts_told = [("verdict", row) for row, _ in made]
    order = [event for event in tape.events if event in (1, 2, 4, 5) or event in verdicts_told]

    assert order == [1, ("verdict", 1), 2, 4, ("verdict", 0), 5, ("verdict", 2)]


def arrivals_of(times):
    """(event time, arrival) of each row, from T0 on; rows keep their order."""
    tape = Tape()
    feed = Feed([tape], lateness_s=2.0, patience_s=60.0)
    for offset, time in enumerate(times):
        feed.add(TelemetryRecord(event_time=T0 + time, route="chat"), offset)
    feed.finish()
    assert [event for event in tape.events if isinstance(event, int)] == list(range(len(times)))
    return feed, tape.arrivals


YEAR = 31_536_000


@pytest.mark.parametrize(
    ("wrong", "came"),
    [({0}, 1), ({99}, 98), ({30, 62}, 29), ({30, 31, 32, 33}, 29), ({10, 42, 74, 75}, 9)],
    ids=["first", "last", "apart", "together", "several"],
)
def test_no_wrong_stamp_has_others_believed(wrong, came):
    """Wherever they stand among rows a second apart: each came with what was before, or after if none was."""
    times = [YEAR + i if i in wrong else i for i in range(100)]
    feed, arrivals = arrivals_of(times)

    assert all((at == time) == (i not in wrong) for i, (time, at) in enumerate(arrivals))
    assert arrivals[min(wrong)][1] == came
    assert feed.last == T0 + max(i for i in range(100) if i not in wrong)


@pytest.mark.parametrize("behind", [1, 5, 40])
def test_a_row_far_ahead_of_all_that_follow_arrived_with_what_was_before(behind):
    """One wrong stamp must not make everything behind it late."""
    feed, arrivals = arrivals_of([0, 1, 2, YEAR, *range(3, 3 + behind)])

    assert arrivals[3] == (YEAR, 2)
    assert all(at == time for i, (time, at) in enumerate(arrivals) if i != 3)
    assert feed.last == T0 + 2 + behind


@pytest.mark.parametrize(
    "times", [[0, 1, 5000, 5001], [0, 5000], [0, 1, *range(5000, 5080)], [3, 2, 1, 0, 5000]]
)
def test_a_gap_is_a_gap(times):
    """Where the rows behind a leap go on from there, each arrived at its own time."""
    feed, arrivals = arrivals_of(times)

    assert arrivals == [(time, time) for time in times]
    assert feed.last == T0 + max(times)
