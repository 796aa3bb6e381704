"""Engines, pragmas, transactions and the one writer; holds no query.

All writes of a process go through one thread that commits what has gathered in one transaction (group commit): many
webhooks share one fsync, and each caller gets its answer after the commit. Reads have short connections of their own
that cannot write.
"""

import contextlib
import itertools
import logging
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import NullPool

from tracking import files as folders
from tracking.errors import StoreBusy, StoreUnusable
from tracking.storage.errors import translate, translated
from tracking.storage.migrations import HEAD
from tracking.storage.transactions import (
    Job,
    Outcome,
    StatementFailed,
    drop,
    explained,
    resolve,
    transaction,
    worth_another_try,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_MILLISECONDS = 5000
PROBE_SECONDS = 1.0
GROUP = 256
TRIES = 3
MIGRATION_LOCK = 0x7472_6163_6B69_6E67  # any number, but the same in every version


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite is free of the race at the WAL's reset that can lose committed rows.

    Affected are 3.7.0 to 3.51.2 but for the fixed 3.50.7 and 3.44.6 and their successors; 3.52.0 was withdrawn.
    """
    if version == (3, 52, 0):
        return False
    fixed_branches = {(3, 50): 7, (3, 44): 6}
    least = fixed_branches.get((version[0], version[1]))
    return version >= (3, 51, 3) or (least is not None and version[2] >= least)


class _Tried(NamedTuple):
    connection: Connection | None
    outcomes: list[Outcome]
    error: Exception | None


class Database:
    """One store: read connections and one writer thread. Open it with `connect`.

    `trouble` says in the store's own words why the writer's last transaction failed, where that concerns the store and
    not a single job; None once one has been committed. While there is trouble the writer tries by itself, so that it
    ends also where nobody writes.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.trouble: str | None = None
        self.dialect = "sqlite" if url.startswith("sqlite") else "postgresql"
        self._engine = _engine(url, writes=True)
        self._readers = _engine(url, writes=False)
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A short transaction that cannot write.

        Raises:
            StoreBusy, StoreUnusable: translated from the driver's errors.
        """
        with translated(), self._readers.connect() as connection:
            yield connection

    def submit(self, job: Callable[[Connection], T]) -> Future[T]:
        """Hands a job to the writer. The future is done after the commit; a failed job has written nothing.

        The job may run more than once and must have no effect outside its connection.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(StoreBusy("the store is closed"))
            else:
                self._queue.put(Job(job, future))
        return future

    def write(self, job: Callable[[Connection], T]) -> T:
        """`submit`, and wait for it. Never call it on an event loop's thread."""
        return self.submit(job).result()

    def rewrite(self) -> None:
        """Writes the store anew without what was deleted: on SQLite whole, so that no file holds any of it.

        Holds up all writes meanwhile. PostgreSQL clears its tables; its own logs of changes are the server's.

        Raises:
            StoreBusy: another process reads or writes for too long, or the disk has no room for a copy.
        """
        if self.dialect == "postgresql":
            with translated(), self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM")
            return
        with translated(), contextlib.closing(self._engine.raw_connection()) as connection:
            connection.cursor().execute("VACUUM")
            [(busy, _, _)] = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            raise StoreBusy("the database is read by another process, and its write-ahead log cannot be cleared")

    def wal_bytes(self) -> int:
        """How large the write-ahead log is; 0 where there is none."""
        file = file_of(self.url)
        try:
            return file.with_name(f"{file.name}-wal").stat().st_size if file else 0
        except OSError:
            return 0

    @property
    def closed(self) -> bool:
        """Whether it takes no more work."""
        return self._closed

    def close(self) -> None:
        """Finishes what was submitted and lets go of all connections."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._engine.dispose()
        self._readers.dispose()

    def _run(self) -> None:
        connection: Connection | None = None
        while (jobs := self._gather()) is not None:
            connection = self._commit(connection, jobs)
        if connection is not None:
            connection.close()

    def _gather(self) -> list[Job] | None:
        """The jobs that wait; at least one, but where there is trouble none for a second; None at the end."""
        try:
            first = self._queue.get(timeout=PROBE_SECONDS if self.trouble else None)
        except queue.Empty:
            return []
        if first is None:
            return None
        jobs = [first]
        with contextlib.suppress(queue.Empty):
            while len(jobs) < GROUP:
                job = self._queue.get_nowait()
                if job is None:
                    self._queue.put(None)
                    break
                jobs.append(job)
        return jobs

    def _commit(self, connection: Connection | None, jobs: list[Job]) -> Connection | None:
        """Commits the jobs together; where a statement of theirs fails, one by one, so that a bad one harms no other.

        A store that cannot be reached, does not begin or does not commit concerns them all: each of them hears of it at
        once, where one by one each would wait for a locked database anew.
        """
        groups = deque([[job for job in jobs if job.future.set_running_or_notify_cancel()]])
        while groups:
            group = groups.popleft()
            connection, outcomes, error = self._tried(connection, group)
            if error is None:
                self._note(None)
                for job, (result, failed) in zip(group, outcomes, strict=True):
                    resolve(job, result, failed)
            elif isinstance(error, StatementFailed) and len(group) > 1:
                groups.extend([job] for job in group)
            elif isinstance(error, StatementFailed):
                told = translate(error.cause)
                if isinstance(told, StoreBusy | StoreUnusable):
                    self._note(str(told))
                resolve(group[0], None, told)
            else:
                self._note(str(explained(error)))
                for job in [*group, *itertools.chain(*groups)]:
                    resolve(job, None, explained(error))
                groups.clear()
        return connection

    def _note(self, trouble: str | None) -> None:
        """Before the callers hear: who is told of an error finds its reason here."""
        if trouble != self.trouble:
            log.warning("the store %s", f"cannot be written: {trouble}" if trouble else "can be written again")
        self.trouble = trouble

    def _tried(self, connection: Connection | None, jobs: list[Job]) -> _Tried:
        """One transaction with all the jobs, again where that may help; without a connection where it failed."""
        for tries_left in reversed(range(TRIES)):
            try:
                connection = connection or self._engine.connect()
                return _Tried(connection, transaction(connection, jobs, with_probe=self.trouble is not None), None)
            except Exception as exc:  # noqa: BLE001 - the top of the writer's loop: each caller gets its error
                drop(connection)
                connection = None
                if not tries_left or not worth_another_try(exc):
                    return _Tried(None, [], exc)
        raise AssertionError("the last try returns")


def _without_rows(record: logging.LogRecord) -> bool:
    """At DEBUG the engine logs each row it reads, recipients included, whatever `hide_parameters` says."""
    return not str(record.msg).startswith("Row ")


def _engine(url: str, *, writes: bool) -> Engine:
    logging.getLogger("sqlalchemy.engine.Engine").addFilter(_without_rows)
    if not url.startswith("sqlite"):
        options = {} if writes else {"postgresql_readonly": True}
        return sa.create_engine(
            url, hide_parameters=True, pool_pre_ping=True, pool_size=1 if writes else 8, execution_options=options
        )
    engine = sa.create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": BUSY_MILLISECONDS / 1000, "check_same_thread": False, "isolation_level": None},
        **({"poolclass": NullPool} if writes else {"pool_size": 8, "max_overflow": 32}),
    )
    event.listen(engine, "connect", _set_up_writer if writes else _set_up_reader)
    event.listen(engine, "begin", _begin_immediate if writes else _begin)
    return engine


def _set_up_writer(connection: sqlite3.Connection, _record: object) -> None:
    if wal_is_safe(sqlite3.sqlite_version_info[:3]):
        durability = ["journal_mode=WAL", "synchronous=FULL", "journal_size_limit=67108864"]
    else:
        durability = ["journal_mode=DELETE", "synchronous=EXTRA"]
    for pragma in [f"busy_timeout={BUSY_MILLISECONDS}", *durability, "foreign_keys=ON"]:
        connection.execute(f"PRAGMA {pragma}")


def _set_up_reader(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "query_only=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


_opened: dict[str, Database] = {}
_opening = threading.Lock()


def connect(url: str) -> Database:
    """The process's one Database for this address; on SQLite made and migrated where that is needed.

    Threads that come together get the same one, as there must be one writer; a closed one is replaced.

    Raises:
        StoreUnusable: not a database, from a newer version, or (PostgreSQL) not migrated yet.
        StoreBusy: locked, or the server does not answer.
    """
    if (database := _opened.get(url)) is not None and not database.closed:
        return database
    with _opening:
        for address in [address for address, known in _opened.items() if known.closed]:
            del _opened[address]
        if url not in _opened:
            _prepare(url)
            _opened[url] = Database(url)
        return _opened[url]


def file_of(url: str) -> Path | None:
    """The database file of a SQLite address; None on PostgreSQL."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def _prepare(url: str) -> None:
    if file := file_of(url):
        folder = file.parent
        try:
            folders.make(folder)
        except OSError as exc:
            raise StoreUnusable(f"the folder {folder} cannot be made ({exc.strerror})") from exc
        # Only a store that must change needs the write lock, which a busy console may hold for a while.
        if not file.is_file() or revision(url) != HEAD:
            migrate(url)
        return
    if (found := revision(url)) != HEAD:
        raise StoreUnusable(f"the store is at revision {found or 'none'}, this version needs {HEAD}: run migrate")


def revision(url: str) -> str | None:
    """The revision the store is at, None for an empty one."""
    engine = _engine(url, writes=False)
    try:
        with translated(), engine.connect() as connection:
            return _revision(connection)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return found


def migrate(url: str) -> str | None:
    """Brings the store to this version's schema; returns the revision it was at. Of two at once, one waits.

    Raises:
        StoreUnusable: the store is from a newer version, not ours or not a database. It is left as it is.
        StoreBusy: locked or unreachable.
    """
    engine = _engine(url, writes=True)
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


def _check_origin(connection: Connection, before: str | None) -> None:
    if before is not None and before > HEAD:
        raise StoreUnusable(f"the store is from a newer version (revision {before}): update this installation")
    if before is None and sa.inspect(connection).get_table_names():
        raise StoreUnusable("the database holds tables of another program: set TRACKING_DATABASE_URL to another one")


def _upgrade(connection: Connection) -> None:
    # Alembic takes a fifth of a second to import, and only a store that must change needs it.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.info("migrated revision=%s", HEAD)
