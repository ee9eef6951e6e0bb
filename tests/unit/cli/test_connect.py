"""What a command says that reaches no broker."""

import errno

import pytest
import typer

from detector.cli.connect import unreachable
from detector.service import reach
from detector.service.settings import Settings

AT = "kafka:9092"


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """With which settings brokers were tried; none is."""
    those: list[Settings] = []

    def find_out(settings: Settings) -> list[str]:
        those.append(settings)
        return [f"{AT} refuses connections"]

    monkeypatch.setattr(reach, "find_out", find_out)
    return those


def _said(error: BaseException, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(typer.Exit) as ended:
        unreachable(Settings(bootstrap=AT), error)
    assert ended.value.exit_code == 1
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), BrokenPipeError(errno.EPIPE, "Broken pipe")],
    ids=["no file left", "broken pipe"],
)
def test_an_error_that_tells_its_cause_is_said(
    error: OSError, tried: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    """Brokers are not tried: they may well answer."""
    assert _said(error, capsys) == [f"detector: no answer from {AT}: {error}"]
    assert not tried


def test_of_an_error_that_tells_nothing_the_cause_is_found_out(
    tried: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own text would only say the same again."""
    said = _said(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), capsys)

    assert said == [f"detector: no answer from {AT}", f"detector: {AT} refuses connections"]
    assert len(tried) == 1
