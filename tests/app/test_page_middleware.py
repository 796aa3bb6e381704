"""Files go to the browser they were made for, and pages are confined to their own origin."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from tracking.app.web.page_middleware import (
    BROWSER_COOKIE,
    SECURITY_HEADERS,
    PrivateDownloadsMiddleware,
    SecurityHeadersMiddleware,
    content_security_policy,
)

FILE = "0123456789abcdef" * 2
PAGE = "<html><script>window.a = 1</script><script src='./b.js'></script></html>"
TOLD = b"\x12\x30/media/" + FILE.encode() + b".csv\x1a"


async def _page(_: Request) -> HTMLResponse:
    return HTMLResponse("a page")


async def _file(_: Request) -> PlainTextResponse:
    return PlainTextResponse("a file")


async def _telling(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_bytes(TOLD)
    await socket.send_text("no bytes")
    await socket.receive()


class Site:
    """The application, and browsers that come to it."""

    def __init__(self) -> None:
        self.application = Starlette(
            routes=[Route("/", _page), WebSocketRoute("/stream", _telling), Route("/{path:path}", _file)],
            middleware=[Middleware(SecurityHeadersMiddleware, html=PAGE), Middleware(PrivateDownloadsMiddleware)],
        )

    def browser(self, scheme: str = "http") -> httpx.AsyncClient:
        """A browser without cookies."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.application), base_url=f"{scheme}://console.example"
        )

    @asynccontextmanager
    async def page(self, browser: httpx.AsyncClient) -> AsyncIterator[None]:
        """A page that is open in the browser and was told of the file."""
        said: asyncio.Queue[Message] = asyncio.Queue()
        heard: asyncio.Queue[Message] = asyncio.Queue()
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        scope = {"type": "websocket", "path": "/stream", "headers": [(b"cookie", cookies.encode())]}
        running = asyncio.create_task(self.application(scope, said.get, heard.put))
        said.put_nowait({"type": "websocket.connect"})
        kinds = [(await heard.get())["type"] for _ in range(3)]
        assert kinds == ["websocket.accept", "websocket.send", "websocket.send"]
        yield
        said.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await running


Visit = Callable[[Site, httpx.AsyncClient], Coroutine[Any, Any, None]]


def visited(visit: Visit) -> None:
    """Runs a visit in a browser that has opened the console."""

    async def run() -> None:
        site = Site()
        async with site.browser() as ours:
            await ours.get("/")
            await visit(site, ours)

    asyncio.run(run())


@pytest.mark.parametrize("path", [f"/media/{FILE}.csv", f"/media/{FILE}", f"/under/this/media/{FILE}.csv"])
def test_a_file_goes_to_the_browser_whose_open_page_was_told_of_it(path: str) -> None:
    async def visit(site: Site, ours: httpx.AsyncClient) -> None:
        assert (await ours.get(path)).status_code == 404, "nobody was told yet"
        async with site.page(ours):
            assert (await ours.get(path)).text == "a file"
            assert (await ours.get(path)).text == "a file", "a download may be repeated"
            async with site.browser() as stranger:
                assert (await stranger.get(path)).status_code == 404, "without a cookie"
                await stranger.get("/")
                assert (await stranger.get(path)).status_code == 404, "with a cookie of its own"
        assert (await ours.get(path)).status_code == 404, "the page was closed"

    visited(visit)


def test_a_file_stays_while_one_of_the_pages_that_know_it_is_open() -> None:
    async def visit(site: Site, ours: httpx.AsyncClient) -> None:
        async with site.page(ours):
            async with site.page(ours):
                pass
            assert (await ours.get(f"/media/{FILE}.csv")).status_code == 200

    visited(visit)


def test_a_page_without_a_cookie_opens_no_file_to_others_without_one() -> None:
    async def visit(site: Site, _: httpx.AsyncClient) -> None:
        async with site.browser() as nameless, site.page(nameless):
            assert (await nameless.get(f"/media/{FILE}.csv")).status_code == 404

    visited(visit)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/static/media/font.woff2", 200),
        ("/healthz", 200),
        ("/webhooks/fulfillment/x", 200),
        ("/media/", 404),
        ("/media/x", 404),
        (f"/media/x/{FILE}", 404),
        (f"/media//{FILE}", 404),
        (f"/media/%2e%2e/{FILE}", 404),
    ],
)
def test_of_all_addresses_only_those_of_files_are_held_back(path: str, status: int) -> None:
    async def visit(site: Site, ours: httpx.AsyncClient) -> None:
        async with site.page(ours):
            assert (await ours.get(path)).status_code == status

    visited(visit)


def test_every_answer_confines_the_page() -> None:
    async def visit(_: Site, ours: httpx.AsyncClient) -> None:
        for path in ("/", "/healthz", f"/media/{FILE}"):
            answer = await ours.get(path)
            assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
            assert answer.headers["Content-Security-Policy"] == content_security_policy(PAGE)

    visited(visit)


def test_the_cookie_is_given_to_pages_once_and_out_of_reach_of_scripts() -> None:
    async def visit(site: Site, ours: httpx.AsyncClient) -> None:
        assert "Set-Cookie" not in (await ours.get("/")).headers
        async with site.browser("https") as first:
            assert "Set-Cookie" not in (await first.get("/healthz")).headers
            given = (await first.get("/")).headers["Set-Cookie"]
        async with site.browser() as unencrypted:
            assert "Secure" not in (await unencrypted.get("/")).headers["Set-Cookie"]
        assert given.startswith(f"{BROWSER_COOKIE}=")
        assert {"HttpOnly", "SameSite=Lax", "Path=/", "Secure"} <= set(given.split("; "))

    visited(visit)


def test_the_page_s_own_inline_script_runs_and_no_other() -> None:
    digest = base64.b64encode(hashlib.sha256(b"window.a = 1").digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in content_security_policy(PAGE)
    assert "script-src 'self';" in content_security_policy("<html></html>")
