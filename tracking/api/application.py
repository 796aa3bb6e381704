"""Routes of the API: parameters and answers of each, described for OpenAPI; `reading` makes the answers."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match

from tracking.api import reading
from tracking.api.acts import Acts, Submission
from tracking.api.callers.tokens import Caller, check_counts
from tracking.api.description import documents
from tracking.api.description.openapi import SUBMISSION, openapi_document, problems
from tracking.api.description.queries import FeedQuery, Key, OrdersQuery, PageQuery, SubmitQuery
from tracking.api.feed import LOOK_WHO_WAITS, Asked, Feed, number_of, server_ends
from tracking.api.problems import Refusal, invalid, refusal_of
from tracking.api.service import Service, json_bytes, json_response
from tracking.errors import Problem, TrackingError

BASE = "/api/v1"
ID = "/orders/{po_or_id:path}"
PoOrId = Annotated[
    str,
    Path(
        description="PO number, the provider ID, or an external ID of one order alone.",
        examples=[documents.PO_NUMBER],
        min_length=1,
        max_length=250,
    ),
]
_ALREADY = "All of them are orders already; or what is in them, with `dry_run`"
ORDERS, LINES, EVENTS = "orders", "lines", "events"


def make_application(service: Service) -> FastAPI:
    """Make the application of all addresses of the API."""
    application = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    routers = _lists(service), _acts(service), _orders(service), _feed(service), _about(service)
    for router in routers:
        application.include_router(router)
    _describe(application)

    @application.exception_handler(RequestValidationError)
    async def answer_invalid(request: Request, exc: RequestValidationError) -> Response:
        return invalid(_places(exc.errors())).response(request.state.prefix)

    @application.exception_handler(HTTPException)
    async def answer_http(request: Request, exc: HTTPException) -> Response:
        return _http_refusal(routers, request, exc.status_code).response(request.state.prefix)

    @application.exception_handler(TrackingError)
    async def answer_error(request: Request, exc: TrackingError) -> Response:
        return refusal_of(exc).response(request.state.prefix)

    @application.exception_handler(Exception)
    async def answer_unexpected(request: Request, _: Exception) -> Response:
        return Refusal("unexpected", "The request could not be answered.").response(request.state.prefix)

    @application.exception_handler(Refusal)
    async def answer_refusal(request: Request, exc: Refusal) -> Response:
        return exc.response(request.state.prefix)

    return application


def _http_refusal(routers: Iterable[APIRouter], request: Request, status: int) -> Refusal:
    if status != 405:
        return Refusal("no-such-address", "Nothing is at this address.")
    routes = [
        route
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.matches(request.scope)[0] is not Match.NONE
    ]
    # The first is what the address is described as; by others it may be an order that has slashes in its PO number.
    methods = {method for route in routes if route.path == routes[0].path for method in route.methods or ()}
    allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
    return Refusal("method-not-allowed", f"This address takes {allowed}.", headers={"Allow": allowed})


def _places(errors: Any) -> list[Problem]:
    """What pydantic found, without what came in."""
    return [Problem(".".join(map(str, error["loc"][1:])), _message(error)) for error in errors]


def _message(error: Mapping[str, Any]) -> str:
    unknown = error["type"] == "extra_forbidden"
    return "is not taken here: check how it is spelt" if unknown else str(error["msg"])[:200]


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _number_of(name: str) -> Callable[[Mapping[str, Any]], Mapping[str, int]]:
    return lambda document: {name.removesuffix("s"): len(document[name])}


def _lists(service: Service) -> APIRouter:
    """The lists that a filter or a cursor is for."""
    router = APIRouter(prefix=BASE, tags=["orders"])

    @router.get("/orders", response_model=documents.OrderPage, responses=problems(401, 422, 429, 503))
    async def list_orders(request: Request, query: Annotated[OrdersQuery, Query()]) -> Response:
        """List orders, the newest first, page by page.

        The filter is that of the console's list of orders, under the same names as in its address. A page goes on
        where the one before ended, whatever was placed meanwhile: give `next_cursor` as `cursor`, and the same filter.
        """
        caller, given = _caller(request), request.query_params
        asked = {name: given.getlist(name) for name in given if name not in {"cursor", "limit"}}
        service_now = service.clock()

        def read() -> Mapping[str, Any]:
            filters = replace(reading.read_filters(asked, caller.person.name), page_size=query.limit)
            page = reading.orders_document(service.database, filters, query.cursor, service_now)
            if filters.text and query.cursor is None:
                service.record_search(caller, filters.text, page)
            return page

        return await service.answer(caller, read, _number_of(ORDERS))

    return router


def _orders(service: Service) -> APIRouter:
    """One order and what belongs to it; the longer addresses first, as a PO number may have slashes in it."""
    router = APIRouter(prefix=BASE, tags=["orders"])
    answers = problems(401, 404, 409, 422, 429, 503)

    @router.get(f"{ID}/lines", response_model=documents.LinePage, responses=answers)
    async def list_lines(request: Request, po_or_id: PoOrId, query: Annotated[PageQuery, Query()]) -> Response:
        """List the lines of an order. Recipients are masked; claim data is never given."""
        return await service.answer(
            _caller(request),
            lambda: reading.lines_document(service.database, po_or_id, query.cursor, query.limit),
            _number_of(LINES),
        )

    @router.get(f"{ID}/events", response_model=documents.EventPage, responses=answers)
    async def list_order_events(request: Request, po_or_id: PoOrId, query: Annotated[PageQuery, Query()]) -> Response:
        """List what happened to an order, in the order in which it was recorded."""
        return await service.answer(
            _caller(request),
            lambda: reading.order_events_document(service.database, po_or_id, query.cursor, query.limit),
            _number_of(EVENTS),
        )

    @router.get(ID, response_model=documents.OrderDetail, responses=answers)
    async def get_order(request: Request, po_or_id: PoOrId) -> Response:
        """Get one order: its state, what proves it, what is to be decided, its first lines and newest events."""
        now = service.clock()
        return await service.answer(
            _caller(request), lambda: reading.order_document(service.database, po_or_id, now), lambda _: {"order": 1}
        )

    return router


def _acts(service: Service) -> APIRouter:
    """What operators' tokens do."""
    router, acts = APIRouter(prefix=BASE, tags=["acts"]), Acts(service)

    @router.post(
        "/orders",
        status_code=201,
        response_model=documents.Receipts,
        responses={
            200: {"model": documents.Receipts | documents.Check, "description": _ALREADY},
            **problems(401, 403, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=SUBMISSION,
    )
    async def submit_orders(request: Request, query: Annotated[SubmitQuery, Query()], key: Key = None) -> Response:
        """Submit orders, all or none: one request in the provider's shape, or a list of up to 50 of them.

        They are checked as by `tracking submit`, and wait for a second operator's approval above the approval limit.
        The same request under the same `Idempotency-Key` gets the same answer for a day, and orders nothing again ever.
        An order that has the PO number already is left as it is; where it has other contents, nothing is placed.
        """
        caller = _caller(request)
        caller.person.must_operate()
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal("media-type", "The body is not said to be JSON.")
        submission = Submission(caller, key or "", await request.body())
        if query.dry_run == "true":
            return json_response(json_bytes(await service.read(lambda: acts.check(submission))))
        if not key:
            raise invalid([Problem("Idempotency-Key", "is missing: send one that this request alone has")])
        with acts.alone(submission):
            status, document = await service.run(lambda: acts.submit(submission, service.clock()))
        service.wake()
        return json_response(json_bytes(document), status)

    @router.post(
        f"{ID}/check",
        status_code=202,
        response_model=documents.PollRequest,
        responses=problems(401, 403, 404, 409, 422, 429, 503),
    )
    async def check_order(request: Request, po_or_id: PoOrId) -> Response:
        """Have the order polled now, ahead of when it is due."""
        caller = _caller(request)
        document = await service.run(lambda: acts.check_now(caller, po_or_id, service.clock()))
        service.wake()
        return json_response(json_bytes(document), 202)

    return router


def _feed(service: Service) -> APIRouter:
    """The events of all orders."""
    router, feed = APIRouter(prefix=BASE, tags=["events"]), Feed(service)

    @router.get("/events", response_model=documents.FeedPage, responses=problems(401, 410, 422, 429, 503))
    async def list_events(request: Request, query: Annotated[FeedQuery, Query()]) -> Response:
        """Follow what happens to all orders, from the oldest to the newest event.

        The feed gives each event once to whoever goes on with `next_cursor`, and none comes behind a cursor that was
        given before. With `wait` an answer without events comes only after so many seconds: ask again at once.
        """
        caller, until = _caller(request), time.monotonic() + query.wait
        asked = Asked(query.cursor, reading.read_time("since", query.since), query.kind, query.limit)
        if not query.wait:
            return await service.answer(caller, lambda: feed.read(asked), _number_of(EVENTS))
        with feed.place(caller.token_id):
            page = await service.read(lambda: feed.read(asked))
            while not page[EVENTS] and (left := until - time.monotonic()) > 0:
                if server_ends() or await request.is_disconnected():
                    break
                asked = replace(asked, cursor=page["next_cursor"])
                if not page["more"]:  # there are some, of other kinds
                    await feed.news(number_of(page), min(left, LOOK_WHO_WAITS))
                page = await service.read(lambda: feed.read(asked))  # noqa: B023 - it is awaited at once

        def read() -> Mapping[str, Any]:
            check_counts(service.database, caller, service.clock())
            return page

        return await service.answer(caller, read, _number_of(EVENTS))

    return router


def _about(service: Service) -> APIRouter:
    """What is said of the console and of the caller."""
    router = APIRouter(prefix=BASE, tags=["console"])
    answers = problems(401, 429, 503)

    @router.get("/counts", response_model=documents.Counts, responses=answers)
    async def get_counts(request: Request) -> Response:
        """Count the orders, by the views of the console and by state."""
        caller, now = _caller(request), service.clock()
        read = lambda: reading.counts_document(service.database, caller.person.name, now)  # noqa: E731
        return await service.answer(caller, read, lambda _: {})

    @router.get("/health", response_model=documents.Health, responses=answers)
    async def get_health(request: Request) -> Response:
        """Say whether work is done, and what deserves attention. Of this process alone: `/healthz`."""
        now = service.clock()
        return await service.answer(
            _caller(request), lambda: reading.health_document(service.database, now), lambda _: {}
        )

    @router.get("/me", response_model=documents.Me, responses=answers)
    async def get_me(request: Request) -> Response:
        """Say whose token it is, and what it may."""
        caller = _caller(request)
        document = {"name": caller.name, "actor": caller.person.name, "role": caller.access.value}
        expires_at = caller.expires_at and reading.utc(caller.expires_at)
        times = {"created_at": reading.utc(caller.created_at), "expires_at": expires_at}
        return json_response(json_bytes(document | times))

    return router


def _describe(application: FastAPI) -> None:
    """Serve the description, which anybody may read: it says nothing of any order."""

    @application.get(f"{BASE}/openapi.json", include_in_schema=False)
    async def get_description(request: Request) -> Response:
        return json_response(json_bytes(openapi_document(application, request.state.prefix)))

    @application.get(f"{BASE}/docs", include_in_schema=False)
    async def get_docs(request: Request) -> Response:
        from tracking.api.description.page import docs_page  # noqa: PLC0415 - for who asks for it

        text, policy = docs_page(openapi_document(application, request.state.prefix))
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})
