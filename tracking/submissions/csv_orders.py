"""Orders of a CSV file: which rows form one order, and all problems by row and column.

Judges cells for what spreadsheets do to them, PONumbers among each other, then each order by the rules of requests and
the catalog; one rule that is broken hides no other. Asks no store.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tracking.errors import InvalidSubmission
from tracking.orders.model import OrderRequest
from tracking.provider.scalars.times import time_or_none
from tracking.submissions import csv_rows
from tracking.submissions.catalog import Catalog, check_lines, check_request
from tracking.submissions.checks import identifiers, texts
from tracking.submissions.checks.findings import Finding
from tracking.submissions.csv_rows import Row, Sheet
from tracking.submissions.requests import partial_lines, read_request

FURTHEST_DELIVERY = timedelta(days=3 * 365)
_GROUPS = {
    "DigitalDeliveryAddress": csv_rows.DIGITAL_COLUMNS,
    "PhysicalDeliveryAddress": csv_rows.PHYSICAL_COLUMNS,
    "Personalization": csv_rows.PERSONAL_COLUMNS,
}
_ADDRESSES = {
    "DigitalDeliveryAddress": "Email or Sms",
    "PhysicalDeliveryAddress": "ShippingMethodId, Name, AddressLine1, City, State, Zip and Country",
}
# Columns of words, or of numbers with spaces; in all others an invisible character is an error.
_WITH_SPACES = {
    "Value",
    "Quantity",
    "Note",
    "Message",
    "To",
    "FromName",
    "Name",
    "AddressLine1",
    "AddressLine2",
    "AddressLine3",
    "City",
}
_IDENTIFIERS = {"ProductId", "ExternalId", "ShippingMethodId", "CarrierId", "BrandingId", "Culture", "Theme"}


@dataclass(frozen=True, slots=True)
class CsvOrders:
    """The orders that could be read, what is wrong in which row, and the rows of each order by its PONumber."""

    requests: tuple[OrderRequest, ...]
    findings: tuple[Finding, ...]
    rows_of: Mapping[str, tuple[int, ...]]


def read_orders(sheet: Sheet, digest: str, chunk: int, catalog: Catalog | None, now: datetime) -> CsvOrders:
    """Forms the orders of the rows and judges them; rows without a PONumber form orders of at most `chunk` lines."""
    findings = [*sheet.findings, *_cell_findings(sheet.rows), *_po_number_findings(sheet.rows)]
    orders = _group_rows(sheet.rows, digest, chunk)
    # What is wrong with a cell was said; by the rules of requests it would be said again in other words.
    judged = {(finding.row, finding.column) for finding in findings} | sheet.undecoded
    requests: list[OrderRequest] = []
    for po_number, rows in orders.items():
        request, order_findings = _read_order(po_number, rows, catalog, now)
        requests += [request] if request else []
        findings += [
            finding
            for finding in order_findings
            if (finding.row, finding.column) not in judged
            and finding.row not in sheet.moved
            and (sheet.whole or not finding.message.startswith("is missing"))
        ]
    rows_of = {po_number: tuple(number for number, _ in rows) for po_number, rows in orders.items()}
    return CsvOrders(tuple(requests) if sheet.whole else (), tuple(findings), rows_of)


# Cells


def _cell_findings(rows: Iterable[Row]) -> Iterator[Finding]:
    for number, cells in rows:
        for column, cell in cells.items():
            if message := _damage(column, cell):
                yield Finding(number, column, message)


def _damage(column: str, cell: str) -> str | None:
    if column in _IDENTIFIERS and (altered := identifiers.altered(cell)):
        return altered
    unseen = None if column in _WITH_SPACES else texts.unseen_character(cell)
    return texts.formula(cell) or texts.spreadsheet_error(cell) or unseen or texts.other_encoding(cell)


# PONumbers


def _po_number_findings(rows: Sequence[Row]) -> Iterator[Finding]:
    numbers_of: dict[str, list[int]] = {}
    for number, cells in rows:
        numbers_of.setdefault(cells.get("PONumber", ""), []).append(number)
    without = numbers_of.pop("", [])
    first = min(itertools.chain(*numbers_of.values()), default=math.inf)
    message = "is empty below rows that have one: merged cells keep theirs in the first row only; fill in all, or none"
    yield from (Finding(number, "PONumber", message) for number in without if number > first)
    for problems in (identifiers.look_alikes(numbers_of), identifiers.lost_digits(numbers_of)):
        for text, message in problems.items():
            yield from (Finding(number, "PONumber", message) for number in numbers_of[text])


def _group_rows(rows: Iterable[Row], digest: str, chunk: int) -> dict[str, list[Row]]:
    """The rows of each order, by its PONumber."""
    orders: dict[str, list[Row]] = {}
    without_po_number: dict[tuple[str, str], list[Row]] = {}
    for number, cells in rows:
        if po_number := cells.get("PONumber"):
            orders.setdefault(po_number, []).append((number, cells))
        else:
            kind = (cells.get("Type", "").casefold(), cells.get("Note", ""))
            without_po_number.setdefault(kind, []).append((number, cells))
    chunks = (
        of_kind[at : at + chunk] for of_kind in without_po_number.values() for at in range(0, len(of_kind), chunk)
    )
    for index, part in enumerate(chunks, 1):
        orders.setdefault(f"CSV-{digest[:10]}-{index:04d}", []).extend(part)
    return orders


# Orders


def _read_order(
    po_number: str, rows: Sequence[Row], catalog: Catalog | None, now: datetime
) -> tuple[OrderRequest | None, list[Finding]]:
    findings = [*_row_contradictions(rows), *_odd_delivery_dates(rows, now)]
    document = _order_json(po_number, [cells for _, cells in rows])
    request = None
    try:
        request = read_request(document)
    except InvalidSubmission as exc:
        problems = [*exc.problems, *check_lines(*partial_lines(document), catalog)]
    else:
        problems = check_request(request, catalog)
    for problem in problems:
        findings += _locate_in_rows(problem.where, problem.message, rows)
    return request, findings


def _row_contradictions(rows: Sequence[Row]) -> Iterator[Finding]:
    for column in ("Type", "Note"):
        filled = [(number, cells[column]) for number, cells in rows if column in cells]
        for number, cell in filled[1:]:
            if cell.casefold() != filled[0][1].casefold():
                message = f"{cell!r}, but row {filled[0][0]} says {filled[0][1]!r} for the same PONumber"
                yield Finding(number, column, message)


def _odd_delivery_dates(rows: Iterable[Row], now: datetime) -> Iterator[Finding]:
    for number, cells in rows:
        at = time_or_none(cells.get("DeliveryDate"))
        if at is not None and f"{at:%Y-%m-%d}" < f"{now:%Y-%m-%d}":
            message = f"{at:%Y-%m-%d} lies in the past; leave it empty to deliver at once"
            yield Finding(number, "DeliveryDate", message)
        elif at is not None and at > now + FURTHEST_DELIVERY:
            years = FURTHEST_DELIVERY.days // 365
            yield Finding(number, "DeliveryDate", f"{at:%Y-%m-%d} lies more than {years} years ahead: check the year")


def _order_json(po_number: str, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """The rows' cells as one order in the provider's shape; its Type and Note are the first there are."""
    common: dict[str, Any] = {
        name: cells[name] for cells in reversed(rows) for name in ("Type", "Note") if name in cells
    }
    return {"PONumber": po_number, **common, "LineItems": [_line_json(cells) for cells in rows]}


def _line_json(cells: Mapping[str, str]) -> dict[str, Any]:
    line: dict[str, Any] = _filled(cells, (*csv_rows.LINE_COLUMNS, *csv_rows.LOOK_COLUMNS))
    return line | {group: inside for group, columns in _GROUPS.items() if (inside := _filled(cells, columns))}


def _filled(cells: Mapping[str, str], columns: Iterable[str]) -> dict[str, str]:
    return {column: cells[column] for column in columns if column in cells}


def _locate_in_rows(where: str, message: str, rows: Sequence[Row]) -> list[Finding]:
    """Says where a problem is by row and column instead of by its place in the document."""
    match = re.match(r"LineItems\[(\d+)\]\.?(.*)", where)
    column = (match[2] if match else where).rpartition(".")[2]
    column = _ADDRESSES.get(column, column)
    if match:
        return [Finding(rows[int(match[1])][0], column, message)]
    # What holds for the order was read from the first row that has it, and stands in others too.
    first = next((cells[column] for _, cells in rows if column in cells), None)
    return [Finding(number, column, message) for number, cells in rows if cells.get(column) == first]
