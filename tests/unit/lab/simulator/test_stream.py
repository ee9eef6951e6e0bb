"""Streams: the same for the same seed, in order, blind to what is not measured."""

import msgspec
import numpy as np
import pytest

from detector.lab.simulator import PROFILES, SCENARIOS, Diversion, simulate
from tests.unit.lab.simulator.truth import FOR_S, FROM_S, calls_of, run
from topics.telemetry import TelemetryRecord, decode_telemetry

OPTIONAL = {
    "deployment", "latency_s", "ttft_s", "queue_s", "upstream_s", "batch_size", "input_tokens",
    "output_tokens",
    "hallucinated", "refused", "logprob_mean", "token_ids", "clock_ratio", "throttle_reasons", "golden",
    "golden_ok",
    "model", "provider", "tenant", "template", "finish_reason", "request_id",
}  # fmt: skip


def encoded(simulation):
    return msgspec.json.encode(list(simulation.records()))


def test_equal_seeds_give_equal_streams():
    """Records, verdicts and labels are a function of scenario and seed, and of nothing else."""
    changes = {"duration_s": 8.0, "judge_lag_s": 1.0, "regime": "mid"}
    one, two = simulate("healthy", 3, **changes), simulate("healthy", 3, **changes)

    assert encoded(one) == encoded(two)
    assert encoded(one) == encoded(one), "reading it twice"
    assert list(one.evaluations()) == list(two.evaluations())
    assert encoded(one) != encoded(simulate("healthy", 4, **changes))


def test_a_route_does_not_depend_on_its_neighbours():
    """Adding a route leaves the calls of the first one as they were."""
    alone, beside = run(seed=7), run(seed=7, of=("chat", "code"))

    assert np.array_equal(calls_of(alone), calls_of(beside), equal_nan=False) or (
        calls_of(alone).tobytes() == calls_of(beside).tobytes()
    )


def test_records_come_in_time_order_and_are_valid():
    """Each record passes the decoder, and no record ended before the one in front of it."""
    for name in ("inference_overload", "neighbours"):
        records = list(simulate(name, 1, duration_s=30.0, fault_start_s=5.0, fault_duration_s=10.0).records())
        times = [record.event_time for record in records]

        assert times == sorted(times)
        assert len({record.request_id for record in records}) == len(records)
        for record in records[:500]:
            assert decode_telemetry(msgspec.json.encode(record)) == record


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_nothing_is_told_that_the_profile_does_not_measure(name):
    """Fields outside the profile are never set; those inside are, but for the share that goes missing."""
    records = list(run(profile=name, missing=0.05).records())
    empty = TelemetryRecord(event_time=2e9, route="x")
    for field in OPTIONAL:
        unset = getattr(empty, field)
        told = np.mean([getattr(record, field) != unset for record in records])
        if field not in PROFILES[name].fields:
            assert told == 0, field
        elif field in {"latency_s", "input_tokens"}:
            assert told == pytest.approx(0.95, abs=0.02)
        elif field in {"golden", "golden_ok"}:
            assert 0 < told < 0.1
        else:
            assert told > 0.4, field


def test_token_samples_are_bounded():
    """No call carries more than 32 token ids."""
    records = list(run(duration_s=5.0).records())

    assert 0 < max(len(record.token_ids or ()) for record in records) <= 32


def test_a_judge_is_as_good_as_it_is_said_to_be():
    """Sensitivity, specificity and coverage of the verdicts are those of the profile."""
    simulation = run(
        "hallucination_spike", size=0.5, judge_sensitivity=0.8, judge_specificity=0.9, judge_coverage=0.5
    )
    calls = calls_of(simulation)
    calls = calls[(calls["error"] == 0) & (calls["golden"] < 0)]
    judged = calls[calls["verdict"] >= 0]

    assert len(judged) / len(calls) == pytest.approx(0.5, abs=0.03)
    assert judged["verdict"][judged["made_up"]].mean() == pytest.approx(0.8, abs=0.04)
    assert judged["verdict"][~judged["made_up"]].mean() == pytest.approx(0.1, abs=0.02)


def test_late_verdicts_join_their_calls():
    """With a lag no record carries a verdict; evaluations come later, name a call, and repeat nothing."""
    simulation = run(judge_lag_s=4.0)
    records = {record.request_id: record for record in simulation.records()}
    evaluations = list(simulation.evaluations())

    assert all(record.hallucinated is None for record in records.values())
    assert len({each.request_id for each in evaluations}) == len(evaluations) > 100
    for each in evaluations:
        assert each.call_time == records[each.request_id].event_time
        assert 2.0 <= each.event_time - each.call_time <= 6.0
    assert [each.event_time for each in evaluations] == sorted(each.event_time for each in evaluations)


