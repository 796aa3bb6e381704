"""Uploaded files, CSV or JSON: judges each row by shape, catalog and duplicates, into a `CheckedFile`.

It holds the requests and every problem, each with its row and column, by the rules of requests, the catalog and, where
there is a store, its duplicates: PONumbers that are taken, the same file or a similar one before. Reads the store only,
and never raises for what is in a file.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking.errors import InvalidSubmission, Problem, UnreadableAnswer
from tracking.orders.model import OrderRequest, folded_id
from tracking.provider.json_fields import parse_strictly, storable
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, LINES, ORDERS
from tracking.storage.team.tables import IMPORT_ROWS, JOBS, import_key
from tracking.submissions import csv_rows
from tracking.submissions.catalog import Catalog, check_lines, check_request, unchecked
from tracking.submissions.checks.findings import ProblemGroup, as_problems, group_problems, sentence
from tracking.submissions.checks.identifiers import look_alikes, other_spellings
from tracking.submissions.csv_orders import read_orders
from tracking.submissions.csv_rows import UnreadableFile
from tracking.submissions.requests import partial_lines, read_request, with_po_number

MAX_PROBLEMS = 200
FILES_COMPARED = 10


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """An uploaded file after validation. None of its requests may be sent while there is a problem.

    `requests` are the orders that could be read; `problems` at most 200, the last one then saying how many more there
    are; `rows` the number of rows of a CSV file, or of orders of a JSON file; `digest` is the SHA-256 of the file, in
    hex. `first_submitted_at` is when the same file was submitted before. `rows_of` are the rows of each order by its
    PONumber, counted as a spreadsheet does: the header is row 1. `unchecked` says what the catalog could not be asked.
    `groups` are all problems put together for people; `cells` the rows of a CSV file as they were read, `faults` what
    is wrong in which of them.
    """

    requests: tuple[OrderRequest, ...]
    problems: tuple[Problem, ...]
    rows: int
    digest: str
    name: str
    first_submitted_at: datetime | None = None
    similar_file: "SimilarFile | None" = None
    rows_of: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unchecked: tuple[str, ...] = ()
    groups: tuple[ProblemGroup, ...] = ()
    cells: tuple[csv_rows.Row, ...] = field(default=(), repr=False)
    faults: Mapping[int, str] = field(default_factory=dict, repr=False)

    @property
    def units(self) -> int:
        """Cards over all orders."""
        return sum(request.units for request in self.requests)


@dataclass(frozen=True, slots=True)
class SimilarFile:
    """An earlier file with at least half of the same rows: its name, when it was submitted, how many are the same."""

    name: str
    at: datetime
    rows: int


def read_csv(
    data: bytes, name: str, *, catalog: Catalog | None, chunk: int, now: datetime, database: Database | None = None
) -> CheckedFile:
    """Parses and validates a CSV file, one line item a row. Never raises for what is in the file.

    Rows with the same PONumber form one order; rows without one form orders of `chunk` lines at the most, whose
    PONumbers follow from the file's bytes, so that the same file twice can never order twice. Delivery dates are
    compared with `now`; `database` is asked for PONumbers that are taken and the same file handed in before.
    """
    checked = CheckedFile((), (), 0, hashlib.sha256(data).hexdigest(), name, unchecked=unchecked((), catalog))
    try:
        text = csv_rows.decode_text(data)
        sheet = csv_rows.read_rows(text, csv_rows.detect_delimiter(text))
    except UnreadableFile as exc:
        return _with_problems(checked, exc.problems)
    orders = read_orders(sheet, checked.digest, chunk, catalog, now)
    problems = tuple(as_problems(orders.findings))
    rows = len(sheet.rows)
    checked = replace(checked, requests=orders.requests, problems=problems, rows=rows, rows_of=orders.rows_of)
    checked = replace(checked, cells=tuple(sheet.rows))
    return _with_duplicates(replace(checked, unchecked=unchecked(orders.requests, catalog)), database)


def _with_duplicates(checked: CheckedFile, database: Database | None) -> CheckedFile:
    """The file with what the store says of it, and no more than MAX_PROBLEMS."""
    if database is not None:
        checked = check_duplicates(database, checked)
    return _with_problems(checked, checked.problems)


def _with_problems(checked: CheckedFile, problems: Sequence[Problem]) -> CheckedFile:
    """The file with these problems: the first MAX_PROBLEMS one by one, and all of them grouped and by row."""
    faults: dict[int, str] = {}
    for problem in problems:
        text = sentence(problem.column, problem.message)
        faults |= {row: f"{faults[row]}; {text}" if row in faults else text for row in problem.rows}
    more = f"and {len(problems) - MAX_PROBLEMS:,} more problems" if len(problems) > MAX_PROBLEMS else ""
    first = (*problems[:MAX_PROBLEMS], *([Problem("", more)] if more else ()))
    return replace(checked, problems=first, groups=tuple(group_problems(problems)), faults=faults)


def read_json(
    data: bytes, name: str, *, catalog: Catalog | None, database: Database | None = None, numbered: str = ""
) -> CheckedFile:
    """Parses and validates a JSON file: one order request or a list of them, in the provider's shape.

    Never raises for what is in the file. Requests without a PONumber get one that begins with `numbered`, or else
    follows from the file's bytes.
    """
    checked = CheckedFile((), (), 0, hashlib.sha256(data).hexdigest(), name, unchecked=unchecked((), catalog))
    numbered = numbered or f"JSON-{checked.digest[:10]}"
    try:
        raws = _parse_orders(data)
    except UnreadableFile as exc:
        return _with_problems(checked, exc.problems)
    requests: dict[str, OrderRequest] = {}
    problems: list[Problem] = []
    for index, raw in enumerate(raws, 1):
        place = f"order {index}" if len(raws) > 1 else ""
        try:
            request = read_request(raw)
            if not request.po_number:
                request = with_po_number(request, f"{numbered}-{index:04d}")
        except InvalidSubmission as exc:
            of_catalog = check_lines(*partial_lines(raw), catalog)
            problems += [within(place, problem) for problem in (*exc.problems, *of_catalog)]
            continue
        problems += [within(place, problem) for problem in check_request(request, catalog)]
        if request.po_number in requests:
            problems.append(within(place, Problem("PONumber", f"{request.po_number} is in this file twice")))
        requests[request.po_number] = request
    for number, message in look_alikes({number: (place,) for place, number in enumerate(requests, 1)}, "order").items():
        problems.append(Problem("PONumber", f"{number} {message}"))
    checked = replace(checked, requests=tuple(requests.values()), problems=tuple(problems), rows=len(raws))
    return _with_duplicates(replace(checked, unchecked=unchecked(checked.requests, catalog)), database)


def within(place: str, problem: Problem) -> Problem:
    """Puts a problem's place inside another one."""
    return Problem(", ".join(filter(None, (place, problem.where))), problem.message)


