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
from tracking.sandbox.database import BalanceTooLow, SandboxOrder, order_number
from tracking.sandbox.faults import NOTE_WORDS, Faults, failing_post_count
from tracking.sandbox.order_validation import ValidationErrors, ValidOrder, epoch_seconds, parse_body, validate_order
from tracking.sandbox.order_views import order_json, truth_json
from tracking.sandbox.provider import PoNumberConflict, Provider
from tracking.sandbox.request_checks import BearerTokens, Handler, RequestChecks
from tracking.sandbox.responses import BrokenConnection, corrupt_response, error_response, json_response
from tracking.sandbox.scenarios import SCENARIOS
from tracking.sandbox.traffic import Traffic

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
class _PostedOrder:
    """A validated POST: the order, its faults, how often its PONumber came."""

    order: ValidOrder
    faults: Faults
    attempt: int
    heavy: bool

    def post_failure(self, seed: int) -> str:
        """Select the fault of this very POST."""
        return self.faults.post_failure if self.attempt <= failing_post_count(seed, self.order.po_number) else "none"


class ApiRoutes:
    """Every endpoint of the provider's API."""

    def __init__(self, provider: Provider, tokens: BearerTokens, traffic: Traffic) -> None:
        self._provider = provider
        self._tokens = tokens
        self._traffic = traffic

    def table(self, checks: RequestChecks) -> list[Route]:
        """Build the routing table, every path behind the checks."""
        endpoints: Sequence[tuple[str, Handler, str]] = (
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
            Route("/v1/Tokens", checks.checked(self._issue_token, token=False), methods=["POST"]),
            *(Route(path, checks.checked(handler), methods=[method]) for path, handler, method in endpoints),
        ]

    @property
    def _faults(self) -> Faults:
        return self._provider.faults

    async def _issue_token(self, request: Request) -> Response:
        email, access_token = request.headers.get("Email", ""), request.headers.get("AccessToken", "")
        if not self._tokens.accepts_credentials(email, access_token):
            return error_response(401, self._faults)
        return json_response(self._tokens.issue(self._provider.clock(), self._faults), self._faults)

    async def _products(self, request: Request) -> Response:
        params = lowercase_query(request)
        name, description = params.get("productname", "").lower(), params.get("productdescription", "").lower()
        kind = params.get("producttype", "").lower()
        products = [product.as_json() for product in PRODUCTS.values() if kind in {"", product.kind.lower()}]
        matches = [
            product
            for product in products
            if name in product["Name"].lower()
            and description in (product["ShortDescription"] + product["LongDescription"]).lower()
        ]
        return self._page(matches, request, default=25, max_size=500)

    async def _product(self, request: Request) -> Response:
        product = PRODUCTS.get(request.path_params["id"])
        return json_response(product.as_json(), self._faults) if product else error_response(404, self._faults)

    async def _shipping_methods(self, request: Request) -> Response:
        return self._page(SHIPPING_METHODS, request)

    async def _carriers(self, request: Request) -> Response:
        return self._if_offered(self._page(CARRIERS, request))

    async def _brandings(self, request: Request) -> Response:
        return self._if_offered(self._page(BRANDINGS, request))

    async def _balance(self, _request: Request) -> Response:
        database = self._provider.database
        pending, available = database.pending_cents(self._provider.clock()), database.balance_cents()
        return self._if_offered(json_response({"Pending": pending / 100, "Available": available / 100}, self._faults))

    async def _status(self, _request: Request) -> Response:
        return self._if_offered(json_response({"Status": "OK"}, self._faults))

    def _if_offered(self, response: Response) -> Response:
        return response if self._faults.balance_available else error_response(404, self._faults)

    def _page(
        self, items: Sequence[Mapping[str, Any]], request: Request, default: int = 5, max_size: int = 50
    ) -> Response:
        paging = _parse_paging(lowercase_query(request), default, max_size)
        if isinstance(paging, ValidationErrors):
            return json_response(paging.as_json(), self._faults, 400)
        index, size = paging
        return self._envelope(list(items[(index - 1) * size : index * size]), index, size, len(items))

    def _envelope(self, page: list[Any], index: int, size: int, total: int) -> Response:
        totals = {"Page": index, "PageSize": size, "TotalCount": total} if self._faults.list_totals else {}
        return json_response({"Data": page, **totals}, self._faults)

    async def _place_order(self, request: Request) -> Response:
        raw = await request.body()
        posted = await _in_thread_if(len(raw) > _HEAVY_BYTES, lambda: self._read_post(raw))
        if isinstance(posted, Response):
            return posted
        kind, _, when = posted.post_failure(self._provider.seed).partition("-")
        if when == "before" and kind != "slow":
            return self._failure_response(kind)
        if when == "before":
            await self._provider.sleep(posted.faults.slow_seconds / self._provider.speed)
        response = await _in_thread_if(posted.heavy, lambda: self._place(posted))
        if when != "after" or response.status_code not in {201, 409}:
            return response
        if kind == "slow":
            await self._provider.sleep(posted.faults.slow_seconds / self._provider.speed)
            return response
        return corrupt_response(response, "cut") if kind == "cut" else self._failure_response(kind)

    def _failure_response(self, kind: str) -> Response:
        return BrokenConnection() if kind == "disconnect" else error_response(int(kind), self._faults)

    def _read_post(self, raw: bytes) -> _PostedOrder | Response:
        body = parse_body(raw)
        if body is None:
            errors = ValidationErrors({"": ["The body is not a JSON object."]})
            return json_response(errors.as_json(), self._faults, 400)
        po_number, items, faults = body.get("PONumber"), body.get("LineItems"), self._faults
        attempt = self._provider.database.count_post(po_number) if isinstance(po_number, str) else 0
        too_long = isinstance(items, list) and faults.max_lines is not None and len(items) > faults.max_lines
        if too_long and faults.max_lines_status == 413:
            errors = ValidationErrors({"LineItems": [f"At most {faults.max_lines} lines are taken."]})
            return json_response(errors.as_json(), faults, 413)
        order = validate_order(body, faults)
        if isinstance(order, ValidationErrors):
            return json_response(order.as_json(), faults, 400)
        return _PostedOrder(order, self._provider.faults_for(order), attempt, len(raw) > _HEAVY_BYTES)

    def _place(self, posted: _PostedOrder) -> Response:
        order, now = posted.order, self._provider.clock()
        result = self._provider.place(order, posted.faults, attempt=posted.attempt, now=now)
        if isinstance(result, PoNumberConflict):
            return self._conflict(result, order, posted.faults)
        if isinstance(result, BalanceTooLow):
            money = {"AvailableBalance": result.available_cents / 100, "OrderCost": order.cost_cents / 100}
            return json_response(money, self._faults, 422)
        context = self._provider.view_context(result, now, reading=False)
        lines = self._provider.lines([result])[result.number]
        body = order_json(result, lines, context)
        if self._faults.echo == "lower-case":  # only here: what is read later is as it was
            body |= {name: body[name].lower() for name in ("Id", "PONumber")}
        return json_response(body, self._faults, 201)

    def _conflict(self, conflict: PoNumberConflict, order: ValidOrder, faults: Faults) -> Response:
        if faults.conflict_compares == "strict" and not conflict.same:
            errors = ValidationErrors({"PONumber": ["The PONumber was used for other contents."]})
            return json_response(errors.as_json(), self._faults, 400)
        ids = [conflict.order.id] if conflict.order else []
        body: dict[str, Any] = {"PONumber": order.po_number}
        match faults.conflict_shape:
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
        return json_response(body, self._faults, 409)

    async def _get_order(self, request: Request) -> Response:
        now = self._provider.clock()
        order = self._provider.database.order(order_number(request.path_params["id"]))
        if order is None or not self._provider.is_visible(order, now):
            return error_response(404, self._faults)
        return await _in_thread_if(order.units > _HEAVY_UNITS, lambda: self._order_response(order, now))

    def _order_response(self, order: SandboxOrder, now: float) -> Response:
        context, lines = self._provider.view_context(order, now, reading=True), self._provider.lines([order])
        return json_response(order_json(order, lines[order.number], context), self._faults)

    async def _list_orders(self, request: Request) -> Response:
        params, now = lowercase_query(request), self._provider.clock()
        paging = _parse_paging(params, 5, 50)
        errors = paging if isinstance(paging, ValidationErrors) else ValidationErrors()
        conditions = self._conditions(params, now, errors)
        if isinstance(paging, ValidationErrors) or errors.messages:
            return json_response(errors.as_json(), self._faults, 400)
        index, size = paging
        direction = "DESC" if self._faults.list_order == "newest" else "ASC"
        order_by = f"created_at {direction}, number {direction}"
        orders = self._provider.database.find_orders(conditions, order_by, size, (index - 1) * size)
        total = self._provider.database.count_orders(conditions)
        heavy = sum(order.units for order in orders) > _HEAVY_UNITS
        page = await _in_thread_if(heavy, lambda: self._list_items(orders, now))
        if self._faults.insert_between_pages and index * size < total:
            self._traffic.place(1, now)
        return await _in_thread_if(heavy, lambda: self._envelope(page, index, size, total))

    def _list_items(self, orders: Sequence[SandboxOrder], now: float) -> list[dict[str, Any]]:
        lines, claims = self._provider.lines(orders), self._faults.claims_in_list
        return [
            order_json(order, lines[order.number], self._provider.view_context(order, now, reading=True, claims=claims))
            for order in orders
        ]

    def _conditions(self, params: Mapping[str, str], now: float, errors: ValidationErrors) -> list[tuple[str, Any]]:
        faults = self._faults
        conditions: list[tuple[str, Any]] = []
        if faults.visible_after:
            conditions.append(("created_at <= ?", now - faults.visible_after / self._provider.speed))
        equal = "=" if faults.bounds_inclusive else ""
        for name, sign in (("startDate", ">"), ("endDate", "<")):
            if text := params.get(name.lower()):
                at = epoch_seconds(text)
                if at is None:
                    errors.add(name, f"{name} is not a time.")
                conditions.append((f"CAST(created_at AS INTEGER) {sign}{equal} ?", at))
        comparison = "{} = ?" if faults.match == "exact" else "instr({}, ?) > 0"
        if params.get("ponumber"):
            conditions.append((comparison.format("po_number"), params["ponumber"]))
        for name, column in _LINE_FILTERS.items():
            if params.get(name):
                matching = f"order_number = number AND {comparison.format(column)})"
                lines = f"EXISTS (SELECT 1 FROM lines WHERE {matching}"  # noqa: S608 - our own text  # nosec B608
                conditions.append((lines, params[name]))
        return conditions


