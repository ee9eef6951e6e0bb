"""Published traces as telemetry: each case a stream, where a fault begins in it, and what may say so.

The protocol is the same for every set (PROTOCOL.md). A set that has times keeps them; one that has none is
given a nominal rate. A set whose rows lie grouped by question, not by time, is shuffled inside each of its
parts with one seed. Rows keep their values.
"""

import csv
import gzip
import random
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from topics.telemetry import TelemetryRecord

T0 = 1_700_000_000.0
NOMINAL_PER_S = 10.0
SEED = 0
LEAD_S = 4 * 3600.0  # quiet hours before an issue
LONGEST_S = 302.0  # longest window and the watermark's wait: what still holds a fault that is over
Row = dict[str, str]


@dataclass(frozen=True)
class Case:
    """One stream and what is known of it.

    Attributes:
        records: in the order in which they are judged; event times in Unix seconds.
        fault: index of the first record of the fault; None: nothing is wrong anywhere.
        until: index behind its last record; None: to the end.
        timed: whether the times are the set's own.
        expected: predicates that may tell of the fault. Any other activation is false all the same.
        watched: predicates that a control has to be armed with; those whose fields the set has.
        prefix: what to calibrate on where that is not the stream's own beginning.
        excused: other changes in the stream, from and to, Unix seconds; what is said of them is neither found
            nor false.
    """

    name: str
    records: Sequence[TelemetryRecord]
    watched: tuple[str, ...]
    fault: int | None = None
    until: int | None = None
    timed: bool = True
    expected: tuple[str, ...] = ()
    prefix: Sequence[TelemetryRecord] | None = None
    excused: tuple[tuple[float, float], ...] = ()


def rows_of(folder: Path, name: str) -> list[Row]:
    """Rows of a gzipped CSV file."""
    with gzip.open(folder / name, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def paced(calls: Iterable[dict[str, Any]], per_s: float) -> list[TelemetryRecord]:
    """Calls without times, evenly spaced."""
    return [TelemetryRecord(event_time=T0 + i / per_s, route="r", **call) for i, call in enumerate(calls)]


def shuffled(rows: Sequence[Row], seed: int = SEED) -> list[Row]:
    """A copy in random order."""
    copy = list(rows)
    random.Random(seed).shuffle(copy)
    return copy


def azure(folder: Path, name: str, start: float = T0) -> list[TelemetryRecord]:
    """`conv` or `code`, its first call at `start`."""
    rows = rows_of(folder / "azure_llm_2023", f"{name}.csv.gz")
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in rows]
    return [
        TelemetryRecord(
            event_time=start + time - times[0],
            route="r",
            input_tokens=int(row["ContextTokens"]),
            output_tokens=int(row["GeneratedTokens"]),
        )
        for time, row in zip(times, rows, strict=True)
    ]


def mooncake(folder: Path, name: str) -> list[TelemetryRecord]:
    """`conversation` or `synthetic`."""
    return [
        TelemetryRecord(
            event_time=T0 + int(row["timestamp_ms"]) / 1000,
            route="r",
            input_tokens=int(row["input_length"]),
            output_tokens=int(row["output_length"]),
        )
        for row in rows_of(folder / "mooncake_fast25", f"{name}.csv.gz")
    ]


def _llmperf_call(row: Row) -> dict[str, Any]:
    if row["error_code"]:
        return {"error": row["error_code"].removesuffix(".0")}
    return {
        "latency_s": float(row["end_to_end_latency_s"]),
        "ttft_s": float(row["ttft_s"]),
        "input_tokens": int(row["number_input_tokens"]),
        "output_tokens": int(row["number_output_tokens"]),
    }


def llmperf(folder: Path, size: str) -> tuple[list[Row], list[Row]]:
    """Good calls of every provider but Lepton, the providers taken in turn; Lepton's run as it was."""
    rows = [row for row in rows_of(folder / "llmperf", "individual.csv.gz") if row["size"] == size]
    lepton = [row for row in rows if row["provider"] == "lepton"]
    rest = [row for row in rows if row["provider"] != "lepton" and not row["error_code"]]
    rest.sort(key=lambda row: int(row["seq"]))
    return rest, lepton


def _verdict(row: Row) -> dict[str, Any]:
    return {"hallucinated": row["hallucinated"] == "1"} if row["hallucinated"] else {}


