import random
from datetime import timedelta

import pytest
from finished import times_of
from hypothesis import given
from hypothesis import strategies as st

from tracking.forecasting.forecasts import Forecasts, LateBasis
from tracking.forecasting.survival import Forecast, Interval
from tracking.forecasting.waits import Policy, poll_wait
from tracking.orders.policy.promises import LatePromise

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
    one, many, parcel = (
        forecasts.late_limit(*order).after for order in (("Links", 1), ("Links", 500), ("PhysicalShipment", 1))
    )
    assert one < many < parcel


def test_late_is_what_99_of_100_have_shown_once_enough_have_finished() -> None:
    forecasts = Forecasts()
    forecasts.replace((), {"Links/1": times_of(Interval(99.0, 101.0), orders=10)})
    few = forecasts.late_limit("Links", 1)
    assert few.after >= timedelta(minutes=15)
    assert (few.basis, few.orders, few.like) == (LateBasis.GUESS, 10, "Links/1")
    forecasts.replace((), {"Links/1": times_of(Interval(99.0, 101.0), orders=300)})
    many = forecasts.late_limit("Links", 1)
    assert timedelta(seconds=100) < many.after < timedelta(minutes=3)
    assert (many.basis, many.orders) == (LateBasis.LEARNED, 300)


def test_a_class_with_few_finished_orders_borrows_from_the_nearest_size_of_its_type() -> None:
    forecasts = Forecasts()
    sizes = {"Links/4": 40.0, "Links/64": 640.0, "Codes/16": 5.0}
    forecasts.replace((), {name: times_of(Interval(took * 0.9, took)) for name, took in sizes.items()})
    near = forecasts.late_limit("Links", 100)
    assert (near.basis, near.like, near.orders) == (LateBasis.BORROWED, "Links/64", 60)
    assert near.after >= 1.5 * forecasts.late_limit("Links", 64).after  # a larger order takes longer
    smaller = forecasts.late_limit("Links", 32)
    assert (smaller.like, smaller.after) == ("Links/64", forecasts.late_limit("Links", 64).after)
    assert forecasts.late_limit("DigitalDelivery", 4).basis == LateBasis.GUESS
    assert forecasts.comparable_times("Links/128").finishes_by(0.5, 0.0) > 640


def test_a_class_that_borrows_waits_as_long_as_its_own_orders_took() -> None:
    forecasts = Forecasts()
    slow = times_of(Interval(4000.0, 4100.0), orders=5)
    forecasts.replace((), {"Links/1": times_of(Interval(9.0, 10.0)), "Links/2": slow})
    limit = forecasts.late_limit("Links", 2)
    assert limit.basis == LateBasis.BORROWED
    assert limit.after > timedelta(seconds=4100)


def test_a_promise_wins_over_what_was_learned_and_the_narrowest_over_others() -> None:
    promises = [LatePromise.parse(text) for text in ("Links=10m", "Links:100-=2h", "Links:200-300=3h", "Codes:5=1d")]
    forecasts = Forecasts(promises=promises)
    forecasts.replace((), {"Links/1": times_of(Interval(9.0, 10.0))})
    limits = {units: forecasts.late_limit("Links", units) for units in (1, 99, 100, 250, 301)}
    assert {limit.basis for limit in limits.values()} == {LateBasis.PROMISE}
    assert [limit.after.total_seconds() / 60 for limit in limits.values()] == [10, 10, 120, 180, 120]
    assert forecasts.late_limit("Codes", 5).after == timedelta(days=1)
    assert forecasts.late_limit("Codes", 6).basis == LateBasis.GUESS


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
