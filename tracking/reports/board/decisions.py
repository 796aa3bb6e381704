"""Decisions: the orders that need one, grouped by the reason, with count, oldest and value. Bounded; writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

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
        values = amounts.order_values(connection, rows)
    by_reason: dict[str, list[RowMapping]] = defaultdict(list)
    for row in rows:
        by_reason[_reason(row)].append(row)
    groups = [_group(reason, of_reason, values) for reason, of_reason in by_reason.items()]
    groups.sort(key=lambda group: (-group.orders, group.oldest.created_at))
    oldest = sorted(rows, key=itemgetter("created_at"))[:OLDEST_LISTED]
    return Decisions(tuple(groups), tuple(map(_order, oldest)), total, capped=total > ORDERS_READ, snoozed=asleep)


def _order(row: RowMapping) -> DecisionOrder:
    return DecisionOrder(row["po_number"], _reason(row), row["created_at"])


def _reason(row: RowMapping) -> str:
    return row["attention_reason"] or AttentionReason.OTHER


def _flagged_orders(connection: Connection, now: datetime, *, all_of_them: bool) -> Sequence[RowMapping]:
    """The flagged orders from both ends of the index: a new reason shows at one, what waits longest at the other."""
    flagged = select(*_COLUMNS).where(FLAGGED, snoozing.awake(now))
    if all_of_them:
        return connection.execute(flagged.order_by(ORDERS.c.created_at).limit(ORDERS_READ)).mappings().all()
    ends = (ORDERS.c.created_at.asc(), ORDERS.c.created_at.desc())
    halves = (connection.execute(flagged.order_by(end).limit(ORDERS_READ // 2)).mappings() for end in ends)
    return list({row["id"]: row for half in halves for row in half}.values())


def _group(reason: str, rows: Sequence[RowMapping], values: Mapping[int, Mapping[str, int]]) -> DecisionGroup:
    worth: Counter[str] = Counter()
    for row in rows:
        worth.update(values[row["id"]])
    return DecisionGroup(reason, len(rows), _order(min(rows, key=itemgetter("created_at"))), dict(worth))
