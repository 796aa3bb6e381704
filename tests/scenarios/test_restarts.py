"""A console that is started again and again, and one that starts after a long weekend."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from desk import Desk, Outcome, request
from sqlalchemy import func, select
from virtual import START, VirtualLoop, run

from tracking.provider.call_log import ApiCallRecord, CallLog
from tracking.storage import facts
from tracking.storage.tables import EXCHANGES

RATE = 5
ORDERS = 8
RESTARTS = 20
WAITING = 60


class Watched(Desk):
    """A desk with a small budget that knows when each call left."""

    def __init__(self, folder: Path, loop: VirtualLoop) -> None:
        super().__init__(folder, "normal", loop, tick=2.0)
        self.backend.settings = self.backend.settings.model_copy(update={"api_max_rate": RATE})
        self.left: list[tuple[datetime, ApiCallRecord]] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        record = CallLog.record

        def watched(log: CallLog, call: ApiCallRecord) -> None:
            self.left.append((call.at, call))
            record(log, call)

        monkeypatch.setattr(CallLog, "record", watched)


def most_in_a_second(times: Iterable[datetime]) -> int:
    """The most calls that left within any one second."""
    ordered = sorted(times)
    window = timedelta(seconds=1)
    return max(sum(1 for later in ordered[start:] if later - ordered[start] < window) for start in range(len(ordered)))


def test_restarts_in_a_row_stay_within_the_budget_and_get_the_work_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(loop: VirtualLoop) -> tuple[Outcome, Watched]:
        desk = Watched(tmp_path, loop)
        desk.watch(monkeypatch)
        async with desk.sandbox.running():
            await desk.submit([request(number, desk.rng) for number in range(3 * ORDERS)])
            for number in range(RESTARTS):
                desk.backend._owner = f"{socket.gethostname()}/{os.getpid()}/{number}"
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(desk.rng.uniform(0.5, 3)), desk.backend.lifespan(None):
                        await asyncio.sleep(60)
            assert all(row["provider_id"] for row in desk.rows().values()), "sending is not starved"
        async with desk.open():
            return await desk.settle(timedelta(hours=1)), desk

    outcome, desk = run(main)
    assert outcome.problems == []
    assert most_in_a_second(at for at, _ in desk.left) <= RATE
    with desk.store.read() as connection:  # those before an end, too
        assert connection.execute(select(func.count()).select_from(EXCHANGES)).scalar_one() == len(desk.left)
    catalogues = [each for _, each in desk.left if each.path.startswith("/v1/Products")]
    assert len(catalogues) < RESTARTS / 2


def test_a_pause_the_provider_asked_for_outlives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        desk = Watched(tmp_path, loop)
        desk.watch(monkeypatch)
        until = loop.clock() + timedelta(seconds=100)
        told = {"paused_until": until.isoformat()}
        desk.store.write(lambda connection: facts.set_fact(connection, "client", told, loop.clock()))
        async with desk.open():
            await desk.submit([request(0, desk.rng)])
            await asyncio.sleep(200)
        return [(at - until).total_seconds() for at, _ in desk.left]

    left = run(main)
    assert left
    assert min(left) >= 0


def test_after_a_weekend_the_backlog_is_no_herd_and_new_orders_do_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(loop: VirtualLoop) -> tuple[Outcome, Watched, datetime]:
        desk = Watched(tmp_path, loop)
        async with desk.sandbox.running():
            desk.sandbox.switch_to("slow-fulfillment")
            desk.sandbox.place_elsewhere(WAITING)
            async with desk.backend.lifespan(None):
                await asyncio.sleep(40)
            assert len(desk.rows()) == WAITING
        loop.now += timedelta(days=3).total_seconds()
        desk.watch(monkeypatch)
        started_at = loop.clock()
        await desk.submit([request(number, desk.rng) for number in range(ORDERS)])
        async with desk.open():
            return await desk.settle(timedelta(hours=1)), desk, started_at

    outcome, desk, started_at = run(main)
    assert outcome.problems == []
    assert most_in_a_second(at for at, _ in desk.left) <= RATE
    posted = [at - started_at for at, each in desk.left if each.method == "POST" and each.path == "/v1/Orders"]
    assert len(posted) == ORDERS
    assert max(posted) < timedelta(seconds=30)
    assert len(desk.left) < WAITING + 5 * ORDERS


def test_calls_that_fail_do_so_until_one_is_answered_whoever_was_started_since(tmp_path: Path) -> None:
    since = (START - timedelta(minutes=10)).isoformat()

    async def main(loop: VirtualLoop) -> list[tuple[str | None, int]]:
        desk = Desk(tmp_path, "normal", loop)
        state = {"failing_since": since, "failures": 7, "last_error": "NotSent: no route"}
        desk.store.write(lambda connection: facts.set_fact(connection, "client", state, loop.clock()))
        said = []

        async def look() -> None:
            with desk.store.read() as connection:
                client = facts.get_fact(connection, "client")
            assert client is not None
            said.append((client.value["failing_since"], client.value["failures"]))

        answering = desk.backend.transport
        assert answering is not None

        async def answer(request: httpx.Request) -> httpx.Response:
            if loop.now < 100:
                raise httpx.ConnectError("no route", request=request)
            return await answering.handle_async_request(request)

        desk.backend.transport = httpx.MockTransport(answer)
        async with desk.open():
            await asyncio.sleep(20)
            await look()
            await asyncio.sleep(180)
            await look()
        return said

    (failing_since, failures), after = run(main)
    assert datetime.fromisoformat(str(failing_since)) == datetime.fromisoformat(since)
    assert failures >= 7
    assert after == (None, 0)
