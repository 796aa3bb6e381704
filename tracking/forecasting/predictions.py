"""What was said of open orders, kept so that it can be held against what came.

Of an order that the provider took, and again whenever its age has doubled, is kept by when half, and nine in ten, of
those as old as it were to finish, just as it was said. A statement is judged once that time has passed: it held, it
failed, or nobody knows, where the order finished between two looks of which one came before that time and one after it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.forecasting.forecasts import LONGEST_EXPECTED
from tracking.forecasting.lateness import in_class
from tracking.orders.model import CLOSED, State
from tracking.orders.wording import count
from tracking.storage.tables import ORDERS, PREDICTIONS, insert_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracking.forecasting.survival import ConditionalForecast, Forecast

SECOND_STEP = timedelta(minutes=1)  # the age at which a second statement is kept
SCORED = 20_000
SCORED_OF_A_CLASS = 2_000
SCORED_FOR = timedelta(days=30)
SHARES = {"half_by": 0.5, "nine_in_ten_by": 0.9}


@dataclass(frozen=True, slots=True)
class Said:
    """How much longer half, and nine in ten, of the orders as old as this take at the most; None: nobody knows."""

    half: timedelta | None
    nine_in_ten: timedelta | None

    @classmethod
    def of(cls, standing: ConditionalForecast, age: float) -> Said:
        """What is said of an order of this age in seconds."""
        return cls(_left(standing.half_by, age), _left(standing.nine_in_ten_by, age))


def _left(by: float, age: float) -> timedelta | None:
    if math.isinf(by) or by > LONGEST_EXPECTED.total_seconds():
        return None
    return _rounded_up(by - age)


def _rounded_up(seconds: float) -> timedelta:
    """To what `sentences.duration` shows, so that "within" stays true."""
    step = 1 if seconds < 60 else 60 if seconds < 86_400 else 3600
    return timedelta(seconds=math.ceil(max(seconds, 1.0) / step) * step)


# Keeping


def step_of(age: timedelta) -> int:
    """How often an order of this age has been spoken of: once when it came, then each time its age had doubled."""
    return 1 + int(math.log2(age / SECOND_STEP)) if age >= SECOND_STEP else 0


def made(order_id: int, forecast: Forecast, age: timedelta, now: datetime, step: int) -> dict[str, Any]:
    """The row for what is said now of an open order of this age."""
    seconds = max(age.total_seconds(), 0.0)
    said = Said.of(forecast.conditional(seconds), seconds)
    return {
        "order_id": order_id,
        "step": step,
        "made_at": now,
        "orders": round(forecast.curve.orders),
        "half_by": now + said.half if said.half else None,
        "nine_in_ten_by": now + said.nine_in_ten if said.nine_in_ten else None,
    }


def keep(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Keeps what was said; what another process has said of the same order at the same step stands."""
    if found := list(rows):
        connection.execute(insert_predictions(connection.dialect.name), found)


# Judging


@dataclass(frozen=True, slots=True)
class Score:
    """How many statements of one kind came true.

    Attributes:
        share: of the orders that were to finish by then: 0.5 or 0.9.
        later: they were made of orders that had been open for a while, not when these came.
        guessed: no order of the class had finished when they were made.
        said: how many.
        held: how many surely held.
        failed: how many surely did not.
    """

    share: float
    later: bool
    guessed: bool
    said: int
    held: int
    failed: int

    @property
    def least(self) -> float:
        """The share that surely held."""
        return self.held / self.said if self.said else 0.0

    @property
    def most(self) -> float:
        """The share that may have held."""
        return 1 - self.failed / self.said if self.said else 1.0


def scores(connection: Connection, since: datetime, now: datetime) -> list[Score]:
    """How the statements fared whose time came since then, the newest SCORED of them."""
    return [score for name in SHARES for score in _scored(connection, name, since, now, SCORED)]


def score_of_class(connection: Connection, name: str, now: datetime) -> Score | None:
    """How the newest statements fared that nine in ten orders of the class finish by then; None without any."""
    of_these = select(ORDERS.c.id).where(in_class(name))
    found = _scored(connection, "nine_in_ten_by", now - SCORED_FOR, now, SCORED_OF_A_CLASS, of_these)
    learned = [score for score in found if not score.guessed]
    if not learned:
        return None
    said, held, failed = (sum(getattr(one, name) for one in learned) for name in ("said", "held", "failed"))
    return Score(0.9, later=False, guessed=False, said=said, held=held, failed=failed)


def _scored(
    connection: Connection, deadline: str, since: datetime, now: datetime, limit: int, orders: Any = None
) -> list[Score]:
    due = PREDICTIONS.c[deadline]
    passed = select(PREDICTIONS.c.order_id, PREDICTIONS.c.step, PREDICTIONS.c.orders, due.label("due"))
    passed = passed.where(due > since, due <= now)
    if orders is not None:
        passed = passed.where(PREDICTIONS.c.order_id.in_(orders))
    newest = passed.order_by(due.desc()).limit(limit).subquery()
    held, failed = _outcome(newest.c.due)
    later, guessed = newest.c.step > 0, newest.c.orders == 0
    counted = (
        select(later, guessed, sa.func.count(), _number(held), _number(failed))
        .join(ORDERS, ORDERS.c.id == newest.c.order_id)
        # What was cancelled did not finish, nor can it any more.
        .where(ORDERS.c.state.not_in([State.CANCELLED.value, State.REFUSED.value]))
        .group_by(later, guessed)
        .order_by(later, guessed)
    )
    rows = connection.execute(counted).all()
    return [
        Score(SHARES[deadline], later=bool(row[0]), guessed=bool(row[1]), said=row[2], held=row[3], failed=row[4])
        for row in rows
    ]


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def _outcome(due: Any) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """That an order surely finished by then, and that it surely did not."""
    orders = ORDERS.c
    finished = orders.state == State.COMPLETED.value
    # A notice that a look confirmed says more exactly when it was done, unless a look after it still said open.
    noticed = sa.and_(orders.claimed_at >= orders.completed_after, orders.claimed_at <= due)
    held = sa.and_(finished, sa.or_(orders.completed_by <= due, noticed))
    still_open = sa.and_(orders.state.not_in(sorted(CLOSED)), orders.last_open_at >= due)
    failed = sa.or_(sa.and_(finished, orders.completed_after >= due), still_open)
    return held, sa.and_(failed, sa.not_(sa.func.coalesce(held, sa.false())))


def held_of_100(score: Score) -> str:
    """How many of 100 held, as far as is known: "90", "88 to 91"."""
    least, most = math.floor(score.least * 100), math.ceil(score.most * 100)
    return str(least) if least == most else f"{least} to {most}"


def told(score: Score) -> str:
    """The score of what was said of nine in ten orders of one class, in a sentence."""
    said = count(score.said, "nine-in-ten statement")
    return f"Of the last {said} about orders like it {held_of_100(score)} of 100 held."


@functools.cache
def insert_predictions(dialect: str) -> Any:
    """Keeps what is said of an order at a step of its age, where nothing was said there."""
    return insert_for(dialect, PREDICTIONS).on_conflict_do_nothing(index_elements=["order_id", "step"])
