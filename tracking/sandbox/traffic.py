"""Generates orders of other systems on the same account: their past, steady traffic, and single orders on demand.

Owns what they order, how much and when. All names and addresses are made up.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tracking.sandbox.catalog import PRODUCTS, SandboxProduct, json_number
from tracking.sandbox.database import Placement
from tracking.sandbox.faults import Faults, seeded_random
from tracking.sandbox.order_lifecycle import plan_lifecycle
from tracking.sandbox.order_validation import ValidOrder, validate_order
from tracking.sandbox.provider import Provider

_DAY_SECONDS = 86_400.0
_SYSTEMS = ("SHOP", "CRM", "HR", "SURVEY")
_ORDER_TYPES = ("Links", "DigitalDelivery", "Codes", "PhysicalShipment")
_TYPE_WEIGHTS = (45, 35, 8, 12)
_HOURLY_WEIGHTS = (3, 2, 2, 2, 2, 2, 3, 4, 6, 8, 12, 18, 26, 34, 40, 42, 40, 38, 36, 30, 22, 14, 8, 5)
FIRST_NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana", "Ivo", "June", "Kai", "Lena")
LAST_NAMES = ("Ash", "Birch", "Cole", "Dale", "Elm", "Frost", "Grove", "Hill", "Isle", "Lake", "Marsh", "Reed")
_NOTES = ("Loyalty week", "Survey thanks", "Referral", "Service anniversary", "Sales contest", None, None, None)
_MAX_AT_ONCE = 500


class Traffic:
    """Places orders as other systems do, without webhooks."""

    def __init__(self, provider: Provider, *, per_minute: float) -> None:
        self._provider = provider
        self._per_second = per_minute / 60
        self._rng = seeded_random(provider.seed, "traffic")
        self._next_at: float | None = None

    def place(self, count: int, now: float) -> list[str]:
        """Place orders now; returns their PONumbers."""
        first = self._provider.database.reserve_serials(count)
        po_numbers = []
        for serial in range(first, first + count):
            rng = seeded_random(self._provider.seed, "elsewhere", serial)
            po_numbers.append(self._provider.place_elsewhere(_random_order(serial, now, rng), now).po_number)
        return po_numbers

    def place_due(self, now: float) -> int:
        """Place what the steady traffic brought since the last call (Poisson); returns how many."""
        if self._per_second <= 0:
            return 0
        if self._next_at is None:
            self._next_at = now + self._rng.expovariate(self._per_second)
        due = 0
        while self._next_at <= now and due < _MAX_AT_ONCE:
            due += 1
            self._next_at += self._rng.expovariate(self._per_second)
        if due:
            self.place(due, now)
        return due

    def write_history(self, days: int, now: float) -> int:
        """Fill an empty database with the past of so many days; returns how many orders. Debits nothing."""
        if days <= 0 or self._provider.database.count_orders():
            return 0
        rng = seeded_random(self._provider.seed, "history")
        times = sorted(at for day in range(days) for at in _order_times(now - (days - day) * _DAY_SECONDS, rng))
        first = self._provider.database.reserve_serials(len(times))
        open_until = _open_orders(times, now, self._provider.speed, rng)
        self._provider.database.insert_history(
            self._past_order(first + index, at, open_until.get(index), rng) for index, at in enumerate(times)
        )
        return len(times)

    def _past_order(self, serial: int, created_at: float, open_until: float | None, rng: random.Random) -> Placement:
        order = _random_order(serial, created_at, rng)
        base = self._provider.faults
        faults = Faults(
            seconds_base=base.seconds_base,
            seconds_per_unit=base.seconds_per_unit,
            pending_threshold_units=base.pending_threshold_units,
            cancelled=open_until is None and rng.random() < 0.02,
        )
        seconds = None if open_until is None else open_until - created_at
        lifecycle = plan_lifecycle(
            order.kind, order.items, faults, created_at, speed=self._provider.speed, rng=rng, seconds=seconds
        )
        return Placement(order, lifecycle, "elsewhere", created_at)


def _order_times(start: float, rng: random.Random) -> Iterator[float]:
    """Draw the times of 80 to 120 orders within a day, most in working hours (of America, in UTC)."""
    for _ in range(rng.randint(80, 120)):
        while True:
            at = start + rng.random() * _DAY_SECONDS
            if rng.random() * max(_HOURLY_WEIGHTS) < _HOURLY_WEIGHTS[int(at % _DAY_SECONDS // 3600)]:
                yield at
                break


def _open_orders(times: list[float], now: float, speed: float, rng: random.Random) -> dict[int, float]:
    """Draw which orders are still open, and until when: the last few, and two that hang for long."""
    last = len(times) - 1
    open_until = {last - index: now + rng.uniform(60, 1800) / speed for index in range(5)}
    for index in (last // 3, last * 2 // 3):
        open_until.setdefault(index, now + rng.uniform(1, 3) * _DAY_SECONDS)
    return open_until


def _random_order(serial: int, now: float, rng: random.Random) -> ValidOrder:
    kind = rng.choices(_ORDER_TYPES, _TYPE_WEIGHTS)[0]
    products = [product for product in PRODUCTS.values() if kind in product.deliveries]
    product = rng.choice(products)
    body = {
        "PONumber": f"{rng.choice(_SYSTEMS)}-{datetime.fromtimestamp(now, UTC):%Y%m%d}-{serial:06d}",
        "Type": kind,
        "Note": rng.choice(_NOTES),
        "LineItems": [_random_line(kind, product, index, rng) for index in range(_random_line_count(rng))],
    }
    order = validate_order(body, Faults())
    assert isinstance(order, ValidOrder)  # noqa: S101 - what is made up here obeys the provider's own rules  # nosec B101
    return order


def _random_line_count(rng: random.Random) -> int:
    """Draw a number of lines: mostly one or a few, seldom dozens, hardly ever hundreds."""
    share = rng.random()
    if share < 0.72:
        return rng.randint(1, 3)
    if share < 0.93:
        return rng.randint(4, 15)
    return rng.randint(16, 60) if share < 0.99 else rng.randint(100, 300)


def _random_line(kind: str, product: SandboxProduct, index: int, rng: random.Random) -> dict[str, Any]:
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    line: dict[str, Any] = {
        "ProductId": product.id,
        "Value": random_amount(product, rng),
        "Quantity": 1 if rng.random() < 0.95 else rng.randint(2, 4),
        "ExternalId": f"row-{index + 1}",
    }
    return line | recipient_of(kind, index, first, last, rng)


def recipient_of(kind: str, number: int, first: str, last: str, rng: random.Random) -> dict[str, Any]:
    """Make up where a line of this delivery type goes; nowhere for links and codes."""
    if kind == "DigitalDelivery":
        return {"DigitalDeliveryAddress": {"Email": f"{first}.{last}{number}@example.com".lower()}}
    if kind != "PhysicalShipment":
        return {}
    address = {
        "ShippingMethodId": "STANDARD",
        "CarrierId": "DEFAULT",
        "Name": f"{first} {last}",
        "AddressLine1": f"{rng.randint(1, 999)} Example Street",
        "City": "Springfield",
        "State": "IL",
        "Zip": "62701",
        "Country": "US",
    }
    return {"PhysicalDeliveryAddress": address}


def random_amount(product: SandboxProduct, rng: random.Random) -> int:
    """Draw one of the usual amounts that the product comes in, else its largest."""
    common = [amount for amount in (5, 10, 15, 20, 25, 50, 75, 100) if product.accepts(Decimal(amount))]
    return rng.choice(common) if common else int(json_number(product.amounts[-1]))
