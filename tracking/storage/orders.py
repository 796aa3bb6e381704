"""Orders: find, add and save them; lease those that are due for a poll. Steps of a job.

Owns how an order and its log are kept: the row is always the fold of the events, and the counters change in the same
transaction as what they count. Statements of hot paths are built once: that takes several times as long as to run them.
"""

import contextlib
import itertools
import operator
import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, insert, or_, select, update
from sqlalchemy.engine import RowMapping

from tracking.orders import event_chain as chain
from tracking.orders.echoes import respellings
from tracking.orders.model import ORDER_FIELDS, Event, Line, Order, folded_id, order_of
from tracking.storage.counters import count_event
from tracking.storage.integration import late_orders, notifications
from tracking.storage.leases import LIMIT, RESCHEDULE_SPREAD, lease_rows, unleased
from tracking.storage.retention.checkpoints import keep_facts
from tracking.storage.search import texts
from tracking.storage.sqlite import many_rows
from tracking.storage.tables import EVENTS, LINES, OPEN, ORDERS

_TOO_FAR = or_(ORDERS.c.next_look_at > LIMIT, ORDERS.c.lease_until > LIMIT)
_POLLS_TOO_FAR = select(ORDERS.c.id).where(OPEN, ORDERS.c.next_look_at.is_not(None), _TOO_FAR)
# An order's facts first, in their order; the document, which may be large, is not read to change one.
_COLUMNS = [ORDERS.c[fact] for fact in ORDER_FIELDS]
_COLUMNS += [column for column in ORDERS.c if column.name not in {*ORDER_FIELDS, "document"}]
FOLDED = {"po_number": "po_folded", "provider_id": "provider_folded"}
_VALUE: Any = bindparam("wanted")
_VALUES: Any = bindparam("wanted", expanding=True)
_FOLDED_VALUES: Any = bindparam("folded", expanding=True)
SELECT_ORDER_BY = {
    name: select(*_COLUMNS).where(ORDERS.c[name] == _VALUE).with_for_update() for name in ("id", *FOLDED)
}
SELECT_ORDERS = select(*_COLUMNS).where(ORDERS.c.id.in_(_VALUES)).order_by(ORDERS.c.id).with_for_update()
_BY_PO_NUMBERS = select(*_COLUMNS).where(ORDERS.c.po_number.in_(_VALUES))
SELECT_ORDERS_BY_PO_NUMBER = _BY_PO_NUMBERS.order_by(ORDERS.c.id).with_for_update()  # all who lock many in one order
SELECT_ORDER_BY_FOLDED = {
    name: select(*_COLUMNS).where(ORDERS.c[folded] == _VALUE).limit(2).with_for_update()
    for name, folded in FOLDED.items()
}
_LINES = select(*(LINES.c[entry.name] for entry in fields(Line))).order_by(LINES.c.number)
LINES_OF = _LINES.where(LINES.c.order_id == _VALUE)
LINES_OF_SEVERAL = _LINES.add_columns(LINES.c.order_id).where(LINES.c.order_id.in_(_VALUES))
IDS_BY = {
    name: select(ORDERS.c[name].label("name"), ORDERS.c.id, ORDERS.c.po_number).where(
        or_(ORDERS.c[name].in_(_VALUES), ORDERS.c[folded].in_(_FOLDED_VALUES))
    )
    for name, folded in FOLDED.items()
}
INSERT_ORDER = insert(ORDERS).returning(*_COLUMNS)
INSERT_LINES = insert(LINES)
INSERT_EVENTS = insert(EVENTS)
UPDATE_ORDER = update(ORDERS).where(ORDERS.c.id == bindparam("changed_id"))
_BETWEEN: Any = bindparam("first"), bindparam("last")
UPDATE_LINES = update(LINES).where(LINES.c.order_id == bindparam("changed_id"), LINES.c.number.between(*_BETWEEN))
_CHOSEN_AT: Any = bindparam("chosen_at")
_LAST = ORDERS.c.last_look_at
# A last poll that lies ahead was made before the clock was set back.
NOT_POLLED_SINCE = or_(_LAST.is_(None), _LAST <= _CHOSEN_AT, bindparam("now") < _LAST)
_POLL_DUE = and_(ORDERS.c.id.in_(_VALUES), ORDERS.c.next_look_at.is_not(None), unleased(ORDERS), NOT_POLLED_SINCE)
_POLL_COLUMNS = ("id", "provider_id", "digest", "provider_created_at", "failures", "next_look_at")
LEASE_POLLS = lease_rows(ORDERS.c.id, _POLL_DUE, (ORDERS.c.id,), [ORDERS.c[name] for name in _POLL_COLUMNS])
_CREATED = select(ORDERS.c.provider_created_at).where(ORDERS.c.provider_created_at.between(*_BETWEEN))
_facts_of = operator.attrgetter(*ORDER_FIELDS)
_DEFERRED = "deferred writes"  # in a connection's `info`
_Deferred = dict[tuple[Any, tuple[str, ...]], list[dict[str, Any]]]  # by statement and columns
CREATED_BETWEEN = _CREATED.order_by(ORDERS.c.provider_created_at).limit(bindparam("at_most"))


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as stored: its row's id, its facts, and the row's columns without the document."""

    id: int
    order: Order
    columns: RowMapping


def find_order(
    connection: Connection,
    *,
    order_id: int | None = None,
    po_number: str | None = None,
    provider_id: str | None = None,
    with_lines: bool = True,
) -> StoredOrder | None:
    """Find the order with this id of whatever kind; its row is locked for the rest of the transaction.

    Failing that, the one whose PONumber or provider's id differs in case alone; none where there are several.
    """
    _write_deferred(connection)
    ids = {"po_number": po_number, "provider_id": provider_id, "id": order_id}
    name = next((name for name, value in ids.items() if value is not None), "id")
    row = connection.execute(SELECT_ORDER_BY[name], {"wanted": ids[name]}).one_or_none()
    if row is None and name in FOLDED:
        alike = connection.execute(SELECT_ORDER_BY_FOLDED[name], {"wanted": folded_id(str(ids[name]))}).all()
        row = alike[0] if len(alike) == 1 else None
    return None if row is None else _stored_order(row, lines_of(connection, row.id) if with_lines else ())


def find_orders(connection: Connection, order_ids: Sequence[int], *, with_lines: bool = False) -> list[StoredOrder]:
    """Find these orders, ascending by id; their rows are locked for the rest of the transaction."""
    rows = connection.execute(SELECT_ORDERS, {"wanted": list(order_ids)}).all()
    lines: dict[int, list[Line]] = {}
    for *line, order_id in connection.execute(LINES_OF_SEVERAL, {"wanted": list(order_ids)}) if with_lines else ():
        lines.setdefault(order_id, []).append(Line(*line))
    return [_stored_order(row, tuple(lines.get(row.id, ()))) for row in rows]


def find_as_named(connection: Connection, po_number: str) -> StoredOrder | None:
    """Find the order with this PONumber, without lines; in another spelling only where the provider has not named it.

    Where the provider names two orders whose PONumbers differ in case alone, they are two to it.
    """
    for number in (po_number, *respellings(po_number)):
        stored = find_order(connection, po_number=number, with_lines=False)
        if stored is not None and (po_number == stored.order.po_number or not stored.order.provider_id):
            return stored
    return None


def find_by_po_numbers(connection: Connection, po_numbers: Sequence[str]) -> dict[str, StoredOrder]:
    """Find the orders with these PONumbers as they are written, without lines; their rows are locked."""
    rows = connection.execute(SELECT_ORDERS_BY_PO_NUMBER, {"wanted": list(po_numbers)})
    return {row.po_number: _stored_order(row, ()) for row in rows.all()}


def _stored_order(row: Row[Any], lines: tuple[Line, ...]) -> StoredOrder:
    order = order_of(dict(zip(ORDER_FIELDS, row, strict=False), lines=lines))
    return StoredOrder(row.id, order, row._mapping)  # noqa: SLF001 - public; so named to differ from every column


def lines_of(connection: Connection, order_id: int) -> tuple[Line, ...]:
    """Read the order's lines, by number."""
    return tuple(Line(*row) for row in connection.execute(LINES_OF, {"wanted": order_id}))


