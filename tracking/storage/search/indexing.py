"""Indexing: makes the texts of orders that have none yet, and adds texts to SQLite's index. Steps of a job.

Each step is small and stores how far it came in its own transaction, so that it may be killed, or done by two workers.
SQLite's index follows the texts in groups: for each order by itself it would cost more than the rest of the order. What
is not in it yet is looked through directly. PostgreSQL keeps its index itself.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, text

from tracking.storage.search import progress
from tracking.storage.search.tables import INDEX, SEARCH_TEXTS
from tracking.storage.search.texts import INSERT_TEXTS, stored_rows
from tracking.storage.tables import ORDERS

GROUP = 300  # texts that are indexed together; fewer wait
ORDERS_AT_ONCE = 100
LINES_AT_ONCE = 2000
_WAITING = (
    select(SEARCH_TEXTS.c.id)
    .where(SEARCH_TEXTS.c.id > bindparam("indexed"))
    .order_by(SEARCH_TEXTS.c.id)
    .limit(bindparam("at_most"))
)
_ENTER_INDEX = text(
    f"INSERT INTO {INDEX}(rowid, words, people)"  # noqa: S608 - a name from `tables`  # nosec B608
    " SELECT id, words, people FROM search_texts WHERE id BETWEEN :first AND :last ORDER BY id"
)
_OLDER = (
    select(ORDERS.c.id, ORDERS.c.line_count)
    .where(ORDERS.c.id < bindparam("older"))
    .order_by(ORDERS.c.id.desc())
    .limit(ORDERS_AT_ONCE)
)
# An erasure from one of these orders waits for this step, and so finds the new texts.
_LOCK = (
    select(ORDERS.c.id)
    .where(ORDERS.c.id.between(bindparam("first"), bindparam("last")))
    .order_by(ORDERS.c.id)
    .with_for_update()
)


def has_step(connection: Connection) -> bool:
    """Tell whether there is a step to do."""
    reached = progress.load(connection)
    return bool(reached.older) or len(_waiting(connection, reached)) == GROUP


def step(connection: Connection, now: datetime) -> bool:
    """Do the next small step; returns whether there was one to do."""
    reached = progress.load(connection, for_update=True)
    return _index_group(connection, reached, now) or _add_older(connection, reached, now)


def _waiting(connection: Connection, reached: progress.Progress) -> list[int]:
    if connection.dialect.name != "sqlite":
        return []
    return list(connection.execute(_WAITING, {"indexed": reached.indexed, "at_most": GROUP}).scalars())


def _index_group(connection: Connection, reached: progress.Progress, now: datetime) -> bool:
    waiting = _waiting(connection, reached)
    if len(waiting) < GROUP:
        return False
    connection.execute(_ENTER_INDEX, {"first": waiting[0], "last": waiting[-1]})
    progress.store(connection, replace(reached, indexed=waiting[-1]), now)
    return True


def index_all(connection: Connection, now: datetime) -> None:
    """Index all texts that wait, in one step: where a store is filled that nobody else sees meanwhile."""
    reached = progress.load(connection, for_update=True)
    last = connection.execute(select(func.max(SEARCH_TEXTS.c.id))).scalar() or 0
    if last > reached.indexed and connection.dialect.name == "sqlite":
        connection.execute(_ENTER_INDEX, {"first": reached.indexed + 1, "last": last})
        progress.store(connection, replace(reached, indexed=last), now)


def _add_older(connection: Connection, reached: progress.Progress, now: datetime) -> bool:
    """Make the texts of the next older orders, under ids below all existing ones."""
    if not reached.older:
        return False
    first, lines = 0, 0
    for first, line_count in connection.execute(_OLDER, {"older": reached.older}):  # noqa: B007 - where it stops
        lines += line_count
        if lines > LINES_AT_ONCE:
            break
    if first:
        connection.execute(_LOCK, {"first": first, "last": reached.older - 1})
        rows = stored_rows(connection, first, reached.older - 1)
        lowest = min(connection.execute(select(func.min(SEARCH_TEXTS.c.id))).scalar() or 1, 1) - len(rows)
        connection.execute(INSERT_TEXTS, [{"id": number, **row} for number, row in enumerate(rows, lowest)])
        if connection.dialect.name == "sqlite":
            connection.execute(_ENTER_INDEX, {"first": lowest, "last": lowest + len(rows) - 1})
    progress.store(connection, replace(reached, older=first), now)
    return True


def forget_deleted(connection: Connection) -> None:
    """Merge SQLite's index, which until then still holds the letters of deleted texts."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"INSERT INTO {INDEX}({INDEX}) VALUES ('optimize')")  # noqa: S608 - as above  # nosec B608
