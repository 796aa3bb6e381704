"""Limit of SQLite's write-ahead log: begins it anew where readers that overlap would let it grow for ever.

SQLite begins the log anew only in a moment without readers of it. Where many read, each for a moment, there may be none
for hours. So once it is large the writer waits a little for those that are reading now; those that begin meanwhile need
the log no more. A reader that stays for longer is not waited for: it is tried again later, ever less often.
"""

import time
from collections.abc import Callable

from tracking.storage.sqlite.driver import dbapi

LARGE = 64 * 2**20
LONGEST_WAIT_MILLISECONDS = 500
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


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
