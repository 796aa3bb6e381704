"""Transport that records each attempt of a call, and what the attempts say of the provider's health."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

import httpx

from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    DuplicateOrder,
    InsufficientFunds,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    RequestRejected,
    Throttled,
    UnreadableAnswer,
)
from tracking.provider.call_log import ApiCallRecord
from tracking.provider.http.call import ApiCall, call_of
from tracking.provider.masking import SecretMasker

_logger = logging.getLogger(__package__)
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


def refused_token(response: httpx.Response) -> CredentialsRefused | None:
    """The error that a 401 is once no new token helps; every other is raised where the answer is read."""
    if response.status_code != httpx.codes.UNAUTHORIZED:
        return None
    return CredentialsRefused("the credentials were refused", status=response.status_code)


class ProviderHealth:
    """Since when calls fail for reasons that are not one order's, and why the latest failed."""

    def __init__(self) -> None:
        self.failing_since: datetime | None = None
        self.last_error: str | None = None

    def note_success(self) -> None:
        """The provider answered as it should."""
        self.failing_since = None

    def note_error(self, error: ProviderError, at: datetime) -> None:
        """An attempt of this time failed."""
        if isinstance(error, _ANSWERS):
            self.failing_since = None
            return
        self.failing_since = self.failing_since or at
        self.last_error = f"{type(error).__name__}: {error}" + (f" ({error.status})" if error.status else "")


class RecordingTransport(httpx.AsyncBaseTransport):
    """Wraps the transport that makes an attempt and knows what came of it. Calls that never left are not recorded.

    Args:
        transport: what makes the attempt.
        record: takes each record, and must not raise.
        health: is told of each attempt.
        masker: masks what was sent.
        monotonic: measures the attempt, in seconds.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        record: Callable[[ApiCallRecord], None],
        health: ProviderHealth,
        masker: SecretMasker,
        monotonic: Callable[[], float],
    ) -> None:
        self._transport, self._record, self._health = transport, record, health
        self._masker, self._monotonic = masker, monotonic

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Makes the attempt and records it, whatever comes of it."""
        call = call_of(request)
        call.begin_attempt()
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException as exc:  # also where the caller is cancelled: the call has left all the same
            self._note(call, exc)
            raise
        self._note(call, refused_token(response))
        return response

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()

    def _note(self, call: ApiCall, error: BaseException | None) -> None:
        if call.left_at is None:
            return
        if error is None:
            self._health.note_success()
        elif isinstance(error, ProviderError):
            self._health.note_error(error, call.left_at)
        took = round((self._monotonic() - call.left_monotonic) * 1000)
        outcome = _outcome(error)
        level = logging.DEBUG if outcome in {"ok", "not found"} else logging.WARNING
        line = "call method=%s path=%s status=%s ms=%d outcome=%s"
        _logger.log(level, line, call.method, call.recorded_path, call.status, took, outcome)
        self._record(
            ApiCallRecord(
                at=call.left_at,
                method=call.method,
                path=call.recorded_path,
                status=call.status,
                milliseconds=took,
                outcome=outcome,
                order_po=call.order_po,
                provider_id=call.provider_id,
                request=None if call.document is None else self._masker.json(call.document),
                answer=call.masked_answer,
            )
        )


def _outcome(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, ProviderError):
        return _OUTCOMES[type(error)]
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "unreadable"
