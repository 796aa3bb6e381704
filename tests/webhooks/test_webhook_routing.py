import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tracking.webhooks.routing import WebhookRouter

BASES = ("/webhooks/fulfillment", "/below/webhooks/fulfillment")


class Named:
    """An ASGI application that notes which token it is asked for."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.tokens.append(scope.get("path_params", {}).get("token"))
        await PlainTextResponse("")(scope, receive, send)


def ask(application: Any, kind: str, path: str, method: str) -> None:
    async def send(_message: Any) -> None: ...

    scope = {"type": kind, "path": path, "method": method, "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(application(scope, None, send))


@pytest.mark.parametrize("method", ["POST", "GET", "BREW"])
@pytest.mark.parametrize(
    "path",
    [
        *(f"{base}/{rest}" for base in BASES for rest in ("token", "to ken", "", "a/b", "token/", "\n", "../token")),
        "/webhooks/fulfillment",
        "/webhooks/elsewhere/token",
        "/webhooks//fulfillment/token",
        "/Webhooks/fulfillment/token",
    ],
)
def test_the_receiver_is_asked_what_the_routes_would_ask_it(path: str, method: str) -> None:
    routed, straight, by_routes = Named(), Named(), Named()
    paths = [part for base in BASES for part in (base + "/{token}", base + "/{rest:path}")]
    router = WebhookRouter(Starlette(routes=[Route(each, by_routes) for each in paths]), straight, BASES)
    ask(Starlette(routes=[Route(each, routed) for each in paths]), "http", path, method)
    ask(router, "http", path, method)
    asked = [token or None for token in straight.tokens] + by_routes.tokens
    assert asked == routed.tokens
    assert not straight.tokens or path.rpartition("/")[0] in BASES


def test_what_is_no_request_is_the_applications() -> None:
    application, receiver = Named(), Named()
    ask(WebhookRouter(application, receiver, BASES), "websocket", f"{BASES[0]}/token", "GET")
    assert (len(application.tokens), receiver.tokens) == (1, [])
