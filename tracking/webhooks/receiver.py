"""Receives the provider's callbacks. Proves the address, commits, then answers; believes nothing in the body.

Every refusal looks alike (404, empty) and every proven call looks alike (204), so that an answer tells a stranger
nothing. A refusal costs a bounded row at the most and never a call of the provider. A source that has used up its
allowance of refusals (`admission`) is still judged, lest a genuine call beside it be lost, but costs neither a row nor
a line of the log; a call that is given up unread gets the same 404 as every other refusal.

503 says that the store is busy and that the call should come again. A call that names its order by the provider's id
alone can only be judged with the store; while that cannot be read, right and wrong addresses, known and unknown orders
get the same 503, which tells a stranger of the store's health what /healthz tells as well, and nothing of any order.
404 would lose the claims of the right ones.

What can gather does: repeats of a callback that come while it is being committed are committed together, and calls that
name no PONumber are looked up together, so that a flood of either is a few statements' work.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracking import ingest
from tracking.errors import CallbackRefused, StoreError
from tracking.forecasting.planner import Planner
from tracking.ingest import WebhookOutcome
from tracking.provider.responses import Callback, read_callback
from tracking.storage import inbox, orders
from tracking.storage.database import Database
from tracking.webhooks import addresses as callbacks
from tracking.webhooks.batching import Gathering
from tracking.webhooks.throttling import Allowances, OpenReads, source_of

log = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024
LARGEST_BODY_BEYOND_ALLOWANCE = 4 * 1024  # a genuine one has less than 2 kB
LARGEST_DRAINED = 32 * 1024 * 1024
SECONDS_TO_READ = 5
REFUSALS_A_SECOND = 5
LOOKED_UP_TOGETHER = 5000
SECONDS_BETWEEN_LOOKUPS = 0.25  # of sources beyond their allowance: reads of the store hold its writer up


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
        self._allowances = Allowances()
        self._reads = OpenReads()
        self._kept_refusals: deque[datetime] = deque(maxlen=REFUSALS_A_SECOND)
        self._commits: dict[str, Gathering[int, WebhookOutcome]] = {}
        self._lookups = Gathering(self._po_numbers, most=LOOKED_UP_TOGETHER)
        self._slow_lookups = Gathering(self._po_numbers, most=LOOKED_UP_TOGETHER, pause=SECONDS_BETWEEN_LOOKUPS)
        self.accepted = 0
        self.refused = 0
        self.unlogged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one call."""
        request = Request(scope, receive)
        response = await self._answer(request)
        # Where the server has closed the connection over a broken body, some transports raise when they are written to.
        with contextlib.suppress(RuntimeError):
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        source = source_of(request.client.host if request.client else None)
        spent = self._allowances.spent(source, self._clock())
        body = _Body(LARGEST_BODY_BEYOND_ALLOWANCE if spent else LARGEST_BODY, drained=not spent)
        try:
            async with self._reads.reading(source, SECONDS_TO_READ):
                await body.read(request)
            callback = await self._prove(request, body.content(), self._slow_lookups if spent else self._lookups)
            await self._commit(callback, body.size)
        except _Recorded:
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

    async def _prove(self, request: Request, body: bytes, lookups: Gathering[str, str | None]) -> Callback:
        token = request.path_params.get("token", "")
        if request.method != "POST":
            raise CallbackRefused(f"method {request.method}")
        if len(token) != callbacks.TOKEN_LENGTH:
            raise CallbackRefused("no such address")
        callback = read_callback(body)
        po_number = callback.po_number
        if po_number is None and callback.provider_id is not None:
            po_number = await lookups.add(callback.provider_id)
        # As much work for an order that nobody knows as for one that is known.
        fits = callbacks.fits(token, po_number or "", self._secrets)
        if po_number is None or not fits:
            raise CallbackRefused("the address does not fit the order it names")
        return callback

    async def _po_numbers(self, provider_ids: list[str]) -> list[str | None]:
        """Where a callback names no PONumber, that of the order it names proves it.

        One thread looks up what has gathered, however many wait: the poller needs threads too.
        """
        known = await asyncio.to_thread(self._read_po_numbers, list(dict.fromkeys(provider_ids)))
        return [known.get(provider_id) for provider_id in provider_ids]

    def _read_po_numbers(self, provider_ids: Sequence[str]) -> dict[str, str]:
        with self._database.read() as connection:
            return orders.po_numbers_of(connection, provider_ids)

    async def _commit(self, callback: Callback, size: int) -> None:
        gathering = self._commits.get(callback.digest)
        if gathering is None:
            gathering = self._commits[callback.digest] = Gathering(lambda sizes: self._announce(callback, sizes))
        try:
            announced = await gathering.add(size)
        finally:
            if gathering.idle and self._commits.get(callback.digest) is gathering:
                del self._commits[callback.digest]
        if announced.outcome == "refused":
            raise _Recorded(announced.reason or "")
        self.accepted += 1
        self._woken()

    async def _announce(self, callback: Callback, sizes: list[int]) -> list[WebhookOutcome]:
        """Commits a callback with its repeats that have come so far; all of them are answered after that."""
        now, size, times = self._clock(), sizes[0], len(sizes)

        def job(connection: Connection) -> WebhookOutcome:
            return ingest.receive_webhook(connection, callback, size, now, self._planner, times=times)

        announced = await self._database.run(job)
        log.info("callback outcome=%s times=%d", announced.outcome, times)
        return [announced] * times

    async def _refuse(self, request: Request, source: str, reason: str, size: int) -> Response:
        self.refused += 1
        now = self._clock()
        if not self._allowances.charge(source, now):
            self.unlogged += 1
            return Response(status_code=404)
        log.info("callback refused reason=%r size=%d", reason, size)
        if not self._may_keep(now):
            return Response(status_code=404)
        values: dict[str, Any] = {"reason": reason, "method": request.method[:10], "size": size}
        try:
            await self._database.run(lambda connection: inbox.record_refusal(connection, values, now))
        except StoreError:
            log.warning("refusal not stored", exc_info=True)
        return Response(status_code=404)

    def _may_keep(self, now: datetime) -> bool:
        """A flood from many sources fills neither the disk nor the writer's queue; the rest is only counted."""
        full = len(self._kept_refusals) == REFUSALS_A_SECOND
        if full and timedelta() <= now - self._kept_refusals[0] < timedelta(seconds=1):
            return False
        self._kept_refusals.append(now)
        return True


class _Recorded(CallbackRefused):
    """Refused, and already written down beside its order."""


class _Body:
    """What arrives of a body, and how much that is, also where it is too much or does not come to an end.

    Args:
        largest: bytes that are kept.
        drained: whether a larger one is read to its end without being kept, so that the answer arrives.
    """

    def __init__(self, largest: int, *, drained: bool) -> None:
        self.size = 0
        self._largest = largest
        self._stop = LARGEST_DRAINED if drained else largest
        self._chunks: list[bytes] = []

    async def read(self, request: Request) -> None:
        """Takes it in, up to where reading on is not worth it."""
        async for chunk in request.stream():
            self.size += len(chunk)
            if self.size <= self._largest:
                self._chunks.append(chunk)
            elif self.size > self._stop:
                break

    def content(self) -> bytes:
        """The whole body.

        Raises:
            CallbackRefused: it was too large.
        """
        if self.size > self._largest:
            raise CallbackRefused(f"the body is larger than {self._largest // 1024} kB ({self.size} bytes read)")
        return b"".join(self._chunks)
