"""Parser of the provider's responses: orders, lists, tokens, problems, catalog, balance.

Reads names in any case and numbers as numbers or strings, and notes what is wrong with fields that nobody needs.
Whatever comes in, nothing but the documented error goes out, and neither error nor note holds a value that came in.
Claim data is counted and digested, and leaves this module only as `ClaimData`.
"""

import base64
import binascii
import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tracking.errors import Problem, UnreadableAnswer
from tracking.orders.model import LINE_STATUSES, PROVIDER_STATES, ClaimData, Line, OrderType, Snapshot, Unit, usual_case
from tracking.provider.json_fields import ROUNDED, Fields, digest_of, echoed_key_of, key_of, storable, text_of
from tracking.provider.masking import NEVER_STORED, scrub
from tracking.provider.scalars.amounts import decimal_of, minor_of, type_name, whole_of

DEFAULT_TOKEN_LIFE = timedelta(minutes=5)
LONGEST_TOKEN_LIFE = timedelta(days=1)
_PHONE = re.compile(r"\+\d[\d ().-]{5,30}\d|(?<![-\w])\d{7,}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ParsedOrder:
    """An order of the provider's: its snapshot, its raw JSON without claim data and webhook address, and its digest.

    `claims` holds the claim data apart, by the number of its line.
    """

    snapshot: Snapshot
    document: Mapping[str, Any]
    digest: str
    claims: Mapping[int, ClaimData] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a list; the items are raw, the figures None where they are missing."""

    items: Sequence[Any]
    page: int | None
    page_size: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and when to stop using it."""

    value: str = field(repr=False)
    expires_at: datetime


def read_order(raw: Any, notes: set[str] | None = None) -> ParsedOrder:
    """Parses the order in a single answer or an item of a list.

    What is wrong with a field that nobody needs is noted in `notes`. Why its lines cannot be read is the snapshot's
    `unreadable`: that the order is where its status says it is stays true.

    Raises:
        UnreadableAnswer: it is no order.
    """
    digest = digest_of(raw)
    order = Fields(raw, notes=notes)
    kind = order.text("Type", limit=60)
    read, unreadable = _lines(order)
    snapshot = Snapshot(
        provider_id=order.needed("Id", key_of),
        po_number=order.needed("PONumber", echoed_key_of) if order.has("PONumber") else None,
        status=usual_case(order.needed("Status", lambda value: text_of(value, 60)), PROVIDER_STATES),
        type=usual_case(kind, OrderType) if kind else None,
        created_at=order.time("Timestamp"),
        lines=tuple(line for line, _ in read),
        note=order.text("Note", limit=1000),
        currency=_currency(order, "CurrencyCode", "Currency"),
        unreadable=unreadable,
    )
    claims = {line.number: claims for line, claims in read if claims}
    return ParsedOrder(snapshot, _without_secrets(raw), digest, claims)


def _lines(order: Fields) -> tuple[list[tuple[Line, ClaimData]], str | None]:
    """The lines with their claim data, and why one or all of them cannot be read."""
    lines, read, unreadable = order.get("lineitems"), list[tuple[Line, ClaimData]](), None
    if lines is not None and not isinstance(lines, list):
        return [], order.note("LineItems", f"is not a list but {type_name(lines)}")
    for number, raw in enumerate(lines or (), start=1):
        try:
            read.append(_line(number, raw, order.notes))
        except UnreadableAnswer as exc:
            unreadable = unreadable or str(exc)
    return read, unreadable


def _line(number: int, raw: Any, notes: set[str]) -> tuple[Line, ClaimData]:
    line = Fields(raw, f"LineItems[{number - 1}]", notes)
    claims = _claim_entries(line)
    # What the entries hold, sorted: their order means nothing.
    contents = json.dumps(sorted(text for text, _ in claims))
    parsed = Line(
        number=number,
        product_id=line.needed("ProductId", key_of),
        value_minor=line.needed("Value", minor_of),
        quantity=line.needed("Quantity", whole_of),
        status=usual_case(line.text("Status", limit=60) or "Pending", LINE_STATUSES),
        claims=len(claims),
        provider_line_id=line.text("Id"),
        external_id=line.text("ExternalId"),
        recipient=_recipient(line),
        cost_minor=line.minor("Cost"),
        claim_digest=hashlib.sha256(contents.encode()).hexdigest()[:16] if claims else None,
    )
    return parsed, ClaimData(tuple(unit for _, unit in claims))


def _claim_entries(line: Fields) -> list[tuple[str, Unit]]:
    """What each claim entry holds, as a text to compare and as labels with values; empty entries are left out."""
    raw = line.get("claimdata")
    entries = raw if isinstance(raw, list) else [raw]
    return [claim for entry in entries if (claim := _claim_entry(entry, line)) is not None]


def _claim_entry(raw: Any, line: Fields) -> tuple[str, Unit] | None:
    if not isinstance(raw, Mapping):
        if raw is not None:
            line.note("ClaimData", f"holds no object but {type_name(raw)}")
        return None
    entry = Fields(raw, "ClaimData", line.notes)
    codes = entry.get("codes")
    filled_codes = [code for code in codes if _code(code)[1]] if isinstance(codes, list) else []
    link, characters = entry.get("claimlink"), entry.get("barcodechars")
    if not (link or characters or filled_codes):
        return None
    answer, picture = entry.get("claimlinkchallengeanswer"), entry.get("barcodepath")
    text = json.dumps([link, answer, characters, filled_codes], sort_keys=True)
    labelled = [("Claim link", link), ("Challenge answer", answer), ("Barcode characters", characters)]
    if characters or picture:
        labelled += [("Barcode type", entry.get("barcodetype")), ("Barcode picture", picture)]
    labelled += [(_storable_text(label), value) for label, value in map(_code, filled_codes)]
    return text, tuple([(label, _storable_text(value)) for label, value in labelled if value])


def _code(code: Any) -> tuple[Any, Any]:
    if not isinstance(code, Mapping):
        return "Code", code
    fields = Fields(code, "Codes")
    return fields.get("label") or "Code", fields.get("value")


def _storable_text(value: Any) -> str:
    return storable(value if isinstance(value, str) else json.dumps(value))


def _recipient(line: Fields) -> str | None:
    contact = line.object("DigitalDeliveryAddress").text("Email", "Sms")
    return contact or line.object("PhysicalDeliveryAddress").text("Name")


def _without_secrets(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        stored = [name for name in raw if name.casefold() not in NEVER_STORED]
        return {storable(name): _without_secrets(raw[name]) for name in stored}
    if isinstance(raw, list):
        return [_without_secrets(value) for value in raw]
    if isinstance(raw, float) and not math.isfinite(raw):  # no database takes it as JSON
        return str(raw)
    return storable(raw) if isinstance(raw, str) else raw


def read_list_page(raw: Any, notes: set[str] | None = None) -> ListPage:
    """Parses the envelope of a list.

    Raises:
        UnreadableAnswer: it is no list in its envelope.
    """
    envelope = Fields(raw, notes=notes)
    if not isinstance(raw, Mapping) or "data" not in {str(name).casefold() for name in raw}:
        raise UnreadableAnswer(envelope.note("Data", "is missing"))
    items = envelope.get("data")
    if items is not None and not isinstance(items, list):
        raise UnreadableAnswer(envelope.note("Data", f"is not a list but {type_name(items)}"))
    page, size, total = envelope.whole("Page"), envelope.whole("PageSize"), envelope.whole("TotalCount")
    if items is None and page is size is total is None:
        raise UnreadableAnswer("Data is null, and nothing says that it is a page of a list")
    return ListPage(items or (), page, size, total)


def item_key(raw: Any) -> str:
    """The key of a list's item among the others: its Id, else its digest."""
    try:
        return _id(Fields(raw))
    except UnreadableAnswer:
        return digest_of(raw)


def read_token(raw: Any, now: datetime, notes: set[str] | None = None) -> Token:
    """Parses the token, good until its own `exp`, else for ExpiresIn seconds, else for five minutes.

    Raises:
        UnreadableAnswer: there is no token that could be put into a header.
    """
    fields = Fields(raw, notes=notes)
    value = fields.get("value")
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,16384}", value.strip()):
        raise UnreadableAnswer("Value is not a token")
    seconds = _jwt_seconds(value, now) or int(fields.decimal("ExpiresIn") or 0)
    longest = int(LONGEST_TOKEN_LIFE.total_seconds())
    life = timedelta(seconds=min(seconds, longest)) if seconds > 0 else DEFAULT_TOKEN_LIFE
    return Token(value.strip(), now + life)


def _jwt_seconds(value: str, now: datetime) -> int:
    """How long the token says it lives, 0 where it does not say or says it is over."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(value.split(".")[1] + "=="))
        return max(int(decimal_of(claims["exp"]) - Decimal(now.timestamp())), 0)
    except (IndexError, KeyError, TypeError, ValueError, RecursionError, binascii.Error):
        return 0


def read_duplicate_ids(raw: Any) -> list[str]:
    """Reads the ids that a 409 names, perhaps none. Raises nothing."""
    try:
        fields = Fields(raw)
        value = fields.get("previousorderids", "previousorderid", "orderid", "id")
        entries = value if isinstance(value, list) else [value]
    except UnreadableAnswer:
        return []
    ids: dict[str, None] = {}
    for entry in entries[:50]:
        with contextlib.suppress(ValueError):
            ids |= {key: None} if (key := key_of(entry)) else {}
    return list(ids)


def read_funds(raw: Any) -> tuple[int | None, int | None]:
    """Reads from a 422 what is available and what the order would cost, in minor units. Raises nothing."""
    try:
        fields = Fields(raw)
        return fields.minor("availablebalance"), fields.minor("ordercost")
    except UnreadableAnswer:
        return None, None


def read_problems(raw: Any, hide: Callable[[str], str] = str) -> list[Problem]:
    """Reads from a 400 or 413 what is wrong, with everything that looks like a recipient masked, and what `hide` masks.

    Raises nothing.
    """
    try:
        fields = Fields(raw)
        errors = fields.get("errors")
        if isinstance(errors, Mapping):
            errors = [{"Property": name, "Errors": messages} for name, messages in errors.items()]
        problems = [problem for entry in _as_list(errors)[:50] for problem in _problem(entry, hide)]
        return problems or [Problem("", _masked_text(text, hide)) for text in _as_list(fields.get("message", "title"))]
    except UnreadableAnswer:
        return []


def names_problems(raw: Any) -> bool:
    """Whether it has the documented shape of a rejection: Errors, each with its own Errors as texts. Raises nothing.

    Takes an object of names and texts as well. Other gateways' "errors" hold messages and codes, and are none.
    """
    try:
        errors = Fields(raw).get("errors")
        if isinstance(errors, Mapping):
            texts = list(errors.values())
        else:
            texts = [Fields(entry).get("errors") for entry in errors] if isinstance(errors, list) else []
    except UnreadableAnswer:
        return False
    return bool(texts) and all(
        isinstance(each, list) and each and all(isinstance(text, str) for text in each) for each in texts
    )


def _problem(entry: Any, hide: Callable[[str], str]) -> list[Problem]:
    if not isinstance(entry, Mapping):
        return [Problem("", _masked_text(entry, hide))] if isinstance(entry, str) else []
    fields = Fields(entry, "Errors")
    messages = [text for text in _as_list(fields.get("errors", "message")) if isinstance(text, str)]
    where = _masked_text(fields.get("property") or "", hide)
    return [Problem(where, _masked_text(text, hide)) for text in messages[:10]]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _masked_text(text: Any, hide: Callable[[str], str]) -> str:
    return _PHONE.sub("***", scrub(str(text) if isinstance(text, str | int | float) else "", hide))[:300]


def read_each(
    items: Iterable[Any], read: Callable[[Fields], dict[str, Any]], notes: set[str] | None = None
) -> list[dict[str, Any]]:
    """Parses items of the catalog; those that have no id are left out."""
    values = []
    for item in items:
        with contextlib.suppress(UnreadableAnswer):
            values.append(read(Fields(item, "Data[0]", notes)))
    return values


def _id(item: Fields) -> str:
    return item.needed("Id", key_of)


def read_product(item: Fields) -> dict[str, Any]:
    """Parses a product of the catalog, money in minor units. Denominations that cannot all be read are none."""
    cost, shipping = item.object("Cost"), item.object("Meta").object("ShippingConfiguration")
    delivery_types = [word for word in _as_list(item.get("availabledeliverytypes")) if isinstance(word, str)]
    forms = ("Fixed", "Variable", "VariableNoCents")
    form = usual_case(item.text("DenominationType") or "Fixed", forms)
    if form not in forms:
        item.note("DenominationType", "is a word that is not known")
    return {
        "id": _id(item),
        "name": item.text("Name") or _id(item),
        "type": usual_case(item.text("Type") or "Digital", ("Digital", "Physical")),
        # Of a word that nobody knows it is not known either what its amounts are.
        "denominations": _denominations(item) if form in forms else [],
        "denomination_type": form,
        "delivery_types": [usual_case(word, OrderType) for word in delivery_types],
        "fee_minor": cost.minor("Fee") or 0,
        "discount_percent": f"{cost.decimal('DiscountPercentage') or Decimal():f}",
        "currency": _currency(item, "CurrencyCode"),
        "has_required_carriers": shipping.flag("HasRequiredCardCarriers"),
    }


def _currency(fields: Fields, *names: str) -> str | None:
    """The code of a currency; None for anything but letters, so that no amount is shown in what is none."""
    code = (fields.text(*names, limit=10) or "").upper()
    if code and not code.isalpha():
        fields.note(names[0], "is no code of a currency")
    return code if code.isalpha() else None


def _denominations(item: Fields) -> list[int]:
    try:
        amounts = _as_list(item.get("denominations"))
        if any(decimal_of(value) * 100 != minor_of(value) for value in amounts):
            item.note("Denominations", f"holds what {ROUNDED}")
        return [minor_of(value) for value in amounts]
    except ValueError as exc:
        item.note("Denominations", f"holds what {exc}")
        return []


def read_shipping_method(item: Fields) -> dict[str, Any]:
    """Parses a shipping method, its cost in minor units."""
    words = {"carrier": item.text("Carrier"), "description": item.text("Description", limit=500)}
    return {"id": _id(item), **words, "cost_minor": item.minor("Cost")}


def read_carrier(item: Fields) -> dict[str, Any]:
    """Parses a card carrier."""
    return {"id": _id(item), "name": item.text("Name") or _id(item)}


def read_balance(raw: Any, notes: set[str] | None = None) -> dict[str, Any]:
    """Parses the account's balance in minor units.

    Raises:
        UnreadableAnswer: it says neither what is available nor what is pending.
    """
    fields = Fields(raw, notes=notes)
    available, pending = fields.minor("Available"), fields.minor("Pending")
    if available is None and pending is None:
        raise UnreadableAnswer("Available is missing")
    return {"available_minor": available, "pending_minor": pending, "offered": True}
