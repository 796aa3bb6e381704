"""Values of a backtest: the history that is replayed, the plan, the result. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracking.forecasting.survival import Array
from tracking.polling.selection import PAGE, Flags

NEVER = math.inf


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
        return float(ends.max(initial=self.arrived[-1]) - self.arrived[0])


@dataclass(frozen=True, slots=True)
class PollingPlan:
    """How orders are polled.

    Attributes:
        policy: "accrual", "doubling" or "fixed".
        rate: calls a second at the most.
        price: of a call in seconds; None: it follows the rate limit.
        wait: of the fixed policy, in seconds.
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
    """What a plan came to: calls for one order, list pages, those of discovery, and how late finishes were detected.

    `delays`: from when each order was finished until that was detected, in seconds; shape (orders that finished,);
    `classes`: the class of each of them. `span`: the length of the history, in seconds.
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
