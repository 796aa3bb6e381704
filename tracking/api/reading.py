"""What the API answers: orders, one order, its lines and events, counts and health, as JSON-able documents. Bounded.

Recipients are masked, as pages mask them; claim data, tokens and webhook addresses are in none of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.api import cursors
from tracking.api.problems import Refusal, invalid
from tracking.errors import UnknownOrder
from tracking.forecasting.incidents import stored_late_orders
from tracking.orders.model import OrderType, State
from tracking.orders.wording import SOURCES, TimelineEntry, describe_event
from tracking.provider.json_fields import storable
from tracking.reports import amounts, banners, health
from tracking.reports.order import id_of_order, order_summary
from tracking.reports.order_list import search
from tracking.reports.order_list.conditions import list_conditions, sorting
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.query_params import Reader
from tracking.reports.order_list.view_counts import view_counts
from tracking.reports.order_page.lines import currency_of_lines, line_record
from tracking.reports.order_page.rows import order_row
from tracking.reports.order_page.story import newest_events
from tracking.reports.order_page.verdicts import order_view
from tracking.storage.database import Database
from tracking.storage.orders import spelt_as_stored
from tracking.storage.tables import COUNTERS, EVENTS, LINES, ORDERS

LARGEST_PAGE = 500
USUAL_PAGE = 50
LINES_LISTED = EVENTS_LISTED = 100
Document = dict[str, Any]


def read_filters(query: Mapping[str, str | list[str]], person: str) -> Filters:
    """The filter in an address; "mine" is whose token asks, where nobody is named. Raises Refusal."""
    filters, problems = Filters.from_query(query)
    if problems:
        raise invalid(problems)
    return replace(filters, assigned=person) if filters.view == "mine" and not filters.assigned else filters


def read_time(name: str, text: str | None) -> datetime | None:
    """A time in an address. Raises Refusal."""
    reader = Reader({name: text} if text else {})
    moment = reader.time(name)
    if reader.problems:
        raise invalid(reader.problems)
    return moment


def orders_document(database: Database, filters: Filters, cursor: str | None, now: datetime) -> Document:
    """A page of the orders that match, `filters.page_size` at most; it begins behind the cursor."""
    of, size, columns = list_name(filters), filters.page_size, sorting(filters)
    place = cursors.decode(cursor, of, [_kind(column) for column in columns]) if cursor is not None else None
    with database.read() as connection:
        if filters.only:
            filters = replace(filters, only=spelt_as_stored(connection, filters.only))
        clauses, text_search = list_conditions(connection, filters, now)
        one_more = replace(filters, page=1, page_size=size + 1)
        if place is None:
            ids = search.page_ids(connection, one_more, clauses)
        else:
            ids = search.ids_behind(connection, one_more, clauses, place)
        listed = ids[:size]
        whole = select(ORDERS).where(ORDERS.c.id.in_(listed))
        rows = {row["id"]: row for row in connection.execute(whole).mappings()} if listed else {}
        values = amounts.order_values(connection, rows.values())
        last = search.place_of(connection, filters, listed[-1]) if len(ids) > size else None
    orders = [order_summary(rows[order_id], values[order_id]) for order_id in listed if order_id in rows]
    notes = [*_unknown_words(filters), *(text_search.notes(now) if text_search else ())]
    return {"orders": orders, "next_cursor": cursors.encode(of, last) if last else None, "notes": notes}


def _unknown_words(filters: Filters) -> Iterator[str]:
    """Say which states, types and sources are none that the console knows: they may be misspelt."""
    states, types = (*filters.states, *filters.not_states), (*filters.types, *filters.not_types)
    sources = {filters.source, *filters.not_sources} - {""}
    for asked, allowed, what in ((states, State, "state"), (types, OrderType, "type"), (sources, SOURCES, "source")):
        for word in sorted(set(asked).difference(allowed)):
            yield f"{word[:60]!r} is no {what} that this console knows: {', '.join(allowed)}"


def list_name(filters: Filters) -> str:
    """The name of a list in its cursors: its filter and order, independent of the size of a page."""
    query = replace(filters, page=1, page_size=1).to_query()
    return hashlib.sha256(json.dumps(query, sort_keys=True).encode()).hexdigest()[:12]


def _kind(column: Any) -> type:
    """What a value of the column is."""
    kind: type = getattr(column.type, "impl_instance", column.type).python_type
    return kind


def find_order(database: Database, po_or_id: str) -> int:
    """The order with this PO number, provider's id or external id. Raises UnknownOrder, Refusal where there are more.

    A recipient finds nobody: addresses of requests are logged.
    """
    text = storable(po_or_id.strip())
    if (order_id := id_of_order(database, text)) is not None:
        return order_id
    spellings = {text, text.upper(), text.lower()}
    external = select(LINES.c.order_id).where(LINES.c.external_id.in_(spellings)).distinct().limit(2)
    with database.read() as connection:
        ids = connection.execute(external).scalars().all() if text else []
    if not ids:
        raise UnknownOrder("No order has this PO number or id.")
    if len(ids) > 1:
        raise Refusal("conflict", "More than one order has this external ID: give the PO number.")
    return int(ids[0])


def order_document(database: Database, po_or_id: str, now: datetime) -> Document:
    """One order: what is so, what proves it, what to decide, its first lines and newest events."""
    order_id = find_order(database, po_or_id)
    view = order_view(database, order_id, now)
    with database.read() as connection:
        row = order_row(connection, order_id)
        values = amounts.order_values(connection, [row])[order_id]
        lines = _lines(connection, row, 0, LINES_LISTED)
        events = sorted(newest_events(connection, order_id, EVENTS_LISTED), key=lambda each: (each.at, each.seq))
    return order_summary(row, values) | {
        "verdict": view.verdict,
        "evidence": list(view.evidence),
        "decision": view.decision,
        "statuses": {name: status.text for name, status in view.statuses.items()},
        "agreement": view.agreement.text if view.agreement else None,
        "assignee": view.order.assignee,
        "line_count": view.line_count,
        "lines": lines,
        "event_count": view.event_count,
        "timeline": [event_record(entry) for entry in events],
    }


def lines_document(database: Database, po_or_id: str, cursor: str | None, limit: int) -> Document:
    """A page of the order's lines, by their numbers."""
    order_id = find_order(database, po_or_id)
    (last,) = cursors.decode(cursor, "lines", [int]) if cursor is not None else (0,)
    with database.read() as connection:
        lines = _lines(connection, order_row(connection, order_id), last or 0, limit + 1)
    return _page("lines", lines, limit, "number")


