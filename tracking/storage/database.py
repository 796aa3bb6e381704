"""The database: read connections, and one writer thread that commits jobs in groups. Holds no query.

All writes of a process go through one thread that commits what has gathered in one transaction (group commit): many
webhooks share one fsync, and each caller gets its answer after the commit.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, event
from sqlalchemy.exc import SQLAlchemyError

from tracking import files
from tracking.errors import NoStore, Problem, SettingsError, StoreBusy, StoreUnusable
from tracking.storage.engines import (
    check_revision,
    check_server_address,
    file_of,
    make_engine,
    make_loading_engine,
    migrate,
    revision,
    translate,
    translated,
)
from tracking.storage.migrations import HEAD
from tracking.storage.reading.time_limits import limited
from tracking.storage.search.tables import REBUILD_ON_POSTGRESQL
from tracking.storage.sqlite import driver, journal, loading, log_limit, rewriting
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.writing import groups
from tracking.storage.writing.groups import Job

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTING = "TRACKING_DATABASE_URL"
PROBE_SECONDS = 1.0
JOBS_PER_COMMIT = 256
TRANSACTION_TRIES = 3


Outcome = tuple[Any, Exception | None]


class Database:
    """One store: read connections and one writer thread, until it is `closed`. Open it with `connect`.

    `trouble` says in the store's own words why the writer's last transaction failed, where that concerns the store and
    not a single job; None once one has been committed. While there is trouble the writer tries by itself, so that it
    ends also where nobody writes.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.trouble: str | None = None
        self.dialect = "sqlite" if url.startswith("sqlite") else "postgresql"
        self._engine = make_engine(url, writes=True)
        self._readers = make_engine(url, writes=False)
        self._journal_mode: str | None = None
        file = file_of(url)
        self._log_file = f"{file}-wal" if file else None
        for engine in (self._engine, self._readers) if self.dialect == "sqlite" else ():
            event.listen(engine, "connect", self._note_journal)
        if self.dialect == "sqlite":
            event.listen(self._engine, "connect", log_limit.Checkpoints.set_up)
        self._connection: Connection | None = None  # the writer's
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a short transaction that cannot write, within the limit of `time_limits.time_limit`.

        Raises TooSlow beyond it, and StoreBusy and StoreUnusable for the driver's errors.
        """
        with self._reading() as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a read whose statements all see the store as it was at one moment; SQLite gives that in any case."""
        with self._reading("REPEATABLE READ" if self.dialect == "postgresql" else None) as connection:
            yield connection

    @contextlib.contextmanager
    def _reading(self, isolation: Any = None) -> Iterator[Connection]:
        with translated(), self._readers.connect() as connection:
            if isolation:
                connection.execution_options(isolation_level=isolation)
            with limited(connection):
                yield connection

    def submit(self, job: Callable[[Connection], T], *, orders: Iterable[int | str] = ()) -> Future[T]:
        """Hand a job to the writer. The future is done after the commit; a failed job has written nothing.

        The job may run more than once and must have no effect outside its connection. `orders` are those that it will
        change, as far as that is known, by row id or PONumber: on a server they are locked before the jobs that are
        committed together, always in the same order, so that two processes never wait for each other.
        """
        future: Future[T] = Future()
        with self._lock:
            if self.closed:
                future.set_exception(StoreBusy("the database is closed"))
            else:
                self._queue.put(Job(job, future, frozenset(orders)))
        return future

    def write(self, job: Callable[[Connection], T], *, orders: Iterable[int | str] = ()) -> T:
        """`submit`, and wait for it. Never call it on an event loop's thread."""
        return self.submit(job, orders=orders).result()

    async def run(self, job: Callable[[Connection], T], *, orders: Iterable[int | str] = ()) -> T:
        """`submit`, and wait for it on an event loop."""
        return await asyncio.wrap_future(self.submit(job, orders=orders))

    @contextlib.contextmanager
    def loading(self, tables: Collection[str]) -> Iterator[Connection | None]:
        """Open one transaction that fills a SQLite store: all of it is there at the end, and nothing of it before.

        The indexes of `tables` are made at its end, and all others wait until then. None where that is not to be had:
        on a server, or where anybody has the store open, this Database's own writer included.
        """
        if self.dialect == "sqlite":
            self._readers.dispose()
            engine = make_loading_engine(self.url)
            with translated(), contextlib.closing(engine.connect()) as connection:
                raw = cast("dbapi.Connection", connection.connection.driver_connection)
                if loading.begin_alone(raw):
                    with connection.begin(), loading.without_indexes(raw, tables):
                        yield connection
                    journal.set_up_writer(raw)
                    return
        yield None

    def rewrite(self) -> None:
        """Rewrite the store without deleted data (VACUUM): on SQLite whole, so that no file holds any of it.

        Holds up all writes meanwhile. PostgreSQL clears its tables; its own logs of changes are the server's. Raises
        StoreBusy where another process reads or writes for too long, or the disk has no room for a copy.
        """
        if self.dialect == "postgresql":
            with translated(), self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                for statement in ("VACUUM", REBUILD_ON_POSTGRESQL):
                    connection.exec_driver_sql(statement)
            return
        with translated(), contextlib.closing(self._engine.raw_connection()) as connection:
            rewriting.rewrite(cast("dbapi.Connection", connection.driver_connection))
            [(busy, _, _)] = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if busy:
            raise StoreBusy("the database is read by another process, and its write-ahead log cannot be cleared")

    def description(self) -> dict[str, str | bool | None]:
        """Name the database's engine and driver; on SQLite its version too, and the journal mode once it is open.

        With a rollback journal, which stands in where this SQLite's write-ahead log may lose rows, commits wait for
        readers.
        """
        if self.dialect == "postgresql":
            server = {"engine": self.dialect, "driver": self._engine.driver}
            return server | {"sqlite_version": None, "journal_mode": None, "commits_wait_for_readers": False}
        return {
            "engine": self.dialect,
            "driver": driver.NAME,
            "sqlite_version": dbapi.sqlite_version,
            "journal_mode": self._journal_mode,
            "commits_wait_for_readers": None if self._journal_mode is None else self._journal_mode != "wal",
        }

    def _note_journal(self, connection: dbapi.Connection, _record: object) -> None:
        self._journal_mode = journal.journal_mode(connection)

    def wal_bytes(self) -> int:
        """Measure the write-ahead log in bytes; 0 where there is none."""
        try:
            return os.stat(self._log_file).st_size if self._log_file else 0  # noqa: PTH116 - as a path it takes thrice
        except OSError:
            return 0

    def close(self) -> None:
        """Finish what was submitted and close all connections."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._queue.put(None)
        self._thread.join()
        self._engine.dispose()
        self._readers.dispose()

    def _run(self) -> None:
        limit, checkpoints = log_limit.LogLimit(), log_limit.Checkpoints()
        while (jobs := self._gather()) is not None:
            self._commit(jobs)
            if self._connection is not None and self.dialect == "sqlite":
                raw = cast("dbapi.Connection", self._connection.connection.driver_connection)
                log_bytes = self.wal_bytes()
                checkpoints.apply(raw, log_bytes)
                limit.apply(raw, log_bytes)
        if self._connection is not None:
            self._connection.close()

    def _gather(self) -> list[Job] | None:
        """Wait for jobs and take all that wait; in trouble, none after a second; None once the writer is to end."""
        try:
            first = self._queue.get(timeout=PROBE_SECONDS if self.trouble else None)
        except queue.Empty:
            return []
        if first is None:
            return None
        jobs = [first]
        with contextlib.suppress(queue.Empty):
            while len(jobs) < JOBS_PER_COMMIT:
                job = self._queue.get_nowait()
                if job is None:
                    self._queue.put(None)
                    break
                jobs.append(job)
        return jobs

    def _commit(self, jobs: list[Job]) -> None:
        """Commit the jobs together; where one fails, in parts, so that it harms no other.

        A store that cannot be reached, does not begin or does not commit concerns them all: each of them fails at once,
        where one by one each would wait for a locked database anew.
        """
        pending = deque([[job for job in jobs if job.future.set_running_or_notify_cancel()]])
        while pending:
            group = pending.popleft()
            try:
                outcomes: list[Outcome] = [(result, None) for result in self._transact(group)]
                self._note(None)
            except groups.JobFailed as exc:
                if len(group) > 1:
                    pending.extendleft(reversed(exc.parts(group)))
                    continue
                outcomes = [(None, self._judge(exc.error))]
            except Exception as exc:  # noqa: BLE001 - the top of the writer's loop: each caller gets its error
                group = [*group, *itertools.chain(*pending)]
                pending.clear()
                failure = translate(exc) if isinstance(exc, SQLAlchemyError | dbapi.Error) else exc
                self._note(str(failure))
                outcomes = [(None, failure)] * len(group)
            if rest := group[len(outcomes) :]:
                pending.appendleft(rest)
            for job, (result, failed) in zip(group, outcomes, strict=False):
                if failed is None:
                    job.future.set_result(result)
                else:
                    job.future.set_exception(failed)

    def _judge(self, error: Exception) -> Exception:
        """Make the error for a job's caller. One of the store is noted as its trouble; a job's own clears that."""
        if not isinstance(error, SQLAlchemyError):
            self._note(None)
            return error
        failure = translate(error)
        if isinstance(failure, StoreBusy | StoreUnusable) and not groups.is_conflict(error):
            self._note(str(failure))
        return failure

    def _note(self, trouble: str | None) -> None:
        """Set the trouble before any future is settled: a caller that gets an error finds its reason here."""
        if trouble != self.trouble:
            log.warning("the store %s", f"cannot be written: {trouble}" if trouble else "can be written again")
        self.trouble = trouble

    def _transact(self, jobs: list[Job]) -> list[Any]:
        """Run one transaction with all the jobs, again where that may help; an error of the store drops the connection.

        Raises JobFailed where it was a job that failed, and left nothing.
        """
        for tries_left in reversed(range(TRANSACTION_TRIES)):
            try:
                self._connection = self._connection or self._engine.connect()
                return groups.run(self._connection, jobs, with_probe=self.trouble is not None)
            except Exception as exc:
                if isinstance(exc, groups.JobFailed) and not isinstance(exc.error, SQLAlchemyError):
                    raise
                groups.discard(self._connection)
                self._connection = None
                if not tries_left or not groups.may_retry(exc):
                    raise
        raise AssertionError("the last try returns or raises")


_opened: dict[str, Database] = {}
_opening = threading.Lock()


def connect(url: str, *, create: bool = True) -> Database:
    """Return the process's one Database for this address; with `create`, on SQLite made and migrated where needed.

    Threads that come together get the same one, as there must be one writer; a closed one is replaced. Raises
    StoreUnusable (not a database, from a newer version, or not migrated), NoStore, StoreBusy, and SettingsError where
    the address names a place where no store can be.
    """
    if (database := _opened.get(url)) is not None and not database.closed:
        return database
    with _opening:
        for address in [address for address, opened in _opened.items() if opened.closed]:
            del _opened[address]
        if url not in _opened:
            _prepare(url, create=create)
            _opened[url] = Database(url)
        return _opened[url]


def make_place(url: str) -> None:
    """Make the folder of a SQLite store. Raises SettingsError where there can be no store."""
    if (file := file_of(url)) is None:
        return
    check_place(file)
    folder = file.parent
    try:
        files.make_folder(folder)
    except OSError as exc:
        message = f"the folder {folder} cannot be made ({exc.strerror}): make it, or name another"
        raise SettingsError([Problem(SETTING, message)]) from exc
    if not file.exists() and not os.access(folder, os.W_OK):
        message = f"the folder {folder} cannot be written by this user: make it writable, or name another"
        raise SettingsError([Problem(SETTING, message)])


def check_place(file: Path) -> None:
    """Raise SettingsError where there can be no database of this name."""
    if file.is_dir():
        raise SettingsError([Problem(SETTING, f"{file} is a folder: name a file in it")])
    if file.exists() and not file.is_file():
        raise SettingsError([Problem(SETTING, f"{file} is no file: name one")])
    parent = next(each for each in file.absolute().parents if each.exists())
    if not parent.is_dir():
        raise SettingsError([Problem(SETTING, f"{parent} is no folder: name a file in one")])


def _prepare(url: str, *, create: bool) -> None:
    file = file_of(url)
    if file and create:
        make_place(url)
        # Only a store that must change needs the write lock, which a busy console may hold for a while.
        if not file.is_file() or revision(url) != HEAD:
            migrate(url)
        return
    if file:
        check_place(file)
    else:
        check_server_address(url)
    existing = None if file and not file.is_file() else revision(url)
    if existing is None:
        place, maker = "the database server", "tracking migrate makes one"
        if file:
            place, maker = str(file.absolute()), "the console, tracking worker or tracking submit makes one"
        raise NoStore(f"there is no database at {place}: {maker}, or set {SETTING} to where it is")
    check_revision(existing)
    if existing != HEAD:
        raise StoreUnusable(
            f"the database is at revision {existing}, this version needs {HEAD}:"
            " stop all processes that use it, and run tracking migrate"
        )
