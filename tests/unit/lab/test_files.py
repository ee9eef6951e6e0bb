"""Readers: every format gives the same records, bad rows are counted, and nothing stops a file."""

import csv
import gzip
import io
import json

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.lab.columns import Columns, MappingError, parse_columns
from detector.lab.files import FileError, Malformed, read_rows
from topics.telemetry import TelemetryRecord

T0 = 1_700_000_000.0
RECORDS = [
    TelemetryRecord(event_time=T0, route="chat", input_tokens=10, latency_s=0.25, hallucinated=False),
    TelemetryRecord(event_time=T0 + 0.5, route="chat", error="429", probe=True),
    TelemetryRecord(event_time=T0 + 1, route="code", input_tokens=7, features={"size": 13.0}),
]
HEADER = [
    "event_time",
    "route",
    "input_tokens",
    "latency_s",
    "hallucinated",
    "error",
    "probe",
    "features.size",
]


def rows_of(records):
    for each in records:
        yield [
            each.event_time,
            each.route,
            each.input_tokens,
            each.latency_s,
            each.hallucinated,
            each.error or None,
            each.probe or None,
            each.features.get("size"),
        ]


def write(path, records=RECORDS):
    if path.name.endswith(".parquet"):
        columns = list(zip(*rows_of(records), strict=True))
        pq.write_table(pa.table(dict(zip(HEADER, map(list, columns), strict=True))), path)
        return path
    if ".csv" in path.name:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(HEADER)
        writer.writerows(rows_of(records))
        data = text.getvalue().encode()
    else:
        data = b"".join(msgspec.json.encode(each) + b"\n" for each in records)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def read(*paths, columns=None):
    return list(read_rows(paths, columns or Columns()))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet"])
def test_every_format_gives_the_same_records(tmp_path, suffix):
    """A format is a way to write records, and changes nothing in them."""
    assert read(write(tmp_path / f"calls{suffix}")) == RECORDS


def test_files_are_one_stream_in_the_order_given(tmp_path):
    """Several files give their rows one after the other, whatever their kinds."""
    first, second = write(tmp_path / "b.csv", RECORDS[:1]), write(tmp_path / "a.jsonl", RECORDS[1:])

    assert read(first, second) == RECORDS
    assert read(second, first) == RECORDS[1:] + RECORDS[:1]


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        (b"{", "$"),
        (b"\xff\xfe", "$"),
        (b"[]", "$"),
        (b'{"event_time": 1, "route": "chat"}', "$.event_time"),
        (b'{"event_time": 1700000000, "route": "chat", "latency_s": -1}', "$.latency_s"),
        (b'{"event_time": 1700000000, "route": "chat", "latency_s": Infinity}', "$.latency_s"),
        (b'{"event_time": 1700000000, "route": true}', "$.route"),
        (b'{"event_time": 1700000000, "route": "chat", "input_tokens": 550.5}', "$.input_tokens"),
        (b'{"event_time": 1700000000, "route": "chat", "input_tokens": -1.0}', "$.input_tokens"),
        (b'{"event_time": 1700000000, "route": "chat", "input_tokens": 1e300}', "$.input_tokens"),
        (b'{"event_time": 1700000000, "route": "chat", "input_tokens": "550"}', "$.input_tokens"),
        (b'{"event_time": 1700000000, "route": "chat", "probe": 0, "hallucinated": 2}', "$.hallucinated"),
        (b'{"event_time": 1700000000, "route": "chat", "refused": 0.5}', "$.refused"),
        (b'{"event_time": 1700000000, "route": "chat", "golden_ok": "yes"}', "$.golden_ok"),
        (b'{"event_time": 1700000000, "route": "chat", "features": [["size", 7]]}', "$.features"),
        (b"[" * 100_000, "$"),
        (b'{"x": "' + b"y" * (2 << 20) + b'"}', "$"),
    ],
)
@pytest.mark.parametrize("columns", [Columns(), parse_columns(sets=["tenant=acme"])], ids=["plain", "mapped"])
def test_a_bad_json_line_is_one_malformed_row(tmp_path, bad, path, columns):
    """It is reported at its row with the path to the fault, and the rows around it are read."""
    good = msgspec.json.encode(RECORDS[0])
    file = tmp_path / "calls.jsonl"
    file.write_bytes(good + b"\n" + bad + b"\n\n" + good)

    before, malformed, after = read(file, columns=columns)

    assert before == after
    assert isinstance(malformed, Malformed)
    assert (malformed.file, malformed.row, malformed.path) == (str(file), 1, path)


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        ("x,chat,,", "$.event_time"),
        ("1700000000,,,", "$"),
        ("1700000000,chat,1.5,", "$.input_tokens"),
        ("1700000000,chat,,-1", "$.latency_s"),
        ("1700000000,chat", "$"),
        ("1700000000,chat,,,,", "$"),
        ("1700000000," + "c" * 201 + ",,", "$.route"),
    ],
)
def test_a_bad_csv_row_is_one_malformed_row(tmp_path, bad, path):
    """Wrong types, broken rules of the wire contract and rows of another width are refused one by one."""
    good = "1700000000,chat,5,0.5"
    file = tmp_path / "calls.csv"
    file.write_text(f"event_time,route,input_tokens,latency_s\n{good}\n{bad}\n{good}\n")

    before, malformed, after = read(file)

    assert before == after
    assert isinstance(malformed, Malformed)
    assert (malformed.row, malformed.path) == (1, path)


