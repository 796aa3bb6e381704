"""Audit log of people: who did what, as a hash chain, so that no entry can be changed or left out.

An entry's hash is the SHA-256 of a JSON array of its columns and the hash before; the newest is kept as a fact. It
names no recipient and no claim data: what people typed into a search is in it as a keyed hash.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select

from tracking.access import Person
from tracking.orders.event_chain import canonical, hashed_time
from tracking.storage import counters, facts
from tracking.storage.engines import LOCKS_NO_MORE
from tracking.storage.facts import FactKey
from tracking.storage.team.tables import AUDIT_LOG

# Names of entries without a person: nobody gave a name, was admitted, or was there.
NOBODY = ("no name given", "not admitted", "system:start", "system:deliveries")
UNNAMED, NOT_ADMITTED, AT_START, BY_DELIVERIES = NOBODY
FIRST_HASH = hashlib.sha256(b"the audit log of people").hexdigest()
PAGE = 1000
COLUMNS = ("seq", "at", "person", "signed_in", "kind", "order_id", "job_id", "detail")
_INSERT = insert(AUDIT_LOG)


class AuditKind(StrEnum):
    """What somebody did. Stored and hashed: a word once written is never renamed."""

    ACKNOWLEDGED = "acknowledged"
    ALERTS_SNOOZED = "alerts snoozed"
    ALERTS_UNSNOOZED = "alerts unsnoozed"
    API_ACCESS_ENDED = "token revoked"
    API_ACCESS_GIVEN = "token made"
    API_READ = "read by API"
    APPROVED = "approved"
    ASSIGNED = "assigned"
    CONTRACT_READ = "contract changes read"
    DECLINED = "declined"
    DRILL_CUSTOMERS_INFORMED = "customers told in drill"
    DRILL_ENDED = "drill ended"
    DRILL_STARTED = "drill started"
    ERASED = "erased"
    EVIDENCE_EXPORTED = "evidence exported"
    EXPORTED = "exported"
    HOOK_ADDED = "webhook added"
    HOOK_PAUSED = "webhook paused"
    HOOK_REMOVED = "webhook removed"
    HOOK_REPLAYED = "webhook replayed"
    HOOK_RESUMED = "webhook resumed"
    HOOK_SECRET_CHANGED = "webhook secret changed"  # noqa: S105 - an act  # nosec B105
    HOOK_SENT_AGAIN = "webhook sent again"
    HOOK_SKIPPED = "webhook message skipped"
    HOOK_SWITCHED_OFF = "webhook switched off"
    HOOK_TESTED = "webhook tested"
    IMPORTED = "imported"
    IMPORT_DISCARDED = "import discarded"
    JOB_RESUMED = "job resumed"
    JOB_STARTED = "job started"
    JOB_STOPPED = "job stopped"
    NOTED = "noted"
    PLACED_ANEW = "placed anew"
    POLL_REQUESTED = "poll requested"
    REOPENED = "reopened"
    RESENT = "resent"
    REVEALED = "revealed"
    SEARCHED = "searched"
    SETTINGS_CHANGED = "settings changed"
    SIGNED_IN = "signed in"
    SIGN_IN_REFUSED = "sign-in refused"
    SNOOZED = "snoozed"
    SNOOZE_ENDED = "snooze ended"
    SUBMITTED = "submitted"
    VIEW_DELETED = "view deleted"
    VIEW_SAVED = "view saved"


def record_act(
    connection: Connection,
    person: Person,
    kind: AuditKind,
    now: datetime,
    *,
    order_id: int | None = None,
    job_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Append what the person did; returns the entry's number. `detail` is JSON-able and names no recipient."""
    head = lock(connection, now)
    row = {
        "seq": head["seq"] + 1,
        "at": now,
        "person": person.name,
        "signed_in": person.signed_in,
        "kind": kind.value,
        "order_id": order_id,
        "job_id": job_id,
        "previous": head["head"],
        "detail": {name: value for name, value in sorted((detail or {}).items()) if value is not None},
    }
    connection.execute(_INSERT, row)
    facts.set_fact(connection, FactKey.AUDIT_LOG, {"seq": row["seq"], "head": entry_hash(row)}, now)
    return int(row["seq"])


