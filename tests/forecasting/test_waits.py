import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.forecasting.classes import first_late_after
from tracking.forecasting.waits import (
    FAILURE_LONGEST,
    FOLLOW_FIRST,
    FOLLOW_LONGEST,
    JITTER,
    RESEND_LONGEST,
    Policy,
    follow_up_wait,
    wait_after_failed_poll,
    wait_before_resend,
)

POLICY = Policy(timedelta(seconds=2), timedelta(seconds=600))


@given(st.integers(0, 10**6), st.integers())
def test_failures_back_off_up_to_five_minutes(failures: int, seed: int) -> None:
    wait = wait_after_failed_poll(POLICY, failures, random.Random(seed))
    assert timedelta() < wait <= FAILURE_LONGEST
    assert wait_after_failed_poll(POLICY, 1, random.Random(seed)) <= wait_after_failed_poll(
        POLICY, 4, random.Random(seed)
    )


@given(st.integers(0, 10**6), st.integers())
def test_a_resend_waits_at_least_most_of_a_second_and_about_five_minutes_at_most(attempts: int, seed: int) -> None:
    wait = wait_before_resend(attempts, random.Random(seed))
    assert timedelta(seconds=0.9) <= wait <= RESEND_LONGEST * (1 + JITTER)


@pytest.mark.parametrize(("kind", "days"), [("Links", 14), ("DigitalDelivery", 14), ("PhysicalShipment", 30)])
def test_the_lines_of_a_finished_order_are_followed_for_weeks_and_then_no_more(kind: str, days: int) -> None:
    rng = random.Random(1)
    assert follow_up_wait(kind, timedelta(days=days, seconds=1), rng) is None
    wait = follow_up_wait(kind, timedelta(days=days), rng)
    assert wait is not None
    assert FOLLOW_FIRST < wait <= FOLLOW_LONGEST


def test_a_large_order_and_a_parcel_count_as_late_later() -> None:
    assert first_late_after("Links", 1) < first_late_after("Links", 500) < first_late_after("PhysicalShipment", 1)
