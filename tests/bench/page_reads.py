"""What the pages read of a store, by name: each is measured, and its plans are looked at."""

import functools
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import bulk
from sqlalchemy import select

from tracking.reports import activity, overview
from tracking.reports.as_of.order import order_as_of
from tracking.reports.as_of.overview import overview_as_of
from tracking.reports.board import changes, decisions, expectation
from tracking.reports.board.balance import balance_status
from tracking.reports.board.completion_times import completion_times
from tracking.reports.board.course import flow, lifecycle_course
from tracking.reports.board.figures import trend
from tracking.reports.board.lifecycle import lifecycle_now
from tracking.reports.evidence.making import make_evidence
from tracking.reports.insights import forecasts, latency, witnesses
from tracking.reports.logs import contract, volume
from tracking.reports.order_list import search, view_counts
from tracking.reports.order_list.expected import expected_times
from tracking.reports.order_list.filters import REASONS, Filters
from tracking.reports.order_list.news import list_news
from tracking.reports.order_page import story, verdicts
from tracking.reports.order_page.lines import find_lines
from tracking.reports.order_page.why import why_curve
from tracking.reports.team import audit, handover, people
from tracking.reports.team import jobs as job_reports
from tracking.reports.team.audit import AuditFilters
from tracking.reports.team.drills import newest_drills
from tracking.reports.team.saved_views import saved_views
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.submissions import results
from tracking.submissions.files import CheckedFile
from tracking.team import jobs
from tracking.team.plans import Act, Parameters


def reads(now: datetime, file: CheckedFile) -> Mapping[str, Callable[[Database], object]]:
    """Each read of the pages by its name; `file` is what somebody uploads."""
    waiting: Any = functools.cache(lambda store: search.orders_page(store, Filters(view="open"), now))
    return {
        "overview": lambda store: overview.overview(store, now),
        "decisions": lambda store: decisions.decisions(store, now),
        "open orders": lambda store: expectation.open_orders(store, now),
        "completion times": lambda store: completion_times(store, now, "24h"),
        "latest changes": changes.latest_changes,
        "insights: detection delay": lambda store: latency.latency_report(store, now - timedelta(days=7)),
        "insights: forecast accuracy": lambda store: forecasts.forecast_accuracy(store, now - timedelta(days=7), now),
        "insights: witness agreement": lambda store: witnesses.witness_agreement(store, now - timedelta(days=7)),
        "figures of a day": lambda store: trend(store, now),
        "balance": lambda store: balance_status(store, now),
        "backlog and throughput": lambda store: flow(store, now, "7d"),
        "course of the lifecycle": lambda store: lifecycle_course(store, now, "7d"),
        "lifecycle now": lambda store: lifecycle_now(store, now),
        "logs: volume of webhooks": lambda store: volume.webhook_volume(store, now, timedelta(days=7)),
        "logs: volume of events": lambda store: volume.event_volume(store, now, timedelta(days=7)),
        "logs: volume of API calls": lambda store: volume.call_volume(store, now, timedelta(days=7)),
        "logs: rejected webhooks": lambda store: activity.webhook_calls(
            store, outcome="refused", span=(now - timedelta(days=7), None)
        ),
        "logs: failed API calls": lambda store: activity.provider_calls(
            store, failed=True, span=(now - timedelta(days=7), None)
        ),
        "logs: what the provider uses": lambda store: contract.sightings(store, now),
        "logs: what is new or gone": contract.contract_state,
        "first page of orders": lambda store: search.orders_page(store, Filters(), now),
        "preview of a file": lambda store: results.preview_rows(store, file, 200),
        "orders but the completed": lambda store: search.orders_page(store, Filters(not_states=("Completed",)), now),
        "orders that need a decision for a reason": lambda store: search.orders_page(
            store, Filters(reasons=REASONS), now
        ),
        "counts of the views": lambda store: view_counts.view_counts(store, now, "Eve"),
        "orders of somebody who has all": lambda store: search.orders_page(
            store, Filters(view="mine", assigned="Eve"), now
        ),
        "orders that wait for approval": lambda store: search.orders_page(store, Filters(view="approval"), now),
        "drills": newest_drills,
        "names to assign to": people.recent_names,
        "saved views": lambda store: saved_views(store, "Ann"),
        "jobs that run": job_reports.running,
        "jobs": job_reports.jobs,
        "one job": lambda store: job_reports.job(store, _job(store), now),
        "one job with its orders": lambda store: job_reports.job_view(store, _job(store), "waiting", 4, now),
        "audit log": lambda store: audit.entries(store, AuditFilters()),
        "audit log of a name and a kind since a time": lambda store: audit.entries(
            store, AuditFilters("Ann 1", "searched", since=now - timedelta(hours=8))
        ),
        "audit log: names": audit.names,
        "handover of a shift": lambda store: handover.handover(store, now - timedelta(hours=8), now),
        "expected times of a page": lambda store: expected_times(store, _records(waiting(store)), now),
        "what changed since a page was read": lambda store: list_news(store, Filters(view="open"), waiting(store), now),
        "the order that a text means": lambda store: search.find_po_numbers(store, "seed-blk-000000007"),
        "search by a part that few orders hold": lambda store: search.orders_page(
            store, Filters(text="000000077"), now
        ),
        "search by a part that all orders hold": lambda store: search.orders_page(store, Filters(text="seed-"), now),
        "search by a part that none holds": lambda store: search.orders_page(store, Filters(text="nobody@"), now),
        "search by a common and a rare word": lambda store: search.orders_page(store, Filters(text="cvs person7"), now),
        "search by two characters": lambda store: search.orders_page(store, Filters(text="se"), now),
        "counts as of yesterday": lambda store: overview_as_of(store, now - timedelta(hours=23.5), now),
        "one order: as of yesterday": lambda store: order_as_of(
            store, _order_of_some_lines(store), now - timedelta(hours=24)
        ),
        "one order: its evidence file": lambda store: make_evidence(
            store, _order_of_some_lines(store), made_by="bench", signed_in=False, now=now, masked=True
        ),
        "one order: its head": lambda store: verdicts.order_view(store, _order_of_some_lines(store), now),
        "one order: its story": lambda store: story.story(store, _order_of_some_lines(store), now),
        "one order: its lines": lambda store: find_lines(store, _order_of_some_lines(store), text="wave"),
        "one order: its curve": lambda store: why_curve(store, _order_of_some_lines(store), now),
        "one order: its place in the list": lambda store: search.position(store, Filters(), 1, now),
    }


def _records(page: search.Page) -> list[dict[Hashable, Any]]:
    return page.rows.astype(object).to_dict("records")


@functools.cache
def _order_of_some_lines(store: Database) -> int:
    """An order that has as many lines in each store."""
    with store.read() as connection:
        some = select(ORDERS.c.id).where(ORDERS.c.line_count >= 10).order_by(ORDERS.c.line_count, ORDERS.c.id)
        return int(connection.execute(some.limit(1)).scalar_one())


@functools.cache
def _job(store: Database) -> int:
    """An act on all orders that nobody does."""
    assign = Parameters(assignee="Ann")
    by, now = bulk.OPERATOR, datetime.now(UTC)
    job_id = jobs.start(
        store, Filters(), Act.ASSIGN, assign, secret="a secret of the tests", key="read", by=by, now=now
    )
    jobs.stop(store, job_id, by=by, now=now)
    return job_id
