"""Traces of every pass, where `telemetry.traces` is set and the extra `metasync[otel]` is installed; else nothing.

The endpoint, headers and sampling are OpenTelemetry's own settings: OTEL_EXPORTER_OTLP_ENDPOINT and its like.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace

from metasync import __version__
from metasync.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_NANOSECONDS = 1_000_000_000


class Tracer:
    """Spans of what this process does; without a provider they are dropped."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = (provider or trace.NoOpTracerProvider()).get_tracer("metasync", __version__)

    @contextmanager
    def span(self, name: str, **attributes: str | int) -> Iterator[None]:
        """A piece of work; an exception that leaves it is noted on it."""
        with self._tracer.start_as_current_span(name, attributes=attributes):
            yield

    def request(self, system: str, call: str, seconds: float, ok: bool) -> None:
        """A request that has just ended."""
        end = time.time_ns()
        started = end - int(seconds * _NANOSECONDS)
        span = self._tracer.start_span(f"{system} {call}", start_time=started, attributes={"peer.service": system})
        if not ok:
            span.set_status(trace.StatusCode.ERROR)
        span.end(end)

    def close(self) -> None:
        """Sends what was not sent yet."""
        if self._provider is not None:
            self._provider.shutdown()


def open_tracer(traces: bool, instance: str) -> Tracer:
    """A tracer that sends by OTLP over HTTP. Raises ConfigurationError where the extra is missing."""
    if not traces:
        return Tracer()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationError("telemetry.traces needs the extra: pip install 'metasync[otel]'") from error
    resource = Resource.create(
        {"service.name": "metasync", "service.version": __version__, "service.instance.id": instance}
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)
