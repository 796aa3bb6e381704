"""Asks the API over ASGI, as another system does over a socket."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from tracking.access import Person
from tracking.api.edge import Api

ANN = Person("ann@example.com", signed_in=True)
SECRET = "hush-hush-hush-hush"
Ask = Callable[..., httpx.Response]


def application(api: Api) -> Starlette:
    """Serves the API at its address, and below a base path."""
    return Starlette(routes=[Route(f"{prefix}/api/{{rest:path}}", api) for prefix in ("", "/ops")])


def asking(api: Api, tokens: Mapping[str, str], loop: asyncio.Runner) -> Ask:
    """Asks the API, by default with a viewer's token; `token` is a role, a token, or None for none."""
    served = application(api)

    def ask(path: str, method: str = "GET", *, token: str | None = "viewer", **more: Any) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {tokens.get(token, token)}"

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(served)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.request(method, path, headers=headers, **more)

        return loop.run(run())

    return ask
