"""The simulated provider without HTTP: places orders, and holds database, clock and scenario for all other parts.

Owns the rules of placing: duplicate PONumbers, funds, the lifecycle.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from tracking.sandbox.database import BalanceTooLow, Placement, SandboxDatabase, SandboxLine, SandboxOrder, Source
from tracking.sandbox.faults import Faults, faults_of_order, seeded_random
from tracking.sandbox.order_lifecycle import Lifecycle, plan_lifecycle, schedule_webhooks
from tracking.sandbox.order_validation import ValidOrder
from tracking.sandbox.order_views import ViewContext
from tracking.sandbox.scenarios import SCENARIOS, Scenario

# Where orders take as long as in life: seconds of one without cards, and the spread of their logarithm.
_LIFELIKE_SECONDS = {
    "Links": (8.0, 0.3),
    "Codes": (8.0, 0.3),
    "DigitalDelivery": (20.0, 0.3),
    "PhysicalShipment": (12 * 3600.0, 0.3),
}
Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class PoNumberConflict:
    """A PONumber in use: by which order, if any, and whether that has the same contents."""

    order: SandboxOrder | None
    same: bool


class Provider:
    """Places orders under the faults of a scenario.

    Until `outage_until` each call gets a 503, and until `webhooks_held_until` no webhook leaves, in seconds since 1970,
    whatever the scenario; neither outlives the process. `lifelike`: cards by post take half a day, the
    others seconds that grow with the order, and none completes within its POST.
    """

    def __init__(
        self,
        database: SandboxDatabase,
        *,
        clock: Clock,
        sleep: Sleep,
        seed: int,
        speed: float,
        scenario: str,
        lifelike: bool = False,
    ) -> None:
        self.database = database
        self._lifelike = lifelike
        self.key = database.key()
        self.clock = clock
        self.sleep = sleep
        self.seed = seed
        self.speed = speed
        self.scenario: Scenario
        self.scenario_since: float
        self.outage_until = self.webhooks_held_until = 0.0
        self._reads: Counter[int] = Counter()
        self.switch_to(scenario)

    @property
    def faults(self) -> Faults:
        """The faults of the current scenario."""
        return self.scenario.faults

    def switch_to(self, name: str) -> None:
        """Change the scenario; orders already placed keep their lifecycle. ValueError for an unknown name."""
        if name not in SCENARIOS:
            raise ValueError(f"unknown scenario {name!r}; there are: {', '.join(sorted(SCENARIOS))}")
        self.scenario = SCENARIOS[name]
        self.scenario_since = self.clock()

    def faults_for(self, order: ValidOrder) -> Faults:
        """Select the faults of one order."""
        return faults_of_order(self.faults, self.seed, order.po_number, order.note)

    def place(
        self, order: ValidOrder, faults: Faults, *, attempt: int, now: float
    ) -> SandboxOrder | PoNumberConflict | BalanceTooLow:
        """Place an order of the API's caller, exactly once for each PONumber."""
        with self.database.transaction():
            if existing := self.database.order_by_po_number(order.po_number):
                return PoNumberConflict(existing, existing.digest == order.digest)
            if faults.refusal_uses_up and self.database.was_refused(order.po_number):
                return PoNumberConflict(None, same=False)
            if faults.conflict_compares == "mismatch":
                stranger = self.place_elsewhere(_other_contents(order), now)
                return PoNumberConflict(stranger, same=False)
            result = self._place_with_funds(order, faults, attempt, now)
            if isinstance(result, BalanceTooLow):
                self.database.record_refusal(order.po_number)
            return result

    def _place_with_funds(
        self, order: ValidOrder, faults: Faults, attempt: int, now: float
    ) -> SandboxOrder | BalanceTooLow:
        if faults.funds == "short" and attempt == 1:
            return BalanceTooLow(min(self.database.balance_cents(), order.cost_cents * 9 // 10))
        return self.database.place(self._placement(order, faults, "api", now), debit=True)

    def place_elsewhere(self, order: ValidOrder, now: float) -> SandboxOrder:
        """Place an order as another system on the same account does: with its faults of fulfillment, without 422."""
        faults = self.faults_for(order)
        placement = self._placement(order, faults, "elsewhere", now)
        with self.database.transaction():
            debit = order.cost_cents <= self.database.balance_cents()
            result = self.database.place(placement, debit=debit)
        assert isinstance(result, SandboxOrder)  # noqa: S101 - the balance was read within the same transaction  # nosec B101
        return result

    def _placement(self, order: ValidOrder, faults: Faults, source: Source, now: float) -> Placement:
        rng = seeded_random(self.seed, "course", order.po_number)
        lifecycle = self.plan(order, faults, now, rng)
        webhooks = schedule_webhooks(lifecycle, faults, self.speed) if source == "api" else []
        return Placement(order, lifecycle, source, now, faults.claim_data, faults.rotate_claims, webhooks)

    def plan(
        self, order: ValidOrder, faults: Faults, now: float, rng: random.Random, *, seconds: float | None = None
    ) -> Lifecycle:
        """Plan the lifecycle of an order placed now, in `seconds` where they are given."""
        if seconds is None and self._lifelike and faults.pace:
            base, spread = _LIFELIKE_SECONDS[order.kind]
            seconds = (base + 2 * order.units) * faults.pace * rng.lognormvariate(0, spread) / self.speed
        return plan_lifecycle(order.kind, order.items, faults, now, speed=self.speed, rng=rng, seconds=seconds)

    def view_context(self, order: SandboxOrder, now: float, *, reading: bool, claims: bool = True) -> ViewContext:
        """Make the context for rendering an order. Reading one whose claims rotate turns them."""
        if reading and order.rotates:
            self._reads[order.number] += 1
        return ViewContext(now, self.faults, self.key, self._reads[order.number], claims)

    def is_visible(self, order: SandboxOrder, now: float) -> bool:
        """Check whether the order can be read yet."""
        hidden_seconds = self.faults.visible_after / self.speed
        return not hidden_seconds or now >= order.created_at + hidden_seconds

    def lines(self, orders: Sequence[SandboxOrder]) -> dict[int, list[SandboxLine]]:
        """Select the lines of some orders by the order's number."""
        return self.database.lines([order.number for order in orders])


def _other_contents(order: ValidOrder) -> ValidOrder:
    """The same PONumber with one more unit of the first line and without its webhook and note."""
    line = {**order.items[0], "Quantity": order.items[0]["Quantity"] + 1}
    cost = order.costs[0] + order.costs[0] // order.items[0]["Quantity"]
    return replace(order, header={}, items=(line,), costs=(cost,))
