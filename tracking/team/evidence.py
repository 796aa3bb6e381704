"""Hands out an order's evidence file, and records in the audit log who has it, with its digest.

A file that was handed out is out of reach: what `erase` takes out of the store stays in it, so `erase` lists it.
"""

from __future__ import annotations

from datetime import datetime

from tracking.access import Person
from tracking.reports.evidence.making import EvidenceFile, make_evidence
from tracking.storage.database import Database
from tracking.storage.team.audit_log import AuditKind, record_act


def export_evidence(
    database: Database, order_id: int, *, masked: bool, by: Person, now: datetime, log_head: str | None = None
) -> EvidenceFile:
    """Make the order's evidence file and record it; the file is handed out only once that is committed.

    Viewers may have it masked: it holds nothing that the order's page does not show them. Raises NotPermitted,
    UnknownOrder, and NotAllowed where the order's log is too large.
    """
    if not masked or not by.name.strip():
        by.must_operate()
    made = make_evidence(
        database, order_id, made_by=by.name, signed_in=by.signed_in, now=now, masked=masked, log_head=log_head
    )
    detail = {"sha256": made.sha256, "masked": masked, "events": made.events}
    database.write(
        lambda connection: record_act(
            connection, by, AuditKind.EVIDENCE_EXPORTED, now, order_id=order_id, detail=detail
        )
    )
    return made
