"""Orders that people and other systems want: made up, of all types, with values that floating point cannot hold."""

import random
from typing import Any

PRODUCTS = (("CVS", "10", 1000), ("CVS", "19.99", 1999), ("AMAZON", "1.15", 115), ("AMAZON", "8.29", 829))
SHIPPING = {
    "ShippingMethodId": "STANDARD",
    "Name": "Ada Example",
    "AddressLine1": "1 Example Street",
    "City": "Springfield",
    "State": "IL",
    "Zip": "62701",
    "Country": "US",
}
STRANGE_BODIES = (
    b"\xff\xfe\xfa",
    b"[" * 500,
    b'{"Action": "FulfillmentComplete"}',
    b'{"Action": "Other", "OrderId": "BLK-00001"}',
    b"x" * 70_000,
    b"",
    b'{"Action": "FulfillmentComplete", "PONumber": "T-0", "PONumber": "T-1"}',
)
# Too large, and naming an order that may be another's.
REFUSED_BODIES = (STRANGE_BODIES[3], STRANGE_BODIES[4])


def made_up(rng: random.Random, number: int, po_number: str | None = None) -> dict[str, Any]:
    """An order as the form hands it in; each line's ExternalId says which intended order it is of."""
    name = po_number or f"T-{number}"
    kind = rng.choice(("Links", "Links", "Links", "DigitalDelivery", "PhysicalShipment"))
    lines = []
    for position in range(rng.choice((1, 1, 2))):
        product, value, _ = rng.choice(PRODUCTS)
        line: dict[str, Any] = {"ProductId": product, "Value": float(value), "Quantity": rng.choice((1, 1, 2))}
        line["ExternalId"] = f"{name}/{position}"
        if kind == "DigitalDelivery":
            line["DigitalDeliveryAddress"] = {"Email": f"person{number}@example.com"}
        if kind == "PhysicalShipment":
            line["PhysicalDeliveryAddress"] = SHIPPING
        lines.append(line)
    return {"Type": kind, "PONumber": name, "LineItems": lines}


def lines_of(document: dict[str, Any]) -> list[tuple[str, int, int, str]]:
    """Its lines as they compare, the values in exact minor units."""
    exact = {float(value): minor for _, value, minor in PRODUCTS}
    return [
        (line["ProductId"], exact[line["Value"]], line["Quantity"], line["ExternalId"])
        for line in document["LineItems"]
    ]