def lock(connection: Connection, now: datetime) -> Mapping[str, Any]:
    """Keep all others from appending until this transaction ends; returns the number and hash of the newest entry.

    On a server the writer commits before its next job: who holds this and waits for an order would stop one who has
    that order and waits for this.
    """
    if connection.dialect.name == "postgresql":
        counters.write_sums(connection)
        connection.info[LOCKS_NO_MORE] = True
    start = {"key": FactKey.AUDIT_LOG, "value": {"seq": 0, "head": FIRST_HASH}, "at": now}
    connection.execute(facts.insert_fact(connection.dialect.name), start)
    head: Mapping[str, Any] = connection.execute(facts.SELECT_FACT_FOR_UPDATE, {"key": FactKey.AUDIT_LOG}).scalar_one()
    return head


def entry_hash(row: Mapping[Any, Any]) -> str:
    """The hash in hex that the next entry carries."""
    values = [hashed_time(row[name]) if name == "at" else row[name] for name in COLUMNS]
    return hashlib.sha256(canonical([*values, row["previous"]]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ExportedEvidence:
    """An evidence file of an order that somebody has: made when and by whom, and the SHA-256 to know it by."""

    po_number: str
    at: datetime
    person: str
    masked: bool
    sha256: str


def exported_evidence(connection: Connection, po_numbers: Mapping[int, str]) -> list[ExportedEvidence]:
    """The evidence files that were handed out of these orders, given by row id, the oldest first."""
    of_these = AUDIT_LOG.c.order_id.in_(po_numbers), AUDIT_LOG.c.kind == AuditKind.EVIDENCE_EXPORTED
    rows = connection.execute(select(AUDIT_LOG).where(*of_these).order_by(AUDIT_LOG.c.seq)) if po_numbers else ()
    return [
        ExportedEvidence(po_numbers[row.order_id], row.at, row.person, row.detail["masked"], row.detail["sha256"])
        for row in rows
    ]


def head_of(connection: Connection) -> tuple[int, str]:
    """The number and the hash of the newest entry; 0 and the first hash where there is none."""
    fact = facts.get_fact(connection, FactKey.AUDIT_LOG)
    return (fact.value["seq"], fact.value["head"]) if fact else (0, FIRST_HASH)


def hash_at(connection: Connection, seq: int) -> str | None:
    """The hash of the entry with this number, that before the first one for 0; None where there is no such entry."""
    if seq == 0:
        return FIRST_HASH
    row = connection.execute(select(AUDIT_LOG).where(AUDIT_LOG.c.seq == seq)).mappings().one_or_none()
    return entry_hash(row) if row else None


def differences(connection: Connection) -> Iterator[str]:
    """Recompute the chain from its first entry; yields in words where it does not hold. One consistent read."""
    last, digest = 0, FIRST_HASH
    newest, head = head_of(connection)
    while page := connection.execute(_page_after(last)).mappings().all():
        for row in page:
            if row["seq"] != last + 1:
                yield f"audit log: entry {last + 1} is missing"
            elif row["previous"] != digest:
                yield f"audit log: entry {row['seq']} ({row['kind']}) does not fit: it or the one before was changed"
            last, digest = row["seq"], entry_hash(row)
    if (last, digest) != (newest, head):
        what = f"ends at entry {last} where {newest} were written" if last != newest else "was changed at its end"
        yield f"audit log: it {what}"


def _page_after(seq: int) -> Any:
    return select(AUDIT_LOG).where(AUDIT_LOG.c.seq > seq).order_by(AUDIT_LOG.c.seq).limit(PAGE)
