"""What `state` says: who is woken up reads its first lines, and whoever looks for a name finds it whole."""

from types import SimpleNamespace

import msgspec
import pytest

from detector.cli import state
from tests.unit.cli.test_tables import TEXTS
from topics.control import ControlRecord, Evidence


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.mark.parametrize("text", TEXTS)
def test_state_shows_texts_as_they_are(text, capsys):
    """Names, reasons and owners alike."""
    scope = {
        "scope": f"scope{text}",
        "state": "active",
        "mode": f"mode{text}",
        "fallbacks": {f"class{text}": [f"fallback{text}"]},
        "primary_share": 0.05,
        "reason": f"reason{text}",
        "override_until": None,
        "on_expiry": "revert",
        "evidence": {"event_time": 1.7e9},
    }
    partition = {
        "owner": f"owner{text}",
        "heard_s_ago": 1.0,
        "lapsed": False,
        "counts": {},
        "complete": True,
        "armed": {f"armed{text}": 1.0},
    }
    standing = {
        "routes": {"breach": 1},
        "named": {"breach": [f"named{text}"]},
        "finds": [],
        "frozen": 0,
        "crept": 0,
        "crept_named": [],
    }
    state._show(
        {
            "scopes": [scope],
            "lapsed": [],
            "withheld": [],
            "counts": {},
            "partitions": {"0": partition},
            "predicates": {f"predicate{text}": standing},
            "calibration": {"age_s": 1.0, "made_at": f"made{text}"},
            "clock_off_s": None,
        }
    )
    shown = capsys.readouterr().out

    for word in (
        "scope",
        "mode",
        "class",
        "fallback",
        "reason",
        "owner",
        "armed",
        "predicate",
        "named",
        "made",
    ):
        assert word + text in shown


def standing(name, **changes):
    record = ControlRecord(scope=name, route="chat", state="active", mode="error_spike", issued_at=1.7e9)
    return msgspec.to_builtins(record) | changes


def held(owner="worker-1", lapsed_s=None, **changes):
    """A partition as `look` tells of it."""
    heard_s = 1.0 if lapsed_s is None else lapsed_s + 15.0
    return {
        "owner": owner,
        "heard_s_ago": heard_s,
        "lapsed": lapsed_s is not None,
        "lapsed_s": lapsed_s,
        "counts": {"judged": 100},
        "complete": True,
        "armed": {"errors": 1.0, "drift": 0.0},
    } | changes


def shown_state(
    capsys, scopes, *, lapsed=(), counts=(), withheld=(), partitions=(), predicates=(), clock_off_s=None
):
    state._show(
        {
            "scopes": scopes,
            "lapsed": list(lapsed),
            "withheld": list(withheld),
            "counts": dict(counts),
            "partitions": {str(number): each for number, each in enumerate(partitions)},
            "predicates": dict(predicates),
            "calibration": None,
            "clock_off_s": clock_off_s,
        }
    )
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("ago_s", "said"),
    [(7, "7 s"), (100, "100 s"), (750, "12.5 min"), (9000, "2.5 h"), (260_000, "3.01 days")],
)
def test_state_keeps_the_cause_of_what_is_still_active(ago_s, said, capsys, monkeypatch):
    """Beside what is said of the present: for how long, and which value crossed which line."""
    monkeypatch.setattr(state, "time", SimpleNamespace(time=lambda: 1.7e9 + ago_s))
    evidence = Evidence(predicate="errors", value=0.5, threshold=0.01, samples=20, event_time=1.7e9)
    scope = standing("chat", reason="still held back by errors", evidence=msgspec.to_builtins(evidence))
    lines = state._standing(scope, False, 1.7e9).splitlines()

    assert f"  active for {said}, since 2023-11-14 22:13:20.000Z" in lines
    seen = " (2023-11-14 22:13:20.000Z)"
    cause = "  fault: more calls fail than the contract allows: errors at 0.5 against 0.01 over 20 records"
    assert lines[-2:] == [cause + seen, "  why: still held back by errors"]