def add_order(
    connection: Connection,
    order: Order,
    first: Event,
    extra_columns: Mapping[str, Any],
    recipient_keys: Sequence[str | None] = (),
) -> StoredOrder:
    """Insert a new order with its lines and its first event; `recipient_keys` find its lines, by their order."""
    lines = chain.line_rows(order.lines, new_salt)
    first = chain.with_contents(first, lines)
    log, head = chain.event_rows(order.po_number, chain.first_hash(order.po_number), 0, [first])
    columns: dict[str, Any] = {"line_count": len(lines), "event_count": 1, "head": head}
    columns |= {"quiet_since": first.learned_at} | dict(extra_columns)
    values = {name: getattr(order, name) for name in ORDER_FIELDS} | folded_ids(order) | columns
    stored = _stored_order(connection.execute(INSERT_ORDER, values).one(), order.lines)
    if lines:
        keyed = itertools.zip_longest(lines, recipient_keys[: len(lines)])
        rows = [{"order_id": stored.id, **line, "recipient_key": key} for line, key in keyed]
        connection.execute(INSERT_LINES, rows)
    texts.add_texts(connection, search_rows(stored.id, order, recipient_keys))
    connection.execute(INSERT_EVENTS, [{"order_id": stored.id, **entry} for entry in log])
    if deliveries := notifications.deliveries_of(connection, stored.id, order, [first], log, head):
        connection.execute(notifications.INSERT_DELIVERIES, deliveries)
    count_event(connection, None, order, first)
    return stored


