"""Which column a field comes from: its mapped one alone; and null is nothing, whatever the options."""

import json

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.lab.coerce import FIELD_KINDS
from detector.lab.columns import REQUIRED, Columns, MappingError, line_builder, parse_columns
from detector.lab.files import read_rows
from detector.lab.unread_columns import UnreadColumns
from topics.errors import DecodeError
from topics.telemetry import TelemetryRecord, decode_telemetry

T0 = 1_700_000_000.0


def read(*paths, columns=None):
    return list(read_rows(paths, columns or Columns()))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_mapped_field_comes_from_its_column_and_nowhere_else(tmp_path, suffix):
    """Where the column holds nothing, the field's own column is no substitute, in no format."""
    own = {"event_time": T0, "route": "chat", "error": "own"}
    rows = [own | {"status": "503"}, own | {"status": None}]
    file = tmp_path / f"calls{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == ".csv":
        file.write_text(f"event_time,route,error,status\n{T0},chat,own,503\n{T0},chat,own,\n")
    else:
        file.write_text("\n".join(map(json.dumps, [*rows, own])))

    found = read(file, columns=parse_columns(["error=status"]))

    assert [each.error for each in found] == ["503", "", *([""] if suffix == ".jsonl" else [])]


def test_a_mapped_feature_comes_from_its_column_and_nowhere_else(tmp_path):
    """The object of features keeps its other features."""
    cells = {"event_time": [T0], "route": ["chat"], "features": [{"a": 1.0, "b": 2.0}], "c": [None]}
    pq.write_table(pa.table(cells), tmp_path / "calls.parquet")
    (tmp_path / "calls.jsonl").write_text(json.dumps({name: cell for name, (cell,) in cells.items()}))

    for file in ("calls.parquet", "calls.jsonl"):
        (record,) = read(tmp_path / file, columns=parse_columns(["features.a=c"]))
        assert record.features == {"b": 2.0}


def test_a_mapped_column_that_no_line_holds_is_told_after_the_last(tmp_path):
    """It is mistyped, or nothing of the kind happened; one that is null, or in a later file, is there."""
    lines = [
        {"event_time": T0, "route": "chat", "error": "own"},
        {"event_time": T0, "route": "chat", "x": None},
    ]
    first, last = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    first.write_text("\n".join(map(json.dumps, lines)))
    last.write_text(json.dumps({"event_time": T0, "route": "chat", "usage": {"prompt": 1}}))
    told: list[str] = []
    columns = parse_columns(["error=stauts", "tenant=x", "input_tokens=usage.prompt"])
    found = list(read_rows([first, last], columns, tell=told.append))

    assert [each.error for each in found] == ["", "", ""]
    assert told == [
        "--map error=stauts: no such column in any row; the first row has event_time, route, error"
    ]
    with pytest.raises(MappingError, match=r"--map route=model: no such column"):
        read(first, columns=parse_columns(["route=model"]))
    assert read_told(tmp_path / "none.jsonl", columns) == []


def read_told(file, columns):
    """What is told of a file without a line."""
    file.touch()
    told: list[str] = []
    list(read_rows([file], columns, tell=told.append))
    return told


@pytest.mark.parametrize("options", [{}, {"sets": ["tenant=acme"]}], ids=["plain", "mapped"])
@pytest.mark.parametrize("name", sorted(FIELD_KINDS))
def test_null_in_a_line_is_not_measured_whatever_the_options(tmp_path, name, options):
    """A program that writes every key writes null where it has nothing; a required field is missed alike."""
    file = tmp_path / "calls.jsonl"
    whole = {"event_time": T0, "route": "chat", "features": {"a": 1.0}}
    file.write_text(json.dumps(whole | {name: None}))

    (row,) = read(file, columns=parse_columns(**options))

    if name in REQUIRED:
        assert (row.path, row.expected) == ("$", f"Object missing required field `{name}`")
    else:
        features = {} if name == "features" else {"a": 1.0}
        tenant = "acme" if options else ""
        assert row == TelemetryRecord(event_time=T0, route="chat", features=features, tenant=tenant)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([0.0, 1.0, 550.0, 550.5, 2.0**53, 1e300]),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.one_of(st.none(), st.floats(), st.text(max_size=2))),
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(FIELD_KINDS)), VALUES))
def test_an_option_that_concerns_another_field_changes_nothing(document):
    """A row is the same record, or has the same fault, whether there is an unrelated option or none."""
    line = json.dumps({"event_time": T0, "route": "chat"} | document | {"template": "t"}).encode()
    found = []
    for columns in (Columns(), parse_columns(sets=["template=t"])):
        try:
            found.append(line_builder(columns)(line))
        except DecodeError as error:
            found.append((error.path, error.expected))

    assert found[0] == found[1]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FIELD_KINDS.keys() - {"features"})), VALUES)
