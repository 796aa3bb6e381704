"""The step from revision 0001 to 0002: what was there already is chained and keyed, whole or not at all."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from fakes import line, shown
from sqlalchemy import Connection, Engine, event
from test_migrations import config, on
from test_verify import history

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.orders import event_chain as chain
from tracking.storage import database, engines, migrations
from tracking.storage.maintenance import verify
from tracking.storage.tables import CALLBACKS, COUNTERS, EVENTS, LINES, ORDERS, OUTBOX

OLD = (ORDERS, LINES, EVENTS, OUTBOX, CALLBACKS, COUNTERS)
Rows = dict[str, list[dict[str, Any]]]


class Cut(Exception):
    """The migration ends here."""


@pytest.fixture
def past(migrated_file: Path, tmp_path: Path, planner: PlanningContext, now: datetime) -> Rows:
    """What a store of revision 0001 held: some history, and an order with recipients."""
    file = tmp_path / "past.db"
    shutil.copy(migrated_file, file)
    store = database.connect(f"sqlite:///{file}")
    store.write(history(4, planner, now))
    addressed = [line("CVS", 10, 1, DigitalDeliveryAddress={"Email": f"p{n}@example.com"}) for n in range(5)]
    seen = shown("BLK-20", "mailed", "Pending", *addressed, kind="DigitalDelivery")
    later = now + timedelta(days=1)
    store.write(lambda connection: ingest.discover(connection, seen, later, later, planner))
    with store.read() as connection:
        rows = {table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()] for table in OLD}
    store.close()
    rows["counters"] = [row for row in rows["counters"] if row["name"] in {"stock", "flow"}]
    for row in rows["events"]:
        row["detail"].pop("contents", None)
        for later_fact in ("attention_reason", "completed_there_at"):
            row["changes"].pop(later_fact, None)
    return rows


def settle(url: str, rows: Rows) -> None:
    """Makes a store of revision 0001 that holds these rows."""

    def job(connection: Connection) -> None:
        command.upgrade(config(connection), "0001")
        for table in OLD:
            known = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
            kept = [{name: value for name, value in row.items() if name in known} for row in rows[table.name]]
            old = sa.table(table.name, *(sa.column(name, table.c[name].type) for name in kept[0]))
            connection.execute(sa.insert(old), kept)

    on(url, job)


def stored(url: str) -> dict[str, list[Any]]:
    """All columns and all rows of the tables that 0002 changes, with the revision."""

    def job(connection: Connection) -> dict[str, list[Any]]:
        found = {}
        for name in ("orders", "lines", "events"):
            columns = [column["name"] for column in sa.inspect(connection).get_columns(name)]
            rows = connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY 1, 2"))  # a name from the list above
            found[name] = [columns, *map(repr, rows)]
        return found | {"revision": [engines.revision(url)], "tables": sa.inspect(connection).get_table_names()}

    found: dict[str, list[Any]] = on(url, job)
    return found


@contextmanager
def at_each_statement(what: Callable[[int], None]) -> Iterator[None]:
    """Calls `what` before each statement on whatever engine, with its number."""
    count = 0

    def before(*_: object) -> None:
        nonlocal count
        count += 1
        what(count)

    event.listen(Engine, "before_cursor_execute", before)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", before)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that the history needs several."""
    monkeypatch.setattr(migrations, "PAGE", 20)


def test_what_was_there_is_chained_and_keyed(empty_url: str, past: Rows) -> None:
    settle(empty_url, past)
    assert engines.migrate(empty_url) == "0001"
    store = database.connect(empty_url)
    assert verify.verify(store) == []
    with store.read() as connection:
        assert len(connection.execute(sa.select(EVENTS)).all()) == len(past["events"]) > 40
        lines = connection.execute(sa.select(LINES).where(LINES.c.recipient.is_not(None))).mappings().all()
        assert connection.execute(sa.select(ORDERS.c.id).where(ORDERS.c.head.is_(None))).all() == []
    assert [row["recipient_hash"] for row in lines] == [
        chain.keyed_hash(row["recipient"], row["recipient_salt"]) for row in lines
    ]
    assert len({row["recipient_salt"] for row in lines}) == len(lines) == 5
    store.close()


@pytest.fixture(params=[16, pytest.param(1, marks=pytest.mark.long)])
def every(request: pytest.FixtureRequest) -> int:
    """Of the statements of all revisions, which grow in number, how many lie between two at which it ends."""
    number: int = request.param
    return number


@pytest.fixture
def first(every: int) -> int:
    """The first of them, by chance: the runs together see to each."""
    return random.Random().randint(1, every)


def test_a_migration_that_fails_at_any_statement_changes_nothing(
    empty_url: str, past: Rows, every: int, first: int
) -> None:
    settle(empty_url, past)
    before = stored(empty_url)
    for last in range(first, 2000, every):

        def fail(number: int, last: int = last) -> None:
            if number == last:
                raise Cut

        try:
            with at_each_statement(fail):
                engines.migrate(empty_url)
        except Cut:
            assert stored(empty_url) == before
        else:
            break
    assert last > 60
    agrees(empty_url)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_process_that_dies_at_any_statement_leaves_a_store_that_a_second_migration_completes(
    empty_url: str, past: Rows, tmp_path: Path, every: int, first: int
) -> None:
    settle(empty_url, past)
    file = Path(empty_url.removeprefix("sqlite:///"))

    def keep(number: int) -> None:
        if (number - first) % every:
            return
        # What is on the disk at this moment is what a process that is killed here leaves behind.
        folder = tmp_path / f"{number}"
        folder.mkdir()
        for part in file.parent.glob(f"{file.name}*"):
            shutil.copy(part, folder)

    with at_each_statement(keep):
        engines.migrate(empty_url)
    left = [folder / file.name for folder in tmp_path.iterdir() if folder.name.isdigit()]
    assert len(left) * every > 60
    for each in left:
        agrees(f"sqlite:///{each}")


def agrees(url: str) -> None:
    """Migrates where that is left to do, and compares all with the log."""
    engines.migrate(url)
    store = database.connect(url)
    try:
        assert verify.verify(store) == []
    finally:
        store.close()
