"""What a decider makes of a view: probes of several scopes, evidence that makes no sense, other threads."""

from collections import Counter
from typing import Any

import pytest

from detector.gateway.decision import Decider
from detector.gateway.view import ControlView, Effective
from tests.unit.gateway.builders import Message, owner_message, scope_message
from topics.control import ControlRecord, Evidence


def decider(*messages: Message, view: ControlView | None = None) -> Decider:
    made = Decider(view or ControlView(), "gw")
    made.heard = True
    tell(made, owner_message(), *messages)
    return made


def tell(to: Decider, *messages: Message) -> None:
    for message in messages:
        to._view.apply(message.key, message.value, message.headers, now=0.0)


def probes(of: Decider, calls: int) -> Counter[str]:
    found = (of.decide("chat", "default", "", 1.0) for _ in range(calls))
    return Counter(each.probe_deployment for each in found if each.probe)


def test_where_more_probes_are_owed_than_calls_come_all_get_the_same() -> None:
    """None is probed at another's cost for ever: without evidence there is no way back."""
    found = probes(decider(*(scope_message("chat", name, primary_share=0.9) for name in "abc")), 900)

    assert max(found.values()) - min(found[name] for name in "abc") <= 2


@pytest.mark.parametrize("part", [1e300, -1000.0, 1.5, "half", float(2**60)])
def test_a_usual_share_that_makes_no_sense_is_left_aside(part: Any) -> None:
    """The deployment is probed with its share of all calls, as where nothing is said; later sense counts."""
    detail = {"usual_share": part}
    subject = decider(scope_message("chat", "a", primary_share=0.5, evidence=Evidence(detail=detail)))
    assert abs(probes(subject, 1000)["a"] - 500) <= 1

    evidence = Evidence(detail={"usual_share": 0.5})
    tell(subject, scope_message("chat", "a", revision=2, primary_share=0.5, evidence=evidence))
    assert abs(probes(subject, 1000)["a"] - 250) <= 2


def test_what_is_owed_is_not_paid_once_the_share_is_none() -> None:
    """The owner wants no call there any more."""
    subject = decider(*(scope_message("chat", name, primary_share=0.9) for name in "ab"))
    probes(subject, 100)
    tell(subject, *(scope_message("chat", name, revision=2, primary_share=0.0) for name in "ab"))

    assert not probes(subject, 100)


class Changing(ControlView):
    """A view that another thread changes while it is looked at."""

    change: Message | None = None

    def _now(self) -> None:
        if (message := self.change) is not None:
            self.change = None
            self.apply(message.key, message.value, message.headers, now=0.0)

    def in_force(self, record: ControlRecord, now: float) -> tuple[bool, bool, float]:
        self._now()
        return super().in_force(record, now)


class ChangingAfter(Changing):
    """The same, once it has been looked at."""

    def in_force(self, record: ControlRecord, now: float) -> tuple[bool, bool, float]:
        return ControlView.in_force(self, record, now)

    def effective(self, route: str, deployment: str = "", now: float = 0.0) -> Effective:
        found = super().effective(route, deployment, now)
        self._now()
        return found


@pytest.mark.parametrize("kind", [Changing, ChangingAfter])
def test_a_change_from_another_thread_counts_from_the_next_call_on(kind: type[Changing]) -> None:
    """A handler that is no coroutine decides in a thread of its own, while the loop takes records."""
    view = kind()
    subject = decider(
        scope_message("chat", "a", primary_share=0.0),
        scope_message("chat", "b", primary_share=0.0),
        view=view,
    )
    view.change = scope_message("chat", "c", primary_share=0.0)
    subject.decide("chat", "default", "", 1.0)

    assert set(subject.decide("chat", "default", "x", 1.0).avoid) == {"a", "b", "c"}
    assert set(subject.decide("chat", "default", "", 1.0).avoid) == {"a", "b", "c"}
