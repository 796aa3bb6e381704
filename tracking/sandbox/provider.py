"""The simulated provider's world: its ledger, its clock, its scenario, and the one way an order gets placed.

Owns the rules of placing (duplicates, funds, the course). Speaks no HTTP.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from tracking.sandbox.database import Insufficient, Ledger, Line, Order, Placement, Source
from tracking.sandbox.faults import Switches, dice, for_order
from tracking.sandbox.order_lifecycle import announcements, order_status, plan
from tracking.sandbox.order_validation import Intake
from tracking.sandbox.order_views import View
from tracking.sandbox.scenarios import SCENARIOS, Scenario

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Conflict:
    """The PONumber is taken: by which order, if any, and whether that has the same contents."""

    order: Order | None
    same: bool


class World:
    """Everything the parts of the sandbox share."""

    def __init__(self, ledger: Ledger, *, clock: Clock, sleep: Sleep, seed: int, speed: float, scenario: str) -> None:
        self.ledger = ledger
        self.key = ledger.key()
        self.clock = clock
        self.sleep = sleep
        self.seed = seed
        self.speed = speed
        self.scenario: Scenario
        self.since: float
        self._reads: Counter[int] = Counter()
        self.switch_to(scenario)

    @property
    def switches(self) -> Switches:
        """The switches of the present scenario."""
        return self.scenario.switches

    def switch_to(self, name: str) -> None:
        """Change the scenario; orders already placed keep their course. ValueError for an unknown name."""
        if name not in SCENARIOS:
            raise ValueError(f"unknown scenario {name!r}; there are: {', '.join(sorted(SCENARIOS))}")
        self.scenario = SCENARIOS[name]
        self.since = self.clock()

    def for_order(self, intake: Intake) -> Switches:
        """The switches that hold for one order."""
        return for_order(self.switches, self.seed, intake.po_number, intake.note)

    def place(self, intake: Intake, own: Switches, *, attempt: int, now: float) -> Order | Conflict | Insufficient:
        """Place an order of the API's caller, exactly once for each PONumber."""
        with self.ledger.transaction():
            if existing := self.ledger.order_of(intake.po_number):
                return Conflict(existing, existing.digest == intake.digest)
            if own.refusal_uses_up and self.ledger.was_refused(intake.po_number):
                return Conflict(None, same=False)
            if own.conflict_compares == "mismatch":
                stranger = self.place_for_others(_other_contents(intake), now)
                return Conflict(stranger, same=False)
            placed = self._place_with_funds(intake, own, attempt, now)
            if isinstance(placed, Insufficient):
                self.ledger.note_refusal(intake.po_number)
            return placed

    def _place_with_funds(self, intake: Intake, own: Switches, attempt: int, now: float) -> Order | Insufficient:
        if own.funds == "short" and attempt == 1:
            return Insufficient(min(self.ledger.balance_cents(), intake.cost_cents * 9 // 10))
        return self.ledger.place(self._placement(intake, own, "api", now), debit=True)

    def place_for_others(self, intake: Intake, now: float) -> Order:
        """Place an order as another system on the same account does: with its faults of fulfillment, without 422."""
        own = self.for_order(intake)
        placement = self._placement(intake, own, "elsewhere", now)
        with self.ledger.transaction():
            debit = intake.cost_cents <= self.ledger.balance_cents()
            placed = self.ledger.place(placement, debit=debit)
        assert isinstance(placed, Order)  # noqa: S101 - the balance was looked at within the same transaction  # nosec B101
        return placed

    def _placement(self, intake: Intake, own: Switches, source: Source, now: float) -> Placement:
        chance = dice(self.seed, "course", intake.po_number)
        course = plan(intake.kind, intake.items, own, now, speed=self.speed, chance=chance)
        hooks = announcements(course, own, self.speed) if source == "api" else []
        return Placement(intake, course, source, now, own.claim_data, own.rotate_claims, hooks)

    def view(self, order: Order, now: float, *, reading: bool, claims: bool = True) -> View:
        """How an order is shown now. Reading one whose claims rotate turns them."""
        if reading and order.rotates:
            self._reads[order.number] += 1
        return View(now, self.switches, self.key, self._reads[order.number], claims)

    def is_visible(self, order: Order, now: float) -> bool:
        """Whether the order can be read yet."""
        hidden = self.switches.visible_after / self.speed
        return not hidden or now >= order.created_at + hidden

    def status(self, order: Order, now: float) -> str:
        """The order's status."""
        return order_status(order.steps, now)

    def lines(self, orders: Sequence[Order]) -> dict[int, list[Line]]:
        """The lines of some orders by the order's number."""
        return self.ledger.lines([order.number for order in orders])


def _other_contents(intake: Intake) -> Intake:
    """The same PONumber with one more unit of the first line and without its webhook and note."""
    line = {**intake.items[0], "Quantity": intake.items[0]["Quantity"] + 1}
    cost = intake.costs[0] + intake.costs[0] // intake.items[0]["Quantity"]
    return replace(intake, header={}, items=(line,), costs=(cost,))
