"""Findings: departures of the provider from its contract, each kind noted once.

A field of a wrong type that nobody needs is skipped and found here; one that is needed is found as well, beside the
error that it raises. A finding names the kind of answer, the field and the type that came, and never a value. What the
provider uses at all, whether it is in the contract or not, is gathered beside them: `sightings`.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection

from tracking.errors import StoreError
from tracking.provider.http.sightings import Sightings
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey

log = logging.getLogger(__name__)

FINDINGS_AT_MOST = 200
FINDINGS_EVERY = 2.0
_STORED_EVERY = 60.0  # seconds between two updates of findings that are stored already
_PLACES = (("/v1/Tokens", "token"), ("/v1/Orders", "order"), ("/v1/Products", "product"), ("/v1/", "answer"))


def place_of(path: str) -> str:
    """What an answer to a call of this path is of, in a word."""
    return next((place for start, place in _PLACES if path.startswith(start)), "answer")


class Findings:
    """Findings of this process and its sightings, gathered in memory until `flush` stores them."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self._counts: Counter[str] = Counter()
        self._times: dict[str, tuple[datetime, datetime]] = {}
        self._stored: set[str] = set()
        self._stored_at: datetime | None = None

    def note(self, place: str, notes: Iterable[str], now: datetime) -> None:
        """Notes what was found in one answer; of further kinds than FINDINGS_AT_MOST nothing is noted."""
        for text in notes:
            kind = f"{place}: {text}"
            if kind not in self._times and len(self._times) >= FINDINGS_AT_MOST:
                continue
            first, _ = self._times.get(kind, (now, now))
            self._times[kind] = (first, now)
            self._counts[kind] += 1

    async def flush(self, database: Database, now: datetime, *, ending: bool = False) -> None:
        """Stores what is new, at once, and how often all came, once a minute. A kind nobody knew yet is logged.

        All of it at once where the process is `ending`.
        """
        await self.sightings.flush(database, now, ending=ending)
        is_new = not self._counts.keys() <= self._stored
        age = None if self._stored_at is None else (now - self._stored_at).total_seconds()
        if not self._counts or not (ending or is_new or age is None or not 0 <= age < _STORED_EVERY):
            return
        counts, self._counts = self._counts, Counter()
        try:
            fresh = await database.run(lambda connection: _store(connection, counts, self._times, now))
        except StoreError:
            self._counts += counts
            raise
        self._stored |= counts.keys()
        self._stored_at = now
        for kind in fresh:
            log.warning("the provider departs from its contract: %s", kind)


def _store(
    connection: Connection, counts: Mapping[str, int], times: Mapping[str, tuple[datetime, datetime]], now: datetime
) -> list[str]:
    """Adds to the stored findings; returns the kinds that were not stored yet."""
    stored = facts.value_for_update(connection, FactKey.FINDINGS)
    fresh = []
    for kind, count in counts.items():
        first, last = times[kind]
        before = stored.get(kind)
        if before is None and len(stored) >= FINDINGS_AT_MOST:
            continue
        if before is None:
            fresh.append(kind)
            before = {"first": first.isoformat(), "times": 0}
        stored[kind] = {"first": before["first"], "last": last.isoformat(), "times": before["times"] + count}
    facts.set_fact(connection, FactKey.FINDINGS, stored, now)
    return fresh
