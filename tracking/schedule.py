"""When to look again. Pure: knows an order's size, type and age, no clock, no store.

The wait grows with the age of the order (a quarter of it), so that the delay in noticing stays a small part of the time
the order took; it starts from a first guess that grows with the order's size.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tracking.orders import OrderType

GROWTH = 0.25
JITTER = 0.1
FOLLOW_FIRST = timedelta(minutes=5)
FOLLOW_LONGEST = timedelta(hours=12)
FOLLOW_GROWTH = 0.5
FOLLOW_FOR: dict[str, timedelta] = {OrderType.PHYSICAL: timedelta(days=30)}
FOLLOW_FOR_OTHERS = timedelta(days=14)
FAILURE_LONGEST = timedelta(minutes=5)
RESEND_FIRST = timedelta(seconds=1)
RESEND_LONGEST = timedelta(minutes=5)
WEBHOOK_SPACING = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Policy:
    """The shortest and the longest wait between two looks at an open order."""

    floor: timedelta = timedelta(seconds=1)
    ceiling: timedelta = timedelta(seconds=900)


def first_guess(order_type: str, units: int) -> timedelta:
    """How long an order of this size may take before a look is worth its call."""
    seconds = 0.02 * units if order_type != OrderType.PHYSICAL else 5 + 0.1 * units
    return timedelta(seconds=seconds)


def next_look(
    policy: Policy, order_type: str, units: int, age: timedelta, since_notice: timedelta | None, rng: random.Random
) -> timedelta:
    """How long to wait after a look at `age` that said "still open".

    Args:
        policy: the bounds.
        order_type: the provider's delivery type.
        units: cards in the order.
        age: since the provider took the order. A clock that was stepped back makes it negative; what it truly is
            is not known then, and its size stands for it: neither a look each second nor none at all.
        since_notice: since a webhook announced the order as done, None without one: then the answer is near.
        rng: spreads orders that were placed together.
    """
    wait = max(first_guess(order_type, units), abs(age) * GROWTH)
    if since_notice is not None:
        wait = min(wait, abs(since_notice) * GROWTH)
    wait *= 1 + rng.uniform(-JITTER, JITTER)
    return min(max(wait, policy.floor), policy.ceiling)


def next_follow(order_type: str, since_done: timedelta, rng: random.Random) -> timedelta | None:
    """How long to wait before the lines of a finished order are looked at again; None: never again."""
    if since_done > FOLLOW_FOR.get(order_type, FOLLOW_FOR_OTHERS):
        return None
    wait = max(FOLLOW_FIRST, since_done * FOLLOW_GROWTH) * (1 + rng.uniform(-JITTER, JITTER))
    return min(wait, FOLLOW_LONGEST)


def after_failure(policy: Policy, failures: int, rng: random.Random) -> timedelta:
    """How long to wait after the `failures`-th look in a row that brought no answer."""
    wait = policy.floor * 2.0 ** min(failures, 16) * (1 + rng.uniform(-JITTER, JITTER))
    return min(wait, FAILURE_LONGEST, policy.ceiling)


def next_attempt(attempts: int, rng: random.Random) -> timedelta:
    """How long to wait before the same PONumber is sent again after `attempts` without a known outcome."""
    wait = RESEND_FIRST * 2.0 ** min(max(attempts - 1, 0), 16)
    return min(wait, RESEND_LONGEST) * (1 + rng.uniform(-JITTER, JITTER))


def late_after(order_type: str, units: int) -> timedelta:
    """From what age on an open order counts as late: generous guesses until there is something to learn from."""
    if order_type == OrderType.PHYSICAL:
        return timedelta(days=3)
    return timedelta(minutes=15) + timedelta(seconds=3) * units


def covering_pages(due: Sequence[datetime], population: Sequence[datetime], page: int) -> list[tuple[int, int]]:
    """Which due orders one list page can answer for together: index ranges [first, last) of `due`, in order.

    Args:
        due: when the due orders were created at the provider, ascending.
        population: the same of all orders known in that time, ascending; they take up room on the page.
        page: orders a page holds.
    """
    groups = []
    first = 0
    while first < len(due):
        start = bisect_left(population, due[first])
        last = first + 1
        while last < len(due) and bisect_right(population, due[last]) - start <= page:
            last += 1
        groups.append((first, last))
        first = last
    return groups