def search_rows(order_id: int, order: Order, recipient_keys: Sequence[str | None]) -> list[texts.TextRow]:
    """Make the rows that a new order is found by; `recipient_keys` are those of its lines, by their order."""
    keyed = itertools.zip_longest(order.lines, recipient_keys[: len(order.lines)])
    lines = [(line.product_id, line.external_id, key) for line, key in keyed]
    return texts.rows_of(order_id, (order.po_number, order.provider_id, order.note), lines)


def folded_ids(order: Order) -> dict[str, str | None]:
    """The ids as they are compared."""
    return {folded: folded_id(text) if (text := getattr(order, name)) else None for name, folded in FOLDED.items()}


def new_salt() -> str:
    """Make the key of a recipient's hash: 128 random bits."""
    return secrets.token_hex(16)


def save_order(
    connection: Connection,
    stored: StoredOrder,
    after: Sequence[Order],
    events: Sequence[Event],
    extra_columns: Mapping[str, Any] | None = None,
) -> None:
    """Append the events, and update row, lines and counters by them.

    `after` holds the order after each of the events, `extra_columns` columns that are not facts, such as next_look_at.
    """
    changed: dict[str, Any] = dict(extra_columns or {})
    if events:
        last = after[-1]
        facts = zip(ORDER_FIELDS, _facts_of(last), _facts_of(stored.order), strict=True)
        changed |= {name: value for name, value, earlier in facts if value != earlier}
        if "provider_id" in changed:
            changed |= folded_ids(last)
        new_words = [changed.get(name) for name in ("provider_id", "note")]
        new_words += [event.detail["text"] for event in events if event.kind in texts.NOTE_KINDS]
        if any(new_words):
            texts.add_words(connection, stored.id, new_words)
        count, head = stored.columns["event_count"], stored.columns["head"] or ""
        log, changed["head"] = chain.event_rows(stored.order.po_number, head, count, events)
        changed["event_count"], changed["quiet_since"] = count + len(log), events[-1].learned_at
        if stored.columns["events_removed"] == count:
            keep_facts(connection, stored.id, stored.order)
        write(connection, INSERT_EVENTS, [{"order_id": stored.id, **entry} for entry in log])
        if deliveries := notifications.deliveries_of(connection, stored.id, last, events, log, changed["head"]):
            write(connection, notifications.INSERT_DELIVERIES, deliveries)
    if changed:
        write(connection, UPDATE_ORDER, [{"changed_id": stored.id, **changed}])
    if events and "late_at" in changed and changed["late_at"] <= events[-1].learned_at:
        late_orders.notify(connection, [stored.id], events[-1].learned_at)
    before = stored.order
    for order, event in zip(after, events, strict=True):
        _save_lines(connection, stored.id, event.line_changes)
        count_event(connection, before, order, event)
        before = order


