"""Exports of lines, events and deliveries of the orders that match a filter. Recipients are masked."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.orders.wording import amount, describe_event
from tracking.reports import amounts
from tracking.reports.exports.columns import Kind, columns, names_of
from tracking.reports.order_page.lines import line_record
from tracking.storage.integration.tables import DELIVERIES, SUBSCRIPTIONS
from tracking.storage.tables import EVENTS, LINES

LINE_COLUMNS = columns(
    po_number=Kind.IDENTIFIER,
    provider_id=Kind.IDENTIFIER,
    number=Kind.WHOLE,
    product_id=Kind.IDENTIFIER,
    value=Kind.AMOUNT,
    quantity=Kind.WHOLE,
    total=Kind.AMOUNT,
    currency=Kind.TEXT,
    status=Kind.TEXT,
    fulfilled=Kind.WHOLE,
    claims=Kind.WHOLE,
    cost=Kind.AMOUNT,
    provider_line_id=Kind.IDENTIFIER,
    external_id=Kind.IDENTIFIER,
    recipient=Kind.TEXT,
)
EVENT_COLUMNS = columns(
    po_number=Kind.IDENTIFIER,
    seq=Kind.WHOLE,
    at=Kind.TIME,
    learned_at=Kind.TIME,
    witness=Kind.TEXT,
    kind=Kind.TEXT,
    text=Kind.TEXT,
    actor=Kind.TEXT,
    state=Kind.TEXT,
)
DELIVERY_COLUMNS = columns(
    message_id=Kind.IDENTIFIER,
    subscription=Kind.TEXT,
    event_type=Kind.TEXT,
    po_number=Kind.IDENTIFIER,
    seq=Kind.WHOLE,
    created_at=Kind.TIME,
    state=Kind.TEXT,
    attempts=Kind.WHOLE,
    next_attempt_at=Kind.TIME,
    settled_at=Kind.TIME,
    last_status=Kind.WHOLE,
    last_error=Kind.TEXT,
)
_OF_EVENT = ("witness", "kind", "text", "seq", "at", "learned_at", "actor")
_OF_DELIVERY = tuple(name for name in names_of(DELIVERY_COLUMNS) if name in DELIVERIES.c)


def line_rows(connection: Connection, orders: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """The lines of these orders, in their order and by number."""
    by_order = _grouped(connection, select(LINES), LINES, LINES.c.number, orders)
    by_product = amounts.currencies(connection)
    return [_line(order, line, by_product) for order in orders for line in by_order.get(order["id"], ())]


def _line(order: RowMapping, line: RowMapping, by_product: dict[str, str]) -> dict[str, Any]:
    own = order["currency"] if amounts.is_one_currency(order["currency"]) else None
    currency = own or by_product.get(line["product_id"].casefold(), "")
    record = line_record(line, order["type"], lambda _: currency)
    return record | {
        "po_number": order["po_number"],
        "provider_id": order["provider_id"],
        "total": amount(line["value_minor"] * line["quantity"], currency),
        # Until the provider has shown the order, the stored status of its lines is only a default.
        "status": line["status"] if order["provider_id"] is not None else None,
        "cost": None if line["cost_minor"] is None else amount(line["cost_minor"]),
    }


def event_rows(connection: Connection, orders: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """The events of these orders, in their order and as they were recorded."""
    by_order = _grouped(connection, select(EVENTS), EVENTS, EVENTS.c.seq, orders)
    return [_event(order, event) for order in orders for event in by_order.get(order["id"], ())]


def _event(order: RowMapping, event: RowMapping) -> dict[str, Any]:
    entry = describe_event(event)
    told = {name: getattr(entry, name) for name in _OF_EVENT}
    return told | {"po_number": order["po_number"], "state": entry.changes.get("state")}


def delivery_rows(connection: Connection, orders: Sequence[RowMapping]) -> list[dict[str, Any]]:
    """The deliveries of outgoing webhooks about these orders, without what they hold, where they go, and secrets."""
    subscription = SUBSCRIPTIONS.c.name.label("subscription")
    query = select(DELIVERIES.c.order_id, *(DELIVERIES.c[name] for name in _OF_DELIVERY), subscription)
    query = query.outerjoin(SUBSCRIPTIONS, SUBSCRIPTIONS.c.id == DELIVERIES.c.subscription_id)
    by_order = _grouped(connection, query, DELIVERIES, DELIVERIES.c.id, orders)
    return [_delivery(order, row) for order in orders for row in by_order.get(order["id"], ())]


def _delivery(order: RowMapping, row: RowMapping) -> dict[str, Any]:
    waits = row["state"] == "waiting"
    due = row["next_attempt_at"] if waits else None
    return dict(row) | {"po_number": order["po_number"], "next_attempt_at": due}


def _grouped(
    connection: Connection, query: Any, table: Any, place: Any, orders: Sequence[RowMapping]
) -> dict[int, list[RowMapping]]:
    """The rows of the table that these orders have, by the order's id."""
    ids = [order["id"] for order in orders]
    rows: dict[int, list[RowMapping]] = {}
    of_these = query.where(table.c.order_id.in_(ids)).order_by(table.c.order_id, place)
    for row in connection.execute(of_these).mappings():
        rows.setdefault(row["order_id"], []).append(row)
    return rows
