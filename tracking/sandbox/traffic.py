"""The other systems on the same account: their past, their steady traffic, and single orders on demand.

Owns what they order, how much and when. All names and addresses are made up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tracking.sandbox.catalog import PRODUCTS, Product, plain
from tracking.sandbox.database import Placement
from tracking.sandbox.faults import Switches, dice
from tracking.sandbox.order_lifecycle import plan
from tracking.sandbox.order_validation import Intake, read_order
from tracking.sandbox.provider import World

_DAY = 86_400.0
_SYSTEMS = ("SHOP", "CRM", "HR", "SURVEY")
_KINDS = ("Links", "DigitalDelivery", "Codes", "PhysicalShipment")
_KIND_WEIGHTS = (45, 35, 8, 12)
_HOURS = (3, 2, 2, 2, 2, 2, 3, 4, 6, 8, 12, 18, 26, 34, 40, 42, 40, 38, 36, 30, 22, 14, 8, 5)
_FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kai", "Lena")
_LAST_NAMES = ("Ash", "Birch", "Cole", "Dale", "Elm", "Frost", "Grove", "Hill", "Isle", "Lake", "Marsh", "Reed")
_NOTES = ("Loyalty week", "Survey thanks", "Referral", "Service anniversary", "Sales contest", None, None, None)
_MOST_AT_ONCE = 500


class Neighbours:
    """Places orders as other systems do; they ask for no webhooks."""

    def __init__(self, world: World, *, per_minute: float) -> None:
        self._world = world
        self._per_second = per_minute / 60
        self._chance = dice(world.seed, "traffic")
        self._next_at: float | None = None

    def place(self, count: int, now: float) -> list[str]:
        """Place so many orders now; their PONumbers."""
        first = self._world.ledger.take_serials(count)
        placed = []
        for serial in range(first, first + count):
            chance = dice(self._world.seed, "elsewhere", serial)
            placed.append(self._world.place_for_others(_made_up(serial, now, chance), now).po_number)
        return placed

    def traffic(self, now: float) -> int:
        """Place what the steady traffic brought since the last call (Poisson); how many."""
        if self._per_second <= 0:
            return 0
        if self._next_at is None:
            self._next_at = now + self._chance.expovariate(self._per_second)
        due = 0
        while self._next_at <= now and due < _MOST_AT_ONCE:
            due += 1
            self._next_at += self._chance.expovariate(self._per_second)
        if due:
            self.place(due, now)
        return due

    def write_history(self, days: int, now: float) -> int:
        """Fill an empty ledger with the past of so many days; how many orders. Debits nothing."""
        if days <= 0 or self._world.ledger.count():
            return 0
        chance = dice(self._world.seed, "history")
        times = sorted(at for day in range(days) for at in _times(now - (days - day) * _DAY, chance))
        first = self._world.ledger.take_serials(len(times))
        open_until = _open_ones(times, now, self._world.speed, chance)
        self._world.ledger.place_history(
            self._past(first + index, at, open_until.get(index), chance) for index, at in enumerate(times)
        )
        return len(times)

    def _past(self, serial: int, created_at: float, open_until: float | None, chance: random.Random) -> Placement:
        intake = _made_up(serial, created_at, chance)
        base = self._world.switches
        pace = Switches(
            seconds_base=base.seconds_base,
            seconds_per_unit=base.seconds_per_unit,
            pending_threshold_units=base.pending_threshold_units,
            cancelled=open_until is None and chance.random() < 0.02,
        )
        takes = None if open_until is None else open_until - created_at
        course = plan(intake.kind, intake.items, pace, created_at, speed=self._world.speed, chance=chance, takes=takes)
        return Placement(intake, course, "elsewhere", created_at)


def _times(start: float, chance: random.Random) -> Iterator[float]:
    """The moments of 80 to 120 orders within a day, most of them in working hours (of America, in UTC)."""
    for _ in range(chance.randint(80, 120)):
        while True:
            at = start + chance.random() * _DAY
            if chance.random() * max(_HOURS) < _HOURS[int(at % _DAY // 3600)]:
                yield at
                break


def _open_ones(times: list[float], now: float, speed: float, chance: random.Random) -> dict[int, float]:
    """Which orders are still open, and until when: the last few, and two that hang for long."""
    last = len(times) - 1
    found = {last - index: now + chance.uniform(60, 1800) / speed for index in range(5)}
    for index in (last // 3, last * 2 // 3):
        found.setdefault(index, now + chance.uniform(1, 3) * _DAY)
    return found


def _made_up(serial: int, now: float, chance: random.Random) -> Intake:
    kind = chance.choices(_KINDS, _KIND_WEIGHTS)[0]
    products = [product for product in PRODUCTS.values() if kind in product.deliveries]
    product = chance.choice(products)
    body = {
        "PONumber": f"{chance.choice(_SYSTEMS)}-{datetime.fromtimestamp(now, UTC):%Y%m%d}-{serial:06d}",
        "Type": kind,
        "Note": chance.choice(_NOTES),
        "LineItems": [_line(kind, product, index, chance) for index in range(_size(chance))],
    }
    intake = read_order(body, Switches())
    assert isinstance(intake, Intake)  # noqa: S101 - what is made up here keeps the provider's own rules  # nosec B101
    return intake


def _size(chance: random.Random) -> int:
    """Mostly a line or a few, seldom dozens, hardly ever hundreds."""
    kind = chance.random()
    if kind < 0.72:
        return chance.randint(1, 3)
    if kind < 0.93:
        return chance.randint(4, 15)
    return chance.randint(16, 60) if kind < 0.99 else chance.randint(100, 300)


def _line(kind: str, product: Product, index: int, chance: random.Random) -> dict[str, Any]:
    first, last = chance.choice(_FIRST_NAMES), chance.choice(_LAST_NAMES)
    line: dict[str, Any] = {
        "ProductId": product.id,
        "Value": _amount(product, chance),
        "Quantity": 1 if chance.random() < 0.95 else chance.randint(2, 4),
        "ExternalId": f"row-{index + 1}",
    }
    if kind == "DigitalDelivery":
        line["DigitalDeliveryAddress"] = {"Email": f"{first}.{last}{index}@example.com".lower()}
    elif kind == "PhysicalShipment":
        line["PhysicalDeliveryAddress"] = {
            "ShippingMethodId": "STANDARD",
            "CarrierId": "DEFAULT",
            "Name": f"{first} {last}",
            "AddressLine1": f"{chance.randint(1, 999)} Example Street",
            "City": "Springfield",
            "State": "IL",
            "Zip": "62701",
            "Country": "US",
        }
    return line


def _amount(product: Product, chance: random.Random) -> int:
    common = [amount for amount in (5, 10, 15, 20, 25, 50, 75, 100) if product.accepts(Decimal(amount))]
    return chance.choice(common) if common else int(plain(product.amounts[-1]))
