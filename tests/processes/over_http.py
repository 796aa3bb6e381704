"""One console against one sandbox, both real processes over HTTP, until both believe the same."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from desk import request
from processes.children import HTTP, Child, free_port, nursery, provider_settings, truth, until
from sqlalchemy import Connection, func, select

from tracking import ingest
from tracking.orders.model import OrderRequest
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import CALLBACKS, EVENTS, EXCHANGES, FACTS, ORDERS

SPEED = 20.0
FINAL = frozenset({"Completed", "Cancelled"})
# What else an order may be at the provider when nothing more will happen to it.
NEVER_FINISHED: Mapping[str, frozenset[str]] = {"endless-pending": frozenset({"Pending"})}
# The provider takes nothing: to keep what was submitted, and to say so, is all there is to do.
STANDSTILL = frozenset({"access-disabled"})
STANDSTILL_SECONDS = 3.0
# Three calls a second are allowed there; who asks more often spends the time waiting.
SLOW_RATE = 2.5
# What the simulator places while it is being looked at is not waited for when it is younger.
YOUNG = timedelta(seconds=5)


def made_up(count: int) -> list[OrderRequest]:
    """Made-up orders, all three delivery types."""
    rng = random.Random(1)
    return [request(number, rng) for number in range(count)]


def documents(count: int) -> list[dict[str, Any]]:
    """The same in the provider's shape, for a file."""
    return [dict(one.document) for one in made_up(count)]


def submit(store: Database, requests: Sequence[OrderRequest]) -> None:
    """Commits the requests as the form does, from this process."""
    now = datetime.now(UTC)

    def job(connection: Connection) -> None:
        for one in requests:
            ingest.place(connection, one, source="form", actor="tester", now=now)

    store.write(job)


@dataclass
class Figures:
    """What came of one scenario; `problems` is empty when both sides agree."""

    scenario: str
    problems: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    calls: int = 0
    webhooks: int = 0
    confirmed: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in self.states.most_common())
        verdict = "ok " if not self.problems else "BAD"
        return (
            f"{verdict} {self.scenario:<24} {self.seconds:6.1f} s  {self.calls:5d} calls  "
            f"{self.webhooks:4d} webhooks ({self.confirmed} confirmed)  {states}"
        )


@contextmanager
def store_of(url: str) -> Iterator[Database]:
    """The store that the children made and write, for looking; never the one to migrate it."""
    opened = Database(url)
    try:
        yield opened
    finally:
        opened.close()


def rows(store: Database) -> dict[str, Any]:
    """The console's orders by PONumber."""
    with store.read() as connection:
        return {row["po_number"]: row for row in connection.execute(select(ORDERS)).mappings()}


def fact(store: Database, key: str) -> dict[str, Any]:
    """A fact of the store; empty where it is not known."""
    with store.read() as connection:
        found = connection.execute(select(FACTS.c.value).where(FACTS.c.key == key)).scalar()
    return found or {}


def disagreements(here: Mapping[str, Any], there: list[dict[str, Any]], lenient_after: datetime) -> list[str]:
    """Where the console does not believe what is true at the provider."""
    wrong = []
    for order in there:
        young = order["source"] == "elsewhere" and datetime.fromisoformat(order["created_at"]) > lenient_after
        row = here.get(order["po_number"])
        if row is None and not young:
            wrong.append(f"{order['po_number']}: not seen here ({order['status']} there)")
        elif row is not None and not young and row["state"] != _expected(row, order):
            wrong.append(f"{row['po_number']}: {row['state']} here, {order['status']} there ({row['attention']})")
    known = {order["po_number"] for order in there}
    wrong += [
        f"{po}: {row['state']} here, unknown there ({row['attention']})"
        for po, row in here.items()
        if po not in known and row["state"] != "Refused"
    ]
    return wrong


def _expected(row: Any, order: Mapping[str, Any]) -> Any:
    """An order of another system under our PONumber is none of ours: that is refused and shown to a person."""
    ours = row["source"] == "elsewhere" or order["source"] == "api"
    return order["status"] if ours else "Refused"


def twice(there: list[dict[str, Any]]) -> list[str]:
    """PONumbers that were placed more than once."""
    counted = Counter(order["po_number"] for order in there)
    return [f"{po}: placed {count} times" for po, count in counted.items() if count > 1]


