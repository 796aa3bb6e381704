import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Clock, shown

from tracking import ingest
from tracking.errors import StoreBusy, StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.provider import call_log
from tracking.provider.call_log import ApiCallRecord, CallLog, store_api_calls
from tracking.storage.database import Database
from tracking.storage.tables import EXCHANGES


def call_of(path: str, clock: Clock, **more: Any) -> ApiCallRecord:
    return ApiCallRecord(clock.now, "GET", path, 200, 12, "ok", **more)


def test_calls_are_written_beside_their_orders(store: Database, planner: PlanningContext, clock: Clock) -> None:
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    log = CallLog(store)
    log.record(call_of("/by-number", clock, order_po="demo-0001", request="{}"))
    log.record(call_of("/by-id", clock, provider_id="BLK-1", answer="{}"))
    log.record(call_of("/by-nothing", clock, order_po="unheard-of"))

    async def twice() -> None:
        await log.flush()
        await log.flush()

    asyncio.run(twice())
    with store.read() as connection:
        rows = connection.execute(sa.select(EXCHANGES.c.path, EXCHANGES.c.order_id).order_by(EXCHANGES.c.id)).all()
    assert [tuple(row) for row in rows] == [("/by-number", 1), ("/by-id", 1), ("/by-nothing", None)]


def test_a_log_that_cannot_be_written_does_not_grow_for_ever(
    store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_log, "MAX_WAITING", 3)
    log = CallLog(store)
    for number in range(5):
        log.record(call_of(f"/{number}", clock))
    asyncio.run(log.flush())
    with store.read() as connection:
        assert list(connection.execute(sa.select(EXCHANGES.c.path)).scalars()) == ["/2", "/3", "/4"]


def test_calls_that_a_busy_store_did_not_take_are_written_later_and_the_oldest_give_way(
    store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_log, "MAX_WAITING", 3)
    log = CallLog(store)

    def busy(_connection: Any) -> None:
        log.record(call_of("/meanwhile", clock))
        raise StoreBusy("locked")

    for number in range(3):
        log.record(call_of(f"/{number}", clock))
    sa.event.listen(store._engine, "begin", busy)
    try:
        with pytest.raises(StoreBusy):
            asyncio.run(log.flush())
    finally:
        sa.event.remove(store._engine, "begin", busy)
    asyncio.run(log.flush())
    with store.read() as connection:
        paths = list(connection.execute(sa.select(EXCHANGES.c.path).order_by(EXCHANGES.c.id)).scalars())
    assert paths == ["/1", "/2", "/meanwhile"]


def test_a_call_that_can_never_be_written_does_not_keep_out_the_next(store: Database, clock: Clock) -> None:
    log = CallLog(store)
    impossible: Any = None
    log.record(ApiCallRecord(clock.now, impossible, "/impossible", 200, 1, "ok"))
    with pytest.raises(StoreError):
        asyncio.run(log.flush())
    log.record(call_of("/next", clock))
    asyncio.run(log.flush())
    with store.read() as connection:
        assert list(connection.execute(sa.select(EXCHANGES.c.path)).scalars()) == ["/next"]


def test_calls_are_bounded(store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "API_CALLS_STORED", 10)
    rows: list[dict[str, Any]] = [
        {"at": clock.now, "method": "GET", "path": f"/{number}", "outcome": "ok", "milliseconds": 1}
        for number in range(25)
    ]
    store.write(lambda connection: store_api_calls(connection, rows))
    store.write(lambda connection: store_api_calls(connection, []))
    with store.read() as connection:
        paths = list(connection.execute(sa.select(EXCHANGES.c.path).order_by(EXCHANGES.c.id)).scalars())
    assert paths == [f"/{number}" for number in range(15, 25)]
