"""Kinds of traffic: what the simulator takes for granted about tenants, sessions, days and engines.

These numbers were fitted to the natural wander of recorded production mixes (see `benchmarks/wander.py`,
which prints the fit) and committed BEFORE any detector was tuned on simulated traffic. A detector that needs
them changed is wrong about the traffic; change them only together with the measurement that they are fitted
to.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """One kind of traffic; any field can be changed by name in `simulate`.

    Attributes:
        tenants: how many there are; their mean rates fall off as rank ** -zipf.
        wander_sd, wander_tau_s: log rate of each tenant, a stationary AR(1) with this deviation and memory.
        burst_share: share of tenants that come and go (batch jobs); the largest one never does.
        burst_on_s, burst_off_s: mean time that such a tenant stays, and stays away.
        wander_scale: multiplies `wander_sd`; 0 with `burst_share` 0 is a mix that never moves.
        input_spread, output_spread: deviation between tenants of the log token counts.
        input_median, output_median: tokens of a median call.
        call_sd: deviation of log token counts between calls of one tenant, topic and session.
        session_sd: deviation between sessions; calls of a session share it.
        session_turns, think_s: mean calls of a session, mean time between them.
        day_amplitude, day_peak_s: rate is 1 + amplitude * cos of the day; when it peaks, seconds of the UTC
        day.
        speed_sd, speed_tau_s: log speed of each deployment, an AR(1): calls close in time are alike.
        utilisation: share of the slots busy at the mean rate of the day.
        stalls_per_hour, stall_s: an engine holds all of its calls now and then, for so long on average.
        upstream_share, upstream_s: share of calls that ask an external API first, median time that it takes.
    """

    tenants: int
    zipf: float
    wander_sd: float
    wander_tau_s: float
    burst_share: float
    burst_on_s: float
    burst_off_s: float
    input_spread: float
    output_spread: float
    wander_scale: float = 1.0
    input_median: float = 500.0
    output_median: float = 110.0
    call_sd: float = 0.6
    session_sd: float = 0.3
    session_turns: float = 2.0
    think_s: float = 15.0
    day_amplitude: float = 0.3
    day_peak_s: float = 54_000.0
    speed_sd: float = 0.05
    speed_tau_s: float = 20.0
    utilisation: float = 0.45
    stalls_per_hour: float = 2.0
    stall_s: float = 0.3
    upstream_share: float = 0.6
    upstream_s: float = 0.04

    def __post_init__(self) -> None:
        if self.tenants < 1 or self.session_turns < 1 or not 0 < self.utilisation < 1:
            raise ValueError("a regime needs tenants >= 1, session_turns >= 1 and 0 < utilisation < 1")
        if not 0 <= self.day_amplitude < 1 or not 0 <= self.burst_share <= 1:
            raise ValueError("a regime needs 0 <= day_amplitude < 1 and 0 <= burst_share <= 1")


REGIMES = {
    # Named after the models whose mixes they follow: many callers of a small one, few of a large one.
    "small": Regime(
        tenants=74,
        zipf=0.6,
        wander_sd=1.28,
        wander_tau_s=30000.0,
        burst_share=0.55,
        burst_on_s=1450.0,
        burst_off_s=10900.0,
        input_spread=0.49,
        output_spread=0.333,
    ),
    "mid": Regime(
        tenants=38,
        zipf=1.8,
        wander_sd=1.8,
        wander_tau_s=6350.0,
        burst_share=0.12,
        burst_on_s=1850.0,
        burst_off_s=14300.0,
        input_spread=0.7,
        output_spread=0.6,
    ),
    "large": Regime(
        tenants=38,
        zipf=1.8,
        wander_sd=1.8,
        wander_tau_s=1800.0,
        burst_share=0.02,
        burst_on_s=2500.0,
        burst_off_s=13600.0,
        input_spread=0.84,
        output_spread=0.69,
    ),
    # A mix that does not move, for runs in which nothing but the fault may matter.
    "still": Regime(
        tenants=20,
        zipf=1.0,
        wander_sd=0.0,
        wander_tau_s=3600.0,
        burst_share=0.0,
        burst_on_s=3600.0,
        burst_off_s=3600.0,
        input_spread=0.5,
        output_spread=0.4,
        session_turns=1.0,
        day_amplitude=0.0,
        speed_sd=0.0,
        stalls_per_hour=0.0,
    ),
}
