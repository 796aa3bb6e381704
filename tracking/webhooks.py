"""Receives the provider's callbacks. Proves the address, commits, then answers; believes nothing in the body.

Every refusal looks alike (404, empty) and every proven call looks alike (204), so that an answer tells a stranger
nothing. A refusal costs a bounded row at the most and never a call of the provider.

503 says that the store is busy and that the call should come again. A call that names its order by the provider's id
alone can only be judged with the store; while that cannot be read, right and wrong addresses, known and unknown orders
get the same 503, which tells a stranger of the store's health what /healthz tells as well, and nothing of any order.
404 would lose the claims of the right ones.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracking import callbacks, ingest, store
from tracking.database import Database
from tracking.errors import CallbackRefused, StoreError
from tracking.ingest import Planner
from tracking.wire import Callback, read_callback

log = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024
LARGEST_DRAINED = 32 * 1024 * 1024
SECONDS_TO_READ = 5
REFUSALS_A_SECOND = 5


class Receiver:
    """The ASGI endpoint behind /webhooks/fulfillment/{token}, and the refusal of everything else below /webhooks.

    Args:
        database: where callbacks are committed before they are answered.
        secrets: what addresses are proven with.
        planner: makes the order's next due time.
        clock: now, aware and in UTC.
        woken: called after an accepted callback, so that the poller need not wait for its next tick.
    """

    def __init__(
        self,
        database: Database,
        secrets: Sequence[str],
        planner: Planner,
        *,
        clock: Callable[[], datetime],
        woken: Callable[[], None],
    ) -> None:
        self._database = database
        self._secrets = tuple(secrets)
        self._planner = planner
        self._clock = clock
        self._woken = woken
        self._kept_refusals: deque[datetime] = deque(maxlen=REFUSALS_A_SECOND)
        self.accepted = 0
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one call."""
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        body = _Body()
        try:
            async with asyncio.timeout(SECONDS_TO_READ):
                await body.read(request)
            callback = await self._prove(request, body.content())
            await self._commit(callback, body.size)
        except _Recorded:
            self.refused += 1
            return Response(status_code=404)
        except CallbackRefused as exc:
            return await self._refuse(request, str(exc), body.size)
        except TimeoutError:
            return await self._refuse(request, f"the body took longer than {SECONDS_TO_READ} s", body.size)
        except ClientDisconnect:
            return Response(status_code=404)
        except StoreError as exc:
            log.warning("callback neither accepted nor refused, the provider will repeat it: %s", exc)
            return Response(status_code=503)
        return Response(status_code=204)

    async def _prove(self, request: Request, body: bytes) -> Callback:
        token = request.path_params.get("token", "")
        if request.method != "POST":
            raise CallbackRefused(f"method {request.method}")
        if len(token) != callbacks.TOKEN_LENGTH:
            raise CallbackRefused("no such address")
        callback = read_callback(body)
        po_number = callback.po_number or await self._po_number(callback.provider_id)
        if po_number is None or not callbacks.fits(token, po_number, self._secrets):
            raise CallbackRefused("the address does not fit the order it names")
        return callback

    async def _po_number(self, provider_id: str | None) -> str | None:
        """A callback without a PONumber is proven by the PONumber of the order it names."""
        if provider_id is None:
            return None
        return await asyncio.to_thread(self._read_po_number, provider_id)

    def _read_po_number(self, provider_id: str) -> str | None:
        with self._database.read() as connection:
            return store.po_number_of(connection, provider_id)

    async def _commit(self, callback: Callback, size: int) -> None:
        now = self._clock()
        announced = await asyncio.wrap_future(
            self._database.submit(lambda connection: ingest.announce(connection, callback, size, now, self._planner))
        )
        log.info("callback outcome=%s", announced.outcome)
        if announced.outcome == "refused":
            raise _Recorded(announced.reason or "")
        self.accepted += 1
        self._woken()

    async def _refuse(self, request: Request, reason: str, size: int) -> Response:
        self.refused += 1
        log.info("callback refused reason=%r size=%d", reason, size)
        now = self._clock()
        if not self._may_keep(now):
            return Response(status_code=404)
        values: dict[str, Any] = {"reason": reason, "method": request.method[:10], "size": size}
        try:
            await asyncio.wrap_future(
                self._database.submit(lambda connection: store.record_refusal(connection, values, now))
            )
        except StoreError:
            log.warning("refusal not stored", exc_info=True)
        return Response(status_code=404)

    def _may_keep(self, now: datetime) -> bool:
        """A flood of refusals fills neither the disk nor the writer's queue; the rest is only counted."""
        full = len(self._kept_refusals) == REFUSALS_A_SECOND
        if full and timedelta() <= now - self._kept_refusals[0] < timedelta(seconds=1):
            return False
        self._kept_refusals.append(now)
        return True


class _Recorded(CallbackRefused):
    """Refused, and already written down beside its order."""


class _Body:
    """What arrives of a body, and how much that is, also where it is too much or does not come to an end."""

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []

    async def read(self, request: Request) -> None:
        """Takes it in. What is too large is read to its end without being kept, so that the answer arrives."""
        async for chunk in request.stream():
            self.size += len(chunk)
            if self.size <= LARGEST_BODY:
                self._chunks.append(chunk)
            elif self.size > LARGEST_DRAINED:
                break

    def content(self) -> bytes:
        """The whole body.

        Raises:
            CallbackRefused: it was too large.
        """
        if self.size > LARGEST_BODY:
            raise CallbackRefused(f"the body is larger than {LARGEST_BODY // 1024} kB ({self.size} bytes read)")
        return b"".join(self._chunks)