@contextlib.contextmanager
def deferred_writes(connection: Connection) -> Iterator[None]:
    """Write what `save_order` saves within the block at its end, many rows a statement.

    `find_order` first writes what is deferred, so it finds what was saved; other reads within the block do not see it.
    """
    info = connection.info
    info[_DEFERRED] = {}
    try:
        yield
        _write_deferred(connection)
    finally:
        del info[_DEFERRED]


def _write_deferred(connection: Connection) -> None:
    if deferred := connection.info.get(_DEFERRED):
        for (statement, _), rows in deferred.items():
            many_rows.write(connection, statement, rows)
        deferred.clear()


def write(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    """Run a statement that returns nothing; within `deferred_writes` at the end of the block, with others like it."""
    deferred: _Deferred | None = connection.info.get(_DEFERRED)
    if deferred is None:
        connection.execute(statement, rows if len(rows) > 1 or statement is INSERT_EVENTS else rows[0])
        return
    for row in rows:
        deferred.setdefault((statement, tuple(row)), []).append(row)


def annotate_lines(connection: Connection, order_id: int, notes: Sequence[Mapping[str, Any]]) -> None:
    """Update what events do not carry line by line (the provider's line ids, digests): [{"number": 1, ...}]."""
    for names in {tuple(note) for note in notes}:
        rows = [
            {"changed_id": order_id, "first": note["number"], "last": note["number"]}
            | {name: note[name] for name in names if name != "number"}
            for note in notes
            if tuple(note) == names
        ]
        connection.execute(UPDATE_LINES, rows)


def _save_lines(connection: Connection, order_id: int, changes: Sequence[Mapping[str, Any]]) -> None:
    for change in changes:
        values = {name: value for name, value in change.items() if name != "numbers"}
        for run in change["numbers"].split(","):
            first, _, last = run.partition("-")
            within = {"changed_id": order_id, "first": int(first), "last": int(last or first)}
            connection.execute(UPDATE_LINES, within | values)


def lease_polls(
    connection: Connection,
    order_ids: Sequence[int],
    now: datetime,
    *,
    owner: str,
    lease: timedelta,
    chosen_at: datetime,
) -> list[RowMapping]:
    """Lease those orders that are still to be polled, held by nobody, and not polled since `chosen_at`."""
    values = {"wanted": list(order_ids), "now": now, "owner": owner, "until": now + lease, "at_most": len(order_ids)}
    values["chosen_at"] = chosen_at
    return list(connection.execute(LEASE_POLLS, values).mappings())


def created_between(connection: Connection, first: datetime, last: datetime, limit: int) -> list[datetime]:
    """List when the orders between these two times were created at the provider, ascending, at most `limit`."""
    values = {"first": first, "last": last, "at_most": limit}
    return list(connection.execute(CREATED_BETWEEN, values).scalars())


def update_order(connection: Connection, order_id: int, values: Mapping[str, Any]) -> None:
    """Update columns that are no facts: due times, leases, failures."""
    connection.execute(UPDATE_ORDER, {"changed_id": order_id, **values})


def release_polls(connection: Connection, order_ids: Sequence[int], *, due_at: datetime | None = None) -> None:
    """Release the orders without a poll, due at `due_at` or still at once."""
    values: dict[str, Any] = {"lease_owner": None, "lease_until": None}
    if due_at is not None:
        values["next_look_at"] = due_at
    connection.execute(update(ORDERS).where(ORDERS.c.id.in_(order_ids)).values(values))


def order_ids(
    connection: Connection, *, po_numbers: Sequence[str] = (), provider_ids: Sequence[str] = ()
) -> dict[str, int]:
    """Look up the row ids of PONumbers and provider ids, in the case in which they are given."""
    rows = _rows_of(connection, "po_number", po_numbers) | _rows_of(connection, "provider_id", provider_ids)
    return {name: row.id for name, row in rows.items()}


def po_numbers_of(connection: Connection, provider_ids: Sequence[str]) -> dict[str, str]:
    """Look up the PONumbers of orders by the provider's ids, in the case in which these are given."""
    return {name: row.po_number for name, row in _rows_of(connection, "provider_id", provider_ids).items()}


def spelt_as_stored(connection: Connection, po_numbers: Sequence[str]) -> tuple[str, ...]:
    """The PONumbers as the orders have them that differ from these in case alone; others as they are."""
    rows = _rows_of(connection, "po_number", po_numbers)
    return tuple(rows[number].po_number if number in rows else number for number in po_numbers)


def find_id(connection: Connection, any_id: str) -> int | None:
    """Find the order with this PONumber or, failing that, the provider's id; None where several may be meant."""
    for name in FOLDED:
        if (row := _rows_of(connection, name, [any_id]).get(any_id)) is not None:
            return int(row.id)
    return None


def owner_of_po_number(connection: Connection, po_number: str) -> str | None:
    """Find the PONumber of an order that has this one, in whatever case."""
    rows = _select_alike(connection, "po_number", [po_number])
    return next((str(row.po_number) for row in rows), None)


def _select_alike(connection: Connection, name: str, ids: Sequence[str]) -> Sequence[Any]:
    values = {"wanted": list(ids), "folded": [folded_id(one) for one in ids]}
    return connection.execute(IDS_BY[name], values).all() if ids else ()


def _rows_of(connection: Connection, name: str, ids: Sequence[str]) -> dict[str, Any]:
    """The row for each of these ids: the one that has it as it is written, or the only one that differs in case."""
    exact: dict[str, Any] = {}
    alike: dict[str, list[Any]] = {}
    for row in _select_alike(connection, name, ids):
        exact[row.name] = row
        alike.setdefault(folded_id(row.name), []).append(row)
    candidates = {one: [exact[one]] if one in exact else alike.get(folded_id(one), []) for one in ids}
    return {one: rows[0] for one, rows in candidates.items() if len(rows) == 1}


def polls_too_far(connection: Connection, now: datetime, furthest: timedelta) -> list[int]:
    """Find open orders whose poll, or the lease on it, lies further ahead than it can have been planned."""
    return list(connection.execute(_POLLS_TOO_FAR, {"limit": now + furthest}).scalars())


def reschedule_polls(connection: Connection, order_ids: Sequence[int], now: datetime, rng: random.Random) -> None:
    """Make the orders due within a minute, held by nobody: a poll too many does no harm."""
    due = [{"order": order_id, "due": now + rng.random() * RESCHEDULE_SPREAD} for order_id in order_ids]
    values: dict[str, Any] = {"next_look_at": bindparam("due"), "lease_owner": None, "lease_until": None}
    connection.execute(update(ORDERS).where(ORDERS.c.id == bindparam("order")).values(values), due)
