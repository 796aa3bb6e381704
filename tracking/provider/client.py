"""Client of the provider's API: places and reads orders, lists, catalog and balance.

One for a process and its event loop. Owns the addresses of the operations and the walk through their pages. How a call
is made, and what its errors mean, is in `http`; this retries nothing: whoever calls decides what to try again.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Self
from urllib.parse import quote

import httpx

from tracking.errors import NotFound, UnreadableAnswer
from tracking.orders.echoes import is_echo
from tracking.orders.model import folded_id, same_id
from tracking.provider import responses
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.http.findings import Findings
from tracking.provider.http.recording import ApiCall
from tracking.provider.http.session import ApiAccount, ApiLimits, ApiSession
from tracking.provider.json_fields import Fields, digest_of
from tracking.provider.responses import ListPage, ParsedOrder, read_order
from tracking.provider.scalars.times import format_time
from tracking.provider.shared_rate_limit import SharedRateLimit
from tracking.settings.values import Settings

MAX_PAGES = 1000
SAME_PAGE_AT_MOST = 3  # times in a row
SANDBOX_URL = "http://sandbox.internal"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer about one order. `order` is None where the digest is `last_digest`; the times frame the call."""

    order: ParsedOrder | None
    digest: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """One page of the order list without repeats; `unreadable` items were left out, `last` means none follows."""

    orders: tuple[ParsedOrder, ...]
    unreadable: int
    last: bool
    started_at: datetime
    finished_at: datetime


