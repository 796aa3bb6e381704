import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from emptying import emptied
from fakes import callback, line, order_json, request, shown
from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import NotAllowed
from tracking.forecasting.planner import PlanningContext
from tracking.orders import event_chain as chain
from tracking.orders.model import Event, Witness, can_send
from tracking.orders.observations import (
    Answered,
    Attempted,
    Declined,
    Missing,
    Observation,
    Observed,
    Polled,
    Unclear,
    Unsent,
)
from tracking.provider.responses import read_order
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.maintenance.verify import LogHead
from tracking.storage.orders import find_order
from tracking.storage.tables import COUNTERS, EVENTS, LINES, ORDERS

Job = Callable[[Connection], Any]
TWO = (line("CVS", 10, 2, ExternalId="a"), line("AMAZON", 25, 1, ExternalId="b"))
WORDS = ["Pending", "Processing", "Completed", "Completed", "Cancelled", "Shredded"]


def history(seed: int, planner: PlanningContext, start: datetime) -> Job:
    """Forty things that happen to eight orders, drawn by lot."""

    def job(connection: Connection) -> None:
        rng = random.Random(seed)
        for step in range(40):
            happen(connection, rng, planner, start + timedelta(minutes=17 * step))

    return job


def happen(connection: Connection, rng: random.Random, planner: PlanningContext, now: datetime) -> None:
    number = rng.randrange(8)
    po_number, provider_id = f"po-{number}", f"BLK-{number}"
    raw = order_json(provider_id, po_number, rng.choice(WORDS), *TWO, claims=rng.randrange(3))
    raw["LineItems"][rng.randrange(2)]["Status"] = rng.choice(["Sent", "Claimed", "Cancelled", "Lost"])
    seen = read_order(raw)
    kept = find_order(connection, po_number=po_number)
    if kept is None and rng.random() < 0.7:
        ingest.place(connection, request(po_number, *TWO), source="form", actor="ann", now=now)
    elif kept is None or rng.random() < 0.4:
        ingest.discover(connection, seen, now, now, planner)
    elif rng.random() < 0.2:
        said = callback(po_number, rng.choice([provider_id, "BLK-99", None]), f"{rng.randrange(9)}")
        ingest.receive_webhook(connection, said, 9, now, planner)
    elif rng.random() < 0.2:
        ingest.record_note(connection, kept.id, text="x", actor="ann", now=now, acknowledges=rng.random() < 0.5)
    elif rng.random() < 0.2:
        ask(connection, kept.id, rng.choice(["check", "resend"]), now)
    else:
        what: list[Observed] = [Declined(422, "x"), Unclear("x"), Unsent("x"), Missing(), Polled(None)]
        what += [Attempted(1)] if can_send(kept.order) else []
        one = rng.choice([*what, Answered(seen.snapshot), Answered(seen.snapshot, adopted=True), Polled(seen.snapshot)])
        told = seen if isinstance(one, Answered) or (isinstance(one, Polled) and one.snapshot) else None
        observation = Observation(Witness.POLL, now, now, one)
        ingest.observe(connection, kept.id, observation, planner, parsed=told)


def ask(connection: Connection, order_id: int, what: str, now: datetime) -> None:
    try:
        ingest.request_action(connection, order_id, what=what, actor="ann", now=now)
    except NotAllowed:
        return


@pytest.fixture
def lived(store: Database, planner: PlanningContext, now: datetime) -> Database:
    """A store in which something has happened."""
    store.write(history(1, planner, now))
    assert verify.verify(store) == []
    return store


def test_an_empty_store_agrees_with_itself(store: Database) -> None:
    assert verify.verify(store) == []


