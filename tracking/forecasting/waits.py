"""When to look again. Pure: knows what is expected of orders like this one, no clock, no store.

The accrual rule decides (`survival`): an order that has finished waits unseen from then on, and once the expected wait
since the last look is worth the price of a call, it is looked at. Here are the classes of orders that are compared with
each other, the first guesses about them, the price, and the waits that no curve describes.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

from tracking.orders.model import OrderType

JITTER = 0.1
SPREAD = 1.5  # of the logarithm of the age at which an order finishes, before anything is known of its class
FOLLOW_FIRST = timedelta(minutes=5)
FOLLOW_LONGEST = timedelta(hours=12)
FOLLOW_GROWTH = 0.5
FOLLOW_FOR: dict[str, timedelta] = {OrderType.PHYSICAL: timedelta(days=30)}
FOLLOW_FOR_OTHERS = timedelta(days=14)
FAILURE_LONGEST = timedelta(minutes=5)
RESEND_FIRST = timedelta(seconds=1)
RESEND_LONGEST = timedelta(minutes=5)
WEBHOOK_SPACING = timedelta(seconds=30)

FIRST_PRICE, LEAST_PRICE, GREATEST_PRICE = 2.0, 1.0, 3600.0
DEARER, CHEAPER = 1.1, 0.95
MOST_HEARD = 0.99
HEARD_PRIOR = 5.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The shortest and the longest wait between two looks at an open order."""

    floor: timedelta = timedelta(seconds=1)
    ceiling: timedelta = timedelta(seconds=900)


# Classes


def class_of(order_type: str, units: int) -> str:
    """The class an order is compared with: its type, and its size rounded up to a power of two."""
    return f"{order_type}/{1 << max(units - 1, 0).bit_length()}"


def bounds_of(name: str) -> tuple[str, int, int]:
    """The delivery type of a class, and the fewest and the most cards of its orders."""
    order_type, _, size = name.rpartition("/")
    most = int(size)
    return order_type, most // 2 + 1, most


def guess_of(name: str) -> float:
    """The median age in seconds at which orders of the class may finish, before anything is known of them."""
    order_type, _, units = bounds_of(name)
    if order_type == OrderType.PHYSICAL:
        return 3600.0 + 10.0 * units
    return 10.0 + 0.5 * units


def late_after(order_type: str, units: int) -> timedelta:
    """From what age on an open order counts as late while too little is known of its class: a generous guess."""
    if order_type == OrderType.PHYSICAL:
        return timedelta(days=3)
    return timedelta(minutes=15) + timedelta(seconds=3) * units


# The price of a call, in seconds that a finished order waits unseen


def dearer(price: float) -> float:
    """The price after looks that were worth it had to wait for the budget."""
    return min(price * DEARER, GREATEST_PRICE)


def cheaper(price: float) -> float:
    """The price after the budget was idle."""
    return max(price * CHEAPER, LEAST_PRICE)


def with_webhooks(price: float, heard: float) -> float:
    """The price of a look that a webhook makes needless with the chance `heard`."""
    return price / (1 - min(max(heard, 0.0), MOST_HEARD))


def share_heard(announced: float, finished: float) -> float:
    """The estimated share of completions that announce themselves before a look; cautious while few have been seen."""
    return announced / (finished + HEARD_PRIOR)


# Waits


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
