"""The only parser of foreign JSON: the provider's answers, its webhook calls, and requests that people hand in.

Reads names in any case and numbers as numbers or strings. Whatever comes in, nothing but the documented error goes out,
and no error holds a value that came in. Claim data is counted and digested here and goes no further.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from difflib import get_close_matches
from typing import Any, Never, TypeVar

from tracking.errors import CallbackRefused, InvalidSubmission, Problem, UnreadableAnswer
from tracking.orders import KNOWN_WORDS, Line, OrderRequest, OrderType, Snapshot, canonical

_T = TypeVar("_T")

LINE_WORDS = ("Pending", "Completed", "Cancelled", "Sent", "Claimed", "SentToFulfillment", "Shipped")
MAX_DEPTH = 64
MAX_CALLBACK = 64 * 1024
UNSURE_TOKEN_LIFE = timedelta(minutes=5)
LONGEST_TOKEN_LIFE = timedelta(days=1)

_CLAIMS = frozenset({"claimdata", "claimlink", "claimlinkchallengeanswer", "barcodepath", "barcodechars", "codes"})
_NEVER_KEPT = _CLAIMS | {"webhooksettings", "fulfillmentcomplete"}
_SECRETS = _NEVER_KEPT | {"token", "accesstoken", "authorization", "password", "secret", "key"}
_ADDRESSES = {"digitaldeliveryaddress", "physicaldeliveryaddress", "personalization"}
_PEOPLE = _ADDRESSES | {"email", "sms", "fromemail", "name", "recipientname", "recipientemail", "recipientsms"}
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,40})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_LARGEST = Decimal(10) ** 13
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_UNSENDABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_UNSENDABLE_PROSE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_EMAIL = re.compile(r"[^\s@\"'<>(),;:]{1,150}@[^\s@\"'<>(),;:]{1,150}")
_ADDRESS = re.compile(r"(https?://)[^\s\"'<>]+", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w-]{4,}(\.[\w-]+)*")
_PHONE = re.compile(r"\+\d[\d ().-]{5,30}\d|(?<![-\w])\d{7,}", re.ASCII)
_US_FORMS = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M:%S")


@dataclass(frozen=True, slots=True)
class Shown:
    """An order as shown: what it says, its raw JSON without claim data and webhook address, and its digest."""

    snapshot: Snapshot
    document: Mapping[str, Any]
    digest: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; the items are raw, the figures None where not told."""

    items: Sequence[Any]
    page: int | None
    page_size: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Callback:
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


def parse(body: bytes) -> Any:
    """The JSON in the bytes.

    Raises:
        UnreadableAnswer: no UTF-8, no JSON, a name twice in one object, NaN or Infinity, or nested deeper than 64.
    """
    try:
        text = body.decode("utf-8-sig")
        raw = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body is not JSON") from exc
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper(raw, MAX_DEPTH):
        raise UnreadableAnswer("the body is nested too deeply")
    return raw


