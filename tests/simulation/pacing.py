"""When the loops of a console take their turns, in place of `loops.forever`, which would tick through virtual hours."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stepping import SteppedLoop

from tracking.errors import ProviderError, StoreError

if TYPE_CHECKING:
    from adapters import Console

TICK = 0.2
LONGEST_PACE = 15.0


class Group:
    """What `PollLoop` starts its looks in; a look catches its own errors."""

    def __init__(self, loop: SteppedLoop) -> None:
        self._loop = loop

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        return self._loop.create_task(coroutine)


class Pace:
    """Gives a loop its turns: at the time something is due, when it is woken, and never in a hot loop."""

    def __init__(self, console: "Console", turn: Callable[[], Any], due: Callable[[], float | None]) -> None:
        self._console, self._turn, self._due = console, turn, due
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._idle = 0
        self._seen = -1
        self._not_before = 0.0

    async def run(self) -> None:
        world = self._console.world
        while True:
            wait = TICK
            try:
                await self._turn()
            except (StoreError, ProviderError):
                wait = 1.0
            except Exception as exc:  # noqa: BLE001 - what a loop stumbles over is a finding
                if self._console.dead:  # what the killed process leaves behind is closed, not run
                    return
                world.auditor.stumbled(f"a loop stumbled over {exc!r}")
                wait = 1.0
            self._idle = 0 if self._seen != world.commits else min(self._idle + 1, 7)
            self._seen = world.commits
            self._not_before = world.now + max(wait, min(TICK * 2**self._idle, LONGEST_PACE))
            await self._wait()

    async def _wait(self) -> None:
        if not self._woken:
            self._waiter = self._console.loop.create_future()
            self.plan()
            await self._waiter
        self._woken, self._waiter = False, None

    def plan(self) -> None:
        """What is due may have changed."""
        if self._waiter is None or self._waiter.done():
            return
        due, world = self._due(), self._console.world
        at = None
        if due is not None:
            at = max(due, self._not_before if self._seen == world.commits else 0.0, world.now)
        if self._timer is not None:
            if self._timer.when() == at:
                return
            # After a clock was set back a turn comes within a while, and transactions of others must not put it off.
            if world.back_steps and at is not None and world.now < self._timer.when() < at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = self._console.loop.call_at(at, self.wake)

    def wake(self) -> None:
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
