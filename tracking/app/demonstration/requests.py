"""Made-up order requests in the provider's shape, for the week that was followed and for live traffic."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from tracking.orders.model import OrderType
from tracking.sandbox.catalog import PRODUCTS, SandboxProduct
from tracking.sandbox.traffic import FIRST_NAMES, LAST_NAMES, random_amount, recipient_of

NOTES = ("Loyalty week", "Survey thanks", "Referral", "Service anniversary", "Sales contest", "Spot bonus")
TYPES: Mapping[OrderType, int] = {OrderType.LINKS: 48, OrderType.DIGITAL: 40, OrderType.PHYSICAL: 18}
TYPES_ELSEWHERE: Mapping[OrderType, int] = {**TYPES, OrderType.PHYSICAL: 4, OrderType.CODES: 8}
_SIZES = (1, 1, 1, 1, 1, 2, 2, 3, 4, 8)
_FOREIGN_SHARE = 0.03


def order_type(rng: random.Random, types: Mapping[OrderType, int] = TYPES) -> OrderType:
    """Draw the delivery type of an order."""
    return rng.choices(list(types), list(types.values()))[0]


def draw_sizes(rng: random.Random, kind: OrderType) -> tuple[int, int]:
    """Draw how many lines an order has and how many cards each; by post mostly a single card."""
    if kind == OrderType.PHYSICAL and rng.random() < 0.8:
        return 1, 1
    lines = rng.choice(_SIZES) if rng.random() < 0.988 else rng.randint(40, 140)
    return lines, 1 if rng.random() < 0.9 else rng.randint(2, 4)


def make_document(
    rng: random.Random, kind: OrderType, po_number: str, sizes: tuple[int, int] = (1, 1), note: str = ""
) -> dict[str, Any]:
    """Make the request of an order with so many lines of so many cards; all names and addresses are made up."""
    foreign = kind != OrderType.PHYSICAL and rng.random() < _FOREIGN_SHARE
    offered = [
        product
        for product in PRODUCTS.values()
        if kind in product.deliveries and (product.currency == "USD") != foreign and not product.needs_carrier
    ]
    product = rng.choice(offered)
    lines, quantity = sizes
    items = [_line(rng, kind, product, number, quantity) for number in range(1, lines + 1)]
    return {"Type": kind.value, "PONumber": po_number, "Note": note or rng.choice(NOTES), "LineItems": items}


def _line(rng: random.Random, kind: OrderType, product: SandboxProduct, number: int, quantity: int) -> dict[str, Any]:
    line = {
        "ProductId": product.id,
        "Value": random_amount(product, rng),
        "Quantity": quantity,
        "ExternalId": f"row-{number}",
    }
    return line | recipient_of(kind.value, number, rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES), rng)


def face_values(document: Mapping[str, Any]) -> dict[str, int]:
    """Sum the face values of a request, in minor units by currency."""
    values: dict[str, int] = {}
    for line in document["LineItems"]:
        currency = PRODUCTS[line["ProductId"]].currency
        values[currency] = values.get(currency, 0) + int(line["Value"] * 100) * line["Quantity"]
    return values
