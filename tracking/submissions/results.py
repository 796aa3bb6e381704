"""Results of submissions: a file's rows before it is sent, the status of orders, and what came of an import's rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select, text

from tracking.orders import wording
from tracking.orders.model import Approval, folded_id
from tracking.orders.wording import spreadsheet_identifier, spreadsheet_safe
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, LINES, ORDERS
from tracking.storage.team.tables import IMPORT_ROWS
from tracking.submissions.catalog import Catalog, load_catalog
from tracking.submissions.files import CheckedFile, orders_with

PREVIEW_COLUMNS = ("status", "row", "problem", "type", "product", "value", "quantity", "recipient", "po_number")
OUTCOME_COLUMNS = (
    "row", "po_number", "product_id", "value", "quantity", "external_id", "state", "provider_id", "message", "currency",
)  # fmt: skip
ROWS_AT_ONCE = 500
_APPROVALS: dict[str | None, str] = {
    Approval.WAITING: "waits for a second operator's approval",
    Approval.DECLINED: "declined by a second operator; it was not sent",
}
_RECIPIENT_CELLS = ("Email", "Sms", "Name")


class RowStatus(StrEnum):
    """What would become of a row of a file that has not been sent."""

    READY = "Ready"
    FIX = "Fix"
    EXISTS = "Ordered"
    SAVED = "Saved"
    """It waits to be placed: the file was uploaded before."""


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """An order's state, id and reason in short."""

    po_number: str
    state: str
    provider_id: str | None
    attention: str | None
    attention_reason: str | None
    completed_by: datetime | None
    approval: str | None

    @property
    def message(self) -> str:
        """Why it needs a decision, or which approval it waits for; empty where neither."""
        if self.provider_id is None and self.approval in _APPROVALS:
            return _APPROVALS[self.approval]
        return wording.decision_words(self.attention, self.attention_reason)


def order_statuses(database: Database, po_numbers: Iterable[str]) -> dict[str, OrderStatus]:
    """Read the status of these orders, by PONumber; those that are not in the store are left out."""
    columns = [entry.name for entry in fields(OrderStatus)]
    with database.read() as connection:
        return {row.po_number: OrderStatus(*tuple(row)) for row in orders_with(connection, po_numbers, columns)}


def preview_rows(database: Database, checked: CheckedFile, limit: int) -> pd.DataFrame:
    """Make a frame of the file's first rows as they were read, those with a problem first, at most `limit` of them.

    Reads which of their orders exist, and which wait to be placed. Columns are PREVIEW_COLUMNS; "problem" is "" where
    there is none.
    """
    numbers = {row: po_number for po_number, rows in checked.rows_of.items() for row in rows}
    first = sorted(checked.cells, key=lambda row: (row[0] not in checked.faults, row[0]))[:limit]
    po_numbers = {numbers[row] for row, _ in first if row in numbers}
    statuses = dict.fromkeys(_waiting(database, po_numbers, checked.digest), RowStatus.SAVED)
    statuses |= dict.fromkeys(order_statuses(database, po_numbers), RowStatus.EXISTS)
    return pd.DataFrame(
        [_preview(row, cells, checked, numbers, statuses) for row, cells in first], columns=PREVIEW_COLUMNS
    )


def _waiting(database: Database, po_numbers: Iterable[str], digest: str) -> set[str]:
    """Which of these PONumbers wait to be placed from the file itself."""
    rows = IMPORT_ROWS.c
    query = select(rows.po_number).join(BATCHES, BATCHES.c.id == rows.batch_id)
    query = query.where(text("import_rows.outcome = 'waiting'"), BATCHES.c.digest == digest)
    folded = sorted({folded_id(name) for name in po_numbers})
    with database.read() as connection:
        return set(connection.execute(query.where(rows.po_folded.in_(folded))).scalars())


