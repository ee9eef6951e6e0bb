"""Labels: they cover what a fault did, and outside of them the stream is as it would have been."""

import numpy as np
import pytest

from detector.lab.simulator import KINDS, simulate
from tests.unit.lab.simulator.truth import ALL_S, FOR_S, FROM_S, calls_of, run

FAULTS = sorted(kind for kind in KINDS if KINDS[kind].mode)
TRANSIENTS = sorted(kind for kind in KINDS if not KINDS[kind].mode)
# Extra calls take lots and numbers of their own, and a queue shifts all that come after it.
LOADING = {"inference_overload"}
MODES = {
    "input_drift", "token_drift", "parameter_corruption", "inference_overload", "external_api_latency",
    "hardware_throttling", "hallucination_spike", "latency_spike", "error_spike", "telemetry_silence",
}  # fmt: skip
COMPARED = (
    "done", "input_tokens", "output_tokens", "error", "verdict", "refused", "logprob", "clock", "throttle",
    "golden_ok", "lost", "upstream", "queue", "batch", "ttft", "tokens",
)  # fmt: skip


def test_there_is_a_fault_for_each_mode():
    """All ten failure modes can be provoked, each by a kind of its own name."""
    assert {KINDS[mode].mode for mode in MODES} == MODES
    assert {kind.mode for kind in KINDS.values()} == MODES | {None}


@pytest.mark.parametrize("kind", FAULTS)
def test_labels_cover_the_faulty_calls(kind):
    """Every call that a fault had a hand in ends within its label, is counted there, and there are some."""
    simulation = run(kind)
    calls = calls_of(simulation)
    harmed = calls[calls["affected"] > 0]
    (label,) = simulation.incidents

    assert label.mode == KINDS[kind].mode
    assert label.start == simulation.scenario.start + FROM_S
    assert label.affected == len(harmed) > 20
    assert (harmed["done"] >= label.start).all()
    assert (harmed["done"] <= label.end).all()
    if "@" in label.scope:
        assert set(harmed["deployment"]) == {0}
    if kind not in LOADING | {"brown_out"}:
        assert label.end < label.start + FOR_S + 10


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in LOADING])
def test_nothing_differs_outside_the_label(kind):
    """Calls that ended before the fault, and those that came some time after it, are as without it."""
    simulation = run(kind)
    faulty, healthy = (np.sort(calls_of(each), order="serial") for each in (simulation, run()))
    label = simulation.incidents[0]
    for low, high in ((0.0, label.start), (label.end + 8.0, simulation.scenario.end - 8.0)):
        one, two = (each[(each["arrival"] >= low) & (each["done"] < high)] for each in (faulty, healthy))
        assert len(one) == len(two) > 100
        for field in COMPARED:
            assert np.array_equal(one[field], two[field], equal_nan=one[field].dtype.kind == "f"), field


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind not in LOADING])
def test_a_call_that_differs_is_marked(kind):
    """A call whose content a fault changed bears its mark: nothing faulty goes unlabelled."""
    content = ("input_tokens", "output_tokens", "error", "refused", "logprob", "clock", "golden_ok", "lost")
    faulty, healthy = (np.sort(calls_of(each), order="serial") for each in (run(kind), run()))
    common = np.intersect1d(faulty["serial"], healthy["serial"])
    faulty, healthy = (each[np.isin(each["serial"], common)] for each in (faulty, healthy))
    differs = np.zeros(len(common), dtype=bool)
    for field in content:
        one, two = faulty[field], healthy[field]
        differs |= (one != two) & ~((one != one) & (two != two))

    assert not (differs & (faulty["affected"] == 0)).any()


@pytest.mark.parametrize("kind", TRANSIENTS)
def test_transients_are_no_incidents(kind):
    """What only looks like a fault is not labelled as one, and is listed apart."""
    simulation = simulate(kind, 1, fault_start_s=3.0, fault_duration_s=3.0, duration_s=8.0)
    list(simulation.blocks())

    assert simulation.incidents == []
    assert [each.kind for each in simulation.transients] == [kind]


def test_transients_keep_within_the_capacity():
    """None of them makes more than one call in a hundred wait for a tenth of a second, stalls left aside."""
    simulation = simulate("healthy_transients", 2)
    calls = calls_of(simulation)

    assert np.mean(calls["queue"] > 0.1) < 0.01


@pytest.mark.parametrize(("for_s", "acts_s"), [(None, 5.0), (2.0, 2.0)])
def test_flapping_has_a_label_for_every_strike(for_s, acts_s):
    """On for half of each period, or as long as is said: as many labels as periods, healthy calls between."""
    simulation = run("error_spike", every_s=10.0, for_s=for_s, size=0.9)
    calls = calls_of(simulation)
    since = calls["arrival"] - simulation.scenario.start
    between = (since >= FROM_S + acts_s) & (since < FROM_S + 10)

    assert [each.start - simulation.scenario.start for each in simulation.incidents] == [40.0, 50.0, 60.0]
    assert all(each.affected > 100 for each in simulation.incidents)
    assert (calls["affected"][between] == 0).all()
    assert np.mean(calls["error"][between] > 0) < 0.02


def test_double_faults_have_a_label_each():
    """Two faults at once are told apart, call by call."""
    simulation = simulate("double_latency", 1, fault_start_s=5.0, fault_duration_s=5.0, duration_s=15.0)
    calls = calls_of(simulation)

    assert {each.mode for each in simulation.incidents} == {"external_api_latency", "hardware_throttling"}
    assert all(each.affected > 20 for each in simulation.incidents)
    assert (calls["affected"] == 3).any()


def test_a_fault_strikes_the_route_it_is_meant_for():
    """The neighbours of a faulty route are marked nowhere; a fault of all routes marks each of them."""
    one = run("error_spike", of=("chat", "code"), route="code")
    all_of_them = run("telemetry_gap", of=("chat", "code"))

    assert not calls_of(one, "chat")["affected"].any()
    assert calls_of(one, "code")["affected"].any()
    list(all_of_them.blocks())
    assert {each.scope for each in all_of_them.incidents} == {"chat", "code"}


def test_labels_end_with_the_stream():
    """What would come after the end of a run is no incident of it."""
    cut = run("error_spike", duration_s=FROM_S + 10)
    never = run("error_spike", duration_s=FROM_S - 10)

    assert cut.incidents[0].end == cut.scenario.end
    assert never.incidents == []
    assert len(list(never.blocks())) == FROM_S - 10 < ALL_S


@pytest.mark.parametrize("nats", [0.15, 0.3, 0.7])
def test_a_drift_is_as_large_as_it_is_called(nats):
    """The divergence of drifted log lengths from healthy ones, in 16 quantile bins, is the fault's size."""
    for kind, field in (("input_drift", "input_tokens"), ("token_drift", "output_tokens")):
        faulty, healthy = (
            calls_of(run(name, size=nats, calls_per_s=300.0, duration_s=75.0, profile="api_only"))
            for name in (kind, None)
        )
        known = healthy[field].astype(float)
        moved = faulty[field][faulty["affected"] > 0].astype(float)
        edges = np.quantile(known, np.arange(1, 16) / 16)
        q = np.bincount(np.searchsorted(edges, known), minlength=16) / len(known)
        p = np.bincount(np.searchsorted(edges, moved), minlength=16) / len(moved)
        kl = float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())

        assert kl == pytest.approx(nats, rel=0.25), kind
