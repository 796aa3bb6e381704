"""Checks of the database: does it exist, at which revision, is it writable, is there room on the disk. Makes none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from tracking.app.checks.results import CheckResult, Outcome
from tracking.settings.values import Settings
from tracking.storage import database, engines
from tracking.storage.engines import file_of
from tracking.storage.migrations import HEAD
from tracking.storage.sqlite import driver, journal

NAME = "database"
LOCK_MILLISECONDS = 1_500  # how long a lock is waited for: a worker holds it for parts of a second
LITTLE_SPACE, TOO_LITTLE_SPACE = 1024**3, 100 * 1024**2  # bytes
_STATE_OF_SERVER = sa.text(
    "SELECT current_setting('server_version'), pg_is_in_recovery(),"
    " has_schema_privilege(current_user, current_schema(), 'CREATE')"
)
_MAY_WRITE = sa.text("SELECT has_table_privilege(current_user, 'orders', 'INSERT, UPDATE')")


def check_store(settings: Settings, _folder: Path) -> Iterator[CheckResult]:
    """Check the database of the settings. Raises SettingsError, StoreUnusable and StoreBusy where it cannot be read."""
    file = file_of(settings.database_url)
    if file is None:
        yield from _check_server(settings.database_url)
        yield CheckResult("disk", Outcome.UNKNOWN, "how much room the database server has is not seen from here")
        return
    database.check_place(file)
    yield _check_file(settings.database_url, file)
    yield _check_writable(file)
    yield check_space(file.parent)
    yield from _check_lock(file)


def _check_file(url: str, file: Path) -> CheckResult:
    engine = f"{driver.description()}, {'write-ahead log' if journal.keeps_wal() else 'rollback journal'}"
    if not file.exists():
        return CheckResult(NAME, Outcome.OK, f"there is none yet: the first start makes {file.absolute()} ({engine})")
    revision = engines.revision(url)
    engines.check_revision(revision)
    where = f"{file.absolute()} ({engine})"
    if revision is None:
        return CheckResult(NAME, Outcome.OK, f"{where} is empty: the first start makes its tables")
    if revision == HEAD:
        return CheckResult(NAME, Outcome.OK, f"{where} is at revision {revision}, as this version needs")
    text = f"{where} is at revision {revision}; the next start of the console migrates it to {HEAD}"
    return CheckResult(NAME, Outcome.WARNING, text, "run tracking backup FILE with the earlier version before")


def _check_writable(file: Path) -> CheckResult:
    name = "database writes"
    folder = next(each for each in file.absolute().parents if each.exists())
    places = [place for place in (file, folder) if place.exists() and not os.access(place, os.W_OK)]
    if not places:
        return CheckResult(name, Outcome.OK, f"this user may write in {folder}")
    text = f"this user may not write {places[0]}"
    return CheckResult(name, Outcome.FAILURE, text, "make the file and its folder writable, or name another file")


def _check_lock(file: Path) -> Iterator[CheckResult]:
    """Try the write lock for a moment, and say where another process has it; nothing is written, nothing made."""
    if not file.is_file():
        return
    address = f"{file.absolute().as_uri()}?mode=rw"
    with engines.translated(), closing(driver.dbapi.connect(address, uri=True, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA busy_timeout={LOCK_MILLISECONDS}")
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except driver.dbapi.OperationalError as exc:
            if "locked" not in str(exc):
                raise
            text = f"locked by another process, for longer than {LOCK_MILLISECONDS / 1000:g} s"
            yield CheckResult("database lock", Outcome.WARNING, text, "if it stays so, find and end what holds it")


def check_space(folder: Path, name: str = "disk") -> CheckResult:
    """Check how much room is left where the folder is, or will be."""
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 1024**3:,.1f} GB free at {place}"
    if free >= LITTLE_SPACE:
        return CheckResult(name, Outcome.OK, text)
    outcome = Outcome.FAILURE if free < TOO_LITTLE_SPACE else Outcome.WARNING
    return CheckResult(name, outcome, text, "make room, or name another place; a full disk holds up all work")


def _check_server(url: str) -> Iterator[CheckResult]:
    engines.check_server_address(url)
    revision = engines.revision(url)
    engines.check_revision(revision)
    engine = engines.make_engine(url, writes=False)
    try:
        with engines.translated(), engine.connect() as connection:
            version, is_standby, may_create = connection.execute(_STATE_OF_SERVER).one()
            may_write = revision is not None and connection.execute(_MAY_WRITE).scalar()
    finally:
        engine.dispose()
    where = f"PostgreSQL {version} answers"
    if revision == HEAD:
        yield CheckResult(NAME, Outcome.OK, f"{where}; revision {revision}, as this version needs")
    else:
        what = f"is at revision {revision}" if revision else "holds no tables yet"
        text = f"{where}; the database {what}, this version needs {HEAD}"
        yield CheckResult(NAME, Outcome.FAILURE, text, "stop all processes that use it, and run tracking migrate")
    if is_standby:
        text, advice = "the server is a standby, which takes no writes", "name the primary server"
        yield CheckResult("database writes", Outcome.FAILURE, text, advice)
    elif may_write or (revision != HEAD and may_create):
        yield CheckResult("database writes", Outcome.OK, "this role may write")
    else:
        text, advice = "this role may not write there", "grant it CREATE on the schema, and the tables' ownership"
        yield CheckResult("database writes", Outcome.FAILURE, text, advice)
