"""Does the acts of the demonstration's team through the real code, audit log included.

Orders are followed one after the other, so acts come in another order than that of their times. Entries wait until no
earlier one can come; those that wait are committed with the group that made them, so that none is lost or doubled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking import ingest
from tracking.access import Person
from tracking.app.demonstration.team.acts import MIA, VIEW, PlannedAct, PlannedJob
from tracking.errors import ClaimsUnavailable, NotAllowed
from tracking.orders.observations import Asked, Assigned, ClaimRevealed, Noted, Snoozed
from tracking.reports.order_list.filters import Filters
from tracking.storage.claims import ClaimCipher
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import JOB_ORDERS, JOBS, import_key
from tracking.team.job_runner import step_of_orders
from tracking.team.jobs import FINISHED, WAITING, Job, add, chosen_detail, start_detail
from tracking.team.plans import Act
from tracking.team.saved_views import save_here
from tracking.team.work import work_detail

KEY = "demonstration: "


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the audit log that waits to be written."""

    at: datetime
    person: str
    kind: AuditKind
    order_id: int | None = None
    job_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Serves one transaction. `waiting` are the entries that the one before left, as `write` returned them."""

    def __init__(self, connection: Connection, cipher: ClaimCipher, waiting: Iterable[Mapping[str, Any]]) -> None:
        self._connection, self._cipher = connection, cipher
        self._entries = [_from_document(document) for document in waiting]

    def save_view(self, at: datetime) -> None:
        """Save the view that the team shares, before anything else is done."""
        name, filters = VIEW
        save_here(self._connection, name, filters, shared=True, by=Person(MIA), now=at)

    def add(self, entry: Entry) -> None:
        """Have the entry written once its time has come."""
        self._entries.append(entry)

    def write(self, before: datetime | None) -> list[dict[str, Any]]:
        """Write the entries from before a time, all where it is None; returns the others."""
        self._entries.sort(key=lambda entry: entry.at)
        due = [entry for entry in self._entries if before is None or entry.at < before]
        for entry in due:
            about = {"order_id": entry.order_id, "job_id": entry.job_id, "detail": entry.detail}
            record_act(self._connection, Person(entry.person), entry.kind, entry.at, **about)  # type: ignore[arg-type]  # each has its own
        return [_to_document(entry) for entry in self._entries[len(due) :]]

    def act(self, order_id: int, planned: PlannedAct) -> None:
        """One act on one order; nothing where the order does not allow it then, as for whoever comes too late."""
        try:
            kind, detail = self._do(order_id, planned)
        except (NotAllowed, ClaimsUnavailable):
            return
        self.add(Entry(planned.at, planned.person, kind, order_id, detail=detail))

    def _do(self, order_id: int, planned: PlannedAct) -> tuple[AuditKind, dict[str, Any]]:
        by: dict[str, Any] = {"actor": planned.person, "now": planned.at}
        match planned.what:
            case Noted(text, acknowledges):
                ingest.record_note(self._connection, order_id, text=text, acknowledges=acknowledges, **by)
                return (AuditKind.ACKNOWLEDGED if acknowledges else AuditKind.NOTED), {}
            case Asked(what):
                ingest.request_action(self._connection, order_id, what=what, **by)
                return AuditKind.RESENT, {}
            case ClaimRevealed(line, unit) as request:
                ingest.record_reveal(self._connection, order_id, request, cipher=self._cipher, **by)
                return AuditKind.REVEALED, {"line": line, "unit": unit}
            case work:
                ingest.record_work(self._connection, order_id, work, **by)
                kinds = {Assigned: AuditKind.ASSIGNED, Snoozed: AuditKind.SNOOZED}
                return kinds.get(type(work), AuditKind.REOPENED), work_detail(work)

    def start_import(self, batch_id: int, orders: int, person: str, at: datetime) -> None:
        """A file was uploaded: its import, which nobody else takes a turn at, and which `end_import` ends."""
        parameters = {"batch_id": batch_id, "source": "csv"}
        chosen = {"import": batch_id}
        job_id = self._start(
            Act.IMPORT, parameters, chosen, key=import_key(batch_id), by=Person(person), now=at, total=orders
        )
        assert job_id is not None  # noqa: S101 - it is added with its file, once  # nosec B101
        self.add(Entry(at, person, AuditKind.IMPORTED, job_id=job_id, detail={"import": batch_id, "orders": orders}))

    def take_part(self, order_id: int, planned: PlannedJob, batch_id: int | None, at: datetime) -> None:
        """It is the order's turn in a job, which the first of its orders starts and the last of them ends."""
        filters = planned.filters or Filters(imported=batch_id)
        chosen = chosen_detail(filters, secret=KEY)  # its filters hold known words alone, and nothing to hash
        parameters = planned.parameters
        who, total, key = planned.person, planned.total, KEY + planned.key
        about = {"key": key, "by": Person(who), "now": planned.at, "total": total}
        job_id = self._start(planned.act, parameters.to_document(), chosen, **about)
        if job_id is not None:
            detail = start_detail(planned.act, parameters, chosen, total)
            self.add(Entry(planned.at, who, AuditKind.JOB_STARTED, job_id=job_id, detail=detail))
        row = self._connection.execute(sa.select(JOBS).where(JOBS.c.key == key)).mappings().one()
        self._connection.execute(sa.insert(JOB_ORDERS).values(job_id=row["id"], order_id=order_id, outcome=WAITING))
        job = Job(row["id"], planned.act, row["parameters"], who)
        group = step_of_orders(self._connection, job, at, 1, 1)
        skipped = Counter(row["skipped_why"]) + Counter(group.skipped)
        counts = {"done": row["done"] + group.done, "skipped": skipped.total(), "skipped_why": dict(skipped)}
        if counts["done"] + counts["skipped"] == total:
            last = sa.select(sa.func.max(JOB_ORDERS.c.at)).where(JOB_ORDERS.c.job_id == job.id)
            counts |= {"state": FINISHED, "finished_at": self._connection.execute(last).scalar_one()}
        self._connection.execute(sa.update(JOBS).where(JOBS.c.id == job.id).values(counts))

    def _start(self, act: Act, parameters: Mapping[str, Any], chosen: Mapping[str, Any], **about: Any) -> int | None:
        """Add a job that no worker takes a turn at; returns its number, None where it is there."""
        job_id, new = add(self._connection, act, parameters, chosen, **about)
        if not new:
            return None
        self._connection.execute(sa.update(JOBS).where(JOBS.c.id == job_id).values(next_turn_at=None))
        return job_id


def _to_document(entry: Entry) -> dict[str, Any]:
    return asdict(entry) | {"at": entry.at.isoformat()}


def _from_document(document: Mapping[str, Any]) -> Entry:
    entry = Entry(**document)
    return replace(entry, at=datetime.fromisoformat(document["at"]), kind=AuditKind(document["kind"]))
