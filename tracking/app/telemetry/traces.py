"""Traces by OpenTelemetry: the steps of one order as one trace, from every process that had a part in it.

The trace's id and that of its first span are made of the PONumber, so that processes agree on them without a word. On
where OTEL_EXPORTER_OTLP_ENDPOINT says where spans go; all else about that is in OpenTelemetry's own variables.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from tracking import tracing
from tracking.tracing import Step

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
END_SECONDS = 3.0  # for what was not exported yet when the process ends
HOW_TO_INSTALL = "pip install 'fulfillment-tracking[otel]'"


def start(environment: Mapping[str, str] = os.environ) -> Callable[[], None] | None:
    """Begin to export, where the environment asks for it; returns what ends it, which takes a few seconds at most."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(environment.get, ENDPOINTS)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - an extra, see below
            OTLPSpanExporter,
        )
    except ImportError:
        log.warning("no traces are exported, as OpenTelemetry is not installed: %s", HOW_TO_INSTALL)
        return None
    return export(OTLPSpanExporter())


class _Reporting:
    """An exporter of which the log says when it begins to fail and when that is over, and nothing it says itself.

    That may be an address with a token in it, again for each try.
    """

    def __init__(self, exporter: "SpanExporter") -> None:
        self._exporter, self._failing = exporter, False
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[Any]) -> Any:
        """Export the spans."""
        result = self._exporter.export(spans)
        if (failing := result.name != "SUCCESS") != self._failing:
            log.warning("traces are %s", "not taken: is their collector there?" if failing else "taken again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits; this one has nothing."""
        return self._exporter.force_flush(timeout_millis)


def export(exporter: "SpanExporter") -> Callable[[], None]:
    """Hand each step to this exporter, in groups and on a thread of its own. Returns what ends that."""
    from opentelemetry import trace  # noqa: PLC0415 - an extra, and nobody else waits for it
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415 - as above

    whole = threading.local()

    class Ids(RandomIdGenerator):
        """Random ids, but for the span of a whole order."""

        def generate_trace_id(self) -> int:
            return (getattr(whole, "ids", None) and whole.ids[0]) or super().generate_trace_id()

        def generate_span_id(self) -> int:
            return (getattr(whole, "ids", None) and whole.ids[1]) or super().generate_span_id()

    name = os.environ.get("OTEL_SERVICE_NAME") or "fulfillment-tracking"
    resource = Resource.create({SERVICE_NAME: name})
    provider = TracerProvider(shutdown_on_exit=False, id_generator=Ids(), resource=resource)
    provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", _Reporting(exporter))))
    tracer = provider.get_tracer("tracking")
    kinds = {
        "server": trace.SpanKind.SERVER,
        "client": trace.SpanKind.CLIENT,
        "internal": trace.SpanKind.INTERNAL,
    }

    def collect(step: Step) -> None:
        trace_id, span_id = ids_of(step.po_number)
        parent = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(1))
        context = None if step.whole else trace.set_span_in_context(trace.NonRecordingSpan(parent))
        whole.ids = (trace_id, span_id) if step.whole else None
        attributes = {"order.po_number": step.po_number, **step.attributes}
        started = _nanoseconds(step.started_at)
        span = tracer.start_span(step.name, context, kinds[step.kind], attributes, start_time=started)
        whole.ids = None
        if step.error is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, step.error))
        span.end(max(started, _nanoseconds(step.ended_at)))

    def end() -> None:
        tracing.collect(None)
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(END_SECONDS)
        if ending.is_alive():  # it would try for half a minute
            exporter.shutdown()
            log.warning("the last traces were not taken")

    tracing.collect(collect)
    return end


def ids_of(po_number: str) -> tuple[int, int]:
    """The ids of an order's trace and of the span that is the whole order; never 0, which stands for none."""
    digest = hashlib.sha256(f"fulfillment-tracking trace {po_number}".encode()).digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
