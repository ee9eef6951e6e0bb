"""What a restore concludes from the snapshot topic, and what may be committed."""

from hypothesis import given
from hypothesis import strategies as st

from detector.service.marks import (
    COVERS_HEADER,
    EPOCH_HEADER,
    MARK_KEY,
    Covered,
    Mark,
    Message,
    Origins,
    collect,
    encode_mark,
    write_covers,
)


def mark(epoch: int, covered: int, since: int = 0) -> Mark:
    return Mark(
        partition=0, owner="o", epoch=epoch, issued_at=1.0, since=since, covered={"telemetry": covered}
    )


def of_mark(offset: int, found: Mark) -> Message:
    return offset, MARK_KEY, encode_mark(found), {}


def of_route(offset: int, route: bytes, epoch: int, covers: int) -> Message:
    headers = {EPOCH_HEADER: b"%d" % epoch, COVERS_HEADER: write_covers({"telemetry": covers})}
    return offset, route, b"state", headers


def test_reading_goes_on_from_the_mark_whatever_idle_routes_cover() -> None:
    """A route that nobody called since its snapshot does not hold the others back."""
    found = collect([of_route(0, b"idle", 1, 10), of_mark(1, mark(1, 500))], end=2)

    assert found.covered == {"telemetry": 500}
    assert found.routes == {b"idle": b"state"}


def test_a_route_of_an_earlier_owner_counts_as_the_mark_says() -> None:
    """What lay there before the present owner restored it was taken over, not strayed in."""
    found = collect([of_route(0, b"idle", 1, 10), of_mark(7, mark(2, 500, since=5))], end=8)

    assert found.covered == {"telemetry": 500}


def test_a_zombies_snapshot_takes_reading_back_to_what_it_covers() -> None:
    """It replaced its successor's under the route; records between would be lost to that route."""
    messages = [of_mark(6, mark(2, 500, since=5)), of_route(7, b"r", 1, 300)]

    assert collect(messages, end=8).covered == {"telemetry": 300}


def test_a_zombies_mark_does_not_win_by_coming_later() -> None:
    """Epochs decide, not the order of the log."""
    found = collect([of_mark(6, mark(2, 500)), of_mark(7, mark(1, 900))], end=8)

    assert found.mark is not None
    assert found.mark.epoch == 2


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=30))
def test_nothing_is_covered_before_every_earlier_snapshot_is_acknowledged(
    steps: list[tuple[int, bool]],
) -> None:
    """What is covered is what the last acknowledged snapshot left uncovered; it never goes back."""
    covered, offset = Covered({"telemetry": 0}), 0
    left: list[int] = [0]
    acknowledged = 0
    for number, (grow, acknowledge) in enumerate(steps, start=1):
        offset += grow
        left.append(offset)
        covered.took(number, {"telemetry": offset})
        before = covered.acked["telemetry"]
        if acknowledge:
            acknowledged = number
            covered.acknowledge(number)

        assert covered.acked["telemetry"] == left[acknowledged]
        assert covered.acked["telemetry"] >= before
        assert covered.waiting == (acknowledged < number)


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=60),
    st.integers(0, 60),
)
def test_a_restart_accepts_the_same_rekeyed_records_again(offsets: list[int], crash_at: int) -> None:
    """From any covered offset on, reading again takes and drops what was taken and dropped at first."""
    covered = min(crash_at, len(offsets))
    first = Origins({})
    taken = [first.accept("t/0", offset, at) for at, offset in enumerate(offsets)]

    again = Origins(first.as_of(covered))

    assert [again.accept("t/0", offsets[at], at) for at in range(covered, len(offsets))] == taken[covered:]


def test_an_earlier_snapshot_does_not_make_up_for_a_refused_one() -> None:
    """It may be acknowledged after the later one was refused; what came between would be lost."""
    covered = Covered({"telemetry": 5})
    covered.keep_back("r", 2)
    covered.let_go("r", 1)
    covered.advance({"telemetry": 9})
    assert covered.acked == {"telemetry": 5}

    covered.let_go("r", 3)
    covered.advance({"telemetry": 9})
    assert covered.acked == {"telemetry": 9}
