"""Kinds of traffic: what the simulator takes for granted about tenants, sessions, days and engines.

These numbers were fitted to the natural wander of recorded production mixes, and committed BEFORE any
detector was tuned on simulated traffic. `benchmarks/wander.py` prints the fit; over 16 seeds of 14 days, KL
of 10-minute windows to the trailing hour, in nats:

    regime, field   median (real)   p99 (real)   share > 0.07 (real)
    small input     .007 (.009)     .17 (.22)     5 % (5 %)
    small output    .005 (.006)     .12 (.11)     3 % (3 %)
    mid input       .012 (.013)     .58 (.58)    18 % (18 %)
    large input     .044 (.042)     .80 (.92)    38 % (36 %)
    large output    .040 (.038)     .74 (.65)    36 % (33 %)

A detector that needs them changed is wrong about the traffic; change them only together with the measurement
that they are fitted to.
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
        burst_spread: how many times as peculiar their inputs are as those of the others.
        wander_scale: multiplies `wander_sd`; 0 with `burst_share` 0 is a mix that never moves.
        input_spread, output_spread: deviation between tenants of the log token counts.
        input_median, output_median: tokens of a median call.
        call_sd: deviation of log token counts between calls of one tenant, topic and session.
        session_sd: deviation between sessions; calls of a session share it.
        session_turns, think_s: mean calls of a session, mean time between them.
        day_amplitude, day_peak_s: rate is 1 + amplitude * cos of the day; when it peaks, seconds of the UTC
        day.
        speed_sd, speed_tau_s: log speed of each deployment, an AR(1): calls close in time are alike.
        utilisation: load at the start over what large deployments carry; later on an autoscaler follows.
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
    burst_spread: float = 1.0
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
        zipf=0.54,
        wander_sd=1.57,
        wander_tau_s=37000.0,
        burst_share=0.55,
        burst_on_s=1040.0,
        burst_off_s=6650.0,
        input_spread=0.435,
        output_spread=0.305,
    ),
    "mid": Regime(
        tenants=38,
        zipf=2.2,
        wander_sd=2.39,
        wander_tau_s=2900.0,
        burst_share=0.12,
        burst_on_s=1480.0,
        burst_off_s=11600.0,
        input_spread=0.38,
        output_spread=0.45,
        burst_spread=2.5,
    ),
    "large": Regime(
        tenants=38,
        zipf=1.65,
        wander_sd=1.9,
        wander_tau_s=2080.0,
        burst_share=0.07,
        burst_on_s=2680.0,
        burst_off_s=21100.0,
        input_spread=0.85,
        output_spread=0.75,
        burst_spread=1.56,
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
