"""Curves in a stack, held against the rule on each of them."""

import numpy as np
import pytest

from tracking.forecasting.survival import Forecast, Interval
from tracking.polling.backtest.curve_stack import CurveStack

LEARNED = Forecast.fit("Links/1", [Interval(40.0 + step, 50.0 + step) for step in range(0, 400, 7)])


def test_a_stack_of_curves_says_of_each_class_what_its_own_rule_says() -> None:
    forecasts = [LEARNED, Forecast.fit("PhysicalShipment/4", ()), Forecast.fit("Links/64", ())]
    stack = CurveStack(3)
    for number, forecast in enumerate(forecasts):
        stack.take(number, forecast.delay_cost)
    rng = np.random.default_rng(1)
    kinds, looked = rng.integers(0, 3, 200), rng.exponential(1000, 200)
    ages = looked + rng.exponential(1000, 200)
    share, paid, held = stack.states(kinds, looked)
    _, paid_now, held_now = stack.states(kinds, ages)
    found = np.maximum(paid_now - paid - (held_now - held) / share, 0.0)
    for number, forecast in enumerate(forecasts):
        mine = kinds == number
        assert found[mine] == pytest.approx(
            forecast.delay_cost.cost_between(looked[mine], ages[mine]), rel=1e-6, abs=1e-6
        )
