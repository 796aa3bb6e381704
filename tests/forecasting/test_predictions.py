"""Predictions of open orders are stored when they are made, and scored by what came."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import histories
import pytest
import sqlalchemy as sa
from finished import times_of
from histories import START, History

from tracking.forecasting import predictions
from tracking.forecasting.forecasts import ComparableTimes, Forecasts
from tracking.forecasting.predictions import Score
from tracking.forecasting.survival import Interval
from tracking.reports import explanations
from tracking.storage.database import Database
from tracking.storage.tables import PREDICTIONS

LEARNED = {"Links/1": times_of(Interval(100.0, 300.0), orders=40)}
COMPARED = ComparableTimes(LEARNED["Links/1"], "Links/1")
DUE = START + timedelta(minutes=10)
DAY = timedelta(days=1)


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


@pytest.fixture
def forecasts(monkeypatch: pytest.MonkeyPatch) -> Forecasts:
    """The forecasts that orders are planned by."""
    forecasts = Forecasts()
    monkeypatch.setattr(histories, "PLANNER", replace(histories.PLANNER, forecasts=forecasts))
    return forecasts


def stored(store: Database) -> Sequence[sa.RowMapping]:
    with store.read() as connection:
        return connection.execute(sa.select(PREDICTIONS)).mappings().all()


def predict(store: Database, order_id: int, due: datetime, orders: int = 50) -> None:
    """A prediction that nine in ten finish by then."""
    row = {"order_id": order_id, "step": 0, "made_at": START, "orders": orders, "nine_in_ten_by": due}
    store.write(lambda connection: connection.execute(sa.insert(PREDICTIONS), row))


def score(store: Database, now: datetime, since: datetime = START - timedelta(days=1)) -> tuple[int, int, int]:
    with store.read() as connection:
        [result] = predictions.score_by_type(connection, since, now).values() or [Score(0, 0, 0)]
    return result.predictions, result.held, result.failed


def test_one_prediction_is_stored_of_an_order_that_the_provider_took(
    history: History, store: Database, forecasts: Forecasts
) -> None:
    forecasts.replace((), LEARNED)
    history.place("A-1")
    assert stored(store) == []
    history.accept("A-1")
    history.wait(seconds=10)
    history.look("A-1", "Pending")
    [row] = stored(store)
    expected = explanations.expectation(COMPARED, "Links/1", timedelta())
    assert (row["step"], row["orders"], row["made_at"], row["half_by"]) == (0, 40, START, None)
    assert row["nine_in_ten_by"] - START == expected.nine_in_ten_within


def test_a_first_guess_and_an_order_found_finished_are_no_predictions(
    history: History, store: Database, forecasts: Forecasts
) -> None:
    history.place("A-1")
    history.accept("A-1")
    forecasts.replace((), LEARNED)
    history.find_finished("X-1")
    assert stored(store) == []


def test_the_first_prediction_of_an_order_stands(history: History, store: Database) -> None:
    number = history.place("A-1")
    for age in (timedelta(minutes=1), timedelta(minutes=2)):
        store.write(partial(predictions.store_prediction, order_id=number, compared=COMPARED, age=age, now=START))
    [row] = stored(store)
    assert (
        row["nine_in_ten_by"] - START
        == explanations.expectation(COMPARED, "Links/1", timedelta(minutes=1)).nine_in_ten_within
    )


@pytest.mark.parametrize(
    ("last_open", "done", "now", "expected"),
    [
        (1, 5, 20, (1, 1, 0)),
        (1, 15, 20, (1, 0, 0)),  # somewhere between the two looks: nobody knows
        (12, 15, 20, (1, 0, 1)),
        (12, None, 20, (1, 0, 1)),
        (5, None, 20, (1, 0, 0)),  # not looked at since
    ],
)
def test_a_statement_is_judged_by_the_looks_around_its_time(
    history: History, store: Database, last_open: int, done: int | None, now: int, expected: tuple[int, int, int]
) -> None:
    number = history.place("A-1")
    history.accept("A-1")
    predict(store, number, DUE)
    history.at = START + timedelta(minutes=last_open)
    history.look("A-1", "Pending")
    if done is not None:
        history.at = START + timedelta(minutes=done)
        history.look("A-1", "Completed")
    assert score(store, START + timedelta(minutes=now)) == expected


def test_a_statement_whose_time_has_not_come_is_not_judged(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.complete("A-1", minutes=1)
    predict(store, number, DUE)
    assert score(store, DUE - timedelta(seconds=1)) == (0, 0, 0)


def test_a_confirmed_notice_tells_more_exactly_and_a_premature_one_does_not(history: History, store: Database) -> None:
    for name, announced in (("RIGHT-1", 8), ("EARLY-1", 2)):
        history.at = START
        number = history.place(name)
        history.accept(name)
        predict(store, number, DUE)
        for minute in sorted((announced, 5)):
            history.at = START + timedelta(minutes=minute)
            history.announce(name) if minute == announced else history.look(name, "Pending")
        history.at = START + timedelta(minutes=15)
        history.look(name, "Completed")
    assert score(store, history.at) == (2, 1, 0)


def test_a_cancelled_order_says_nothing(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.accept("A-1")
    predict(store, number, DUE)
    history.look("A-1", "Cancelled")
    assert score(store, DUE) == (0, 0, 0)


def test_guesses_stored_by_earlier_versions_are_not_scored(history: History, store: Database) -> None:
    for orders in (0, 9):
        number = history.place(f"A-{orders}")
        history.accept(f"A-{orders}")
        predict(store, number, DUE, orders)
    assert score(store, DUE) == (1, 0, 0)


def test_the_score_of_a_class_stands_beside_the_next_statement(history: History, store: Database) -> None:
    for number in range(10):
        order_id = history.place(f"A-{number}")
        history.accept(f"A-{number}")
        predict(store, order_id, history.at + timedelta(minutes=8 if number else 1))
        history.wait(minutes=3)
        history.look(f"A-{number}", "Pending")
        history.wait(seconds=1)
        history.look(f"A-{number}", "Completed")
    history.wait(minutes=10)
    history.place("B-1")
    history.accept("B-1")
    text = " ".join(explanations.explain_next_poll(store, history.numbers["B-1"], history.at)["reasons"])
    assert "90 % ETAs of similar orders: 10 made, 9 held." in text
    two = history.place("TWO-1", lines=2)
    history.accept("TWO-1")
    assert "90 % ETA" not in " ".join(explanations.explain_next_poll(store, two, history.at)["reasons"])


def test_counted_is_what_came_due_within_the_period(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.complete("A-1", minutes=1)
    predict(store, number, DUE)
    assert score(store, DUE + DAY, DUE - timedelta(seconds=1)) == (1, 1, 0)
    assert score(store, DUE + DAY, DUE) == (0, 0, 0)


@pytest.mark.parametrize(("held", "failed", "text"), [(180, 20, "180"), (176, 18, "176 to 182"), (0, 0, "0 to 200")])
def test_a_score_is_a_range_where_not_all_is_known(held: int, failed: int, text: str) -> None:
    sentence = explanations.score_text(Score(200, held, failed))
    assert sentence == f"90 % ETAs of similar orders: 200 made, {text} held."
