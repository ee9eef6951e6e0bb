"""Calls that fail by taking long: of those made together the good ones end first, and say nothing alone."""

import heapq

import numpy as np
import pytest

from detector.modes.probing import Probing
from detector.pipeline import Pipeline
from detector.predicates.probes import without_early
from tests.builders import ERRORS_AND_SLOWNESS, T0, record

PER_S, BEGINS, ENDS = 100, 100, 160


class Gateway:
    """Obeys; three of ten of the primary's calls hang for `hang_s` while the fault lasts.

    Attributes:
        told: acting decisions.
    """

    def __init__(self, hang_s, error):
        self.hang_s, self.error = hang_s, error
        self.pipeline = Pipeline(ERRORS_AND_SLOWNESS)
        self.told = []
        self.out = []
        self.draw = np.random.default_rng(1)
        self.share = None
        self.judged = 0

    def play(self, until, restored_at=None):
        for number in range(until * PER_S):
            at = number / PER_S
            self.judge(at)
            if at == restored_at:
                saved, self.pipeline = self.pipeline.snapshot("chat"), Pipeline(ERRORS_AND_SLOWNESS)
                self.pipeline.restore(saved)
            self.begin(at, number)
        return self

    def begin(self, at, number):
        probe = self.share is not None
        if probe and self.draw.random() >= self.share:
            call = record(at + 0.02, latency_s=0.02, served_by="rule")
        else:
            hangs = BEGINS <= at < ENDS and self.draw.random() < 0.3
            took = self.hang_s if hangs else 0.1
            call = record(at + took, latency_s=took, probe=probe, error=self.error if hangs else "")
        heapq.heappush(self.out, (call.event_time, number, call))

    def judge(self, at):
        while self.out and self.out[0][0] <= T0 + at:
            ended, _, call = heapq.heappop(self.out)
            for each in self.pipeline.step([call], [self.judged], [ended]):
                if each.disposition == "act":
                    self.told.append(each)
                    self.share = each.primary_share if each.state == "active" else None
            self.judged += 1


@pytest.mark.parametrize("error", ["timeout", ""])
@pytest.mark.parametrize("hang_s", [4.0, 8.0, 10.0])
def test_a_primary_on_which_calls_hang_is_not_returned_to(hang_s, error):
    """The probes that hang are still out when hundreds of good ones have ended."""
    told = Gateway(hang_s, error).play(ENDS + 60).told

    assert [each.kind for each in told if each.kind in ("activated", "deactivated")] == [
        "activated",
        "deactivated",
    ]
    back = next(each for each in told if each.primary_share == 0.1)
    assert back.at - T0 > ENDS
    or_more = " or more" if hang_s == 10 else ""
    said = f"evidence_limited: as bad calls take {hang_s:.0f} s{or_more} a recovery"
    assert (said in told[0].reason) == (hang_s > 4)


def test_once_it_is_over_nobody_speaks_of_it():
    """A drift that comes later waits for nothing."""
    gateway = Gateway(8.0, "").play(ENDS + 60)
    probing = gateway.pipeline._routes["chat"].probing

    assert gateway.told[-1].kind == "deactivated"
    assert probing.bad_take_s == 0.0


def test_a_worker_that_takes_over_waits_as_well():
    assert Gateway(8.0, "").play(ENDS + 60, restored_at=111.0).told == Gateway(8.0, "").play(ENDS + 60).told


def test_calls_that_fail_at_once_are_not_waited_for():
    """Ten seconds after its recovery the primary has its calls back."""
    told = Gateway(0.05, "refused").play(ENDS + 30).told

    assert next(each for each in told if each.primary_share == 0.1).at - T0 < ENDS + 10
    assert "evidence_limited" not in told[0].reason


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        ([3.0, 5.0, 9.0], 5.0),
        ([3.0, 5.0], 5.0),
        ([None, 4.0], 4.0),
        ([None], 0.0),
        ([], 0.0),
        ([900.0], 10.0),  # when an attempt to revert is due
        ([30.0, 30.0, 1.0, 1.0, 2.0, 1.0, 1.0], 1.0),
    ],
)
def test_how_long_bad_calls_take_is_the_median_of_the_last_ones(took, expected):
    probing = Probing(ERRORS_AND_SLOWNESS, "chat", {})
    for each in took:
        probing.note_bad([each])
    probing.found_bad()

    assert probing.bad_take_s == expected


def test_of_what_ends_early_only_the_bad_counts():
    assert without_early([0, 2, 3, 5], [1, 3], [True, True, True, True, False, False]) == ([2, 5], [0, 1])