class AdminRoutes:
    """The sandbox's own endpoints, which no provider has: the truth, orders from elsewhere, the scenario.

    They ask for no token and must never be taken for the provider's API.
    """

    def __init__(self, provider: Provider, traffic: Traffic) -> None:
        self._provider = provider
        self._traffic = traffic

    def table(self) -> list[Route]:
        """Build the routing table."""
        return [
            Route("/sandbox/truth", self._truth, methods=["GET"]),
            Route("/sandbox/elsewhere", self._elsewhere, methods=["POST"]),
            Route("/sandbox/scenarios", self._scenarios, methods=["GET"]),
            Route("/sandbox/scenario", self._choose_scenario, methods=["PUT"]),
        ]

    def truth(self) -> list[dict[str, Any]]:
        """List the true state of every order."""
        now, database = self._provider.clock(), self._provider.database
        with database.transaction():
            orders, posts = database.find_orders([], "number", -1, 0), database.posts()
            lines = self._provider.lines(orders)
        return [truth_json(order, lines[order.number], posts.get(order.po_number, 0), now) for order in orders]

    async def _truth(self, _request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(self.truth))

    async def _elsewhere(self, request: Request) -> Response:
        count = parse_whole_number(lowercase_query(request).get("count", "1"))
        if count is None or not 1 <= count <= 1000:
            return JSONResponse({"error": "count must lie between 1 and 1000"}, 400)
        return JSONResponse({"po_numbers": self._traffic.place(count, self._provider.clock())}, 201)

    async def _scenarios(self, _request: Request) -> Response:
        current = self._provider.scenario.name
        scenarios = [{"name": scenario.name, "summary": scenario.summary} for scenario in SCENARIOS.values()]
        return JSONResponse({"current": current, "scenarios": scenarios, "note_words": dict(NOTE_WORDS)})

    async def _choose_scenario(self, request: Request) -> Response:
        try:
            self._provider.switch_to(lowercase_query(request).get("name", ""))
        except ValueError as problem:
            return JSONResponse({"error": str(problem)}, 404)
        return JSONResponse({"current": self._provider.scenario.name})


async def _in_thread_if(heavy: bool, work: Callable[[], _T]) -> _T:
    """Run work in a thread where it would hold the event loop up."""
    return await asyncio.to_thread(work) if heavy else work()


def lowercase_query(request: Request) -> dict[str, str]:
    """Read the query parameters with their names in lower case."""
    return {name.lower(): value for name, value in request.query_params.items()}


def parse_whole_number(text: str) -> int | None:
    """Parse a whole number of at most nine digits; None where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _parse_paging(params: Mapping[str, str], default: int, max_size: int) -> tuple[int, int] | ValidationErrors:
    """Parse the page (from one) and its size, or what is wrong with them."""
    index = parse_whole_number(params.get("pageindex", "1"))
    size = parse_whole_number(params.get("pagesize", str(default)))
    errors = ValidationErrors()
    if index is None or index < 1:
        errors.add("pageIndex", "pageIndex must be a whole number from 1.")
    elif size is None or not 1 <= size <= max_size:
        errors.add("pageSize", f"pageSize must be a whole number from 1 to {max_size}.")
    else:
        return index, size
    return errors
