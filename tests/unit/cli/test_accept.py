"""`detector accept`: a route that has just come is waited for, one that nobody judges is not."""

import pytest
from click.testing import Result
from typer.testing import CliRunner

from detector.cli import accept
from detector.cli.main import build
from topics.control import ControlRecord

DOUBT = "no call of route 'chat' has been judged yet"


def run(*more: str) -> Result:
    order = ["accept", "chat", "--reason", "a new prompt", "--bootstrap", "127.0.0.1:1"]
    return CliRunner().invoke(build(), [*order, *more])


@pytest.fixture
def doubts(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What is found to speak against the scope, each time that one looks; the last one stays."""
    found: list[str | None] = []
    answer = ControlRecord(scope="chat", route="chat", state="inactive", issued_at=1.7e9, reason="accepted")
    monkeypatch.setattr(accept, "doubt_of", lambda *_: found.pop(0) if len(found) > 1 else found[0])
    monkeypatch.setattr(accept, "give_order", lambda *_: answer)
    monkeypatch.setattr(accept, "_LOOK_AGAIN_S", 0.001)
    return found


def test_a_route_that_has_just_come_is_waited_for(doubts: list[str | None]) -> None:
    """Its first snapshot tells of it some seconds after its first call."""
    doubts += [DOUBT, DOUBT, None]
    result = run()

    assert (result.exit_code, result.stdout) == (0, "chat: accepted\n")


def test_nothing_is_ordered_of_what_stays_unknown(doubts: list[str | None]) -> None:
    """Not for longer than the command was told to wait."""
    doubts.append(DOUBT)
    result = run("--wait", "0.1")

    assert result.exit_code == 1
    assert f"{DOUBT}; nothing is ordered" in result.stderr
