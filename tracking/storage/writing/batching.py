"""Batching: does the work of many callers together, one batch at a time, and gives each caller its own result.

What arrives while one batch is being done waits for the next. For callers whose items become one job of the writer:
webhook calls, answers to POSTs, unchanged polls. Knows an event loop and the store's errors, and no database.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from tracking.errors import StoreBusy, StoreUnusable

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

TURNS_OF_AN_ARRIVAL = 2  # of the loop: one reads from the socket, the next runs the task that submits
# A caller whose item is done often has the next one at once. Without a wait the first of them to come back would be a
# batch by itself and all the others the next one, and so on for ever.
NEXT_WITHIN = 0.5  # of the time that the last batch took


class Batcher(Generic[T, R]):
    """Does the work of many callers in batches of `most` items, with a `pause` in seconds from one to the next.

    `work` does a batch and returns a result for each item, in their order; what it raises goes to every caller in it.
    Before a batch begins, items that are just arriving are let in, for `gather` seconds at the most. After a batch, its
    callers are given half the time that it took to come with their next items. A caller alone waits for nothing.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Awaitable[list[R]]],
        *,
        most: int = 10_000,
        pause: float = 0.0,
        gather: float = 0.0,
    ) -> None:
        self._work, self._most, self._pause, self._gather = work, most, pause, gather
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._expected, self._expected_until, self._enough = 0, 0.0, asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether no item waits and no batch is being done."""
        return self._task is None

    async def submit(self, item: T) -> R:
        """Wait for the item's batch; returns its result. A caller that is cancelled takes nothing from the others."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if len(self._waiting) >= self._expected:
            self._enough.set()
        if self._task is None:
            # A context of its own: what it logs is about the whole batch, not about the item that came first.
            self._task = asyncio.create_task(self._run_batches(), context=Context())
        return await done

    async def _run_batches(self) -> None:
        try:
            while self._waiting:
                await self._let_in()
                await self._run_batch()
                if self._pause:
                    await asyncio.sleep(self._pause)
        finally:
            self._task = None
            while self._waiting:  # only where the loop ends under us
                self._waiting.popleft()[1].cancel()

    async def _let_in(self) -> None:
        """Wait while more arrives.

        Where the work is done by another thread, reading what arrives meanwhile would have both threads take the
        interpreter from each other at every turn, which costs more than it saves.
        """
        clock = asyncio.get_running_loop().time
        end, count = clock() + self._gather, 0
        while count < len(self._waiting) < self._most and clock() < end:
            count = len(self._waiting)
            for _ in range(TURNS_OF_AN_ARRIVAL):
                await asyncio.sleep(0)
        until = min(end, self._expected_until)
        if len(self._waiting) < self._expected and clock() < until:
            self._enough.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._enough.wait()

    async def _run_batch(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            results = await self._work([item for item, _ in batch])
        except asyncio.CancelledError:
            for _, done in batch:
                done.cancel()
            raise
        except Exception as exc:  # noqa: BLE001 - each caller gets it
            for _, done in batch:
                if not done.done():
                    done.set_exception(exc)
            return
        ended = clock()
        self._expected = min(len(batch) + len(self._waiting), self._most)
        self._expected_until = ended + NEXT_WITHIN * (ended - began)
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():
                done.set_result(result)


async def together_or_alone(
    items: Sequence[T], work: Callable[[Sequence[T]], Awaitable[Sequence[R]]]
) -> list[R | Exception]:
    """Do the work of all items at once; where that fails, of each alone, as one of them may be at fault.

    Returns for each item the result, or the error of its own work. `work` has done nothing where it raises, and returns
    a result for each item. Raises StoreBusy and StoreUnusable, with which each alone would fail too.
    """
    try:
        return [*await work(items)]
    except (StoreBusy, StoreUnusable):
        raise
    except Exception as exc:
        if len(items) == 1:
            return [exc]
        log.exception("%d items that came together cannot be stored together", len(items))
    return [result for item in items for result in await together_or_alone([item], work)]
