"""Loops of a worker: run poller, sender and jobs for ever, with heartbeats and a watchdog.

Each loop survives whatever goes wrong in one turn. Its heartbeats come from a task of their own, so that one slow call
makes no loop look dead: a POST that is waited for is work. They stop when a task (a turn, a poll) has lasted longer
than the watchdog allows, which is more than the client lets its calls take: then the loop hangs, and /healthz says so.
Heartbeats go through the store, so a store that never answers stops them too. To read the whole list for discovery may
take many minutes and holds nothing else up; it is left to the client's limits for each of its calls.
"""

import abc
import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from sniffio import current_async_library_cvar
from structlog.contextvars import bind_contextvars

from tracking.app.telemetry.heartbeat import Heartbeat
from tracking.errors import ProviderError, StoreError
from tracking.polling.discovery import Discovery
from tracking.polling.poller import LeasedCall, Poller
from tracking.submissions.sender import SENDS_AT_ONCE, Attempt, Sender
from tracking.team.job_runner import JobRunner

log = logging.getLogger(__name__)
Clock = Callable[[], datetime]
Work = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
"""A call and what is to be done with its answer; it calls what it is given as soon as it was answered."""
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

TICK = 0.2
WATCHDOG_TIMEOUT = timedelta(minutes=5)
IN_FLIGHT = 16
CALLS_AHEAD, MOST_AHEAD = 100, 400  # chosen by one survey of the open orders; more where the next one is far away
WITHDRAW_SECONDS = 3.0
FINISH_SECONDS = 5.0  # for the orders that are on their way when the process ends
RECOVER_EVERY = timedelta(seconds=30)
CLOCK_STEP = timedelta(seconds=10)
SURVEY_SHARE = 10  # times as long as it kept a processor busy, between two surveys of the open orders
LONGEST_SURVEY_PAUSE = 15.0


async def run_loop(
    name: str, turn: Callable[[], Awaitable[Any]], pause: float, wake: asyncio.Event | None = None
) -> None:
    """Run the turn for ever, `pause` seconds apart or when woken; an error costs a second and a line of the log."""
    while True:
        wait = max(pause, 1.0)
        try:
            await turn()
            wait = pause
        except StoreError as exc:
            log.warning("%s waits for the store: %s", name, exc)
        except ProviderError as exc:
            log.warning("%s waits for the provider error=%s status=%s: %s", name, type(exc).__name__, exc.status, exc)
        except Exception:  # the top of the loop: one bad turn must not end the work
            log.exception("%s failed unexpectedly", name)
        await _pause(wait, wake)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


class WatchedLoop(abc.ABC):
    """A loop that stops its heartbeats when it hangs: one of its tasks lasts longer than the timeout."""

    name: ClassVar[str]
    pause: ClassVar[float] = TICK

    def __init__(self, heartbeat: Heartbeat, clock: Clock, timeout: timedelta) -> None:
        self._heartbeat = heartbeat
        self._clock = clock
        self._timeout = timeout.total_seconds()
        self._started: dict[object, float] = {}
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_loop(self.name, lambda: self._turn(group), self.pause, self.wake))
            group.create_task(run_loop(f"{self.name}'s heartbeat", self._beat, TICK))

    @abc.abstractmethod
    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Do what is due; tasks that outlast the turn go into the group."""

    def _watch(self, task: object) -> None:
        """Start the task's time; a task that starts anew has made progress."""
        self._started[task] = asyncio.get_running_loop().time()

    async def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        if all(now - since <= self._timeout for since in self._started.values()):
            await self._heartbeat.beat(self.name, self._details())

    def _details(self) -> dict[str, Any]:
        return {}


