"""Poller: asks the provider for due orders, one by one or by a list page, whatever is worth more.

Due times live in the store, and due orders are leased, so a restart forgets nothing and two pollers do not ask twice.
Which calls are made is said by `selection`: what has accrued most goes first, and where a list page is worth more than
polls of single orders, the page is asked for in place of each of them.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tracking import errors, ingest
from tracking.errors import NotTheProvider, ProviderError, UnreadableAnswer
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import LEASE_MARGIN, REFUSED_PAUSE, lowered_price, raised_price, wait_after_failed_poll
from tracking.orders.model import Witness, folded_id
from tracking.orders.observations import Missing, Observation, Polled
from tracking.orders.vocabulary import PollReason
from tracking.polling import list_pages
from tracking.polling.poll_traces import record_poll
from tracking.polling.unchanged import UnchangedAnswers
from tracking.provider.client import Client
from tracking.storage import facts, leases, orders, outbox
from tracking.storage.database import Database

log = logging.getLogger(__name__)

CALLS_AT_ONCE = 100  # chosen or leased in one go
LEASED_AHEAD = 16  # leased before there is a place for them, at most
SWEEP_EVERY = timedelta(minutes=5)  # bounds what a webhook that never comes can cost
SCARCE_AFTER = 1.0  # seconds a due poll may wait for its turn before calls count as scarce
UNREACHABLE_PAUSE = timedelta(seconds=10)
BOUNDS_PADDING = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class LeasedCall:
    """Due orders to ask for with one call: one by its id, or several by a list page over their creation times.

    They are ours until `leased_until`, and then anybody's.
    """

    rows: tuple[RowMapping, ...]
    leased_until: datetime

    @property
    def only_order(self) -> str | None:
        """The provider's ID of the order that it asks for, None for a list page."""
        return self.rows[0]["provider_id"] if len(self.rows) == 1 else None


