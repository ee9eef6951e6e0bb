"""The owner's rules that a clock or an operator brings into play; the rest is in the model."""

from dataclasses import replace

from detector.modes.decision import Decision, event_id
from detector.service.control_log import ControlLog
from detector.service.ownership import TOMBSTONE_AFTER_S, PartitionOwner, Phase
from detector.service.statements import Message
from topics.cloudevents import id_of
from topics.codec import encode
from topics.control import ControlRecord, Evidence, Override, OwnerRecord

NOW = 1_800_000_000.0


class _Terms:
    digest = "abc"

    def fallbacks_at_will(self, route: str) -> dict[str, list[str]]:
        return {"*": [f"rule of {route}"]}


class _Desk:
    """One owner whose messages are read back at once, in order."""

    def __init__(self, owner_id: str = "w1", log: ControlLog | None = None) -> None:
        self.log = log or ControlLog()
        self.written: list[Message] = []
        self.owner = PartitionOwner(
            0,
            owner_id,
            self.log,
            partition_of=lambda _: 0,
            event_id=event_id,
            terms=_Terms(),
        )

    def put(self, messages: list[Message], now: float) -> list[Message]:
        """Write messages, read them back, and write what that calls for."""
        queue = list(messages)
        for message in queue:
            self.written.append(message)
            if message.topic == "control":
                entry = self.log.read(message.key, message.value, message.headers, len(self.written))
                if isinstance(entry, OwnerRecord):
                    queue += self.owner.read_owner(entry, now)
                elif entry.scope:
                    queue += self.owner.read_scope(entry, now)
        return queue

    def own(self, now: float = NOW, *, caught_up: bool = True) -> list[Message]:
        self.owner.assigned()
        out = self.put(self.owner.reached_end(now), now)
        assert self.owner.phase is Phase.OWNING
        return out + (self.put(self.owner.reached_now(now), now) if caught_up else [])

    def order(self, now: float, order: Override | None) -> list[Message]:
        self.log.read_override(b"chat", encode(order) if order else None)
        return self.put(self.owner.overridden("chat", now), now)


def _decision(number: int = 1, **fields: object) -> Decision:
    active = number % 2 == 1
    decision = Decision(
        kind="activated" if active else "deactivated",
        scope="chat",
        route="chat",
        deployment="",
        partition=0,
        state="active" if active else "inactive",
        mode="error_spike" if active else "",
        modes=(),
        muted=(),
        fallbacks={"*": ["cache"]} if active else {},
        primary_share=0.05 if active else 1.0,
        probes_per_s=None,
        transition=number,
        event_id=event_id("chat", number),
        at=NOW,
        on_expiry="revert",
        hold_max_s=600.0,
        next_revert_at=None,
        damped_until=None,
        evidence=Evidence(),
        disposition="act",
        reason="",
        contract="",
    )
    return replace(decision, **fields)  # type: ignore[arg-type]


def _scopes(messages: list[Message], topic: str = "control") -> list[ControlRecord]:
    return [
        message.record
        for message in messages
        if message.topic == topic and isinstance(message.record, ControlRecord)
    ]


def test_a_claim_is_the_greater_of_the_topic_and_the_clock() -> None:
    """Above every epoch on the topic, of whichever partition, and not below Unix milliseconds."""
    ahead = _Desk("far ahead")
    ahead.own(NOW + 1000)
    late = _Desk("w2", ahead.log)

    late.own(NOW)

    assert ahead.owner.epoch == int((NOW + 1000) * 1000)
    assert late.owner.epoch == ahead.owner.epoch + 1
    assert _Desk().own(NOW)[0].record.epoch == NOW * 1000  # type: ignore[union-attr]


def test_heartbeats_come_every_three_seconds_even_if_the_clock_is_set_back() -> None:
    """One owner record per heartbeat while owning, and a step of the clock silences none."""
    desk = _Desk()
    desk.own()

    beats = [len(desk.owner.tick(NOW + second)) for second in (1, 2, 3, 4, 6, -3600, -3599)]

    assert beats == [0, 0, 1, 0, 1, 1, 0]


def test_a_foreign_claim_silences_until_the_group_confirms() -> None:
    """An equal epoch is enough; nothing is said any more, for once it is confirmed another one begins."""
    desk = _Desk()
    desk.own()
    rival = OwnerRecord(partition=0, owner="w9", epoch=desk.owner.epoch, issued_at=NOW)

    assert desk.owner.read_owner(rival, NOW) == []
    assert desk.owner.phase is Phase.YIELDED
    assert (
        desk.owner.decided([_decision()], NOW)
        == desk.owner.tick(NOW + 9)
        == desk.owner.reached_end(NOW)
        == []
    )


