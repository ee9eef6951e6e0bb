"""Which names are like one that nobody knows."""

import pytest

from detector.service.known import near

KNOWN = ("chat", "chat-eu", "chat-us", "GPT-4o", "summaries")


@pytest.mark.parametrize(
    ("route", "first"), [("chta", "chat"), ("CHAT", "chat"), ("chat-euu", "chat-eu"), ("gpt4o", "GPT-4o")]
)
def test_the_name_most_like_it_comes_first(route, first):
    """A slip, another case, a letter too many, a sign left out."""
    assert near(route, KNOWN)[0] == first


def test_what_is_like_none_has_no_neighbours():
    assert near("embeddings", KNOWN) == []


def test_of_many_that_are_alike_a_few_are_named():
    assert len(near("route-1", (f"route-{number}" for number in range(100)))) == 3
