"""Rows that several parts of an order's page read, and what was removed from the order, in words."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import UnknownOrder
from tracking.orders import wording
from tracking.orders.model import Witness
from tracking.orders.wording import TimelineEntry, count
from tracking.storage.database import Database
from tracking.storage.retention.checkpoints import checkpoint_of
from tracking.storage.tables import ORDERS

REMOVED = "removed"
"""The kind of a timeline's row that says what is gone."""


def order_row(connection: Connection, order_id: int) -> RowMapping:
    """The order's row.

    Raises:
        UnknownOrder: no order has this id.
    """
    row = connection.execute(select(ORDERS).where(ORDERS.c.id == order_id)).mappings().one_or_none()
    if row is None:
        raise UnknownOrder(f"no order has the number {order_id}")
    return row


def removal_text(checkpoint: Mapping[Any, Any]) -> str:
    """Say how many events left, when, and where they are now."""
    events = count(checkpoint["seq"], "earlier event")
    where = f"archived in {checkpoint['file']}" if checkpoint["file"] else "not archived"
    return f"{events} removed from the database on {wording.clock(checkpoint['removed_at'])}, {where}"


def removal_entry(checkpoint: Mapping[Any, Any]) -> TimelineEntry:
    """The removal as a row of the order's timeline."""
    at, text = checkpoint["removed_at"], removal_text(checkpoint)
    return TimelineEntry(
        at=at, until=at, learned_at=at, witness=Witness.US.value, kind=REMOVED, text=text, seq=checkpoint["seq"]
    )


def removed_of(database: Database, order_id: int) -> str | None:
    """What left of the order, in words; None where nothing did."""
    with database.read() as connection:
        checkpoint = checkpoint_of(connection, order_id)
    return None if checkpoint is None else removal_text(checkpoint)
