"""Writes many rows by one step of SQLite, where the driver's executemany takes a step for each.

In each step the driver lets go of the interpreter. Where an event loop keeps that busy, the writer waits after every
step to get it back, which takes several times as long as a row does: with 64 webhooks in flight it waited three times
for each of them, at 70 us of processor. PostgreSQL's driver sends all rows at once as it is.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Update

ROWS_AT_ONCE = 32  # the driver keeps a prepared statement for each number of rows, 128 in all
KEY = "changed_id"  # the parameter by which an update finds its row
_Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Form:
    """A statement's text before, within and after its rows, and how a row's values are taken and bound."""

    before: str
    row: str
    after: str
    constants: _Values
    take: Callable[[Mapping[str, Any]], _Values]
    processors: Sequence[Callable[[Any], Any] | None]

    def text(self, count: int) -> str:
        """Write the statement for so many rows."""
        return f"{self.before}{', '.join([self.row] * count)}{self.after}"

    def bound(self, rows: Sequence[Mapping[str, Any]]) -> list[_Values]:
        """The values of each row as the driver takes them."""
        columns = zip(self.processors, zip(*map(self.take, rows), strict=True), strict=True)
        return list(zip(*[map(process, column) if process else column for process, column in columns], strict=True))


def write(connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Run an insert, or an update that finds its row by the table's key, for rows that name the same columns."""
    form = None
    if len(rows) > 1 and len(rows[0]) > 1 and connection.dialect.name == "sqlite":
        form = _form(statement, tuple(rows[0]), connection.dialect)
    if form is None or (KEY in rows[0] and len({row[KEY] for row in rows}) < len(rows)):  # one row twice, in turn
        connection.execute(statement, rows)
        return
    values = iter(form.bound(rows))
    while part := tuple(islice(values, ROWS_AT_ONCE)):
        connection.exec_driver_sql(form.text(len(part)), (*chain.from_iterable(part), *form.constants))


@functools.lru_cache(maxsize=256)
def _form(statement: Any, names: tuple[str, ...], dialect: Dialect) -> _Form | None:
    """How the statement is written for rows with these names; None where it fills other columns by itself."""
    table, row, constants = statement.table, f"({', '.join('?' * len(names))})", ()
    if isinstance(statement, Update):
        [key] = table.primary_key
        names = (KEY, *(name for name in names if name != KEY))
        columns = (key.name, *names[1:])
        settings = ", ".join(f"{name} = changed.column{place}" for place, name in enumerate(columns[1:], 2))
        before = f"UPDATE {table.name} SET {settings} FROM (VALUES "  # noqa: S608 - our own names  # nosec B608
        after = f") AS changed WHERE {key} = changed.column1"
    else:
        compiled = statement.compile(dialect=dialect, column_keys=names)
        before, found, after = compiled.string.partition(row)
        if not found:
            return None
        bound = compiled.positiontup
        names = columns = tuple(bound[: len(names)])
        constants = tuple(compiled.params[name] for name in bound[len(names) :])
    types = [table.c[column].type.dialect_impl(dialect) for column in columns]
    return _Form(before, row, after, constants, itemgetter(*names), [each.bind_processor(dialect) for each in types])