@pytest.mark.parametrize("columns", [Columns(), parse_columns(sets=["tenant=acme"])], ids=["plain", "mapped"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_table_whose_columns_have_gaps_is_the_same_in_every_format(tmp_path, suffix, columns):
    """Counts and flags were stored as floats because of the gaps, and ids as numbers."""
    cells = {
        "event_time": [T0, T0 + 1, T0 + 2],
        "route": ["chat"] * 3,
        "input_tokens": [550.0, None, 0.0],
        "throttle_reasons": [None, 4.0, None],
        "hallucinated": [1.0, None, 0.0],
        "probe": [0, 1, 0],
        "error": [None, "429", None],
        "request_id": [17, 18, 19],
    }
    file = tmp_path / f"calls{suffix}"
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    if suffix == ".parquet":
        pq.write_table(pa.table(cells), file)
    elif suffix == ".csv":
        blank = [",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows]
        file.write_text("\n".join([",".join(cells), *blank]))
    else:
        file.write_text("\n".join(map(json.dumps, rows)))
    tenant = "" if columns.plain else "acme"

    assert read(file, columns=columns) == [
        TelemetryRecord(
            event_time=T0, route="chat", input_tokens=550, hallucinated=True, request_id="17", tenant=tenant
        ),
        TelemetryRecord(
            event_time=T0 + 1,
            route="chat",
            throttle_reasons=4,
            probe=True,
            error="429",
            request_id="18",
            tenant=tenant,
        ),
        TelemetryRecord(
            event_time=T0 + 2,
            route="chat",
            input_tokens=0,
            hallucinated=False,
            request_id="19",
            tenant=tenant,
        ),
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8), st.sampled_from(["jsonl", "csv"]))
def test_any_bytes_between_good_rows_stop_nothing(tmp_path_factory, lines, kind):
    """The last good row is read whatever lines stand before it (a quote may swallow it in csv)."""
    file = tmp_path_factory.mktemp("any") / f"calls.{kind}"
    head, good = {
        "jsonl": (b"", msgspec.json.encode(RECORDS[0])),
        "csv": (b"event_time,route\n", b"1700000000,chat"),
    }[kind]
    lines = [line.replace(b'"', b"'") for line in lines]
    file.write_bytes(head + b"".join(line + b"\n" for line in lines) + good + b"\n")

    rows = read(file)

    assert isinstance(rows[-1], TelemetryRecord)
    assert rows[-1].route == "chat"


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    """Some editors write one."""
    good = msgspec.json.encode(RECORDS[0])
    (tmp_path / "calls.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b"\n" + good)

    assert read(tmp_path / "calls.jsonl") == [RECORDS[0]] * 2


def test_a_truncated_gz_is_one_malformed_row_at_its_end(tmp_path):
    """What could be unpacked is read, and the file after it too."""
    whole = write(tmp_path / "a.csv.gz", RECORDS * 2000)
    whole.write_bytes(whole.read_bytes()[:-20])

    rows = read(whole, write(tmp_path / "b.csv"))

    assert next(row for row in rows if isinstance(row, Malformed)).expected.startswith("the file ends here")
    assert sum(isinstance(row, Malformed) for row in rows) <= 2  # the break, and the row that it cut
    assert rows[-3:] == RECORDS


def test_mapping_constants_and_relative_times(tmp_path):
    """Columns of other names, a value for all, and times from a start make records of any table."""
    file = tmp_path / "trace.csv"
    file.write_text("ms,prompt,error_code,size\n0,12,,7b\n1500,13,429,70b\n")
    columns = parse_columns(
        ["event_time=ms", "input_tokens=prompt", "error=error_code", "features.size=size"],
        ["route=chat"],
        "ms",
        "2023-11-14T22:13:20Z",
    )

    assert read(file, columns=columns) == [
        TelemetryRecord(event_time=T0, route="chat", input_tokens=12, features={"size": "7b"}),
        TelemetryRecord(
            event_time=T0 + 1.5, route="chat", input_tokens=13, error="429", features={"size": "70b"}
        ),
    ]


def test_json_columns_may_be_dotted_paths(tmp_path):
    """A field nested in a log line is reached by its path."""
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"t": "2023-11-14T22:13:20", "usage": {"prompt": 4}}))
    columns = parse_columns(["event_time=t", "input_tokens=usage.prompt"], ["route=chat"], "iso")

    assert read(file, columns=columns) == [TelemetryRecord(event_time=T0, route="chat", input_tokens=4)]


