"""Drafts: store the order that somebody is writing on the form, so that it survives a restart. Sends nothing.

A draft belongs to a person or a browser, holds recipients until it is sent or thrown away, and is bounded: one for each
owner, so many bytes, so many owners, so many days. `erasure` removes those that name whom it erases.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select

from tracking.storage.database import Database
from tracking.storage.tables import DRAFTS, ORDERS, insert_for

KEEP = timedelta(days=7)
DRAFTS_STORED = 200
MAX_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A stored draft: what the form holds, and since when."""

    saved_at: datetime
    content: Mapping[str, Any]


def owner_of(kind: str, name: str) -> str:
    """Make the key of a draft from who is signed in ("person") or from a browser's cookie ("browser"): a hash."""
    return hashlib.sha256(f"the draft of {kind} {name}".encode()).hexdigest()


def save_draft(database: Database, owner: str, content: Mapping[str, Any], now: datetime) -> bool:
    """Store the owner's draft in place of the one before; False where it is too large, and then none is stored."""
    fits = len(json.dumps(content).encode()) <= MAX_BYTES
    database.write(lambda connection: _replace(connection, owner, content if fits else None, now))
    return fits


def load_draft(database: Database, owner: str, now: datetime) -> Draft | None:
    """Read the owner's draft; None without one, where it is too old, or where its order was handed in meanwhile."""
    with database.read() as connection:
        query = select(DRAFTS.c.saved_at, DRAFTS.c.content).where(DRAFTS.c.owner == owner)
        row = connection.execute(query.where(DRAFTS.c.saved_at > now - KEEP)).one_or_none()
        if row is None or not isinstance(row.content, dict):
            return None
        po_number = str(row.content.get("po_number"))
        placed = connection.execute(select(ORDERS.c.id).where(ORDERS.c.po_number == po_number)).first()
    return None if placed else Draft(row.saved_at, row.content)


def delete_draft(database: Database, owner: str, now: datetime) -> None:
    """Delete the owner's draft, where there is one."""
    database.write(lambda connection: _replace(connection, owner, None, now))


def delete_old_drafts(connection: Connection, now: datetime) -> int:
    """Delete the drafts that are too old, and the oldest of too many. A step of a job; returns how many there were."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # they name people
    newest = select(DRAFTS.c.owner).order_by(DRAFTS.c.saved_at.desc(), DRAFTS.c.owner).limit(DRAFTS_STORED)
    old = connection.execute(delete(DRAFTS).where(DRAFTS.c.saved_at <= now - KEEP)).rowcount
    return old + connection.execute(delete(DRAFTS).where(DRAFTS.c.owner.not_in(newest))).rowcount


def _replace(connection: Connection, owner: str, content: Mapping[str, Any] | None, now: datetime) -> None:
    if content is None:
        delete_old_drafts(connection, now)
        connection.execute(delete(DRAFTS).where(DRAFTS.c.owner == owner))
        return
    adding = insert_for(connection.dialect.name, DRAFTS)
    replaced = {"content": adding.excluded.content, "saved_at": adding.excluded.saved_at}
    values = {"owner": owner, "content": dict(content), "saved_at": now}
    connection.execute(adding.on_conflict_do_update(index_elements=["owner"], set_=replaced), values)
    delete_old_drafts(connection, now)