def settings_for(sandbox: Child, scenario: str, port: int) -> dict[str, object]:
    """The settings of the console in this scenario: a timeout that slow answers exceed, a rate that can be kept."""
    known = provider_settings(sandbox.url) | {"PUBLIC_URL": f"http://127.0.0.1:{port}", "API_TIMEOUT": 1.5}
    if scenario.startswith("rate-limited"):
        known["API_MAX_RATE"] = SLOW_RATE
    if scenario == "answers-huge":
        known["API_TIMEOUT"] = 10
    return known


def drive(
    folder: Path, scenario: str, *, orders: int = 40, elsewhere: int = 10, speed: float = SPEED, limit: float = 60
) -> Figures:
    """Submits orders, lets other systems place some, waits until both sides agree, audits the store.

    `limit` is the seconds all that may take from the moment both run.
    """
    with nursery(folder) as children:
        port = free_port()
        sandbox = children.sandbox(scenario, speed=speed)
        worker = children.worker(settings_for(sandbox, scenario, port), port=port).ready()
        figures, began = Figures(scenario), time.monotonic()
        requests = made_up(orders)
        wanted = [one.po_number for one in requests]
        with store_of(children.database_url) as store:
            submit(store, requests)
            asked = HTTP.post(f"{sandbox.url}/sandbox/elsewhere?count={elsewhere}", timeout=30)
            if scenario in STANDSTILL:
                until("word that it waits", lambda: _waits(store), within=limit)
                worker.lives_for(STANDSTILL_SECONDS)
                figures.problems += _standstill(store, sandbox, wanted)
            else:
                every = [*wanted, *asked.json()["po_numbers"]]
                figures.problems += _settled(store, sandbox, every, NEVER_FINISHED.get(scenario, frozenset()), limit)
            figures.seconds = time.monotonic() - began
            _count(figures, store)
            figures.problems += twice(truth(sandbox))
            figures.problems += _clean_end(worker) + verify(store)
    return figures


def _settled(
    store: Database, sandbox: Child, wanted: list[str], open_at_the_end: frozenset[str], limit: float
) -> list[str]:
    """Waits until both agree and nothing is open; what is still wrong when the time is over."""
    wrong: list[str] = ["nothing was looked at"]

    def agree() -> bool:
        there = truth(sandbox)
        here = rows(store)
        old_enough = datetime.now(UTC) - YOUNG
        wrong[:] = [f"{po}: lost" for po in wanted if po not in here]
        wrong.extend(disagreements(here, there, old_enough))
        known = set(wanted)
        final = FINAL | open_at_the_end
        wrong.extend(
            f"{order['po_number']}: still {order['status']} there"
            for order in there
            if order["po_number"] in known and order["status"] not in final
        )
        return not wrong

    try:
        until("both to agree", agree, within=limit, every=0.25)
    except AssertionError:
        return [f"not settled within {limit:g} s", *wrong[:10]]
    return []


def _standstill(store: Database, sandbox: Child, wanted: list[str]) -> list[str]:
    """Nothing is lost, nothing twice, and what was not sent says so."""
    here = rows(store)
    there = {order["po_number"]: order for order in truth(sandbox)}
    wrong = [f"{po}: lost" for po in wanted if po not in here]
    queued = [po for po in wanted if po in here and here[po]["state"] in {"Queued", "Outcome unknown"}]
    wrong += [f"{po}: {here[po]['state']} here, nothing there" for po in here if po not in queued and po not in there]
    wrong += [f"{po}: Queued here, placed there" for po in queued if po in there and here[po]["state"] == "Queued"]
    return wrong


def _waits(store: Database) -> bool:
    """Whether the console says that it waits: for the end of a pause, or for the provider to answer."""
    client = fact(store, "client")
    return bool(client.get("paused_until") or client.get("failing_since"))


def _clean_end(worker: Child) -> list[str]:
    code = worker.stop()
    problems = [] if code == 0 else [f"the worker ended with {code}"]
    if "Traceback" in worker.said:
        problems.append(f"the worker stumbled: {worker.said[worker.said.index('Traceback') :][:1500]}")
    return problems


def _count(figures: Figures, store: Database) -> None:
    figures.states = Counter(row["state"] for row in rows(store).values())
    figures.orders = sum(figures.states.values())
    with store.read() as connection:
        figures.calls = connection.execute(select(func.count()).select_from(EXCHANGES)).scalar_one()
        taken = select(func.count()).where(CALLBACKS.c.outcome == "accepted")
        figures.webhooks = connection.execute(taken).scalar_one()
        confirmed = select(func.count()).where(ORDERS.c.notice == "confirmed")
        figures.confirmed = connection.execute(confirmed).scalar_one()


def events(store: Database) -> int:
    """How many events the log holds."""
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(EVENTS)).scalar_one())
