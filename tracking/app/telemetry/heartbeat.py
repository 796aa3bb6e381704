"""Heartbeats of a process's loops, by which /healthz and other processes see that it lives."""

import os
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tracking.storage import facts
from tracking.storage.database import Database

BEAT_EVERY = timedelta(seconds=2)


class Heartbeat:
    """Heartbeats of this process's loops: in memory for /healthz, in the store for other processes.

    `owner` names this process in leases.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime], owner: str = "") -> None:
        self._database = database
        self._clock = clock
        self._owner = owner
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
        await self._database.run(lambda connection: facts.beat(connection, name, self._owner, value, now))
        self.store_wrote_at = self._clock()
