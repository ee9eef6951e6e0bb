"""Health and metrics over HTTP."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from detector.service.http import HttpServer


async def ask(port: int, request: str) -> tuple[int, bytes]:
    status, _, body = await ask_whole(port, request)
    return status, body


async def ask_whole(port: int, request: str) -> tuple[int, int, bytes]:
    """Status, stated length, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    (length,) = (line[16:] for line in head.splitlines() if line.startswith(b"Content-Length: "))
    return int(head.split()[1]), int(length), body


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


async def test_who_asks_for_the_head_gets_no_body() -> None:
    """Its length and the status are those of GET; a body would be taken for the next answer."""
    made = server({"ready": False})
    port = await made.start("127.0.0.1", 0)
    try:
        for path, status in (("/metrics", 200), ("/readyz", 503), ("/secret", 404), ("/-/reload", 405)):
            found, length, body = await ask_whole(port, f"HEAD {path} HTTP/1.1\r\n\r\n")
            assert (found, body) == (status, b"")
            assert length == len((await ask(port, f"GET {path} HTTP/1.1\r\n\r\n"))[1])
    finally:
        await made.stop()


@pytest.mark.parametrize("size", [70_000, 300_000])
async def test_a_request_head_that_is_too_large_is_answered(size: int) -> None:
    """Whoever sends it is told why, rather than cut off."""
    made = server({"ready": True})
    port = await made.start("127.0.0.1", 0)
    try:
        assert (await ask(port, f"GET /metrics HTTP/1.1\r\nX: {'x' * size}\r\n\r\n"))[0] == 431
        assert (await ask(port, f"GET /metrics HTTP/1.1\r\nX: {'x' * size}"))[0] == 431
        assert (await ask(port, "GET /healthz HTTP/1.1\r\n\r\n"))[0] == 200
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
