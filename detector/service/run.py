"""What `detector run` does once its settings and contract are read."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from detector.contract.model import Contract
from detector.embedded.broker import EmbeddedBroker
from detector.service.app import serve
from detector.service.logs import logger
from detector.service.settings import Settings
from topics.names import topics


def run(
    settings: Settings, contract: Contract, *, reread: Callable[[], Contract], own_broker: bool = True
) -> int:
    """Run the service until a signal; the embedded broker, where asked for, lives and ends with it.

    Args:
        settings: where to connect.
        contract: what to judge by.
        reread: the contract as it is when a reload is asked for; raises ContractError and OSError.
        own_broker: with `settings.embedded`: start the broker, rather than join one that runs already.

    Returns:
        0 after a signal, 1 if it cannot go on.
    """
    with ExitStack() as stack:
        if settings.embedded and own_broker:
            declared = topics(settings.topic_prefix).all()
            wanted = {topic.name: topic.partitions or settings.data_partitions for topic in declared}
            broker = stack.enter_context(EmbeddedBroker(wanted))
            settings = replace(settings, bootstrap=broker.bootstrap)
            logger().info("embedded_broker", bootstrap=broker.bootstrap)
        return serve(settings, contract, reread)
