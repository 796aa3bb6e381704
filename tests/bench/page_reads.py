"""Every read that the pages make of a store, by the page that makes it: what `make bench` and `make bench-scale` time.

A read is a report that a page calls, with a filter or a place that people come to; deep pages and the search by a part
are apart, as more is allowed to them.
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import bulk
from sqlalchemy import Table, func, select

from tracking.access import Access
from tracking.alerting import listing
from tracking.alerting.troubles import find_troubles
from tracking.api import cursors, reading
from tracking.api.callers.tokens import Caller, listed_tokens
from tracking.api.feed import Asked, feed_document
from tracking.api.mcp.tools import ExplainOrder, OrdersNeedingAPerson, explain_order, orders_needing_a_person
from tracking.api.service import Service
from tracking.errors import NotAllowed
from tracking.forecasting.incidents import stored_late_orders
from tracking.orders.vocabulary import EventKind
from tracking.reports import activity, explanations, health, overview
from tracking.reports import order as order_reports
from tracking.reports.as_of.order import order_as_of
from tracking.reports.as_of.overview import overview_as_of
from tracking.reports.board import changes, decisions, expectation
from tracking.reports.board.balance import balance_status
from tracking.reports.board.completion_times import completion_times
from tracking.reports.board.course import flow, lifecycle_course
from tracking.reports.board.figures import trend
from tracking.reports.board.lifecycle import lifecycle_now
from tracking.reports.evidence.making import make_evidence
from tracking.reports.exports.writing import export_chunks
from tracking.reports.insights import forecasts, latency, witnesses
from tracking.reports.logs import contract, stored, volume
from tracking.reports.order_list import search, view_counts
from tracking.reports.order_list.expected import expected_times
from tracking.reports.order_list.filters import REASONS, VIEWS, Filters
from tracking.reports.order_list.news import list_news
from tracking.reports.order_page import calls, lines, story, verdicts
from tracking.reports.order_page.why import why_curve
from tracking.reports.outgoing import hooks as hook_reports
from tracking.reports.outgoing.hooks import DeliveryFilters
from tracking.reports.team import audit, handover, imports, people
from tracking.reports.team import jobs as job_reports
from tracking.reports.team.audit import AuditFilters
from tracking.reports.team.drills import newest_drills, running_drill
from tracking.reports.team.saved_views import saved_views
from tracking.storage.database import Database
from tracking.storage.integration.event_feed import Horizon
from tracking.storage.tables import EVENTS, ORDERS
from tracking.submissions import results
from tracking.submissions.files import CheckedFile
from tracking.team import jobs
from tracking.team.plans import Act, Parameters

USUAL, DEEP, SEARCH, EXPORT = "usual", "deep", "search", "export"
FILTERED = "orders, filtered"
# What reads the newest so many of a span, or counts up to so many.
FULL_FROM = dict.fromkeys(
    (
        "API: counts",
        "assistants: orders that need a decision",
        "decisions",
        "open orders",
        "counts of the views",
        "logs: volume of webhooks",
        "handover of a shift",
        "alerts: what is wrong",
    ),
    100_000,
)
DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True)
class PageRead:
    """A read of a page.

    Attributes:
        page: the page that makes it.
        kind: what may be expected of it: USUAL, DEEP, SEARCH or EXPORT.
        least: a store of fewer orders has no such page.
        full_from: in stores of so many orders it reads as much as it ever does; in smaller ones there is less to read,
            so that how it grows is judged from there on.
    """

    name: str
    page: str
    read: Callable[[Database], object]
    kind: str = USUAL
    least: int = 0
    full_from: int = 0


def page_reads(now: datetime) -> list[PageRead]:
    """All reads of all pages."""
    by_page = (
        ("overview", _overview(now)),
        ("every page", _frame(now)),
        ("orders", _orders(now)),
        (FILTERED, _filtered(now)),
        ("order", _order(now)),
        ("logs", _logs(now)),
        ("insights", _insights(now)),
        ("team", _team(now)),
        ("API", _api(now)),
    )
    usual = [
        PageRead(name, page, read, full_from=FULL_FROM.get(name, 0))
        for page, reads in by_page
        for name, read in reads.items()
    ]
    return [*usual, *_deep(now), *_searches(now), *_exports(now)]


def reads(now: datetime, file: CheckedFile) -> Mapping[str, Callable[[Database], object]]:
    """Each read by its name but for the list's many filters and places; `file` is what somebody uploads."""
    named = {each.name: each.read for each in page_reads(now) if each.kind in {USUAL, SEARCH} and each.page != FILTERED}
    return named | {"preview of a file": lambda store: results.preview_rows(store, file, 200)}


