"""The running console, measured: `tracking worker` against `tracking sandbox`, real processes over HTTP.

What it did is read from its store and held against the provider's own account of each order. The same history can
then be replayed (`tracking.polling.backtest.engine`). Orders are committed as the form commits them, at random with a
fixed seed, so each is sent by the console and costs one of its calls. No webhook is asked for: looks alone find what
has finished.
"""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from processes.children import Child, nursery, provider_settings, truth, until
from processes.over_http import fact, rows, store_of, submit

from tracking.forecasting.classes import class_of
from tracking.orders.model import OrderRequest
from tracking.polling.backtest.model import History, PollingPlan
from tracking.storage.database import Database
from tracking.storage.tables import EXCHANGES, ORDERS
from tracking.submissions.requests import read_request

Array = npt.NDArray[np.float64]
CLASSES = (("DigitalDelivery", 1), ("Links", 8), ("Codes", 32), ("DigitalDelivery", 128))  # the most units of each
SHARES = (0.4, 0.3, 0.2, 0.1)  # small orders are the most
SPEED = 4.0  # orders take 6 s, 8 s, 17 s and 53 s (medians), the slowest some minutes
ORDERS_A_SECOND = 3.5
RATE = 10.0
FLOOR, CEILING, DISCOVER_EVERY = 1.0, 900.0, 30.0
LONGEST = 420.0


@dataclass(frozen=True)
class Measured:
    """What the console did.

    Attributes:
        history: what happened at the provider, in seconds since 1970.
        delays: from when each order was finished until the console knew, in seconds; shape (orders,).
        singles: looks at one order.
        pages: list pages for orders that were known to be open.
        discoveries: list pages of discovery.
        others: all further calls: orders sent, the token, the catalogue, the balance.
        takes: the seconds that a look took (mean).
        commit: the seconds that the store took to commit an order (median).
    """

    history: History
    delays: Array
    singles: int
    pages: int
    discoveries: int
    others: int
    takes: float
    commit: float

    @property
    def calls(self) -> int:
        """Those that look at orders, from when the first was placed until the last was seen finished."""
        return self.singles + self.pages + self.discoveries

    @property
    def plan(self) -> PollingPlan:
        """The settings of the worker and how fast the provider answered, as the replay has them."""
        return PollingPlan(
            rate=RATE,
            floor=FLOOR,
            ceiling=CEILING,
            discover_every=DISCOVER_EVERY,
            sends=True,
            call_seconds=self.takes,
            commit_seconds=self.commit,
        )


def requests(count: int, seed: int) -> list[OrderRequest]:
    """Made-up orders of one line each, of the four classes at random."""
    rng = random.Random(seed)
    return [_request(number, seed, rng) for number in range(count)]


def _request(number: int, seed: int, rng: random.Random) -> OrderRequest:
    kind, most = rng.choices(CLASSES, SHARES)[0]
    line: dict[str, Any] = {"ProductId": "CVS", "Value": 10, "Quantity": rng.randint(most // 2 + 1, most)}
    if kind == "DigitalDelivery":
        line["DigitalDeliveryAddress"] = {"Email": f"person{number}@example.com"}
    return read_request({"Type": kind, "PONumber": f"RUN{seed}-{number:04d}", "LineItems": [line]})


def measure(folder: Path, orders: int, seed: int, speed: float = SPEED) -> Measured:
    """Lets a worker follow so many orders to their end; `speed` divides the seconds that the provider takes."""
    settings = {"API_MAX_RATE": RATE, "POLL_FLOOR": FLOOR, "POLL_CEILING": CEILING, "DISCOVER_EVERY": DISCOVER_EVERY}
    with nursery(folder) as children:
        sandbox = children.sandbox(speed=speed)
        worker = children.worker(provider_settings(sandbox.url) | settings).ready()
        with store_of(children.database_url) as store:
            until("the first look at the list", lambda: fact(store, "discover"), within=20)
            commit = _submit_over_time(store, requests(orders, seed), random.Random(seed))
            until("all orders to be finished", lambda: _all_finished(store, orders), within=LONGEST, every=1.0)
            worker.stop()  # which writes the last calls down
            return _measured(store, sandbox, commit)


def _submit_over_time(store: Database, wanted: Sequence[OrderRequest], rng: random.Random) -> float:
    """Returns the seconds that a commit took (median)."""
    at, took = time.monotonic(), []
    for one in wanted:
        at += rng.expovariate(ORDERS_A_SECOND)
        threading.Event().wait(max(at - time.monotonic(), 0.0))
        began = time.monotonic()
        submit(store, [one])
        took.append(time.monotonic() - began)
    return float(np.median(took))


def _all_finished(store: Database, orders: int) -> bool:
    with store.read() as connection:
        done = sa.select(sa.func.count()).where(ORDERS.c.completed_by.is_not(None))
        return int(connection.execute(done).scalar_one()) == orders


def _measured(store: Database, sandbox: Child, commit: float) -> Measured:
    there = {order["po_number"]: datetime.fromisoformat(order["completed_at"]).timestamp() for order in truth(sandbox)}
    known = sorted(rows(store).values(), key=lambda row: row["accepted_at"])
    arrived = _times(known, "accepted_at")
    finished = np.array([there[row["po_number"]] for row in known])
    classes = [class_of(row["type"], row["units"]) for row in known]
    seen = _times(known, "completed_by")
    history = History(arrived, finished, classes, np.full(len(known), np.inf))
    counted, call = _counted(store, known[0]["accepted_at"], max(row["completed_by"] for row in known))
    return Measured(history, seen - finished, **counted, takes=call, commit=commit)


def _times(known: Sequence[Mapping[str, Any]], name: str) -> Array:
    return np.array([row[name].timestamp() for row in known], dtype=np.float64)


def _counted(store: Database, first: datetime, last: datetime) -> tuple[dict[str, int], float]:
    """The calls that left in that time, by what they were for, and the seconds that a look took (mean)."""
    found = {"singles": 0, "pages": 0, "discoveries": 0, "others": 0}
    took = []
    columns = (EXCHANGES.c.method, EXCHANGES.c.path, EXCHANGES.c.milliseconds)
    left = sa.select(*columns).where(EXCHANGES.c.at.between(first, last))
    with store.read() as connection:
        for method, path, milliseconds in connection.execute(left):
            kind = _kind(method, path)
            found[kind] += 1
            took += [milliseconds / 1000] if kind in {"singles", "pages"} else []
    return found, float(np.mean(took)) if took else 0.0


def _kind(method: str, path: str) -> str:
    if method != "GET" or not path.startswith("/v1/Orders"):
        return "others"
    if "?" not in path:
        return "singles"
    return "pages" if "endDate" in path else "discoveries"
