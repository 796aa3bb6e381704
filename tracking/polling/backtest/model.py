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
    """What happened, whoever polled. Arrays of shape (n,), ascending by `arrived`; times in seconds."""

    arrived: Array  # when the provider took the order
    finished: Array  # when it was done there; infinite where it never was
    classes: Sequence[str]
    webhook_at: Array  # when a webhook announced that; infinite where none did
    webhook_expected: Flags | None = None  # whether one may, as none does for orders placed elsewhere; None: for all

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
    """How orders are polled; times in seconds."""

    policy: str = "accrual"  # or "doubling", "fixed"
    rate: float = 5.0  # calls a second at the most
    price: float | None = None  # of a call; None: it follows the rate limit
    wait: float = 60.0  # of the fixed policy
    floor: float = 1.0  # the shortest wait between two polls of an order
    ceiling: float = 900.0  # the longest
    page: int = PAGE  # orders a list page holds; 1: no pages
    discover_every: float = 0.0  # between walks of the list for orders placed elsewhere; 0: never
    webhook_share: float = 0.0  # of completions, those that webhooks are expected to announce
    relative: bool = True  # whether a second weighs less for orders that took longer anyway
    sends: bool = False  # whether the POST of each order counts against the same limit
    call_seconds: float = 0.0  # that a call takes; what it shows is of when it left
    commit_seconds: float = 0.0  # that a commit takes: one leases a call's orders, one records it for the rate limit


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
