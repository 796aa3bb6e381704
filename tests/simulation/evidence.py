"""What was asked for, what the provider's answers have proven, and whether a state may be shown on that."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marketplace import EPSILON, Placed
from mishaps import OLDER, OLDEST

if TYPE_CHECKING:
    from world import World

TERMINAL = {"Completed", "Cancelled"}


class Violation(Exception):
    """Something that must never be. `invariant` is its number."""

    def __init__(self, invariant: str, what: str) -> None:
        self.invariant = invariant
        super().__init__(f"{invariant}: {what}")


@dataclass(slots=True)
class Intended:
    """An order somebody means to have: what it was asked for as, and whether that was acknowledged."""

    po_number: str
    document: Mapping[str, Any]
    lines: Sequence[tuple[str, int, int, str]]
    acknowledged: bool = False
    handed_in: bool = False

    @property
    def value_minor(self) -> int:
        return sum(value * quantity for _, value, quantity, _ in self.lines)


class Evidence:
    """Knows the truth, and what of it has reached the console. Raises Violation.

    `declined` says when an answer last refused a PONumber; `several_named` are those whose 409 named other orders too.
    """

    def __init__(self, world: "World") -> None:
        self.world = world
        self.intended: dict[str, Intended] = {}
        self.proven: set[str] = set()
        self.declined: dict[str, float] = {}
        self.several_named: set[str] = set()

    def check_move(self, facts: Mapping[str, Any], po_number: str, before: str | None, state: str) -> None:
        placed = self.world.market.by_id(facts["provider_id"] or "")
        if state in TERMINAL:
            self._check_finish(po_number, placed, state, facts)
        elif state == "Refused" and facts["approval"] == "declined":
            if not self.world.approvals.was_declined(po_number):
                raise Violation("I2", f"{po_number} is shown as declined, and nobody has declined it")
        elif state == "Refused":
            self._check_refusal(po_number)
        elif state == "Queued" and before == "Sending" and self._is_there(po_number):
            raise Violation("I2", f"{po_number} is shown as not sent, but the provider has it")
        elif facts["submission"] == "accepted" and state not in {"Queued", "Sending", "Outcome unknown"}:
            self._check_acceptance(po_number, placed, facts)

    def _check_finish(self, po_number: str, placed: Placed | None, state: str, facts: Mapping[str, Any]) -> None:
        if placed is None or placed.po_number != po_number:
            raise Violation("I2", f"{po_number} is shown {state}, but the provider has no such order")
        done_at = placed.done_at
        if done_at is None or done_at > self.world.now + EPSILON:
            raise Violation("I2", f"{po_number} is shown {state} before it is so at the provider")
        if placed.id not in self.proven:
            raise Violation("I2", f"{po_number} is shown {state}, but no GET has shown it so")
        if placed.end != state:
            raise Violation("I2", f"{po_number} is shown {state}, at the provider it is {placed.end}")
        if not self.world.skewed and len(placed.stages) < 4 and facts["submission"] == "accepted":
            after, by = (
                self.world.auditor.seconds(facts["completed_after"]),
                self.world.auditor.seconds(facts["completed_by"]),
            )
            if after is None or by is None or not after - self._reads_lag() - 0.01 <= done_at <= by + 0.01:
                raise Violation("I2", f"{po_number} was finished at {done_at}, outside the window {after} to {by}")

    def _reads_lag(self) -> float:
        """How long ago what an answer shows may have been so: nobody can tell that by the answer."""
        climate = self.world.climate
        return OLDEST if any(name == OLDER for name, _ in [*climate.get, *climate.list]) else 0.0

    def _is_there(self, po_number: str) -> bool:
        """Whether the provider has it, and no refusal came between, after which a person may send it again."""
        there = any(self.fits(one) for one in self.world.market.by_po.get(po_number, ()))
        return there and po_number not in self.declined and po_number not in self.several_named

    def _check_refusal(self, po_number: str) -> None:
        """Refused must mean refused: an answer said so, and an order that the lists show would contradict it."""
        declined_at = self.declined.get(po_number)
        placed = self.world.market.by_po.get(po_number, [])
        if any(not self.fits(one) for one in placed) or po_number in self.several_named:
            return
        if declined_at is None:
            raise Violation("I2", f"{po_number} is shown Refused, but no answer has refused it")
        if placed and min(one.visible_at for one in placed) + self._reads_lag() < declined_at:
            raise Violation("I2", f"{po_number} is shown Refused, but the provider has it as {placed[0].id}")

    def _check_acceptance(self, po_number: str, placed: Placed | None, facts: Mapping[str, Any]) -> None:
        if placed is None:
            raise Violation("I2", f"{po_number} is shown as taken, but the provider has no {facts['provider_id']}")
        if placed.po_number != po_number or not self.fits(placed):
            raise Violation("I2", f"{po_number} is taken for {placed.id}, which is another order")

    def fits(self, placed: Placed) -> bool:
        wanted = self.intended.get(placed.po_number)
        return wanted is None or contents(placed.lines) == sorted(wanted.lines)


def contents(lines: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, int, str]]:
    """Lines as they compare: product, minor units, quantity, external id."""
    return sorted(
        (line["ProductId"], round(float(line["Value"]) * 100), int(line["Quantity"]), line.get("ExternalId", ""))
        for line in lines
    )
