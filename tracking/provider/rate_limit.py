"""Rate limiter of this process: calls a second, and none while the provider asks to wait.

Owns the reading of Retry-After. Makes no call, reads no clock but the monotonic one it is given, and knows nothing of
what is called. Where several processes share the rate limit, `SharedRateLimit` says when a call may leave.
"""

import asyncio
import contextlib
import itertools
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tracking.errors import Throttled
from tracking.provider import shared_rate_limit
from tracking.provider.shared_rate_limit import (
    LONGEST_PAUSE,
    LONGEST_WAIT,
    SharedRateLimit,
    Slot,
    no_slot_within_reach,
)

MAX_IN_FLIGHT = 20
FIRST_BACKOFF, LONGEST_BACKOFF = 5.0, 300.0
ASKED_AGAIN_AFTER = 60.0  # where the store says that no call is free for longer
SHORTEST_SLACK, LONGEST_SLACK = 0.05, 5.0  # between when a call may leave and when it must have left
AHEAD = 0.1  # seconds for which slots are reserved ahead, where calls leave so fast that this spares transactions
FEWEST_AHEAD = 4  # calls within that time; below, slots would stay unused more often than they spare anything


class RateLimiter:
    """Lets at most `rate` calls leave in any one second, and none while the provider asked to wait.

    With `shared`, all processes together make no more than that. Times are in seconds of `monotonic`.
    """

    def __init__(
        self,
        rate: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        shared: SharedRateLimit | None = None,
    ) -> None:
        self.rate = rate
        self.paused_until = 0.0
        self._monotonic, self._sleep = monotonic, sleep
        self._calls_in_window = shared_rate_limit.calls_in_window(rate)
        # One hundredth more, so that a clock of little resolution sees no call too many either.
        self._window = shared_rate_limit.window_of(rate) * 1.01
        self._starts: deque[float] = deque(maxlen=max(self._calls_in_window, int(rate * 60) + 1))
        self._waiting = 0
        self._order, self._in_flight = asyncio.Lock(), asyncio.Semaphore(MAX_IN_FLIGHT)
        self._backoff_set_at = -1.0
        self._next_backoff = FIRST_BACKOFF
        self._shared = shared
        self._reserved: deque[Slot] = deque()
        self._slack = SHORTEST_SLACK
        self._none_free_until = 0.0

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Waits for the call's slot, yields when it leaves, and holds a place in flight until it is over.

        Raises:
            Throttled: the slot is more than half a minute away. The call has not left; the status is 429 for that.
        """
        self._refuse_long(self._wait() + self._waiting // self._calls_in_window * self._window)
        self._waiting += 1
        is_waiting = True
        try:
            async with self._in_flight:
                async with self._order:
                    if self._shared is None:
                        await self._wait_until(0.0)
                    else:
                        await self._reserved_slot(self._shared)
                    left_at = self._monotonic()
                    self._starts.append(left_at)
                self._waiting -= 1
                is_waiting = False
                yield left_at
        finally:
            self._waiting -= is_waiting

    async def _wait_until(self, begin: float) -> None:
        while (wait := max(self._wait(), begin - self._monotonic())) > 0:
            self._refuse_long(wait)
            await self._sleep(wait)

    async def _reserved_slot(self, shared: SharedRateLimit) -> None:
        """Waits for a slot that was reserved. One that was missed is lost: another takes its place."""
        while True:
            now = self._monotonic()
            while self._reserved and self._reserved[0].end <= now:
                self._reserved.popleft()
            if reserved_now := not self._reserved:
                self._reserved.extend(await self._reserve(shared))
            slot = self._reserved.popleft()
            await self._wait_until(slot.begin)
            if self._monotonic() <= slot.end:
                self._slack = max(self._slack * 0.9, SHORTEST_SLACK)
                return
            if reserved_now:  # the store takes longer than that to commit, or this process is held up
                self._slack = min(self._slack * 2, LONGEST_SLACK)

    async def _reserve(self, shared: SharedRateLimit) -> Sequence[Slot]:
        """One slot for each call that waits, and for as many more as left of late while the budget has room.

        Where another process was asked to wait, none is tried for a while.
        """
        waiting = min(self._waiting, self._calls_in_window)
        recent = self._left_since(self._monotonic() - AHEAD)
        try:
            if recent < FEWEST_AHEAD:
                return await shared.reserve(waiting, self._slack)
            return await shared.reserve(waiting, self._slack + AHEAD, ahead=recent)
        except Throttled as exc:
            wait = min(exc.retry_after.total_seconds(), ASKED_AGAIN_AFTER)
            self._none_free_until = self._monotonic() + wait
            raise

    def available(self) -> int:
        """How many calls can leave within the next second, beside those that wait for their slot already."""
        now = self._monotonic()
        if max(self.paused_until, self._none_free_until) > now + 1:
            return 0
        recent = self._left_since(now + 1 - self._window)
        return max(self._calls_in_window - recent - self._waiting, 0 if self._waiting else 1)

    def _wait(self) -> float:
        now = self._monotonic()
        free_at = self.paused_until
        if len(self._starts) >= self._calls_in_window:
            free_at = max(free_at, self._starts[-self._calls_in_window] + self._window)
        return free_at - now

    def _refuse_long(self, wait: float) -> None:
        if wait > LONGEST_WAIT:
            raise no_slot_within_reach(wait, paused=self.paused_until > self._monotonic())

    def pause(self, seconds: float | None, called_at: float) -> float:
        """Lets no call leave for so long; None: five seconds, twice as long each time up to five minutes."""
        now = self._monotonic()
        if seconds is None and called_at <= self._backoff_set_at:
            # The call left before the pause that is in force: the same trouble, not worse trouble.
            seconds = max(self.paused_until - now, 0.0)
        elif seconds is None:
            seconds, self._next_backoff = self._next_backoff, min(self._next_backoff * 2, LONGEST_BACKOFF)
            self._backoff_set_at = now
        if self._shared is not None and now + seconds > self.paused_until:
            self._shared.pause(seconds)
        self.paused_until = max(self.paused_until, now + seconds)
        return self.paused_until - now

    def reset_backoff(self) -> None:
        """The provider answers again: the next pause without a Retry-After is a short one."""
        self._next_backoff = FIRST_BACKOFF

    def calls_in_last_minute(self) -> int:
        """How many calls left in the last minute."""
        return self._left_since(self._monotonic() - 60)

    def _left_since(self, since: float) -> int:
        return sum(1 for _ in itertools.takewhile(lambda start: start > since, reversed(self._starts)))


def parse_retry_after(retry_after: str | None, now: datetime) -> float | None:
    """The seconds a Retry-After asks for, a second at least; None where it is missing, unreadable or absurd.

    More than an hour is absurd: obeying it, even in part, would let one mistaken header stop all calls for long.
    """
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        seconds = float(text)  # Infinity for more digits than a float holds.
    else:
        try:
            at = parsedate_to_datetime(text)
            seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return max(seconds, 1.0) if seconds <= LONGEST_PAUSE else None
