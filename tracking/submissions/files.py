"""Uploaded files, CSV or JSON: judges each row by shape, catalog and duplicates, into a `CheckedFile`.

It holds the requests and every problem, each with its row and column, by the rules of requests, the catalog and, where
there is a store, its duplicates: PONumbers that are taken, the same file or a similar one before. Reads the store only,
and never raises for what is in a file.
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
from sqlalchemy import Connection

from tracking.errors import InvalidSubmission, Problem, UnreadableAnswer
from tracking.orders.model import OrderRequest
from tracking.provider.json_fields import parse
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, LINES, ORDERS
from tracking.submissions.catalog import Catalog, check_request
from tracking.submissions.csv_rows import (
    DIGITAL_COLUMNS,
    LINE_COLUMNS,
    LOOK_COLUMNS,
    MAX_BYTES,
    MAX_ROWS,
    PERSONAL_COLUMNS,
    PHYSICAL_COLUMNS,
    UnreadableFile,
    decode_text,
    detect_delimiter,
    read_rows,
)
from tracking.submissions.requests import read_request, with_po_number

MAX_PROBLEMS = 200
FILES_COMPARED = 10
_TAKEN = sa.select(
    *(ORDERS.c[name] for name in ("po_number", "id", "state", "line_count", "units", "value_minor"))
).where(ORDERS.c.po_number.in_(sa.bindparam("po_numbers", expanding=True)))
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
class CheckedFile:
    """An uploaded file after validation. None of its requests may be sent while there is a problem.

    Attributes:
        requests: the orders that could be read.
        problems: at most 200, the last one then saying how many more there are.
        rows: rows of a CSV file, orders of a JSON file.
        digest: SHA-256 of the file, in hex.
        name: what people call it.
        first_submitted_at: when the same file was submitted before.
        similar_file: another file with half of these rows.
        rows_of: the rows of each order by its PONumber, counted as a spreadsheet does: the header is row 1.
    """

    requests: tuple[OrderRequest, ...]
    problems: tuple[Problem, ...]
    rows: int
    digest: str
    name: str
    first_submitted_at: datetime | None = None
    similar_file: "SimilarFile | None" = None
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
class SimilarFile:
    """An earlier file with at least half of the same rows: its name, when it was submitted, how many are the same."""

    name: str
    at: datetime
    rows: int


@dataclass(slots=True)
class _OrderRows:
    """The rows of a CSV file that form one order."""

    po_number: str
    numbers: list[int] = field(default_factory=list)
    cells: list[dict[str, str]] = field(default_factory=list)


def read_csv(
    data: bytes, name: str, *, catalog: Catalog | None, chunk: int, now: datetime, database: Database | None = None
) -> CheckedFile:
    """Parses and validates a CSV file, one line item a row. Never raises for what is in the file.

    Rows with the same PONumber form one order; rows without one form orders of `chunk` lines at the most, whose
    PONumbers follow from the file's bytes, so that the same file twice can never order twice.

    Args:
        data: the file as it came.
        name: what people call it.
        catalog: what is sold, None when not known yet.
        chunk: lines in an order made of rows without a PONumber.
        now: the time delivery dates are compared with.
        database: to find PONumbers that are taken and the same file handed in before.
    """
    checked = CheckedFile((), (), 0, hashlib.sha256(data).hexdigest(), name)
    try:
        text = decode_text(data)
        delimiter = detect_delimiter(text)
        rows, problems = read_rows(text, delimiter)
    except UnreadableFile as exc:
        return replace(checked, problems=exc.problems)
    requests: list[OrderRequest] = []
    rows_of: dict[str, tuple[int, ...]] = {}
    for order in _group_rows(rows, checked.digest, chunk):
        rows_of[order.po_number] = tuple(order.numbers)
        request, order_problems = _read_order(order, delimiter, catalog, now)
        problems += order_problems
        if request is not None:
            requests.append(request)
    problems.sort(key=_row_number)
    checked = replace(checked, requests=tuple(requests), problems=tuple(problems), rows=len(rows), rows_of=rows_of)
    return _limit_problems(checked if database is None else check_duplicates(database, checked))


def _row_number(problem: Problem) -> int:
    match = re.match(r"row (\d+)", problem.where)
    return int(match[1]) if match else 0


def _limit_problems(checked: CheckedFile) -> CheckedFile:
    if len(checked.problems) <= MAX_PROBLEMS:
        return checked
    more = Problem("", f"and {len(checked.problems) - MAX_PROBLEMS:,} more problems")
    return replace(checked, problems=(*checked.problems[:MAX_PROBLEMS], more))


def _group_rows(rows: Iterable[tuple[int, dict[str, str]]], digest: str, chunk: int) -> list[_OrderRows]:
    by_po_number: dict[str, _OrderRows] = {}
    without_po_number: dict[tuple[str, str], list[tuple[int, dict[str, str]]]] = {}
    for number, cells in rows:
        if po_number := cells.get("PONumber"):
            order = by_po_number.setdefault(po_number, _OrderRows(po_number))
            order.numbers.append(number)
            order.cells.append(cells)
        else:
            kind = (cells.get("Type", "").casefold(), cells.get("Note", ""))
            without_po_number.setdefault(kind, []).append((number, cells))
    chunks = [
        of_kind[at : at + chunk] for of_kind in without_po_number.values() for at in range(0, len(of_kind), chunk)
    ]
    in_chunks = [
        _OrderRows(f"CSV-{digest[:10]}-{index:04d}", [number for number, _ in part], [cells for _, cells in part])
        for index, part in enumerate(chunks, 1)
    ]
    return [*by_po_number.values(), *in_chunks]


def _read_order(
    order: _OrderRows, delimiter: str, catalog: Catalog | None, now: datetime
) -> tuple[OrderRequest | None, list[Problem]]:
    problems = list(_row_contradictions(order))
    request = None
    try:
        request = read_request(_order_json(order, delimiter))
    except InvalidSubmission as exc:
        request_problems = list(exc.problems)
    else:
        request_problems = [*check_request(request, catalog), *_past_delivery_dates(request, now)]
    problems += [_locate_in_rows(problem, order.numbers) for problem in request_problems]
    return request, problems


def _row_contradictions(order: _OrderRows) -> Iterator[Problem]:
    for column in ("Type", "Note"):
        first: tuple[int, str] | None = None
        for number, cells in zip(order.numbers, order.cells, strict=True):
            cell = cells.get(column)
            if cell is None:
                continue
            first = first or (number, cell)
            if cell.casefold() != first[1].casefold():
                message = f"{cell!r}, but row {first[0]} says {first[1]!r} for the same PONumber"
                yield Problem(f"row {number}, {column}", message)


def _past_delivery_dates(request: OrderRequest, now: datetime) -> Iterator[Problem]:
    for index, line in enumerate(request.document["LineItems"]):
        date = line.get("Personalization", {}).get("DeliveryDate")
        if date is not None and date < f"{now:%Y-%m-%d}":
            message = f"{date[:10]} lies in the past; leave it empty to deliver at once"
            yield Problem(f"LineItems[{index}].Personalization.DeliveryDate", message)


def _order_json(order: _OrderRows, delimiter: str) -> dict[str, Any]:
    """The rows as one order in the provider's shape."""
    document: dict[str, Any] = {"PONumber": order.po_number}
    for column in ("Type", "Note"):
        if cell := next((cells[column] for cells in order.cells if column in cells), None):
            document[column] = cell
    document["LineItems"] = [_line_json(cells, delimiter) for cells in order.cells]
    return document


