"""Retries: what an attempt's outcome means for the delivery and for its subscription. Pure.

A receiver that does not answer, or that has trouble of its own, is left alone for a while, and then asked with one
delivery; once it takes that, all that waits is sent at once and in order. A delivery that it alone refuses is tried
again later, and holds up no other order's. After three days of either a person is asked: the subscription is switched
off, and all that waits stays.
"""

import email.utils
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tracking.delivery.posting import GONE, Reply

WAITS = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 45, 120, 300, 600, 900, 1800, 3600, 7200))
"""After the first failure in a row, the second and so on; the last one from then on."""
JITTER = 0.2
GIVE_UP_AFTER = timedelta(days=3)
LONGEST_RETRY_AFTER = timedelta(hours=6)
LONGEST_WAIT = max(WAITS[-1] * (1 + JITTER), LONGEST_RETRY_AFTER)
"""Nothing waits for longer; what seems to was planned before the clock was set back."""
IN_A_ROW = 5
"""So many failures without a success between them are the receiver's, whatever it answers."""
_OF_THE_RECEIVER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows a failure: when this delivery is due again, until when nothing is sent, why it is switched off.

    `counts`: it is a new one, and not one of an outage that was noted since it began.
    """

    counts: bool
    delivery_at: datetime
    receiver_at: datetime | None
    off: str | None


def decide(
    reply: Reply,
    row: Mapping[Any, Any],
    delivery: Mapping[Any, Any],
    attempts: int,
    started_at: datetime,
    now: datetime,
    rng: random.Random,
) -> Decision:
    """Decide after a failure: `row` is the subscription, `attempts` the delivery's number of them with this one."""
    # Else it is the same outage as one that is noted. (One to come was noted before the clock was set back.)
    is_new = row["failed_at"] is None or not started_at < row["failed_at"] <= now
    failures = row["failures"] + is_new
    asked = parse_retry_after(reply.retry_after, now)
    of_receiver = is_of_receiver(reply) or failures >= IN_A_ROW or asked > timedelta()
    receiver_at = now + max(_wait(failures, rng), asked) if of_receiver else None
    off = None
    delivery_at = now + _wait(attempts, rng)
    if reply.status == GONE and reply.error is None:
        off = "the receiver says that it is gone (410)"
    elif row["failing_since"] is not None and now - row["failing_since"] >= GIVE_UP_AFTER:
        off = "nothing was delivered for three days"
    elif attempts > len(WAITS) and now - max(delivery["created_at"], row["state_at"]) >= GIVE_UP_AFTER:
        # Others get through, and all that this one's order has to tell waits behind it: a person has to look.
        off = f"one delivery ({delivery['event_type']}, {delivery['message_id']}) has been refused for three days"
    return Decision(is_new, delivery_at, receiver_at, off)


def is_of_receiver(reply: Reply) -> bool:
    """Whether the failure says that the receiver has trouble, and not that it refuses this one delivery."""
    return reply.status is None or reply.error is not None or reply.status >= 500 or reply.status in _OF_THE_RECEIVER


def longest_wait(attempts: int) -> timedelta:
    """How long a delivery waits at the most after so many attempts; not at all before the first."""
    return WAITS[min(attempts, len(WAITS)) - 1] * (1 + JITTER) if attempts else timedelta()


def _wait(failures: int, rng: random.Random) -> timedelta:
    wait = WAITS[min(max(failures, 1), len(WAITS)) - 1]
    return wait * (1 + JITTER * (2 * rng.random() - 1))


def parse_retry_after(text: str | None, now: datetime) -> timedelta:
    """How long a receiver asks to be left alone, in seconds or until a date; bounded, nothing where it is neither."""
    if not text:
        return timedelta()
    if text.strip().isdigit() and text.isascii():
        return min(timedelta(seconds=min(int(text), 10**6)), LONGEST_RETRY_AFTER)
    try:
        at = email.utils.parsedate_to_datetime(text)
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):  # of what is no date, or of one with absurd numbers
        return timedelta()
    return min(max(wait, timedelta()), LONGEST_RETRY_AFTER)
