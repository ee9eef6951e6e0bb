"""Empty text and NaN where no text belongs: in a file they are what a call that failed has, not garbage."""

import json
import math
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.contract import load_contract
from detector.lab.columns import Columns, parse_columns
from detector.lab.files import Malformed, read_evaluations, read_rows
from detector.lab.frames import rows_of
from detector.lab.json_lines import decode_object
from detector.lab.replay import replay
from tests.unit.lab.test_replay import CONTRACT
from topics.errors import DecodeError
from topics.telemetry import Evaluation, TelemetryRecord, decode_telemetry

T0 = 1_700_000_000.0
NOTHING = ["", " ", math.nan, "NaN", "nan", None]
FIELDS = ("latency_s", "output_tokens", "hallucinated", "probe", "token_ids")
FAILED = TelemetryRecord(event_time=T0, route="chat", error="500")


def read(path, columns=None):
    return list(read_rows([path], columns or Columns()))


@pytest.mark.parametrize("columns", [Columns(), parse_columns(["latency_s=took"])], ids=["plain", "mapped"])
@pytest.mark.parametrize("nothing", NOTHING)
def test_a_line_of_a_failed_call_is_read_however_nothing_is_written(tmp_path, nothing, columns):
    """Programs that export a table write every key; what was not measured stays so, and the error counts."""
    document = {"event_time": T0, "route": "chat", "error": "500", "took": nothing, "features": {}}
    (tmp_path / "calls.jsonl").write_text(json.dumps(document | dict.fromkeys(FIELDS, nothing)))

    assert read(tmp_path / "calls.jsonl", columns) == [FAILED]


@pytest.mark.parametrize("nothing", NOTHING)
def test_a_row_of_a_failed_call_is_read_from_typed_cells_too(tmp_path, nothing):
    """A column of objects holds text for some rows and numbers for others."""
    cells = {"event_time": [T0], "route": ["chat"], "error": ["500"]} | {key: [nothing] for key in FIELDS}
    pq.write_table(pa.table(cells), tmp_path / "calls.parquet")

    assert read(tmp_path / "calls.parquet") == [FAILED]
    assert list(rows_of(pa.table(cells), Columns())) == [FAILED]


def test_nan_in_the_names_and_features_of_a_line_is_missing(tmp_path):
    """As of a frame; text is left alone, whatever it says and wherever it ends."""
    said = 'a \\" NaN, '
    features = {"size": math.nan, "kind": "NaN"}
    document = {"event_time": T0, "route": "chat", "model": said, "error": math.nan, "features": features}
    (tmp_path / "calls.jsonl").write_text(json.dumps(document))

    expected = TelemetryRecord(event_time=T0, route="chat", model=said, features={"kind": "NaN"})
    assert read(tmp_path / "calls.jsonl") == [expected]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('{"event_time": NaN, "route": "chat"}', "$"),
        ('{"event_time": "", "route": "chat"}', "$.event_time"),
        ('{"event_time": 1700000000, "route": "chat", "ttft_s": NaN, "latency_s": Infinity}', "$.latency_s"),
        ('{"event_time": 1700000000, "route": "chat", "token_ids": [1, NaN]}', "$.token_ids[1]"),
        ('{"event_time": 1700000000, "route": "chat", "ttft_s": "fast", "latency_s": NaN}', "$.ttft_s"),
        ('{"event_time": 1700000000, "route": "chat", "ttft_s": NaN, "model": "NaN', "$"),
    ],
)
def test_what_cannot_stand_for_nothing_is_refused(tmp_path, line, path):
    """A required field, a number without end, part of a list, words; with the path to that very fault."""
    (tmp_path / "calls.jsonl").write_text(line)
    (found,) = read(tmp_path / "calls.jsonl")

    assert isinstance(found, Malformed)
    assert found.path == path


@pytest.mark.parametrize("line", [b'"ttft_s": ""', b'"ttft_s": NaN', b'"probe": ""'])
def test_a_topic_goes_on_refusing_it(line):
    """On the wire what is not measured is left out."""
    with pytest.raises(DecodeError):
        decode_telemetry(b'{"event_time": 1700000000, "route": "chat", ' + line + b"}")


def test_a_line_of_quotes_is_read_in_a_moment():
    """Each of them might begin a text that never ends."""
    started = time.monotonic()
    with pytest.raises(DecodeError):
        decode_object(b'{"x": NaN, "y": "' + b'\\"' * 500_000)

    assert time.monotonic() - started < 5


def test_late_verdicts_are_read_alike(tmp_path):
    """One that is only a score has no word on failure, and one without an id belongs to a time."""
    verdict = {"event_time": T0, "route": "chat", "name": "x", "failed": "", "score": 0.5}
    more = {"call_time": math.nan, "request_id": None}
    (tmp_path / "verdicts.jsonl").write_text(json.dumps(verdict | more))

    expected = Evaluation(event_time=T0, route="chat", name="x", score=0.5)
    assert list(read_evaluations([tmp_path / "verdicts.jsonl"])) == [(0, expected)]


@pytest.mark.parametrize("nothing", ["", math.nan])
def test_an_outage_is_found_whose_calls_have_no_figures(tmp_path, nothing):
    """They are all of them, and leaving them out would leave nothing but calls that went well."""
    well = [{"event_time": T0 + i / 10, "route": "chat", "error": "", "latency_s": 0.1} for i in range(6000)]
    file, clean = tmp_path / "calls.jsonl", tmp_path / "clean.jsonl"
    failed = [row | {"error": "500", "latency_s": nothing} for row in well[3000:4000]]
    file.write_text("\n".join(map(json.dumps, [*well[:3000], *failed, *well[4000:]])))
    plain = [row | {"latency_s": None} for row in failed]
    clean.write_text("\n".join(map(json.dumps, [*well[:3000], *plain, *well[4000:]])))

    found = replay([file], load_contract(CONTRACT))

    assert found.malformed == 0
    assert [each.mode for each in found.activations] == ["error_spike"]
    assert found.digest == replay([clean], load_contract(CONTRACT)).digest