def _lines(connection: Connection, order: Any, after: int, limit: int) -> list[Document]:
    query = select(LINES).where(LINES.c.order_id == order["id"], LINES.c.number > after).order_by(LINES.c.number)
    currency_of = currency_of_lines(connection, order)
    rows = connection.execute(query.limit(limit)).mappings()
    return [line_record(row, order["type"], currency_of) for row in rows]


def order_events_document(database: Database, po_or_id: str, cursor: str | None, limit: int) -> Document:
    """A page of the order's events, in the order in which they were recorded."""
    order_id = find_order(database, po_or_id)
    (last,) = cursors.decode(cursor, "order events", [int]) if cursor is not None else (0,)
    query = select(EVENTS).where(EVENTS.c.order_id == order_id, EVENTS.c.seq > (last or 0)).order_by(EVENTS.c.seq)
    with database.read() as connection:
        rows = connection.execute(query.limit(limit + 1)).mappings().all()
    return _page("order events", [event_record(describe_event(row)) for row in rows], limit, "seq", "events")


def _page(of: str, records: Sequence[Document], limit: int, key: str, name: str = "") -> Document:
    more = cursors.encode(of, [records[limit - 1][key]]) if len(records) > limit else None
    return {name or of: list(records[:limit]), "next_cursor": more}


def event_record(entry: TimelineEntry) -> Document:
    """One event, as `order --json` has it, and who acted."""
    return {
        "at": utc(entry.at),
        "learned_at": utc(entry.learned_at),
        **{name: getattr(entry, name) for name in ("witness", "kind", "text", "seq", "actor")},
        "state": entry.changes.get("state"),
    }


def utc(at: datetime) -> str:
    """A time in UTC, ISO 8601."""
    return at.astimezone(UTC).isoformat()


def counts_document(database: Database, person: str, now: datetime) -> Document:
    """How many orders each view holds, and each state; "at_least" where counting stopped."""
    counts = view_counts(database, now, person)
    stock = select(COUNTERS.c.state, sa.func.sum(COUNTERS.c.orders)).where(COUNTERS.c.name == "stock")
    with database.read() as connection:
        states = connection.execute(stock.group_by(COUNTERS.c.state).order_by(COUNTERS.c.state)).all()
    return {
        "views": {view: {"orders": each.orders, "at_least": each.more} for view, each in counts.items()},
        "states": {state: int(number) for state, number in states if number},
    }


def health_document(database: Database, now: datetime) -> Document:
    """Whether work is done, part by part, and what deserves attention, in the words of the pages' banners."""
    with database.read() as connection:
        components = health.component_status(connection, now)
    troubles = [*banners.store_banners(database.trouble), *_banners(database, now)]
    word, _ = health.summary(components, [each.level for each in troubles])
    return {
        "status": word,
        "components": [
            {"name": each.name, "at": utc(each.at) if each.at else None, "text": each.text, "worrying": each.worrying}
            for each in components
        ],
        "troubles": [{"level": each.level.value, "text": each.text} for each in troubles],
    }


def _banners(database: Database, now: datetime) -> list[banners.Banner]:
    with database.read() as connection:
        late = stored_late_orders(connection)
    return banners.health_banners(health.health(database, now), late, now)
