"""Laws of queues, batches and engines that the simulated fields have to obey."""

from itertools import pairwise

import numpy as np
import pytest

from detector.lab.simulator.engine import Autoscaler, decode_factor
from tests.unit.lab.simulator.truth import before, calls_of, during, ms_per_token, run


def residual(calls, reference):
    """Log of the decode time per token, less what the batch accounts for in `reference`: median."""
    long = calls[(calls["error"] == 0) & (calls["output_tokens"] > 20)]
    known = reference[(reference["error"] == 0) & (reference["output_tokens"] > 20)]
    line = np.polynomial.Polynomial.fit(known["batch"], np.log(ms_per_token(known)), 2)
    inside = long[long["batch"] <= known["batch"].max()]
    return float(np.median(np.log(ms_per_token(inside)) - line(inside["batch"])))


@pytest.fixture(scope="module")
def healthy():
    """Undamaged engines under all loads, from idle to overcrowded: every batch size is seen."""
    runs = [run("flash_crowd", size=factor) for factor in (1.0, 2.0, 3.0, 4.0, 5.0)]
    return np.concatenate([calls_of(each) for each in runs])


def test_littles_law_holds_for_the_slots():
    """Calls in the system on average = arrivals per second times time that each spends there."""
    simulation = run(seed=1, utilisation=0.8)
    calls = calls_of(simulation)
    start = simulation.scenario.start
    low, high = start + 20, start + 100
    grid = np.linspace(low, high, 4001)
    inside = np.searchsorted(np.sort(calls["ready"]), grid) - np.searchsorted(
        np.sort(calls["done"] - calls["network"]), grid
    )
    arrived = calls[(calls["ready"] >= low) & (calls["ready"] < high)]
    rate = len(arrived) / (high - low)
    stay = (arrived["done"] - arrived["network"] - arrived["ready"]).mean()

    assert inside.mean() == pytest.approx(rate * stay, rel=0.05)


def test_never_more_calls_run_than_there_are_slots():
    """The calls between start and end on one deployment never outnumber its slots, however many wait."""
    simulation = run("inference_overload", seed=2, deployments=1)
    route = simulation.simulator()._routes["chat"]
    calls = calls_of(simulation)
    calls = calls[calls["error"] == 0]
    events = np.concatenate([calls["start"] + 1e-6, calls["done"] - calls["network"]])
    steps = np.concatenate([np.ones(len(calls)), -np.ones(len(calls))])
    most = np.cumsum(steps[np.argsort(events)]).max()

    assert most <= route._slots
    assert most >= route._slots - 1, "the overload fills them"


def test_first_come_first_served():
    """On one deployment nobody overtakes, but for the moment in which the scheduler looks at calls."""
    calls = calls_of(run("inference_overload", seed=3, deployments=1))
    served = calls[calls["error"] == 0]
    served = served[np.argsort(served["ready"])]
    latest = np.maximum.accumulate(served["start"])

    assert (latest - served["start"]).max() < 0.05


def test_fuller_batches_decode_slower(healthy):
    """Mean time per token rises with the batch size, from bin to bin."""
    calls = healthy[(healthy["error"] == 0) & (healthy["output_tokens"] > 20)]
    edges = np.quantile(calls["batch"], np.linspace(0, 1, 7))
    means = [
        ms_per_token(calls[(calls["batch"] >= low) & (calls["batch"] < high)]).mean()
        for low, high in pairwise(edges)
        if high > low
    ]

    assert all(np.diff(means) > 0)
    assert decode_factor(1.0) > decode_factor(0.5) > decode_factor(0.0) == 1.0


def test_throttling_slows_tokens_at_the_same_batch(healthy):
    """Half of the clock doubles the decode time given the batch, on the throttled deployment and no other."""
    simulation = run("hardware_throttling", size=0.5)
    calls = during(simulation, calls_of(simulation))

    assert residual(calls[calls["deployment"] == 0], healthy) == pytest.approx(np.log(2), abs=0.1)
    assert residual(calls[calls["deployment"] == 1], healthy) == pytest.approx(0, abs=0.05)
    assert calls[calls["deployment"] == 0]["clock"].max() < 0.6
    assert (calls[calls["deployment"] == 0]["throttle"] & 0x20).all()
    assert not (calls[calls["deployment"] == 1]["throttle"] & 0x20).any()


@pytest.mark.parametrize("kind", ["inference_overload", "brown_out"])
def test_overload_queues_but_does_not_slow_tokens_at_the_same_batch(kind, healthy):
    """Waiting grows to seconds, and the decode time given the batch stays what it was."""
    simulation = run(kind)
    everything = calls_of(simulation)
    calls, calm = during(simulation, everything), before(simulation, everything)

    assert np.median(calls["queue"]) > 0.5 > 100 * np.median(calm["queue"])
    assert calls["clock"].min() > 0.95
    assert residual(calls, healthy) == pytest.approx(0, abs=0.06)


