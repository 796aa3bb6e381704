"""Waits until the next poll, follow-up, retry or resend, and the price of a call. Pure.

The accrual rule decides (`survival`): an order that has finished waits undetected from then on, and once the expected
wait since the last poll is worth the price of a call, the order is polled.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from tracking.orders.model import OrderType

if TYPE_CHECKING:
    from tracking.forecasting.survival import Forecast

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
LEASE_MARGIN = timedelta(seconds=60)  # of a lease, beyond the time a call may take
REFUSED_PAUSE = timedelta(seconds=60)  # without calls while the provider refuses the account

FIRST_PRICE, LEAST_PRICE, GREATEST_PRICE = 2.0, 1.0, 3600.0
DEARER, CHEAPER = 1.1, 0.95
MOST_WEBHOOK_SHARE = 0.99
WEBHOOK_SHARE_PRIOR = 5.0
WEBHOOK_GROWTH = 0.25


@dataclass(frozen=True, slots=True)
class Policy:
    """The shortest and the longest wait between two polls of an open order."""

    floor: timedelta = timedelta(seconds=1)
    ceiling: timedelta = timedelta(seconds=900)


# The price of a call, in seconds that a finished order waits undetected


def raised_price(price: float) -> float:
    """Raise the price after polls that were worth it had to wait for the rate limit."""
    return min(price * DEARER, GREATEST_PRICE)


def lowered_price(price: float) -> float:
    """Lower the price after the rate limit had room."""
    return max(price * CHEAPER, LEAST_PRICE)


def price_with_webhooks(price: float, webhook_share: float) -> float:
    """Price a poll that a webhook call makes needless with this chance."""
    return price / (1 - min(max(webhook_share, 0.0), MOST_WEBHOOK_SHARE))


def webhook_share(announced: float, finished: float) -> float:
    """Estimate the share of completions that a webhook call announces before a poll; cautious while there are few."""
    return announced / (finished + WEBHOOK_SHARE_PRIOR)


# Waits


def follow_up_wait(order_type: str, since_done: timedelta, rng: random.Random) -> timedelta | None:
    """Choose the wait before the lines of a finished order are polled again; None: never again."""
    if since_done > FOLLOW_FOR.get(order_type, FOLLOW_FOR_OTHERS):
        return None
    wait = max(FOLLOW_FIRST, since_done * FOLLOW_GROWTH) * (1 + rng.uniform(-JITTER, JITTER))
    return min(wait, FOLLOW_LONGEST)


def wait_after_failed_poll(policy: Policy, failures: int, rng: random.Random) -> timedelta:
    """Choose the wait after the `failures`-th poll in a row that brought no answer."""
    wait = policy.floor * 2.0 ** min(failures, 16) * (1 + rng.uniform(-JITTER, JITTER))
    return min(wait, FAILURE_LONGEST, policy.ceiling)


def wait_before_resend(attempts: int, rng: random.Random) -> timedelta:
    """Choose the wait before the same PONumber is sent again after `attempts` without a known outcome."""
    wait = RESEND_FIRST * 2.0 ** min(max(attempts - 1, 0), 16)
    return min(wait, RESEND_LONGEST) * (1 + rng.uniform(-JITTER, JITTER))


def poll_wait(
    policy: Policy,
    forecast: Forecast,
    age: timedelta,
    since_webhook: timedelta | None,
    price: float,
    rng: random.Random,
) -> timedelta:
    """Choose the wait after a poll at `age` that said "still open".

    Args:
        policy: the bounds.
        forecast: what is expected of the order's class.
        age: since the provider took the order. A clock that was stepped back makes it negative; what it truly is
            is not known then, and its size stands for it: neither a look each second nor none at all.
        since_webhook: since a webhook announced the order as done, None without one: then the answer is near.
        price: of a look at this order, in seconds.
        rng: spreads orders that were placed together.
    """
    floor, ceiling = policy.floor.total_seconds(), policy.ceiling.total_seconds()
    wait = forecast.wait(abs(age.total_seconds()), price, floor=floor, ceiling=ceiling)
    if since_webhook is not None:
        wait = min(wait, abs(since_webhook.total_seconds()) * WEBHOOK_GROWTH)
    wait *= 1 + rng.uniform(-JITTER, JITTER)
    return min(max(timedelta(seconds=wait), policy.floor), policy.ceiling)
