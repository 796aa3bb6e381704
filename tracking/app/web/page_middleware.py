"""What stands between browsers and the pages: headers that confine a page, and files that belong to one browser.

Pure ASGI, around the whole application. Knows no page and no store.
"""

import base64
import hashlib
import re
import secrets
from collections import Counter

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "tracking_browser"
_INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
HEADERS = {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
_MEDIA_PATH = re.compile(r"(?<!/static)/media/(?P<id>[^.]*)")
_MEDIA_ADDRESS = re.compile(rb"/media/([0-9a-f]{32})")


def content_security_policy(html: str) -> str:
    """The Content-Security-Policy of a page: its own inline scripts run, by their digests, and no other."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _INLINE.findall(html))
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("script-src 'self'", *(f"'sha256-{digest}'" for digest in digests))),
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


class SecurityHeadersMiddleware:
    """Tells browsers to run no foreign script, fetch nothing from elsewhere, and show the pages in no frame.

    Args:
        app: what it stands in front of.
        html: the page that Streamlit serves at every address of a page.
    """

    def __init__(self, app: ASGIApp, *, html: str) -> None:
        self._app = app
        self._headers = {"Content-Security-Policy": content_security_policy(html), **HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class PrivateDownloadsMiddleware:
    """Serves a file that was made for a page to the browser of that page, and only while the page is open.

    Streamlit serves what a download button makes at /media/ to whoever knows the address. Here a cookie tells browsers
    apart, and the addresses are learned from what is sent to each page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._allowed: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what a browser may have; anything else is as if it were not there."""
        if scope["type"] == "websocket":
            await self._page(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser, names = _browser(scope), set[str]()

        async def recording_send(message: Message) -> None:
            for match in _MEDIA_ADDRESS.findall(message.get("bytes") or b""):
                if (name := match.decode()) not in names:
                    names.add(name)
                    self._allowed[browser, name] += 1
            await send(message)

        try:
            await self._app(scope, receive, recording_send)
        finally:
            for name in names:
                self._allowed[browser, name] -= 1
            self._allowed += Counter()  # lets go of those nobody was told of any more

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser = _browser(scope)
        file = _MEDIA_PATH.search(scope["path"])
        if file and not (browser and self._allowed[browser, file["id"]]):
            await Response("File not found", status_code=404)(scope, receive, send)
            return

        async def cookie_send(message: Message) -> None:
            if message["type"] == "http.response.start" and not browser:
                headers = MutableHeaders(scope=message)
                if headers.get("Content-Type", "").startswith("text/html"):
                    secure = "; Secure" if scope["scheme"] == "https" else ""
                    value = secrets.token_urlsafe(24)
                    headers.append("Set-Cookie", f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")
            await send(message)

        await self._app(scope, receive, cookie_send)


def _browser(scope: Scope) -> str:
    """The cookie by which a browser is known, "" where there is none."""
    return HTTPConnection(scope).cookies.get(COOKIE, "")
