"""An event loop without a selector: one thread, virtual time, one callback at a time; it can be dropped like a process.

asyncio's own tasks, locks and timeouts run on it unchanged. Nothing is ever waited for: what other programs do in
threads is done at once, and time passes only when the simulator says so.
"""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

_set_running = asyncio.events._set_running_loop


class SteppedLoop(asyncio.AbstractEventLoop):
    """The loop of one simulated process. `now` is read from the world's clock; `troubles` are errors nobody awaited."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.troubles: list[BaseException | str] = []

    @property
    def busy(self) -> bool:
        """Whether something is to be done now, whatever the time."""
        return bool(self._ready)

    def due_at(self) -> float | None:
        """When something is to be done: now, at a timer's time, or never."""
        if self._ready:
            return self._now()
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def step(self) -> None:
        """Runs one callback, a timer's where none waits."""
        handle: asyncio.Handle = self._ready.popleft() if self._ready else heapq.heappop(self._timers)[2]
        if not handle.cancelled():
            _set_running(self)
            try:
                handle._run()
            finally:
                _set_running(None)

    def abandon(self) -> None:
        """What a killed process leaves behind: nothing runs on, and no task is told."""
        self._ready.clear()
        self._timers.clear()
        tasks, self._tasks = self._tasks, []
        _set_running(self)
        try:
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # the C task's own switch
                if not task.done():
                    _close(task.get_coro())
        finally:
            _set_running(None)
        self._ready.clear()

    # What asyncio asks of a loop

    def time(self) -> float:
        return self._now()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]  # any callback
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]  # any callback
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]  # any callback
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]  # any callback
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > 64:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # done already
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 - it is the caller's
            future.set_exception(exc)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.troubles.append(context.get("exception") or str(context.get("message")))


def _close(coroutine: Coroutine[Any, Any, Any] | Any) -> None:
    """Ends a coroutine that will never go on; what its clean-up does must not matter, as the process is dead."""
    with contextlib.suppress(BaseException):
        coroutine.close()
