"""Address check: answers 404 for every path that is neither a page nor a route, below each path prefix.

Behind a proxy the console may live below a path. Some proxies take the prefix off, others hand it on: both are served.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracking.settings.addresses import WEBHOOK_PATH
from tracking.settings.roles import Role
from tracking.settings.values import Settings

_COMPONENT = "component"  # Streamlit's folder of pages within a page


def path_prefixes(base_path: str, public_url: str | None) -> tuple[str, ...]:
    """List the prefixes: none, Streamlit's server.baseUrlPath, and the path of the address that the provider calls."""
    paths = ("", base_path, urlsplit(public_url or "").path)
    return tuple(dict.fromkeys(f"/{path.strip('/')}".rstrip("/") for path in paths))


def callback_bases(settings: Settings, base_path: str = "") -> list[str]:
    """List what the paths of webhook addresses are without the token; none where the process receives no webhooks."""
    prefixes = path_prefixes(base_path, settings.public_url) if Role.WEBHOOKS in settings.roles else ()
    return [prefix + WEBHOOK_PATH.rstrip("/") for prefix in prefixes]


def page_paths(script: Path) -> frozenset[str]:
    """The paths of the pages that the script declares, without a slash; that of the first one is empty."""
    return frozenset({"", *re.findall(r'"url_path": "([^"]+)"', script.read_text("utf-8"))})


def is_routed(routes: Iterable[BaseRoute], scope: Scope) -> bool:
    """Whether one of the routes has this address, whatever the method."""
    return any(route.matches(scope)[0] is not Match.NONE for route in routes)


class AddressCheckMiddleware:
    """ASGI middleware that answers 404 where there is neither a page nor anything else.

    Streamlit shows its page at every address, with 200, so that a probe or a callback at a wrong one would be content.
    `routes` are the routes beside the pages, `base_path` and `pages` say where the pages are.
    """

    def __init__(self, app: ASGIApp, *, routes: Collection[BaseRoute], base_path: str, pages: Collection[str]) -> None:
        self._app = app
        self._routes = routes
        self._base = f"/{base_path.strip('/')}".rstrip("/")
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request, or 404."""
        if scope["type"] != "http" or self._is_page(scope) or is_routed(self._routes, scope):
            await self._app(scope, receive, send)
            return
        unknown = False

        async def send_what_is_there(message: Message) -> None:
            nonlocal unknown
            if message["type"] == "http.response.start":
                html = Headers(raw=message["headers"]).get("content-type", "").startswith("text/html")
                unknown = message["status"] == 405 or (message["status"] == 200 and html)
                if unknown:
                    await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)
            if not unknown:
                await send(message)

        await self._app(scope, receive, send_what_is_there)

    def _is_page(self, scope: Scope) -> bool:
        path, root = str(scope["path"]), str(scope.get("root_path", ""))
        if root and path.startswith(f"{root}/"):
            path = path.removeprefix(root)
        if path != self._base and not path.startswith(f"{self._base}/"):
            return False
        rest = path.removeprefix(self._base).strip("/")
        return rest in self._pages or rest.partition("/")[0] == _COMPONENT
