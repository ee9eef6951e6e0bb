"""What an owner takes for its own words."""

from math import nan

import pytest
from msgspec.structs import replace

from detector.service.echoes import Echoes
from topics.codec import encode
from topics.control import ControlRecord, Evidence, decode_control

SAID = ControlRecord(
    scope="r",
    route="r",
    partition=3,
    state="active",
    epoch=7,
    revision=2,
    issued_at=1_800_000_000.0,
    evidence=Evidence(value=0.25, detail={"count": 12.0}),
)


@pytest.mark.parametrize(
    "said",
    [
        SAID,
        replace(SAID, lease_s=15, evidence=Evidence(detail={"count": 12})),
        replace(SAID, evidence=Evidence(value=nan)),
    ],
    ids=["as it is", "whole numbers", "not a number"],
)
def test_what_the_wire_makes_of_a_record_is_still_the_owners(said: ControlRecord) -> None:
    """Else it would be answered, and so would the answer."""
    read = decode_control(encode(said))

    assert Echoes().is_own(read, partition=3, epoch=7, published=said)


@pytest.mark.parametrize(
    "changed", [{"state": "inactive"}, {"reason": "mine"}, {"partition": 2}, {"epoch": 6}, {"revision": 3}]
)
def test_a_copy_with_one_thing_changed_is_not(changed: dict[str, object]) -> None:
    """Whoever may write knows the numbers."""
    assert not Echoes().is_own(replace(SAID, **changed), partition=3, epoch=7, published=SAID)
