"""One order found by any of its ids, and as programs are given it. Reads only, all bounded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from tracking.orders.model import WebhookStatus
from tracking.orders.wording import TimelineEntry
from tracking.provider import people
from tracking.provider.json_fields import storable
from tracking.reports import amounts
from tracking.reports.finding.lookup import orders_of_person
from tracking.reports.order_page.lines import currency_of_lines, line_record
from tracking.reports.order_page.rows import order_row
from tracking.reports.order_page.story import as_happened, newest_events
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.tables import LINES


def id_of_order(database: Database, own_id: str) -> int | None:
    """The order with this PONumber or provider id; None where there is none. It finds nobody by who they are."""
    with database.read() as connection:
        return orders.find_id(connection, storable(own_id.strip()))


def find_order_ids(database: Database, any_id: str) -> list[int]:
    """The order with this PONumber or provider id; failing that, those with this external id or recipient, two at most.

    A recipient is found however written.
    """
    text = storable(any_id.strip())
    if not text:
        return []
    with database.read() as connection:
        if (row_id := orders.find_id(connection, text)) is not None:
            return [row_id]
        external = select(LINES.c.order_id).where(LINES.c.external_id == text).distinct().limit(2)
        if row_ids := connection.execute(external).scalars().all():
            return [int(row_id) for row_id in row_ids]
        return list(orders_of_person(connection, sorted(people.read_spelling(text).forms))[:2])


def order_record(database: Database, order_id: int) -> dict[str, Any]:
    """The order as `order --json` prints it; recipients are masked.

    Raises:
        UnknownOrder: no order has this id.
    """
    with database.read() as connection:
        row = order_row(connection, order_id)
        lines = connection.execute(select(LINES).where(LINES.c.order_id == order_id).order_by(LINES.c.number))
        currency_of = currency_of_lines(connection, row)
        line_records = [line_record(line, row["type"], currency_of) for line in lines.mappings()]
        values = amounts.order_values(connection, [row])[order_id]
        events = [_event_record(entry) for entry in as_happened(newest_events(connection, order_id))]
    return order_summary(row, values) | {"lines": line_records, "timeline": events}


def order_summary(row: Mapping[Any, Any], values: Mapping[str, int]) -> dict[str, Any]:
    """What the command line prints of an order in a list; `value` is null where it is of several currencies.

    `values` are the amounts by currency, "" where nobody knows it.
    """
    times = ("created_at", "accepted_at", "completed_after", "completed_by", "next_look_at")
    return {
        **{name: row[name] for name in ("po_number", "provider_id", "state", "type", "units")},
        "value": amounts.one_amount(values),
        "values": amounts.decimal_texts(values),
        "source": row["source"],
        "claimed": row["notice"] != WebhookStatus.NONE,
        **{name: _iso(row[name]) for name in times},
        "approval": row["approval"],
    }


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None


def _event_record(entry: TimelineEntry) -> dict[str, Any]:
    times = {"at": _iso(entry.at), "learned_at": _iso(entry.learned_at)}
    told = {name: getattr(entry, name) for name in ("witness", "kind", "text", "seq")}
    return times | told | {"state": entry.changes.get("state")}
