"""The provider's API over HTTP: the only user of httpx. One client for a process and its event loop.

Owns the token, the budget of calls and the translation of everything that can go wrong into `tracking.errors`. Repeats
nothing but the one call whose token was refused; whoever calls decides what to try again.
"""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import httpx

from tracking import wire
from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    DuplicateOrder,
    InsufficientFunds,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Problem,
    ProviderError,
    RequestRejected,
    SettingsError,
    Throttled,
    UnreadableAnswer,
)
from tracking.settings import Settings

MAX_IN_FLIGHT = 20
MAX_ANSWER = 32 * 1024 * 1024
MAX_ERROR_BODY = 256 * 1024
MAX_PAGES = 1000
MAX_EXCHANGE_TEXT = 4000
LONGEST_WAIT = 30.0
LONGEST_PAUSE = 3600.0
FIRST_PAUSE, LAST_PAUSE = 5.0, 300.0
SANDBOX_URL = "http://sandbox.internal"

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_OUTCOMES: dict[type[ProviderError], str] = {
    NotSent: "not sent",
    OutcomeUnknown: "unknown",
    Throttled: "throttled",
    CredentialsRefused: "credentials refused",
    AccessDisabled: "access disabled",
    NotFound: "not found",
    RequestRejected: "rejected",
    InsufficientFunds: "insufficient funds",
    DuplicateOrder: "duplicate",
    UnreadableAnswer: "unreadable",
}
# These say something of one order and nothing of the provider's health.
_ANSWERS = (NotFound, RequestRejected, InsufficientFunds, DuplicateOrder)


@dataclass(frozen=True, slots=True)
class Answer:
    """An order as answered. `shown` is None when the digest equals the one known; times frame the call."""

    shown: wire.Shown | None
    digest: str
    started_at: datetime
    finished_at: datetime
    status: int


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """One page of the order list without repeats; `unreadable` items were left out, `last` means none follows."""

    shown: tuple[wire.Shown, ...]
    unreadable: int
    page: int
    total: int | None
    last: bool
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP call for the record. Bodies are masked and cut; None where there was none or it is not kept."""

    at: datetime
    method: str
    path: str
    status: int | None
    milliseconds: int
    outcome: str
    order_po: str | None = None
    provider_id: str | None = None
    request: str | None = None
    answer: str | None = None


@dataclass(slots=True)
class _Call:
    """A call to make; after it was made, what came back."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    order_po: str | None = None
    provider_id: str | None = None
    token_number: int | None = None
    started_at: datetime | None = None
    status: int | None = None
    reply: str | None = None

    @property
    def shown_path(self) -> str:
        told = {name: value for name, value in self.params.items() if name != "poNumber"}
        return f"{self.path}?{urlencode(told)}" if told else self.path


