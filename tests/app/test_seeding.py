"""Made-up orders are stored in bulk as live ones are one by one, and are the same however many processes make them."""

import random
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from one_by_one import store_one_by_one
from sqlmodel import SQLModel

from tracking.app.demonstration import seeding
from tracking.app.demonstration.bulk import histories, rows, transport
from tracking.errors import StoreBusy
from tracking.orders import model
from tracking.storage import engines
from tracking.storage.database import Database, connect
from tracking.storage.maintenance.verify import verify
from tracking.storage.search.tables import SEARCH_TEXTS
from tracking.storage.sqlite import loading
from tracking.storage.tables import EVENTS, ORDERS

# Drawn anew whenever a line is stored, which nobody can foretell, and what is made of it.
SALTED = frozenset({"recipient_salt", "recipient_hash"})


def contents(database: Database, *, without: frozenset[str] = frozenset()) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, but for the columns left out; events and texts go without numbers of their own."""
    stored_rows = {}
    with database.read() as connection:
        for name, table in SQLModel.metadata.tables.items():
            rows_of = connection.execute(sa.select(table).order_by(*table.primary_key.columns)).mappings()
            stored_rows[name] = [{key: value for key, value in row.items() if key not in without} for row in rows_of]
    stored_rows["events"].sort(key=lambda event: (event["order_id"], event["seq"]))
    for row in (*stored_rows["events"], *stored_rows["search_texts"]):
        del row["id"]
    return stored_rows


@pytest.fixture
def other(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """Another store, on SQLite."""
    opened = connect(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'other.db')}")
    yield opened
    opened.close()


@pytest.fixture
def same_salts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without chance all hashes can be compared as well."""
    monkeypatch.setattr("tracking.storage.orders.new_salt", lambda: "00" * 16)


@pytest.mark.usefixtures("same_salts")
def test_what_is_stored_in_bulk_equals_what_is_stored_one_by_one(
    store: Database, other: Database, now: datetime
) -> None:
    rng = random.Random(11)
    placed = seeding._placing_times(150, 2, rng, now)
    first, later = rows.make_group(1, placed[:100], 1, now), rows.make_group(101, placed[100:], 2, now)
    for group in (first, later):
        store.write(partial(rows.store_group, group=group))
    for begin, seed in ((0, 1), (100, 2)):
        drawn = random.Random(seed)
        numbered = enumerate(placed[begin : 100 + begin], begin + 1)
        made = [histories.make_history(number, at, drawn, now) for number, at in numbered]
        other.write(partial(store_one_by_one, histories=made, now=now))
    in_bulk, one_by_one = contents(store), contents(other)
    assert in_bulk == one_by_one
    assert {order["state"] for order in in_bulk["orders"]} >= {model.State.COMPLETED, model.State.PENDING}
    assert len(in_bulk["callbacks"]) > 50
    assert verify(store) == []


def test_other_processes_make_up_the_same(
    sqlite_url: str, other: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "ORDERS_PER_TRANSACTION", 20)
    # A page that was tested before is still the main module here, and a new process would run it.
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    counted: list[tuple[int, int]] = []
    store = connect(sqlite_url)
    made = seeding.seed(store, 50, rng=random.Random(4), progress=lambda *at: counted.append(at), days=3, now=now)
    assert seeding.seed(other, 50, rng=random.Random(4), processes=1, days=3, now=now) == made
    assert counted == [(20, 50), (40, 50), (50, 50)]
    hashed = SALTED | {"head", "previous", "detail"}
    assert contents(store, without=hashed) == contents(other, without=hashed)
    with other.read() as connection:
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar_one() == -2000
    assert verify(other) == []
    store.close()


def test_orders_that_come_meanwhile_keep_their_numbers(store: Database, now: datetime) -> None:
    group = rows.make_group(1, [now] * 3, 1, now)
    store.write(lambda connection: rows.store_group(connection, group))
    history = histories.make_history(10, now, random.Random(1), now)
    store.write(lambda connection: store_one_by_one(connection, [history], now))
    later = rows.make_group(20, [now] * 2, 2, now)
    store.write(lambda connection: rows.store_group(connection, later))
    with store.read() as connection:
        numbers = connection.execute(sa.select(ORDERS.c.id).order_by(ORDERS.c.id)).scalars().all()
        followed = connection.execute(sa.select(EVENTS.c.order_id).distinct().order_by(EVENTS.c.order_id)).scalars()
        assert numbers == [1, 2, 3, 4, 5, 6] == list(followed)
    assert verify(store) == []


def test_what_another_process_sends_is_what_it_made(now: datetime) -> None:
    made = rows.make_group(1, [now - timedelta(hours=hour) for hour in range(40)], 3, now)
    assert transport.unpack(transport.pack(made)) == made
    assert made.counts


def indexes_of(store: Database) -> set[tuple[str, str]]:
    with store.read() as connection:
        return set(connection.exec_driver_sql("SELECT name, sql FROM sqlite_schema WHERE type = 'index'").all())


def test_nobody_sees_a_store_that_is_half_filled(sqlite_url: str, now: datetime) -> None:
    store = connect(sqlite_url)
    indexes, journal_mode = indexes_of(store), store.description()["journal_mode"]
    seen: list[object] = []

    def look(written: int, _of: int) -> None:
        with pytest.raises(StoreBusy, match="locked"):
            engines.revision(sqlite_url)
        seen.append(written)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "BUSY_MILLISECONDS", 0)
        seeding.seed(store, 20, rng=random.Random(1), days=2, now=now, progress=look)
    assert seen == [20]
    assert indexes_of(store) == indexes
    assert indexed_texts(store) == store_count(store, SEARCH_TEXTS) > 20
    assert store.description()["journal_mode"] == journal_mode
    assert verify(store) == []
    store.close()


def store_count(store: Database, table: Any) -> int:
    with store.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def indexed_texts(store: Database) -> int:
    with store.read() as connection:
        hits = "SELECT count(*) FROM search_index WHERE search_index MATCH '\"seed\"'"
        return int(connection.exec_driver_sql(hits).scalar_one())


def test_a_seeding_that_is_killed_leaves_nothing(
    sqlite_url: str, tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeding, "ORDERS_PER_TRANSACTION", 50)
    monkeypatch.setattr(loading, "_CACHE_KIBIBYTES", 100)  # so that it writes into the file from the beginning
    store = connect(sqlite_url)
    indexes, file, left = indexes_of(store), Path(sqlite_url.removeprefix("sqlite:///")), tmp_path / "left.db"
    size = file.stat().st_size

    def leave(_written: int, _of: int) -> None:
        for suffix in ("", "-journal"):
            shutil.copy(f"{file}{suffix}", f"{left}{suffix}")

    seeding.seed(store, 150, rng=random.Random(1), days=2, now=now, progress=leave)
    store.close()
    assert left.stat().st_size > size
    again = connect(f"sqlite:///{left}")
    assert (store_count(again, ORDERS), indexes_of(again)) == (0, indexes)
    assert left.stat().st_size == size
    again.close()


def test_a_store_that_somebody_uses_is_filled_beside_them(sqlite_url: str, now: datetime) -> None:
    store = connect(sqlite_url)
    with engines.make_engine(sqlite_url, writes=False).connect() as reader:
        count = sa.select(sa.func.count()).select_from(ORDERS)
        assert reader.execute(count).scalar_one() == 0
        reader.rollback()
        seeding.seed(store, 20, rng=random.Random(1), days=2, now=now)
        assert reader.execute(count).scalar_one() == 20
    assert verify(store) == []
    store.close()
