"""Parser of the provider's responses and webhook bodies: orders, lists, tokens, problems, catalog, balance.

Reads names in any case and numbers as numbers or strings. Whatever comes in, nothing but the documented error goes out,
and no error holds a value that came in. Claim data is counted and digested, and leaves this module only as `Claims`.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tracking.errors import CallbackRefused, Problem, UnreadableAnswer
from tracking.orders.claim_data import ClaimData, Unit
from tracking.orders.model import PROVIDER_STATES, Line, OrderType, Snapshot, usual_case
from tracking.provider.json_fields import (
    Fields,
    decimal_of,
    digest_of,
    minor_of,
    parse,
    storable,
    text_of,
    time_or_none,
)
from tracking.provider.masking import NEVER_KEPT, scrub

LINE_WORDS = ("Pending", "Completed", "Cancelled", "Sent", "Claimed", "SentToFulfillment", "Shipped")
MAX_WEBHOOK_BODY = 64 * 1024
UNSURE_TOKEN_LIFE = timedelta(minutes=5)
LONGEST_TOKEN_LIFE = timedelta(days=1)
_PHONE = re.compile(r"\+\d[\d ().-]{5,30}\d|(?<![-\w])\d{7,}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ParsedOrder:
    """An order as shown: what it says, its raw JSON without claim data and webhook address, and its digest.

    `claims` holds the claim data apart, by the number of the line that showed it.
    """

    snapshot: Snapshot
    document: Mapping[str, Any]
    digest: str
    claims: Mapping[int, ClaimData] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; the items are raw, the figures None where not told."""

    items: Sequence[Any]
    page: int | None
    page_size: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """What a webhook call claims. `digest` is the same for every repeat of it."""

    action: str
    provider_id: str | None
    po_number: str | None
    stated_at: datetime | None
    digest: str


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and when to stop using it."""

    value: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Token(value='***', expires_at={self.expires_at!r})"


def read_order(raw: Any) -> ParsedOrder:
    """The order in a single answer or an item of a list.

    Raises:
        UnreadableAnswer: it is no order.
    """
    digest = digest_of(raw)
    order = Fields(raw)
    kind = order.text("type", limit=60)
    lines = order.get("lineitems")
    if lines is not None and not isinstance(lines, list):
        raise UnreadableAnswer("LineItems is not a list")
    read = [_line(number, line) for number, line in enumerate(lines or (), start=1)]
    snapshot = Snapshot(
        provider_id=order.needed(order.text("id"), "Id"),
        po_number=order.text("ponumber"),
        status=usual_case(order.needed(order.text("status", limit=60), "Status"), PROVIDER_STATES),
        type=usual_case(kind, OrderType) if kind else None,
        created_at=time_or_none(order.get("timestamp")),
        lines=tuple(line for line, _ in read),
        note=order.text("note", limit=1000),
        currency=order.text("currencycode", "currency", limit=10),
    )
    claims = {line.number: claims for line, claims in read if claims}
    return ParsedOrder(snapshot, _kept(raw), digest, claims)


def _line(number: int, raw: Any) -> tuple[Line, ClaimData]:
    line = Fields(raw, f"LineItems[{number - 1}]")
    claims = _claims(line.get("claimdata"))
    # What the entries hold, sorted: their order means nothing.
    held = json.dumps(sorted(text for text, _ in claims))
    known = Line(
        number=number,
        product_id=line.needed(line.text("productid"), "ProductId"),
        value_minor=line.needed(line.minor("value"), "Value"),
        quantity=line.needed(line.whole("quantity"), "Quantity"),
        status=usual_case(line.text("status", limit=60) or "Pending", LINE_WORDS),
        claims=len(claims),
        provider_line_id=line.text("id"),
        external_id=line.text("externalid"),
        recipient=_recipient(line),
        cost_minor=line.minor("cost"),
        claim_digest=hashlib.sha256(held.encode()).hexdigest()[:16] if claims else None,
    )
    return known, ClaimData(tuple(unit for _, unit in claims))


def _claims(raw: Any) -> list[tuple[str, Unit]]:
    """What each claim entry holds, as a text to compare and as labels with values; empty entries are left out."""
    entries = raw if isinstance(raw, list) else [raw]
    return [claim for entry in entries if (claim := _claim(entry)) is not None]


def _claim(raw: Any) -> tuple[str, Unit] | None:
    if not isinstance(raw, Mapping):
        return None
    entry = Fields(raw, "ClaimData")
    codes = entry.get("codes")
    held = [code for code in codes if _code(code)[1]] if isinstance(codes, list) else []
    link, characters = entry.get("claimlink"), entry.get("barcodechars")
    if not (link or characters or held):
        return None
    answer, picture = entry.get("claimlinkchallengeanswer"), entry.get("barcodepath")
    text = json.dumps([link, answer, characters, held], sort_keys=True)
    shown = [("Claim link", link), ("Challenge answer", answer), ("Barcode characters", characters)]
    if characters or picture:
        shown += [("Barcode type", entry.get("barcodetype")), ("Barcode picture", picture)]
    shown += [(_told(label), value) for label, value in map(_code, held)]
    return text, tuple([(label, _told(value)) for label, value in shown if value])


def _code(code: Any) -> tuple[Any, Any]:
    if not isinstance(code, Mapping):
        return "Code", code
    fields = Fields(code, "Codes")
    return fields.get("label") or "Code", fields.get("value")


def _told(value: Any) -> str:
    return storable(value if isinstance(value, str) else json.dumps(value))


def _recipient(line: Fields) -> str | None:
    digital, physical = line.get("digitaldeliveryaddress"), line.get("physicaldeliveryaddress")
    if isinstance(digital, Mapping) and (found := Fields(digital).text("email", "sms")):
        return found
    return Fields(physical).text("name") if isinstance(physical, Mapping) else None


def _kept(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        return {storable(name): _kept(value) for name, value in raw.items() if name.casefold() not in NEVER_KEPT}
    if isinstance(raw, list):
        return [_kept(value) for value in raw]
    return storable(raw) if isinstance(raw, str) else raw


def read_page(raw: Any) -> Page:
    """The envelope of a list.

    Raises:
        UnreadableAnswer: it is no list in its envelope.
    """
    envelope = Fields(raw)
    if not isinstance(raw, Mapping) or "data" not in {str(name).casefold() for name in raw}:
        raise UnreadableAnswer("Data is missing")
    items = envelope.get("data")
    if items is not None and not isinstance(items, list):
        raise UnreadableAnswer("Data is not a list")
    page, size, total = envelope.whole("page"), envelope.whole("pagesize"), envelope.whole("totalcount")
    return Page(items or (), page, size, total)


def key_of(raw: Any) -> str:
    """What tells an item of a list from the others: its Id, else its digest."""
    try:
        return _id(Fields(raw))
    except UnreadableAnswer:
        return digest_of(raw)


def read_token(raw: Any, now: datetime) -> Token:
    """The token, good until its own `exp`, else for ExpiresIn seconds, else for five minutes.

    Raises:
        UnreadableAnswer: there is no token that could be put into a header.
    """
    fields = Fields(raw)
    value = fields.get("value")
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,16384}", value.strip()):
        raise UnreadableAnswer("Value is not a token")
    seconds = _jwt_seconds(value, now)
    try:
        seconds = seconds or int(decimal_of(fields.get("expiresin")))
    except ValueError:
        seconds = 0
    longest = int(LONGEST_TOKEN_LIFE.total_seconds())
    life = timedelta(seconds=min(seconds, longest)) if seconds > 0 else UNSURE_TOKEN_LIFE
    return Token(value.strip(), now + life)


def _jwt_seconds(value: str, now: datetime) -> int:
    """How long the token says it lives, 0 where it does not say or says it is over."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(value.split(".")[1] + "=="))
        return max(int(decimal_of(claims["exp"]) - Decimal(now.timestamp())), 0)
    except (IndexError, KeyError, TypeError, ValueError, RecursionError, binascii.Error):
        return 0


