"""Results of submissions: the status of submitted orders, and a file's rows with what came of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tracking.orders.model import OrderRequest
from tracking.orders.wording import spreadsheet_safe
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.submissions.files import CheckedFile


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """An order's state, id and reason in short."""

    po_number: str
    state: str
    provider_id: str | None
    attention: str | None
    completed_by: datetime | None


def order_statuses(database: Database, po_numbers: Iterable[str]) -> dict[str, OrderStatus]:
    """Read the status of these orders, by PONumber; those that are not in the store are left out."""
    columns = [ORDERS.c[entry.name] for entry in fields(OrderStatus)]
    statuses: dict[str, OrderStatus] = {}
    remaining = iter(po_numbers)
    with database.read() as connection:
        while part := list(itertools.islice(remaining, 500)):
            for row in connection.execute(sa.select(*columns).where(ORDERS.c.po_number.in_(part))):
                statuses[row.po_number] = OrderStatus(*row)
    return statuses


def outcome_rows(database: Database, checked: CheckedFile) -> pd.DataFrame:
    """Make a frame with the result of each row of the file, in the file's order, for people to download.

    Text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    statuses = order_statuses(database, [request.po_number for request in checked.requests])
    rows = [
        (number, *cells)
        for request in checked.requests
        for number, cells in zip(_row_numbers(checked, request), _outcomes(request, statuses), strict=True)
    ]
    columns = ["row", "po_number", "product_id", "value", "quantity", "external_id", "state", "provider_id", "message"]
    return pd.DataFrame(sorted(rows), columns=columns)


def _row_numbers(checked: CheckedFile, request: OrderRequest) -> Iterable[int]:
    return checked.rows_of.get(request.po_number) or range(1, len(request.lines) + 1)


def _outcomes(request: OrderRequest, statuses: Mapping[str, OrderStatus]) -> Iterator[tuple[Any, ...]]:
    order = statuses.get(request.po_number)
    state, provider_id, message = (order.state, order.provider_id, order.attention) if order else ("not sent", "", "")
    for line in request.lines:
        yield (
            spreadsheet_safe(request.po_number),
            spreadsheet_safe(line.product_id),
            line.value_minor / 100,
            line.quantity,
            spreadsheet_safe(line.external_id or ""),
            spreadsheet_safe(state),
            spreadsheet_safe(provider_id or ""),
            spreadsheet_safe(message or ""),
        )
