"""CSV parsing: a file becomes rows of named cells, by its encoding, delimiter, header and limits.

Owns the columns a file may have and the problems of a file as such, each with its row. Knows no order and no product:
what the cells mean is for `csv_orders`.
"""

import codecs
import csv
import difflib
import io
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tracking.errors import Problem
from tracking.orders.wording import spreadsheet_identifier
from tracking.provider.masking import scrub
from tracking.submissions.checks.findings import Finding, as_problems
from tracking.submissions.checks.texts import without_text_mark

MAX_BYTES = 20_000_000
MAX_ROWS = 50_000
MAX_COLUMNS = 200
ROWS_ABOVE = 10

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
# What people call the columns elsewhere: asked about, as it can mean something else.
_OTHER_NAMES = {
    "po": "PONumber", "ordernumber": "PONumber", "product": "ProductId", "sku": "ProductId", "amount": "Value",
    "denomination": "Value", "qty": "Quantity", "reference": "ExternalId", "mail": "Email", "emailaddress": "Email",
    "phone": "Sms", "mobile": "Sms", "address": "AddressLine1", "street": "AddressLine1", "town": "City",
    "zipcode": "Zip", "postalcode": "Zip", "postcode": "Zip", "province": "State", "recipient": "To",
}  # fmt: skip
_SEPARATOR_LINE = re.compile(r'\A\ufeff?"?sep=[^\r\n]"?[ ,;\t]*(?:\r\n|\r|\n)', re.IGNORECASE)
_UNDECODED = re.compile("[\udc80-\udcff]")
_SAVE_AS_UTF8 = "save it again as UTF-8 (in Excel: Save As, 'CSV UTF-8 (Comma delimited)')"
_EXAMPLE = ", ".join((*REQUIRED_COLUMNS, "Email"))
_EMPTY_FILE = Problem("", f"the file is empty; its first row must name the columns, such as {_EXAMPLE}")
_OTHER_FORMATS = {
    b"PK\x03\x04": "this is an Excel workbook or a ZIP file",
    b"\xd0\xcf\x11\xe0": "this is an old Excel workbook",
    b"%PDF": "this is a PDF",
    b"\x1f\x8b": "this is a compressed file",
}


