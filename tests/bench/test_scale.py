"""The harness of `make bench-scale` on small stores: what is flat is flat to it, and it finds a planted scan."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import page_reads
import pytest
import scale
import scale_stores
from page_reads import PageRead
from scale_beside import Beside

from tracking.storage.database import Database

FEW, MANY = 50, 1_000
SCAN = "SELECT sum(length(changes) + length(detail)) FROM events WHERE changes LIKE '%x%y%z%'"


def scan(store: Database) -> object:
    with store.read() as connection:
        return connection.exec_driver_sql(SCAN).fetchall()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Database]]:
    folder = tmp_path_factory.mktemp("scale")
    opened = {size: scale_stores.store_of(folder, size, print) for size in (FEW, MANY)}
    yield opened
    for store in opened.values():
        store.close()


def test_what_grows_and_what_is_slow_falls_short(stores: dict[int, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    flat = [read for read in page_reads.page_reads(datetime.now(UTC)) if read.name in {"jobs that run", "late orders"}]
    lines: list[str] = []
    assert scale.report(scale.measure(stores, flat, lines.append), lines.append) == 0
    assert [line.count("flat below 1 ms") for line in lines] == [1, 1, 0]
    monkeypatch.setattr(scale, "FLAT_BELOW", 0.01)
    planted = PageRead("a planted scan", "orders", scan)
    [row] = scale.measure(stores, [planted], lines.append)
    assert row.growth is not None
    assert row.growth > 0.2
    assert row.slowest[1] == SCAN
    assert scale.report([row], lines.append) == 1
    assert "FALLS SHORT" in lines[-1]
    assert any(line.startswith("SLOW orders / a planted scan: grows by") and SCAN in line for line in lines)
    monkeypatch.setitem(scale.MOST_GROWTH, page_reads.USUAL, 9.0)
    monkeypatch.setitem(scale.MOST_MILLISECONDS, page_reads.USUAL, row.slowest[0] / 2)
    assert [fault.split()[-1] for fault in row.faults] == ["allowed"]


def test_callbacks_that_wait_for_pages_fall_short() -> None:
    alone, slower = [0.004] * 99 + [0.010], [0.004] * 98 + [0.021] * 2
    assert str(Beside(alone, alone, 299.0)).endswith("takes 299 MB")
    assert Beside(alone, alone, 299.0).holds
    assert not Beside(alone, slower, 299.0).holds
    assert "(x2.1)" in str(Beside(alone, slower, 299.0))
    assert str(Beside(alone, alone, 301.0)).endswith("FALLS SHORT")


@pytest.mark.long
def test_every_read_of_a_page_can_be_made(stores: dict[int, Database]) -> None:
    for read in page_reads.page_reads(datetime.now(UTC)):
        if read.least <= MANY:
            statements = scale.statements_of(stores[MANY], read)
            assert statements, read.name


@pytest.mark.long
def test_a_store_is_kept_and_used_again(tmp_path: Path) -> None:
    told: list[str] = []
    scale_stores.store_of(tmp_path, 20, told.append).close()
    scale_stores.store_of(tmp_path, 20, told.append).close()
    assert len(told) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["20.db"]
