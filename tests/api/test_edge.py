"""What holds for every address of the API: who is let in, how much comes in, and what an answer carries."""

import asyncio
import html.parser
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from api_client import Ask
from histories import History
from starlette.types import Message

from tracking.api.callers.limits import RateLimit
from tracking.api.edge import Api, read_body
from tracking.api.problems import KINDS, Refusal


@pytest.fixture
def engine() -> str:
    """What is tested here is the same on every store."""
    return "sqlite"


def test_every_answer_is_stored_by_nobody_and_runs_nothing(history: History, ask: Ask) -> None:
    history.place("po-1")
    for path in ("/api/v1/orders", "/api/v1/nothing", "/ops/api/v1/me", "/api/v1/openapi.json"):
        headers = ask(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in headers


def test_head_is_get_without_a_body_and_other_methods_are_named(history: History, ask: Ask) -> None:
    history.place("po-1")
    got, head = ask("/api/v1/orders/po-1"), ask("/api/v1/orders/po-1", "HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(got.content)))
    for path, allowed in (
        ("/api/v1/orders", "GET, HEAD, POST"),
        ("/api/v1/me", "GET, HEAD"),
        ("/api/v1/orders/x", "GET, HEAD"),
        ("/api/v1/orders/x/y", "GET, HEAD"),
        ("/api/v1/orders/x/lines", "GET, HEAD"),
        ("/api/v1/orders/x/check", "POST"),
        ("/api/v1/orders/x/y/check", "POST"),
    ):
        refused = ask(path, "DELETE")
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert ask("/api/v1/orders", "OPTIONS").status_code == 405


@pytest.mark.parametrize("path", ["/api/", "/api/v1", "/api/v1/", "/api/v2/orders", "/api/v1//orders"])
def test_what_is_nowhere_is_said_to_be_nowhere(ask: Ask, path: str) -> None:
    assert ask(path).status_code == 404
    assert ask(path, token=None).status_code == 401


def test_it_is_the_same_below_a_base_path(history: History, ask: Ask) -> None:
    history.place("po-1")
    assert ask("/ops/api/v1/orders/po-1").json() == ask("/api/v1/orders/po-1").json()
    assert ask("/ops/api/v1/orders/po-2").json()["type"] == "/ops/api/v1/docs#not-found"
    assert ask("/ops/api/v1/openapi.json", token=None).json()["servers"] == [{"url": "/ops"}]


def test_a_token_that_asks_too_often_is_told_when_to_come_again(api: Api, ask: Ask) -> None:
    now = 100.0
    api.limit = RateLimit(per_second=0.5, at_once=2, clock=lambda: now)
    assert [ask("/api/v1/me").status_code for _ in range(3)] == [200, 200, 429]
    refused = ask("/api/v1/me")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    assert ask("/api/v1/me", token="operator").status_code == 200
    now += 2
    assert [ask("/api/v1/me").status_code for _ in range(2)] == [200, 429]


def test_a_large_body_is_turned_away_before_it_is_read(ask: Ask) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}

    async def body() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 100_000

    for content in (b" " * 3_000_000, body()):
        refused = ask("/api/v1/orders", "POST", token="operator", headers=headers, content=content)
        assert (refused.status_code, refused.json()["type"]) == (413, "/api/v1/docs#too-large")
    assert ask("/api/v1/orders", "POST", token=None, headers=headers, content=b" " * 3_000_000).status_code == 401


def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.api.edge.SECONDS_TO_READ", 0.05)

    async def receive() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(Refusal, match="longer than"):
        asyncio.run(read_body(httpx.Headers(), receive))  # type: ignore[arg-type]  # it is asked for one header alone


def test_too_many_at_once_are_turned_away(api: Api, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.api.service.AWAITED_AT_MOST", 0)
    refused = ask("/api/v1/me")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


def test_requests_are_counted_by_route_and_nothing_that_was_given(history: History, api: Api, ask: Ask) -> None:
    history.place("po-1")
    for path in ("/api/v1/orders/po-1", "/api/v1/orders/po-2", "/api/v1/what-is-this"):
        ask(path)
    ask("/api/v1/orders", token=None)
    ask("/api/v1/orders", "PURGE")
    assert dict(api.requests) == {
        ("GET", "/api/v1/orders/{po_or_id}", 200): 1,
        ("GET", "/api/v1/orders/{po_or_id}", 404): 1,
        ("GET", "other", 404): 1,
        ("GET", "other", 401): 1,
        ("other", "/api/v1/orders", 405): 1,
    }


def test_no_line_of_the_log_holds_a_token_or_an_id(
    ask: Ask, tokens: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tracking.api.reading.id_of_order", fail)
    with caplog.at_level(logging.DEBUG, logger="tracking"):
        assert ask("/api/v1/orders/po-secret").status_code == 500
    assert "a request of the API ended with an error" in caplog.text
    assert tokens["viewer"] not in caplog.text


class Page(html.parser.HTMLParser):
    """The headings, links and targets of a page, and whatever would run or be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"h1", "h2", "h3"}:
            self.headings.append(int(tag[1]))
        self.ids |= {str(given["id"])} if "id" in given else set()
        self.links |= {str(given["href"])} if "href" in given else set()
        self.foreign += [tag] if tag in {"script", "img", "iframe", "link", "form"} or "src" in given else []


def test_the_page_of_docs_needs_no_script_and_leads_to_all_it_names(ask: Ask) -> None:
    answer = ask("/api/v1/docs", token=None)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src" not in answer.headers["content-security-policy"]
    page = Page(answer.text)
    assert page.foreign == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert set(KINDS) <= page.ids
    assert page.headings[0] == 1
    assert all(later - earlier <= 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    for path in ask("/api/v1/openapi.json", token=None).json()["paths"]:
        assert path in answer.text


def test_the_description_says_what_each_address_can_end_in(ask: Ask) -> None:
    document = ask("/api/v1/openapi.json", token=None).json()
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"token": []}]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert {"401", "429", "500", "503"} <= set(operation["responses"]), (method, path)
            for parameter in operation.get("parameters", []):
                assert parameter["schema"], (path, parameter["name"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_a_start_waits_for_no_fastapi() -> None:
    code = "import sys, tracking.app.backend; sys.exit(any(name in sys.modules for name in ('fastapi', 'mcp')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