@pytest.mark.parametrize("seed", range(6))
def test_after_any_history_the_log_agrees_with_rows_lines_and_counters(
    store: Database, planner: PlanningContext, now: datetime, seed: int
) -> None:
    store.write(history(seed, planner, now))
    assert verify.verify(store) == []


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
        (sa.update(COUNTERS).where(COUNTERS.c.name == "left").values(orders=99), "counter left"),
        (sa.delete(COUNTERS).where(COUNTERS.c.name == "decisions"), "counter decisions"),
        (sa.delete(EVENTS).where(EVENTS.c.order_id == FIRST, EVENTS.c.seq == 2), "has a gap"),
        (sa.delete(EVENTS).where(EVENTS.c.id == LAST_EVENT), "a tail that is missing"),
        (sa.delete(EVENTS).where(EVENTS.c.order_id == FIRST), "a tail that is missing"),
        (sa.update(EVENTS).where(EVENTS.c.order_id == FIRST, EVENTS.c.seq == 2).values(changes={"units": 7}), "says 7"),
        (sa.delete(ORDERS).where(ORDERS.c.id == FIRST), "counter"),
    ],
)
def test_what_was_changed_by_hand_is_found(lived: Database, tampered: Any, told: str) -> None:
    lived.write(lambda connection: connection.execute(tampered))
    assert any(told in difference for difference in verify.verify(lived))


OTHER = {
    "kind": "noted",
    "witness": "us",
    "happened_at": datetime(2020, 1, 1, tzinfo=UTC),
    "learned_at": datetime(2020, 1, 1, tzinfo=UTC),
    "changes": {"last_open_at": "2020-01-01T00:00:00+00:00"},
    "line_changes": [{"numbers": "1", "claims": 1}],
    "detail": {"status": "Pending", "via": "elsewhere"},
    "previous": "0" * 64,
}


@pytest.fixture
def five(store: Database, planner: PlanningContext, now: datetime) -> int:
    """The row id of an order with five events in a store where all is well: discovered, then four looks."""
    told = shown("BLK-40", "po", "Pending", *ADDRESSED, kind="DigitalDelivery")
    store.write(lambda connection: ingest.discover(connection, told, now, now, planner))
    with store.read() as connection:
        order_id = int(connection.execute(sa.select(ORDERS.c.id)).scalar_one())
    for minute in range(1, 4):
        look(store, planner, order_id, now + timedelta(minutes=minute))
    assert verify.verify(store) == []
    return order_id


ADDRESSED = [line("CVS", 10, 1, DigitalDeliveryAddress={"Email": f"{name}@example.com"}) for name in ("ann", "bob")]


def look(store: Database, planner: PlanningContext, order_id: int, now: datetime) -> None:
    seen = Observation(Witness.POLL, now, now, Polled(None))
    store.write(lambda connection: ingest.observe(connection, order_id, seen, planner))


def at(seq: int) -> Any:
    return sa.update(EVENTS).where(EVENTS.c.seq == seq)


def unfit(seq: int, kind: str = "still open") -> str:
    return f"po: event {seq} ({kind}) does not fit: it or what follows was changed"


@pytest.mark.parametrize(
    ("column", "seq"), [*((column, 3) for column in OTHER), ("detail", 1), ("previous", 1), ("detail", 5)]
)
def test_an_event_that_was_changed_is_named(store: Database, five: int, column: str, seq: int) -> None:
    store.write(lambda connection: connection.execute(at(seq).values({column: OTHER[column]})))
    kind = "discovered" if seq == 1 else "still open"
    assert verify.verify(store)[0] == unfit(seq, "noted" if column == "kind" else kind)


CUT = [sa.delete(EVENTS).where(EVENTS.c.seq == 5), sa.update(ORDERS).values(event_count=4)]
WITHOUT = [sa.delete(EVENTS).where(EVENTS.c.seq == 3), at(4).values(seq=3), at(5).values(seq=4), CUT[1]]
SWAPPED = [at(3).values(seq=99), at(4).values(seq=3), at(99).values(seq=4)]


@pytest.mark.parametrize(
    ("tampered", "told"),
    [
        (CUT, unfit(4)),
        (CUT[:1], "po: event 5 does not fit: the log has a tail that is missing (4 of 5 events)"),
        (WITHOUT, unfit(2)),
        (WITHOUT[:1], "po: event 3 does not fit: the log has a gap (4 of 5 events)"),
        (SWAPPED, unfit(2)),
        (CUT[1:], "po: event 5 does not fit: the log has 5 events where 4 were written"),
        ([sa.update(ORDERS).values(head="0" * 64)], unfit(5)),
        ([sa.update(ORDERS).values(head=None)], unfit(5)),
        ([sa.update(ORDERS).values(po_number="op")], unfit(1, "discovered").replace("po", "op")),
    ],
)
def test_a_log_that_was_cut_or_reordered_is_named(store: Database, five: int, tampered: list[Any], told: str) -> None:
    store.write(lambda connection: [connection.execute(statement) for statement in tampered])
    assert verify.verify(store)[0] == told


