"""SQLAlchemy engines for SQLite and PostgreSQL: pragmas, migrations, and driver errors translated into ours."""

import contextlib
import importlib
import json
import logging
import os
import re
import unicodedata
from collections.abc import Generator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, PoolProxiedConnection

from tracking.errors import Problem, SettingsError, StoreBusy, StoreError, StoreUnusable, TooSlow, causes_of
from tracking.orders.event_chain import as_json
from tracking.storage.migrations import HEAD
from tracking.storage.sqlite import journal
from tracking.storage.sqlite.driver import dbapi

log = logging.getLogger(__name__)

BUSY_MILLISECONDS = 5000
INSTALL = "pip install 'fulfillment-tracking[postgres]'"
LOCKS_NO_MORE = "locks no more"  # in a connection's `info`: the transaction has to end before anything else is locked
MIGRATION_LOCK = 0x7472_6163_6B69_6E67  # any number, but the same in every version


def _without_row_values(record: logging.LogRecord) -> bool:
    """Filter out the rows that the engine logs at DEBUG, recipients included, whatever `hide_parameters` says."""
    return not str(record.msg).startswith("Row ")


def make_engine(url: str, *, writes: bool) -> Engine:
    """Make an engine for this store: one that writes, or one whose connections cannot write."""
    logging.getLogger("sqlalchemy.engine.Engine").addFilter(_without_row_values)
    if not url.startswith("sqlite"):
        options = {} if writes else {"postgresql_readonly": True}
        _check_driver()
        return sa.create_engine(
            url,
            hide_parameters=True,
            json_serializer=as_json,
            pool_pre_ping=True,
            pool_size=1 if writes else 8,
            execution_options=options,
        )
    engine = sa.create_engine(
        url,
        module=dbapi,
        hide_parameters=True,
        json_deserializer=decode_json,
        json_serializer=as_json,
        connect_args={"timeout": BUSY_MILLISECONDS / 1000, "check_same_thread": False, "isolation_level": None},
        **({"poolclass": NullPool} if writes else {"pool_size": 8, "max_overflow": 32}),
    )
    event.listen(engine, "connect", _set_up_writer if writes else _set_up_reader)
    # Not by an event of the engine: one that has any looks for all kinds of them with every statement.
    engine.dialect.do_begin = _begin_write if writes else _begin_read  # type: ignore[assignment]
    return engine


def make_loading_engine(url: str) -> Engine:
    """Make an engine for a SQLite store whose connections begin their transaction by `sqlite.loading`."""
    engine = make_engine(url, writes=True)
    engine.dialect.do_begin = lambda _: None  # type: ignore[assignment]
    return engine


def make_copy_engine(file: Path) -> Engine:
    """Make an engine for a copy of a store that nobody else has open; it leaves nothing beside the file."""
    return sa.create_engine(f"sqlite:///{file}", module=dbapi, poolclass=NullPool, hide_parameters=True)


