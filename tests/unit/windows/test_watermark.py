"""The watermark only ever advances."""

from hypothesis import given
from hypothesis import strategies as st

from detector.windows.watermark import Watermark


@given(times=st.lists(st.floats(0, 4e9), min_size=1), lateness=st.floats(0, 60))
def test_the_watermark_is_the_newest_time_less_the_lateness_and_never_goes_back(times, lateness):
    """After any times, value == max(times) - lateness, and `advance` tells exactly when it moved."""
    watermark, newest = Watermark(lateness), float("-inf")
    for time in times:
        assert watermark.advance(time) == (time - lateness > newest)
        newest = max(newest, time - lateness)
        assert watermark.value == newest
