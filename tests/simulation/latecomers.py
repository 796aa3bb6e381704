"""Orders that become late, of which another system is notified: once for each lateness, in order, and in time (I17).

A lateness is no event of the log: whoever delivers looks which orders it came to. So it is told here anew, from the
rows of the orders and the clock: none is written before its order is late, after its order has ended, or twice.
"""

import random
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from evidence import TERMINAL, Violation
from marketplace import EPSILON

from tracking.delivery.deliverer import Deliverer
from tracking.orders.policy.promises import LatePromise

if TYPE_CHECKING:
    from world import World

SHARE = 0.6
LOOK_EVERY = 30.0
LATE = "order.late"
TYPES = ("Links", "DigitalDelivery", "PhysicalShipment")
SELECT_LATE = (
    "SELECT id, order_id, seq, message_id, state, created_at FROM deliveries"
    " WHERE event_type = 'order.late' ORDER BY id"
)
SELECT_ORDERS = "SELECT id, po_number, state, late_at, accepted_at, event_count, type, units FROM orders"


class Latecomers:
    """What is known of late orders, and of the notifications of them. Raises Violation."""

    def __init__(self, world: "World", seed: int) -> None:
        self.world = world
        rng = random.Random(f"late {seed}")
        self.watched = world.outbound.busy
        self._promised = rng.choice((2.0, 6.0, 15.0, 60.0)) if self.watched and rng.random() < SHARE else None
        self._orders: dict[int, Any] = {}
        self._rows: dict[str, Any] = {}
        self._got: dict[str, str] = {}
        self._looked, self._furthest = 0.0, 0.0

    def promises(self) -> tuple[LatePromise, ...]:
        """By when orders are promised: soon, so that some are late."""
        if self._promised is None:
            return ()
        return tuple(LatePromise(kind, 0, None, timedelta(seconds=self._promised)) for kind in TYPES)

    async def turn(self, deliverer: Deliverer) -> None:
        """One look for orders that became late."""
        self._looked = self.world.now
        await deliverer.note_late_orders()

    def due(self) -> float | None:
        """When it is to be looked for them: once one is late, and now and then."""
        late = [self.world.auditor.seconds(row[3]) or 0.0 for row in self._open() if not self._is_announced(row)]
        return min([self._looked + LOOK_EVERY, *late])

    def _open(self) -> Iterable[Any]:
        return (row for row in self._orders.values() if row[3] is not None and row[2] not in {*TERMINAL, "Refused"})

    def _is_announced(self, order: Any) -> bool:
        return any(row[1] == order[0] and row[5] >= order[3] for row in self._rows.values())

    # What must hold

    def committed(self) -> None:
        """A transaction is over: what it announces is late, has not ended, and was not announced before."""
        if not self.watched:
            return
        self._furthest = max(self._furthest, self.world.skew)
        self._orders = {row[0]: row for row in self.world.file.raw.execute(SELECT_ORDERS)}
        for order in self._orders.values():
            self._check_promise(order)
        for row in self.world.file.raw.execute(SELECT_LATE):
            if row[3] not in self._rows:
                self._check_new(row, self._orders[row[1]])
            self._rows[row[3]] = row
            if row[4] == "delivered" and row[3] not in self._got:
                raise Violation("I17", f"{LATE} of {self._orders[row[1]][1]} is called delivered, and was not received")

    def _check_promise(self, order: Any) -> None:
        """Once the provider has an order, it is late by what was promised for it."""
        _, po_number, _, late_at, accepted_at, *_ = order
        if self._promised is None or accepted_at is None or late_at is None:
            return
        seconds = self.world.auditor.seconds
        waits = (seconds(late_at) or 0.0) - (seconds(accepted_at) or 0.0)
        if abs(waits - self._promised) > 0.01:
            raise Violation("I17", f"{po_number} is late {waits:.2f} s after it was taken, not {self._promised:.2f}")

    def _check_new(self, row: Any, order: Any) -> None:
        _, order_id, seq, _, _, created_at = row
        _, po_number, _, late_at, *_ = order
        told = f"{LATE} of {po_number}"
        # By the clock that was furthest ahead, where clocks were set.
        late_since = None if late_at is None else (self.world.auditor.seconds(late_at) or 0.0) + self.world.skew
        if late_since is None or late_since > self.world.now + self._furthest + EPSILON:
            raise Violation("I17", f"{told} is written before it is late")
        if self.world.auditor.state_at(order_id, seq) in {*TERMINAL, "Refused"}:
            raise Violation("I17", f"{told} is written after it has ended")
        if any(one[1] == order_id and one[5] >= late_at and one[5] <= created_at for one in self._rows.values()):
            raise Violation("I17", f"{told} is written twice")

    def receive(self, message_id: str, body: str, document: Mapping[str, Any]) -> tuple[int, int] | None:
        """The receiver gets one; returns the order's row id and the event that it comes after, None of a repeat."""
        self.committed()
        row, po_number = self._rows.get(message_id), document["data"]["order"]["po_number"]
        if row is None or self._orders[row[1]][1] != po_number:
            raise Violation("I17", f"{LATE} of {po_number} is sent, and is not written")
        if document["data"]["order"]["state"] in {*TERMINAL, "Refused"}:
            raise Violation("I17", f"{LATE} of {po_number} tells what came later")
        again = message_id in self._got
        if self._got.setdefault(message_id, body) != body:
            raise Violation("I17", f"{LATE} of {po_number} comes again as something else")
        return None if again else (row[1], row[2])

    def waiting(self) -> Iterable[tuple[str, float]]:
        """What is late and not announced, and what was announced and did not come."""
        if not self.watched:
            return
        for order in self._open():
            since = self.world.auditor.seconds(order[3]) or 0.0
            if since <= self.world.now and not self._is_announced(order):
                yield f"{order[1]} is late, and nobody is notified", since
        for row in self._rows.values():
            if row[4] == "waiting":
                yield f"{LATE} of order {row[1]} waits and is not delivered", self.world.calm_at

    def ended(self) -> None:
        """The history is over: all that was written was received."""
        if lost := self._rows.keys() - self._got.keys():
            raise Violation("I17", f"{min(lost)} of a late order was written and never came")