def _preview(
    row: int,
    cells: Mapping[str, str],
    checked: CheckedFile,
    numbers: Mapping[int, str],
    statuses: Mapping[str, RowStatus],
) -> tuple[Any, ...]:
    problem, po_number = checked.faults.get(row, ""), numbers.get(row, "")
    status = RowStatus.FIX if problem else statuses.get(po_number, RowStatus.READY)
    recipient = next((cells[name] for name in _RECIPIENT_CELLS if cells.get(name)), "")
    values = (cells.get(name, "") for name in ("Type", "ProductId", "Value", "Quantity"))
    return status, row, problem, *values, recipient, po_number


def outcome_rows(database: Database, batch_id: int) -> pd.DataFrame:
    """Make a frame with the result of each row of an import, in the file's order, for people to download.

    Of a file that an earlier version imported there are its orders alone, and no numbers of rows. Text that a
    spreadsheet would run as a formula begins with an apostrophe; so does an identifier that it would take for a number.
    """
    catalogue = load_catalog(database)
    names = ("state", "provider_id", "attention", "attention_reason")
    orders = [ORDERS.c[name].label(f"order_{name}") for name in names]
    columns = [IMPORT_ROWS.c[name] for name in ("po_number", "outcome", "message", "lines")]
    joined = select(*columns, *orders).outerjoin(ORDERS, ORDERS.c.id == IMPORT_ROWS.c.order_id)
    of_import = joined.where(IMPORT_ROWS.c.batch_id == batch_id).order_by(IMPORT_ROWS.c.number)
    few = {"yield_per": ROWS_AT_ONCE}
    with database.read() as connection:
        rows = [
            cells
            for row in connection.execute(of_import, execution_options=few).mappings()
            for cells in _outcomes(row, catalogue)
        ] or [cells for row in _earlier_orders(connection, batch_id) for cells in _outcomes(row, catalogue)]
    if all(row[0] is not None for row in rows):
        rows.sort()
    return pd.DataFrame(rows, columns=list(OUTCOME_COLUMNS))


def _earlier_orders(connection: Connection, batch_id: int) -> Iterator[dict[str, Any]]:
    """The orders of a file without rows, in the shape of a row each."""
    columns = [ORDERS.c[name] for name in ("id", "po_number", "state", "provider_id", "attention", "attention_reason")]
    orders = connection.execute(select(*columns).where(ORDERS.c.batch_id == batch_id).order_by(ORDERS.c.id)).mappings()
    for order in orders.all():
        of_line = (LINES.c[name] for name in ("product_id", "value_minor", "quantity", "external_id"))
        lines = connection.execute(select(*of_line).where(LINES.c.order_id == order["id"]).order_by(LINES.c.number))
        row = {f"order_{name}": value for name, value in order.items()}
        row |= {"po_number": order["po_number"], "lines": [[None, *line] for line in lines]}
        yield row | {"outcome": "queued", "message": None}


def spreadsheet_file(frame: pd.DataFrame) -> bytes:
    """Write the frame as CSV with a byte order mark, by which spreadsheets know how its letters are written."""
    return frame.to_csv(index=False).encode("utf-8-sig")


def _outcomes(row: Mapping[Any, Any], catalog: Catalog | None) -> Iterator[tuple[Any, ...]]:
    """The cells of each line of an import's row, joined with its order."""
    state, provider_id, message = "not sent", "", row["message"] or ""
    if row["outcome"] != "rejected" and row["order_state"] is not None:
        state, provider_id = row["order_state"], row["order_provider_id"] or ""
        message = wording.decision_words(row["order_attention"], row["order_attention_reason"])
    after = spreadsheet_safe(state), spreadsheet_identifier(provider_id), spreadsheet_safe(message)
    for number, product_id, value_minor, quantity, external_id in row["lines"]:
        product = catalog.products.get(product_id) if catalog else None
        currency = spreadsheet_safe(product.currency_code if product else "")
        before = number, spreadsheet_identifier(row["po_number"]), spreadsheet_identifier(product_id)
        yield (
            *before,
            wording.amount(value_minor, product.currency_code if product else None),
            quantity,
            spreadsheet_identifier(external_id or ""),
            *after,
            currency,
        )
