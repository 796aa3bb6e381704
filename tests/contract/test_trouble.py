"""A store that cannot be written for now: it is told at once, nothing is pretended, and work goes on by itself."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fakes import Clock, FakeProvider, callback_body, request, shown
from polling_setup import lease_best, poll_once
from sending_setup import send_once

from tracking import ingest
from tracking.app.backend import Backend
from tracking.app.loops import SendLoop
from tracking.app.telemetry.heartbeat import Heartbeat
from tracking.errors import StoreBusy, StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.polling.discovery import Discovery
from tracking.polling.poller import Poller
from tracking.settings.addresses import WEBHOOK_PATH
from tracking.settings.loading import load
from tracking.settings.roles import Role
from tracking.storage import database, engines, facts
from tracking.storage.database import Database
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.tables import CALLBACKS, ORDERS
from tracking.storage.writing import groups
from tracking.submissions import sender
from tracking.submissions.sender import Sender
from tracking.webhooks import addresses

SECRET = "hush-hush-hush-hush"
FULL = "the disk is full: make room"
READ_ONLY = "the database file is read-only: make it and its folder writable"
LOCKED = "the database is locked by another process"
HOLDER = """
import sys
from tracking.storage.sqlite.driver import dbapi
connection = dbapi.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a lock, for a probe or for the next try."""
    monkeypatch.setattr(engines, "BUSY_MILLISECONDS", 100)
    monkeypatch.setattr(database, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(sender, "STORE_RETRY", 0.01)


@pytest.fixture
def disk(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A store on SQLite."""
    place = tmp_path / "tracking.db"
    place.write_bytes(migrated_file.read_bytes())
    opened = Database(f"sqlite:///{place}")
    sa.event.listen(opened._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
    yield opened
    opened.close()


@contextlib.contextmanager
def full(store: Database) -> Iterator[None]:
    """No commit finds room: what SQLite says when neither the file nor its journal can grow."""

    def refuse(_: Any) -> None:
        raise sa.exc.OperationalError("x", None, dbapi.OperationalError("database or disk is full"))

    sa.event.listen(store._engine, "commit", refuse)
    try:
        yield
    finally:
        sa.event.remove(store._engine, "commit", refuse)


@contextlib.contextmanager
def read_only(store: Database) -> Iterator[None]:
    """The file cannot be written."""

    def refuse(connection: dbapi.Connection, _record: object) -> None:
        connection.execute("PRAGMA query_only=ON")

    # The writer's connection is open already; what it meets is what a new one would.
    store.write(lambda connection: connection.exec_driver_sql("PRAGMA query_only=ON"))
    sa.event.listen(store._engine, "connect", refuse)
    try:
        yield
    finally:
        sa.event.remove(store._engine, "connect", refuse)


@contextlib.contextmanager
def locked(store: Database) -> Iterator[None]:
    """Another process holds the lock for writers."""
    command = [sys.executable, "-c", HOLDER, str(engines.file_of(store.url))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.communicate()


Trouble = Callable[[Database], AbstractContextManager[None]]
KINDS = [
    pytest.param(full, FULL, id="full"),
    pytest.param(read_only, READ_ONLY, id="read-only"),
    pytest.param(locked, LOCKED, id="locked"),
]


def remember(now: datetime, value: str = "x") -> Callable[[sa.Connection], None]:
    return lambda connection: facts.set_fact(connection, "a", {"value": value}, now)


def until(reached: Callable[[], bool]) -> None:
    """Waits for the writer's thread, ten seconds at the most."""
    end = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < end
        threading.Event().wait(0.001)


# The store


@pytest.mark.parametrize(("trouble", "said"), KINDS)
def test_the_store_says_what_ails_it_and_tries_again_by_itself(
    disk: Database, now: datetime, trouble: Trouble, said: str
) -> None:
    tries: list[int] = []
    sa.event.listen(disk._engine, "connect", lambda *_: tries.append(1))  # each failure costs a connection
    with trouble(disk):
        with pytest.raises(StoreError) as caught:
            disk.write(remember(now))
        assert (disk.trouble, str(caught.value)) == (said, said)
        begun = len(tries)
        until(lambda: len(tries) > begun + 2)
        assert disk.trouble == said, "a probe does not make it well"
    until(lambda: disk.trouble is None)
    with disk.read() as connection:
        assert facts.get_fact(connection, "a") is None, "what was refused is not written later"
    disk.write(remember(now))


def test_a_disk_that_is_full_for_one_job_is_told_too(disk: Database, now: datetime) -> None:
    pages = disk.write(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    disk.write(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}"))
    told: list[str | None] = []
    future = disk.submit(remember(now, "x" * 100_000))
    future.add_done_callback(lambda _: told.append(disk.trouble))
    with pytest.raises(StoreBusy, match="disk is full"):
        future.result(10)
    assert told == [FULL], "who hears of the error finds its reason"
    until(lambda: disk.trouble is None)


def test_a_job_that_fails_for_itself_is_no_trouble_of_the_store(store: Database, now: datetime) -> None:
    def twice(connection: sa.Connection) -> None:
        for _ in range(2):
            connection.execute(sa.insert(ORDERS).values(id=1))

    with pytest.raises(StoreError):
        store.write(twice)
    assert store.trouble is None


def test_a_transaction_without_a_write_does_not_end_the_trouble(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> None:
        raise sa.exc.OperationalError("x", None, dbapi.OperationalError("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(groups, "probe", fails)
        store.write(lambda _: None)
        store.trouble = "made up"
        with pytest.raises(StoreBusy, match="disk is full"):
            store.write(lambda _: None)
    until(lambda: store.trouble is None)


def test_a_probe_writes_and_changes_nothing(disk: Database) -> None:
    with contextlib.closing(dbapi.connect(str(engines.file_of(disk.url)))) as other:
        before = [other.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "page_count", "data_version")]
        disk.write(groups.probe)
        after = [other.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "page_count", "data_version")]
    assert before[:2] == after[:2]
    assert before[2] != after[2], "another connection sees that something was written"


# Health and callbacks


@pytest.fixture
def backend(disk: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backend:
    monkeypatch.chdir(tmp_path)
    provider = {"api_base_url": "https://api.example", "api_email": "us@example.com", "api_access_token": SECRET}
    roles = frozenset({Role.PAGES, Role.WEBHOOKS})
    return Backend(load(webhook_secret=SECRET, roles=roles, **provider), clock=clock, store=disk)


def asked(backend: Backend, method: str, path: str, body: bytes = b"") -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(backend.asgi(lifespan=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return await client.request(method, path, content=body)

    return asyncio.run(run())


@pytest.mark.parametrize(("trouble", "said"), KINDS)
def test_callbacks_are_not_taken_and_health_says_why_until_it_is_over(
    backend: Backend, planner: PlanningContext, clock: Clock, trouble: Trouble, said: str
) -> None:
    store = backend.database
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    proven = WEBHOOK_PATH + addresses.make_token("demo-0001", SECRET)
    assert asked(backend, "GET", "/healthz").status_code == 200
    with trouble(store):
        assert asked(backend, "POST", proven, callback_body()).status_code == 503
        ill = asked(backend, "GET", "/healthz")
        assert (ill.status_code, ill.json()["silent"], ill.json()["store"]["trouble"]) == (503, ["store"], said)
        assert asked(backend, "GET", "/metrics").text.count("tracking_store_trouble 1.0") == 1
        with store.read() as connection:
            assert connection.execute(sa.select(CALLBACKS.c.id)).all() == []
    until(lambda: store.trouble is None)
    assert asked(backend, "GET", "/healthz").json()["store"]["trouble"] is None
    assert asked(backend, "POST", proven, callback_body()).status_code == 204


# Sending


def sending(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> Sender:
    named: dict[str, Any] = {"owner": "here/1/a", "lease": timedelta(seconds=30), "clock": clock}
    return Sender(store, provider, planner, address=lambda _po: None, wake=lambda: None, **named)


def place(store: Database, clock: Clock, *po_numbers: str) -> None:
    def job(connection: sa.Connection) -> None:
        for po_number in po_numbers:
            ingest.place(connection, request(po_number), source="form", actor=None, now=clock.now)

    store.write(job)


def states(store: Database) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(sa.select(ORDERS.c.state).order_by(ORDERS.c.id)).scalars())


async def turned(reached: Callable[[], bool], *running: Any) -> None:
    """Runs until it is so."""

    def looked() -> bool:
        with contextlib.suppress(StoreBusy):
            return reached()
        return False

    tasks = [asyncio.ensure_future(one) for one in running]
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(looked):
                pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("trouble", "said"), KINDS)
def test_no_post_leaves_while_the_store_cannot_be_written_and_sending_goes_on_by_itself(
    disk: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, trouble: Trouble, said: str
) -> None:
    place(disk, clock, "po-0", "po-1")
    loop = SendLoop(sending(disk, provider, planner, clock), Heartbeat(disk, clock), clock)
    with trouble(disk):
        asyncio.run(turned(lambda: disk.trouble == said, loop.run()))
        assert provider.called("place") == []
        assert states(disk) == ["Queued", "Queued"]
    loop = SendLoop(sending(disk, provider, planner, clock), Heartbeat(disk, clock), clock)
    asyncio.run(turned(lambda: states(disk) == ["Pending", "Pending"], loop.run()))
    assert len(provider.called("place")) == 2


@pytest.mark.parametrize(("trouble", "said"), KINDS)
def test_an_answer_that_comes_while_the_store_cannot_be_written_is_kept(
    disk: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, trouble: Trouble, said: str
) -> None:
    provider.knows_duplicates = False
    place(disk, clock, "po-0")
    posting = sending(disk, provider, planner, clock)
    with contextlib.ExitStack() as stack:
        provider.placing = lambda _document: stack.enter_context(trouble(disk))

        def mended() -> bool:
            if disk.trouble == said:
                clock.pass_by(minutes=10)  # beyond the lease
                stack.close()
            return states(disk) == ["Pending"]

        asyncio.run(turned(mended, send_once(posting, clock.now)))
    assert len(provider.called("place")) == 1
    later = sending(disk, provider, planner, clock)
    assert asyncio.run(later.recover(clock.now)) == asyncio.run(send_once(later, clock.now)) == 0


@pytest.mark.parametrize(("trouble", "said"), KINDS)
def test_nothing_is_asked_of_the_provider_while_looks_cannot_be_stored(
    disk: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, trouble: Trouble, said: str
) -> None:
    disk.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    named: dict[str, Any] = {"owner": "here/1/a", "lease": timedelta(seconds=30), "clock": clock}
    discovery = Discovery(disk, provider, planner, every=timedelta(seconds=30))
    poller = Poller(disk, provider, planner, **named)
    clock.pass_by(hours=1)
    with trouble(disk):
        for turn in (partial(lease_best, poller, clock.now), partial(discovery.walk_if_due, clock.now)):
            with pytest.raises(StoreBusy):
                asyncio.run(turn())
        assert (provider.calls, disk.trouble) == ([], said)
    assert asyncio.run(poll_once(poller, clock.now)) == 1
