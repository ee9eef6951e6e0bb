"""As many records as a turn has time for, whatever single batches took."""

import pytest

from detector.service.portion import LEAST, MOST, Portion

TURN_S = 0.005


def judged(portion: Portion, records: int, us_per_record: float, fixed_us: float = 0.0) -> None:
    """Let so many be judged, in portions."""
    while records > 0:
        some = min(portion.size, records)
        portion.took(some, (some * us_per_record + fixed_us) / 1e6)
        records -= some


@pytest.mark.parametrize("us_per_record", [1, 20, 500])
def test_a_slow_contract_is_given_fewer_records_at_a_time(us_per_record: float) -> None:
    """As many as fit into the turn, or as few as there may be; many where it is fast."""
    portion = Portion(TURN_S)
    portion.took(MOST, MOST * us_per_record / 1e6)

    assert portion.size == pytest.approx(max(LEAST, min(MOST, 5000 / us_per_record)), abs=1)


def test_what_has_become_slow_is_noticed_and_what_has_become_fast() -> None:
    """Within some thousand records, whatever came before."""
    portion = Portion(TURN_S)
    judged(portion, 1_000_000, 2)
    judged(portion, 20_000, 50)
    assert 95 <= portion.size <= 105
    judged(portion, 20_000, 2)
    assert portion.size == MOST


def test_a_batch_in_which_the_machine_did_something_else_says_little() -> None:
    """Fewer at a time would be dearer each, for all that follow."""
    portion = Portion(TURN_S)
    judged(portion, 10_000, 4)
    portion.took(MOST, 0.020)

    assert portion.size > 0.8 * MOST


def test_lists_of_one_record_do_not_make_large_ones_small() -> None:
    """What a batch costs however small it is does not tell what a record costs."""
    portion = Portion(TURN_S)
    judged(portion, 5_000, 4)
    for _ in range(20):
        portion.took(1, 0.0005)

    assert portion.size > 0.5 * MOST


def test_no_time_at_all_is_borne() -> None:
    """A clock may stand still."""
    portion = Portion(TURN_S)
    portion.took(1, 0.0)

    assert portion.size == MOST
