"""A CSV file as rows of named cells: its encoding, its separator, its header, its limits.

Owns the columns a file may have and the problems of a file as such, told by row. Knows no order and no product: what
the cells mean is for `uploads`.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence

from tracking.errors import Problem
from tracking.submissions.catalog import nearest

MAX_BYTES = 20_000_000
MAX_ROWS = 50_000
MAX_COLUMNS = 200

ORDER_COLUMNS = ("PONumber", "Type", "Note")
LINE_COLUMNS = ("ProductId", "Value", "Quantity", "ExternalId")
DIGITAL_COLUMNS = ("Email", "Sms")
PHYSICAL_COLUMNS = (
    *("ShippingMethodId", "CarrierId", "Name", "AddressLine1", "AddressLine2", "AddressLine3"),
    *("City", "State", "Zip", "Country"),
)
PERSONAL_COLUMNS = ("To", "FromName", "FromEmail", "Message", "DeliveryDate")
LOOK_COLUMNS = ("Culture", "Theme", "BrandingId")
COLUMNS = (
    *ORDER_COLUMNS,
    *LINE_COLUMNS,
    *DIGITAL_COLUMNS,
    *PHYSICAL_COLUMNS,
    *PERSONAL_COLUMNS,
    *LOOK_COLUMNS,
)
REQUIRED_COLUMNS = ("Type", "ProductId", "Value", "Quantity")
_KNOWN = {column.casefold(): column for column in COLUMNS}
_AS_UTF8 = "save it again as UTF-8 (in Excel: Save As, 'CSV UTF-8 (Comma delimited)')"
_EXAMPLE = ", ".join((*REQUIRED_COLUMNS, "Email"))
_EMPTY = Problem("", f"the file is empty; its first row must name the columns, such as {_EXAMPLE}")
_FOREIGN = {
    b"PK\x03\x04": "this is an Excel workbook or a ZIP file",
    b"\xd0\xcf\x11\xe0": "this is an old Excel workbook",
    b"%PDF": "this is a PDF",
    b"\x1f\x8b": "this is a compressed file",
    b"\xff\xfe": "this is UTF-16 text",
    b"\xfe\xff": "this is UTF-16 text",
}


class Unreadable(Exception):
    """A file in which no row can be trusted; holds its problems."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__()


def decoded(data: bytes) -> str:
    """The file's text. Raises Unreadable for anything but UTF-8 text with something in it, or too much of it."""
    if len(data) > MAX_BYTES:
        message = f"the file has {len(data) / 1e6:.1f} MB; {MAX_BYTES // 1_000_000} MB are allowed: split it"
        raise Unreadable(Problem("", message))
    for sign, what in _FOREIGN.items():
        if data.startswith(sign):
            raise Unreadable(Problem("", f"{what}, not a CSV file: {_AS_UTF8}"))
    if b"\0" in data:
        raise Unreadable(Problem("", f"this is not text and so no CSV file: {_AS_UTF8}"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        # The row as a spreadsheet counts it: a quoted cell may hold line ends.
        row = max(1, sum(1 for _ in csv.reader(io.StringIO(_before(exc), newline=""))))
        raise Unreadable(Problem(f"row {row}", f"holds a character that is not UTF-8: {_AS_UTF8}")) from None
    if not text.strip(" \t\r\n,;\ufeff"):
        raise Unreadable(_EMPTY)
    return text


def _before(error: UnicodeDecodeError) -> str:
    """What stands before the undecodable byte; a mark in its place keeps a row that begins with it."""
    return error.object[: error.start].decode("utf-8-sig", "replace") + "?"


def delimiter_of(text: str) -> str:
    """The separator under which the header names the most known columns."""
    first = re.search(r"[^\r\n]+", text)
    header = first[0] if first else ""
    known = {mark: sum(_folded(cell) in _KNOWN for cell in header.split(mark)) for mark in ",;\t"}
    return max(known, key=lambda mark: (known[mark], header.count(mark)))


def _folded(cell: str) -> str:
    return re.sub(r"[\W_]", "", cell).casefold()


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Row numbers as a spreadsheet counts them, with their cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            yield number, cells
    except csv.Error as exc:
        said = "a quoted cell never ends" if "unexpected end" in str(exc) else f"not readable as CSV ({exc})"
        raise Unreadable(Problem(f"row {number + 1}", f"{said}: look for a quotation mark too many")) from exc


def read_rows(text: str, delimiter: str) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """The cells of every row by column name, empty ones left out; and what is wrong with single rows."""
    records = _records(text, delimiter)
    header = next((cells for _, cells in records if any(cell.strip() for cell in cells)), None)
    if header is None:
        raise Unreadable(_EMPTY)
    columns = _header(header)
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[Problem] = []
    for number, raw in records:
        stripped = [cell.strip() for cell in raw]
        if not any(stripped):
            continue
        if any(cell for cell, column in itertools.zip_longest(stripped, columns, fillvalue=None) if column is None):
            named = sum(column is not None for column in columns)
            message = f"has {len(stripped)} cells, the header {named}: put text that holds {delimiter!r} in quotes"
            problems.append(Problem(f"row {number}", message))
        rows.append((number, {name: cell for name, cell in zip(columns, stripped, strict=False) if name and cell}))
        if len(rows) > MAX_ROWS:
            raise Unreadable(Problem("", f"the file has more than {MAX_ROWS:,} rows: split it"))
    if not rows:
        raise Unreadable(Problem("", "the file has a header and no rows: nothing to order"))
    return rows, problems


def _header(cells: Sequence[str]) -> list[str | None]:
    """The column each cell names, None for an empty one.

    Raises:
        Unreadable: unknown, repeated or missing columns, all at once.
    """
    if len(cells) > MAX_COLUMNS:
        message = f"has {len(cells):,} columns, {len(COLUMNS)} are known: is this the right file?"
        raise Unreadable(Problem("row 1", message))
    problems: list[Problem] = []
    columns: list[str | None] = []
    for cell in cells:
        column = _KNOWN.get(_folded(cell))
        if column is None and cell.strip():
            hint = nearest(_folded(cell), COLUMNS) or f"; known are {', '.join(COLUMNS)}"
            problems.append(Problem("row 1", f"there is no column {cell.strip()[:60]!r}{hint}"))
        elif column is not None and column in columns:
            problems.append(Problem("row 1", f"the column {column} is there twice"))
        columns.append(column)
    if missing := [column for column in REQUIRED_COLUMNS if column not in columns]:
        plural = "columns" if len(missing) > 1 else "column"
        problems.append(Problem("row 1", f"the {plural} {', '.join(missing)} must be there"))
    if problems:
        raise Unreadable(*problems)
    return columns