class CallingLoop(WatchedLoop):
    """A loop whose calls go on side by side, `places` at once; whenever one is answered, another may start.

    What an answer means is stored after its place is free again, so that no place waits for the store.
    """

    places: ClassVar[int]
    task_name: ClassVar[str]

    def __init__(self, heartbeat: Heartbeat, clock: Clock, timeout: timedelta) -> None:
        super().__init__(heartbeat, clock, timeout)
        self._calling: set[object] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def _details(self) -> dict[str, Any]:
        return {"in_flight": len(self._calling)}

    def _free_places(self) -> int:
        """Count the calls that may start; fewer where as many answers wait for the store, so that these stay few."""
        return min(self.places - len(self._calling), 2 * self.places - len(self._tasks))

    def _start(self, group: asyncio.TaskGroup, work: Work, order: str | None) -> None:
        """Do the work in a task of its own. It holds a place until it says that it was answered, or ends.

        Each line that it logs names the order, if it is about one.
        """
        place = object()
        self._calling.add(place)

        def answered() -> None:
            was_full = self._free_places() < 1
            self._calling.discard(place)
            if was_full or self._more_waits():
                self.wake.set()

        def answered_first() -> None:
            answered()
            self._refill(group)

        task = group.create_task(self._survive(work, answered_first, order))
        self._watch(task)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            answered()
            self._tasks.discard(task)
            self._started.pop(task, None)

        task.add_done_callback(ended)

    def _refill(self, group: asyncio.TaskGroup) -> None:
        """Start what is ready, as a place has become free."""

    @abc.abstractmethod
    def _more_waits(self) -> bool:
        """Tell whether the next call is known already, so that no turn has to look for one."""

    async def _survive(self, work: Work, answered: Callable[[], None], order: str | None) -> None:
        current_async_library_cvar.set("asyncio")  # which httpx would look for dozens of times with each call
        if order is not None:
            bind_contextvars(order=order)  # it ends with the task
        try:
            await work(answered)
        except StoreError as exc:
            log.warning("a %s was not stored: %s", self.task_name, exc)
        except Exception:  # one order's trouble must not end the loop; its lease brings it back
            log.exception("a %s failed unexpectedly", self.task_name)


class Calls(Protocol[T_contra]):
    """What leases calls for a loop and lets them go: the poller, the sender."""

    @property
    def ahead(self) -> int:
        """How many calls may be leased before there is a place for them."""

    @property
    def more_due(self) -> bool:
        """Whether the next call is known already, so that no turn has to look for one."""

    def may_start(self, call: T_contra, now: datetime) -> bool:
        """Whether a call that waited for its place may start, as it would end within its lease and nothing stops it."""

    async def release(self, calls: Sequence[T_contra]) -> None:
        """Let calls go that did not start; they are due again."""


class LeasingLoop(CallingLoop, Generic[T]):
    """A loop whose calls are leased, a few of them ahead.

    Those start as soon as a place is free, where to lease them then would take as long as the call itself. They are
    few, lest they outlive their lease.
    """

    def __init__(self, calls: Calls[T], heartbeat: Heartbeat, clock: Clock, timeout: timedelta) -> None:
        super().__init__(heartbeat, clock, timeout)
        self._calls = calls
        self._ready: deque[T] = deque()
        self._ending = False

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Let go what waited too long, start what can start, and lease more for the places that are free, and ahead."""
        self._watch("turn")
        now = self._clock()
        await self._recover(now)
        await self._release_stale()
        room = self._room()
        self._refill(group)
        if room < 1 or (self._free_places() < 1 and len(self._ready) > self._calls.ahead // 2):
            return
        self._ready += await self._lease(now, room)
        self._refill(group)

    def _room(self) -> int:
        """Count the calls that may be leased now."""
        return self._free_places() + self._calls.ahead - len(self._ready)

    async def _release_stale(self) -> None:
        now = self._clock()
        if stale := [call for call in self._ready if not self._calls.may_start(call, now)]:
            self._ready = deque(call for call in self._ready if call not in stale)
            await self._calls.release(stale)

    def _refill(self, group: asyncio.TaskGroup) -> None:
        while (
            self._ready
            and not self._ending
            and self._free_places() > 0
            and self._calls.may_start(self._ready[0], self._clock())
        ):
            self._start(group, *self._work_of(self._ready.popleft()))

    def _more_waits(self) -> bool:
        return self._calls.more_due

    @abc.abstractmethod
    async def _recover(self, now: datetime) -> None:
        """Take up what a worker that died, or a clock that was set back, left lying."""

    @abc.abstractmethod
    async def _lease(self, now: datetime, at_most: int) -> list[T]:
        """Lease the calls that are due."""

    @abc.abstractmethod
    def _work_of(self, call: T) -> tuple[Work, str | None]:
        """Make the work of a call, and name the order that it is about."""


class PollLoop(LeasingLoop[LeasedCall]):
    """Looks at due orders all the time, IN_FLIGHT at once, and at the list when that is due."""

    name = "poller"
    places = IN_FLIGHT
    task_name = "poll"

    def __init__(
        self,
        poller: Poller,
        discovery: Discovery,
        heartbeat: Heartbeat,
        clock: Clock,
        timeout: timedelta = WATCHDOG_TIMEOUT,
    ) -> None:
        super().__init__(poller, heartbeat, clock, timeout)
        self._poller = poller
        self._discovery = discovery
        self._latest: datetime | None = None
        self._next_survey = self._survey_pause = 0.0

    async def run(self) -> None:
        """Poll and discover until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(run_loop("discovery", self._discover, 1.0))

    def _details(self) -> dict[str, Any]:
        return super()._details() | {"left_out": self._poller.left_out}

    async def _recover(self, now: datetime) -> None:
        if self._latest is None or now < self._latest - CLOCK_STEP:
            await self._poller.recover(now)
        self._latest = now

    def _room(self) -> int:
        """No more than the rate limit lets leave soon: what is leased beyond that may be the wrong call by then."""
        return min(super()._room(), self._poller.available_calls() - len(self._ready))

    async def _lease(self, now: datetime, at_most: int) -> list[LeasedCall]:
        """Lease what a survey chose. Which calls come next was chosen for the time until the next survey."""
        loop = asyncio.get_running_loop()
        # While chosen calls are left a survey would hold up the next one: they do for a tick.
        if loop.time() >= self._next_survey + (TICK if self._poller.more_due else 0.0):
            available = self._poller.available_calls() - len(self._ready)
            until_next = int(available * max(self._survey_pause, 1.0))
            most = CALLS_AHEAD if self._survey_pause < 1 else MOST_AHEAD
            await self._poller.survey(now, max(at_most, min(until_next, most)))
            self._survey_pause = min(self._poller.planning_seconds * SURVEY_SHARE, LONGEST_SURVEY_PAUSE)
            self._next_survey = loop.time() + self._survey_pause
        return await self._poller.lease(self._clock(), at_most)

    def _work_of(self, call: LeasedCall) -> tuple[Work, str | None]:
        return partial(self._poller.poll, call), call.only_order

    async def _discover(self) -> None:
        await self._discovery.walk_if_due(self._clock())


