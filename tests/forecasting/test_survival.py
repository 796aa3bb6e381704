"""The curve and the rule on it, against quadrature and against what is known of simple shapes."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracking.forecasting.survival import (
    BINS,
    EDGES,
    WIDTHS,
    Curve,
    DelayCost,
    Forecast,
    Interval,
    fit_shares,
    prior,
    weights,
)

AGES = st.floats(0, 1e6)


def exponential(mean: float) -> Curve:
    left = np.exp(-EDGES / mean)
    return Curve(left, math.inf)


def quadrature(curve: Curve, after: float, until: float, *, relative: bool) -> float:
    ages = np.linspace(after, until, 200_001)
    index = np.minimum(np.searchsorted(EDGES, ages, side="right") - 1, len(WIDTHS) - 1)
    unseen = (1 - curve.at(ages) / curve.at(after)) * weights(relative=relative)[index]
    return float(np.trapezoid(unseen, ages))


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 5e3), st.floats(1, 1e4), st.booleans())
def test_the_accrued_wait_is_the_integral_it_stands_for(after: float, more: float, relative: bool) -> None:
    curve = exponential(600.0)
    accrual = DelayCost(curve, relative=relative)
    found = accrual.cost_between(np.array([after]), np.array([after + more]))[0]
    assert found == pytest.approx(quadrature(curve, after, after + more, relative=relative), rel=1e-2, abs=1e-3)


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1e5), st.floats(0.5, 1e3), st.floats(5, 5e4), st.booleans())
@example(68572.0, 285.0, 4891.0, True)
def test_the_next_look_is_where_the_accrued_wait_is_worth_the_price(
    age: float, price: float, mean: float, relative: bool
) -> None:
    accrual = DelayCost(exponential(mean), relative=relative)
    found = accrual.next_poll(age, price)
    assert found >= age
    still_open = accrual.curve.at(age)
    if math.isfinite(found) and still_open > 1e-6:
        # Costs of so few as are still open far out are told from one another less finely.
        finely = 1e-6 if still_open > 1e-4 else 1e-3
        cost = accrual.cost_between(np.array([age]), np.array([found]))[0]
        assert cost == pytest.approx(price, rel=finely, abs=1e-6)


def test_an_order_without_a_memory_is_looked_at_in_equal_steps() -> None:
    forecast = Forecast("x", exponential(600.0), DelayCost(exponential(600.0), relative=False))
    waits = [forecast.wait(age, 30.0, floor=1, ceiling=1e9) for age in (0.0, 100.0, 900.0)]
    assert max(waits) == pytest.approx(min(waits), rel=0.03)
    # (1 - e^-x) against x: for a short step A is about u^2 / (2 mean).
    assert waits[0] == pytest.approx(math.sqrt(2 * 600 * 30), rel=0.1)


@given(st.lists(st.tuples(AGES, st.floats(0, 1e5) | st.just(math.inf)), max_size=30), st.floats(1, 1e5))
@settings(max_examples=40, deadline=None)
def test_whatever_was_seen_the_shares_add_up_and_the_curve_falls(
    seen: list[tuple[float, float]], median: float
) -> None:
    shares = fit_shares(prior(median), [Interval(after, after + more) for after, more in seen])
    assert shares.min() >= 0
    assert shares.sum() == pytest.approx(1.0)
    assert (np.diff(Curve.of(shares).open) <= 1e-12).all()


def test_a_hundred_orders_teach_their_median_and_their_tail() -> None:
    rng = np.random.default_rng(1)
    took = 600 * np.exp(rng.standard_normal(400))
    forecast = Forecast.fit("Links/1", [Interval(time * 0.9, time * 1.1) for time in took], guess=60.0)
    assert forecast.curve.quantile(0.5) == pytest.approx(float(np.median(took)), rel=0.15)
    assert forecast.curve.orders == 400


def test_open_orders_count_as_open_and_not_as_absent() -> None:
    done = [Interval(9.0, 11.0)] * 10
    without = Forecast.fit("Links/1", done)
    beside = Forecast.fit("Links/1", done + [Interval(1000.0)] * 10)
    assert without.curve.at(500.0) < 0.15
    assert beside.curve.at(500.0) > 0.4


def test_the_guess_stands_until_something_was_seen_and_then_gives_way() -> None:
    guessed = Forecast.fit("Links/1", ())
    assert guessed.curve.quantile(0.5) == pytest.approx(10.5, rel=0.1)
    seen = Forecast.fit("Links/1", [Interval(95.0, 105.0)] * 30)
    assert 80 < seen.curve.quantile(0.5) < 120


def test_few_orders_guard_the_next_look_by_half_the_age_and_many_do_not() -> None:
    few = Forecast.fit("x", [Interval(590.0, 610.0)] * 20, guess=600.0)
    many = Forecast.fit("x", [Interval(590.0, 610.0)] * 2000, guess=600.0)
    assert few.wait(3000.0, 20.0, floor=1, ceiling=1e6) <= 1500.0
    assert many.wait(3000.0, 20.0, floor=1, ceiling=1e6) > 1500.0


def test_the_first_look_waits_for_the_rule_and_not_for_half_of_no_age() -> None:
    forecast = Forecast.fit("x", [Interval(590.0, 610.0)] * 20, guess=600.0)
    first, soon = (forecast.wait(age, 10.0, floor=1, ceiling=900) for age in (0.0, 0.2))
    assert first > 30
    assert soon == pytest.approx(first, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 9e6), st.floats(0, 1e5) | st.just(math.inf)), min_size=1, max_size=40))
def test_what_is_learned_is_the_fixed_point_that_bin_by_bin_arithmetic_finds(pairs: list[tuple[float, float]]) -> None:
    seen = [Interval(after, after + more) for after, more in pairs]
    found = fit_shares(prior(60.0), seen)
    after = np.clip([one.after for one in seen], 0.0, EDGES[-1])
    by = np.maximum([one.by for one in seen], after * (1 + 1e-6) + 1e-3)
    inside = np.clip((np.minimum(by[:, None], EDGES[1:]) - np.maximum(after[:, None], EDGES[:-1])) / WIDTHS, 0.0, 1.0)
    parts = np.hstack([inside, (by > EDGES[-1])[:, None]])
    shares = np.maximum(prior(60.0), 1e-9)
    for _ in range(60):
        expected = parts * shares
        grown = 3.0 * prior(60.0) + (expected / expected.sum(axis=1, keepdims=True)).sum(axis=0)
        grown /= grown.sum()
        inner = np.convolve(np.pad(grown[:-1], 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
        grown = np.append(inner * (1 - grown[-1]) / inner.sum(), grown[-1])
        moved, shares = float(np.abs(grown - shares).sum()), grown
        if moved < 1e-4:
            break
    assert len(found) == BINS + 1
    assert found == pytest.approx(shares, abs=1e-6)
