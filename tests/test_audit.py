import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import callback, line, order_json, request, shown
from sqlalchemy import Connection

from tracking import audit, ingest, wire
from tracking.database import Database
from tracking.errors import NotAllowed
from tracking.ingest import Planner
from tracking.observations import Answered, Attempted, Declined, Looked, Missing, Observation, Seen, Unclear, Unsent
from tracking.orders import Witness
from tracking.rules import can_send
from tracking.store import find
from tracking.tables import COUNTERS, EVENTS, LINES, ORDERS

Job = Callable[[Connection], Any]
TWO = (line("CVS", 10, 2, ExternalId="a"), line("AMAZON", 25, 1, ExternalId="b"))
WORDS = ["Pending", "Processing", "Completed", "Completed", "Cancelled", "Shredded"]


def history(seed: int, planner: Planner, start: datetime) -> Job:
    """Forty things that happen to eight orders, drawn by lot."""

    def job(connection: Connection) -> None:
        rng = random.Random(seed)
        for step in range(40):
            happen(connection, rng, planner, start + timedelta(minutes=17 * step))

    return job


def happen(connection: Connection, rng: random.Random, planner: Planner, now: datetime) -> None:
    number = rng.randrange(8)
    po_number, provider_id = f"po-{number}", f"BLK-{number}"
    raw = order_json(provider_id, po_number, rng.choice(WORDS), *TWO, claims=rng.randrange(3))
    raw["LineItems"][rng.randrange(2)]["Status"] = rng.choice(["Sent", "Claimed", "Cancelled", "Lost"])
    seen = wire.read_order(raw)
    kept = find(connection, po_number=po_number)
    if kept is None and rng.random() < 0.7:
        ingest.place(connection, request(po_number, *TWO), source="form", actor="ann", now=now)
    elif kept is None or rng.random() < 0.4:
        ingest.discover(connection, seen, now, now, planner)
    elif rng.random() < 0.2:
        said = callback(po_number, rng.choice([provider_id, "BLK-99", None]), f"{rng.randrange(9)}")
        ingest.announce(connection, said, 9, now, planner)
    elif rng.random() < 0.2:
        ingest.note(connection, kept.id, text="x", actor="ann", now=now, acknowledges=rng.random() < 0.5)
    elif rng.random() < 0.2:
        ask(connection, kept.id, rng.choice(["check", "resend"]), now)
    else:
        what: list[Seen] = [Declined(422, "x"), Unclear("x"), Unsent("x"), Missing(), Looked(None)]
        what += [Attempted(1)] if can_send(kept.order) else []
        one = rng.choice([*what, Answered(seen.snapshot), Answered(seen.snapshot, adopted=True), Looked(seen.snapshot)])
        told = seen if isinstance(one, Answered) or (isinstance(one, Looked) and one.snapshot) else None
        observation = Observation(Witness.POLL, now, now, one)
        ingest.observe(connection, kept.id, observation, planner, shown=told)


def ask(connection: Connection, order_id: int, what: str, now: datetime) -> None:
    try:
        ingest.ask(connection, order_id, what=what, actor="ann", now=now)
    except NotAllowed:
        return


@pytest.fixture
def lived(store: Database, planner: Planner, now: datetime) -> Database:
    """A store in which something has happened."""
    store.write(history(1, planner, now))
    assert audit.verify(store) == []
    return store


def test_an_empty_store_agrees_with_itself(store: Database) -> None:
    assert audit.verify(store) == []


@pytest.mark.parametrize("seed", range(6))
def test_after_any_history_the_log_agrees_with_rows_lines_and_counters(
    store: Database, planner: Planner, now: datetime, seed: int
) -> None:
    store.write(history(seed, planner, now))
    assert audit.verify(store) == []


FIRST = sa.select(sa.func.min(ORDERS.c.id)).scalar_subquery()
LAST_EVENT = sa.select(sa.func.max(EVENTS.c.id)).scalar_subquery()
CREATED = sa.select(sa.func.min(COUNTERS.c.hour)).scalar_subquery()


