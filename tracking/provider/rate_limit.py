"""The budget of calls: how many may leave in a second, and how long none may leave while the provider asks to wait.

Owns the reading of Retry-After. Makes no call, reads no clock but the monotonic one it is given, and knows nothing of
what is called. Where several processes share the budget, `Shared` says when a call may leave (see `allowance`).
"""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

from tracking.errors import Throttled

MAX_IN_FLIGHT = 20
LONGEST_WAIT = 30.0
LONGEST_PAUSE = 3600.0
FIRST_PAUSE, LAST_PAUSE = 5.0, 300.0
SHORTEST_SLACK, LONGEST_SLACK = 0.05, 5.0  # between when a call may leave and when it must have left


class Slot(NamedTuple):
    """When one call may leave, in monotonic seconds: not before `begin`, not after `end`."""

    begin: float
    end: float


class Shared(Protocol):
    """The budget of all processes together."""

    async def reserve(self, count: int, slack: float) -> Sequence[Slot]:
        """Reserves 1 to `count` slots, each `slack` seconds long.

        Raises:
            Throttled: no call may leave.
        """

    def pause(self, seconds: float) -> None:
        """Tells all that the provider asked to wait for so long. Does not wait."""


def calls_in_window(rate: float) -> int:
    """How many calls may leave in one `window_of` the rate."""
    return max(1, int(rate))


def window_of(rate: float) -> float:
    """The seconds in which `calls_in_window` may leave: one, or more where less than one call a second may."""
    return max(1.0, 1 / rate)


class Budget:
    """At most `rate` calls in any one second, and none while the provider asked to wait. Monotonic seconds.

    With `shared`, all processes together make no more than that.
    """

    def __init__(
        self,
        rate: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        shared: Shared | None = None,
    ) -> None:
        self.rate = rate
        self.paused_until = 0.0
        self._monotonic, self._sleep = monotonic, sleep
        self._calls_in_window = calls_in_window(rate)
        # One hundredth more, so that a clock of little resolution sees no call too many either.
        self._window = window_of(rate) * 1.01
        self._starts: deque[float] = deque(maxlen=max(self._calls_in_window, int(rate * 60) + 1))
        self._waiting = 0
        self._turn, self._in_flight = asyncio.Lock(), asyncio.Semaphore(MAX_IN_FLIGHT)
        self._pause_set_at = -1.0
        self._next_pause = FIRST_PAUSE
        self._shared = shared
        self._slots: deque[Slot] = deque()
        self._slack = SHORTEST_SLACK

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for the call's turn and keeps one of the places in flight until the call is over.

        Raises:
            Throttled: the turn is more than half a minute away. The call has not left; the status is 429 for that.
        """
        self._refuse_long(self._wait() + self._waiting // self._calls_in_window * self._window)
        self._waiting += 1
        waiting = True
        try:
            async with self._in_flight:
                async with self._turn:
                    if self._shared is None:
                        await self._until(0.0)
                    else:
                        await self._slot(self._shared)
                    self._starts.append(self._monotonic())
                self._waiting -= 1
                waiting = False
                yield
        finally:
            self._waiting -= waiting

    async def _until(self, begin: float) -> None:
        while (wait := max(self._wait(), begin - self._monotonic())) > 0:
            self._refuse_long(wait)
            await self._sleep(wait)

    async def _slot(self, shared: Shared) -> None:
        """Waits for a slot that was reserved. One that was missed is lost: another takes its place."""
        while True:
            now = self._monotonic()
            while self._slots and self._slots[0].end <= now:
                self._slots.popleft()
            if fresh := not self._slots:
                # One for each call that waits, so that they share a transaction.
                self._slots.extend(await shared.reserve(min(self._waiting, self._calls_in_window), self._slack))
            slot = self._slots.popleft()
            await self._until(slot.begin)
            if self._monotonic() <= slot.end:
                self._slack = max(self._slack * 0.9, SHORTEST_SLACK)
                return
            if fresh:  # the store takes longer than that to commit, or this process is held up
                self._slack = min(self._slack * 2, LONGEST_SLACK)

    def room(self) -> int:
        """How many calls can leave within the next second, beside those that wait for their turn already."""
        now = self._monotonic()
        if self.paused_until > now + 1:
            return 0
        recent = sum(1 for start in self._starts if start + self._window > now + 1)
        return max(self._calls_in_window - recent - self._waiting, 0 if self._waiting else 1)

    def _wait(self) -> float:
        now = self._monotonic()
        free_at = self.paused_until
        if len(self._starts) >= self._calls_in_window:
            free_at = max(free_at, self._starts[-self._calls_in_window] + self._window)
        return free_at - now

    def _refuse_long(self, wait: float) -> None:
        if wait > LONGEST_WAIT:
            raise Throttled("no call is free for now", status=429, retry_after=timedelta(seconds=wait))

    def pause(self, seconds: float | None, called_at: float) -> float:
        """Lets no call leave for so long; None: five seconds, twice as long each time up to five minutes."""
        now = self._monotonic()
        if seconds is None and called_at <= self._pause_set_at:
            # The call left before the pause that is in force: the same trouble, not worse trouble.
            seconds = max(self.paused_until - now, 0.0)
        elif seconds is None:
            seconds, self._next_pause = self._next_pause, min(self._next_pause * 2, LAST_PAUSE)
            self._pause_set_at = now
        if self._shared is not None and now + seconds > self.paused_until:
            self._shared.pause(seconds)
        self.paused_until = max(self.paused_until, now + seconds)
        return self.paused_until - now

    def went_well(self) -> None:
        """The provider answers again: the next pause without a Retry-After is a short one."""
        self._next_pause = FIRST_PAUSE

    def last_minute(self) -> int:
        """How many calls left in the last minute."""
        since = self._monotonic() - 60
        return sum(1 for start in self._starts if start > since)


def seconds_asked(retry_after: str | None, now: datetime) -> float | None:
    """The seconds a Retry-After asks for, a second at least; None where it is missing, unreadable or absurd.

    More than an hour is absurd: obeying it, even in part, would let one mistaken header stop all calls for long.
    """
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        asked = float(text)  # Infinity for more digits than a float holds.
    else:
        try:
            at = parsedate_to_datetime(text)
            asked = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return max(asked, 1.0) if asked <= LONGEST_PAUSE else None
