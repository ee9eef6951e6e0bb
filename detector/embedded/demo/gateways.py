"""The demo's gateways: the client that any gateway embeds, asked before each call."""

from detector.embedded.demo.watch import FETCH_WAIT_MS
from detector.gateway import GatewayClient
from topics.telemetry import PRIMARY


class DemoGateway:
    """A gateway that obeys, and acknowledges what it has applied.

    Args:
        name: the gateway's id on `detector.acks`.
        bootstrap: the embedded broker.
        fallbacks: names of the fallbacks that it has.
    """

    def __init__(self, name: str, bootstrap: str, fallbacks: frozenset[str]) -> None:
        self._client = GatewayClient(
            bootstrap,
            name,
            client_options={"fetch_max_wait_ms": FETCH_WAIT_MS},
            known_fallbacks=fallbacks,
        )

    async def start(self) -> None:
        """Read the control topic to its end, and on."""
        await self._client.start()

    async def stop(self) -> None:
        """Stop following."""
        await self._client.stop()

    def choose(self, route: str, input_class: str) -> tuple[str, bool]:
        """Say who serves the next call, and whether it probes the primary."""
        decision = self._client.decide(route, input_class)
        if decision.state == "inactive" or decision.probe or not decision.fallbacks:
            return PRIMARY, decision.probe
        return decision.fallbacks[0], False
