"""What flagd's own evaluator makes of the file of flags: who answers, which calls probe, when that ends."""

import asyncio
import json
import os
import stat
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError

from detector.gateway.view import ControlView
from detector.service.mirror.flagd import FlagFile, flags
from detector.service.mirror.picture import Picture
from tests.unit.gateway.builders import Message, owner_message, scope_message, tombstone

CALLS = 4000


def _picture(*messages: Message, at: float | None = None) -> Picture:
    view = ControlView()
    for message in messages:
        view.apply(message.key, message.value, message.headers, now=0.0)
    return Picture.of(view, now=0.0, at=time.time() if at is None else at)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[FlagFile]:
    made = FlagFile(tmp_path / "llm.json")
    yield made
    await made.close()


class _Flags:
    """Asks the flags of a picture."""

    def __init__(self, picture: Picture) -> None:
        self.core = FlagdCore()
        self.core.set_flags(json.dumps({"flags": flags(picture)}))

    def fallback(self, route: str = "chat", key: str | None = "call-1", **attributes: str) -> tuple[str, Any]:
        context = EvaluationContext(targeting_key=key, attributes=attributes)
        found = self.core.resolve_string_value(f"llm.fallback.{route}", "?", context)
        return found.value, found.variant

    def avoid(self, scope: str, key: str | None = "call-1") -> tuple[bool, Any]:
        context = EvaluationContext(targeting_key=key)
        found = self.core.resolve_boolean_value(f"llm.avoid.{scope}", False, context)
        return found.value, found.variant


def _active(**fields: Any) -> Message:
    return scope_message(**({"primary_share": 0.0} | fields))


def test_the_first_fallback_for_the_input_class_answers() -> None:
    named = {"*": ["secondary", "rule"], "high_risk": ["cache", "rule"], "batch": ["rule"]}
    found = _Flags(_picture(owner_message(), _active(fallbacks=named)))

    assert found.fallback() == ("secondary", "fallback/secondary")
    assert found.fallback(input_class="high_risk") == ("cache", "fallback/cache")
    assert found.fallback(input_class="batch") == ("rule", "fallback/rule")
    assert found.fallback(input_class="default") == ("secondary", "fallback/secondary")


def test_where_there_is_no_fallback_the_primary_answers_as_a_probe() -> None:
    found = _Flags(_picture(owner_message(), _active(fallbacks={"*": [], "high_risk": ["rule"]})))

    assert found.fallback() == ("primary", "probe")
    assert found.fallback(input_class="high_risk") == ("rule", "fallback/rule")


@pytest.mark.parametrize("name", ["primary", "probe"])
def test_a_fallback_may_have_any_name(name: str) -> None:
    found = _Flags(_picture(owner_message(), _active(fallbacks={"*": [name]})))

    assert found.fallback() == (name, f"fallback/{name}")


def test_an_inactive_route_has_its_primary_and_an_unknown_one_no_flag() -> None:
    found = _Flags(_picture(owner_message(), scope_message(state="inactive")))

    assert found.fallback() == ("primary", "primary")
    with pytest.raises(FlagNotFoundError):
        found.fallback("embed")


@pytest.mark.parametrize("share", [0.05, 0.25, 1.0])
def test_the_share_of_probes_is_the_share_of_calls_whatever_their_keys(share: float) -> None:
    """Within four standard deviations of chance, and a key asked again gets the same answer."""
    found = _Flags(_picture(owner_message(), _active(primary_share=share)))
    said = [found.fallback(key=f"call-{number}") for number in range(CALLS)]

    assert set(said) <= {("primary", "probe"), ("rule", "fallback/rule")}
    probes = sum(variant == "probe" for _, variant in said)
    assert abs(probes - share * CALLS) <= 4 * (share * (1 - share) * CALLS) ** 0.5
    assert said == [found.fallback(key=f"call-{number}") for number in range(CALLS)]


def test_without_a_key_there_are_no_probes() -> None:
    """A fallback, where flagd would take the default by itself: the primary."""
    found = _Flags(_picture(owner_message(), _active(primary_share=0.9)))

    assert found.fallback(key=None) == ("rule", "fallback/rule")
    assert found.fallback(key="") == ("rule", "fallback/rule")


def test_a_rule_ends_with_the_lease_though_nobody_writes_any_more() -> None:
    """Of the file that was written a lease ago every flag says primary; `hold` says it later."""
    held = _active(route="embed", on_expiry="hold", hold_max_s=100.0)
    sick = _active(deployment="eu-1")
    messages = (owner_message(lease_s=15.0), _active(), held, _active(route="x"), sick)
    now = time.time()
    fresh, late = _Flags(_picture(*messages, at=now)), _Flags(_picture(*messages, at=now - 17))

    assert fresh.fallback() == fresh.fallback("embed") == ("rule", "fallback/rule")
    assert fresh.avoid("chat@eu-1") == (True, "avoid")
    assert late.fallback() == ("primary", "primary")
    assert late.avoid("chat@eu-1") == (False, "well")
    assert late.fallback("embed") == ("rule", "fallback/rule")
    assert _Flags(_picture(*messages, at=now - 120)).fallback("embed") == ("primary", "primary")


def test_a_rule_ends_no_later_than_the_lease() -> None:
    """Providers count whole seconds, and a flag says less by part of one."""
    found = flags(_picture(owner_message(lease_s=15.0), _active(), at=1_000_000_000.9))["llm.fallback.chat"]

    assert found["targeting"]["if"][0] == {"<": [{"var": "$flagd.timestamp"}, 1_000_000_015]}


