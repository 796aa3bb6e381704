import contextlib
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from fakes import request
from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import NotAllowed, StoreBusy, StoreUnusable
from tracking.storage import database, engines
from tracking.storage.database import Database
from tracking.storage.maintenance import backup, restore_mark, verify
from tracking.storage.maintenance.backup import Backup
from tracking.storage.migrations import HEAD
from tracking.storage.sqlite import journal
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.tables import EVENTS, ORDERS


def place(store: Database, now: datetime, *po_numbers: str) -> None:
    def job(connection: Connection) -> None:
        for po_number in po_numbers:
            ingest.place(connection, request(po_number), source="form", actor=None, now=now)

    store.write(job)


@pytest.fixture(params=[True, False], ids=["wal", "journal"])
def filled(
    request: pytest.FixtureRequest,
    migrated_file: Path,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    now: datetime,
) -> Iterator[Database]:
    """A store of a hundred orders in each journal mode, copied two pages at a time."""
    monkeypatch.setattr(journal, "keeps_wal", lambda: request.param)
    monkeypatch.setattr(backup, "PAGES", 2)
    shutil.copy(migrated_file, sqlite_url.removeprefix("sqlite:///"))
    store = database.connect(sqlite_url)
    place(store, now, *(f"po-{number:03d}" for number in range(100)))
    yield store
    store.close()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Database]:
    store = database.connect(f"sqlite:///{path}")
    try:
        yield store
    finally:
        store.close()


def counts(store: Database) -> tuple[int, int]:
    with store.read() as connection:
        found = [
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in (ORDERS, EVENTS)
        ]
    return found[0], found[1]


def copied(store: Database, target: Path, now: datetime, between: Callable[[int], None] = lambda _step: None) -> Backup:
    """The backup, with something done between its steps."""
    steps = iter(range(10_000))
    return backup.backup(store.url, target, now, lambda _done, _total: between(next(steps)))


def test_a_backup_is_whole_private_and_says_what_it_holds(filled: Database, tmp_path: Path, now: datetime) -> None:
    target = tmp_path / "copies" / "monday.db"
    target.parent.mkdir()
    made = copied(filled, target, now)
    assert (made.revision, made.orders, made.events, made.taken_at) == (HEAD, 100, 100, now)
    assert made.bytes == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(target.parent.iterdir()) == [target]
    with opened(target) as copy:
        assert counts(copy) == (100, 100)
        assert verify.verify(copy) == []


def test_writers_are_not_held_up_and_the_copy_is_of_one_moment(
    filled: Database, tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_MILLISECONDS", 0)
    written = 0

    def write(step: int) -> None:
        nonlocal written
        if step < 5:
            place(filled, now, f"meanwhile-{step}")
            written += 1

    made = copied(filled, tmp_path / "copy.db", now, write)
    assert written == 5
    assert counts(filled) == (105, 105)
    with opened(tmp_path / "copy.db") as copy:
        assert counts(copy) == (made.orders, made.events)
        assert 100 <= made.orders <= 105
        assert verify.verify(copy) == []


def test_a_backup_comes_to_its_end_where_somebody_writes_at_every_step(
    filled: Database, tmp_path: Path, now: datetime
) -> None:
    steps = []

    def write(step: int) -> None:
        steps.append(step)
        if step < 200:
            place(filled, now, f"meanwhile-{step:03d}")

    made = copied(filled, tmp_path / "copy.db", now, write)
    assert len(steps) < 200
    with opened(tmp_path / "copy.db") as copy:
        assert counts(copy) == (made.orders, made.events)
        assert verify.verify(copy) == []


def test_only_the_copy_is_marked(filled: Database, tmp_path: Path, now: datetime) -> None:
    copied(filled, tmp_path / "copy.db", now)
    with filled.read() as connection:
        assert restore_mark.find_mark(connection) is None
    with opened(tmp_path / "copy.db") as copy, copy.read() as connection:
        assert restore_mark.find_mark(connection) == restore_mark.RestoreMark(now, 100)


@pytest.mark.parametrize("end", ["", "-journal", "-wal"])
def test_a_file_that_exists_is_left_alone(filled: Database, tmp_path: Path, now: datetime, end: str) -> None:
    target = tmp_path / "copy.db"
    taken = tmp_path / f"copy.db{end}"
    taken.write_text("mine")
    with pytest.raises(NotAllowed, match="exists: choose another name"):
        copied(filled, target, now)
    assert taken.read_text() == "mine"
    assert sorted(tmp_path.glob("*copy.db*")) == [taken]


def test_a_store_of_an_earlier_version_is_copied_as_it_is(filled: Database, tmp_path: Path, now: datetime) -> None:
    filled.write(lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'")))
    assert copied(filled, tmp_path / "copy.db", now).revision == "0000"
    assert engines.revision(filled.url) == "0000"
    assert engines.revision(f"sqlite:///{tmp_path}/copy.db") == "0000"


def test_a_store_that_stays_locked_is_told_and_leaves_nothing(
    filled: Database, tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "LOCKED_SECONDS", 0.0)
    monkeypatch.setattr(engines, "BUSY_MILLISECONDS", 10)
    file = engines.file_of(filled.url)
    assert file is not None
    filled.close()
    with contextlib.closing(dbapi.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy, match="locked by another process"):
            backup.backup(filled.url, tmp_path / "copy.db", now)
    assert not list(tmp_path.glob("*copy.db*"))


def test_a_damaged_store_makes_no_backup(filled: Database, tmp_path: Path, now: datetime) -> None:
    filled.close()
    file = tmp_path / "tracking.db"
    whole = bytearray(file.read_bytes())
    middle = len(whole) // 2 // 4096 * 4096
    whole[middle : len(whole) - 4096] = b"\xff" * (len(whole) - 4096 - middle)
    file.write_bytes(whole)
    with pytest.raises(StoreUnusable, match="damaged"):
        backup.backup(filled.url, tmp_path / "copy.db", now)
    assert not list(tmp_path.glob("*copy.db*"))


def test_without_a_store_there_is_nothing_to_copy(tmp_path: Path, now: datetime) -> None:
    with pytest.raises(StoreUnusable, match="there is no database"):
        backup.backup(f"sqlite:///{tmp_path}/none.db", tmp_path / "copy.db", now)
    assert list(tmp_path.iterdir()) == []


def test_postgresql_has_a_tool_of_its_own(tmp_path: Path, now: datetime) -> None:
    with pytest.raises(NotAllowed, match="pg_dump"):
        backup.backup("postgresql+psycopg://nobody@/none", tmp_path / "copy.db", now)