def read_conflict(raw: Any) -> list[str]:
    """The ids that a 409 names, perhaps none. Raises nothing."""
    try:
        fields = Fields(raw)
        named = fields.get("previousorderids", "previousorderid", "orderid", "id")
        entries = named if isinstance(named, list) else [named]
        found = (text_of(entry, 200) for entry in entries[:50])
        return list(dict.fromkeys(entry for entry in found if entry))
    except (UnreadableAnswer, ValueError):
        return []


def read_funds(raw: Any) -> tuple[int | None, int | None]:
    """What a 422 says is available and what the order would cost, in minor units. Raises nothing."""
    try:
        fields = Fields(raw)
        return fields.minor("availablebalance"), fields.minor("ordercost")
    except UnreadableAnswer:
        return None, None


def read_problems(raw: Any, hide: Callable[[str], str] = str) -> list[Problem]:
    """What a 400 or 413 says is wrong, with everything that looks like a recipient masked, and what `hide` masks.

    Raises nothing.
    """
    try:
        fields = Fields(raw)
        errors = fields.get("errors")
        if isinstance(errors, Mapping):
            errors = [{"Property": name, "Errors": told} for name, told in errors.items()]
        found = [problem for entry in _listed(errors)[:50] for problem in _problem(entry, hide)]
        return found or [Problem("", _said(text, hide)) for text in _listed(fields.get("message", "title"))]
    except UnreadableAnswer:
        return []