def test_state_says_the_cause_once():
    """At first the reason tells of it."""
    evidence = Evidence(predicate="errors", value=0.5, threshold=0.01, samples=20, event_time=1.7e9)
    reason = "too many calls fail: errors at 0.5 against 0.01 over 20 records"
    shown = state._standing(standing("chat", reason=reason, evidence=msgspec.to_builtins(evidence)), False)

    assert shown.count("errors at 0.5 against 0.01") == 1
    assert "active for" not in shown


def test_state_does_not_say_that_a_scope_is_obeyed_whose_owner_is_silent(capsys):
    """Gateways are on their primaries once the lease is over, unless they were told to hold."""
    held = standing("held", on_expiry="hold")
    shown = shown_state(capsys, [standing("chat"), held], lapsed=["chat", "held"])
    rows = {line.partition(":")[0]: line for line in shown.splitlines() if "error_spike" in line}

    assert "active, lapsed" in rows["chat"]
    assert "active, held" in rows["held"]
    assert "gateways obey it no more" in shown
    assert "lapsed" not in shown_state(capsys, [standing("chat")])


@pytest.mark.parametrize(
    ("partitions", "said"),
    [
        (
            [held(lapsed_s=20.0), held(lapsed_s=24.4)],
            "NOBODY WATCHES 2 of 2 partitions, for 24 s now: their routes use their primaries whatever "
            "happens. Start a worker.",
        ),
        (
            [held(), held("b", 300.0), held("b", 299.0), held()],
            "NOBODY WATCHES 2 of 4 partitions (1-2), for 5 min now: their routes use their primaries "
            "whatever happens. Start a worker, or ask /readyz of those that run.",
        ),
        (
            [held("", heard_s_ago=None, lapsed=True)],
            "NOBODY WATCHES 1 of 1 partitions: their routes use their primaries whatever happens. "
            "Start a worker.",
        ),
        ([], "NOBODY WATCHES: no worker has taken a partition yet. Start a worker."),
    ],
)
def test_the_first_line_says_that_nobody_watches(partitions, said, capsys):
    """Whoever is woken up reads no further; that nothing is active would calm them."""
    shown = shown_state(capsys, [], partitions=partitions)

    assert shown.splitlines()[0] == said
    all_lapsed = partitions and all(each["lapsed"] for each in partitions)
    assert ("nothing was active when a worker was last heard" in shown) == bool(all_lapsed)


def test_nobody_is_alarmed_while_all_are_watched(capsys):
    """And what is held over a lapse is not said to be on its primary."""
    assert "NOBODY" not in shown_state(capsys, [], partitions=[held(), held("b")])
    chat = standing("chat", on_expiry="hold")
    shown = shown_state(capsys, [chat], lapsed=["chat"], partitions=[held(lapsed_s=9.0)])
    assert "use their primaries whatever happens (those marked held once their time is over)" in shown


def test_an_order_against_a_fault_tells_of_the_fault(capsys):
    """Without it the scope would be on its fallbacks; one that is well tells of nothing."""
    off = standing("chat", state="inactive", override_until=1.7e9, mode="", modes=["error_spike"])
    shown = shown_state(capsys, [off], partitions=[held()])

    judged = "  judged meanwhile: error_spike in breach; without the order it would be on its fallbacks"
    assert judged in shown.splitlines()
    assert "nothing is active: every route uses its primary; by order: chat" in shown
    assert "without the order" not in shown_state(capsys, [off], lapsed=["chat"])
    assert "judged" not in state._standing(off | {"modes": []}, False)


