"""Metrics of outgoing webhooks: subscriptions by state, deliveries that wait, outcomes of attempts."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import Connection, func, select

from tracking.storage.integration.subscriptions import SubscriptionState
from tracking.storage.integration.tables import DELIVERIES, DELIVERY_ATTEMPTS, SUBSCRIPTIONS, WAITING

RECENT = timedelta(minutes=5)
DELIVERED, REFUSED, UNANSWERED = OUTCOMES = ("delivered", "refused", "unanswered")
_LISTED = SUBSCRIPTIONS.c.state != SubscriptionState.REMOVED.value


def delivery_metrics(connection: Connection, now: datetime) -> Iterable[Metric]:
    """The figures; of a store without subscriptions all are zero, or absent."""
    states = select(SUBSCRIPTIONS.c.state, func.count()).where(_LISTED).group_by(SUBSCRIPTIONS.c.state)
    hooks = GaugeMetricFamily("tracking_hooks", "Outgoing webhooks, by state", labels=["state"])
    for state, number in connection.execute(states):
        hooks.add_metric([state], number)
    failing = select(func.count()).select_from(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.failing_since.is_not(None), _LISTED)
    waiting = select(func.count(), func.min(DELIVERIES.c.created_at)).where(WAITING)
    number, oldest = connection.execute(waiting).one()
    age = max((now - oldest).total_seconds(), 0.0) if oldest is not None else 0.0
    yield hooks
    words = "Outgoing webhooks to which nothing was delivered since their last failure"
    yield GaugeMetricFamily("tracking_hooks_failing", words, value=connection.execute(failing).scalar_one())
    yield GaugeMetricFamily("tracking_deliveries_waiting", "Messages to other systems that wait", value=number)
    yield GaugeMetricFamily("tracking_deliveries_oldest_seconds", "Age of the oldest of these", value=age)
    yield _recent(connection, now)


def _recent(connection: Connection, now: datetime) -> Metric:
    status = DELIVERY_ATTEMPTS.c.status
    delivered = sa.case((status.is_(None), UNANSWERED), (status.between(200, 299), DELIVERED), else_=REFUSED)
    counted = select(delivered, func.count()).where(DELIVERY_ATTEMPTS.c.at > now - RECENT).group_by(delivered)
    numbers = {outcome: number for outcome, number in connection.execute(counted)}  # noqa: C416 - rows are no pairs
    words = "Attempts to deliver in the last five minutes, by outcome"
    attempts = GaugeMetricFamily("tracking_delivery_attempts_recent", words, labels=["outcome"])
    for outcome in OUTCOMES:
        attempts.add_metric([outcome], numbers.get(outcome, 0))
    return attempts