def test_a_slow_external_api_slows_nothing_else(healthy):
    """Its own time grows by the factor, for calls that ask it, and nothing else gets slower."""
    simulation = run("external_api_latency", size=5.0)
    everything = calls_of(simulation)
    calls, calm = during(simulation, everything), before(simulation, everything)
    asks, calm_asks = ~np.isnan(calls["upstream"]), ~np.isnan(calm["upstream"])

    assert np.median(calls["upstream"][asks]) == pytest.approx(
        5 * np.median(calm["upstream"][calm_asks]), rel=0.1
    )
    assert np.quantile(calls["queue"], 0.99) < 0.05
    assert residual(calls, healthy) == pytest.approx(0, abs=0.05)
    spare = (calls["done"] - calls["arrival"])[~asks]
    assert np.median(spare) == pytest.approx(np.median((calm["done"] - calm["arrival"])[~calm_asks]), rel=0.1)


def test_a_stream_that_stands_still_has_given_its_first_token_in_time():
    """A mid-stream stall lengthens the call and leaves the time to its first token alone."""
    simulation = run("mid_stream_stall", size=1.0, utilisation=0.2)
    everything = calls_of(simulation)
    calls, calm = during(simulation, everything), before(simulation, everything)
    stuck = calls[calls["affected"] > 0]

    assert 0.2 < len(stuck) / len(calls) < 0.4
    assert np.median(stuck["done"] - stuck["arrival"]) > np.median(calm["done"] - calm["arrival"]) + 0.8
    assert np.median(stuck["ttft"]) == pytest.approx(np.median(calm["ttft"]), rel=0.15)


def test_a_call_is_as_long_as_its_parts():
    """External API, waiting, prompt, answer and network add up: no call ends before its first token."""
    calls = calls_of(run("latency_spike"))
    good = calls[calls["error"] == 0]
    primary = good[good["deployment"] >= 0]

    assert (primary["done"] - primary["arrival"] >= primary["ttft"] - 1e-9).all()
    assert (primary["start"] >= primary["ready"]).all()
    assert np.allclose(primary["ready"] - primary["arrival"], np.nan_to_num(primary["upstream"]))


def test_an_engine_that_stands_still_delays_all_that_it_holds():
    """Calls in flight at a batch stall end later by its length, and their neighbours' do not."""
    still, stalled = run(), run("batch_stall", size=2.0)
    a, b = (np.sort(calls_of(each), order="serial") for each in (still, stalled))
    both = np.intersect1d(a["serial"], b["serial"])
    a, b = a[np.isin(a["serial"], both)], b[np.isin(b["serial"], both)]
    later = b["done"] - a["done"]

    assert later.max() >= 2.0
    assert ((later > 1.5) & (b["deployment"] == 0)).sum() > 10
    assert np.abs(later[b["deployment"] != 0]).max() < 1e-9


def test_cache_hits_spare_prefill():
    """When the prefix cache is lost, first tokens come later and decoding does not."""
    simulation = run("cache_change", session_turns=3.0, think_s=2.0)
    everything = calls_of(simulation)
    calls, calm = during(simulation, everything), before(simulation, everything)
    assert calls["cached"].max() == 0 < calm["cached"].mean()
    ratio = np.median(calls["ttft"] - np.nan_to_num(calls["upstream"])) / np.median(
        calm["ttft"] - np.nan_to_num(calm["upstream"])
    )
    assert ratio > 1.1


def test_calls_arrive_at_the_rate_asked_for_and_follow_the_day():
    """The mean over a day is the rate asked for; at the peak of the day it is higher by the amplitude."""
    peak = run(calls_per_s=60.0, day_amplitude=0.4, day_peak_s=60.0)
    low = run(calls_per_s=60.0, day_amplitude=0.4, day_peak_s=43_260.0)
    flat = run(calls_per_s=60.0)
    rates = [len(calls_of(each)) / 110.0 for each in (peak, low, flat)]

    assert rates == pytest.approx([84, 36, 60], rel=0.08)


def test_sessions_make_neighbours_alike():
    """Calls of one session share tenant and topic: with many turns, tenants' counts spread beyond chance."""

    def spread(turns):
        calls = calls_of(run(session_turns=turns, think_s=1.0, calls_per_s=50.0, profile="api_only"))
        counts = np.array_split(calls["tenant"] == 3, 50)
        means = np.array([part.mean() for part in counts])
        return means.var() / (means.mean() * (1 - means.mean()) / len(counts[0]))

    assert spread(12.0) > 2 * spread(1.0)


def test_the_autoscaler_follows_lasting_load_alone():
    """A busy minute adds engines, five idle ones take some away, a busy half-minute does neither."""
    scaler = Autoscaler()
    for _ in range(20):
        scaler.see(0.9, 30.0)
        scaler.see(0.4, 30.0)
    assert scaler.factor == 1.0
    scaler.see(0.9, 60.0)
    grown = scaler.factor
    assert grown > 1.0
    scaler.see(0.05, 299.0)
    assert scaler.factor == grown
    scaler.see(0.05, 1.0)
    assert scaler.factor == pytest.approx(1.0)
    for _ in range(100):
        scaler.see(1.0, 60.0)
    assert scaler.factor == 6.0


def test_healthy_traffic_seldom_waits():
    """While the mix wanders and the day begins, under two calls in a hundred wait for a tenth of a second."""
    for regime in ("small", "large"):
        changes = {"calls_per_s": 15.0, "duration_s": 5400.0, "block_s": 15.0, "profile": "api_only"}
        healthy = run(regime=regime, start=1_767_254_400.0, **changes)
        assert np.mean(calls_of(healthy)["queue"] > 0.1) < 0.02