def _line_json(cells: Mapping[str, str], delimiter: str) -> dict[str, Any]:
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


def _locate_in_rows(problem: Problem, numbers: Sequence[int]) -> Problem:
    """Says where a problem is by row and column instead of by its place in the document."""
    match = re.match(r"LineItems\[(\d+)\]\.?(.*)", problem.where)
    number = numbers[int(match[1])] if match else numbers[0]
    column = (match[2] if match else problem.where).rpartition(".")[2]
    column = _ADDRESSES.get(column, column)
    return Problem(f"row {number}, {column}" if column else f"row {number}", problem.message)


def read_json(data: bytes, name: str, *, catalog: Catalog | None, database: Database | None = None) -> CheckedFile:
    """Parses and validates a JSON file: one order request or a list of them, in the provider's shape.

    Never raises for what is in the file.

    Requests without a PONumber get one that follows from the file's bytes.
    """
    checked = CheckedFile((), (), 0, hashlib.sha256(data).hexdigest(), name)
    try:
        raws = _parse_orders(data)
    except UnreadableFile as exc:
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
        problems += [within(place, problem) for problem in check_request(request, catalog)]
        if request.po_number in requests:
            problems.append(within(place, Problem("PONumber", f"{request.po_number} is in this file twice")))
        requests[request.po_number] = request
    checked = replace(checked, requests=tuple(requests.values()), problems=tuple(problems), rows=len(raws))
    return _limit_problems(checked if database is None else check_duplicates(database, checked))


def within(place: str, problem: Problem) -> Problem:
    """Puts a problem's place inside another one."""
    return Problem(", ".join(filter(None, (place, problem.where))), problem.message)


