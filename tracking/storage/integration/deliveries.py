"""Deliveries: leased in order, attempts recorded, sent again, removed when old. Steps of a job.

Of those of one order that wait for a subscription the first alone is due, so that none overtakes another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping

from tracking.storage.integration.tables import DELIVERIES, DELIVERY_ATTEMPTS, SUBSCRIPTIONS, WAITING
from tracking.storage.leases import lease_rows, unleased

ROWS_AT_ONCE = 500
SKIPPED = "skipped"
_EARLIER = DELIVERIES.alias("earlier")
_PLACE = sa.tuple_(_EARLIER.c.seq, _EARLIER.c.id) < sa.tuple_(DELIVERIES.c.seq, DELIVERIES.c.id)
# In the words of the partial index, so that a planner sees that it fits.
_BEFORE = sa.and_(
    _EARLIER.c.subscription_id == DELIVERIES.c.subscription_id,
    _EARLIER.c.order_id == DELIVERIES.c.order_id,
    sa.text("earlier.state = 'waiting'"),
    _PLACE,
)
_IS_FIRST = ~sa.exists().where(_BEFORE).correlate(DELIVERIES)
_OF = DELIVERIES.c.subscription_id == bindparam("subscription")
_DUE = sa.and_(_OF, WAITING, DELIVERIES.c.next_attempt_at <= bindparam("now"), unleased(DELIVERIES), _IS_FIRST)
_BY = (DELIVERIES.c.next_attempt_at, DELIVERIES.c.id)
_LEASED_COLUMNS = (
    "id", "subscription_id", "message_id", "event_type", "order_id", "seq", "created_at", "payload", "attempts",
    "asked_by",
)  # fmt: skip
LEASE_DELIVERIES = lease_rows(DELIVERIES.c.id, _DUE, _BY, [DELIVERIES.c[name] for name in _LEASED_COLUMNS])
_ANY_DUE = select(DELIVERIES.c.id).where(_DUE).limit(1)
_AHEAD = select(DELIVERIES.c.id, DELIVERIES.c.attempts, DELIVERIES.c.next_attempt_at)
_AHEAD = _AHEAD.where(_OF, WAITING, DELIVERIES.c.next_attempt_at > bindparam("now")).limit(ROWS_AT_ONCE)
_LEASED_TOO_LONG = (
    update(DELIVERIES)
    .where(DELIVERIES.c.lease_owner.is_not(None), DELIVERIES.c.lease_until > bindparam("furthest"))
    .values(lease_owner=None, lease_until=None)
)
_UPDATE = update(DELIVERIES).where(DELIVERIES.c.id == bindparam("changed_id"))
_INSERT_ATTEMPT = insert(DELIVERY_ATTEMPTS)
_UNLEASED: dict[str, Any] = {"lease_owner": None, "lease_until": None}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending a delivery once: the answer's status and beginning, or why there was none."""

    number: int
    at: datetime
    milliseconds: int
    status: int | None = None
    answer: str | None = None
    error: str | None = None
    by: str | None = None


def lease_deliveries(
    connection: Connection, subscription_id: int, now: datetime, *, owner: str, lease: timedelta, limit: int
) -> list[RowMapping]:
    """Lease what is due for the subscription, oldest first, of each order no more than one."""
    values = {"subscription": subscription_id, "now": now, "owner": owner, "until": now + lease, "at_most": limit}
    return sorted(connection.execute(LEASE_DELIVERIES, values).mappings(), key=lambda row: row["id"])


def any_due(connection: Connection, subscription_id: int, now: datetime) -> bool:
    """Tell whether something is due for the subscription that nobody holds."""
    return connection.execute(_ANY_DUE, {"subscription": subscription_id, "now": now}).first() is not None


def lease_owners(connection: Connection) -> set[str]:
    """Read who holds deliveries."""
    held = select(DELIVERIES.c.lease_owner).where(DELIVERIES.c.lease_owner.is_not(None)).distinct()
    return set(connection.execute(held).scalars())


def release_owners(connection: Connection, owners: Sequence[str]) -> None:
    """Release what these owners hold, whose processes are gone."""
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.lease_owner.in_(owners)).values(**_UNLEASED))


