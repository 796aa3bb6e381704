"""Predictions of open orders: stored when the provider takes an order, and scored by what came.

Stored is the time by which nine in ten orders of its class finish, where enough of them have finished. A prediction is
scored once that time has passed: it held, it failed, or nobody knows, where the order finished between two polls of
which one came before that time and one after it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, select

from tracking.forecasting.forecasts import LONGEST_EXPECTED
from tracking.forecasting.lateness import in_class
from tracking.orders.latency import finished_between
from tracking.orders.model import State
from tracking.storage.tables import ORDERS, PREDICTIONS, insert_for

if TYPE_CHECKING:
    from tracking.forecasting.forecasts import ComparableTimes

SCORED = 10_000
SCORED_OF_A_CLASS = 2_000
LOOKED_THROUGH = 20_000  # of all classes, for those of one: else a rare one, or a large store, would cost all there are
SCORED_FOR = timedelta(days=30)
_TIMES = ("state", "accepted_at", "last_open_at", "completed_after", "completed_by", "claimed_at")


def remaining(by: float, age: float) -> timedelta | None:
    """Convert the age in seconds by which an order finishes into the time left at `age`; None: nobody knows.

    Rounded up to what `wording.duration` shows, so that "within" stays true.
    """
    if math.isinf(by) or by > LONGEST_EXPECTED.total_seconds():
        return None
    left = by - age
    step = 1 if left < 60 else 60 if left < 86_400 else 3600
    return timedelta(seconds=math.ceil(max(left, 1.0) / step) * step)


def store_prediction(
    connection: Connection, order_id: int, compared: ComparableTimes, age: timedelta, now: datetime
) -> None:
    """Store by when nine in ten orders like this open one finish; nothing while too few have finished to say."""
    seconds = max(age.total_seconds(), 0.0)
    left = remaining(compared.finishes_by(0.9, seconds), seconds)
    if left is not None:
        orders = compared.times.orders
        row = {"order_id": order_id, "step": 0, "made_at": now, "orders": orders, "nine_in_ten_by": now + left}
        connection.execute(insert_prediction(connection.dialect.name), row)


@functools.cache
def insert_prediction(dialect: str) -> Any:
    """Insert a prediction, unless another process has made one of the order."""
    return insert_for(dialect, PREDICTIONS).on_conflict_do_nothing(index_elements=["order_id", "step"])


@dataclass(frozen=True, slots=True)
class Score:
    """How many predictions came true: of so many, so many surely held and so many surely failed."""

    predictions: int
    held: int
    failed: int

    @property
    def held_of_100(self) -> tuple[int, int]:
        """The least and the most of a hundred that may have held."""
        return 100 * self.held // self.predictions, 100 - 100 * self.failed // self.predictions


def score_by_type(connection: Connection, since: datetime, now: datetime) -> dict[str, Score]:
    """Score the predictions whose time came since then, the newest SCORED of them, by the type of their orders."""
    outcomes = _outcomes(connection, since, now, SCORED)
    names = sorted({name for name, _ in outcomes})
    scores = {name: _score([one for one in outcomes if one[0] == name]) for name in names}
    return {name: score for name, score in scores.items() if score is not None}


def score_of_class(connection: Connection, name: str, now: datetime) -> Score | None:
    """Score the predictions of the class among the newest LOOKED_THROUGH of all; None without any."""
    return _score(_outcomes(connection, now - SCORED_FOR, now, LOOKED_THROUGH, in_class(name)))


def _outcomes(
    connection: Connection, since: datetime, now: datetime, limit: int, *of_orders: Any
) -> list[tuple[str, bool | None]]:
    """The type of each order with a prediction whose time came since then, and whether the prediction held.

    The newest `limit` predictions are looked through, and with `of_orders` the newest SCORED_OF_A_CLASS of them taken.
    """
    due = PREDICTIONS.c.nine_in_ten_by
    passed = select(PREDICTIONS.c.order_id, due.label("due")).where(due > since, due <= now, PREDICTIONS.c.orders > 0)
    newest = passed.order_by(due.desc()).limit(limit).subquery()
    columns = (newest.c.due, ORDERS.c.type, *(ORDERS.c[name] for name in _TIMES))
    scored = (
        select(*columns, and_(True, *of_orders).label("counts"))
        .join(ORDERS, ORDERS.c.id == newest.c.order_id)
        # What was cancelled did not finish, nor can it any more.
        .where(ORDERS.c.state.not_in([State.CANCELLED.value, State.REFUSED.value]))
        .limit(limit)
    )
    if of_orders:  # judged one by one: a planner would rather read all orders of the class
        looked = scored.subquery()
        scored = select(looked).where(looked.c.counts).order_by(looked.c.due.desc()).limit(SCORED_OF_A_CLASS)
    rows = connection.execute(scored)
    return [(row.type, _held(row)) for row in rows]


def _score(outcomes: Sequence[tuple[str, bool | None]]) -> Score | None:
    held = [outcome for _, outcome in outcomes]
    return Score(len(held), held.count(True), held.count(False)) if held else None


def _held(row: Any) -> bool | None:
    """Whether the order finished by the predicted time; None where no poll can tell."""
    if row.completed_by is None:
        return False if row.last_open_at is not None and row.last_open_at >= row.due else None
    after, by = finished_between(row.completed_after or row.accepted_at, row.completed_by, row.claimed_at)
    return True if by <= row.due else False if after >= row.due else None
