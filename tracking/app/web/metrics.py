"""Metrics: renders the store's counters and this process's figures in Prometheus' text format.

No name of any order or person.
"""

import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import metadata

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from tracking.app.web.call_figures import CallFigures
from tracking.app.web.delivery_figures import delivery_metrics
from tracking.orders.model import State
from tracking.reports.board.balance import balance_currency, is_low
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FORECAST, FactKey
from tracking.storage.integration import alerts
from tracking.storage.migrations import HEAD
from tracking.storage.outbox import SENDABLE
from tracking.storage.tables import CALLBACKS, COUNTERS, FACTS, FLAGGED, OPEN, ORDERS, OUTBOX, UNAPPROVED
from tracking.storage.team.tables import JOBS
from tracking.webhooks import silence_alarm

_STATE_LABELS = frozenset(State) | {f"Found {state}" for state in State}
OTHER = "other"
CONTENT_TYPE = CONTENT_TYPE_LATEST


def metrics_text(
    database: Database,
    now: datetime,
    calls: CallFigures | None = None,
    requests: Mapping[tuple[str, str, int], int] | None = None,
) -> bytes:
    """Render the metrics of the store as they are now, and of the process: `calls` it made, `requests` it answered.

    Raises StoreError where the store cannot be read.
    """
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    trouble = _gauge(
        "tracking_store_trouble", "1 while the database cannot be written", int(database.trouble is not None)
    )
    log_size = _gauge("tracking_store_wal_bytes", "Size of the database's write-ahead log", database.wal_bytes())
    with database.read() as connection:
        families = [*_families(connection, now), trouble, log_size]
    registry.register(
        _FixedCollector([*families, _build(database), *_calls(calls or CallFigures()), _requests(requests or {})])
    )
    text: bytes = generate_latest(registry)
    return text