@pytest.mark.parametrize(
    ("tampered", "told"),
    [
        (sa.update(ORDERS).where(ORDERS.c.id == FIRST).values(state="Elsewhere"), "state is stored as 'Elsewhere'"),
        (sa.update(ORDERS).where(ORDERS.c.id == FIRST).values(provider_id="BLK-77"), "provider_id is stored as"),
        (sa.update(ORDERS).where(ORDERS.c.id == FIRST).values(value_minor=1), "value_minor is stored as 1"),
        (sa.update(ORDERS).where(ORDERS.c.id == FIRST).values(units_fulfilled=77), "units_fulfilled is stored"),
        (sa.update(ORDERS).where(ORDERS.c.id == FIRST).values(attention="x"), "attention is stored as 'x'"),
        (sa.update(LINES).where(LINES.c.order_id == FIRST).values(status="Gone"), "differs from the log in status"),
        (sa.update(LINES).where(LINES.c.order_id == FIRST).values(claims=9), "differs from the log in claims"),
        (sa.update(LINES).where(LINES.c.order_id == FIRST).values(cost_minor=9), "in cost_minor"),
        (sa.update(LINES).where(LINES.c.order_id == FIRST).values(quantity=9), "its lines hold 18 units"),
        (sa.update(COUNTERS).where(COUNTERS.c.hour == CREATED).values(orders=99), "counter"),
        (sa.delete(COUNTERS).where(COUNTERS.c.hour == CREATED), "counter"),
        (sa.delete(EVENTS).where(EVENTS.c.order_id == FIRST, EVENTS.c.seq == 2), "has a gap"),
        (sa.delete(EVENTS).where(EVENTS.c.id == LAST_EVENT), "a tail that is missing"),
        (sa.delete(EVENTS).where(EVENTS.c.order_id == FIRST), "a tail that is missing"),
        (sa.update(EVENTS).where(EVENTS.c.order_id == FIRST, EVENTS.c.seq == 2).values(changes={"units": 7}), "says 7"),
        (sa.delete(ORDERS).where(ORDERS.c.id == FIRST), "counter"),
    ],
)
def test_what_was_changed_by_hand_is_found(lived: Database, tampered: Any, told: str) -> None:
    lived.write(lambda connection: connection.execute(tampered))
    assert any(told in difference for difference in audit.verify(lived))


def test_the_differences_name_orders_but_no_people(store: Database, planner: Planner, now: datetime) -> None:
    addressed = line("CVS", 10, 1, DigitalDeliveryAddress={"Email": "ann@example.com"})
    seen = shown("BLK-1", "po", "Pending", addressed, kind="DigitalDelivery")
    store.write(lambda connection: ingest.discover(connection, seen, now, now, planner))
    store.write(lambda connection: connection.execute(sa.update(LINES).values(status="Gone")))
    assert audit.verify(store) == ["po: line 1 differs from the log in status"]


def test_progress_is_told_and_chunks_leave_nothing_out(
    store: Database, planner: Planner, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CHUNK", 3)
    store.write(history(2, planner, now))
    told: list[tuple[int, int]] = []
    assert audit.verify(store, lambda done, total: told.append((done, total))) == []
    assert told == [(3, 8), (6, 8), (8, 8)]
    store.write(lambda connection: connection.execute(sa.update(ORDERS).values(note="x")))
    assert len(audit.verify(store)) == 8


def test_an_audit_writes_nothing_and_bounds_what_it_tells(lived: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "DIFFERENCES_AT_MOST", 4)
    lived.write(lambda connection: connection.execute(sa.update(ORDERS).values(note="x")))
    with lived.read() as connection:
        before = connection.execute(sa.select(ORDERS)).all()
    assert len(audit.verify(lived)) == 4
    with lived.read() as connection:
        assert connection.execute(sa.select(ORDERS)).all() == before


def test_what_is_written_while_the_audit_reads_is_no_difference(
    store: Database, planner: Planner, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CHUNK", 2)
    store.write(history(3, planner, now))
    later = now + timedelta(days=2)
    told = []

    def meanwhile(done: int, _total: int) -> None:
        told.append(done)
        if len(told) < 4:
            store.write(history(100 + done, planner, later))

    assert audit.verify(store, meanwhile) == []
    assert len(told) >= 4