@pytest.mark.parametrize(
    ("changes", "lapsed", "said"),
    [
        (
            {"fallbacks": {"*": ["secondary", "rule"]}},
            False,
            "nothing, calls are served by secondary, rule; if you are sure that it is well: "
            "detector force chat off --for 30m --reason ..",
        ),
        (
            {"evidence": {"predicate": "output_drift"}},
            False,
            "nothing, calls are served by its fallbacks; if you are sure that it is well: detector force "
            "chat off --for 30m --reason ..; if the drift is meant: detector accept chat --reason ..",
        ),
        (
            {"scope": "chat@eu 1"},
            False,
            "nothing, its calls go to its siblings; if you are sure that it is well: "
            "detector force 'chat@eu 1' off --for 30m --reason ..",
        ),
        (
            {"override_until": 1.7e9},
            False,
            "nothing, the order ends by itself; sooner: detector unforce chat",
        ),
        (
            {"override_until": 1.7e9, "state": "inactive", "modes": ["error_spike"]},
            False,
            "unless you are sure that it is well: detector unforce chat",
        ),
        (
            {"reason": "Since 09:12: slow. inconclusive: no probe with a verdict since the last attempt"},
            False,
            "see that calls come and are reported: it ends by probes alone, and there was none of late; "
            "or detector force chat off --for 30m --reason ..",
        ),
        ({}, True, "start a worker: nobody watches this scope"),
    ],
)
def test_what_can_be_done_stands_under_the_name(changes, lapsed, said):
    """A command to copy; a drift alone can be accepted."""
    lines = state._standing(standing("chat") | changes, lapsed, drifts=["output_drift"]).splitlines()

    assert lines[1] == f"  do: {said}"


def test_only_what_is_said_to_be_a_drift_can_be_accepted(capsys):
    """Predicates are named by the contract: nothing is guessed from the name."""
    scope = standing("chat", evidence={"predicate": "odd"})
    found = {"routes": {"breach": 1}, "named": {}, "finds": [], "frozen": 0, "crept": 0, "crept_named": []}

    assert "detector accept chat" in shown_state(capsys, [scope], predicates={"odd": found | {"drift": True}})
    assert "detector accept" not in shown_state(capsys, [scope], predicates={"odd": found})


def test_each_partition_is_one_row_with_what_was_judged_on_it(capsys):
    """One that is stuck stands beside busy ones; shares of predicates, of all records, are one line."""
    partitions = [
        held(counts={"judged": 1_234_567, "late": 2, "malformed": 7}),
        held(counts={}, complete=False, armed={"errors": 0.0}),
        held("b", counts={"judged": 1_234_567}, armed={"errors": 0.5}),
        held("b", 40.0),
        held("b", heard_s_ago=None, lapsed=True),
        held("", heard_s_ago=None, lapsed=True),
    ]
    shown = shown_state(capsys, [], partitions=partitions)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]

    assert rows == [
        ["0", "worker-1", "1.0 s ago", "1,234,567 (7 malformed, 2 late)"],
        ["1", "worker-1", "1.0 s ago", "0 and counting"],
        ["2", "b", "1.0 s ago", "1,234,567"],
        ["3", "b", "55.0 s ago, lapsed", "100"],
        ["4", "b", "not now, lapsed", "100"],
        ["5", "nobody", "never", "100"],
    ]
    assert "armed on records judged: errors 75%" in shown.splitlines()
    idle = shown_state(capsys, [], partitions=[held(counts={}, armed={"errors": 0.0})])
    assert "armed on records judged: nothing yet" in idle
    assert "0%" not in idle


@pytest.mark.parametrize(("off_s", "said"), [(20.0, "20 s ahead of"), (-120.4, "120 s behind")])
def test_state_says_that_clocks_differ(off_s, said, capsys):
    """All times that it tells are off by as much."""
    line = f"this machine's clock is {said} a worker's: times here are off by as much"

    assert line in shown_state(capsys, [], partitions=[held()], clock_off_s=off_s).splitlines()
    assert "clock" not in shown_state(capsys, [], partitions=[held()])


