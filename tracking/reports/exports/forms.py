"""Forms of exports: CSV for spreadsheets, JSON lines and Parquet for programs; written in chunks."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import IO, Any

from tracking.orders.wording import spreadsheet_identifier, spreadsheet_safe
from tracking.reports.exports.columns import Column, Kind, names_of

AMOUNT_DIGITS, AMOUNT_DECIMALS = 19, 2
"""Of an amount in Parquet: it holds whatever the database can, whole hundredths in 64 bits."""
_Write = Callable[[list[dict[str, Any]]], object]


def write_rows(chunks: Iterable[list[dict[str, Any]]], columns: Sequence[Column], *, form: str, file: IO[bytes]) -> int:
    """Write rows of these columns, which come in chunks, as csv, jsonl or parquet; returns how many.

    Only csv is made for spreadsheets: with a byte order mark, without formulas, and with an apostrophe before what they
    would take for one, or for a number where it is an identifier. The others hold what is stored, for programs.
    """
    if form not in _WRITERS:
        raise ValueError(f"{form!r} is no format: use {', '.join(_WRITERS)}")
    written = 0
    with _WRITERS[form](file, columns) as write:
        for chunk in chunks:
            write(chunk)
            written += len(chunk)
    return written


@contextmanager
def _csv(file: IO[bytes], columns: Sequence[Column]) -> Iterator[_Write]:
    # With a byte order mark: without one a spreadsheet reads the letters in the encoding of its country.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names_of(columns))
    cells = [(column.name, _CELLS.get(column.kind, spreadsheet_safe)) for column in columns]
    yield lambda chunk: writer.writerows([cell(record[name]) for name, cell in cells] for record in chunk)
    text.detach()


def _json_cell(value: Any) -> Any:
    return None if value is None else spreadsheet_safe(json.dumps(value, ensure_ascii=False))


def _as_it_is(value: Any) -> Any:
    return value


def _time_text(value: datetime | None) -> str | None:
    return value.isoformat() if value else None


_CELLS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.IDENTIFIER: spreadsheet_identifier,
    Kind.TIME: _time_text,
    Kind.AMOUNT: _as_it_is,
    Kind.AMOUNTS: _json_cell,
    Kind.JSON: _json_cell,
}


@contextmanager
def _jsonl(file: IO[bytes], columns: Sequence[Column]) -> Iterator[_Write]:
    plain = [(column.name, _time_text if column.kind is Kind.TIME else _as_it_is) for column in columns]

    def line(record: Mapping[str, Any]) -> str:
        return json.dumps({name: value(record[name]) for name, value in plain}, ensure_ascii=False) + "\n"

    yield lambda chunk: file.write("".join(map(line, chunk)).encode())


@contextmanager
def _parquet(file: IO[bytes], columns: Sequence[Column]) -> Iterator[_Write]:
    # pyarrow takes a tenth of a second to import, and only this needs it.
    import pyarrow as pa  # noqa: PLC0415 - see above
    from pyarrow import parquet  # noqa: PLC0415 - see above

    amount = pa.decimal128(AMOUNT_DIGITS, AMOUNT_DECIMALS)
    times, by_currency = pa.timestamp("us", tz="UTC"), pa.map_(pa.string(), amount)
    kinds = {Kind.TIME: times, Kind.WHOLE: pa.int64(), Kind.FLAG: pa.bool_(), Kind.AMOUNT: amount}
    kinds |= {Kind.AMOUNTS: by_currency}
    schema = pa.schema([(column.name, kinds.get(column.kind, pa.string())) for column in columns])
    values = [(column.name, _VALUES.get(column.kind, _as_it_is)) for column in columns]

    def table(chunk: list[dict[str, Any]]) -> Any:
        rows = [{name: value(record[name]) for name, value in values} for record in chunk]
        return pa.Table.from_pylist(rows, schema=schema)

    with parquet.ParquetWriter(file, schema) as writer:
        yield lambda chunk: writer.write_table(table(chunk))


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _decimals(amounts: Mapping[str, str] | None) -> list[tuple[str, Decimal]] | None:
    return None if amounts is None else [(currency, Decimal(text)) for currency, text in amounts.items()]


_VALUES: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.AMOUNT: _decimal,
    Kind.AMOUNTS: _decimals,
    Kind.JSON: lambda value: None if value is None else json.dumps(value, ensure_ascii=False),
}
_WRITERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
