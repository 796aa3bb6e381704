import math
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.forecasting.forecasts import LONGEST_EXPECTED, Forecasts
from tracking.forecasting.survival import Forecast, Interval
from tracking.forecasting.waits import Policy, poll_wait

POLICY = Policy(timedelta(seconds=2), timedelta(seconds=600))
SPANS = st.floats(-1e6, 1e8).map(lambda seconds: timedelta(seconds=seconds))
TYPES = st.sampled_from(["Links", "DigitalDelivery", "Codes", "PhysicalShipment", "unknown"])


@given(TYPES, st.integers(0, 10**7), SPANS, st.none() | SPANS, st.floats(1, 3600), st.integers())
def test_the_wait_stays_within_its_bounds(
    kind: str, units: int, age: timedelta, since_notice: timedelta | None, price: float, seed: int
) -> None:
    wait = poll_wait(POLICY, Forecasts().for_order(kind, units), age, since_notice, price, random.Random(seed))
    assert POLICY.floor <= wait <= POLICY.ceiling


def test_a_notice_brings_the_next_look_near_however_old_the_order_is() -> None:
    forecast = Forecasts().for_order("Links", 100_000)
    assert poll_wait(POLICY, forecast, timedelta(days=3), timedelta(), 2.0, random.Random(1)) == POLICY.floor


def test_the_looks_at_an_order_stay_far_below_forty_a_minute() -> None:
    forecasts, policy, age, looks, rng = Forecasts(), Policy(), timedelta(), 0, random.Random(3)
    while age < timedelta(minutes=1):
        age += poll_wait(policy, forecasts.for_order("Links", 1), age, None, 1.0, rng)
        looks += 1
    assert 3 <= looks <= 20


def test_orders_of_nearly_the_same_size_share_a_class_and_others_do_not() -> None:
    forecasts = Forecasts()
    assert forecasts.for_order("Links", 33) is forecasts.for_order("Links", 64)
    assert forecasts.for_order("Links", 64) is not forecasts.for_order("Links", 65)
    assert forecasts.for_order("Links", 64) is not forecasts.for_order("Codes", 64)


def test_a_large_order_and_a_parcel_count_as_late_later() -> None:
    forecasts = Forecasts()
    assert (
        forecasts.late_after("Links", 1)
        < forecasts.late_after("Links", 500)
        < forecasts.late_after("PhysicalShipment", 1)
    )


def test_late_is_what_99_of_100_have_shown_once_enough_have_finished() -> None:
    forecasts = Forecasts()
    few, many = ([Interval(99.0, 101.0)] * count for count in (10, 300))
    forecasts.replace([Forecast.fit("Links/1", few)])
    assert forecasts.late_after("Links", 1) >= timedelta(minutes=15)
    forecasts.replace([Forecast.fit("Links/1", many)])
    assert timedelta(seconds=100) < forecasts.late_after("Links", 1) < timedelta(minutes=10)


def test_nothing_is_late_before_it_can_be_known_but_all_is_at_some_time() -> None:
    forecasts = Forecasts()
    never = Forecast.fit("Links/1", [Interval(8e6, math.inf)] * 400)
    forecasts.replace([never])
    assert math.isinf(never.late_after())
    assert forecasts.late_after("Links", 1) == LONGEST_EXPECTED


def test_a_look_at_an_order_that_will_announce_itself_costs_more() -> None:
    forecasts = Forecasts()
    forecasts.price, forecasts.webhook_share = 3.0, 0.9
    assert forecasts.price_of_poll(announces=False) == 3.0
    assert forecasts.price_of_poll(announces=True) == pytest.approx(30.0)
    forecasts.webhook_share = 1.0
    assert forecasts.price_of_poll(announces=True) == pytest.approx(300.0)


def test_what_was_learned_takes_the_place_of_the_guess_and_leaves_other_classes_alone() -> None:
    forecasts = Forecasts()
    other = forecasts.for_order("Codes", 1)
    learned = Forecast.fit("Links/1", [Interval(90.0, 110.0)] * 50, version=4)
    forecasts.replace([learned])
    assert forecasts.for_order("Links", 1) is learned
    assert forecasts.for_order("Codes", 1) is other
    assert forecasts.by_class() == {"Links/1": learned, "Codes/1": other}