def test_headers_are_whole_on_80_columns(capsys, monkeypatch):
    """However long what stands below them."""
    monkeypatch.setenv("COLUMNS", "80")
    outcomes = ("armed", "breach", "unusable", "learning", "insufficient")
    found = {
        "routes": dict.fromkeys(outcomes, 12_345),
        "named": {"breach": ["a-rather-long-name-of-a-route-1", "a-rather-long-name-of-a-route-2"]},
        "finds": [0.01, 0.2],
        "frozen": 3,
        "crept": 0,
        "crept_named": [],
    }
    partitions = [held("a-worker-with-a-rather-long-name.example.org:4711", armed={"some_long_name": 1.0})]
    shown = shown_state(
        capsys, [], partitions=partitions * 40, predicates={"answers_of_the_summary_templates": found}
    )
    headers = [line.replace("┃", " ").split() for line in shown.splitlines() if "┃" in line]

    assert headers == [["predicate", "routes", "more"], ["partition", "owner", "heard", "judged"]]
    assert all(outcome in shown for outcome in outcomes)


def test_state_shows_who_is_kept_off_its_fallback(capsys):
    """An order stands there with its end, and what else is inactive does not."""
    off = standing("chat", state="inactive", override_until=1.7e9, reason="off by ada: ticket 7")
    shown = shown_state(capsys, [off, standing("code", state="inactive")])

    assert "forced off until 2023-11-14 22:13:20" in shown
    assert "off by ada: ticket 7" in shown
    assert "nothing is active" in shown
    assert "code" not in shown


def test_state_tells_of_what_is_seen_and_not_acted_on(capsys):
    """A route that has fallen silent is a notice: that must not look like peace."""
    standing_of = {
        "routes": {"breach": 3, "armed": 2},
        "named": {"breach": ["chat", "code", "embed"]},
        "finds": [],
        "frozen": 0,
        "crept": 0,
        "crept_named": [],
    }
    quiet = standing_of | {"routes": {"armed": 5}, "named": {}}
    shown = shown_state(capsys, [], predicates={"silence": standing_of, "errors": quiet})

    assert "seen, and not acted on: silence on chat, code, embed\n" in shown
    assert "seen, and not" not in shown_state(capsys, [], predicates={"errors": quiet})
    assert "seen, and not" not in shown_state(capsys, [standing("chat")], predicates={"silence": standing_of})


def test_state_shows_who_is_kept_on_its_primary(capsys):
    """Their faults are found, and nothing is done: that must not look like peace."""
    assert "withheld: chat, code; " in shown_state(capsys, [], withheld=["chat", "code"])
    assert "withheld" not in shown_state(capsys, [])


def test_state_tells_of_what_could_not_be_judged(capsys):
    """Every record malformed, and nothing active, must not look like peace."""
    assert "7 malformed" in shown_state(capsys, [], counts={"judged": 3, "malformed": 7, "late": 0})
    assert "not judged" not in shown_state(capsys, [], counts={"judged": 3, "malformed": 0})


@pytest.mark.parametrize("columns", ["40", "80", None])
def test_names_are_whole_however_narrow_the_terminal(columns, capsys, monkeypatch):
    """Two names that begin alike stay apart, and can be copied or searched for."""
    monkeypatch.delenv("COLUMNS")
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    names = ["support-answers-eu-west-1", "support-answers-eu-west-2"]
    shown = shown_state(capsys, [standing(name) for name in names])

    assert all(f"{name}: active, error_spike" in shown for name in names)


def test_a_table_in_a_pipe_is_as_wide_as_it_has_to_be(capsys, monkeypatch):
    """Whoever searches it finds names and routes on one line."""
    monkeypatch.delenv("COLUMNS")
    name, routes = "answers_of_the_summary_templates", [f"a-rather-long-name-{i}" for i in range(5)]
    standing = {"routes": {"unusable": 5}, "named": {"unusable": routes}, "finds": [], "frozen": 0}
    standing |= {"crept": 0, "crept_named": []}
    state._show(
        {"scopes": [], "lapsed": [], "withheld": [], "counts": {}, "partitions": {}, "calibration": None}
        | {"clock_off_s": None}
        | {"predicates": {name: standing}}
    )
    (line,) = [line for line in capsys.readouterr().out.splitlines() if name in line]

    assert all(route in line for route in routes)
