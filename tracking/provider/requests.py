"""The order request as a person or a program hands it in, read into an `OrderRequest` in the provider's shape.

Everything wrong with a request is told at once, so what is wrong is collected and not raised. The part of `wire` that
reads requests; callers reach it there. Asks neither the catalogue nor the store, and sends nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from tracking.errors import InvalidSubmission, Problem
from tracking.orders.model import Line, OrderRequest, OrderType
from tracking.provider.json_fields import decimal_of, parse_time, whole_of, written
from tracking.provider.masking import scrub

_UNSENDABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_UNSENDABLE_PROSE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ORDER = ("Type", "PONumber", "Note", "Personalization", "WebhookSettings", "LineItems")
_FREE = ("Culture", "Theme", "BrandingId")
_PARTS = ("DigitalDeliveryAddress", "PhysicalDeliveryAddress", "Personalization")
_ITEM = ("ProductId", "Value", "Quantity", "ExternalId", *_FREE, *_PARTS)
_POSTAL = (("ShippingMethodId", 100), ("Name", 150), ("AddressLine1", 100), ("City", 100), ("Zip", 50))
_POSTAL_MORE = (("CarrierId", 100), ("AddressLine2", 100), ("AddressLine3", 100))
_LETTERS = (re.compile(r"[A-Za-z]{2}"), "must be two letters, such as US")
_MAIL = (re.compile(r"[^\s@]+@[^\s@]+"), "must be an e-mail address, such as name@example.com")
_MOBILE = (re.compile(r"\+?[\d\s().-]{5,}", re.ASCII), "must be a telephone number, such as +15550100")


class _Form:
    """One object of a request: hands its fields out, notes what is wrong, keeps what is right in `document`."""

    def __init__(self, raw: Any, where: str, names: Sequence[str], problems: list[Problem]) -> None:
        self.where, self.document, self._problems = where, dict[str, Any](), problems
        self._given: dict[str, Any] = {}
        self._usable = isinstance(raw, Mapping)
        if not self._usable:
            problems.append(Problem(where, "must be an object with named fields"))
            return
        folded = {name.casefold(): name for name in names}
        for given, value in raw.items():
            name = folded.get(str(given).casefold())
            if name is None:
                self.wrong(scrub(str(given))[:40], _unknown_field(str(given), names))
            elif name in self._given:
                self.wrong(name, "stands twice in different cases: keep one")
            else:
                self._given[name] = value

    def wrong(self, name: str, message: str) -> None:
        if self._usable:
            self._problems.append(Problem(f"{self.where}.{name}" if self.where else name, message))

    def value(self, name: str, *, required: bool = False) -> Any:
        value = self._given.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            if required:
                self.wrong(name, "is missing: fill it in")
            return None
        return value

    def text(
        self, name: str, limit: int, *, required: bool = False, rule: tuple[re.Pattern[str], str] | None = None
    ) -> str | None:
        value = self.value(name, required=required)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            self.wrong(name, "must be a text")
        elif len(text := written(value)) > limit:
            self.wrong(name, f"is longer than {limit} characters: shorten it")
        elif (_UNSENDABLE_PROSE if name in {"Note", "Message"} else _UNSENDABLE).search(text):
            self.wrong(name, "holds characters that cannot be sent: type it anew")
        elif rule and not rule[0].fullmatch(text):
            self.wrong(name, rule[1])
        else:
            self.document[name] = text
            return text
        return None

    def part(self, name: str, names: Sequence[str], *, required: bool = False) -> "_Form | None":
        value = self.value(name, required=required)
        if value is None:
            return None
        part = _Form(value, f"{self.where}.{name}" if self.where else name, names, self._problems)
        self.document[name] = part.document
        return part

    def quantity(self) -> int | None:
        value = self.value("Quantity", required=True)
        try:
            number = None if value is None else whole_of(value)
        except ValueError:
            number = 0
        if number is not None and not 1 <= number <= 1_000_000:
            self.wrong("Quantity", "must be a whole number, 1 or more")
            return None
        self.document["Quantity"] = number
        return number

    def money(self, name: str) -> int | None:
        value = self.value(name, required=True)
        if value is None:
            return None
        try:
            cents = decimal_of(value) * 100
        except ValueError:
            cents = Decimal(0)
        if cents <= 0 or cents != cents.to_integral_value():
            self.wrong(name, "must be an amount above 0 with two decimals at the most, such as 10 or 12.50")
            return None
        self.document[name] = int(cents / 100) if cents % 100 == 0 else float(cents / 100)
        return int(cents)


def _unknown_field(given: str, names: Sequence[str]) -> str:
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(given[:40].casefold(), folded, n=1)
    return f"is not known here: did you mean {folded[near[0]]}?" if near else "is not known here: remove it"


def read_request(raw: Any, where: str = "") -> OrderRequest:
    """The order request in the provider's shape, in any case, as a person or a program hands it in.

    The PONumber may be missing; it is "" then, and `with_po_number` gives one.

    Raises:
        InvalidSubmission: with every problem, each naming its place (below `where`) and what to do.
    """
    problems: list[Problem] = []
    form = _Form(raw, where, _ORDER, problems)
    kind = _kind(form)
    po_number = form.text("PONumber", 100) or ""
    note = form.text("Note", 250)
    if form.value("WebhookSettings") is not None:
        form.wrong("WebhookSettings", "is made by this console, one address for each order: remove it")
    if (look := form.part("Personalization", ("PhotoUrl", "GreetingUrl"))) is not None:
        look.text("PhotoUrl", 150)
        look.text("GreetingUrl", 150)
    lines = _items(form, kind, problems)
    if problems:
        raise InvalidSubmission(problems)
    return OrderRequest(po_number, str(kind), tuple(lines), form.document, note)


def with_po_number(request: OrderRequest, po_number: str) -> OrderRequest:
    """The same request under this PONumber."""
    return replace(request, po_number=po_number, document={**request.document, "PONumber": po_number})


def _kind(form: _Form) -> OrderType | None:
    value = form.value("Type", required=True)
    if value is None:
        return None
    kind = next(
        (kind for kind in OrderType if isinstance(value, str) and kind.casefold() == value.strip().casefold()), None
    )
    if kind is None:
        form.wrong("Type", f"must be one of {', '.join(OrderType)}")
    else:
        form.document["Type"] = kind.value
    return kind


def _items(form: _Form, kind: OrderType | None, problems: list[Problem]) -> list[Line]:
    items = form.value("LineItems", required=True)
    if items is None:
        return []
    if not isinstance(items, list) or not items:
        form.wrong("LineItems", "must be a list with at least one line")
        return []
    place = f"{form.where}.LineItems" if form.where else "LineItems"
    forms = [_Form(item, f"{place}[{index}]", _ITEM, problems) for index, item in enumerate(items)]
    lines = [_item(number, item, kind) for number, item in enumerate(forms, start=1)]
    form.document["LineItems"] = [item.document for item in forms]
    return lines


def _item(number: int, item: _Form, kind: OrderType | None) -> Line:
    product, value, quantity = item.text("ProductId", 100, required=True), item.money("Value"), item.quantity()
    external = item.text("ExternalId", 100)
    for name in _FREE:
        item.text(name, 250)
    recipient = _addressee(item, kind)
    _personal(item, kind)
    return Line(number, product or "", value or 0, quantity or 0, external_id=external, recipient=recipient)


def _addressee(item: _Form, kind: OrderType | None) -> str | None:
    recipient = None
    for name, owner, read in (
        ("DigitalDeliveryAddress", OrderType.DIGITAL, _digital),
        ("PhysicalDeliveryAddress", OrderType.PHYSICAL, _postal),
    ):
        if kind is owner:
            recipient = read(item)
        elif kind is not None and item.value(name) is not None:
            item.wrong(name, f"belongs to orders of the type {owner}: remove it, or change Type")
    return recipient


def _digital(item: _Form) -> str | None:
    address = item.part("DigitalDeliveryAddress", ("Email", "Sms"), required=True)
    if address is None:
        return None
    if address.value("Email") is None and address.value("Sms") is None:
        address.wrong("Email", "is missing: fill in Email or Sms")
    email, sms = address.text("Email", 150, rule=_MAIL), address.text("Sms", 20, rule=_MOBILE)
    return email or sms


def _postal(item: _Form) -> str | None:
    names = [name for name, _ in _POSTAL + _POSTAL_MORE]
    address = item.part("PhysicalDeliveryAddress", [*names, "State", "Country"], required=True)
    if address is None:
        return None
    for name, limit in _POSTAL:
        address.text(name, limit, required=True)
    for name, limit in _POSTAL_MORE:
        address.text(name, limit)
    for name in ("State", "Country"):
        if found := address.text(name, 50, required=True, rule=_LETTERS):
            address.document[name] = found.upper()
    return address.document.get("Name")


def _personal(item: _Form, kind: OrderType | None) -> None:
    words = item.part("Personalization", ("To", "FromName", "FromEmail", "Message", "DeliveryDate"))
    if words is None:
        return
    words.text("To", 150, required=True)
    words.text("FromName", 150, required=True)
    words.text("FromEmail", 150, rule=_MAIL)
    words.text("Message", 400)
    if (date := words.value("DeliveryDate")) is None:
        return
    try:
        words.document["DeliveryDate"] = parse_time(date).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        words.wrong("DeliveryDate", "must be a time in UTC, such as 2026-01-02T03:04:05Z")
    if kind is OrderType.PHYSICAL:
        words.wrong("DeliveryDate", "is for digital orders only: remove it")
