"""Values of a backtest: the history that is replayed, the plan, the result; simulated limiter and list. Pure."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracking.forecasting.survival import Array
from tracking.polling.selection import PADDING, PAGE, Flags

NEVER = math.inf
ROUNDING = 1e-6
LONGEST_WAIT = 10**9  # steps


@dataclass(frozen=True)
class History:
    """What happened, whoever polled. Arrays of shape (n,), ascending by `arrived`; times in seconds.

    Attributes:
        arrived: when the provider took the order.
        finished: when it was done there; infinite where it never was.
        classes: the name of its class.
        webhook_at: when a webhook announced that; infinite where none did.
        webhook_expected: whether a webhook may announce it, as none does for orders placed elsewhere; None: for all.
    """

    arrived: Array
    finished: Array
    classes: Sequence[str]
    webhook_at: Array
    webhook_expected: Flags | None = None

    def __len__(self) -> int:
        return len(self.arrived)

    @property
    def span(self) -> float:
        """From the first order to the last that finished, in seconds."""
        if not len(self):
            return 0.0
        ends = self.finished[np.isfinite(self.finished)]
        return float(max(ends.max(initial=self.arrived[-1]), self.arrived[-1]) - self.arrived[0])


@dataclass(frozen=True, slots=True)
class PollingPlan:
    """How orders are polled.

    Attributes:
        policy: "accrual", "doubling" or "fixed".
        rate: calls a second at the most.
        price: of a call in seconds; None: it follows the rate limit.
        wait: of the fixed policy, in seconds; the cap of the doubling one.
        floor: the shortest wait between two polls of an order.
        ceiling: the longest.
        page: orders a list page holds; 1: no pages.
        discover_every: seconds between walks of the list for orders placed elsewhere; 0: never.
        webhook_share: the share of completions that webhooks are expected to announce.
        relative: whether a second weighs less for orders that took longer anyway.
        sends: whether the POST of each order counts against the same limit.
        call_seconds: that a call takes; what it shows is of when it left.
        commit_seconds: that a commit takes: one leases the orders of a call, one records the call for the rate limit.
    """

    policy: str = "accrual"
    rate: float = 5.0
    price: float | None = None
    wait: float = 60.0
    floor: float = 1.0
    ceiling: float = 900.0
    page: int = PAGE
    discover_every: float = 0.0
    webhook_share: float = 0.0
    relative: bool = True
    sends: bool = False
    call_seconds: float = 0.0
    commit_seconds: float = 0.0


@dataclass(frozen=True)
class BacktestResult:
    """What a plan came to.

    Attributes:
        singles: calls for one order.
        pages: list pages, those of discovery not among them.
        discoveries: list pages of discovery.
        delays: from when each order was finished until that was detected, in seconds; shape (orders that finished,).
        classes: the class of each of them.
        span: the length of the history, in seconds.
    """

    singles: int
    pages: int
    discoveries: int
    delays: Array
    classes: Sequence[str]
    span: float

    @property
    def calls(self) -> int:
        """All calls that ask; what orders cost to be sent is not among them."""
        return self.singles + self.pages + self.discoveries

    @property
    def calls_an_hour(self) -> float:
        """All calls, an hour."""
        return self.calls / max(self.span, 1.0) * 3600

    @property
    def mean(self) -> float:
        """The mean delay in seconds."""
        return float(self.delays.mean()) if len(self.delays) else 0.0

    def quantile(self, share: float) -> float:
        """The delay that this share of the orders did not exceed, in seconds."""
        return float(np.quantile(self.delays, share)) if len(self.delays) else 0.0


class SimulatedLimiter:
    """The rate limit in a backtest: no more calls in any window than the console's own limiter lets leave."""

    def __init__(self, rate: float, step: float) -> None:
        self._window = max(1.0, 1 / rate)
        self._most = max(1, int(rate * max(1.0, step)))
        self._left: deque[float] = deque(maxlen=self._most)

    def available(self, now: float) -> int:
        """How many calls may leave now."""
        return self._most - sum(1 for at in self._left if at > now - self._window + ROUNDING)

    def available_at(self) -> float:
        """When one may leave again, while none may now."""
        return self._left[0] + self._window - ROUNDING

    @property
    def most(self) -> int:
        """How many may leave in one window."""
        return self._most

    def use(self, calls: int, now: float) -> None:
        """So many leave as soon as they may."""
        for _ in range(calls):
            full = len(self._left) == self._most
            self._left.append(max(now, self._left[0] + self._window) if full else now)


@dataclass
class TimeSteps:
    """Time that goes in equal steps from `begun` on, of which so many were taken."""

    begun: float
    size: float
    taken: int = 0

    def at(self, steps: Any) -> Any:
        """The time after so many steps."""
        return self.begun + steps * self.size

    def until(self, moment: float) -> int:
        """How many steps on it is then or later; one at the least."""
        if math.isinf(moment):
            return LONGEST_WAIT if moment > 0 else 1
        ahead = max(math.ceil((moment - self.begun) / self.size) - self.taken, 1)
        while ahead > 1 and self.at(self.taken + ahead - 1) >= moment:
            ahead -= 1
        while self.at(self.taken + ahead) < moment:
            ahead += 1
        return ahead


@dataclass
class SimulatedOrderList:
    """The provider's list, ascending by when orders were created; the first `arrived_count` have arrived so far."""

    created: Array
    arrived_count: int = 0

    def creation_times(self, first: float, last: float, limit: int) -> Array:
        """When the orders between these two times were created, at most `limit`."""
        start = self.since(first)
        end = int(np.searchsorted(self.created[: self.arrived_count], last, side="right"))
        return self.created[start : min(end, start + limit)]

    def since(self, moment: float) -> int:
        """The first order that was created then or later."""
        return int(np.searchsorted(self.created[: self.arrived_count], moment))

    def page(self, first: float, last: float, size: int) -> tuple[int, int]:
        """From which order to before which one the page of these creation times goes; the newest come first."""
        end = int(np.searchsorted(self.created[: self.arrived_count], last + PADDING, side="right"))
        return max(self.since(first - PADDING), end - size), end
