"""Order requests in the provider's shape: built from a form's values, and parsed into an `OrderRequest` by pydantic.

Every problem of a request is reported at once, each at its place and in our words: pydantic's repeat what came in.
Asks neither the catalog nor the store, and sends nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_pascal
from pydantic_core import ErrorDetails

from tracking.errors import InvalidSubmission, Problem
from tracking.orders.model import Line, OrderRequest, OrderType
from tracking.provider.json_fields import stripped_text
from tracking.provider.masking import scrub
from tracking.provider.scalars.times import parse_time
from tracking.submissions.checks import addresses, identifiers, texts
from tracking.submissions.checks.amounts import requested_amount, requested_quantity
from tracking.submissions.checks.texts import Unfit

# What is wrong, by the type of pydantic's error; a value that breaks its field's own rule, by the field.
_SENTENCES = {
    "missing": "is missing: fill it in",
    "model_type": "must be an object with named fields",
    "list_type": "must be a list with at least one line",
    "too_short": "must be a list with at least one line",
    "string_type": "must be a text",
    "string_too_short": "is missing: fill in Email or Sms",  # the one text that can be empty: see _Part.one_of
    "string_too_long": "has {length:,} characters; at most {max_length}: shorten it",
    "string_pattern_mismatch": "holds characters that cannot be sent: retype it",
    "string_unicode": "holds characters that cannot be sent: retype it",
}
_OUT_OF_PLACE = {
    "WebhookSettings": "is made by this console, one address for each order: remove it",
    "DigitalDeliveryAddress": f"belongs to orders of the type {OrderType.DIGITAL}: remove it, or change Type",
    "PhysicalDeliveryAddress": f"belongs to orders of the type {OrderType.PHYSICAL}: remove it, or change Type",
    "DeliveryDate": "is for digital orders only: remove it",
}
_RULES = {
    "Type": f"must be one of {', '.join(OrderType)}",
    "Value": "must be an amount above 0 with at most two decimals, such as 10 or 12.50",
    "Quantity": "must be a whole number from 1 to 1,000,000",
    "DeliveryDate": "must be a time in UTC, such as 2026-01-02T03:04:05Z",
}
_DAY_OR_MONTH = re.compile(r"(\d{1,2})/(\d{1,2})/\d{4}(?!.*[AP]M)", re.IGNORECASE)


def _text(limit: int, *, least: int = 0, control: str = r"\x00-\x1f\x7f") -> StringConstraints:
    return StringConstraints(strict=True, min_length=least, max_length=limit, pattern=f"^[^{control}]*$")


def _prose(limit: int) -> StringConstraints:
    """A text of several lines."""
    return _text(limit, control=r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f")


def _whole_text(text: str) -> str:
    for check in (texts.lost_letter, texts.spreadsheet_error, texts.nothing_visible, texts.placeholder):
        if problem := check(text):
            raise Unfit(problem)
    return text


def _order_type(text: Any) -> str:
    """The type in its usual case, without the spaces people part its words with."""
    folded = re.sub(r"[\s_-]", "", str(text)).casefold()
    for kind in OrderType:
        if kind.casefold() == folded:
            return kind.value
    raise ValueError


def _time(text: Any) -> str:
    at = parse_time(text)
    if match := _DAY_OR_MONTH.match(text.strip()):
        first, second = sorted((int(match[1]), int(match[2])))
        if second <= 12 and first != second:
            raise Unfit(f"is not clear, which of {first} and {second} is the month? Write it as 2026-01-02T03:04:05Z")
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def _by_country(check: Callable[[str, str | None], str]) -> AfterValidator:
    """A rule of postal addresses; the country is read first, and None where it is wrong."""

    def judge(text: str, info: pydantic.ValidationInfo) -> str:
        return check(text, info.data.get("country"))

    return AfterValidator(judge)


_WHOLE = AfterValidator(_whole_text)
_Text100 = Annotated[str, _text(100), _WHOLE]
_Text150 = Annotated[str, _text(150), _WHOLE]
_Id100 = Annotated[str, _text(100), AfterValidator(identifiers.identifier)]
_Id150 = Annotated[str, _text(150), AfterValidator(identifiers.identifier)]
_Id250 = Annotated[str, _text(250), AfterValidator(identifiers.identifier)]
_PONumber = Annotated[str, _text(100), AfterValidator(identifiers.po_number)]
_Email = Annotated[str, _text(150, least=1), AfterValidator(addresses.email)]
_Sms = Annotated[str, _text(20), AfterValidator(addresses.telephone)]
_Place100 = Annotated[str, _text(100), AfterValidator(addresses.located)]
_Named100 = Annotated[str, _text(100), AfterValidator(addresses.named)]
_Named150 = Annotated[str, _text(150), AfterValidator(addresses.named)]
_Zip = Annotated[str, _text(50), _by_country(addresses.postal_code)]
_State = Annotated[str, _text(50), _by_country(addresses.state)]
_Country = Annotated[str, _text(50), AfterValidator(addresses.country)]
_Amount = Annotated[Decimal, Field(gt=0, decimal_places=2), BeforeValidator(requested_amount), PlainSerializer(_number)]
_Quantity = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(requested_quantity)]


class _Part(BaseModel):
    """One object of a request: its fields under their names in any case, and no others."""

    model_config = pydantic.ConfigDict(extra="forbid", alias_generator=to_pascal, hide_input_in_errors=True)
    # Groups of which one field must be filled; if none is, the first is validated as an empty text.
    one_of: ClassVar[tuple[str, ...]] = ()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _by_name(cls, raw: Any) -> Any:
        """The fields that hold something, under their usual names; unknown and repeated ones stay extra fields."""
        if not isinstance(raw, Mapping):
            return raw
        names, fields, extra = _names(cls), dict[str, Any](), dict[str, Any]()
        for given, value in raw.items():
            name = names.get(str(given).casefold())
            if name is None:
                extra[scrub(str(given))[:40]] = value
            elif name in fields:
                extra[name.swapcase()] = value
            else:
                fields[name] = _stripped(value)
        filled = {name: value for name, value in fields.items() if value is not None}
        if cls.one_of and not filled.keys() & {*cls.one_of}:
            filled[cls.one_of[0]] = ""
        return filled | extra


def _stripped(value: Any) -> Any:
    """A text, None for an empty one; a whole number is a text too, and anything else stays as it is."""
    return stripped_text(value) or None if isinstance(value, str | int) and not isinstance(value, bool) else value


@cache
def _names(part: type[_Part]) -> dict[str, str]:
    names = [str(field.alias) for field in part.model_fields.values()]
    return {name.casefold(): name for name in names}


class _Pictures(_Part):
    photo_url: _Id150 | None = None
    greeting_url: _Id150 | None = None


class _FilledDigitalAddress(_Part):
    """Where a card goes, as far as it is filled in."""

    email: _Email | None = None
    sms: _Sms | None = None


class _DigitalAddress(_FilledDigitalAddress):
    one_of = ("Email", "Sms")


class _FilledPostalAddress(_Part):
    """Where a parcel goes, as far as it is filled in. The country comes before what is judged by it."""

    shipping_method_id: _Id100 | None = None
    name: _Named150 | None = None
    address_line1: _Place100 | None = None
    city: _Named100 | None = None
    country: _Country | None = None
    zip: _Zip | None = None
    state: _State | None = None
    carrier_id: _Id100 | None = None
    address_line2: _Text100 | None = None
    address_line3: _Text100 | None = None


class _PostalAddress(_FilledPostalAddress):
    shipping_method_id: _Id100
    name: _Named150
    address_line1: _Place100
    city: _Named100
    country: _Country
    zip: _Zip
    state: _State


class _Greeting(_Part):
    to: _Text150
    from_name: _Text150
    from_email: _Email | None = None
    message: Annotated[str, _prose(400), _WHOLE] | None = None
    delivery_date: Annotated[str, pydantic.PlainValidator(_time)] | None = None


class _PostalGreeting(_Greeting):
    delivery_date: None = None


class _Item(_Part):
    """A line item; while the type of its order is not known, its addresses are judged as far as they are filled in."""

    product_id: _Id100
    value: _Amount
    quantity: _Quantity
    external_id: _Id100 | None = None
    culture: _Id250 | None = None
    theme: _Id250 | None = None
    branding_id: _Id250 | None = None
    digital_delivery_address: _FilledDigitalAddress | None = None
    physical_delivery_address: _FilledPostalAddress | None = None
    personalization: _Greeting | None = None


class _LinkItem(_Item):
    digital_delivery_address: None = None
    physical_delivery_address: None = None


class _DigitalItem(_Item):
    digital_delivery_address: _DigitalAddress
    physical_delivery_address: None = None


class _PostalItem(_Item):
    digital_delivery_address: None = None
    physical_delivery_address: _PostalAddress
    personalization: _PostalGreeting | None = None


_ITEMS: Mapping[str | None, pydantic.TypeAdapter[Any]] = {
    None: pydantic.TypeAdapter(list[_Item]),
    OrderType.DIGITAL: pydantic.TypeAdapter(list[_DigitalItem]),
    OrderType.LINKS: pydantic.TypeAdapter(list[_LinkItem]),
    OrderType.PHYSICAL: pydantic.TypeAdapter(list[_PostalItem]),
    OrderType.CODES: pydantic.TypeAdapter(list[_LinkItem]),
}


class _Request(_Part):
    type: Annotated[str, BeforeValidator(_order_type)]
    po_number: _PONumber | None = Field(None, alias="PONumber")
    note: Annotated[str, _prose(250), _WHOLE] | None = None
    webhook_settings: None = None
    personalization: _Pictures | None = None
    line_items: Annotated[list[Any], Field(strict=True, min_length=1)]

    @pydantic.field_validator("line_items")
    @classmethod
    def _by_type(cls, items: list[Any], info: pydantic.ValidationInfo) -> list[_Item]:
        """The line items by the rules of the order's type."""
        lines: list[_Item] = _ITEMS[info.data.get("type")].validate_python(items)
        return lines