@pytest.mark.parametrize("options", [{"sets": ["features.k=1"]}, {"maps": ["features.k=route"]}])
@pytest.mark.parametrize("features", ['"text"', "[1]", "7"])
def test_features_in_a_line_that_are_no_object_are_malformed(tmp_path, options, features):
    """Also where one feature is told by an option."""
    file = tmp_path / "calls.jsonl"
    file.write_text(f'{{"event_time": {T0}, "route": "chat", "features": {features}}}')

    (malformed,) = read(file, columns=parse_columns(**options))

    assert malformed.path == "$.features"


def test_a_time_that_python_cannot_hold_is_one_malformed_row_and_none_where_nobody_reads_it(tmp_path):
    """Parquet knows years that Python's dates do not, and JSON numbers without an end."""
    far = pa.array([T0 * 10**6, 10**18], pa.timestamp("us"))
    pq.write_table(pa.table({"event_time": far, "route": ["chat"] * 2}), tmp_path / "far.parquet")
    beside = {"event_time": [T0 + 0.0, T0 + 1.0], "route": ["chat"] * 2, "seen": far}
    pq.write_table(pa.table(beside), tmp_path / "beside.parquet")
    (tmp_path / "endless.jsonl").write_text(f'{{"event_time": {"9" * 400}, "route": "chat"}}')

    good, malformed = read(tmp_path / "far.parquet")
    (endless,) = read(tmp_path / "endless.jsonl", columns=parse_columns(sets=["tenant=acme"]))

    assert good.event_time == T0
    assert malformed.path == endless.path == "$.event_time"
    assert [each.event_time - T0 for each in read(tmp_path / "beside.parquet")] == [0, 1]


@pytest.mark.parametrize(
    ("maps", "sets", "unit", "start"),
    [
        (["latency=x"], [], "s", None),
        (["latency_s"], [], "s", None),
        ([], ["input_tokens=many"], "s", None),
        ([], [], "minutes", None),
        ([], [], "iso", "2024-01-01"),
        ([], [], "s", "yesterday"),
    ],
)
def test_options_that_make_no_record_are_refused(maps, sets, unit, start):
    """Wrong use is found before a file is opened."""
    with pytest.raises(MappingError):
        parse_columns(maps, sets, unit, start)


def test_a_required_field_from_nowhere_is_refused_with_the_columns_there_are(tmp_path):
    """The message says which options would help, and the columns to choose from."""
    file = tmp_path / "calls.csv"
    file.write_text("when,route\n1700000000,chat\n")

    with pytest.raises(MappingError, match=r"--map event_time=COLUMN.*when, route"):
        read(file)
    with pytest.raises(MappingError, match="no such column"):
        read(file, columns=parse_columns(["event_time=time"]))


def test_files_of_unknown_kind_and_missing_files_are_refused(tmp_path):
    """The message names the file."""
    (tmp_path / "calls.txt").touch()

    with pytest.raises(FileError, match=r"calls\.txt"):
        read(tmp_path / "calls.txt")
    with pytest.raises(FileError, match="no such file"):
        read(tmp_path / "none.csv")


def test_progress_ends_at_the_size_of_all_files(tmp_path):
    """The last word of progress is that all bytes are read."""
    files = [write(tmp_path / "a.csv.gz"), write(tmp_path / "b.jsonl"), write(tmp_path / "c.parquet")]
    told: list[int] = []

    list(read_rows(files, Columns(), told.append))

    assert told == sorted(told)
    assert told[-1] == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_that_lacks_a_column_is_named(tmp_path, suffix):
    """Of several files one may be of another kind."""
    good, other = write(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}"
    if suffix == ".csv":
        other.write_text("event_time,path\n")
    else:
        pq.write_table(pa.table({"event_time": [T0], "path": ["chat"]}), other)

    with pytest.raises(MappingError, match=r"b\.(csv|parquet): no column 'route': say --map route=COLUMN"):
        read(good, other)
