"""The provider as it truly is: orders, their courses, what each call shows of them. Knows nothing of the console.

All that may differ between providers (case of names, forms of times, order of lists) is drawn once for a history; what
goes wrong with single calls is `mishaps`' part.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import unquote

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DONE_WORD = {"Links": "Completed", "DigitalDelivery": "Sent", "PhysicalShipment": "Shipped"}
EPSILON = 1e-6
ODD_FIELDS_OF_LINE = {"Cost": {"Amount": "?"}, "Culture": 5, "Theme": [[]], "Personalization": float("inf")}


class Stage(NamedTuple):
    """From `after` seconds on the order shows this status, with none, some or all of its claim data.

    `line_word` is what its lines show in place of the word that is due.
    """

    after: float
    status: str
    claims: str = "none"
    line_word: str | None = None


class Reply(NamedTuple):
    """An answer on its way. `proves` are the orders it shows finished, whole and unaltered.

    `by_other`: something between the console and the provider gave it, and it decides nothing.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    proves: tuple[str, ...] = ()
    by_other: bool = False


@dataclass(slots=True)
class Placed:
    """One order as the provider has it; times are true seconds."""

    id: str
    po_number: str
    kind: str
    lines: Sequence[Mapping[str, Any]]
    placed_at: float
    visible_at: float
    stages: Sequence[Stage]
    rotates: bool = False
    address: str | None = None
    source: str = "api"
    reads: int = 0

    @property
    def done_at(self) -> float | None:
        """When it first was complete or cancelled, claim data included; None: never."""
        return next((self.placed_at + stage.after for stage in self.stages if ends(stage)), None)

    @property
    def unproven_at(self) -> float | None:
        """When it was completed without ever showing all that proves it; None where it is proven or never completed."""
        last = self.stages[-1]
        return self.placed_at + last.after if last.status == "Completed" and not ends(last) else None

    @property
    def end(self) -> str | None:
        """How it ends, None for never."""
        return next((stage.status for stage in self.stages if ends(stage)), None)

    def stage(self, now: float) -> int:
        """The index of the stage it is in."""
        age = now - self.placed_at + EPSILON
        return max(number for number, stage in enumerate(self.stages) if stage.after <= age or number == 0)


def ends(stage: Stage) -> bool:
    """Whether nobody waits for the order any more from this stage on."""
    proven = stage.claims == "all" and stage.line_word is None
    return stage.status == "Cancelled" or (stage.status == "Completed" and proven)


@dataclass(slots=True)
class Manners:
    """How this provider writes. `echo` names how what was sent comes back otherwise, harmlessly."""

    camel: bool = False
    time_form: str = "%Y-%m-%dT%H:%M:%S.%f"
    numbers_as_text: bool = False
    with_cost: bool = True
    extra_fields: bool = False
    odd_fields: bool = False
    newest_first: bool = False
    lists_show_claims: bool = True
    conflict_key: str = "PreviousOrderIds"
    minutes_of_token: bool = False
    funds_before_duplicates: bool = False
    first_seen_after: float = 0.0
    echo: str = "exact"


ECHOES = (
    "no external ids",
    "external ids in capitals",
    "other product case",
    "no type",
    "split",
    "other case",
    "answers in other case",
)


