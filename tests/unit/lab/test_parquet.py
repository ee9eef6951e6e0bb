"""Typed cells of parquet: times, durations, decimals, flags and features as other programs write them."""

from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.lab.columns import Columns, parse_columns
from detector.lab.files import read_rows
from topics.telemetry import TelemetryRecord

T0 = 1_700_000_000.0


def read(*paths, columns=None):
    return list(read_rows(paths, columns or Columns()))


def test_flags_and_gaps_in_parquet_columns_of_floats_are_read(tmp_path):
    """What pandas makes of a column of flags with gaps; other numbers are refused where they stand."""
    cells = {
        "event_time": [float(T0)] * 5,
        "route": ["chat"] * 5,
        "hallucinated": [0.0, 1.0, float("nan"), None, 2.0],
        "latency_s": [0.1, float("nan"), 0.1, None, 0.1],
    }
    pq.write_table(pa.table(cells), tmp_path / "calls.parquet")

    *good, bad = read(tmp_path / "calls.parquet")
    assert [(each.hallucinated, each.latency_s) for each in good] == [
        (False, 0.1),
        (True, None),
        (None, 0.1),
        (None, None),
    ]
    assert (bad.row, bad.path) == (4, "$.hallucinated")


def test_parquet_timestamps_need_no_unit(tmp_path):
    """A column that is a timestamp, in nanoseconds too, is read as the instant that it is."""
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    pq.write_table(pa.table({"event_time": times, "route": ["chat"]}), tmp_path / "calls.parquet")

    (record,) = read(tmp_path / "calls.parquet")

    assert record.event_time == pytest.approx(T0 + 0.123456, abs=1e-6)


def test_parquet_times_may_be_decimals_and_durations_since_the_start(tmp_path):
    """As databases write them; what a start is given for is said to be absolute where it is."""
    relative, start = [0.25, 1.5], "2023-11-14T22:13:20Z"
    kinds = {
        "decimal": pa.array([Decimal(str(at)) for at in relative], pa.decimal128(20, 6)),
        "ns": pa.array([int(at * 1e9) for at in relative], pa.duration("ns")),
        "ms": pa.array([int(at * 1e3) for at in relative], pa.duration("ms")),
        "stamp": pa.array([int((T0 + at) * 1e6) for at in relative], pa.timestamp("us")),
        "absolute": pa.array([Decimal(str(T0 + at)) for at in relative], pa.decimal128(20, 6)),
    }
    found = {}
    for name, column in kinds.items():
        pq.write_table(pa.table({"event_time": column, "route": ["chat"] * 2}), tmp_path / f"{name}.parquet")
        for columns in (Columns(), parse_columns(start=start)):
            rows = read(tmp_path / f"{name}.parquet", columns=columns)
            found[name, columns.start is not None] = rows

    for read_well in (("decimal", True), ("ns", True), ("ms", True), ("stamp", False), ("absolute", False)):
        assert [each.event_time - T0 for each in found[read_well]] == relative, read_well
    for refused, word in (
        (("decimal", False), "with --start"),
        (("ns", False), "say with --start what it counts from"),
        (("stamp", True), "which is absolute: say no --start"),
        (("absolute", True), "which is absolute: say no --start"),
    ):
        assert all(each.path == "$.event_time" and each.expected.endswith(word) for each in found[refused])


def test_parquet_decimals_are_numbers_whatever_the_field(tmp_path):
    """An id keeps its digits, a count is whole, a flag a flag."""
    cells = {
        "event_time": Decimal("1700000000.5"),
        "route": "chat",
        "tenant": Decimal("12345678901234567890"),
        "latency_s": Decimal("0.25"),
        "input_tokens": Decimal("12.00"),
        "hallucinated": Decimal(1),
        "features.size": Decimal("1.5"),
    }
    pq.write_table(pa.table({name: [cell] for name, cell in cells.items()}), tmp_path / "calls.parquet")

    assert read(tmp_path / "calls.parquet") == [
        TelemetryRecord(
            event_time=T0 + 0.5,
            route="chat",
            tenant="12345678901234567890",
            latency_s=0.25,
            input_tokens=12,
            hallucinated=True,
            features={"size": 1.5},
        )
    ]


@pytest.mark.parametrize(
    "features", [["{}", '{"a": 1}'], [1, 2], [[1.0], [2.0]]], ids=["text", "numbers", "lists"]
)
def test_a_column_of_features_that_are_no_objects_is_malformed_row_by_row(tmp_path, features):
    """Whatever it holds instead, the path says where."""
    columns = {"event_time": [T0 + 0.0, T0 + 1.0], "route": ["chat"] * 2, "features": features}
    pq.write_table(pa.table(columns), tmp_path / "calls.parquet")

    assert [each.path for each in read(tmp_path / "calls.parquet")] == ["$.features"] * 2
