import asyncio
import contextlib
import logging
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Clock, FakeProvider, request
from sending_setup import send_once
from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import NoStore, NotAllowed, SettingsError, StoreBusy, StoreError, StoreUnusable
from tracking.forecasting.planner import PlanningContext
from tracking.reports import health as signs
from tracking.reports.exports import orders as exported_orders
from tracking.reports.exports.writing import export_chunks
from tracking.reports.health import health
from tracking.reports.order_list.filters import Filters
from tracking.storage import database, engines, facts
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.sqlite import journal
from tracking.storage.sqlite.driver import dbapi, wal_is_safe
from tracking.storage.tables import COUNTERS, FACTS
from tracking.submissions.sender import Sender

Job = Callable[[Connection], Any]


@contextlib.contextmanager
def held(store: Database) -> Iterator[None]:
    """Keeps the writer busy, so that what is submitted meanwhile forms one group."""
    begun, free = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        begun.set()
        free.wait(10)

    future = store.submit(wait)
    begun.wait(10)
    try:
        yield
    finally:
        free.set()
    future.result(10)


@contextlib.contextmanager
def commits(store: Database) -> Iterator[list[int]]:
    """Counts the transactions that the writer commits."""
    counted: list[int] = []

    def count(_: Connection) -> None:
        counted.append(1)

    sa.event.listen(store._engine, "commit", count)
    try:
        yield counted
    finally:
        sa.event.remove(store._engine, "commit", count)


def remember(key: str, now: datetime, value: int = 1) -> Job:
    row = {"key": key, "value": {"n": value}, "at": now}

    def job(connection: Connection) -> None:
        connection.execute(facts.upsert_fact(connection.dialect.name), row)

    return job


def fail(error: Exception) -> Job:
    def job(connection: Connection) -> None:
        connection.execute(sa.delete(FACTS))
        raise error

    return job


def remembered(store: Database) -> set[str]:
    with store.read() as connection:
        return set(connection.execute(sa.select(FACTS.c.key)).scalars())


def other_connection(url: str) -> dbapi.Connection:
    return dbapi.connect(url.removeprefix("sqlite:///"), isolation_level=None)


# One writer


def test_what_is_submitted_together_shares_one_transaction(store: Database, now: datetime) -> None:
    with commits(store) as counted:
        with held(store):
            futures = [store.submit(remember(f"fact {number}", now)) for number in range(100)]
        for future in futures:
            future.result(10)
    assert len(counted) == 2
    assert len(remembered(store)) == 100


def test_a_caller_hears_after_the_commit(store: Database, now: datetime) -> None:
    store.submit(remember("a", now)).result(10)
    assert remembered(store) == {"a"}


def test_what_a_job_returns_reaches_its_caller(store: Database) -> None:
    assert store.write(lambda connection: connection.execute(sa.text("SELECT 41 + 1")).scalar()) == 42


def test_a_job_that_raises_writes_nothing_and_harms_no_other(store: Database, now: datetime) -> None:
    with held(store):
        before = store.submit(remember("before", now))
        failing = store.submit(fail(NotAllowed("no")))
        after = store.submit(remember("after", now))
    with pytest.raises(NotAllowed, match="no"):
        failing.result(10)
    assert (before.result(10), after.result(10)) == (None, None)
    assert remembered(store) == {"before", "after"}


def test_a_group_adds_what_it_counts_once_and_an_order_of_a_job_that_raises_is_not_counted(
    store: Database, now: datetime
) -> None:
    def placing(name: str, error: Exception | None = None) -> Job:
        def job(connection: Connection) -> None:
            ingest.place(connection, request(name), source="form", actor="Ann", now=now)
            if error is not None:
                raise error

        return job

    with written_to(store, "counters") as additions:
        with held(store):
            placed = [store.submit(placing(f"PO-{number}")) for number in range(20)]
        for future in placed:
            future.result(10)
    assert len(additions) == 1
    with held(store):
        jobs = (placing("PO-20"), placing("PO-21", NotAllowed("no")), placing("PO-22"))
        futures: list[Future[Any]] = [store.submit(job) for job in jobs]
    assert [type(future.exception(10)) for future in futures] == [type(None), NotAllowed, type(None)]
    with store.read() as connection:
        total = sa.select(sa.func.sum(COUNTERS.c.orders)).where(COUNTERS.c.name == "stock")
        assert connection.execute(total).scalar() == 22
    assert verify.verify(store) == []


