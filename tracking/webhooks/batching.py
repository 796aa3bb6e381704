"""Work that gathers: what comes while a round is at work goes into the next one, and each caller gets its own part.

Knows an event loop and nothing else. One round at a time, so however much comes, the work at once stays that of one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Gathering(Generic[T, R]):
    """Does the work of many callers in rounds.

    Args:
        work: does one round; returns a result for each item, in their order. What it raises goes to every caller of
            the round.
        most: how many items go into one round.
        pause: seconds from the end of a round to the next.
    """

    def __init__(
        self, work: Callable[[list[T]], Awaitable[list[R]]], *, most: int = 10_000, pause: float = 0.0
    ) -> None:
        self._work = work
        self._most = most
        self._pause = pause
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._rounds: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is at work."""
        return self._rounds is None

    async def add(self, item: T) -> R:
        """The item's result, after the round it went into. A caller that goes away takes nothing from the others."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._round()
                if self._pause:
                    await asyncio.sleep(self._pause)
        finally:
            self._rounds = None
            while self._waiting:  # only where the loop ends under us
                self._waiting.popleft()[1].cancel()

    async def _round(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        try:
            results = await self._work([item for item, _ in taken])
        except asyncio.CancelledError:
            for _, done in taken:
                done.cancel()
            raise
        except Exception as exc:  # noqa: BLE001 - each caller gets it
            for _, done in taken:
                if not done.done():
                    done.set_exception(exc)
            return
        for (_, done), result in zip(taken, results, strict=True):
            if not done.done():
                done.set_result(result)
