"""What is said where time to first token is measured and not judged."""

import random

import msgspec
import pytest

from detector.contract import load_contract
from detector.lab.calibrate import calibrate
from detector.lab.calibrate.gather import Gathered
from tests.unit.lab.calibrate.test_calibrate import EXAMPLE, T0
from topics.telemetry import TelemetryRecord

JUDGED = EXAMPLE.replace(
    "  silence: ", "  first: {type: exceedance, field: ttft_s, above_ms: 300, ceiling: 0.01}\n  silence: "
).replace("{when: slow_responses}", "{when: {any: [first, slow_responses]}}")


def written(path, spread, first_spread=0.1, answer_s=1.0, measured=True, tenant="", waits_s=None):
    """An hour of calls at 10/s: answers of any length behind a first token that comes in 100 ms.

    `waits_s`: how long the calls of one minute wait in a queue before; None: nobody measures waits.
    """
    draw = random.Random(4)
    with path.open("wb") as out:
        for i in range(36_000):
            waited = (waits_s or 0.0) if 18_000 <= i < 18_600 else 0.0
            first = waited + 0.1 * draw.lognormvariate(0, first_spread)
            call = {
                "event_time": T0 + i / 10,
                "route": "chat",
                "latency_s": first + answer_s * draw.lognormvariate(0, spread),
                "output_tokens": 100,
                "tenant": tenant,
            }
            call |= {"ttft_s": first} if measured else {}
            call |= {"queue_s": waited} if waits_s is not None else {}
            out.write(msgspec.json.encode(call) + b"\n")
    return path


def said(path, text=EXAMPLE):
    """What calibration says of slow responses and first tokens."""
    found = calibrate([path], load_contract(text))
    return [says for one in found.learnt for says in one.limits if "measured and judged by nothing" in says]


def test_a_limit_on_the_first_token_is_proposed_where_the_whole_call_hides_slowness(tmp_path):
    """With the limit that this traffic keeps, and by how much later the typical call would be over it."""
    (says,) = said(written(tmp_path / "a.jsonl", spread=0.8))
    above_ms = float(says.rpartition("above_ms: ")[2].removesuffix("}."))

    assert 150 < above_ms < 250
    assert "slow_first_token: {type: exceedance, field: ttft_s" in says
    proposed = EXAMPLE.replace("  silence: ", f"  {says.rpartition('Consider ')[2][:-1]}\n  silence: ")
    assert load_contract(proposed).predicates["slow_first_token"].above_ms == above_ms


def test_the_wait_is_taken_off_where_it_is_measured(tmp_path):
    """A limit on the first token would have to let queues pass; one on what is left need not."""
    (says,) = said(written(tmp_path / "a.jsonl", spread=0.8, waits_s=1.0))
    above_ms = float(says.rpartition("above_ms: ")[2].removesuffix("}."))

    assert 150 < above_ms < 250
    assert "ttft_s less the wait in queue_s" in says
    assert "severity: notice" not in says
    proposed = EXAMPLE.replace("  silence: ", f"  {says.rpartition('Consider ')[2][:-1]}\n  silence: ")
    assert load_contract(proposed).predicates["slow_first_token"].field == "ttft_unqueued_s"


@pytest.mark.parametrize(
    "traffic",
    [
        {"spread": 0.8, "measured": False},
        {"spread": 0.8, "first_spread": 3.0},
        {"spread": 0.02, "answer_s": 0.03},
    ],
    ids=["not measured", "as wide itself", "short answers"],
)
def test_nothing_is_said_where_it_would_not_help(tmp_path, traffic):
    """Where it is not measured, where it strays as far, and where whole calls stray no further."""
    assert said(written(tmp_path / "a.jsonl", **traffic)) == []


def test_nothing_is_said_where_it_is_judged_already(tmp_path):
    """Under any name, with or without the wait."""
    path = written(tmp_path / "a.jsonl", spread=0.8, waits_s=0.0)

    assert said(path, JUDGED) == []
    assert said(path, JUDGED.replace("ttft_s", "ttft_unqueued_s")) == []


def test_nothing_is_said_where_not_all_whole_calls_are_judged(tmp_path):
    """A limit on one tenant's calls is not compared with the first tokens of all."""
    some = EXAMPLE.replace("field: latency_s,", "field: latency_s, where: {tenant: [acme]},")
    assert "where" in some
    path = written(tmp_path / "a.jsonl", spread=0.8, tenant="acme")

    assert said(path)
    assert said(path, some) == []


def test_beside_a_limit_for_one_route_one_for_that_route_is_proposed(tmp_path):
    """Word for word what a contract takes; it then is judged there alone."""
    one = EXAMPLE.replace("field: latency_s,", "field: latency_s, where: {route: [code, chat]},")
    other = one.replace("[code, chat]", "code")
    path = written(tmp_path / "a.jsonl", spread=0.8)
    (says,) = said(path, one)
    proposed = one.replace("  silence: ", f"  {says.rpartition('Consider ')[2][:-1]}\n  silence: ")

    assert load_contract(proposed).predicates["slow_first_token"].routes == ("code", "chat")
    assert said(path, other) == []


def test_a_limit_below_the_typical_first_token_is_no_advice(tmp_path):
    """Where most calls may exceed it, a limit says nothing of the slow ones."""
    loose = EXAMPLE.replace("above_ms: 200, ceiling: 0.01", "above_ms: 5000, ceiling: 0.7")
    assert "5000" in loose

    assert said(written(tmp_path / "a.jsonl", spread=0.2, first_spread=3.0), loose) == []


def test_every_fourth_call_is_looked_at_in_its_own_second():
    """Values and times that lie side by side belong together."""
    calls = [TelemetryRecord(event_time=T0 + i, route="r", latency_s=1.0, ttft_s=0.1) for i in range(40)]
    gathered = Gathered(load_contract(EXAMPLE))
    gathered.take(iter(calls))
    seconds, _, counts = gathered.routes["r"].of["slow_first_token"].cells.read()

    assert (seconds - T0).tolist() == list(range(0, 40, 4))
    assert set(counts.tolist()) == {1}
