import math
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.forecasting.forecasts import LONGEST_EXPECTED, Book
from tracking.forecasting.survival import Forecast, Seen
from tracking.forecasting.waits import Policy, next_look

POLICY = Policy(timedelta(seconds=2), timedelta(seconds=600))
SPANS = st.floats(-1e6, 1e8).map(lambda seconds: timedelta(seconds=seconds))
TYPES = st.sampled_from(["Links", "DigitalDelivery", "Codes", "PhysicalShipment", "unknown"])


@given(TYPES, st.integers(0, 10**7), SPANS, st.none() | SPANS, st.floats(1, 3600), st.integers())
def test_the_wait_stays_within_its_bounds(
    kind: str, units: int, age: timedelta, since_notice: timedelta | None, price: float, seed: int
) -> None:
    wait = next_look(POLICY, Book().of(kind, units), age, since_notice, price, random.Random(seed))
    assert POLICY.floor <= wait <= POLICY.ceiling


def test_a_notice_brings_the_next_look_near_however_old_the_order_is() -> None:
    forecast = Book().of("Links", 100_000)
    assert next_look(POLICY, forecast, timedelta(days=3), timedelta(), 2.0, random.Random(1)) == POLICY.floor


def test_the_looks_at_an_order_stay_far_below_forty_a_minute() -> None:
    book, policy, age, looks, rng = Book(), Policy(), timedelta(), 0, random.Random(3)
    while age < timedelta(minutes=1):
        age += next_look(policy, book.of("Links", 1), age, None, 1.0, rng)
        looks += 1
    assert 3 <= looks <= 20


def test_orders_of_nearly_the_same_size_share_a_class_and_others_do_not() -> None:
    book = Book()
    assert book.of("Links", 33) is book.of("Links", 64)
    assert book.of("Links", 64) is not book.of("Links", 65)
    assert book.of("Links", 64) is not book.of("Codes", 64)


def test_a_large_order_and_a_parcel_count_as_late_later() -> None:
    book = Book()
    assert book.late_after("Links", 1) < book.late_after("Links", 500) < book.late_after("PhysicalShipment", 1)


def test_late_is_what_99_of_100_have_shown_once_enough_have_finished() -> None:
    book = Book()
    few, many = ([Seen(99.0, 101.0)] * count for count in (10, 300))
    book.replace([Forecast.learned("Links/1", few)])
    assert book.late_after("Links", 1) >= timedelta(minutes=15)
    book.replace([Forecast.learned("Links/1", many)])
    assert timedelta(seconds=100) < book.late_after("Links", 1) < timedelta(minutes=10)


def test_nothing_is_late_before_it_can_be_known_but_all_is_at_some_time() -> None:
    book = Book()
    never = Forecast.learned("Links/1", [Seen(8e6, math.inf)] * 400)
    book.replace([never])
    assert math.isinf(never.late_after())
    assert book.late_after("Links", 1) == LONGEST_EXPECTED


def test_a_look_at_an_order_that_will_announce_itself_costs_more() -> None:
    book = Book()
    book.price, book.heard = 3.0, 0.9
    assert book.price_of_look(announces=False) == 3.0
    assert book.price_of_look(announces=True) == pytest.approx(30.0)
    book.heard = 1.0
    assert book.price_of_look(announces=True) == pytest.approx(300.0)


def test_what_was_learned_takes_the_place_of_the_guess_and_leaves_other_classes_alone() -> None:
    book = Book()
    other = book.of("Codes", 1)
    learned = Forecast.learned("Links/1", [Seen(90.0, 110.0)] * 50, version=4)
    book.replace([learned])
    assert book.of("Links", 1) is learned
    assert book.of("Codes", 1) is other
    assert book.known() == {"Links/1": learned, "Codes/1": other}
