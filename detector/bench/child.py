"""A process of the bench's own: told what to do on stdin, ended by the end of it, answering line by line.

What it is told may hold a password, so it does not go onto the command line.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from detector.bench.place import BenchError
from detector.service.settings import Settings

_STOP_S = 15.0


class Child:
    """The parent's end.

    Args:
        module: what to run; its main begins with `told`.
        document: JSON-able; what it is told.
    """

    def __init__(self, module: str, settings: Settings, **document: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._module = module
        assert self._process.stdin is not None  # as asked for
        self._process.stdin.write(json.dumps({"settings": asdict(settings)} | document).encode() + b"\n")
        self._process.stdin.flush()

    async def line(self) -> Any:
        """The next line that it says, as JSON.

        Raises:
            BenchError: it ended without one.
        """
        assert self._process.stdout is not None  # as asked for
        said = await asyncio.to_thread(self._process.stdout.readline)
        if not said:
            raise BenchError(f"{self._module} ended without a word")
        return json.loads(said)

    async def end(self) -> Any:
        """Tell it to end; what it says to that, as JSON."""
        assert self._process.stdin is not None  # as asked for
        self._process.stdin.close()
        return await self.line()

    def close(self) -> None:
        """End it, whatever it does."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def told(over: Callable[[], None]) -> tuple[Settings, dict[str, Any]]:
    """The child's end: settings and document; `over` is called (in a thread) when it shall end."""
    document = json.loads(sys.stdin.buffer.readline())

    def wait() -> None:
        # Unbuffered: a thread that sleeps inside the buffer's lock aborts the interpreter's end.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        over()

    threading.Thread(target=wait, daemon=True).start()
    return Settings(**document.pop("settings")), document


def say(found: Any) -> None:
    """One line to the parent."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
