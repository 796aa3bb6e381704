"""Sends what waits in the outbox. Never a POST without its committed intent, never a new PONumber for an old order.

A crash at any point leaves rows that continue: an attempt that was recorded and never answered has an unknown outcome,
and is settled by sending the same PONumber again (the provider answers 409 when it had been placed).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tracking import ingest
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
    StoreBusy,
    Throttled,
    UnreadableAnswer,
)
from tracking.forecasting.planner import Planner
from tracking.forecasting.waits import resend_wait
from tracking.orders.model import Witness
from tracking.orders.observations import Answered, Attempted, Declined, Observation, Observed, Unclear, Unsent
from tracking.orders.rules import can_send
from tracking.provider.client import Answer, Client
from tracking.storage import orders as store
from tracking.storage import outbox
from tracking.storage.database import Database
from tracking.storage.maintenance import restore_mark

log = logging.getLogger(__name__)
T = TypeVar("T")

AT_ONCE = 8
LEASE_BEYOND_TIMEOUT = timedelta(seconds=60)
STOPPED_FOR = timedelta(seconds=60)
PAGES_AT_MOST = 200
NOT_SENT_FOR = timedelta(seconds=1)
NOT_SENT_AT_MOST = timedelta(seconds=15)
STORED_AGAIN_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One row of the outbox on its way; `number` counts from 1."""

    order_id: int
    po_number: str
    number: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Result:
    seen: Observed
    started_at: datetime
    again_after: timedelta | None = None
    answer: Answer | None = None
    holds: bool = False