def test_what_is_appended_later_does_not_hide_a_change(
    store: Database, five: int, planner: PlanningContext, now: datetime
) -> None:
    store.write(lambda connection: connection.execute(at(5).values(detail={})))
    look(store, planner, five, now + timedelta(hours=1))
    assert verify.verify(store) == [unfit(5)]


FIRST_LINE = sa.update(LINES).where(LINES.c.number == 1)
NOT_ORDERED = "po: its lines are not those that were ordered"
NOT_HERS = "po: line 1 has another recipient than the log says"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"recipient": "eve@example.com"}, [NOT_HERS]),
        ({"recipient": None}, [NOT_HERS]),
        ({"recipient_salt": None}, [NOT_HERS]),
        ({"recipient": None, "recipient_salt": None}, [NOT_HERS]),
        ({"recipient": None, "recipient_salt": None, "recipient_hash": None}, [NOT_ORDERED]),
        ({"recipient": "x", "recipient_salt": "y", "recipient_hash": chain.keyed_hash("x", "y")}, [NOT_ORDERED]),
        ({"product_id": "AMAZON"}, [NOT_ORDERED]),
        ({"external_id": "x"}, [NOT_ORDERED]),
        ({"quantity": 2}, ["po: its lines hold 3 units", NOT_ORDERED]),
        ({"value_minor": 2000}, ["po: its lines hold 2 units", NOT_ORDERED]),
        ({"status": "Sent"}, ["po: line 1 differs from the log in status"]),
    ],
)
def test_a_line_that_was_changed_is_named(store: Database, five: int, values: dict[str, Any], told: list[str]) -> None:
    store.write(lambda connection: connection.execute(FIRST_LINE.values(values)))
    differences = verify.verify(store)
    assert len(differences) == len(told)
    assert all(said.startswith(begins) for said, begins in zip(differences, told, strict=True))


def test_lines_swapped_with_one_another_are_seen(store: Database, five: int) -> None:
    swapped = [FIRST_LINE.values(number=9), sa.update(LINES).where(LINES.c.number == 2).values(number=1)]
    back = sa.update(LINES).where(LINES.c.number == 9).values(number=2)
    store.write(lambda connection: [connection.execute(statement) for statement in (*swapped, back)])
    assert [said.split(":")[1] for said in verify.verify(store)] == [" its lines are not those that were ordered"]


def test_an_order_from_before_the_chain_had_contents_passes(store: Database, five: int) -> None:
    with store.read() as connection:
        entries = connection.execute(sa.select(EVENTS).order_by(EVENTS.c.seq)).mappings().all()
    events = [audit_event(row) for row in entries]
    old = [replace(events[0], detail={"lines": 2}), *events[1:]]
    rows, head = chain.event_rows("po", chain.first_hash("po"), 0, old)
    rewritten = [at(row["seq"]).values(detail=row["detail"], previous=row["previous"]) for row in rows]
    store.write(lambda connection: [connection.execute(each) for each in rewritten])
    store.write(lambda connection: connection.execute(sa.update(ORDERS).values(head=head)))
    assert verify.verify(store) == []


def audit_event(row: Any) -> Event:
    names = ("happened_at", "learned_at", "changes", "detail", "line_changes")
    return Event(row["kind"], Witness(row["witness"]), **{name: row[name] for name in names})


def test_a_head_that_was_noted_down_holds_while_the_log_only_grows(
    store: Database, five: int, planner: PlanningContext, now: datetime
) -> None:
    noted = verify.examine(store).head
    assert noted is not None
    assert LogHead.parse(str(noted)) == noted
    store.write(history(1, planner, now))
    look(store, planner, five, now + timedelta(hours=1))
    later = verify.examine(store, expected=noted)
    assert (later.differences, later.head != noted) == ([], True)


