"""LiteLLM's hooks: before a call, before a deployment is chosen, after the answer, and when it is logged.

No hook waits for Kafka, and none lets an error out: what cannot be decided goes to the primary. Only while
the control topic is read for the first time calls wait for that, five seconds at most after the start, or the
first ones behind a restart would go to a primary that is known to fail.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Container, Mapping
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from detector.gateway.adapters.litellm.record import record_of
from detector.gateway.adapters.litellm.steering import DECIDED, allowed, course_of, forget, note_in, steer
from detector.gateway.client import GatewayClient
from detector.gateway.options import Security
from detector.gateway.telemetry import TelemetrySender
from topics.types import LONGEST_NAME

logger = logging.getLogger("detector.gateway")

_CLASS = "input_class"
_REFUSED = "litellm_no_upstream_llm_call"  # by LiteLLM itself: a key over its limits, a guardrail


class DetectorHandler(CustomLogger):  # type: ignore[misc]  # LiteLLM is not installed where types are checked
    """Obeys the detector inside LiteLLM's proxy.

    Args:
        client: makes the client that follows the control topic, one for each event loop.
        sender: makes what sends telemetry, likewise.
        groups: the model groups that the proxy has now.
    """

    def __init__(
        self,
        client: Callable[[], GatewayClient],
        sender: Callable[[], TelemetrySender],
        groups: Container[str],
    ) -> None:
        super().__init__()
        self._make_client, self._make_sender, self._groups = client, sender, groups
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Future[None] | None = None
        self._client: GatewayClient | None = None
        self._sender: TelemetrySender | None = None
        self._missing: set[str] = set()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            logger.info("no event loop yet: the control topic is followed from the first call on")
        else:
            # The proxy reads its configuration inside its loop: followed from there on, the first call obeys.
            self._begin(loop)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Send the call where the detector says."""
        try:
            forget(data)
            client, route = await self._caught_up(), data.get("model")
            if client is not None and call_type in DECIDED and self._is_route(route):
                self._steer(client, data, str(route), _class_of(data, user_api_key_dict), call_type)
        except Exception:
            logger.exception("no decision about a call: it goes to the primary")
        return data

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[dict[str, Any]],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[dict[str, Any]]:
        """Leave out the deployments to avoid, never all of them; a probe goes to the one that it is for."""
        try:
            ids = [str(each["model_info"]["id"]) for each in healthy_deployments]
            well = allowed(note_in(request_kwargs or {}), ids)
            return [each for each, name in zip(healthy_deployments, ids, strict=True) if name in well]
        except Exception:
            logger.exception("deployments are not told apart")
            return healthy_deployments

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any, **_: Any
    ) -> dict[str, str] | None:
        """Tell the caller what the detector had to say about the call."""
        note = note_in(data)
        if note is None or not note.get("course"):
            return None
        said = {name: note.get(name.replace("-", "_")) for name in ("course", "scope", "mode", "event-id")}
        # The note may be a caller's own, where LiteLLM asks no hook before a call.
        return {f"x-detector-{name}": str(text) for name, text in said.items() if _is_plain(text)}

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Report a call that was answered."""
        self._report(kwargs)

    async def async_log_failure_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Report a call of which an attempt failed; of several LiteLLM logs the first."""
        if not kwargs.get(_REFUSED):
            self._report(kwargs)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._client, self._sender = loop, self._make_client(), self._make_sender()
        self._starting = loop.create_task(self._start(self._client, self._sender))

    async def _start(self, client: GatewayClient, sender: TelemetrySender) -> None:
        try:
            await sender.start()
            await client.start()
        except Exception:
            logger.exception("the control topic is not followed: all calls go to the primary")

    async def _caught_up(self) -> GatewayClient | None:
        """The client, once it has read what there is, or once the time for that is over."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._begin(loop)
        if self._starting is not None:
            if not self._starting.done():
                await asyncio.wait({self._starting})
            self._starting = None
        return self._client

    def _is_route(self, model: Any) -> bool:
        """Whether it is one group's name: LiteLLM takes a list with commas, too."""
        return (
            isinstance(model, str)
            and 0 < len(model) <= LONGEST_NAME
            and ("," not in model or model in self._groups)
        )

    def _steer(
        self, client: GatewayClient, data: dict[str, Any], route: str, input_class: str, call_type: str
    ) -> None:
        decision = client.decide(route, input_class)
        course = course_of(decision, route, input_class, call_type, self._groups)
        steer(data, course)
        for name in set(decision.fallbacks) - set(course.names.values()) - self._missing:
            self._missing.add(name)
            logger.warning(
                "no model group %r or %r: this proxy leaves the fallback out", f"{route}/{name}", name
            )

    def _report(self, kwargs: Mapping[str, Any]) -> None:
        try:
            payload = kwargs.get("standard_logging_object")
            if self._sender is None or not isinstance(payload, Mapping):
                return
            record = record_of(payload, note_in(kwargs.get("litellm_params") or {}))
            if record is not None:
                self._sender.report(record)
        except Exception:
            logger.exception("a call is not reported")


def _is_plain(text: Any) -> bool:
    return isinstance(text, str) and bool(text) and text.isascii() and text.isprintable()


def _class_of(data: dict[str, Any], key: Any) -> str:
    """The input class that the key has, else its team, else the one that the request's metadata name."""
    known = (getattr(key, "metadata", None), getattr(key, "team_metadata", None), data.get("metadata"))
    for metadata in known:
        named = metadata.get(_CLASS) if isinstance(metadata, Mapping) else None
        if isinstance(named, str) and named:
            return named[:LONGEST_NAME]
    return "default"


class _OfTheProxy:
    """The model groups of the proxy that this process is."""

    def __contains__(self, name: object) -> bool:
        from litellm.proxy import proxy_server  # is being imported while it reads the configuration

        router = proxy_server.llm_router
        return router is not None and bool(router.is_recognized_model(name))


def from_environment(environ: Mapping[str, str]) -> DetectorHandler:
    """The handler as `DETECTOR_*` sets it up.

    Raises:
        ValueError: no broker is named, or something that cannot be used is.
    """
    bootstrap = environ.get("DETECTOR_BOOTSTRAP", "")
    if not bootstrap:
        raise ValueError("DETECTOR_BOOTSTRAP: expected Kafka's host:port in the environment of the proxy")
    prefix = environ.get("DETECTOR_TOPIC_PREFIX", "")
    options = Security.from_environment(environ).client_options()
    # One proxy may be several processes on several hosts: each acknowledges and counts its probes by itself.
    given, process = environ.get("DETECTOR_GATEWAY_ID", ""), f"{socket.gethostname()}/{os.getpid()}"
    name = f"{given}/{process}".strip("/")[-LONGEST_NAME:]
    return DetectorHandler(
        lambda: GatewayClient(bootstrap, name, topic_prefix=prefix, client_options=options),
        lambda: TelemetrySender(bootstrap, topic_prefix=prefix, client_options=options),
        _OfTheProxy(),
    )