Reads = dict[str, Callable[[Database], object]]


def _overview(now: datetime) -> Reads:
    return {
        "overview": lambda store: overview.overview(store, now),
        "decisions": lambda store: decisions.decisions(store, now),
        "open orders": lambda store: expectation.open_orders(store, now),
        "completion times": lambda store: completion_times(store, now, "24h"),
        "completion times of a week": lambda store: completion_times(store, now, "7d"),
        "latest changes": changes.latest_changes,
        "figures of a day": lambda store: trend(store, now),
        "balance": lambda store: balance_status(store, now),
        "backlog and throughput": lambda store: flow(store, now, "7d"),
        "course of the lifecycle": lambda store: lifecycle_course(store, now, "7d"),
        "lifecycle now": lambda store: lifecycle_now(store, now),
        "counts as of yesterday": lambda store: overview_as_of(store, now - timedelta(hours=23.5), now),
    }


def _frame(now: datetime) -> Reads:
    return {
        "banners": lambda store: health.health(store, now),
        "late orders": _late_orders,
        "how much is stored": stored.stored,
        "drills": newest_drills,
        "the drill that runs": running_drill,
        "jobs that run": job_reports.running,
        "the order that a text means": lambda store: search.find_po_numbers(store, "seed-blk-000000007"),
        "the order of an id": lambda store: order_reports.find_order_ids(store, _newest(store, now)["provider_id"]),
    }


def _late_orders(store: Database) -> object:
    with store.read() as connection:
        return stored_late_orders(connection)


def _orders(now: datetime) -> Reads:
    """The list, and what stands around it."""
    return {
        "first page of orders": lambda store: _page(store, Filters(), now),
        "orders but the completed": lambda store: _page(store, Filters(not_states=("Completed",)), now),
        "orders that need a decision for a reason": lambda store: _page(store, Filters(reasons=REASONS), now),
        "orders of somebody who has many": lambda store: _page(store, Filters(view="mine", assigned="Eve"), now),
        "orders that wait for approval": lambda store: _page(store, Filters(view="approval"), now),
        "counts of the views": lambda store: view_counts.view_counts(store, now, "Eve"),
        "expected times of a page": lambda store: expected_times(store, _waiting(store, now), now),
        "what changed since a page was read": lambda store: _news(store, Filters(view="open"), now),
        "what to filter by": activity.filter_options,
        "saved views": lambda store: saved_views(store, "Ann"),
        "names to assign to": people.recent_names,
    }


def _filtered(now: datetime) -> Reads:
    """The list by each view, each part of the filter and each order; and news of it."""
    filters = {
        "orders but those of a reason": Filters(view="attention", not_reasons=REASONS[:2]),
        "orders of a state": Filters(states=("Cancelled",)),
        "orders of two states": Filters(states=("Pending", "Cancelled")),
        "orders of a type": Filters(types=("Codes",)),
        "orders of a type that nobody has": Filters(types=("unknown",)),
        "orders but those of a type": Filters(not_types=("Links", "DigitalDelivery")),
        "orders of a source": Filters(source="elsewhere"),
        "orders of a source that nobody has": Filters(source="form"),
        "orders but those of a source": Filters(not_sources=("seed",)),
        "orders of a product": Filters(product="GIFTBOX"),
        "orders of a product that nobody has": Filters(product="NOTHING"),
        "orders placed within a time": Filters(created_from=now - WEEK, created_to=now - DAY),
        "orders completed within a time": Filters(completed_from=now - WEEK, completed_to=now - DAY),
        "orders ended since a time": Filters(ended_from=now - DAY),
        "orders above a value": Filters(min_minor=900_000),
        "orders between two values": Filters(min_minor=1000, max_minor=1000),
        "open orders older than a day": Filters(view="open", older_than=DAY),
        "orders older than a day": Filters(older_than=DAY),
        "orders of a prefix": Filters(po_prefix=f"SEED-{now - DAY:%y%m%d}"),
        "orders of a prefix that nobody has": Filters(po_prefix="NOBODY-"),
        "orders of somebody": Filters(assigned="Eve"),
        "late orders, each": Filters(view="late", each=True),
        "orders that were watched": Filters(watched=True),
        "open orders of a type": Filters(view="open", types=("PhysicalShipment",)),
    }
    filters |= {f"view {view}": Filters(view=view, assigned="Eve" if view == "mine" else "") for view in VIEWS}
    for sort in ("po number", "state", "type", "cards", "value", "completed", "next look"):
        filters[f"open orders by {sort}"] = Filters(view="open", sort=sort)
        filters[f"orders by {sort}"] = Filters(sort=sort)
    reads: Reads = {name: functools.partial(_page, filters=chosen, now=now) for name, chosen in filters.items()}
    return reads | {
        "orders of a job": lambda store: search.orders_page(store, Filters(job=_job(store, now)), now),
        "nothing new in a list of all": lambda store: _news(store, Filters(), now),
    }


