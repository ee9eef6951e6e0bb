from detector.windows.readers import READERS
from topics.telemetry import TelemetryRecord


def test_every_field_that_is_one_value_is_read_by_its_own_name():
    """A slip of the pen would judge one field by another's values."""
    fields = set(TelemetryRecord.__struct_fields__) - {"features"}  # these are read one by one
    assert set(READERS) == fields
    names = type("Names", (), {field: field for field in fields})()
    assert {field: read([names, names]) for field, read in READERS.items()} == {
        field: [field, field] for field in fields
    }
