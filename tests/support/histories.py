"""Orders with a past, made by the real ingest, for tests of what people read."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking import ingest
from tracking.forecasting import planner
from tracking.forecasting.waits import Policy
from tracking.orders.model import Line, OrderRequest, Snapshot, Witness
from tracking.orders.observations import Answered, Attempted, Declined, Observation, Observed, Polled, Unclear
from tracking.provider.responses import ParsedOrder
from tracking.provider.webhook_bodies import WebhookCall
from tracking.reports.order import find_order_ids
from tracking.reports.order_list.narrowing import FLAGGED
from tracking.storage import facts, orders
from tracking.storage.database import Database
from tracking.storage.retention.removal import remove_old
from tracking.storage.tables import ORDERS

START = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
PLANNER = planner.PlanningContext(Policy(), random.Random(1))


@dataclass
class History:
    """Makes orders and lets things happen to them. `at` is the time; `wait` moves it on."""

    database: Database
    at: datetime = START
    numbers: dict[str, int] = field(default_factory=dict)

    def wait(self, **length: float) -> datetime:
        self.at += timedelta(**length)
        return self.at

    def place(
        self, po_number: str, *, value: int = 1000, lines: int = 1, made: tuple[Line, ...] = (), **line: Any
    ) -> int:
        """An order asked for by form, of these lines; `line` goes into each of those that are made up."""
        made = made or tuple(Line(number, "CVS", value, 1, **line) for number in range(1, lines + 1))
        request = OrderRequest(po_number, "Links", made, {"PONumber": po_number, "LineItems": [{}] * len(made)})
        order_id = self.database.write(
            lambda connection: ingest.place(connection, request, source="form", actor="Ann", now=self.at)
        )
        self.numbers[po_number] = order_id
        return order_id

    def see(
        self, po_number: str, seen: Observed, witness: Witness = Witness.POLL, shown: ParsedOrder | None = None
    ) -> None:
        """Hands an observation to ingest."""
        observation = Observation(witness, self.at, self.at, seen)
        number = self.numbers[po_number]
        self.database.write(lambda connection: ingest.observe(connection, number, observation, PLANNER, parsed=shown))

    def snapshot(self, po_number: str, status: str, lines: Sequence[Line] | None = None) -> Snapshot:
        """The order as the provider would show it: complete lines with their claim data when it is complete."""
        with self.database.read() as connection:
            known = orders.lines_of(connection, self.numbers[po_number])
        if lines is None:
            done = status == "Completed"
            lines = [replace(line, status="Completed", claims=1) if done else line for line in known]
        return Snapshot(f"BLK-{self.numbers[po_number]}", po_number, status, "Links", self.at, tuple(lines))

    def accept(self, po_number: str) -> None:
        """The order is sent, and the provider takes it."""
        self.see(po_number, Attempted(1), Witness.US)
        self.see(po_number, Answered(self.snapshot(po_number, "Pending")), Witness.ANSWER)

    def look(self, po_number: str, status: str) -> None:
        """A poll shows the order."""
        snapshot = self.snapshot(po_number, status)
        self.see(po_number, Polled(snapshot), shown=ParsedOrder(snapshot, {"Status": status}, f"digest-{status}"))

    def lose(self, po_number: str) -> None:
        """The order is sent, and nobody knows what became of it."""
        self.see(po_number, Attempted(1), Witness.US)
        self.see(po_number, Unclear("timed out after 30 s"), Witness.US)

    def refuse(self, po_number: str, reason: str = "422 the balance does not cover the order") -> None:
        """The order is sent and refused."""
        self.see(po_number, Attempted(1), Witness.US)
        self.see(po_number, Declined(422, reason), Witness.ANSWER)

    def complete(self, po_number: str, minutes: float = 10) -> None:
        """From placed to complete: accepted, seen open, seen complete `minutes` later."""
        self.accept(po_number)
        self.wait(seconds=10)
        self.look(po_number, "Pending")
        self.wait(minutes=minutes)
        self.look(po_number, "Completed")

    def remove_log_of(self, po_number: str, **line: Any) -> None:
        """Complete half a year ago, polled once more, and a day later removed; a younger order stays beside it."""
        self.place(po_number, lines=2, **line)
        self.complete(po_number)
        self.wait(days=180)
        self.look(po_number, "Completed")
        self.place(f"{po_number}-younger")
        self.wait(days=1)
        before = self.at - timedelta(days=2)
        self.database.write(lambda connection: remove_old(connection, before, self.at))

    def observe(self, connection: Connection, order_id: int, observation: Observation) -> None:
        """Hands an observation as it is to ingest."""
        ingest.observe(connection, order_id, observation, PLANNER)

    def acknowledge(self, po_number: str, why: str) -> None:
        """A person has dealt with the order."""
        number = self.numbers[po_number]
        self.database.write(
            lambda connection: ingest.record_note(
                connection, number, text=why, actor="Bea", now=self.at, acknowledges=True
            )
        )

    def find_open(self, po_number: str) -> None:
        """A list shows an order from elsewhere that is still open."""
        line = Line(1, "CVS", 500, 1, "Pending", 0)
        snapshot = Snapshot(f"OUT-{po_number}", po_number, "Pending", "Links", self.at, (line,))
        shown = ParsedOrder(snapshot, {}, "digest")
        self.database.write(lambda connection: ingest.discover(connection, shown, self.at, self.at, PLANNER))

    def find_finished(self, po_number: str) -> None:
        """A list shows an order from elsewhere that is complete already."""
        line = Line(1, "CVS", 500, 1, "Completed", 1)
        snapshot = Snapshot(f"OUT-{po_number}", po_number, "Completed", "Links", self.at - timedelta(hours=1), (line,))
        shown = ParsedOrder(snapshot, {}, "digest")
        self.database.write(lambda connection: ingest.discover(connection, shown, self.at, self.at, PLANNER))

    def announce(self, po_number: str, times: int = 1) -> None:
        """The provider's webhook claims that the order is complete."""
        callback = WebhookCall("FulfillmentComplete", None, po_number, self.at, f"digest-{po_number}")
        for _ in range(times):
            self.database.write(lambda connection: ingest.receive_webhook(connection, callback, 120, self.at, PLANNER))