def _page(store: Database, filters: Filters, now: datetime) -> object:
    return search.orders_page(store, filters, now)


def _news(store: Database, filters: Filters, now: datetime) -> object:
    return list_news(store, filters, _page_before(store, filters, now), now)


@functools.cache
def _page_before(store: Database, filters: Filters, now: datetime) -> search.Page:
    return search.orders_page(store, filters, now)


def _newest(store: Database, now: datetime) -> Mapping[Hashable, Any]:
    return _records(_page_before(store, Filters(states=("Completed",)), now))[0]


def _waiting(store: Database, now: datetime) -> list[dict[Hashable, Any]]:
    return _records(_page_before(store, Filters(view="open"), now))


def _records(page: search.Page) -> list[dict[Hashable, Any]]:
    return page.rows.astype(object).to_dict("records")


def _order(now: datetime) -> Reads:
    some, late = order_of_some_lines, functools.partial(_late_order, now=now)
    return {
        "one order: its head": lambda store: verdicts.order_view(store, some(store), now),
        "one order: its story": lambda store: story.story(store, some(store), now),
        "one order: whether its story is another": lambda store: story.story_version(store, some(store), now),
        "one order: its events": lambda store: story.all_events(store, some(store)),
        "one order: its lines": lambda store: lines.find_lines(store, some(store), text="wave"),
        "one order: its progress by lines": lambda store: lines.line_progress(store, some(store)),
        "one order: its curve": lambda store: why_curve(store, some(store), now),
        "one order: its API calls": lambda store: calls.api_calls(store, some(store)),
        "one order: its next poll": lambda store: explanations.explain_next_poll(store, some(store), now),
        "one order: its place in the list": lambda store: search.position(store, Filters(), 1, now),
        "one order: its neighbours": lambda store: search.neighbours(store, Filters(), some(store), now),
        "one order: as of yesterday": lambda store: order_as_of(store, some(store), now - DAY),
        "one order: its evidence file": lambda store: make_evidence(
            store, some(store), made_by="bench", signed_in=False, now=now, masked=True
        ),
        "a late order: its head": lambda store: verdicts.order_view(store, late(store), now),
        "a late order: its story": lambda store: story.story(store, late(store), now),
        "a late order: its curve": lambda store: why_curve(store, late(store), now),
        "a late order: its place in the view": lambda store: search.position(
            store, Filters(view="late"), late(store), now
        ),
    }


@functools.cache
def order_of_some_lines(store: Database) -> int:
    """An order that has as many lines in each store."""
    with store.read() as connection:
        some = select(ORDERS.c.id).where(ORDERS.c.line_count >= 10).order_by(ORDERS.c.line_count, ORDERS.c.id)
        return int(connection.execute(some.limit(1)).scalar_one())


@functools.cache
def _late_order(store: Database, now: datetime) -> int:
    """The newest order of the view of late ones; any order where none is."""
    late = search.orders_page(store, Filters(view="late", each=True), now).rows
    return int(late["id"].iloc[0]) if len(late) else order_of_some_lines(store)


def _logs(now: datetime) -> Reads:
    within = (now - WEEK, None)
    kinds = (EventKind.REFUSED.value, EventKind.CONTRADICTION.value)
    return {
        "logs: webhooks": activity.webhook_calls,
        "logs: accepted webhooks": lambda store: activity.webhook_calls(store, outcome="accepted"),
        "logs: accepted webhooks of a week": lambda store: activity.webhook_calls(
            store, outcome="accepted", span=within
        ),
        "logs: rejected webhooks": lambda store: activity.webhook_calls(store, outcome="refused", span=within),
        "logs: waiting webhooks": lambda store: activity.webhook_calls(store, outcome="waiting"),
        "logs: rejections by rule": activity.refusal_counts,
        "logs: events": activity.events,
        "logs: events of a kind": lambda store: activity.events(store, kinds=kinds[:1]),
        "logs: events of several kinds": lambda store: activity.events(store, kinds=kinds),
        "logs: events of several kinds in a week": lambda store: activity.events(store, kinds=kinds, span=within),
        "logs: API calls": activity.provider_calls,
        "logs: failed API calls": lambda store: activity.provider_calls(store, failed=True, span=within),
        "logs: API calls of a method": lambda store: activity.provider_calls(store, method="POST"),
        "logs: volume of webhooks": lambda store: volume.webhook_volume(store, now, WEEK),
        "logs: volume of events": lambda store: volume.event_volume(store, now, WEEK),
        "logs: volume of events of two kinds": lambda store: volume.event_volume(store, now, WEEK, kinds=kinds),
        "logs: volume of API calls": lambda store: volume.call_volume(store, now, WEEK),
        "logs: what the provider uses": lambda store: contract.sightings(store, now),
        "logs: what is new or gone": contract.contract_state,
        "logs: contradictions": activity.findings,
        "logs: imported files": activity.batches,
    }


