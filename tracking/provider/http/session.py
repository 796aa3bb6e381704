"""Session with the provider's API: single calls with a token, within the rate limit, each attempt recorded.

Knows no order: what is asked, and how an answer is read, comes with the call. Repeats nothing but the one call whose
token was refused; whoever calls decides what to try again.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx

from tracking import errors
from tracking.orders.observations import utc_now
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.http.answers import body_of, foreign_pause, read_answer
from tracking.provider.http.connection import HttpClients, no_connection
from tracking.provider.http.findings import Findings, place_of
from tracking.provider.http.recording import ApiCall, Recorder
from tracking.provider.http.token import TokenRenewal
from tracking.provider.masking import SecretMasker
from tracking.provider.rate_limit import LONGEST_BACKOFF, RateLimiter, parse_retry_after
from tracking.provider.responses import Token, read_token
from tracking.provider.scalars.times import format_time, parse_time
from tracking.provider.shared_rate_limit import LONGEST_PAUSE, SharedRateLimit

_T = TypeVar("_T")
# Before there was a connection, and so nothing was sent; a ProxyError is the proxy's refusal to connect.
_CONNECT_TIMEOUTS = httpx.ConnectTimeout, httpx.PoolTimeout
_UNCONNECTED = httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol, *_CONNECT_TIMEOUTS


@dataclass(frozen=True, slots=True)
class ApiAccount:
    """Where the API is and who calls it.

    Raises:
        SettingsError: credentials that cannot be sent in a header. What httpx says of such a header holds its value.
    """

    base_url: str
    email: str = field(repr=False)
    access_token: str = field(repr=False)

    def __post_init__(self) -> None:
        settings = {"TRACKING_API_EMAIL": self.email, "TRACKING_API_ACCESS_TOKEN": self.access_token}
        message = "cannot be sent in a header: use printable ASCII characters"
        if wrong := [name for name, value in settings.items() if not re.fullmatch(r"[!-~]+", value.strip())]:
            raise errors.SettingsError([errors.Problem(name, message) for name in wrong])

    @property
    def headers(self) -> dict[str, str]:
        """The headers that ask for a token."""
        return {"Email": self.email.strip(), "AccessToken": self.access_token.strip()}


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Calls a second, seconds for one call, and what limits the calls of all processes together; None for none."""

    rate: float = 5
    timeout: float = 30
    shared: SharedRateLimit | None = None


@dataclass(frozen=True, slots=True)
class TimeSource:
    """The clocks: `clock` is the wall clock; `monotonic` measures, in seconds, and `sleep` waits on it."""

    clock: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


DEFAULT_LIMITS = ApiLimits()
SYSTEM_TIME = TimeSource()


