"""Assistants get the same orders for the same tokens, by the protocol's own client, and no other site's page does."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest
from api_client import ANN
from fakes import Clock
from histories import History
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.routing import Route

from tracking.api.callers.tokens import revoke_token
from tracking.api.edge import Api, Assistants
from tracking.api.mcp.tools import TOOLS
from tracking.reports.team.audit import AuditFilters, entries
from tracking.storage.database import Database

Call = Callable[..., dict[str, Any]]
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture
def engine() -> str:
    """What is tested here is the same on every store."""
    return "sqlite"


@pytest.fixture
def served(api: Api) -> Starlette:
    assistants = Assistants(api, ["ops.example"])
    return Starlette(routes=[Route(path, assistants) for path in ("/mcp", "/ops/mcp")])


@pytest.fixture
def use(served: Starlette, tokens: Mapping[str, str], loop: asyncio.Runner) -> Call:
    """Uses a tool by the protocol's client, with a viewer's token; gives what it answers."""

    def used(tool: str, path: str = "/mcp", **arguments: Any) -> dict[str, Any]:
        async def run() -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {tokens['viewer']}"}
            transport = httpx2.ASGITransport(served)
            async with (
                httpx2.AsyncClient(transport=transport, headers=headers) as http,
                Client(streamable_http_client(f"http://127.0.0.1{path}", http_client=http)) as client,
            ):
                listed = await client.list_tools()
                assert {each.name for each in listed.tools} == set(TOOLS)
                assert all(each.annotations and each.annotations.read_only_hint for each in listed.tools)
                result = await client.call_tool(tool, arguments)
            text = result.content[0].text  # type: ignore[union-attr]  # the tools answer with texts alone
            if result.is_error:
                return {"error": text}
            assert result.structured_content == json.loads(text)
            assert "is an instruction" in json.loads(text)["note"]
            data: dict[str, Any] = json.loads(text)["data"]
            return data

        return loop.run(run())

    return used


def post(
    served: Starlette, loop: asyncio.Runner, token: str | None, host: str = "127.0.0.1", **headers: str
) -> httpx2.Response:
    async def run() -> httpx2.Response:
        sent = HEADERS | headers | ({"Authorization": f"Bearer {token}"} if token else {})
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(served)) as http:
            return await http.post(f"http://{host}/mcp", json=PING, headers=sent)

    return loop.run(run())


def test_an_assistant_finds_and_explains_orders_with_people_masked(
    history: History, use: Call, store: Database
) -> None:
    history.place("po-1", lines=2, recipient="jane.roe@example.com")
    history.complete("po-1")
    history.place("po-2")
    history.refuse("po-2")
    found = use("find_orders", state="Completed")
    assert [order["po_number"] for order in found["orders"]] == ["po-1"]
    assert use("find_orders", path="/ops/mcp", text="po-", limit=1)["more"]
    explained = use("explain_order", order="po-1")
    assert explained["verdict"].startswith("Completed")
    assert explained["evidence"]
    assert explained["newest_events"][-1]["state"] == "Completed"
    assert "check" in explained["possible_for_an_operator"] or explained["possible_for_an_operator"] == []
    [needing] = use("orders_needing_a_person")["orders"]
    assert (needing["po_number"], needing["needs"]) == ("po-2", "Refused by the provider")
    assert use("counts")["views"]["all"] == {"orders": 2, "at_least": False}
    everything = json.dumps([found, explained, needing])
    assert "jane.roe" not in everything
    assert entries(store, AuditFilters()).entries[0].who == "api:viewer-token"


def test_what_a_tool_does_not_take_is_told_to_the_assistant(history: History, use: Call) -> None:
    assert "limit" in use("find_orders", limit=500)["error"]
    assert "view" in use("find_orders", view="nothing")["error"]
    assert use("explain_order", order="nothing")["error"].startswith("Not found")
    assert "There are the tools" in use("delete_order", order="po-1")["error"]
    assert use("counts", extra=1)["error"].endswith("not permitted. Fix that and call again.")


def test_without_a_token_there_is_no_answer(
    served: Starlette, loop: asyncio.Runner, tokens: dict[str, str], store: Database, clock: Clock
) -> None:
    assert post(served, loop, tokens["viewer"]).status_code == 200
    assert post(served, loop, None).status_code == 401
    revoke_token(store, "viewer-token", by=ANN, now=clock())
    assert post(served, loop, tokens["viewer"]).status_code == 401


def test_no_stream_is_opened_that_would_hold_a_connection(
    served: Starlette, loop: asyncio.Runner, tokens: dict[str, str]
) -> None:
    async def run(method: str) -> httpx2.Response:
        headers = HEADERS | {"Authorization": f"Bearer {tokens['viewer']}"}
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(served)) as http:
            return await asyncio.wait_for(http.request(method, "http://127.0.0.1/mcp", headers=headers), 10)

    for method in ("GET", "HEAD", "DELETE"):
        answer = loop.run(run(method))
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1", None, 200),
        ("localhost:8501", "http://localhost:8501", 200),
        ("[::1]", None, 200),
        ("ops.example", "https://ops.example", 200),
        ("127.0.0.1", "https://ops.example", 200),
        ("127.0.0.1", "https://evil.example", 403),
        ("127.0.0.1", "null", 403),
        ("evil.example", "http://evil.example", 403),
        ("evil.example", None, 403),
        ("127.0.0.1.evil.example", None, 403),
    ],
)
def test_no_page_of_another_site_gets_through(
    served: Starlette, loop: asyncio.Runner, tokens: dict[str, str], host: str, origin: str | None, status: int
) -> None:
    answer = post(served, loop, tokens["viewer"], host, **({"Origin": origin} if origin else {}))
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_without_the_package_it_says_what_to_install(
    api: Api, loop: asyncio.Runner, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("tracking.api.mcp.endpoint")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    answer = post(Starlette(routes=[Route("/mcp", Assistants(api))]), loop, tokens["viewer"])
    assert answer.status_code == 404
    assert "fulfillment-tracking[mcp]" in answer.json()["detail"]
