"""Recomputes every order, line and counter from the log, and says where the stored ones differ. Writes nothing.

The log is cut at its newest event when the audit begins, so that a console may go on working meanwhile: rows are
compared with all their events, counters with the events before the cut.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.engine import RowMapping

from tracking.database import Database
from tracking.orders import FACTS, Event, Line, Order, State, Witness, apply, begin
from tracking.store import movements
from tracking.tables import COUNTERS, EVENTS, LINES, ORDERS

CHUNK = 500
DIFFERENCES_AT_MOST = 1000
Counts = dict[tuple[str, datetime, str], tuple[int, int, int]]
Progress = Callable[[int, int], None]


def verify(database: Database, progress: Progress | None = None) -> list[str]:
    """Every difference between what is stored and what the log says, in words; empty when they agree.

    Args:
        database: the store.
        progress: called with (orders done, orders in all).
    """
    with _snapshot(database) as connection:
        cut = connection.execute(select(func.max(EVENTS.c.id))).scalar() or 0
        stored = _stored_counts(connection)
        total = connection.execute(select(func.count()).select_from(ORDERS)).scalar_one()
    differences: list[str] = []
    recomputed: dict[tuple[str, datetime, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    done, last = 0, 0
    while len(differences) < DIFFERENCES_AT_MOST:
        with _snapshot(database) as connection:
            rows, events, lines = _chunk(connection, last)
        if not rows:
            break
        for row in rows:
            differences += _check_order(row, events.get(row["id"], ()), lines.get(row["id"], ()), cut, recomputed)
        last, done = rows[-1]["id"], done + len(rows)
        if progress is not None:
            progress(done, max(done, total))
    return (differences + _compare_counts(stored, recomputed))[:DIFFERENCES_AT_MOST]


@contextlib.contextmanager
def _snapshot(database: Database) -> Iterator[Connection]:
    """A read in which all statements see the same moment; SQLite gives that in any case."""
    with database.read() as connection:
        if database.dialect == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _stored_counts(connection: Connection) -> Counts:
    return {
        (row.name, row.hour, row.state): (row.orders, row.units, row.value_minor)
        for row in connection.execute(select(COUNTERS))
    }


def _chunk(
    connection: Connection, after: int
) -> tuple[Sequence[RowMapping], Mapping[int, list[RowMapping]], Mapping[int, list[RowMapping]]]:
    rows = connection.execute(select(ORDERS).where(ORDERS.c.id > after).order_by(ORDERS.c.id).limit(CHUNK)).mappings()
    orders = rows.all()
    if not orders:
        return [], {}, {}
    first, last = orders[0]["id"], orders[-1]["id"]
    return (
        orders,
        _of(connection, EVENTS, EVENTS.c.seq, first, last),
        _of(connection, LINES, LINES.c.number, first, last),
    )


def _of(connection: Connection, table: Any, order: Any, first: int, last: int) -> Mapping[int, list[RowMapping]]:
    within = select(table).where(table.c.order_id.between(first, last)).order_by(table.c.order_id, order)
    rows = connection.execute(within).mappings()
    return {key: list(group) for key, group in groupby(rows, key=lambda row: int(row["order_id"]))}


def event_of(row: Mapping[str, Any]) -> Event:
    """The event a row of the log holds."""
    return Event(
        kind=row["kind"],
        witness=Witness(row["witness"]),
        happened_at=row["happened_at"],
        learned_at=row["learned_at"],
        changes=row["changes"],
        detail=row["detail"],
        line_changes=row["line_changes"],
    )


def _check_order(
    row: RowMapping,
    events: Sequence[RowMapping],
    lines: Sequence[RowMapping],
    cut: int,
    recomputed: dict[tuple[str, datetime, str], list[int]],
) -> Iterable[str]:
    name = row["po_number"]
    seqs = [event["seq"] for event in events]
    if seqs != list(range(1, row["event_count"] + 1)):
        return [f"{name}: the log has a gap or a tail that is missing ({len(seqs)} of {row['event_count']} events)"]
    if not events:
        return [f"{name}: no event tells where it comes from"]
    if len(lines) != row["line_count"]:
        return [f"{name}: {len(lines)} of its {row['line_count']} lines are there"]
    try:
        order = _folded(events, tuple(_blank(line) for line in lines), cut, recomputed)
    except (KeyError, TypeError, ValueError) as exc:
        return [f"{name}: its log cannot be read ({type(exc).__name__}): an event was changed"]
    return [*_compare_facts(name, row, order), *_compare_lines(name, lines, order)]


def _folded(
    events: Sequence[RowMapping],
    lines: tuple[Line, ...],
    cut: int,
    recomputed: dict[tuple[str, datetime, str], list[int]],
) -> Order:
    first, *rest = events
    event = event_of(dict(first))
    order = replace(begin(event), lines=lines)
    if first["id"] <= cut:
        _add(recomputed, None, order, event)
    for row in rest:
        event = event_of(dict(row))
        before, order = order, apply(order, event)
        if row["id"] <= cut:
            _add(recomputed, before, order, event)
    return order


def _blank(line: RowMapping) -> Line:
    return Line(line["number"], line["product_id"], line["value_minor"], line["quantity"], State.PENDING.value)


def _add(
    recomputed: dict[tuple[str, datetime, str], list[int]], before: Order | None, after: Order, event: Event
) -> None:
    for name, hour, state, sign in movements(before, after, event):
        counts = recomputed[name, hour, state]
        counts[0] += sign
        counts[1] += sign * after.units
        counts[2] += sign * after.value_minor


def _compare_facts(name: str, row: RowMapping, order: Order) -> Iterable[str]:
    for fact in FACTS:
        if row[fact] != getattr(order, fact):
            yield f"{name}: {fact} is stored as {row[fact]!r}, the log says {getattr(order, fact)!r}"


def _compare_lines(name: str, lines: Sequence[RowMapping], order: Order) -> Iterable[str]:
    told = {line.number: line for line in order.lines}
    for line in lines:
        said = told[line["number"]]
        wrong = [part for part in ("status", "claims", "cost_minor") if line[part] != getattr(said, part)]
        if wrong:
            yield f"{name}: line {line['number']} differs from the log in {', '.join(wrong)}"
    units = sum(line["quantity"] for line in lines)
    value = sum(line["quantity"] * line["value_minor"] for line in lines)
    if lines and (units, value) != (order.units, order.value_minor):
        yield f"{name}: its lines hold {units} units worth {value}, the order {order.units} worth {order.value_minor}"


def _compare_counts(stored: Counts, recomputed: Mapping[tuple[str, datetime, str], list[int]]) -> list[str]:
    differences = []
    for key in sorted(stored.keys() | recomputed.keys()):
        kept, told = stored.get(key, (0, 0, 0)), tuple(recomputed.get(key, (0, 0, 0)))
        if kept != told:
            name, hour, state = key
            differences.append(f"counter {name} {hour:%Y-%m-%d %H}h {state}: stored {kept}, the log says {told}")
    return differences
