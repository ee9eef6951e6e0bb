"""The embedded broker's own process: prints its bootstrap address, serves until stdin closes."""

import ctypes
import glob
import json
import os
import sys
from collections.abc import Iterator

# A cluster that waits for more members before its first rebalance makes a demo wait for nothing.
_INITIAL_REBALANCE_MS = 100
_PRODUCER = 0  # rd_kafka_type_t


def _libraries() -> Iterator[str]:
    """Where the wheel's librdkafka may be reached: through the extension linked to it, then by name."""
    import confluent_kafka.cimpl

    yield confluent_kafka.cimpl.__file__
    package = os.path.dirname(confluent_kafka.__file__)
    yield from glob.glob(os.path.join(os.path.dirname(package), "confluent_kafka.libs", "librdkafka*"))
    yield from glob.glob(os.path.join(package, ".dylibs", "librdkafka*"))


def _load() -> ctypes.CDLL:
    for path in _libraries():
        try:
            library = ctypes.CDLL(path)
            library.rd_kafka_mock_cluster_new  # noqa: B018  # looked up now, so that the next candidate gets its turn
        except (OSError, AttributeError):
            continue
        return library
    raise SystemExit("no librdkafka with a mock cluster in the confluent-kafka package")


class MockCluster:
    """One broker of librdkafka's mock cluster in this process, on 127.0.0.1 and a free port."""

    def __init__(self) -> None:
        lib = self._lib = _load()
        lib.rd_kafka_conf_new.restype = ctypes.c_void_p
        lib.rd_kafka_new.restype = ctypes.c_void_p
        lib.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        lib.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        lib.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        lib.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
        lib.rd_kafka_mock_topic_create.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_int,
        ]
        lib.rd_kafka_mock_group_initial_rebalance_delay_ms.argtypes = [ctypes.c_void_p, ctypes.c_int32]

        reason = ctypes.create_string_buffer(512)
        client = lib.rd_kafka_new(_PRODUCER, lib.rd_kafka_conf_new(), reason, len(reason))
        if not client:
            raise SystemExit(f"librdkafka: {reason.value.decode()}")
        self._cluster = lib.rd_kafka_mock_cluster_new(client, 1)
        if not self._cluster:
            raise SystemExit("librdkafka: no mock cluster; is loopback open?")
        lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, _INITIAL_REBALANCE_MS)

    @property
    def bootstrap(self) -> str:
        """host:port"""
        return str(self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic; a name that exists already is an error."""
        # librdkafka takes a topic without partitions, on which every producer then waits for ever.
        if partitions < 1:
            raise SystemExit(f"topic {name!r} x {partitions} refused: it needs a partition")
        if error := self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1):
            raise SystemExit(
                f"librdkafka: topic {name!r} with {partitions} partitions refused, error {error}"
            )


def main() -> None:
    """Serve the topics of the first argument (a JSON object of partition counts)."""
    cluster = MockCluster()
    for name, partitions in json.loads(sys.argv[1]).items():
        cluster.create_topic(name, partitions)
    sys.stdout.write(cluster.bootstrap + "\n")
    sys.stdout.flush()
    while sys.stdin.readline():
        pass
    # The cluster's own threads are in C and have nothing to save.
    os._exit(0)


if __name__ == "__main__":
    main()
