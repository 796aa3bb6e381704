"""Deliverer: leases notifications that are due, posts each to its subscriber, and records the outcome.

What is posted was committed before, so that whoever is killed posts the same again, under the same id. A delivery is
delivered once its receiver has answered with 2xx and never sooner; each subscription has places of its own, so that
one that answers slowly holds up nobody else. From a store that was restored from a backup nothing leaves until it is
reconciled: what it says of orders may be over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import RowMapping

from tracking import tracing
from tracking.access import Person
from tracking.delivery.payloads import render
from tracking.delivery.posting import WHOLE_SECONDS, Poster, Reply
from tracking.delivery.retries import LONGEST_WAIT, decide, longest_wait
from tracking.delivery.signing import SecretCipher, signed_headers, signing_secrets
from tracking.delivery.subscribing import settle_beginnings
from tracking.delivery.targets import TargetRefused, read_url
from tracking.errors import ClaimsUnavailable, UnknownOrder
from tracking.settings.addresses import IpNetwork
from tracking.storage.database import Database
from tracking.storage.facts import hold
from tracking.storage.integration import deliveries, late_orders, subscriptions
from tracking.storage.integration.deliveries import Attempt
from tracking.storage.integration.subscriptions import SubscriptionState
from tracking.storage.maintenance import restore_mark
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AuditKind
from tracking.tracing import Step

log = logging.getLogger(__name__)

PLACES = 32
PLACES_EACH = 4
LEASE = timedelta(seconds=3 * WHOLE_SECONDS)
LATE_NOTED_EVERY = timedelta(seconds=30)
STEP_PAUSE, STEPS_AT_ONCE = 0.05, 1000
SYSTEM = Person(audit_log.BY_DELIVERIES)


@dataclass(frozen=True, slots=True)
class Leased:
    """A delivery that this process holds, and the subscription that it is for."""

    row: RowMapping
    subscription: RowMapping
    start_by: datetime
    """What has not left by then is left to the next lease, lest it overtake what somebody else sends after it."""


class Deliverer:
    """Posts deliveries that are due. `allowed` are networks that may be sent to although they are not public."""

    def __init__(
        self,
        database: Database,
        poster: Poster,
        cipher: SecretCipher,
        *,
        owner: str,
        clock: Callable[[], datetime],
        allowed: Sequence[IpNetwork] = (),
        rng: random.Random | None = None,
    ) -> None:
        self._database, self._poster, self._cipher = database, poster, cipher
        self._owner, self._clock, self._allowed = owner, clock, tuple(allowed)
        self._rng = rng or random.Random()  # noqa: S311 - it spreads retries and guards nothing  # nosec B311
        self._in_flight: Counter[int] = Counter()

    async def begin_due(self, now: datetime, places: int) -> list[Leased]:
        """Lease what is due, up to `places`; to a receiver that fails one at a time."""
        if places < 1:
            return []
        due = await asyncio.to_thread(self._due, now)
        if not due:
            return []
        leased = await self._database.run(partial(self._lease, due=due, now=now, places=places))
        self._in_flight.update(each.subscription["id"] for each in leased)
        return leased

    def _due(self, now: datetime) -> list[tuple[RowMapping, int]]:
        """The subscriptions for which something is due, with their free places, those with the most first."""
        with self._database.read() as connection:
            due = [(row, self._free_places(row, now)) for row in subscriptions.active(connection)]
            due = [(row, free) for row, free in due if free > 0 and deliveries.any_due(connection, row["id"], now)]
            if due and restore_mark.find_mark(connection) is not None:
                return []
        return sorted(due, key=lambda one: -one[1])

    def _free_places(self, row: Mapping[Any, Any], now: datetime) -> int:
        if row["retry_at"] is not None and now < row["retry_at"] <= now + LONGEST_WAIT:  # else the clock was set back
            return 0
        return (1 if row["failures"] else PLACES_EACH) - self._in_flight[row["id"]]

    def _lease(
        self, connection: Connection, due: Sequence[tuple[RowMapping, int]], now: datetime, places: int
    ) -> list[Leased]:
        leased: list[Leased] = []
        holding: dict[str, Any] = {"owner": self._owner, "lease": LEASE}
        for subscription, free in due:
            limit = min(free, places - len(leased))
            if limit > 0:
                rows = deliveries.lease_deliveries(connection, subscription["id"], now, limit=limit, **holding)
                leased += [Leased(row, subscription, now + LEASE / 2) for row in rows]
        return leased

    async def deliver(self, leased: Leased, answered: Callable[[], None] = lambda: None) -> None:
        """Post a leased delivery once, and record what came of it; calls `answered` when its place is free again.

        It is not posted where that could outlast its lease: whoever holds it next does. The place of one that failed is
        free once that is recorded: until then another one would be sent at once to a receiver that is to be left alone,
        and count as a further failure.
        """
        with contextlib.ExitStack() as place:
            place.callback(self._leave, leased.subscription["id"])
            payload = leased.row["payload"] or await self._first_payload(leased.row)
            started_at, began = self._clock(), time.monotonic()
            if started_at > leased.start_by:
                log.warning("a delivery was held up, and is left to its next lease")
                return
            reply = (
                Reply(error="its order is not stored any more")
                if payload is None
                else await self._post(leased, payload)
            )
            milliseconds = round((time.monotonic() - began) * 1000)
            if reply.delivered:
                place.close()
                answered()
            if payload is not None and tracing.is_collected():
                self._trace(leased.row, payload, reply, started_at)
            recording = partial(self._record, leased=leased, reply=reply, started_at=started_at)
            await self._database.run(partial(recording, milliseconds=milliseconds, gone=payload is None))

    def _leave(self, subscription_id: int) -> None:
        self._in_flight[subscription_id] -= 1

    def _trace(self, row: RowMapping, payload: str, reply: Reply, started_at: datetime) -> None:
        po_number = json.loads(payload).get("data", {}).get("order", {}).get("po_number")
        if po_number:
            about = {"webhook.event": row["event_type"], "webhook.status": reply.status or 0}
            failed = None if reply.delivered else reply.error or f"answered {reply.status}"
            tracing.record(Step("webhook sent", po_number, started_at, self._clock(), "client", about, failed))

    async def _first_payload(self, row: RowMapping) -> str | None:
        try:
            payload = await asyncio.to_thread(render, self._database, row)
        except UnknownOrder:
            return None
        return await self._database.run(partial(deliveries.store_payload, delivery_id=row["id"], payload=payload))

    async def _post(self, leased: Leased, payload: str) -> Reply:
        subscription, now = leased.subscription, self._clock()
        try:
            target = read_url(self._cipher.address_of(subscription), self._allowed)
            signing = signing_secrets(subscription, self._cipher, now)
        except TargetRefused as exc:
            return Reply(error=f"not sent: the address {exc}")
        except ClaimsUnavailable as exc:
            return Reply(error=f"not sent: {exc}")
        headers = signed_headers(leased.row["message_id"], payload, signing, now)
        return await self._poster.post(target, payload, headers)

    def _record(
        self, connection: Connection, leased: Leased, reply: Reply, started_at: datetime, milliseconds: int, gone: bool
    ) -> None:
        """Record the attempt; what was settled or given to another process meanwhile stays as it is.

        But for what was skipped once its lease had ended, and has arrived all the same: it was delivered.
        """
        now, row, delivery_id = self._clock(), leased.row, leased.row["id"]
        holder = deliveries.holder(connection, delivery_id)
        if holder is None:
            return
        number = holder["attempts"] + 1
        values = {"status": reply.status, "answer": reply.answer, "error": reply.error, "by": row["asked_by"]}
        attempt = Attempt(number, started_at, milliseconds, **values)
        deliveries.record_attempt(connection, delivery_id, attempt)
        if reply.delivered or gone:
            if holder["state"] == "waiting" or (reply.delivered and holder["state"] == "skipped"):
                deliveries.settle(connection, delivery_id, "dropped" if gone else "delivered", now)
            if not gone:
                subscriptions.note_success(connection, row["subscription_id"], now)
            return
        self._note_failure(connection, leased, reply, attempt, now, ours=holder["lease_owner"] == self._owner)

    def _note_failure(
        self, connection: Connection, leased: Leased, reply: Reply, attempt: Attempt, now: datetime, *, ours: bool
    ) -> None:
        subscription = subscriptions.with_id(connection, leased.row["subscription_id"])
        hold(connection)
        if subscription is None:
            return
        decision = decide(reply, subscription, leased.row, attempt.number, attempt.at, now, self._rng)
        if ours:
            deliveries.try_again_at(connection, leased.row["id"], decision.delivery_at)
        if decision.counts:
            subscriptions.note_failure(connection, subscription, now, decision.receiver_at)
        if decision.off and subscription["state"] == SubscriptionState.ACTIVE:
            self._switch_off(connection, subscription, decision.off, now)

    def _switch_off(self, connection: Connection, subscription: RowMapping, why: str, now: datetime) -> None:
        name = subscription["name"]
        off = SubscriptionState.SWITCHED_OFF
        subscriptions.set_state(connection, subscription["id"], off, by=SYSTEM.name, why=why, now=now)
        audit_log.record_act(connection, SYSTEM, AuditKind.HOOK_SWITCHED_OFF, now, detail={"webhook": name, "why": why})
        log.warning("an outgoing webhook was switched off name=%s: %s", name, why)

    # What is done beside

    async def note_late_orders(self) -> None:
        """Write the notifications of orders that became late since this was done last."""
        now = self._clock()
        pages = await asyncio.to_thread(self._newly_late, now)
        for ids in pages or ():
            if ids:
                await self._database.run(partial(late_orders.notify, order_ids=ids, now=now), orders=ids)
        if pages is not None:
            await self._database.run(partial(late_orders.note_look, now=now))

    def _newly_late(self, now: datetime) -> list[list[int]] | None:
        """The orders that notifications are missing of, in pages; None where there is nothing to write."""
        with self._database.read() as connection:
            if not late_orders.wanting(connection) or restore_mark.find_mark(connection) is not None:
                return None
            until = late_orders.looked_until(connection, now)
            at, pages = until - late_orders.OVERLAP, list[list[int]]()
            while late := late_orders.became_late(connection, at, now):
                orders = {row["order_id"] for row in late_orders.missing(connection, late, now)}
                pages.append(sorted(orders))
                at = late[-1]["late_at"]
        return pages if any(pages) or now - until >= LATE_NOTED_EVERY else None

    async def tidy(self) -> None:
        """Drop what nobody gets any more and remove what is old, step by step; settle what `add` could not wait for."""
        await asyncio.to_thread(settle_beginnings, self._database, self._clock())
        for _ in range(STEPS_AT_ONCE):
            if not await self._database.run(self._tidy_step):
                break
            await asyncio.sleep(STEP_PAUSE)

    def _tidy_step(self, connection: Connection) -> bool:
        now = self._clock()
        before = now - late_orders.KEEP
        _mind_set_back_clock(connection, now)
        return deliveries.drop_useless(connection, before, now) + deliveries.remove_old(connection, before) > 0


def _mind_set_back_clock(connection: Connection, now: datetime) -> None:
    """After the clock was set back: make due what waits longer than any wait, and end leases that are too long."""
    subscriptions.forget_time_ahead(connection, now)
    deliveries.end_long_leases(connection, now + LEASE)
    for subscription in subscriptions.active(connection):
        ahead = deliveries.ahead(connection, subscription["id"], now)
        unplanned = [row.id for row in ahead if row.next_attempt_at > now + longest_wait(row.attempts)]
        if unplanned:
            deliveries.make_due(connection, unplanned, now)
