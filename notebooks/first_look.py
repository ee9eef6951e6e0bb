# %% [markdown]
# # What is in a morning of telemetry, and what would the detector have done with it?
#
# Five routes, the slices of real traffic that ship with the package: two of production traces, one of a load
# test, two of studies with human or exact verdicts. Their times were not published, so each route gets a call
# every three seconds, in the published order, from the start again when the slice ends. From noon to one
# o'clock four of the routes get the part that their publishers call faulty or changed.

# %%
import matplotlib.pyplot as plt
import pandas as pd

from detector.embedded.slices import load_slice
from detector.lab import replay
from detector.lab.incidents import Incident
from detector.lab.plots import at

LONG_S, EVERY_S, START = 3 * 3600, 3, 1_767_261_600  # from ten to one
NOON, ONE = START + 2 * 3600, START + 3 * 3600
ROUTES = {
    "chat": "azure_conv_to_code",
    "llama-2-70b": "llmperf_429_burst",
    "long-context": "mooncake_conversation",
    "prime-numbers": "llmdrift_silent_update",
    "support-answers": "refchecker_lost_retrieval",
}

rows, incidents = [], []
for route, name in ROUTES.items():
    parts = load_slice(name)
    if "fault" in parts:
        incidents.append(Incident(route, "", NOON, ONE))
    for i in range(LONG_S // EVERY_S):
        time = START + i * EVERY_S
        part = parts["fault" if "fault" in parts and NOON <= time < ONE else "healthy"]
        known = {key: value for key, value in part[i % len(part)].items() if key != "features"}
        rows.append({"route": route, "event_time": time, **known})
morning = pd.DataFrame(rows).sort_values("event_time", ignore_index=True)

# %% [markdown]
# ## What is measured
#
# A route can only be judged by what it measures: nobody's verdicts, no hallucination rate.

# %%
measured = ["input_tokens", "output_tokens", "latency_s", "ttft_s", "error", "hallucinated"]
summary = (
    morning.groupby("route")[measured]
    .count()
    .div(morning.groupby("route").size(), axis=0)
    .map("{:.0%}".format)
)
summary.insert(0, "calls", morning.groupby("route").size())
summary

# %% [markdown]
# ## What the morning looks like
#
# One panel a route, with the field that tells the most; the line is the mean of the last 100 calls.

# %%
TELLING = {
    "chat": ("input_tokens", "input tokens"),
    "llama-2-70b": ("failed", "failed calls"),
    "long-context": ("input_tokens", "input tokens"),
    "prime-numbers": ("output_tokens", "output tokens"),
    "support-answers": ("hallucinated", "answers made up"),
}
morning["failed"] = morning["error"].notna() & (morning["error"] != "")
figure, panels = plt.subplots(5, 1, figsize=(10, 10), sharex=True, layout="constrained")
for axes, (route, (field, said)) in zip(panels, TELLING.items(), strict=True):
    some = morning[morning["route"] == route]
    times = pd.to_datetime(some["event_time"], unit="s")
    values = some[field].astype(float)
    axes.plot(times, values.rolling(100, min_periods=20).mean(), color="#1f4e79")
    axes.set(ylabel=said, title=f"{route}: {len(some):,} calls")
    axes.set_ylim(bottom=0)
    for incident in incidents:
        if incident.route == route:
            axes.axvspan(at(incident.start), at(incident.end), color="#f2b8a0", alpha=0.35, zorder=0)
panels[-1].set_xlabel("event time, UTC; shaded: the part that its publishers call faulty or changed")
plt.show()

# %% [markdown]
# ## What the detector would have done
#
# One contract for all routes. A call every three seconds is little, so the windows of the drift predicates
# reach back over ten minutes; rates are judged call by call.

# %%
CONTRACT = """
version: 1
defaults: {fleet_records_per_s: 2}    # what all routes have together: sets how sure is sure enough
predicates:
  input_drift:    {type: divergence, field: input_tokens,  threshold_nats: 0.07, window_s: 600}
  output_drift:   {type: divergence, field: output_tokens, threshold_nats: 0.07, window_s: 600}
  hallucinations: {type: rate, field: hallucinated, ceiling: 0.15}
  errors:         {type: rate, field: error, ceiling: 0.01}
modes:
  error_spike:         {when: errors}
  hallucination_spike: {when: hallucinations}
  input_drift:         {when: input_drift, mutes: [token_drift]}
  token_drift:         {when: output_drift}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""
judged = replay(morning.drop(columns="failed"), CONTRACT)
found = judged.activations()
found["activated"] = pd.to_datetime(found["activated_at"], unit="s").dt.strftime("%H:%M:%S")
found["after noon, min"] = ((found["activated_at"] - NOON) / 60).round(1)
found[["scope", "mode", "activated", "after noon, min", "value", "threshold", "samples", "window_s"]]

# %%
axes = judged.plot(incidents=incidents)
axes.set_title("Shaded: really different. Red: calls diverted to a fallback, and why")
plt.show()

# %% [markdown]
# ## What it could not have said
#
# A predicate that is not armed says nothing: it is still learning, or has too few calls, or the route
# does not measure its field. Before you trust a silent day, look here.

# %%
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
armed = judged.armed().sort_values("armed")
axes.barh(armed["predicate"], armed["armed"], color="#1f4e79")
axes.set(xlim=(0, 1), xlabel="share of all calls that were judged while the predicate was armed")
axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
plt.show()
