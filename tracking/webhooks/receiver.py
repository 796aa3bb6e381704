"""Webhook receiver: verifies the secret address, commits, then answers. It believes nothing in the body.

The address proves, the body is a hint: whatever a body is made of, a call of an order's own address makes that order
due, and what could not be read is recorded. Only a body that plainly names another order is refused, and shown.

Every refusal looks alike (404, empty) and every proven call looks alike (204), so that an answer tells a stranger
nothing. A refusal costs a bounded row at the most and never a call of the provider. A source that has reached its
limit of refusals (`throttling`) is still judged, lest a genuine call from there be lost, but costs neither a row nor
a line of the log; a call that is given up unread gets the same 404 as every other refusal.

503 says that the store is busy and that the call should come again. A call whose body does not name the PONumber of
its address can only be judged with the store; while that cannot be read, right and wrong addresses, known and unknown
orders get the same 503, which tells a stranger of the store's health what /healthz tells as well, and nothing of any
order. 404 would lose the claims of the right ones.

What comes together, or while calls are being committed, is committed in one batch, repeats of one another as one, and
calls that name no PONumber are looked up in batches, so that a flood of either is a few statements' work.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tracking import tracing
from tracking.errors import CallbackRefused, StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.orders.echoes import is_echo
from tracking.orders.model import same_id
from tracking.provider.http.findings import Findings
from tracking.provider.json_fields import digest_of
from tracking.provider.webhook_bodies import WebhookCall, read_webhook_call
from tracking.storage import inbox, orders
from tracking.storage.database import Database
from tracking.storage.writing.batching import Batcher, together_or_alone
from tracking.tracing import Attribute, Step
from tracking.webhooks import addresses, intake
from tracking.webhooks.intake import Received
from tracking.webhooks.refusals import RefusalLog
from tracking.webhooks.throttling import ReadSlots, source_of

log = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024
LARGEST_BODY_OVER_LIMIT = 4 * 1024  # a genuine one has less than 2 kB
LARGEST_DRAINED = 32 * 1024 * 1024
SECONDS_TO_READ = 5
ACCEPTED, REFUSED = Response(status_code=204), Response(status_code=404)
LOOKUPS_PER_BATCH = 5000
CALLS_PER_BATCH = 256
GATHER_SECONDS = 0.02  # while calls arrive one upon the other
SLOW_LOOKUP_PAUSE = 0.25  # seconds, of sources over their limit: reads of the store hold its writer up
Lookup = tuple[str, str | None]  # the hash of an address's token, and the provider's id that the body names
PoNumbers = tuple[str | None, str | None]  # the PONumbers of both


class RefusalRule(StrEnum):
    """Which rule a refused call broke. Stored and counted: a word once written is never renamed."""

    METHOD = "method"
    ADDRESS = "address"
    ANOTHER_ORDER = "another order"
    TOO_LARGE = "too large"
    TOO_SLOW = "too slow"


class Receiver:
    """The ASGI endpoint behind /webhooks/fulfillment/{token}; refuses everything else below /webhooks.

    Addresses are verified with the secrets; `clock` is aware and in UTC; `wake` is called after an accepted call, so
    that the poller need not wait for its next tick; `findings` takes what proven calls hold against the contract.
    """

    def __init__(
        self,
        database: Database,
        secrets: Sequence[str],
        planner: PlanningContext,
        *,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        findings: Findings | None = None,
    ) -> None:
        self._database, self._planner, self._clock, self._wake = database, planner, clock, wake
        self._secrets, self._findings = tuple(secrets), findings or Findings()
        self._refusals, self._read_slots = RefusalLog(database), ReadSlots()
        self._commits = Batcher(self._commit_batch, most=CALLS_PER_BATCH, gather=GATHER_SECONDS)
        self._lookups = Batcher(self._po_numbers, most=LOOKUPS_PER_BATCH)
        self._slow_lookups = Batcher(self._po_numbers, most=LOOKUPS_PER_BATCH, pause=SLOW_LOOKUP_PAUSE)
        self.accepted = self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._answer(scope, receive)
        # Where the server has closed the connection over a broken body, some transports raise when they are written to.
        with contextlib.suppress(RuntimeError):
            await response(scope, receive, send)

    async def flush(self) -> None:
        """Store what was counted of refusals and not stored yet."""
        await self._refusals.flush(self._clock())

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        client = scope.get("client")
        source = source_of(client[0] if client else None)
        exhausted = self._refusals.exhausted(source, self._clock())
        body = _Body(LARGEST_BODY_OVER_LIMIT if exhausted else LARGEST_BODY)
        try:
            async with self._read_slots.slot(source, SECONDS_TO_READ):
                content = await body.read(receive, body.largest if exhausted else LARGEST_DRAINED)
            lookups = self._slow_lookups if exhausted else self._lookups
            call = await self._authenticate(scope, content, source or None, lookups)
            if await self._commit(call, body.size) == "refused":  # recorded by then
                self.refused += 1
                self._refusals.count(RefusalRule.ANOTHER_ORDER)
                return REFUSED
        except CallbackRefused as exc:
            return await self._refuse(scope, source, exc, body.size)
        except TimeoutError:
            why = f"the body took longer than {SECONDS_TO_READ} s, or gave way to others"
            return await self._refuse(scope, source, CallbackRefused(why, rule=RefusalRule.TOO_SLOW), body.size)
        except ClientDisconnect:
            return REFUSED
        except StoreError as exc:
            log.warning("webhook neither accepted nor refused, the provider will repeat it: %s", exc)
            return Response(status_code=503)
        return ACCEPTED

    async def _authenticate(
        self, scope: Scope, body: bytes, source: str | None, lookups: Batcher[Lookup, PoNumbers]
    ) -> WebhookCall:
        """Make sure that the address is that of an order; what the body says is a hint and turns nothing away."""
        notes, document, now = set[str](), dict[str, Any](), self._clock()
        media, coding = _header(scope, b"content-type"), _header(scope, b"content-encoding")
        call = read_webhook_call(body, media, coding, notes, document, source)
        call = await self._proven(scope, call, lookups)
        self._findings.note("webhook", notes | ({call.reason} if call.reason else set()), now)
        self._findings.sightings.note_webhook(document, media, now)
        return call

    async def _proven(self, scope: Scope, call: WebhookCall, lookups: Batcher[Lookup, PoNumbers]) -> WebhookCall:
        token, method = scope["path_params"].get("token", ""), scope["method"]
        if method != "POST":
            raise CallbackRefused(f"method {method[:10]}", rule=RefusalRule.METHOD)
        if len(token) != addresses.TOKEN_LENGTH:
            raise CallbackRefused("no such address", rule=RefusalRule.ADDRESS)
        # As much work for an order that does not exist as for one that does.
        if addresses.verify_token(token, call.po_number or "", self._secrets) and call.po_number is not None:
            return call
        by_address, by_id = await lookups.submit((addresses.token_digest(token), call.provider_id))
        po_number = by_address or by_id
        genuine = addresses.verify_token(token, po_number or "", self._secrets)
        named = {"po_number": call.po_number, "provider_id": call.provider_id}
        if po_number is None or not genuine:
            raise CallbackRefused("the address does not fit the order it names", rule=RefusalRule.ADDRESS, named=named)
        if not is_echo(call.po_number, po_number):
            why = "it names another order than its address"
            raise CallbackRefused(why, rule=RefusalRule.ANOTHER_ORDER, named=named)
        if po_number == by_id and (call.po_number is None or same_id(call.po_number, po_number)):
            return call
        return replace(call, po_number=po_number, digest=digest_of([call.digest, po_number]))

    async def _po_numbers(self, lookups: list[Lookup]) -> list[PoNumbers]:
        """Look up the PONumbers of calls whose bodies do not name theirs: the token is that of the PONumber.

        One thread does a whole batch, however many wait: the poller needs threads too.
        """
        digests = list(dict.fromkeys(digest for digest, _ in lookups))
        provider_ids = list(dict.fromkeys(provider_id for _, provider_id in lookups if provider_id))

        def read() -> tuple[dict[str, str], dict[str, str]]:
            with self._database.read() as connection:
                by_address = inbox.po_numbers_by_address(connection, digests)
                return by_address, orders.po_numbers_of(connection, provider_ids) if provider_ids else {}

        by_address, by_id = await asyncio.to_thread(read)
        return [(by_address.get(digest), by_id.get(provider_id or "")) for digest, provider_id in lookups]

    async def _commit(self, call: WebhookCall, size: int) -> str:
        """Commit the call; returns the outcome."""
        came_at = self._clock()
        outcome = await self._commits.submit((call, size))
        if isinstance(outcome, Exception):
            raise outcome
        if tracing.is_collected() and call.po_number:
            about: dict[str, Attribute] = {"webhook.outcome": outcome, "webhook.bytes": size}
            tracing.record(Step("webhook received", call.po_number, came_at, self._clock(), "server", about))
        if outcome != "refused":
            self.accepted += 1
            self._wake()
        return outcome

    async def _commit_batch(self, batch: list[tuple[WebhookCall, int]]) -> list[str | Exception]:
        """Commit the calls that have gathered, repeats of one another as one; all of them are answered after that."""
        gathered: dict[str, Received] = {}
        for call, size in batch:
            before = gathered.get(call.digest)
            gathered[call.digest] = before._replace(times=before.times + 1) if before else Received(call, size, 1)
        recorded = await together_or_alone(list(gathered.values()), self._record)
        outcomes = dict(zip(gathered, recorded, strict=True))
        each = [outcomes[call.digest] for call, _ in batch]
        for outcome, times in Counter(each).items():
            log.info("webhook outcome=%s times=%d", outcome, times)
        return each

    async def _record(self, received: Sequence[Received]) -> Sequence[str]:
        """Record the calls by one job; returns the outcome of each."""
        job = partial(intake.record, received=received, now=self._clock(), planner=self._planner)
        named = [one.call.po_number for one in received if one.call.po_number is not None]
        return await self._database.run(job, orders=named)

    async def _refuse(self, scope: Scope, source: str, refusal: CallbackRefused, size: int) -> Response:
        self.refused += 1
        await self._refusals.record(refusal, source, method=scope["method"], size=size, now=self._clock())
        return REFUSED


def _header(scope: Scope, name: bytes) -> str:
    """The first header of this name, in small letters as ASGI has them; "" where there is none."""
    return next((value.decode("latin-1") for each, value in scope["headers"] if each == name), "")


@dataclass(slots=True)
class _Body:
    """Reads a request body of `largest` bytes at the most, and its size also where it is larger or breaks off."""

    largest: int
    size: int = 0

    async def read(self, receive: Receive, last: int) -> bytes:
        """Read the body, a larger one up to the byte `last` without storing it, so that the answer arrives.

        Raises:
            CallbackRefused: it was too large.
            ClientDisconnect: the caller was gone before it was whole.
        """
        content, more = bytearray(), True
        while more and self.size <= last:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            self.size += len(chunk)
            if self.size <= self.largest:
                content += chunk
        if self.size > self.largest:
            why = f"the body is larger than {self.largest // 1024} kB ({self.size} bytes read)"
            raise CallbackRefused(why, rule=RefusalRule.TOO_LARGE)
        return bytes(content)