def _parse_orders(data: bytes) -> list[Any]:
    if len(data) > MAX_BYTES:
        raise UnreadableFile(Problem("", f"the file has {len(data) / 1e6:.1f} MB; 20 MB are allowed: split it"))
    try:
        raw = parse(data)
    except UnreadableAnswer as exc:
        raise UnreadableFile(_json_problem(exc)) from exc
    raws = raw if isinstance(raw, list) else [raw]
    if not raws:
        raise UnreadableFile(Problem("", "the list is empty: nothing to order"))
    if len(raws) > MAX_ROWS:
        raise UnreadableFile(Problem("", f"the file has more than {MAX_ROWS:,} orders: split it"))
    return raws


def _json_problem(error: UnreadableAnswer) -> Problem:
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
class TakenPONumber:
    """A stored order that has the PONumber of a request."""

    order_id: int
    state: str
    contents: tuple[int, int, int]


def contents_of(request: OrderRequest) -> tuple[int, int, int]:
    """The lines, units and value of a request: what tells it from another with its PONumber."""
    return len(request.lines), request.units, request.value_minor


def find_taken(connection: Connection, po_numbers: Iterable[str]) -> dict[str, TakenPONumber]:
    """Finds the stored orders that have one of these PONumbers, by PONumber."""
    taken: dict[str, TakenPONumber] = {}
    remaining = iter(po_numbers)
    while part := list(itertools.islice(remaining, 500)):
        for row in connection.execute(_TAKEN, {"po_numbers": part}):
            taken[row.po_number] = TakenPONumber(row.id, row.state, (row.line_count, row.units, row.value_minor))
    return taken


def check_duplicates(database: Database, checked: CheckedFile) -> CheckedFile:
    """Looks for duplicates in the store: the same file, a similar one, PONumbers that are taken.

    In a file handed in before, PONumbers are taken by itself, so only other contents are a problem: its rows would
    be split differently than the first time, and some would be ordered twice.
    """
    with database.read() as connection:
        first = sa.select(sa.func.min(BATCHES.c.created_at)).where(BATCHES.c.digest == checked.digest)
        first_submitted_at = connection.execute(first).scalar()
        taken = find_taken(connection, (request.po_number for request in checked.requests))
        similar_file = _find_similar_file(connection, checked) if first_submitted_at is None else None
    problems = list(checked.problems)
    for request in checked.requests:
        existing = taken.get(request.po_number)
        if existing is None or (first_submitted_at is not None and existing.contents == contents_of(request)):
            continue
        rows = checked.rows_of.get(request.po_number)
        where = f"row {rows[0]}, PONumber" if rows else "PONumber"
        problems.append(Problem(where, taken_message(request, existing)))
    return replace(checked, problems=tuple(problems), first_submitted_at=first_submitted_at, similar_file=similar_file)


def _find_similar_file(connection: Connection, checked: CheckedFile) -> SimilarFile | None:
    """Finds the newest file with half of the rows to which nobody gave a PONumber.

    With a row changed, a file's bytes and so its PONumbers are others: all of it would be ordered once more.
    """
    without_po_number = [request for request in checked.requests if checked.digest[:10] in request.po_number]
    rows = Counter(
        (line.product_id, line.value_minor, line.quantity, line.external_id, line.recipient)
        for request in without_po_number
        for line in request.lines
    )
    columns = [LINES.c[name] for name in ("product_id", "value_minor", "quantity", "external_id", "recipient")]
    recent = sa.select(BATCHES.c.id, BATCHES.c.name, BATCHES.c.created_at).where(BATCHES.c.rows * 2 >= rows.total())
    newest = recent.order_by(BATCHES.c.id.desc()).limit(FILES_COMPARED)
    for batch in connection.execute(newest).all() if rows else ():
        lines = sa.select(*columns, sa.func.count()).join(ORDERS, ORDERS.c.id == LINES.c.order_id)
        stored_rows = connection.execute(lines.where(ORDERS.c.batch_id == batch.id).group_by(*columns))
        same = (Counter({tuple(row[:-1]): row[-1] for row in stored_rows}) & rows).total()
        if same * 2 >= rows.total():
            return SimilarFile(batch.name, batch.created_at, same)
    return None


def taken_message(request: OrderRequest, existing: TakenPONumber) -> str:
    """Says which order has the PONumber, and what to do."""
    if existing.contents == contents_of(request):
        return f"{request.po_number} is already an order ({existing.state}); take it out, or give it another PONumber"
    return (
        f"{request.po_number} is already an order with other lines ({existing.state}); give this one another PONumber"
    )
