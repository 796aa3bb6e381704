"""The files people hand in, CSV or JSON, checked from end to end: a file becomes a `Checked`.

Holds the requests and every problem found, each with its row and column, asking the catalogue and, where there is one,
the store: which PONumbers are taken, whether the file came before. Reads the store only, and never raises for what is
in a file.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.errors import InvalidSubmission, Problem, UnreadableAnswer
from tracking.orders.model import OrderRequest
from tracking.provider.json_fields import parse
from tracking.storage.database import Database
from tracking.storage.orders import _VALUES
from tracking.storage.tables import BATCHES, LINES, ORDERS
from tracking.submissions.catalog import Catalogue, check
from tracking.submissions.csv_rows import (
    DIGITAL_COLUMNS,
    LINE_COLUMNS,
    LOOK_COLUMNS,
    MAX_BYTES,
    MAX_ROWS,
    PERSONAL_COLUMNS,
    PHYSICAL_COLUMNS,
    Unreadable,
    decoded,
    delimiter_of,
    read_rows,
)
from tracking.submissions.requests import read_request, with_po_number

MAX_PROBLEMS = 200
FILES_COMPARED = 10
_GROUPS = {
    "DigitalDeliveryAddress": DIGITAL_COLUMNS,
    "PhysicalDeliveryAddress": PHYSICAL_COLUMNS,
    "Personalization": PERSONAL_COLUMNS,
}
_ADDRESSES = {
    "DigitalDeliveryAddress": "Email or Sms",
    "PhysicalDeliveryAddress": "ShippingMethodId, Name, AddressLine1, City, State, Zip and Country",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """A file after checking. `requests` are those that could be read; none may be sent while there is a problem.

    `rows_of` gives the rows of the file that form an order, counted as a spreadsheet does: the header is row 1.
    """

    requests: tuple[OrderRequest, ...]
    problems: tuple[Problem, ...]
    rows: int
    digest: str
    name: str
    seen_before: datetime | None = None
    alike: "Alike | None" = None
    rows_of: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """Cards over all orders."""
        return sum(request.units for request in self.requests)

    @property
    def value_minor(self) -> int:
        """Face value over all orders."""
        return sum(request.value_minor for request in self.requests)


@dataclass(frozen=True, slots=True)
class Alike:
    """Another file that held at least half of the same rows: its name, when it came, how many rows are the same."""

    name: str
    at: datetime
    rows: int


@dataclass(slots=True)
class _Rows:
    """The rows that form one order."""

    po_number: str
    numbers: list[int] = field(default_factory=list)
    cells: list[dict[str, str]] = field(default_factory=list)


def read_csv(
    data: bytes,
    name: str,
    *,
    catalogue: Catalogue | None,
    chunk: int,
    now: datetime,
    database: Database | None = None,
) -> Checked:
    """A CSV file, one line item a row, checked from end to end. Never raises for what is in the file.

    Rows with the same PONumber form one order; rows without one form orders of `chunk` lines at the most, whose
    PONumbers follow from the file's bytes, so that the same file twice can never order twice.

    Args:
        data: the file as it came.
        name: what people call it.
        catalogue: what is sold, None when not known yet.
        chunk: lines in an order made of rows without a PONumber.
        now: the time delivery dates are compared with.
        database: to find PONumbers that are taken and the same file handed in before.
    """
    checked = Checked((), (), 0, hashlib.sha256(data).hexdigest(), name)
    try:
        text = decoded(data)
        delimiter = delimiter_of(text)
        rows, problems = read_rows(text, delimiter)
    except Unreadable as exc:
        return replace(checked, problems=exc.problems)
    requests: list[OrderRequest] = []
    rows_of: dict[str, tuple[int, ...]] = {}
    for order in _orders(rows, checked.digest, chunk):
        rows_of[order.po_number] = tuple(order.numbers)
        request, found = _request(order, delimiter, catalogue, now)
        problems += found
        if request is not None:
            requests.append(request)
    problems.sort(key=_row_of)
    checked = replace(checked, requests=tuple(requests), problems=tuple(problems), rows=len(rows), rows_of=rows_of)
    return _bounded(checked if database is None else compared(database, checked))


def _row_of(problem: Problem) -> int:
    found = re.match(r"row (\d+)", problem.where)
    return int(found[1]) if found else 0


def _bounded(checked: Checked) -> Checked:
    if len(checked.problems) <= MAX_PROBLEMS:
        return checked
    more = Problem("", f"and {len(checked.problems) - MAX_PROBLEMS:,} more problems")
    return replace(checked, problems=(*checked.problems[:MAX_PROBLEMS], more))


def _orders(rows: Iterable[tuple[int, dict[str, str]]], digest: str, chunk: int) -> list[_Rows]:
    named: dict[str, _Rows] = {}
    unnamed: dict[tuple[str, str], list[tuple[int, dict[str, str]]]] = {}
    for number, cells in rows:
        if po_number := cells.get("PONumber"):
            order = named.setdefault(po_number, _Rows(po_number))
            order.numbers.append(number)
            order.cells.append(cells)
        else:
            kind = (cells.get("Type", "").casefold(), cells.get("Note", ""))
            unnamed.setdefault(kind, []).append((number, cells))
    chunks = [of_kind[at : at + chunk] for of_kind in unnamed.values() for at in range(0, len(of_kind), chunk)]
    made = [
        _Rows(f"CSV-{digest[:10]}-{index:04d}", [number for number, _ in part], [cells for _, cells in part])
        for index, part in enumerate(chunks, 1)
    ]
    return [*named.values(), *made]


def _request(
    order: _Rows, delimiter: str, catalogue: Catalogue | None, now: datetime
) -> tuple[OrderRequest | None, list[Problem]]:
    problems = list(_contradictions(order))
    request = None
    try:
        request = read_request(_document(order, delimiter))
    except InvalidSubmission as exc:
        found = list(exc.problems)
    else:
        found = [*check(request, catalogue), *_late_dates(request, now)]
    problems += [_located(problem, order.numbers) for problem in found]
    return request, problems


def _contradictions(order: _Rows) -> Iterator[Problem]:
    for column in ("Type", "Note"):
        told: tuple[int, str] | None = None
        for number, cells in zip(order.numbers, order.cells, strict=True):
            cell = cells.get(column)
            if cell is None:
                continue
            told = told or (number, cell)
            if cell.casefold() != told[1].casefold():
                message = f"{cell!r}, but row {told[0]} says {told[1]!r} for the same PONumber"
                yield Problem(f"row {number}, {column}", message)


def _late_dates(request: OrderRequest, now: datetime) -> Iterator[Problem]:
    for index, line in enumerate(request.document["LineItems"]):
        date = line.get("Personalization", {}).get("DeliveryDate")
        if date is not None and date < f"{now:%Y-%m-%d}":
            message = f"{date[:10]} lies in the past; leave it empty to deliver at once"
            yield Problem(f"LineItems[{index}].Personalization.DeliveryDate", message)


def _document(order: _Rows, delimiter: str) -> dict[str, Any]:
    """The rows as one order in the provider's shape."""
    document: dict[str, Any] = {"PONumber": order.po_number}
    for column in ("Type", "Note"):
        if told := next((cells[column] for cells in order.cells if column in cells), None):
            document[column] = told
    document["LineItems"] = [_line(cells, delimiter) for cells in order.cells]
    return document


