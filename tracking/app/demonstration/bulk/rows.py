"""Rows of made-up orders: what live ingestion would have written for their histories, as tuples for bulk inserts.

Times and documents are the texts that are hashed into the chain, which SQLite stores as they are. A row of what belongs
to an order begins with the order's place in its group, as only the store numbers orders.
"""

import functools
import hashlib
import operator
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Table

from tracking.app.demonstration.bulk.histories import History, make_history
from tracking.forecasting.classes import first_late_after
from tracking.orders import event_chain as chain
from tracking.orders import model
from tracking.orders.vocabulary import PollReason
from tracking.provider import recipients
from tracking.storage import counters
from tracking.storage import orders as order_store
from tracking.storage.search import texts
from tracking.storage.search.tables import SEARCH_TEXTS
from tracking.storage.sqlite.times import UtcDateTime
from tracking.storage.tables import CALLBACKS, EVENTS, LINES, ORDERS

Row = tuple[Any, ...]
_Changes = dict[counters.Change, tuple[int, int, int]]
_ORDER_COLUMNS = (
    *model.ORDER_FIELDS,
    *order_store.FOLDED.values(),
    *("line_count", "event_count", "head", "quiet_since"),
    *("looks", "last_look_at", "next_look_at", "next_look_why", "late_at"),
)
_LINE_COLUMNS = ("order_id", *chain.LINE_COLUMNS, "recipient_key")
_EVENT_COLUMNS = ("order_id", *chain.Entry._fields)
_CALL_COLUMNS = (
    *("order_id", "digest", "outcome", "action", "po_number", "provider_id", "stated_at", "size"),
    *("received_at", "last_at"),
)

