"""Logs: on stderr, from the level in the settings up."""

from __future__ import annotations

import logging
import sys

from embedhouse.settings import LogLevel

__all__ = ["configure_logging"]


class _Stderr:
    """Whatever stderr is when something is written: loggers are kept for longer than it may last."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging(level: LogLevel) -> None:
    """Send logs to stderr, so that stdout holds results alone; colours on a terminal only."""
    import structlog

    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=number, format="%(levelname)s %(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