class Client(ApiSession):
    """Speaks to the provider. Every call may raise any ProviderError; none of them holds what was sent or answered."""

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        record: Callable[[ApiCallRecord], None],
        shared: SharedRateLimit | None = None,
        findings: Findings | None = None,
    ) -> Self:
        """The client for these settings; without a provider the one for the embedded sandbox behind `transport`."""
        limits = ApiLimits(settings.api_max_rate, settings.api_timeout, shared)
        return cls(account_of(settings), limits=limits, transport=transport, record=record, findings=findings)

    async def place(self, document: Mapping[str, Any]) -> Answer:
        """Places the order. Throttled with 429, NotSent and CredentialsRefused mean that it was not carried out.

        Raises:
            OutcomeUnknown: a timeout, a broken connection, a 5xx, a 2xx that does not show this order, or any answer
                that has not the provider's shape (NotTheProvider, and Throttled `by_other`).
        """
        po_number = str(document["PONumber"])
        call = ApiCall("POST", "/v1/Orders", document=document, order_po=po_number)

        def read(raw: Any) -> Answer:
            parsed = read_order(raw, call.notes)
            snapshot = parsed.snapshot
            if not is_echo(snapshot.po_number, po_number):
                raise UnreadableAnswer("the answer shows another order", status=call.status)
            # What names our PONumber is our order, whatever it shows of its lines.
            if snapshot.po_number is None and (snapshot.unreadable or not snapshot.lines):
                raise UnreadableAnswer(snapshot.unreadable or "the answer shows no order", status=call.status)
            return self._answer(call, parsed, parsed.digest)

        return await self.send(call, read)

    async def order(self, provider_id: str, *, last_digest: str | None = None) -> Answer:
        """The order with this id; not parsed again where its digest is `last_digest`."""
        if provider_id in {"", ".", ".."}:
            raise NotFound("no order has such an id")
        call = ApiCall("GET", f"/v1/Orders/{quote(provider_id, safe='')}", provider_id=provider_id)

        def read(raw: Any) -> Answer:
            digest = digest_of(raw)
            if digest == last_digest:
                call.masked_answer = '"unchanged"'
                return self._answer(call, None, digest)
            parsed = read_order(raw, call.notes)
            call.order_po = parsed.snapshot.po_number
            if not same_id(parsed.snapshot.provider_id, provider_id):
                raise UnreadableAnswer("the answer shows another order", status=call.status)
            return self._answer(call, parsed, digest)

        return await self.send(call, read)

    def _answer(self, call: ApiCall, parsed: ParsedOrder | None, digest: str) -> Answer:
        if parsed is not None:
            call.provider_id = parsed.snapshot.provider_id
        return Answer(parsed, digest, call.left_at or self._times.clock(), self._times.clock())

    async def orders(
        self,
        *,
        page: int,
        size: int = 50,
        start: datetime | None = None,
        end: datetime | None = None,
        po_number: str | None = None,
    ) -> OrdersPage:
        """Lists one page of the orders. A page past the end is empty, also where the provider answers it with 404."""
        filters = {"startDate": format_time(start), "endDate": format_time(end), "poNumber": po_number}
        params = _page_params(page, size) | {name: value for name, value in filters.items() if value}
        call = ApiCall("GET", "/v1/Orders", params=params, order_po=po_number)

        def read(raw: Any) -> OrdersPage:
            listing = responses.read_list_page(raw, call.notes)
            parsed = [_order_or_none(item, call.notes) for item in listing.items]
            unique = {folded_id(order.snapshot.provider_id): order for order in parsed if order is not None}
            unreadable = parsed.count(None)
            last = _is_last(listing, size)
            started = call.left_at or self._times.clock()
            return OrdersPage(tuple(unique.values()), unreadable, last, started, self._times.clock())

        try:
            return await self.send(call, read)
        except NotFound:
            if page <= 1:
                raise
            return OrdersPage((), 0, True, call.left_at or self._times.clock(), self._times.clock())

    async def products(self) -> list[dict[str, Any]]:
        """Lists the whole catalog."""
        return self._read_each(await self._all("/v1/Products", 500), "product", responses.read_product)

    async def shipping_methods(self) -> list[dict[str, Any]]:
        """Lists all shipping methods, none where the provider does not offer the list."""
        items = await self._all("/v1/ShippingMethods", 50, optional=True)
        return self._read_each(items, "shipping method", responses.read_shipping_method)

    async def carriers(self) -> list[dict[str, Any]]:
        """Lists all card carriers, none where the provider does not offer the list."""
        items = await self._all("/v1/Carriers", 50, optional=True)
        return self._read_each(items, "carrier", responses.read_carrier)

    def _read_each(
        self, items: list[Any], place: str, read: Callable[[Fields], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        notes = set[str]()
        values = responses.read_each(items, read, notes)
        self.findings.note(place, notes, self._times.clock())
        return values

    async def balance(self) -> dict[str, Any] | None:
        """Reads the account's balance, None where the provider does not offer it."""
        call = ApiCall("GET", "/v1/AccountBalance", optional=True)
        try:
            return await self.send(call, lambda raw: responses.read_balance(raw, call.notes))
        except NotFound:
            return None

    async def _all(self, path: str, size: int, *, optional: bool = False) -> list[Any]:
        """Reads the items of all pages, each id once, until a page is short, empty or brings nothing new."""
        items: dict[str, Any] = {}
        for number in range(1, MAX_PAGES + 1):
            call = ApiCall("GET", path, params=_page_params(number, size), optional=optional and number == 1)
            read = partial(responses.read_list_page, notes=call.notes)
            try:
                page = await self.send(call, read)
            except NotFound:
                if optional or number > 1:
                    break
                raise
            before = len(items)
            for item in page.items:
                items.setdefault(responses.item_key(item), item)
            if len(items) == before or _is_last(page, size):
                break
        else:
            _logger.warning("list-cut path=%s pages=%d", path, MAX_PAGES)
        return list(items.values())


async def walk_pages(read: Callable[[int], Awaitable[OrdersPage]], pages_at_most: int) -> AsyncIterator[OrdersPage]:
    """Walks the pages of the order list, each by its number from 1 on.

    A page of nothing new or nothing readable may well be followed by another; one that comes again and again shows that
    the provider does not go by the number.
    """
    latest, times = frozenset[str](), 0
    for number in range(1, pages_at_most + 1):
        page = await read(number)
        yield page
        ids = frozenset(folded_id(order.snapshot.provider_id) for order in page.orders)
        times = times + 1 if ids and ids == latest else 1
        latest = ids
        if page.last or times >= SAME_PAGE_AT_MOST or not (page.orders or page.unreadable):
            return
    _logger.warning("list cut pages=%d", pages_at_most)


def account_of(settings: Settings) -> ApiAccount:
    """The account of these settings; without a complete one, that of the embedded sandbox."""
    address, email, secret = settings.api_base_url, settings.api_email, settings.api_access_token
    if settings.embedded_sandbox or address is None or email is None or secret is None:
        return ApiAccount(SANDBOX_URL, "sandbox@example.com", "sandbox")
    return ApiAccount(address, email, secret.get_secret_value())


def _order_or_none(raw: Any, notes: set[str]) -> ParsedOrder | None:
    try:
        parsed = read_order(raw, notes)
    except UnreadableAnswer:
        return None
    return None if parsed.snapshot.unreadable else parsed


def _page_params(page: int, size: int) -> dict[str, str]:
    return {"pageIndex": str(page), "pageSize": str(size)}


def _is_last(page: ListPage, requested_size: int) -> bool:
    """Whether the page is short. A provider that serves smaller pages than asked for says so in PageSize."""
    size = page.page_size if page.page_size and page.page_size < requested_size else requested_size
    return len(page.items) < size
