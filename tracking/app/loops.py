"""The loops of a worker: poller, sender, and their heartbeats. Only `run` reads the clock.

Each loop survives whatever goes wrong in one turn: it says so in the log and goes on. The beats tell that it lives.

Beats come from a task of their own, so that one slow call makes no loop look dead: a POST that is waited for is work.
They stop when a piece of work (a turn, a look) has lasted longer than the loop's patience, which is more than the
client lets its calls take: then the loop hangs, and /healthz says so a little later. Beats go through the store, so a
store that never answers stops them too, and they end with their loop. The walk of discovery may honestly take many
minutes and holds nothing else up; it is left to the client's limits for each of its calls.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.errors import ProviderError, StoreError
from tracking.polling.discovery import Discovery
from tracking.polling.poller import Poller
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.submissions.sender import Sender

log = logging.getLogger(__name__)

TICK = 0.2
BEAT_EVERY = timedelta(seconds=2)
PATIENCE = timedelta(minutes=5)
IN_FLIGHT = 16
RECOVER_EVERY = timedelta(seconds=30)
SET_BACK = timedelta(seconds=10)
SURVEY_SHARE = 10  # times as long as it kept a processor busy, between two surveys of the open orders
LONGEST_SURVEY_PAUSE = 15.0


async def _write(database: Database, job: Callable[[Connection], Any]) -> Any:
    return await asyncio.wrap_future(database.submit(job))


class Pulse:
    """The beats of this process's loops: in memory for /healthz, in the store for whoever else looks."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._written: dict[str, datetime] = {}
        self.beats: dict[str, datetime] = {}
        self.store_wrote_at: datetime | None = None

    async def beat(self, name: str, told: dict[str, Any] | None = None) -> None:
        """Says that the loop lives; reaches the store every two seconds at the most."""
        now = self._clock()
        self.beats[name] = now
        last = self._written.get(name)
        if last is not None and timedelta() <= now - last < BEAT_EVERY:
            return
        self._written[name] = now
        value = {"pid": os.getpid(), "host": socket.gethostname()} | (told or {})
        await _write(self._database, lambda connection: facts.set_fact(connection, f"beat:{name}", value, now))
        self.store_wrote_at = self._clock()


async def forever(
    name: str, turn: Callable[[], Awaitable[Any]], pause: float, wake: asyncio.Event | None = None
) -> None:
    """Runs the turn again and again, `pause` seconds apart or when woken; an error costs a second and a line."""
    while True:
        wait = pause
        try:
            await turn()
        except StoreError as exc:
            log.warning("%s waits for the store: %s", name, exc)
            wait = max(pause, 1.0)
        except ProviderError as exc:
            log.warning("%s waits for the provider error=%s status=%s", name, type(exc).__name__, exc.status)
            wait = max(pause, 1.0)
        except Exception:  # the top of the loop: one bad turn must not end the work
            log.exception("%s stumbled", name)
            wait = max(pause, 1.0)
        await _pause(wait, wake)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


class _Lasting:
    """The pieces of work a loop is at, and since when: what tells a slow loop from one that hangs."""

    def __init__(self, patience: timedelta) -> None:
        self._patience = patience.total_seconds()
        self._since: dict[object, float] = {}

    def begins(self, piece: object) -> None:
        """From now on; a piece that begins anew has made progress."""
        self._since[piece] = asyncio.get_running_loop().time()

    def ends(self, piece: object) -> None:
        """It is no more waited for."""
        self._since.pop(piece, None)

    def hangs(self) -> bool:
        """Whether a piece has lasted longer than the patience."""
        now = asyncio.get_running_loop().time()
        return any(now - since > self._patience for since in self._since.values())


class PollLoop:
    """Looks at due orders all the time, IN_FLIGHT works at once, and at the list when that is due."""

    def __init__(
        self,
        poller: Poller,
        discovery: Discovery,
        pulse: Pulse,
        clock: Callable[[], datetime],
        patience: timedelta = PATIENCE,
    ) -> None:
        self._poller = poller
        self._discovery = discovery
        self._pulse = pulse
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._lasting = _Lasting(patience)
        self._latest: datetime | None = None
        self._next_survey = 0.0
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Polls until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("poller", lambda: self._turn(group), TICK, self.wake))
            group.create_task(forever("poller's beat", self._beat, TICK))
            group.create_task(forever("discovery", self._discover, 1.0))

    async def _beat(self) -> None:
        if not self._lasting.hangs():
            await self._pulse.beat("poller", {"in_flight": len(self._tasks)})

    async def _turn(self, group: asyncio.TaskGroup) -> None:
        """Takes no more than can start at once: what waited here would outlive its lease and be asked for twice."""
        self._lasting.begins("turn")
        now = self._clock()
        if self._latest is None or now < self._latest - SET_BACK:
            await self._poller.recover(now)
        self._latest = now
        free = min(IN_FLIGHT - len(self._tasks), self._poller.room())
        if free < 1:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_survey:
            return
        works = await self._poller.claim(now, free)
        pause = min(self._poller.surveyed_for * SURVEY_SHARE, LONGEST_SURVEY_PAUSE)
        self._next_survey = loop.time() + pause
        for work in works:
            task = group.create_task(self._look(work))
            self._lasting.begins(task)
            self._tasks.add(task)
            task.add_done_callback(self._looked)

    def _looked(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._lasting.ends(task)
        if len(self._tasks) == IN_FLIGHT - 1:  # just now there is room again
            self.wake.set()

    async def _look(self, work: Any) -> None:
        try:
            await self._poller.look(work)
        except StoreError as exc:
            log.warning("a look was not stored: %s", exc)
        except Exception:  # one order's trouble must not end the loop; its lease brings it back
            log.exception("look stumbled")

    async def _discover(self) -> None:
        await self._discovery.walk_if_due(self._clock())


class SendLoop:
    """Sends what is due, and settles what a worker that died left behind."""

    def __init__(
        self, sender: Sender, pulse: Pulse, clock: Callable[[], datetime], patience: timedelta = PATIENCE
    ) -> None:
        self._sender = sender
        self._pulse = pulse
        self._clock = clock
        self._recovered_at: datetime | None = None
        self._lasting = _Lasting(patience)
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Sends until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("sender", self._turn, TICK, self.wake))
            group.create_task(forever("sender's beat", self._beat, TICK))

    async def _beat(self) -> None:
        if not self._lasting.hangs():
            await self._pulse.beat("sender")

    async def _turn(self) -> None:
        self._lasting.begins("turn")
        now = self._clock()
        if self._recovered_at is None or not timedelta() <= now - self._recovered_at < RECOVER_EVERY:
            await self._sender.recover(now)
            self._recovered_at = now
        if await self._sender.send_due(now):
            self.wake.set()
