"""Seeding: fills an empty store with made-up orders, for a demonstration or a measurement (`tracking seed`).

Every order is a list of observations that `rules` turns into events, stored as live ones are, so that recomputing the
store agrees with it. Nothing of it can be sent: there is no outbox row for any of them. Other processes make the orders
up, group by group, while this one stores them: a SQLite store that nobody else has open in one transaction, so that a
process that dies leaves none of it, any other in one for each group.
"""

import contextlib
import functools
import gc
import multiprocessing
import os
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking.app.demonstration.bulk import transport
from tracking.app.demonstration.bulk.rows import FILLED, Group, make_group, store_group
from tracking.errors import NotAllowed
from tracking.storage.database import Database
from tracking.storage.search import indexing
from tracking.storage.tables import ORDERS

ORDERS_PER_TRANSACTION = 2000
_AHEAD = 2  # groups of each process: while one is stored, all of them have the next to make
_WORTH_A_PROCESS = 10_000  # orders: to start one takes as long as to make up a thousand
# To make an index its rows are sorted, by some SQLites in memory: half a gigabyte for a million orders' events.
_SORTED_AT_MOST = 2_000_000
_CACHE_KIBIBYTES = 262_144
_BUSY_HOURS = (1, 1, 1, 1, 1, 1, 2, 4, 8, 12, 14, 14, 12, 13, 14, 13, 11, 9, 7, 5, 4, 3, 2, 1)


def seed(
    database: Database,
    orders: int,
    *,
    days: int,
    rng: random.Random,
    now: datetime,
    progress: Callable[[int, int], None] | None = None,
    processes: int | None = None,
) -> int:
    """Fill an empty store with `orders` orders of the last `days`; returns how many events that made.

    What is made up depends on `rng` alone, not on how many `processes` do it; without them it is done in this one.
    Raises NotAllowed where the store holds orders already.
    """
    with database.read() as connection:
        _check_empty(connection)
    if processes is None:
        processes = min(os.cpu_count() or 1, 4) if orders >= _WORTH_A_PROCESS else 0
    placed = _placing_times(orders, days, rng, now)
    written = events = 0
    with _storing(database, orders, now) as store, _without_collection():
        for group in _groups(placed, rng, now, processes):
            store(group)
            written += len(group.orders)
            events += len(group.events)
            if progress is not None:
                progress(written, orders)
    return events


def _check_empty(connection: Connection) -> None:
    if connection.execute(sa.select(ORDERS.c.id).limit(1)).first() is not None:
        raise NotAllowed("the database already holds orders; made-up history goes into an empty database only")


@contextlib.contextmanager
def _storing(database: Database, orders: int, now: datetime) -> Iterator[Callable[[Group], None]]:
    """Give what stores a group: in one transaction with all others, or where that cannot be had in one of its own."""
    with database.loading(FILLED if orders <= _SORTED_AT_MOST else ()) as connection:
        if connection is not None:
            _check_empty(connection)  # nobody can add one any more
            yield functools.partial(_store_alone, connection, now=now)
            return
    with _large_cache(database):
        yield lambda group: database.write(functools.partial(_store, group=group, now=now))


def _store_alone(connection: Connection, group: Group, now: datetime) -> None:
    store_group(connection, group)
    indexing.index_all(connection, now)  # while other processes make the next: at the end they would wait


def _store(connection: Connection, group: Group, now: datetime) -> None:
    store_group(connection, group)
    while indexing.step(connection, now):  # nobody else waits for the store
        pass


def _placing_times(orders: int, days: int, rng: random.Random, now: datetime) -> list[datetime]:
    """Draw when the orders were placed, oldest first: busier by day than by night."""
    hours = range(24 * days)
    weights = [_BUSY_HOURS[(now - timedelta(hours=hour)).hour] for hour in hours]
    chosen = rng.choices(hours, weights, k=orders)
    return sorted(now - timedelta(seconds=hour * 3600 + rng.uniform(1, 3600)) for hour in chosen)


def _groups(placed: Sequence[datetime], rng: random.Random, now: datetime, processes: int) -> Iterator[Group]:
    """Make the groups in order, each from a seed of its own; a few ahead where other processes make them."""
    tasks = (
        (begin + 1, placed[begin : begin + ORDERS_PER_TRANSACTION], rng.getrandbits(64), now)
        for begin in range(0, len(placed), ORDERS_PER_TRANSACTION)
    )
    if not processes:
        yield from (make_group(*task) for task in tasks)
        return
    # Not forked: the writer's thread and its connection would be copied as they are at that moment.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=gc.disable)
    ahead: deque[Future[bytes]] = deque()
    try:
        for task in tasks:
            ahead.append(pool.submit(transport.make_packed, *task))
            if len(ahead) > _AHEAD * processes:
                yield transport.unpack(ahead.popleft().result())
        while ahead:
            yield transport.unpack(ahead.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Collect no garbage meanwhile: what is made and stored has no circles, and each group goes as a whole."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextlib.contextmanager
def _large_cache(database: Database) -> Iterator[None]:
    """Let SQLite keep what a large transaction changes in memory: else each page leaves for the log many times."""
    if database.dialect != "sqlite":
        yield
        return
    before = database.write(functools.partial(_swap_cache_size, size=-_CACHE_KIBIBYTES))
    try:
        yield
    finally:
        database.write(functools.partial(_swap_cache_size, size=before))


def _swap_cache_size(connection: Connection, size: int) -> int:
    before: int = connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
    connection.exec_driver_sql(f"PRAGMA cache_size={size}")
    return before