class ApiSession:
    """Makes the calls of one process and its event loop.

    `transport` is what sends, None for httpx's own. `record` takes every attempt that left, token calls included, and
    must not raise. `findings` takes what answers hold against the contract.
    """

    def __init__(
        self,
        account: ApiAccount,
        *,
        record: Callable[[ApiCallRecord], None],
        limits: ApiLimits = DEFAULT_LIMITS,
        times: TimeSource = SYSTEM_TIME,
        transport: httpx.AsyncBaseTransport | None = None,
        findings: Findings | None = None,
    ) -> None:
        self.findings = findings or Findings()
        self._account, self._times, self._timeout = account, times, limits.timeout
        self._limiter = RateLimiter(limits.rate, times.monotonic, times.sleep, limits.shared)
        self._tokens = TokenRenewal(self._fetch_token, times.clock, times.monotonic)
        self._masker = SecretMasker(self._secrets)
        self._recorder = Recorder(record, self._masker)
        self._http = HttpClients(
            account.base_url,
            # Compressed answers could grow beyond any limit while one piece of them is unpacked.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "Cache-Control": "no-cache"},
            timeout=httpx.Timeout(limits.timeout, connect=min(10.0, limits.timeout / 2), pool=limits.timeout / 2),
            transport=transport,
        )

    def _secrets(self) -> Iterator[str]:
        yield from self._account.headers.values()
        if self._tokens.token is not None:
            yield self._tokens.token.value

    async def send(self, call: ApiCall, read: Callable[[Any], _T]) -> _T:
        """What `read` makes of the answer to the call; a token that is refused is renewed once.

        Raises:
            ProviderError: any. CredentialsRefused, AccessDisabled, Throttled and NotSent also where there is no token.
        """
        await self._tokens.ensure()
        try:
            try:
                return await self._attempt(call, read)
            except errors.CredentialsRefused:
                await self._tokens.ensure(refused=call.token)
            except errors.NotTheProvider as exc:
                if exc.status != httpx.codes.UNAUTHORIZED:
                    raise
                await self._renew_after_page(call)
                if call.document is not None:
                    raise  # what answered may have passed the order on, and a second answer would not tell of the first
            return await self._attempt(call, read)
        except errors.UnreadableAnswer as exc:
            if call.document is None:
                raise
            raise errors.OutcomeUnknown(f"the answer to the order cannot be read: {exc}", status=call.status) from exc

    async def _renew_after_page(self, call: ApiCall) -> None:
        """Renews the token that a page refused, in case it was the provider's page."""
        try:
            await self._tokens.ensure(refused=call.token)
        except errors.ProviderError:
            if call.document is None:
                raise

    async def _fetch_token(self, asked_at: datetime) -> Token:
        call = ApiCall("POST", "/v1/Tokens", headers=self._account.headers, confidential=True)
        return await self._attempt(call, lambda raw: read_token(raw, asked_at, call.notes))

    async def _attempt(self, call: ApiCall, read: Callable[[Any], _T]) -> _T:
        """Makes the call and records it, whatever comes of it."""
        call.left_at, call.status, call.masked_answer, call.raw, call.answer_headers = None, None, None, None, {}
        call.notes.clear()
        error: BaseException | None = None
        try:
            return await read_answer(call, await self._exchange(call), read, self._masker)
        except BaseException as exc:  # also where the caller is cancelled: the call has left all the same
            error = exc
            raise
        finally:
            self._recorder.note(call, error, self._times.monotonic() - call.left_monotonic)
            now = self._times.clock()
            self.findings.note(place_of(call.path), call.notes, now)
            self.findings.sightings.note_answer(call, error, now, self._masker.text)
            call.raw = None

    async def _exchange(self, call: ApiCall) -> bytes:
        """Sends the call in its slot; 429 and 503 let no other leave for a while."""
        async with self._limiter.slot() as left_at:
            response, body = await self._transfer(call)
            if response.status_code in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
                asked = parse_retry_after(response.headers.get("Retry-After"), self._times.clock())
                other = foreign_pause(call, body, self._masker)
                if other is not None and asked is not None:
                    asked = min(asked, LONGEST_BACKOFF)  # what is not the provider stops nobody for long
                wait = timedelta(seconds=self._limiter.pause(asked, left_at))
                words = "the provider asks to wait" if other is None else other
                raise errors.Throttled(words, status=response.status_code, retry_after=wait, by_other=other is not None)
            self._limiter.reset_backoff()
            return body

    def _request(self, call: ApiCall, client: httpx.AsyncClient) -> httpx.Request:
        """The request with the newest token: the one there was may have been renewed while the call waited."""
        headers = dict(call.headers)
        if not call.confidential and (token := self._tokens.token) is not None:
            call.token, headers["Authorization"] = token, f"Bearer {token.value}"
        params = call.params or None
        try:
            return client.build_request(call.method, call.path, params=params, json=call.document, headers=headers)
        except httpx.InvalidURL as exc:
            raise errors.NotSent("the provider's address cannot be used") from exc

    async def _transfer(self, call: ApiCall) -> tuple[httpx.Response, bytes]:
        """Sends the call and reads the whole answer within the timeout. Waiting for a slot is over by then.

        Raises:
            NotSent: there was no connection; it says why.
            OutcomeUnknown: it took too long, or the connection broke.
            UnreadableAnswer: the answer is too large, or not packed as it says.
        """
        try:
            async with self._http.client() as client, asyncio.timeout(self._timeout):
                request = self._request(call, client)
                call.left_at, call.left_monotonic = self._times.clock(), self._times.monotonic()
                response = await client.send(request, auth=httpx.Auth(), stream=True)
                call.status, call.answer_headers = response.status_code, response.headers
                try:
                    return response, await body_of(response)
                finally:
                    await response.aclose()
        except httpx.DecodingError as exc:
            what = "the answer is not packed as its Content-Encoding says"
            raise errors.UnreadableAnswer(what, status=call.status) from exc
        except _UNCONNECTED as exc:
            raise errors.NotSent(no_connection(exc, self._account.base_url)) from exc
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise errors.OutcomeUnknown("no answer in time", status=call.status) from exc
        except (httpx.HTTPError, OSError) as exc:
            raise errors.OutcomeUnknown("the connection broke", status=call.status) from exc

    def pause(self, seconds: float) -> None:
        """Lets no call leave for so many seconds, as an earlier process was asked to wait."""
        self._limiter.pause(seconds, self._times.monotonic())

    def available(self) -> int:
        """How many calls can leave within the next second, beside those that wait for their slot already."""
        return self._limiter.available()

    def status(self) -> dict[str, Any]:
        """How the session fares, JSON-able, without secrets."""
        pause = self._limiter.paused_until - self._times.monotonic()
        token = self._tokens.token
        return {
            "token_valid_until": format_time(token.expires_at) if token else None,
            "calls_in_the_last_minute": self._limiter.calls_in_last_minute(),
            "rate": self._limiter.rate,
            "paused_until": format_time(self._times.clock() + timedelta(seconds=pause)) if pause > 0 else None,
            "answered_at": format_time(self._recorder.answered_at),
            "failing_since": format_time(self._recorder.failing_since),
            "failures": self._recorder.failures,
            "last_error": self._recorder.last_error,
        }

    def resume(self, status: Mapping[str, Any]) -> None:
        """Goes on from what `status` said of a session before: its pause, and that calls fail until one is answered.

        A time that cannot be, as the clock was set back since, is passed over.
        """
        now = self._times.clock()
        pause, since = (
            parse_time(at) if (at := status.get(name)) else now for name in ("paused_until", "failing_since")
        )
        if timedelta() < pause - now <= timedelta(seconds=LONGEST_PAUSE):
            self.pause((pause - now).total_seconds())
        if since < now:
            self._recorder.failing_since = since
            self._recorder.failures, self._recorder.last_error = status.get("failures", 1), status.get("last_error")

    async def aclose(self) -> None:
        """Closes all connections; the session cannot be used any more."""
        await self._tokens.aclose()
        await self._http.aclose()
