"""An offset is committed when all that was made of its message, and of those before it, is acknowledged."""

from detector.service.otlp.progress import Progress

A, B = ("otlp_spans", 0), ("otlp_spans", 1)


def test_offsets_are_covered_in_order_and_told_once() -> None:
    """A message is covered with its last record, never before the messages in front of it."""
    progress = Progress()
    for offset, number in ((5, 10), (6, 0), (7, 12), (8, 11)):
        progress.take(A, offset).number = number

    assert progress.covered(9) == {}
    assert progress.covered(10) == {A: 7}
    assert progress.covered(10) == {}
    assert progress.covered(11) == {}
    assert progress.covered(12) == {A: 9}


def test_a_message_whose_verdicts_wait_is_not_covered() -> None:
    """However much of it is acknowledged; other partitions go on."""
    progress = Progress()
    held = progress.take(A, 0)
    held.held = 2
    progress.take(A, 1)
    progress.take(B, 4)

    assert progress.covered(100) == {B: 5}
    held.held = 1
    assert progress.covered(100) == {}
    held.held, held.number = 0, 101
    assert progress.covered(100) == {}
    assert progress.covered(101) == {A: 2}


def test_what_is_somebody_elses_is_not_committed() -> None:
    progress = Progress()
    progress.take(A, 0)
    progress.take(B, 0)
    progress.drop([A])

    assert progress.covered(100) == {B: 1}
