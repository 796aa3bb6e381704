"""Running counts of orders by hour and state, changed in the transaction of what they count."""

import functools
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from tracking.orders.model import Event, Order
from tracking.storage.tables import COUNTERS, insert_for


def hour_of(at: datetime) -> datetime:
    """Truncate a time to its full hour in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def state_movements(
    before: str | None, after: str, born: datetime, learned: datetime, *, first_sight: bool
) -> list[tuple[str, datetime, str, int]]:
    """List what an event adds to the counters: (name, hour, state, +1 or -1); `born` and `learned` are full hours."""
    if before == after:
        return []
    changed = [("stock", born, after, 1), ("flow", learned, f"{'Found ' if first_sight else ''}{after}", 1)]
    return changed if before is None else [("stock", born, before, -1), *changed]


def count_event(connection: Connection, before: Order | None, after: Order, event: Event) -> None:
    """Add what the event changed to the counters."""
    earlier = before.state if before else None
    first_sight = bool(event.detail.get("first_sight"))
    born, learned = hour_of(after.created_at), hour_of(event.learned_at)
    rows = [
        {"name": name, "hour": hour, "state": state, "orders": sign}
        | {"units": sign * after.units, "value_minor": sign * after.value_minor}
        for name, hour, state, sign in state_movements(earlier, after.state, born, learned, first_sight=first_sight)
    ]
    if rows:
        connection.execute(upsert_counts(connection.dialect.name), rows)


@functools.cache
def upsert_counts(dialect: str) -> Any:
    """Build the statement that adds to running counts, or begins them."""
    adding = insert_for(dialect, COUNTERS)
    grown = {column: COUNTERS.c[column] + adding.excluded[column] for column in ("orders", "units", "value_minor")}
    return adding.on_conflict_do_update(index_elements=["name", "hour", "state"], set_=grown)
