"""The write-ahead log stays bounded while reads overlap, so that there is never a moment without a reader."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.sqlite import journal, log_limit
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.sqlite.log_limit import LogLimit

pytestmark = pytest.mark.skipif(not journal.keeps_wal(), reason="this SQLite keeps no write-ahead log")
MEGABYTE = 2**20


@pytest.fixture
def file(migrated_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated_file, tmp_path / "tracking.db"))


def reader_of(file: Path) -> dbapi.Connection:
    """A connection that has begun to read."""
    reader = dbapi.connect(file, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM facts").fetchone()
    return reader


@contextlib.contextmanager
def overlapping_readers(file: Path) -> Iterator[None]:
    """Each reader begins before the one before it ends."""
    ended = threading.Event()

    def read() -> None:
        reader = reader_of(file)
        while not ended.is_set():
            following = reader_of(file)
            reader.close()
            reader = following
            time.sleep(0.01)
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    yield
    ended.set()
    thread.join()


def write(database: Database, megabytes: int, now: datetime) -> int:
    """Write so much; returns the largest size the log had."""
    largest = 0
    for number in range(megabytes * 10):
        database.write(partial(facts.set_fact, key="a", value={"text": f"{number % 100:02d}" * 50_000}, now=now))
        largest = max(largest, database.wal_bytes())
    return largest


def test_reads_that_overlap_do_not_let_the_log_grow(file: Path, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limit, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(log_limit, "LONGEST_PAUSE", 0.0)
    sizes = []
    for large in (1000 * MEGABYTE, MEGABYTE):
        monkeypatch.setattr(log_limit, "LARGE", large)
        with contextlib.closing(Database(f"sqlite:///{file}")) as database, overlapping_readers(file):
            sizes.append(write(database, 12, now))
    assert sizes[1] < 4 * MEGABYTE
    assert sizes[1] < sizes[0] / 2, "without the limit it grows"


def test_what_was_committed_is_written_into_the_database_after_those_who_wait_for_it_have_their_answer(
    file: Path, tmp_path: Path, now: datetime
) -> None:
    def add(connection: Connection, first: int, count: int) -> None:
        for number in range(first, first + count):
            facts.set_fact(connection, f"fact {number}", {}, now)

    def in_the_database_itself() -> int:
        with contextlib.closing(dbapi.connect(shutil.copy(file, tmp_path / "without-its-log.db"))) as copied:
            return int(copied.execute("SELECT count(*) FROM facts WHERE key LIKE 'fact %'").fetchone()[0])

    with contextlib.closing(Database(f"sqlite:///{file}")) as store:
        store.write(partial(add, first=0, count=1))  # the first commit begins the count
        store.write(partial(add, first=1, count=10))
        few = in_the_database_itself()
        store.write(partial(add, first=11, count=log_limit.ROWS_APART))
        store.write(partial(add, first=0, count=1))  # begins only after what follows the commit before
        assert (few, in_the_database_itself()) == (0, 11 + log_limit.ROWS_APART)


def test_a_reader_that_stays_is_waited_for_once_and_then_later_and_later(file: Path) -> None:
    at = 100.0
    limit = LogLimit(lambda: at, MEGABYTE)
    with contextlib.closing(dbapi.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL").fetchone()
        writer.execute("PRAGMA busy_timeout=5000").fetchone()
        writer.execute("CREATE TABLE a (b)")
        reader = reader_of(file)
        writer.execute("INSERT INTO a VALUES (1)")
        assert not limit.apply(writer, MEGABYTE), "not yet large"

        began = time.monotonic()
        assert not limit.apply(writer, MEGABYTE + 1)
        assert time.monotonic() - began < 3, "not the five seconds that a statement waits for a lock"
        assert writer.execute("PRAGMA busy_timeout").fetchone() == (5000,)

        reader.close()
        assert not limit.apply(writer, MEGABYTE + 1), "too soon after the last try"
        at += log_limit.FIRST_PAUSE
        assert limit.apply(writer, MEGABYTE + 1)
        assert file.with_name(f"{file.name}-wal").stat().st_size == 0
        assert writer.execute("SELECT b FROM a").fetchone() == (1,)