_PARTS: Mapping[tuple[str, ...], type[_Part]] = {
    (): _Request,
    ("Personalization",): _Pictures,
    ("LineItems",): _Item,
    ("LineItems", "DigitalDeliveryAddress"): _DigitalAddress,
    ("LineItems", "PhysicalDeliveryAddress"): _PostalAddress,
    ("LineItems", "Personalization"): _Greeting,
}


def read_request(raw: Any) -> OrderRequest:
    """Parses an order request in the provider's shape, in any case of its names, as a person or a program wrote it.

    The PONumber may be missing; it is "" then, and `with_po_number` gives one.

    Raises:
        InvalidSubmission: with every problem, each naming its place and what to do.
    """
    try:
        request = _Request.model_validate(raw)
    except pydantic.ValidationError as exc:
        problems = [_problem(error) for error in exc.errors(include_url=False)]
    else:
        document = request.model_dump(by_alias=True, exclude_none=True)
        lines = tuple(_line(number, item) for number, item in enumerate(request.line_items, start=1))
        return OrderRequest(request.po_number or "", request.type, lines, document, request.note)
    # Not inside the handler: pydantic's error holds what came in, and would be this one's context.
    raise InvalidSubmission(problems)


def partial_lines(raw: Any) -> tuple[str | None, list[tuple[dict[str, Any], int | None]]]:
    """The type and the lines of a request that is wrong somewhere, as far as they can be read, for further checks.

    A line is its fields under their usual names, with its value in minor units; what cannot be read is None or absent.
    """
    order = _readable(raw, _Request)
    items = order.get("LineItems")
    lines = [_readable(item, _Item) for item in items] if isinstance(items, list) else []
    for line in lines:
        line["PhysicalDeliveryAddress"] = _readable(line.get("PhysicalDeliveryAddress"), _PostalAddress)
    try:
        kind = _order_type(order.get("Type"))
    except ValueError:
        kind = None
    return kind, [(line, _minor_or_none(line.get("Value"))) for line in lines]


