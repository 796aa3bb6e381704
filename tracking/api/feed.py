"""Feed of events: what happened to orders after a cursor, without gaps; a caller may wait for more."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from tracking.api import cursors
from tracking.api.problems import Refusal
from tracking.api.reading import Document, event_record
from tracking.api.service import Service
from tracking.errors import StoreError
from tracking.orders.wording import describe_event
from tracking.storage.database import Database
from tracking.storage.integration import event_feed
from tracking.storage.integration.event_feed import Horizon

LONGEST_WAIT = 30
WAITING_AT_MOST, OF_ONE_TOKEN = 100, 10
LOOK_EVERY = 0.5
LOOK_WHO_WAITS = 2.0  # seconds after which it is found that a caller is gone
SETTLED_WITHIN = 1.0  # seconds in which what others write at the moment is committed, nearly always
SETTLES_EVERY = 0.02
_OF = "events"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the feed; without a cursor it begins at `since`, or at the oldest event."""

    cursor: str | None
    since: datetime | None
    kinds: Collection[str]
    limit: int


def feed_document(database: Database, horizon: Horizon, asked: Asked) -> Document:
    """The events behind the cursor, and the cursor behind them; `more` where there are more at once."""
    given = cursors.decode(asked.cursor, _OF, [int, int, int]) if asked.cursor is not None else None
    if given is not None and None in given:
        raise cursors.refused()
    with database.read() as connection:
        until, newest = horizon.advance(connection)
        number = _beginning(connection, asked, given, until)
        tries_until = time.monotonic() + SETTLED_WITHIN
        while until < newest and until <= number and time.monotonic() < tries_until:
            time.sleep(SETTLES_EVERY)
            until, _ = horizon.advance(connection)
        rows = event_feed.events_after(connection, number, until, asked.limit)
    place = [rows[-1]["id"], rows[-1]["order_id"], rows[-1]["seq"]] if rows else given or [number, 0, 0]
    events = [
        {"po_number": row["po_number"], "provider_id": row["provider_id"], **event_record(describe_event(row))}
        for row in rows
        if not asked.kinds or row["kind"] in asked.kinds
    ]
    return {"events": events, "next_cursor": cursors.encode(_OF, place), "more": len(rows) == asked.limit}


def _beginning(connection: Connection, asked: Asked, given: list[int] | None, settled: int) -> int:
    """The number behind which the events are. Raises Refusal where the cursor is of a log that is another one now."""
    if given is not None:
        number, *of = given
        there = event_feed.identity(connection, number)
        replaced = there is not None and any(of) and there != tuple(of)
        if replaced or number > event_feed.newest_number(connection):
            raise Refusal("replaced", "The event that this cursor stands for is not in the log any more.")
        return number
    if asked.since is None:
        return 0
    first = event_feed.first_since(connection, asked.since)
    return settled if first is None else min(first, settled)


class Feed:
    """The feed as callers wait for it: one look at the store for all that wait, twice a second."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._horizon = Horizon()
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._of: Counter[int] = Counter()
        self._looking: asyncio.Task[None] | None = None

    def read(self, asked: Asked) -> Document:
        """The events behind the cursor."""
        return feed_document(self._service.database, self._horizon, asked)

    @contextlib.contextmanager
    def place(self, token_id: int) -> Iterator[None]:
        """A place among those that wait. Raises Refusal where there is none left."""
        if self._of.total() >= WAITING_AT_MOST or self._of[token_id] >= OF_ONE_TOKEN:
            raise Refusal("too-many-requests", "Too many requests wait for events.", headers={"Retry-After": "5"})
        self._of[token_id] += 1
        try:
            yield
        finally:
            self._of[token_id] -= 1

    async def news(self, since: int, seconds: float) -> bool:
        """Wait so long for an event behind this number at most; whether one came."""
        news = asyncio.get_running_loop().create_future()
        self._waiting[news] = since
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news
        self._waiting.pop(news, None)
        return news.done() and not news.cancelled()

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_EVERY)
            if server_ends():
                self._release(list(self._waiting))
                return
            with contextlib.suppress(StoreError, Refusal):  # who waits reads it then, and gets the error
                newest = await self._service.run(self._newest)
                self._release([news for news, since in self._waiting.items() if newest > since])

    def _release(self, those: list[asyncio.Future[None]]) -> None:
        for news in those:
            if not news.done():
                news.set_result(None)

    def _newest(self) -> int:
        with self._service.database.read() as connection:
            return event_feed.newest_number(connection)


def server_ends() -> bool:
    """Whether the server of this process was told to end: it waits for all answers, and waits for these in vain.

    uvicorn takes the signal by a method of its server, which says so.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))


def number_of(document: Document) -> int:
    """The number that the next page of the feed begins behind."""
    return int(cursors.decode(document["next_cursor"], _OF, [int, int, int])[0])
