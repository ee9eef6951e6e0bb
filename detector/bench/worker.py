"""One real `detector run` process: started, asked over HTTP, stopped; and the CPU time of a process."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from detector.bench.place import BenchError, Place, environment
from detector.service.children import end_with_parent

_START_S = 90.0
_STOP_S = 6.0


class WorkerProcess:
    """`detector run` with the settings of production, as long as the context lasts.

    Args:
        place: where.
        name: of its log file.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._log = place.folder / f"{name}.log"
        prefix = place.settings.topic_prefix
        options = ["--contract", str(place.contract), "--topic-prefix", prefix, "--http-port", "0"]
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [*_COMMAND, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(place),
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._url = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    async def listening(self) -> None:
        """Wait until it answers over HTTP.

        Raises:
            BenchError: it ended or never did, with the end of its log.
        """
        deadline = time.monotonic() + _START_S
        while not self._url:
            self.check(deadline)
            for raw in self._log.read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    event = json.loads(raw)
                    if event.get("event") == "http_listening":
                        self._url = f"http://127.0.0.1:{event['port']}"
            await asyncio.sleep(0.02)

    async def ready(self) -> None:
        """Wait until it owns all partitions and has caught up.

        Raises:
            BenchError: as for `listening`.
        """
        await self.listening()
        deadline = time.monotonic() + _START_S
        while True:
            self.check(deadline)
            with contextlib.suppress(OSError, ValueError):
                state = json.loads(await self._get("/readyz"))
                if state["ready"] and state["partitions"]:
                    return
            await asyncio.sleep(0.05)

    async def metrics(self) -> dict[str, float]:
        """Its metrics, summed over all labels but `topic`; those of a topic as `name:topic`."""
        sums: dict[str, float] = defaultdict(float)
        try:
            text = (await self._get("/metrics")).decode()
        except OSError:
            return sums
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                topic = sample.labels.get("topic")
                sums[f"{sample.name}:{topic}" if topic else sample.name] += sample.value
        return sums

    async def _get(self, path: str) -> bytes:
        def ask() -> bytes:
            with urllib.request.urlopen(self._url + path, timeout=10) as answer:
                body: bytes = answer.read()
                return body

        return await asyncio.to_thread(ask)

    def check(self, deadline: float) -> None:
        """Raise BenchError if it has ended, or if the deadline (monotonic clock) is over."""
        if self._child.poll() is not None or time.monotonic() > deadline:
            state = "ended" if self._child.poll() is not None else "is not ready in time"
            raise BenchError(f"the worker {state}; the end of its log:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The last lines that it logged."""
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])

    def close(self) -> None:
        """Stop it as an operator would: it hands over its state."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_COMMAND = [sys.executable, "-m", "detector", "run"]


def cpu_s(pid: int) -> float | None:
    """CPU seconds of all threads of a process, user and system; None where the machine has no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