def store_payload(connection: Connection, delivery_id: int, payload: str) -> str:
    """Store the body as it is sent at first, unless one is stored; returns what each attempt sends."""
    first = _UPDATE.where(DELIVERIES.c.payload.is_(None)).values(payload=payload)
    connection.execute(first, {"changed_id": delivery_id})
    stored = select(DELIVERIES.c.payload).where(DELIVERIES.c.id == delivery_id)
    return str(connection.execute(stored).scalar_one())


def record_attempt(connection: Connection, delivery_id: int, attempt: Attempt) -> None:
    """Record an attempt, and what it was answered beside the delivery."""
    connection.execute(_INSERT_ATTEMPT, {"delivery_id": delivery_id, **asdict(attempt)})
    noted = {"attempts": attempt.number, "last_status": attempt.status, "last_error": attempt.error}
    connection.execute(_UPDATE, {"changed_id": delivery_id, "asked_by": None, **noted})


def settle(connection: Connection, delivery_id: int, state: str, now: datetime) -> None:
    """End the delivery: it was delivered, or is dropped."""
    settled = {"state": state, "settled_at": now, "settled_by": None, "settled_why": None}
    connection.execute(_UPDATE, {"changed_id": delivery_id, **settled, **_UNLEASED})


def try_again_at(connection: Connection, delivery_id: int, at: datetime) -> None:
    """Release the delivery, and have it tried again at this time."""
    connection.execute(_UPDATE, {"changed_id": delivery_id, "next_attempt_at": at, **_UNLEASED})


def holder(connection: Connection, delivery_id: int) -> RowMapping | None:
    """Read who holds the delivery and how often it was tried; locked. None where it is gone."""
    columns = (DELIVERIES.c[name] for name in ("state", "lease_owner", "attempts", "subscription_id"))
    query = select(*columns).where(DELIVERIES.c.id == delivery_id).with_for_update()
    return connection.execute(query).mappings().one_or_none()


def release(connection: Connection, delivery_ids: Sequence[int]) -> None:
    """Release what was leased and is not sent now."""
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_(delivery_ids)).values(**_UNLEASED))


def locked(connection: Connection, delivery_ids: Sequence[int]) -> dict[int, RowMapping]:
    """Read these deliveries by number, locked, each with the name of its subscription."""
    name = select(SUBSCRIPTIONS.c.name).where(SUBSCRIPTIONS.c.id == DELIVERIES.c.subscription_id).scalar_subquery()
    columns = (DELIVERIES.c[each] for each in ("id", "state", "order_id", "event_type", "lease_owner", "lease_until"))
    query = select(*columns, name.label("subscription")).where(DELIVERIES.c.id.in_(delivery_ids))
    rows = connection.execute(query.order_by(DELIVERIES.c.id).with_for_update(of=DELIVERIES)).mappings()
    return {row["id"]: row for row in rows}


def skip(connection: Connection, delivery_ids: Sequence[int], now: datetime, by: str, why: str) -> None:
    """Mark these as skipped by a person: they are never sent."""
    settled = {"state": SKIPPED, "settled_at": now, "settled_by": by, "settled_why": why}
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_(delivery_ids)).values(**settled, **_UNLEASED))


def make_wait(connection: Connection, delivery_ids: Sequence[int], now: datetime, by: str | None) -> int:
    """Make these wait to be sent again under their ids; returns how many. Not those of removed subscriptions."""
    removed = select(SUBSCRIPTIONS.c.id).where(SUBSCRIPTIONS.c.state == "removed")
    again = update(DELIVERIES).where(DELIVERIES.c.id.in_(delivery_ids), DELIVERIES.c.subscription_id.not_in(removed))
    return connection.execute(again.values(_waiting_anew(now, by))).rowcount


def _waiting_anew(now: datetime, by: str | None) -> dict[str, Any]:
    nothing = dict.fromkeys(("settled_at", "settled_by", "settled_why"))
    return {"state": "waiting", "next_attempt_at": now, "asked_by": by, **nothing}


class ReplayResult(NamedTuple):
    """How many deliveries wait to be sent by a replay, and how many stay as they are because somebody skipped them."""

    waiting: int
    skipped: int