def test_a_field_mapped_to_itself_is_as_if_it_were_not_mapped(name, value):
    """What a line may hold, and what is told of what it may not, is the same either way."""
    line = json.dumps({"event_time": T0, "route": "chat"} | {name: value}).encode()
    found = []
    for columns in (Columns(), parse_columns([f"{name}={name}"]), parse_columns(sets=["features.k=1"])):
        try:
            record = line_builder(columns)(line)
            found.append(msgspec.structs.replace(record, features={}))
        except DecodeError as error:
            found.append((error.path, error.expected))

    assert found[0] == found[1] == found[2]


def written(file, rows):
    """Rows as a file of the kind that its name tells."""
    if file.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        lines = [",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows]
        file.write_text("\n".join([",".join(rows[0]), *lines]))
    else:
        file.write_text("\n".join(map(json.dumps, rows)))
    return file


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(("unit", "factor"), [("ms", 1000), ("us", 1_000_000)])
def test_a_unit_of_durations_goes_for_every_one_of_them_and_for_nothing_else(tmp_path, suffix, unit, factor):
    """Under their own names or mapped, whole or not; the time, a feature, a share and a gap stay."""
    row = {
        "event_time": T0,
        "route": "chat",
        "took": 812 * factor // 1000,
        "ttft_s": 0.5 * factor,
        "queue_s": None,
        "upstream_s": 2 * factor,
        "clock_ratio": 0.5,
        "tail_s": 7.0,
    }
    columns = parse_columns(["latency_s=took", "features.tail_s=tail_s"], duration_unit=unit)
    (record,) = read(written(tmp_path / f"calls{suffix}", [row]), columns=columns)

    durations = {name: getattr(record, name) for name in FIELD_KINDS if name.endswith("_s")}
    assert durations == {"latency_s": 0.812, "ttft_s": 0.5, "queue_s": None, "upstream_s": 2.0}
    assert (record.event_time, record.clock_ratio, record.features) == (T0, 0.5, {"tail_s": 7.0})


def test_a_unit_of_durations_alone_is_heeded(tmp_path):
    """Lines that are records as they stand, text in quotes and constants too."""
    rows = [{"event_time": T0, "route": "chat", "latency_s": value} for value in (812, "fast", 10**400)]
    columns = parse_columns(sets=["queue_s=3"], duration_unit="ms")
    own = read(written(tmp_path / "calls.jsonl", rows), columns=parse_columns(duration_unit="ms"))
    (first, *_) = read(tmp_path / "calls.jsonl", columns=columns)

    assert own[0].latency_s == 0.812
    assert [each.path for each in own[1:]] == ["$.latency_s"] * 2
    assert (first.latency_s, first.queue_s) == (0.812, 0.003)
    with pytest.raises(MappingError, match="--duration-unit iso: expected s, ms or us"):
        parse_columns(duration_unit="iso")


def unread_of(*files, failed=False, **options):
    unread_columns = UnreadColumns()
    list(read_rows(files, parse_columns(**options), unread_columns=unread_columns))
    return unread_columns.said(failed=failed)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_that_nothing_is_read_from_are_told(tmp_path, suffix):
    """Beside the question where nothing is mapped to `error` and no row has one."""
    row = {"at": T0, "model_group": "chat", "route": "x", "latency_s": 1.0, "status": "503", "a": 1}
    file = written(tmp_path / f"calls{suffix}", [row] * 3)
    maps = ["event_time=at", "route=model_group"]
    asked = "no row has an error (nothing is mapped to it): is that right? "
    listed = "columns that nothing is read from: "

    assert unread_of(file, maps=maps) == f"{asked}{listed}route, status, a"
    assert unread_of(file, maps=maps, failed=True) == f"{listed}route, status, a"
    assert unread_of(file, maps=[*maps, "error=status"]) == f"{listed}route, a"
    assert (
        unread_of(file, maps=maps, sets=["error=x", "latency_s=1"]) == f"{listed}route, latency_s, status, a"
    )


def test_ten_columns_are_named_and_the_rest_is_counted(tmp_path):
    """In one line, whatever their names are."""
    row = {"event_time": T0, "route": "chat", "error": "", "odd\nname": 1} | {f"c{n}": n for n in range(12)}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "calls.parquet")
    said = unread_of(tmp_path / "calls.parquet")

    assert said.startswith(r"columns that nothing is read from: 'odd\nname', c0, c1,")
    assert said.endswith(", c8, and 3 more")


