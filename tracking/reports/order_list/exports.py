"""All orders that match a filter, as a file for a spreadsheet or a program: no recipients, no claim data, no notes."""

import csv
import io
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.orders.vocabulary import MIXED
from tracking.orders.wording import spreadsheet_identifier, spreadsheet_safe
from tracking.reports import amounts
from tracking.reports.order_list.conditions import conditions, ordering
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.narrowing import tested_number
from tracking.reports.order_list.search import beyond
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS

EXPORT_CHUNK, FIRST_CHUNK = 1000, 250
"""Orders of a chunk; the first is smaller, as a download begins with it."""
_EXPORTED = (
    "po_number", "provider_id", "state", "type", "units", "units_fulfilled", "value_minor", "currency", "source",
    "submission", "notice", "created_at", "accepted_at", "completed_after", "completed_by", "claimed_at", "attention",
    "acknowledged_at", "line_count", "looks",
)  # fmt: skip
_COLUMNS = (ORDERS.c.id.label("order_id"), *(ORDERS.c[name] for name in _EXPORTED))
_IDENTIFIERS = {"po_number", "provider_id"}
_Write = Callable[[list[dict[str, Any]]], object]
EXPORT_COLUMNS = (*(name for name in _EXPORTED if name != "value_minor"), "value", "values")


def orders_export(database: Database, filters: Filters, now: datetime) -> Iterator[list[dict[str, Any]]]:
    """All orders that match, in chunks: no recipients, no claim data, no notes.

    `value` is a decimal text, empty where the order is of several currencies; `values` are its amounts in words.
    """
    with database.read() as connection:
        clauses = conditions(connection, filters, now)
    # Where an order was placed among others never changes, so that each chunk can begin behind the one before. By what
    # does change an order could come twice, or not at all; and a text is looked for once.
    by_place = filters.sort == "placed" and not filters.text
    yield from (_by_place if by_place else _by_ids)(database, filters, clauses)


def _by_place(database: Database, filters: Filters, clauses: list[Any]) -> Iterator[list[dict[str, Any]]]:
    """Chunks of the orders there are at the start; an order that matches all along comes once, whatever changes."""
    with database.read() as connection:
        newest = int(connection.execute(select(sa.func.max(ORDERS.c.id))).scalar() or 0)
    matching, place = [*clauses, tested_number(ORDERS.c.id) <= newest], list[Any]()
    size, more = FIRST_CHUNK, True
    while more:
        query = select(*_COLUMNS).where(*matching, *place).order_by(*ordering(filters)).limit(size)
        with database.read() as connection:
            rows = connection.execute(query).mappings().all()
            chunk = _chunk(connection, rows)
        if chunk:
            yield list(chunk.values())
            last = [(ORDERS.c.created_at, rows[-1]["created_at"]), (ORDERS.c.id, rows[-1]["order_id"])]
            place = [beyond(last, up=not filters.descending, backwards=False)]
        size, more = EXPORT_CHUNK, len(rows) == size


def _by_ids(database: Database, filters: Filters, clauses: list[Any]) -> Iterator[list[dict[str, Any]]]:
    """Chunks of the orders that match at the start, whose ids are read first."""
    with database.read() as connection:
        ids = array("q", connection.execute(select(ORDERS.c.id).where(*clauses).order_by(*ordering(filters))).scalars())
    for start in range(0, len(ids), EXPORT_CHUNK):
        part = ids[start : start + EXPORT_CHUNK]
        with database.read() as connection:
            rows = connection.execute(select(*_COLUMNS).where(ORDERS.c.id.in_(part))).mappings().all()
            by_id = _chunk(connection, rows)
        yield [by_id[order_id] for order_id in part if order_id in by_id]


def _chunk(connection: Connection, rows: Sequence[RowMapping]) -> dict[int, dict[str, Any]]:
    """The rows as they are exported, by the order's id."""
    values = amounts.order_values(connection, [{**row, "id": row["order_id"]} for row in rows])
    return {row["order_id"]: _exported(row, values[row["order_id"]]) for row in rows}


def _exported(row: RowMapping, values: Mapping[str, int]) -> dict[str, Any]:
    facts = {name: row[name] for name in _EXPORTED if name != "value_minor"}
    currency = MIXED.join(sorted(values)) if all(values) else row["currency"]
    worth = {"value": amounts.one_amount(values), "values": amounts.worth(values)}
    return facts | {"currency": currency} | worth


def write_export(database: Database, filters: Filters, now: datetime, *, form: str, file: IO[bytes]) -> int:
    """Writes all that match as csv, jsonl or parquet; returns how many.

    Only csv is made for spreadsheets: with a byte order mark, without formulas, and with an apostrophe before what they
    would take for one, or for a number where it is an identifier. The others hold what is stored, for programs.
    """
    return write_rows(orders_export(database, filters, now), EXPORT_COLUMNS, form=form, file=file)


def write_rows(chunks: Iterable[list[dict[str, Any]]], columns: Sequence[str], *, form: str, file: IO[bytes]) -> int:
    """Writes rows of these columns, which come in chunks, as `write_export` does; returns how many."""
    if form not in _WRITERS:
        raise ValueError(f"{form!r} is no format: use {', '.join(_WRITERS)}")
    written = 0
    with _WRITERS[form](file, columns) as write:
        for chunk in chunks:
            write(chunk)
            written += len(chunk)
    return written


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in record.items()}


@contextmanager
def _csv(file: IO[bytes], columns: Sequence[str]) -> Iterator[_Write]:
    # With a byte order mark: without one a spreadsheet reads the letters in the encoding of its country.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    yield lambda chunk: writer.writerows(
        {name: _for_spreadsheet(name, value) for name, value in _plain(record).items()} for record in chunk
    )
    text.detach()


def _for_spreadsheet(name: str, value: Any) -> Any:
    return spreadsheet_identifier(value) if name in _IDENTIFIERS else spreadsheet_safe(value)


@contextmanager
def _jsonl(file: IO[bytes], _columns: Sequence[str]) -> Iterator[_Write]:
    yield lambda chunk: file.write(
        "".join(json.dumps(_plain(record), ensure_ascii=False) + "\n" for record in chunk).encode()
    )


@contextmanager
def _parquet(file: IO[bytes], columns: Sequence[str]) -> Iterator[_Write]:
    # pyarrow takes a tenth of a second to import, and only this needs it.
    import pyarrow as pa  # noqa: PLC0415 - see above
    from pyarrow import parquet  # noqa: PLC0415 - see above

    kinds = {datetime: pa.timestamp("us", tz="UTC"), int: pa.int64()}
    schema = pa.schema([(name, kinds.get(_kind(name), pa.string())) for name in columns])
    with parquet.ParquetWriter(file, schema) as writer:
        yield lambda chunk: writer.write_table(pa.Table.from_pylist(chunk, schema=schema))


_WRITERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def _kind(name: str) -> type:
    if name == "at" or name.endswith(("_at", "_by", "_after")):
        return datetime
    return int if name in {"units", "units_fulfilled", "line_count", "looks"} else str