class UnreadableFile(Exception):
    """A file in which no row can be trusted; holds its problems."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__()


@dataclass(slots=True)
class Sheet:
    """The rows of a file and what is wrong with them. `whole` is False where a part of it could not be read.

    `moved` are rows whose cells may stand in other columns than they belong to, `undecoded` cells (row, column) with
    bytes that are no UTF-8.
    """

    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    whole: bool = True
    moved: set[int] = field(default_factory=set)
    undecoded: set[tuple[int, str]] = field(default_factory=set)

    def add(self, row: int, message: str, *, moved: bool = False) -> None:
        """Adds a finding that concerns a row."""
        self.findings.append(Finding(row, "", message))
        if moved:
            self.moved.add(row)


def check_size(data: bytes) -> None:
    """Raises UnreadableFile for a file that is too large."""
    if len(data) > MAX_BYTES:
        message = f"the file has {len(data) / 1e6:.1f} MB; {MAX_BYTES // 1_000_000} MB are allowed: split it"
        raise UnreadableFile(Problem("", message))


def decode_text(data: bytes) -> str:
    """Decodes the file, UTF-8 or UTF-16 with its mark, with something in it, and not too much.

    Bytes that are no UTF-8 become lone surrogates (PEP 383), which `read_rows` finds by their rows.

    Raises:
        UnreadableFile: it is no text.
    """
    check_size(data)
    for sign, what in _OTHER_FORMATS.items():
        if data.startswith(sign):
            raise UnreadableFile(Problem("", f"{what}, not a CSV file: {_SAVE_AS_UTF8}"))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        raise UnreadableFile(Problem("", f"this is not text and so no CSV file: {_SAVE_AS_UTF8}"))
    # A spreadsheet obeys this line and does not count it; which mark parts the cells shows the header.
    text = _SEPARATOR_LINE.sub("", text)
    if not text.strip(" \t\r\n,;\ufeff"):
        raise UnreadableFile(_EMPTY_FILE)
    return text


def detect_delimiter(text: str) -> str:
    """Detects the delimiter under which the header names the most columns: a comma, a semicolon or a tab."""
    lines = [match[0] for match in itertools.islice(re.finditer(r"[^\r\n]+", text), ROWS_ABOVE + 1)]
    return max(",;\t", key=lambda mark: max((_names_in(line.split(mark)), line.count(mark)) for line in lines or [""]))


def _names_in(cells: Iterable[str]) -> int:
    """How many of the cells name a column."""
    return sum(_fold(cell) in _COLUMN_NAMES for cell in cells)


def _fold(cell: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", cell)).casefold()


def read_rows(text: str, delimiter: str) -> Sheet:
    """Parses the rows, empty ones left out; and finds what is wrong with them as rows.

    Raises:
        UnreadableFile: there is no row whose cells can be told apart.
    """
    sheet = Sheet()
    records = _records(text, delimiter, sheet)
    head = list(itertools.islice((record for record in records if any(map(str.strip, record[1]))), ROWS_ABOVE + 1))
    if not head:
        raise UnreadableFile(*as_problems(sheet.findings) or [_EMPTY_FILE])
    place = _find_header([cells for _, cells in head])
    if place:
        sheet.add(head[0][0], f"is not the header, which is row {head[place][0]}: remove what stands above it")
    columns = _parse_header(*head[place], sheet)
    header, widths = [cell.strip() for cell in head[place][1]], dict[int, int]()
    for number, raw in itertools.chain(head[place + 1 :], records):
        cells = [cell.strip() for cell in raw]
        if not any(cells):
            continue
        if cells[1:] == header[1:] and _fold(cells[0]) == _fold(header[0]):
            sheet.add(number, "repeats the header: remove it")
            continue
        widths[number] = len(cells)
        _check_row(number, cells, columns, delimiter, sheet)
        filled = ((name, _as_typed(cell)) for name, cell in zip(columns, cells, strict=False) if name)
        sheet.rows.append((number, {name: cell for name, cell in filled if cell}))
        if len(sheet.rows) > MAX_ROWS:
            raise UnreadableFile(Problem("", f"the file has more than {MAX_ROWS:,} rows: split it"))
    if not sheet.rows and not sheet.findings:
        raise UnreadableFile(Problem("", "the file has a header and no rows: nothing to order"))
    _check_widths(widths, len(columns), sheet)
    if sheet.whole and not text.endswith(("\n", "\r")):
        _check_end(widths, sum(column is not None for column in columns), sheet)
    return sheet


def _find_header(head: Sequence[Sequence[str]]) -> int:
    """The place of the first row that names columns, where the rows above are a title; 0 where no row does."""
    return next((place for place, cells in enumerate(head) if _names_in(cells) >= len(REQUIRED_COLUMNS)), 0)


def _records(text: str, delimiter: str, sheet: Sheet) -> Iterator[tuple[int, list[str]]]:
    """Numbers the rows as a spreadsheet does, and gives their cells, up to a quotation mark too many."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            yield number, cells
    except csv.Error as exc:
        reason = "a quoted cell never ends" if "unexpected end" in str(exc) else f"not readable as CSV ({exc})"
        sheet.add(number + 1, f"{reason}: look for a quotation mark too many; rows from here on were not read")
        sheet.whole = False


def _check_row(number: int, cells: Sequence[str], columns: Sequence[str | None], delimiter: str, sheet: Sheet) -> None:
    """Finds what shows that the cells of a row are not those that were written."""
    if any(cell for cell, column in itertools.zip_longest(cells, columns, fillvalue=None) if column is None):
        has = f"has {len(cells)} cells, the header {sum(column is not None for column in columns)}"
        sheet.add(number, f"{has}: put text that holds {delimiter!r} in quotes", moved=True)
    joined = "".join(cells)
    if not joined.isascii() and _UNDECODED.search(joined):
        sheet.add(number, f"holds a character that is not UTF-8: {_SAVE_AS_UTF8}")
        pairs = zip(columns, cells, strict=False)
        sheet.undecoded |= {(number, name) for name, cell in pairs if name and _UNDECODED.search(cell)}
    if "\n" in joined or "\r" in joined:
        lines = (line for cell in cells for line in cell.splitlines()[1:])
        if any(line.count(delimiter) >= len(REQUIRED_COLUMNS) - 1 for line in lines):
            sheet.add(
                number, "holds whole rows in one cell: look for a quotation mark too many at its start", moved=True
            )


