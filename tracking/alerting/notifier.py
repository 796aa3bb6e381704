"""Notifier: looks for troubles every few seconds and sends alerts. Of all processes on a database one does.

That process holds a lease. What it sends is claimed before and recorded afterwards: killed in between, it leaves the
one message that was on its way to be sent again by the next. Whether the database can be written is told from memory.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from tracking.alerting import lifecycle, messages
from tracking.alerting.lifecycle import Policy
from tracking.alerting.messages import Message, Origin
from tracking.alerting.services import Service
from tracking.alerting.troubles import Trouble, find_troubles
from tracking.reports.banners import store_banners
from tracking.settings.alerts import AlertRule, QuietHours
from tracking.storage import leases
from tracking.storage.database import Database
from tracking.storage.integration import alerts as stored
from tracking.storage.integration.alerts import Alert, Lead

log = logging.getLogger(__name__)
Turn = tuple[str, Callable[[], Awaitable[None]], float]

TURN_SECONDS = 5.0
STORE_SECONDS = 1.0
LEAD = timedelta(seconds=30)  # without a sign of life; another process goes on then
SEND_SECONDS = 30.0  # one message to one service
SENDING_SECONDS = 60.0  # all that are due at a time: what comes later is tried again
CLAIM = timedelta(seconds=SEND_SECONDS + SENDING_SECONDS + 30)
GRACE_SECONDS = 5.0  # for what is being sent when the process is asked to end
HISTORY = timedelta(days=90)
REMOVED_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Sent:
    """The result of sending one message to one service, for all alerts in it."""

    service: str
    alerts: tuple[Alert, ...]
    taken: bool


class Notifier:
    """Tells services of alerts; `owner` names this process in the lease. Without services it does nothing."""

    def __init__(
        self,
        database: Database,
        services: Sequence[Service],
        *,
        clock: Callable[[], datetime],
        owner: str,
        off: Collection[AlertRule] = (),
        quiet: QuietHours | None = None,
        origin: Origin | None = None,
    ) -> None:
        self._database, self._clock, self._owner = database, clock, owner
        self._services = {service.name: service for service in services}
        self._off, self._quiet, self._origin = frozenset(off), quiet, origin or Origin()
        self._policy = Policy(self._off, quiet)
        self._lead: Lead | None = None
        self._busy: dict[str, asyncio.Future[bool]] = {}
        self._unrecorded: list[_Sent] = []
        self._of_store: list[Alert] = []
        self._removed_at: datetime | None = None
        self.failing: dict[str, datetime] = {}

    @property
    def turns(self) -> list[Turn]:
        """Its loops: their names, what each does in a turn, and the seconds between two."""
        if not self._services:
            return []
        return [("alerts", self.turn, TURN_SECONDS), ("store alert", self.watch_store, STORE_SECONDS)]

    def status(self) -> dict[str, Any]:
        """Its services by name, and since when each of them takes no message of this process."""
        return {"services": [*self._services], "failing": {name: at.isoformat() for name, at in self.failing.items()}}

    async def turn(self) -> None:
        """Find what is wrong, and send what is due, where this process is the one that does."""
        if self._unrecorded:
            await self._record()
        groups = await self._next_groups(self._clock())
        if groups:
            await self._finish(asyncio.ensure_future(self._deliver(groups)))

    async def _finish(self, delivery: "asyncio.Future[None]") -> None:
        """Wait for the delivery; a process that is asked to end waits a little, so that nothing is sent twice."""
        try:
            await asyncio.shield(delivery)
        except asyncio.CancelledError:
            await asyncio.wait({delivery}, timeout=GRACE_SECONDS)
            raise

    # What is due

    async def _next_groups(self, now: datetime) -> list[list[Alert]]:
        """Take the lead where it is free, store what changed, and claim the alerts of each message that is due."""
        troubles = await asyncio.to_thread(self._look, now)
        if troubles is None:
            return []
        groups = await self._database.run(lambda connection: self._step(connection, troubles, now))
        self._removed_at = now if self._is_removal_due(now) else self._removed_at
        return groups

    def _look(self, now: datetime) -> list[Trouble] | None:
        """Find what is wrong; None where another process leads, or nothing is to be written."""
        with self._database.read() as connection:
            lead, before = stored.current_lead(connection), stored.unsettled(connection)
            policy = self._policy_of(connection, lead, now)
        self._lead, self._policy = lead, policy
        if not self._may_lead(lead, now):
            return None
        lasting = [alert.key for alert in before if alert.ended_at is None]
        troubles = find_troubles(self._database, now, lasting)
        changed = lifecycle.observe(before, troubles, [*self._services], policy, now)
        ours = lead is not None and lead.owner == self._owner and now + LEAD / 2 < lead.until <= now + CLAIM
        idle = ours and not changed and not lifecycle.due(before, policy, now) and not self._is_removal_due(now)
        return None if idle else troubles

    def _is_removal_due(self, now: datetime) -> bool:
        return self._removed_at is None or not timedelta() <= now - self._removed_at < REMOVED_EVERY

    def _policy_of(self, connection: Connection, lead: Lead | None, now: datetime) -> Policy:
        snoozed = {one.rule: one.until for one in stored.snoozes(connection, now)}
        last = {rule: datetime.fromisoformat(at) for rule, at in (lead.last if lead else {}).items()}
        return Policy(self._off, self._quiet, snoozed, last)

    def _may_lead(self, lead: Lead | None, now: datetime) -> bool:
        """Whether no other process leads. A lease that is longer than any was made before the clock was set back."""
        if lead is None or lead.owner == self._owner or not now < lead.until <= now + CLAIM:
            return True
        return leases.is_gone(lead.owner, self._owner)

    def _step(self, connection: Connection, troubles: Sequence[Trouble], now: datetime) -> list[list[Alert]]:
        lead = stored.lead_for_update(connection, now)
        if not self._may_lead(lead, now):
            return []
        policy, names = self._policy_of(connection, lead, now), [*self._services]
        changed = lifecycle.observe(stored.unsettled(connection), troubles, names, policy, now)
        stored.store_alerts(connection, changed)
        if self._is_removal_due(now):
            stored.remove_before(connection, now - HISTORY)
        ready = lifecycle.due(stored.unsettled(connection), policy, now)
        stored.store_alerts(connection, (lifecycle.claimed(alert, now + CLAIM) for alert in ready))
        before = lead or Lead(self._owner, now)
        until = now + (CLAIM if ready else LEAD)
        stored.store_lead(connection, replace(before, owner=self._owner, until=until, services=tuple(names)), now)
        return messages.grouped(ready, self._quiet)

    # Sending

    async def _deliver(self, groups: Sequence[Sequence[Alert]]) -> None:
        """Send to all services side by side, and record what came of it."""
        self._unrecorded += await self._send(groups)
        await self._record()

    async def _send(self, groups: Sequence[Sequence[Alert]]) -> list[_Sent]:
        by_service = await asyncio.gather(*(self._send_to(service, groups) for service in self._services.values()))
        return [sent for of_service in by_service for sent in of_service]

    async def _send_to(self, service: Service, groups: Sequence[Sequence[Alert]]) -> list[_Sent]:
        """Send one after another what this service does not have yet."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SENDING_SECONDS
        sent = []
        for group in groups:
            lacking = tuple(alert for alert in group if lifecycle.missing(alert, [service.name]))
            if not lacking:
                continue
            message = messages.message(lacking, service.name, self._origin)
            taken = loop.time() < end and await self._call(service, message)
            sent.append(_Sent(service.name, lacking, taken))
        return sent

    async def _call(self, service: Service, message: Message) -> bool:
        """Send one message; False where it was not taken in time, or the one before still is not answered."""
        before = self._busy.get(service.name)
        if before is not None and not before.done():
            return False
        call = self._busy[service.name] = asyncio.wrap_future(service.start(message))
        done, _ = await asyncio.wait({call}, timeout=SEND_SECONDS)
        if taken := bool(done) and call.result():
            self.failing.pop(service.name, None)
        else:
            self.failing.setdefault(service.name, self._clock())
        return taken

    async def _record(self) -> None:
        """Record what was sent; where the store cannot be written, again in the next turn."""
        await self._database.run(partial(self._store_sent, tuple(self._unrecorded), self._clock()))
        self._unrecorded.clear()

    def _store_sent(self, sent: Sequence[_Sent], now: datetime, connection: Connection) -> None:
        lead = stored.lead_for_update(connection, now)
        taken: dict[int, list[str]] = defaultdict(list)
        claimed: dict[int, Alert] = {}
        for one in sent:
            for alert in one.alerts:
                claimed[alert.id or 0] = alert
                taken[alert.id or 0] += [one.service] if one.taken else []
        rows = {row.id or 0: row for row in stored.by_ids(connection, claimed)}
        names = [*self._services]
        after = [lifecycle.recorded(row, claimed[id_], taken[id_], names, now) for id_, row in rows.items()]
        stored.store_alerts(connection, after)
        if lead is not None:
            stored.store_lead(connection, self._counted(lead, sent, now), now)

    def _counted(self, lead: Lead, sent: Sequence[_Sent], now: datetime) -> Lead:
        last = {alert.rule: now.isoformat() for one in sent if one.taken for alert in one.alerts}
        successes = sum(one.taken for one in sent)
        until = now + LEAD if lead.owner == self._owner else lead.until
        return replace(
            lead,
            until=until,
            sent=lead.sent + successes,
            failed=lead.failed + len(sent) - successes,
            failing={name: at.isoformat() for name, at in self.failing.items()},
            last={**lead.last, **last},
        )

    # The store, which cannot hold an alert about itself

    async def watch_store(self) -> None:
        """Tell that the database cannot be written, and that it can again; its alert is stored when it is over."""
        now, names = self._clock(), [*self._services]
        troubles = _of_store(self._database.trouble) if self._of_store or self._speaks_for_store() else []
        for alert in lifecycle.observe(self._of_store, troubles, names, self._policy, now):
            self._of_store = [alert]
        if ready := lifecycle.due(self._of_store, self._policy, now):
            await self._finish(asyncio.ensure_future(self._tell_of_store(ready[0])))
        over = [alert for alert in self._of_store if alert.ended_at is not None and alert.next_attempt_at is None]
        if over:
            await self._database.run(lambda connection: stored.store_alerts(connection, over))
            self._of_store = []

    async def _tell_of_store(self, alert: Alert) -> None:
        claimed = lifecycle.claimed(alert, self._clock() + CLAIM)
        taken = [one.service for one in await self._send([[claimed]]) if one.taken]
        self._of_store = [lifecycle.recorded(claimed, claimed, taken, [*self._services], self._clock())]

    def _speaks_for_store(self) -> bool:
        """Whether this process alerts of the store's trouble: not while another on its machine leads and lives."""
        lead = self._lead
        if lead is None or lead.owner.partition("/")[0] != self._owner.partition("/")[0]:
            return True
        return lead.owner == self._owner or leases.is_gone(lead.owner, self._owner)


def _of_store(trouble: str | None) -> list[Trouble]:
    return [Trouble(AlertRule.STORE, "", banner.text, banner.details or "") for banner in store_banners(trouble)]