def _line(cells: Mapping[str, str], delimiter: str) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for column in (*LINE_COLUMNS, *LOOK_COLUMNS):
        if column in cells:
            line[column] = cells[column]
    if delimiter == ";" and re.fullmatch(r"\d{1,9},\d{1,2}", line.get("Value", ""), re.ASCII):
        # Where a comma marks the decimals, spreadsheets separate the cells with semicolons.
        line["Value"] = line["Value"].replace(",", ".")
    for group, columns in _GROUPS.items():
        if inside := {column: cells[column] for column in columns if column in cells}:
            line[group] = inside
    return line


def _located(problem: Problem, numbers: Sequence[int]) -> Problem:
    """The same problem by row and column instead of by its place in the document."""
    found = re.match(r"LineItems\[(\d+)\]\.?(.*)", problem.where)
    number = numbers[int(found[1])] if found else numbers[0]
    column = (found[2] if found else problem.where).rpartition(".")[2]
    column = _ADDRESSES.get(column, column)
    return Problem(f"row {number}, {column}" if column else f"row {number}", problem.message)


def read_json(data: bytes, name: str, *, catalogue: Catalogue | None, database: Database | None = None) -> Checked:
    """A JSON file: one order request or a list of them, in the provider's shape. Never raises for its contents.

    Requests without a PONumber get one that follows from the file's bytes.
    """
    checked = Checked((), (), 0, hashlib.sha256(data).hexdigest(), name)
    try:
        raws = _documents(data)
    except Unreadable as exc:
        return replace(checked, problems=exc.problems)
    requests: dict[str, OrderRequest] = {}
    problems: list[Problem] = []
    for index, raw in enumerate(raws, 1):
        place = f"order {index}" if len(raws) > 1 else ""
        try:
            request = read_request(raw)
            if not request.po_number:
                request = with_po_number(request, f"JSON-{checked.digest[:10]}-{index:04d}")
        except InvalidSubmission as exc:
            problems += [within(place, problem) for problem in exc.problems]
            continue
        problems += [within(place, problem) for problem in check(request, catalogue)]
        if request.po_number in requests:
            problems.append(within(place, Problem("PONumber", f"{request.po_number} is in this file twice")))
        requests[request.po_number] = request
    checked = replace(checked, requests=tuple(requests.values()), problems=tuple(problems), rows=len(raws))
    return _bounded(checked if database is None else compared(database, checked))


def within(place: str, problem: Problem) -> Problem:
    """The same problem with its place inside this one."""
    return Problem(", ".join(filter(None, (place, problem.where))), problem.message)


