"""What stands between browsers and the pages: headers that confine a page, and files that belong to one browser.

Pure ASGI, around the whole application. Knows no page and no store.
"""

import re
import secrets
from collections import Counter

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "tracking_browser"
# The one inline script of Streamlit's page, by its digest; no other runs, and nothing is fetched from another origin.
_INLINE = "sha256-THxz9J9+wf7rhwR2YkXJoSZ13UCmYyC+3lNDv2+8ugA="
POLICY = "; ".join(
    (
        "default-src 'self'",
        f"script-src 'self' '{_INLINE}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FILE = re.compile(r"(?<!/static)/media/(?P<id>[^.]*)")
_TOLD = re.compile(rb"/media/([0-9a-f]{32})")


class ConfinedPages:
    """Tells browsers to run no foreign script, fetch nothing from elsewhere, and show the pages in no frame."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with the headers."""

        async def confined(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, confined if scope["type"] == "http" else send)


class OwnDownloads:
    """Serves a file that was made for a page to the browser of that page, and only while the page is open.

    Streamlit serves what a download button makes at /media/ to whoever knows the address. Here a cookie tells browsers
    apart, and the addresses are learned from what is sent to each page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._told: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what a browser may have; anything else is as if it were not there."""
        if scope["type"] == "websocket":
            await self._page(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser, told = _browser(scope), set[str]()

        async def listening(message: Message) -> None:
            for found in _TOLD.findall(message.get("bytes") or b""):
                if (name := found.decode()) not in told:
                    told.add(name)
                    self._told[browser, name] += 1
            await send(message)

        try:
            await self._app(scope, receive, listening)
        finally:
            for name in told:
                self._told[browser, name] -= 1
            self._told += Counter()  # lets go of those nobody was told of any more

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser = _browser(scope)
        file = _FILE.search(scope["path"])
        if file and not (browser and self._told[browser, file["id"]]):
            await Response("File not found", status_code=404)(scope, receive, send)
            return

        async def known(message: Message) -> None:
            if message["type"] == "http.response.start" and not browser:
                headers = MutableHeaders(scope=message)
                if headers.get("Content-Type", "").startswith("text/html"):
                    secure = "; Secure" if scope["scheme"] == "https" else ""
                    value = secrets.token_urlsafe(24)
                    headers.append("Set-Cookie", f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")
            await send(message)

        await self._app(scope, receive, known)


def _browser(scope: Scope) -> str:
    """The cookie by which a browser is known, "" where there is none."""
    return HTTPConnection(scope).cookies.get(COOKIE, "")
