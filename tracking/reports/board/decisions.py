"""Decisions: the orders that need one, grouped by the reason, with count, oldest and value. Bounded; writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from tracking.orders.vocabulary import AttentionReason
from tracking.reports import amounts
from tracking.reports.order_list.narrowing import FLAGGED
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.storage.team import snoozing

ORDERS_READ = 2_000
OLDEST_LISTED = 8
_COLUMNS = tuple(
    ORDERS.c[name] for name in ("id", "po_number", "created_at", "attention_reason", "currency", "value_minor")
)

_Flagged = tuple[Any, ...]  # of these columns: thousands are read, and a name looked up for each takes longer


@dataclass(frozen=True, slots=True)
class DecisionOrder:
    """One order that needs a decision, for the reason with this stored code."""

    po_number: str
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DecisionGroup:
    """The orders that need a decision for one reason, by its stored code.

    Attributes:
        reason: the stored code; `OTHER` also for orders without one.
        orders: how many there are; of a store with more than ORDERS_READ at least so many.
        oldest: the one that was made first.
        values: what they are worth, minor units by currency.
    """

    reason: str
    orders: int
    oldest: DecisionOrder
    values: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Decisions:
    """What needs a decision, the largest group first, and the OLDEST_LISTED orders that wait for one longest.

    With `capped` only the newest and the oldest orders were grouped. `snoozed` ones wait, and are counted nowhere else.
    """

    groups: tuple[DecisionGroup, ...]
    oldest: tuple[DecisionOrder, ...]
    total: int
    capped: bool
    snoozed: int = 0


def decisions(database: Database, now: datetime) -> Decisions:
    """Group the orders that need a decision by the reason; of very many the newest and the oldest."""
    with database.read() as connection:
        total, asleep = snoozing.counted(connection, now, FLAGGED)
        rows = _flagged_orders(connection, now, all_of_them=total <= ORDERS_READ)
        unclear = [row for row in rows if not amounts.is_one_currency(row[4])]
        columns = [column.name for column in _COLUMNS]
        values = amounts.order_values(connection, [dict(zip(columns, row, strict=True)) for row in unclear])
    groups = [_group(reason, of_reason, values) for reason, of_reason in _by_reason(rows).items()]
    groups.sort(key=lambda group: (-group.orders, group.oldest.created_at))
    oldest = tuple(map(_order, rows[:OLDEST_LISTED]))
    return Decisions(tuple(groups), oldest, total, capped=total > ORDERS_READ, snoozed=asleep)


def _by_reason(rows: Sequence[_Flagged]) -> Mapping[str, list[_Flagged]]:
    by_reason: dict[str, list[_Flagged]] = defaultdict(list)
    for row in rows:
        by_reason[row[3] or AttentionReason.OTHER].append(row)
    return by_reason


def _order(row: _Flagged) -> DecisionOrder:
    _, po_number, created_at, reason, *_ = row
    return DecisionOrder(po_number, reason or AttentionReason.OTHER, created_at)


def _flagged_orders(connection: Connection, now: datetime, *, all_of_them: bool) -> Sequence[_Flagged]:
    """The flagged orders from both ends of the index: a new reason shows at one, what waits longest at the other.

    Those that were made first come first.
    """
    flagged = select(*_COLUMNS).where(FLAGGED, snoozing.awake(now))
    if all_of_them:
        return list(map(tuple, connection.execute(flagged.order_by(ORDERS.c.created_at).limit(ORDERS_READ))))
    half = ORDERS_READ // 2
    oldest, newest = (
        list(map(tuple, connection.execute(flagged.order_by(end).limit(half))))
        for end in (ORDERS.c.created_at.asc(), ORDERS.c.created_at.desc())
    )
    return list({row[0]: row for row in (*oldest, *reversed(newest))}.values())


def _group(reason: str, rows: Sequence[_Flagged], values: Mapping[int, Mapping[str, int]]) -> DecisionGroup:
    """The group of these orders, the oldest first; `values` are of those that have several currencies, or none."""
    worth: Counter[str] = Counter()
    for order_id, _, _, _, currency, value_minor in rows:
        if order_id in values:
            worth.update(values[order_id])
        else:
            worth[currency or ""] += value_minor
    return DecisionGroup(reason, len(rows), _order(rows[0]), dict(worth))
