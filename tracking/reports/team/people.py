"""People who work here: names to offer when an order is assigned. Bounded reads."""

from __future__ import annotations

from sqlalchemy import select

from tracking.storage.database import Database
from tracking.storage.team.audit_log import NOBODY, AuditKind
from tracking.storage.team.tables import AUDIT_LOG

ENTRIES_READ = 300
NAMES = 20


def recent_names(database: Database) -> list[str]:
    """The names of those who acted or were given an order lately, in the order of the alphabet; NAMES at the most."""
    newest = AUDIT_LOG.c.seq.desc()
    acted = select(AUDIT_LOG.c.person).order_by(newest).limit(ENTRIES_READ)
    given = select(AUDIT_LOG.c.detail).where(AUDIT_LOG.c.kind == AuditKind.ASSIGNED).order_by(newest)
    with database.read() as connection:
        names = [detail.get("assignee") for detail in connection.execute(given.limit(ENTRIES_READ)).scalars()]
        names += connection.execute(acted).scalars()
    latest = list(
        dict.fromkeys(
            name for name in names if name not in {None, "", *NOBODY} and not name.startswith(("cli:", "api:"))
        )
    )[:NAMES]
    return sorted(latest, key=str.casefold)
