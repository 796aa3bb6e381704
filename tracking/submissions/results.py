"""Results of submissions: a file's rows before they are sent, the status of orders, and what came of each row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from tracking.orders import wording
from tracking.orders.model import OrderRequest
from tracking.orders.wording import spreadsheet_identifier, spreadsheet_safe
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.submissions.catalog import Catalog, load_catalog
from tracking.submissions.files import CheckedFile, orders_with

PREVIEW_COLUMNS = ("status", "row", "problem", "type", "product", "value", "quantity", "recipient", "po_number")
_RECIPIENT_CELLS = ("Email", "Sms", "Name")


class RowStatus(StrEnum):
    """What would become of a row of a file that has not been sent."""

    READY = "Ready"
    FIX = "Fix"
    EXISTS = "Ordered"


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """An order's state, id and reason in short."""

    po_number: str
    state: str
    provider_id: str | None
    attention: str | None
    attention_reason: str | None
    completed_by: datetime | None

    @property
    def message(self) -> str:
        """Why it needs a decision; empty where it needs none."""
        return wording.decision_words(self.attention, self.attention_reason)


def order_statuses(database: Database, po_numbers: Iterable[str]) -> dict[str, OrderStatus]:
    """Read the status of these orders, by PONumber; those that are not in the store are left out."""
    columns = [entry.name for entry in fields(OrderStatus)]
    with database.read() as connection:
        return {row.po_number: OrderStatus(*tuple(row)) for row in orders_with(connection, po_numbers, columns)}


def preview_rows(database: Database, checked: CheckedFile, limit: int) -> pd.DataFrame:
    """Make a frame of the file's first rows as they were read, those with a problem first, at most `limit` of them.

    Reads which of their orders exist. Columns are PREVIEW_COLUMNS; "problem" is "" where there is none.
    """
    numbers = {row: po_number for po_number, rows in checked.rows_of.items() for row in rows}
    first = sorted(checked.cells, key=lambda row: (row[0] not in checked.faults, row[0]))[:limit]
    existing = order_statuses(database, {numbers[row] for row, _ in first if row in numbers})
    return pd.DataFrame(
        [_preview(row, cells, checked, numbers, existing) for row, cells in first], columns=PREVIEW_COLUMNS
    )


def _preview(
    row: int,
    cells: Mapping[str, str],
    checked: CheckedFile,
    numbers: Mapping[int, str],
    existing: Mapping[str, OrderStatus],
) -> tuple[Any, ...]:
    problem, po_number = checked.faults.get(row, ""), numbers.get(row, "")
    status = RowStatus.FIX if problem else RowStatus.EXISTS if po_number in existing else RowStatus.READY
    recipient = next((cells[name] for name in _RECIPIENT_CELLS if cells.get(name)), "")
    values = (cells.get(name, "") for name in ("Type", "ProductId", "Value", "Quantity"))
    return status, row, problem, *values, recipient, po_number


def outcome_rows(database: Database, checked: CheckedFile) -> pd.DataFrame:
    """Make a frame with the result of each row of the file, in the file's order, for people to download.

    Text that a spreadsheet would run as a formula begins with an apostrophe; so does an identifier that it would take
    for a number.
    """
    statuses = order_statuses(database, [request.po_number for request in checked.requests])
    catalogue = load_catalog(database)
    rows: list[tuple[Any, ...]] = []
    for request in checked.requests:
        numbers = checked.rows_of.get(request.po_number) or range(1, len(request.lines) + 1)
        rows += [
            (number, *cells) for number, cells in zip(numbers, _outcomes(request, statuses, catalogue), strict=True)
        ]
    columns = ["row", "po_number", "product_id", "value", "quantity", "external_id", "state", "provider_id", "message"]
    columns.append("currency")
    return pd.DataFrame(sorted(rows), columns=columns)


def spreadsheet_file(frame: pd.DataFrame) -> bytes:
    """Write the frame as CSV with a byte order mark, by which spreadsheets know how its letters are written."""
    return frame.to_csv(index=False).encode("utf-8-sig")


def _outcomes(
    request: OrderRequest, statuses: Mapping[str, OrderStatus], catalog: Catalog | None
) -> Iterator[tuple[Any, ...]]:
    order = statuses.get(request.po_number)
    state, provider_id, message = (order.state, order.provider_id, order.message) if order else ("not sent", "", "")
    after = spreadsheet_safe(state), spreadsheet_identifier(provider_id or ""), spreadsheet_safe(message)
    for line in request.lines:
        product = catalog.products.get(line.product_id) if catalog else None
        currency = spreadsheet_safe(product.currency_code if product else "")
        before = spreadsheet_identifier(request.po_number), spreadsheet_identifier(line.product_id)
        reference = spreadsheet_identifier(line.external_id or "")
        yield *before, line.value_minor / 100, line.quantity, reference, *after, currency
