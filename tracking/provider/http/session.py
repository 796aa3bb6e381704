"""Session with the provider's API: single calls with a token, within the rate limit, each attempt recorded.

Puts the transports together; knows no order: what is asked, and how an answer is read, comes with the call. Repeats
nothing but the one call whose token was refused; whoever calls decides what to try again.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx

from tracking.errors import NotSent, OutcomeUnknown, Problem, SettingsError, UnreadableAnswer
from tracking.orders.observations import utc_now
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.http.answers import ReadingTransport
from tracking.provider.http.bounded import BoundedTransport
from tracking.provider.http.call import ApiCall
from tracking.provider.http.recording import ProviderHealth, RecordingTransport, refused_token
from tracking.provider.http.token_auth import TokenAuth, TokenTransport
from tracking.provider.json_fields import format_time
from tracking.provider.masking import SecretMasker
from tracking.provider.rate_limit import MAX_IN_FLIGHT, RateLimitedTransport, RateLimiter, SlotReserver
from tracking.provider.responses import Token, read_token

_T = TypeVar("_T")


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
            raise SettingsError([Problem(name, message) for name in wrong])

    @property
    def headers(self) -> dict[str, str]:
        """The headers that ask for a token."""
        return {"Email": self.email.strip(), "AccessToken": self.access_token.strip()}


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Calls a second, seconds for one call, and what limits the calls of all processes together; None for none."""

    rate: float = 5
    timeout: float = 30
    shared: SlotReserver | None = None


@dataclass(frozen=True, slots=True)
class TimeSource:
    """The clocks: `clock` is the wall clock; `monotonic` measures, in seconds, and `sleep` waits on it."""

    clock: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


DEFAULT_LIMITS = ApiLimits()
SYSTEM_TIME = TimeSource()


class ApiSession:
    """Makes the calls of one process and its event loop. Any may raise any ProviderError.

    Args:
        account: where the API is and who calls it.
        limits: the rate limit and the timeout.
        times: the clocks.
        transport: what sends; None for httpx's own.
        record: takes every attempt that left, token calls included, and must not raise.
    """

    def __init__(
        self,
        account: ApiAccount,
        limits: ApiLimits,
        times: TimeSource,
        transport: httpx.AsyncBaseTransport | None,
        record: Callable[[ApiCallRecord], None],
    ) -> None:
        self._account, self._times = account, times
        self._limiter = RateLimiter(limits.rate, times.monotonic, times.sleep, limits.shared)
        self._auth = TokenAuth(self._fetch_token, times.clock, times.monotonic)
        self._health = ProviderHealth()
        self._http = httpx.AsyncClient(
            base_url=account.base_url,
            # Compressed answers could grow beyond any limit while one piece of them is unpacked.
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(limits.timeout, connect=min(10.0, limits.timeout / 2), pool=limits.timeout / 2),
            transport=self._transports(transport, limits.timeout, record),
            follow_redirects=False,
            trust_env=False,
        )

    def _transports(
        self, transport: httpx.AsyncBaseTransport | None, timeout: float, record: Callable[[ApiCallRecord], None]
    ) -> httpx.AsyncBaseTransport:
        """What a request goes through, from the last to the first."""
        times, masker = self._times, SecretMasker(self._secrets)
        sending = _sending_transport() if transport is None else transport
        bounded = BoundedTransport(sending, timeout, times.clock, times.monotonic)
        limited = RateLimitedTransport(TokenTransport(bounded), self._limiter, times.clock)
        reading = ReadingTransport(limited, masker)
        return RecordingTransport(reading, record, self._health, masker, times.monotonic)

    def _secrets(self) -> Iterator[str]:
        yield from self._account.headers.values()
        if self._auth.token is not None:
            yield self._auth.token.value

    async def send(self, call: ApiCall, read: Callable[[Any], _T]) -> _T:
        """What `read` makes of the answer to the call; a token that is refused is renewed once."""
        return await self._send(call, read, self._auth)

    async def _fetch_token(self, asked_at: datetime) -> Token:
        call = ApiCall("POST", "/v1/Tokens", headers=self._account.headers, confidential=True)
        return await self._send(call, lambda raw: read_token(raw, asked_at), None)

    async def _send(self, call: ApiCall, read: Callable[[Any], _T], auth: TokenAuth | None) -> _T:
        try:
            request = self._http.build_request(
                call.method,
                call.path,
                params=call.params or None,
                json=call.document,
                headers=call.headers,
                extensions=call.extensions(read),
            )
            response = await self._http.send(request, auth=auth)
        except httpx.InvalidURL as exc:
            raise NotSent("the provider's address cannot be used") from exc
        except UnreadableAnswer as exc:
            if call.document is None:
                raise
            raise OutcomeUnknown("the answer to the order cannot be read", status=call.status) from exc
        if error := refused_token(response):
            raise error
        result: _T = response.extensions["result"]
        return result

    def pause(self, seconds: float) -> None:
        """Lets no call leave for so long."""
        self._limiter.pause(seconds, self._times.monotonic())

    def available(self) -> int:
        """How many calls can leave within the next second, beside those that wait for their slot already."""
        return self._limiter.available()

    def status(self) -> dict[str, Any]:
        """How the session fares, JSON-able, without secrets."""
        pause = self._limiter.paused_until - self._times.monotonic()
        token = self._auth.token
        return {
            "token_valid_until": format_time(token.expires_at) if token else None,
            "calls_in_the_last_minute": self._limiter.calls_in_last_minute(),
            "rate": self._limiter.rate,
            "paused_until": format_time(self._times.clock() + timedelta(seconds=pause)) if pause > 0 else None,
            "failing_since": format_time(self._health.failing_since),
            "last_error": self._health.last_error,
        }

    async def aclose(self) -> None:
        """Closes all connections; the session cannot be used any more."""
        await self._auth.aclose()
        await self._http.aclose()


def _sending_transport() -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    return httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