class Sender:
    """Claims due outbox rows, POSTs, and hands what came of it to `ingest`.

    Args:
        database: the store.
        client: the provider.
        planner: makes due times.
        address: the order's callback address for a PONumber, None when no webhook is asked for.
        owner: names this process in leases.
        lease: how long a claimed row is ours; longer than a call may take.
        clock: now, aware and in UTC.
        woken: called after an order was accepted, so that the poller need not wait for its next tick.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        planner: Planner,
        *,
        address: Callable[[str], str | None],
        owner: str,
        lease: timedelta,
        clock: Callable[[], datetime],
        woken: Callable[[], None],
    ) -> None:
        self._database = database
        self._client = client
        self._planner = planner
        self._address = address
        self._owner = owner
        self._lease = lease + LEASE_BEYOND_TIMEOUT
        self._clock = clock
        self._woken = woken
        self._held_until: datetime | None = None
        self._holds = 0
        self._probing = False

    async def send_due(self, now: datetime) -> int:
        """Sends what is due, AT_ONCE at the most; returns how many rows were taken.

        None at all while the provider refuses the account or cannot be reached: what stops one order stops all. And
        none from a store that was restored from a backup, until it is known what was sent after the backup.
        """
        if self._held_until is not None and now < self._held_until <= now + STOPPED_FOR:
            return 0
        if not await asyncio.to_thread(self._due, now):
            return 0
        limit = 1 if self._probing else AT_ONCE
        rows = await self._database.run(lambda connection: self._claim(connection, now, limit))
        await asyncio.gather(*(self._send(row) for row in rows))
        return len(rows)

    async def recover(self, now: datetime) -> int:
        """Orders whose worker died while sending get an unknown outcome; returns how many.

        What a clock that was set back left lying in the future is due again.
        """

        def job(connection: Connection) -> int:
            outbox.reschedule_sends(connection, now, self._planner.rng)
            orders = outbox.interrupted_sends(connection, now)
            for order_id in orders:
                observation = Observation(Witness.US, now, now, Unclear("the process stopped while sending"))
                ingest.observe(connection, order_id, observation, self._planner)
            return len(orders)

        return await self._database.run(job)

    async def find_sent(self, row: RowMapping) -> None:
        """Looks an outbox row up at the provider by its PONumber, and adopts what is there; it is not sent.

        Args:
            row: order_id, request, attempts, po_number and provider_id.

        Raises:
            ProviderError: the provider cannot tell. What is known of the order stays as it is.
        """
        order_id = row["order_id"]
        if row["provider_id"] is not None:
            await self._database.run(lambda connection: outbox.finish_outbox(connection, order_id, again_at=None))
            return
        attempt = _Attempt(order_id, row["po_number"], max(row["attempts"], 1), row["request"])
        found = await self._listed(attempt, self._clock())
        if found is not None and isinstance(found.seen, Unclear):
            raise UnreadableAnswer(found.seen.reason)
        if found is not None:
            await self._settled(attempt, found)

    def _due(self, now: datetime) -> bool:
        with self._database.read() as connection:
            return outbox.any_send_due(connection, now)

    def _claim(self, connection: Connection, now: datetime, limit: int) -> list[RowMapping]:
        if restore_mark.find_mark(connection) is not None:
            return []
        return outbox.lease_outbox(connection, now, owner=self._owner, lease=self._lease, limit=limit)

    async def _send(self, row: RowMapping) -> None:
        attempt = await self._database.run(lambda connection: self._record_attempt(connection, row))
        if attempt is None:
            return
        result = await self._post(attempt)
        if not result.holds:
            self._holds, self._probing = 0, False
        await self._settled(attempt, result)
        self._woken()

    async def _settled(self, attempt: _Attempt, result: _Result) -> None:
        """Stores what came of the attempt. While the store cannot be written the answer is kept, and nothing is sent.

        Without it the order would have to be sent again to learn what is known already.
        """
        finished_at = self._clock()
        while True:
            try:
                await self._database.run(lambda connection: self._settle(connection, attempt, result, finished_at))
            except StoreBusy as exc:
                if self._database.closed:
                    raise
                log.warning("an answer waits for the store: %s", exc)
                await asyncio.sleep(STORED_AGAIN_AFTER)
            else:
                return

    def _record_attempt(self, connection: Connection, row: RowMapping) -> _Attempt | None:
        """Commits that a POST is about to leave; None when the order turned out to be at the provider already."""
        order_id: int = row["order_id"]
        kept = store.find_order(connection, order_id=order_id, with_lines=False)
        if kept is None or not can_send(kept.order):
            outbox.finish_outbox(connection, order_id, again_at=None)
            return None
        number = outbox.record_attempt(connection, order_id)
        now = self._clock()
        ingest.observe(connection, order_id, Observation(Witness.US, now, now, Attempted(number)), self._planner)
        return _Attempt(order_id, kept.order.po_number, number, dict(row["request"]))

    async def _post(self, attempt: _Attempt) -> _Result:
        document = attempt.document
        if address := self._address(attempt.po_number):
            document = document | {"WebhookSettings": {"FulfillmentComplete": address}}
        started_at = self._clock()
        try:
            answer = await self._client.place(document)
        except DuplicateOrder as exc:
            return await self._adopt(attempt, exc.ids, started_at)
        except (RequestRejected, InsufficientFunds) as exc:
            return await self._declined(attempt, exc, started_at)
        except ProviderError as exc:
            return self._unanswered(attempt, exc, started_at)
        if answer.order is None:
            return self._unclear(attempt, "the answer could not be read", started_at)
        return _Result(Answered(answer.order.snapshot), started_at, answer=answer)

    def _unanswered(self, attempt: _Attempt, error: ProviderError, started_at: datetime) -> _Result:
        """What a failure says about the order: surely not placed, or nobody knows."""
        match error:
            case NotSent():
                self._holds += 1
                wait = min(NOT_SENT_FOR * self._holds, NOT_SENT_AT_MOST)
                self._hold(wait)
                return _Result(Unsent(str(error)), started_at, wait, holds=True)
            case Throttled() if error.status == 429:
                return _Result(Unsent(str(error)), started_at, min(error.retry_after, outbox.FURTHEST_SEND))
            case CredentialsRefused() | AccessDisabled() | NotFound():
                log.error("sending stopped status=%s", error.status)
                self._hold(STOPPED_FOR)
                return _Result(Unsent(str(error)), started_at, STOPPED_FOR, holds=True)
            case Throttled():
                return _Result(Unclear(str(error)), started_at, min(error.retry_after, outbox.FURTHEST_SEND))
            case OutcomeUnknown() | UnreadableAnswer() | ProviderError():
                return self._unclear(attempt, str(error), started_at)

    def _hold(self, wait: timedelta) -> None:
        """Nothing is sent for so long, and then one order alone tries whether the trouble is over."""
        self._held_until = self._clock() + wait
        self._probing = True

    def _unclear(self, attempt: _Attempt, reason: str, started_at: datetime) -> _Result:
        return _Result(Unclear(reason), started_at, resend_wait(attempt.number, self._planner.rng))

    async def _declined(
        self, attempt: _Attempt, error: RequestRejected | InsufficientFunds, started_at: datetime
    ) -> _Result:
        """A refusal of this attempt says nothing about earlier ones: whether they left an order is looked up.

        Also where the one before was refused: it may have overtaken another that was carried out late.
        """
        if attempt.number > 1 and (found := await self._find(attempt, started_at)) is not None:
            return found
        return _Result(Declined(error.status or 400, describe(error)), started_at)

    async def _adopt(self, attempt: _Attempt, ids: tuple[str, ...], started_at: datetime) -> _Result:
        """409: the order the provider names is ours, if it is what we asked for."""
        if not ids:
            found = await self._find(attempt, started_at)
            return found or self._unclear(attempt, "409, but no order has this PONumber", started_at)
        if len(set(ids)) > 1:
            return _Result(
                Declined(409, f"several orders have this PONumber: {', '.join(sorted(set(ids)))}"), started_at
            )
        try:
            answer = await self._client.order(ids[0])
        except ProviderError as exc:
            return self._unclear(attempt, f"409, but {ids[0]} could not be fetched: {exc}", started_at)
        if answer.order is None:
            return self._unclear(attempt, f"409, but {ids[0]} could not be read", started_at)
        return _Result(Answered(answer.order.snapshot, adopted=True), started_at, answer=answer)

    async def _find(self, attempt: _Attempt, started_at: datetime) -> _Result | None:
        """The order by its PONumber through the list; None when the list has none, a retry when it cannot be asked."""
        try:
            return await self._listed(attempt, started_at)
        except ProviderError as exc:
            return self._unclear(attempt, f"the order could not be looked up: {exc}", started_at)

    async def _listed(self, attempt: _Attempt, started_at: datetime) -> _Result | None:
        """All pages are read: where the provider matches parts, orders with longer PONumbers stand in between."""
        ids: set[str] = set()
        unreadable = 0
        for number in range(1, PAGES_AT_MOST + 1):
            page = await self._client.orders(page=number, po_number=attempt.po_number)
            unreadable += page.unreadable
            ids |= {
                shown.snapshot.provider_id for shown in page.orders if shown.snapshot.po_number == attempt.po_number
            }
            if page.last:
                break
        if ids:
            return await self._adopt(attempt, tuple(sorted(ids)), started_at)
        if unreadable:
            return self._unclear(attempt, "the list held orders that could not be read", started_at)
        return None

    def _settle(self, connection: Connection, attempt: _Attempt, result: _Result, now: datetime) -> None:
        witness = Witness.ANSWER if isinstance(result.seen, Answered | Declined) else Witness.US
        observation = Observation(witness, result.started_at, now, result.seen)
        shown = result.answer.order if result.answer else None
        ingest.observe(connection, attempt.order_id, observation, self._planner, parsed=shown)
        again_at = None if result.again_after is None else now + result.again_after
        error = getattr(result.seen, "reason", None)
        outbox.finish_outbox(connection, attempt.order_id, again_at=again_at, error=error)


def describe(error: RequestRejected | InsufficientFunds) -> str:
    """The provider's reason in plain words."""
    if isinstance(error, InsufficientFunds):
        if error.available is None or error.cost is None:
            return "the balance does not cover the order"
        return f"the balance of {error.available / 100:.2f} does not cover the cost of {error.cost / 100:.2f}"
    return "; ".join(str(problem) for problem in error.problems[:5]) or str(error)
