"""Actions of people on one order: check now, resend, place anew, acknowledge, note, reveal claim data.

Each asks first whether the person may, whatever their page showed, and is one transaction: the order's event and an
entry of the audit log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from tracking import ingest
from tracking.access import Person
from tracking.errors import InvalidNote, InvalidSubmission, NotAllowed, Problem, UnknownOrder
from tracking.orders.model import Unit
from tracking.orders.observations import ClaimRevealed
from tracking.provider.json_fields import storable
from tracking.storage import orders, outbox
from tracking.storage.claims import ClaimCipher, ClaimVersion
from tracking.storage.database import Database
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.submissions.files import find_waiting, waiting_message
from tracking.submissions.requests import read_request

MAX_TEXT = 500


def check_now(database: Database, order: str, *, by: Person, now: datetime) -> None:
    """Make the order, of this PONumber or provider's id, due for a poll now.

    Raises:
        NotPermitted: the person may not.
        UnknownOrder: nothing has this id.
        NotAllowed: its state forbids it; the message says why.
    """
    _request(database, order, "check", AuditKind.POLL_REQUESTED, by=by, now=now)


def resend(database: Database, order: str, *, by: Person, now: datetime) -> None:
    """Queue an order whose outcome is unknown, or that was refused, under the same PONumber. Raises as `check_now`."""
    _request(database, order, "resend", AuditKind.RESENT, by=by, now=now)


def place_anew(database: Database, order: str, po_number: str, *, by: Person, now: datetime, wants_both: bool) -> str:
    """Place an order whose PONumber belongs to another order anew, under the PONumber given; returns that.

    Raises as `check_now`; InvalidSubmission where nobody has confirmed that both orders are wanted, or where the
    PONumber cannot be one.
    """
    by.must_operate()
    if not wants_both:
        message = (
            "the order that has the PONumber stays placed, and this one is placed besides: confirm that both are wanted"
        )
        raise InvalidSubmission([Problem("Both orders", message)])
    if not po_number.strip():
        raise InvalidSubmission([Problem("PONumber", "is missing; give the order one that no order has")])

    def job(connection: Connection) -> str:
        order_id = find(connection, order)
        document = outbox.request_of(connection, order_id)
        if document is None:
            raise NotAllowed("another system placed this order; it cannot be placed again")
        request = read_request(document | {"PONumber": po_number})
        for number, file in find_waiting(connection, [request.po_number], "").items():
            raise NotAllowed(waiting_message(number, file))
        ingest.place_anew(connection, order_id, request, actor=by.name, now=now)
        detail = {"po_number": request.po_number}
        record_act(connection, by, AuditKind.PLACED_ANEW, now, order_id=order_id, detail=detail)
        return request.po_number

    return database.write(job)


def _request(database: Database, order: str, what: str, kind: AuditKind, *, by: Person, now: datetime) -> None:
    by.must_operate()

    def job(connection: Connection) -> None:
        request_step(connection, find(connection, order), what, kind, by=by, now=now)

    database.write(job)


def request_step(
    connection: Connection, order_id: int, what: str, kind: AuditKind, *, by: Person, now: datetime
) -> None:
    """Request an action on the order in the name of a person who may: a step of a job."""
    by.must_operate()
    ingest.request_action(connection, order_id, what=what, actor=by.name, now=now)
    record_act(connection, by, kind, now, order_id=order_id)


def acknowledge(database: Database, order: str, *, by: Person, now: datetime, why: str) -> None:
    """Record that a person has dealt with the order, and why. Raises as `check_now`, or InvalidNote."""
    _store_note(database, order, why, by=by, now=now, acknowledges=True)


def add_note(database: Database, order: str, *, by: Person, now: datetime, text: str) -> None:
    """Add a person's note to the order's log. Raises as `check_now`, or InvalidNote."""
    _store_note(database, order, text, by=by, now=now, acknowledges=False)


@dataclass(frozen=True, slots=True)
class Revealed:
    """One unit's claim data, decrypted: show it once and store it nowhere. `version` of `versions`, the oldest is 1."""

    line: int
    unit: int
    version: int
    versions: int
    data: Unit = field(repr=False)


def reveal(
    database: Database,
    cipher: ClaimCipher,
    order: str,
    line: int,
    unit: int,
    *,
    by: Person,
    now: datetime,
    version: int | None = None,
) -> Revealed:
    """Decrypt one unit's claim data, once the log says who sees it.

    `line` is our number of the line, `unit` which of its units, from 1; `version` an earlier one where the provider
    showed other data later, None for the newest.

    Raises:
        NotPermitted: only operators may.
        UnknownOrder: nothing has this id.
        ClaimsUnavailable: it is not stored or cannot be decrypted; nothing was written into the log.
    """
    by.must_operate()
    request = ClaimRevealed(line, unit, version)

    def job(connection: Connection) -> tuple[ClaimVersion, int, str]:
        order_id = find(connection, order)
        sealed = ingest.record_reveal(connection, order_id, request, cipher=cipher, actor=by.name, now=now)
        detail = {"line": line, "unit": unit, "version": version}
        record_act(connection, by, AuditKind.REVEALED, now, order_id=order_id, detail=detail)
        return sealed

    version_row, count, po_number = database.write(job)
    units = cipher.decrypt(version_row.sealed, po_number, line).units
    return Revealed(line, unit, version_row.number, count, units[unit - 1])


def _store_note(database: Database, order: str, text: str, *, by: Person, now: datetime, acknowledges: bool) -> None:
    by.must_operate()
    text = readable_note(text, "Reason" if acknowledges else "Note")
    kind = AuditKind.ACKNOWLEDGED if acknowledges else AuditKind.NOTED

    def job(connection: Connection) -> None:
        order_id = find(connection, order)
        ingest.record_note(connection, order_id, text=text, actor=by.name, now=now, acknowledges=acknowledges)
        record_act(connection, by, kind, now, order_id=order_id)

    database.write(job)


def optional_note(text: str | None) -> str | None:
    """The same of a text that may be left out: None for none. Raises InvalidNote where it is too long."""
    return readable_note(text) if text and text.strip() else None


def readable_note(text: str, field: str = "Reason") -> str:
    """The text of this field without what cannot be printed. Raises InvalidNote where nothing is left, or too much."""
    text = "".join(letter for letter in text if letter.isprintable() or letter == "\n").strip()
    if not text:
        raise InvalidNote([Problem(field, "is empty; write a few words")])
    if len(text) > MAX_TEXT:
        raise InvalidNote([Problem(field, f"has {len(text):,} characters; at most {MAX_TEXT}")])
    return text


def find(connection: Connection, order: str) -> int:
    """The row id of the order with this PONumber or provider's id. Raises UnknownOrder."""
    identifier = storable(order.strip())
    if (order_id := orders.find_id(connection, identifier)) is not None:
        return order_id
    raise UnknownOrder(f"no order has the PONumber or id {identifier[:100]!r}")
