"""Cached reads of the reports, so that many open pages cost the store one read every few seconds.

The address of the store is an argument of each, so that no answer of one store is given for another. Times to live
are in seconds. What is returned is shared by all pages and never changed: a copy for each would cost most of a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

import pandas as pd
import streamlit as st

from refreshed import refreshed
from session import database_url
from tracking.forecasting.incidents import LateOrders, stored_late_orders
from tracking.orders.observations import utc_now
from tracking.polling.backtest.process import Replays
from tracking.reports import activity, trends
from tracking.reports import health as health_reports
from tracking.reports import overview as reports
from tracking.reports.board import balance as balance_reports
from tracking.reports.board import changes as change_reports
from tracking.reports.board import completion_times as completion_reports
from tracking.reports.board import course, expectation, figures, lifecycle
from tracking.reports.board import decisions as decision_reports
from tracking.reports.insights import forecasts, latency, witnesses
from tracking.reports.logs import stored as stored_reports
from tracking.reports.logs import volume
from tracking.reports.order_list import view_counts as order_views
from tracking.reports.order_list.view_counts import ViewCount
from tracking.reports.team import drills
from tracking.reports.team import imports as import_reports
from tracking.reports.team import jobs as team_jobs
from tracking.reports.team import people as team_people
from tracking.reports.team import saved_views as team_views
from tracking.reports.team.drills import Drill
from tracking.storage.database import connect
from tracking.storage.facts import FactKey, get_fact
from tracking.submissions.catalog import Catalog, load_catalog

FRESH = 2
SOON = 10
SLOWLY = 30
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Reading(Generic[T]):
    """What was read at one moment. It equals itself alone, so that what is drawn of it can be remembered by it."""

    value: T


def overview() -> reports.Overview:
    """The overview's figures, at most FRESH seconds old."""
    return _board(database_url())[0]


def board() -> tuple[reports.Overview, figures.Trend]:
    """The same with the five figures and their course over a day, of one moment."""
    return _board(database_url())[:2]


def lifecycle_now() -> Reading[lifecycle.Lifecycle]:
    """The orders by state now, without their values, of the same moment as `overview`."""
    return _board(database_url())[2]


@refreshed(ttl=FRESH, max_entries=4)
def _board(url: str) -> tuple[reports.Overview, figures.Trend, Reading[lifecycle.Lifecycle]]:
    """What stands side by side on one screen is read together, or its numbers would contradict each other."""
    now = utc_now()
    with connect(url).snapshot() as connection:
        current = lifecycle.lifecycle_of(connection, now, with_values=False)
        return reports.overview_of(connection, now), figures.trend_of(connection, now), Reading(current)


