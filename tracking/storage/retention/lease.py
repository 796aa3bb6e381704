"""Lease of removals: one process at a time; its fact also counts what was removed. Steps of a job."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.retention.removal import Removed

LEASE = timedelta(minutes=5)
CALLS_UNTIL = "calls_until"


def take_lease(connection: Connection, owner: str, now: datetime) -> Mapping[str, Any] | None:
    """Take or renew the lease of removals; returns the totals removed so far, None while another owner holds it."""
    stored = facts.value_for_update(connection, FactKey.RETENTION)
    until = datetime.fromisoformat(stored["until"]) if "until" in stored else now
    if stored.get("owner") not in {None, owner} and now < until <= now + LEASE:
        return None
    lease = {**stored, "owner": owner, "until": (now + LEASE).isoformat()}
    facts.set_fact(connection, FactKey.RETENTION, lease, now)
    return lease


def release_lease(connection: Connection, owner: str, now: datetime) -> None:
    """Release the lease, if this owner holds it; the totals removed so far stay."""
    stored = facts.value_for_update(connection, FactKey.RETENTION)
    if stored.get("owner") == owner:
        rest = {name: value for name, value in stored.items() if name not in {"owner", "until"}}
        facts.set_fact(connection, FactKey.RETENTION, rest, now)


def lease_owners(connection: Connection) -> set[str]:
    """Read who has the right to remove: one owner or none."""
    stored = facts.get_fact(connection, FactKey.RETENTION)
    owner = stored.value.get("owner") if stored else None
    return {owner} if owner else set()


def set_trouble(connection: Connection, trouble: str | None, now: datetime) -> None:
    """Store why nothing can be archived, for the pages; None once it can."""
    stored = facts.value_for_update(connection, FactKey.RETENTION)
    if stored.get("trouble") != trouble:
        facts.set_fact(connection, FactKey.RETENTION, {**stored, "trouble": trouble}, now)


def count_removed(connection: Connection, so_far: Mapping[str, Any], removed: Removed, now: datetime) -> None:
    """Add what a step removed to the totals so far."""
    if removed.anything:
        numbers = {name: number for name, number in asdict(removed).items() if isinstance(number, int)}
        added: dict[str, Any] = {name: so_far.get(name, 0) + number for name, number in numbers.items()}
        times = [so_far.get(CALLS_UNTIL), removed.calls_until and removed.calls_until.astimezone(UTC).isoformat()]
        added |= {CALLS_UNTIL: max(filter(None, times), default=None), "removed_at": now.isoformat()}
        facts.set_fact(connection, FactKey.RETENTION, {**so_far, **added}, now)


def calls_removed_until(connection: Connection) -> datetime | None:
    """When the newest API call was made that left with its order; None where none did."""
    fact = facts.get_fact(connection, FactKey.RETENTION)
    stored = fact.value.get(CALLS_UNTIL) if fact else None
    return datetime.fromisoformat(stored) if stored else None