@dataclass
class Marketplace:
    """Keeps the orders and answers calls, honestly.

    `course` draws what becomes of a new order, `lag` how late it is seen; `announced` hears of each that was placed.
    """

    manners: Manners
    course: Callable[[str, str], tuple[Sequence[Stage], bool]]
    announced: Callable[[Placed], None]
    lag: Callable[[str], float]
    orders: dict[str, Placed] = field(default_factory=dict)
    by_po: dict[str, list[Placed]] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)
    posts: dict[str, int] = field(default_factory=dict)
    _rendered: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def place(self, document: Mapping[str, Any], now: float, source: str = "api") -> Placed:
        """A new order; whether the PONumber is free was asked before."""
        po_number, kind = str(document["PONumber"]), str(document["Type"])
        stages, rotates = self.course(po_number, kind)
        address = (document.get("WebhookSettings") or {}).get("FulfillmentComplete")
        number = f"BLK-{len(self.orders) + 1:05d}"
        seen = now + self.manners.first_seen_after * self.lag(po_number)
        placed = Placed(
            number, po_number, kind, document["LineItems"], now, seen, stages, rotates, address=address, source=source
        )
        self.orders[number] = placed
        self.by_po.setdefault(po_number, []).append(placed)
        self.announced(placed)
        return placed

    # Calls

    def answer(self, method: str, path: str, params: Mapping[str, str], body: bytes, token: str, now: float) -> Reply:
        """What it answers when nothing goes wrong."""
        if path == "/v1/Tokens":
            return self._token(now)
        if self.tokens.get(token, -1.0) < now:
            return Reply(401, b"")
        if method == "POST":
            return self._post(json.loads(body), now)
        if path == "/v1/Orders":
            return self._list(params, now)
        placed = self.by_id(unquote(path.removeprefix("/v1/Orders/")))
        if placed is None or placed.visible_at > now + EPSILON:
            return Reply(404, b"")
        placed.reads += 1
        proves = (placed.id,) if ends(placed.stages[placed.stage(now)]) else ()
        return Reply(200, self.shown(placed, now), proves=proves)

    def by_id(self, provider_id: str) -> Placed | None:
        """The order with this id, in whatever case."""
        return self.orders.get(provider_id.upper())

    def _token(self, now: float) -> Reply:
        value = f"token-{len(self.tokens)}"
        self.tokens[value] = now + 3600
        lives = 60 if self.manners.minutes_of_token else 3600
        return Reply(200, json.dumps({"Value": value, "ExpiresIn": lives}).encode())

    def _post(self, document: Mapping[str, Any], now: float) -> Reply:
        po_number = str(document["PONumber"])
        if taken := self.by_po.get(po_number):
            return self.conflict(po_number, [placed.id for placed in taken])
        placed = self.place(document, now)
        body = self.shown(placed, now)
        if self.manners.echo == "answers in other case":
            body = body.replace(placed.id.encode(), placed.id.lower().encode())
        return Reply(201, body)

    def conflict(self, po_number: str, ids: Sequence[str]) -> Reply:
        """409 as this provider writes it."""
        key = self.manners.conflict_key
        told: dict[str, Any] = {"PONumber": po_number}
        if key == "PreviousOrderIds":
            told[key] = list(ids)
        elif key:
            told[key] = ids[0]
        return Reply(409, json.dumps(told).encode())

    def listed(self, params: Mapping[str, str], now: float) -> list[Placed]:
        """The orders that a list with these filters holds, in its order."""
        first, last = (_seconds(params.get(name)) for name in ("startDate", "endDate"))
        po_number = params.get("poNumber")
        found = [
            placed
            for placed in self.orders.values()
            if placed.visible_at <= now + EPSILON
            and (first is None or placed.placed_at >= first)
            and (last is None or placed.placed_at <= last)
            and (po_number is None or po_number in placed.po_number)
        ]
        return found[::-1] if self.manners.newest_first else found

    def _list(self, params: Mapping[str, str], now: float) -> Reply:
        page, size = int(params["pageIndex"]), int(params["pageSize"])
        found = self.listed(params, now)
        part = found[(page - 1) * size : page * size]
        with_claims = self.manners.lists_show_claims
        items = b",".join(self.shown(placed, now, claims=with_claims) for placed in part)
        proves = [
            placed.id
            for placed in part
            if ends(stage := placed.stages[placed.stage(now)])
            and (with_claims or placed.kind != "Links" or stage.status == "Cancelled")
        ]
        head = f'"Page":{page},"PageSize":{size},"TotalCount":{len(found)}'.encode()
        if self.manners.odd_fields:
            head = b'"Page":"first","PageSize":{},"TotalCount":[NaN]'
        return Reply(200, b'{"Data":[' + items + b"]," + head + b"}", proves=tuple(proves))

    # How an order looks

    def shown(self, placed: Placed, now: float, *, claims: bool = True) -> bytes:
        """The order's JSON."""
        number = placed.stage(now)
        rotation = placed.reads if placed.rotates else 0
        key = (placed.id, number, claims, rotation)
        if key not in self._rendered:
            self._rendered[key] = json.dumps(self.document(placed, placed.stages[number], claims, rotation)).encode()
        found: bytes = self._rendered[key]
        return found

    def document(self, placed: Placed, stage: Stage, claims: bool, rotation: int) -> dict[str, Any]:
        """The order as this provider writes it."""
        manners, as_ours = self.manners, placed.source == "api"
        lines = [
            part | (ODD_FIELDS_OF_LINE if manners.odd_fields else {})
            for number, line in enumerate(placed.lines, 1)
            for part in self._parts(self._line(placed, number, line, stage, claims, rotation))
        ]
        created = START + timedelta(seconds=placed.placed_at)
        told: dict[str, Any] = {
            "Id": placed.id,
            "Timestamp": created.strftime(manners.time_form),
            "Status": stage.status,
            "Type": None if as_ours and manners.echo == "no type" else placed.kind,
            "PONumber": placed.po_number.lower() if as_ours and manners.echo == "other case" else placed.po_number,
            "Note": None,
            "LineItems": lines,
        }
        if manners.extra_fields:
            told["Region"] = {"Name": "North", "Tags": ["a", "b"]}
        if manners.odd_fields:
            told |= {"Note": [], "CurrencyCode": {"Code": "USD"}, "Personalization": True, "WebhookSettings": "x"}
        return _camel(told) if manners.camel else told

    def _parts(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        """The line as it is echoed: one, or one for each of its units."""
        match self.manners.echo:
            case "no external ids":
                return [line | {"ExternalId": None}]
            case "external ids in capitals":
                return [line | {"ExternalId": str(line["ExternalId"]).upper()}]
            case "other product case":
                return [line | {"ProductId": str(line["ProductId"]).lower()}]
            case "split" if int(line["Quantity"]) > 1:
                claims = line["ClaimData"] or []
                cost = None if line["Cost"] is None else float(line["Cost"]) / int(line["Quantity"])
                return [
                    line
                    | {"Id": f"{line['Id']}-{unit}", "Quantity": 1, "ClaimData": claims[unit : unit + 1] or None}
                    | {"Cost": cost}
                    for unit in range(int(line["Quantity"]))
                ]
        return [line]

    def _line(
        self, placed: Placed, number: int, line: Mapping[str, Any], stage: Stage, claims: bool, rotation: int
    ) -> dict[str, Any]:
        quantity = int(line["Quantity"])
        count = {"none": 0, "some": quantity - 1, "all": quantity}[stage.claims] if placed.kind == "Links" else 0
        entries = [
            {"Id": f"C-{number}-{unit}", "ClaimLink": f"https://claim.example/{placed.id}/{number}/{unit}/{rotation}"}
            for unit in range(count if claims else 0)
        ]
        fulfilled = (stage.line_word or DONE_WORD[placed.kind]) if stage.status == "Completed" else "Pending"
        told = dict(line) | {
            "Id": f"{placed.id}-{number}",
            "Status": "Cancelled" if stage.status == "Cancelled" else fulfilled,
            "ClaimData": entries or None,
            "Cost": line["Value"] if self.manners.with_cost else None,
        }
        if self.manners.numbers_as_text:
            told |= {"Value": str(line["Value"]), "Quantity": str(quantity)}
        return told


def _camel(raw: Any) -> Any:
    if isinstance(raw, Mapping):
        return {name[:1].lower() + name[1:]: _camel(value) for name, value in raw.items()}
    return [_camel(value) for value in raw] if isinstance(raw, list) else raw


def _seconds(text: str | None) -> float | None:
    return (datetime.fromisoformat(text) - START).total_seconds() if text else None
