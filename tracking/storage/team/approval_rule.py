"""Approval rule in force: stored, so that every process on the store goes by it. Steps of a job."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection

from tracking.orders.policy.approval_limit import ApprovalLimit
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey


def limit_in_force(connection: Connection) -> ApprovalLimit | None:
    """Read the approval limit in force; None where no order waits for a second person."""
    fact = facts.get_fact(connection, FactKey.APPROVAL_LIMIT)
    text = fact.value["above"] if fact else None
    return ApprovalLimit.parse(text) if text else None


def why_waits(connection: Connection, values: Mapping[str, int] | None, value_minor: int) -> str | None:
    """Explain why an order of these values waits for a second person; None where it does not.

    `values` are minor units by currency; None where they are not known for certain, and the sum alone is.
    """
    limit = limit_in_force(connection)
    return limit.why_waits(values or {"": value_minor}) if limit else None


def enforce(database: Database, limit: ApprovalLimit | None, now: datetime) -> bool:
    """Put the limit in force for every process on the store, None for no limit; tells whether that is a change.

    Orders that wait go on waiting, and those that do not are not held. Raises StoreError.
    """
    with database.read() as connection:
        stored = limit_in_force(connection)
    if str(stored) == str(limit):
        return False
    value = {"above": str(limit) if limit else None}
    database.write(lambda connection: facts.set_fact(connection, FactKey.APPROVAL_LIMIT, value, now))
    return True