@contextlib.contextmanager
def written_to(store: Database, table: str) -> Iterator[list[str]]:
    """The statements that write to the table meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(f"INSERT INTO {table}"):
            statements.append(statement)

    sa.event.listen(store._engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(store._engine, "before_cursor_execute", note)


def test_a_statement_that_fails_harms_no_other_job_either(store: Database, now: datetime) -> None:
    def twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(sa.insert(FACTS).values(key="twice", at=now, value={}))

    with held(store):
        futures: list[Future[Any]] = [store.submit(job) for job in (remember("a", now), twice, remember("b", now))]
    with pytest.raises(StoreError, match="refused a statement"):
        futures[1].result(10)
    for future in futures[::2]:
        future.result(10)
    assert remembered(store) == {"a", "b"}


def test_an_error_of_the_driver_names_no_value(store: Database, now: datetime) -> None:
    def job(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(sa.insert(FACTS).values(key="canary-4711", at=now, value={}))

    with pytest.raises(StoreError) as caught:
        store.write(job)
    assert "4711" not in str(caught.value)


def test_an_engine_that_says_all_it_does_shows_no_row(
    empty_url: str, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="sqlalchemy")  # engines look at it when they are made
    engines.migrate(empty_url)
    opened = database.connect(empty_url)
    opened.write(remember("a-name-in-a-row", now))
    assert remembered(opened) == {"a-name-in-a-row"}
    opened.close()
    assert "SELECT" in caplog.text
    assert "a-name-in-a-row" not in caplog.text


def test_the_writer_goes_on_after_errors_of_all_kinds(store: Database, now: datetime) -> None:
    for error in (ValueError("a"), sa.exc.OperationalError("x", None, Exception("y")), KeyError("b")):
        with pytest.raises((ValueError, KeyError, StoreBusy)):
            store.write(fail(error))
    store.write(remember("still here", now))
    assert remembered(store) == {"still here"}


def test_a_job_that_is_cancelled_while_it_waits_does_not_run(store: Database, now: datetime) -> None:
    with held(store):
        cancelled = store.submit(remember("cancelled", now))
        kept = store.submit(remember("kept", now))
        assert cancelled.cancel()
    kept.result(10)
    assert remembered(store) == {"kept"}


def test_reads_cannot_write(store: Database, now: datetime) -> None:
    with pytest.raises(StoreError), store.read() as connection:
        remember("a", now)(connection)
    assert remembered(store) == set()


def test_what_is_submitted_before_the_close_is_written_and_later_calls_hear_busy(
    sqlite_url: str, now: datetime
) -> None:
    opened = database.connect(sqlite_url)
    with held(opened):
        waiting = [opened.submit(remember(f"fact {number}", now)) for number in range(5)]
        closing = threading.Thread(target=opened.close)
        closing.start()
    closing.join(10)
    assert [future.result(0) for future in waiting] == [None] * 5
    with pytest.raises(StoreBusy, match="closed"):
        opened.write(remember("late", now))
    opened.close()
    again = database.connect(sqlite_url)
    assert again is not opened
    assert len(remembered(again)) == 5
    again.close()


def test_a_process_has_one_database_for_an_address(sqlite_url: str) -> None:
    opened = database.connect(sqlite_url)
    assert database.connect(sqlite_url) is opened
    opened.close()


def test_threads_that_open_an_address_at_once_get_the_same_database(sqlite_url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(database.connect, [sqlite_url] * 8))
    assert len({id(one) for one in opened}) == 1
    opened[0].close()


def test_opening_one_address_again_forgets_no_other(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in "ab"]
    first, second = map(database.connect, urls)
    first.close()
    again = database.connect(urls[0])
    assert again is not first
    assert database.connect(urls[1]) is second
    for opened in (again, second):
        opened.close()


@contextlib.contextmanager
def locked(store: Database, moment: str, *, after: int) -> Iterator[list[int]]:
    """After so many times, every begin or commit of the writer finds the store locked; counts them."""
    counted: list[int] = []

    def busy(_: Connection) -> None:
        counted.append(1)
        if len(counted) > after:
            raise sa.exc.OperationalError("x", None, dbapi.OperationalError("database is locked"))

    sa.event.listen(store._engine, moment, busy)
    try:
        yield counted
    finally:
        sa.event.remove(store._engine, moment, busy)


@pytest.mark.parametrize(("moment", "before"), [("begin", 0), ("commit", 1)])
def test_a_store_that_does_not_begin_or_commit_fails_the_whole_group_at_once(
    store: Database, now: datetime, moment: str, before: int
) -> None:
    with contextlib.ExitStack() as stack:
        with held(store):
            counted = stack.enter_context(locked(store, moment, after=before))
            futures = [store.submit(remember(f"fact {number}", now)) for number in range(100)]
        for future in futures:
            with pytest.raises(StoreBusy, match="locked by another process"):
                future.result(10)
    assert len(counted) == before + 1
    assert remembered(store) == set()
    store.write(remember("after", now))
    assert remembered(store) == {"after"}


def test_a_store_that_is_locked_while_a_group_goes_one_by_one_fails_the_rest_at_once(
    store: Database, now: datetime
) -> None:
    broken = fail(sa.exc.IntegrityError("x", None, Exception("y")))
    with contextlib.ExitStack() as stack:
        with held(store):
            counted = stack.enter_context(locked(store, "begin", after=1))
            jobs = (remember("a", now), broken, remember("b", now))
            futures: list[Future[Any]] = [store.submit(job) for job in jobs]
        for future in futures:
            with pytest.raises(StoreBusy):
                future.result(10)
    assert len(counted) == 2


def test_a_connection_that_died_is_tried_again_with_the_whole_group(store: Database, now: datetime) -> None:
    failures = [1]

    def die(_connection: Any) -> None:
        if failures:
            failures.pop()
            raise sa.exc.DBAPIError("x", None, Exception("gone"), connection_invalidated=True)

    sa.event.listen(store._engine, "begin", die)
    try:
        store.write(remember("a", now))
    finally:
        sa.event.remove(store._engine, "begin", die)
    assert remembered(store) == {"a"}


# SQLite


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 0), False),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), False),
        ((3, 52, 1), True),
        ((3, 53, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_only_versions_without_the_race_may_use_the_wal(version: tuple[int, int, int], safe: bool) -> None:
    assert wal_is_safe(version) == safe


@pytest.mark.parametrize(("safe", "mode", "synchronous"), [(True, "wal", 2), (False, "delete", 3)])
def test_the_writer_is_durable_in_the_way_its_version_allows(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, safe: bool, mode: str, synchronous: int
) -> None:
    monkeypatch.setattr(journal, "keeps_wal", lambda: safe)
    opened = database.connect(sqlite_url)
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    told = opened.write(lambda connection: [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names])
    assert told == [mode, synchronous, 1, engines.BUSY_MILLISECONDS]
    opened.close()


def test_a_locked_database_is_busy_and_works_again_when_the_lock_is_gone(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    monkeypatch.setattr(engines, "BUSY_MILLISECONDS", 50)
    opened = database.connect(sqlite_url)
    opened.write(remember("before", now))
    with contextlib.closing(other_connection(sqlite_url)) as other:
        other.execute("BEGIN IMMEDIATE")
        with held_futures(opened, now) as futures:
            for future in futures:
                with pytest.raises(StoreBusy, match="locked by another process"):
                    future.result(10)
        other.execute("ROLLBACK")
    opened.write(remember("after", now))
    assert remembered(opened) == {"before", "after"}
    opened.close()


@contextlib.contextmanager
def held_futures(opened: Database, now: datetime) -> Iterator[list[Future[Any]]]:
    yield [opened.submit(remember(f"locked out {number}", now)) for number in range(3)]


def test_a_full_disk_is_busy_and_nothing_of_the_job_is_kept(sqlite_url: str, now: datetime) -> None:
    opened = database.connect(sqlite_url)
    pages = opened.write(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    opened.write(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}"))
    with pytest.raises(StoreBusy, match="disk is full"):
        opened.write(lambda connection: facts.set_fact(connection, "big", {"text": "x" * 100_000}, now))
    opened.write(remember("small", now))
    assert remembered(opened) == {"small"}
    opened.close()


def test_a_new_database_and_the_files_beside_it_are_for_their_owner_alone(tmp_path: Path, now: datetime) -> None:
    before, file = os.umask(0), tmp_path / "new.db"
    try:
        store = database.connect(f"sqlite:///{file}")
        store.write(lambda connection: facts.set_fact(connection, "x", {}, now))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        store.close()
        assert modes[file.name] == 0o600
        assert set(modes.values()) == {0o600}
        file.chmod(0o640)  # as somebody wanted it who has a group read it
        database.connect(f"sqlite:///{file}").close()
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, sqlite_url: str) -> None:
    path = tmp_path / "tracking.db"
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StoreUnusable, match="not a SQLite database"):
        database.connect(sqlite_url)
    assert path.read_bytes() == b"Dear diary, " * 1000


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file/deep/t.db", "file is no folder: name a file in one"),
        ("folder", "folder is a folder: name a file in it"),
        ("pipe", "pipe is no file: name one"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_place_where_no_database_can_be_is_a_wrong_setting(
    place: str, said: str, create: bool, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match=said):
        database.connect(f"sqlite:///{tmp_path}/{place}", create=create)


@pytest.mark.parametrize("create", [True, False])
def test_an_option_that_the_servers_driver_does_not_know_is_a_wrong_setting(create: bool) -> None:
    with pytest.raises(SettingsError, match="an option behind") as caught:
        database.connect("postgresql+psycopg://us:hush-hush@127.0.0.1:1/name?sslmod=require", create=create)
    assert "hush-hush" not in str(caught.value)


def test_a_folder_that_cannot_be_made_or_written_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SettingsError, match="cannot be written by this user"):
        database.connect(f"sqlite:///{tmp_path}/deep/t.db")
    monkeypatch.setattr("tracking.files.make_folder", refuse)
    with pytest.raises(SettingsError, match=r"cannot be made \(Permission denied\)"):
        database.connect(f"sqlite:///{tmp_path}/deeper/t.db")


def test_who_only_reads_makes_no_store_and_is_told_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        NoStore, match=rf"there is no database at {tmp_path}/deep/t.db: the console, tracking worker or"
    ):
        database.connect(f"sqlite:///{tmp_path}/deep/t.db", create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(NoStore):
        database.connect(f"sqlite:///{tmp_path}/empty.db", create=False)
    assert [file.name for file in tmp_path.iterdir()] == ["empty.db"]
    assert (tmp_path / "empty.db").read_bytes() == b""


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("0001", "the database is at revision 0001, this version needs .* run tracking migrate"),
        ("9999", "from a newer version .* start the newer version again, or restore a backup"),
        ("ae1027a6acf", "belongs to another program"),
    ],
)
def test_who_only_reads_migrates_no_store(revision: str, said: str, sqlite_url: str, tmp_path: Path) -> None:
    database.connect(sqlite_url).close()
    with contextlib.closing(dbapi.connect(tmp_path / "tracking.db")) as other:
        other.execute("UPDATE alembic_version SET version_num = ?", [revision])
        other.commit()
    with pytest.raises(StoreUnusable, match=said):
        database.connect(sqlite_url, create=False)
    assert engines.revision(sqlite_url) == revision


@pytest.mark.parametrize(
    ("complaint", "kind", "said"),
    [
        ('connection to server at "h" failed: Connection refused', StoreBusy, "refuses connections"),
        ('could not translate host name "h" to address', StoreBusy, "host name cannot be resolved"),
        ("[Errno -2] Name: failed to resolve host 'h'", StoreBusy, "host name cannot be resolved"),
        ("connection timeout expired", StoreBusy, "in time"),
        ("SSL error: certificate verify failed", StoreUnusable, "certificate cannot be verified"),
        ('server certificate for "x" does not match host name "h"', StoreUnusable, "for another host name"),
        ('FATAL:  database "x" does not exist', StoreUnusable, "no database of that name"),
        ('FATAL:  role "x" does not exist', StoreUnusable, "name or password"),
    ],
)
def test_why_the_server_cannot_be_reached_is_told_apart(complaint: str, kind: type[StoreError], said: str) -> None:
    error = engines.translate(sa.exc.OperationalError("", {}, Exception(complaint)))
    assert type(error) is kind
    assert said in str(error)


def test_no_word_of_the_store_promises_what_only_a_loop_does() -> None:
    assert [text for _, text in engines._SIGNS.values() if "by itself" in text or "again" in text] == []


def test_a_read_only_database_is_busy(tmp_path: Path, now: datetime) -> None:
    writable = f"sqlite:///{tmp_path}/t.db"
    database.connect(writable).close()
    opened = Database(f"sqlite:///file:{tmp_path}/t.db?mode=ro&uri=true")
    with pytest.raises(StoreBusy, match="read-only"):
        opened.write(remember("a", now))
    opened.close()


def test_a_server_that_does_not_answer_is_busy(tmp_path: Path) -> None:
    with pytest.raises(StoreBusy, match="does not answer"):
        database.connect(f"postgresql+psycopg://nobody@/none?host={tmp_path}")


# PostgreSQL


@pytest.mark.postgres
def test_a_connection_that_died_is_replaced(postgres_store: Database, now: datetime) -> None:
    def pid(connection: Connection) -> int:
        found: int = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        return found

    writer = postgres_store.write(pid)
    with postgres_store._readers.connect() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": writer})
    postgres_store.write(remember("after", now))
    assert postgres_store.write(pid) != writer
    postgres_store.write(lambda connection: connection.execute(sa.delete(FACTS)))


# Readers


@pytest.fixture
def large(sqlite_url: str, migrated_file: Path, monkeypatch: pytest.MonkeyPatch, now: datetime) -> Iterator[Database]:
    """More orders than any read takes at once, and a writer that waits for nobody."""
    monkeypatch.setattr(engines, "BUSY_MILLISECONDS", 0)
    shutil.copy(migrated_file, sqlite_url.removeprefix("sqlite:///"))
    opened = database.connect(sqlite_url)

    def place(connection: Connection) -> None:
        for number in range(50):
            ingest.place(connection, request(f"po-{number}"), source="form", actor=None, now=now)

    opened.write(place)
    yield opened
    opened.close()


def test_an_export_lets_the_writer_in_between_its_chunks(
    large: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported_orders, "FIRST_CHUNK", 10)
    monkeypatch.setattr(exported_orders, "EXPORT_CHUNK", 10)
    chunks = list[list[str]]()
    for chunk in export_chunks(large, Filters(), now):
        chunks.append([order["po_number"] for order in chunk])
        later = request(f"later-{len(chunks)}")
        large.write(lambda connection: ingest.place(connection, later, source="form", actor=None, now=now))  # noqa: B023
    placed = [f"po-{number}" for number in range(49, -1, -1)]
    assert chunks == [placed[first : first + 10] for first in range(0, 50, 10)]


def test_verify_lets_the_writer_in_between_its_chunks(
    large: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "ORDERS_AT_ONCE", 10)
    chunks: list[int] = []

    def write(done: int, _total: int) -> None:
        large.write(remember(f"chunk {done}", now))
        chunks.append(done)

    assert verify.verify(large, write) == []
    assert chunks == [10, 20, 30, 40, 50]


def test_the_log_grows_while_a_reader_holds_it_and_not_beyond_that(
    sqlite_url: str, migrated_file: Path, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> None:
    monkeypatch.setattr(journal, "keeps_wal", lambda: True)
    shutil.copy(migrated_file, sqlite_url.removeprefix("sqlite:///"))
    opened = Database(sqlite_url)
    limit = 1 << 20
    sa.event.listen(opened._engine, "connect", lambda raw, _: raw.execute(f"PRAGMA journal_size_limit={limit}"))

    opened.write(remember("first", now))  # which makes it a store with a log

    def write_much() -> None:
        for number in range(30):
            opened.write(partial(facts.set_fact, key="a", value={"text": f"{number:02d}" * 100_000}, now=now))

    with contextlib.closing(other_connection(sqlite_url)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM facts").fetchone()
        write_much()
        held = opened.wal_bytes()
        assert held > 5 * limit
        assert health(opened, now).wal_bytes == 0, "not yet worth a word"
        monkeypatch.setattr(signs, "WAL_LARGE", limit)
        assert health(opened, now).wal_bytes == held
        reader.execute("COMMIT")
    write_much()
    assert opened.wal_bytes() < 5 * limit + limit
    opened.close()
    assert opened.wal_bytes() == 0


# Two processes


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_two_consoles_on_one_store_send_each_order_once(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock
) -> None:
    other = Database(store.url)
    provider.knows_duplicates = False
    senders = [
        Sender(
            each,
            provider,
            planner,
            address=lambda _po: None,
            owner=owner,
            lease=timedelta(seconds=30),
            clock=clock,
            wake=lambda: None,
        )
        for each, owner in ((store, "here/1/a"), (other, "here/2/b"))
    ]

    def place(connection: Connection) -> None:
        for number in range(40):
            ingest.place(connection, request(f"po-{number}"), source="form", actor=None, now=clock.now)

    store.write(place)
    taken = [0, 0]

    async def send(index: int) -> None:
        while sent := await send_once(senders[index], clock.now):
            taken[index] += sent
            assert await senders[index].recover(clock.now) == 0, "what another sends is no dead one's"

    async def both() -> None:
        await asyncio.gather(send(0), send(1))

    try:
        asyncio.run(both())
    finally:
        other.close()
    assert sum(taken) == 40
    assert len(provider.called("place")) == 40
    assert {order["PONumber"] for order in provider.kept.values()} == {f"po-{number}" for number in range(40)}
    assert verify.verify(store) == []


def test_a_server_without_its_driver_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    url = "postgresql+psycopg://ops:hush-hush@db.example.com/tracking"
    for refused in (lambda: database.connect(url), lambda: engines.make_engine(url, writes=True)):
        with pytest.raises(SettingsError, match=r"pip install 'fulfillment-tracking\[postgres\]'") as caught:
            refused()
        assert "hush-hush" not in str(caught.value)


@pytest.mark.postgres
def test_no_connection_of_postgresql_keeps_what_it_writes_json_with(
    postgres_store: Database, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engines.make_engine(postgres_store.url, writes=False)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("psycopg")]
