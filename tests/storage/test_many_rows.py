"""Many rows at once: what they leave is what each of them leaves by itself, by a few statements."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import shown
from sqlalchemy import Connection

from tracking import ingest
from tracking.errors import StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.storage import inbox, orders
from tracking.storage.database import Database
from tracking.storage.sqlite import many_rows
from tracking.storage.sqlite.times import UtcDateTime
from tracking.storage.tables import CALLBACKS, ORDERS

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
Rows = Sequence[Mapping[str, Any]]


def calls(count: int) -> list[dict[str, Any]]:
    row = {"outcome": "accepted", "method": "POST", "size": 90, "repeats": 0, "received_at": AT, "last_at": AT}
    return [row | {"digest": f"{number}", "po_number": f"PO-{number}"} for number in range(count)]


def counted(store: Database, statement: Any, rows: Rows) -> int:
    """Write them by one job; how many statements that took beside those of any job."""
    texts: list[str] = []
    sa.event.listen(store._engine, "before_cursor_execute", note := lambda *given: texts.append(given[2]))
    try:
        store.write(partial(many_rows.write, statement=statement, rows=rows))
    finally:
        sa.event.remove(store._engine, "before_cursor_execute", note)
    return len([text for text in texts if text.startswith(("INSERT", "UPDATE"))])


def content(store: Database, table: sa.Table, *columns: str) -> list[tuple[Any, ...]]:
    with store.read() as connection:
        read = sa.select(*(table.c[name] for name in columns)).order_by(table.c.id)
        return [tuple(row) for row in connection.execute(read)]


def test_rows_are_inserted_by_a_few_statements_and_what_is_there_counts_as_repeated(store: Database) -> None:
    upsert = inbox.upsert_webhook_call(store.dialect, returning=False)
    rows = calls(many_rows.ROWS_AT_ONCE * 2 + 1)
    later = [row | {"last_at": AT + timedelta(microseconds=1), "repeats": 2} for row in calls(3)]
    statements = counted(store, upsert, rows), counted(store, upsert, later), counted(store, upsert, later[:1])
    assert statements == ((3, 1, 1) if store.dialect == "sqlite" else (1, 1, 1))
    found = content(store, CALLBACKS, "digest", "po_number", "received_at", "last_at", "repeats", "reason", "size")
    assert found[3:] == [(f"{number}", f"PO-{number}", AT, AT, 0, None, 90) for number in range(3, len(rows))]
    assert [row[3:5] for row in found[:3]] == [
        (later[0]["last_at"], 6),
        (later[0]["last_at"], 3),
        (later[0]["last_at"], 3),
    ]


def test_columns_that_the_table_fills_are_filled(store: Database) -> None:
    left_out = [{name: value for name, value in row.items() if name not in {"method", "size"}} for row in calls(2)]
    counted(store, inbox.INSERT_WEBHOOK_CALL, left_out)
    assert content(store, CALLBACKS, "digest", "method", "size") == [("0", "POST", 0), ("1", "POST", 0)]


def test_rows_are_changed_by_a_few_statements_and_one_that_comes_twice_in_turn(
    store: Database, planner: PlanningContext
) -> None:
    for number in range(3):
        parsed = shown(f"BLK-{number}", f"PO-{number}")
        store.write(lambda connection, parsed=parsed: ingest.discover(connection, parsed, AT, AT, planner))  # type: ignore[misc]  # the default binds the loop's value
    ids = [row_id for (row_id,) in content(store, ORDERS, "id")]
    changed = [
        {
            "note": f"note {number}",
            "changed_id": row_id,
            "late_at": AT,
            "digest": None,
            "document": {"b": number, "a": 1},
        }
        for number, row_id in enumerate(ids[:2])
    ]
    assert counted(store, orders.UPDATE_ORDER, changed) == 1
    counted(store, orders.UPDATE_ORDER, [{"changed_id": ids[2], "note": text} for text in ("first", "then")])
    notes, documents = zip(*content(store, ORDERS, "note", "document"), strict=True)
    assert notes == ("note 0", "note 1", "then")
    assert [list(each.items()) for each in documents[:2]] == [[("b", 0), ("a", 1)], [("b", 1), ("a", 1)]]
    assert [row[0] for row in content(store, ORDERS, "late_at")][:2] == [AT, AT]


def a_value(column: sa.Column[Any], draw: random.Random) -> Any:
    """One that the column may hold."""
    if column.nullable and draw.random() < 0.3:
        return None
    if isinstance(column.type, UtcDateTime):
        return AT + timedelta(microseconds=draw.randrange(10**12))
    if isinstance(column.type, sa.JSON):
        return draw.choice([{}, {"z": 1, "a": "ü"}, {"b": None}, [1, 2]])
    if isinstance(column.type, sa.Integer | sa.Boolean):
        return draw.randrange(2)
    return draw.choice(["", "'\"%?", "ü", "17"])


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_each_column_holds_what_it_holds_where_rows_are_changed_one_by_one(
    store: Database, planner: PlanningContext
) -> None:
    draw = random.Random(1)
    for number in range(40):
        parsed = shown(f"BLK-{number}", f"PO-{number}")
        store.write(lambda connection, parsed=parsed: ingest.discover(connection, parsed, AT, AT, planner))  # type: ignore[misc]  # the default binds the loop's value
    free = [column for column in ORDERS.c if not column.primary_key and column.name not in {"po_number", "provider_id"}]
    every = [column.name for column in ORDERS.c]
    for first in range(0, len(free), 9):
        columns = free[first : first + 9]
        rows = [
            {"changed_id": row_id, **{each.name: a_value(each, draw) for each in columns}} for row_id in range(1, 41)
        ]
        assert counted(store, orders.UPDATE_ORDER, rows) == 2
        together = content(store, ORDERS, *every)
        for row in rows:
            counted(store, orders.UPDATE_ORDER, [row])
        assert content(store, ORDERS, *every) == together


def test_rows_of_one_column_are_inserted_too(store: Database) -> None:
    table = sa.Table("words", sa.MetaData(), sa.Column("word", sa.String))

    def job(connection: Connection) -> list[Any]:
        table.create(connection)
        many_rows.write(connection, sa.insert(table), [{"word": "one"}, {"word": "two"}])
        words = list(connection.execute(sa.select(table.c.word)).scalars())
        table.drop(connection)
        return words

    assert store.write(job) == ["one", "two"]


def test_rows_of_which_one_is_refused_leave_nothing(store: Database) -> None:
    def job(connection: Connection) -> None:
        many_rows.write(connection, inbox.INSERT_WEBHOOK_CALL, calls(3) + calls(1))

    with pytest.raises(StoreError):
        store.write(job)
    assert content(store, CALLBACKS, "digest") == []
    assert store.trouble is None