def refchecker(folder: Path, context: str, model: str, seed: int = SEED) -> list[dict[str, Any]]:
    """Human verdicts on one model's answers."""
    rows = rows_of(folder / "refchecker", "responses.csv.gz")
    kept = [row for row in rows if (row["context_setting"], row["model"]) == (context, model)]
    return [_verdict(row) for row in shuffled(kept, seed)]


def llmdrift(
    folder: Path, task: str, model: str, *, tokens_only: bool, seed: int = SEED
) -> list[dict[str, Any]]:
    """One model's answers to one task; what is not correct counts as made up."""
    rows = [
        row
        for row in rows_of(folder / "llmdrift", "responses.csv.gz")
        if (row["task"], row["model"]) == (task, model)
    ]
    return [
        {"output_tokens": int(float(row["answer_token"]))}
        | (
            {}
            if tokens_only
            else {"latency_s": float(row["latency_s"]), "hallucinated": float(row["correct"]) == 0.0}
        )
        for row in shuffled(rows, seed)
        if row["answer_token"] and (tokens_only or row["correct"])
    ]


def nab(folder: Path, kind: str = "artificialNoAnomaly") -> dict[str, list[dict[str, Any]]]:
    """Series of a kind by name: values as a feature."""
    series: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(folder / "nab", "series.csv.gz"):
        if row["series"].startswith(f"{kind}/"):
            name = Path(row["series"]).stem
            series.setdefault(name, []).append({"features": {"value": float(row["value"])}})
    return series


def _expanded(row: Row, at: float) -> Iterator[TelemetryRecord]:
    """Calls of a five-minute step, spread by its published quantiles, in an order drawn once."""
    n = max(1, round(float(row["requests_Sum"])))
    marks = [(0.0, 0.0)] + [
        (share, float(row[f"latency_{name}"]))
        for share, name in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99"), (1.0, "p99"))
    ]
    ranks = [(i + 0.5) / n for i in range(n)]
    random.Random(f"{SEED} {at}").shuffle(ranks)
    for i, rank in enumerate(ranks):
        upper = next(j for j, (share, _) in enumerate(marks) if rank <= share)
        (low, start), (high, end) = marks[upper - 1], marks[upper]
        latency_s = start + (end - start) * (rank - low) / (high - low)
        yield TelemetryRecord(event_time=at + 300.0 * i / n, route="r", latency_s=latency_s)


def petshop(folder: Path, *, calls: bool) -> Iterator[Case]:
    """
    For each traffic: its days without an issue; and each latency issue, moved in time behind the last hours
    of those. The first half of the days is what is calibrated on. `calls`: each step as its calls, by the
    step's quantiles; else one record a step, its mean.
    """
    kind = "calls" if calls else "means"
    rows = rows_of(folder / "petshop", "petsite.csv.gz")
    with (folder / "petshop" / "issues.csv").open(encoding="utf-8", newline="") as lines:
        issues = [row for row in csv.DictReader(lines) if row["target_metric"] == "latency"]

    def stream(some: Sequence[Row], shift: float) -> list[TelemetryRecord]:
        made: list[TelemetryRecord] = []
        for row in some:
            at = T0 + float(row["unix_timestamp"]) + shift
            if calls:
                made += _expanded(row, at)
            else:
                made.append(
                    TelemetryRecord(event_time=at, route="r", latency_s=float(row["latency_Average"]))
                )
        return made

    for traffic in dict.fromkeys(row["traffic"] for row in rows):
        # The two temporal traffics have no quiet days of their own: they are judged by the high one's.
        home = traffic if not traffic.startswith("temporal") else "high_traffic"
        quiet = [row for row in rows if (row["traffic"], row["split"]) == (home, "noissue")]
        start = -float(quiet[0]["unix_timestamp"])
        healthy = stream(quiet, start)
        half = bisect_left(healthy, (healthy[0].event_time + healthy[-1].event_time) / 2, key=_time)
        prefix, lead = (
            healthy[:half],
            healthy[bisect_left(healthy, healthy[-1].event_time - LEAD_S, key=_time) :],
        )
        if home == traffic:
            yield Case(f"petshop {kind} {traffic} quiet", healthy[half:], ("slow_responses",), prefix=prefix)
        for issue in issues:
            if issue["traffic"] != traffic:
                continue
            steps = [row for row in rows if (row["traffic"], row["issue"]) == (traffic, issue["issue"])]
            end = float(quiet[-1]["unix_timestamp"]) + start + 300.0
            tail = stream(steps, end - float(steps[0]["unix_timestamp"]))
            begins = T0 + end + float(issue["timestamp"]) - float(steps[0]["unix_timestamp"])
            # A step that holds the time of the injection is the first that it can show in.
            first = next(
                i for i, each in enumerate(tail) if each.event_time + (0.0 if calls else 300.0) > begins
            )
            yield Case(
                f"petshop {kind} {traffic} {issue['issue']}",
                [*lead, *tail],
                ("slow_responses",),
                fault=len(lead) + first,
                expected=("slow_responses",),
                prefix=prefix,
            )


