"""Refused webhook calls: stores the newest for operators to follow up, and counts all by rule.

Nothing of a refused call is believed. What is stored of it is bounded: where it came from, which rule it broke, how
large it was, and which order it named, masked and cut.
"""

import logging
from collections import Counter, deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.errors import CallbackRefused, StoreError
from tracking.provider.masking import scrub
from tracking.storage import inbox
from tracking.storage.database import Database
from tracking.webhooks.throttling import RefusalLimits

log = logging.getLogger(__name__)

REFUSALS_STORED_PER_SECOND = 5
LONGEST_NAME = 100


class RefusalLog:
    """Stores and counts refused calls, so that a flood of them costs little: see `throttling`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._limits = RefusalLimits()
        self._stored: deque[datetime] = deque(maxlen=REFUSALS_STORED_PER_SECOND)
        self._pending: Counter[str] = Counter()

    def exhausted(self, source: str, now: datetime) -> bool:
        """Whether the source has reached its limit of refusals."""
        return self._limits.exhausted(source, now)

    def count(self, rule: str) -> None:
        """Counts a refusal that is stored elsewhere, or not at all."""
        self._pending[rule] += 1

    async def record(self, refusal: CallbackRefused, source: str, *, method: str, size: int, now: datetime) -> None:
        """Stores and logs a refusal, where source and rate allow for it, and counts it in any case."""
        self.count(refusal.rule)
        if not self._limits.take(source, now):
            return
        if not self._may_store(now):
            return
        log.info("webhook refused rule=%s reason=%r size=%d", refusal.rule, str(refusal), size)
        named = {name: scrub(value)[:LONGEST_NAME] for name, value in refusal.named.items() if value}
        values = {"reason": str(refusal), "rule": refusal.rule, "source": source or None}
        await self._write({**values, **named, "method": method[:10], "size": size}, now)

    async def flush(self, now: datetime) -> None:
        """Adds what was counted since the last time to the stored counts."""
        if self._pending:
            await self._write(None, now)

    async def _write(self, values: Mapping[str, Any] | None, now: datetime) -> None:
        counted, self._pending = self._pending, Counter()

        def job(connection: Connection) -> None:
            if values is not None:
                inbox.record_refusal(connection, values, now)
            inbox.add_refusal_counts(connection, counted, now)

        try:
            await self._database.run(job)
        except StoreError:
            self._pending += counted
            log.warning("refusal not stored", exc_info=True)

    def _may_store(self, now: datetime) -> bool:
        """Limits the stored refusals, so that a flood from many sources fills neither disk nor writer's queue."""
        full = len(self._stored) == REFUSALS_STORED_PER_SECOND
        if full and timedelta() <= now - self._stored[0] < timedelta(seconds=1):
            return False
        self._stored.append(now)
        return True
