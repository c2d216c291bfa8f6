"""Traces of a pass, with OpenTelemetry's own exporter in memory; metrics and health of the same pass."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from metasync.engine.scope import Scope
from metasync.telemetry import tracing
from metasync.wiring import parts
from tests.conftest import World


def test_a_pass_and_its_requests(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("metasync.wiring.open_tracer", lambda traces, instance: tracing.Tracer(provider))
    world.create_table("t")
    world.branch("dev-1")
    with parts(world.settings()) as built:
        built.controller.sync(Scope(world.repository, full=True))
        sample = built.metrics.registry.get_sample_value
        assert sample("metasync_sync_delay_seconds_count", {"kind": "creation"}) == 1.0
        assert sample("metasync_changes_total", {"kind": "create-mirror", "state": "done"}) == 1.0
        assert sample("metasync_mode", {"mode": "apply"}) == 1.0
        assert {system.name: system.ok for system in built.queries.status().systems} == {
            "lakefs": True, "metastore": True, "store": True,
        }  # fmt: skip
    spans = {span.name: span for span in exporter.get_finished_spans()}
    (sync,) = [span for span in exporter.get_finished_spans() if span.name == "sync"]
    assert sync.attributes is not None and sync.attributes["repository"] == world.repository
    for name in ("observe", "decide", "apply", "lakefs get_repository", "metastore get_all_databases"):
        assert spans[name].context is not None and spans[name].context.trace_id == sync.context.trace_id, name
    assert spans["apply"].parent is not None and spans["apply"].parent.span_id == sync.context.span_id


def test_without_the_setting_nothing_is_traced() -> None:
    tracer = tracing.open_tracer(False, "metasync")
    with tracer.span("sync", repository="lake"):
        tracer.request("lakefs", "get_branch", 0.1, False)
    tracer.close()
