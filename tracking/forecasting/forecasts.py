"""The forecasts of this process, in memory: when to poll and what is late, the price of a call, the webhooks' share.

One `Forecasts` for a process. The loops update it from the store; whoever plans reads it, from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from tracking.forecasting.classes import class_bounds, class_of, first_guess, first_late_after
from tracking.forecasting.waits import FIRST_PRICE, MOST_WEBHOOK_SHARE, price_with_webhooks
from tracking.orders.policy.promises import LatePromise

if TYPE_CHECKING:
    from tracking.forecasting.finish_times import FinishTimes
    from tracking.forecasting.survival import Forecast

LIST_MEMORY = 20  # finished orders on list pages
LONGEST_EXPECTED = timedelta(days=90)


class LateBasis(StrEnum):
    """What an order's late limit rests on. The words are stored."""

    PROMISE = "promise"
    LEARNED = "learned"
    BORROWED = "borrowed"
    GUESS = "guess"


@dataclass(frozen=True, slots=True)
class LateLimit:
    """From what age on an open order is late, and what that rests on.

    Attributes:
        after: the age, since the provider took the order.
        basis: a promise, finished orders of the class, those of another size, or a guess.
        orders: how many finished orders of `like` it rests on; of a guess, how many there are so far.
        like: the class whose finished orders these are.
    """

    after: timedelta
    basis: LateBasis
    orders: int
    like: str


@dataclass(frozen=True, slots=True)
class ComparableTimes:
    """The finish times an order is compared with: its class's, or those of another size, stretched by `scale`."""

    times: FinishTimes
    like: str
    scale: float = 1.0

    def finishes_by(self, share: float, age: float) -> float:
        """The age in seconds by which this share of those open at `age` finishes; infinite where nobody knows."""
        return self.times.finishes_by(share, age / self.scale) * self.scale

    def slower_than(self, age: float) -> float:
        """The share of finished orders that took less than this age in seconds."""
        return 1.0 - float(self.times.curve.at(age / self.scale))


class Forecasts:
    """The forecasts of all classes, as last learned; a class that was not seen yet gets one from its first guess.

    `price`: of one call, in seconds that a finished order waits unseen; follows the rate limit.
    `webhook_share`: of completions, those a webhook call announces before a poll; zero until some have been counted.
    Nobody counts on them while `webhooks_silent`. `sweep_asked`: silence is suspected, so that the next polls should
    not count on them either. `unproven_share`: of finished orders on list pages, those that had to be asked for again
    to be proven.
    """

    def __init__(self, *, relative: bool = True, promises: Sequence[LatePromise] = ()) -> None:
        self.relative = relative
        self.promises = tuple(promises)
        self.price = FIRST_PRICE
        self.webhook_share = 0.0
        self.webhooks_silent = False
        self.sweep_asked = False
        self.unproven_share = 0.0
        self._by_class: dict[str, Forecast] = {}
        self._finish_times: dict[str, FinishTimes] = {}

    def for_order(self, order_type: str, units: int) -> Forecast:
        """Find the forecast of the class that an order of this type and size belongs to."""
        return self.for_class(class_of(order_type, units))

    def for_class(self, name: str) -> Forecast:
        """Find the forecast of the class, or make it from the first guess."""
        forecast = self._by_class.get(name)
        if forecast is None:
            from tracking.forecasting.survival import Forecast  # noqa: PLC0415 - numpy is imported when first needed, not at a start

            forecast = self._by_class[name] = Forecast.fit(name, (), relative=self.relative)
        return forecast

    @property
    def expected_webhook_share(self) -> float:
        """The share of completions that are expected to announce themselves now."""
        return 0.0 if self.webhooks_silent else min(self.webhook_share, MOST_WEBHOOK_SHARE)

    def price_of_poll(self, *, announces: bool) -> float:
        """Price a poll of one order, in seconds of waiting; dearer where a webhook may make it needless."""
        return price_with_webhooks(self.price, self.expected_webhook_share) if announces else self.price

    def finish_times(self, name: str) -> FinishTimes:
        """Find how long the finished orders of the class took."""
        times = self._finish_times.get(name)
        if times is None:
            from tracking.forecasting.finish_times import FinishTimes  # noqa: PLC0415 - as above

            times = FinishTimes.unknown()
        return times

    def finish_times_by_class(self) -> dict[str, FinishTimes]:
        """List the finish times that were learned, by class."""
        return dict(self._finish_times)

    def comparable_times(self, name: str) -> ComparableTimes:
        """Find what orders of the class are compared with: their own class, or the nearest size where too few finished.

        A larger size goes first where two are as near. Times of a smaller one are stretched as first guesses grow.
        """
        own = self.finish_times(name)
        if own.reliable:
            return ComparableTimes(own, name)
        order_type, _, most = class_bounds(name)
        others = [other for other, times in self._finish_times.items() if times.reliable and other != name]
        sizes = [size for kind, _, size in map(class_bounds, others) if kind == order_type]
        if not sizes:
            return ComparableTimes(own, name)
        nearest = min(sizes, key=lambda size: (max(size, most) / min(size, most), -size))
        lender = class_of(order_type, nearest)
        return ComparableTimes(self._finish_times[lender], lender, max(first_guess(name) / first_guess(lender), 1.0))

    def promise(self, order_type: str, units: int) -> LatePromise | None:
        """Find the promise for orders of this type and size: the narrowest that covers it."""
        fitting = [one for one in self.promises if one.covers(order_type, units)]
        return min(fitting, key=lambda one: (one.most is None, (one.most or 0) - one.fewest), default=None)

    def late_limit(self, order_type: str, units: int) -> LateLimit:
        """Decide from what age on an open order is late.

        A promise wins. Else it is the age by which 99 of 100 of those finish that do; while few of the class have,
        the same of the nearest size, or a generous guess, and never less than the class's own orders showed.
        """
        name = class_of(order_type, units)
        own, compared = self.finish_times(name), self.comparable_times(name)
        promise = self.promise(order_type, units)
        if promise is not None:
            return LateLimit(promise.after, LateBasis.PROMISE, own.orders, name)
        if not compared.times.reliable:
            guess = first_late_after(order_type, class_bounds(name)[2])
            return LateLimit(max(_age(own.late_after), guess), LateBasis.GUESS, own.orders, name)
        basis = LateBasis.LEARNED if compared.like == name else LateBasis.BORROWED
        after = max(_age(compared.times.late_after * compared.scale), _age(own.late_after))
        return LateLimit(after, basis, compared.times.orders, compared.like)

    def note_list_proof(self, proven: int, unproven: int) -> None:
        """Count finished orders on list pages: so many were proven by it, so many had to be asked for again."""
        for _ in range(min(proven + unproven, LIST_MEMORY)):
            self.unproven_share += (unproven / (proven + unproven) - self.unproven_share) / LIST_MEMORY

    def by_class(self) -> dict[str, Forecast]:
        """List the forecasts by class, first guesses included."""
        return dict(self._by_class)

    def replace(self, forecasts: Iterable[Forecast], finish_times: Mapping[str, FinishTimes] | None = None) -> None:
        """Replace the forecasts and the finish times of these classes; the others stay as they are."""
        self._by_class = self._by_class | {forecast.name: forecast for forecast in forecasts}
        self._finish_times = self._finish_times | dict(finish_times or {})


def _age(seconds: float) -> timedelta:
    return min(timedelta(seconds=min(seconds, 1e9)), LONGEST_EXPECTED)
