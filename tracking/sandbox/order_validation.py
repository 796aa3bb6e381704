"""What arrives with POST /v1/Orders: read in any case, checked against every rule of the field tables.

Owns parsing, the complaints of a 400 and the cost of an order. Places nothing and keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, NoReturn
from urllib.parse import urlsplit

from tracking.sandbox.catalog import (
    BRANDING_IDS,
    CARRIER_IDS,
    ORDER_TYPES,
    PRODUCTS,
    SHIPPING_CENTS,
    Product,
    plain,
)
from tracking.sandbox.faults import Switches

MAX_QUANTITY = 10_000
_NAMES = {
    name.lower(): name
    for name in re.findall(
        r"\w+",
        "Type LineItems PONumber Note Personalization WebhookSettings FulfillmentComplete PhotoUrl GreetingUrl "
        "ProductId Value Quantity ExternalId Culture Theme BrandingId DigitalDeliveryAddress Email Sms "
        "PhysicalDeliveryAddress ShippingMethodId Name AddressLine1 AddressLine2 AddressLine3 City State Zip Country "
        "CarrierId To FromName FromEmail Message DeliveryDate",
    )
}


@dataclass(frozen=True)
class Intake:
    """A valid order as sent: names in PascalCase, amounts checked, costs in cents per line."""

    po_number: str
    kind: str
    header: Mapping[str, Any]
    items: tuple[Mapping[str, Any], ...]
    costs: tuple[int, ...]

    @cached_property
    def units(self) -> int:
        """How many cards are ordered."""
        return sum(item["Quantity"] for item in self.items)

    @property
    def cost_cents(self) -> int:
        """What the whole order costs."""
        return sum(self.costs)

    @property
    def note(self) -> str:
        """The note, or an empty text."""
        return str(self.header.get("Note") or "")

    @property
    def webhook_url(self) -> str | None:
        """Where the completion is to be announced."""
        settings: Mapping[str, Any] = self.header.get("WebhookSettings") or {}
        return settings.get("FulfillmentComplete")

    @cached_property
    def digest(self) -> str:
        """Equal for orders of equal contents."""
        body = json.dumps([self.kind, self.header, self.items], sort_keys=True, default=float)
        return hashlib.sha256(body.encode()).hexdigest()


@dataclass
class Complaints:
    """The texts of a 400, by property."""

    texts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, text: str) -> None:
        """Note one thing that is wrong with a property."""
        self.texts.setdefault(path, []).append(text)

    def document(self) -> dict[str, Any]:
        """The body of the 400."""
        return {"Errors": [{"Property": path, "Errors": texts} for path, texts in self.texts.items()]}

    def text(
        self, holder: Mapping[str, Any], name: str, path: str, limit: int, *, required: bool = False
    ) -> str | None:
        """The named text if it is one of the allowed length; otherwise None, with a complaint where due."""
        value = holder.get(name)
        where = f"{path}.{name}" if path else name
        if value is None or value == "":
            if required:
                self.add(where, f"{name} is required.")
            return None
        if not isinstance(value, str):
            self.add(where, f"{name} must be a text.")
        elif required and not value.strip():
            self.add(where, f"{name} is required.")
        elif len(value) > limit:
            self.add(where, f"{name} must not be longer than {limit} characters.")
        else:
            return value
        return None

    def record(
        self, holder: Mapping[str, Any], name: str, path: str, *, required: bool = False
    ) -> dict[str, Any] | None:
        """The named object, or None, with a complaint where due."""
        value = holder.get(name)
        where = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            return value
        if value is not None:
            self.add(where, f"{name} must be an object.")
        elif required:
            self.add(where, f"{name} is required.")
        return None


def parse(raw: bytes) -> dict[str, Any] | None:
    """The order as sent with its names in PascalCase; None where it is not one JSON object of sound text."""
    try:
        body = canonical(json.loads(raw, parse_float=Decimal, parse_constant=_no_constant))
        if b"\\u" in raw:
            json.dumps(body, ensure_ascii=False, default=float).encode()  # half a surrogate pair fits no database
    except (ValueError, RecursionError, InvalidOperation):
        return None
    return body if isinstance(body, dict) else None


def canonical(value: Any) -> Any:
    """The same JSON with every known name in PascalCase and every other name left out."""
    if isinstance(value, dict):
        known = ((_NAMES.get(str(name).lower()), item) for name, item in value.items())
        return {name: canonical(item) for name, item in known if name}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an ISO date or time, UTC where no zone is given; None if it is neither."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def read_order(body: Mapping[str, Any], switches: Switches) -> Intake | Complaints:
    """The order, or everything that is wrong with it."""
    complaints = Complaints()
    po_number = complaints.text(body, "PONumber", "", 100, required=True)
    kind = body.get("Type")
    if kind not in ORDER_TYPES:
        complaints.add("Type", f"Type must be one of {', '.join(ORDER_TYPES)}.")
        kind = ""
    _check_header(body, complaints)
    items = body.get("LineItems")
    if not isinstance(items, list) or not items:
        complaints.add("LineItems", "LineItems must hold one line at least.")
        items = []
    elif switches.max_lines is not None and len(items) > switches.max_lines:
        complaints.add("LineItems", f"LineItems must not hold more than {switches.max_lines} lines.")
        items = []
    lines = [
        _read_line(item, f"LineItems[{index}]", str(kind), switches, complaints) for index, item in enumerate(items)
    ]
    if complaints.texts or po_number is None:
        return complaints
    sound = [line for line in lines if line is not None]
    header = {name: body[name] for name in ("Note", "Personalization", "WebhookSettings") if body.get(name) is not None}
    return Intake(po_number, str(kind), header, tuple(item for item, _ in sound), tuple(cost for _, cost in sound))


def _check_header(body: Mapping[str, Any], complaints: Complaints) -> None:
    complaints.text(body, "Note", "", 250)
    if looks := complaints.record(body, "Personalization", ""):
        for name in ("PhotoUrl", "GreetingUrl"):
            complaints.text(looks, name, "Personalization", 150)
    settings = complaints.record(body, "WebhookSettings", "")
    url = complaints.text(settings or {}, "FulfillmentComplete", "WebhookSettings", 500)
    if url and not _is_absolute(url):
        complaints.add("WebhookSettings.FulfillmentComplete", "FulfillmentComplete must be an absolute URL.")


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _read_line(
    item: Any, path: str, kind: str, switches: Switches, complaints: Complaints
) -> tuple[dict[str, Any], int] | None:
    if not isinstance(item, dict):
        complaints.add(path, "A line must be an object.")
        return None
    quantity = _read_quantity(item, path, kind, switches, complaints)
    unit_cost = _read_amount(item, path, kind, complaints)
    _check_texts(item, path, complaints)
    shipping = 0
    if kind == "DigitalDelivery":
        _check_recipient(item, path, complaints)
    elif kind == "PhysicalShipment":
        shipping = _check_shipment(item, path, complaints)
    _check_personalization(item, path, kind, complaints)
    if quantity is None or unit_cost is None:
        return None
    line = {**item, "Value": plain(Decimal(item["Value"])), "Quantity": quantity}
    return line, unit_cost * quantity + shipping


def _read_quantity(
    item: Mapping[str, Any], path: str, kind: str, switches: Switches, complaints: Complaints
) -> int | None:
    quantity = item.get("Quantity")
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal):
        complaints.add(f"{path}.Quantity", "Quantity must be a number.")
    elif not 1 <= quantity <= MAX_QUANTITY or quantity != int(quantity):
        complaints.add(f"{path}.Quantity", f"Quantity must be a whole number between 1 and {MAX_QUANTITY}.")
    elif quantity > 1 and switches.quantity_above_one == "refuse" and kind in {"Links", "DigitalDelivery"}:
        complaints.add(f"{path}.Quantity", f"Quantity must be 1 for {kind}.")
    else:
        return int(quantity)
    return None


def _read_amount(item: Mapping[str, Any], path: str, kind: str, complaints: Complaints) -> int | None:
    """What one unit costs, in cents."""
    product = _find_product(item, path, kind, complaints)
    value = item.get("Value")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        complaints.add(f"{path}.Value", "Value must be a number.")
    elif product and not product.accepts(Decimal(value)):
        amounts = ", ".join(str(amount) for amount in product.amounts)
        complaints.add(f"{path}.Value", f"Value is no denomination of {product.id} ({product.rule}: {amounts}).")
    elif product:
        return product.unit_cost_cents(Decimal(value))
    return None


def _find_product(item: Mapping[str, Any], path: str, kind: str, complaints: Complaints) -> Product | None:
    product_id = complaints.text(item, "ProductId", path, 100, required=True)
    product = PRODUCTS.get(product_id or "")
    if product_id and not product:
        complaints.add(f"{path}.ProductId", "There is no such product.")
    elif product and kind and kind not in product.deliveries:
        complaints.add(f"{path}.ProductId", f"{product.id} is not available as {kind}.")
    return product


def _check_texts(item: Mapping[str, Any], path: str, complaints: Complaints) -> None:
    complaints.text(item, "ExternalId", path, 100)
    complaints.text(item, "Culture", path, 20)
    complaints.text(item, "Theme", path, 100)
    branding = complaints.text(item, "BrandingId", path, 100)
    if branding and branding not in BRANDING_IDS:
        complaints.add(f"{path}.BrandingId", "There is no such branding.")


def _check_recipient(item: Mapping[str, Any], path: str, complaints: Complaints) -> None:
    address = complaints.record(item, "DigitalDeliveryAddress", path, required=True)
    if address is None:
        return
    where = f"{path}.DigitalDeliveryAddress"
    email = complaints.text(address, "Email", where, 150)
    sms = complaints.text(address, "Sms", where, 20)
    if email and "@" not in email[1:-1]:
        complaints.add(f"{where}.Email", "Email is not an address.")
    if not email and not sms and not address.get("Email") and not address.get("Sms"):
        complaints.add(where, "Email or Sms is required.")


def _check_shipment(item: Mapping[str, Any], path: str, complaints: Complaints) -> int:
    """What the shipment costs, in cents; 0 where its method is unknown."""
    address = complaints.record(item, "PhysicalDeliveryAddress", path, required=True)
    if address is None:
        return 0
    where = f"{path}.PhysicalDeliveryAddress"
    for name, limit in (("Name", 150), ("AddressLine1", 100), ("City", 100), ("Zip", 50)):
        complaints.text(address, name, where, limit, required=True)
    for name in ("AddressLine2", "AddressLine3"):
        complaints.text(address, name, where, 100)
    for name in ("State", "Country"):
        letters = complaints.text(address, name, where, 100, required=True)
        if letters and (len(letters) != 2 or not letters.isalpha()):
            complaints.add(f"{where}.{name}", f"{name} must be two letters.")
    carrier = complaints.text(address, "CarrierId", where, 100, required=_needs_carrier(item))
    if carrier and carrier not in CARRIER_IDS:
        complaints.add(f"{where}.CarrierId", "There is no such carrier.")
    method = complaints.text(address, "ShippingMethodId", where, 100, required=True)
    if method and method not in SHIPPING_CENTS:
        complaints.add(f"{where}.ShippingMethodId", "There is no such shipping method.")
    return SHIPPING_CENTS.get(method or "", 0)


def _needs_carrier(item: Mapping[str, Any]) -> bool:
    product = PRODUCTS.get(str(item.get("ProductId")))
    return product is not None and product.needs_carrier


def _check_personalization(item: Mapping[str, Any], path: str, kind: str, complaints: Complaints) -> None:
    words = complaints.record(item, "Personalization", path)
    if words is None:
        return
    where = f"{path}.Personalization"
    complaints.text(words, "To", where, 150, required=True)
    complaints.text(words, "FromName", where, 150, required=True)
    complaints.text(words, "FromEmail", where, 150)
    complaints.text(words, "Message", where, 400)
    date = complaints.text(words, "DeliveryDate", where, 50)
    if date and parse_time(date) is None:
        complaints.add(f"{where}.DeliveryDate", "DeliveryDate is not a time.")
    if date and kind == "PhysicalShipment":
        complaints.add(f"{where}.DeliveryDate", "DeliveryDate is for digital orders only.")