def _insights(now: datetime) -> Reads:
    return {
        "insights: detection delay": lambda store: latency.latency_report(store, now - WEEK),
        "insights: forecast accuracy": lambda store: forecasts.forecast_accuracy(store, now - WEEK, now),
        "insights: witness agreement": lambda store: witnesses.witness_agreement(store, now - WEEK),
    }


def _team(now: datetime) -> Reads:
    busy = AuditFilters("Ann 1", "searched", since=now - timedelta(hours=8))
    return {
        "jobs": job_reports.jobs,
        "one job": lambda store: job_reports.job(store, _job(store, now), now),
        "one job with its orders": lambda store: job_reports.job_view(store, _job(store, now), "waiting", 4, now),
        "imports": imports.imports,
        "outgoing webhooks": hook_reports.hooks,
        "outgoing webhooks: deliveries": lambda store: hook_reports.delivery_page(store, DeliveryFilters()),
        "outgoing webhooks: deliveries that wait for one": lambda store: hook_reports.delivery_page(
            store, DeliveryFilters(1, "waiting")
        ),
        "outgoing webhooks: deliveries of an order": lambda store: hook_reports.delivery_page(
            store, DeliveryFilters(order_id=1)
        ),
        "outgoing webhooks: what a delivery waits behind": _held_up,
        "alerts": lambda store: listing.alert_list(store, now),
        "alerts: what is wrong": lambda store: find_troubles(store, now),
        "tokens of the API": listed_tokens,
        "audit log": lambda store: audit.entries(store, AuditFilters()),
        "audit log of a name and a kind since a time": lambda store: audit.entries(store, busy),
        "audit log: names": audit.names,
        "handover of a shift": lambda store: handover.handover(store, now - timedelta(hours=8), now),
        "handover: last sign-ins": lambda store: handover.last_sign_ins(store, "Ann 1"),
    }


def _held_up(store: Database) -> object:
    """What the newest delivery that waits waits behind."""
    waiting, _ = hook_reports.delivery_page(store, DeliveryFilters(state="waiting"), limit=1)
    return [hook_reports.waits_behind(store, each) for each in waiting]


def _api(now: datetime) -> Reads:
    """What other systems ask for: pages of lists from their beginning and from far behind, one order, and the feed."""
    lists = {
        "a page of orders": Filters(),
        "orders of a state": Filters(states=("Cancelled",)),
        "orders that need a decision": Filters(view="attention"),
        "orders above a value since a time": Filters(min_minor=900_000, created_from=now - WEEK),
    }
    begun: Reads = {
        f"API: {name}": functools.partial(_api_page, filters=chosen, now=now) for name, chosen in lists.items()
    }
    sorts = ("placed", "value", "completed", "state")
    behind: Reads = {
        f"API: a page from the middle by {sort}": functools.partial(_middle_page, filters=Filters(sort=sort), now=now)
        for sort in sorts
    }
    asked = Asked(None, None, (), 100)
    return (
        begun
        | behind
        | {
            "API: one order": lambda store: reading.order_document(store, _some_po_number(store), now),
            "API: lines of an order": lambda store: reading.lines_document(store, _some_po_number(store), None, 100),
            "API: events of an order": lambda store: reading.order_events_document(
                store, _some_po_number(store), None, 100
            ),
            "API: the feed from its beginning": lambda store: feed_document(store, Horizon(), asked),
            "API: the feed since an hour ago": lambda store: feed_document(
                store, Horizon(), replace(asked, since=now - timedelta(hours=1))
            ),
            "API: the feed from its middle": lambda store: feed_document(
                store, Horizon(), replace(asked, cursor=_middle_of_feed(store))
            ),
            "API: counts": lambda store: reading.counts_document(store, "api:bench", now),
            "API: health": lambda store: reading.health_document(store, now),
            "assistants: orders that need a decision": lambda store: orders_needing_a_person(
                _service(store, now), _CALLER, OrdersNeedingAPerson(), now
            ),
            "assistants: an order explained": lambda store: explain_order(
                _service(store, now), _CALLER, ExplainOrder(order=_some_po_number(store)), now
            ),
        }
    )


