"""Health and metrics over HTTP."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from detector.service.http import HttpServer


async def ask(port: int, request: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def server(ready: dict[str, Any], reload: Callable[[], list[str]] = list) -> HttpServer:
    return HttpServer(ready=lambda: ready, metrics=lambda: b"detector_x 1\n", reload=reload)


async def test_readiness_is_in_the_status_and_what_is_missing_in_the_body() -> None:
    """A load balancer reads the status, a person the body."""
    state: dict[str, Any] = {"ready": False, "missing": ["partition 3: claim"]}
    made = server(state)
    port = await made.start("127.0.0.1", 0)
    try:
        status, body = await ask(port, "GET /readyz HTTP/1.1\r\n\r\n")
        assert (status, json.loads(body)) == (503, state)
        state["ready"] = True
        assert (await ask(port, "GET /readyz?verbose HTTP/1.1\r\n\r\n"))[0] == 200
    finally:
        await made.stop()


async def test_a_taken_port_makes_it_the_next_free_one() -> None:
    """A second worker on a machine starts all the same."""
    first, second = server({"ready": True}), server({"ready": True})
    port = await first.start("127.0.0.1", 0)
    try:
        assert await second.start("127.0.0.1", port) > port
    finally:
        await first.stop()
        await second.stop()


async def test_anything_else_is_refused() -> None:
    """Only GET, only the three paths; a client that sends garbage hurts nobody."""
    made = server({"ready": True})
    port = await made.start("127.0.0.1", 0)
    try:
        assert (await ask(port, "POST /healthz HTTP/1.1\r\n\r\n"))[0] == 405
        assert (await ask(port, "GET /secret HTTP/1.1\r\n\r\n"))[0] == 404
        assert (await ask(port, "\r\n\r\n"))[0] == 405
        assert await ask(port, "GET /metrics HTTP/1.1\r\n\r\n") == (200, b"detector_x 1\n")
        assert await ask(port, "GET /healthz HTTP/1.1\r\n\r\n") == (200, b"ok\n")
    finally:
        await made.stop()


async def test_a_reload_is_asked_for_by_post_and_says_what_is_wrong() -> None:
    """A contract that cannot run is refused with its findings; to look at the path reloads nothing."""
    asked: list[list[str]] = []

    def reload() -> list[str]:
        asked.append([] if not asked else ["contract.yaml:3:1 unknown-key"])
        return asked[-1]

    made = server({"ready": True}, reload)
    port = await made.start("127.0.0.1", 0)
    try:
        assert (await ask(port, "GET /-/reload HTTP/1.1\r\n\r\n"))[0] == 405
        assert not asked
        assert (await ask(port, "POST /-/reload HTTP/1.1\r\n\r\n"))[0] == 200
        assert await ask(port, "POST /-/reload HTTP/1.1\r\n\r\n") == (422, b"contract.yaml:3:1 unknown-key\n")
    finally:
        await made.stop()
