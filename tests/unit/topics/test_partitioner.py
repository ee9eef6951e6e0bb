"""Keys go to the partitions that Java's client would choose."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from topics.partitioner import murmur2, partition_for


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_equals_the_vectors_of_kafkas_own_test(key, expected):
    """The hash of each key in Apache Kafka's unit test is the one printed there."""
    found = murmur2(key.encode())

    assert found - (1 << 32 if found >= 1 << 31 else 0) == expected


@given(key=st.binary(min_size=1, max_size=64), partitions=st.integers(1, 1000))
def test_the_partition_is_the_one_that_aiokafka_chooses(key, partitions):
    """For any key and any number of partitions both clients agree."""
    everywhere = list(range(partitions))

    assert partition_for(key, partitions) == DefaultPartitioner()(key, everywhere, everywhere)
