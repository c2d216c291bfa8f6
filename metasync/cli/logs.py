"""Log lines on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any

import stamina
import structlog

from metasync.redaction import redact
from metasync.settings import Settings


def configure_logging(settings: Settings | None) -> None:
    """Log lines on standard error: for people on a terminal, JSON elsewhere. Other libraries' warnings go along."""
    form = settings.logging.format if settings else "auto"
    level = getattr(logging, (settings.logging.level if settings else "info").upper())
    people = form == "console" or (form == "auto" and sys.stderr.isatty())
    # A pretty traceback would show every local variable, secrets and rows of tables among them.
    plain = structlog.dev.plain_traceback
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=plain) if people else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
            _without_secrets,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # A request that a retry made good is in the metrics; one that failed for good is an error with our own words.
    stamina.instrumentation.set_on_retry_hooks(())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])


def _without_secrets(_logger: Any, _method: str, line: Any) -> str:
    return redact(line)


class _Redacting(logging.Formatter):
    """Other libraries' lines, without our secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