def sell(history: History, **currencies: str | None) -> None:
    """The catalogue tells the currency of these products."""
    products = [{"id": name, "currency": currency} for name, currency in currencies.items()]
    stored = {"products": products}
    history.database.write(lambda connection: facts.set_fact(connection, facts.FactKey.CATALOG, stored, history.at))


def find_order_id(database: Database, any_id: str) -> int | None:
    """The only order that is called so; None where none is, or several."""
    matches = find_order_ids(database, any_id)
    return matches[0] if len(matches) == 1 else None


def states_of(store: Database) -> Counter[str]:
    """The orders by their state, from their rows."""
    with store.read() as connection:
        rows = connection.execute(sa.select(ORDERS.c.state, sa.func.count()).group_by(ORDERS.c.state)).all()
    return Counter({str(state): int(number) for state, number in rows})


def flagged(store: Database) -> int:
    with store.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(ORDERS).where(FLAGGED)).scalar_one())


def rest(_name: str) -> None:
    """Nothing happens to the order."""


def happen(history: History, rng: random.Random) -> None:
    """Something that happens to an order, drawn by lot."""
    name = f"R-{rng.randrange(12)}"
    if name not in history.numbers:
        history.place(name)
        begin: list[Callable[[str], None]] = [history.accept, history.lose, history.refuse, rest]
        rng.choice(begin)(name)
        return
    with history.database.read() as connection:
        at = ORDERS.c.id == history.numbers[name]
        taken = connection.execute(sa.select(ORDERS.c.provider_id).where(at)).scalar()
    if taken is None:
        go_on: list[Callable[[str], None]] = [history.accept, partial(history.acknowledge, why="known")]
        rng.choice(go_on)(name)
    else:
        history.look(name, rng.choice(["Pending", "Processing", "Shredded", "Completed", "Cancelled"]))
