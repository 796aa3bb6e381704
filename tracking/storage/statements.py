"""The statements of the hot paths, made once: to build one takes several times as long as to run it. No logic.

What differs from call to call is named: by `bindparam`, or by the keys of the values handed to `execute`.
"""

import functools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select, update
from sqlalchemy.dialects import sqlite

from tracking.orders.model import FACTS as ORDER_FACTS
from tracking.orders.model import Line
from tracking.storage.tables import CALLBACKS, COUNTERS, EVENTS, FACTS, LINES, ORDERS, OUTBOX, PREDICTIONS


def upsert(connection: Connection, model: Any) -> Any:
    """An INSERT of the engine's own dialect, which knows ON CONFLICT and RETURNING."""
    return _insert(connection.dialect.name, model)


def _insert(dialect: str, model: Any) -> Any:
    if dialect == "sqlite":
        return sqlite.insert(model)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - only its own store needs it, and a start is waited for

    return postgresql.insert(model)


# Orders

# An order's facts first, in their order; the document, which may be large, is not read to change one.
_BESIDE_FACTS = [column for column in ORDERS.c if column.name not in {*ORDER_FACTS, "document"}]
ORDER_BY = {
    name: select(*(ORDERS.c[fact] for fact in ORDER_FACTS), *_BESIDE_FACTS)
    .where(ORDERS.c[name] == bindparam("wanted"))
    .with_for_update()
    for name in ("id", "po_number", "provider_id")
}
LINES_OF = (
    select(*(LINES.c[entry.name] for entry in fields(Line)))
    .where(LINES.c.order_id == bindparam("wanted"))
    .order_by(LINES.c.number)
)
ID_BY = {
    name: select(ORDERS.c.id).where(ORDERS.c[name] == bindparam("wanted")) for name in ("po_number", "provider_id")
}
_WANTED: Any = bindparam("wanted", expanding=True)
IDS_BY = {
    name: select(ORDERS.c[name], ORDERS.c.id).where(ORDERS.c[name].in_(_WANTED))
    for name in ("po_number", "provider_id")
}
PO_NUMBERS = select(ORDERS.c.provider_id, ORDERS.c.po_number).where(ORDERS.c.provider_id.in_(_WANTED))
TAKEN_AMONG = select(
    *(ORDERS.c[name] for name in ("po_number", "id", "state", "line_count", "units", "value_minor"))
).where(ORDERS.c.po_number.in_(_WANTED))
ADD_ORDER = insert(ORDERS).returning(ORDERS.c.id)
ADD_LINES = insert(LINES)
ADD_EVENTS = insert(EVENTS)
CHANGE_ORDER = update(ORDERS).where(ORDERS.c.id == bindparam("changed_id"))
CHANGE_LINES = update(LINES).where(
    LINES.c.order_id == bindparam("changed_id"), LINES.c.number.between(bindparam("first"), bindparam("last"))
)


@functools.cache
def adding_counts(dialect: str) -> Any:
    """Adds to running counts, or begins them."""
    adding = _insert(dialect, COUNTERS)
    grown = {column: COUNTERS.c[column] + adding.excluded[column] for column in ("orders", "units", "value_minor")}
    return adding.on_conflict_do_update(index_elements=["name", "hour", "state"], set_=grown)


# What is due: `now`; to take it, `owner`, `until` and `at_most` as well


def _free(table: Any) -> Any:
    return or_(table.c.lease_until.is_(None), table.c.lease_until <= bindparam("now"))


def _taking(key: Any, due: Any, by: Sequence[Any], wanted: Sequence[Any]) -> Any:
    """Takes due rows under a lease; rows that another worker holds are passed over."""
    first = select(key).where(due).order_by(*by).limit(bindparam("at_most"))
    # A common table expression is run once; as a plain subquery PostgreSQL may run it for each row, past its limit.
    chosen = first.with_for_update(skip_locked=True).cte("due")
    leased: dict[str, Any] = {"lease_owner": bindparam("owner"), "lease_until": bindparam("until")}
    return update(key.table).where(key.in_(select(chosen.c[key.name]))).values(leased).returning(*wanted)


_ATTEMPT_DUE = and_(OUTBOX.c.done.is_(False), OUTBOX.c.next_attempt_at <= bindparam("now"), _free(OUTBOX))
_CHOSEN = and_(ORDERS.c.id.in_(bindparam("wanted", expanding=True)), ORDERS.c.next_look_at.is_not(None), _free(ORDERS))
_LOOKED_AT = ("id", "provider_id", "digest", "provider_created_at", "failures", "next_look_at")