_CALLER = Caller(0, "bench", Access.VIEWER, datetime(2026, 1, 1, tzinfo=UTC))


def _service(store: Database, now: datetime) -> Service:
    return Service(store, lambda: now, ["a secret of the tests"], lambda: None)


def _api_page(store: Database, filters: Filters, now: datetime) -> object:
    return reading.orders_document(store, replace(filters, page_size=100), None, now)


def _middle_page(store: Database, filters: Filters, now: datetime) -> object:
    cursor = _cursor_at(store, filters, _middle(store, ORDERS))
    return reading.orders_document(store, replace(filters, page_size=100), cursor, now)


@functools.cache
def _cursor_at(store: Database, filters: Filters, order_id: int) -> str:
    with store.read() as connection:
        return cursors.encode(reading.list_name(filters), search.place_of(connection, filters, order_id))


@functools.cache
def _middle(store: Database, table: Table) -> int:
    with store.read() as connection:
        newest = connection.execute(select(func.max(table.c.id))).scalar_one()
        return int(connection.execute(select(func.min(table.c.id)).where(table.c.id >= newest // 2)).scalar_one())


def _middle_of_feed(store: Database) -> str:
    return cursors.encode("events", [_middle(store, EVENTS), 0, 0])


@functools.cache
def _some_po_number(store: Database) -> str:
    with store.read() as connection:
        some = select(ORDERS.c.po_number).where(ORDERS.c.id == order_of_some_lines(store))
        return str(connection.execute(some).scalar_one())


@functools.cache
def _job(store: Database, now: datetime) -> int:
    """An act on the newest orders that nobody does."""
    newest = _records(_page_before(store, Filters(page_size=150), now))
    chosen, assign = Filters(only=tuple(order["po_number"] for order in newest)), Parameters(assignee="Ann")
    job_id = jobs.start(
        store, chosen, Act.ASSIGN, assign, secret="a secret of the tests", key="read", by=bulk.OPERATOR, now=now
    )
    with contextlib.suppress(NotAllowed):  # in a store that is used again it is stopped already
        jobs.stop(store, job_id, by=bulk.OPERATOR, now=now)
    return job_id


def _deep(now: datetime) -> Iterator[PageRead]:
    for number in (100, 1000):
        for name, chosen in (("orders", Filters()), ("completed orders", Filters(states=("Completed",)))):
            read = functools.partial(_page, filters=replace(chosen, page=number), now=now)
            yield PageRead(f"page {number} of {name}", "orders", read, DEEP, number * chosen.page_size * 3 // 2)
    yield PageRead("page 100 of events", "logs", lambda store: activity.events(store, offset=99 * 100), DEEP, 10_000)
    yield PageRead(
        "page 50 of webhooks", "logs", lambda store: activity.webhook_calls(store, offset=49 * 100), DEEP, 10_000
    )


def _searches(now: datetime) -> Iterator[PageRead]:
    parts = {
        "a part that few orders hold": "000000077",
        "a part that all orders hold": "seed-",
        "a part that none holds": "nobody@",
        "a part of a recipient": "rson77",
        "a common and a rare word": "cvs person7",
        "two characters": "se",
    }
    for what, text in parts.items():
        read = functools.partial(_page, filters=Filters(text=text), now=now)
        yield PageRead(f"search by {what}", "orders", read, SEARCH)


def _exports(now: datetime) -> Iterator[PageRead]:
    """An export's first rows, which come before the others are read."""
    for name, chosen in (("all orders", Filters()), ("open orders", Filters(view="open"))):
        read = functools.partial(_first_rows, filters=chosen, now=now)
        yield PageRead(f"an export of {name}: its first rows", "orders", read, EXPORT)
    for what in ("lines", "events", "deliveries"):
        read = functools.partial(_first_rows, filters=Filters(), now=now, what=what)
        yield PageRead(f"an export of all {what}: its first rows", "orders", read, EXPORT)


def _first_rows(store: Database, filters: Filters, now: datetime, what: str = "orders") -> object:
    return next(export_chunks(store, filters, now, what), None)
