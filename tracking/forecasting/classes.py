"""Classes of orders that are compared with each other (type and size), and the first guesses about them. Pure."""

from __future__ import annotations

from datetime import timedelta

from tracking.orders.model import OrderType

RELIABLE_ORDERS = 30  # finished orders: with fewer, the slowest of a hundred is a guess
SPREAD = 1.5  # of the logarithm of the age at which an order finishes, before any of its class has


def class_of(order_type: str, units: int) -> str:
    """Name the class an order is compared with: its type, and its size rounded up to a power of two."""
    return f"{order_type}/{1 << max(units - 1, 0).bit_length()}"


def class_bounds(name: str) -> tuple[str, int, int]:
    """Split a class into its delivery type, and the fewest and the most cards of its orders."""
    order_type, _, size = name.rpartition("/")
    most = int(size)
    return order_type, most // 2 + 1, most


def first_guess(name: str) -> float:
    """Guess the median age in seconds at which orders of the class finish, before any of them has."""
    order_type, _, units = class_bounds(name)
    if order_type == OrderType.PHYSICAL:
        return 3600.0 + 10.0 * units
    return 10.0 + 0.5 * units


def first_late_after(order_type: str, units: int) -> timedelta:
    """Guess generously from what age on an open order is late, while too few of its class have finished."""
    if order_type == OrderType.PHYSICAL:
        return timedelta(days=3)
    return timedelta(minutes=15) + timedelta(seconds=3) * units