def test_a_log_that_was_written_anew_does_not_have_the_head_that_was_noted_down(
    store: Database, five: int, planner: PlanningContext, now: datetime
) -> None:
    noted = verify.examine(store).head
    assert noted is not None
    look(store, planner, five, now + timedelta(hours=1))
    with store.read() as connection:
        entries = connection.execute(sa.select(EVENTS).order_by(EVENTS.c.seq)).mappings().all()
    events = [audit_event(row) for row in entries]
    forged = [*events[:4], replace(events[4], detail={"status": "Pending", "via": "nowhere"}), events[5]]
    rows, head = chain.event_rows("po", chain.first_hash("po"), 0, forged)
    written = [at(row["seq"]).values(detail=row["detail"], previous=row["previous"]) for row in rows]
    store.write(lambda connection: [connection.execute(each) for each in written])
    store.write(lambda connection: connection.execute(sa.update(ORDERS).values(head=head)))
    assert verify.verify(store) == []
    [told] = verify.examine(store, expected=noted).differences
    assert "is not the expected one" in told


@pytest.mark.parametrize("text", ["", "7", "7:abc", f"x:{'0' * 64}", f"7:{'g' * 64}"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no log head"):
        LogHead.parse(text)


@pytest.mark.postgres
def test_an_event_whose_id_is_drawn_but_not_committed_is_waited_for(
    postgres_store: Database, planner: PlanningContext, now: datetime
) -> None:
    slow = sa.create_engine(postgres_store.url)
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    try:
        with ThreadPoolExecutor(1) as pool, slow.connect() as open_one:
            history(1, planner, now)(open_one)
            postgres_store.write(lambda connection: add_order(connection, planner, now))
            audited = pool.submit(verify.verify, postgres_store)
            with postgres_store.read() as connection:
                while not connection.execute(waiting).scalar():
                    assert not audited.done()
            open_one.commit()
            assert audited.result(30) == []
    finally:
        slow.dispose()
        postgres_store.write(emptied)


def add_order(connection: Connection, planner: PlanningContext, now: datetime) -> None:
    told = shown("BLK-50", "po-50", "Pending", *ADDRESSED, created_at=now - timedelta(days=9), kind="DigitalDelivery")
    later = now - timedelta(days=8)
    ingest.discover(connection, told, later, later, planner)


def test_the_differences_name_orders_but_no_people(store: Database, planner: PlanningContext, now: datetime) -> None:
    addressed = line("CVS", 10, 1, DigitalDeliveryAddress={"Email": "ann@example.com"})
    seen = shown("BLK-1", "po", "Pending", addressed, kind="DigitalDelivery")
    store.write(lambda connection: ingest.discover(connection, seen, now, now, planner))
    store.write(lambda connection: connection.execute(sa.update(LINES).values(status="Gone")))
    assert verify.verify(store) == ["po: line 1 differs from the log in status"]


def test_progress_is_told_and_chunks_leave_nothing_out(
    store: Database, planner: PlanningContext, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "ORDERS_AT_ONCE", 3)
    store.write(history(2, planner, now))
    told: list[tuple[int, int]] = []
    assert verify.verify(store, lambda done, total: told.append((done, total))) == []
    assert told == [(3, 8), (6, 8), (8, 8)]
    store.write(lambda connection: connection.execute(sa.update(ORDERS).values(note="x")))
    assert len(verify.verify(store)) == 8


def test_an_audit_writes_nothing_and_bounds_what_it_tells(lived: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "DIFFERENCES_AT_MOST", 4)
    lived.write(lambda connection: connection.execute(sa.update(ORDERS).values(note="x")))
    with lived.read() as connection:
        before = connection.execute(sa.select(ORDERS)).all()
    assert len(verify.verify(lived)) == 4
    with lived.read() as connection:
        assert connection.execute(sa.select(ORDERS)).all() == before


def test_what_is_written_while_the_audit_reads_is_no_difference(
    store: Database, planner: PlanningContext, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "ORDERS_AT_ONCE", 2)
    store.write(history(3, planner, now))
    later = now + timedelta(days=2)
    told = []

    def meanwhile(done: int, _total: int) -> None:
        told.append(done)
        if len(told) < 4:
            store.write(history(100 + done, planner, later))

    assert verify.verify(store, meanwhile) == []
    assert len(told) >= 4