def stepped(simulation, diversions, from_s=FROM_S, to_s=FROM_S + FOR_S):
    simulator = simulation.simulator()
    while simulator.now < simulator.scenario.end:
        age = simulator.now - simulator.scenario.start
        yield simulator.step(diversions if from_s <= age < to_s else {})


def test_diverted_calls_are_answered_by_the_fallback_and_the_rest_are_probes():
    """An active scope's share of calls reaches the primary, as probes; the rest name the fallback."""
    blocks = stepped(run("error_spike", size=0.5), {"chat": Diversion(0.2, "cache")}, 0, 1e9)
    records = [record for block in blocks for record in block.records]
    primary = [record for record in records if record.served_by == "primary"]

    assert {record.served_by for record in records} == {"primary", "cache"}
    assert all(record.probe for record in primary)
    others = [record for record in records if record.served_by == "cache"]
    assert not any(record.probe or record.error or record.deployment for record in others)
    real = [record for record in primary if not record.golden]
    assert len(real) / len(records) == pytest.approx(0.2, abs=0.03)
    assert any(record.error for record in real), "the fault goes on"


def test_equal_diversions_give_equal_streams():
    """A closed loop that decides the same gets the same records."""
    one, two = (
        [block.records for block in stepped(run(duration_s=10.0), {"chat": Diversion(0.3)}, 2, 8)]
        for _ in range(2)
    )

    assert one == two


def test_diverting_changes_no_arrival():
    """What callers ask does not depend on who answers them."""
    asked = [
        np.sort(
            np.concatenate([block.calls["chat"] for block in stepped(run(seed=2), chosen)]), order="serial"
        )
        for chosen in ({}, {"chat": Diversion(0.1)})
    ]
    shortest = min(map(len, asked)) - 200
    for field in ("arrival", "tenant", "input_tokens"):
        assert np.array_equal(asked[0][field][:shortest], asked[1][field][:shortest])


def test_siblings_take_over_from_an_avoided_deployment():
    """A deployment's scope moves its calls to the others, where its fault does not reach them."""
    simulation = run("parameter_corruption", size=1.0)
    blocks = stepped(simulation, {"chat@chat-0": Diversion(0.1)}, FROM_S, FROM_S + FOR_S)
    calls = np.concatenate([block.calls["chat"] for block in blocks])
    since = calls["arrival"] - simulation.scenario.start
    hit = calls[(since >= FROM_S + 1) & (since < FROM_S + FOR_S) & (calls["golden"] < 0)]

    assert (hit["fallback"] == 0).all()
    assert (hit["deployment"] == 0).mean() == pytest.approx(0.033, abs=0.015)
    assert (hit["affected"] > 0).sum() == (hit["deployment"] == 0).sum()


def test_diverting_relieves_an_overload():
    """Less traffic on the primary empties its queue while the crowd is still there."""
    waits = []
    for chosen in ({}, {"chat": Diversion(0.1)}):
        simulation = run("inference_overload", size=1.5)
        blocks = stepped(simulation, chosen, FROM_S + 5)
        calls = np.concatenate([block.calls["chat"] for block in blocks])
        since = calls["arrival"] - simulation.scenario.start
        late = calls[(since > FROM_S + FOR_S - 8) & (since < FROM_S + FOR_S) & (calls["deployment"] >= 0)]
        waits.append(np.median(late["queue"]))

    assert waits[1] < 0.05 < waits[0]


def test_every_scenario_of_the_catalogue_runs():
    """Each gives records from its first seconds on, and says what it is."""
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        assert scenario.says
        simulator = simulate(name, 0).simulator()
        assert len(simulator.step().records) + len(simulator.step().records) > 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "colour"),
        ({"fault_colour": 1}, "fault_colour"),
        ({"regime": "huge"}, "huge"),
        ({"profile": "spy"}, "spy"),
        ({"calls_per_s": 0}, "calls_per_s"),
        ({"fault_kind": "gremlins"}, "gremlins"),
        ({"fault_route": "nowhere"}, "nowhere"),
        ({"fault_deployment": 9}, "deployment 9"),
        ({"fault_duration_s": -1}, "duration_s"),
        ({"utilisation": 2.0}, "utilisation"),
    ],
)
def test_changes_that_make_no_sense_are_refused(changes, message):
    """A field that does not exist, or a value out of range, is named in the error."""
    with pytest.raises(ValueError, match=message):
        simulate("error_spike", 0, **changes)


def test_an_unknown_scenario_is_refused():
    """The error lists what there is."""
    with pytest.raises(ValueError, match="healthy_transients"):
        simulate("nothing_of_the_kind")
