"""A provider for OpenFeature: one flag a route, from memory; whoever asks flags can obey the detector.

    client = GatewayClient("kafka:9092", "gateway-1")  # started and stopped by whoever made it
    api.set_provider(DetectorProvider(client))
    flags = api.get_client()
    flags.get_boolean_value("llm.fallback.chat", False)  # is a fallback to answer this call?

The flag is asked once for each call, as what is needed: as a boolean whether a fallback is to answer, as a
string who is (`primary`, or the best fallback's name), as an object all of the decision. Each time counts
towards the share of probes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, ProviderNotReadyError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from detector.gateway.client import GatewayClient
from detector.gateway.decision import Decision
from topics.telemetry import PRIMARY

PREFIX = "llm.fallback."

T = TypeVar("T")
_Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]


class DetectorProvider(AbstractProvider):
    """Answers `llm.fallback.<route>`.

    Attributes `input_class` and `deployment` of the evaluation context are taken into account. Before the
    control topic has been read it is an error, and the caller's default stands: it should mean the primary.

    Args:
        client: follows the control topic; in its own event loop, which may be another thread's.
    """

    def __init__(self, client: GatewayClient) -> None:
        super().__init__()
        self._client = client

    def get_metadata(self) -> Metadata:
        """Its name."""
        return Metadata(name="llm-fallback-detector")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Whether a fallback is to answer."""
        decision = self._decide(flag_key, evaluation_context)
        return _details(not decision.use_primary, decision)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Who is to answer: `primary`, or the name of the best fallback."""
        decision = self._decide(flag_key, evaluation_context)
        # Of a deployment to keep off without a fallback the siblings are the primary.
        fallback = next(iter(decision.fallbacks), PRIMARY)
        return _details(PRIMARY if decision.use_primary else fallback, decision)

    def resolve_object_details(
        self, flag_key: str, default_value: _Object, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[_Object]:
        """All of the decision, see `detector.gateway.Decision`."""
        decision = self._decide(flag_key, evaluation_context)
        told: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(decision).items()
        }
        return _details(told, decision)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """No flag here is a number."""
        raise TypeMismatchError(f"{flag_key}: a boolean, a string or an object")

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """No flag here is a number."""
        raise TypeMismatchError(f"{flag_key}: a boolean, a string or an object")

    def _decide(self, flag_key: str, context: EvaluationContext | None) -> Decision:
        route = flag_key.removeprefix(PREFIX)
        if route == flag_key or not route:
            raise FlagNotFoundError(f"{flag_key}: expected {PREFIX}<route>")
        if not self._client.caught_up:
            raise ProviderNotReadyError("the control topic has not been read to its end yet")
        attributes = context.attributes if context is not None else {}
        named = (attributes.get(name) for name in ("input_class", "deployment"))
        input_class, deployment = (value if isinstance(value, str) else "" for value in named)
        return self._client.decide(route, input_class or "default", deployment)


def _details(value: T, decision: Decision) -> FlagResolutionDetails[T]:
    reason = Reason.TARGETING_MATCH if decision.state == "active" else Reason.STATIC
    variant = "probe" if decision.probe else PRIMARY if decision.use_primary else "fallback"
    told = {
        name: getattr(decision, name) for name in ("mode", "reason", "scope", "event_id", "probe_deployment")
    }
    return FlagResolutionDetails(
        value=value,
        reason=Reason.STALE if decision.stale else reason,
        variant=variant,
        flag_metadata={name: value for name, value in told.items() if value},
    )
