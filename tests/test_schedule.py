import random
from datetime import datetime, timedelta

import pytest
from fakes import NOW
from hypothesis import given
from hypothesis import strategies as st

from tracking.schedule import (
    FAILURE_LONGEST,
    FOLLOW_FIRST,
    FOLLOW_LONGEST,
    JITTER,
    RESEND_LONGEST,
    Policy,
    after_failure,
    covering_pages,
    late_after,
    next_attempt,
    next_follow,
)

POLICY = Policy(timedelta(seconds=2), timedelta(seconds=600))


@given(st.integers(0, 10**6), st.integers())
def test_failures_back_off_up_to_five_minutes(failures: int, seed: int) -> None:
    wait = after_failure(POLICY, failures, random.Random(seed))
    assert timedelta() < wait <= FAILURE_LONGEST
    assert after_failure(POLICY, 1, random.Random(seed)) <= after_failure(POLICY, 4, random.Random(seed))


@given(st.integers(0, 10**6), st.integers())
def test_a_resend_waits_at_least_most_of_a_second_and_about_five_minutes_at_most(attempts: int, seed: int) -> None:
    wait = next_attempt(attempts, random.Random(seed))
    assert timedelta(seconds=0.9) <= wait <= RESEND_LONGEST * (1 + JITTER)


@pytest.mark.parametrize(("kind", "days"), [("Links", 14), ("DigitalDelivery", 14), ("PhysicalShipment", 30)])
def test_the_lines_of_a_finished_order_are_followed_for_weeks_and_then_no_more(kind: str, days: int) -> None:
    rng = random.Random(1)
    assert next_follow(kind, timedelta(days=days, seconds=1), rng) is None
    wait = next_follow(kind, timedelta(days=days), rng)
    assert wait is not None
    assert FOLLOW_FIRST < wait <= FOLLOW_LONGEST


def test_a_large_order_and_a_parcel_count_as_late_later() -> None:
    assert late_after("Links", 1) < late_after("Links", 500) < late_after("PhysicalShipment", 1)


def moments(offsets: list[int]) -> list[datetime]:
    return [NOW + timedelta(seconds=offset) for offset in sorted(offsets)]


@given(st.lists(st.integers(0, 60), max_size=60), st.lists(st.integers(0, 60), max_size=60), st.integers(1, 20))
def test_pages_cover_each_due_order_once_and_hold_no_more_than_a_page(
    due: list[int], others: list[int], page: int
) -> None:
    wanted, population = moments(due), moments(due + others)
    groups = covering_pages(wanted, population, page)
    assert [index for first, last in groups for index in range(first, last)] == list(range(len(wanted)))
    for first, last in groups:
        known = [at for at in population if wanted[first] <= at <= wanted[last - 1]]
        assert last - first == 1 or len(known) <= page


def test_fifty_orders_alone_in_their_time_cost_one_page() -> None:
    due = moments(list(range(50)))
    assert covering_pages(due, due, 50) == [(0, 50)]
