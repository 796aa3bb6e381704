"""What tells that a store was restored from a backup: what was done after the backup is not known in it.

Two signs lead to the same mark. A copy made by `backup` carries it. A copy made in any other way does not, so a small
file beside the database keeps the number of the newest event: a store that has not come so far is an older one. While
the mark is there nothing is sent; `reconcile` finds out from the provider what is missing, and removes it.
"""

import logging
import os
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select

from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.engines import file_of
from tracking.storage.tables import EVENTS
from tracking.storage.tables import FACTS as FACT_ROWS

log = logging.getLogger(__name__)

MARK = "copied"
DONE = "restored"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the reconciliation of a restored store has come, all of it in the store.

    Args:
        taken_at: when the copy was made, or earlier.
        newest_event: the newest event when it began; later ones tell what was found.
        walked: whether the provider's list was read from before `taken_at` on.
        looked_up: outbox rows up to this order were looked up.
        trouble: why it does not get on, None while it does.
    """

    taken_at: datetime
    newest_event: int
    walked: bool = False
    looked_up: int = 0
    trouble: str | None = None


def set_mark(connection: Connection, mark: Mark, now: datetime) -> None:
    """Keeps the mark in place of the one before."""
    facts.set_fact(connection, MARK, asdict(mark) | {"taken_at": mark.taken_at.isoformat()}, now)


def mark_restored(connection: Connection, taken_at: datetime, now: datetime) -> None:
    """Marks the store as one that was restored; begins anew where a reconciliation was under way."""
    known = find_mark(connection)
    earliest = min(taken_at, known.taken_at) if known else taken_at
    set_mark(connection, Mark(earliest, newest_event(connection)), now)


def find_mark(connection: Connection) -> Mark | None:
    """The mark, None where the store was not restored or is reconciled."""
    kept = facts.fact(connection, MARK)
    return mark_from(kept[1]) if kept else None


def mark_from(value: dict[str, Any]) -> Mark:
    """The mark from what is stored of it."""
    return Mark(**value | {"taken_at": datetime.fromisoformat(value["taken_at"])})


def remove_mark(connection: Connection, told: dict[str, Any], now: datetime) -> None:
    """The store is reconciled; what was found is remembered in place of the mark."""
    connection.execute(delete(FACT_ROWS).where(FACT_ROWS.c.key == MARK))
    facts.set_fact(connection, DONE, told, now)


def newest_event(connection: Connection) -> int:
    """The number of the newest event, 0 where there is none."""
    found: int | None = connection.execute(select(func.max(EVENTS.c.id))).scalar()
    return found or 0


def notice(database: Database, now: datetime) -> bool:
    """Marks a store that is older than the file beside it says; whether it did. Blocks.

    Raises:
        StoreError: the store cannot be read or written; nothing may be sent before this was done.
    """
    reached = _reached(database)
    with database.read() as connection:
        behind = reached is not None and newest_event(connection) < reached
    if not behind:
        return False

    def job(connection: Connection) -> int:
        last = connection.execute(select(EVENTS.c.learned_at).order_by(EVENTS.c.id.desc()).limit(1)).scalar()
        mark_restored(connection, min(last or now, now), now)
        return newest_event(connection)

    newest = database.write(job)
    log.warning("the store is older than it was: newest event %d, once %d; it is reconciled first", newest, reached)
    # Only now: where this is cut, the mark is set once more.
    _write(database, newest)
    return True


def remember(database: Database) -> None:
    """Writes down beside the database how far it has come. Blocks; a file that cannot be written is only told."""
    if file_of(database.url) is None:
        return
    with database.read() as connection:
        newest = newest_event(connection)
    if newest != _reached(database):
        _write(database, newest)


def _reached(database: Database) -> int | None:
    file = _file(database)
    try:
        return int(file.read_text()) if file else None
    except (OSError, ValueError):
        return None


def _write(database: Database, newest: int) -> None:
    """Whole or not at all; what a loss of power takes is the sign, never the store."""
    if (file := _file(database)) is None:
        return
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "w") as handle:
            handle.write(f"{newest}\n")
        Path(name).replace(file)
    except OSError as exc:
        log.warning("%s cannot be written (%s): an older copy put in its place would not be noticed", file, exc)


def _file(database: Database) -> Path | None:
    file = file_of(database.url)
    return file.with_name(f"{file.name}.newest") if file else None
