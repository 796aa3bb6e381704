"""Work on one order: assign it, snooze it, end the snooze, reopen it.

Each asks first whether the person may, whatever their page showed, and is one transaction: the order's event and an
entry of the audit log. The same on many orders: `jobs`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from tracking import ingest
from tracking.access import Person
from tracking.errors import InvalidNote, NotAllowed, Problem
from tracking.orders.observations import Assigned, Reopened, Snoozed, SnoozeEnded, Worked
from tracking.provider.people import is_same
from tracking.storage.database import Database
from tracking.storage.tables import LINES
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import AUDIT_LOG, JOB_ORDERS
from tracking.submissions.actions import find, optional_note

LONGEST_NAME = 60
LONGEST_SNOOZE = timedelta(days=366)
RECIPIENTS_ADDRESS = "the address of somebody it goes to; give the order to a colleague, by name or as they sign in"


def assign(database: Database, order: str, assignee: str | None, *, by: Person, now: datetime) -> None:
    """Give the order, of this PONumber or provider's id, to somebody; None or an empty name gives it to nobody.

    Raises:
        NotPermitted: the person may not.
        UnknownOrder: nothing has this id.
        NotAllowed: it is theirs already, or that is the address of somebody the order goes to.
        InvalidNote: the name is too long.
    """
    name = readable_name(assignee)
    _work(database, order, Assigned(name), AuditKind.ASSIGNED, by=by, now=now)


def snooze(
    database: Database, order: str, until: datetime | None, *, by: Person, now: datetime, why: str | None = None
) -> None:
    """Let the order wait until a time, or until something changes where `until` is None. Raises as `assign`.

    Whatever is new and needs a person ends it, as does the order's end.
    """
    check_until(until, now)
    worked = Snoozed(until, optional_note(why))
    _work(database, order, worked, AuditKind.SNOOZED, by=by, now=now)


def end_snooze(database: Database, order: str, *, by: Person, now: datetime) -> None:
    """Take a snoozed order up again. Raises as `assign`."""
    _work(database, order, SnoozeEnded(), AuditKind.SNOOZE_ENDED, by=by, now=now)


def reopen(database: Database, order: str, *, by: Person, now: datetime, why: str | None = None) -> None:
    """Take an acknowledgement back: the order needs a decision again. Raises as `assign`."""
    worked = Reopened(optional_note(why))
    _work(database, order, worked, AuditKind.REOPENED, by=by, now=now)


def readable_name(name: str | None) -> str | None:
    """The name of an assignee, printable and in one line; None for none. Raises InvalidNote where it is too long.

    An address is in lower case, as whoever signs in with it is named.
    """
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in name or "").split())
    if len(text) > LONGEST_NAME:
        raise InvalidNote([Problem("Name", f"has {len(text):,} characters; at most {LONGEST_NAME}")])
    return (text.lower() if "@" in text else text) or None


def check_assignee(connection: Connection, order_id: int, worked: Worked) -> None:
    """Raise NotAllowed for an assignee who is a recipient of the order, by the address: the log would keep it.

    An address that somebody signed in with is a colleague's, whoever receives what.
    """
    if isinstance(worked, Assigned) and worked.assignee and "@" in worked.assignee:
        recipients = select(LINES.c.recipient).where(LINES.c.order_id == order_id, LINES.c.recipient.is_not(None))
        theirs = (is_same(each, worked.assignee) for each in connection.execute(recipients).scalars())
        if any(theirs) and not _has_signed_in(connection, worked.assignee):
            raise NotAllowed(f"the name is {RECIPIENTS_ADDRESS}")


def check_job_assignee(connection: Connection, job_id: int, assignee: str | None) -> None:
    """Raise InvalidNote where the assignee is a recipient of the job's orders, by the address as written there."""
    if assignee and "@" in assignee:
        orders = select(LINES.c.order_id).join(JOB_ORDERS, JOB_ORDERS.c.order_id == LINES.c.order_id)
        theirs = orders.where(JOB_ORDERS.c.job_id == job_id, LINES.c.recipient.in_((assignee, assignee.lower())))
        if connection.execute(theirs.limit(1)).first() and not _has_signed_in(connection, assignee):
            raise InvalidNote([Problem("Name", f"is {RECIPIENTS_ADDRESS}")])


def _has_signed_in(connection: Connection, name: str) -> bool:
    entries = select(AUDIT_LOG.c.seq).where(AUDIT_LOG.c.person.in_((name, name.lower())), AUDIT_LOG.c.signed_in)
    return connection.execute(entries.limit(1)).first() is not None


def check_until(until: datetime | None, now: datetime) -> None:
    """Raise InvalidNote for a time to snooze until that is over, or too far ahead to be meant."""
    if until is not None and until <= now:
        raise InvalidNote([Problem("Until", "this time is over already; choose one that is yet to come")])
    if until is not None and until - now > LONGEST_SNOOZE:
        raise InvalidNote([Problem("Until", "this time is more than a year ahead; choose an earlier one")])


def work_detail(worked: Worked) -> dict[str, str | None]:
    """The details of the work for the audit log."""
    match worked:
        case Assigned(assignee):
            return {"assignee": assignee}
        case Snoozed(until):
            return {"until": until.isoformat() if until else None}
        case _:
            return {}


def _work(database: Database, order: str, worked: Worked, kind: AuditKind, *, by: Person, now: datetime) -> None:
    by.must_operate()

    def job(connection: Connection) -> None:
        order_id = find(connection, order)
        check_assignee(connection, order_id, worked)
        ingest.record_work(connection, order_id, worked, actor=by.name, now=now)
        record_act(connection, by, kind, now, order_id=order_id, detail=work_detail(worked))

    database.write(job)