def _parse_orders(data: bytes) -> list[Any]:
    csv_rows.check_size(data)
    try:
        raw = parse_strictly(data)
    except UnreadableAnswer as exc:
        raise UnreadableFile(_json_problem(exc)) from exc
    raws = raw if isinstance(raw, list) else [raw]
    if not raws:
        raise UnreadableFile(Problem("", "the list is empty: nothing to order"))
    if len(raws) > csv_rows.MAX_ROWS:
        raise UnreadableFile(Problem("", f"the file has more than {csv_rows.MAX_ROWS:,} orders: split it"))
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


def has_contents(existing: sa.Row[Any], request: OrderRequest) -> bool:
    """Whether the order has the lines, units and value of the request: what tells it from another of its PONumber."""
    stored = existing.po_number, existing.line_count, existing.units, existing.value_minor
    return stored == (request.po_number, len(request.lines), request.units, request.value_minor)


def find_taken(connection: Connection, po_numbers: Iterable[str]) -> dict[str, sa.Row[Any]]:
    """Finds the stored orders that have one of these PONumbers, in whatever case, with their id, state and contents.

    They are found by the PONumber that was asked for; their own may differ in case.
    """
    columns = ("po_number", "po_folded", "id", "state", "line_count", "units", "value_minor")
    taken: dict[str, sa.Row[Any]] = {}
    query, remaining = sa.select(*(ORDERS.c[name] for name in columns)), iter(po_numbers)
    while part := list(itertools.islice(remaining, 500)):
        rows = connection.execute(query.where(ORDERS.c.po_folded.in_([folded_id(name) for name in part]))).all()
        exact, alike = {row.po_number: row for row in rows}, {row.po_folded: row for row in rows}
        taken |= {name: exact.get(name) or alike[folded_id(name)] for name in part if folded_id(name) in alike}
    return taken


