"""Alerts as stored, the lease of the process that sends them, and snoozes. Steps of a job."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.integration.tables import ALERTS, OPEN_ALERT, UNSENT_ALERT

MOST_READ = 500
REMOVED_AT_ONCE = 500
_UPDATE = update(ALERTS).where(ALERTS.c.id == bindparam("changed_id"))


@dataclass(frozen=True, slots=True)
class Alert:
    """A row of the table, see there; `id` is None for one that is not stored yet."""

    rule: str
    subject: str
    detail: Mapping[str, Any]
    began_at: datetime
    updated_at: datetime
    id: int | None = None
    clear_since: datetime | None = None
    ended_at: datetime | None = None
    sent_at: datetime | None = None
    sent_to: tuple[str, ...] = ()
    end_sent_at: datetime | None = None
    end_sent_to: tuple[str, ...] = ()
    attempts: int = 0
    next_attempt_at: datetime | None = None
    last_error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The rule and what the trouble is of: of the alerts that last, there is one with each key."""
        return self.rule, self.subject


@dataclass(frozen=True, slots=True)
class Lead:
    """The process that sends alerts, until when its lease lasts, and the results so far.

    `services`: their names. `failing`: of the services that took none of the last messages, since when. `sent` and
    `failed`: how many messages were taken, and how often one was not. `last`: when the last message of a rule was sent.
    """

    owner: str
    until: datetime
    services: tuple[str, ...] = ()
    failing: Mapping[str, str] = field(default_factory=dict)
    sent: int = 0
    failed: int = 0
    last: Mapping[str, str] = field(default_factory=dict)

    def to_fact(self) -> dict[str, Any]:
        """What is stored of it."""
        return asdict(self) | {"until": self.until.isoformat(), "services": list(self.services)}


def current_lead(connection: Connection) -> Lead | None:
    """Read who tells of alerts; None where nobody ever did."""
    stored = facts.get_fact(connection, FactKey.ALERTS)
    return _lead(stored.value) if stored else None


def lead_for_update(connection: Connection, now: datetime) -> Lead | None:
    """The same, nobody else's to change until the commit."""
    start: dict[str, Any] = {"key": FactKey.ALERTS, "value": {}, "at": now}
    connection.execute(facts.insert_fact(connection.dialect.name), start)
    value = facts.value_for_update(connection, FactKey.ALERTS)
    return _lead(value) if value else None


def _lead(value: Mapping[str, Any]) -> Lead | None:
    if not value:
        return None
    times = {"until": datetime.fromisoformat(value["until"]), "services": tuple(value["services"])}
    return Lead(**{**value, **times})


def store_lead(connection: Connection, lead: Lead, now: datetime) -> None:
    """Store who tells of alerts, and what came of it."""
    facts.set_fact(connection, FactKey.ALERTS, lead.to_fact(), now)


def release_lead(connection: Connection, owners: Collection[str], now: datetime) -> None:
    """Let another process tell of alerts at once, where one of these owners does; what came of it so far stays."""
    value = facts.value_for_update(connection, FactKey.ALERTS)
    lead = _lead(value)
    if lead is not None and lead.owner in owners and lead.until > now:
        store_lead(connection, replace(lead, until=now), now)


def unsettled(connection: Connection) -> list[Alert]:
    """Read the alerts that last, and ended ones with a message to send, oldest first; bounded."""
    read: dict[int, Alert] = {}
    for condition in (OPEN_ALERT, UNSENT_ALERT):
        rows = connection.execute(select(ALERTS).where(condition).order_by(ALERTS.c.id).limit(MOST_READ)).mappings()
        read |= {row["id"]: _alert(row) for row in rows}
    return [read[number] for number in sorted(read)]


def newest(connection: Connection, limit: int) -> list[Alert]:
    """Read the alerts that began last, the newest first."""
    rows = connection.execute(
        select(ALERTS).order_by(ALERTS.c.began_at.desc(), ALERTS.c.id.desc()).limit(limit)
    ).mappings()
    return [_alert(row) for row in rows]


def open_numbers(connection: Connection) -> dict[str, int]:
    """Count the alerts that last, by rule."""
    query = select(ALERTS.c.rule, func.count()).where(OPEN_ALERT).group_by(ALERTS.c.rule)
    return {rule: int(number) for rule, number in connection.execute(query)}


def store_alerts(connection: Connection, alerts: Iterable[Alert]) -> None:
    """Store alerts that are new, and those that changed."""
    for alert in alerts:
        row = _row(alert)
        if alert.id is None:
            connection.execute(insert(ALERTS).values(row))
        else:
            connection.execute(_UPDATE.values(row), {"changed_id": alert.id})


def by_ids(connection: Connection, ids: Collection[int]) -> list[Alert]:
    """Read these alerts."""
    rows = connection.execute(select(ALERTS).where(ALERTS.c.id.in_(ids)).order_by(ALERTS.c.id)).mappings()
    return [_alert(row) for row in rows]


def remove_before(connection: Connection, before: datetime) -> int:
    """Remove alerts that began before that time and are over; returns how many, of which there is a limit."""
    old = select(ALERTS.c.id).where(ALERTS.c.began_at < before, ALERTS.c.ended_at.is_not(None))
    chosen = old.order_by(ALERTS.c.began_at).limit(REMOVED_AT_ONCE)
    return int(connection.execute(delete(ALERTS).where(ALERTS.c.id.in_(chosen.scalar_subquery()))).rowcount)


def _row(alert: Alert) -> dict[str, Any]:
    lists = {"sent_to": list(alert.sent_to), "end_sent_to": list(alert.end_sent_to), "detail": dict(alert.detail)}
    row = asdict(alert) | lists
    del row["id"]
    return row


def _alert(row: Any) -> Alert:
    lists = {name: tuple(row[name]) for name in ("sent_to", "end_sent_to")}
    return Alert(**{**row, **lists})


# What is snoozed


@dataclass(frozen=True, slots=True)
class Snooze:
    """Messages of a rule, or of all (""), wait until then."""

    rule: str
    until: datetime
    by: str


def snoozes(connection: Connection, now: datetime) -> list[Snooze]:
    """Read what is snoozed now, by rule."""
    stored = facts.get_fact(connection, FactKey.ALERT_SNOOZES)
    return _snoozes(stored.value if stored else {}, now)


def set_snooze(connection: Connection, rule: str, snooze: Snooze | None, now: datetime) -> bool:
    """Snooze the rule, or end that; False where it was not snoozed, and so nothing ended. Those that are over go."""
    start: dict[str, Any] = {"key": FactKey.ALERT_SNOOZES, "value": {}, "at": now}
    connection.execute(facts.insert_fact(connection.dialect.name), start)
    before = {one.rule: one for one in _snoozes(facts.value_for_update(connection, FactKey.ALERT_SNOOZES), now)}
    after = before | {rule: snooze} if snooze else {name: one for name, one in before.items() if name != rule}
    value = {name: {"until": one.until.isoformat(), "by": one.by} for name, one in after.items() if one}
    facts.set_fact(connection, FactKey.ALERT_SNOOZES, value, now)
    return snooze is not None or rule in before


def _snoozes(value: Mapping[str, Mapping[str, str]], now: datetime) -> list[Snooze]:
    stored: Sequence[Snooze] = [
        Snooze(rule, datetime.fromisoformat(one["until"]), one["by"]) for rule, one in sorted(value.items())
    ]
    return [one for one in stored if one.until > now]
