"""The inbox: webhook calls received, repeated, refused or waiting for their order. Steps of a job."""

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.engine import RowMapping

from tracking.storage.tables import CALLBACKS, insert_for

REFUSALS_STORED = 1000
UPDATE_WEBHOOK_CALL = update(CALLBACKS).where(CALLBACKS.c.id == bindparam("changed_id"))
_WAITING = select(CALLBACKS).where(CALLBACKS.c.outcome == "waiting").order_by(CALLBACKS.c.id)
WAITING_WEBHOOK_CALLS = _WAITING.where(CALLBACKS.c.po_number == bindparam("wanted"))
INSERT_WEBHOOK_CALL = insert(CALLBACKS)
_REFUSALS = select(CALLBACKS.c.id).where(CALLBACKS.c.outcome == "refused")
_FIRST_BEYOND_LIMIT = _REFUSALS.order_by(CALLBACKS.c.id.desc()).offset(bindparam("kept")).limit(1).scalar_subquery()
DELETE_OLD_REFUSALS = delete(CALLBACKS).where(CALLBACKS.c.outcome == "refused", CALLBACKS.c.id <= _FIRST_BEYOND_LIMIT)


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


def settle_webhook_call(
    connection: Connection, call_id: int, *, outcome: str, order_id: int | None, reason: str | None = None
) -> None:
    """Record the outcome of a webhook call."""
    settled = {"changed_id": call_id, "outcome": outcome, "order_id": order_id, "reason": reason}
    connection.execute(UPDATE_WEBHOOK_CALL, settled)


def waiting_webhook_calls(connection: Connection, po_number: str) -> list[RowMapping]:
    """Read the webhook calls that came before their order."""
    return list(connection.execute(WAITING_WEBHOOK_CALLS, {"wanted": po_number}).mappings())


def record_refusal(connection: Connection, values: Mapping[str, Any], now: datetime) -> None:
    """Store a refused call and delete all but the newest REFUSALS_STORED, found along an index of their own."""
    columns = {"outcome": "refused", "received_at": now, "last_at": now}
    connection.execute(INSERT_WEBHOOK_CALL, {**values, **columns})
    connection.execute(DELETE_OLD_REFUSALS, {"kept": REFUSALS_STORED})


@functools.cache
def upsert_webhook_call(dialect: str) -> Any:
    """Build the statement that stores a call with its repeats so far, or counts it and them as repeats."""
    adding = insert_for(dialect, CALLBACKS)
    again = {"repeats": CALLBACKS.c.repeats + adding.excluded.repeats + 1, "last_at": adding.excluded.last_at}
    counted = adding.on_conflict_do_update(index_elements=["digest"], set_=again)
    return counted.returning(CALLBACKS.c.id, CALLBACKS.c.repeats)
