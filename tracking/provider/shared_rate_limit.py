"""Rate limiter of all processes on one store: a call's slot is written there before the call leaves.

One row holds until when the last calls may have left, and how long the provider asked all of us to wait. Slots are
reserved in one short transaction, several at once where several callers wait or calls leave fast. A process that is
killed leaves its slots unused, which costs a second and never lets a call leave too early.
"""

import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from tracking.errors import StoreError, Throttled
from tracking.orders.observations import utc_now
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey

log = logging.getLogger(__name__)

LONGEST_WAIT = 30.0
LONGEST_PAUSE = 3600.0
PAUSED = "API calls are paused after an answer that asked to wait (429 or 503)"
NO_SLOT = f"the rate limit leaves no call free within {LONGEST_WAIT:.0f} s"
FURTHEST_SLOT = LONGEST_WAIT * 2  # a slot further ahead is of a time before the clock was set back
SOON = timedelta(seconds=1)
ENDS_APART = 0.005  # seconds; slots end at whole multiples, rounded up, so that the row holds a few numbers for many
AHEAD_WITHIN = 0.75  # of the budget: what is left of it is never reserved before a call wants it

_SERVER_CLOCK = select(func.extract("epoch", func.clock_timestamp()))


class Slot(NamedTuple):
    """When one call may leave, in monotonic seconds: not before `begin`, not after `end`."""

    begin: float
    end: float


def calls_in_window(rate: float) -> int:
    """How many calls may leave in one `window_of` the rate."""
    return max(1, int(rate))


def window_of(rate: float) -> float:
    """The seconds in which `calls_in_window` may leave: one, or more where less than one call a second may."""
    return max(1.0, 1 / rate)


