"""What people wrote stands in tables as they wrote it, whatever rich would make of it."""

from types import SimpleNamespace

import msgspec
import pytest
from rich.console import Console

from detector.bench.drill import Drilled, Report
from detector.cli import budget, drill, tail
from detector.contract import example_text
from detector.embedded.demo.log import Log
from detector.embedded.demo.scenarios import HEALTHY_S, SCENARIOS
from detector.embedded.demo.screen import Screen
from detector.embedded.demo.traffic import Traffic
from detector.lab import replay, report
from tests.builders import record
from topics.control import ControlRecord, Evidence

TEXTS = ("[/ticket/7]", "[high]", ":bug:")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.mark.parametrize("text", TEXTS)
def test_drill_and_budget_show_texts_as_they_are(text, capsys):
    """Modes are named in contracts, fallbacks and routes too."""
    drill._show(Report(modes=[Drilled(mode=f"mode{text}", why=[f"why{text}"])], ok=False))
    line = SimpleNamespace(name=f"name{text}", measured_ms=None, ok=True, limit_ms=1.0, stated_ms=1.0, n=0)
    budget._show((line,), (), line)
    shown = capsys.readouterr().out

    for word in ("mode", "why", "name"):
        assert word + text in shown


@pytest.mark.parametrize("text", TEXTS[:2])
def test_the_demo_shows_what_was_decided_as_it_is(text, capsys):
    """Its own colours come from markup all the same."""
    scenario = next(each for each in SCENARIOS if each.expected == "error_spike")
    log = Log()
    log.transition(
        ControlRecord(
            scope=scenario.route,
            route=scenario.route,
            state="active",
            mode=f"mode{text}",
            issued_at=1_700_000_000.0,
            transition=1,
            evidence=Evidence(predicate=f"predicate{text}"),
        )
    )
    screen = Screen(Console(), log, [Traffic(scenario, {})], lambda at: at)
    Console().print(screen._table(HEALTHY_S))
    shown = capsys.readouterr().out

    assert f"mode{text}" in shown
    assert f"predicate{text}" in shown


@pytest.mark.parametrize("text", TEXTS)
def test_replay_shows_routes_as_they_are(text, capsys, tmp_path):
    """They come with the traffic."""
    file = tmp_path / "calls.jsonl"
    calls = [record(i * 0.05, route=f"chat{text}", error="boom" if i > 400 else "") for i in range(500)]
    file.write_bytes(msgspec.json.Encoder().encode_lines(calls))
    report.as_text(replay(file, example_text()).result)

    assert f"chat{text}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "chat on its fallbacks (rule), 25% to the primary: error_spike (act): why"),
        ({"state": "inactive"}, "chat on its primary: error_spike (act): why"),
        ({"disposition": "notice", "state": "inactive"}, "chat notice: error_spike: why"),
        ({"state": "inactive", "mode": ""}, "chat on its primary (act): why"),
        ({"mode": ""}, "chat on its fallbacks (rule), 25% to the primary (act): why"),
        ({"disposition": "notice", "mode": ""}, "chat notice: why"),
        (
            {"deployment": "eu", "scope": "chat@eu"},
            "chat@eu avoided for its siblings, 25% to the primary: error_spike (act): why",
        ),
        (
            {"reason": "two\nlines"},
            "chat on its fallbacks (rule), 25% to the primary: error_spike (act): two\\nlines",
        ),
    ],
)
def test_a_transition_is_one_line_and_a_notice_says_nothing_of_the_state(changes, said):
    record = ControlRecord(
        **{
            "scope": "chat",
            "route": "chat",
            "state": "active",
            "mode": "error_spike",
            "issued_at": 1.7e9,
            "primary_share": 0.25,
            "fallbacks": {"*": ["rule"]},
            "reason": "why",
        }
        | changes
    )

    assert tail.line(record) == said
