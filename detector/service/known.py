"""Which routes an installation has judged calls of: for somebody who names one and may have mistyped it."""

from collections.abc import Iterable
from difflib import get_close_matches

from detector.service.settings import Settings
from detector.service.snapshots import SnapshotReader
from detector.service.topics_admin import partition_count
from topics.names import topics
from topics.partitioner import partition_for

_NEAR = 3


async def near_names(settings: Settings, route: str) -> list[str] | None:
    """None where calls of the route were judged; else the names most like it, perhaps none.

    A new route is known once its first snapshot is written, some seconds after its first call.

    Raises:
        KafkaError: the broker cannot be reached.
    """
    options, topic = settings.client_options(), topics(settings.topic_prefix).snapshots.name
    number = await partition_count(options, topic) if not settings.embedded else settings.data_partitions
    home = partition_for(route.encode(), number)
    reader = SnapshotReader(options, topic)
    found = await reader.read([home])
    if route.encode() in found[home].routes:
        return None
    found |= await reader.read(set(range(number)) - {home}) if number > 1 else {}
    return near(route, (name.decode() for each in found.values() for name in each.routes))


def near(route: str, known: Iterable[str]) -> list[str]:
    """Names most like a route's, whatever their case, best first."""
    names: dict[str, str] = {}
    for name in sorted(known):
        names.setdefault(name.casefold(), name)
    return [names[each] for each in get_close_matches(route.casefold(), names, n=_NEAR)]