def find_waiting(connection: Connection, po_numbers: Iterable[str], digest: str) -> dict[str, str]:
    """Finds which of these PONumbers, in whatever case, wait to be placed from another file, and that file's name.

    Rows of a file whose upload was interrupted wait for nobody: no job places them until it is handed in again.
    """
    waiting: dict[str, str] = {}
    rows, remaining = IMPORT_ROWS.c, iter(po_numbers)
    query = sa.select(rows.po_folded, BATCHES.c.name).join(BATCHES, BATCHES.c.id == rows.batch_id)
    key = sa.literal(import_key("")).concat(sa.cast(BATCHES.c.id, sa.String))
    query = query.join(JOBS, JOBS.c.key == key).where(JOBS.c.state.in_(("running", "stopped")))
    query = query.where(sa.text("import_rows.outcome = 'waiting'"), BATCHES.c.digest != digest)
    while part := list(itertools.islice(remaining, 500)):
        alike = {folded_id(name): name for name in part}
        matching = connection.execute(query.where(rows.po_folded.in_(alike)))
        waiting |= {alike[folded]: name for folded, name in matching}
    return waiting


def orders_with(connection: Connection, po_numbers: Iterable[str], columns: Iterable[str]) -> Iterator[sa.Row[Any]]:
    """Reads these columns of the stored orders that have one of these PONumbers, as they are written."""
    query, remaining = sa.select(*(ORDERS.c[name] for name in columns)), iter(po_numbers)
    while part := list(itertools.islice(remaining, 500)):
        yield from connection.execute(query.where(ORDERS.c.po_number.in_(part)))


def check_duplicates(database: Database, checked: CheckedFile) -> CheckedFile:
    """Looks for duplicates in the store: the same file, a similar one, PONumbers that are taken.

    In a file handed in before, PONumbers are taken by itself, so only other contents are a problem: its rows would
    be split differently than the first time, and some would be ordered twice.
    """
    with database.read() as connection:
        first = sa.select(sa.func.min(BATCHES.c.created_at)).where(BATCHES.c.digest == checked.digest)
        first_submitted_at = connection.execute(first).scalar()
        taken = find_taken(connection, _po_numbers(checked))
        similar_file = _find_similar_file(connection, checked) if first_submitted_at is None else None
        problems = [
            *checked.problems,
            *_taken(checked, taken, is_new=first_submitted_at is None),
            *_other_spellings(connection, checked, taken),
            *_waiting(connection, checked),
        ]
    return replace(checked, problems=tuple(problems), first_submitted_at=first_submitted_at, similar_file=similar_file)


def _taken(checked: CheckedFile, taken: Mapping[str, sa.Row[Any]], *, is_new: bool) -> Iterator[Problem]:
    by_number = {request.po_number: request for request in checked.requests}
    for po_number, existing in taken.items():
        request = by_number.get(po_number)
        if is_new or (request is not None and not has_contents(existing, request)):
            yield _of_po_number(checked, po_number, taken_message(po_number, request, existing))


def _waiting(connection: Connection, checked: CheckedFile) -> Iterator[Problem]:
    for po_number, name in find_waiting(connection, _po_numbers(checked), checked.digest).items():
        yield _of_po_number(checked, po_number, waiting_message(po_number, name))