def demonstration_in_progress() -> bool:
    """Whether the week before a demonstration is still being written, at most FRESH seconds old."""
    return _demonstration_in_progress(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _demonstration_in_progress(url: str) -> bool:
    with connect(url).read() as connection:
        progress = get_fact(connection, FactKey.DEMONSTRATION)
    return progress is not None and not progress.value["complete"]


def forget_charts() -> None:
    """Read anew what is remembered for longer than a moment, as much has come at once."""
    for read in (_flow, _completion_times, _insights, _filter_options):
        read.clear()


def decisions() -> decision_reports.Decisions:
    """What needs a decision by reason, at most FRESH seconds old."""
    return _decisions(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _decisions(url: str) -> decision_reports.Decisions:
    return decision_reports.decisions(connect(url), utc_now())


def latest_changes() -> tuple[change_reports.Change, ...]:
    """The latest changes, at most FRESH seconds old."""
    return _latest_changes(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _latest_changes(url: str) -> tuple[change_reports.Change, ...]:
    return change_reports.latest_changes(connect(url))


def balance() -> balance_reports.BalanceStatus | None:
    """The account's balance with its course, at most SOON seconds old."""
    return _balance(database_url())


@refreshed(ttl=SOON, max_entries=4)
def _balance(url: str) -> balance_reports.BalanceStatus | None:
    return balance_reports.balance_status(connect(url), utc_now())


def flow(span: str) -> Reading[tuple[pd.DataFrame, pd.DataFrame]]:
    """Backlog and throughput over the span, and the open orders by state over it, at most SLOWLY seconds old."""
    return _flow(database_url(), span)


@refreshed(ttl=SLOWLY, max_entries=12)
def _flow(url: str, span: str) -> Reading[tuple[pd.DataFrame, pd.DataFrame]]:
    store, now = connect(url), utc_now()
    return Reading((course.flow(store, now, span), course.lifecycle_course(store, now, span)))


def open_values() -> pd.DataFrame:
    """What the open orders are worth by state and currency, at most SOON seconds old."""
    return _open_values(database_url())


@refreshed(ttl=SOON, max_entries=4)
def _open_values(url: str) -> pd.DataFrame:
    return lifecycle.lifecycle_now(connect(url), utc_now()).values


def open_orders() -> Reading[expectation.OpenOrders]:
    """Open orders against expectation, at most SOON seconds old."""
    return _open_orders(database_url())


@refreshed(ttl=SOON, max_entries=4)
def _open_orders(url: str) -> Reading[expectation.OpenOrders]:
    return Reading(expectation.open_orders(connect(url), utc_now()))


def completion_times(span: str) -> Reading[completion_reports.CompletionTimes]:
    """How long orders took over the span, by delivery type, at most SLOWLY seconds old."""
    return _completion_times(database_url(), span)


@refreshed(ttl=SLOWLY, max_entries=12)
def _completion_times(url: str, span: str) -> Reading[completion_reports.CompletionTimes]:
    return Reading(completion_reports.completion_times(connect(url), utc_now(), span))


Insights = tuple[latency.LatencyReport, forecasts.ForecastAccuracy, witnesses.WitnessAgreement]


def insights(span: str) -> Reading[Insights]:
    """Detection delay, forecast accuracy and witness agreement over the span, at most SLOWLY seconds old."""
    return _insights(database_url(), span)


@refreshed(ttl=SLOWLY, max_entries=12)
def _insights(url: str, span: str) -> Reading[Insights]:
    store, now = connect(url), utc_now()
    since = now - trends.SPANS[span]
    delay = latency.latency_report(store, trends.span_start(now, span), hourly=span == "24h")
    return Reading((delay, forecasts.forecast_accuracy(store, since, now), witnesses.witness_agreement(store, since)))


@st.cache_resource(max_entries=4, show_spinner=False)
def _replays(url: str) -> Replays:  # noqa: ARG001 - what they are remembered under
    return Replays()


def replays() -> Replays:
    """The replays of other polling plans that were asked for in this process."""
    return _replays(database_url())


def health() -> health_reports.Health:
    """What deserves a banner, at most FRESH seconds old."""
    return _health(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _health(url: str) -> health_reports.Health:
    return health_reports.health(connect(url), utc_now())


Status = tuple[ViewCount, ViewCount, ViewCount, tuple[health_reports.ComponentStatus, ...]]


def status() -> Status:
    """How many orders need a decision, are late, are snoozed, and the components' status, at most FRESH seconds old."""
    return _status(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _status(url: str) -> Status:
    with connect(url).read() as connection:
        now = utc_now()
        return *order_views.waiting(connection, now), health_reports.component_status(connection, now)


def stored() -> stored_reports.Stored:
    """How much is stored, at most SLOWLY seconds old."""
    return _stored(database_url())


@refreshed(ttl=SLOWLY, max_entries=4)
def _stored(url: str) -> stored_reports.Stored:
    return stored_reports.stored(connect(url))


def running_drill() -> Drill | None:
    """The fire drill that runs, at most FRESH seconds old; asked for with the embedded sandbox alone."""
    return _running_drill(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _running_drill(url: str) -> Drill | None:
    return drills.running_drill(connect(url))


def forget_drill() -> None:
    """Read anew which drill runs, as that has just changed."""
    _running_drill.clear()


def unapproved() -> ViewCount:
    """How many orders wait for a second operator's approval, at most FRESH seconds old."""
    return _unapproved(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _unapproved(url: str) -> ViewCount:
    with connect(url).read() as connection:
        return order_views.unapproved(connection, utc_now())


def late_orders() -> LateOrders:
    """Which orders are late together, and how many apart, at most FRESH seconds old."""
    return _late_orders(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _late_orders(url: str) -> LateOrders:
    with connect(url).read() as connection:
        return stored_late_orders(connection)


def view_counts(name: str) -> Mapping[str, ViewCount]:
    """How many orders each view of the list holds, "mine" those of this name, at most FRESH seconds old."""
    return _view_counts(database_url(), name)


@refreshed(ttl=FRESH, max_entries=50)
def _view_counts(url: str, name: str) -> Mapping[str, ViewCount]:
    return order_views.view_counts(connect(url), utc_now(), name)


def running_jobs() -> tuple[team_jobs.JobStatus, ...]:
    """The acts on many orders that are under way, a few at most, at most FRESH seconds old."""
    return _running_jobs(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _running_jobs(url: str) -> tuple[team_jobs.JobStatus, ...]:
    return team_jobs.running(connect(url))


def saved_views(name: str) -> tuple[team_views.SavedView, ...]:
    """The saved views of somebody of this name and those of all, at most FRESH seconds old."""
    return _saved_views(database_url(), name)


@refreshed(ttl=FRESH, max_entries=50)
def _saved_views(url: str, name: str) -> tuple[team_views.SavedView, ...]:
    return team_views.saved_views(connect(url), name)


def forget_saved_views() -> None:
    """Read the saved views anew, as somebody here has just changed them."""
    _saved_views.clear()


def people() -> list[str]:
    """Who has acted or was given an order lately, at most SOON seconds old."""
    return _people(database_url())


@refreshed(ttl=SOON, max_entries=4)
def _people(url: str) -> list[str]:
    return team_people.recent_names(connect(url))


def filter_options() -> dict[str, list[str]]:
    """What there is to filter by, at most SLOWLY seconds old."""
    return _filter_options(database_url())


@refreshed(ttl=SLOWLY, max_entries=4)
def _filter_options(url: str) -> dict[str, list[str]]:
    return activity.filter_options(connect(url))


def webhook_volume(span: timedelta) -> volume.Volume:
    """Webhooks over the span, at most SOON seconds old."""
    return _volume(database_url(), "webhooks", span)


def call_volume(span: timedelta, method: str) -> volume.Volume:
    """API calls over the span, at most SOON seconds old."""
    return _volume(database_url(), "calls", span, method=method)


def event_volume(span: timedelta, kinds: tuple[str, ...]) -> volume.Volume:
    """Events over the span, at most SOON seconds old."""
    return _volume(database_url(), "events", span, kinds=kinds)


_VOLUMES = {"webhooks": volume.webhook_volume, "calls": volume.call_volume, "events": volume.event_volume}


@refreshed(ttl=SOON, max_entries=24)
def _volume(url: str, what: str, span: timedelta, **conditions: Any) -> volume.Volume:
    counted: volume.Volume = _VOLUMES[what](connect(url), utc_now(), span, **conditions)
    return counted


def catalogue() -> Catalog | None:
    """The provider's catalogue, None until it has been read once."""
    return _catalogue(database_url())


@refreshed(ttl=FRESH, max_entries=4)
def _catalogue(url: str) -> Catalog | None:
    return load_catalog(connect(url))


def import_view(number: int) -> import_reports.ImportView:
    """One import, at most FRESH seconds old."""
    return _import_view(database_url(), number)


@refreshed(ttl=FRESH, max_entries=8)
def _import_view(url: str, number: int) -> import_reports.ImportView:
    return import_reports.import_view(connect(url), number, utc_now())


def forget_import() -> None:
    """Read an import anew, as somebody here has just changed it."""
    _import_view.clear()
