"""One log for console and worker: its form, its level, what is bound to a line, and what never gets into it."""

import asyncio
import io
import json
import logging

import pytest
from starlette.applications import Starlette
from structlog.contextvars import bind_contextvars

from tracking.app.telemetry import logs
from tracking.app.web.connection_limits import limited

log = logging.getLogger("tracking.test")


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_each_line_of_json_is_an_object_with_the_order_and_the_process() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream=stream)
    secret = "hush-hush"

    async def send(order: str) -> None:
        bind_contextvars(order=order)
        await asyncio.sleep(0)
        log.info("sent attempt=%d", 2)

    async def both() -> None:
        await asyncio.gather(send("PO-1"), send("PO-2"))

    asyncio.run(both())
    try:
        int(f"odd{secret[:0]}")
    except ValueError:
        log.exception("a look\nstumbled é")
    first, second, third = map(json.loads, lines(stream))
    assert (first["order"], second["order"]) == ("PO-1", "PO-2")
    assert (first["message"], first["level"], first["logger"]) == ("sent attempt=2", "info", "tracking.test")
    assert first["timestamp"].endswith("Z")
    assert first["process"]
    assert third["message"] == "a look\nstumbled é"
    assert "ValueError: invalid literal" in third["exception"]
    assert "order" not in third
    assert secret not in stream.getvalue(), "no trace shows the values of variables"


def test_text_is_one_line_for_each_event_whatever_somebody_else_wrote() -> None:
    stream = io.StringIO()
    logs.configure("warning", "text", stream=stream)
    log.info("not from this level")
    log.warning("it said %s", "no\n2026-11-30 [info] all is well \x1b[2J\u2028end")
    [line] = lines(stream)
    assert r"it said no\n2026-11-30 [info] all is well \x1b[2J\u2028end [tracking.test]" in line
    assert "[warning  ]" in line


def test_the_servers_log_as_everything_else_does_and_quiet_ones_stay_quiet() -> None:
    server = logging.getLogger("uvicorn.made.by.this.test")
    other = io.StringIO()
    server.addHandler(logging.StreamHandler(other))
    server.propagate = False
    stream = io.StringIO()
    logs.configure("debug", "json", stream=stream)
    server.warning("started")
    logging.getLogger("httpx").info("GET https://example.com/webhooks/fulfillment/secret")
    assert [json.loads(line)["message"] for line in lines(stream)] == ["started"]
    assert other.getvalue() == ""
    logs.configure("debug", "text", stream=io.StringIO())
    server.warning("again")
    assert len(lines(stream)) == 1, "the handler before is gone"


def test_a_stranger_cannot_make_the_servers_write_a_line_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(requests, "propagate", True)
    monkeypatch.setattr(requests, "handlers", [])
    logs.configure("debug", "json", stream=io.StringIO())
    limited(Starlette())
    logs.adopt_servers()  # as what serves does once it has started
    assert not requests.hasHandlers(), "uvicorn asks that for each connection"


def test_nothing_is_adopted_where_the_log_is_not_configured() -> None:
    root = logging.getLogger()
    root.handlers[:] = [each for each in root.handlers if type(each) is not logging.StreamHandler]
    server = logging.getLogger("uvicorn.also.made.by.this.test")
    own = logging.NullHandler()
    server.addHandler(own)
    logs.adopt_servers()
    assert server.handlers == [own]
