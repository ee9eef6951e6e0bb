"""The reader's rules of the control topic, one law a test."""

from dataclasses import replace

import pytest

from detector.gateway.view import ControlView
from tests.unit.gateway.builders import Message, owner_message, scope_message, tombstone
from topics.control import most_counted


def _read(view: ControlView, *messages: Message, now: float = 0.0, age_s: float = 0.0) -> None:
    for message in messages:
        view.apply(message.key, message.value, message.headers, now=now, age_s=age_s, offset=message.offset)


def _is_active(view: ControlView, now: float, route: str = "chat") -> bool:
    return view.effective(route, now=now).record is not None


def test_a_record_below_the_fence_is_refused_and_counted() -> None:
    """The greatest epoch on any record of a partition bars all lower ones, of scopes and of owners alike."""
    view = ControlView()
    _read(
        view,
        owner_message(0, 5),
        scope_message(epoch=4, revision=9),
        owner_message(0, 4, lease_s=99),
        now=0.0,
    )

    assert view.held == {}
    assert view.counts.refused == 2
    assert view.fence == {0: 5}


def test_a_scope_record_raises_the_fence_too() -> None:
    """Any record that names the partition counts, not the owner's alone."""
    view = ControlView()
    _read(view, scope_message(epoch=7), owner_message(0, 6))

    assert view.fence == {0: 7}
    assert view.counts.refused == 1


def test_partitions_have_fences_of_their_own() -> None:
    """An epoch of one partition says nothing of another's."""
    view = ControlView()
    _read(view, owner_message(0, 9), scope_message("mail", partition=1, epoch=2))

    assert view.held["mail"].epoch == 2


@pytest.mark.parametrize(
    ("epoch", "revision", "applies"),
    [(3, 4, True), (4, 1, True), (3, 3, False), (3, 2, False), (2, 9, False)],
)
def test_a_record_applies_iff_its_epoch_and_revision_are_greater(
    epoch: int, revision: int, applies: bool
) -> None:
    """(epoch, revision) is compared as a pair with the held one, whichever partition wrote either."""
    view = ControlView()
    _read(view, scope_message(partition=1, epoch=3, revision=3))
    _read(view, scope_message(partition=0, epoch=epoch, revision=revision))

    assert (view.held["chat"].partition == 0) is applies


def test_a_tombstone_is_fenced_by_the_epoch_in_its_id() -> None:
    """A zombie's tombstone removes nothing; the owner's does."""
    view = ControlView()
    _read(view, scope_message(epoch=3), owner_message(0, 4), tombstone("chat", 3, 9))
    assert "chat" in view.held

    _read(view, tombstone("chat", 4, 2))
    assert view.held == {}
    assert view.counts.refused == 1


@pytest.mark.parametrize("offset", [0, 7, 2**39])
@pytest.mark.parametrize("name", ["epoch", "revision", "transition"])
def test_a_number_that_the_log_cannot_have_counted_up_to_is_no_record(name: str, offset: int) -> None:
    """One more than `most_counted` at its offset; the same number is believed one message later."""
    view, at = ControlView(), {name: most_counted(offset) + 1}

    _read(view, replace(scope_message(**at), offset=offset))
    assert (view.held, view.fence, view.counts.malformed) == ({}, {}, 1)
    _read(view, replace(scope_message(**at), offset=offset + 1))
    assert "chat" in view.held


def test_owners_and_tombstones_beyond_what_the_log_can_have_counted_are_refused_too() -> None:
    """Else a fence that nobody can pass, or a scope that nobody can speak of again."""
    view, most = ControlView(), most_counted(3)
    _read(view, scope_message())

    beyond = owner_message(0, most + 1), tombstone("chat", most + 1, 1), tombstone("chat", 1, most + 1)
    _read(view, *(replace(message, offset=3) for message in beyond))
    assert view.counts.malformed == 3
    assert (list(view.held), view.fence) == (["chat"], {0: 1})

    _read(view, replace(tombstone("chat", 1, most), offset=3), replace(owner_message(0, most), offset=3))
    assert (view.held, view.fence) == ({}, {0: most})


@pytest.mark.parametrize(
    "message",
    [
        Message(None, b"{}", []),
        Message(b"chat", b"\xff\xfe", []),
        Message(b"chat", b"[" * 100_000, []),
        Message(b"chat", None, []),
        Message(b"chat", None, [("ce_id", b"mail/1/1")]),
        Message(b"owner/0", None, [("ce_id", b"owner/0/1/1")]),
        Message(b"mail", scope_message("chat").value, []),
        Message(b"owner/1", owner_message(0).value, []),
        Message(b"a@b@c", scope_message("chat").value.replace(b'"scope":"chat"', b'"scope":"a@b@c"'), []),  # type: ignore[union-attr]
    ],
    ids=lambda message: repr(message.key) if isinstance(message, Message) else "",
)
def test_what_is_no_record_is_counted_and_skipped(message: Message) -> None:
    """Whatever the bytes, reading goes on."""
    view = ControlView()
    _read(view, message, scope_message())

    assert view.counts.malformed == 1
    assert "chat" in view.held


