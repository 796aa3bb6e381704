"""One trace for one order, from every process that had a part in it: sent, webhook received, polled, and the whole."""

import asyncio
import builtins
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from fakes import Clock, FakeProvider, callback_body, order_json, request
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from polling_setup import PollingSetup
from sending_setup import send_once
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from tracking import ingest, tracing
from tracking.app.telemetry import traces
from tracking.app.telemetry.traces import ids_of
from tracking.errors import OutcomeUnknown
from tracking.forecasting.planner import PlanningContext
from tracking.provider.http.findings import Findings
from tracking.settings.addresses import WEBHOOK_PATH
from tracking.storage.database import Database
from tracking.submissions.sender import Sender
from tracking.tracing import Step
from tracking.webhooks import addresses
from tracking.webhooks.receiver import Receiver

PO, SECRET = "demo-0001", "the-secret-of-this-test"


class Exported:
    """The spans that one process exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._end = traces.export(self._exporter)

    def spans(self) -> dict[str, Any]:
        """By name, once all are exported."""
        self._end()
        return {span.name: span for span in self._exporter.get_finished_spans()}


@pytest.fixture
def exported() -> Iterator[Exported]:
    yield Exported()
    tracing.collect(None)


def send(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> None:
    store.write(partial(ingest.place, request=request(PO), source="form", actor=None, now=clock.now))
    options: dict[str, Any] = {"owner": "here/1/a", "lease": timedelta(seconds=30), "clock": clock}
    sender = Sender(store, provider, planner, address=lambda _: None, wake=lambda: None, **options)
    asyncio.run(send_once(sender, clock.now))


def receive(store: Database, planner: PlanningContext, clock: Clock, provider_id: str) -> None:
    receiver = Receiver(store, (SECRET,), planner, clock=clock, wake=lambda: None, findings=Findings())
    client = TestClient(Starlette(routes=[Route(WEBHOOK_PATH + "{token}", receiver)]))
    address = WEBHOOK_PATH + addresses.make_token(PO, SECRET)
    assert client.post(address, content=callback_body(PO, provider_id)).status_code == 204


def test_an_order_is_one_trace_from_the_post_over_the_webhook_to_the_poll_that_confirms_it(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, exported: Exported
) -> None:
    polling = PollingSetup(store, provider, planner, clock)
    send(store, provider, planner, clock)
    provider_id = polling.row()["provider_id"]
    clock.pass_by(seconds=20)
    receive(store, planner, clock, provider_id)
    provider.show(order_json(provider_id, PO, "Completed"))
    assert polling.poll(seconds=1) == 1
    spans = exported.spans()
    assert list(spans) == ["send", "webhook received", "poll", "order"]
    trace_id, whole_id = ids_of(PO)
    assert {span.context.trace_id for span in spans.values()} == {trace_id}
    assert spans["order"].context.span_id == whole_id
    assert spans["order"].parent is None
    assert {spans[name].parent.span_id for name in ("send", "webhook received", "poll")} == {whole_id}
    assert spans["webhook received"].attributes["webhook.outcome"] == "accepted"
    assert spans["poll"].attributes["order.state"] == "Completed"
    assert spans["order"].start_time <= spans["send"].start_time < spans["webhook received"].start_time
    assert spans["order"].end_time == spans["poll"].end_time


def test_a_step_that_failed_says_why_and_an_unchanged_poll_is_no_step(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, exported: Exported
) -> None:
    provider.script["place"] = deque([OutcomeUnknown("no answer in time")])
    send(store, provider, planner, clock)
    polling = PollingSetup(store, provider, planner, clock)
    polling.know(order_json("BLK-2", "po-2"))
    polling.poll(seconds=60)
    spans = exported.spans()
    assert list(spans) == ["send"]
    assert spans["send"].status.description == "no answer in time"
    assert spans["send"].attributes["outcome"] == "unclear"


def test_nothing_is_collected_until_the_environment_says_where_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    assert traces.start({}) is None
    assert traces.start(asks | {"OTEL_SDK_DISABLED": "true"}) is None
    assert not tracing.is_collected()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", asks["OTEL_EXPORTER_OTLP_ENDPOINT"])
    end = traces.start(asks)
    assert end is not None
    assert tracing.is_collected()
    end()
    assert not tracing.is_collected()


def test_a_collector_that_takes_nothing_is_one_line_of_the_log_and_holds_up_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    called, ended = threading.Event(), threading.Event()

    class Stuck(InMemorySpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            logging.getLogger("opentelemetry.exporter").error("retrying https://example.com/token-canary")
            called.set()
            ended.wait(5)
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            ended.set()

    monkeypatch.setattr(traces, "END_SECONDS", 0.05)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    end = traces.export(Stuck())
    for _ in range(2):
        tracing.record(Step("send", PO, Clock().now, Clock().now))
    assert called.wait(5)
    began = time.monotonic()
    end()
    assert time.monotonic() - began < 3
    assert ended.is_set()
    assert "the last traces were not taken" in caplog.messages
    assert "token-canary" not in caplog.text
    failing = traces._Reporting(FailsTwice())
    results = [failing.export([]).name for _ in range(4)]
    assert results == ["FAILURE", "FAILURE", "SUCCESS", "SUCCESS"]
    assert caplog.messages[-2:] == ["traces are not taken: is their collector there?", "traces are taken again"]


class FailsTwice(InMemorySpanExporter):
    """Takes what it gets from the third time on."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def export(self, _: Any) -> SpanExportResult:
        self.times += 1
        return SpanExportResult.FAILURE if self.times < 3 else SpanExportResult.SUCCESS


def test_where_the_extra_is_missing_the_log_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert traces.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
    assert "fulfillment-tracking[otel]" in caplog.text
