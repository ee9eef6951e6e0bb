"""The next fetch gathers where records come briskly and few at a time, and nowhere else."""

import pytest

from detector.service.pacing import FEW, WHATEVER, next_ask


@pytest.mark.parametrize(
    ("count", "elapsed_s"),
    [(0, 0.05), (0, 1.0), (1, 0.1), (3, 0.01), (FEW, 0.005), (5000, 0.02)],
    ids=["nothing", "nothing for long", "sparse", "three hundred a second", "many", "a backlog"],
)
def test_whatever_is_there(count: int, elapsed_s: float) -> None:
    """At once: a call a second must not wait, and a backlog needs no gathering."""
    assert next_ask(count, elapsed_s, 0) == WHATEVER
    assert WHATEVER.min_bytes == 1


def test_some_are_gathered_for_a_few_milliseconds() -> None:
    """20,000 a second, in fetches of a millisecond each or of five."""
    for count, elapsed_s in ((20, 0.001), (100, 0.005)):
        ask = next_ask(count, elapsed_s, 0)
        assert ask.min_bytes > 1
        assert ask.wait_ms <= 5
        assert ask.timeout_s < WHATEVER.timeout_s


def test_a_busy_loop_is_disturbed_less_often() -> None:
    """What lies there has to be judged first."""
    assert next_ask(100, 0.005, FEW).wait_ms > next_ask(100, 0.005, 0).wait_ms
