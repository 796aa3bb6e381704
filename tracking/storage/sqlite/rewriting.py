"""Rewrites a store into as few pages as it needs, so that no page holds deleted data (VACUUM).

Some builds of SQLite, pysqlite3's among them, keep all that is temporary in memory, and a VACUUM makes the whole store
anew there. A large one is written to a file beside it instead and copied back from there, in one transaction.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from tracking.errors import StoreBusy
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.sqlite.journal import journal_mode

LARGE = 256 * 1024 * 1024  # bytes that a rewriting may take of the memory
TRIES = 5
_PAGES = 16  # in a step of the copy; each store has more


class _WrittenMeanwhile(Exception):
    """Somebody wrote between the two transactions."""


def rewrite(store: dbapi.Connection) -> None:
    """Rewrite the store that the connection writes, in autocommit mode. Raises StoreBusy and the driver's errors."""
    options = {option for (option,) in store.execute("PRAGMA compile_options")}
    # Only with a write-ahead log can it be seen in the midst of the copy whether somebody wrote before it.
    if _size(store) < LARGE or "TEMP_STORE=3" not in options or journal_mode(store) != "wal":
        store.execute("VACUUM")
        return
    file = Path(store.execute("PRAGMA database_list").fetchone()[2])
    for _ in range(TRIES):
        with contextlib.suppress(_WrittenMeanwhile), contextlib.closing(dbapi.connect(file)) as reader:
            _rewrite_through_file(store, reader, file.with_name(f"{file.name}.rewritten"))
            return
    raise StoreBusy("the database is written all the time by another process")


def _size(store: dbapi.Connection) -> int:
    pages, bytes_each = (store.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages) * int(bytes_each)


def _make_private(path: Path) -> None:
    """Make an empty file that only its owner may read, in place of one that a process left that died."""
    try:
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as exc:
        raise StoreBusy(f"{path} cannot be made ({exc.strerror})") from exc


def _rewrite_through_file(store: dbapi.Connection, reader: dbapi.Connection, copy: Path) -> None:
    store.execute("BEGIN IMMEDIATE")  # what is written from here on would be lost
    try:
        _make_private(copy)
        version = _version(reader)
        reader.execute("VACUUM INTO ?", (str(copy),))
        rewritten = dbapi.connect(copy)
    finally:
        store.rollback()
    with contextlib.closing(rewritten):
        try:
            rewritten.backup(store, pages=_PAGES, progress=_unless_written(reader, version))
        finally:
            copy.unlink(missing_ok=True)


def _version(reader: dbapi.Connection) -> int:
    """Read a number that is another one as soon as anybody else has written."""
    number: int = reader.execute("PRAGMA data_version").fetchone()[0]
    return number


def _unless_written(reader: dbapi.Connection, version: int) -> Callable[[int, int, int], None]:
    """Stop the copy at its first step, which keeps all others from writing, where somebody wrote before it."""
    checked = False

    def after_step(status: int, _left: int, _total: int) -> None:
        nonlocal checked
        if status in {dbapi.SQLITE_BUSY, dbapi.SQLITE_LOCKED}:
            raise _WrittenMeanwhile
        if not checked and _version(reader) != version:
            raise _WrittenMeanwhile
        checked = True

    return after_step
