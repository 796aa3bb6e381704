"""Webhook silence: tell whether webhooks have fallen silent or it is just a quiet time, judged by what polls find.

Two kinds of evidence add up since the last webhook: open orders that by their curves should have finished, which is but
a suspicion (many may just be slow), and finished orders that a poll found without any webhook. A suspicion is settled
by polls that do not count on webhooks; the alarm rests on what they found.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import Connection, select

from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import FAINT, Array
from tracking.forecasting.waits import MOST_WEBHOOK_SHARE
from tracking.orders.model import Submission, WebhookStatus
from tracking.orders.vocabulary import EventKind
from tracking.polling.due_orders import Survey, members, survey
from tracking.storage.tables import CALLBACKS, EVENTS, ORDERS
from tracking.webhooks.silence_alarm import SilenceAlarm

GRACE = timedelta(seconds=15)  # what an announcement may take on its way
MISSED_READ = 100


SUSPICIOUS = 3.0  # nats: e^-3, five in a hundred silences are as long by chance
ALARMING = 13.0  # nats: about three finished orders in a row that did not announce themselves, where 99 of 100 do
FROM_ONE_ORDER = 1.0  # nats: an order that is stuck says nothing about webhooks


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for silence since the last webhook.

    Attributes:
        heard: the share of completions that announce themselves, as was learned before.
        expected: announcements that should have come by now, in expectation.
        missed: orders that a look found finished although nothing had announced them.
    """

    heard: float
    expected: float = 0.0
    missed: int = 0

    @property
    def suspicious(self) -> bool:
        """Whether looks at open orders should tell if completions go unannounced."""
        return self.heard > 0 and (self.expected >= SUSPICIOUS or self.missed > 0)

    @property
    def alarming(self) -> bool:
        """Whether the silence is no accident."""
        return self.heard > 0 and -self.missed * math.log(1 - min(self.heard, MOST_WEBHOOK_SHARE)) >= ALARMING


def last_heard(connection: Connection) -> datetime | None:
    """When the last genuine callback came."""
    genuine = select(CALLBACKS.c.received_at).where(CALLBACKS.c.outcome != "refused")
    return connection.execute(genuine.order_by(CALLBACKS.c.received_at.desc()).limit(1)).scalar()


def missed_since(connection: Connection, since: datetime, now: datetime) -> int:
    """How many orders of ours were found finished since then although nothing had announced them; up to a limit."""
    finished = select(EVENTS.c.order_id).where(
        EVENTS.c.kind == EventKind.COMPLETED, EVENTS.c.learned_at > since, EVENTS.c.learned_at <= now - GRACE
    )
    newest = finished.order_by(EVENTS.c.learned_at.desc()).limit(MISSED_READ).subquery()
    unannounced = select(ORDERS.c.id).where(
        ORDERS.c.id.in_(select(newest.c.order_id)),
        ORDERS.c.notice == WebhookStatus.NONE.value,
        ORDERS.c.submission != Submission.ELSEWHERE.value,
    )
    return len(connection.execute(unannounced).all())


def evidence(connection: Connection, forecasts: Forecasts, now: datetime) -> tuple[Evidence, datetime | None]:
    """What speaks for silence since the last webhook, and when that came."""
    heard_at = last_heard(connection)
    if forecasts.webhook_share <= 0 or heard_at is None or heard_at > now:
        return Evidence(0.0), heard_at
    seen = survey(connection, forecasts, now, floor=0.0, price=forecasts.price)
    overdue = expected(forecasts.webhook_share, *_shares(seen, forecasts, (now - heard_at).total_seconds()))
    return Evidence(forecasts.webhook_share, overdue, missed_since(connection, heard_at, now)), heard_at


def _shares(seen: Survey, forecasts: Forecasts, quiet: float) -> tuple[Array, Array]:
    """The shares of their classes that were open when it fell quiet, and now, of the orders that should announce."""
    before, after = np.ones(len(seen.ages)), np.ones(len(seen.ages))
    for name, indexes in members(seen.classes):
        curve, ages = forecasts.for_class(name).curve, seen.ages[indexes]
        before[indexes], after[indexes] = curve.at(np.maximum(ages - quiet, 0.0)), curve.at(ages)
    return before[seen.announces], after[seen.announces]


def judged(
    before: SilenceAlarm | None, found: Evidence, heard_at: datetime | None, now: datetime
) -> SilenceAlarm | None:
    """The alarm as it is now: raised, lasting, ended or none. The one before where nothing changed."""
    lasts = before is not None and before.ended_at is None
    if lasts and before is not None:
        if heard_at is not None and heard_at > before.alarmed_at:
            return SilenceAlarm(before.since, before.alarmed_at, before.missed, heard_at)
        return before
    if found.alarming and heard_at is not None:
        return SilenceAlarm(heard_at, now, found.missed)
    return before


def expected(heard: float, before: Array, after: Array) -> float:
    """How many announcements should have come in a time.

    Args:
        heard: the share of completions that announce themselves.
        before: the share of its class still open when the time began, for each open order; shape (n,).
        after: the same when it ended.
    """
    hazards = np.log(np.maximum(before, FAINT) / np.maximum(after, FAINT))
    return heard * float(np.minimum(np.maximum(hazards, 0.0), FROM_ONE_ORDER).sum())
