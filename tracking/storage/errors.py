"""The driver's errors in words that say what to do. Knows SQLite's and PostgreSQL's complaints, opens nothing."""

import contextlib
import sqlite3
from collections.abc import Generator, Iterator

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from tracking.errors import StoreBusy, StoreError, StoreUnusable


@contextlib.contextmanager
def translated() -> Generator[None]:
    """Turns the driver's errors into ours."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as exc:
        raise translate(exc) from exc


def translate(exc: BaseException) -> StoreError:
    """The driver's error in words that say what to do; never with the statement's values.

    What the error hides is looked through as well: SQLite ends the transaction itself when the disk is full, and then
    the rollback to a savepoint fails in a way that says nothing of the disk.
    """
    for one in _behind(exc):
        said = str(getattr(one, "orig", one)).lower()
        for sign, (kind, message) in _SIGNS.items():
            if sign in said:
                return kind(message)
    if isinstance(exc, sa.exc.OperationalError) and not isinstance(exc.orig, sqlite3.Error):
        return StoreBusy("the store does not answer: is the database server running and reachable?")
    return StoreError(f"the store refused a statement ({type(exc).__name__})")


def _behind(exc: BaseException | None) -> Iterator[BaseException]:
    """The error, then those that led to it, nearest first."""
    seen: set[int] = set()
    while exc is not None and id(exc) not in seen:
        seen.add(id(exc))
        yield exc
        # SQLAlchemy's cause is the driver's error that it wraps; what went on before is the context of that one.
        exc = exc.__cause__ or exc.__context__


_SIGNS: dict[str, tuple[type[StoreError], str]] = {
    "database is locked": (StoreBusy, "the database is locked by another process; it is tried again by itself"),
    "disk is full": (StoreBusy, "the disk is full: make room; work goes on by itself"),
    "no space left on device": (StoreBusy, "the disk is full: make room; work goes on by itself"),
    "readonly database": (StoreBusy, "the database file is read-only: make it and its folder writable"),
    "read-only transaction": (StoreBusy, "the database server takes no writes: is it a standby?"),
    "during recovery": (StoreBusy, "the database server takes no writes: is it a standby?"),
    "disk i/o error": (StoreBusy, "the disk reports an input/output error: check it; work goes on by itself"),
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
}
