"""Facts: small values under a key, such as heartbeats, the catalog and the balance. Steps of a job."""

import functools
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from tracking.storage.engines import LOCKS_NO_MORE
from tracking.storage.tables import FACTS, insert_for

HEARTBEAT = "beat:"
FORECAST = "forecast:"


class FactKey(StrEnum):
    """The keys of all facts but heartbeats and forecasts, which have one for each loop and each class of orders."""

    ALERTS = "alerts"
    ALERT_SNOOZES = "alert snoozes"
    API_CLIENT = "client"
    APPROVAL_LIMIT = "approval limit"
    AUDIT_LOG = "audit log"
    BALANCE = "balance"
    CATALOG = "catalogue"
    CONTRACT = "contract"
    DEMONSTRATION = "demonstration"
    DISCOVERY = "discover"
    ERASURE = "erasure"
    FINDINGS = "findings"
    LATE_ORDERS = "late"
    LATENESS = "lateness"
    LATE_NOTIFICATIONS = "late notifications"
    PACING = "pacing"
    RATE_LIMIT = "budget"
    RECONCILED = "restored"
    REFUSALS = "refusals"
    RESTORED_COPY = "copied"
    RETENTION = "retention"
    SEARCH = "search"
    SETTINGS = "settings"
    WEBHOOK_SILENCE = "silence"


class Fact(NamedTuple):
    """What is stored under a key, and since when; `value` is JSON-able."""

    at: datetime
    value: dict[str, Any]


def heartbeat_key(loop: str) -> str:
    """Name the key of a loop's heartbeat: of "poller", "sender", "webhooks" or "jobs"."""
    return HEARTBEAT + loop


def forecast_key(order_class: str) -> str:
    """Name the key of the forecast of a class of orders."""
    return FORECAST + order_class


LOOP_SILENT_AFTER = timedelta(seconds=15)  # without a heartbeat: for /healthz and the command line
LOOP_ALARM_AFTER = timedelta(seconds=60)  # the same on the pages: a short busy spell is no alarm
SELECT_FACT = select(FACTS.c.at, FACTS.c.value).where(FACTS.c.key == bindparam("key"))
SELECT_BALANCE_FOR_UPDATE = select(FACTS.c.at, FACTS.c.value).where(FACTS.c.key == FactKey.BALANCE).with_for_update()
SELECT_FACT_FOR_UPDATE = select(FACTS.c.value).where(FACTS.c.key == bindparam("key")).with_for_update()

_SELECT_BEAT_FOR_UPDATE = SELECT_FACT.with_for_update()
_OF_HEARTBEATS = FACTS.c.key.startswith(HEARTBEAT, autoescape=True)
_HEARTBEATS = select(FACTS.c.value).where(_OF_HEARTBEATS)
_HEARTBEAT_KEYS = select(FACTS.c.key).where(_OF_HEARTBEATS).order_by(FACTS.c.key)


def set_fact(connection: Connection, key: str, value: Mapping[str, Any], now: datetime) -> None:
    """Store a small JSON value under the key, in place of the one before."""
    hold(connection)
    statement = upsert_fact(connection.dialect.name)
    connection.execute(statement, {"key": key, "value": dict(value), "at": now})


def hold(connection: Connection) -> None:
    """Make the writer commit right after this job: it locks a fact that other processes on the server need too.

    Else it would keep them waiting for all that comes after, and an order that one of them has would stop both.
    """
    if connection.dialect.name == "postgresql":
        connection.info[LOCKS_NO_MORE] = True


def value_for_update(connection: Connection, key: str) -> dict[str, Any]:
    """Read and lock the value stored under the key until the commit; empty where there is none."""
    value: dict[str, Any] = connection.execute(SELECT_FACT_FOR_UPDATE, {"key": key}).scalar() or {}
    return value


def get_fact(connection: Connection, key: str) -> Fact | None:
    """Read the time and the value stored under the key; None where there is none."""
    row = connection.execute(SELECT_FACT, {"key": key}).one_or_none()
    return Fact(*row) if row else None


def beat(connection: Connection, loop: str, owner: str, value: Mapping[str, Any], now: datetime) -> None:
    """Store a loop's heartbeat in the process `owner`, beside those of the other processes in which it lives.

    And since when it runs without a break, by turns of processes too: one that is started again breaks nothing.
    """
    key = heartbeat_key(loop)
    row = connection.execute(_SELECT_BEAT_FOR_UPDATE, {"key": key}).one_or_none()
    stored = row.value if row else {}
    unbroken = row is not None and abs(now - row.at) <= LOOP_SILENT_AFTER
    since = stored.get("since") if unbroken else None
    owners = living_owners(stored, now) | {owner: now.isoformat()}
    set_fact(connection, key, {**value, "since": since or now.isoformat(), "owners": owners}, now)


def living_owners(heartbeat: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """The processes in which the loop of this heartbeat lives, each with the time of its last beat."""
    owners: Mapping[str, str] = heartbeat.get("owners", {})
    return {owner: at for owner, at in owners.items() if abs(now - datetime.fromisoformat(at)) <= LOOP_SILENT_AFTER}


def is_running(heartbeat: Fact, now: datetime) -> bool:
    """Tell whether the loop of this heartbeat runs somewhere: it has beaten of late, and that was not withdrawn."""
    if "owners" in heartbeat.value:
        return bool(living_owners(heartbeat.value, now))
    return now - heartbeat.at <= LOOP_SILENT_AFTER


def running_since(heartbeat: Fact, now: datetime) -> datetime | None:
    """Read since when the loop of this heartbeat runs without a break; None where it does not, or nobody noted it."""
    since = heartbeat.value.get("since")
    return datetime.fromisoformat(since) if since and is_running(heartbeat, now) else None


def beating_owners(connection: Connection) -> set[str]:
    """The processes whose loops have beaten of late, also those that ended since without withdrawing that."""
    return {owner for value in connection.execute(_HEARTBEATS).scalars() for owner in value.get("owners", ())}


def withdraw_beats(connection: Connection, gone: Collection[str]) -> None:
    """Take these processes out of all heartbeats: nobody is to leave any work to them."""
    hold(connection)
    for key in connection.execute(_HEARTBEAT_KEYS).scalars().all():
        row = connection.execute(_SELECT_BEAT_FOR_UPDATE, {"key": key}).one()
        owners = row.value.get("owners", {})
        if not owners.keys().isdisjoint(gone):
            left = {owner: at for owner, at in owners.items() if owner not in gone}
            set_fact(connection, key, {**row.value, "owners": left}, row.at)


@functools.cache
def insert_fact(dialect: str) -> Any:
    """Build the statement that stores a value, unless there is one under its key."""
    return insert_for(dialect, FACTS).on_conflict_do_nothing(index_elements=["key"])


@functools.cache
def upsert_fact(dialect: str) -> Any:
    """Build the statement that stores a value in place of the one under its key."""
    adding = insert_for(dialect, FACTS)
    replaced = {"value": adding.excluded.value, "at": adding.excluded.at}
    return adding.on_conflict_do_update(index_elements=["key"], set_=replaced)
