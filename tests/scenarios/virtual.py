"""A virtual clock for asyncio: timers fire in order and at once, real work in threads is waited for.

An hour's pause costs nothing, and what would be a race between a timer and a thread is none: time stands still while a
thread works.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, event

from tracking.storage.database import Database

T = TypeVar("T")
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.loop.busy:
            return super().select(0.05)
        events = super().select(0)
        if not events:
            self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number. `busy` counts the work under way in threads."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy = 0
        self.set_by = timedelta()
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def clock(self) -> datetime:
        """The virtual now, aware and in UTC, as this machine's clock tells it."""
        return self.true_clock() + self.set_by

    def true_clock(self) -> datetime:
        """The same as everybody else's clock tells it."""
        return START + timedelta(seconds=self.now)

    def begin(self) -> None:
        """A thread was given work."""
        self.busy += 1

    def end(self, _: object = None) -> None:
        """A thread is done with it."""
        self.busy -= 1

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # as it came
        self.begin()
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self.end)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Waits for the threads in real time: the last of their work is not a timer's."""
        self.begin()
        await super().shutdown_default_executor(*args)


class CountedDatabase(Database):
    """A Database that tells the loop while its writer works."""

    def __init__(self, url: str, loop: VirtualLoop) -> None:
        super().__init__(url)
        self._loop = loop
        if self.dialect == "sqlite":
            # What is simulated here is the provider, not the loss of power: the disk need not be waited for.
            event.listen(self._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))

    def submit(self, job: Callable[[Connection], T], *, orders: Iterable[int | str] = ()) -> Future[T]:
        self._loop.begin()
        told: Future[T] = Future()
        future = super().submit(job, orders=orders)

        def done(_: object) -> None:
            # Whoever waits hears of it before the loop is told: else time could leap between the two.
            if future.cancelled():
                told.cancel()
            elif told.set_running_or_notify_cancel():
                _handed_on(future, told)
            self._loop.call_soon_threadsafe(self._loop.end)

        told.add_done_callback(lambda _: future.cancel() if told.cancelled() else None)
        future.add_done_callback(done)
        return told


def _handed_on(done: Future[T], told: Future[T]) -> None:
    if (error := done.exception()) is not None:
        told.set_exception(error)
    else:
        told.set_result(done.result())


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Runs the coroutine on a virtual loop, like asyncio.run."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))
