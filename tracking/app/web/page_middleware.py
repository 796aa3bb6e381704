"""ASGI middleware of the pages: security headers, cookies over TLS alone, and downloads private to one browser."""

import base64
import hashlib
import re
import secrets
from collections import Counter

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BROWSER_COOKIE = "tracking_browser"
_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)
SECURITY_HEADERS = {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
_MEDIA_PATH = re.compile(r"(?<!/static)/media/(?P<id>[^.]*)")
_MEDIA_ADDRESS = re.compile(rb"/media/([0-9a-f]{32})")


def content_security_policy(html: str) -> str:
    """Builds the Content-Security-Policy of a page: its own inline scripts run, by their digests, and no other."""
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE_SCRIPT.findall(html))
    scripts = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:;"
        " font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    )


class SecurityHeadersMiddleware:
    """ASGI middleware that adds security headers: no foreign script, nothing fetched from elsewhere, in no frame.

    Behind TLS each cookie is one for TLS alone, those of a sign-in included, which Streamlit sets without that word.
    `html` is the page that Streamlit serves at every address of a page.
    """

    def __init__(self, app: ASGIApp, *, html: str) -> None:
        self._app = app
        self._headers = {"Content-Security-Policy": content_security_policy(html), **SECURITY_HEADERS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)  # the API has a stricter policy of its own
                if scope["scheme"] == "https":
                    message["headers"] = [_for_tls_alone(*header) for header in message["headers"]]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class PrivateDownloadsMiddleware:
    """ASGI middleware that serves a download to the browser of its page alone, and only while the page is open.

    Streamlit serves what a download button makes at /media/ to whoever knows the address. Here a cookie tells browsers
    apart, and the addresses are learned from what is sent to each page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._downloads: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what a browser may have; anything else is as if it were not there."""
        serve = {"websocket": self._serve_page, "http": self._serve_request}.get(scope["type"], self._app)
        await serve(scope, receive, send)

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser, names = _browser_id(scope), set[str]()

        async def send_and_learn(message: Message) -> None:
            for match in _MEDIA_ADDRESS.findall(message.get("bytes") or b""):
                if (name := match.decode()) not in names:
                    names.add(name)
                    self._downloads[browser, name] += 1
            await send(message)

        try:
            await self._app(scope, receive, send_and_learn)
        finally:
            for name in names:
                self._downloads[browser, name] -= 1
            self._downloads += Counter()  # drops those that no open page has any more

    async def _serve_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser = _browser_id(scope)
        file = _MEDIA_PATH.search(scope["path"])
        if file and not (browser and self._downloads[browser, file["id"]]):
            await Response("File not found", status_code=404)(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and not browser:
                headers = MutableHeaders(scope=message)
                if headers.get("Content-Type", "").startswith("text/html"):
                    value = secrets.token_urlsafe(24)
                    headers.append("Set-Cookie", f"{BROWSER_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax")
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def _for_tls_alone(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The header, with the attribute Secure where it sets a cookie without."""
    attributes = {part.strip().lower() for part in value.split(b";")[1:]}
    lacks = name.lower() == b"set-cookie" and b"secure" not in attributes
    return name, value + b"; Secure" if lacks else value


def _browser_id(scope: Scope) -> str:
    """The cookie that identifies a browser, "" where there is none."""
    return HTTPConnection(scope).cookies.get(BROWSER_COOKIE, "")
