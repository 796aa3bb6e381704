"""Stand-ins for what lies outside: a provider in memory, a clock moved by hand, and makers of what they show."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

from tracking.errors import DuplicateOrder, NotFound
from tracking.orders.model import OrderRequest
from tracking.provider.client import Answer, Client, OrdersPage
from tracking.provider.responses import ParsedOrder, read_order
from tracking.provider.webhook_bodies import WebhookCall, read_webhook_call
from tracking.submissions.requests import read_request

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **length: float) -> datetime:
        self.now += timedelta(**length)
        return self.now


def line(product: str = "CVS", value: float = 10, quantity: int = 1, **more: Any) -> dict[str, Any]:
    """A line item as it is asked for."""
    return {"ProductId": product, "Value": value, "Quantity": quantity} | more


def request(po_number: str = "demo-0001", *lines: Mapping[str, Any], kind: str = "Links") -> OrderRequest:
    """An order request as `submissions` makes it; one card of CVS over 10 where no lines are named."""
    document = {"Type": kind, "PONumber": po_number, "LineItems": list(lines or (line(),))}
    return read_request(document)


def order_json(
    provider_id: str = "BLK-1",
    po_number: str | None = "demo-0001",
    status: str = "Pending",
    *lines: Mapping[str, Any],
    kind: str | None = "Links",
    created_at: datetime = NOW,
    claims: int | None = None,
    line_status: str | None = None,
) -> dict[str, Any]:
    """An order as the provider shows it. `claims` per line: by default all of them once the line is Completed."""
    shown = []
    for number, asked in enumerate(lines or (line(),), start=1):
        said = line_status or ("Completed" if status == "Completed" else "Pending")
        count = (asked["Quantity"] if said == "Completed" else 0) if claims is None else claims
        entries = [{"ClaimLink": f"https://claim.example/{provider_id}/{number}/{unit}"} for unit in range(count)]
        shown.append({"Id": f"{provider_id}-{number}", "Status": said, "ClaimData": entries or None} | dict(asked))
    order: dict[str, Any] = {
        "Id": provider_id,
        "Timestamp": created_at.isoformat(),
        "Status": status,
        "Type": kind,
        "PONumber": po_number,
        "LineItems": shown,
    }
    return order


def shown(*args: Any, **kwargs: Any) -> ParsedOrder:
    """`order_json`, read."""
    return read_order(order_json(*args, **kwargs))


def callback(po_number: str | None = "demo-0001", provider_id: str | None = "BLK-1", stamp: str = "03") -> WebhookCall:
    """A webhook's claim; the same for the same arguments."""
    return read_webhook_call(callback_body(po_number, provider_id, stamp))


def callback_body(po_number: str | None = "demo-0001", provider_id: str | None = "BLK-1", stamp: str = "03") -> bytes:
    named = {"OrderId": provider_id, "PONumber": po_number}
    told = ", ".join(f'"{name}": "{value}"' for name, value in named.items() if value is not None)
    return f'{{"Action": "FulfillmentComplete", {told}, "Timestamp": "11/23/2026 {stamp}:09:00 AM"}}'.encode()


