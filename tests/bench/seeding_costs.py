"""What it costs to make up orders in bulk, against storing each event of theirs by itself as live ingestion does."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from one_by_one import store_one_by_one
from search_index import catch_up
from sqlalchemy import Connection

from tracking.app.demonstration import seeding
from tracking.app.demonstration.bulk.histories import History, make_history
from tracking.orders.model import Event, Order
from tracking.storage import database
from tracking.storage import orders as order_store
from tracking.storage.database import Database

IN_BULK, ONE_BY_ONE = 3_000, 600  # orders
TURNS = 2
DAYS = 1  # as dense as a store of very many orders, whose counters are summed over as many
LEAST_RATIO = 5.0


def measure(folder: Path) -> float:
    """Print the processor time of an order both ways; returns how many times as fast it is in bulk."""
    now = datetime.now(UTC)
    turns = [
        (
            _microseconds(folder / f"in-bulk-{turn}.db", partial(_in_bulk, now=now), IN_BULK),
            _microseconds(folder / f"one-by-one-{turn}.db", partial(_one_by_one, now=now), ONE_BY_ONE),
        )
        for turn in range(TURNS)
    ]
    bulk, single = min(bulk for bulk, _ in turns), min(single for _, single in turns)
    print(
        f"orders made up: {bulk:,.0f} us of processor each in bulk, "
        f"{single:,.0f} where each event is stored by itself, x{single / bulk:.1f}"
    )
    return single / bulk


def _microseconds(file: Path, fill: Callable[[Database, int], object], orders: int) -> float:
    """The processor time of an order, in a store of its own."""
    store = database.connect(f"sqlite:///{file}")
    began = time.process_time()  # of all threads: the writer has one of its own
    fill(store, orders)
    took = time.process_time() - began
    store.close()
    return took / orders * 1e6


def _in_bulk(store: Database, orders: int, now: datetime) -> None:
    seeding.seed(store, orders, days=DAYS, rng=random.Random(1), now=now, processes=0)


def _one_by_one(store: Database, orders: int, now: datetime) -> None:
    rng = random.Random(1)
    for number, at in enumerate(seeding._placing_times(orders, DAYS, rng, now), 1):
        _store_history(store, make_history(number, at, rng, now), now)
    catch_up(store.write, now)


def _store_history(store: Database, history: History, now: datetime) -> None:
    """Store the order with its first event, then each event in a transaction of its own that finds the order first."""
    beginning = replace(history, events=history.events[:1], after=history.after[:1])
    store.write(partial(store_one_by_one, histories=[beginning], now=now))
    for after, event in zip(history.after[1:], history.events[1:], strict=True):
        store.write(partial(_append, after=after, event=event))


def _append(connection: Connection, after: Order, event: Event) -> None:
    stored = order_store.find_order(connection, po_number=after.po_number)
    assert stored is not None
    order_store.save_order(connection, stored, [after], [event])
