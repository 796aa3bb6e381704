"""After a sign-in, leads people to the page that they had asked for, in place of the first one."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracking.app.web.page_access import CALLBACK_PATH
from tracking.app.web.page_middleware import BROWSER_COOKIE

_SIGN_IN_COOKIE = b"_streamlit_user="
LONGEST_SIGN_IN = 15 * 60.0
MOST = 10_000


class Landings:
    """Which page each browser asked for that signs in just now: the newest 10,000, for a quarter of an hour.

    In memory: what a process that ended had of it is forgotten, and people land on the first page.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._pages: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def note(self, browser: str, address: str) -> None:
        """Note the page at this address, of which only path and query count; without a browser's cookie nothing."""
        parts = urlsplit(address)
        if not browser or not parts.path.startswith("/") or parts.path.startswith(("//", "/\\")):
            return
        with self._lock:
            self._pages.pop(browser, None)
            self._pages[browser] = self._clock(), parts.path + (f"?{parts.query}" if parts.query else "")
            while len(self._pages) > MOST:
                self._pages.popitem(last=False)

    def take(self, browser: str) -> str | None:
        """Return the page that this browser asked for, once; None where none is noted or that was too long ago."""
        with self._lock:
            noted_at, page = self._pages.pop(browser, (0.0, None))
        return page if self._clock() - noted_at <= LONGEST_SIGN_IN else None


LANDINGS = Landings()


class SignInLandingMiddleware:
    """ASGI middleware that sends a browser, once its sign-in succeeded, to the page that it had asked for."""

    def __init__(self, app: ASGIApp, *, landings: Landings = LANDINGS) -> None:
        self._app = app
        self._landings = landings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves the request; of the answer to a sign-in it changes where that leads to."""
        if scope["type"] != "http" or not scope["path"].endswith(CALLBACK_PATH):
            await self._app(scope, receive, send)
            return

        async def send_to_page(message: Message) -> None:
            if message["type"] == "http.response.start" and _signs_in(message):
                browser = HTTPConnection(scope).cookies.get(BROWSER_COOKIE, "")
                if page := self._landings.take(browser):
                    MutableHeaders(scope=message)["Location"] = page
            await send(message)

        await self._app(scope, receive, send_to_page)


def _signs_in(message: Message) -> bool:
    """Whether this is the redirect that also sets the cookie of a sign-in; one that ends it sets it to nothing."""
    cookies = [value for name, value in message["headers"] if name.lower() == b"set-cookie"]
    given = [
        cookie.removeprefix(_SIGN_IN_COOKIE).lstrip(b'"') for cookie in cookies if cookie.startswith(_SIGN_IN_COOKIE)
    ]
    return bool(message["status"] == 302 and any(not value.startswith(b";") and value for value in given))
