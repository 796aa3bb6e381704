"""The demonstration in a running process: what the first page finds, and traffic of ours and of others afterwards."""

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tracking.app.backend import Backend
from tracking.app.demonstration import history
from tracking.app.embedded_sandbox import running_sandbox
from tracking.settings.loading import load
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import CALLBACKS, EXCHANGES, ORDERS

FEW = 10


def count(store: Database, *where: Any) -> int:
    with store.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).where(*where)).scalar_one())


async def until(seen: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(seen):  # noqa: ASYNC110 - what is waited for happens in the store
            await asyncio.sleep(0.1)


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Backend:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(history, "History", functools.partial(history.History, orders=FEW))
    named = {"database_url": f"sqlite:///{tmp_path}/tracking.db", "api_base_url": None}
    made = Backend(load(**named, sandbox_traffic=300, discover_every=1, webhook_secret="s" * 20))
    why = "as nothing of a provider is set: no order is real"
    assert caplog.messages[0] == f"the provider is simulated by the embedded sandbox, {why}"
    return made


def test_the_first_page_finds_orders_and_traffic_begins_once_the_week_is_written(backend: Backend) -> None:
    store = backend.database

    async def run() -> int:
        async with backend.lifespan(None):
            assert running_sandbox() is not None
            assert count(store, ORDERS.c.id > 0) > 0, "before anything is served"
            demonstration = backend._demonstration
            assert demonstration is not None
            async with asyncio.timeout(30):
                await demonstration.prepared.wait()
            week = await asyncio.to_thread(count, store, ORDERS.c.id > 0)
            calls = await asyncio.to_thread(count, store, EXCHANGES.c.id > 0)
            await until(lambda: count(store, ORDERS.c.id > week, ORDERS.c.source == "elsewhere") > 0)
            ours = ORDERS.c.id > week, ORDERS.c.source != "elsewhere", ORDERS.c.provider_id.is_not(None)
            await until(lambda: count(store, *ours) > 0)
            assert await asyncio.to_thread(count, store, EXCHANGES.c.id > calls) > 0
        return week

    week = asyncio.run(run())
    assert week > FEW
    assert count(store, CALLBACKS.c.outcome == "accepted") > 0
    assert verify(store) == []
    assert running_sandbox() is None
    store.close()