def test_what_is_judged_while_catching_up_is_only_audited_as_stale() -> None:
    """A fault that began and ended before the end activates nobody; one that still holds does."""
    desk = _Desk()
    desk.own(caught_up=False)

    out = desk.put(desk.owner.decided([_decision(1), _decision(2)], NOW), NOW)
    assert _scopes(out) == []
    assert [said.disposition for said in _scopes(out, "transitions")] == ["stale", "stale"]
    desk.put(desk.owner.decided([_decision(3)], NOW), NOW)

    out = desk.put(desk.owner.reached_now(NOW), NOW)
    assert [(said.state, said.transition, said.event_id) for said in _scopes(out)] == [
        ("active", 3, event_id("chat", 3))
    ]


def test_only_decisions_that_act_reach_gateways() -> None:
    """Notices and shadows are audited, each under an id of its own; a failed attempt to revert is not."""
    desk = _Desk()
    desk.own()

    out = desk.owner.decided([_decision(disposition="notice"), _decision(disposition="shadow")], NOW)
    assert _scopes(out) == []
    assert [said.disposition for said in _scopes(out, "transitions")] == ["notice", "shadow"]

    again = desk.owner.decided([_decision(disposition="notice")], NOW + 1)
    identities = [dict(message.headers)["ce_id"] for message in out + again]
    assert len(set(identities)) == 3
    assert dict(again[0].headers)["ce_time"] == b"2027-01-15T08:00:01.000Z"

    desk.put(desk.owner.decided([_decision()], NOW), NOW)
    out = desk.owner.decided([_decision(kind="extended", next_revert_at=NOW + 10)], NOW)
    assert len(_scopes(out)) == 1
    assert _scopes(out, "transitions") == []


def test_an_order_forces_a_scope_until_its_time_is_over() -> None:
    """Forced on without a fault: the fallbacks given for that; over by time: what is judged again."""
    desk = _Desk()
    desk.own()

    order = Override(scope="chat", state="active", until=NOW + 60, who="ann", reason="test", issued_at=NOW)
    (said,) = _scopes(desk.order(NOW, order))
    assert (said.state, said.source, said.override_until) == ("active", "operator", NOW + 60)
    assert (said.fallbacks, said.transition) == ({"*": ["rule of chat"]}, 1)
    assert said.event_id == event_id("chat", 1)
    assert said.contract == "abc"
    assert "ann" in said.reason

    assert _scopes(desk.put(desk.owner.tick(NOW + 59), NOW + 59)) == []
    (said,) = _scopes(desk.put(desk.owner.tick(NOW + 60), NOW + 60))
    assert (said.state, said.source, said.transition) == ("inactive", "detector", 2)
    assert said.contract == "abc"
    assert said.reason.startswith("the order of an operator is over; judged: ")


def test_an_order_over_a_fault_keeps_the_probes_as_they_were() -> None:
    """Of a deployment the share is one of its usual part of the calls, which the evidence tells."""
    desk = _Desk()
    desk.own()
    evidence = Evidence(predicate="errors", detail={"usual_share": 0.02})
    desk.put(desk.owner.decided([_decision(evidence=evidence, primary_share=0.25)], NOW), NOW)

    (said,) = _scopes(desk.order(NOW, Override(scope="chat", state="active", until=NOW + 60, issued_at=NOW)))

    assert (said.source, said.primary_share, said.evidence) == ("operator", 0.25, evidence)


def test_an_order_ends_while_the_partition_catches_up_as_well() -> None:
    """By time, or taken back: what it hid is said again, at once."""
    for end in ("time", "taken back"):
        desk = _Desk()
        desk.own(caught_up=False)
        order = Override(scope="chat", state="active", until=NOW + 60, issued_at=NOW)
        desk.order(NOW, order)
        if end == "time":
            said = _scopes(desk.put(desk.owner.tick(NOW + 61), NOW + 61))
        else:
            said = _scopes(desk.order(NOW + 5, None))

        assert [(each.state, each.source) for each in said] == [("inactive", "detector")]
        assert _scopes(desk.put(desk.owner.reached_now(NOW + 90), NOW + 90)) == []