def _as_typed(cell: str) -> str:
    """The cell without the marks by which it was kept a text in a spreadsheet: '00123 and ="00123"."""
    text = without_text_mark(cell)
    return text[1:] if text.startswith("'") and spreadsheet_identifier(text[1:]) == text else text


def _check_widths(widths: Mapping[int, int], header: int, sheet: Sheet) -> None:
    """Finds rows with more cells than the header that are empty at their end: a comma too many moves the others."""
    if len(widths) > 1 and len({*widths.values()}) == 1:
        return
    for number, width in widths.items():
        if width > header and number not in sheet.moved:
            more = f"has {width} cells, the header {header}, and the last is empty"
            sheet.add(number, f"{more}: look for a comma too many", moved=True)


def _check_end(widths: Mapping[int, int], named: int, sheet: Sheet) -> None:
    """Finds that the file was cut off: its last row is short and has no end, unlike all others."""
    *others, last = widths or (0,)
    if others and widths[last] < named <= min(widths[number] for number in others):
        sheet.add(last, f"has {widths[last]} cells of {named}, and the file ends in it: was it cut off?", moved=True)


def _parse_header(number: int, cells: Sequence[str], sheet: Sheet) -> list[str | None]:
    """Parses the header: the column each cell names, "" for one that nobody knows, None for an empty one.

    One that is misspelt is found, and taken for what it is most like, so that its rows can be looked at all the same.

    Raises:
        UnreadableFile: no column is known, or there are far too many.
    """
    if len(cells) > MAX_COLUMNS:
        message = f"has {len(cells):,} columns, {len(CSV_COLUMNS)} are known: is this the right file?"
        raise UnreadableFile(Problem(f"row {number}", message))
    names = [_COLUMN_NAMES.get(_fold(cell), "" if cell.strip() else None) for cell in cells]
    if not any(names):
        names_none = f"names no column that is known: the first row must name them, such as {_EXAMPLE}"
        raise UnreadableFile(*_not_parted(number, cells) or [Problem(f"row {number}", names_none)])
    columns: list[str | None] = []
    for cell, name in zip(cells, names, strict=True):
        column = name
        if name == "":
            near = _nearest(_fold(cell), 0.6)
            hint = f"; did you mean {near}?" if near else f"; known are {', '.join(CSV_COLUMNS)}"
            sheet.add(number, f"there is no column {scrub(cell.strip())[:60]!r}{hint}")
            near = _nearest(_fold(cell), 0.75)
            column = near if near not in names and near not in columns else ""
        elif name and name in columns:
            sheet.add(number, f"the column {name} is there twice")
        columns.append(column)
    if missing := [column for column in REQUIRED_COLUMNS if column not in names]:
        plural = "columns" if len(missing) > 1 else "column"
        sheet.add(number, f"the {plural} {', '.join(missing)} must be there")
    if sheet.findings:
        sheet.whole = False
    return columns


def _nearest(folded: str, likeness: float) -> str:
    """The column that is most like this name; "" where none is, by difflib's ratio."""
    near = difflib.get_close_matches(folded, _COLUMN_NAMES, n=1, cutoff=likeness)
    return _OTHER_NAMES.get(folded) or (_COLUMN_NAMES[near[0]] if near else "")


def _not_parted(number: int, cells: Sequence[str]) -> list[Problem]:
    """Whether each row lies in one cell, as where a spreadsheet did not part them when it opened the file."""
    filled = [cell for cell in cells if cell.strip()]
    if len(filled) != 1 or _names_in(re.split("[,;\t|]", filled[0])) < 2:
        return []
    return [Problem(f"row {number}", "all columns lie in one cell: part it in the spreadsheet (Data, Text to Columns)")]
