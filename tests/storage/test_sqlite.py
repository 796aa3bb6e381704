"""The one driver of SQLite, and the journal a store is in: chosen by the version, never mixed between processes."""

import contextlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import request
from packaging.requirements import Requirement
from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import StoreBusy, StoreUnusable
from tracking.storage import database, engines, facts
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.sqlite import driver, journal, rewriting
from tracking.storage.tables import FACTS

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from tracking.storage.sqlite.driver import dbapi
connection = dbapi.connect(sys.argv[1], isolation_level=None)
mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
connection.execute("SELECT count(*) FROM orders").fetchone()
print(mode, flush=True)
sys.stdin.read()
connection.close()
"""
# As where no pysqlite3 is installed, and as if the standard library's SQLite were affected on every machine.
AFFECTED = """
import sys
sys.modules["pysqlite3"] = None
from tracking.storage.sqlite import journal
journal.keeps_wal = lambda: False
"""
COMMAND = f"{AFFECTED}\nfrom tracking.__main__ import main\nmain()"


def module(name: str, version: tuple[int, int, int]) -> ModuleType:
    made = ModuleType(name)
    made.sqlite_version_info = version  # type: ignore[attr-defined]
    return made


@pytest.fixture
def affected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "keeps_wal", lambda: False)


@contextlib.contextmanager
def held_in_wal(file: Path) -> Iterator[None]:
    """Another process brings the store into WAL mode and keeps it open."""
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"wal\n"
        try:
            yield
        finally:
            holder.communicate()


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Database]:
    store = database.connect(f"sqlite:///{file}")
    try:
        yield store
    finally:
        store.close()


def pragma(store: Database, name: str) -> object:
    return store.write(lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar())


def place(store: Database, now: datetime, *po_numbers: str) -> None:
    def job(connection: Connection) -> None:
        for po_number in po_numbers:
            ingest.place(connection, request(po_number), source="form", actor=None, now=now)

    store.write(job)


def with_affected(program: str, *arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process that has the standard library's driver, taken for affected."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("TRACKING_")}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=known | {"TRACKING_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def file(tmp_path: Path, migrated_file: Path) -> Path:
    place = tmp_path / "tracking.db"
    place.write_bytes(migrated_file.read_bytes())
    return place


# The driver


@pytest.mark.parametrize(
    ("standard", "other", "chosen"),
    [
        ((3, 40, 1), None, "standard"),
        ((3, 40, 1), (3, 53, 4), "other"),
        ((3, 53, 4), (3, 53, 4), "standard"),
        ((3, 54, 0), (3, 53, 4), "standard"),
        ((3, 44, 6), (3, 51, 2), "standard"),
        ((3, 51, 2), (3, 50, 7), "other"),
        ((3, 40, 1), (3, 51, 2), "other"),
    ],
)
def test_the_safe_driver_is_chosen_and_of_two_such_the_newer(
    standard: tuple[int, int, int], other: tuple[int, int, int] | None, chosen: str
) -> None:
    second = module("other", other) if other else None
    assert driver.better(module("standard", standard), second).__name__ == chosen


def test_every_engine_of_a_process_has_the_one_driver(sqlite_url: str, tmp_path: Path) -> None:
    made = [engines.make_engine(sqlite_url, writes=writes) for writes in (True, False)]
    made.append(engines.make_copy_engine(tmp_path / "copy.db"))
    assert [engine.dialect.loaded_dbapi.__name__ for engine in made] == [driver.dbapi.__name__] * 3


def test_what_has_no_value_is_bound_as_none_without_a_search() -> None:
    assert [adapted for adapted, _ in driver.dbapi.adapters].count(type(None)) == 1
    with contextlib.closing(driver.dbapi.connect(":memory:")) as connection:
        assert connection.execute("SELECT ?, ? IS NULL, typeof(?)", (None, None, None)).fetchone() == (None, 1, "null")


@pytest.mark.parametrize("text", ["{}", '{"a": [1, 2.5, "ü\\n"]}', ' {"a": null}', "[] ", "17", '"x"', "NaN"])
def test_json_is_decoded_as_the_standard_library_decodes_it(text: str) -> None:
    assert repr(engines.decode_json(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", "{", "{} {}", "nothing"])
def test_what_is_no_json_is_no_value(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        engines.decode_json(text)


def test_pysqlite3_is_asked_for_only_where_it_has_wheels() -> None:
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [marker] = [each.marker for each in map(Requirement, names) if each.name == "pysqlite3"]
    assert marker is not None

    def asked(system: str, machine: str, python: str = "3.11", implementation: str = "cpython") -> bool:
        named = {"sys_platform": system, "platform_machine": machine, "python_version": python}
        return marker.evaluate({**named, "implementation_name": implementation})

    wheels = {("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64")}
    none = {("linux", "aarch64"), ("linux", "armv7l"), ("darwin", "x86_64"), ("win32", "ARM64")}
    assert {each for each in wheels | none if asked(*each)} == wheels
    assert [python for python in ("3.11", "3.14", "3.15") if asked("linux", "x86_64", python)] == ["3.11", "3.14"]
    assert not asked("linux", "x86_64", implementation="pypy")


# The journal


def test_an_old_store_goes_to_the_write_ahead_log_and_back_with_all_it_holds(
    file: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (safe, mode, synchronous) in enumerate(
        [(False, "delete", 3), (True, "wal", 2), (False, "delete", 3), (True, "wal", 2)]
    ):
        monkeypatch.setattr(journal, "keeps_wal", lambda safe=safe: safe)
        with opened(file) as store:
            assert (pragma(store, "journal_mode"), pragma(store, "synchronous")) == (mode, synchronous)
            assert store.description()["journal_mode"] == mode
            place(store, now, f"po-{number}")
            with store.read() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM orders").scalar() == number + 1
            assert verify.verify(store) == []
        assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_store_in_wal_that_another_process_has_open_is_refused(file: Path, affected: None) -> None:
    with (
        held_in_wal(file),
        pytest.raises(StoreUnusable, match=r"another process uses the database in WAL mode.*install pysqlite3"),
    ):
        database.connect(f"sqlite:///{file}")
    with opened(file) as store:
        assert pragma(store, "journal_mode") == "delete"


def test_an_affected_console_stops_while_another_process_has_its_store_in_wal(
    file: Path, affected: None, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PROBE_SECONDS", 0.01)
    with opened(file) as store:
        place(store, now, "before")
        with store.read() as connection:
            facts.get_fact(connection, "a")  # a connection that stays open in the pool
        with held_in_wal(file):
            for _ in range(2):
                with pytest.raises(StoreUnusable, match="WAL mode"), store.read() as connection:
                    facts.get_fact(connection, "a")
                with pytest.raises(StoreUnusable, match="WAL mode"):
                    place(store, now, "meanwhile")
            assert "WAL mode" in (store.trouble or "")
        place(store, now, "after")
        assert pragma(store, "journal_mode") == "delete"
        assert verify.verify(store) == []


def test_where_no_memory_can_be_shared_each_commit_flushes_the_folder_too(file: Path) -> None:
    with contextlib.closing(driver.dbapi.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    store = Database(f"sqlite:///file:{file}?vfs=unix-dotfile&uri=true")
    assert (pragma(store, "journal_mode"), pragma(store, "synchronous")) == ("delete", 3)
    store.close()


# Rewriting


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each store is too large to be rewritten in memory."""
    monkeypatch.setattr(rewriting, "LARGE", 0)