def _readable(raw: Any, part: type[_Part]) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return {}
    named = ((_names(part).get(str(given).casefold()), value) for given, value in raw.items())
    return {name: _stripped(value) for name, value in named if name}


def _minor_or_none(value: Any) -> int | None:
    try:
        minor = requested_amount(value) * 100
    except ValueError:
        return None
    return int(minor) if minor > 0 and minor == minor.to_integral_value() else None


def order_document(
    *,
    order_type: str | None,
    po_number: str,
    lines: Sequence[Mapping[str, Any]],
    note: str | None = None,
    photo_url: str | None = None,
    greeting_url: str | None = None,
) -> dict[str, Any]:
    """Builds the JSON body of an order request from what a form holds; what was left empty is left out.

    `lines` are line items in the provider's shape, `photo_url` and `greeting_url` addresses for all of them.
    """
    pictures = {"PhotoUrl": photo_url, "GreetingUrl": greeting_url}
    order = {"Type": order_type, "PONumber": po_number, "Note": note, "Personalization": pictures}
    return _without_empty(order) | {"LineItems": [_without_empty(line) for line in lines]}


def _without_empty(fields: Mapping[str, Any]) -> dict[str, Any]:
    filled = {name: _without_empty(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
    return {name: value for name, value in filled.items() if value not in (None, "", {})}


def with_po_number(request: OrderRequest, po_number: str) -> OrderRequest:
    """The same request under this PONumber."""
    return replace(request, po_number=po_number, document={**request.document, "PONumber": po_number})


def _line(number: int, item: _Item) -> Line:
    digital, postal = item.digital_delivery_address, item.physical_delivery_address
    recipient = digital.email or digital.sms if digital else postal.name if postal else None
    value, external_id = int(item.value * 100), item.external_id
    return Line(number, item.product_id, value, item.quantity, external_id=external_id, recipient=recipient)


def _problem(error: ErrorDetails) -> Problem:
    """The problem in our words, from the error's type, place and limit, and a text's length; never from its value."""
    kind, place = error["type"], [*error["loc"]]
    name = str(place[-1]) if place else ""
    if kind == "extra_forbidden":
        part = _PARTS[tuple(name for name in place[:-1] if isinstance(name, str))]
        place[-1], message = _extra(name, _names(part))
    elif kind == "none_required":
        message = _OUT_OF_PLACE[name]
    elif kind == "value_error" and isinstance(reason := error["ctx"]["error"], Unfit):
        message = str(reason)
    elif kind == "string_too_long":
        message = _SENTENCES[kind].format(length=len(error["input"]), **error["ctx"])
    else:
        message = _SENTENCES.get(kind) or _RULES[name]
    where = ""
    for part_name in place:
        where += f"[{part_name}]" if isinstance(part_name, int) else f".{part_name}" if where else part_name
    return Problem(where, message)


def _extra(given: str, names: Mapping[str, str]) -> tuple[str, str]:
    """What a field too many is called, and what is wrong with it."""
    if name := names.get(given.casefold()):
        return name, "stands twice in different cases: keep one"
    near = get_close_matches(given.casefold(), names, n=1)
    return given, f"is not known here: did you mean {names[near[0]]}?" if near else "is not known here: remove it"
