import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from histories import START, History, flagged, happen, states_of

from tracking.forecasting.forecasts import Forecasts
from tracking.orders.model import CLOSED, State
from tracking.orders.observations import utc_now
from tracking.polling.learner import Learner
from tracking.reports.board.course import flow, lifecycle_course
from tracking.reports.board.figures import trend
from tracking.reports.board.lifecycle import lifecycle_now
from tracking.storage import counters
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import COUNTERS

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("seed", range(2))
def test_the_past_is_taken_back_to_what_it_was(history: History, store: Database, seed: int) -> None:
    rng, decisions, states = random.Random(seed), list[int](), list[Counter[str]]()
    for hour in range(9):
        for _ in range(8):
            happen(history, rng)
            history.wait(minutes=7)
        if hour == 4:
            history.find_open("ELSE-1")
            history.find_finished("ELSE-2")
        decisions.append(flagged(store))
        states.append(states_of(store))
        history.at = START + HOUR * (hour + 1)
    now = history.at - timedelta(minutes=1)
    seen = trend(store, now, hours=9)
    assert seen.hours == tuple(START + HOUR * hour for hour in range(9))
    opened = [sum(number for state, number in one.items() if state not in CLOSED) for one in states]
    assert list(seen.needs_decision.hourly) == decisions
    assert list(seen.unconfirmed.hourly) == [one[State.UNKNOWN] for one in states]
    assert list(seen.open.hourly) == opened
    assert max(decisions) > 1
    assert seen.needs_decision.change == decisions[-1] - decisions[-2]
    course = lifecycle_course(store, now, "24h")
    table = course.pivot_table(index="hour", columns="state", values="orders").tail(9)
    for state in table.columns:
        assert list(table[state]) == [one[state] for one in states]
    assert {state for one in states for state in one if state not in CLOSED} == set(table.columns)
    backlog = flow(store, now, "24h").tail(9)
    assert list(backlog["open"]) == opened
    assert list(flow(store, now, "24h").head(15)["open"]) == [0] * 15
    assert list(flow(store, now, "30d")["open"].tail(2)) == [0, opened[-1]]


def rows_of(frame: Any) -> Mapping[datetime, tuple[int, ...]]:
    """The steps in which something was, without their level."""
    rows = {row.hour.to_pydatetime(): (row.placed, row.completed, row.discovered) for row in frame.itertuples()}
    return {hour: numbers for hour, numbers in rows.items() if any(numbers)}


def test_throughput_leaves_out_what_was_over_when_it_was_first_seen(history: History, store: Database) -> None:
    history.place("A-1")
    history.complete("A-1", minutes=70)
    history.place("B-1")
    history.find_open("C-1")
    for name in ("D-1", "D-2"):
        history.find_finished(name)
    expected = {START: (1, 0, 0), START + HOUR: (2, 1, 2)}
    assert rows_of(flow(store, history.at, "24h")) == rows_of(flow(store, history.at, "7d")) == expected
    day = START.replace(hour=0)
    assert rows_of(flow(store, history.at, "30d")) == {day: (3, 1, 2)}
    with pytest.raises(ValueError, match="is no span"):
        flow(store, history.at, "2h")


def test_completed_today_is_compared_with_the_same_hours_of_yesterday(history: History, store: Database) -> None:
    midnight = START.replace(hour=0) + timedelta(days=1)
    for name, hour in (("A", -15), ("B", -15), ("C", -13), ("D", 9), ("E", 10)):
        if hour == 9:
            early = trend(store, midnight + timedelta(minutes=5)).completed
            assert (early.now, early.before, early.change) == (0, None, None)
        history.at = midnight + HOUR * hour
        history.place(name)
        history.complete(name, minutes=5)
    completed = trend(store, history.at).completed
    assert (completed.now, completed.before, completed.change) == (2, 2, -1)
    assert completed.since == START
    assert [number for number in completed.hourly if number] == [1, 1, 1]


