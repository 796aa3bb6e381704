"""Poll due orders: asks the provider for them one by one or by a list page, whatever is worth more.

Due times live in the store, claimed under a lease, so a restart forgets nothing and two pollers do not ask twice. Which
calls are made is `agenda`'s choice: what has accrued most goes first, and where a list page is worth more than single
looks, the page is asked for in place of each of them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tracking import ingest
from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    NotFound,
    NotSent,
    ProviderError,
    Throttled,
    UnreadableAnswer,
)
from tracking.forecasting.planner import Planner
from tracking.forecasting.waits import lowered_price, raised_price, retry_wait
from tracking.orders.model import Witness
from tracking.orders.observations import Missing, Observation, Polled
from tracking.orders.vocabulary import PollReason
from tracking.polling import list_pages
from tracking.provider.client import Client
from tracking.storage import leases, orders, outbox
from tracking.storage.database import Database

log = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 100
SWEEP_EVERY = timedelta(minutes=5)  # bounds what a webhook that never comes can cost
TICK = 1.0  # seconds a due look may wait for its turn before calls count as scarce
LEASE_BEYOND_TIMEOUT = timedelta(seconds=60)
STOPPED_FOR = timedelta(seconds=60)
UNREACHABLE_FOR = timedelta(seconds=10)
BOUNDS_PADDING = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Work:
    """Due orders to ask for with one call: one by its id, or several by a list page over their creation times.

    They are ours until `ours_until`, and then anybody's.
    """

    rows: tuple[RowMapping, ...]
    ours_until: datetime


class Poller:
    """Claims due orders, asks, and hands what was seen to `ingest`.

    Args:
        database: the store.
        client: the provider.
        planner: makes due times.
        owner: names this process in leases.
        lease: how long a call may take; a claimed order is ours for that and LEASE_BEYOND_TIMEOUT.
        clock: now, aware and in UTC.
    """

    def __init__(
        self,
        database: Database,
        client: Client,
        planner: Planner,
        *,
        owner: str,
        lease: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._client = client
        self._planner = planner
        self._owner = owner
        self._call = lease + LEASE_BEYOND_TIMEOUT / 2
        self._lease = lease + LEASE_BEYOND_TIMEOUT
        self._clock = clock
        self._held_until: datetime | None = None
        self._priced_at: datetime | None = None
        self._swept_at: datetime | None = None
        self.surveyed_for = 0.0  # seconds of the processor that the last survey took; not what it waited for them

    async def poll_once(self, now: datetime) -> int:
        """Looks at what is worth it; returns how many orders were taken."""
        works = await self.claim(now)
        await asyncio.gather(*(self.look(work) for work in works))
        return sum(len(work.rows) for work in works)

    def room(self) -> int:
        """How many calls can leave soon; what is chosen beyond that may be the wrong call by then."""
        return self._client.available()

    async def claim(self, now: datetime, works: int = CLAIMED_AT_ONCE) -> list[_Work]:
        """Takes the orders of the best calls under a lease; none while the provider refuses or is away."""
        if self._held_until is not None and now < self._held_until <= now + STOPPED_FOR:
            return []
        chosen = await asyncio.to_thread(self._choose, now, works)
        wanted = [order_id for group in chosen for order_id in group]
        if not wanted:
            return []
        rows = await self._database.run(
            lambda connection: orders.lease_polls(connection, wanted, now, owner=self._owner, lease=self._lease)
        )
        taken = {row["id"]: row for row in rows}  # another worker may have been faster
        groups = (tuple(taken[order_id] for order_id in group if order_id in taken) for group in chosen)
        return [_Work(group, now + self._lease) for group in groups if group]

    def _choose(self, now: datetime, at_most: int) -> list[list[int]]:
        """The orders of the calls to make now, the best call first."""
        from tracking.polling.due_orders import population, survey  # noqa: PLC0415 - the same
        from tracking.polling.selection import choose  # noqa: PLC0415 - numpy is imported when first needed, not at a start

        began = time.thread_time()
        forecasts, floor = self._planner.forecasts, self._planner.policy.floor.total_seconds()
        with self._database.read() as connection:
            seen = survey(connection, forecasts, now, floor, forecasts.price, self._counted_on(now))
            calls = choose(seen.candidates, forecasts.price, at_most, partial(population, connection))
        self._reprice(now, scarce=len(calls) >= at_most and seen.lag > TICK, idle=not calls)
        self.surveyed_for = time.thread_time() - began
        return [[int(seen.ids[index]) for index in call.orders] for call in calls]

    def _counted_on(self, now: datetime) -> float:
        """The share of completions that will announce themselves; none in the sweep, nor where silence is suspected."""
        forecasts = self._planner.forecasts
        if forecasts.sweep_asked or self._swept_at is None or not timedelta() <= now - self._swept_at < SWEEP_EVERY:
            forecasts.sweep_asked, self._swept_at = False, now
            return 0.0
        return forecasts.expected_webhook_share

    def _reprice(self, now: datetime, *, scarce: bool, idle: bool) -> None:
        """Once a second: a call costs more where looks wait for the budget, and less where the budget is idle."""
        if self._priced_at is not None and timedelta() <= now - self._priced_at < timedelta(seconds=1):
            return
        self._priced_at = now
        forecasts = self._planner.forecasts
        if scarce:
            forecasts.price = raised_price(forecasts.price)
        elif idle:
            forecasts.price = lowered_price(forecasts.price)

    async def _give_back(self, rows: Sequence[RowMapping]) -> None:
        if rows:
            ids = [row["id"] for row in rows]
            await self._database.run(lambda connection: orders.release_polls(connection, ids))

    async def look(self, work: _Work) -> None:
        """Asks once for the orders and records what was seen; failures are recorded as due times, never raised."""
        try:
            if len(work.rows) == 1:
                await self._look_at_one(work.rows[0])
            else:
                await self._look_at_page(work)
        except ProviderError as exc:
            await self._failed(work.rows, exc)

    async def recover(self, now: datetime) -> int:
        """Brings near what a clock that was set back left lying in the future; returns how many orders."""
        found = await asyncio.to_thread(self._too_far, now)
        for start in range(0, len(found), leases.AT_ONCE):
            part = found[start : start + leases.AT_ONCE]
            await self._database.run(partial(orders.reschedule_polls, order_ids=part, now=now, rng=self._planner.rng))
        return len(found)

    def _too_far(self, now: datetime) -> list[int]:
        with self._database.read() as connection:
            return orders.polls_too_far(connection, now, self._furthest)

    @property
    def _furthest(self) -> timedelta:
        return max(self._planner.policy.ceiling, outbox.FURTHEST_SEND)

    async def _look_at_one(self, row: RowMapping) -> None:
        answer = await self._client.order(row["provider_id"], last_digest=row["digest"])
        shown = answer.order
        seen = Polled(shown.snapshot if shown else None)
        observation = Observation(Witness.POLL, answer.started_at, answer.finished_at, seen)
        await self._database.run(
            lambda connection: ingest.observe(connection, row["id"], observation, self._planner, parsed=shown)
        )

    async def _look_at_page(self, work: _Work) -> None:
        """One list page for several orders; those it does not settle are asked for one by one while they are ours.

        What was not due yet and is not on the page is given back: it came along because it cost nothing.
        """
        rows = work.rows
        first = min(row["provider_created_at"] for row in rows) - BOUNDS_PADDING
        last = max(row["provider_created_at"] for row in rows) + BOUNDS_PADDING
        try:
            page = await self._client.orders(page=1, size=list_pages.PAGE_SIZES[0], start=first, end=last)
        except UnreadableAnswer:
            settled: set[str] = set()
            listed: set[str] = set()
        else:
            settled = await list_pages.record_list_page(
                self._database, self._planner, page.orders, page.started_at, page.finished_at
            )
            listed = {shown.snapshot.provider_id for shown in page.orders}
        rest = [row for row in rows if row["provider_id"] not in settled]
        now = self._clock()
        early = [row for row in rest if row["next_look_at"] > now and row["provider_id"] not in listed]
        await self._give_back(early)
        rest = [row for row in rest if row not in early]
        for number, row in enumerate(rest):
            # The first is asked for in any case: what is given back comes again with a page.
            if number and (now := self._clock()) + self._call > work.ours_until:
                if now < work.ours_until:
                    await self._give_back(rest[number:])
                return
            await self.look(_Work((row,), work.ours_until))

    async def _failed(self, rows: Sequence[RowMapping], error: ProviderError) -> None:
        now = self._clock()
        log.info("look failed orders=%d error=%s status=%s", len(rows), type(error).__name__, error.status)

        def job(connection: Connection) -> None:
            for row in rows:
                self._postpone(connection, row, error, now)

        await self._database.run(job)

    def _postpone(self, connection: Connection, row: RowMapping, error: ProviderError, now: datetime) -> None:
        failures = row["failures"] + 1
        wait = retry_wait(self._planner.policy, failures, self._planner.rng)
        match error:
            case Throttled():
                # A longer pause is the budget's to keep; due times stay within what is ever planned.
                wait = min(error.retry_after, self._furthest)
                failures = row["failures"]
            case CredentialsRefused() | AccessDisabled():
                wait = STOPPED_FOR
                self._held_until = now + STOPPED_FOR
            case NotSent():
                wait = UNREACHABLE_FOR
                self._held_until = now + UNREACHABLE_FOR
            case NotFound():
                missing = Observation(Witness.POLL, now, now, Missing())
                ingest.observe(connection, row["id"], missing, self._planner)
        values = {"failures": failures, "next_look_at": now + wait, "lease_owner": None, "lease_until": None}
        orders.update_order(connection, row["id"], values | {"next_look_why": PollReason.NO_ANSWER})