def test_a_step_of_a_ramp_is_a_revision() -> None:
    """Its state is what it was; only a change of state is an activation or a deactivation."""
    desk = _Desk()
    desk.own()
    out = [
        *desk.owner.decided([_decision(1)], NOW),
        *desk.owner.decided([_decision(2, kind="revised", state="active", primary_share=0.5)], NOW + 1),
        *desk.owner.decided([_decision(3, kind="deactivated", state="inactive")], NOW + 2),
    ]
    kinds = [dict(each.headers)["ce_type"].decode().split(".")[2] for each in out if each.topic == "control"]

    assert kinds == ["activated", "revised", "deactivated"]


def test_an_order_outranks_what_is_judged_and_can_be_taken_back() -> None:
    """Forced off: a decision meanwhile is audited as shadow; taken back: what is judged is said."""
    desk = _Desk()
    desk.own()
    order = Override(scope="chat", state="inactive", until=NOW + 600, issued_at=NOW)
    (said,) = _scopes(desk.order(NOW, order))
    assert (said.state, said.source) == ("inactive", "operator")

    out = desk.put(desk.owner.decided([_decision()], NOW), NOW)
    assert {record.state for record in _scopes(out)} <= {"inactive"}
    assert "shadow" in {said.disposition for said in _scopes(out, "transitions")}

    (said,) = _scopes(desk.order(NOW + 1, None))
    assert (said.state, said.source, said.mode) == ("active", "detector", "error_spike")


def test_a_scope_is_buried_after_a_day_of_inactivity_and_stays_so() -> None:
    """Tombstones only for scopes inactive for 24 h; a takeover does not dig them up."""
    desk = _Desk()
    desk.own()
    desk.put(desk.owner.decided([_decision(1), _decision(2)], NOW), NOW)
    revision = desk.owner.published["chat"].revision

    early, due = NOW + TOMBSTONE_AFTER_S - 1, NOW + TOMBSTONE_AFTER_S + 61
    assert not [said for said in desk.owner.tick(early) if said.record is None]
    (grave,) = [said for said in desk.put(desk.owner.tick(due), due) if said.record is None]
    assert id_of(grave.headers) == ("chat", desk.owner.epoch, revision + 1)

    heir = _Desk("w2", desk.log)
    heir.owner.assigned()
    heir.owner.restored([_decision(2)], due)
    heir.put(heir.owner.reached_end(due), due)
    assert _scopes(heir.put(heir.owner.reached_now(due), due)) == []

    (said,) = _scopes(heir.put(heir.owner.decided([_decision(3, at=due)], due), due))
    assert (said.transition, said.revision) == (3, revision + 2)


def test_transitions_count_on_where_the_snapshot_lags_behind_the_topic() -> None:
    """The greater of topic and judged count; a turn whose number is used up gets the next one."""
    desk = _Desk()
    desk.own()
    desk.put(desk.owner.decided([_decision(number) for number in range(1, 6)], NOW), NOW)
    heir = _Desk("w2", desk.log)
    heir.own(caught_up=False)

    (said,) = _scopes(heir.put(heir.owner.reached_now(NOW), NOW))
    assert (said.state, said.transition, said.event_id) == ("inactive", 6, event_id("chat", 6))
    (said,) = _scopes(heir.put(heir.owner.decided([_decision(1)], NOW), NOW))
    assert (said.state, said.transition, said.event_id) == ("active", 7, event_id("chat", 7))


def test_bytes_that_are_no_record_are_covered_again() -> None:
    """Compaction would keep them in the place of the scope's record."""
    desk = _Desk()
    desk.own()
    desk.put(desk.owner.decided([_decision()], NOW), NOW)

    out = desk.put([Message("control", b"chat", None, [])], NOW)

    assert [said.state for said in _scopes(out)] == ["active"]


def test_an_attempt_that_failed_is_no_transition_after_a_takeover_either() -> None:
    """The audit has no renewals: those judged while catching up are said on the control topic alone."""
    desk = _Desk()
    desk.own()
    desk.put(desk.owner.decided([_decision()], NOW), NOW)
    heir = _Desk("w2", desk.log)
    heir.own(caught_up=False)
    later = _decision(kind="extended", next_revert_at=NOW + 20, primary_share=0.2, reason="it failed")
    heir.put(heir.owner.decided([_decision(), later], NOW + 10), NOW + 10)

    out = heir.put(heir.owner.reached_now(NOW + 11), NOW + 11)

    assert [(said.next_revert_at, said.primary_share) for said in _scopes(out)] == [(NOW + 20, 0.2)]
    assert _scopes(out, "transitions") == []