def add_missing(
    connection: Connection, rows: Sequence[Mapping[str, Any]], now: datetime, by: str | None
) -> ReplayResult:
    """Add these rows of one subscription where they are missing, and have those that are there sent again.

    What somebody skipped stays skipped.
    """
    if not rows:
        return ReplayResult(0, 0)
    from tracking.storage.tables import insert_for  # noqa: PLC0415

    adding = insert_for(connection.dialect.name, DELIVERIES)
    again = _waiting_anew(now, by)
    adding = adding.on_conflict_do_update(
        index_elements=["subscription_id", "message_id"], set_=again, where=DELIVERIES.c.state != SKIPPED
    )
    connection.execute(adding, [{**row, "asked_by": by} for row in rows])
    of_rows = DELIVERIES.c.message_id.in_([row["message_id"] for row in rows])
    of_one = DELIVERIES.c.subscription_id == rows[0]["subscription_id"], DELIVERIES.c.state == SKIPPED, of_rows
    skipped = connection.execute(select(func.count()).where(*of_one)).scalar_one()
    return ReplayResult(len(rows) - skipped, skipped)


def drop_useless(connection: Connection, before: datetime, now: datetime) -> int:
    """Drop a few that wait for a removed subscription, or have waited since before this time; returns how many."""
    removed = select(SUBSCRIPTIONS.c.id).where(SUBSCRIPTIONS.c.state == "removed")
    of_removed = select(DELIVERIES.c.id).where(DELIVERIES.c.subscription_id.in_(removed), WAITING).limit(ROWS_AT_ONCE)
    old = select(DELIVERIES.c.id).where(WAITING, DELIVERIES.c.created_at < before).limit(ROWS_AT_ONCE)
    ids = [*connection.execute(of_removed).scalars(), *connection.execute(old).scalars()]
    if ids:
        dropped = {"state": "dropped", "settled_at": now, **_UNLEASED}
        connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_(ids), WAITING).values(**dropped))
    return len(ids)


def ahead(connection: Connection, subscription_id: int, now: datetime) -> Sequence[Any]:
    """Read a few that wait for a time: (id, attempts, next_attempt_at)."""
    return connection.execute(_AHEAD, {"subscription": subscription_id, "now": now}).all()


def make_due(connection: Connection, delivery_ids: Sequence[int], now: datetime) -> None:
    """Have those of them that wait tried now."""
    due = update(DELIVERIES).where(DELIVERIES.c.id.in_(delivery_ids), WAITING)
    connection.execute(due.values(next_attempt_at=now))


def end_long_leases(connection: Connection, furthest: datetime) -> None:
    """End the leases that last longer than any does, as the clock was set back."""
    connection.execute(_LEASED_TOO_LONG, {"furthest": furthest})


def remove_old(connection: Connection, before: datetime) -> int:
    """Remove a few of the oldest deliveries and attempts that are from before this time; returns how many rows."""
    first = select(DELIVERIES.c.id, DELIVERIES.c.created_at, DELIVERIES.c.state)
    rows = connection.execute(first.order_by(DELIVERIES.c.id).limit(ROWS_AT_ONCE)).all()
    ids = [row.id for row in rows if row.created_at < before and row.state != "waiting"]
    attempts = select(DELIVERY_ATTEMPTS.c.delivery_id, DELIVERY_ATTEMPTS.c.number)
    old = connection.execute(attempts.where(DELIVERY_ATTEMPTS.c.at < before).limit(ROWS_AT_ONCE)).all()
    if ids:
        connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(ids)))
    if old:
        key = sa.tuple_(DELIVERY_ATTEMPTS.c.delivery_id, DELIVERY_ATTEMPTS.c.number)
        connection.execute(delete(DELIVERY_ATTEMPTS).where(key.in_([tuple(row) for row in old])))
    return len(ids) + len(old)


def count_waiting(connection: Connection, subscription_id: int, at_most: int) -> int:
    """Count what waits for the subscription, up to a number."""
    few = select(DELIVERIES.c.id).where(DELIVERIES.c.subscription_id == subscription_id, WAITING).limit(at_most)
    return int(connection.execute(select(func.count()).select_from(few.subquery())).scalar_one())
