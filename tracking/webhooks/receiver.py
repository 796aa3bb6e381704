"""Webhook receiver: verify the secret address, commit, then answer; believes nothing in the body.

Every refusal looks alike (404, empty) and every proven call looks alike (204), so that an answer tells a stranger
nothing. A refusal costs a bounded row at the most and never a call of the provider. A source that has reached its
limit of refusals (`throttling`) is still judged, lest a genuine call from there be lost, but costs neither a row nor
a line of the log; a call that is given up unread gets the same 404 as every other refusal.

503 says that the store is busy and that the call should come again. A call that names its order by the provider's id
alone can only be judged with the store; while that cannot be read, right and wrong addresses, known and unknown orders
get the same 503, which tells a stranger of the store's health what /healthz tells as well, and nothing of any order.
404 would lose the claims of the right ones.

Repeats of a call that come while it is being committed are committed in one batch, and calls that name no PONumber are
looked up in batches, so that a flood of either is a few statements' work.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracking import ingest
from tracking.errors import CallbackRefused, StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.provider.responses import WebhookCall, read_webhook_call
from tracking.storage import inbox, orders
from tracking.storage.database import Database
from tracking.webhooks import addresses
from tracking.webhooks.batching import Batcher
from tracking.webhooks.throttling import ReadSlots, RefusalLimits, source_of

log = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024
LARGEST_BODY_OVER_LIMIT = 4 * 1024  # a genuine one has less than 2 kB
LARGEST_DRAINED = 32 * 1024 * 1024
SECONDS_TO_READ = 5
REFUSALS_STORED_PER_SECOND = 5
LOOKUPS_PER_BATCH = 5000
SLOW_LOOKUP_PAUSE = 0.25  # seconds, of sources over their limit: reads of the store hold its writer up


class Receiver:
    """The ASGI endpoint behind /webhooks/fulfillment/{token}; refuses everything else below /webhooks.

    Addresses are verified with the secrets; `clock` is aware and in UTC; `wake` is called after an accepted call, so
    that the poller need not wait for its next tick.
    """

    def __init__(
        self,
        database: Database,
        secrets: Sequence[str],
        planner: PlanningContext,
        *,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._database, self._planner, self._clock, self._wake = database, planner, clock, wake
        self._secrets = tuple(secrets)
        self._refusal_limits, self._read_slots = RefusalLimits(), ReadSlots()
        self._refusals_stored: deque[datetime] = deque(maxlen=REFUSALS_STORED_PER_SECOND)
        self._commits: dict[str, Batcher[int, str]] = {}
        self._lookups = Batcher(self._po_numbers, most=LOOKUPS_PER_BATCH)
        self._slow_lookups = Batcher(self._po_numbers, most=LOOKUPS_PER_BATCH, pause=SLOW_LOOKUP_PAUSE)
        self.accepted = self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        response = await self._answer(request)
        # Where the server has closed the connection over a broken body, some transports raise when they are written to.
        with contextlib.suppress(RuntimeError):
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        source = source_of(request.client.host if request.client else None)
        exhausted = self._refusal_limits.exhausted(source, self._clock())
        body = _Body(LARGEST_BODY_OVER_LIMIT if exhausted else LARGEST_BODY)
        try:
            async with self._read_slots.slot(source, SECONDS_TO_READ):
                content = await body.read(request, body.largest if exhausted else LARGEST_DRAINED)
            call = await self._authenticate(request, content, self._slow_lookups if exhausted else self._lookups)
            if await self._commit(call, body.size) == "refused":  # and recorded with its order
                self.refused += 1
                return Response(status_code=404)
        except CallbackRefused as exc:
            return await self._refuse(request, source, str(exc), body.size)
        except TimeoutError:
            why = f"the body took longer than {SECONDS_TO_READ} s, or gave way to others"
            return await self._refuse(request, source, why, body.size)
        except ClientDisconnect:
            return Response(status_code=404)
        except StoreError as exc:
            log.warning("callback neither accepted nor refused, the provider will repeat it: %s", exc)
            return Response(status_code=503)
        return Response(status_code=204)

    async def _authenticate(self, request: Request, body: bytes, lookups: Batcher[str, str | None]) -> WebhookCall:
        token = request.path_params.get("token", "")
        if request.method != "POST":
            raise CallbackRefused(f"method {request.method}")
        if len(token) != addresses.TOKEN_LENGTH:
            raise CallbackRefused("no such address")
        call = read_webhook_call(body)
        po_number = call.po_number
        if po_number is None and call.provider_id is not None:
            po_number = await lookups.submit(call.provider_id)
        # As much work for an order that does not exist as for one that does.
        genuine = addresses.verify_token(token, po_number or "", self._secrets)
        if po_number is None or not genuine:
            raise CallbackRefused("the address does not fit the order it names")
        return call

    async def _po_numbers(self, provider_ids: list[str]) -> list[str | None]:
        """Look up the PONumbers of calls that name only the provider's id: the token is that of the PONumber.

        One thread does a whole batch, however many wait: the poller needs threads too.
        """

        def read() -> dict[str, str]:
            with self._database.read() as connection:
                return orders.po_numbers_of(connection, list(dict.fromkeys(provider_ids)))

        po_numbers = await asyncio.to_thread(read)
        return [po_numbers.get(provider_id) for provider_id in provider_ids]

    async def _commit(self, call: WebhookCall, size: int) -> str:
        """Commit the call; returns the outcome."""
        batcher = self._commits.get(call.digest)
        if batcher is None:
            batcher = self._commits[call.digest] = Batcher(lambda sizes: self._commit_batch(call, sizes))
        try:
            outcome = await batcher.submit(size)
        finally:
            if batcher.idle and self._commits.get(call.digest) is batcher:
                del self._commits[call.digest]
        if outcome != "refused":
            self.accepted += 1
            self._wake()
        return outcome

    async def _commit_batch(self, call: WebhookCall, sizes: list[int]) -> list[str]:
        """Commit a call with its repeats that have come so far; all of them are answered after that."""
        now, size, times = self._clock(), sizes[0], len(sizes)

        def job(connection: Connection) -> str:
            return ingest.receive_webhook(connection, call, size, now, self._planner, times=times)

        outcome = await self._database.run(job)
        log.info("callback outcome=%s times=%d", outcome, times)
        return [outcome] * times

    async def _refuse(self, request: Request, source: str, reason: str, size: int) -> Response:
        self.refused += 1
        now = self._clock()
        if not self._refusal_limits.take(source, now):
            return Response(status_code=404)
        log.info("callback refused reason=%r size=%d", reason, size)
        if not self._may_store_refusal(now):
            return Response(status_code=404)
        values: dict[str, Any] = {"reason": reason, "method": request.method[:10], "size": size}
        try:
            await self._database.run(lambda connection: inbox.record_refusal(connection, values, now))
        except StoreError:
            log.warning("refusal not stored", exc_info=True)
        return Response(status_code=404)

    def _may_store_refusal(self, now: datetime) -> bool:
        """Limit the stored refusals, so that a flood from many sources fills neither disk nor writer's queue."""
        full = len(self._refusals_stored) == REFUSALS_STORED_PER_SECOND
        if full and timedelta() <= now - self._refusals_stored[0] < timedelta(seconds=1):
            return False
        self._refusals_stored.append(now)
        return True


@dataclass(slots=True)
class _Body:
    """Reads a request body of `largest` bytes at the most, and its size also where it is larger or breaks off."""

    largest: int
    size: int = 0

    async def read(self, request: Request, last: int) -> bytes:
        """Read the body, a larger one up to the byte `last` without storing it, so that the answer arrives.

        Raises:
            CallbackRefused: it was too large.
        """
        content = bytearray()
        async for chunk in request.stream():
            self.size += len(chunk)
            if self.size <= self.largest:
                content += chunk
            elif self.size > last:
                break
        if self.size > self.largest:
            raise CallbackRefused(f"the body is larger than {self.largest // 1024} kB ({self.size} bytes read)")
        return bytes(content)
