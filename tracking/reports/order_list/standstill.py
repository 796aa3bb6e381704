"""Tells by one cheap statement that nothing can have changed since a list was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.storage.facts import FactKey
from tracking.storage.tables import EVENTS, FACTS, OPEN, ORDERS
from tracking.storage.team import snoozing

LOOKED_EVERY = 60  # seconds: what moves without an event, such as a limit that was learned anew
LOOK_LASTS = 5  # seconds, as often as a page asks


@dataclass(frozen=True, slots=True)
class Standing:
    """What the store held at a moment: its newest order and event, by their ids, and when incidents were found last."""

    at: datetime
    newest_order: int
    newest_event: int
    incidents_at: datetime | None


def standing(connection: Connection, now: datetime) -> Standing:
    """Read it as it is now."""
    row = connection.execute(select(*_newest())).one()
    return Standing(now, row.newest_order, row.newest_event, row.incidents_at)


def stands_still(connection: Connection, before: Standing, now: datetime) -> bool:
    """Whether nothing changed since then, nor became late or awake again by the clock alone.

    Once a minute it is not taken for granted: then whoever asks looks at the list itself.
    """
    if int(now.timestamp()) % LOOKED_EVERY < LOOK_LASTS:
        return False
    became_late = select(ORDERS.c.id).where(OPEN, ORDERS.c.late_at >= before.at, ORDERS.c.late_at < now)
    woke = select(ORDERS.c.id).where(snoozing.snoozed(before.at), ORDERS.c.snoozed_until <= now)
    moved = (each.limit(1).scalar_subquery() for each in (became_late, woke))
    row = connection.execute(select(*_newest(), *moved)).one()
    return row[:3] == (before.newest_order, before.newest_event, before.incidents_at) and row[3:] == (None, None)


def _newest() -> list[Any]:
    incidents_at = select(FACTS.c.at).where(FACTS.c.key == FactKey.LATE_ORDERS).scalar_subquery()
    return [
        sa.func.coalesce(select(sa.func.max(ORDERS.c.id)).scalar_subquery(), 0).label("newest_order"),
        sa.func.coalesce(select(sa.func.max(EVENTS.c.id)).scalar_subquery(), 0).label("newest_event"),
        incidents_at.label("incidents_at"),
    ]