class Budget:
    """At most `rate` calls in any one second, and none while the provider asked to wait. Monotonic seconds."""

    def __init__(
        self, rate: float, monotonic: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        self.rate = rate
        self.paused_until = 0.0
        self._monotonic, self._sleep = monotonic, sleep
        self._calls_in_window = max(1, int(rate))
        # One hundredth more, so that a clock of little resolution sees no call too many either.
        self._window = max(1.0, 1 / rate) * 1.01
        self._starts: deque[float] = deque(maxlen=max(self._calls_in_window, int(rate * 60) + 1))
        self._waiting = 0
        self._turn, self._in_flight = asyncio.Lock(), asyncio.Semaphore(MAX_IN_FLIGHT)
        self._pause_set_at = -1.0
        self._next_pause = FIRST_PAUSE

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for the call's turn and keeps one of the places in flight until the call is over.

        Raises:
            Throttled: the turn is more than half a minute away. The call has not left; the status is 429 for that.
        """
        self._refuse_long(self._wait() + self._waiting // self._calls_in_window * self._window)
        self._waiting += 1
        waiting = True
        try:
            async with self._in_flight:
                async with self._turn:
                    while (wait := self._wait()) > 0:
                        self._refuse_long(wait)
                        await self._sleep(wait)
                    self._starts.append(self._monotonic())
                self._waiting -= 1
                waiting = False
                yield
        finally:
            self._waiting -= waiting

    def _wait(self) -> float:
        now = self._monotonic()
        free_at = self.paused_until
        if len(self._starts) >= self._calls_in_window:
            free_at = max(free_at, self._starts[-self._calls_in_window] + self._window)
        return free_at - now

    def _refuse_long(self, wait: float) -> None:
        if wait > LONGEST_WAIT:
            raise Throttled("no call is free for now", status=429, retry_after=timedelta(seconds=wait))

    def pause(self, seconds: float | None, called_at: float) -> float:
        """Lets no call leave for so long; None: five seconds, twice as long each time up to five minutes."""
        now = self._monotonic()
        if seconds is None and called_at <= self._pause_set_at:
            # The call left before the pause that is in force: the same trouble, not worse trouble.
            seconds = max(self.paused_until - now, 0.0)
        elif seconds is None:
            seconds, self._next_pause = self._next_pause, min(self._next_pause * 2, LAST_PAUSE)
            self._pause_set_at = now
        self.paused_until = max(self.paused_until, now + min(seconds, LONGEST_PAUSE))
        return self.paused_until - now

    def went_well(self) -> None:
        """The provider answers again: the next pause without a Retry-After is a short one."""
        self._next_pause = FIRST_PAUSE

    def last_minute(self) -> int:
        """How many calls left in the last minute."""
        since = self._monotonic() - 60
        return sum(1 for start in self._starts if start > since)


def _now() -> datetime:
    return datetime.now(UTC)


def _forget(_: Exchange) -> None:
    pass


class Client:
    """Speaks to the provider. Every call may raise any ProviderError; none of them holds what was sent or answered.

    `record` gets every call that was tried, token calls included, and must not raise. `clock` is the wall clock,
    `monotonic` measures the budget and the token's life.
    """

    def __init__(  # noqa: PLR0913 - the last five are what tests and the simulation put in place of the world
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
        record: Callable[[Exchange], None] = _forget,
    ) -> None:
        self._credentials = _credentials(email, access_token)
        self._hidden = (email.strip(), access_token.strip())
        self._timeout = timeout
        self._clock, self._monotonic, self._record = clock, monotonic, record
        self._budget = Budget(rate, monotonic, sleep)
        self._token: wire.Token | None = None
        self._token_number = 0
        self._renew_at = 0.0
        self._renewal: asyncio.Task[None] | None = None
        self._failing_since: datetime | None = None
        self._last_error: str | None = None
        self._http = httpx.AsyncClient(
            base_url=base_url,
            # Compressed answers could grow beyond any limit while one piece of them is unpacked.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout / 2), pool=timeout / 2),
            limits=httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT),
            transport=transport,
            follow_redirects=False,
            trust_env=False,
        )

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        record: Callable[[Exchange], None] = _forget,
    ) -> Self:
        """The client for these settings; without a provider the one for the embedded sandbox behind `transport`."""
        address, email, secret = settings.api_base_url, settings.api_email, settings.api_access_token
        if address is None or email is None or secret is None:
            address, email, token = SANDBOX_URL, "sandbox@example.com", "sandbox"
        else:
            token = secret.get_secret_value()
        rate, timeout = settings.api_max_rate, settings.api_timeout
        return cls(address, email, token, rate=rate, timeout=timeout, transport=transport, record=record)

    async def place(self, document: Mapping[str, Any]) -> Answer:
        """Places the order. Throttled with 429, NotSent and CredentialsRefused mean that it was not carried out.

        Raises:
            OutcomeUnknown: a timeout, a broken connection, a 5xx, or a 2xx that does not show this order.
        """
        po_number = str(document["PONumber"])
        call = _Call("POST", "/v1/Orders", document=document, order_po=po_number)

        def read(raw: Any) -> Answer:
            shown = wire.read_order(raw)
            if (shown.snapshot.po_number or po_number) != po_number or not shown.snapshot.lines:
                raise UnreadableAnswer("the answer shows another order", status=call.status)
            return self._answer(call, shown, shown.digest)

        return await self._authorised(call, read)

    async def order(self, provider_id: str, *, known_digest: str | None = None) -> Answer:
        """The order with this id."""
        if provider_id in {"", ".", ".."}:
            raise NotFound("no order has such an id")
        call = _Call("GET", f"/v1/Orders/{quote(provider_id, safe='')}", provider_id=provider_id)

        def read(raw: Any) -> Answer:
            digest = wire.digest_of(raw)
            if digest == known_digest:
                call.reply = '"unchanged"'
                return self._answer(call, None, digest)
            shown = wire.read_order(raw)
            call.order_po = shown.snapshot.po_number
            if shown.snapshot.provider_id != provider_id:
                raise UnreadableAnswer("the answer shows another order", status=call.status)
            return self._answer(call, shown, digest)

        return await self._authorised(call, read)

    def _answer(self, call: _Call, shown: wire.Shown | None, digest: str) -> Answer:
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
        asked = {"startDate": _stated(start), "endDate": _stated(end), "poNumber": po_number}
        params = _paging(page, size) | {name: value for name, value in asked.items() if value}
        call = _Call("GET", "/v1/Orders", params=params, order_po=po_number)

        def read(raw: Any) -> OrdersPage:
            listed = wire.read_page(raw)
            found = [_order_or_none(item) for item in listed.items]
            unique = {shown.snapshot.provider_id: shown for shown in found if shown is not None}
            unreadable = found.count(None)
            last = _is_last(listed, size)
            started = call.started_at or self._clock()
            return OrdersPage(tuple(unique.values()), unreadable, page, listed.total, last, started, self._clock())

        try:
            return await self._authorised(call, read)
        except NotFound:
            if page <= 1:
                raise
            return OrdersPage((), 0, page, None, True, call.started_at or self._clock(), self._clock())

    async def products(self) -> list[dict[str, Any]]:
        """The whole catalogue."""
        return wire.read_products(await self._all("/v1/Products", 500))

    async def shipping_methods(self) -> list[dict[str, Any]]:
        """All shipping methods, none where the provider does not offer the list."""
        return wire.read_methods(await self._all("/v1/ShippingMethods", 50, optional=True))

    async def carriers(self) -> list[dict[str, Any]]:
        """All card carriers, none where the provider does not offer the list."""
        return wire.read_carriers(await self._all("/v1/Carriers", 50, optional=True))

    async def balance(self) -> dict[str, Any] | None:
        """The account's balance, None where the provider does not offer it."""
        try:
            return await self._authorised(_Call("GET", "/v1/AccountBalance"), wire.read_balance)
        except NotFound:
            return None

    async def _all(self, path: str, size: int, *, optional: bool = False) -> list[Any]:
        """The items of all pages, each id once, until a page is short, empty or brings nothing new."""
        found: dict[str, Any] = {}
        for number in range(1, MAX_PAGES + 1):
            call = _Call("GET", path, params=_paging(number, size))
            try:
                page = await self._authorised(call, wire.read_page)
            except NotFound:
                if optional or number > 1:
                    break
                raise
            known = len(found)
            for item in page.items:
                found.setdefault(wire.key_of(item), item)
            if len(found) == known or _is_last(page, size):
                break
        else:
            _logger.warning("list-cut path=%s pages=%d", path, MAX_PAGES)
        return list(found.values())

    def status(self) -> dict[str, Any]:
        """How the client fares, JSON-able, without secrets."""
        rest = self._budget.paused_until - self._monotonic()
        return {
            "token_valid_until": _stated(self._token.expires_at) if self._token else None,
            "calls_in_the_last_minute": self._budget.last_minute(),
            "rate": self._budget.rate,
            "paused_until": _stated(self._clock() + timedelta(seconds=rest)) if rest > 0 else None,
            "failing_since": _stated(self._failing_since),
            "last_error": self._last_error,
        }

    async def aclose(self) -> None:
        """Closes all connections; the client cannot be used any more."""
        if self._renewal is not None:
            self._renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError, ProviderError):
                await self._renewal
        await self._http.aclose()

    async def _authorised(self, call: _Call, read: Callable[[Any], _T]) -> _T:
        await self._renewed(refused=None)
        try:
            return await self._made(call, read)
        except CredentialsRefused:
            await self._renewed(refused=call.token_number)
        return await self._made(call, read)

    async def _renewed(self, refused: int | None) -> None:
        """Sees to a token that may be used: not the one refused. Many callers cause one renewal and share its end."""
        fresh = self._token is not None and self._monotonic() < self._renew_at
        if not fresh or refused == self._token_number:
            if self._renewal is None:
                self._renewal = asyncio.create_task(self._renew())
                self._renewal.add_done_callback(self._renewal_done)
            await asyncio.shield(self._renewal)

    def _renewal_done(self, task: asyncio.Task[None]) -> None:
        self._renewal = None
        if not task.cancelled():
            task.exception()  # Somebody has looked, even where every caller was cancelled.

    async def _renew(self) -> None:
        call = _Call("POST", "/v1/Tokens", headers=self._credentials)
        asked_at = self._clock()
        try:
            token = await self._made(call, lambda raw: wire.read_token(raw, asked_at), secret=True)
        except (CredentialsRefused, AccessDisabled, NotSent):
            raise
        except Throttled as exc:
            # Whatever waits for the token has not left, which is what 429 says.
            raise Throttled("no token for now", status=429, retry_after=exc.retry_after) from exc
        except RequestRejected as exc:
            if exc.status in {400, 422}:
                raise CredentialsRefused("no token for these credentials", status=exc.status) from exc
            raise NotSent("no token: the address may be wrong", status=exc.status) from exc
        except ProviderError as exc:
            raise NotSent("no token", status=exc.status) from exc
        life = (token.expires_at - asked_at).total_seconds()
        self._token, self._token_number = token, self._token_number + 1
        self._renew_at = self._monotonic() + life - min(60.0, life / 10)

    async def _made(self, call: _Call, read: Callable[[Any], _T], *, secret: bool = False) -> _T:
        """Makes the call once, within the budget, and records it."""
        try:
            async with self._budget.turn():
                call.started_at, call.status, call.reply = self._clock(), None, None
                with self._judged(call, self._monotonic()):
                    return await self._exchanged(call, read, secret=secret)
        except UnreadableAnswer as exc:
            if call.document is None:
                raise
            raise OutcomeUnknown("the answer to the order cannot be read", status=call.status) from exc

    @contextlib.contextmanager
    def _judged(self, call: _Call, began: float) -> Iterator[None]:
        """Keeps the record of the call and what it says of the provider's health."""
        outcome = "ok"
        try:
            yield
        except ProviderError as exc:
            outcome = _OUTCOMES[type(exc)]
            self._note_failure(exc, call)
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        else:
            self._failing_since = None
        finally:
            took = round((self._monotonic() - began) * 1000)
            level = logging.DEBUG if outcome in {"ok", "not found"} else logging.WARNING
            line = "call method=%s path=%s status=%s ms=%d outcome=%s"
            _logger.log(level, line, call.method, call.shown_path, call.status, took, outcome)
            self._record(self._exchange(call, took, outcome))

    def _note_failure(self, exc: ProviderError, call: _Call) -> None:
        if isinstance(exc, _ANSWERS):
            self._failing_since = None
            return
        self._failing_since = self._failing_since or call.started_at
        self._last_error = f"{type(exc).__name__}: {exc}" + (f" ({exc.status})" if exc.status else "")

    def _exchange(self, call: _Call, took: int, outcome: str) -> Exchange:
        request = None if call.document is None else self._masked(call.document)
        return Exchange(
            call.started_at or self._clock(),
            call.method,
            call.shown_path,
            call.status,
            took,
            outcome,
            call.order_po,
            call.provider_id,
            request,
            call.reply,
        )

    def _masked(self, raw: Any) -> str:
        # Cut last: a secret that the cut goes through would not be found any more.
        return self._without_secrets(wire.masked(raw, 4 * MAX_EXCHANGE_TEXT))[:MAX_EXCHANGE_TEXT]

    def _without_secrets(self, text: str) -> str:
        """The text without our own secrets, should the provider repeat them."""
        secrets = (*self._hidden, self._token.value) if self._token else self._hidden
        for secret in secrets:
            for form in (secret, json.dumps(secret)[1:-1]):
                text = text.replace(form, "***") if len(form) >= 8 else text
        return text

    async def _exchanged(self, call: _Call, read: Callable[[Any], _T], *, secret: bool) -> _T:
        began = self._monotonic()
        headers: dict[str, Any] = dict(call.headers)
        if not secret and self._token is not None:
            call.token_number = self._token_number
            headers["Authorization"] = f"Bearer {self._token.value}".encode()
        status, retry_after, body = await self._sent(call, headers)
        if status in {429, 503}:
            wait = self._budget.pause(_seconds(retry_after, self._clock()), began)
            rest = timedelta(seconds=wait)
            raise Throttled("the provider asks to wait", status=status, retry_after=rest)
        self._budget.went_well()
        if not 200 <= status < 300:
            raise self._refusal(call, status, _json_or_none(body), secret=secret)
        try:
            raw = wire.parse(body)
            result = read(raw)
        except UnreadableAnswer as exc:
            raise UnreadableAnswer(str(exc), status=status) from exc
        if not secret and call.reply is None:
            call.reply = self._masked(raw)
        return result

    async def _sent(self, call: _Call, headers: Mapping[str, Any]) -> tuple[int, str | None, bytes]:
        """Status, Retry-After and body."""
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(
                    call.method, call.path, params=call.params or None, json=call.document, headers=headers
                ) as response,
            ):
                call.status = response.status_code
                return call.status, response.headers.get("Retry-After"), await _body(response)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as exc:
            raise NotSent("no connection to the provider") from exc
        except httpx.InvalidURL as exc:
            raise NotSent("the provider's address cannot be used") from exc
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise OutcomeUnknown("no answer in time", status=call.status) from exc
        except (httpx.HTTPError, OSError) as exc:
            raise OutcomeUnknown("the connection broke", status=call.status) from exc

    def _refusal(self, call: _Call, status: int, raw: Any, *, secret: bool) -> ProviderError:
        placing = call.document is not None
        if raw is not None and not secret:
            call.reply = self._masked(raw)
        match status:
            case 401:
                return CredentialsRefused("the credentials were refused", status=status)
            case 403:
                return AccessDisabled("access to the API is disabled for the account", status=status)
            case 404:
                return NotFound("the provider does not know it", status=status)
            case 409 if placing:
                return DuplicateOrder(wire.read_conflict(raw))
            case 422 if placing:
                available, cost = wire.read_funds(raw)
                return InsufficientFunds(available=available, cost=cost)
            case _ if status >= 500 or status == 408:
                return OutcomeUnknown("the provider failed", status=status)
            case _:
                told = wire.read_problems(raw)
                problems = [Problem(*map(self._without_secrets, (one.where, one.message))) for one in told]
                return RequestRejected("the provider rejects the request", status=status, problems=problems)


