"""Verifies the store: recomputes every order, line, counter and hash from the log. Writes nothing.

The log is cut at its newest event when the audit begins, so that a console may go on working meanwhile: rows are
compared with all their events, counters with the events before the cut. Texts are hashed as the store holds them, and
only what the states follow from is parsed: an event costs a few microseconds.

How many orders were late in an hour, and what the account held, is no part of the log and cannot be recomputed: what is
recorded of it is only checked for what cannot be, such as hours that are yet to come. Of an order that agrees, what the
search finds it by is compared as well.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select, text

from tracking.orders.observations import utc_now
from tracking.storage.counters import LATE, LEVEL, REFILLED, SAMPLED, SPENT
from tracking.storage.database import Database
from tracking.storage.retention.order_audit import LogHead, OrderAudit, read_chunk
from tracking.storage.search import checking
from tracking.storage.tables import COUNTERS, EVENTS, ORDERS
from tracking.storage.team import audit_log

__all__ = ["Findings", "LogHead", "examine", "verify"]

ORDERS_AT_ONCE = 500
DIFFERENCES_AT_MOST = 1000
Counts = dict[tuple[str, datetime, str], tuple[int, int, int]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of an audit: the differences in words, none when all agrees; at most DIFFERENCES_AT_MOST of them.

    `head` is that of the whole log; None where there were so many differences that the end was not reached.
    `audit_head` is that of the audit log of people: the number and the hash of its newest entry.
    """

    differences: list[str]
    head: LogHead | None
    audit_head: LogHead | None = None


def verify(database: Database, progress: Progress | None = None) -> list[str]:
    """List every difference between what is stored and what the log says, as `examine` does."""
    return examine(database, progress).differences


def examine(
    database: Database,
    progress: Progress | None = None,
    *,
    expected: LogHead | None = None,
    expected_audit: LogHead | None = None,
) -> Findings:
    """Compare all that is stored with the log, and the log with its hashes and with a head that was noted down earlier.

    `expected` is such a head of the log, `expected_audit` one of the audit log of people. `progress` is called with
    (orders done, orders in all).
    """
    cut, counts, total = _read_start(database)
    audit = OrderAudit(cut, {cut, expected.at} if expected else {cut})
    if not _audit_orders(database, audit, total, progress):
        return Findings(audit.differences[:DIFFERENCES_AT_MOST], None)
    with database.snapshot() as connection:
        of_people = [*audit_log.differences(connection), *_audit_head_faults(connection, expected_audit)]
        audit_head = LogHead(*audit_log.head_of(connection))
    counted = {key: numbers for key, numbers in counts.items() if key[0] not in SAMPLED}
    differences = [*audit.differences, *_compare_counts(counted, audit.recomputed)]
    differences += [*_sample_faults(counts, utc_now()), *of_people]
    differences = [*differences[:DIFFERENCES_AT_MOST], *_head_faults(audit, expected)]
    return Findings(differences, audit.head(cut), audit_head)


def _read_start(database: Database) -> tuple[int, Counts, int]:
    """The id of the newest event, up to which the log is read; the counters at that moment; the number of orders."""
    with database.snapshot() as connection:
        if database.dialect == "postgresql":
            # Ids are drawn before their events are committed, so wait for all who have drawn one.
            connection.execute(text("LOCK TABLE events IN SHARE MODE"))
        cut = connection.execute(select(func.max(EVENTS.c.id))).scalar() or 0
        rows = connection.execute(select(COUNTERS)).all()
        total = connection.execute(select(func.count()).select_from(ORDERS)).scalar_one()
    return cut, {(row.name, row.hour, row.state): (row.orders, row.units, row.value_minor) for row in rows}, total


def _audit_orders(database: Database, audit: OrderAudit, total: int, progress: Progress | None) -> bool:
    """Audit one order after the other; False where it stopped, at so many differences."""
    done, last = 0, 0
    while len(audit.differences) < DIFFERENCES_AT_MOST:
        with database.snapshot() as connection:
            chunk = read_chunk(connection, last, ORDERS_AT_ONCE)
            faults = checking.faults(connection, chunk[0].row["id"], chunk[-1].row["id"]) if chunk else {}
        if not chunk:
            return True
        for each in chunk:
            fault = faults.get(each.row["id"])
            audit.differences += [*audit.check(each)] or ([f"{each.row['po_number']}: {fault}"] if fault else [])
        last, done = chunk[-1].row["id"], done + len(chunk)
        if progress is not None:
            progress(done, max(done, total))
    return False


def _audit_head_faults(connection: Connection, expected: LogHead | None) -> Iterator[str]:
    """How the audit log of people differs from a head that was noted down earlier."""
    if expected is None:
        return
    entry = audit_log.hash_at(connection, expected.at)
    if entry is None:
        yield f"the audit log has no entry {expected.at}, whose head is expected"
    elif entry != expected.digest:
        yield f"the audit log up to entry {expected.at} is not the expected one: its head is {entry}"


def _head_faults(audit: OrderAudit, expected: LogHead | None) -> Iterator[str]:
    """How the log of all orders differs from a head that was noted down earlier."""
    if expected is None:
        return
    if unknown := audit.unprovable[expected.at]:
        since = f"{unknown:,} orders had events by then, and later ones that were removed since"
        yield f"the log up to event {expected.at} cannot be compared: {since}"
    elif (is_now := audit.head(expected.at)) != expected:
        yield f"the log up to event {expected.at} is not the expected one: its head is {is_now}"


def _compare_counts(stored: Counts, recomputed: Mapping[tuple[str, datetime, str], list[int]]) -> list[str]:
    keys = sorted(stored.keys() | recomputed.keys())
    pairs = ((*key, stored.get(key, (0, 0, 0)), tuple(recomputed.get(key, (0, 0, 0)))) for key in keys)
    return [
        f"counter {name} {hour:%Y-%m-%d %H}h {state}: stored {actual}, the log says {expected}"
        for name, hour, state, actual, expected in pairs
        if actual != expected
    ]


def _sample_faults(counts: Counts, now: datetime) -> Iterator[str]:
    """Describe what the hourly samples cannot be; whether they were right nobody can recompute."""
    for (name, hour, state), numbers in sorted(counts.items()):
        if name not in SAMPLED:
            continue
        if hour > now:
            yield f"counter {name} {hour:%Y-%m-%d %H}h: is of an hour that is yet to come"
        if not (_can_be_late(state, *numbers) if name == LATE else _can_be_balance(state, *numbers)):
            yield f"counter {name} {hour:%Y-%m-%d %H}h {state}: stored {numbers}, which it cannot be"


def _can_be_late(state: str, orders: int, units: int, value_minor: int) -> bool:
    return orders >= 0 and not (state or units or value_minor)


def _can_be_balance(state: str, orders: int, units: int, value_minor: int) -> bool:
    """A balance may be overdrawn; what moved has a direction of its own."""
    return not (orders or units) and (state == LEVEL or (state in {SPENT, REFILLED} and value_minor > 0))
