"""What is no order is refused before anything is contacted."""

from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from detector.cli import force
from detector.cli.main import build
from topics.control import ControlRecord

WHY = ("--for", "10m", "--reason", "x")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("force", "chat", "up", "--for", "10m", "--reason", "x"), "neither on nor off"),
        (("force", "chat", "on", "--for", "10", "--reason", "x"), "a number of s, m, h or d"),
        (("force", "chat", "on", "--for", "0s", "--reason", "x"), "a number of s, m, h or d"),
        (("force", "chat", "on", "--for", "8d", "--reason", "x"), "up to 7d"),
        (("force", "", "on", "--for", "10m", "--reason", "x"), "is no scope"),
        (("force", "chat", "on", "--for", "10m", "--reason", " "), "say why"),
        (("accept", "chat", "--reason", ""), "say why"),
        (("accept", "chat", "--reason", " "), "say why"),
        (("unforce", "owner/3"), "is no scope"),
        (
            ("force", "chat", "on", "--for", "10m", "--reason", "x" * 2001),
            "--reason: at most 2000 characters",
        ),
        (("accept", "chat", "--reason", "x" * 2001), "--reason: at most 2000 characters"),
        (("force", "chat", "on", *WHY, "--who", "x" * 201), "--who: at most 200 characters"),
        (("force", "x" * 1202, "on", *WHY), "SCOPE: at most 1201 characters"),
        (("force", "x" * 201, "on", *WHY), "SCOPE, its route: at most 200 characters"),
        (("accept", "chat@" + "x" * 201, "--reason", "x"), "SCOPE, its deployment: at most 200 characters"),
        (("unforce", "x" * 201), "SCOPE, its route: at most 200 characters"),
        # What the shell hands over as bytes that are not UTF-8.
        (("force", "chat", "on", "--for", "10m", "--reason", "\udcff"), "--reason: expected UTF-8 text"),
        (("accept", "chat", "--reason", "x", "--who", "\udcff"), "--who: expected UTF-8 text"),
        (("unforce", "\udcff"), "SCOPE: expected UTF-8 text"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_right(args: tuple[str, ...], says: str) -> None:
    """Nothing is sent: there is no broker here."""
    result = CliRunner().invoke(build(), args)

    assert result.exit_code == 2
    assert says in result.output + result.stderr


def test_what_is_as_long_as_allowed_is_sent() -> None:
    """The limits are the records', to the character; here it is the broker that is missing."""
    args = (
        "force",
        "r" * 200 + "@" + "d" * 200,
        "on",
        "--for",
        "10m",
        "--reason",
        "ü" * 2000,
        "--who",
        "w" * 200,
    )
    result = CliRunner().invoke(build(), [*args, "--bootstrap", "127.0.0.1:1"])

    assert result.exit_code == 1
    assert "no answer from 127.0.0.1:1" in result.stderr


def ordered(monkeypatch: pytest.MonkeyPatch, *args: str, **applied: Any) -> Result:
    """Run a verb that is answered with a record at once."""
    told = {"scope": "chat", "route": "chat", "state": "inactive", "issued_at": 1.7e9} | applied
    monkeypatch.setattr(force, "give_order", lambda *_: ControlRecord(**told))
    monkeypatch.setattr(force, "doubt_of", lambda *_: None)
    return CliRunner().invoke(build(), [*args, "--bootstrap", "127.0.0.1:1"])


@pytest.mark.parametrize(
    ("wanted", "applied", "said"),
    [
        ("off", {}, "chat is on its primary until "),
        (
            "on",
            {"state": "active", "fallbacks": {"*": ["secondary", "rule"]}, "primary_share": 0.05},
            "chat is on its fallbacks (secondary, rule), but for 5% of its calls, which probe it, until ",
        ),
    ],
)
def test_an_order_is_answered_with_where_the_calls_go(
    wanted: str, applied: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose order it is, too; a scope that nothing is wrong with brings no warning."""
    result = ordered(monkeypatch, "force", "chat", wanted, *WHY, "--who", "root", **applied)

    assert result.exit_code == 0
    assert result.stdout.startswith(said)
    assert result.stdout.endswith(", by order of root: x\n")
    assert result.stderr == ""


def test_what_is_taken_back_is_answered_with_where_the_calls_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The word `inactive` would read like an outage."""
    assert ordered(monkeypatch, "unforce", "chat").stdout == "chat is on its primary again, as judged\n"


def test_whoever_forces_an_ill_primary_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that the owner answers with carries what is judged meanwhile."""
    result = ordered(monkeypatch, "force", "chat", "off", *WHY, modes=["error_spike"])

    assert result.exit_code == 0
    assert "warning: chat: judged meanwhile: error_spike in breach; without the order" in result.stderr
