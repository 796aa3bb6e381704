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
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from tracking.errors import ProviderError, StoreError
from tracking.polling.discovery import Discovery
from tracking.polling.poller import Poller
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.submissions.sender import Sender
from tracking.team.job_runner import JobRunner

log = logging.getLogger(__name__)

TICK = 0.2
BEAT_EVERY = timedelta(seconds=2)
WATCHDOG_TIMEOUT = timedelta(minutes=5)
IN_FLIGHT = 16
RECOVER_EVERY = timedelta(seconds=30)
CLOCK_STEP = timedelta(seconds=10)
SURVEY_SHARE = 10  # times as long as it kept a processor busy, between two surveys of the open orders
LONGEST_SURVEY_PAUSE = 15.0


class Heartbeat:
    """Heartbeats of this process's loops: in memory for /healthz, in the store for other processes."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._stored: dict[str, datetime] = {}
        self.beats: dict[str, datetime] = {}
        self.store_wrote_at: datetime | None = None

    async def beat(self, name: str, details: dict[str, Any] | None = None) -> None:
        """Record that the loop lives; written to the store every two seconds at the most."""
        now = self._clock()
        self.beats[name] = now
        last = self._stored.get(name)
        if last is not None and timedelta() <= now - last < BEAT_EVERY:
            return
        self._stored[name] = now
        value = {"pid": os.getpid(), "host": socket.gethostname()} | (details or {})
        await self._database.run(lambda connection: facts.set_fact(connection, facts.heartbeat_key(name), value, now))
        self.store_wrote_at = self._clock()


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
            log.exception("%s stumbled", name)
        await _pause(wait, wake)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


class _WatchedLoop(abc.ABC):
    """A loop that stops its heartbeats when it hangs: one of its tasks lasts longer than the timeout."""

    name: ClassVar[str]

    def __init__(self, heartbeat: Heartbeat, clock: Callable[[], datetime], timeout: timedelta) -> None:
        self._heartbeat = heartbeat
        self._clock = clock
        self._timeout = timeout.total_seconds()
        self._started: dict[object, float] = {}
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_loop(self.name, lambda: self._turn(group), TICK, self.wake))
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


class PollLoop(_WatchedLoop):
    """Looks at due orders all the time, IN_FLIGHT works at once, and at the list when that is due."""

    name = "poller"

    def __init__(
        self,
        poller: Poller,
        discovery: Discovery,
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
        timeout: timedelta = WATCHDOG_TIMEOUT,
    ) -> None:
        super().__init__(heartbeat, clock, timeout)
        self._poller = poller
        self._discovery = discovery
        self._tasks: set[asyncio.Task[None]] = set()
        self._latest: datetime | None = None
        self._next_survey = 0.0

    async def run(self) -> None:
        """Poll and discover until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(run_loop("discovery", self._discover, 1.0))

    def _details(self) -> dict[str, Any]:
        return {"in_flight": len(self._tasks), "left_out": self._poller.left_out}

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Lease no more than can start at once: what waited here would outlive its lease and be polled twice."""
        self._watch("turn")
        now = self._clock()
        if self._latest is None or now < self._latest - CLOCK_STEP:
            await self._poller.recover(now)
        self._latest = now
        free = min(IN_FLIGHT - len(self._tasks), self._poller.available_calls())
        if free < 1:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_survey:
            return
        leased = await self._poller.lease(now, free)
        pause = min(self._poller.planning_seconds * SURVEY_SHARE, LONGEST_SURVEY_PAUSE)
        self._next_survey = loop.time() + pause
        for work in leased:
            task = group.create_task(self._poll(work))
            self._watch(task)
            self._tasks.add(task)
            task.add_done_callback(self._polled)

    def _polled(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._started.pop(task, None)
        if len(self._tasks) == IN_FLIGHT - 1:  # just now there is room again
            self.wake.set()

    async def _poll(self, work: Any) -> None:
        try:
            await self._poller.poll(work)
        except StoreError as exc:
            log.warning("a look was not stored: %s", exc)
        except Exception:  # one order's trouble must not end the loop; its lease brings it back
            log.exception("look stumbled")

    async def _discover(self) -> None:
        await self._discovery.walk_if_due(self._clock())


class SendLoop(_WatchedLoop):
    """Sends what is due, and recovers sends that a worker which died left open."""

    name = "sender"

    def __init__(
        self, sender: Sender, heartbeat: Heartbeat, clock: Callable[[], datetime], timeout: timedelta = WATCHDOG_TIMEOUT
    ) -> None:
        super().__init__(heartbeat, clock, timeout)
        self._sender = sender
        self._recovered_at: datetime | None = None

    async def _turn(self, _group: asyncio.TaskGroup) -> None:
        self._watch("turn")
        now = self._clock()
        if self._recovered_at is None or not timedelta() <= now - self._recovered_at < RECOVER_EVERY:
            await self._sender.recover(now)
            self._recovered_at = now
        if await self._sender.send_due(now):
            self.wake.set()


class JobLoop(_WatchedLoop):
    """Does the acts on many orders that people started, group by group, in turn among the jobs."""

    name = "jobs"

    def __init__(
        self,
        runner: JobRunner,
        heartbeat: Heartbeat,
        clock: Callable[[], datetime],
        timeout: timedelta = WATCHDOG_TIMEOUT,
    ) -> None:
        super().__init__(heartbeat, clock, timeout)
        self._runner = runner

    async def _turn(self, _group: asyncio.TaskGroup) -> None:
        self._watch("turn")
        while (pause := await self._runner.turn()) is not None:
            await asyncio.sleep(pause)
            self._watch("turn")
