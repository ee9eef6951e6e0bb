"""Constrained field types that several records share. Times are Unix seconds, durations seconds."""

from typing import Annotated

from msgspec import Meta

# 2000-01-01 .. 2100-01-01: anything else is a unit mistake (milliseconds, nanoseconds) or a broken clock.
FIRST_TIME, END_OF_TIME = 946_684_800, 4_102_444_800
EventTime = Annotated[
    float, Meta(ge=FIRST_TIME, lt=END_OF_TIME, description="Unix seconds, years 2000 to 2100")
]
Seconds = Annotated[float, Meta(ge=0, description="seconds")]
MOST_COUNT = 2**53  # every reader of JSON keeps it to the last digit
Count = Annotated[int, Meta(ge=0, le=MOST_COUNT)]
# The most that a reader believes of an owner, which may be dead: seconds of a lease, and of a hold after it.
MOST_LEASE_S = 3600.0
MOST_HOLD_S = 86_400.0
Amount = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
LONGEST_NAME = 200
Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
Label = Annotated[str, Meta(max_length=LONGEST_NAME)]
# Both halves may be percent-encoded, three characters for one.
ScopeName = Annotated[str, Meta(min_length=1, max_length=1201)]
