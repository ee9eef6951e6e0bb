"""Make the demo's slices of real traffic anew: `python benchmarks/make_slices.py FOLDER`.

FOLDER holds the public traces as `azure_llm_2023/{conv,code}.csv.gz`, `mooncake_fast25/conversation.csv.gz`,
`llmperf/individual.csv.gz`, `llmdrift/responses.csv.gz` and `refchecker/responses.csv.gz`. Rows keep their
order and their values; a column `part` says which rows are the healthy ones and which the fault.
The output is the same bytes every time. ORIGIN.md beside the slices names origin and licence of each.
"""

import csv
import gzip
import io
import random
import sys
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

SLICES = Path(__file__).parents[1] / "detector" / "embedded" / "slices"
Line = dict[str, str | int]


def rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def part(name: str, lines: Iterable[Line]) -> Iterator[Line]:
    return ({"part": name, **line} for line in lines)


def azure(path: Path, start: int, count: int) -> Iterator[Line]:
    for number, row in enumerate(rows(path)):
        if start <= number < start + count:
            yield {"input_tokens": row["ContextTokens"], "output_tokens": row["GeneratedTokens"]}


def mooncake(path: Path, count: int) -> Iterator[Line]:
    for number, row in enumerate(rows(path)):
        if number < count:
            yield {"input_tokens": row["input_length"], "output_tokens": row["output_length"]}


def llmperf(path: Path, *, throttled: bool) -> Iterator[Line]:
    """Llama 2 70B: the good requests of all other providers in turn, or Lepton's run of straight 429s."""
    found: dict[str, list[Line]] = {}
    for row in rows(path):
        if row["size"] != "70b" or (row["provider"] == "lepton") is not throttled:
            continue
        if throttled and not 10 <= int(row["seq"]) < 126:
            continue
        if not throttled and row["error_code"]:
            continue
        failed = bool(row["error_code"])
        line: Line = {
            "provider": row["provider"],
            "input_tokens": row["number_input_tokens"],
            "output_tokens": "" if failed else row["number_output_tokens"],
            "latency_s": "" if failed else f"{float(row['end_to_end_latency_s']):.4f}",
            "ttft_s": "" if failed else f"{float(row['ttft_s']):.4f}",
            "error": row["error_code"].removesuffix(".0"),
        }
        found.setdefault(row["provider"], []).append(line)
    for turn in zip_longest(*found.values()):
        yield from (line for line in turn if line is not None)


def llmdrift(path: Path, model: str) -> Iterator[Line]:
    """Shuffled: the published order groups the questions by kind, which no traffic does."""
    published = list(rows(path))
    random.Random(model).shuffle(published)
    for row in published:
        if row["task"] == "prime_full" and row["model"] == model and row["answer_token"]:
            yield {
                "model": model,
                "features.query_chars": row["query_chars"],
                "output_tokens": row["answer_token"],
                "latency_s": row["latency_s"],
            }


def refchecker(path: Path, context: str) -> Iterator[Line]:
    for row in rows(path):
        if row["model"] == "gpt4" and row["context_setting"] == context:
            yield {
                "model": "gpt4",
                "hallucinated": row["hallucinated"],
                "features.response_words": row["response_words"],
            }


def write(name: str, lines: Iterable[Line]) -> None:
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for line in lines:
        if writer is None:
            writer = csv.DictWriter(text, list(line), lineterminator="\n")
            writer.writeheader()
        writer.writerow(line)
    target = SLICES / f"{name}.csv.gz"
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(text.getvalue().encode())
    print(f"{target.name}: {target.stat().st_size:,} bytes")


def main(folder: Path) -> None:
    conv, code = folder / "azure_llm_2023" / "conv.csv.gz", folder / "azure_llm_2023" / "code.csv.gz"
    perf = folder / "llmperf" / "individual.csv.gz"
    drift = folder / "llmdrift" / "responses.csv.gz"
    checked = folder / "refchecker" / "responses.csv.gz"
    write(
        "azure_conv_to_code",
        [*part("healthy", azure(conv, 10_000, 1500)), *part("fault", azure(code, 0, 1500))],
    )
    write(
        "mooncake_conversation",
        part("healthy", mooncake(folder / "mooncake_fast25" / "conversation.csv.gz", 6000)),
    )
    write(
        "llmperf_429_burst",
        [*part("healthy", llmperf(perf, throttled=False)), *part("fault", llmperf(perf, throttled=True))],
    )
    write(
        "llmdrift_silent_update",
        [*part("healthy", llmdrift(drift, "gpt-4-0314")), *part("fault", llmdrift(drift, "gpt-4-0613"))],
    )
    write(
        "refchecker_lost_retrieval",
        [
            *part("healthy", refchecker(checked, "accurate_context")),
            *part("fault", refchecker(checked, "zero_context")),
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
