"""What an installation has judged calls of: for somebody who names a scope and may have mistyped it."""

from collections.abc import Iterable
from difflib import get_close_matches

from detector.service.inspect import see_that_there_is
from detector.service.kept import deployments_of
from detector.service.settings import Settings
from detector.service.snapshots import SnapshotReader
from detector.service.topics_admin import partition_count
from detector.windows.shares import MOST_DEPLOYMENTS
from topics.names import topics
from topics.partitioner import partition_for
from topics.scope import split_scope

_NEAR = 3


async def doubt(settings: Settings, scope: str) -> str | None:
    """What speaks against a scope, with the names most like it; None where calls of it were judged.

    A new route is known once its first snapshot is written, some seconds after its first call. Of a route
    whose calls name no deployments, or more than are told apart, nothing speaks against any.

    Raises:
        KafkaError: the broker cannot be reached.
        NothingHereError: it has no snapshots of this installation.
    """
    options, topic = settings.client_options(), topics(settings.topic_prefix).snapshots.name
    await see_that_there_is(settings, topic)
    route, deployment = split_scope(scope)
    number = await partition_count(options, topic) if not settings.embedded else settings.data_partitions
    home = partition_for(route.encode(), number)
    reader = SnapshotReader(options, topic)
    found = await reader.read([home])
    snapshot = found[home].routes.get(route.encode())
    if snapshot is None:
        found |= await reader.read(set(range(number)) - {home}) if number > 1 else {}
        names = near(route, (name.decode() for each in found.values() for name in each.routes))
        return f"no call of route {route!r} has been judged yet" + _like(names)
    known = deployments_of(snapshot)
    if not deployment or not known or deployment in known or len(known) >= MOST_DEPLOYMENTS:
        return None
    names = near(deployment, known) or sorted(known)[:_NEAR]
    return f"no call of deployment {deployment!r} of route {route!r} has been judged yet" + _like(names)


def _like(names: list[str]) -> str:
    return f"; near it: {', '.join(names)}" if names else ""


def near(route: str, known: Iterable[str]) -> list[str]:
    """Names most like a route's, whatever their case, best first."""
    names: dict[str, str] = {}
    for name in sorted(known):
        names.setdefault(name.casefold(), name)
    return [names[each] for each in get_close_matches(route.casefold(), names, n=_NEAR)]
