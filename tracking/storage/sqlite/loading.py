"""Bulk loading on SQLite: one transaction that nobody else sees, indexes built at its end.

With the rollback journal new pages are written once, straight into the database, and a process that dies leaves a
journal by which whoever opens the store next takes all of them away again. To make an index of many rows at once takes
half of what it takes to add each row to it.
"""

import contextlib
from collections.abc import Collection, Iterator

from tracking.errors import StoreUnusable
from tracking.storage.sqlite import journal
from tracking.storage.sqlite.driver import dbapi

# Rows come at the end of their tables, and what is sorted for an index in pieces of this size stays near the processor.
_CACHE_KIBIBYTES = 32_768
_INDEXES = (
    "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ? ORDER BY rowid"
)


def begin_alone(connection: dbapi.Connection) -> bool:
    """Begin a transaction that keeps all others out, with the rollback journal; False where somebody is in already.

    Takes the store out of WAL mode: `journal.set_up_writer` brings it back.
    """
    connection.execute("PRAGMA busy_timeout=0").fetchall()
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIBIBYTES}")
    try:
        journal.leave_wal(connection)
        connection.execute("BEGIN EXCLUSIVE")
    except (dbapi.OperationalError, StoreUnusable):
        return False
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()  # only a read tells a mode that has changed
    if journal.journal_mode(connection) != "wal":  # to which another process may have brought it back before we began
        return True
    connection.rollback()
    return False


@contextlib.contextmanager
def without_indexes(connection: dbapi.Connection, tables: Collection[str]) -> Iterator[None]:
    """Drop the tables' indexes, and build them again after the block; primary keys and unique indexes stay."""
    indexes = [index for table in tables for index in connection.execute(_INDEXES, (table,)).fetchall()]
    for name, _ in indexes:
        connection.execute(f'DROP INDEX "{name}"')
    yield
    for _, statement in indexes:
        connection.execute(statement)
