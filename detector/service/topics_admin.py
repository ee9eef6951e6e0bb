"""Topics at the start: missing ones are made as declared, existing ones are held against the declaration."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IncompatibleBrokerVersion,
    InvalidTopicError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    for_code,
)

from detector.service.logs import logger
from topics.names import Topic, Topics

_DEFAULT_MESSAGE_BYTES = 1024 * 1024
_UNTOLD = 3  # copies: a cluster that hides its settings is no laptop
_RECORD_OVERHEAD_BYTES = 512  # batch and record framing beside key, value and headers


class TopicMismatchError(ValueError):
    """An existing topic contradicts its declaration; the message names the topic and the setting."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the service needs to know of the topics.

    Attributes:
        partitions: of `llm.telemetry`.
        deadletter_bytes: what one dead letter may take, key, value and headers together.
    """

    partitions: int
    deadletter_bytes: int


def mismatches(
    topic: Topic, wanted_partitions: int, partitions: int, settings: Mapping[str, str]
) -> list[str]:
    """Say in one sentence each where an existing topic contradicts its declaration. Pure."""
    found = []
    if partitions != wanted_partitions:
        advice = "make the topic anew"
        if partitions < wanted_partitions:
            advice = f"kafka-topics.sh --alter --topic {topic.name} --partitions {wanted_partitions}"
        found.append(f"topic {topic.name}: {partitions} partitions, expected {wanted_partitions}; {advice}")
    for name, wanted in topic.settings.items():
        present = settings.get(name)
        if present is not None and not _same(name, present, wanted):
            found.append(
                f"topic {topic.name}: {name} is {present}, expected {wanted}; "
                f"set it with kafka-configs.sh --alter --topic {topic.name} --add-config {name}={wanted}"
            )
    return found


def _same(name: str, present: str, wanted: str) -> bool:
    """Whether a setting is as declared; to keep records longer contradicts nothing."""
    if name == "cleanup.policy":
        return {item.strip() for item in present.split(",")} == {wanted}
    try:
        if name == "retention.ms":
            return float(present) < 0 or float(present) >= float(wanted) > 0
        return float(present) == float(wanted)
    except ValueError:
        return present == wanted


async def prepare(options: dict[str, Any], declared: Topics, *, data_partitions: int) -> Cluster:
    """Make what is missing and check what is there.

    Raises:
        TopicMismatchError: an existing topic contradicts the declaration.
        KafkaError: the broker cannot be reached or refuses.
    """
    admin = AIOKafkaAdminClient(**options, client_id="detector-admin", request_timeout_ms=10_000)
    try:
        await admin.start()
        present = {item["topic"]: len(item["partitions"]) for item in await admin.describe_topics()}
        telemetry = present.get(declared.telemetry.name, data_partitions)
        wanted = {topic.name: topic.partitions or telemetry for topic in declared.all()}
        missing = [topic for topic in declared.all() if topic.name not in present]
        if missing:
            replication = await _default_replication(admin)
            await _create(admin, missing, wanted, replication)
        own = declared.snapshots.name  # nobody else writes it: it may grow with the telemetry
        if present.get(own, wanted[own]) < wanted[own]:
            await admin.create_partitions({own: NewPartitions(wanted[own])})
            logger().warning("topic_grown", topic=own, before=present[own], now=wanted[own])
            present[own] = wanted[own]
        settings = await _settings(admin, [topic.name for topic in declared.all()])
        found = [
            sentence
            for topic in declared.all()
            if topic.name in present
            for sentence in mismatches(
                topic, wanted[topic.name], present[topic.name], settings.get(topic.name, {})
            )
        ]
        if found:
            raise TopicMismatchError("\n".join(found))
        return Cluster(telemetry, _record_bytes(settings.get(declared.deadletter.name, {})))
    finally:
        await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, missing: list[Topic], wanted: Mapping[str, int], replication: int
) -> None:
    response = await admin.create_topics(
        [
            NewTopic(topic.name, wanted[topic.name], replication, topic_configs=topic.settings)
            for topic in missing
        ]
    )
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another worker was quicker: its topic is ours
            raise error(f"topic {name} could not be made: {message}")
        if not code:
            logger().info("topic_made", topic=name, partitions=wanted[name], replication=replication)


async def _default_replication(admin: AIOKafkaAdminClient) -> int:
    """The broker's own default; asked for, since the client's request predates "whatever the default is"."""
    brokers = (await admin.describe_cluster())["brokers"]
    node = str(brokers[0]["node_id"])
    found = await _configs(admin, ConfigResource(ConfigResourceType.BROKER, node))
    return copies(found.get(node), len(brokers))


def copies(settings: Mapping[str, str] | None, brokers: int) -> int:
    """How many copies of a topic a cluster is to keep.

    Args:
        settings: of one of its brokers; None: we may not see them.
        brokers: how many there are.
    """
    if settings is None:
        return min(_UNTOLD, brokers)
    return min(int(settings.get("default.replication.factor") or 1), brokers)


async def _settings(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    return await _configs(admin, *(ConfigResource(ConfigResourceType.TOPIC, name) for name in names))


async def _configs(admin: AIOKafkaAdminClient, *resources: ConfigResource) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(list(resources)):
        for code, message, _, name, entries in response.resources:
            if code:
                # Not allowed to look: what cannot be checked does not stop the start.
                logger().warning(
                    "settings_unreadable", resource=name, error=message or for_code(code).__name__
                )
                continue
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def partition_count(options: dict[str, Any], topic: str) -> int:
    """Ask how many partitions a topic has now; 0 where it does not exist.

    Raises:
        KafkaError: the broker cannot be reached.
    """
    admin = AIOKafkaAdminClient(**options, client_id="detector-admin", request_timeout_ms=10_000)
    try:
        await admin.start()
        found = await admin.describe_topics([topic])
        return next((len(item["partitions"]) for item in found if not item["error_code"]), 0)
    finally:
        await admin.close()


def _record_bytes(settings: Mapping[str, str]) -> int:
    limit = settings.get("max.message.bytes")
    return int(limit or _DEFAULT_MESSAGE_BYTES) - _RECORD_OVERHEAD_BYTES


async def record_bytes(options: dict[str, Any], topic: str) -> int:
    """What a record of a topic may take, key, value and headers together; where it is not told, by default.

    Raises:
        KafkaError: the broker cannot be reached.
    """
    admin = AIOKafkaAdminClient(**options, client_id="detector-admin", request_timeout_ms=10_000)
    try:
        await admin.start()
        return _record_bytes((await _settings(admin, [topic])).get(topic, {}))
    except IncompatibleBrokerVersion:
        return _record_bytes({})
    finally:
        await admin.close()


async def topic_names(options: dict[str, Any]) -> set[str]:
    """All topics that there are.

    Raises:
        KafkaError: the broker cannot be reached.
    """
    admin = AIOKafkaAdminClient(**options, client_id="detector-admin", request_timeout_ms=10_000)
    try:
        await admin.start()
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def refusal(options: dict[str, Any]) -> str | None:
    """Why the brokers will never let us in, None if they may: a client hides that behind "unreachable"."""
    others = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    for address in options["bootstrap_servers"]:
        host, _, port = address.rpartition(":")
        try:
            connection = await create_conn(host.strip("[]"), int(port), request_timeout_ms=5_000, **others)
        except (SaslAuthenticationFailed, AuthenticationFailedError) as error:
            return f"{address} refuses the credentials: {error}"
        except (KafkaError, OSError, ValueError, TimeoutError):
            continue
        connection.close()
        return None
    return None


def is_fatal(error: BaseException) -> bool:
    """Whether trying again cannot help: we or a name are refused, or a topic contradicts its declaration."""
    if isinstance(error, (TopicMismatchError, InvalidTopicError)):
        return True
    return isinstance(error, KafkaError) and not error.retriable and "Authorization" in type(error).__name__


def advice(error: BaseException) -> str:
    """What to do about an error that tells too little by itself; empty where it tells enough."""
    if isinstance(error, IncompatibleBrokerVersion):
        return (
            "the broker cannot tell the settings of topics; if it is an embedded one, join it with --embedded"
        )
    return ""
