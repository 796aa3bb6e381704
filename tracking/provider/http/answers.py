"""Transport that reads answers: the JSON of a 2xx into what was asked for, any other status into an error of ours."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from tracking.errors import (
    AccessDisabled,
    DuplicateOrder,
    InsufficientFunds,
    NotFound,
    OutcomeUnknown,
    Problem,
    ProviderError,
    RequestRejected,
    UnreadableAnswer,
)
from tracking.provider.http.call import ApiCall, call_of
from tracking.provider.json_fields import parse
from tracking.provider.masking import SecretMasker, people_in
from tracking.provider.responses import read_duplicate_ids, read_funds, read_problems

PARSED_IN_A_THREAD = 256 * 1024


class ReadingTransport(httpx.AsyncBaseTransport):
    """Wraps a transport whose responses are whole. The result of a 2xx comes back as the extension `result`."""

    def __init__(self, transport: httpx.AsyncBaseTransport, masker: SecretMasker) -> None:
        self._transport, self._masker = transport, masker

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Makes the attempt and reads what came. A 401 comes back unread: a new token may be the answer to it.

        Raises:
            UnreadableAnswer: a 2xx that is not what was asked for.
            ProviderError: what the status means.
        """
        response = await self._transport.handle_async_request(request)
        call = call_of(request)
        if response.is_success:
            raw, response.extensions["result"] = await _result(request, response)
            if call.masked_answer is None and not call.confidential:
                call.masked_answer = self._masker.json(raw)
            return response
        raw = _json_or_none(response.content)
        if raw is not None and not call.confidential:
            call.masked_answer = self._masker.json(raw, people_in(call.document))
        if response.status_code != httpx.codes.UNAUTHORIZED:
            raise self._error(call, response.status_code, raw)
        return response

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()

    def _error(self, call: ApiCall, status: int, raw: Any) -> ProviderError:
        placing = call.document is not None
        match status:
            case 403:
                return AccessDisabled("access to the API is disabled for the account", status=status)
            case 404:
                return NotFound("the provider does not know it", status=status)
            case 409 if placing:
                return DuplicateOrder(read_duplicate_ids(raw))
            case 422 if placing:
                available, cost = read_funds(raw)
                return InsufficientFunds(available=available, cost=cost)
            case _ if status >= 500 or status == 408:
                return OutcomeUnknown("the provider failed", status=status)
            case _:
                problems = self._problems(call, raw)
                return RequestRejected("the provider rejects the request", status=status, problems=problems)

    def _problems(self, call: ApiCall, raw: Any) -> list[Problem]:
        """The provider's own words, without our secrets and the people of the request."""
        people = people_in(call.document)
        return read_problems(raw, lambda text: self._masker.text(text, people))


async def _result(request: httpx.Request, response: httpx.Response) -> tuple[Any, Any]:
    """The JSON, and what the call's reader makes of it."""
    body, read = response.content, request.extensions["read"]
    try:
        if len(body) <= PARSED_IN_A_THREAD:
            return _parsed(body, read)
        # A bulk order takes half a second to read; in a thread the receiver's answers do not wait for it.
        return await asyncio.to_thread(_parsed, body, read)
    except UnreadableAnswer as exc:
        raise UnreadableAnswer(str(exc), status=response.status_code) from exc


def _parsed(body: bytes, read: Callable[[Any], Any]) -> tuple[Any, Any]:
    raw = parse(body)
    return raw, read(raw)


def _json_or_none(body: bytes) -> Any:
    try:
        return parse(body)
    except UnreadableAnswer:
        return None