def test_how_many_were_late_is_known_for_the_hours_in_which_it_was_recorded(history: History, store: Database) -> None:
    learner = Learner(store, Forecasts(), lambda: history.at, learns=True)
    for name in ("A-1", "A-2"):
        history.place(name)
        history.accept(name)
    for hours in (0, 5, 0.2, 2):
        history.wait(hours=hours)
        asyncio.run(learner.find_late_orders())
    late = trend(store, history.at, hours=8).late
    assert late.hourly == (0, None, None, None, None, 2, None, 2)
    assert (late.now, late.before, late.change) == (2, 2, 0)
    unknown = trend(store, history.at + HOUR * 3).late
    assert (unknown.now, unknown.before, unknown.change) == (2, None, None)
    history.look("A-1", "Completed")
    history.wait(hours=1.5)
    late = trend(store, history.at).late
    assert (late.now, late.before, late.change, late.since) == (1, 2, -1, history.at.replace(minute=0))
    assert verify.verify(store) == []


def test_within_an_hour_the_latest_number_of_late_orders_stays(store: Database) -> None:
    for minutes, number in ((0, 3), (20, 5), (59, 4)):
        at = START + timedelta(minutes=minutes)
        store.write(lambda connection, at=at, number=number: counters.record_late(connection, number, at))  # type: ignore[misc]
    with store.read() as connection:
        assert counters.late_in_hour(connection, START) == 4
        assert counters.late_in_hour(connection, START + HOUR) is None


def test_the_lifecycle_now_is_open_orders_by_state_and_what_ended_today(history: History, store: Database) -> None:
    empty = lifecycle_now(store, history.at)
    assert (empty.states["orders"].sum(), len(empty.values)) == (0, 0)
    for name in ("DONE-1", "OPEN-1", "LOST-1", "REFUSED-1"):
        history.place(name, value=2500)
    history.complete("DONE-1")
    history.accept("OPEN-1")
    history.lose("LOST-1")
    history.refuse("REFUSED-1")
    history.find_finished("FOUND-1")
    seen = lifecycle_now(store, history.at)
    counted = {row.state: (row.open, row.orders, row.units) for row in seen.states.itertuples() if row.orders}
    assert counted == {
        "Outcome unknown": (True, 1, 1),
        "Pending": (True, 1, 1),
        "Refused": (False, 1, 1),
        "Completed": (False, 1, 1),
    }
    assert list(seen.states["state"])[:3] == ["Queued", "Sending", "Outcome unknown"]
    assert {tuple(row) for row in seen.values.itertuples(index=False)} == {
        ("Outcome unknown", "", 1, 2500),
        ("Pending", "", 1, 2500),
    }
    tomorrow = lifecycle_now(store, history.at + timedelta(days=1)).states
    assert tomorrow.loc[~tomorrow["open"], "orders"].sum() == 0


def plans(store: Database, work: Any) -> list[str]:
    """How SQLite goes about each statement of the work."""
    found: list[str] = []

    def note(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            raw = connection.connection.cursor()
            raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(row[3] for row in raw.fetchall())

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return found


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_read_of_the_board_walks_over_all_orders(history: History, store: Database) -> None:
    history.place("A-1")
    history.accept("A-1")

    def work() -> None:
        trend(store, history.at)
        flow(store, history.at, "30d")
        lifecycle_course(store, history.at, "7d")
        lifecycle_now(store, history.at)

    of_open_orders = ("ix_orders_value", "ix_orders_lifecycle", "ix_orders_flagged")
    walks = [plan for plan in plans(store, work) if plan.startswith("SCAN") and not plan.endswith(of_open_orders)]
    assert walks == []


def test_a_sample_of_late_orders_that_cannot_be_is_named(store: Database) -> None:
    ahead = utc_now() + timedelta(days=3)
    store.write(lambda connection: counters.record_late(connection, 3, ahead))
    [told] = verify.verify(store)
    assert "is of an hour that is yet to come" in told
    store.write(lambda connection: connection.execute(sa.update(COUNTERS).values(hour=START, orders=-1)))
    [told] = verify.verify(store)
    assert "which it cannot be" in told
