"""Sender: POST the orders of the outbox. Never without a committed intent, never a new PONumber for an old order.

A crash at any point leaves rows that continue: an attempt that was recorded and never answered has an unknown outcome,
and is settled by sending the same PONumber again (the provider answers 409 when it had been placed).
How long a resend waits is in `forecasting.waits`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tracking import errors, ingest, tracing
from tracking.errors import ProviderError, UnreadableAnswer
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import LEASE_MARGIN, REFUSED_PAUSE, wait_before_resend
from tracking.orders.echoes import is_echo
from tracking.orders.model import Witness, can_send, folded_id
from tracking.orders.observations import Answered, Attempted, Declined, Observation, Observed, Unclear, Unsent
from tracking.provider.client import Answer, Client, walk_pages
from tracking.storage import orders, outbox
from tracking.storage.database import Database
from tracking.storage.maintenance import restore_mark
from tracking.storage.writing.batching import Batcher, together_or_alone
from tracking.webhooks import address_book

log = logging.getLogger(__name__)

SENDS_AT_ONCE = 8
SENDS_AHEAD = 8  # attempts that are committed before there is a place for them, at most
QUICK_ANSWER = timedelta(seconds=0.25)  # no attempt waits for its place where answers take longer
LOOKUP_PAGES = 200
FIRST_UNSENT_WAIT = timedelta(seconds=1)
LONGEST_UNSENT_WAIT = timedelta(seconds=15)
LONGEST_PAGE_WAIT = timedelta(seconds=5)
STORE_RETRY = 1.0
RESULTS_AT_ONCE = 64
HELD_UP = "sending was held up before the order left"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One order on its way, committed as such; `number` counts from 1. It leaves by `start_by` or not at all."""

    order_id: int
    po_number: str
    number: int
    document: dict[str, Any]
    start_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    observed: Observed
    started_at: datetime
    retry_after: timedelta | None = None
    answer: Answer | None = None
    stops: bool = False


_Finished = tuple[Attempt, _Result, datetime]  # when its answer was there


