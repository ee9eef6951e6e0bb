"""`tail` shows a transition once, whoever tells of it again."""

import pytest

from detector.cli import tail
from topics.control import ControlRecord


def told(event_id: str, disposition: str = "act") -> ControlRecord:
    return ControlRecord(
        scope="chat",
        route="chat",
        state="active",
        issued_at=1_800_000_000.0,
        event_id=event_id,
        disposition=disposition,  # type: ignore[arg-type]
    )


def test_what_a_takeover_tells_again_is_not_shown_again() -> None:
    """What came of it is: late at first, and acted on then. What has no id is no repetition."""
    shown = tail.Told()
    records = [told("a", "stale"), told("b"), told("a"), told("b"), told("a", "stale"), told(""), told("")]

    assert [shown.again(each) for each in records] == [False, False, False, True, True, False, False]


def test_what_was_shown_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may run for months."""
    monkeypatch.setattr(tail, "_REMEMBERED", 2)
    shown = tail.Told()

    assert [shown.again(told(name)) for name in "abca"] == [False] * 4
    assert len(shown._known) == 2
