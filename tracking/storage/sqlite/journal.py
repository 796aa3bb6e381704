"""Journal mode of SQLite: write-ahead log where this SQLite is safe with it, else rollback journal.

A store in WAL mode stays in it. An affected SQLite takes it out of that mode where nobody else has it open, and
refuses it else, before every transaction: another process may bring it back into that mode at any time.
"""

from tracking.errors import StoreUnusable
from tracking.storage.sqlite.driver import SQLITE_VERSION, dbapi, wal_is_safe


def keeps_wal() -> bool:
    """Tell whether stores are kept in WAL mode here."""
    return wal_is_safe(SQLITE_VERSION)


def journal_mode(connection: dbapi.Connection) -> str:
    """Read the mode the store is in: "wal", "delete", or what the file system allows."""
    mode: str = connection.execute("PRAGMA journal_mode").fetchone()[0]
    return mode


def set_up_writer(connection: dbapi.Connection) -> None:
    """Choose the journal, and with it how often a commit flushes, so that a power loss takes no committed row.

    Raises StoreUnusable for a store in WAL mode that another process has open, where this SQLite is affected.
    """
    if keeps_wal():
        connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA journal_size_limit=67108864")
    else:
        leave_wal(connection)
    # Where the file system knows no shared memory SQLite keeps the rollback journal, which needs its folder flushed.
    connection.execute(f"PRAGMA synchronous={'FULL' if journal_mode(connection) == 'wal' else 'EXTRA'}")


def set_up_reader(connection: dbapi.Connection) -> None:
    """Take a store out of WAL mode where this SQLite is affected; raises as `set_up_writer` does."""
    if not keeps_wal():
        leave_wal(connection)


def leave_wal(connection: dbapi.Connection) -> None:
    """Bring the store into the rollback journal's mode. Raises StoreUnusable where another process has it open."""
    if journal_mode(connection) != "wal":
        return
    try:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    except dbapi.OperationalError as exc:
        if "locked" not in str(exc):
            raise
        raise refusal() from exc


def check_transaction(connection: dbapi.Connection) -> None:
    """Raise StoreUnusable where the transaction that just began is in WAL mode and this SQLite is affected."""
    if keeps_wal():
        return
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()  # only a read tells a mode that has changed
    if journal_mode(connection) == "wal":
        raise refusal()


def refusal() -> StoreUnusable:
    """Make the error of an affected SQLite for a store in WAL mode."""
    return StoreUnusable(
        f"another process uses the database in WAL mode, in which SQLite {dbapi.sqlite_version} of this Python can "
        "lose rows: install pysqlite3 here as well, or stop the other process"
    )