def _set_up_writer(connection: dbapi.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    journal.set_up_writer(connection)
    connection.execute("PRAGMA foreign_keys=ON")
    connection.create_function("casefold", 1, casefold, deterministic=True)


def _set_up_reader(connection: dbapi.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    journal.set_up_reader(connection)
    connection.execute("PRAGMA query_only=ON")
    connection.create_function("casefold", 1, casefold, deterministic=True)


def _begin_write(connection: PoolProxiedConnection) -> None:
    _begin(connection, "BEGIN IMMEDIATE")


def _begin_read(connection: PoolProxiedConnection) -> None:
    _begin(connection, "BEGIN")


def _begin(connection: PoolProxiedConnection, statement: str) -> None:
    raw: Any = connection.driver_connection
    raw.execute(statement)
    try:
        journal.check_transaction(raw)
    except StoreUnusable:
        connection.invalidate()  # the file cannot leave WAL mode while it is open here
        raise


def casefold(text: str | None) -> str | None:
    """Fold case beyond ASCII, which SQLite cannot; texts that are compared with it are folded the same way."""
    return unicodedata.normalize("NFKC", text.casefold()) if isinstance(text, str) else None


_decode_first = json.JSONDecoder().raw_decode


def decode_json(text: str) -> Any:
    """Decode what a JSON column holds as `json.loads` does, in a third of its time for the short texts most are."""
    try:
        value, end = _decode_first(text)
    except json.JSONDecodeError:  # also of blanks before it
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def file_of(url: str) -> Path | None:
    """Return the database file of a SQLite address; None on PostgreSQL."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def check_server_address(url: str) -> None:
    """Raise SettingsError for options of a PostgreSQL address that its driver does not know."""
    _check_driver()
    import psycopg  # noqa: PLC0415 - only who works with a server waits for it

    parts = sa.make_url(url)
    arguments: dict[str, Any] = {**parts.translate_connect_args(username="user", database="dbname"), **parts.query}
    try:
        psycopg.conninfo.make_conninfo(**arguments)
    except psycopg.ProgrammingError as exc:
        message = "has an option behind ? that PostgreSQL does not know"
        raise SettingsError([Problem("TRACKING_DATABASE_URL", message)]) from exc


def _check_driver() -> None:
    """Raises SettingsError where the package was installed without what speaks to PostgreSQL."""
    try:
        importlib.import_module("psycopg")
    except ImportError:
        message = f"PostgreSQL needs a driver that is not installed: {INSTALL}"
        raise SettingsError([Problem("TRACKING_DATABASE_URL", message)]) from None


def revision(url: str) -> str | None:
    """Read the revision the store is at, None for an empty one."""
    engine = make_engine(url, writes=False)
    try:
        with translated(), engine.connect() as connection:
            return _revision(connection)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def migrate(url: str) -> str | None:
    """Migrate the store to this version's schema; returns the revision it was at. Of two at once, one waits.

    Raises StoreUnusable for a store that is newer, not ours or no database, and leaves it as it is; StoreBusy.
    """
    _make_private_file(url)
    engine = make_engine(url, writes=True)
    try:
        with translated(), engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # on SQLite, BEGIN IMMEDIATE has made us alone already
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            before = _revision(connection)
            if before != HEAD:
                _check_origin(connection, before)
                _upgrade(connection)
            return before
    finally:
        engine.dispose()


def _make_private_file(url: str) -> None:
    """Make a new SQLite file one for its owner alone, as are then those beside it; one that is there stays as it is."""
    if (file := file_of(url)) is not None:
        with contextlib.suppress(OSError):  # it is there, or SQLite says why it cannot be
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _check_origin(connection: Connection, before: str | None) -> None:
    check_revision(before)
    if before is None and sa.inspect(connection).get_table_names():
        raise StoreUnusable("the database holds tables of another program: set TRACKING_DATABASE_URL to another one")


def check_revision(revision: str | None) -> None:
    """Raise StoreUnusable for a store that this version cannot even migrate: a newer one, or another program's."""
    if revision is not None and not re.fullmatch(r"\d{4}", revision):
        raise StoreUnusable("the database belongs to another program: set TRACKING_DATABASE_URL to another one")
    if revision is not None and revision > HEAD:
        raise StoreUnusable(
            f"the database is from a newer version (revision {revision}; this one goes up to {HEAD}), and left as it"
            " is: start the newer version again, or restore a backup from before the update"
        )


def _upgrade(connection: Connection) -> None:
    # Alembic takes a fifth of a second to import, and only a store that must change needs it.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.info("migrated revision=%s", HEAD)


@contextlib.contextmanager
def translated() -> Generator[None]:
    """Translate the driver's errors into ours while the block lasts."""
    try:
        yield
    except (SQLAlchemyError, dbapi.Error) as exc:
        raise translate(exc) from exc


def translate(exc: BaseException) -> StoreError:
    """Translate the driver's error into one that says what to do; never with the statement's values.

    What the error hides is looked through as well: SQLite ends the transaction itself when the disk is full, and then
    the rollback to a savepoint fails in a way that says nothing of the disk.
    """
    for one in causes_of(exc):
        complaint = str(getattr(one, "orig", one)).lower()
        for sign, (kind, message) in _SIGNS.items():
            if sign in complaint:
                return kind(message)
    if isinstance(exc, sa.exc.OperationalError) and not isinstance(exc.orig, dbapi.Error):
        return StoreBusy("the database does not answer: is the database server running and reachable?")
    return StoreError(f"the database refused a statement ({type(exc).__name__})")


_CONFLICT = "another process changed the same data at the same time; nothing was changed here, and it can be repeated"
# Without what happens next: a loop tries again by itself, a command or a form does not.
_TOO_SLOW = "too many orders would have to be looked through for it"
_SIGNS: dict[str, tuple[type[StoreError], str]] = {
    "interrupted": (TooSlow, _TOO_SLOW),
    "due to statement timeout": (TooSlow, _TOO_SLOW),
    "database is locked": (StoreBusy, "the database is locked by another process"),
    "deadlock detected": (StoreBusy, _CONFLICT),
    "could not serialize access": (StoreBusy, _CONFLICT),
    "disk is full": (StoreBusy, "the disk is full: make room"),
    "no space left on device": (StoreBusy, "the disk is full: make room"),
    "readonly database": (StoreBusy, "the database file is read-only: make it and its folder writable"),
    "read-only transaction": (StoreBusy, "the database server takes no writes: is it a standby?"),
    "during recovery": (StoreBusy, "the database server takes no writes: is it a standby?"),
    "disk i/o error": (StoreBusy, "the disk reports an input/output error: check it"),
    "file is not a database": (
        StoreUnusable,
        "the file is not a SQLite database: move it away or set TRACKING_DATABASE_URL to another file",
    ),
    "malformed": (StoreUnusable, "the database file is damaged: restore a backup"),
    "unable to open database file": (
        StoreUnusable,
        "the database file cannot be opened: does the folder exist, and may this user write there?",
    ),
    "password authentication failed": (StoreUnusable, "the database server refuses the name or password"),
    'fatal:  role "': (StoreUnusable, "the database server refuses the name or password"),
    "no pg_hba.conf entry": (StoreUnusable, "the database server lets nobody in from here: see its pg_hba.conf"),
    'fatal:  database "': (StoreUnusable, "the database server has no database of that name: create it"),
    "too many clients": (StoreBusy, "the database server has no connection left"),
    "remaining connection slots": (StoreBusy, "the database server has no connection left"),
    "translate host name": (StoreBusy, "the database server's host name cannot be resolved (DNS)"),
    "failed to resolve host": (StoreBusy, "the database server's host name cannot be resolved (DNS)"),
    "certificate verify failed": (
        StoreUnusable,
        "the database server's certificate cannot be verified: see sslrootcert",
    ),
    "does not match host name": (StoreUnusable, "the database server's certificate is for another host name"),
    "does not support ssl": (StoreUnusable, "the database server does not support TLS: see sslmode"),
    "connection refused": (StoreBusy, "the database server refuses connections: is it running, at that host and port?"),
    "timeout expired": (StoreBusy, "the database server could not be connected to in time"),
    "connection timed out": (StoreBusy, "the database server could not be connected to in time"),
    "no route to host": (StoreBusy, "no network leads to the database server from here"),
    "network is unreachable": (StoreBusy, "no network leads to the database server from here"),
}
