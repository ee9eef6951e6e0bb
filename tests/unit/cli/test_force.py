"""What is no order is refused before anything is contacted."""

import pytest
from typer.testing import CliRunner

from detector.cli.main import build


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("force", "chat", "up", "--for", "10m", "--reason", "x"), "neither on nor off"),
        (("force", "chat", "on", "--for", "10", "--reason", "x"), "a number of s, m, h or d"),
        (("force", "chat", "on", "--for", "0s", "--reason", "x"), "a number of s, m, h or d"),
        (("force", "chat", "on", "--for", "8d", "--reason", "x"), "up to 7d"),
        (("force", "", "on", "--for", "10m", "--reason", "x"), "is no scope"),
        (("force", "chat", "on", "--for", "10m", "--reason", " "), "say why"),
        (("unforce", "owner/3"), "is no scope"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_right(args: tuple[str, ...], says: str) -> None:
    """Nothing is sent: there is no broker here."""
    result = CliRunner().invoke(build(), args)

    assert result.exit_code == 2
    assert says in result.output + result.stderr
