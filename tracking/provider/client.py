"""The provider's API: its operations, each read into what it answers. One client for a process and its event loop.

Owns the addresses of the operations and the walk through their pages. How a call is made, and what its errors mean, is
in `calls`; this repeats nothing, and whoever calls decides what to try again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import quote

import httpx

from tracking.errors import NotFound, UnreadableAnswer
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.http import Call, Calls, stated
from tracking.provider.json_fields import digest_of
from tracking.provider.rate_limit import Shared
from tracking.provider.responses import (
    Page,
    Shown,
    key_of,
    read_balance,
    read_carriers,
    read_methods,
    read_order,
    read_page,
    read_products,
)
from tracking.settings import Settings

MAX_PAGES = 1000
SANDBOX_URL = "http://sandbox.internal"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """An order as answered. `shown` is None when the digest equals the one known; times frame the call."""

    shown: Shown | None
    digest: str
    started_at: datetime
    finished_at: datetime
    status: int


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """One page of the order list without repeats; `unreadable` items were left out, `last` means none follows."""

    shown: tuple[Shown, ...]
    unreadable: int
    page: int
    total: int | None
    last: bool
    started_at: datetime
    finished_at: datetime


def _now() -> datetime:
    return datetime.now(UTC)


def _forget(_: ApiCallRecord) -> None:
    pass


class Client:
    """Speaks to the provider. Every call may raise any ProviderError; none of them holds what was sent or answered.

    `record` gets every call that was tried, token calls included, and must not raise. `clock` is the wall clock,
    `monotonic` measures the budget and the token's life; `shared` is the budget of all processes together, without it
    this one keeps to the rate alone.
    """

    def __init__(  # noqa: PLR0913 - the last six are what tests and the simulation put in place of the world
        self,
        base_url: str,
        email: str,
        access_token: str,
        *,
        rate: float = 5,
        timeout: float = 30,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        record: Callable[[ApiCallRecord], None] = _forget,
        shared: Shared | None = None,
    ) -> None:
        self._clock = clock
        self._calls = Calls(
            base_url,
            email,
            access_token,
            rate=rate,
            timeout=timeout,
            transport=transport,
            clock=clock,
            monotonic=monotonic,
            sleep=sleep,
            record=record,
            shared=shared,
        )

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        record: Callable[[ApiCallRecord], None] = _forget,
        shared: Shared | None = None,
    ) -> Self:
        """The client for these settings; without a provider the one for the embedded sandbox behind `transport`."""
        address, email, secret = settings.api_base_url, settings.api_email, settings.api_access_token
        if address is None or email is None or secret is None:
            address, email, token = SANDBOX_URL, "sandbox@example.com", "sandbox"
        else:
            token = secret.get_secret_value()
        rate, timeout = settings.api_max_rate, settings.api_timeout
        return cls(address, email, token, rate=rate, timeout=timeout, transport=transport, record=record, shared=shared)

    async def place(self, document: Mapping[str, Any]) -> Answer:
        """Places the order. Throttled with 429, NotSent and CredentialsRefused mean that it was not carried out.

        Raises:
            OutcomeUnknown: a timeout, a broken connection, a 5xx, or a 2xx that does not show this order.
        """
        po_number = str(document["PONumber"])
        call = Call("POST", "/v1/Orders", document=document, order_po=po_number)

        def read(raw: Any) -> Answer:
            shown = read_order(raw)
            if (shown.snapshot.po_number or po_number) != po_number or not shown.snapshot.lines:
                raise UnreadableAnswer("the answer shows another order", status=call.status)
            return self._answer(call, shown, shown.digest)

        return await self._calls.authorised(call, read)

    async def order(self, provider_id: str, *, known_digest: str | None = None) -> Answer:
        """The order with this id."""
        if provider_id in {"", ".", ".."}:
            raise NotFound("no order has such an id")
        call = Call("GET", f"/v1/Orders/{quote(provider_id, safe='')}", provider_id=provider_id)

        def read(raw: Any) -> Answer:
            digest = digest_of(raw)
            if digest == known_digest:
                call.reply = '"unchanged"'
                return self._answer(call, None, digest)
            shown = read_order(raw)
            call.order_po = shown.snapshot.po_number
            if shown.snapshot.provider_id != provider_id:
                raise UnreadableAnswer("the answer shows another order", status=call.status)
            return self._answer(call, shown, digest)

        return await self._calls.authorised(call, read)

    def _answer(self, call: Call, shown: Shown | None, digest: str) -> Answer:
        if shown is not None:
            call.provider_id = shown.snapshot.provider_id
        return Answer(shown, digest, call.started_at or self._clock(), self._clock(), call.status or 0)

    async def orders(
        self,
        *,
        page: int,
        size: int = 50,
        start: datetime | None = None,
        end: datetime | None = None,
        po_number: str | None = None,
    ) -> OrdersPage:
        """One page of the order list. A page past the end is empty, also where the provider answers it with 404."""
        asked = {"startDate": stated(start), "endDate": stated(end), "poNumber": po_number}
        params = _paging(page, size) | {name: value for name, value in asked.items() if value}
        call = Call("GET", "/v1/Orders", params=params, order_po=po_number)

        def read(raw: Any) -> OrdersPage:
            listed = read_page(raw)
            found = [_order_or_none(item) for item in listed.items]
            unique = {shown.snapshot.provider_id: shown for shown in found if shown is not None}
            unreadable = found.count(None)
            last = _is_last(listed, size)
            started = call.started_at or self._clock()
            return OrdersPage(tuple(unique.values()), unreadable, page, listed.total, last, started, self._clock())

        try:
            return await self._calls.authorised(call, read)
        except NotFound:
            if page <= 1:
                raise
            return OrdersPage((), 0, page, None, True, call.started_at or self._clock(), self._clock())

    async def products(self) -> list[dict[str, Any]]:
        """The whole catalogue."""
        return read_products(await self._all("/v1/Products", 500))

    async def shipping_methods(self) -> list[dict[str, Any]]:
        """All shipping methods, none where the provider does not offer the list."""
        return read_methods(await self._all("/v1/ShippingMethods", 50, optional=True))

    async def carriers(self) -> list[dict[str, Any]]:
        """All card carriers, none where the provider does not offer the list."""
        return read_carriers(await self._all("/v1/Carriers", 50, optional=True))

    async def balance(self) -> dict[str, Any] | None:
        """The account's balance, None where the provider does not offer it."""
        try:
            return await self._calls.authorised(Call("GET", "/v1/AccountBalance"), read_balance)
        except NotFound:
            return None

    async def _all(self, path: str, size: int, *, optional: bool = False) -> list[Any]:
        """The items of all pages, each id once, until a page is short, empty or brings nothing new."""
        found: dict[str, Any] = {}
        for number in range(1, MAX_PAGES + 1):
            call = Call("GET", path, params=_paging(number, size))
            try:
                page = await self._calls.authorised(call, read_page)
            except NotFound:
                if optional or number > 1:
                    break
                raise
            known = len(found)
            for item in page.items:
                found.setdefault(key_of(item), item)
            if len(found) == known or _is_last(page, size):
                break
        else:
            _logger.warning("list-cut path=%s pages=%d", path, MAX_PAGES)
        return list(found.values())

    def pause(self, seconds: float) -> None:
        """Lets no call leave for so long: what an earlier process was asked to wait, or has used up."""
        self._calls.pause(seconds)

    def room(self) -> int:
        """How many calls can leave within the next second, beside those that wait for their turn already."""
        return self._calls.room()

    def status(self) -> dict[str, Any]:
        """How the client fares, JSON-able, without secrets."""
        return self._calls.status()

    async def aclose(self) -> None:
        """Closes all connections; the client cannot be used any more."""
        await self._calls.aclose()


def _order_or_none(raw: Any) -> Shown | None:
    try:
        return read_order(raw)
    except UnreadableAnswer:
        return None


def _paging(page: int, size: int) -> dict[str, str]:
    return {"pageIndex": str(page), "pageSize": str(size)}


def _is_last(page: Page, asked: int) -> bool:
    """Whether the page is short. A provider that serves smaller pages than asked for says so in PageSize."""
    size = page.page_size if page.page_size and page.page_size < asked else asked
    return len(page.items) < size