class FakeProvider(Client):
    """The provider in memory, with the methods of the client.

    `script[method]` holds what the next calls of the method raise; None and an empty script: it answers. `placing` is
    called inside `place` before anything else, `losing` makes the next POSTs carry out and then raise. Without
    `knows_duplicates` a PONumber sent again is a second order.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kept: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, Any]] = []
        self.script: dict[str, deque[Exception | None]] = {}
        self.losing: deque[Exception] = deque()
        self.placing: Callable[[Mapping[str, Any]], None] = lambda _document: None
        self.status_after_placing = "Pending"
        self.newest_first = False
        self.knows_duplicates = True
        self.page_limit = 50
        self.inserting: Callable[[int], None] = lambda _page: None
        self.balances: dict[str, Any] | None = {"available_minor": 100_00, "pending_minor": 0, "offered": True}

    def available(self) -> int:
        """There is always a slot: tests of the rate limit are elsewhere."""
        return 100

    def will(self, method: str, *outcomes: Exception | None) -> None:
        """What the next calls of the method come to."""
        self.script.setdefault(method, deque()).extend(outcomes)

    def show(self, *orders: Mapping[str, Any]) -> None:
        """The provider knows these orders from now on, in place of what it knew under their ids."""
        for order in orders:
            self.kept[order["Id"]] = deepcopy(dict(order))

    def called(self, method: str) -> list[Any]:
        """What the method was called with, call by call."""
        return [argument for name, argument in self.calls if name == method]

    def _begin(self, method: str, argument: Any) -> None:
        self.calls.append((method, argument))
        outcomes = self.script.get(method)
        if outcomes and (outcome := outcomes.popleft()) is not None:
            raise outcome

    def _answered(self, raw: Mapping[str, Any], last_digest: str | None = None) -> Answer:
        read = read_order(raw)
        same = read.digest == last_digest
        return Answer(None if same else read, read.digest, self.clock(), self.clock())

    async def place(self, document: Mapping[str, Any]) -> Answer:
        self.placing(document)
        self._begin("place", dict(document))
        po_number = document["PONumber"]
        if self.knows_duplicates and (
            taken := [order["Id"] for order in self.kept.values() if order["PONumber"] == po_number]
        ):
            raise DuplicateOrder(taken)
        provider_id = f"BLK-{len(self.kept) + 1}"
        lines: Sequence[Mapping[str, Any]] = document["LineItems"]
        kind, said = document["Type"], self.status_after_placing
        self.show(order_json(provider_id, po_number, said, *lines, kind=kind, created_at=self.clock()))
        if self.losing:
            raise self.losing.popleft()
        return self._answered(self.kept[provider_id])

    async def order(self, provider_id: str, *, last_digest: str | None = None) -> Answer:
        self._begin("order", provider_id)
        if provider_id not in self.kept:
            raise NotFound("the provider does not know it", status=404)
        return self._answered(self.kept[provider_id], last_digest)

    async def orders(
        self,
        *,
        page: int,
        size: int = 50,
        start: datetime | None = None,
        end: datetime | None = None,
        po_number: str | None = None,
    ) -> OrdersPage:
        self._begin("orders", {"page": page, "size": size, "start": start, "end": end, "po_number": po_number})
        self.inserting(page)
        size = min(size, self.page_limit)
        found = [read for read in map(read_order, self.kept.values()) if self._matches(read, start, end, po_number)]
        found.sort(key=lambda read: read.snapshot.created_at or NOW, reverse=self.newest_first)
        part = found[(page - 1) * size : page * size]
        last = len(part) < size
        return OrdersPage(tuple(part), 0, last, self.clock(), self.clock())

    @staticmethod
    def _matches(read: ParsedOrder, start: datetime | None, end: datetime | None, po_number: str | None) -> bool:
        created, named = read.snapshot.created_at or NOW, read.snapshot.po_number or ""
        within = (start is None or start <= created) and (end is None or created <= end)
        return within and (po_number is None or po_number in named)

    async def products(self) -> list[dict[str, Any]]:
        self._begin("products", None)
        return [{"id": "CVS"}]

    async def shipping_methods(self) -> list[dict[str, Any]]:
        self._begin("shipping_methods", None)
        return []

    async def carriers(self) -> list[dict[str, Any]]:
        self._begin("carriers", None)
        return []

    async def balance(self) -> dict[str, Any] | None:
        self._begin("balance", None)
        return self.balances

    def pause(self, seconds: float) -> None:
        self._begin("pause", seconds)

    def status(self) -> dict[str, Any]:
        return {"rate": 5}

    async def aclose(self) -> None:
        self._begin("aclose", None)