def test_a_lapse_changes_what_a_reader_does_not_what_it_holds() -> None:
    """At the end of the lease a `revert` scope reads as primary, and the next owner record ends that."""
    view = ControlView()
    _read(view, owner_message(), scope_message(), now=100.0)

    assert _is_active(view, 114.9)
    assert not _is_active(view, 115.0)
    assert view.effective("chat", now=115.0).stale
    assert "chat" in view.held

    _read(view, owner_message(), now=200.0)
    assert _is_active(view, 200.0)


def test_a_refused_owner_record_renews_no_lease() -> None:
    """Only a valid owner record counts, or a zombie would keep its scopes alive."""
    view = ControlView()
    _read(view, owner_message(0, 5), scope_message(epoch=5), now=0.0)
    _read(view, owner_message(0, 4), now=10.0)

    assert not _is_active(view, 15.0)


def test_a_scope_that_holds_outlives_its_lease_by_the_time_allowed() -> None:
    """`hold` scopes stay in force for hold_max_s after the lapse, marked stale, and no longer."""
    view = ControlView(hold_max_s=600.0)
    _read(view, owner_message(), scope_message(on_expiry="hold"), now=0.0)

    assert view.effective("chat", now=614.9).stale
    assert _is_active(view, 614.9)
    assert not _is_active(view, 615.0)


@pytest.mark.parametrize(("age_s", "left_s"), [(-50.0, 15.0), (0.0, 15.0), (4.0, 11.0), (500.0, 0.0)])
def test_while_catching_up_a_lease_counts_from_the_brokers_timestamp(age_s: float, left_s: float) -> None:
    """The age of the record is taken off the lease, within 0 and the lease, for clocks differ."""
    view = ControlView()
    _read(view, owner_message(), scope_message(), now=1000.0, age_s=age_s)

    assert not _is_active(view, 1000.0 + left_s)
    assert _is_active(view, 1000.0 + 0.99 * left_s) is (left_s > 0)


def test_a_partition_that_no_owner_speaks_for_has_no_lease() -> None:
    """A scope record alone puts nothing in force."""
    view = ControlView()
    _read(view, scope_message())

    assert not _is_active(view, 0.0)


def test_the_old_view_stands_until_all_is_read_again() -> None:
    """Reading again shows nothing before its end, and then everything at once."""
    view = ControlView()
    _read(view, owner_message(), scope_message(), scope_message("mail"))
    view.begin_reread()
    _read(view, owner_message(), scope_message("mail", revision=2, state="inactive"), now=1.0)
    assert _is_active(view, 1.0)
    assert _is_active(view, 1.0, "mail")

    changes = view.finish_reread()

    assert not _is_active(view, 1.0)
    assert not _is_active(view, 1.0, "mail")
    assert {after and after.state for _, after in changes} == {None, "inactive"}


def test_what_the_fence_refused_does_not_come_in_by_reading_again() -> None:
    """The fence stands through reading again; the record held before stands against a zombie's."""
    view = ControlView()
    _read(view, scope_message(epoch=3), owner_message(0, 5))
    view.begin_reread()
    _read(view, scope_message(epoch=4, state="inactive"), scope_message("mail", epoch=4))
    view.finish_reread()

    assert view.held["chat"].epoch == 3
    assert "mail" not in view.held
    assert view.fence == {0: 5}


def test_a_takeover_in_progress_survives_reading_again() -> None:
    """Scopes of the last owner, not yet said again by the next, are read again as they were."""
    view = ControlView()
    messages = (scope_message(epoch=3), owner_message(0, 5))
    _read(view, *messages)
    view.begin_reread()
    _read(view, *messages)

    assert view.finish_reread() == []
    assert _is_active(view, 0.0)


def test_a_routes_own_scope_outranks_those_of_its_deployments() -> None:
    """While the route is active nothing is said of single deployments; when it is not, they are avoided."""
    view = ControlView()
    _read(view, owner_message(), scope_message("chat", "gpu-1"), scope_message("chat", state="inactive"))

    effective = view.effective("chat", now=0.0)
    assert effective.record is None
    assert [record.deployment for record in effective.avoid] == ["gpu-1"]
    avoided = view.effective("chat", "gpu-1", now=0.0).record
    assert avoided is not None
    assert avoided.deployment == "gpu-1"
    assert view.effective("chat", "gpu-2", now=0.0).record is None

    _read(view, scope_message("chat", revision=2))
    effective = view.effective("chat", "gpu-1", now=0.0)
    assert effective.record is not None
    assert effective.record.scope == "chat"
    assert effective.avoid == ()


def test_an_answer_says_until_when_it_holds() -> None:
    """Between messages an answer changes at `until` and at no other time."""
    view = ControlView(hold_max_s=10.0)
    _read(view, owner_message(), scope_message(on_expiry="hold"), now=0.0)

    assert view.effective("chat", now=0.0).until == 15.0
    assert view.effective("chat", now=15.0).until == 25.0
    assert view.effective("chat", now=25.0).until == float("inf")


def test_what_holds_for_less_than_nothing_ends_with_its_lease() -> None:
    """As for who asks whether it is in force, so for who asks until when."""
    view = ControlView()
    for message in (owner_message(), scope_message(on_expiry="hold", hold_max_s=-5.0)):
        view.apply(message.key, message.value, message.headers, now=0.0)

    assert view.obeyed_until(view.held["chat"]) == 15.0
    assert view.in_force(view.held["chat"], 12.0)[0]