@pytest.mark.parametrize(
    ("name", "text", "asked"),
    [
        pytest.param("calls.csv", f"event_time,route\n{T0},chat\n", True, id="nowhere to come from"),
        pytest.param("calls.csv", f"event_time,route,error\n{T0},chat,\n", False, id="an empty column"),
        pytest.param("calls.jsonl", '{"event_time": 1700000000, "route": "chat"}', False, id="left out"),
        pytest.param(
            "calls.jsonl", '{"event_time": 1700000000, "route": "chat", "x": 1}', True, id="other key"
        ),
        pytest.param(
            "calls.jsonl",
            '{"event_time": 1700000000, "route": "chat", "x": 1, "error": null}',
            False,
            id="null",
        ),
    ],
)
def test_only_where_errors_come_from_nowhere_it_is_asked_whether_that_is_right(tmp_path, name, text, asked):
    """Records of our own leave out what is empty, and a healthy file has no error in its column."""
    (tmp_path / name).write_text(text)

    assert ("no row has an error" in unread_of(tmp_path / name)) is asked


def test_a_dotted_path_is_read_from_its_key(tmp_path):
    """The whole of what lies below counts as read."""
    file = written(
        tmp_path / "calls.jsonl", [{"event_time": T0, "route": "c", "usage": {"n": 1}, "error": ""}]
    )

    assert unread_of(file, maps=["input_tokens=usage.n"]) == ""
    assert unread_of(file) == "columns that nothing is read from: usage"


def of_lines(path, lines):
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.mark.parametrize("odd", [b'"\xff"', b"1e999", b"9" * 5000], ids=["no UTF-8", "infinite", "long"])
def test_a_line_is_judged_alike_whether_its_keys_are_looked_at_or_not(tmp_path, odd):
    """Production skips a field that it does not know whatever is in it, and so does whoever looks at keys."""
    plain = b'{"event_time": 1700000000, "route": "chat"}'
    strange = b'{"event_time": 1700000000, "route": "chat", "x": %s}' % odd
    lines = [strange if row in (0, 150) else plain for row in range(300)]
    file = of_lines(tmp_path / "calls.jsonl", lines)
    unread_columns = UnreadColumns()
    looked = list(read_rows([file], Columns(), unread_columns=unread_columns))

    assert looked == read(file) == [decode_telemetry(line) for line in lines]
    assert unread_columns.said(failed=True) == "columns that nothing is read from: x"


@pytest.mark.parametrize("maps", [[], ["model=m"]], ids=["plain", "mapped"])
def test_a_line_that_is_refused_counts_among_the_first(tmp_path, maps):
    """Whatever its fault, so that looking at keys comes to an end."""
    faults = [b"no JSON", b'{"event_time": 1}']
    good = b'{"event_time": 1700000000, "route": "chat", "%s": 1}'
    file = of_lines(tmp_path / "calls.jsonl", [*faults * 49, good % b"m", good % b"near", good % b"far"])

    assert unread_of(file, maps=maps, failed=True).endswith(": near" if maps else ": m, near")


def test_a_record_with_a_key_that_is_no_text_is_one(tmp_path):
    """Nothing can be said of its keys then."""
    odd = b'{"event_time": 1700000000, "route": "chat", "\xff": 1}'
    file = of_lines(tmp_path / "calls.jsonl", [odd])
    unread_columns = UnreadColumns()

    assert list(read_rows([file], Columns(), unread_columns=unread_columns)) == [decode_telemetry(odd)]
    assert unread_columns.said(failed=True) == ""


def test_the_first_lines_of_every_file_are_looked_at(tmp_path):
    """However many there are in those before it."""
    line = '{{"event_time": 1700000000, "route": "chat", "{}": 1}}'
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file, key in zip(files, ("x", "y"), strict=True):
        file.write_text("\n".join([line.format(key)] * 100))

    assert unread_of(*files, failed=True) == "columns that nothing is read from: x, y"


@pytest.mark.parametrize("maps", [[], ["model=m"]], ids=["plain", "mapped"])
@pytest.mark.parametrize("before", [0, 150])
@pytest.mark.parametrize(
    ("last", "asked"),
    [('"error": ""', False), ('"error": null', False), ('"y": {"error": ""}', True), ('"y": 1', True)],
)
def test_nothing_is_mapped_to_error_only_where_no_file_has_it(tmp_path, maps, before, last, asked):
    """A key of its own in any line of any file is something; what is deeper in another key is not."""
    line = '{{"event_time": 1700000000, "route": "chat", {}}}'
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    files[0].write_text("\n".join([line.format('"x": 1')] * 100))
    files[1].write_text("\n".join([*[line.format('"x": 1')] * before, line.format(last)]))

    assert ("nothing is mapped to it" in unread_of(*files, maps=maps)) is asked


def test_a_column_of_one_file_is_where_errors_come_from(tmp_path):
    """Whichever of the files it is."""
    (tmp_path / "a.csv").write_text(f"event_time,route\n{T0},chat\n")
    (tmp_path / "b.csv").write_text(f"event_time,route,error\n{T0},chat,\n")

    for names in ("ab", "ba"):
        assert unread_of(*(tmp_path / f"{name}.csv" for name in names)) == ""
