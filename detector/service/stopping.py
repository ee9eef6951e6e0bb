"""How a process of ours ends: by a signal, and within five seconds whatever state it is in."""

import asyncio
import os
import signal
import threading
from typing import Any

STOP_S = 4.5  # promised: five


def stop_on_signals(stopped: asyncio.Event, log: Any) -> None:
    """Have SIGTERM and SIGINT set `stopped`; a process still there `STOP_S` later ends with exit code 1.

    To be called in the loop.
    """
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        # A thread, since the loop may hang in a client that waits for its broker.
        deadline = threading.Timer(STOP_S, _give_up, [log])
        deadline.daemon = True
        deadline.start()
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)


def _give_up(log: Any) -> None:
    log.error("stop_cut_short", after_s=STOP_S, why="the hand-over was not done in time")
    os._exit(1)
