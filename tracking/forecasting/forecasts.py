"""The forecasts of this process, in memory: one for each class, the price of a call, the share webhooks announce.

One `Forecasts` for a process. The loops update it from the store; whoever plans reads it, from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING

from tracking.forecasting.classes import class_bounds, class_of, first_late_after
from tracking.forecasting.waits import FIRST_PRICE, MOST_WEBHOOK_SHARE, price_with_webhooks

if TYPE_CHECKING:
    from tracking.forecasting.survival import Forecast

RELIABLE_ORDERS = 30  # finished orders: with fewer, the slowest of a hundred is a guess
LIST_MEMORY = 20  # finished orders on list pages
LONGEST_EXPECTED = timedelta(days=90)


class Forecasts:
    """The forecasts of all classes, as last learned; a class that was not seen yet gets one from its first guess.

    `price`: of one call, in seconds that a finished order waits unseen; follows the rate limit.
    `webhook_share`: of completions, those a webhook call announces before a poll; zero until some have been counted.
    Nobody counts on them while `webhooks_silent`. `sweep_asked`: silence is suspected, so that the next polls should
    not count on them either. `unproven_share`: of finished orders on list pages, those that had to be asked for again
    to be proven.
    """

    def __init__(self, *, relative: bool = True) -> None:
        self.relative = relative
        self.price = FIRST_PRICE
        self.webhook_share = 0.0
        self.webhooks_silent = False
        self.sweep_asked = False
        self.unproven_share = 0.0
        self._by_class: dict[str, Forecast] = {}

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

    def late_after(self, order_type: str, units: int) -> timedelta:
        """From what age on an open order counts as late: beyond 99 of 100 of its class, where enough have finished."""
        return self.late_after_for_class(class_of(order_type, units))

    def late_after_for_class(self, name: str) -> timedelta:
        """The same for the class; while few of it have finished, not before what a generous guess says."""
        forecast = self.for_class(name)
        late = min(timedelta(seconds=min(forecast.late_after(), 1e9)), LONGEST_EXPECTED)
        order_type, _, most = class_bounds(name)
        return late if forecast.curve.orders >= RELIABLE_ORDERS else max(late, first_late_after(order_type, most))

    def note_list_proof(self, proven: int, unproven: int) -> None:
        """Count finished orders on list pages: so many were proven by it, so many had to be asked for again."""
        for _ in range(min(proven + unproven, LIST_MEMORY)):
            self.unproven_share += (unproven / (proven + unproven) - self.unproven_share) / LIST_MEMORY

    def by_class(self) -> dict[str, Forecast]:
        """List the forecasts by class, first guesses included."""
        return dict(self._by_class)

    def replace(self, forecasts: Iterable[Forecast]) -> None:
        """Replace the forecasts of these classes; the others stay as they are."""
        self._by_class = self._by_class | {forecast.name: forecast for forecast in forecasts}