ANY_ATTEMPT_DUE = select(OUTBOX.c.order_id).where(_ATTEMPT_DUE).limit(1)
TAKE_LOOKS = _taking(ORDERS.c.id, _CHOSEN, (ORDERS.c.id,), [ORDERS.c[name] for name in _LOOKED_AT])
TAKE_ATTEMPTS = _taking(
    OUTBOX.c.order_id,
    _ATTEMPT_DUE,
    (OUTBOX.c.next_attempt_at, OUTBOX.c.order_id),
    (OUTBOX.c.order_id, OUTBOX.c.request, OUTBOX.c.attempts),
)
RELEASE = [
    update(table)
    .where(table.c.lease_owner.in_(bindparam("gone", expanding=True)))
    .values(lease_owner=None, lease_until=None)
    for table in (ORDERS, OUTBOX)
]
CREATED_BETWEEN = (
    select(ORDERS.c.provider_created_at)
    .where(ORDERS.c.provider_created_at.between(bindparam("first"), bindparam("last")))
    .order_by(ORDERS.c.provider_created_at)
    .limit(bindparam("at_most"))
)
QUEUE = insert(OUTBOX)
CHANGE_OUTBOX = update(OUTBOX).where(OUTBOX.c.order_id == bindparam("changed_id"))
COUNT_ATTEMPT = CHANGE_OUTBOX.values(attempts=OUTBOX.c.attempts + 1).returning(OUTBOX.c.attempts)
INTERRUPTED = (
    select(ORDERS.c.id)
    .join(OUTBOX, OUTBOX.c.order_id == ORDERS.c.id)
    .where(OUTBOX.c.done.is_(False), _free(OUTBOX), ORDERS.c.submission == "sending")
)


# Predictions


@functools.cache
def keeping_predictions(dialect: str) -> Any:
    """Keeps what is said of an order at a step of its age, where nothing was said there."""
    return _insert(dialect, PREDICTIONS).on_conflict_do_nothing(index_elements=["order_id", "step"])


# Callbacks


@functools.cache
def adding_callback(dialect: str) -> Any:
    """Stores a callback with its repeats so far, or counts it and them as repeats."""
    adding = _insert(dialect, CALLBACKS)
    again = {"repeats": CALLBACKS.c.repeats + adding.excluded.repeats + 1, "last_at": adding.excluded.last_at}
    counted = adding.on_conflict_do_update(index_elements=["digest"], set_=again)
    return counted.returning(CALLBACKS.c.id, CALLBACKS.c.repeats)


CHANGE_CALLBACK = update(CALLBACKS).where(CALLBACKS.c.id == bindparam("changed_id"))
WAITING = (
    select(CALLBACKS)
    .where(CALLBACKS.c.po_number == bindparam("wanted"), CALLBACKS.c.outcome == "waiting")
    .order_by(CALLBACKS.c.id)
)
ADD_CALLBACK = insert(CALLBACKS)
_REFUSALS = select(CALLBACKS.c.id).where(CALLBACKS.c.outcome == "refused")
_FIRST_TOO_MANY = _REFUSALS.order_by(CALLBACKS.c.id.desc()).offset(bindparam("kept")).limit(1).scalar_subquery()
DROP_REFUSALS = delete(CALLBACKS).where(CALLBACKS.c.outcome == "refused", CALLBACKS.c.id <= _FIRST_TOO_MANY)


# Facts

FACT = select(FACTS.c.at, FACTS.c.value).where(FACTS.c.key == bindparam("wanted"))
FACT_TO_CHANGE = select(FACTS.c.value).where(FACTS.c.key == bindparam("wanted")).with_for_update()


@functools.cache
def setting_fact_once(dialect: str) -> Any:
    """Remembers something under its key, where nothing is remembered there."""
    return _insert(dialect, FACTS).on_conflict_do_nothing(index_elements=["key"])


@functools.cache
def setting_fact(dialect: str) -> Any:
    """Remembers something under its key, in place of what was remembered there."""
    adding = _insert(dialect, FACTS)
    replaced = {"value": adding.excluded.value, "at": adding.excluded.at}
    return adding.on_conflict_do_update(index_elements=["key"], set_=replaced)
