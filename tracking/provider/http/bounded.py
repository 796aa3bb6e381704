"""Transport that bounds each attempt: a whole body within a time and a size, httpx's errors translated into ours."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import httpx

from tracking.errors import NotSent, OutcomeUnknown, UnreadableAnswer
from tracking.provider.http.call import call_of

MAX_ANSWER = 32 * 1024 * 1024
MAX_ERROR_BODY = 256 * 1024
# They say how the body travelled, which is over once it is here.
_TRANSFER_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class BoundedTransport(httpx.AsyncBaseTransport):
    """Wraps the transport that sends, and is the first to know that a call leaves.

    Args:
        transport: what sends.
        timeout: seconds for the whole attempt, its body included. Waiting for a slot is over by then.
        clock: the wall clock.
        monotonic: the clock that measures, in seconds.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        timeout: float,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._transport, self._timeout = transport, timeout
        self._clock, self._monotonic = clock, monotonic

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request and reads the whole answer.

        Raises:
            NotSent: there was no connection.
            OutcomeUnknown: it took too long, or the connection broke.
            UnreadableAnswer: the answer is too large.
        """
        call = call_of(request)
        call.left_at, call.left_monotonic = self._clock(), self._monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._transport.handle_async_request(request)
                call.status = response.status_code
                try:
                    body = await _body(response)
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as exc:
            raise NotSent("no connection to the provider") from exc
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise OutcomeUnknown("no answer in time", status=call.status) from exc
        except (httpx.HTTPError, OSError) as exc:
            raise OutcomeUnknown("the connection broke", status=call.status) from exc
        headers = [(name, value) for name, value in response.headers.items() if name not in _TRANSFER_HEADERS]
        return httpx.Response(response.status_code, headers=headers, content=body)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._transport.aclose()


async def _body(response: httpx.Response) -> bytes:
    """The whole body of a 2xx; of any other answer what there is of it, as its status says enough.

    Raises:
        UnreadableAnswer: it is too large. The connection is dropped with the rest.
    """
    limit = MAX_ANSWER if response.is_success else MAX_ERROR_BODY
    received = bytearray()
    try:
        async for piece in response.aiter_bytes():
            received += piece
            if len(received) > limit:
                break
    except httpx.HTTPError:
        if response.is_success:
            raise
    if len(received) > limit and response.is_success:
        raise UnreadableAnswer("the answer is too large", status=response.status_code)
    return bytes(received[:limit])
