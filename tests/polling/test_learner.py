"""What is learned is kept, comes back after a restart, and is what orders are planned by."""

import asyncio
import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fakes import Clock
from histories import History

from tracking.forecasting import learned as foresight
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import Forecast, Interval
from tracking.forecasting.waits import FIRST_PRICE
from tracking.polling.learner import AGAIN_AFTER, Learner
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import CALLBACKS, FACTS, ORDERS
from tracking.webhooks.silence_alarm import Arming, read_arming


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


def turn(learner: Learner) -> None:
    asyncio.run(learner.refit())


def fact(store: Database, key: str) -> dict[str, Any]:
    found = store.write(lambda connection: facts.get_fact(connection, key))
    assert found is not None
    return found[1]


def finished(history: History, count: int, minutes: float = 10, prefix: str = "A") -> None:
    for number in range(count):
        history.place(f"{prefix}-{number}")
        history.complete(f"{prefix}-{number}", minutes=minutes)


def test_what_orders_did_is_learned_and_known_again_after_a_restart(
    history: History, store: Database, clock: Clock
) -> None:
    finished(history, 12)
    before, after = Forecasts(), Forecasts()
    turn(Learner(store, before, clock, learns=True))
    learned = before.for_order("Links", 1)
    assert learned.curve.orders == 12
    assert learned.version == 1
    assert learned.curve.quantile(0.5) > 2 * Forecasts().for_order("Links", 1).curve.quantile(0.5)
    turn(Learner(store, after, clock, learns=False))
    assert after.for_order("Links", 1).curve.open == pytest.approx(learned.curve.open, abs=1e-6)
    assert after.for_order("Links", 1).version == 1


def test_a_class_is_learned_anew_when_orders_have_finished_and_now_and_then(
    history: History, store: Database, clock: Clock
) -> None:
    forecasts = Forecasts()
    learner = Learner(store, forecasts, clock, learns=True)
    finished(history, 2)
    versions: list[int] = []
    for news, wait in ((0, 1), (0, 60), (1, 60), (0, AGAIN_AFTER.total_seconds())):
        finished(history, news, prefix=f"B{len(versions)}")
        clock.pass_by(seconds=wait)
        turn(learner)
        versions.append(forecasts.for_order("Links", 1).version)
    assert versions == [1, 1, 2, 3]


def test_the_price_and_what_is_announced_outlive_a_restart(store: Database, clock: Clock) -> None:
    forecasts, again = Forecasts(), Forecasts()
    learner = Learner(store, forecasts, clock, learns=True)
    turn(learner)
    forecasts.price, forecasts.unproven_share = 17.0, 0.5
    turn(learner)
    turn(Learner(store, again, clock, learns=False))
    assert (again.price, again.unproven_share) == (17.0, 0.5)


@pytest.mark.parametrize("value", [{}, {"price": "much"}, {"price": -1, "heard": 7}, {"price": math.inf}])
def test_what_cannot_be_a_price_is_not_believed(store: Database, clock: Clock, value: dict[str, Any]) -> None:
    if value.get("price") == math.inf:
        value = {"price": 1e300}
    store.write(lambda connection: facts.set_fact(connection, FactKey.PACING, value, clock.now))
    forecasts = Forecasts()
    turn(Learner(store, forecasts, clock, learns=False))
    assert 1.0 <= forecasts.price <= 3600.0
    assert 0.0 <= forecasts.webhook_share <= 1.0
    if not value:
        assert forecasts.price == FIRST_PRICE


@pytest.mark.parametrize(
    "value",
    [
        {"form": 0, "open": [1.0] * 5},
        {"form": foresight.FORM, "open": "x"},
        {"form": foresight.FORM, "open": [1.0, 0.5]},
    ],
)
def test_a_curve_in_another_form_is_learned_again(store: Database, clock: Clock, value: dict[str, Any]) -> None:
    store.write(lambda connection: facts.set_fact(connection, facts.FORECAST + "Links/1", value, clock.now))
    forecasts = Forecasts()
    turn(Learner(store, forecasts, clock, learns=False))
    assert forecasts.for_order("Links", 1).version == 0


def test_a_curve_that_rises_is_not_believed(store: Database, clock: Clock) -> None:
    forecast = Forecast.fit("Links/1", [Interval(9, 11)], version=3)
    store.write(lambda connection: foresight.store_forecasts(connection, [forecast], clock.now, {}))
    kept = fact(store, facts.FORECAST + "Links/1")
    kept["open"][5], kept["open"][60] = 0.2, 0.9
    store.write(lambda connection: facts.set_fact(connection, facts.FORECAST + "Links/1", kept, clock.now))
    forecasts = Forecasts()
    with store.read() as connection:
        foresight.load_forecasts(connection, forecasts)
    assert forecasts.by_class() == {}


def test_the_share_that_announces_itself_is_estimated_from_orders_placed_here(
    history: History, store: Database, clock: Clock
) -> None:
    finished(history, 10)
    told = sa.update(ORDERS).where(ORDERS.c.id <= 8).values(claimed_at=ORDERS.c.completed_by, notice="confirmed")
    store.write(lambda connection: connection.execute(told))
    history.find_finished("E-1")
    forecasts = Forecasts()
    turn(Learner(store, forecasts, clock, learns=True))
    assert forecasts.webhook_share == pytest.approx(8 / 15)
    assert fact(store, FactKey.PACING)["heard"] == pytest.approx(8 / 15)
    with store.read() as connection:
        assert read_arming(connection) == Arming(heard=False, announced=8, finished=10)