FILLED = tuple(table.name for table in (ORDERS, LINES, EVENTS, CALLBACKS, SEARCH_TEXTS))
_TIME_PLACES = [at for at, name in enumerate(_ORDER_COLUMNS, 1) if isinstance(ORDERS.c[name].type, UtcDateTime)]
_WORD_PLACES = [_ORDER_COLUMNS.index(name) + 1 for name in ("type", "state", "submission", "notice")]
_facts_of = operator.attrgetter(*model.ORDER_FIELDS)
_TEXT_COLUMNS = ("order_id", "words", "people")


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of orders that are stored together, and what they add to the counters."""

    orders: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    texts: list[Row] = field(default_factory=list)
    counts: counters.Sums = field(default_factory=dict)


def make_group(first: int, placed: Sequence[datetime], seed: int, now: datetime) -> Group:
    """Make up the orders placed at these times, numbered from `first`: always the same for a seed."""
    rng = random.Random(seed)  # noqa: S311 - made-up orders guard nothing  # nosec B311
    group, changes = Group(), _Changes()
    for number, at in enumerate(placed, first):
        _add(group, changes, make_history(number, at, rng, now), now)
    for change, added in changes.items():  # most orders change as others do in the same hour
        counters.sum_change(group.counts, change, added)
    return group


def _add(group: Group, changes: _Changes, history: History, now: datetime) -> None:
    place, order, polls = len(group.orders), history.after[-1], history.polls
    lines = chain.line_values(order.lines, order_store.new_salt)
    first = chain.telling(history.events[0], chain.contents_hash(map(chain.contents_of, lines)))
    origin = chain.first_hash(order.po_number)
    log, head = chain.event_entries(order.po_number, origin, 0, [first, *history.events[1:]])
    group.events.extend([(place, *entry) for entry in log])
    keys = [None if line.recipient is None else _search_key(line.recipient) for line in order.lines]
    group.lines.extend([(place, *values, key) for values, key in zip(lines, keys, strict=True)])
    group.texts.extend([tuple(row.values()) for row in order_store.search_rows(place, history.after[0], keys)])
    if order.provider_id != history.after[0].provider_id:
        group.texts.extend([tuple(row.values()) for row in texts.rows_of(place, [order.provider_id], ())])
    waits = model.is_open(order.state) and order.provider_id is not None
    values = [
        place,
        *_facts_of(order),
        *order_store.folded_ids(order).values(),
        len(lines),
        len(log),
        head,
        history.events[-1].learned_at,
        len(polls),
        polls[-1] if polls else None,
        # Finished orders are not followed: the provider has never heard of them, and asking would be in vain.
        now + timedelta(minutes=5) if waits else None,
        PollReason.MAY_HAVE_FINISHED.value if waits else None,
        (order.accepted_at or order.created_at) + first_late_after(order.type, order.units),
    ]
    for at in _WORD_PLACES:
        values[at] = str(values[at])  # no word of an enumeration, which only it could read again
    newest, as_text = history.events[-1].learned_at, log[-1].learned_at  # what most orders hold in several columns
    for at in _TIME_PLACES:
        if (time := values[at]) is not None:
            values[at] = as_text if time == newest else chain.hashed_time(time)
    group.orders.append(tuple(values))
    if history.webhook_at is not None:
        group.calls.append(webhook_call(place, order, history.webhook_at, history.stated_at))
    earlier = None
    for after, event in zip(history.after, history.events, strict=True):
        if earlier is None or counters.counts(event):  # most only say that the order is open still
            _sum_change(changes, counters.change_of(earlier, after, event), after)
        earlier = after


def _sum_change(changes: _Changes, change: counters.Change | None, after: model.Order) -> None:
    if change is not None:
        times, units, value_minor = changes.get(change, (0, 0, 0))
        changes[change] = times + 1, units + after.units, value_minor + after.value_minor


def webhook_call(place: int, order: model.Order, received: datetime, stated: datetime) -> Row:
    """Make the row of the webhook call that announced the order."""
    digest = hashlib.sha256(f"{order.po_number} notice".encode()).hexdigest()
    ids = (order.po_number, order.provider_id)
    at = chain.hashed_time(received)
    return (place, digest, "accepted", "FulfillmentComplete", *ids, chain.hashed_time(stated), 150, at, at)


@functools.lru_cache(maxsize=8)
def _search_key(recipient: str) -> str | None:
    return recipients.search_key({}, recipient)


def store_group(connection: Connection, group: Group) -> None:
    """Store the group in one transaction: each table by one statement, and each counter once, in the order of keys."""
    numbers = _new_ids(connection, len(group.orders))
    for table, columns, rows in (
        (ORDERS, ("id", *_ORDER_COLUMNS), group.orders),
        (LINES, _LINE_COLUMNS, group.lines),
        (EVENTS, _EVENT_COLUMNS, group.events),
        (CALLBACKS, _CALL_COLUMNS, group.calls),
        (SEARCH_TEXTS, _TEXT_COLUMNS, group.texts),
    ):
        _insert(connection, table, columns, rows, numbers)
    counters.add_sums(connection, group.counts)


def _new_ids(connection: Connection, count: int) -> Sequence[int]:
    """Number the orders as the engine would: nobody else writes on SQLite meanwhile, and a server keeps a sequence."""
    if connection.dialect.name == "sqlite":
        last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(ORDERS.c.id), 0))).scalar_one()
        return range(last + 1, last + 1 + count)
    sequence = sa.func.pg_get_serial_sequence(ORDERS.name, "id")
    drawn = sa.select(sa.func.nextval(sequence)).select_from(sa.func.generate_series(1, count))
    return sorted(connection.execute(drawn).scalars())


def _insert(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: list[Row], numbers: Sequence[int]
) -> None:
    """Insert the rows, each of which begins with the place of its order's number."""
    statement = _insert_statement(connection.dialect.name, table, columns)
    if isinstance(numbers, range):  # SQLite adds faster than each row is made anew
        statement = statement.replace("(?", f"(? + {numbers.start}", 1)
    else:
        rows = [(numbers[place], *row) for place, *row in rows]
    if rows:
        connection.exec_driver_sql(statement, rows)


@functools.cache
def _insert_statement(dialect: str, table: Table, columns: tuple[str, ...]) -> str:
    """Write the statement that inserts such texts; columns that are not named get the values that the tables give."""
    marks = [_mark(dialect, table.c[name]) for name in columns]
    for column in table.c:
        default: Any = column.default
        if column.name not in columns and default is not None and default.is_scalar:
            columns += (column.name,)
            marks.append(str(sa.literal(default.arg).compile(compile_kwargs={"literal_binds": True})))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join(marks)})"  # noqa: S608 - our own names  # nosec B608


def _mark(dialect: str, column: sa.Column[Any]) -> str:
    if dialect == "sqlite":
        return "?"
    if isinstance(column.type, UtcDateTime):
        return "(%s || '+00')::timestamptz"
    return "%s::json" if isinstance(column.type, sa.JSON) else "%s"
