"""The ways to keep a store that are put to the test: the product's two, and wrong ones that must be seen to lose."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tracking import files
from tracking.storage import engines
from tracking.storage.sqlite import journal
from tracking.storage.sqlite.driver import dbapi


@dataclass(frozen=True, slots=True)
class Durability:
    """How a store is kept.

    Args:
        name: what it is called.
        wal: the branch that the product takes, whatever SQLite is linked here.
        pragmas: planted in place of the product's own; empty: the product's own are used.
        flushes: whether folders are flushed as the product does, so that new names in them stay.
    """

    name: str
    wal: bool
    pragmas: tuple[str, ...] = ()
    flushes: bool = True

    @property
    def ours(self) -> bool:
        """Whether the product keeps its store so."""
        return not self.pragmas and self.flushes

    def plant(self) -> None:
        """Makes the product in this process keep its stores so, to its end."""
        journal.keeps_wal = self._branch
        if self.pragmas:
            engines._set_up_writer = self._set_up
        if not self.flushes:
            files.flush_folder = lambda folder: None

    @contextlib.contextmanager
    def mended(self) -> Iterator[None]:
        """Meanwhile the product in this process takes the branch, with its own settings."""
        before = journal.keeps_wal
        journal.keeps_wal = self._branch
        try:
            yield
        finally:
            journal.keeps_wal = before

    def _branch(self) -> bool:
        return self.wal

    def _set_up(self, connection: dbapi.Connection, _record: object) -> None:
        for pragma in (f"busy_timeout={engines.BUSY_MILLISECONDS}", *self.pragmas, "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")


def _planted(journal: str, synchronous: str) -> Durability:
    pragmas = (f"journal_mode={journal}", f"synchronous={synchronous}")
    return Durability(f"{journal}+{synchronous}", journal == "WAL", pragmas)


OURS = (Durability("ours: DELETE+EXTRA", wal=False), Durability("ours: WAL+FULL", wal=True))
PLANTED = (
    _planted("WAL", "NORMAL"),
    _planted("WAL", "OFF"),
    _planted("DELETE", "FULL"),
    _planted("DELETE", "NORMAL"),
    _planted("DELETE", "OFF"),
    _planted("MEMORY", "EXTRA"),
    _planted("OFF", "EXTRA"),
    Durability("DELETE+EXTRA, folders unflushed", wal=False, flushes=False),
)
DURABILITIES = {each.name: each for each in (*OURS, *PLANTED)}
