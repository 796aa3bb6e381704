"""What is said of open orders is kept as it was said, and judged by what came."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from fakes import Clock
from histories import START, History

from tracking.forecasting import predictions
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.predictions import Score, made, step_of
from tracking.forecasting.survival import Forecast, Interval
from tracking.polling.learner import Learner
from tracking.reports import explanations, trends
from tracking.storage.database import Database
from tracking.storage.tables import PREDICTIONS

DUE = START + timedelta(minutes=10)


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


def kept(store: Database) -> Sequence[sa.RowMapping]:
    wanted = sa.select(PREDICTIONS).order_by(PREDICTIONS.c.order_id, PREDICTIONS.c.step)
    with store.read() as connection:
        return connection.execute(wanted).mappings().all()


def said(store: Database, order_id: int, due: datetime, *, step: int = 0, orders: int = 50) -> None:
    """A statement that nine in ten finish by then, in place of what ingest kept."""
    row = {"order_id": order_id, "step": step, "made_at": START, "orders": orders, "half_by": None}

    def job(connection: sa.Connection) -> None:
        connection.execute(sa.delete(PREDICTIONS).where(PREDICTIONS.c.order_id == order_id))
        predictions.keep(connection, [row | {"nine_in_ten_by": due}])

    store.write(job)


def score(store: Database, now: datetime) -> tuple[int, int, int]:
    with store.read() as connection:
        [found] = predictions.scores(connection, START - timedelta(days=1), now)
    return found.said, found.held, found.failed


def test_an_order_that_the_provider_took_is_spoken_of_once(history: History, store: Database) -> None:
    history.place("A-1")
    assert kept(store) == []
    history.accept("A-1")
    history.wait(seconds=10)
    history.look("A-1", "Pending")
    [row] = kept(store)
    guess = Forecasts().for_order("Links", 1)
    assert (row["step"], row["orders"], row["made_at"]) == (0, 0, START)
    assert START < row["half_by"] < row["nine_in_ten_by"]
    assert row["half_by"] - START == pytest.approx(
        timedelta(seconds=guess.curve.quantile(0.5)), abs=timedelta(seconds=1)
    )


def test_of_an_order_that_was_found_finished_nothing_is_said(history: History, store: Database) -> None:
    history.find_finished("X-1")
    assert kept(store) == []


@pytest.mark.parametrize(
    ("minutes", "step"), [(-5, 0), (0, 0), (0.99, 0), (1, 1), (1.9, 1), (2, 2), (4, 3), (7.9, 3), (8, 4), (1e5, 17)]
)
def test_an_order_is_spoken_of_again_whenever_its_age_has_doubled(minutes: float, step: int) -> None:
    assert step_of(timedelta(minutes=minutes)) == step


def test_what_is_kept_is_what_is_shown() -> None:
    forecast = Forecast.fit("Links/1", [Interval(100.0, 300.0)] * 40)
    age = timedelta(minutes=3)
    row = made(7, forecast, age, START, 2)
    shown = explanations.expectation(forecast, age)
    assert (row["half_by"] - START, row["nine_in_ten_by"] - START) == (shown.half_within, shown.nine_in_ten_within)
    assert (row["order_id"], row["step"], row["orders"]) == (7, 2, 40)


def test_the_learner_speaks_again_of_what_grew_old_and_never_twice(history: History, store: Database) -> None:
    history.place("A-1")
    history.accept("A-1")
    clock = Clock(history.at)
    steps = []
    for learner in (Learner(store, Forecasts(), clock, learns=True), Learner(store, Forecasts(), clock, learns=True)):
        for seconds in (30, 40, 10, 60):
            clock.pass_by(seconds=seconds)
            asyncio.run(learner.refit())
            steps.append([row["step"] for row in kept(store)])
    assert steps == [[0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2, 3]]


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
    said(store, number, DUE)
    history.at = START + timedelta(minutes=last_open)
    history.look("A-1", "Pending")
    if done is not None:
        history.at = START + timedelta(minutes=done)
        history.look("A-1", "Completed")
    assert score(store, START + timedelta(minutes=now)) == expected


def test_a_statement_whose_time_has_not_come_is_not_judged(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.complete("A-1", minutes=1)
    said(store, number, DUE)
    with store.read() as connection:
        assert predictions.scores(connection, START, DUE - timedelta(seconds=1)) == []


def test_a_confirmed_notice_tells_more_exactly_and_a_premature_one_does_not(history: History, store: Database) -> None:
    for name, announced in (("RIGHT-1", 8), ("EARLY-1", 2)):
        history.at = START
        number = history.place(name)
        history.accept(name)
        said(store, number, DUE)
        for minute in sorted((announced, 5)):
            history.at = START + timedelta(minutes=minute)
            history.announce(name) if minute == announced else history.look(name, "Pending")
        history.at = START + timedelta(minutes=15)
        history.look(name, "Completed")
    assert score(store, history.at) == (2, 1, 0)


def test_a_cancelled_order_says_nothing(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.accept("A-1")
    said(store, number, DUE)
    history.look("A-1", "Cancelled")
    with store.read() as connection:
        assert predictions.scores(connection, START, DUE) == []


def test_guesses_and_what_was_learned_early_and_late_are_scored_apart(history: History, store: Database) -> None:
    for step, orders in ((0, 0), (0, 9), (3, 9)):
        number = history.place(f"A-{step}-{orders}")
        history.accept(f"A-{step}-{orders}")
        said(store, number, DUE, step=step, orders=orders)
    with store.read() as connection:
        found = predictions.scores(connection, START, DUE)
    assert [(one.later, one.guessed, one.said) for one in found] == [
        (False, False, 1),
        (False, True, 1),
        (True, False, 1),
    ]


def test_the_score_of_a_class_stands_beside_the_next_statement(history: History, store: Database) -> None:
    for number in range(10):
        order_id = history.place(f"A-{number}")
        history.accept(f"A-{number}")
        said(store, order_id, history.at + timedelta(minutes=8 if number else 1))
        history.wait(minutes=3)
        history.look(f"A-{number}", "Pending")
        history.wait(seconds=1)
        history.look(f"A-{number}", "Completed")
    history.wait(minutes=10)
    history.place("B-1")
    history.accept("B-1")
    text = " ".join(explanations.explain_next_poll(store, history.numbers["B-1"], history.at)["reasons"])
    assert "Of the last 10 nine-in-ten statements about orders like it 90 of 100 held." in text
    two = history.place("TWO-1", lines=2)
    history.accept("TWO-1")
    assert "nine-in-ten" not in " ".join(explanations.explain_next_poll(store, two, history.at)["reasons"])


def test_the_overview_counts_what_came_within_its_span(history: History, store: Database) -> None:
    number = history.place("A-1")
    history.complete("A-1", minutes=1)
    said(store, number, DUE)
    assert [one.said for one in trends.foretold(store, DUE + timedelta(hours=23), "24h")] == [1]
    assert trends.foretold(store, DUE + timedelta(hours=25), "24h") == []


def test_a_score_is_a_range_where_not_all_is_known() -> None:
    known = Score(0.9, later=False, guessed=False, said=200, held=180, failed=20)
    partly = Score(0.9, later=False, guessed=False, said=200, held=176, failed=18)
    assert predictions.held_of_100(known) == "90"
    assert predictions.held_of_100(partly) == "88 to 91"
    assert (partly.least, partly.most) == (0.88, 0.91)
