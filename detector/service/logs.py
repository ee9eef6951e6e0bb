"""Structured logs on stderr: one event name and its fields; JSON unless a person is watching."""

import logging
import sys
from typing import Any

import structlog

_NOISY = ("aiokafka", "faust", "mode", "kafka", "librdkafka", "asyncio")


def configure(level: str = "info", *, json: bool | None = None) -> None:
    """Set up structlog and the standard library's loggers, once per process.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        json: force the format; None is JSON unless stderr is a terminal.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The clients' own loggers report each retry as an error; what matters of that the service says itself.
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def logger(**fields: Any) -> structlog.stdlib.BoundLogger:
    """Return a logger with `fields` bound to it."""
    bound: structlog.stdlib.BoundLogger = structlog.get_logger("detector").bind(**fields)
    return bound
