"""Limits SQLite's write-ahead log: restarts it where overlapping readers would let it grow for ever.

SQLite begins the log anew only in a moment without readers of it. Where many read, each for a moment, there may be none
for hours. So once it is large the writer waits a little for those that are reading now; those that begin meanwhile need
the log no more. A reader that stays for longer is not waited for: it is tried again later, ever less often.
"""

import contextlib
import time
from collections.abc import Callable

from tracking.storage.sqlite.driver import dbapi

LARGE = 64 * 2**20
LONGEST_WAIT_MILLISECONDS = 500
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
PAGES_AT_MOST = 4000  # then a commit writes the log into the database itself
ROWS_APART, BYTES_APART = 400, 4 * 2**20  # either is some 1,000 pages of the log


class Checkpoints:
    """Writes the log into the database (a checkpoint) between two transactions, so that no commit waits for it."""

    def __init__(self) -> None:
        self._rows = self._bytes = 0  # at the last checkpoint: rows changed until then, bytes of the log

    @staticmethod
    def set_up(connection: dbapi.Connection, _record: object = None) -> None:
        """Turn automatic checkpoints off, except after very large transactions. Call it with each new connection."""
        connection.execute(f"PRAGMA wal_autocheckpoint={PAGES_AT_MOST}").fetchall()

    def apply(self, connection: dbapi.Connection, log_bytes: int) -> bool:
        """Checkpoint the log, as far as no reader needs it, once much was committed; returns whether it did.

        That is ROWS_APART rows, or that the log grew by BYTES_APART: it is written from its beginning again later.
        """
        changed = connection.total_changes
        if 0 <= changed - self._rows < ROWS_APART and log_bytes - self._bytes < BYTES_APART:
            return False
        self._rows, self._bytes = changed, log_bytes
        with contextlib.suppress(dbapi.Error):  # the next one does the same, and no row depends on it
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return True


class LogLimit:
    """Keeps the write-ahead log of one writer below `large` bytes (LARGE) and what was written since it last tried."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, large: int | None = None) -> None:
        self._monotonic, self._large = monotonic, LARGE if large is None else large
        self._pause, self._not_before = FIRST_PAUSE, 0.0

    def apply(self, connection: dbapi.Connection, log_bytes: int) -> bool:
        """Begin the log anew if it is large; returns whether that was done. Call it between two transactions.

        The writer waits for readers half a second at the most. What fails is tried again: no row depends on it.
        """
        if log_bytes <= self._large or self._monotonic() < self._not_before:
            return False
        [(timeout,)] = connection.execute("PRAGMA busy_timeout").fetchall()
        connection.execute(f"PRAGMA busy_timeout={LONGEST_WAIT_MILLISECONDS}").fetchall()
        try:
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except dbapi.Error:
            busy = True
        finally:
            connection.execute(f"PRAGMA busy_timeout={timeout}").fetchall()
        self._not_before = self._monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE) if busy else FIRST_PAUSE
        return not busy