def _problem(entry: Any, hide: Callable[[str], str]) -> list[Problem]:
    if not isinstance(entry, Mapping):
        return [Problem("", _said(entry, hide))] if isinstance(entry, str) else []
    fields = Fields(entry, "Errors")
    told = [text for text in _listed(fields.get("errors", "message")) if isinstance(text, str)]
    return [Problem(_said(fields.get("property") or "", hide), _said(text, hide)) for text in told[:10]]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _said(text: Any, hide: Callable[[str], str]) -> str:
    return _PHONE.sub("***", scrub(str(text) if isinstance(text, str | int | float) else "", hide))[:300]


def read_products(items: Iterable[Any]) -> list[dict[str, Any]]:
    """The catalogue's entries; items that cannot be read are left out."""
    return _each(items, _product)


def read_methods(items: Iterable[Any]) -> list[dict[str, Any]]:
    """The shipping methods; items that cannot be read are left out."""
    return _each(items, _method)


def read_carriers(items: Iterable[Any]) -> list[dict[str, Any]]:
    """The card carriers; items that cannot be read are left out."""
    return _each(items, lambda item: {"id": _id(item), "name": item.text("name") or _id(item)})


def _each(items: Iterable[Any], read: Any) -> list[dict[str, Any]]:
    found = []
    for item in items:
        try:
            found.append(read(Fields(item)))
        except (UnreadableAnswer, ValueError):
            continue
    return found


def _id(item: Fields) -> str:
    return item.needed(item.text("id"), "Id")


def _product(item: Fields) -> dict[str, Any]:
    cost = _optional(item.get("cost"))
    shipping = _optional(_optional(item.get("meta")).get("shippingconfiguration"))
    delivery = [word for word in _listed(item.get("availabledeliverytypes")) if isinstance(word, str)]
    return {
        "id": _id(item),
        "name": item.text("name") or _id(item),
        "type": usual_case(item.text("type") or "Digital", ("Digital", "Physical")),
        "denominations": [minor_of(value) for value in _listed(item.get("denominations"))],
        "denomination_type": usual_case(
            item.text("denominationtype") or "Fixed", ("Fixed", "Variable", "VariableNoCents")
        ),
        "delivery_types": [usual_case(word, OrderType) for word in delivery],
        "fee_minor": cost.minor("fee") or 0,
        "discount_percent": f"{decimal_of(cost.get('discountpercentage') or 0):f}",
        "currency": item.text("currencycode", limit=10),
        "has_required_carriers": str(shipping.get("hasrequiredcardcarriers")).casefold() == "true",
    }


def _optional(raw: Any) -> Fields:
    return Fields(raw if isinstance(raw, Mapping) else {})


def _method(item: Fields) -> dict[str, Any]:
    words = {"carrier": item.text("carrier"), "description": item.text("description", limit=500)}
    return {"id": _id(item), **words, "cost_minor": item.minor("cost")}


def read_balance(raw: Any) -> dict[str, Any]:
    """The account's balance in minor units.

    Raises:
        UnreadableAnswer: it says neither what is available nor what is pending.
    """
    fields = Fields(raw)
    available, pending = fields.minor("available"), fields.minor("pending")
    if available is None and pending is None:
        raise UnreadableAnswer("Available is missing")
    return {"available_minor": available, "pending_minor": pending, "offered": True}


def read_webhook_call(body: bytes) -> WebhookCall:
    """What a webhook call claims.

    Raises:
        CallbackRefused: too large, no JSON object, another action, or no order named. Nothing else is ever raised.
    """
    if len(body) > MAX_WEBHOOK_BODY:
        raise CallbackRefused("the body is too large")
    try:
        fields = Fields(parse(body), "the body")
        action, stated = fields.text("action"), fields.text("timestamp")
        provider_id, po_number = fields.text("orderid"), fields.text("ponumber")
    except UnreadableAnswer as exc:
        raise CallbackRefused(str(exc)) from exc
    if action is None or action.casefold() != "fulfillmentcomplete":
        raise CallbackRefused("the action is not FulfillmentComplete")
    if provider_id is None and po_number is None:
        raise CallbackRefused("the body names no order")
    # The PONumber is what the address proves: without it, a call of one order could pass for the repeat of another's.
    identity = [action.casefold(), provider_id, stated, po_number]
    return WebhookCall("FulfillmentComplete", provider_id, po_number, time_or_none(stated), digest_of(identity))
