"""Snoozes of alerts, set by an operator: the messages of a rule wait until a time."""

from datetime import datetime

from sqlalchemy import Connection

from tracking.access import Person
from tracking.alerting.rules import ALL, RULES
from tracking.errors import NotAllowed
from tracking.storage.database import Database
from tracking.storage.integration.alerts import Snooze, set_snooze
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.team.work import check_until

CHOICES = (ALL, *RULES)


def snooze(database: Database, rule: str, until: datetime, *, by: Person, now: datetime) -> None:
    """Let the messages of the rule, or of ALL, wait until then; a later call replaces an earlier one.

    Raises NotPermitted where the person may not, NotAllowed for a rule that there is not, and InvalidNote for a time
    that is over or too far away.
    """
    by.must_operate()
    _check(rule)
    check_until(until, now)
    detail = {"rule": rule, "until": until.isoformat()}

    def job(connection: Connection) -> None:
        set_snooze(connection, rule, Snooze(rule, until, by.name), now)
        record_act(connection, by, AuditKind.ALERTS_SNOOZED, now, detail=detail)

    database.write(job)


def unsnooze(database: Database, rule: str, *, by: Person, now: datetime) -> bool:
    """End the snooze of the rule, or that of ALL; False where there is none. Raises as `snooze`."""
    by.must_operate()
    _check(rule)

    def job(connection: Connection) -> bool:
        ended = set_snooze(connection, rule, None, now)
        if ended:
            record_act(connection, by, AuditKind.ALERTS_UNSNOOZED, now, detail={"rule": rule})
        return ended

    return database.write(job)


def _check(rule: str) -> None:
    if rule not in CHOICES:
        raise NotAllowed(f"there is no rule {rule[:40]!r}; it is one of {', '.join(CHOICES)}")
