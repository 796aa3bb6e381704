"""Stores of many made-up orders, filled once and used again: orders, what a team did, and what was learned of them."""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from search_index import catch_up
from sqlalchemy import Connection, update

from tracking.access import Person
from tracking.app.demonstration.seeding import seed
from tracking.forecasting.forecasts import Forecasts
from tracking.orders.observations import utc_now
from tracking.polling.learner import Learner
from tracking.storage import counters, database, facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import ORDERS
from tracking.storage.team import sightings
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.sightings import AT_MOST, Gathered, Sighting

DAYS = 30


def store_of(folder: Path, orders: int, tell: Callable[[str], None]) -> Database:
    """The store of so many orders in the folder, filled where it is not there yet."""
    file, unfinished = folder / f"{orders}.db", folder / f"{orders}.db.unfinished"
    if not file.is_file():
        for left in folder.glob(f"{unfinished.name}*"):
            left.unlink()
        began = time.monotonic()
        store = database.connect(f"sqlite:///{unfinished}")
        seed(store, orders, days=DAYS, rng=random.Random(1), now=datetime.now(UTC))
        tell(f"{orders:,} orders made up, {orders / (time.monotonic() - began):,.0f} a second")
        add_team_work(store, orders // 10, datetime.now(UTC))
        store.close()
        unfinished.rename(file)
    store = database.connect(f"sqlite:///{file}")
    catch_up(store.write, datetime.now(UTC))
    asyncio.run(_learn(store))
    return store


def add_team_work(store: Database, acts: int, now: datetime) -> None:
    """What a team does in a month, with as many entries of its audit log; every tenth order is Eve's.

    The provider uses as much in any store.
    """
    used = [
        Gathered(Sighting(f"GET /v1/{number % 5}", "field", f"Place{number}", ""), 9, now, now, "99.9")
        for number in range(AT_MOST)
    ]
    store.write(lambda connection: sightings.store(connection, used, len(used), now))
    for first in range(0, acts, 1000):
        store.write(partial(_act, first=first, last=min(first + 1000, acts), of=acts, now=now))
    store.write(lambda connection: _read_balances(connection, now))
    mine = update(ORDERS).where(ORDERS.c.id % 10 == 0).values(assignee="Eve")
    store.write(lambda connection: connection.execute(mine).rowcount)


def _act(connection: Connection, first: int, last: int, of: int, now: datetime) -> None:
    """Ten people each did something, over a month."""
    kinds = (AuditKind.ACKNOWLEDGED, AuditKind.SEARCHED, AuditKind.EXPORTED, AuditKind.SNOOZED)
    for number in range(first, last):
        at, by = now - timedelta(days=DAYS) * (1 - number / of), Person(f"Ann {number % 10}")
        order_id = number + 1 if number % 4 in {0, 3} else None
        record_act(connection, by, kinds[number % 4], at, order_id=order_id, detail={"hits": number})


def _read_balances(connection: Connection, now: datetime) -> None:
    """What a month of readings leaves, an hour each."""
    for back in range(DAYS * 24, -1, -1):
        counters.record_balance(connection, 10_000 + back, 10_001 + back, now - timedelta(hours=back))
    facts.set_fact(connection, FactKey.BALANCE, {"available_minor": 10_000, "offered": True}, now)


async def _learn(store: Database) -> None:
    """What the worker's loops keep for the pages: forecasts, and which orders are late."""
    learner = Learner(store, Forecasts(), utc_now, learns=True)
    await learner.refit()
    await learner.find_late_orders()