def test_cancelled_orders_teach_nothing_and_open_ones_that_they_are_open() -> None:
    class Row:
        type, units, submission = "Links", 1, "accepted"
        accepted_at = datetime.fromisoformat("2026-11-23T12:00:00+00:00")
        claimed_at = completed_by = completed_after = None
        last_open_at = accepted_at + timedelta(seconds=40)
        state = "Pending"

    row: Any = Row()
    assert foresight.completion_interval(row) == Interval(40.0)
    row.state = "Cancelled"
    assert foresight.completion_interval(row) is None
    row.state, row.completed_after, row.completed_by = (
        "Completed",
        row.last_open_at,
        row.accepted_at + timedelta(seconds=90),
    )
    assert foresight.completion_interval(row) == Interval(40.0, 90.0)
    row.claimed_at = row.accepted_at + timedelta(seconds=70)
    assert foresight.completion_interval(row) == Interval(40.0, 70.0)
    row.claimed_at = row.accepted_at + timedelta(seconds=30)  # premature: a later poll still said "open"
    assert foresight.completion_interval(row) == Interval(40.0, 90.0)


def test_orders_that_were_finished_when_first_seen_teach_nothing(
    history: History, store: Database, clock: Clock
) -> None:
    for number in range(5):
        history.find_finished(f"E-{number}")
    forecasts = Forecasts()
    turn(Learner(store, forecasts, clock, learns=True))
    assert forecasts.for_order("Links", 1).curve.orders == 0


def test_late_orders_are_stored_when_they_are_others_than_before(history: History, store: Database) -> None:
    learner = Learner(store, Forecasts(), lambda: history.at, learns=True)
    stored: list[int] = []
    for hours in (0, 5, 1):
        history.wait(hours=hours)
        asyncio.run(learner.find_late_orders())
        with store.read() as connection:
            found = facts.get_fact(connection, FactKey.LATE_ORDERS)
        stored.append(found.value["others"] if found else -1)
        written_at = found.at if found else None
        if not hours:
            history.place("A-1")
            history.accept("A-1")
    assert stored == [-1, 1, 1]
    assert written_at == history.at - timedelta(hours=1)


def test_silence_is_suspected_looked_into_told_once_and_over_when_a_webhook_comes(
    history: History, store: Database, clock: Clock
) -> None:
    forecasts = Forecasts()
    learner = Learner(store, forecasts, clock, learns=True)
    turn(learner)
    forecasts.webhook_share = 0.99
    heard_at = history.at
    hear(store, heard_at)
    history.wait(minutes=1)
    finished(history, 3)
    clock.now = history.at + timedelta(minutes=1)
    asyncio.run(learner.check_silence())
    assert forecasts.expected_webhook_share == 0.0
    alarm = fact(store, FactKey.WEBHOOK_SILENCE)
    assert (alarm["missed"], alarm["ended_at"]) == (3, None)
    other = Forecasts()
    listener = Learner(store, other, clock, learns=False)
    turn(listener)
    asyncio.run(listener.check_silence())
    assert other.webhooks_silent
    clock.pass_by(seconds=30)
    hear(store, clock.now)
    clock.pass_by(seconds=5)
    asyncio.run(learner.check_silence())
    assert forecasts.expected_webhook_share == 0.99
    assert fact(store, FactKey.WEBHOOK_SILENCE)["ended_at"] is not None


def test_a_suspicion_asks_for_looks_twice_a_minute_at_the_most(history: History, store: Database, clock: Clock) -> None:
    forecasts = Forecasts()
    learner = Learner(store, forecasts, clock, learns=True)
    for number in range(8):
        history.place(f"A-{number}")
        history.accept(f"A-{number}")
    turn(learner)
    forecasts.webhook_share = 0.99
    hear(store, history.at)
    asked = []
    clock.now = history.at + timedelta(hours=1)
    for _ in range(5):
        asyncio.run(learner.check_silence())
        asked.append(forecasts.sweep_asked)
        forecasts.sweep_asked = False
        clock.pass_by(seconds=10)
    assert asked == [True, False, False, True, False]


def hear(store: Database, at: datetime) -> None:
    values = {"digest": str(at), "outcome": "accepted", "received_at": at, "last_at": at, "size": 1}
    store.write(lambda connection: connection.execute(sa.insert(CALLBACKS), values | {"repeats": 0, "method": "POST"}))


def test_nothing_is_judged_before_what_was_learned_is_known_again(store: Database, clock: Clock) -> None:
    asyncio.run(Learner(store, Forecasts(), clock, learns=True).check_silence())
    with store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(FACTS)).scalar_one() == 0


def test_the_arrays_of_a_learned_curve_are_finite(history: History, store: Database, clock: Clock) -> None:
    finished(history, 1, minutes=60 * 24 * 89)
    forecasts = Forecasts()
    turn(Learner(store, forecasts, clock, learns=True))
    assert np.isfinite(forecasts.for_order("Links", 1).curve.open).all()