def _other_spellings(
    connection: Connection, checked: CheckedFile, taken: Mapping[str, sa.Row[Any]]
) -> Iterator[Problem]:
    """Orders that are here under another spelling of a PONumber: other zeros in front, other dashes."""
    numbers = [number for number in _po_numbers(checked) if number not in taken]
    spellings = {other: number for number in numbers for other in other_spellings(number) - taken.keys()}
    for other, existing in find_taken(connection, spellings).items():
        advice = "write it alike, or give it another PONumber"
        message = (
            f"{spellings[other]} is another spelling of the order {existing.po_number} ({existing.state}): {advice}"
        )
        yield _of_po_number(checked, spellings[other], message)


def _po_numbers(checked: CheckedFile) -> list[str]:
    """All valid PONumbers of the file, also of rows that could not be read otherwise."""
    numbers = dict.fromkeys((*(request.po_number for request in checked.requests), *checked.rows_of))
    return [number for number in numbers if storable(number) == number]


def _of_po_number(checked: CheckedFile, po_number: str, message: str) -> Problem:
    """A problem of a PONumber, at the first row that has it."""
    rows = checked.rows_of.get(po_number, ())[:1]
    return Problem(f"row {rows[0]}, PONumber" if rows else "PONumber", message, rows, "PONumber")


def _find_similar_file(connection: Connection, checked: CheckedFile) -> SimilarFile | None:
    """Finds the newest file with half of the rows to which nobody gave a PONumber.

    With a row changed, a file's bytes and so its PONumbers are others: all of it would be ordered once more.
    """
    names = ("product_id", "value_minor", "quantity", "external_id", "recipient")
    without_po_number = [request for request in checked.requests if checked.digest[:10] in request.po_number]
    rows = Counter(attrgetter(*names)(line) for request in without_po_number for line in request.lines)
    columns = [LINES.c[name] for name in names]
    recent = sa.select(BATCHES.c.id, BATCHES.c.name, BATCHES.c.created_at).where(BATCHES.c.rows * 2 >= rows.total())
    newest = recent.order_by(BATCHES.c.id.desc()).limit(FILES_COMPARED)
    for batch in connection.execute(newest).all() if rows else ():
        lines = sa.select(*columns, sa.func.count()).join(ORDERS, ORDERS.c.id == LINES.c.order_id)
        stored_rows = connection.execute(lines.where(ORDERS.c.batch_id == batch.id).group_by(*columns))
        waiting_rows = _waiting_rows(connection, batch.id, names)
        same = (Counter({tuple(row[:-1]): row[-1] for row in stored_rows}) + waiting_rows & rows).total()
        if same * 2 >= rows.total():
            return SimilarFile(batch.name, batch.created_at, same)
    return None


def _waiting_rows(connection: Connection, batch_id: int, names: Sequence[str]) -> Counter[tuple[Any, ...]]:
    """The rows of a file that are no orders yet, by these parts of a line."""
    of_batch = IMPORT_ROWS.c.batch_id == batch_id, IMPORT_ROWS.c.outcome == "waiting"
    requests = connection.execute(sa.select(IMPORT_ROWS.c.request).where(*of_batch)).scalars()
    lines = (line for request in requests if request for line in read_request(dict(request)).lines)
    return Counter(attrgetter(*names)(line) for line in lines)


def waiting_message(po_number: str, name: str) -> str:
    """Says from which file the PONumber waits to be placed, and what to do."""
    return f"{po_number} waits to be placed from the file {name}; take it out, or give it another PONumber"


def taken_message(po_number: str, request: OrderRequest | None, existing: sa.Row[Any]) -> str:
    """Says which order has the PONumber, and what to do. `request` is None where it could not be read."""
    if existing.po_number != po_number:
        other = f"differs in case alone from {existing.po_number}, which is an order ({existing.state})"
        return f"{po_number} {other}; give this one another PONumber"
    if request is None or has_contents(existing, request):
        return f"{po_number} is already an order ({existing.state}); take it out, or give it another PONumber"
    other = f"is already an order with other lines ({existing.state})"
    return f"{po_number} {other}; give this one another PONumber"