class Sender:
    """Leases due outbox rows, POSTs them, and hands the results to `ingest`.

    Args:
        address: the order's webhook address for a PONumber, None when no webhook is asked for.
        owner: names this process in leases.
        lease: how long a call may take; a leased row is ours for that and LEASE_MARGIN.
        clock: now, aware and in UTC.
        wake: called after an order was accepted, so that the poller need not wait for its next tick.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        planner: PlanningContext,
        *,
        address: Callable[[str], str | None],
        owner: str,
        lease: timedelta,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._database, self._client, self._planner = database, client, planner
        self._owner, self._lease = owner, lease + LEASE_MARGIN
        self._address, self._clock, self._wake = address, clock, wake
        self._stopped_until: datetime | None = None
        self._unsent_in_a_row = 0
        self._probing = False
        self._under_way: set[int] = set()
        self._results = Batcher(self._store_results, most=RESULTS_AT_ONCE)
        self._latest_took = timedelta.max
        self.more_due = False  # the last lease left some behind

    async def begin_due(self, now: datetime, free: int = SENDS_AT_ONCE) -> list[Attempt]:
        """Commit attempts for orders that are due, `free` at most; the caller must send or release each of them soon.

        None at all while the provider refuses the account or cannot be reached: what stops one order stops all; then
        one alone tries. And none from a store that was restored from a backup, until it is known what was sent after
        the backup.
        """
        if self._is_stopped(now):
            return []
        limit = min(free, 1 - len(self._under_way)) if self._probing else free
        if limit < 1 or not (self.more_due or await asyncio.to_thread(self._any_due, now)):
            return []
        under_way, self.more_due = frozenset(self._under_way), False
        job = partial(self._begin, now=now, limit=limit, under_way=under_way)
        attempts, self.more_due = await self._database.run(job)
        self._under_way |= {attempt.order_id for attempt in attempts}
        return attempts

    @property
    def ahead(self) -> int:
        """How many attempts may be committed before there is a place for them, so that no place waits for the store.

        None where answers take long: such an order would be said to be on its way while it waits.
        """
        return SENDS_AHEAD if self._latest_took <= QUICK_ANSWER else 0

    def may_start(self, attempt: Attempt, now: datetime) -> bool:
        """Whether an attempt that waited may be sent: its lease lasts long enough, and sending is not stopped.

        While one order alone tries whether a trouble is over, that stops all others.
        """
        stopped = self._is_stopped(now) or (self._probing and self._under_way - {attempt.order_id})
        return not stopped and (attempt.start_by is None or now <= attempt.start_by)

    async def release(self, attempts: Sequence[Attempt]) -> None:
        """Record that these attempts were never sent; their orders are due again."""
        now = self._clock()
        wait = self._stopped_until - now if self._stopped_until is not None and self._is_stopped(now) else timedelta()
        result = _Result(Unsent(HELD_UP), now, wait, stops=True)
        try:
            await asyncio.gather(*(self._store_result(attempt, result) for attempt in attempts))
        finally:
            self._under_way -= {attempt.order_id for attempt in attempts}

    async def send(self, attempt: Attempt, answered: Callable[[], None] = lambda: None) -> None:
        """POST an attempt that was committed, and store what comes of it. `answered` is called in between."""
        try:
            result = await self._post(attempt)
            self._latest_took = self._clock() - result.started_at
            if not result.stops:
                self._unsent_in_a_row, self._probing = 0, False
            answered()
            tracing.record_send(attempt.po_number, attempt.number, result.observed, result.started_at, self._clock())
            await self._store_result(attempt, result)
        finally:
            self._under_way.discard(attempt.order_id)
        self._wake()

    def _is_stopped(self, now: datetime) -> bool:
        return self._stopped_until is not None and now < self._stopped_until <= now + REFUSED_PAUSE

    async def recover(self, now: datetime) -> int:
        """Give orders whose worker died while sending an unknown outcome; returns how many.

        Reschedules what a clock that was set back left in the future.
        """
        under_way = frozenset(self._under_way)  # here, however long ago its lease ended

        def job(connection: Connection) -> int:
            outbox.reschedule_sends(connection, now, self._planner.rng)
            order_ids = [each for each in outbox.interrupted_sends(connection, now) if each not in under_way]
            for order_id in order_ids:
                observation = Observation(Witness.US, now, now, Unclear("the process stopped while sending"))
                ingest.observe(connection, order_id, observation, self._planner)
            return len(order_ids)

        return await self._database.run(job)

    async def find_sent(self, row: RowMapping) -> None:
        """Look an outbox row up at the provider by its PONumber, and adopt the order there; it is not sent.

        The row holds order_id, request, attempts, po_number and provider_id.

        Raises:
            ProviderError: the provider cannot tell. What is known of the order stays as it is.
        """
        if row["provider_id"] is not None:
            await self._database.run(partial(outbox.finish_outbox, order_id=row["order_id"], again_at=None))
            return
        attempt = Attempt(row["order_id"], row["po_number"], max(row["attempts"], 1), row["request"])
        result = await self._find_in_list(attempt, self._clock())
        if result is not None and isinstance(result.observed, Unclear):
            raise UnreadableAnswer(result.observed.reason)
        if result is not None:
            await self._store_result(attempt, result)

    def _any_due(self, now: datetime) -> bool:
        with self._database.read() as connection:
            return outbox.any_send_due(connection, now)

    def _begin(
        self, connection: Connection, now: datetime, limit: int, under_way: frozenset[int]
    ) -> tuple[list[Attempt], bool]:
        """Returns the attempts, and whether more may be due."""
        if restore_mark.find_mark(connection) is not None:
            return [], False
        rows = outbox.lease_outbox(connection, now, owner=self._owner, lease=self._lease, limit=limit)
        # Where a lease ended while its order is still under way here, it goes on.
        ours = [row for row in rows if row["order_id"] not in under_way]
        return self._record_attempts(connection, ours), len(rows) == limit

    async def _store_result(self, attempt: Attempt, result: _Result) -> None:
        """Store the result of an attempt, retried while the store cannot be written; nothing is sent meanwhile.

        Without it the order would have to be sent again to learn the same.
        """
        finished = attempt, result, self._clock()
        while True:
            try:
                failed = await self._results.submit(finished)
                break
            except errors.StoreBusy as exc:
                if self._database.closed:
                    raise
                log.warning("an answer waits for the store: %s", exc)
                await asyncio.sleep(STORE_RETRY)
        if failed is not None:
            raise failed

    async def _store_results(self, batch: Sequence[_Finished]) -> list[Exception | None]:
        """Store results by one job, or each alone; returns what failed of each, None for what did not."""
        return await together_or_alone(batch, self._store_together)

    async def _store_together(self, batch: Sequence[_Finished]) -> list[None]:
        job = partial(self._record_results, batch=batch)
        await self._database.run(job, orders=[attempt.order_id for attempt, _, _ in batch])
        return [None] * len(batch)

    def _record_results(self, connection: Connection, batch: Sequence[_Finished]) -> None:
        ids = [attempt.order_id for attempt, _, _ in batch]
        stored = {one.id: one for one in orders.find_orders(connection, ids, with_lines=True)}
        with orders.deferred_writes(connection):
            for each in batch:
                # A later result of the same order in this batch must see what this one changes.
                self._record_result(connection, each, stored.pop(each[0].order_id, None))

    def _record_attempts(self, connection: Connection, rows: Sequence[RowMapping]) -> list[Attempt]:
        """Commit that POSTs are about to leave; without those that turned out to be at the provider already."""
        documents = {row["order_id"]: dict(row["request"]) for row in rows}
        stored = {one.id: one for one in orders.find_orders(connection, list(documents)) if can_send(one.order)}
        sent = [order_id for order_id in documents if order_id in stored]
        for order_id in documents.keys() - set(sent):
            outbox.finish_outbox(connection, order_id, again_at=None)
        numbers, now = outbox.record_attempts(connection, sent), self._clock()
        po_numbers = {order_id: stored[order_id].order.po_number for order_id in sent}
        asked = {order_id: address for order_id, po in po_numbers.items() if (address := self._address(po))}
        address_book.store_addresses(connection, asked)
        with orders.deferred_writes(connection):
            for order_id in sent:
                observation = Observation(Witness.US, now, now, Attempted(numbers[order_id]))
                ingest.observe(connection, order_id, observation, self._planner, stored=stored[order_id])
        start_by = now + LEASE_MARGIN / 2
        return [Attempt(each, po_numbers[each], numbers[each], documents[each], start_by) for each in sent]

    async def _post(self, attempt: Attempt) -> _Result:
        document = attempt.document
        if address := self._address(attempt.po_number):
            document = document | {"WebhookSettings": {"FulfillmentComplete": address}}
        started_at = self._clock()
        try:
            answer = await self._client.place(document)
        except errors.DuplicateOrder as exc:
            return await self._adopt_duplicate(attempt, exc.ids, started_at)
        except (errors.RequestRejected, errors.InsufficientFunds) as exc:
            return await self._declined(attempt, exc, started_at)
        except ProviderError as exc:
            return self._failed(attempt, exc, started_at)
        if answer.order is None:
            return self._unclear(attempt, "the answer could not be read", started_at)
        return _Result(Answered(answer.order.snapshot), started_at, answer=answer)

    def _failed(self, attempt: Attempt, error: ProviderError, started_at: datetime) -> _Result:
        """Translate a failed call: the order was surely not placed, or its outcome is unknown."""
        match error:
            case errors.NotSent():
                self._unsent_in_a_row += 1
                wait = min(FIRST_UNSENT_WAIT * self._unsent_in_a_row, LONGEST_UNSENT_WAIT)
                self._stop(wait)
                return _Result(Unsent(str(error)), started_at, wait, stops=True)
            case errors.NotTheProvider() if not error.is_server_error:
                log.warning("sending pauses: %s", error)
                self._unsent_in_a_row += 1
                # Shorter than without a connection: a firewall may block some orders for what they hold, not others.
                self._stop(min(FIRST_UNSENT_WAIT * self._unsent_in_a_row, LONGEST_PAGE_WAIT))
                unclear = self._unclear(attempt, str(error), started_at)
                return replace(unclear, stops=True)
            case errors.Throttled() if error.status == 429 and not error.by_other:
                return _Result(Unsent(str(error)), started_at, min(error.retry_after, outbox.FURTHEST_SEND))
            case errors.CredentialsRefused() | errors.AccessDisabled() | errors.NotFound():
                log.error("sending stopped status=%s", error.status)
                self._stop(REFUSED_PAUSE)
                return _Result(Unsent(str(error)), started_at, REFUSED_PAUSE, stops=True)
            case errors.Throttled():
                return _Result(Unclear(str(error)), started_at, min(error.retry_after, outbox.FURTHEST_SEND))
            case _:
                return self._unclear(attempt, str(error), started_at)

    def _stop(self, wait: timedelta) -> None:
        """Send nothing for so long; then one order alone tries whether the trouble is over."""
        self._stopped_until = self._clock() + wait
        self._probing = True

    def _unclear(self, attempt: Attempt, reason: str, started_at: datetime) -> _Result:
        return _Result(Unclear(reason), started_at, wait_before_resend(attempt.number, self._planner.rng))

    async def _declined(
        self, attempt: Attempt, error: errors.RequestRejected | errors.InsufficientFunds, started_at: datetime
    ) -> _Result:
        """Handle a refusal: it says nothing about earlier attempts, so whether they left an order is looked up.

        Also where the one before was refused: it may have overtaken another that was carried out late.
        """
        if attempt.number > 1 and (result := await self._look_up(attempt, started_at)) is not None:
            return result
        return _Result(Declined(error.status or 400, error.reason), started_at)

    async def _adopt_duplicate(
        self, attempt: Attempt, ids: tuple[str, ...], started_at: datetime, *, by_answer: bool = True
    ) -> _Result:
        """Handle a 409: the order the provider names is ours, if it is what we asked for.

        `by_answer`: the answer to the POST named the ids, and no list.
        """
        if not ids:
            result = await self._look_up(attempt, started_at)
            return result or self._unclear(attempt, "409, but no order has this PONumber", started_at)
        several = {folded_id(one): one for one in ids}
        if len(several) > 1:
            reason = f"several orders have this PONumber: {', '.join(sorted(several.values()))}"
            return _Result(Declined(409, reason), started_at)
        try:
            answer = await self._client.order(ids[0])
        except errors.NotFound as exc:
            # What is named may be no order at all, as where something else answered: the list knows ours.
            result = await self._look_up(attempt, started_at) if by_answer else None
            return result or self._unclear(attempt, f"409, but {ids[0]} could not be fetched: {exc}", started_at)
        except ProviderError as exc:
            return self._unclear(attempt, f"409, but {ids[0]} could not be fetched: {exc}", started_at)
        if answer.order is None or answer.order.snapshot.unreadable:
            why = f": {answer.order.snapshot.unreadable}" if answer.order else ""
            return self._unclear(attempt, f"409, but {ids[0]} could not be read{why}", started_at)
        return _Result(Answered(answer.order.snapshot, adopted=True), started_at, answer=answer)

    async def _look_up(self, attempt: Attempt, started_at: datetime) -> _Result | None:
        """Look the order up by its PONumber; None when the list lacks it, a retry when it cannot be asked."""
        try:
            return await self._find_in_list(attempt, started_at)
        except ProviderError as exc:
            return self._unclear(attempt, f"the order could not be looked up: {exc}", started_at)

    async def _find_in_list(self, attempt: Attempt, started_at: datetime) -> _Result | None:
        """Read all pages of the list: where the provider matches parts, longer PONumbers stand in between."""
        ids: set[str] = set()
        unreadable = 0
        pages = walk_pages(lambda number: self._client.orders(page=number, po_number=attempt.po_number), LOOKUP_PAGES)
        async for page in pages:
            unreadable += page.unreadable
            snapshots = (shown.snapshot for shown in page.orders)
            ids |= {one.provider_id for one in snapshots if is_echo(one.po_number or "", attempt.po_number, whole=True)}
        if ids:
            return await self._adopt_duplicate(attempt, tuple(sorted(ids)), started_at, by_answer=False)
        if unreadable:
            return self._unclear(attempt, "the list held orders that could not be read", started_at)
        return None

    def _record_result(self, connection: Connection, finished: _Finished, stored: orders.StoredOrder | None) -> None:
        attempt, result, now = finished
        witness = Witness.ANSWER if isinstance(result.observed, Answered | Declined) else Witness.US
        observation = Observation(witness, result.started_at, now, result.observed)
        parsed = result.answer.order if result.answer else None
        again_at = None if result.retry_after is None else now + result.retry_after
        # Its lease had ended, and another process sent the order after it.
        overtaken = again_at is not None and outbox.attempts_of(connection, attempt.order_id) > attempt.number
        if overtaken and isinstance(result.observed, Unsent):
            return
        ingest.observe(connection, attempt.order_id, observation, self._planner, parsed=parsed, stored=stored)
        error = getattr(result.observed, "reason", None)
        finish = outbox.requeue_unleased if overtaken else outbox.finish_outbox
        finish(connection, attempt.order_id, again_at=again_at, error=error)
