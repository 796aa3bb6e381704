import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from histories import START, History, flagged, happen, states_of

from tracking.errors import NotComputed, UnknownOrder
from tracking.orders.model import CLOSED, ORDER_FIELDS, Order
from tracking.reports.as_of import order as order_reports
from tracking.reports.as_of import overview as overview_reports
from tracking.reports.as_of.order import order_as_of
from tracking.reports.as_of.overview import overview_as_of
from tracking.storage import counters
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, LINES, ORDERS


def stored(store: Database) -> dict[str, tuple[Order, dict[str, int]]]:
    """Every order as it is stored now, with how many of its lines are in which status."""
    with store.read() as connection:
        rows = connection.execute(sa.select(ORDERS)).mappings().all()
        statuses = sa.select(LINES.c.order_id, LINES.c.status, sa.func.count()).group_by(
            LINES.c.order_id, LINES.c.status
        )
        counts: dict[int, dict[str, int]] = {}
        for order_id, status, number in connection.execute(statuses):
            counts.setdefault(order_id, {})[status] = number
    return {row["po_number"]: (Order(**{name: row[name] for name in ORDER_FIELDS}), counts[row["id"]]) for row in rows}


@pytest.mark.parametrize("seed", range(2))
def test_orders_and_counts_of_then_are_those_that_were_stored_then(
    history: History, store: Database, seed: int
) -> None:
    rng = random.Random(seed)
    past: list[tuple[datetime, Any, dict[str, int], int]] = []
    for step in range(40):
        happen(history, rng)
        if step == 20:
            history.find_open("ELSE-1")
            history.find_finished("ELSE-2")
        past.append((history.at, stored(store), dict(states_of(store)), flagged(store)))
        history.wait(minutes=rng.choice([3, 11, 40]))
    with store.read() as connection:
        ids = dict(connection.execute(sa.select(ORDERS.c.po_number, ORDERS.c.id)).all())
    for at, orders, states, decisions in past:
        moment = at + timedelta(seconds=30)
        counts = overview_as_of(store, moment, history.at)
        assert counts.then.by_state == {name: number for name, number in states.items() if name not in CLOSED}
        assert counts.then.needs_decision == decisions
        assert counts.then.unconfirmed == states.get("Outcome unknown", 0)
        assert counts.moment == moment
        for po_number in rng.sample(sorted(ids), 2):
            then = order_as_of(store, ids[po_number], moment)
            expected = orders.get(po_number)
            assert (then.then, then.lines) == (expected or (None, {}))
            assert (not then.differences) == (expected is None or expected[0] == then.today)
    assert counts.then == replace(counts.today, late=None)


def test_completed_orders_of_the_day_and_the_late_as_recorded(history: History, store: Database) -> None:
    for number in range(3):
        history.place(f"D-{number}")
        history.complete(f"D-{number}", minutes=20)
    store.write(lambda connection: counters.record_late(connection, 7, START))
    noon = overview_as_of(store, START + timedelta(minutes=25), history.at)
    assert (noon.then.completed, noon.today.completed, noon.then.late) == (1, 3, None)
    history.wait(minutes=5)
    later = overview_as_of(store, START + timedelta(minutes=61), history.at)
    assert (later.then.completed, later.then.late, later.late_at) == (3, 7, START + timedelta(hours=1))
    assert [event.po_number for event in noon.latest[:2]] == ["D-1", "D-1"]
    assert noon.first_at == START
    with pytest.raises(ValueError, match="yet to come"):
        overview_as_of(store, history.at + timedelta(seconds=1), history.at)


def test_of_an_order_whose_first_event_has_a_later_time_the_others_count_as_they_were_stored(
    history: History, store: Database
) -> None:
    """Clocks of several processes differ."""
    number = history.place("A")
    history.complete("A", minutes=20)
    first = EVENTS.c.order_id == number, EVENTS.c.seq == 1
    later = sa.update(EVENTS).where(*first).values(learned_at=START + timedelta(minutes=30))
    store.write(lambda connection: connection.execute(later))
    history.wait(minutes=20)
    assert overview_as_of(store, START + timedelta(minutes=25), history.at).then.completed == 1


def test_what_cannot_be_added_up_is_given_for_the_full_hour(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("A")
    history.complete("A", minutes=70)
    moment = history.at
    monkeypatch.setattr(overview_reports, "EVENTS_FOLDED", 3)
    assert overview_as_of(store, moment, history.at).moment == START + timedelta(hours=1)
    assert overview_as_of(store, moment, history.at).then.by_state == {"Pending": 1}
    monkeypatch.setattr(overview_reports, "EVENTS_WITHIN_HOUR", 0)
    assert overview_as_of(store, moment, history.at).moment == START + timedelta(hours=1)
    monkeypatch.setattr(order_reports, "EVENTS_AT_MOST", 2)
    with pytest.raises(NotComputed, match="had more than 2 events"):
        order_as_of(store, history.numbers["A"], moment)
    with pytest.raises(UnknownOrder):
        order_as_of(store, 10**6, moment)


def test_what_was_learned_later_is_no_part_of_it_and_stands_beside(history: History, store: Database) -> None:
    number = history.place("A", lines=2)
    history.complete("A")
    seen = order_as_of(store, number, START + timedelta(minutes=1))
    assert seen.verdicts == ("Open: Pending.", "Completed on 2026-03-04, 10:00 to 10:11, confirmed by a poll.")
    assert (seen.events, seen.events_today) == (4, 5)
    assert (seen.lines, seen.lines_today) == ({"Pending": 2}, {"Completed": 2})
    state = next(each for each in seen.differences if each.fact == "State")
    assert (state.then, state.today) == ("Pending", "Completed")
    completed = next(each for each in seen.differences if each.fact == "Completed by")
    assert (completed.then, completed.today) == (None, "2026-03-04 10:10:10")
    before = order_as_of(store, number, START - timedelta(seconds=1))
    assert (before.then, before.rows, before.first_at) == (None, (), START)