class _FixedCollector(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._families


def _families(connection: Connection, now: datetime) -> Iterable[Metric]:
    orders = GaugeMetricFamily("tracking_orders", "Orders by the state they are in", labels=["state"])
    units = GaugeMetricFamily("tracking_units", "Cards by the state of their order", labels=["state"])
    for name, counted, cards in _totals(connection, "stock"):
        orders.add_metric([name], counted)
        units.add_metric([name], cards)
    entered = CounterMetricFamily("tracking_entered", "Orders that entered the state", labels=["state"])
    for name, counted, _ in _totals(connection, "flow"):
        entered.add_metric([name], counted)
    yield from (orders, units, entered)
    yield from _of_webhooks(connection)
    yield from _ages(connection, now)
    yield from _work(connection, now)
    yield from _alerts(connection)
    yield from delivery_metrics(connection, now)
    yield from _balance(connection)
    yield from _removed(connection)


def _of_webhooks(connection: Connection) -> Iterable[Metric]:
    callbacks = GaugeMetricFamily("tracking_callbacks", "Webhooks stored, by outcome", labels=["outcome"])
    by_outcome = select(CALLBACKS.c.outcome, func.count()).group_by(CALLBACKS.c.outcome)
    for outcome, counted in connection.execute(by_outcome):
        callbacks.add_metric([outcome], counted)
    refused = CounterMetricFamily("tracking_webhooks_refused", "Webhook calls refused, by the rule", labels=["rule"])
    stored = facts.get_fact(connection, FactKey.REFUSALS)
    for rule, counted in (stored.value["by_rule"] if stored else {}).items():
        refused.add_metric([rule], counted)
    alarm = silence_alarm.latest_alarm(connection)
    silent = alarm is not None and alarm.ended_at is None
    yield from (callbacks, refused)
    yield _gauge("tracking_webhooks_silent", "1 while webhooks are silent that should come", int(silent))


def _ages(connection: Connection, now: datetime) -> Iterable[Metric]:
    ages = GaugeMetricFamily("tracking_fact_age_seconds", "Seconds since a fact was last updated", labels=["fact"])
    # A curve has a class in its name, and a class the provider's word for a delivery type: any number of series.
    small = select(FACTS.c.key, FACTS.c.at).where(FACTS.c.key.not_like(f"{FORECAST}%"))
    for key, at in connection.execute(small):
        ages.add_metric([key], max((now - at).total_seconds(), 0.0))
    yield ages


def _work(connection: Connection, now: datetime) -> Iterable[Metric]:
    """Work that is there: for people, for the poller and for the sender."""
    due = select(func.count()).where(ORDERS.c.next_look_at.is_not(None), ORDERS.c.next_look_at <= now)
    waiting = select(func.count()).select_from(OUTBOX).where(SENDABLE)
    unapproved = select(func.count()).select_from(ORDERS).where(UNAPPROVED)
    late = select(func.count()).select_from(ORDERS).where(OPEN, ORDERS.c.late_at < now)
    yield _gauge("tracking_orders_late", "Open orders that are late", connection.execute(late).scalar_one())
    words = "Orders that need a decision, beside those that wait for approval"
    decisions = select(func.count()).select_from(ORDERS).where(FLAGGED)
    yield _gauge("tracking_orders_needing_decision", words, connection.execute(decisions).scalar_one())
    yield _gauge("tracking_looks_due", "Orders whose poll is due", connection.execute(due).scalar_one())
    poller = facts.get_fact(connection, facts.heartbeat_key("poller"))
    left_out = int(poller.value.get("left_out", 0)) if poller and facts.is_running(poller, now) else 0
    yield _gauge(
        "tracking_orders_not_weighed", "Open orders beyond those that are weighed for a poll at once", left_out
    )
    running = select(func.count()).select_from(JOBS).where(JOBS.c.state == "running")
    yield _gauge("tracking_jobs_running", "Acts on many orders under way", connection.execute(running).scalar_one())
    yield _gauge("tracking_outbox_waiting", "Orders that wait to be sent", connection.execute(waiting).scalar_one())
    number = connection.execute(unapproved).scalar_one()
    yield _gauge("tracking_orders_waiting_for_approval", "Orders that wait for a second operator's approval", number)


def _removed(connection: Connection) -> Iterable[Metric]:
    """How much was removed from the database so far."""
    stored = facts.get_fact(connection, FactKey.RETENTION)
    value = stored.value if stored else {}
    words = "Orders whose log left the database"
    yield CounterMetricFamily("tracking_orders_removed", words, value=value.get("orders", 0))
    words = "Orders that did not agree with their log when it was to leave; they stay"
    yield CounterMetricFamily("tracking_orders_not_removed", words, value=value.get("unsound", 0))


def _alerts(connection: Connection) -> Iterable[Metric]:
    """Metrics of alerts: how many last, how many messages were sent or failed; none where no process alerts."""
    open_alerts = GaugeMetricFamily("tracking_alerts_open", "Alerts that last, by rule", labels=["rule"])
    for rule, number in alerts.open_numbers(connection).items():
        open_alerts.add_metric([rule], number)
    lead = alerts.current_lead(connection)
    messages = CounterMetricFamily("tracking_alert_messages", "Messages of alerts", labels=["outcome"])
    for outcome, number in (("sent", lead.sent if lead else 0), ("failed", lead.failed if lead else 0)):
        messages.add_metric([outcome], number)
    failing = len(lead.failing) if lead else 0
    yield from (open_alerts, messages)
    yield _gauge("tracking_alert_services_failing", "Services that take no messages of alerts", failing)


def _balance(connection: Connection) -> Iterable[Metric]:
    """The balance in its currency's units, "" where nobody knows that; no series where the provider offers none."""
    stored = facts.get_fact(connection, FactKey.BALANCE)
    value = stored.value if stored else {}
    balance = GaugeMetricFamily("tracking_balance", "What the account holds at the provider", labels=["currency"])
    if (available := value.get("available_minor")) is not None:
        balance.add_metric([balance_currency(connection, value)], available / 100)
    low = is_low(available, value.get("below_minor"))
    yield from (balance, _gauge("tracking_balance_low", "1 while it is below TRACKING_BALANCE_BELOW", int(low)))


def _build(database: Database) -> Metric:
    """What runs here."""
    description = database.description()
    labels = {
        "version": metadata.version("fulfillment-tracking"),
        "python": platform.python_version(),
        "database": str(description["engine"]),
        "sqlite": str(description["sqlite_version"] or ""),
        "revision": HEAD,
    }
    return InfoMetricFamily("tracking_build", "What this process runs", value=labels)


def _calls(calls: CallFigures) -> Iterable[Metric]:
    """Calls of this process to the provider, by how long they took; their number is that of the last bucket."""
    labels = ["method", "endpoint", "outcome"]
    words = "Calls of this process to the provider's API, by how long they took"
    durations = HistogramMetricFamily("tracking_api_call_duration_seconds", words, labels=labels)
    for key, histogram in calls:
        durations.add_metric(key, histogram.buckets(), histogram.seconds)
    yield durations


def _requests(requests: Mapping[tuple[str, str, int], int]) -> Metric:
    """Requests of other systems that the API of this process answered."""
    labels = ["method", "route", "status"]
    answered = CounterMetricFamily("tracking_requests", "Requests that this process's API answered", labels=labels)
    for (method, route, status), number in sorted(requests.items()):
        answered.add_metric([method, route, str(status)], number)
    return answered


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _totals(connection: Connection, name: str) -> Iterable[tuple[str, int, int]]:
    totals = select(COUNTERS.c.state, func.sum(COUNTERS.c.orders), func.sum(COUNTERS.c.units))
    sums_by_state: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in connection.execute(totals.where(COUNTERS.c.name == name).group_by(COUNTERS.c.state)):
        # The provider may make up words without end, and each label is a series of its own.
        sums = sums_by_state[row[0] if row[0] in _STATE_LABELS else OTHER]
        sums[0] += int(row[1])
        sums[1] += int(row[2])
    return [(state, orders, units) for state, (orders, units) in sums_by_state.items()]
