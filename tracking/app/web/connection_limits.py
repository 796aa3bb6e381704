"""What a connection of the worker's server may cost: header bytes, seconds, and places among the open files.

uvicorn bounds none of the three before a request is complete, and a stranger could fill the memory with one header or
use up the process's open files, without which neither the store nor the provider can be reached. Where there is no
place, the connection that has been waited for longest gives way, never the newcomer.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 32 * 1024
SECONDS_FOR_A_REQUEST = 10.0
CONNECTIONS = 400
SECONDS_BETWEEN_LINES = 10.0


class BoundedProtocol(HttpToolsProtocol):
    """A connection that is closed where its request does not arrive whole, in time and in bounds."""

    # The bound is that of the process's open files, so it counts over all servers of the process.
    open: ClassVar[OrderedDict["BoundedProtocol", None]] = OrderedDict()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed = 0
        self._head = 0
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_answering(self) -> bool:
        """Whether a request has arrived whole and its answer is being made."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Takes a place, and the longest waiting one's where there is none."""
        super().connection_made(transport)
        if len(self.open) >= CONNECTIONS:
            waiting = next((known for known in self.open if not known.is_answering), next(iter(self.open)))
            waiting.give_way()
        self.open[self] = None
        self._expect_a_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives its place back."""
        self.open.pop(self, None)
        self._forget_the_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came, unless the parser holds too much of a head that does not end."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > LARGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")

    def send_400_response(self, msg: str) -> None:
        """Says so and closes; what is at work on the request has nobody left to answer."""
        super().send_400_response(msg)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Takes a part of the request's target."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header."""
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def _grow(self, more: int) -> None:
        self._head += more
        if self._head > LARGEST_HEAD:
            raise ValueError("the head of the request is too large")  # the parser stops there, and uvicorn says 400

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body, whose size is for the application to judge."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What comes from now on is another request's."""
        self._unparsed = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The time for the next request begins."""
        super().on_response_complete()
        if self in self.open:
            self.open.move_to_end(self)
            self._expect_a_request()

    def _expect_a_request(self) -> None:
        self._forget_the_deadline()
        self._deadline = self.loop.call_later(SECONDS_FOR_A_REQUEST, self._time_is_over)

    def _forget_the_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _time_is_over(self) -> None:
        if not self.is_answering:
            self.give_way()

    def give_way(self) -> None:
        """Closes the connection, whatever it waits for."""
        self.open.pop(self, None)
        self._forget_the_deadline()
        self.transport.abort()


class Sparing(logging.Filter):
    """Lets the same line, or the same kind of exception, through once in ten seconds.

    A server tells of every broken request it gets, of some with a stack trace, and strangers would fill the disk.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is worth writing."""
        now, line = time.monotonic(), (str(record.msg), record.exc_info and record.exc_info[0])
        if now - self._said.get(line, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
            return False
        self._said = {known: at for known, at in self._said.items() if now - at < SECONDS_BETWEEN_LINES} | {line: now}
        return True


SPARING = Sparing()
