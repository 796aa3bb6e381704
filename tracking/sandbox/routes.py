"""HTTP endpoints: the provider's, as its contract describes them, and the sandbox's own for whoever operates it.

Owns paths, paging, filters and statuses. What an order is and becomes is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tracking.sandbox.catalog import BRANDINGS, CARRIERS, PRODUCTS, SHIPPING_METHODS
from tracking.sandbox.database import Insufficient, Order, order_number
from tracking.sandbox.faults import NOTE_WORDS, Switches, failing_posts
from tracking.sandbox.order_validation import Complaints, Intake, parse, parse_time, read_order
from tracking.sandbox.order_views import order_document, truth_document
from tracking.sandbox.provider import Conflict, World
from tracking.sandbox.request_checks import Gate, Handler, Tokens
from tracking.sandbox.responses import Disconnect, answer, failure, spoiled
from tracking.sandbox.scenarios import SCENARIOS
from tracking.sandbox.traffic import Neighbours

_T = TypeVar("_T")
_HEAVY_BYTES = 65_536
_HEAVY_UNITS = 300
_LINE_FILTERS: Mapping[str, str] = {
    "productid": "product_id",
    "recipientname": "name",
    "recipientemail": "email",
    "recipientsms": "sms",
}


@dataclass(frozen=True)
class _Received:
    """A valid POST: the order, what holds for it, how often its PONumber came."""

    intake: Intake
    own: Switches
    attempt: int
    heavy: bool

    def failure(self, seed: int) -> str:
        """What goes wrong with this very POST."""
        return self.own.post_failure if self.attempt <= failing_posts(seed, self.intake.po_number) else "none"


class Routes:
    """Every endpoint, over one world."""

    def __init__(self, world: World, tokens: Tokens, neighbours: Neighbours) -> None:
        self._world = world
        self._tokens = tokens
        self._neighbours = neighbours

    def all(self, gate: Gate) -> list[Route]:
        """The routing table, every path behind the gate."""
        guarded: Sequence[tuple[str, Handler, str]] = (
            ("/v1/Products", self._products, "GET"),
            ("/v1/Products/{id}", self._product, "GET"),
            ("/v1/ShippingMethods", self._shipping_methods, "GET"),
            ("/v1/Carriers", self._carriers, "GET"),
            ("/v1/Brandings", self._brandings, "GET"),
            ("/v1/AccountBalance", self._balance, "GET"),
            ("/v1/Status", self._status, "GET"),
            ("/v1/Orders", self._place_order, "POST"),
            ("/v1/Orders", self._list_orders, "GET"),
            ("/v1/Orders/{id}", self._get_order, "GET"),
        )
        return [
            Route("/v1/Tokens", gate.guard(self._issue_token, token=False), methods=["POST"]),
            *(Route(path, gate.guard(handler), methods=[method]) for path, handler, method in guarded),
        ]

    @property
    def _switches(self) -> Switches:
        return self._world.switches

    async def _issue_token(self, request: Request) -> Response:
        if not self._tokens.knows(request.headers.get("Email", ""), request.headers.get("AccessToken", "")):
            return failure(401, self._switches)
        return answer(self._tokens.issue(self._world.clock(), self._switches), self._switches)

    async def _products(self, request: Request) -> Response:
        asked = query(request)
        name, description = asked.get("productname", "").lower(), asked.get("productdescription", "").lower()
        kind = asked.get("producttype", "").lower()
        shown = [product.document() for product in PRODUCTS.values() if kind in {"", product.kind.lower()}]
        found = [
            product
            for product in shown
            if name in product["Name"].lower()
            and description in (product["ShortDescription"] + product["LongDescription"]).lower()
        ]
        return self._page_of(found, request, default=25, most=500)

    async def _product(self, request: Request) -> Response:
        product = PRODUCTS.get(request.path_params["id"])
        return answer(product.document(), self._switches) if product else failure(404, self._switches)

    async def _shipping_methods(self, request: Request) -> Response:
        return self._page_of(SHIPPING_METHODS, request)

    async def _carriers(self, request: Request) -> Response:
        return self._optional(self._page_of(CARRIERS, request))

    async def _brandings(self, request: Request) -> Response:
        return self._optional(self._page_of(BRANDINGS, request))

    async def _balance(self, _request: Request) -> Response:
        ledger = self._world.ledger
        held, left = ledger.open_cents(self._world.clock()), ledger.balance_cents()
        return self._optional(answer({"Pending": held / 100, "Available": left / 100}, self._switches))

    async def _status(self, _request: Request) -> Response:
        return self._optional(answer({"Status": "OK"}, self._switches))

    def _optional(self, response: Response) -> Response:
        return response if self._switches.balance_available else failure(404, self._switches)

    def _page_of(
        self, things: Sequence[Mapping[str, Any]], request: Request, default: int = 5, most: int = 50
    ) -> Response:
        paging = _paging(query(request), default, most)
        if isinstance(paging, Complaints):
            return answer(paging.document(), self._switches, 400)
        index, size = paging
        return self._envelope(list(things[(index - 1) * size : index * size]), index, size, len(things))

    def _envelope(self, page: list[Any], index: int, size: int, total: int) -> Response:
        totals = {"Page": index, "PageSize": size, "TotalCount": total} if self._switches.list_totals else {}
        return answer({"Data": page, **totals}, self._switches)

    async def _place_order(self, request: Request) -> Response:
        raw = await request.body()
        received = await _off_loop(len(raw) > _HEAVY_BYTES, lambda: self._receive(raw))
        if isinstance(received, Response):
            return received
        kind, _, when = received.failure(self._world.seed).partition("-")
        if when == "before" and kind != "slow":
            return self._failed(kind)
        if when == "before":
            await self._world.sleep(received.own.slow_seconds / self._world.speed)
        response = await _off_loop(received.heavy, lambda: self._place(received))
        if when != "after" or response.status_code not in {201, 409}:
            return response
        if kind == "slow":
            await self._world.sleep(received.own.slow_seconds / self._world.speed)
            return response
        return spoiled(response, "cut") if kind == "cut" else self._failed(kind)

    def _failed(self, kind: str) -> Response:
        return Disconnect() if kind == "disconnect" else failure(int(kind), self._switches)

    def _receive(self, raw: bytes) -> _Received | Response:
        body = parse(raw)
        if body is None:
            complaints = Complaints({"": ["The body is not a JSON object."]})
            return answer(complaints.document(), self._switches, 400)
        po_number, items, switches = body.get("PONumber"), body.get("LineItems"), self._switches
        attempt = self._world.ledger.count_post(po_number) if isinstance(po_number, str) else 0
        too_long = isinstance(items, list) and switches.max_lines is not None and len(items) > switches.max_lines
        if too_long and switches.max_lines_status == 413:
            return failure(413, switches)
        intake = read_order(body, switches)
        if isinstance(intake, Complaints):
            return answer(intake.document(), switches, 400)
        return _Received(intake, self._world.for_order(intake), attempt, len(raw) > _HEAVY_BYTES)

    def _place(self, received: _Received) -> Response:
        intake, now = received.intake, self._world.clock()
        placed = self._world.place(intake, received.own, attempt=received.attempt, now=now)
        if isinstance(placed, Conflict):
            return self._conflict(placed, intake, received.own)
        if isinstance(placed, Insufficient):
            money = {"AvailableBalance": placed.available_cents / 100, "OrderCost": intake.cost_cents / 100}
            return answer(money, self._switches, 422)
        view = self._world.view(placed, now, reading=False)
        lines = self._world.lines([placed])[placed.number]
        return answer(order_document(placed, lines, view), self._switches, 201)

    def _conflict(self, conflict: Conflict, intake: Intake, own: Switches) -> Response:
        if own.conflict_compares == "strict" and not conflict.same:
            complaints = Complaints({"PONumber": ["The PONumber was used for other contents."]})
            return answer(complaints.document(), self._switches, 400)
        ids = [conflict.order.id] if conflict.order else []
        body: dict[str, Any] = {"PONumber": intake.po_number}
        match own.conflict_shape:
            case "empty":
                return Response(status_code=409)
            case "single":
                body["OrderId"] = next(iter(ids), None)
            case "id":
                body["Id"] = next(iter(ids), None)
            case "several":
                body["PreviousOrderIds"] = [*ids, "BLK-999999999"]
            case "list":
                body["PreviousOrderIds"] = ids
        return answer(body, self._switches, 409)

    async def _get_order(self, request: Request) -> Response:
        now = self._world.clock()
        order = self._world.ledger.order(order_number(request.path_params["id"]))
        if order is None or not self._world.is_visible(order, now):
            return failure(404, self._switches)
        return await _off_loop(order.units > _HEAVY_UNITS, lambda: self._shown(order, now))

    def _shown(self, order: Order, now: float) -> Response:
        lines = self._world.lines([order])[order.number]
        return answer(order_document(order, lines, self._world.view(order, now, reading=True)), self._switches)

    async def _list_orders(self, request: Request) -> Response:
        asked, now = query(request), self._world.clock()
        paging = _paging(asked, 5, 50)
        complaints = paging if isinstance(paging, Complaints) else Complaints()
        conditions = self._conditions(asked, now, complaints)
        if isinstance(paging, Complaints) or complaints.texts:
            return answer(complaints.document(), self._switches, 400)
        index, size = paging
        way = "DESC" if self._switches.list_order == "newest" else "ASC"
        order_by = f"created_at {way}, number {way}"
        orders = self._world.ledger.find(conditions, order_by, size, (index - 1) * size)
        total = self._world.ledger.count(conditions)
        heavy = sum(order.units for order in orders) > _HEAVY_UNITS
        page = await _off_loop(heavy, lambda: self._list_items(orders, now))
        if self._switches.insert_between_pages and index * size < total:
            self._neighbours.place(1, now)
        return await _off_loop(heavy, lambda: self._envelope(page, index, size, total))

    def _list_items(self, orders: Sequence[Order], now: float) -> list[dict[str, Any]]:
        lines, claims = self._world.lines(orders), self._switches.claims_in_list
        return [
            order_document(order, lines[order.number], self._world.view(order, now, reading=True, claims=claims))
            for order in orders
        ]

    def _conditions(self, asked: Mapping[str, str], now: float, complaints: Complaints) -> list[tuple[str, Any]]:
        switches = self._switches
        found: list[tuple[str, Any]] = []
        if switches.visible_after:
            found.append(("created_at <= ?", now - switches.visible_after / self._world.speed))
        equal = "=" if switches.bounds_inclusive else ""
        for name, sign in (("startDate", ">"), ("endDate", "<")):
            if text := asked.get(name.lower()):
                moment = parse_time(text)
                if moment is None:
                    complaints.add(name, f"{name} is not a time.")
                found.append((f"CAST(created_at AS INTEGER) {sign}{equal} ?", moment))
        comparison = "{} = ?" if switches.match == "exact" else "instr({}, ?) > 0"
        if asked.get("ponumber"):
            found.append((comparison.format("po_number"), asked["ponumber"]))
        for name, column in _LINE_FILTERS.items():
            if asked.get(name):
                matched = f"order_number = number AND {comparison.format(column)})"
                lines = f"EXISTS (SELECT 1 FROM lines WHERE {matched}"  # noqa: S608 - our own text  # nosec B608
                found.append((lines, asked[name]))
        return found


class Controls:
    """The sandbox's own endpoints, which no provider has: the truth, orders from elsewhere, the scenario.

    They ask for no token and must never be taken for the provider's API.
    """

    def __init__(self, world: World, neighbours: Neighbours) -> None:
        self._world = world
        self._neighbours = neighbours

    def all(self) -> list[Route]:
        """The routing table."""
        return [
            Route("/sandbox/truth", self._truth, methods=["GET"]),
            Route("/sandbox/elsewhere", self._elsewhere, methods=["POST"]),
            Route("/sandbox/scenarios", self._scenarios, methods=["GET"]),
            Route("/sandbox/scenario", self._choose_scenario, methods=["PUT"]),
        ]

    def truth(self) -> list[dict[str, Any]]:
        """Every order there is, as it really stands."""
        now, ledger = self._world.clock(), self._world.ledger
        with ledger.transaction():
            orders, posts = ledger.find([], "number", -1, 0), ledger.posts()
            lines = self._world.lines(orders)
        return [truth_document(order, lines[order.number], posts.get(order.po_number, 0), now) for order in orders]

    async def _truth(self, _request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self.truth))

    async def _elsewhere(self, request: Request) -> Response:
        count = whole(query(request).get("count", "1"))
        if count is None or not 1 <= count <= 1000:
            return JSONResponse({"error": "count must lie between 1 and 1000"}, 400)
        return JSONResponse({"po_numbers": self._neighbours.place(count, self._world.clock())}, 201)

    async def _scenarios(self, _request: Request) -> Response:
        shown = [{"name": scenario.name, "summary": scenario.summary} for scenario in SCENARIOS.values()]
        return JSONResponse({"current": self._world.scenario.name, "scenarios": shown, "note_words": dict(NOTE_WORDS)})

    async def _choose_scenario(self, request: Request) -> Response:
        try:
            self._world.switch_to(query(request).get("name", ""))
        except ValueError as problem:
            return JSONResponse({"error": str(problem)}, 404)
        return JSONResponse({"current": self._world.scenario.name})


async def _off_loop(heavy: bool, work: Callable[[], _T]) -> _T:
    """Work in a thread where it would hold the event loop up."""
    return await asyncio.to_thread(work) if heavy else work()


def query(request: Request) -> dict[str, str]:
    """The query with its names in lower case."""
    return {name.lower(): value for name, value in request.query_params.items()}


def whole(text: str) -> int | None:
    """A whole number of sensible size, or None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _paging(asked: Mapping[str, str], default: int, most: int) -> tuple[int, int] | Complaints:
    """Page (from one) and its size, or what is wrong with them."""
    index, size = whole(asked.get("pageindex", "1")), whole(asked.get("pagesize", str(default)))
    complaints = Complaints()
    if index is None or index < 1:
        complaints.add("pageIndex", "pageIndex must be a whole number from 1.")
    elif size is None or not 1 <= size <= most:
        complaints.add("pageSize", f"pageSize must be a whole number from 1 to {most}.")
    else:
        return index, size
    return complaints