def with_deleted_text(store: Database, now: datetime) -> None:
    store.write(lambda connection: facts.set_fact(connection, "big", {"text": "canary-4711" * 20_000}, now))
    store.write(lambda connection: connection.execute(sa.delete(FACTS)))


def test_a_large_store_is_rewritten_through_a_file_that_is_gone_afterwards(
    file: Path, large: None, now: datetime
) -> None:
    (file.parent / "tracking.db.rewritten").write_text("of a process that died")
    with opened(file) as store:
        place(store, now, "a")
        with_deleted_text(store, now)
        before = pragma(store, "page_count")
        store.rewrite()
        assert pragma(store, "page_count") < before  # type: ignore[operator]  # numbers
        place(store, now, "b")
        assert verify.verify(store) == []
        assert pragma(store, "journal_mode") == ("wal" if journal.keeps_wal() else "delete")
    assert b"canary-4711" not in file.read_bytes()
    assert [path.name for path in file.parent.iterdir() if driver.NAME == "pysqlite3"] in ([file.name], [])


@pytest.mark.skipif(driver.NAME != "pysqlite3", reason="the standard library's SQLite has files for what is temporary")
@pytest.mark.parametrize("times", [2, 100])
def test_what_is_written_while_a_store_is_rewritten_is_never_lost(
    file: Path, large: None, now: datetime, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    check, written = rewriting._unless_written, 0

    def written_before(*arguments: Any) -> Any:
        nonlocal written
        if written < times:
            place(store, now, f"meanwhile-{written}")
            written += 1
        return check(*arguments)

    monkeypatch.setattr(rewriting, "_unless_written", written_before)
    with opened(file) as store:
        place(store, now, "a")
        with pytest.raises(StoreBusy, match="written all the time") if times > 5 else contextlib.nullcontext():
            store.rewrite()
        with store.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM orders").scalar() == written + 1
        assert written == min(times, rewriting.TRIES)
        assert verify.verify(store) == []
    assert [path.name for path in file.parent.iterdir()] == [file.name]


# The standard library's driver, in a process of its own

EVERYTHING = f"""
{AFFECTED}
from pathlib import Path
from datetime import UTC, datetime
from tracking.errors import StoreBusy
from tracking.storage import database, facts
from tracking.storage.maintenance import backup, verify

url, copy, now = sys.argv[1], Path(sys.argv[2]), datetime.now(UTC)
store = database.connect(url)
print(store.description()["driver"])
made = backup.backup(url, copy, now)
print(made.orders)
print(store.write(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode").scalar()))
pages = store.write(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one())
store.write(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={{pages + 1}}"))
try:
    store.write(lambda connection: facts.set_fact(connection, "big", {{"text": "x" * 100_000}}, now))
except StoreBusy as exc:
    print(exc)
store.rewrite()
print(verify.verify(store))
store.close()
for other in (f"sqlite:///{{copy}}", f"sqlite:///{{copy}}.new"):
    restored = database.connect(other)
    print(verify.verify(restored))
    restored.close()
"""


def test_migrations_backup_errors_rewriting_and_verify_work_with_the_standard_librarys_driver_too(
    file: Path, tmp_path: Path, now: datetime
) -> None:
    with opened(file) as store:
        place(store, now, "a", "b")
    ran = with_affected(EVERYTHING, f"sqlite:///{file}", str(tmp_path / "copy.db"), url=f"sqlite:///{file}")
    full = "the disk is full: make room"
    assert ran.stdout.splitlines() == ["sqlite3", "2", "delete", full, "[]", "[]", "[]"], ran.stderr


def test_an_affected_command_beside_a_console_in_wal_says_what_to_do(
    file: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "keeps_wal", lambda: True)
    with opened(file) as store:
        place(store, now, "a")
        refused = with_affected(COMMAND, "orders", "--json", url=store.url)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "install pysqlite3 here as well, or stop the other process" in refused.stderr
        assert "Traceback" not in refused.stderr
        place(store, now, "b")
