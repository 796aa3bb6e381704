"""Counters of orders by hour and state, written in the transaction of what they count; and hourly samples.

The writer sums what a group of jobs counts, and adds it once at the end. A count of the past is taken backwards: the
number of now, less what changed since. So no history is read for it.
"""

import contextlib
import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select

from tracking.orders.model import Event, Order
from tracking.storage.tables import COUNTERS, insert_for

LATE, BALANCE = "late", "balance"
SAMPLED = frozenset({LATE, BALANCE})
"""Counters that are no part of the log: what was so when somebody asked."""
LEVEL, SPENT, REFILLED = "", "spent", "refilled"
"""The states of BALANCE: what the account held at last within the hour, what went out and what came in."""
_EPOCH, _HOUR = datetime(1970, 1, 1, tzinfo=UTC), timedelta(hours=1)
Movement = tuple[str, datetime, str, int]
"""The name, hour and state of a counter, and what is added to it: 1 or -1."""
Change = tuple[str | None, str, bool, bool, bool, datetime, datetime]
"""The state before and after; whether a decision was needed before, and is after; whether the order was first seen with
it; the full hours in which the order was created and the change was learned."""
Sums = dict[tuple[str, datetime, str], tuple[int, int, int]]
"""By name, hour and state of a counter: the orders, units and minor units that are added to it."""
_SUMS = "sums of counters"  # in a connection's `info`
_COUNTED = frozenset({"state", "attention", "acknowledged_at"})
"""The facts that counters go by: an event that changes none of them counts nothing."""
LATE_IN_HOUR = select(COUNTERS.c.orders).where(COUNTERS.c.name == LATE, COUNTERS.c.hour == bindparam("within"))


