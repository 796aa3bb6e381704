"""How much is stored: size of the database, number of orders, a bound for the events. Bounded reads."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from tracking.errors import StoreBusy
from tracking.orders.wording import count
from tracking.storage.database import Database
from tracking.storage.engines import file_of
from tracking.storage.tables import COUNTERS, EVENTS

MEGABYTE, GIGABYTE = 10**6, 10**9


@dataclass(frozen=True, slots=True)
class Stored:
    """The bytes of the database with its write-ahead log, how many orders it has, and how many events at the most."""

    size: int
    orders: int
    most_events: int

    def __str__(self) -> str:
        """All of it in words, the size rounded up."""
        events = count(self.most_events, "event")
        return f"{size_text(self.size)}, {count(self.orders, 'order')}, at most {events}"


def stored(database: Database) -> Stored:
    """Measure the database, and count what is in it by what is counted already.

    No row of an event is read: the highest number is the bound, as an event whose order's log left takes its own along.
    """
    with database.read() as connection:
        orders = connection.execute(select(func.sum(COUNTERS.c.orders)).where(COUNTERS.c.name == "stock")).scalar()
        events = connection.execute(select(func.max(EVENTS.c.id))).scalar()
        return Stored(_size(database, connection), int(orders or 0), int(events or 0))


def size_text(size: int) -> str:
    """A number of bytes in megabytes or gigabytes, rounded up."""
    if size < GIGABYTE:
        return f"{-(-size // MEGABYTE):,} MB"
    return f"{-(-size * 10 // GIGABYTE) / 10:,.1f} GB"


def _size(database: Database, connection: Connection) -> int:
    if (file := file_of(database.url)) is None:
        return int(connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one())
    try:
        return file.stat().st_size + database.wal_bytes()
    except OSError as exc:
        raise StoreBusy(f"the database's file cannot be measured ({exc.strerror})") from exc
