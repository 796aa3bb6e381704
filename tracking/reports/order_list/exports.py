"""All orders that match a filter, as a file for a spreadsheet or a program: no recipients, no claim data, no notes."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.engine import RowMapping

from tracking.orders.wording import amount, spreadsheet_safe
from tracking.reports.order_list.search import Filters, conditions, ordering
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS

EXPORT_CHUNK = 1000
_EXPORTED = (
    "po_number", "provider_id", "state", "type", "units", "units_fulfilled", "value_minor", "currency", "source",
    "submission", "notice", "created_at", "accepted_at", "completed_after", "completed_by", "claimed_at", "attention",
    "acknowledged_at", "line_count", "looks",
)  # fmt: skip
EXPORT_COLUMNS = (*(name for name in _EXPORTED if name != "value_minor"), "value")


def orders_export(database: Database, filters: Filters, now: datetime) -> Iterator[list[dict[str, Any]]]:
    """All orders that match, in chunks: no recipients, no claim data, no notes. `value` is a decimal text."""
    with database.read() as connection:
        clauses = conditions(connection, filters, now)
        ids = list(connection.execute(select(ORDERS.c.id).where(*clauses).order_by(*ordering(filters))).scalars())
    columns = [ORDERS.c.id.label("order_id"), *(ORDERS.c[name] for name in _EXPORTED)]
    for start in range(0, len(ids), EXPORT_CHUNK):
        part = ids[start : start + EXPORT_CHUNK]
        with database.read() as connection:
            rows = connection.execute(select(*columns).where(ORDERS.c.id.in_(part))).mappings()
            by_id = {row["order_id"]: _exported(row) for row in rows}
        yield [by_id[order_id] for order_id in part if order_id in by_id]


def _exported(row: RowMapping) -> dict[str, Any]:
    return {name: row[name] for name in _EXPORTED if name != "value_minor"} | {"value": amount(row["value_minor"])}


def write_export(database: Database, filters: Filters, now: datetime, *, form: str, file: IO[bytes]) -> int:
    """Writes all that match as csv, jsonl or parquet; returns how many. Only csv is guarded: spreadsheets open it."""
    chunks = orders_export(database, filters, now)
    match form:
        case "csv":
            return _write_csv(chunks, file)
        case "jsonl":
            return _write_jsonl(chunks, file)
        case "parquet":
            return _write_parquet(chunks, file)
        case _:
            raise ValueError(f"{form!r} is no format: use csv, jsonl or parquet")


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in record.items()}


def _write_csv(chunks: Iterator[list[dict[str, Any]]], file: IO[bytes]) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.DictWriter(text, EXPORT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    written = 0
    for chunk in chunks:
        writer.writerows({name: spreadsheet_safe(value) for name, value in _plain(record).items()} for record in chunk)
        written += len(chunk)
    text.detach()
    return written


def _write_jsonl(chunks: Iterator[list[dict[str, Any]]], file: IO[bytes]) -> int:
    written = 0
    for chunk in chunks:
        file.write("".join(json.dumps(_plain(record), ensure_ascii=False) + "\n" for record in chunk).encode())
        written += len(chunk)
    return written


def _write_parquet(chunks: Iterator[list[dict[str, Any]]], file: IO[bytes]) -> int:
    # pyarrow takes a tenth of a second to import, and only this needs it.
    import pyarrow as pa  # noqa: PLC0415 - see above
    from pyarrow import parquet  # noqa: PLC0415 - see above

    kinds = {datetime: pa.timestamp("us", tz="UTC"), int: pa.int64()}
    schema = pa.schema([(name, kinds.get(_kind(name), pa.string())) for name in EXPORT_COLUMNS])
    written = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            written += len(chunk)
    return written


def _kind(name: str) -> type:
    if name.endswith(("_at", "_by", "_after")):
        return datetime
    return int if name in {"units", "units_fulfilled", "line_count", "looks"} else str
