"""Single calls to the provider over HTTP, with the token and within the budget: the only user of httpx.

Owns the token, the record of each call and the translation of everything that can go wrong into `tracking.errors`;
`budget` says when a call may leave. Knows no order: what is asked, and how an answer is read, comes with the call.
Repeats nothing but the one call whose token was refused; whoever calls decides what to try again.
"""

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx

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
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.json_fields import parse
from tracking.provider.masking import masked, people_in, without
from tracking.provider.rate_limit import MAX_IN_FLIGHT, Budget, Shared, seconds_asked
from tracking.provider.responses import Token, read_conflict, read_funds, read_problems, read_token

MAX_ANSWER = 32 * 1024 * 1024
MAX_ERROR_BODY = 256 * 1024
MAX_EXCHANGE_TEXT = 4000
READ_IN_A_THREAD = 256 * 1024

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


@dataclass(slots=True)
class Call:
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
        """The path for the record, without the PONumber."""
        told = {name: value for name, value in self.params.items() if name != "poNumber"}
        return f"{self.path}?{urlencode(told)}" if told else self.path


class Calls:
    """Makes the calls of one process and its event loop. Any may raise any ProviderError.

    `record` gets every call that was tried, token calls included, and must not raise. `clock` is the wall clock,
    `monotonic` measures the budget and the token's life; `shared` is the budget of all processes together.
    """

    def __init__(  # noqa: PLR0913 - the client's own arguments, handed on
        self,
        base_url: str,
        email: str,
        access_token: str,
        *,
        rate: float,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        record: Callable[[ApiCallRecord], None],
        shared: Shared | None,
    ) -> None:
        self._credentials = _credentials(email, access_token)
        self._hidden = (email.strip(), access_token.strip())
        self._timeout = timeout
        self._clock, self._monotonic, self._record = clock, monotonic, record
        self._budget = Budget(rate, monotonic, sleep, shared)
        self._token: Token | None = None
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

    async def authorised(self, call: Call, read: Callable[[Any], _T]) -> _T:
        """What `read` makes of the answer to the call; a token that is refused is renewed once."""
        await self._renewed(refused=None)
        try:
            return await self._made(call, read)
        except CredentialsRefused:
            await self._renewed(refused=call.token_number)
        return await self._made(call, read)

    def pause(self, seconds: float) -> None:
        """Lets no call leave for so long."""
        self._budget.pause(seconds, self._monotonic())

    def room(self) -> int:
        """How many calls can leave within the next second, beside those that wait for their turn already."""
        return self._budget.room()

    def status(self) -> dict[str, Any]:
        """How the client fares, JSON-able, without secrets."""
        rest = self._budget.paused_until - self._monotonic()
        return {
            "token_valid_until": stated(self._token.expires_at) if self._token else None,
            "calls_in_the_last_minute": self._budget.last_minute(),
            "rate": self._budget.rate,
            "paused_until": stated(self._clock() + timedelta(seconds=rest)) if rest > 0 else None,
            "failing_since": stated(self._failing_since),
            "last_error": self._last_error,
        }

    async def aclose(self) -> None:
        """Closes all connections; the client cannot be used any more."""
        if self._renewal is not None:
            self._renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError, ProviderError):
                await self._renewal
        await self._http.aclose()

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
        call = Call("POST", "/v1/Tokens", headers=self._credentials)
        asked_at = self._clock()
        try:
            token = await self._made(call, lambda raw: read_token(raw, asked_at), secret=True)
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

    async def _made(self, call: Call, read: Callable[[Any], _T], *, secret: bool = False) -> _T:
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
    def _judged(self, call: Call, began: float) -> Iterator[None]:
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

    def _note_failure(self, exc: ProviderError, call: Call) -> None:
        if isinstance(exc, _ANSWERS):
            self._failing_since = None
            return
        self._failing_since = self._failing_since or call.started_at
        self._last_error = f"{type(exc).__name__}: {exc}" + (f" ({exc.status})" if exc.status else "")

    def _exchange(self, call: Call, took: int, outcome: str) -> ApiCallRecord:
        request = None if call.document is None else self._masked(call.document)
        return ApiCallRecord(
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
        return self._without_secrets(masked(raw, 4 * MAX_EXCHANGE_TEXT))[:MAX_EXCHANGE_TEXT]

    def _without_secrets(self, text: str) -> str:
        """The text without our own secrets, should the provider repeat them."""
        secrets = (*self._hidden, self._token.value) if self._token else self._hidden
        for secret in secrets:
            for form in (secret, json.dumps(secret)[1:-1]):
                text = text.replace(form, "***") if len(form) >= 8 else text
        return text

    async def _exchanged(self, call: Call, read: Callable[[Any], _T], *, secret: bool) -> _T:
        began = self._monotonic()
        headers: dict[str, Any] = dict(call.headers)
        if not secret and self._token is not None:
            call.token_number = self._token_number
            headers["Authorization"] = f"Bearer {self._token.value}".encode()
        status, retry_after, body = await self._sent(call, headers)
        if status in {429, 503}:
            wait = self._budget.pause(seconds_asked(retry_after, self._clock()), began)
            rest = timedelta(seconds=wait)
            raise Throttled("the provider asks to wait", status=status, retry_after=rest)
        self._budget.went_well()
        if not 200 <= status < 300:
            raise self._refusal(call, status, _json_or_none(body), secret=secret)
        try:
            # A bulk order takes half a second to read; in a thread the receiver's answers do not wait for it.
            whole = len(body) > READ_IN_A_THREAD
            raw, result = await asyncio.to_thread(_read, body, read) if whole else _read(body, read)
        except UnreadableAnswer as exc:
            raise UnreadableAnswer(str(exc), status=status) from exc
        if not secret and call.reply is None:
            call.reply = self._masked(raw)
        return result

    async def _sent(self, call: Call, headers: Mapping[str, Any]) -> tuple[int, str | None, bytes]:
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

    def _refusal(self, call: Call, status: int, raw: Any, *, secret: bool) -> ProviderError:
        placing = call.document is not None
        people = people_in(call.document)
        if raw is not None and not secret:
            call.reply = without(self._masked(raw), people)
        match status:
            case 401:
                return CredentialsRefused("the credentials were refused", status=status)
            case 403:
                return AccessDisabled("access to the API is disabled for the account", status=status)
            case 404:
                return NotFound("the provider does not know it", status=status)
            case 409 if placing:
                return DuplicateOrder(read_conflict(raw))
            case 422 if placing:
                available, cost = read_funds(raw)
                return InsufficientFunds(available=available, cost=cost)
            case _ if status >= 500 or status == 408:
                return OutcomeUnknown("the provider failed", status=status)
            case _:
                told = read_problems(raw)
                hidden = (map(self._without_secrets, (one.where, one.message)) for one in told)
                problems = [Problem(*(without(text, people) for text in texts)) for texts in hidden]
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


def _read(body: bytes, read: Callable[[Any], _T]) -> tuple[Any, _T]:
    raw = parse(body)
    return raw, read(raw)


def _json_or_none(body: bytes) -> Any:
    try:
        return parse(body)
    except UnreadableAnswer:
        return None


def stated(at: datetime | None) -> str | None:
    """The time as the provider writes it, in UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
