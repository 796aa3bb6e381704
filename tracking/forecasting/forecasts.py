"""What is expected of open orders, in memory: a forecast for each class, the price of a call, how much is announced.

One `Book` for a process. The loops renew it from the store; whoever plans reads it, from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from tracking.forecasting.classes import bounds_of, class_of, late_after
from tracking.forecasting.waits import FIRST_PRICE, MOST_HEARD, with_webhooks

if TYPE_CHECKING:
    from tracking.forecasting.survival import Forecast

PACING = "pacing"  # the fact that keeps the price and what is announced
ENOUGH = 30  # finished orders: with fewer, the slowest of a hundred is a guess
LIST_MEMORY = 20  # finished orders on list pages
LONGEST_EXPECTED = timedelta(days=90)


class Book:
    """The forecasts of all classes, as last learned; a class that was not seen yet gets one from its first guess.

    `price`: of one call, in seconds that a finished order waits unseen; follows the budget. `heard`: the share of
    completions that announce themselves, zero until something is known of it; nobody counts on them while `deaf`.
    `verify`: somebody suspects that they are silent, so that the next looks should not count on them either.
    `unproven`: the share of finished orders on list pages that had to be asked for again to be proven.
    """

    def __init__(self, *, relative: bool = True) -> None:
        self.relative = relative
        self.price = FIRST_PRICE
        self.heard = 0.0
        self.deaf = False
        self.verify = False
        self.unproven = 0.0
        self._known: dict[str, Forecast] = {}

    def of(self, order_type: str, units: int) -> Forecast:
        """The forecast of the class that such an order belongs to."""
        return self.of_class(class_of(order_type, units))

    def of_class(self, name: str) -> Forecast:
        """The forecast of the class."""
        known = self._known.get(name)
        if known is None:
            from tracking.forecasting.survival import Forecast  # noqa: PLC0415 - numpy is imported when first needed, not at a start

            known = self._known[name] = Forecast.learned(name, (), relative=self.relative)
        return known

    @property
    def counted_on(self) -> float:
        """The share of completions that are expected to announce themselves now."""
        return 0.0 if self.deaf else min(self.heard, MOST_HEARD)

    def price_of_look(self, *, announces: bool) -> float:
        """What a look at an order costs that may announce its completion, or may not."""
        return with_webhooks(self.price, self.counted_on) if announces else self.price

    def late_after(self, order_type: str, units: int) -> timedelta:
        """From what age on an open order counts as late: beyond 99 of 100 of its class, where enough have finished."""
        return self.late_after_in(class_of(order_type, units))

    def late_after_in(self, name: str) -> timedelta:
        """The same for the class; while few of it have finished, not before what a generous guess says."""
        forecast = self.of_class(name)
        late = min(timedelta(seconds=min(forecast.late_after(), 1e9)), LONGEST_EXPECTED)
        order_type, _, most = bounds_of(name)
        return late if forecast.curve.orders >= ENOUGH else max(late, late_after(order_type, most))

    def list_proved(self, proven: int, unproven: int) -> None:
        """Finished orders were seen on list pages: so many proven by it, so many to be asked for again."""
        for _ in range(min(proven + unproven, LIST_MEMORY)):
            self.unproven += (unproven / (proven + unproven) - self.unproven) / LIST_MEMORY

    def known(self) -> dict[str, Forecast]:
        """The forecasts by class, first guesses included."""
        return dict(self._known)

    def replace(self, forecasts: Iterable[Forecast]) -> None:
        """Takes over what was learned anew; classes that are not among it stay as they are."""
        self._known = self._known | {forecast.name: forecast for forecast in forecasts}
