"""`/healthz`, `/readyz`, `/metrics` and `POST /-/reload` over HTTP, on loopback unless told otherwise."""

import asyncio
import contextlib
import errno
import json
from collections.abc import Callable
from typing import Any

from detector.service.logs import logger

_TIMEOUT_S = 5.0
_PORTS_TRIED = 50
_READ_AWAY_BYTES = 1 << 20
_QUIET_S = 0.1  # a client that is silent for so long has sent what it wanted to
_TEXT = "text/plain; charset=utf-8"


class HttpServer:
    """A few lines of HTTP/1.1, so that the service's health does not hang on a framework's."""

    def __init__(
        self,
        *,
        ready: Callable[[], dict[str, Any]],
        metrics: Callable[[], bytes],
        reload: Callable[[], list[str]],
    ) -> None:
        """Args:
        ready: JSON-able, with `ready: bool`.
        metrics: the text of a scrape.
        reload: reads the contract again; what is wrong with it, one line each, or nothing.
        """
        self._ready = ready
        self._reload = reload
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; a taken port makes it the next free one. Returns the port.

        Raises:
            OSError: no port could be had.
        """
        for attempt in range(_PORTS_TRIED):
            wanted = port + attempt if port else 0
            try:
                self._server = await asyncio.start_server(self._serve, host, wanted)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or wanted + 1 > 65535 or attempt + 1 == _PORTS_TRIED:
                    raise
                continue
            self.port = self._server.sockets[0].getsockname()[1]
            if port and self.port != port:
                logger().warning("http_port_taken", wanted=port, port=self.port)
            logger().info("http_listening", host=host, port=self.port)
            return self.port
        raise OSError(errno.EADDRINUSE, f"no free port from {port} on")

    async def stop(self) -> None:
        """Stop to listen; a request in work is cut off."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            try:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _TIMEOUT_S)
            except asyncio.LimitOverrunError:
                method, answer = (
                    "",
                    ("431 Request Header Fields Too Large", _TEXT, b"send a smaller request\n"),
                )
                await _read_away(reader)
            else:
                method, _, rest = head.decode("latin-1").partition(" ")
                answer = self._answer(method, rest.partition(" ")[0].partition("?")[0])
            status, kind, body = answer
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            if method != "HEAD":  # it asks how long the body is, and takes one for the next answer
                writer.write(body)
            await asyncio.wait_for(writer.drain(), _TIMEOUT_S)
        writer.close()

    def _answer(self, method: str, path: str) -> tuple[str, str, bytes]:
        if method == "POST" and path == "/-/reload":
            if wrong := self._reload():
                return "422 Unprocessable Content", _TEXT, "".join(f"{line}\n" for line in wrong).encode()
            return "200 OK", _TEXT, b"reloading\n"
        if method not in ("GET", "HEAD") or path == "/-/reload":
            return "405 Method Not Allowed", _TEXT, b"GET, or POST /-/reload\n"
        if path == "/healthz":
            return "200 OK", _TEXT, b"ok\n"
        if path == "/readyz":
            state = self._ready()
            status = "200 OK" if state["ready"] else "503 Service Unavailable"
            return status, "application/json", json.dumps(state).encode() + b"\n"
        if path == "/metrics":
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", self._metrics()
        return "404 Not Found", _TEXT, b"/healthz, /readyz, /metrics, POST /-/reload\n"


async def _read_away(reader: asyncio.StreamReader) -> None:
    """Take what a client is still sending: closed with that unread, the connection would lose our answer."""
    left = _READ_AWAY_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TIMEOUT_S):
            while left > 0 and (piece := await asyncio.wait_for(reader.read(left), _QUIET_S)):
                left -= len(piece)
