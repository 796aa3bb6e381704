"""ASGI entry of the API: authenticates, limits rate and size, sets headers; loads FastAPI for the first caller.

What is made of FastAPI is imported for the first caller with a token: a start waits for none of it.
"""

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tracking.api.callers.limits import RateLimit
from tracking.api.callers.origins import check_origin
from tracking.api.callers.tokens import Caller, find_caller
from tracking.api.problems import Refusal, refusal_of
from tracking.api.service import Service
from tracking.errors import TrackingError
from tracking.storage.database import Database

log = logging.getLogger(__name__)

LARGEST_BODY = 2 * 1024 * 1024
SECONDS_TO_READ = 20.0
PUBLIC = frozenset({"/api/v1/openapi.json", "/api/v1/docs"})
OTHER = "other"
INSTALL_MCP = "pip install 'fulfillment-tracking[mcp]'"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class _Endpoint:
    """An ASGI endpoint, at one path or below it, wherever the console is served.

    `requests` counts answers by method, route and status, without anything that a caller chose.
    """

    route = OTHER  # of what has no route of its own

    def __init__(self, service: Service, limit: RateLimit, requests: Counter[tuple[str, str, int]]) -> None:
        self.service, self.limit, self.requests = service, limit, requests
        self._application: ASGIApp | None = None
        self._making = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = self.path(scope)
        exchange = _Exchange(scope, scope["path"].removesuffix(path), send, self.route)
        try:
            await self._answer(exchange, path, receive)
        except Refusal as exc:
            await exchange.refuse(exc)
        except TrackingError as exc:
            await exchange.refuse(refusal_of(exc))
        except Exception:
            log.exception("a request of the API ended with an error")
            if not exchange.status:
                await exchange.refuse(Refusal("unexpected", "The request could not be answered."))
        finally:
            self.requests[exchange.method, exchange.route, exchange.status] += 1

    def path(self, scope: Scope) -> str:
        """The path of the request, without the one below which the console is served."""
        raise NotImplementedError

    def check(self, headers: Headers) -> None:
        """Refuse requests that no token allows. Raises Refusal."""

    def make(self) -> ASGIApp:
        """Make the application that answers."""
        raise NotImplementedError

    async def _answer(self, exchange: "_Exchange", path: str, receive: Receive) -> None:
        self.check(exchange.headers)
        caller = None if path in PUBLIC else await self._authenticate(exchange.headers)
        if caller is not None and (wait := self.limit.wait(caller.token_id)):
            retry = {"Retry-After": f"{int(wait) + 1}"}
            raise Refusal("too-many-requests", "This token asks too often.", headers=retry)
        body = await read_body(exchange.headers, receive) if exchange.method == "POST" else b""
        application = self._application
        if application is None:
            application = await self.service.run(self._make_once)
        await application(exchange.inner(caller), _replay(body, receive), exchange.send)

    async def _authenticate(self, headers: Headers) -> Caller:
        given = headers.getlist("authorization")
        scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal("unauthorized", "There is no token in the header Authorization.")
        service = self.service
        return await service.run(lambda: find_caller(service.database, token.strip(), service.clock()))

    def _make_once(self) -> ASGIApp:
        with self._making:
            application = self._application
            if application is None:
                self._application = application = self.make()
            return application


class Api(_Endpoint):
    """All addresses below /api."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime],
        secrets: Sequence[str],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(Service(database, clock, secrets, wake), RateLimit(), Counter())

    def path(self, scope: Scope) -> str:
        """The path from /api on."""
        return f"/api/{scope.get('path_params', {}).get('rest', '')}"

    def make(self) -> ASGIApp:
        """Make it of FastAPI."""
        from tracking.api.application import make_application  # noqa: PLC0415 - brings FastAPI: see above

        return make_application(self.service)


class Assistants(_Endpoint):
    """The address of assistants, /mcp, for the same callers; `names` are those under which the console is served."""

    route = "/mcp"

    def __init__(self, api: Api, names: Collection[str] = ()) -> None:
        super().__init__(api.service, api.limit, api.requests)
        self._names = frozenset(names)

    def path(self, _: Scope) -> str:
        """It is the only one."""
        return self.route

    def check(self, headers: Headers) -> None:
        """Refuse what comes from a page of another site."""
        check_origin(headers, self._names)

    def make(self) -> ASGIApp:
        """Make it of the package `mcp`. Raises Refusal where that is not installed."""
        try:
            from tracking.api.mcp.endpoint import make_endpoint  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as exc:
            if (exc.name or "").partition(".")[0] not in {"mcp", "mcp_types"}:
                raise
            raise Refusal("no-such-address", f"Nothing is here without a package: {INSTALL_MCP}.") from exc
        return make_endpoint(self.service)


class _Exchange:
    """One request and its answer, which carries the API's headers; the answer to HEAD has no body."""

    def __init__(self, scope: Scope, prefix: str, send: Send, route: str) -> None:
        self._scope, self._prefix, self._send, self._route = scope, prefix, send, route
        self.headers = Headers(scope=scope)
        self._given = str(scope["method"])
        self.method = self._given if self._given in {"GET", "HEAD", "POST"} else OTHER
        self.status = 0
        self._inner: Scope = {}

    @property
    def route(self) -> str:
        """The template of the address, with nothing in it that a caller chose."""
        return str(getattr(self._inner.get("route"), "path_format", self._route))

    def inner(self, caller: Caller | None) -> Scope:
        """The request as the application gets it: below no prefix, HEAD as GET, and by whom."""
        self._inner = {
            **self._scope,
            "method": "GET" if self._given == "HEAD" else self._given,
            "root_path": self._prefix,
            "route": None,
            "state": {**self._scope.get("state", {}), "caller": caller, "prefix": self._prefix},
        }
        return self._inner

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif message["type"] == "http.response.body" and self._given == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a problem."""
        await self.respond(refusal.response(self._prefix))

    async def respond(self, response: Response) -> None:
        """Answer with this."""
        with contextlib.suppress(RuntimeError):  # of a connection that is closed by now
            await response(self._scope, _nothing, self.send)


async def read_body(headers: Headers, receive: Receive, largest: int = LARGEST_BODY) -> bytes:
    """Read a body of so many bytes at most, within some seconds. Raises Refusal."""
    too_large = Refusal("too-large", f"The body may have {largest // 1024:,} kB at most.")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > largest:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS_TO_READ):
            while (message := await receive())["type"] == "http.request":
                content += message.get("body", b"")
                if len(content) > largest:
                    raise too_large
                if not message.get("more_body"):
                    break
    except TimeoutError as exc:
        raise Refusal("too-slow-body", f"The body took longer than {SECONDS_TO_READ:.0f} s.") from exc
    return bytes(content)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body as if it came now; after it what really comes: that the caller is gone."""
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return parts.pop() if parts else await receive()

    return receive_again


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
