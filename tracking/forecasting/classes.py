"""Classes of orders that are compared with each other (type and size), and the first guesses about them. Pure."""

from __future__ import annotations

from datetime import timedelta

from tracking.orders.model import OrderType
from tracking.orders.wording import count

SPREAD = 1.5  # of the logarithm of the age at which an order finishes, before anything is known of its class


TYPES = {
    "DigitalDelivery": "digital delivery",
    "Links": "links",
    "Codes": "codes",
    "PhysicalShipment": "shipments",
}


def class_of(order_type: str, units: int) -> str:
    """The class an order is compared with: its type, and its size rounded up to a power of two."""
    return f"{order_type}/{1 << max(units - 1, 0).bit_length()}"


def bounds_of(name: str) -> tuple[str, int, int]:
    """The delivery type of a class, and the fewest and the most cards of its orders."""
    order_type, _, size = name.rpartition("/")
    most = int(size)
    return order_type, most // 2 + 1, most


def guess_of(name: str) -> float:
    """The median age in seconds at which orders of the class may finish, before anything is known of them."""
    order_type, _, units = bounds_of(name)
    if order_type == OrderType.PHYSICAL:
        return 3600.0 + 10.0 * units
    return 10.0 + 0.5 * units


def late_after(order_type: str, units: int) -> timedelta:
    """From what age on an open order counts as late while too little is known of its class: a generous guess."""
    if order_type == OrderType.PHYSICAL:
        return timedelta(days=3)
    return timedelta(minutes=15) + timedelta(seconds=3) * units


def class_in_words(name: str) -> str:
    """The class as people call it: "links, 33 to 64 cards"."""
    kind, least, most = bounds_of(name)
    cards = count(most, "card") if least == most else f"{least} to {most:,} cards"
    return f"{TYPES.get(kind, kind)}, {cards}"
