"""CSV parsing: a file becomes rows of named cells, by its encoding, delimiter, header and limits.

Owns the columns a file may have and the problems of a file as such, each with its row. Knows no order and no product:
what the cells mean is for `files`.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence

from tracking.errors import Problem
from tracking.submissions.catalog import did_you_mean

MAX_BYTES = 20_000_000
MAX_ROWS = 50_000
MAX_COLUMNS = 200

ORDER_COLUMNS = ("PONumber", "Type", "Note")
LINE_COLUMNS = ("ProductId", "Value", "Quantity", "ExternalId")
DIGITAL_COLUMNS = ("Email", "Sms")
_STREET_COLUMNS = ("Name", "AddressLine1", "AddressLine2", "AddressLine3", "City", "State", "Zip", "Country")
PHYSICAL_COLUMNS = ("ShippingMethodId", "CarrierId", *_STREET_COLUMNS)
PERSONAL_COLUMNS = ("To", "FromName", "FromEmail", "Message", "DeliveryDate")
LOOK_COLUMNS = ("Culture", "Theme", "BrandingId")
CSV_COLUMNS = (*ORDER_COLUMNS, *LINE_COLUMNS, *DIGITAL_COLUMNS, *PHYSICAL_COLUMNS, *PERSONAL_COLUMNS, *LOOK_COLUMNS)
REQUIRED_COLUMNS = ("Type", "ProductId", "Value", "Quantity")
Row = tuple[int, dict[str, str]]  # its number, and its filled cells by their columns
_COLUMN_NAMES = {column.casefold(): column for column in CSV_COLUMNS}
_SAVE_AS_UTF8 = "save it again as UTF-8 (in Excel: Save As, 'CSV UTF-8 (Comma delimited)')"
_EXAMPLE = ", ".join((*REQUIRED_COLUMNS, "Email"))
_EMPTY_FILE = Problem("", f"the file is empty; its first row must name the columns, such as {_EXAMPLE}")
_OTHER_FORMATS = {
    b"PK\x03\x04": "this is an Excel workbook or a ZIP file",
    b"\xd0\xcf\x11\xe0": "this is an old Excel workbook",
    b"%PDF": "this is a PDF",
    b"\x1f\x8b": "this is a compressed file",
    b"\xff\xfe": "this is UTF-16 text",
    b"\xfe\xff": "this is UTF-16 text",
}


class UnreadableFile(Exception):
    """A file in which no row can be trusted; holds its problems."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__()


def check_size(data: bytes) -> None:
    """Raises UnreadableFile for a file that is too large."""
    if len(data) > MAX_BYTES:
        message = f"the file has {len(data) / 1e6:.1f} MB; {MAX_BYTES // 1_000_000} MB are allowed: split it"
        raise UnreadableFile(Problem("", message))


def decode_text(data: bytes) -> str:
    """Decodes the file, which must be UTF-8 with something in it, and not too much.

    Raises:
        UnreadableFile: it is not.
    """
    check_size(data)
    for sign, what in _OTHER_FORMATS.items():
        if data.startswith(sign):
            raise UnreadableFile(Problem("", f"{what}, not a CSV file: {_SAVE_AS_UTF8}"))
    if b"\0" in data:
        raise UnreadableFile(Problem("", f"this is not text and so no CSV file: {_SAVE_AS_UTF8}"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        # The row as a spreadsheet counts it: a quoted cell may hold line ends.
        row = max(1, sum(1 for _ in csv.reader(io.StringIO(_text_before(exc), newline=""))))
        raise UnreadableFile(Problem(f"row {row}", f"holds a character that is not UTF-8: {_SAVE_AS_UTF8}")) from None
    if not text.strip(" \t\r\n,;\ufeff"):
        raise UnreadableFile(_EMPTY_FILE)
    return text


def _text_before(error: UnicodeDecodeError) -> str:
    """The text before the undecodable byte; a mark in its place keeps a row that begins with it."""
    return error.object[: error.start].decode("utf-8-sig", "replace") + "?"


def detect_delimiter(text: str) -> str:
    """Detects the delimiter under which the header names the most columns: a comma, a semicolon or a tab."""
    first = re.search(r"[^\r\n]+", text)
    header = first[0] if first else ""
    matches = {mark: sum(_fold(cell) in _COLUMN_NAMES for cell in header.split(mark)) for mark in ",;\t"}
    return max(matches, key=lambda mark: (matches[mark], header.count(mark)))


def _fold(cell: str) -> str:
    return re.sub(r"[\W_]", "", cell).casefold()


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Numbers the rows as a spreadsheet does, and gives their cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            yield number, cells
    except csv.Error as exc:
        reason = "a quoted cell never ends" if "unexpected end" in str(exc) else f"not readable as CSV ({exc})"
        raise UnreadableFile(Problem(f"row {number + 1}", f"{reason}: look for a quotation mark too many")) from exc


def read_rows(text: str, delimiter: str) -> tuple[list[Row], list[Problem]]:
    """Parses the rows, empty ones left out; and the problems of single rows."""
    records = _records(text, delimiter)
    header = next((cells for _, cells in records if any(cell.strip() for cell in cells)), None)
    if header is None:
        raise UnreadableFile(_EMPTY_FILE)
    columns = _parse_header(header)
    rows: list[Row] = []
    problems: list[Problem] = []
    for number, raw in records:
        stripped = [cell.strip() for cell in raw]
        if not any(stripped):
            continue
        if any(cell for cell, column in itertools.zip_longest(stripped, columns, fillvalue=None) if column is None):
            has = f"has {len(stripped)} cells, the header {sum(column is not None for column in columns)}"
            problems.append(Problem(f"row {number}", f"{has}: put text that holds {delimiter!r} in quotes"))
        rows.append((number, {name: cell for name, cell in zip(columns, stripped, strict=False) if name and cell}))
        if len(rows) > MAX_ROWS:
            raise UnreadableFile(Problem("", f"the file has more than {MAX_ROWS:,} rows: split it"))
    if not rows:
        raise UnreadableFile(Problem("", "the file has a header and no rows: nothing to order"))
    return rows, problems


def _parse_header(cells: Sequence[str]) -> list[str | None]:
    """Parses the header: the column each cell names, None for an empty one.

    Raises:
        Unreadable: unknown, repeated or missing columns, all at once.
    """
    if len(cells) > MAX_COLUMNS:
        message = f"has {len(cells):,} columns, {len(CSV_COLUMNS)} are known: is this the right file?"
        raise UnreadableFile(Problem("row 1", message))
    problems: list[Problem] = []
    columns: list[str | None] = []
    for cell in cells:
        column = _COLUMN_NAMES.get(_fold(cell))
        if column is None and cell.strip():
            hint = did_you_mean(_fold(cell), CSV_COLUMNS) or f"; known are {', '.join(CSV_COLUMNS)}"
            problems.append(Problem("row 1", f"there is no column {cell.strip()[:60]!r}{hint}"))
        elif column is not None and column in columns:
            problems.append(Problem("row 1", f"the column {column} is there twice"))
        columns.append(column)
    if missing := [column for column in REQUIRED_COLUMNS if column not in columns]:
        plural = "columns" if len(missing) > 1 else "column"
        problems.append(Problem("row 1", f"the {plural} {', '.join(missing)} must be there"))
    if problems:
        raise UnreadableFile(*problems)
    return columns
