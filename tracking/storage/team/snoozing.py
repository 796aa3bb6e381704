"""SQL conditions for snoozed orders, and how many of those that need somebody are snoozed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.storage.tables import ORDERS

_SNOOZED_AT, _UNTIL = ORDERS.c.snoozed_at, ORDERS.c.snoozed_until


def snoozed(now: datetime) -> ColumnElement[bool]:
    """Match the orders that are snoozed now; one whose time is over needs no event to ask for somebody again."""
    return sa.and_(_SNOOZED_AT.is_not(None), sa.or_(_UNTIL.is_(None), now < _UNTIL))


def awake(now: datetime) -> ColumnElement[bool]:
    """Match all others."""
    return sa.or_(_SNOOZED_AT.is_(None), now >= _UNTIL)


def counted(connection: Connection, now: datetime, *matching: Any) -> tuple[int, int]:
    """Count the orders that match: how many ask for somebody now, and how many are snoozed.

    All are counted in the index of the conditions, the snoozed ones in theirs: neither count walks over orders.
    """
    all_of_them = select(sa.func.count()).select_from(ORDERS).where(*matching)
    waiting = select(ORDERS.c.id).where(snoozed(now))
    total = int(connection.execute(all_of_them).scalar_one())
    asleep = int(connection.execute(all_of_them.where(ORDERS.c.id.in_(waiting))).scalar_one())
    return total - asleep, asleep


def is_snoozed(row: Mapping[Any, Any], now: datetime) -> bool:
    """Tell whether the order of this row waits now."""
    return row["snoozed_at"] is not None and (row["snoozed_until"] is None or row["snoozed_until"] > now)
