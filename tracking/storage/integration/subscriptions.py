"""Subscriptions: added, read, changed, with the outcomes of their deliveries. Steps of a job."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, or_, select, text, update
from sqlalchemy.engine import RowMapping

from tracking.storage.facts import hold
from tracking.storage.integration.notifications import forget_subscribers
from tracking.storage.integration.tables import SUBSCRIPTIONS

SUCCESS_NOTED_EVERY = timedelta(seconds=5)


class SubscriptionState(StrEnum):
    """Whether a subscription is delivered to. What it wants is written in any state but the last."""

    ACTIVE = "active"
    PAUSED = "paused"
    SWITCHED_OFF = "switched off"
    """Nothing was delivered for so long, or the receiver said that it is gone, so that a person has to see to it."""
    REMOVED = "removed"


_LISTED = SUBSCRIPTIONS.c.state != SubscriptionState.REMOVED.value
_ACTIVE = select(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.state == SubscriptionState.ACTIVE.value)
_ACTIVE = _ACTIVE.order_by(SUBSCRIPTIONS.c.id)
_UPDATE = update(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.id == bindparam("changed_id"))
_NEWS = or_(
    SUBSCRIPTIONS.c.failures > 0,
    SUBSCRIPTIONS.c.succeeded_at.is_(None),
    SUBSCRIPTIONS.c.succeeded_at < bindparam("noted_before"),
)
_WELL: dict[str, Any] = {"failures": 0, "failing_since": None, "failed_at": None, "retry_at": None}
_SUCCEEDED = _UPDATE.where(_NEWS).values(succeeded_at=bindparam("now"), **_WELL)
_FAILED_AHEAD = (
    update(SUBSCRIPTIONS)
    .where(SUBSCRIPTIONS.c.failed_at > bindparam("now"))
    .values(failed_at=bindparam("now"), retry_at=None)
)
# Who has read the subscriptions and writes: what reads alone (a page, a copy of the database) records no event.
_WRITERS = text(
    "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation'"
    " AND relation = 'subscriptions'::regclass AND granted AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND virtualtransaction IN (SELECT virtualtransaction FROM pg_locks"
    " WHERE locktype = 'relation' AND mode IN ('RowShareLock', 'RowExclusiveLock'))"
)


def add(connection: Connection, row: Mapping[str, Any]) -> int:
    """Add a subscription; returns its row id."""
    forget_subscribers(connection)
    return int(connection.execute(insert(SUBSCRIPTIONS).values(**row).returning(SUBSCRIPTIONS.c.id)).scalar_one())


def named(connection: Connection, name: str) -> RowMapping | None:
    """Find the subscription of this name; locked. None where there is none, or it was removed."""
    query = select(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.name == name, _LISTED).with_for_update()
    return connection.execute(query).mappings().one_or_none()


def with_id(connection: Connection, subscription_id: int) -> RowMapping | None:
    """Find the subscription of this row id; locked. None where there is none, or it was removed."""
    query = select(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.id == subscription_id, _LISTED).with_for_update()
    return connection.execute(query).mappings().one_or_none()


def listed(connection: Connection) -> Sequence[RowMapping]:
    """Read all subscriptions but the removed ones, by name."""
    return connection.execute(select(SUBSCRIPTIONS).where(_LISTED).order_by(SUBSCRIPTIONS.c.name)).mappings().all()


def without_beginning(connection: Connection) -> list[int]:
    """Read the numbers of those of which it is not stored yet from when on they are notified of all."""
    query = select(SUBSCRIPTIONS.c.id).where(_LISTED, SUBSCRIPTIONS.c.receives_from.is_(None))
    return list(connection.execute(query).scalars())


def writers(connection: Connection) -> frozenset[str]:
    """Read who writes now as the subscriptions were when that began; nobody on SQLite, where one writes at a time."""
    return frozenset(connection.execute(_WRITERS).scalars() if connection.dialect.name == "postgresql" else ())


def store_beginning(connection: Connection, subscription_ids: Sequence[int], at: datetime) -> None:
    """Store from when on these are notified of all, where that is not stored yet."""
    these = SUBSCRIPTIONS.c.id.in_(subscription_ids), SUBSCRIPTIONS.c.receives_from.is_(None)
    connection.execute(update(SUBSCRIPTIONS).where(*these).values(receives_from=at))


def removed_names(connection: Connection) -> list[str]:
    """Read the names, as they were changed, of the removed subscriptions."""
    removed = SUBSCRIPTIONS.c.state == SubscriptionState.REMOVED.value
    return list(connection.execute(select(SUBSCRIPTIONS.c.name).where(removed)).scalars())


def switched_off(connection: Connection, at_most: int) -> Sequence[RowMapping]:
    """Read what was switched off as it failed, by name: each name, since when, and why."""
    columns = (SUBSCRIPTIONS.c[name] for name in ("name", "state_at", "state_why"))
    rows = select(*columns).where(SUBSCRIPTIONS.c.state == SubscriptionState.SWITCHED_OFF.value)
    return connection.execute(rows.order_by(SUBSCRIPTIONS.c.name).limit(at_most)).mappings().all()


def active(connection: Connection) -> Sequence[RowMapping]:
    """Read the subscriptions that are delivered to."""
    return connection.execute(_ACTIVE).mappings().all()


def count(connection: Connection) -> int:
    """Count the subscriptions but the removed ones."""
    return int(connection.execute(select(func.count()).select_from(SUBSCRIPTIONS).where(_LISTED)).scalar_one())


def change(connection: Connection, subscription_id: int, values: Mapping[str, Any]) -> None:
    """Change columns of the subscription."""
    forget_subscribers(connection)
    connection.execute(_UPDATE, {"changed_id": subscription_id, **values})


def set_state(
    connection: Connection, subscription_id: int, state: SubscriptionState, *, by: str, why: str | None, now: datetime
) -> None:
    """Set the state; a subscription that is made active starts without failures."""
    begin = _WELL if state is SubscriptionState.ACTIVE else {}
    values = {"state": state.value, "state_at": now, "state_by": by, "state_why": why, **begin}
    change(connection, subscription_id, values)


def note_success(connection: Connection, subscription_id: int, now: datetime) -> None:
    """Note that something was delivered: at once after a failure, else once in a few seconds."""
    values = {"changed_id": subscription_id, "now": now, "noted_before": now - SUCCESS_NOTED_EVERY}
    if connection.execute(_SUCCEEDED, values).rowcount:
        hold(connection)


def note_failure(connection: Connection, row: RowMapping, now: datetime, retry_at: datetime | None) -> None:
    """Note a failure, and until when nothing is tried; `row` is the subscription as it is locked."""
    values = {"failures": row["failures"] + 1, "failing_since": min(row["failing_since"] or now, now), "failed_at": now}
    connection.execute(_UPDATE, {"changed_id": row["id"], "retry_at": retry_at, **values})
    hold(connection)


def forget_time_ahead(connection: Connection, now: datetime) -> None:
    """Have those tried now whose newest failure lies ahead: the clock was set back."""
    connection.execute(_FAILED_AHEAD, {"now": now})
