"""Latency of a completed order in four parts: provider, webhook delivery, wait for our poll, that poll. Pure.

Nobody saw when the order was done, only a window in which it must have been. So each part is a range; wherever in the
window it was done, the four parts add up to the whole time from when the provider took it until it was known complete.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tracking.orders.wording import duration

TOLERANCE = timedelta(seconds=2)  # for whole seconds, and for clocks that differ a little
SECOND = timedelta(seconds=1)
PARTS = ("provider", "notice", "wait", "handling")
_NOTHING = timedelta()
_TENTH = timedelta(milliseconds=100)
_MINUTE = timedelta(minutes=1)
_LONG = timedelta(minutes=10)  # from here on seconds are not told


class StatedTime(StrEnum):
    """Whether the completion time that the provider stated is believed."""

    NONE = "none"
    BELIEVED = "believed"
    UNFIT = "not believed"


_ON_STATED_TIME = {
    StatedTime.BELIEVED: " This uses the provider's own timestamp.",
    StatedTime.UNFIT: " The provider's timestamp contradicts our polls and was ignored.",
}


@dataclass(frozen=True, slots=True)
class CompletionTimes:
    """The times that are known of a completed order."""

    accepted_at: datetime  # the provider took it
    completed_after: datetime  # the last look that said "open" began
    began_at: datetime  # the look that showed it complete began
    completed_by: datetime  # the answer to that look was there
    claimed_at: datetime | None = None  # the webhook's claim arrived
    stated_at: datetime | None = None  # it was done by the provider's own word, in whole seconds
    stated_by: datetime | None = None  # that word arrived


@dataclass(frozen=True, slots=True)
class Parts:
    """The four parts of an order's time; none is below zero.

    `provider`: until the order was done. `notice`: from then until the webhook's claim was here; zero where no claim
    led to the look. `wait`: from then until the look began that showed it. `handling`: the rest, until its answer.
    """

    provider: timedelta
    notice: timedelta
    wait: timedelta
    handling: timedelta

    @property
    def lag(self) -> timedelta:
        """From done to known."""
        return self.notice + self.wait + self.handling


@dataclass(frozen=True, slots=True)
class LatencyBreakdown:
    """An order's parts, as far as they are known: between those at the window's beginning and at its end (`late`).

    The provider's part is greater at the end, and no other part is. `announced`: a webhook's claim came before the look
    that showed it. `stated_time`: what the provider's own word for the time is worth.
    """

    early: Parts
    late: Parts
    announced: bool
    stated_time: StatedTime

    def ends(self, part: str) -> tuple[timedelta, timedelta]:
        """The least and the most that this part, or the `lag`, can have been."""
        first, last = getattr(self.early, part), getattr(self.late, part)
        return min(first, last), max(first, last)

    @property
    def text(self) -> str:
        """All that in a sentence or two."""
        lag, webhook, wait, handling = (between(*self.ends(part)) for part in ("lag", "notice", "wait", "handling"))
        announced = f"webhook {webhook}" if self.announced else "no webhook in time"
        text = (
            f"Detected {lag} after completion ({announced}, polling {wait}, processing {handling}); "
            f"the provider took {between(*self.ends('provider'))}."
        )
        return text + _ON_STATED_TIME.get(self.stated_time, "")

    def record(self) -> dict[str, Any]:
        """The same for programs: seconds, the least and the most of each part."""
        seconds = {part: [end.total_seconds() for end in self.ends(part)] for part in (*PARTS, "lag")}
        return seconds | {"announced": self.announced, "stated": self.stated_time.value}


def break_down(times: CompletionTimes) -> LatencyBreakdown:
    """Break down an order's time at both ends of the window in which it was done.

    What clocks that were set back make impossible counts as nothing, so that no part is below zero.
    """
    low, high, word = completion_window(times)
    announced = _webhook_before_poll(times) is not None
    return LatencyBreakdown(parts(times, low), parts(times, high), announced, word)


def finished_between(after: datetime, by: datetime, webhook_at: datetime | None) -> tuple[datetime, datetime]:
    """Between which times an order finished, by polls that said "open" and "complete", and its webhook call.

    A webhook call that came before the last poll that said "open" was premature, and tells nothing.
    """
    return min(after, by), by if webhook_at is None or webhook_at <= after else min(webhook_at, by)


def completion_window(times: CompletionTimes) -> tuple[datetime, datetime, StatedTime]:
    """Between which times the order was done, and what the provider's own word for it is worth."""
    low, high = finished_between(times.completed_after, times.completed_by, times.claimed_at)
    stated = times.stated_at
    if stated is None:
        return low, high, StatedTime.NONE
    premature = times.stated_by is not None and times.stated_by <= low
    if premature or not low - TOLERANCE <= stated <= high + TOLERANCE:
        return low, high, StatedTime.UNFIT
    # Clocks that differ move the stated second to the window's edge; that it was done there is known all the same.
    stated = low if stated + SECOND < low else high - SECOND if stated > high else stated
    return max(low, stated), min(high, stated + SECOND), StatedTime.BELIEVED


def _webhook_before_poll(times: CompletionTimes) -> datetime | None:
    """When the webhook call came that led to the poll; one that was premature or came during the poll did not."""
    at = times.claimed_at
    return at if at is not None and times.completed_after < at <= min(times.began_at, times.completed_by) else None


def parts(times: CompletionTimes, done: datetime) -> Parts:
    """The parts if the order was done at this moment; what is beyond the time that is split is moved to its edge."""
    webhook_at = _webhook_before_poll(times)
    by = times.completed_by
    since = min(times.accepted_at, by)
    done = min(max(done, since), by)
    left = by - done
    notice = webhook_at - done if webhook_at is not None and webhook_at > done else _NOTHING
    wait = max(min(times.began_at, by) - done - notice, _NOTHING)
    return Parts(done - since, notice, wait, left - notice - wait)


# In words


def between(least: timedelta, most: timedelta) -> str:
    """A length that lies between two, in words: "0.8 s", "1.2 to 4.8 s"; rounded outwards, so that it stays true."""
    if least == most:
        return _short((least + _TENTH / 2) // _TENTH * _TENTH)
    first, last = _short(least // _step(least) * _step(least)), _longest(most)
    if first == last:
        return last
    number, _, unit = first.partition(" ")
    return f"{number if last.partition(' ')[2] == unit else first} to {last}"


def within(least: timedelta, most: timedelta) -> str:
    """An upper bound that lies between two, in words; as `between`, but also rounded up where it is known."""
    return _longest(most) if least == most else between(least, most)


def _longest(length: timedelta) -> str:
    return _short(-(-length // _step(length)) * _step(length))


def _step(length: timedelta) -> timedelta:
    """What lengths like this one are told in."""
    steps = ((_MINUTE, _TENTH), (_LONG, SECOND), (timedelta(days=1), _MINUTE))
    return next((step for below, step in steps if length < below), timedelta(hours=1))


def _short(length: timedelta) -> str:
    if length < _MINUTE:
        return f"{length.total_seconds():g} s"
    if length >= _LONG:
        return duration(length)
    minutes, rest = divmod(length, _MINUTE)
    return f"{minutes} min {rest // SECOND} s" if rest >= SECOND else f"{minutes} min"