class SendLoop(LeasingLoop[Attempt]):
    """Sends what is due, SENDS_AT_ONCE at once, and recovers sends that a worker which died left open.

    Attempts are leased by being committed, and ahead only where the provider answers quickly.
    """

    name = "sender"
    places = SENDS_AT_ONCE
    task_name = "send"

    def __init__(
        self, sender: Sender, heartbeat: Heartbeat, clock: Clock, timeout: timedelta = WATCHDOG_TIMEOUT
    ) -> None:
        super().__init__(sender, heartbeat, clock, timeout)
        self._sender = sender
        self._recovered_at: datetime | None = None
        self._sending: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Send until cancelled; what is on its way then is waited for, and what did not leave is recorded as such."""
        sending = asyncio.ensure_future(super().run())
        try:
            await asyncio.shield(sending)
        finally:
            self._ending = True
            sending.cancel()
            await asyncio.wait({sending})
            # Else their outcome is unknown. Where the store does not answer, the next start records that.
            with contextlib.suppress(TimeoutError, StoreError):
                async with asyncio.timeout(WITHDRAW_SECONDS):
                    await self._sender.release([*self._ready])
            await self._finish()

    async def _finish(self) -> None:
        """Wait a little for the answers of what was sent: without them nobody knows what became of these orders."""
        if under_way := [*self._sending]:
            await asyncio.wait(under_way, timeout=FINISH_SECONDS)
            for each in under_way:
                each.cancel()
            for failed in await asyncio.gather(*under_way, return_exceptions=True):
                if isinstance(failed, Exception):
                    log.warning("a send was not stored: %s", failed)

    async def _recover(self, now: datetime) -> None:
        if self._recovered_at is None or not timedelta() <= now - self._recovered_at < RECOVER_EVERY:
            await self._sender.recover(now)
            self._recovered_at = now

    async def _lease(self, now: datetime, at_most: int) -> list[Attempt]:
        return await self._sender.begin_due(now, at_most)

    def _work_of(self, call: Attempt) -> tuple[Work, str | None]:
        return partial(self._send, call), call.po_number

    async def _send(self, attempt: Attempt, answered: Callable[[], None]) -> None:
        """Send by a task of its own, which goes on for a while when the loop is cancelled."""
        sending = asyncio.ensure_future(self._sender.send(attempt, answered))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        await asyncio.shield(sending)


class JobLoop(WatchedLoop):
    """Does the acts on many orders that people started, group by group, in turn among the jobs."""

    name = "jobs"

    def __init__(
        self, runner: JobRunner, heartbeat: Heartbeat, clock: Clock, timeout: timedelta = WATCHDOG_TIMEOUT
    ) -> None:
        super().__init__(heartbeat, clock, timeout)
        self._runner = runner

    async def _turn(self, _group: asyncio.TaskGroup) -> None:
        self._watch("turn")
        while (pause := await self._runner.turn()) is not None:
            await asyncio.sleep(pause)
            self._watch("turn")