class Poller:
    """Leases due orders, polls them, and hands what the provider shows to `ingest`.

    `owner` names this process in leases; `lease` is how long a call may take: a leased order is ours for that and
    LEASE_MARGIN.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        planner: PlanningContext,
        *,
        owner: str,
        lease: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._database, self._client, self._planner, self._owner, self._clock = database, client, planner, owner, clock
        self._longest_call, self._lease = lease + LEASE_MARGIN / 2, lease + LEASE_MARGIN
        self._paused_until: datetime | None = None
        self._priced_at: datetime | None = None
        self._swept_at: datetime | None = None
        self.left_out = 0  # open orders that were not weighed for the last calls
        self._chosen: deque[list[int]] = deque()
        self._chosen_at = datetime.max.replace(tzinfo=UTC)
        self._unchanged = UnchangedAnswers(database, planner)
        self.planning_seconds = 0.0  # of the processor, for selecting the last calls; not what was waited for it

    @property
    def ahead(self) -> int:
        """How many calls may be leased before there is a place for them, so that no place waits for the store."""
        return LEASED_AHEAD

    def available_calls(self) -> int:
        """How many calls can leave soon; what is chosen beyond that may be the wrong call by then."""
        return self._client.available()

    @property
    def more_due(self) -> bool:
        """Whether calls are chosen that were not leased yet."""
        return bool(self._chosen)

    async def survey(self, now: datetime, at_most: int = CALLS_AT_ONCE) -> None:
        """Choose the best calls to make next, replacing those chosen before; none while polling is paused."""
        self._chosen.clear()
        if not self._is_paused(now):
            self._chosen_at = now
            self._chosen.extend(await asyncio.to_thread(self._select_calls, now, at_most))

    async def lease(self, now: datetime, at_most: int = CALLS_AT_ONCE) -> list[LeasedCall]:
        """Lease the orders of the best calls that were chosen; none while polling is paused."""
        if self._is_paused(now):
            self._chosen.clear()
        groups = [self._chosen.popleft() for _ in range(min(at_most, len(self._chosen)))]
        order_ids = [order_id for group in groups for order_id in group]
        if not order_ids:
            return []
        job = partial(orders.lease_polls, order_ids=order_ids, now=now, owner=self._owner, lease=self._lease)
        rows = await self._database.run(partial(job, chosen_at=min(self._chosen_at, now)))
        leased = {row["id"]: row for row in rows}  # another worker may have been faster
        calls = (tuple(leased[order_id] for order_id in group if order_id in leased) for group in groups)
        return [LeasedCall(rows, now + self._lease) for rows in calls if rows]

    def may_start(self, call: LeasedCall, now: datetime) -> bool:
        """Whether the call would end within its lease, and polling is not paused."""
        return now + self._longest_call <= call.leased_until and not self._is_paused(now)

    async def release(self, calls: Sequence[LeasedCall]) -> None:
        """Releases the orders of calls that did not start."""
        await self._release([row for call in calls for row in call.rows])

    def _is_paused(self, now: datetime) -> bool:
        return self._paused_until is not None and now < self._paused_until <= now + REFUSED_PAUSE

    def _select_calls(self, now: datetime, at_most: int) -> list[list[int]]:
        """The orders of the calls to make now, the best call first."""
        from tracking.polling.due_orders import creation_times, find_due_orders  # noqa: PLC0415 - as below
        from tracking.polling.selection import select_calls  # noqa: PLC0415 - numpy is imported when first needed, not at a start
        from tracking.polling.sharing import own_part  # noqa: PLC0415 - as below

        began = time.thread_time()
        forecasts, floor = self._planner.forecasts, self._planner.policy.floor.total_seconds()
        with self._database.read() as connection:
            due = find_due_orders(connection, forecasts, now, floor, forecasts.price, self._expected_webhook_share(now))
            beat = facts.get_fact(connection, facts.heartbeat_key("poller"))
            due = own_part(due, self._owner, list(facts.living_owners(beat.value, now)) if beat else ())
            calls = select_calls(due.candidates, forecasts.price, at_most, partial(creation_times, connection))
        self.left_out = due.left_out
        self._adjust_price(now, scarce=len(calls) >= at_most and due.lag > SCARCE_AFTER, idle=not calls)
        self.planning_seconds = time.thread_time() - began
        return [[int(due.ids[index]) for index in call] for call in calls]

    def _expected_webhook_share(self, now: datetime) -> float:
        """The share of completions that will announce themselves; none in the sweep, nor where silence is suspected."""
        forecasts = self._planner.forecasts
        if forecasts.sweep_asked or self._swept_at is None or not timedelta() <= now - self._swept_at < SWEEP_EVERY:
            forecasts.sweep_asked, self._swept_at = False, now
            return 0.0
        return forecasts.expected_webhook_share

    def _adjust_price(self, now: datetime, *, scarce: bool, idle: bool) -> None:
        """Once a second: a call costs more where polls wait for the rate limit, and less where calls are left over."""
        if self._priced_at is not None and timedelta() <= now - self._priced_at < timedelta(seconds=1):
            return
        self._priced_at = now
        forecasts = self._planner.forecasts
        if scarce:
            forecasts.price = raised_price(forecasts.price)
        elif idle:
            forecasts.price = lowered_price(forecasts.price)

    async def _release(self, rows: Sequence[RowMapping]) -> None:
        if rows:
            ids = [row["id"] for row in rows]
            await self._database.run(lambda connection: orders.release_polls(connection, ids), orders=ids)

    async def poll(self, call: LeasedCall, answered: Callable[[], None] = lambda: None) -> None:
        """Polls the orders of a call and records what it shows; failures are recorded as due times, never raised.

        `answered` is called once no more is asked for, before what came is recorded.
        """
        try:
            if len(call.rows) == 1:
                await self._poll_one(call.rows[0], answered)
            else:
                await self._poll_page(call)
        except ProviderError as exc:
            await self._record_failure(call.rows, exc)

    async def recover(self, now: datetime) -> int:
        """After the clock was set back: make orders due soon whose poll now lies too far ahead; returns how many."""
        order_ids = await asyncio.to_thread(self._polls_too_far, now)
        for start in range(0, len(order_ids), leases.RESCHEDULED_AT_ONCE):
            part = order_ids[start : start + leases.RESCHEDULED_AT_ONCE]
            await self._database.run(partial(orders.reschedule_polls, order_ids=part, now=now, rng=self._planner.rng))
        return len(order_ids)

    def _polls_too_far(self, now: datetime) -> list[int]:
        with self._database.read() as connection:
            return orders.polls_too_far(connection, now, self._longest_wait)

    @property
    def _longest_wait(self) -> timedelta:
        return max(self._planner.policy.ceiling, outbox.FURTHEST_SEND)

    async def _poll_one(self, row: RowMapping, answered: Callable[[], None]) -> None:
        answer = await self._client.order(row["provider_id"], last_digest=row["digest"])
        answered()
        parsed = answer.order
        polled = Polled(parsed.snapshot if parsed else None)
        observation = Observation(Witness.POLL, answer.started_at, answer.finished_at, polled)
        if parsed is None:
            await self._unchanged.record(row["id"], observation)
            return
        order = await self._database.run(
            lambda connection: ingest.observe(connection, row["id"], observation, self._planner, parsed=parsed),
            orders=[row["id"]],
        )
        record_poll(order, answer.started_at, answer.finished_at, by="poll")

    async def _poll_page(self, call: LeasedCall) -> None:
        """Polls several orders by a list page; those it does not settle are asked for one by one while they are leased.

        What was not due yet and is not on the page is released: it came along because it cost nothing.
        """
        rows = call.rows
        first = min(row["provider_created_at"] for row in rows) - BOUNDS_PADDING
        last = max(row["provider_created_at"] for row in rows) + BOUNDS_PADDING
        try:
            page = await self._client.orders(page=1, size=list_pages.PAGE_SIZES[0], start=first, end=last)
        except (UnreadableAnswer, NotTheProvider) as exc:
            if exc.is_server_error:
                raise  # single polls would fare no better
            settled, listed = set[str](), set[str]()
        else:
            settled = await list_pages.record_list_page(
                self._database, self._planner, page.orders, page.started_at, page.finished_at
            )
            listed = {folded_id(order.snapshot.provider_id) for order in page.orders}
        rest = [row for row in rows if folded_id(row["provider_id"]) not in settled]
        now = self._clock()
        not_due = [row for row in rest if row["next_look_at"] > now and folded_id(row["provider_id"]) not in listed]
        await self._release(not_due)
        rest = [row for row in rest if row not in not_due]
        for number, row in enumerate(rest):
            # The first is asked for in any case: what is released comes again with a page.
            if number and (now := self._clock()) + self._longest_call > call.leased_until:
                if now < call.leased_until:
                    await self._release(rest[number:])
                return
            await self.poll(LeasedCall((row,), call.leased_until))

    async def _record_failure(self, rows: Sequence[RowMapping], error: ProviderError) -> None:
        now = self._clock()
        log.info("poll failed orders=%d error=%s status=%s", len(rows), type(error).__name__, error.status)

        def job(connection: Connection) -> None:
            for row in rows:
                self._postpone(connection, row, error, now)

        await self._database.run(job, orders=[row["id"] for row in rows])

    def _postpone(self, connection: Connection, row: RowMapping, error: ProviderError, now: datetime) -> None:
        failures = row["failures"] + 1
        wait = wait_after_failed_poll(self._planner.policy, failures, self._planner.rng)
        match error:
            case errors.Throttled():
                # A longer pause is the rate limiter's to keep; due times stay within what is ever planned.
                wait = min(error.retry_after, self._longest_wait)
                failures = row["failures"]
            case errors.CredentialsRefused() | errors.AccessDisabled() | errors.NotSent():
                wait = UNREACHABLE_PAUSE if isinstance(error, errors.NotSent) else REFUSED_PAUSE
                self._paused_until = now + wait
            case errors.NotFound():
                missing = Observation(Witness.POLL, now, now, Missing())
                ingest.observe(connection, row["id"], missing, self._planner)
        values = {"failures": failures, "next_look_at": now + wait, "lease_owner": None, "lease_until": None}
        orders.update_order(connection, row["id"], values | {"next_look_why": PollReason.NO_ANSWER})
