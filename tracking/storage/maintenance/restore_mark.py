"""Restore mark: detects that a store was restored from a backup, and so lacks what was done after it.

Two signs lead to the same mark. A copy made by `backup` carries it. A copy made in any other way does not, so a small
file next to the database holds the number of the newest event: a store that has not come so far is an older one. While
the mark is there nothing is sent; `app.reconciler` asks the provider for what is missing, and removes it.
"""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select

from tracking import files
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.engines import file_of
from tracking.storage.facts import FactKey
from tracking.storage.tables import EVENTS, FACTS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RestoreMark:
    """How far the reconciliation of a restored store has come, all of it in the store."""

    taken_at: datetime  # when the copy was made, or earlier
    newest_event: int  # when it began; later ones come of the reconciliation
    walked: bool = False  # whether the provider's list was read from before `taken_at` on
    looked_up: int = 0  # outbox rows up to this order were looked up
    trouble: str | None = None  # why it does not get on


def set_mark(connection: Connection, mark: RestoreMark, now: datetime) -> None:
    """Store the mark in place of the one before."""
    facts.set_fact(connection, FactKey.RESTORED_COPY, asdict(mark) | {"taken_at": mark.taken_at.isoformat()}, now)


def mark_restored(connection: Connection, taken_at: datetime, now: datetime) -> None:
    """Mark the store as restored; begins anew where a reconciliation was under way."""
    existing = find_mark(connection)
    earliest = min(taken_at, existing.taken_at) if existing else taken_at
    set_mark(connection, RestoreMark(earliest, newest_event(connection)), now)


def find_mark(connection: Connection) -> RestoreMark | None:
    """Read the mark; None where the store was not restored or is reconciled."""
    stored = facts.get_fact(connection, FactKey.RESTORED_COPY)
    return mark_from(stored[1]) if stored else None


def mark_from(value: dict[str, Any]) -> RestoreMark:
    """Parse the value of the mark's fact."""
    return RestoreMark(**value | {"taken_at": datetime.fromisoformat(value["taken_at"])})


def remove_mark(connection: Connection, result: dict[str, Any], now: datetime) -> None:
    """Replace the mark by the result of the reconciliation."""
    connection.execute(delete(FACTS).where(FACTS.c.key == FactKey.RESTORED_COPY))
    facts.set_fact(connection, FactKey.RECONCILED, result, now)


def newest_event(connection: Connection) -> int:
    """Read the number of the newest event, 0 where there is none."""
    newest: int | None = connection.execute(select(func.max(EVENTS.c.id))).scalar()
    return newest or 0


def detect(database: Database, now: datetime) -> bool:
    """Mark a store that is older than the file next to it says; returns whether. Blocks. Raises StoreError."""
    noted = _noted_event(database)
    with database.read() as connection:
        behind = noted is not None and newest_event(connection) < noted
    if not behind:
        return False

    def job(connection: Connection) -> int:
        last = connection.execute(select(EVENTS.c.learned_at).order_by(EVENTS.c.id.desc()).limit(1)).scalar()
        mark_restored(connection, min(last or now, now), now)
        return newest_event(connection)

    newest = database.write(job)
    log.warning("the store is older than it was: newest event %d, once %d; it is reconciled first", newest, noted)
    # Only now: where this is cut, the mark is set once more.
    _write_mark_file(database, newest)
    return True


def note_progress(database: Database) -> None:
    """Note the newest event in the file next to the database. Blocks; a file that cannot be written is only logged."""
    if _file(database) is None:
        return
    with database.read() as connection:
        newest = newest_event(connection)
    if newest != _noted_event(database):
        _write_mark_file(database, newest)


def _noted_event(database: Database) -> int | None:
    file = _file(database)
    try:
        return int(file.read_text()) if file else None
    except (OSError, ValueError):
        return None


def _write_mark_file(database: Database, newest: int) -> None:
    """Write the file whole or not at all; a loss of power may take it, never the store."""
    if (file := _file(database)) is None:
        return
    try:
        with files.replacing(file) as handle:
            handle.write(f"{newest}\n".encode())
    except OSError as exc:
        log.warning("%s cannot be written (%s): an older copy put in its place would not be noticed", file, exc)


def _file(database: Database) -> Path | None:
    file = file_of(database.url)
    return file.with_name(f"{file.name}.newest") if file else None