def _documents(data: bytes) -> list[Any]:
    if len(data) > MAX_BYTES:
        raise Unreadable(Problem("", f"the file has {len(data) / 1e6:.1f} MB; 20 MB are allowed: split it"))
    try:
        raw = parse(data)
    except UnreadableAnswer as exc:
        raise Unreadable(_why_no_json(exc)) from exc
    raws = raw if isinstance(raw, list) else [raw]
    if not raws:
        raise Unreadable(Problem("", "the list is empty: nothing to order"))
    if len(raws) > MAX_ROWS:
        raise Unreadable(Problem("", f"the file has more than {MAX_ROWS:,} orders: split it"))
    return raws


def _why_no_json(error: UnreadableAnswer) -> Problem:
    match error.__cause__:
        case json.JSONDecodeError() as cause:
            return Problem(f"line {cause.lineno}, column {cause.colno}", f"this is not JSON: {cause.msg}")
        case UnicodeDecodeError():
            return Problem("", "this is not UTF-8 text: save the file again as UTF-8")
        case RecursionError() | None:
            return Problem("", "this is nested too deeply to be an order")
        case cause:
            return Problem("", f"this is not JSON that can hold an order: {cause}")


@dataclass(frozen=True, slots=True)
class Taken:
    """An order that already has a PONumber."""

    order_id: int
    state: str
    contents: tuple[int, int, int]


def contents_of(request: OrderRequest) -> tuple[int, int, int]:
    """What tells a request from another with its PONumber: lines, units and value."""
    return len(request.lines), request.units, request.value_minor


def taken_among(connection: Connection, po_numbers: Iterable[str]) -> dict[str, Taken]:
    """The orders that have one of these PONumbers already, by PONumber."""
    found: dict[str, Taken] = {}
    remaining = iter(po_numbers)
    while part := list(itertools.islice(remaining, 500)):
        for row in connection.execute(STORED_AMONG, {"wanted": part}):
            found[row.po_number] = Taken(row.id, row.state, (row.line_count, row.units, row.value_minor))
    return found


def compared(database: Database, checked: Checked) -> Checked:
    """The same with what the store says: whether this file came before, and which PONumbers are taken.

    In a file handed in before, PONumbers are taken by itself, so only other contents are a problem: its rows would
    be split differently than the first time, and some would be ordered twice.
    """
    with database.read() as connection:
        first = sa.select(sa.func.min(BATCHES.c.created_at)).where(BATCHES.c.digest == checked.digest)
        seen = connection.execute(first).scalar()
        taken = taken_among(connection, (request.po_number for request in checked.requests))
        alike = _alike(connection, checked) if seen is None else None
    problems = list(checked.problems)
    for request in checked.requests:
        known = taken.get(request.po_number)
        if known is None or (seen is not None and known.contents == contents_of(request)):
            continue
        rows = checked.rows_of.get(request.po_number)
        where = f"row {rows[0]}, PONumber" if rows else "PONumber"
        problems.append(Problem(where, why_taken(request, known)))
    return replace(checked, problems=tuple(problems), seen_before=seen, alike=alike)


def _alike(connection: Connection, checked: Checked) -> Alike | None:
    """The newest file that held half of the rows to which nobody gave a PONumber.

    With a row changed, a file's bytes and so its PONumbers are others: all of it would be ordered once more.
    """
    unnamed = [request for request in checked.requests if checked.digest[:10] in request.po_number]
    rows = Counter(
        (line.product_id, line.value_minor, line.quantity, line.external_id, line.recipient)
        for request in unnamed
        for line in request.lines
    )
    columns = [LINES.c[name] for name in ("product_id", "value_minor", "quantity", "external_id", "recipient")]
    recent = sa.select(BATCHES.c.id, BATCHES.c.name, BATCHES.c.created_at).where(BATCHES.c.rows * 2 >= rows.total())
    newest = recent.order_by(BATCHES.c.id.desc()).limit(FILES_COMPARED)
    for batch in connection.execute(newest).all() if rows else ():
        held = sa.select(*columns, sa.func.count()).join(ORDERS, ORDERS.c.id == LINES.c.order_id)
        found = connection.execute(held.where(ORDERS.c.batch_id == batch.id).group_by(*columns))
        same = (Counter({tuple(row[:-1]): row[-1] for row in found}) & rows).total()
        if same * 2 >= rows.total():
            return Alike(batch.name, batch.created_at, same)
    return None


def why_taken(request: OrderRequest, known: Taken) -> str:
    """For people: which order has the PONumber, and what to do."""
    if known.contents == contents_of(request):
        return f"{request.po_number} is already an order ({known.state}); take it out, or give it another PONumber"
    return f"{request.po_number} is already an order with other lines ({known.state}); give this one another PONumber"


STORED_AMONG = select(
    *(ORDERS.c[name] for name in ("po_number", "id", "state", "line_count", "units", "value_minor"))
).where(ORDERS.c.po_number.in_(_VALUES))
