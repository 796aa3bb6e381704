"""Backup: copy the store into a file while consoles work on it. SQLite only: PostgreSQL has pg_dump.

Made in a temporary file next to the target, checked, marked as a copy, and put in its place whole. The database file is
opened by SQLite alone: to open and close it otherwise would drop the locks of this process.
"""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from tracking import files
from tracking.errors import NotAllowed, StoreBusy, StoreUnusable
from tracking.storage import engines
from tracking.storage.engines import translated
from tracking.storage.maintenance.restore_mark import mark_restored
from tracking.storage.sqlite import journal
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.tables import EVENTS, ORDERS

PAGES = 1000
BUSY_SECONDS = 0.05
RESTARTS = 5
LOCKED_SECONDS = 60.0
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """The content of the copy."""

    revision: str
    orders: int
    events: int
    bytes: int
    taken_at: datetime


class _TooManyRestarts(Exception):
    """The store was written between two steps so often that steps do not come to an end."""


def backup(url: str, target: Path, now: datetime, progress: Progress | None = None) -> Backup:
    """Copy the store at `url` into the new file `target`, which only its owner may read, as a copy taken at `now`.

    `progress` is called with (pages copied, pages in all). Raises NotAllowed where the file exists or the store is not
    on SQLite, StoreBusy or StoreUnusable for what is wrong with the store, OSError for the target's folder.
    """
    source = engines.file_of(url)
    if source is None:
        raise NotAllowed("the database is on PostgreSQL: back it up with pg_dump")
    if not source.is_file():
        raise StoreUnusable(f"there is no database at {source}")
    _refuse_existing(target)
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    copy = Path(name)
    try:
        with translated():
            _copy(source, copy, progress)
            made = _mark_copy(copy, now)
        files.flush(copy)  # no SQLite connection to it is open any more
        _refuse_existing(target)
        copy.replace(target)
    except BaseException:
        copy.unlink()
        raise
    files.flush_folder(target.parent)
    return made


def _refuse_existing(target: Path) -> None:
    # A journal that lies there would be taken for the copy's own, and be played back into it.
    for path in (target, *(target.with_name(target.name + end) for end in ("-journal", "-wal", "-shm"))):
        if path.exists():
            raise NotAllowed(f"{path} exists: choose another name, or move it away")


def _copy(source: Path, copy: Path, progress: Progress | None) -> None:
    """Copy in steps, between which others write; where they write all the time, at once while they wait."""
    address = f"{source.resolve().as_uri()}?mode=rw"
    with (
        contextlib.closing(dbapi.connect(address, uri=True, timeout=engines.BUSY_MILLISECONDS / 1000)) as store,
        contextlib.closing(dbapi.connect(copy)) as made,
    ):
        journal.set_up_reader(store)
        store.execute("PRAGMA query_only=ON")
        if journal.journal_mode(store) == "wal":
            # Nobody waits for a reader of the log, so one snapshot serves all steps.
            store.isolation_level = None
            store.execute("BEGIN")
            store.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        try:
            store.backup(made, pages=PAGES, progress=_guarded(progress, RESTARTS), sleep=BUSY_SECONDS)
        except _TooManyRestarts:
            store.backup(made, pages=-1, progress=_guarded(progress, math.inf), sleep=BUSY_SECONDS)
        made.execute("PRAGMA journal_mode=DELETE")


def _guarded(progress: Progress | None, restarts: float) -> Callable[[int, int, int], None]:
    """Report progress to `progress`; stop a copy that begins anew too often, or gets nowhere for a minute."""
    before, moved_at = math.inf, time.monotonic()

    def after_step(status: int, left: int, total: int) -> None:
        nonlocal before, moved_at, restarts
        if status in {dbapi.SQLITE_BUSY, dbapi.SQLITE_LOCKED}:
            if time.monotonic() - moved_at > LOCKED_SECONDS:
                raise StoreBusy("the database is locked by another process")
            return
        restarts -= left >= before
        if restarts < 0:
            raise _TooManyRestarts
        before, moved_at = left, time.monotonic()
        if progress is not None:
            progress(total - left, total)

    return after_step


def _mark_copy(copy: Path, now: datetime) -> Backup:
    """Mark the copy, so that a console that opens it reconciles first; check and count it."""
    engine = engines.make_copy_engine(copy)
    try:
        with engine.begin() as connection:
            mark_restored(connection, now, now)
        with engine.connect() as connection:
            result = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if result != "ok":
                raise StoreUnusable(f"the copy is damaged, and so the database may be: {result}")
            return Backup(
                revision=connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one(),
                orders=connection.execute(sa.select(sa.func.count()).select_from(ORDERS)).scalar_one(),
                events=connection.execute(sa.select(sa.func.count()).select_from(EVENTS)).scalar_one(),
                bytes=copy.stat().st_size,
                taken_at=now,
            )
    finally:
        engine.dispose()
