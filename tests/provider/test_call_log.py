import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Clock, shown

from tracking import ingest
from tracking.errors import StoreBusy, StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.provider import call_log
from tracking.provider.call_log import ApiCallRecord, CallLog, store_api_calls
from tracking.storage.database import Database, connect
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


def paths(store: Database) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(sa.select(EXCHANGES.c.path).order_by(EXCHANGES.c.id)).scalars())


def rows(clock: Clock, *calls: tuple[str, str, int | None, str | None]) -> list[dict[str, Any]]:
    """Calls as stored, each of (method, path, order, answer)."""
    same: dict[str, Any] = {"at": clock.now, "outcome": "ok", "milliseconds": 1, "status": 200}
    return [
        same | {"method": method, "path": path, "order_id": order_id, "answer": answer}
        for method, path, order_id, answer in calls
    ]


def test_calls_of_no_order_are_bounded(store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "RECENT_CALLS", 10)
    written = rows(clock, *(("GET", f"/{number}", None, None) for number in range(25)))
    store.write(lambda connection: store_api_calls(connection, written[:7]))
    store.write(lambda connection: store_api_calls(connection, written[7:]))
    store.write(lambda connection: store_api_calls(connection, []))
    assert paths(store) == [f"/{number}" for number in range(15, 25)]


def test_an_orders_send_and_what_changed_it_outlast_the_traffic_of_others(
    store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_log, "RECENT_CALLS", 4)
    began = clock.now
    answers = ["pending", *["working"] * 6, "done"]
    looks = [("GET", "/1", 1, answer) for answer in answers]
    for call in [("POST", "/orders", 1, "taken"), *looks]:
        store.write(partial(store_api_calls, rows=rows(clock, call)))
        clock.pass_by(seconds=1)
    with store.read() as connection:
        assert call_log.calls_complete_since(connection) == began + timedelta(seconds=5)
    others = rows(
        clock, *(("GET", f"/{number}", number, "same") for number in range(2, 12)), ("GET", "/list", None, "")
    )
    store.write(lambda connection: store_api_calls(connection, others))
    with store.read() as connection:
        own = sa.select(EXCHANGES.c.answer).where(EXCHANGES.c.order_id == 1).order_by(EXCHANGES.c.id)
        assert list(connection.execute(own).scalars()) == ["taken", "pending", *["working"] * 4, "done"]
        assert connection.execute(sa.select(sa.func.count()).where(EXCHANGES.c.order_id > 1)).scalar() == 10
        assert call_log.calls_complete_since(connection) == clock.now


def test_an_orders_calls_are_bounded_its_sends_last(
    store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_log, "RECENT_CALLS", 1)
    monkeypatch.setattr(call_log, "CALLS_OF_ORDER", 3)
    written = rows(clock, ("POST", "/sent", 1, None), *(("GET", f"/{number}", 1, None) for number in range(6)))
    for row in [*written, *rows(clock, ("GET", "/list", None, None))]:
        store.write(partial(store_api_calls, rows=[row]))
    assert paths(store) == ["/sent", "/4", "/5", "/list"]


def test_what_is_pruned_is_found_along_indexes(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "RECENT_CALLS", 10)
    monkeypatch.setattr(call_log, "CALLS_OF_ORDER", 2)
    opened = connect(f"sqlite:///{tmp_path}/plan.db")
    plans: list[str] = []

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if "exchanges" in statement and not statement.startswith("INSERT"):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append(str([row[3] for row in plan]))

    sa.event.listen(opened._engine, "before_cursor_execute", explain)
    for number in range(40):
        written = rows(clock, *(("GET", f"/{number}", order_id, "x") for order_id in (1, 2)), ("GET", "/", None, None))
        opened.write(partial(store_api_calls, rows=written))
    opened.close()
    assert len(set(plans)) >= 5
    assert [plan for plan in plans if "SCAN exchanges" in plan] == []