def test_a_deployment_is_avoided_but_for_its_probes() -> None:
    sick = _active(deployment="eu-1", primary_share=0.25)
    well = scope_message(deployment="us@2", state="inactive")
    found = _Flags(_picture(owner_message(), sick, well))
    said = [found.avoid("chat@eu-1", f"call-{number}") for number in range(CALLS)]

    assert set(said) == {(True, "avoid"), (False, "probe")}
    assert abs(sum(avoid for avoid, _ in said) - 0.75 * CALLS) <= 4 * (0.75 * 0.25 * CALLS) ** 0.5
    assert found.avoid("chat@us%402") == (False, "well")


@pytest.mark.parametrize("state", ["active", "inactive"])
def test_what_was_decided_and_why_comes_along(state: str) -> None:
    record = _active(state=state, mode="error_spike", reason="more calls fail", event_id="e1")
    told = flags(_picture(owner_message(), record))["llm.fallback.chat"]["metadata"]

    assert told == {
        "scope": "chat",
        "mode": "error_spike",
        "reason": "more calls fail",
        "event_id": "e1",
        "epoch": 1,
        "revision": 1,
    }


async def test_the_file_is_replaced_whole_and_only_when_something_is_new(
    tmp_path: Path, file: FlagFile
) -> None:
    now = time.time()
    await file.write(_picture(owner_message(), _active(), at=now), None)
    first = (tmp_path / "llm.json").stat()
    await file.write(_picture(owner_message(), _active(), at=now), frozenset())
    assert (tmp_path / "llm.json").stat().st_ino == first.st_ino

    await file.write(
        _picture(owner_message(), _active(), tombstone("chat", 1, 2), at=now), frozenset({"chat"})
    )
    assert json.loads((tmp_path / "llm.json").read_text())["flags"] == {}
    assert (tmp_path / "llm.json").stat().st_ino != first.st_ino
    assert sorted(os.listdir(tmp_path)) == [".llm.json.lock", "llm.json"]


async def test_a_file_that_somebody_takes_away_is_there_again_with_the_next_whole(
    tmp_path: Path, file: FlagFile
) -> None:
    now = _picture(owner_message(), _active())
    await file.write(now, None)
    (tmp_path / "llm.json").unlink()
    await file.write(now, None)

    assert (tmp_path / "llm.json").exists()


async def test_a_file_is_there_from_the_start_and_one_that_is_there_stays(tmp_path: Path) -> None:
    """Without one flagd does not start; what another mirror has written may still be so."""
    await FlagFile(tmp_path / "llm.json").close()
    assert json.loads((tmp_path / "llm.json").read_text())["flags"] == {}
    (tmp_path / "llm.json").write_text("what was there")
    await FlagFile(tmp_path / "llm.json").close()
    assert (tmp_path / "llm.json").read_text() == "what was there"


async def test_two_mirrors_do_not_write_one_file(tmp_path: Path) -> None:
    """Until the first one ends, however it does."""
    first = FlagFile(tmp_path / "llm.json")
    with pytest.raises(ValueError, match="another mirror"):
        FlagFile(tmp_path / "llm.json")
    await first.close()
    await FlagFile(tmp_path / "llm.json").close()


async def test_who_may_read_the_file_is_left_as_it_was(tmp_path: Path, file: FlagFile) -> None:
    (tmp_path / "llm.json").chmod(0o604)
    await file.write(_picture(owner_message(), _active()), None)

    assert stat.S_IMODE((tmp_path / "llm.json").stat().st_mode) == 0o604


async def test_a_write_that_hangs_has_no_other_beside_it(
    tmp_path: Path, file: FlagFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that write to one draft would leave a file that is none."""
    now = _picture(owner_message(), _active())
    began, go_on = threading.Event(), threading.Event()
    write_bytes = Path.write_bytes

    def hang(path: Path, text: bytes) -> int:
        began.set()
        assert go_on.wait(20)
        return write_bytes(path, text)

    monkeypatch.setattr(Path, "write_bytes", hang)
    first = asyncio.create_task(file.write(now, None))
    assert await asyncio.to_thread(began.wait, 20)
    with pytest.raises(BlockingIOError, match="has not ended"):
        await file.write(now, None)
    go_on.set()
    await first
    assert "llm.fallback.chat" in json.loads((tmp_path / "llm.json").read_text())["flags"]


async def test_a_draft_that_cannot_be_used_is_not_left(
    tmp_path: Path, file: FlagFile, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        await file.write(_picture(owner_message(), _active()), None)
    assert sorted(os.listdir(tmp_path)) == [".llm.json.lock", "llm.json"]


def test_flags_choose_their_probes_each_by_itself() -> None:
    """Else the same calls would be the probes of every route."""
    both = (_active(primary_share=0.5), _active(route="embed", primary_share=0.5))
    found = _Flags(_picture(owner_message(), *both))
    keys = [f"call-{number}" for number in range(200)]

    assert [found.fallback(key=key) for key in keys] != [found.fallback("embed", key=key) for key in keys]


@pytest.mark.parametrize("path", ["none/llm.json", "folder.json"])
def test_where_no_file_can_be_is_told_at_once(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ValueError, match="expected a file in a folder"):
        FlagFile(tmp_path / path)


def test_a_name_that_flagd_would_not_read_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.json"):
        FlagFile(tmp_path / "flags.txt")
