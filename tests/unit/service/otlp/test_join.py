"""Verdicts meet their calls, in a memory that is bounded in number and in time."""

import random

import pytest

from detector.service.otlp.join import Join
from detector.service.otlp.logs import Call
from tests.otlp_builders import span_id, trace_id


def ids(number: int) -> bytes:
    return trace_id(number) + span_id(number)


def call(number: int) -> Call:
    return Call(route="chat", request_id=f"r-{number}", deployment="", ended=float(number))


def test_a_call_is_found_by_its_span_and_by_its_response() -> None:
    """By its span first."""
    join = Join[str]()
    join.remember(ids(1), call(1))

    assert join.find(ids(1), "") == join.find(b"", "r-1") == join.find(ids(9), "r-1") == call(1)
    assert join.find(ids(2), "r-2") is None


def test_a_judge_in_a_span_of_its_own_is_not_taken_for_the_call() -> None:
    """Where the response that it names is another one than that of its span, the response is meant."""
    join = Join[str]()
    join.remember(ids(1), call(1))
    join.remember(ids(2), call(2))

    assert join.find(ids(2), "r-1") == call(1)
    assert join.find(ids(2), "r-7") is None


def test_a_call_that_does_not_say_its_response_contradicts_nothing() -> None:
    """A verdict that names a span and a response is of that span, unless another call has that response."""
    join = Join[str]()
    join.wait(ids(1), "r-1", "early", 0.0)
    unsaid = Call("chat", ids(1).hex(), "", 1.0, answered=False)

    assert join.remember(ids(1), unsaid) == ["early"]
    assert join.find(ids(1), "r-1") == unsaid
    join.remember(ids(2), call(1))
    assert join.find(ids(1), "r-1") == call(1)


@pytest.mark.parametrize(("by_ids", "by_response"), [(ids(1), ""), (b"", "r-1"), (ids(1), "r-1")])
def test_what_waits_is_handed_back_once_when_its_call_comes(by_ids: bytes, by_response: str) -> None:
    """In the order in which it came, and not before, nor again."""
    join = Join[str]()
    join.wait(by_ids, by_response, "first", 0.0)
    join.wait(by_ids, by_response, "second", 0.0)

    assert join.remember(ids(2), call(2)) == []
    assert join.remember(ids(1), call(1)) == ["first", "second"]
    assert join.waiting == 0
    assert join.remember(ids(1), call(1)) == []
    assert join.expire(1e9) == []


def test_what_waits_for_another_response_goes_on_waiting() -> None:
    join = Join[str]()
    join.wait(ids(2), "r-1", "verdict", 0.0)

    assert join.remember(ids(2), call(2)) == []
    assert join.remember(ids(1), call(1)) == ["verdict"]


def test_what_waits_too_long_is_given_up() -> None:
    """At the end of the wait, not before; a call that comes later finds nothing."""
    join = Join[str](wait_s=60)
    join.wait(ids(1), "", "a", 0.0)
    join.wait(ids(2), "", "b", 1.0)

    assert join.expire(59.9) == []
    assert join.expire(60.0) == ["a"]
    assert join.remember(ids(1), call(1)) == []
    assert join.expire(61.0) == ["b"]
    assert join.waiting == 0


def test_too_many_that_wait_push_the_oldest_out() -> None:
    join = Join[int](most_waiting=2)

    given_up = [join.wait(ids(n), "", n, 0.0) for n in range(1, 5)]

    assert given_up == [[], [], [1], [2]]
    assert join.waiting == 2


def test_what_is_dropped_is_not_handed_back() -> None:
    """Whoever reads it again has it wait again."""
    join = Join[str]()
    join.wait(ids(1), "r-1", "gone", 0.0)
    join.wait(ids(1), "", "stays", 0.0)
    join.drop(lambda what: what == "gone")

    assert join.remember(ids(1), call(1)) == ["stays"]
    assert join.expire(1e9) == []


def test_the_oldest_call_is_forgotten_for_the_newest() -> None:
    """By both of its names, unless a newer call has taken one."""
    join = Join[str](most_calls=2)
    join.remember(ids(1), call(1))
    join.remember(ids(2), Call("chat", "r-1", "", 2.0))  # LiteLLM's cache gives an answer again, with its id
    join.remember(ids(3), call(3))

    assert join.calls == 2
    assert join.find(ids(1), "") is None
    assert join.find(b"", "r-1") == Call("chat", "r-1", "", 2.0)
    join.remember(ids(4), call(4))
    assert join.find(b"", "r-1") is None


def test_a_call_that_is_known_pushes_no_other_one_out() -> None:
    """However often it comes."""
    join = Join[str](most_calls=2)
    join.remember(ids(1), call(1))
    for _ in range(3):
        join.remember(ids(2), call(2))

    assert join.calls == 2
    assert join.knows(ids(1))
    assert not join.knows(ids(3))


def test_nothing_is_left_behind_whatever_comes() -> None:
    """After any mixture, each verdict was handed back once, and the memory holds what it may and no more."""
    draw = random.Random(7)
    join, back = Join[int](most_calls=20, most_waiting=10, wait_s=5), list[int]()
    put = 0
    for step in range(5000):
        number = draw.randrange(40)
        if draw.random() < 0.4:
            back += join.remember(ids(number), call(number))
        elif join.find(ids(number), f"r-{number}") is None:
            put += 1
            back += join.wait(ids(number), draw.choice(["", f"r-{number}"]), put, step / 10)
        back += join.expire(step / 10)
        assert join.calls <= 20
        assert join.waiting <= 10
    back += join.expire(1e9)

    assert sorted(back) == list(range(1, put + 1))
    assert (join.waiting, len(join._by_key), len(join._waiting)) == (0, 0, 0)
    assert len(join._by_ids) <= 20
    assert len(join._by_response) <= 20
