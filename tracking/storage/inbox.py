"""Inbox: webhook calls received, repeated, refused or waiting for their order; and addresses. Steps of a job."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, insert, select, update
from sqlalchemy.engine import RowMapping

from tracking.orders.model import Submission
from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.sqlite import many_rows
from tracking.storage.tables import ADDRESSES, CALLBACKS, OPEN, ORDERS, WAITS_FOR_ORDER, insert_for

REFUSALS_STORED = 1000
UPDATE_WEBHOOK_CALL = update(CALLBACKS).where(CALLBACKS.c.id == bindparam("changed_id"))
_WAITING = select(CALLBACKS).where(WAITS_FOR_ORDER).order_by(CALLBACKS.c.id)
WAITING_WEBHOOK_CALLS = _WAITING.where(CALLBACKS.c.po_number == bindparam("wanted"))
STORED_DIGESTS = select(CALLBACKS.c.digest).where(CALLBACKS.c.digest.in_(bindparam("digests", expanding=True)))
INSERT_WEBHOOK_CALL = insert(CALLBACKS)
_REFUSALS = select(CALLBACKS.c.id).where(CALLBACKS.c.outcome == "refused")
_FIRST_BEYOND_LIMIT = _REFUSALS.order_by(CALLBACKS.c.id.desc()).offset(bindparam("kept")).limit(1).scalar_subquery()
DELETE_OLD_REFUSALS = delete(CALLBACKS).where(CALLBACKS.c.outcome == "refused", CALLBACKS.c.id <= _FIRST_BEYOND_LIMIT)

_BY_ADDRESS = select(ADDRESSES.c.digest, ORDERS.c.po_number).join(ORDERS, ORDERS.c.id == ADDRESSES.c.order_id)
PO_NUMBERS_BY_ADDRESS = _BY_ADDRESS.where(ADDRESSES.c.digest.in_(bindparam("digests", expanding=True)))
ORDERS_WITHOUT_ADDRESS = (
    select(ORDERS.c.id, ORDERS.c.po_number)
    .where(OPEN, ORDERS.c.submission != Submission.ELSEWHERE.value, ORDERS.c.id > bindparam("after"))
    .where(~exists().where(ADDRESSES.c.order_id == ORDERS.c.id))
    .order_by(ORDERS.c.id)
    .limit(bindparam("most"))
)


def last_webhook_at(connection: Connection) -> datetime | None:
    """Read when the last genuine webhook call came; None where none ever did."""
    genuine = select(CALLBACKS.c.received_at).where(CALLBACKS.c.outcome != "refused")
    return connection.execute(genuine.order_by(CALLBACKS.c.received_at.desc()).limit(1)).scalar()


def record_webhook_call(
    connection: Connection, values: Mapping[str, Any], now: datetime, *, times: int = 1
) -> tuple[int, int]:
    """Store a webhook call that has come `times` times, or count it as repeated so often.

    Returns (id, how often it has been repeated by now), with 0 repeats for one that had not come before.
    """
    statement = upsert_webhook_call(connection.dialect.name)
    columns = {"repeats": times - 1, "received_at": now, "last_at": now}
    row = connection.execute(statement, {**values, **columns}).one()
    return row[0], row[1] if row[1] >= times else 0


def record_webhook_calls(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store these webhook calls, each with all its columns; one that is stored already is counted as repeated."""
    if rows:
        many_rows.write(connection, upsert_webhook_call(connection.dialect.name, returning=False), rows)


def stored_digests(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Which of these are digests of webhook calls that came before."""
    return set(connection.execute(STORED_DIGESTS, {"digests": list(digests)}).scalars())


def settle_webhook_call(connection: Connection, call_id: int, columns: Mapping[str, Any]) -> None:
    """Record what became of a webhook call, and of which order it is."""
    connection.execute(UPDATE_WEBHOOK_CALL, {"changed_id": call_id, **columns})


def waiting_webhook_calls(connection: Connection, po_number: str) -> list[RowMapping]:
    """Read the webhook calls that came before their order."""
    return list(connection.execute(WAITING_WEBHOOK_CALLS, {"wanted": po_number}).mappings())


def record_refusal(connection: Connection, values: Mapping[str, Any], now: datetime) -> None:
    """Store a refused call and delete all but the newest REFUSALS_STORED, found along an index of their own."""
    columns = {"outcome": "refused", "received_at": now, "last_at": now}
    connection.execute(INSERT_WEBHOOK_CALL, {**values, **columns})
    connection.execute(DELETE_OLD_REFUSALS, {"kept": REFUSALS_STORED})


def add_refusal_counts(connection: Connection, counted: Mapping[str, int], now: datetime) -> None:
    """Add to the counts of refused calls, by rule; of those that are not stored they are all that is left."""
    stored = facts.value_for_update(connection, FactKey.REFUSALS)
    by_rule = Counter(stored.get("by_rule", {})) + Counter(counted)
    value = {"counted": by_rule.total(), "by_rule": dict(by_rule), "since": stored.get("since", now.isoformat())}
    facts.set_fact(connection, FactKey.REFUSALS, value, now)


def store_addresses(connection: Connection, digests: Sequence[tuple[str, int]]) -> None:
    """Store for which order (row id) the address with this hash is; one that is stored already stays."""
    rows = [{"digest": digest, "order_id": order_id} for digest, order_id in digests]
    if rows:
        connection.execute(insert_address(connection.dialect.name), rows)


def po_numbers_by_address(connection: Connection, digests: Sequence[str]) -> dict[str, str]:
    """Look up the PONumbers of orders by the hashes of their addresses."""
    return {row.digest: row.po_number for row in connection.execute(PO_NUMBERS_BY_ADDRESS, {"digests": list(digests)})}


def orders_without_address(connection: Connection, *, after: int, limit: int) -> list[tuple[int, str]]:
    """Find open orders of ours without a stored address, as (row id, PONumber), with ids beyond `after`."""
    rows = connection.execute(ORDERS_WITHOUT_ADDRESS, {"after": after, "most": limit})
    return [(row.id, row.po_number) for row in rows]


@functools.cache
def insert_address(dialect: str) -> Any:
    """Build the statement that stores an address, unless it is stored."""
    return insert_for(dialect, ADDRESSES).on_conflict_do_nothing(index_elements=["digest"])


@functools.cache
def upsert_webhook_call(dialect: str, *, returning: bool = True) -> Any:
    """Build the statement that stores a call with its repeats so far, or counts it and them as repeats."""
    adding = insert_for(dialect, CALLBACKS)
    again = {"repeats": CALLBACKS.c.repeats + adding.excluded.repeats + 1, "last_at": adding.excluded.last_at}
    counted = adding.on_conflict_do_update(index_elements=["digest"], set_=again)
    return counted.returning(CALLBACKS.c.id, CALLBACKS.c.repeats) if returning else counted
