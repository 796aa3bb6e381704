"""Validates the body of POST /v1/Orders: names in any case, every rule of the contract's field tables.

Owns parsing, the errors of a 400 and the cost of an order. Places and stores nothing.
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
    SandboxProduct,
    json_number,
)
from tracking.sandbox.faults import Faults

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
class ValidOrder:
    """A validated order request: names in PascalCase, amounts checked, costs in cents per line."""

    po_number: str
    kind: str
    header: Mapping[str, Any]
    items: tuple[Mapping[str, Any], ...]
    costs: tuple[int, ...]

    @cached_property
    def units(self) -> int:
        """The number of cards."""
        return sum(item["Quantity"] for item in self.items)

    @property
    def cost_cents(self) -> int:
        """The cost of the whole order."""
        return sum(self.costs)

    @property
    def note(self) -> str:
        """The note, or an empty text."""
        return str(self.header.get("Note") or "")

    @property
    def webhook_url(self) -> str | None:
        """The address for the webhook at completion."""
        settings: Mapping[str, Any] = self.header.get("WebhookSettings") or {}
        return settings.get("FulfillmentComplete")

    @cached_property
    def digest(self) -> str:
        """A hash that is equal for orders of equal contents."""
        body = json.dumps([self.kind, self.header, self.items], sort_keys=True, default=float)
        return hashlib.sha256(body.encode()).hexdigest()


@dataclass
class ValidationErrors:
    """Collects the error messages of a 400 by property while the body is read."""

    messages: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, text: str) -> None:
        """Add one message to a property."""
        self.messages.setdefault(path, []).append(text)

    def as_json(self) -> dict[str, Any]:
        """The body of the 400."""
        return {"Errors": [{"Property": path, "Errors": texts} for path, texts in self.messages.items()]}

    def read_text(
        self, holder: Mapping[str, Any], name: str, path: str, limit: int, *, required: bool = False
    ) -> str | None:
        """Read a text of the allowed length; otherwise None, with an error where one is due."""
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

    def read_object(
        self, holder: Mapping[str, Any], name: str, path: str, *, required: bool = False
    ) -> dict[str, Any] | None:
        """Read an object; otherwise None, with an error where one is due."""
        value = holder.get(name)
        where = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            return value
        if value is not None:
            self.add(where, f"{name} must be an object.")
        elif required:
            self.add(where, f"{name} is required.")
        return None


def parse_body(raw: bytes) -> dict[str, Any] | None:
    """Parse the JSON body, names in PascalCase; None where it is no object or holds text that no database takes."""
    try:
        body = canonical_names(json.loads(raw, parse_float=Decimal, parse_constant=_reject_constant))
        if b"\\u" in raw:
            json.dumps(body, ensure_ascii=False, default=float).encode()  # half a surrogate pair fits no database
    except (ValueError, RecursionError, InvalidOperation):
        return None
    return body if isinstance(body, dict) else None


def canonical_names(value: Any) -> Any:
    """Copy the JSON with every name of the contract in PascalCase and every other name left out."""
    if isinstance(value, dict):
        items = ((_NAMES.get(str(name).lower()), item) for name, item in value.items())
        return {name: canonical_names(item) for name, item in items if name}
    if isinstance(value, list):
        return [canonical_names(item) for item in value]
    return value


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)


def epoch_seconds(text: str) -> float | None:
    """Parse an ISO date or time into seconds since the epoch, UTC where no zone is given; None if it is neither."""
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def validate_order(body: Mapping[str, Any], faults: Faults) -> ValidOrder | ValidationErrors:
    """Validate a parsed body: the order, or everything that is wrong with it."""
    errors = ValidationErrors()
    po_number = errors.read_text(body, "PONumber", "", 100, required=True)
    kind = body.get("Type")
    if kind not in ORDER_TYPES:
        errors.add("Type", f"Type must be one of {', '.join(ORDER_TYPES)}.")
        kind = ""
    _validate_header(body, errors)
    items = body.get("LineItems")
    if not isinstance(items, list) or not items:
        errors.add("LineItems", "LineItems must hold one line at least.")
        items = []
    elif faults.max_lines is not None and len(items) > faults.max_lines:
        errors.add("LineItems", f"LineItems must not hold more than {faults.max_lines} lines.")
        items = []
    lines = [_validate_line(item, f"LineItems[{index}]", str(kind), faults, errors) for index, item in enumerate(items)]
    if errors.messages or po_number is None:
        return errors
    valid_lines = [line for line in lines if line is not None]
    header = {name: body[name] for name in ("Note", "Personalization", "WebhookSettings") if body.get(name) is not None}
    valid_items, costs = tuple(item for item, _ in valid_lines), tuple(cost for _, cost in valid_lines)
    return ValidOrder(po_number, str(kind), header, valid_items, costs)


def _validate_header(body: Mapping[str, Any], errors: ValidationErrors) -> None:
    errors.read_text(body, "Note", "", 250)
    if pictures := errors.read_object(body, "Personalization", ""):
        for name in ("PhotoUrl", "GreetingUrl"):
            errors.read_text(pictures, name, "Personalization", 150)
    settings = errors.read_object(body, "WebhookSettings", "")
    url = errors.read_text(settings or {}, "FulfillmentComplete", "WebhookSettings", 500)
    if url and not _is_absolute(url):
        errors.add("WebhookSettings.FulfillmentComplete", "FulfillmentComplete must be an absolute URL.")


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _validate_line(
    item: Any, path: str, kind: str, faults: Faults, errors: ValidationErrors
) -> tuple[dict[str, Any], int] | None:
    if not isinstance(item, dict):
        errors.add(path, "A line must be an object.")
        return None
    quantity = _validate_quantity(item, path, kind, faults, errors)
    unit_cost = _validate_amount(item, path, kind, errors)
    _validate_texts(item, path, errors)
    shipping = 0
    if kind == "DigitalDelivery":
        _validate_recipient(item, path, errors)
    elif kind == "PhysicalShipment":
        shipping = _validate_shipment(item, path, errors)
    _validate_personalization(item, path, kind, errors)
    if quantity is None or unit_cost is None:
        return None
    line = {**item, "Value": json_number(Decimal(item["Value"])), "Quantity": quantity}
    return line, unit_cost * quantity + shipping


def _validate_quantity(
    item: Mapping[str, Any], path: str, kind: str, faults: Faults, errors: ValidationErrors
) -> int | None:
    quantity = item.get("Quantity")
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal):
        errors.add(f"{path}.Quantity", "Quantity must be a number.")
    elif not 1 <= quantity <= MAX_QUANTITY or quantity != int(quantity):
        errors.add(f"{path}.Quantity", f"Quantity must be a whole number between 1 and {MAX_QUANTITY}.")
    elif quantity > 1 and faults.quantity_above_one == "refuse" and kind in {"Links", "DigitalDelivery"}:
        errors.add(f"{path}.Quantity", f"Quantity must be 1 for {kind}.")
    else:
        return int(quantity)
    return None


def _validate_amount(item: Mapping[str, Any], path: str, kind: str, errors: ValidationErrors) -> int | None:
    """Validate product and value; returns the cost of one unit in cents."""
    product = _validate_product(item, path, kind, errors)
    value = item.get("Value")
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        errors.add(f"{path}.Value", "Value must be a number.")
    elif product and not product.accepts(Decimal(value)):
        amounts = ", ".join(str(amount) for amount in product.amounts)
        errors.add(f"{path}.Value", f"Value is no denomination of {product.id} ({product.rule}: {amounts}).")
    elif product:
        return product.unit_cost_cents(Decimal(value))
    return None


def _validate_product(item: Mapping[str, Any], path: str, kind: str, errors: ValidationErrors) -> SandboxProduct | None:
    product_id = errors.read_text(item, "ProductId", path, 100, required=True)
    product = PRODUCTS.get(product_id or "")
    if product_id and not product:
        errors.add(f"{path}.ProductId", "There is no such product.")
    elif product and kind and kind not in product.deliveries:
        errors.add(f"{path}.ProductId", f"{product.id} is not available as {kind}.")
    return product


def _validate_texts(item: Mapping[str, Any], path: str, errors: ValidationErrors) -> None:
    errors.read_text(item, "ExternalId", path, 100)
    errors.read_text(item, "Culture", path, 20)
    errors.read_text(item, "Theme", path, 100)
    branding = errors.read_text(item, "BrandingId", path, 100)
    if branding and branding not in BRANDING_IDS:
        errors.add(f"{path}.BrandingId", "There is no such branding.")


def _validate_recipient(item: Mapping[str, Any], path: str, errors: ValidationErrors) -> None:
    address = errors.read_object(item, "DigitalDeliveryAddress", path, required=True)
    if address is None:
        return
    where = f"{path}.DigitalDeliveryAddress"
    email = errors.read_text(address, "Email", where, 150)
    sms = errors.read_text(address, "Sms", where, 20)
    if email and "@" not in email[1:-1]:
        errors.add(f"{where}.Email", "Email is not an address.")
    if not email and not sms and not address.get("Email") and not address.get("Sms"):
        errors.add(where, "Email or Sms is required.")


def _validate_shipment(item: Mapping[str, Any], path: str, errors: ValidationErrors) -> int:
    """Validate the address; returns the cost of the shipment in cents, 0 where its method is unknown."""
    address = errors.read_object(item, "PhysicalDeliveryAddress", path, required=True)
    if address is None:
        return 0
    where = f"{path}.PhysicalDeliveryAddress"
    for name, limit in (("Name", 150), ("AddressLine1", 100), ("City", 100), ("Zip", 50)):
        errors.read_text(address, name, where, limit, required=True)
    for name in ("AddressLine2", "AddressLine3"):
        errors.read_text(address, name, where, 100)
    for name in ("State", "Country"):
        letters = errors.read_text(address, name, where, 100, required=True)
        if letters and (len(letters) != 2 or not letters.isalpha()):
            errors.add(f"{where}.{name}", f"{name} must be two letters.")
    carrier = errors.read_text(address, "CarrierId", where, 100, required=_needs_carrier(item))
    if carrier and carrier not in CARRIER_IDS:
        errors.add(f"{where}.CarrierId", "There is no such carrier.")
    method = errors.read_text(address, "ShippingMethodId", where, 100, required=True)
    if method and method not in SHIPPING_CENTS:
        errors.add(f"{where}.ShippingMethodId", "There is no such shipping method.")
    return SHIPPING_CENTS.get(method or "", 0)


def _needs_carrier(item: Mapping[str, Any]) -> bool:
    product = PRODUCTS.get(str(item.get("ProductId")))
    return product is not None and product.needs_carrier


def _validate_personalization(item: Mapping[str, Any], path: str, kind: str, errors: ValidationErrors) -> None:
    personalization = errors.read_object(item, "Personalization", path)
    if personalization is None:
        return
    where = f"{path}.Personalization"
    errors.read_text(personalization, "To", where, 150, required=True)
    errors.read_text(personalization, "FromName", where, 150, required=True)
    errors.read_text(personalization, "FromEmail", where, 150)
    errors.read_text(personalization, "Message", where, 400)
    date = errors.read_text(personalization, "DeliveryDate", where, 50)
    if date and epoch_seconds(date) is None:
        errors.add(f"{where}.DeliveryDate", "DeliveryDate is not a time.")
    if date and kind == "PhysicalShipment":
        errors.add(f"{where}.DeliveryDate", "DeliveryDate is for digital orders only.")
