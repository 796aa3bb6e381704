"""When an order is late follows from those that finish, whatever hangs: simulated classes with fixed seeds."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from finished import times_of

from tracking.forecasting.finish_times import FinishedOrder, FinishTimes
from tracking.forecasting.forecasts import Forecasts, LateBasis
from tracking.forecasting.learned import fit_finish_times, history_by_class
from tracking.forecasting.survival import Interval

NOW = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
Draw = Callable[[np.random.Generator], float]


@dataclass
class Row:
    """The columns of an order that are learned from."""

    accepted_at: datetime
    took: float | None = None
    type: str = "Links"
    units: int = 1
    submission: str = "accepted"
    claimed_at: None = None

    @property
    def state(self) -> str:
        return "Pending" if self.took is None else "Completed"

    @functools.cached_property
    def last_open_at(self) -> datetime:
        return self.accepted_at + timedelta(seconds=0.95 * (self.took or 0.0))

    @functools.cached_property
    def completed_after(self) -> datetime | None:
        return None if self.took is None else self.last_open_at

    @functools.cached_property
    def completed_by(self) -> datetime | None:
        return None if self.took is None else self.accepted_at + timedelta(seconds=1.05 * self.took)


def quick(rng: np.random.Generator) -> float:
    return float(25 * np.exp(0.6 * rng.standard_normal()))


def spread_out(rng: np.random.Generator) -> float:
    return float(600 * np.exp(rng.standard_normal()))


def fast_and_slow(rng: np.random.Generator) -> float:
    return quick(rng) * (40.0 if rng.random() < 0.2 else 1.0)


def rarely_slow(rng: np.random.Generator) -> float:
    return quick(rng) * (40.0 if rng.random() < 0.03 else 1.0)


SHAPES: tuple[Draw, ...] = (quick, spread_out, fast_and_slow, rarely_slow)


@functools.cache
def percentile(draw: Draw) -> float:
    """The true 99th percentile of a shape, in seconds."""
    rng = np.random.default_rng(99)
    return float(np.quantile([draw(rng) for _ in range(50_000)], 0.99))


def learn(forecasts: Forecasts, rows: list[Any], now: datetime) -> Forecasts:
    newest_first: list[Any] = sorted(rows, key=lambda row: row.accepted_at, reverse=True)
    forecasts.replace((), fit_finish_times(history_by_class(newest_first, now), forecasts))
    return forecasts


@pytest.mark.parametrize("draw", SHAPES, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("finished", [10, 30, 200, 2000])
def test_stuck_orders_are_late_however_many_hang(draw: Draw, finished: int) -> None:
    rng = np.random.default_rng(finished)
    bound = max(3 * percentile(draw), MINUTE)
    before = [Row(NOW - timedelta(seconds=bound * 2 + 20 * number), draw(rng)) for number in range(finished)]
    for stuck in (1, 3, 10, 100):
        hanging = [Row(NOW - timedelta(seconds=float(age))) for age in rng.uniform(0, MINUTE, stuck)]
        for age in (bound, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, 4 * DAY):
            forecasts = learn(Forecasts(), before + hanging, NOW + timedelta(seconds=age))
            limit = forecasts.late_limit("Links", 1)
            if finished < 30:
                assert (limit.basis, limit.orders) == (LateBasis.GUESS, finished)
                assert limit.after >= timedelta(minutes=15)
            else:
                assert limit.basis == LateBasis.LEARNED
                assert limit.after.total_seconds() <= bound


@dataclass
class Stream:
    """Orders placed one after another, judged as the console would: now and then by what has finished by then.

    `late`: for each order whether it was late before it finished. `limits`: the limit of each time.
    """

    late: list[bool]
    limits: list[float]


def stream(draw: Callable[[float, np.random.Generator], float], orders: int, every: float, seed: int) -> Stream:
    rng = np.random.default_rng(seed)
    placed = np.arange(orders) * every
    took = np.array([draw(at, rng) for at in placed])
    rows = [Row(NOW + timedelta(seconds=float(at)), float(took[one])) for one, at in enumerate(placed)]
    late_at, result, forecasts = np.full(orders, np.inf), Stream([], []), Forecasts()
    for now in np.arange(0.0, placed[-1] + took.max() + MINUTE, max(MINUTE, 8 * every)):
        done = np.flatnonzero(placed + took * 1.05 <= now)[-1500:]
        learn(forecasts, [rows[one] for one in done], NOW + timedelta(seconds=float(now)))
        limit = forecasts.late_limit("Links", 1).after.total_seconds()
        result.limits.append(limit)
        ahead = late_at > now
        late_at[ahead] = placed[ahead] + limit
    result.late = [bool(late) for late in late_at < placed + took]
    return result


def at_most(share: float, orders: int) -> float:
    """How many of so many chance takes at the most where it takes this share: three standard deviations more."""
    expected = share * orders
    return expected + 3 * math.sqrt(expected * (1 - share))


@pytest.mark.parametrize("streams", [pytest.param(1, id="once"), pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize("draw", SHAPES, ids=lambda draw: draw.__name__)
def test_of_a_hundred_orders_that_finish_two_at_most_are_called_late(draw: Draw, streams: int) -> None:
    """Once the class is no longer new: of a new one the slow orders are still to come.

    They count when all that were placed with them must have finished too, which takes three times as long as they do.
    """
    every, new = max(percentile(draw) / 100, 5.0), 300
    late = [stream(lambda _at, rng: draw(rng), 700, every, seed).late[new:] for seed in range(streams)]
    assert sum(map(sum, late)) <= at_most(0.02, sum(map(len, late)))


def test_a_class_that_became_slower_is_judged_by_what_finishes_now() -> None:
    def slower(at: float, rng: np.random.Generator) -> float:
        return quick(rng) * (1.0 if at < HOUR else 12.0)

    judged = stream(slower, 1200, 10.0, 0)
    assert max(judged.limits[15:45]) < 3 * percentile(quick)
    assert judged.limits[-1] > 12 * percentile(quick) / 1.5
    settled = judged.late[700:]
    assert sum(settled) <= at_most(0.02, len(settled))


def test_an_outage_and_its_end_leave_the_limit_where_it_was() -> None:
    begin, end = 2 * HOUR, 3 * HOUR

    def held_up(at: float, rng: np.random.Generator) -> float:
        took = quick(rng)
        return took if at + took < begin or at >= end else end - at + took

    judged = stream(held_up, 1400, 10.0, 0)
    usual, during = percentile(quick), judged.limits[125:180]
    assert max(during) <= 3 * usual
    out = judged.late[720:1080]
    assert sum(out) > 0.8 * len(out)
    assert max(judged.limits[-100:]) <= 3 * usual
    after = judged.late[1200:]
    assert sum(after) <= at_most(0.02, len(after))


def test_orders_placed_together_are_not_late_while_they_still_finish_one_after_another() -> None:
    took = [float(10 + number) for number in range(300)]
    forecasts = Forecasts()
    for now in range(60, 320, 20):
        rows = [Row(NOW + timedelta(milliseconds=one), one) for one in took if one * 1.05 <= now]
        limit = learn(forecasts, [*rows], NOW + timedelta(seconds=now)).late_limit("Links", 1)
        assert limit.after.total_seconds() > now


def test_the_limit_is_what_99_of_100_show_and_a_margin_for_few() -> None:
    many, few = times_of(Interval(95.0, 100.0), orders=400), times_of(Interval(95.0, 100.0), orders=30)
    assert 100 <= many.late_after <= 140
    assert many.late_after < few.late_after <= 190
    assert (many.reliable, many.orders) == (True, 400)


def test_without_finished_orders_nothing_is_said() -> None:
    unknown = FinishTimes.unknown()
    assert (unknown.reliable, unknown.orders, unknown.late_after) == (False, 0, 0.0)
    assert unknown.finishes_by(0.5, 0.0) == np.inf


def test_beyond_what_finished_orders_took_nothing_is_promised() -> None:
    times = times_of(*(Interval(9.0 + step, 11.0 + step) for step in range(30)), orders=4)
    assert 20 < times.finishes_by(0.5, 0.0) < 30
    assert times.finishes_by(0.9, 30.0) < 50
    assert times.finishes_by(0.5, 100.0) == np.inf
    one_slow = FinishTimes.fit(
        10.0, [FinishedOrder(Interval(9.0, 11.0), 1e6)] * 240 + [FinishedOrder(Interval(500.0, 1500.0), 1e6)]
    )
    assert one_slow.finishes_by(0.5, 12.0) < 1500
    assert one_slow.finishes_by(0.5, 1200.0) == np.inf


def test_young_orders_say_nothing_until_all_placed_with_them_would_have_finished() -> None:
    young = FinishTimes.fit(10.0, [FinishedOrder(Interval(9.0, 10.0), 12.0)] * 50)
    assert not young.reliable
    old = FinishTimes.fit(10.0, [FinishedOrder(Interval(9.0, 10.0), 60.0)] * 50)
    assert old.reliable
