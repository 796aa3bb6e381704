"""Time limits of reads, after which one is given up, so that none keeps a page or the store busy.

Whoever asks sets it for a block: what refreshes by itself has a moment, what a person asked for has some seconds, and
the loops, the receiver and the command line have no limit.
"""

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection

from tracking.storage.engines import translated
from tracking.storage.sqlite.driver import dbapi

REFRESHED_SECONDS = 0.5
ASKED_SECONDS = 5.0
STEPS = 10_000  # of SQLite's machine between two looks at the clock, a third of a millisecond
_LIMIT: ContextVar[float | None] = ContextVar("seconds of a read", default=None)
_ENDS = "when a read has to end"  # in a connection's `info`, by the monotonic clock


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Let each read within the block take so many seconds at the most, or any time; of two blocks the inner counts.

    A read that takes longer raises TooSlow, has changed nothing and leaves its connection as it was.
    """
    token = _LIMIT.set(seconds)
    try:
        yield
    finally:
        _LIMIT.reset(token)


@contextlib.contextmanager
def limited(connection: Connection) -> Iterator[None]:
    """Apply the limit to what is read on this connection within the block, which no transaction has begun."""
    seconds = _LIMIT.get()
    if seconds is None:
        yield
    elif connection.dialect.name == "sqlite":
        raw: Any = connection.connection.driver_connection
        _stop_at(raw, time.monotonic() + seconds)
        connection.info[_ENDS] = time.monotonic() + seconds
        try:
            yield
        finally:
            _go_on(raw)
            connection.info.pop(_ENDS, None)
    else:
        _set_timeout(connection, seconds)
        yield


@contextlib.contextmanager
def hurried(connection: Connection, seconds: float) -> Iterator[None]:
    """Let a part of a limited read take less, so that the rest has its time; without a limit it has none either.

    Raises TooSlow, after which the read can go on.
    """
    whole = _LIMIT.get()
    if whole is None:
        yield
    elif connection.dialect.name == "sqlite":
        raw: Any = connection.connection.driver_connection
        ends = connection.info[_ENDS]
        _stop_at(raw, min(ends, time.monotonic() + seconds))
        try:
            with translated():
                yield
        finally:
            _stop_at(raw, ends)
    else:
        # A statement that is given up ends its transaction, but for what came before the savepoint.
        with translated(), connection.begin_nested():
            _set_timeout(connection, min(seconds, whole))
            yield
            _set_timeout(connection, whole)


def _set_timeout(connection: Connection, seconds: float) -> None:
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}")


def _stop_at(raw: Any, ends: float) -> None:
    raw.set_progress_handler(lambda: time.monotonic() > ends, STEPS)


def _go_on(raw: Any) -> None:
    with contextlib.suppress(dbapi.Error):  # a connection that was given up meanwhile is closed
        raw.set_progress_handler(None, 0)
