"""A dead owner's last record is on the topic for good: reading it again makes nobody younger."""

import pytest

from detector.gateway.decision import Decider
from detector.gateway.view import ControlView
from tests.unit.gateway.builders import NOW, Message, owner_message, scope_message


def read(view: ControlView, *messages: Message, now: float, age_s: float = 0.0) -> None:
    for message in messages:
        view.apply(message.key, message.value, message.headers, now=now, age_s=age_s)


def read_again(view: ControlView, *messages: Message, now: float, age_s: float = 0.0) -> None:
    view.begin_reread()
    read(view, *messages, now=now, age_s=age_s)
    view.finish_reread()


def ends(view: ControlView, now: float) -> float:
    return view.effective("chat", now=now).until


def test_a_hold_ends_however_often_the_topic_is_read_again() -> None:
    """Counted from the last time that the owner was heard, not from the last time that it was read."""
    view = ControlView()
    messages = (owner_message(), scope_message(on_expiry="hold", hold_max_s=600.0))
    read(view, *messages, now=0.0)
    for now in range(20, 620, 50):
        read_again(view, *messages, now=now, age_s=now)

    assert view.effective("chat", now=614.9).record is not None
    assert view.effective("chat", now=615.0).record is None


@pytest.mark.parametrize("age_s", [0.0, 4.0, -60.0])
def test_a_clock_behind_the_brokers_lengthens_no_lease(age_s: float) -> None:
    """The age of what was heard already is known by our own clock; the broker's may be another."""
    view = ControlView()
    messages = (owner_message(), scope_message())
    read(view, *messages, now=0.0)
    read_again(view, *messages, now=14.0, age_s=age_s)

    assert ends(view, 14.0) == 15.0


def test_an_owner_that_was_heard_meanwhile_renews_its_lease() -> None:
    """What is read for the first time counts, and at once: the old view stands meanwhile."""
    view = ControlView()
    read(view, owner_message(), scope_message(), now=0.0)
    view.begin_reread()
    read(view, owner_message(), scope_message(), now=12.0, age_s=12.0)
    read(view, owner_message(issued_at=NOW + 12), now=12.0)

    assert ends(view, 12.0) == 27.0

    view.finish_reread()
    assert ends(view, 12.0) == 27.0


@pytest.mark.parametrize("while_reading", [True, False])
def test_a_zombie_renews_nothing_by_being_read_again(while_reading: bool) -> None:
    """Whatever it issued last: the fence of the first reading stands."""
    view = ControlView()
    read(view, owner_message(epoch=5), scope_message(epoch=5), now=0.0)
    view.begin_reread()
    read(view, owner_message(epoch=4, issued_at=NOW + 99), scope_message(epoch=4), now=10.0)
    if not while_reading:
        view.finish_reread()

    assert ends(view, 10.0) == 15.0


def test_the_fence_of_the_second_reading_counts_at_once() -> None:
    """A scope's record has raised it: an owner below it renews neither reading."""
    view = ControlView()
    read(view, owner_message(epoch=5), scope_message(epoch=5), now=0.0)
    view.begin_reread()
    read(view, scope_message("mail", epoch=7), owner_message(epoch=6, issued_at=NOW + 9), now=9.0)

    assert ends(view, 9.0) == 15.0


def test_the_fence_of_the_first_reading_counts_for_leases_too() -> None:
    """A takeover was heard of by a scope's record alone; the old owner's heartbeats are a zombie's."""
    view = ControlView()
    read(view, owner_message(epoch=5), scope_message(epoch=7), now=0.0)
    read_again(view, owner_message(epoch=6, issued_at=NOW + 9), scope_message(epoch=7), now=9.0)

    assert ends(view, 9.0) == 15.0


def test_a_clock_ahead_of_the_brokers_shortens_no_lease() -> None:
    """What is read for the first time tells that the owner lived later than it was heard before."""
    view = ControlView()
    read(view, owner_message(), scope_message(), now=0.0)
    read_again(view, owner_message(issued_at=NOW + 9), scope_message(), now=9.0, age_s=14.0)

    assert ends(view, 9.0) == 15.0


def test_a_partition_without_an_owner_is_not_held_longer_by_reading_again() -> None:
    """A scope that says `hold` counts from when it was met."""
    view = ControlView()
    message = scope_message(on_expiry="hold", hold_max_s=60.0)
    read(view, message, now=0.0)
    for now in (20.0, 40.0, 59.0):
        read_again(view, message, now=now)

    assert ends(view, 59.0) == 60.0


def test_a_partition_that_is_met_while_reading_again_has_its_lease() -> None:
    """As at the start."""
    view = ControlView()
    read_again(view, owner_message(), scope_message(), now=100.0, age_s=5.0)

    assert ends(view, 100.0) == 110.0


def test_a_lease_that_becomes_shorter_counts_for_answers_that_were_given_already() -> None:
    """An owner that promises less is believed at once."""
    view = ControlView()
    decider = Decider(view, "gw")
    decider.heard = True
    read(view, owner_message(lease_s=600.0), scope_message(), now=0.0)
    assert decider.decide("chat", "default", "", 1.0).state == "active"

    read(view, owner_message(lease_s=15.0, issued_at=NOW + 3), now=3.0)

    assert decider.decide("chat", "default", "", 17.9).state == "active"
    assert decider.decide("chat", "default", "", 18.0).state == "inactive"


@pytest.mark.parametrize("on_expiry", ["revert", "hold"])
def test_no_owner_can_bind_a_reader_for_ever(on_expiry: str) -> None:
    """Whatever it promised: after a day and an hour without a word the primary has its calls back."""
    view = ControlView()
    scope = scope_message(on_expiry=on_expiry, hold_max_s=1e9)
    read(view, owner_message(lease_s=1e9), scope, now=0.0)

    assert view.effective("chat", now=90_000.0).record is None
