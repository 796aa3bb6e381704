"""Approvals in a history: a limit, the people who approve, decline or may not, and what must hold of it (I13).

Drawn apart from all else, so that a seed's history stays what it was where it has no limit.
"""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evidence import Intended, Violation
from mishaps import Chances, Step

from tracking.access import Access, Person

if TYPE_CHECKING:
    from world import World

SUBMITTER = "Ann Example"
SECOND = Person("bob@example.com", signed_in=True)
PEOPLE = {
    "bob": SECOND,
    "eve": Person("eve@example.com", signed_in=True),
    "whoever submitted it": Person(SUBMITTER.upper(), signed_in=True),
    "an unproven name": Person("Bob"),
    "a viewer": Person("vic@example.com", Access.VIEWER, signed_in=True),
}
MAY_JUDGE = {"bob", "eve"}
LIMITS = (0, 800, 1500)  # minor units
INSERT_LIMIT = "INSERT INTO facts (key, at, value) VALUES ('approval limit', '2026-01-01 00:00:00.000000', ?)"


class Approvals:
    """Knows who was asked to judge which order, and what they were told. `limit` is None where no order waits."""

    def __init__(self, world: "World", seed: int) -> None:
        self.world = world
        self._rng = random.Random(f"approvals {seed}")
        self.limit = self._rng.choice(LIMITS) if self._rng.random() < 0.25 else None
        self._asked: dict[str, set[str]] = {}
        self._judged: dict[str, str] = {}

    def steps(self, submitted: Mapping[int, float]) -> list[Step]:
        """What people do about the orders, by number when each is first submitted."""
        if self.limit is None:
            return []
        rng, steps = self._rng, list[Step]()
        for number, at in submitted.items():

            def step(what: str, who: str, number: int = number, at: float = at) -> Step:
                return Step(round(at + rng.uniform(0.01, 40), 2), what, {"order": number, "who": who})

            chances: Chances = (
                (0.75, lambda: step("approve", "bob")),
                (0.30, lambda: step("decline", "eve")),
                (0.15, lambda: step("approve", "eve")),
                (0.15, lambda: step("decline", "bob")),
                (0.20, lambda: step("resend", "eve")),
                *((0.12, lambda who=who: step("approve", who)) for who in PEOPLE if who not in MAY_JUDGE),
            )
            steps += [make() for probability, make in chances if rng.random() < probability]
        return steps

    def begin(self) -> None:
        """Puts the limit in force, as a start does."""
        if self.limit is not None:
            self.world.file.raw.execute(INSERT_LIMIT, (f'{{"above": "{self.limit / 100:.2f}"}}',))

    def is_above(self, intended: Intended) -> bool:
        """Whether the order must wait for a second person."""
        return self.limit is not None and intended.value_minor > self.limit

    # What people do

    def asked(self, what: str, po_number: str, who: str) -> None:
        """Somebody is about to approve or to decline."""
        if who in MAY_JUDGE:
            self._asked.setdefault(po_number, set()).add(what)

    def done(self, what: str, po_number: str, who: str) -> None:
        """They were told that it is done."""
        if who not in MAY_JUDGE:
            raise Violation("I13", f"{po_number}: {who} could {what} it")
        if po_number in self._judged:
            raise Violation("I13", f"{po_number}: {what} was taken after {self._judged[po_number]}")
        self._judged[po_number] = what

    # What must hold

    def check_event(self, po_number: str, kind: str, before: str | None, after: str | None) -> None:
        """An order is asked for, or something else became of it."""
        if kind == "requested":
            self._check_birth(po_number, after)
        elif before != after:
            self._check_change(po_number, before, after)

    def _check_birth(self, po_number: str, approval: str | None) -> None:
        intended = self.world.evidence.intended[po_number]
        if (approval == "waiting") != self.is_above(intended):
            raise Violation("I13", f"{po_number} over {intended.value_minor} has the approval {approval!r} at first")

    def _check_change(self, po_number: str, before: str | None, after: str | None) -> None:
        """An order's approval is another one: only once, and because somebody who may asked for it."""
        if before in {"approved", "declined"}:
            raise Violation("I13", f"{po_number} was {before}, and is {after} by now")
        asked = {"approved": "approve", "declined": "decline"}.get(after or "")
        if asked and asked not in self._asked.get(po_number, ()):
            raise Violation("I13", f"{po_number} is {after}, and nobody who may has asked for that")

    def check_row(self, row: Mapping[str, Any], *, held: bool, unsent: bool) -> None:
        """What waits is held and will not be sent; what was declined is never sent."""
        if row["approval"] in {"waiting", "declined"} and unsent:
            raise Violation("I13", f"{row['po_number']} is {row['approval']}, and would be sent")
        if row["approval"] == "waiting" and row["submission"] == "queued" and not held:
            raise Violation("I7", f"{row['po_number']} waits for an approval, and its request is gone")

    def check_post(self, intended: Intended) -> None:
        """A POST of the order leaves."""
        if not self.is_above(intended):
            return
        if "approve" not in self._asked.get(intended.po_number, ()):
            raise Violation("I13", f"{intended.po_number} is sent, and nobody who may has approved it")
        if self._judged.get(intended.po_number) == "decline":
            raise Violation("I13", f"{intended.po_number} is sent after it was declined")

    def was_declined(self, po_number: str) -> bool:
        """Whether somebody who may asked to decline it."""
        return "decline" in self._asked.get(po_number, ())