def hour_of(at: datetime) -> datetime:
    """Truncate a time to its full hour in UTC."""
    return _full_hour((at - _EPOCH) // _HOUR)


@functools.lru_cache(maxsize=4096)  # the same object each time: so it is hashed once
def _full_hour(number: int) -> datetime:
    return _EPOCH + number * _HOUR


def needs_decision(attention: object, acknowledged_at: object) -> bool:
    """Tell whether an order waits for a person's decision, from two of its facts."""
    return attention is not None and acknowledged_at is None


def state_movements(
    before: str | None, after: str, born: datetime, learned: datetime, *, first_sight: bool
) -> list[Movement]:
    """List what an event's change of state adds to the counters; `born` and `learned` are full hours."""
    if before == after:
        return []
    changed = [("stock", born, after, 1), ("flow", learned, f"{'Found ' if first_sight else ''}{after}", 1)]
    return changed if before is None else [("stock", born, before, -1), *changed, ("left", learned, before, 1)]


def decision_movements(before: bool, after: bool, learned: datetime) -> list[Movement]:
    """List what an event adds where it begins or ends that an order needs a decision; `learned` is a full hour."""
    return [] if before == after else [("decisions", learned, "needed" if after else "settled", 1)]


def counts(event: Event) -> bool:
    """Tell whether an event that is not an order's first can change any counter."""
    return not _COUNTED.isdisjoint(event.changes)


def count_event(connection: Connection, before: Order | None, after: Order, event: Event) -> None:
    """Add what the event changed to the counters, where the transaction is `summed` at its end."""
    sums = connection.info.get(_SUMS)
    added: Sums = {} if sums is None else sums
    sum_event(added, before, after, event)
    if sums is None and added:
        add_sums(connection, added)


def sum_event(sums: Sums, before: Order | None, after: Order, event: Event) -> None:
    """Add to the sums what the event counts; it changed its order from `before` to `after`."""
    if (change := change_of(before, after, event)) is not None:
        sum_change(sums, change, (1, after.units, after.value_minor))


def change_of(before: Order | None, after: Order, event: Event) -> Change | None:
    """Describe how the event that changed its order from `before` to `after` is counted; None where it is not."""
    if before and not counts(event):
        return None
    earlier = before.state if before else None
    needed = before is not None and needs_decision(before.attention, before.acknowledged_at)
    needs = needs_decision(after.attention, after.acknowledged_at)
    if earlier == after.state and needed == needs:
        return None
    first_sight = bool(event.detail.get("first_sight"))
    return earlier, after.state, needed, needs, first_sight, hour_of(after.created_at), hour_of(event.learned_at)


def sum_change(sums: Sums, change: Change, added: tuple[int, int, int]) -> None:
    """Add to the sums so many orders, units and minor units that changed in the same way."""
    earlier, state, needed, needs, first_sight, born, learned = change
    movements = state_movements(earlier, state, born, learned, first_sight=first_sight)
    movements += decision_movements(needed, needs, learned)
    more_orders, more_units, more_value = added
    for name, hour, moved, sign in movements:
        orders, units, value_minor = sums.get((name, hour, moved), (0, 0, 0))
        sums[name, hour, moved] = (
            orders + sign * more_orders,
            units + sign * more_units,
            value_minor + sign * more_value,
        )


@contextlib.contextmanager
def summed(info: dict[Any, Any]) -> Iterator[None]:
    """Sum what the block counts, in a connection's `info`, until it is added by `write_sums`; what is not is dropped.

    So a group of jobs changes each counter once, and holds it only while it commits.
    """
    info[_SUMS] = {}
    try:
        yield
    finally:
        info.pop(_SUMS, None)


def write_sums(connection: Connection) -> None:
    """Add to the counters what was summed until now.

    Always in the same order: of two writers that change the same counters one waits for the other, and no more.
    """
    if sums := connection.info.get(_SUMS):
        add_sums(connection, sums)
        sums.clear()


def add_sums(connection: Connection, sums: Sums) -> None:
    """Add the sums to the counters, in the order of their keys."""
    rows = [
        {"name": name, "hour": hour, "state": state, "orders": orders, "units": units, "value_minor": value_minor}
        for (name, hour, state), (orders, units, value_minor) in sorted(sums.items())
    ]
    connection.execute(upsert_counts(connection.dialect.name), rows)


@functools.cache
def upsert_counts(dialect: str) -> Any:
    """Build the statement that adds to running counts, or begins them."""
    adding = insert_for(dialect, COUNTERS)
    grown = {column: COUNTERS.c[column] + adding.excluded[column] for column in ("orders", "units", "value_minor")}
    return adding.on_conflict_do_update(index_elements=["name", "hour", "state"], set_=grown)


def late_in_hour(connection: Connection, now: datetime) -> int | None:
    """Read how many orders were late when that was last recorded within this hour; None where it was not."""
    number: int | None = connection.execute(LATE_IN_HOUR, {"within": hour_of(now)}).scalar()
    return number


def record_late(connection: Connection, number: int, now: datetime) -> None:
    """Record how many orders are late now, in place of what was recorded earlier within this hour."""
    adding = insert_for(connection.dialect.name, COUNTERS)
    replaced = {"orders": adding.excluded.orders}
    latest = adding.on_conflict_do_update(index_elements=["name", "hour", "state"], set_=replaced)
    row = {"name": LATE, "hour": hour_of(now), "state": "", "orders": number, "units": 0, "value_minor": 0}
    connection.execute(latest, row)


def record_balance(connection: Connection, available_minor: int, before_minor: int | None, now: datetime) -> None:
    """Record what the account holds now, in place of what was read earlier within this hour, and what moved since.

    `before_minor` is what was read before; None where nothing was.
    """
    moved = available_minor - before_minor if before_minor is not None else 0
    row = {
        "name": BALANCE,
        "hour": hour_of(now),
        "state": LEVEL,
        "orders": 0,
        "units": 0,
        "value_minor": available_minor,
    }
    adding = insert_for(connection.dialect.name, COUNTERS)
    replaced = {"value_minor": adding.excluded.value_minor}
    connection.execute(adding.on_conflict_do_update(index_elements=["name", "hour", "state"], set_=replaced), row)
    if moved:
        movement = row | {"state": REFILLED if moved > 0 else SPENT, "value_minor": abs(moved)}
        connection.execute(upsert_counts(connection.dialect.name), movement)
