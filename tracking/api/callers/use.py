"""Use of tokens, counted by hour and by what was read; one entry an hour in the audit log.

Reading by the API is as visible as an export: that a token reads is stored before it gets its first answer within an
hour; how much is stored every few seconds, and is an entry of the audit log once the hour is over.
"""

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tracking.access import Person
from tracking.api.callers.tokens import ACTOR, Caller
from tracking.errors import StoreError
from tracking.storage.database import Database
from tracking.storage.integration import requests, tokens
from tracking.storage.team.audit_log import AuditKind, record_act

log = logging.getLogger(__name__)
FLUSH_SECONDS = 5.0
SEARCHES_AN_HOUR = 100  # of a token in a process: no program fills the audit log
Reads = Counter[tuple[int, datetime, str]]


class Use:
    """Counts what is read. `count` and `flush` may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads: Reads = Counter()
        self._searches: Counter[tuple[int, datetime]] = Counter()
        self._lock = threading.Lock()
        self._stored: dict[int, datetime] = {}  # the hour of which it is stored that the token reads

    def count(self, caller: Caller, what: Mapping[str, int], now: datetime) -> None:
        """Count an answer and how many of each thing it holds. Raises StoreError: the answer must not be given then."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        reads: Reads = Counter({(caller.token_id, hour, tokens.ANSWER): 1})
        reads.update({(caller.token_id, hour, name): number for name, number in what.items() if number})
        if self._stored.get(caller.token_id) == hour:
            self._add(reads)
            return
        self._database.write(lambda connection: tokens.count_reads(connection, reads, now))
        self._stored[caller.token_id] = hour

    def _add(self, reads: Reads) -> None:
        with self._lock:
            self._reads.update(reads)

    def may_record_search(self, caller: Caller, now: datetime) -> bool:
        """Whether a search is to be an entry of its own: so many in an hour are, and all are counted."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        with self._lock:
            self._searches = Counter({key: number for key, number in self._searches.items() if key[1] == hour})
            self._searches[caller.token_id, hour] += 1
            self._reads[caller.token_id, hour, "search"] += 1
            return self._searches[caller.token_id, hour] <= SEARCHES_AN_HOUR

    def flush(self, now: datetime) -> None:
        """Store what was counted, make entries of hours that are over, and forget answers of the day before."""
        with self._lock:
            reads, self._reads = self._reads, Counter()
        try:
            if reads:
                self._database.write(lambda connection: tokens.count_reads(connection, reads, now))
                reads = Counter()
            with self._database.read() as connection:
                ended = tokens.has_ended_use(connection, now)
                old = requests.has_old(connection, now)
            if ended:
                self._database.write(lambda connection: _record_ended(connection, now))
            if old:
                self._database.write(lambda connection: requests.forget(connection, now))
        except StoreError as exc:
            self._add(reads)  # counted with what comes
            log.warning("reads by the API are counted later: %s", exc)


def _record_ended(connection: Connection, now: datetime) -> None:
    for use in tokens.take_ended_use(connection, now):
        detail: dict[str, Any] = {"hour": use.hour.isoformat(), "times": dict(use.times)}
        record_act(connection, Person(f"{ACTOR}{use.token}"), AuditKind.API_READ, now, detail=detail)