def _refuse_constant(_: str) -> Never:
    raise ValueError("NaN and Infinity are not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _deeper(raw: Any, limit: int) -> bool:
    level = [raw]
    for _ in range(limit + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: Any) -> Iterable[Any]:
    if isinstance(item, Mapping):
        return item.values()
    return item if isinstance(item, list) else ()


def digest_of(raw: Any) -> str:
    """The SHA-256 in hex of the canonical JSON, claim data included: the same for list items and single answers.

    Raises:
        UnreadableAnswer: a number in it is not finite, or it is nested too deeply.
    """
    try:
        text = json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body holds what JSON cannot") from exc
    return hashlib.sha256(text.encode()).hexdigest()


class _Fields:
    """One object of an answer, read without regard to the case of its names."""

    def __init__(self, raw: Any, where: str = "") -> None:
        if not isinstance(raw, Mapping):
            raise UnreadableAnswer(f"{where or 'the answer'} is not an object")
        self._where = where
        self._values = {str(name).casefold(): value for name, value in raw.items()}
        if len(self._values) != len(raw):
            raise UnreadableAnswer(f"{where or 'the answer'} holds a name twice in different cases")

    def get(self, *names: str) -> Any:
        """The first of the named values that is not null."""
        found = (self._values.get(name) for name in names)
        return next((value for value in found if value is not None), None)

    def text(self, *names: str, limit: int = 200) -> str | None:
        try:
            return _text(self.get(*names), limit)
        except ValueError as exc:
            raise self._unreadable(names[0], exc) from exc

    def whole(self, *names: str) -> int | None:
        value = self.get(*names)
        try:
            return None if value is None else _whole(value)
        except ValueError as exc:
            raise self._unreadable(names[0], exc) from exc

    def minor(self, *names: str) -> int | None:
        value = self.get(*names)
        try:
            return None if value is None else _minor(value)
        except ValueError as exc:
            raise self._unreadable(names[0], exc) from exc

    def needed(self, value: _T | None, name: str) -> _T:
        if value is None:
            raise self._unreadable(name, ValueError("is missing"))
        return value

    def _unreadable(self, name: str, exc: ValueError) -> UnreadableAnswer:
        return UnreadableAnswer(f"{f'{self._where}.' if self._where else ''}{name} {exc}")


def _written(value: str | int) -> str:
    return value.strip() if isinstance(value, str) else f"{value:#x}" if abs(value) >= 10**30 else str(value)


def _text(value: Any, limit: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("is not a text")  # noqa: TRY004 - a wrong type in foreign JSON is a wrong value
    return storable(_written(value)[:limit]) or None


def storable(text: str) -> str:
    """The text with what no database takes (NUL, lone surrogates) replaced."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("is not a number")  # noqa: TRY004 - as above
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("is too large")
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    number = Decimal(text)
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError("is too large")
    return number


def _minor(value: Any) -> int:
    return int((_decimal(value) * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _whole(value: Any) -> int:
    number = _decimal(value)
    if number != number.to_integral_value() or number < 0:
        raise ValueError("is not a whole number")
    return int(number)


def parse_time(text: Any) -> datetime:
    """The time in UTC; UTC too where no zone is named. Reads ISO 8601 and the US form with AM and PM.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(text, str) or len(text) > 64:
        raise ValueError("is not a time")
    for form in (None, *_US_FORMS):
        try:
            stated = datetime.strptime(text.strip(), form) if form else datetime.fromisoformat(text.strip())  # noqa: DTZ007 - the next line gives the zone
            return stated.replace(tzinfo=UTC) if stated.tzinfo is None else stated.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise ValueError("is not a time")


def _time_or_none(text: Any) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None


def read_order(raw: Any) -> Shown:
    """The order in a single answer or an item of a list.

    Raises:
        UnreadableAnswer: it is no order.
    """
    digest = digest_of(raw)
    order = _Fields(raw)
    kind = order.text("type", limit=60)
    lines = order.get("lineitems")
    if lines is not None and not isinstance(lines, list):
        raise UnreadableAnswer("LineItems is not a list")
    snapshot = Snapshot(
        provider_id=order.needed(order.text("id"), "Id"),
        po_number=order.text("ponumber"),
        status=canonical(order.needed(order.text("status", limit=60), "Status"), KNOWN_WORDS),
        type=canonical(kind, OrderType) if kind else None,
        created_at=_time_or_none(order.get("timestamp")),
        lines=tuple(_line(number, line) for number, line in enumerate(lines or (), start=1)),
        note=order.text("note", limit=1000),
        currency=order.text("currencycode", "currency", limit=10),
    )
    return Shown(snapshot, _kept(raw), digest)


def _line(number: int, raw: Any) -> Line:
    line = _Fields(raw, f"LineItems[{number - 1}]")
    claims = _claims(line.get("claimdata"))
    return Line(
        number=number,
        product_id=line.needed(line.text("productid"), "ProductId"),
        value_minor=line.needed(line.minor("value"), "Value"),
        quantity=line.needed(line.whole("quantity"), "Quantity"),
        status=canonical(line.text("status", limit=60) or "Pending", LINE_WORDS),
        claims=len(claims),
        provider_line_id=line.text("id"),
        external_id=line.text("externalid"),
        recipient=_recipient(line),
        cost_minor=line.minor("cost"),
        claim_digest=hashlib.sha256(json.dumps(claims).encode()).hexdigest()[:16] if claims else None,
    )


def _claims(raw: Any) -> list[str]:
    """What the claim entries hold, sorted; entries that hold nothing are left out."""
    entries = raw if isinstance(raw, list) else [raw]
    return sorted(filter(None, (_claim(entry) for entry in entries)))


def _claim(raw: Any) -> str | None:
    if not isinstance(raw, Mapping):
        return None
    entry = _Fields(raw, "ClaimData")
    codes = entry.get("codes")
    held = [code for code in codes if _holds(code)] if isinstance(codes, list) else []
    link, characters = entry.get("claimlink"), entry.get("barcodechars")
    if not (link or characters or held):
        return None
    return json.dumps([link, entry.get("claimlinkchallengeanswer"), characters, held], sort_keys=True)


def _holds(code: Any) -> bool:
    return bool(_Fields(code, "Codes").get("value")) if isinstance(code, Mapping) else bool(code)


def _recipient(line: _Fields) -> str | None:
    digital, physical = line.get("digitaldeliveryaddress"), line.get("physicaldeliveryaddress")
    if isinstance(digital, Mapping) and (found := _Fields(digital).text("email", "sms")):
        return found
    return _Fields(physical).text("name") if isinstance(physical, Mapping) else None


def _kept(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        return {storable(name): _kept(value) for name, value in raw.items() if name.casefold() not in _NEVER_KEPT}
    if isinstance(raw, list):
        return [_kept(value) for value in raw]
    return storable(raw) if isinstance(raw, str) else raw


def read_page(raw: Any) -> Page:
    """The envelope of a list.

    Raises:
        UnreadableAnswer: it is no list in its envelope.
    """
    envelope = _Fields(raw)
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
        return _id(_Fields(raw))
    except UnreadableAnswer:
        return digest_of(raw)


def read_token(raw: Any, now: datetime) -> Token:
    """The token, good until its own `exp`, else for ExpiresIn seconds, else for five minutes.

    Raises:
        UnreadableAnswer: there is no token that could be put into a header.
    """
    fields = _Fields(raw)
    value = fields.get("value")
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,16384}", value.strip()):
        raise UnreadableAnswer("Value is not a token")
    seconds = _jwt_seconds(value, now)
    try:
        seconds = seconds or int(_decimal(fields.get("expiresin")))
    except ValueError:
        seconds = 0
    longest = int(LONGEST_TOKEN_LIFE.total_seconds())
    life = timedelta(seconds=min(seconds, longest)) if seconds > 0 else UNSURE_TOKEN_LIFE
    return Token(value.strip(), now + life)


def _jwt_seconds(value: str, now: datetime) -> int:
    """How long the token says it lives, 0 where it does not say or says it is over."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(value.split(".")[1] + "=="))
        return max(int(_decimal(claims["exp"]) - Decimal(now.timestamp())), 0)
    except (IndexError, KeyError, TypeError, ValueError, RecursionError, binascii.Error):
        return 0


def read_conflict(raw: Any) -> list[str]:
    """The ids that a 409 names, perhaps none. Raises nothing."""
    try:
        fields = _Fields(raw)
        named = fields.get("previousorderids", "previousorderid", "orderid", "id")
        entries = named if isinstance(named, list) else [named]
        found = (_text(entry, 200) for entry in entries[:50])
        return list(dict.fromkeys(entry for entry in found if entry))
    except (UnreadableAnswer, ValueError):
        return []


def read_funds(raw: Any) -> tuple[int | None, int | None]:
    """What a 422 says is available and what the order would cost, in minor units. Raises nothing."""
    try:
        fields = _Fields(raw)
        return fields.minor("availablebalance"), fields.minor("ordercost")
    except UnreadableAnswer:
        return None, None


def read_problems(raw: Any) -> list[Problem]:
    """What a 400 or 413 says is wrong, with everything that looks like a recipient masked. Raises nothing."""
    try:
        fields = _Fields(raw)
        errors = fields.get("errors")
        if isinstance(errors, Mapping):
            errors = [{"Property": name, "Errors": told} for name, told in errors.items()]
        found = [problem for entry in _listed(errors)[:50] for problem in _problem(entry)]
        return found or [Problem("", _said(text)) for text in _listed(fields.get("message", "title"))]
    except UnreadableAnswer:
        return []


def _problem(entry: Any) -> list[Problem]:
    if not isinstance(entry, Mapping):
        return [Problem("", _said(entry))] if isinstance(entry, str) else []
    fields = _Fields(entry, "Errors")
    told = [text for text in _listed(fields.get("errors", "message")) if isinstance(text, str)]
    return [Problem(_said(fields.get("property") or ""), _said(text)) for text in told[:10]]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _said(text: Any) -> str:
    return _PHONE.sub("***", scrub(str(text) if isinstance(text, str | int | float) else ""))[:300]


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
            found.append(read(_Fields(item)))
        except (UnreadableAnswer, ValueError):
            continue
    return found


def _id(item: _Fields) -> str:
    return item.needed(item.text("id"), "Id")


def _product(item: _Fields) -> dict[str, Any]:
    cost = _optional(item.get("cost"))
    shipping = _optional(_optional(item.get("meta")).get("shippingconfiguration"))
    delivery = [word for word in _listed(item.get("availabledeliverytypes")) if isinstance(word, str)]
    return {
        "id": _id(item),
        "name": item.text("name") or _id(item),
        "type": canonical(item.text("type") or "Digital", ("Digital", "Physical")),
        "denominations": [_minor(value) for value in _listed(item.get("denominations"))],
        "denomination_type": canonical(
            item.text("denominationtype") or "Fixed", ("Fixed", "Variable", "VariableNoCents")
        ),
        "delivery_types": [canonical(word, OrderType) for word in delivery],
        "fee_minor": cost.minor("fee") or 0,
        "discount_percent": f"{_decimal(cost.get('discountpercentage') or 0):f}",
        "currency": item.text("currencycode", limit=10),
        "has_required_carriers": str(shipping.get("hasrequiredcardcarriers")).casefold() == "true",
    }


def _optional(raw: Any) -> _Fields:
    return _Fields(raw if isinstance(raw, Mapping) else {})


def _method(item: _Fields) -> dict[str, Any]:
    words = {"carrier": item.text("carrier"), "description": item.text("description", limit=500)}
    return {"id": _id(item), **words, "cost_minor": item.minor("cost")}


def read_balance(raw: Any) -> dict[str, Any]:
    """The account's balance in minor units.

    Raises:
        UnreadableAnswer: it says neither what is available nor what is pending.
    """
    fields = _Fields(raw)
    available, pending = fields.minor("available"), fields.minor("pending")
    if available is None and pending is None:
        raise UnreadableAnswer("Available is missing")
    return {"available_minor": available, "pending_minor": pending, "offered": True}


def read_callback(body: bytes) -> Callback:
    """What a webhook call claims.

    Raises:
        CallbackRefused: too large, no JSON object, another action, or no order named. Nothing else is ever raised.
    """
    if len(body) > MAX_CALLBACK:
        raise CallbackRefused("the body is too large")
    try:
        fields = _Fields(parse(body), "the body")
        action, stated = fields.text("action"), fields.text("timestamp")
        provider_id, po_number = fields.text("orderid"), fields.text("ponumber")
    except UnreadableAnswer as exc:
        raise CallbackRefused(str(exc)) from exc
    if action is None or action.casefold() != "fulfillmentcomplete":
        raise CallbackRefused("the action is not FulfillmentComplete")
    if provider_id is None and po_number is None:
        raise CallbackRefused("the body names no order")
    # Without an OrderId the PONumber has to tell two orders of the same second apart.
    identity = [action.casefold(), provider_id, stated] + ([po_number] if provider_id is None else [])
    return Callback("FulfillmentComplete", provider_id, po_number, _time_or_none(stated), digest_of(identity))


# Requests. Everything wrong with one is told at once, so what is wrong is collected and not raised.

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
        elif len(text := _written(value)) > limit:
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
            number = None if value is None else _whole(value)
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
            cents = _decimal(value) * 100
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


# What people may see.


def mask_recipient(text: str) -> str:
    """A recipient as people may see it: j***@example.com, +1***89, or a first letter."""
    text = storable(text.strip())
    local, at, domain = text.rpartition("@")
    if at and domain and not re.search(r"\s", text):
        return f"{local[:1]}***@{domain[:100]}"
    if re.fullmatch(r"\+?[\d\s().-]{7,}", text):
        return f"{text[:2]}***{text[-2:]}"
    return f"{text[:1]}***"


def scrub(text: str) -> str:
    """Free text with e-mail addresses, telephone numbers with a +, links and tokens masked; cut to 500 characters."""
    text = _ADDRESS.sub(r"\1***", storable(text[:4000]))
    text = _EMAIL.sub(lambda found: mask_recipient(found.group()), _JWT.sub("***", text))
    return re.sub(r"\+\d[\d ().-]{5,30}\d", lambda found: mask_recipient(found.group()), text)[:500]


def masked(raw: Any, limit: int) -> str:
    """The JSON as people may see it: recipients, claim data, tokens and webhook addresses masked; cut to `limit`."""
    text = json.dumps(_masked(raw, depth=0), ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: max(limit - 1, 0)]}…"


def _masked(value: Any, *, depth: int, personal: bool = False) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if depth > 12:
        return "…"
    if isinstance(value, Mapping):
        return {
            scrub(str(name))[:100]: _masked_field(str(name), entry, depth, personal) for name, entry in value.items()
        }
    if isinstance(value, list | tuple):
        shown = [_masked(entry, depth=depth + 1, personal=personal) for entry in value[:20]]
        return shown if len(value) <= 20 else [*shown, f"… and {len(value) - 20} more"]
    if isinstance(value, str):
        return mask_recipient(value) if personal else scrub(value)
    return "***" if personal or abs(value) >= 10**30 else value


def _masked_field(name: str, value: Any, depth: int, personal: bool) -> Any:
    folded = name.casefold()
    if folded in _SECRETS or (folded == "value" and isinstance(value, str) and len(value) > 20):
        return None if value is None else "***"
    # What the catalogue's ids say of an address names nobody.
    told = folded in {"shippingmethodid", "carrierid", "country", "deliverydate"}
    return _masked(value, depth=depth + 1, personal=(personal or folded in _PEOPLE) and not told)
