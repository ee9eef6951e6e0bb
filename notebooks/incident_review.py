# %% [markdown]
# # What happened in this incident, was the fallback right, and did it end in time?
#
# A review from `detector.transitions`: what was decided, when, on which evidence. In service you read them
# with `detector tail --from-beginning --json > transitions.jsonl`. Here the simulator that ships with the
# package makes an incident with the loop closed: calls go where the detector says, so what it says changes
# what it sees next.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import msgspec
import pandas as pd

from detector.contract import example_text, load_contract
from detector.lab.plots import at
from detector.lab.simulator import Diversion, simulate
from detector.lab.transitions import transitions_of
from detector.pipeline import Pipeline
from topics.control import ControlRecord

# Answers of the simulated model take longer than 200 ms; the rest of the example contract fits.
contract = load_contract(example_text().replace("above_ms: 200,", "above_ms: 30000,"))
simulation = simulate("hallucination_spike", seed=5, profile="api_only", calls_per_s=60, duration_s=480)
pipeline = Pipeline(contract)
calls, decisions, diverted, offset = [], [], {}, 0
simulator = simulation.simulator()
while simulator.now < simulation.scenario.end:
    block = simulator.step(diverted)
    records = block.records
    made = []
    if records:
        offsets = range(offset, offset + len(records))
        made += pipeline.step(records, offsets, [record.event_time for record in records])
        offset += len(records)
        made += pipeline.tick(max(record.event_time for record in records))
    for decision in made:
        if decision.disposition == "act":
            diverted = dict(diverted)
            diverted.pop(decision.scope, None)
            if decision.state == "active":
                diverted[decision.scope] = Diversion(decision.primary_share, "rule")
    decisions += made
    calls += records

file = Path(tempfile.mkdtemp(), "transitions.jsonl")
file.write_bytes(msgspec.json.Encoder().encode_lines(list(transitions_of(decisions))))

# %% [markdown]
# ## The transitions

# %%
decode = msgspec.json.Decoder(ControlRecord).decode
transitions = [decode(line) for line in file.read_bytes().splitlines()]
table = pd.DataFrame(
    {
        "time": pd.to_datetime([each.issued_at for each in transitions], unit="s").strftime("%H:%M:%S"),
        "scope": [each.scope for each in transitions],
        "state": [each.state for each in transitions],
        "mode": [each.mode for each in transitions],
        "share of the primary": [each.primary_share for each in transitions],
        "disposition": [each.disposition for each in transitions],
        "reason": [each.reason for each in transitions],
    }
)
pd.set_option("display.max_colwidth", None)
table

# %% [markdown]
# ## The incident on one page
#
# Above: of the calls that the primary answered, the share with a made-up answer, second by second. Below:
# the share of calls that still went to the primary. Shaded is what was really wrong, which in service
# nobody knows until somebody looks.

# %%
data = pd.DataFrame(
    {
        "second": [int(call.event_time) for call in calls],
        "primary": [call.served_by == "primary" for call in calls],
        "bad": [call.hallucinated for call in calls],
    }
)
primary = data[data["primary"] & data["bad"].notna()]
bad = (
    primary.groupby("second")["bad"]
    .apply(lambda some: some.astype(float).mean())
    .rolling(3, min_periods=1)
    .mean()
)
share = data.groupby("second")["primary"].mean()
incident = simulation.incidents[0]
acted = [each for each in transitions if each.disposition == "act"]
figure, (above, below) = plt.subplots(
    2, 1, figsize=(10, 5.5), sharex=True, height_ratios=[3, 2], layout="constrained"
)
for axes in (above, below):
    axes.axvspan(at(incident.start), at(incident.end), color="#f2b8a0", alpha=0.5)
    axes.grid(alpha=0.3)
above.plot([at(second) for second in bad.index], bad, color="#1f4e79")
ceiling = contract.predicates["hallucinations"].ceiling
above.axhline(ceiling, color="k", lw=0.8, ls="--")
above.annotate(
    f"ceiling {ceiling:.0%}", (at(data["second"].min()), ceiling), xytext=(4, 4), textcoords="offset points"
)
below.fill_between([at(second) for second in share.index], share, color="#1f4e79", step="post", alpha=0.8)
below.set(ylim=(0, 1.05), ylabel="calls to the primary", xlabel="event time, UTC")
for which, said in (("active", "to the fallback"), ("inactive", "all back")):
    first = next((each for each in acted if each.state == which), None)
    if first is not None:
        after = first.issued_at - (incident.start if which == "active" else incident.end)
        for axes in (above, below):
            axes.axvline(at(first.issued_at), color="#b3261e", lw=1.5)
        start = "it began" if which == "active" else "it was over"
        above.annotate(
            f"{said}\n{after:.1f} s after {start}",
            (at(first.issued_at), 0.97 if which == "active" else 0.75),
            xycoords=("data", "axes fraction"),
            xytext=(6, 0) if which == "active" else (-6, 0),
            ha="left" if which == "active" else "right",
            textcoords="offset points",
            va="top",
            color="#b3261e",
        )
above.set(ylabel="made-up answers of the primary", ylim=(0, None))
above.set_title(f"{acted[0].scope}: {acted[0].mode}" if acted else "nothing was acted on")
plt.show()

# %% [markdown]
# ## Was it right, and what did it cost?

# %%
activated = next(each for each in acted if each.state == "active")
ended = next((each for each in acted if each.state == "inactive"), None)
end = ended.issued_at if ended else data["second"].max()
away = data[(data["second"] >= activated.issued_at) & (data["second"] < end)]
needless = away[(away["second"] > incident.end) & ~away["primary"]]
evidence = activated.evidence
bad_probes = primary[primary["second"].isin(away["second"])]["bad"].sum()
pd.Series(
    {
        "decided on": f"{evidence.predicate} at {evidence.value:.1%} against {evidence.threshold:.1%}",
        "evidence": f"{evidence.samples} records, the last at offset {evidence.offset}",
        "calls spared": f"{(~away['primary']).sum() - len(needless):,}",
        "calls diverted after it was over": f"{len(needless):,}",
        "probes": f"{away['primary'].sum():,}, of them {bad_probes:,.0f} bad",
        "attempts to go back that failed": sum(each.kind == "extended" for each in decisions),
    }
).to_frame("")

# %% [markdown]
# Recovery is told from probes alone: 5 % of 60 calls a second are three of them, and that is why the way
# back took so long. A larger `probe_share` shortens it. Say what the activation was, and `detector sweep`
# learns from it: `detector label chat true --incidents incidents.csv`, with `--bootstrap` for a broker.
