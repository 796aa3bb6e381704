"""The bench's own measures, with fewer seeds: `make bench-polling` runs them whole.

How close a running console comes to what the replay says of its history is judged there alone: so few orders as fit
into a test would say nothing of it.
"""

from collections.abc import Callable
from pathlib import Path

import measures
import numpy as np
import pytest
import running
from measures import MEDIAN, Row, known, looks
from optimum import Judge
from shapes import SHAPES, Shape, lognormal, weibull

from tracking.polling.backtest.engine import replay

FEWER = 1.15  # fewer seeds and shapes say less exactly what the whole bench measures


@pytest.mark.parametrize(
    "measure",
    [
        lambda: measures.cost_when_known((lognormal(0.5), SHAPES[-2]), (0.05,)),
        lambda: measures.cost_when_learned(2, (lognormal(1.0), weibull(2.0))),
        lambda: measures.delay_at_equal_calls(1000, (lognormal(1.0), SHAPES[-2])),
        # Of delays the longest of so few waits is chance.
        pytest.param(lambda: measures.delay_at_capacity(1000)[:1], marks=pytest.mark.long),
        lambda: measures.silent_webhooks(20, 60 * 24 * 10),
        lambda: measures.planning(10_000),
    ],
    ids=["known", "learned", "equal calls", "capacity", "silence", "planning"],
)
def test_the_schedule_reaches_what_it_stands_for(measure: Callable[[], list[Row]]) -> None:
    for row in measure():
        assert row.reached <= row.most * FEWER, f"{row.measure}: {row.reached:.3f}, at most {row.most}"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_each_shape_draws_from_the_curve_that_it_tells(shape: Shape) -> None:
    drawn = shape.times(MEDIAN, 20_000, np.random.default_rng(1))
    for share in (0.1, 0.5, 0.9):
        assert shape.finished(np.array([np.quantile(drawn, share)]), MEDIAN)[0] == pytest.approx(share, abs=0.02)


def test_no_schedule_costs_less_than_the_optimum() -> None:
    judge = Judge(lognormal(1.0), MEDIAN)
    least, calls = judge.least(30.0)
    assert calls > 3
    for price in (3.0, 10.0, 30.0, 90.0):
        made, delay = judge.mean(looks(known(lognormal(1.0), MEDIAN), price, judge.last, 0.06))
        assert 30.0 * made + delay >= least * 0.999


def test_the_exact_cost_of_a_schedule_is_what_many_orders_show() -> None:
    judge = Judge(weibull(1.0), MEDIAN)
    ages = np.arange(120.0, judge.last + 240, 120.0)
    took = weibull(1.0).times(MEDIAN, 50_000, np.random.default_rng(2))
    found = ages[np.searchsorted(ages, took)]
    calls, delay = judge.mean(ages)
    assert calls == pytest.approx(float((found / 120.0).mean()), rel=0.02)
    assert delay == pytest.approx(float((found - took).mean()), rel=0.02)


def test_a_worse_curve_costs_more_so_that_the_measure_can_fail() -> None:
    judge = Judge(SHAPES[-2], MEDIAN)
    price = 0.05 * MEDIAN
    least, _ = judge.least(price)
    calls, delay = judge.mean(looks(known(lognormal(0.5), MEDIAN * 20), price, judge.last, MEDIAN * 1e-4))
    assert (price * calls + delay) / least > 1.10


@pytest.mark.long
def test_a_running_console_is_measured_from_its_store_and_the_providers_account(tmp_path: Path) -> None:
    measured = running.measure(tmp_path, 16, seed=1, speed=40.0)
    assert measured.calls > 0
    assert measured.others > 0, "orders were sent, but for those sent before the first was accepted"
    assert len(measured.history.finished) == len(measured.delays) == 16
    assert 0 < measured.delays.max() < running.LONGEST
    replayed = replay(measured.history, measured.plan, seed=1)
    assert replayed.calls > 0