def _credentials(email: str, access_token: str) -> dict[str, bytes]:
    """The headers of the token call, checked here, as what httpx says of a bad header holds its value."""
    given = {"Email": ("TRACKING_API_EMAIL", email), "AccessToken": ("TRACKING_API_ACCESS_TOKEN", access_token)}
    message = "cannot be sent in a header: use printable ASCII characters"
    if wrong := [name for name, value in given.values() if not re.fullmatch(r"[!-~]+", value.strip())]:
        raise SettingsError([Problem(name, message) for name in wrong])
    return {header: value.strip().encode() for header, (_, value) in given.items()}


async def _body(response: httpx.Response) -> bytes:
    """The whole body of a 2xx; of any other answer what there is of it, as its status says enough.

    Raises:
        UnreadableAnswer: it is too large. The connection is dropped with the rest.
    """
    fine = response.is_success
    limit = MAX_ANSWER if fine else MAX_ERROR_BODY
    received = bytearray()
    try:
        async for piece in response.aiter_bytes():
            received += piece
            if len(received) > limit:
                break
    except httpx.HTTPError:
        if fine:
            raise
    if len(received) > limit and fine:
        raise UnreadableAnswer("the answer is too large", status=response.status_code)
    return bytes(received[:limit])


def _json_or_none(body: bytes) -> Any:
    try:
        return wire.parse(body)
    except UnreadableAnswer:
        return None


def _order_or_none(raw: Any) -> wire.Shown | None:
    try:
        return wire.read_order(raw)
    except UnreadableAnswer:
        return None


def _paging(page: int, size: int) -> dict[str, str]:
    return {"pageIndex": str(page), "pageSize": str(size)}


def _is_last(page: wire.Page, asked: int) -> bool:
    """Whether the page is short. A provider that serves smaller pages than asked for says so in PageSize."""
    size = page.page_size if page.page_size and page.page_size < asked else asked
    return len(page.items) < size


def _stated(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    """The seconds a Retry-After asks for, from a second to an hour; None where it asks for nothing readable."""
    text = (retry_after or "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        asked = float(text) if len(text) < 10 else LONGEST_PAUSE
    else:
        try:
            at = parsedate_to_datetime(text)
            asked = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return min(max(asked, 1.0), LONGEST_PAUSE)
