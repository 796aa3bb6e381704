"""Connection limits of the worker's HTTP server: header bytes, seconds for a request's head, open connections.

uvicorn limits the bytes of a head alone, and a stranger could use up the process's open files, without which neither
the store nor the provider can be reached. Beyond the limit the connection that has been waited for longest gives way.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD_BYTES = 32 * 1024
HEAD_SECONDS = 10.0
MAX_CONNECTIONS = 400
REPEAT_SECONDS = 10.0


class LimitedHttpProtocol(H11Protocol):
    """A connection that is closed where no request begins in time, or where a newcomer needs its place.

    Of uvicorn's class only the methods of `asyncio.Protocol` are overridden. The application learns from its `state`
    which connection a request came on, and tells it of the request: see `limited`.
    """

    # The limit is that of the process's open files, so it counts over all servers of the process.
    open: ClassVar[OrderedDict["LimitedHttpProtocol", None]] = OrderedDict()

    def __init__(self, *, app_state: dict[str, Any], **of_uvicorn: Any) -> None:
        super().__init__(app_state={**app_state, "connection": self}, **of_uvicorn)
        self.requests = 0  # that the application is at work on
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Takes a place, that of the longest waiting connection where there is none."""
        super().connection_made(transport)
        if len(self.open) >= MAX_CONNECTIONS:
            next((other for other in self.open if not other.requests), next(iter(self.open))).abort()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives its place back."""
        self._leave()
        super().connection_lost(exc)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Waits for no other request while the application answers this one."""
        self.requests += 1
        if self._deadline is not None:
            self._deadline.cancel()
        try:
            yield
        finally:
            self.requests -= 1
            if self in self.open and not self.requests:
                self._await_request()

    def abort(self) -> None:
        """Closes the connection, whatever it waits for."""
        self._leave()
        self.transport.abort()

    def _await_request(self) -> None:
        self._leave()
        self.open[self] = None
        self._deadline = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.abort)

    def _leave(self) -> None:
        self.open.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()


def limited(app: ASGIApp, **settings: Any) -> uvicorn.Config:
    """Configure uvicorn to serve the application on limited connections, with these settings of its own."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope.get("state", {}).get("connection")
        with connection.request() if isinstance(connection, LimitedHttpProtocol) else contextlib.nullcontext():
            await app(scope, receive, send)

    return uvicorn.Config(
        serve,
        http=LimitedHttpProtocol,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        **settings,
    )


class RepeatFilter(logging.Filter):
    """Lets the same log line or kind of exception through once in ten seconds, lest strangers fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is worth writing."""
        now, kind = time.monotonic(), (str(record.msg), record.exc_info and record.exc_info[0])
        recent = {other: at for other, at in self._logged.items() if now - at < REPEAT_SECONDS}
        self._logged = recent if kind in recent else recent | {kind: now}
        return kind not in recent


REPEAT_FILTER = RepeatFilter()
