"""News since a list was drawn: which orders have come, and which values changed. Bounded reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from tracking.orders.model import WebhookStatus
from tracking.orders.vocabulary import reason_label, state_label
from tracking.reports.order_list.conditions import list_conditions
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.search import CHANGING_COLUMNS, Page, changing_values, page_ids
from tracking.reports.order_list.standstill import stands_still
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS

NEWS_COUNTED = 1_000
_WEBHOOKS = {
    WebhookStatus.CLAIMED: "webhook says complete",
    WebhookStatus.CONFIRMED: "webhook confirmed by poll",
    WebhookStatus.CONTRADICTED: "webhook contradicted by poll",
}


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed of an order since the page was read, in a few words: "Pending to Completed"."""

    po_number: str
    text: str


@dataclass(frozen=True, slots=True)
class News:
    """What a page does not show yet: so many `new` orders (NEWS_COUNTED at the most), and what changed, row by row."""

    new: int
    changes: tuple[Change, ...] = ()


def list_news(database: Database, filters: Filters, page: Page, now: datetime) -> News:
    """What has come or changed since the page was read; orders that only now match the filter count as changed."""
    with database.read() as connection:
        if stands_still(connection, page.standing, now):
            return News(0)
        new, entered = 0, list[int]()
        # What holds a text is looked for again only where there is any new order at all.
        if not filters.text or _has_newer(connection, page):
            clauses, _ = list_conditions(connection, filters, now)
            newer = select(ORDERS.c.id).where(ORDERS.c.id > page.newest_id, *clauses).limit(NEWS_COUNTED)
            new = len(connection.execute(newer).all())
        if filters.page == 1 and not filters.text:
            # New orders are among these, and left out here: a statement that skips them would read without bound.
            longer = replace(filters, page_size=filters.page_size + new)
            earlier = [each for each in page_ids(connection, longer, clauses) if each <= page.newest_id]
            entered = _entered(filters, page, earlier[: filters.page_size])
        current = _current_values(connection, [*page.values, *entered], now)
    changed = [
        order_id for order_id in page.values if order_id in current and current[order_id] != page.values[order_id]
    ]
    changes = [Change(current[key]["po_number"], change_text(page.values[key], current[key])) for key in changed]
    changes += [
        Change(current[key]["po_number"], f"{state_label(current[key]['state'])}, now in this list")
        for key in entered
        if key in current
    ]
    return News(new, tuple(changes))


def _has_newer(connection: Connection, page: Page) -> bool:
    return connection.execute(select(ORDERS.c.id).where(ORDERS.c.id > page.newest_id).limit(1)).first() is not None


def _current_values(connection: Connection, ids: list[int], now: datetime) -> dict[int, dict[str, Any]]:
    columns = (ORDERS.c[name] for name in ("id", *CHANGING_COLUMNS))
    rows = connection.execute(select(*columns).where(ORDERS.c.id.in_(ids))).mappings()
    return {row["id"]: changing_values(row, now) for row in rows}


def _entered(filters: Filters, page: Page, ids: list[int]) -> list[int]:
    """The orders that match only now: all that the page did not show, but for those that moved up to its end."""
    places = [place for place, order_id in enumerate(ids, start=1) if order_id in page.values]
    end = max(places, default=0) if len(page.values) == filters.page_size else len(ids)
    return [order_id for order_id in ids[:end] if order_id not in page.values]


def change_text(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What has changed, in a few words; the values are those of `search.changing_values`."""
    return ", ".join(_differences(before, after)) or "details changed"


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    changed = {name for name in after if after[name] != before[name]}
    if "state" in changed:
        yield f"{state_label(before['state'])} to {state_label(after['state'])}"
    if "units_fulfilled" in changed:
        yield f"{after['units_fulfilled']:,} of {after['units']:,} fulfilled"
    if "notice" in changed and "state" not in changed:
        yield _WEBHOOKS.get(after["notice"], "webhook changed")
    if "late" in changed and "state" not in changed:
        yield "late now" if after["late"] else "no longer late"
    yield from _work_differences(changed, after)
    if "acknowledged_at" in changed:
        yield "acknowledged" if after["acknowledged_at"] else "needs a decision again"
    if "attention" in changed and after["attention"]:
        yield "needs a decision" + ("" if "state" in changed else f": {reason_label(after['attention_reason'])}")
    if "provider_id" in changed and "state" not in changed:
        yield f"provider ID {after['provider_id']}"
    if changed & {"value_minor", "currency"}:
        yield "value changed"


def _work_differences(changed: set[str], after: Mapping[str, Any]) -> Iterator[str]:
    if "assignee" in changed:
        yield f"assigned to {after['assignee']}" if after["assignee"] else "unassigned"
    if "snoozed" in changed:
        yield "snoozed" if after["snoozed"] else "no longer snoozed"
