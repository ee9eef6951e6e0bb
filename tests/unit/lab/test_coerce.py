"""Cells become field values by the field's type, or are refused with the path to the fault."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.lab.coerce import FIELD_KINDS, from_text, from_value, is_field, time_of
from detector.lab.columns import MappingError, parse_columns
from detector.lab.json_lines import build_struct
from topics.errors import DecodeError
from topics.telemetry import TelemetryRecord

BY_KIND = {
    "float": st.floats(0, 1e12),
    "int": st.integers(0, 2**53),
    "bool": st.booleans(),
    "str": st.text(min_size=3, max_size=50).filter(
        lambda text: text.strip() == text and text.lower() not in ("nan", "n/a", "none", "null")
    ),
    "list": st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=5),
}


def test_every_field_of_the_record_has_a_kind():
    """Nothing in the wire contract is out of reach of a column, but the features as a whole."""
    assert set(FIELD_KINDS) == set(TelemetryRecord.__struct_fields__)
    assert {kind for name, kind in FIELD_KINDS.items() if name != "features"} == set(BY_KIND)
    assert not is_field("features")
    assert is_field("features.size")
    assert not is_field("features.")
    assert not is_field("latency")


@given(st.data())
def test_text_of_a_value_reads_as_that_value(data):
    """For each field, a value written as csv writers do comes back as it was."""
    field = data.draw(st.sampled_from(sorted(name for name in FIELD_KINDS if name != "features")))
    value = data.draw(BY_KIND[FIELD_KINDS[field]])

    assert from_text(field, str(value)) == value


@given(st.sampled_from(sorted(name for name in FIELD_KINDS if name != "features")), st.text())
def test_any_text_gives_a_value_of_the_type_or_a_decode_error(field, text):
    """Whatever stands in a cell, the outcome is missing, a finite value of the right type, or DecodeError."""
    value = None
    with contextlib.suppress(DecodeError):
        value = from_text(field, text)

    assert value is None or type(value).__name__ == FIELD_KINDS[field]
    assert not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize("cell", ["", " ", "\t"])
def test_an_empty_cell_is_missing(cell):
    """Not measured is never zero, false or an empty name."""
    for field in FIELD_KINDS:
        if field != "features":
            assert from_text(field, cell) is None


@pytest.mark.parametrize("cell", ["nan", "NaN", "NA", "n/a", "None", "NULL", " null "])
def test_a_cell_that_says_in_words_that_there_is_nothing_is_missing(cell):
    """For every field but those that a record must have."""
    for field in FIELD_KINDS.keys() - {"features", "event_time", "route"}:
        assert from_text(field, cell) is None
    assert from_text("features.size", cell) is None
    assert from_text("route", cell) == cell.strip()


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, True, False])
def test_a_flag_in_a_column_of_numbers_is_read(value):
    """A column of flags with gaps is stored as floats."""
    assert from_value("hallucinated", value) is bool(value)
    assert from_value("probe", value) is bool(value)


@pytest.mark.parametrize("value", [2, 0.5, -1, 1.0001])
def test_another_number_is_no_flag(value):
    """It is refused with the path to it."""
    fitted = from_value("hallucinated", value)
    with pytest.raises(DecodeError) as caught:
        build_struct({"event_time": 1.7e9, "route": "chat", "hallucinated": fitted}, TelemetryRecord)

    assert caught.value.path == "$.hallucinated"


def test_nan_is_missing_and_infinity_refused():
    """In every field of numbers."""
    for field in ("latency_s", "input_tokens", "hallucinated", "error", "features.size"):
        assert from_value(field, math.nan) is None
        with pytest.raises(DecodeError, match="finite"):
            from_value(field, -math.inf)


@pytest.mark.parametrize(
    ("cell", "value"), [("1", True), ("0.0", False), ("TRUE", True), ("no", False), ("T", True), ("f", False)]
)
def test_usual_forms_of_true_and_false_are_read(cell, value):
    """Tools write flags in several forms; all mean the same."""
    assert from_text("hallucinated", cell) is value


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("latency_s", "inf"),
        ("latency_s", "-inf"),
        ("latency_s", "fast"),
        ("input_tokens", "1.5"),
        ("input_tokens", "9" * 5000),
        ("hallucinated", "maybe"),
        ("features.size", "inf"),
        ("route", "\udcff"),
    ],
)
def test_cells_of_the_wrong_type_are_refused(field, cell):
    """What is not a value of the field's type is an error that names the field."""
    with pytest.raises(DecodeError) as caught:
        from_text(field, cell)

    assert caught.value.path == f"$.{field}"


def test_features_are_numbers_where_they_can_be():
    """A feature is a number if it reads as one, else a label."""
    assert from_text("features.size", "7") == 7.0
    assert from_text("features.size", "7b") == "7b"


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("input_tokens", 3.0, 3), ("error", 429.0, "429"), ("request_id", 17, "17"), ("latency_s", 0.5, 0.5)],
)
def test_typed_cells_are_fitted_only_where_storage_changed_them(field, value, expected):
    """Whole floats become counts, numbers become names; nothing else is touched."""
    fitted = from_value(field, value)

    assert fitted == expected
    assert type(fitted) is type(expected)


@given(st.floats(1e9, 4e9), st.sampled_from([("s", 1), ("ms", 1e3), ("us", 1e6)]))
def test_times_are_read_in_their_unit(seconds, unit):
    """A time written in a unit is the same instant, to a microsecond."""
    name, factor = unit

    assert time_of(repr(seconds * factor), name, None) == pytest.approx(seconds, abs=1e-6)
    assert time_of(seconds / 10 * factor, name, 10.0) == pytest.approx(10.0 + seconds / 10, abs=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1e3), ("us", 1e6)])
def test_a_start_is_not_added_to_absolute_times(unit, factor):
    """They would come to lie half a century ahead, and nobody would see it."""
    for value in (1.7e9 * factor, repr(1.7e9 * factor)):
        with pytest.raises(DecodeError, match="relative to the start"):
            time_of(value, unit, 1.7e9)
    assert time_of(9e8 * factor, unit, 1.7e9) == pytest.approx(2.6e9)


def test_iso_times_without_a_zone_are_utc():
    """Reading a file gives the same times on every machine."""
    assert time_of("2023-11-16 18:17:03.9799600", "iso", None) == pytest.approx(1700158623.97996)
    assert time_of("2023-11-16T20:17:03+02:00", "iso", None) == 1700158623.0


@pytest.mark.parametrize("text", ["nan", "None", " "])
def test_a_constant_has_to_be_something(text):
    """`--set FIELD=NA` would refuse every row of the file."""
    with pytest.raises(MappingError, match="--set tenant: expected a value"):
        parse_columns(sets=[f"tenant={text}"])