def _time(record: TelemetryRecord) -> float:
    return record.event_time


def cases(folder: Path, per_s: float = NOMINAL_PER_S, seed: int = SEED) -> Iterator[Case]:
    """Every positive and every control of the protocol but petshop's, positives first."""
    tokens = ("input_drift", "output_drift")
    conv = azure(folder, "conv")
    code = azure(folder, "code", conv[-1].event_time + 1.0)
    # The trace's own change: answers and then prompts get short from minute 22 on, back by minute 50.
    own = (T0 + 60 * 22, T0 + 60 * 50)
    yield Case(
        "azure conv -> code",
        [*conv, *code],
        tokens,
        len(conv),
        expected=("output_drift",),
        excused=((own[0], own[1] + LONGEST_S),),
    )
    marks = [next(i for i, r in enumerate(conv) if r.event_time >= mark) for mark in own]
    yield Case("azure conv, its own drift", conv, tokens, marks[0], marks[1], expected=tokens)
    climb = mooncake(folder, "synthetic")
    tenth = next(i for i, r in enumerate(climb) if r.event_time >= T0 + 600)
    yield Case("mooncake synthetic", climb, tokens, tenth, expected=tokens)
    for size in ("7b", "13b", "70b"):
        rest, lepton = llmperf(folder, size)
        first = next(i for i, row in enumerate(lepton) if row["error_code"] == "429.0")
        calls = [_llmperf_call(row) for row in [*rest, *lepton]]
        fault = len(rest) + first
        yield Case(
            f"llmperf lepton {size} 429", paced(calls, per_s), ("errors",), fault, None, False, ("errors",)
        )
    for name, healthy, faulty in (
        ("gpt4 -> llama2, noisy", ("noisy_context", "gpt4"), ("noisy_context", "llama2_70b_chat")),
        ("gpt4 loses retrieval", ("accurate_context", "gpt4"), ("zero_context", "gpt4")),
    ):
        before, after = refchecker(folder, *healthy, seed), refchecker(folder, *faulty, seed)
        yield Case(
            f"refchecker {name}",
            paced([*before, *after], per_s),
            ("hallucinations",),
            len(before),
            None,
            False,
            ("hallucinations",),
        )
    old, new = (
        llmdrift(folder, "prime_full", f"gpt-4-{version}", tokens_only=False, seed=seed)
        for version in ("0314", "0613")
    )
    told = ("output_drift", "hallucinations")
    yield Case("llmdrift gpt-4 silent update", paced([*old, *new], per_s), told, len(old), None, False, told)

    yield Case("azure code", azure(folder, "code"), tokens)
    yield Case("mooncake conversation", mooncake(folder, "conversation"), tokens)
    verdicts = [_verdict(row) for row in shuffled(rows_of(folder / "halueval", "verdicts.csv.gz"), seed)]
    yield Case("halueval shuffled", paced(verdicts, per_s), ("hallucinations",), timed=False)
    quiet = [
        call
        for version in ("0301", "0613")
        for call in llmdrift(folder, "opinionqa", f"gpt-3.5-turbo-{version}", tokens_only=True, seed=seed)
    ]
    yield Case("llmdrift opinionqa gpt-3.5", paced(quiet, per_s), ("output_drift",), timed=False)
    for name, values in nab(folder).items():
        yield Case(f"nab {name}", paced(values, per_s), ("value_drift",), timed=False)
