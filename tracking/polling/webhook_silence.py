"""Detects silent webhooks: polls find completions that no webhook announced, more than chance explains.

Two kinds of evidence add up since the last webhook: open orders that by their curves should have finished, which is but
a suspicion (many may just be slow), and finished orders that a poll found without any webhook. A suspicion is settled
by polls that do not count on webhooks; the alarm rests on what they found.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Connection, select

from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import FAINT, Array
from tracking.orders.model import Submission, WebhookStatus
from tracking.orders.vocabulary import EventKind
from tracking.polling.due_orders import DueOrders, find_due_orders, indexes_by_class
from tracking.storage import facts
from tracking.storage.inbox import last_webhook_at
from tracking.storage.tables import EVENTS, ORDERS
from tracking.webhooks.silence_alarm import ALARMING, COMPLETIONS_JUDGED, SilenceAlarm, nats_each

GRACE = timedelta(seconds=15)  # what a webhook may take on its way
SUSPICIOUS = 3.0  # nats: e^-3, five in a hundred silences are as long by chance
FROM_ONE_ORDER = 1.0  # nats: an order that is stuck says nothing about webhooks


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence that webhooks are silent since the last one, given the share of completions that they announced before.

    `expected_webhooks`: how many should have come by now. `unannounced`: orders that a poll found finished although no
    webhook had announced them.
    """

    webhook_share: float
    expected_webhooks: float = 0.0
    unannounced: int = 0

    @property
    def suspicious(self) -> bool:
        """Whether polls of open orders should tell if completions go unannounced."""
        return self.webhook_share > 0 and (self.expected_webhooks >= SUSPICIOUS or self.unannounced > 0)

    @property
    def alarming(self) -> bool:
        """Whether the silence is no accident."""
        return self.webhook_share > 0 and self.unannounced * nats_each(self.webhook_share) >= ALARMING


def count_unannounced(connection: Connection, since: datetime, now: datetime) -> int:
    """How many orders of ours were found finished since then although no webhook had announced them; up to a limit.

    Without those that may have finished before the receiver that runs now did: what was called while nobody listened is
    called again by the provider, who may take hours for that.
    """
    receiver = facts.get_fact(connection, facts.heartbeat_key("webhooks"))
    listening_since = facts.running_since(receiver, now) if receiver else None
    finished = select(EVENTS.c.order_id).where(
        EVENTS.c.kind == EventKind.COMPLETED, EVENTS.c.learned_at > since, EVENTS.c.learned_at <= now - GRACE
    )
    newest = finished.order_by(EVENTS.c.learned_at.desc()).limit(COMPLETIONS_JUDGED).subquery()
    unannounced = select(ORDERS.c.id).where(
        ORDERS.c.id.in_(select(newest.c.order_id)),
        ORDERS.c.notice == WebhookStatus.NONE.value,
        ORDERS.c.submission != Submission.ELSEWHERE.value,
    )
    if listening_since is not None:
        unannounced = unannounced.where(ORDERS.c.completed_after >= listening_since)
    return len(connection.execute(unannounced).all())


def gather_evidence(connection: Connection, forecasts: Forecasts, now: datetime) -> tuple[Evidence, datetime | None]:
    """Gathers what speaks for silence since the last webhook, and when that came."""
    last_at = last_webhook_at(connection)
    if forecasts.webhook_share <= 0 or last_at is None or last_at > now:
        return Evidence(0.0), last_at
    due = find_due_orders(connection, forecasts, now, floor=0.0, price=forecasts.price)
    overdue = expected_webhooks(forecasts.webhook_share, *_open_shares(due, forecasts, (now - last_at).total_seconds()))
    return Evidence(forecasts.webhook_share, overdue, count_unannounced(connection, last_at, now)), last_at


def _open_shares(due: DueOrders, forecasts: Forecasts, quiet: float) -> tuple[Array, Array]:
    """The shares of their classes that were open when it fell quiet, and now, of the orders that should announce."""
    before, after = np.ones(len(due.ages)), np.ones(len(due.ages))
    for name, indexes in indexes_by_class(due.classes):
        curve, ages = forecasts.for_class(name).curve, due.ages[indexes]
        before[indexes], after[indexes] = curve.at(np.maximum(ages - quiet, 0.0)), curve.at(ages)
    return before[due.webhook_expected], after[due.webhook_expected]


def update_alarm(
    before: SilenceAlarm | None, evidence: Evidence, last_at: datetime | None, now: datetime
) -> SilenceAlarm | None:
    """The alarm as it is now: raised, lasting, ended or none. The one before where nothing changed."""
    if before is not None and before.ended_at is None:
        return replace(before, ended_at=last_at) if last_at is not None and last_at > before.alarmed_at else before
    if evidence.alarming and last_at is not None:
        return SilenceAlarm(last_at, now, evidence.unannounced)
    return before


def expected_webhooks(webhook_share: float, before: Array, after: Array) -> float:
    """How many webhooks should have come in a time, where such a share of completions is announced.

    `before` and `after`: the share of its class open when the time began and ended, for each open order; shape (n,).
    """
    hazards = np.log(np.maximum(before, FAINT) / np.maximum(after, FAINT))
    return webhook_share * float(np.minimum(np.maximum(hazards, 0.0), FROM_ONE_ORDER).sum())
