"""The calls of all processes on one store: who may call when is written down there before a call leaves.

One row holds until when the last calls may have left, and how long the provider asked all of us to wait. Slots are
reserved in one short transaction, several at once where several callers wait. A process that is killed leaves its slots
unused, which costs a second and never lets a call leave too early.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from tracking.errors import StoreError, Throttled
from tracking.provider.rate_limit import LONGEST_PAUSE, LONGEST_WAIT, Slot, calls_in_window, window_of
from tracking.storage import facts
from tracking.storage.database import Database

log = logging.getLogger(__name__)

KEY = "budget"
FURTHEST = LONGEST_WAIT * 2  # a slot further ahead is of a time before the clock was set back
SOON = timedelta(seconds=1)

_SERVER_CLOCK = select(func.extract("epoch", func.clock_timestamp()))


def _now() -> datetime:
    return datetime.now(UTC)


class Allowance:
    """Slots for calls, shared by all processes on the store; see `budget.Shared`.

    Args:
        database: the store. Processes on one SQLite file are on one machine and have its monotonic clock in common;
            on PostgreSQL the server's clock is everybody's.
        rate: calls a second over everything. Each process goes by its own setting.
        monotonic: what the caller measures its waits with, in seconds.
        clock: the wall clock, for the record only.
    """

    def __init__(
        self,
        database: Database,
        rate: float,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._database = database
        self._in_window, self._window = calls_in_window(rate), window_of(rate)
        self._monotonic, self._clock = monotonic, clock

    async def reserve(self, count: int, slack: float) -> Sequence[Slot]:
        """Reserves 1 to `count` slots, each `slack` seconds long.

        Raises:
            Throttled: none is free within half a minute, or the store cannot be asked. No call may leave.
        """
        try:
            taken = await asyncio.wrap_future(
                self._database.submit(lambda connection: self._take(connection, count, slack))
            )
        except StoreError as exc:
            raise Throttled("the store that counts the calls cannot be asked", status=429, retry_after=SOON) from exc
        if isinstance(taken, float):
            raise Throttled("no call is free for now", status=429, retry_after=timedelta(seconds=taken))
        return taken

    def pause(self, seconds: float) -> None:
        """Tells all processes that the provider asked to wait for so long. Does not wait for the store."""
        told: Future[None] = self._database.submit(lambda connection: self._pause(connection, seconds))
        told.add_done_callback(_logged)

    def _take(self, connection: Connection, count: int, slack: float) -> list[Slot] | float:
        """The slots in monotonic seconds, or how long the next one is away where that is too long."""
        now, earliest, latest, kept = self._kept(connection)
        ends = [end for end in kept.get("ends", ()) if now - self._window < end <= now + FURTHEST]
        paused = _paused(kept, now)
        slots: list[Slot] = []
        for _ in range(count):
            free = ends[-self._in_window] + self._window if len(ends) >= self._in_window else now
            begin = max(free, paused, now)
            if begin - now > LONGEST_WAIT:
                break
            # Ends ascend, also where another process has taken longer slots.
            ends.append(max(begin + slack, ends[-1] if ends else begin))
            # Where it is not known exactly when the server's clock was read, the slot is the shorter for it.
            slots.append(Slot(latest + begin - now, earliest + begin + slack - now))
        if not slots:
            return begin - now
        self._keep(connection, {"ends": ends[-self._in_window :], "paused_until": paused})
        return slots

    def _pause(self, connection: Connection, seconds: float) -> None:
        now, _, _, kept = self._kept(connection)
        until = max(_paused(kept, now), now + min(seconds, LONGEST_PAUSE))
        self._keep(connection, {"ends": kept.get("ends", []), "paused_until": until})

    def _kept(self, connection: Connection) -> tuple[float, float, float, dict[str, Any]]:
        """Now by the common clock, between which two times of ours that was, and what is written down.

        What is written down is for this transaction alone to change.
        """
        if connection.dialect.name == "sqlite":
            row = connection.execute(facts.SELECT_FACT, {"wanted": KEY}).one_or_none()
            now = self._monotonic()
            return now, now, now, row[1] if row else {}
        # A row that is not there cannot be locked.
        blank = {"key": KEY, "value": {}, "at": self._clock()}
        connection.execute(facts.insert_fact(connection.dialect.name), blank)
        kept = connection.execute(facts.SELECT_FACT_FOR_UPDATE, {"wanted": KEY}).scalar_one()
        earliest = self._monotonic()
        now = float(connection.execute(_SERVER_CLOCK).scalar_one())
        return now, earliest, self._monotonic(), kept

    def _keep(self, connection: Connection, value: dict[str, Any]) -> None:
        keeping = facts.upsert_fact(connection.dialect.name)
        connection.execute(keeping, {"key": KEY, "value": value, "at": self._clock()})


def _paused(kept: dict[str, Any], now: float) -> float:
    """Until when nobody may call. What lies further ahead than any pause was set before the clock was set back."""
    until = float(kept.get("paused_until", 0.0))
    return until if until - now <= LONGEST_PAUSE else 0.0


def _logged(told: Future[None]) -> None:
    if not told.cancelled() and (error := told.exception()) is not None:
        log.warning("the other processes were not told of the pause: %s", error)