class SharedRateLimit:
    """Reserves slots for calls among all processes on the store, each of which goes by its own setting of the rate.

    Processes on one SQLite file are on one machine and have its monotonic clock in common; on PostgreSQL the server's
    clock is everybody's. The wall clock is for the record only.
    """

    def __init__(
        self,
        database: Database,
        rate: float,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._in_window, self._window = calls_in_window(rate), window_of(rate)
        self._monotonic, self._clock = monotonic, clock

    async def reserve(self, count: int, slack: float, *, ahead: int = 0) -> Sequence[Slot]:
        """Reserves 1 to `count` slots, each `slack` seconds long; up to `ahead` more where the budget has room.

        Raises:
            Throttled: none is free within half a minute, or the store cannot be asked. No call may leave.
        """
        try:
            reserved = await self._database.run(lambda connection: self._reserve(connection, count, slack, ahead))
        except StoreError as exc:
            raise Throttled(
                "the database that counts the API calls cannot be read", status=429, retry_after=SOON
            ) from exc
        if isinstance(reserved, tuple):
            raise no_slot_within_reach(reserved[0], paused=reserved[1])
        return reserved

    def pause(self, seconds: float) -> None:
        """Tells all processes that the provider asked to wait for so long. Does not wait for the store."""
        pausing: Future[None] = self._database.submit(lambda connection: self._pause(connection, seconds))
        pausing.add_done_callback(_log_failure)

    def _reserve(self, connection: Connection, count: int, slack: float, ahead: int) -> list[Slot] | tuple[float, bool]:
        """The slots in monotonic seconds, or how long the next is away where too long, and whether by a pause."""
        now, earliest, latest, stored = self._read(connection)
        ends = [end for end in _read_ends(stored) if now - self._window < end <= now + FURTHEST_SLOT]
        paused_until = _paused_until(stored, now)
        slots: list[Slot] = []
        room = max(int(self._in_window * AHEAD_WITHIN) - len(ends) - count, 0)
        for _ in range(count + min(ahead, room)):
            free = ends[-self._in_window] + self._window if len(ends) >= self._in_window else now
            begin = max(free, paused_until, now)
            if begin - now > LONGEST_WAIT:
                break
            # Ends only grow, also where another process takes longer slots: a later end lets no call leave earlier.
            end = math.ceil((begin + slack) / ENDS_APART) * ENDS_APART
            ends.append(max(end, ends[-1] if ends else end))
            # Where it is not known exactly when the server's clock was read, the slot is the shorter for it.
            slots.append(Slot(latest + begin - now, earliest + begin + slack - now))
        if not slots:
            return begin - now, paused_until > now
        self._write(connection, {"ends": _runs(ends), "paused_until": paused_until, "now": now})
        return slots

    def _pause(self, connection: Connection, seconds: float) -> None:
        now, _, _, stored = self._read(connection)
        until = max(_paused_until(stored, now), now + min(seconds, LONGEST_PAUSE))
        self._write(connection, {"ends": stored.get("ends", []), "paused_until": until, "now": now})

    def _read(self, connection: Connection) -> tuple[float, float, float, dict[str, Any]]:
        """Now by the common clock, between which two times of ours that was, and the row.

        The row is locked: it is for this transaction alone to change.
        """
        if connection.dialect.name == "sqlite":
            row = connection.execute(facts.SELECT_FACT, {"key": FactKey.RATE_LIMIT}).one_or_none()
            now = self._monotonic()
            stored = _on_clock(row.value, now, self._clock() - row.at) if row else {}
            return now, now, now, stored
        facts.hold(connection)
        # A row that is not there cannot be locked.
        blank = {"key": FactKey.RATE_LIMIT, "value": {}, "at": self._clock()}
        connection.execute(facts.insert_fact(connection.dialect.name), blank)
        stored = connection.execute(facts.SELECT_FACT_FOR_UPDATE, {"key": FactKey.RATE_LIMIT}).scalar_one()
        earliest = self._monotonic()
        now = float(connection.execute(_SERVER_CLOCK).scalar_one())
        return now, earliest, self._monotonic(), stored

    def _write(self, connection: Connection, value: dict[str, Any]) -> None:
        statement = facts.upsert_fact(connection.dialect.name)
        connection.execute(statement, {"key": FactKey.RATE_LIMIT, "value": value, "at": self._clock()})


def no_slot_within_reach(seconds: float, *, paused: bool) -> Throttled:
    """Make the error of a call that may not leave for so long; no call has left."""
    return Throttled(PAUSED if paused else NO_SLOT, status=429, retry_after=timedelta(seconds=seconds))


def _read_ends(stored: dict[str, Any]) -> list[float]:
    """When the last slots end, ascending. They are stored as pairs: an end, and how many slots have it.

    An earlier version stored each end by itself.
    """
    pairs = (pair if isinstance(pair, list) else (pair, 1) for pair in stored.get("ends", ()))
    return [end for end, count in pairs for _ in range(count)]


def _on_clock(stored: dict[str, Any], now: float, elapsed: timedelta) -> dict[str, Any]:
    """The row by a monotonic clock that says `now`, as it was written so long ago by the wall clock.

    A clock that was further on then is another one: the machine was started again, or the file is on another machine.
    No slot of that time counts, and of a pause what is left by the wall clock.
    """
    written = stored.get("now", 0.0)
    if written <= now:
        return stored
    left = stored["paused_until"] - written - max(elapsed.total_seconds(), 0.0)
    return {"paused_until": now + left if left > 0 else 0.0}


def _runs(ends: list[float]) -> list[tuple[float, int]]:
    return [(end, len(list(same))) for end, same in itertools.groupby(ends)]


def _paused_until(stored: dict[str, Any], now: float) -> float:
    """Until when nobody may call. What lies further ahead than any pause was set before the clock was set back."""
    until = float(stored.get("paused_until", 0.0))
    return until if until - now <= LONGEST_PAUSE else 0.0


def _log_failure(pausing: Future[None]) -> None:
    if not pausing.cancelled() and (error := pausing.exception()) is not None:
        log.warning("the other processes were not told of the pause: %s", error)
