import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from fakes import Clock, callback_body, request, shown
from prometheus_client.parser import text_string_to_metric_families

from tracking import ingest
from tracking.app.backend import Backend
from tracking.app.web.address_check import callback_bases
from tracking.errors import NotSent, SettingsError, StoreBusy, explain
from tracking.forecasting.planner import PlanningContext
from tracking.polling.learner import Learner
from tracking.provider.call_log import CallLog
from tracking.settings.addresses import WEBHOOK_PATH
from tracking.settings.loading import load
from tracking.settings.roles import Role
from tracking.settings.values import Settings
from tracking.storage import facts, leases
from tracking.storage.database import Database
from tracking.storage.facts import LOOP_SILENT_AFTER, FactKey
from tracking.storage.integration import alerts
from tracking.storage.retention import lease as removal
from tracking.storage.sqlite import driver
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.sqlite.journal import keeps_wal
from tracking.storage.tables import ORDERS
from tracking.storage.team import approval_rule
from tracking.webhooks import addresses
from tracking.webhooks.receiver import RefusalRule

SECRET = "hush-hush-hush-hush"
HOST = socket.gethostname()
Make = Callable[..., Backend]


@pytest.fixture
def make(store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Make:
    """Builds a backend over the store, with a provider that nobody reaches."""
    for name in [name for name in os.environ if name.startswith("TRACKING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    provider = {"api_base_url": "https://api.example", "api_email": "us@example.com", "api_access_token": SECRET}

    def build(*roles: Role, **more: Any) -> Backend:
        given = {"webhook_secret": SECRET, "roles": frozenset(roles), **provider, **more}
        return Backend(settings(**given), clock=clock, store=store)

    return build


def settings(**given: Any) -> Settings:
    return load(**given)


def get(backend: Backend, *paths: str, method: str = "GET", body: bytes = b"") -> list[httpx.Response]:
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(backend.asgi(lifespan=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            return [await client.request(method, path, content=body) for path in paths]

    return asyncio.run(run())


@pytest.mark.parametrize("roles", [{Role.PAGES}, {Role.POLLER, Role.SENDER}, {Role.WEBHOOKS}, set(Role)])
def test_each_role_brings_its_routes(make: Make, roles: set[Role]) -> None:
    backend = make(*roles)
    paths = {getattr(route, "path", "") for route in backend.routes()}
    assert {"/healthz", "/readyz", "/metrics", "/api/{rest:path}", "/mcp"} <= paths
    assert (WEBHOOK_PATH + "{token}" in paths) == (Role.WEBHOOKS in roles)
    bases = callback_bases(backend.settings)
    assert {f"{base}/{{token}}" for base in bases} == {path for path in paths if path.endswith("{token}")}


def test_the_receiver_answers_below_webhooks(
    make: Make, store: Database, planner: PlanningContext, clock: Clock
) -> None:
    backend = make(Role.WEBHOOKS)
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    proven = WEBHOOK_PATH + addresses.make_token("demo-0001", SECRET)
    answers = get(backend, proven, WEBHOOK_PATH + "x" * 43, "/webhooks/x", method="POST", body=callback_body())
    assert [answer.status_code for answer in answers] == [204, 404, 404]


def test_the_path_of_the_public_address_is_served_too(
    make: Make, store: Database, planner: PlanningContext, clock: Clock
) -> None:
    backend = make(Role.WEBHOOKS, public_url="https://hooks.example.com/in/here")
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    address = urlsplit(backend.callback_address("demo-0001") or "").path
    assert address.startswith("/in/here/webhooks/")
    [accepted, nowhere] = get(backend, address, f"/in{address}", method="POST", body=callback_body())
    assert (accepted.status_code, nowhere.status_code) == (204, 404)
    assert get(backend, "/in/here/healthz")[0].status_code == 200


def test_a_process_without_the_role_receives_nothing(make: Make) -> None:
    backend = make(Role.PAGES)
    [answer] = get(
        backend, WEBHOOK_PATH + addresses.make_token("demo-0001", SECRET), method="POST", body=callback_body()
    )
    assert answer.status_code == 404
    assert backend.receiver.refused == 0


# Health


def test_health_is_well_at_the_start_and_ill_when_the_loops_fall_silent(make: Make, clock: Clock) -> None:
    backend = make(Role.WEBHOOKS, Role.POLLER, Role.SENDER)
    [well] = get(backend, "/healthz")
    assert (well.status_code, well.json()["status"]) == (200, "ok")
    assert set(well.json()["loops"]) == {"webhooks", "poller", "sender", "deliveries", "jobs"}
    clock.now += LOOP_SILENT_AFTER + timedelta(seconds=1)
    [ill] = get(backend, "/healthz")
    assert (ill.status_code, ill.json()["status"]) == (503, "silent")
    assert sorted(ill.json()["silent"]) == ["deliveries", "jobs", "poller", "sender", "store", "webhooks"]
    assert ill.json()["loops"]["poller"] == {"age_seconds": 16.0}


def test_the_approval_limit_is_in_force_from_the_start_and_only_pages_end_it(make: Make, store: Database) -> None:
    def started(*roles: Role, **more: Any) -> tuple[str | None, str | None]:
        backend = make(*roles, **more)
        backend._enforce_approvals()
        with store.read() as connection:
            limit = approval_rule.limit_in_force(connection)
        return str(limit) if limit else None, get(backend, "/healthz")[0].json()["approvals"]

    assert started(Role.PAGES, approval_above="500", operators="ann@example.com") == ("500", "in force")
    assert started(Role.SENDER) == ("500", None)
    in_force, says = started(Role.PAGES, approval_above="500")
    assert in_force is None
    assert "is not in force: nobody signs in here" in str(says)


def test_health_says_why_the_provider_cannot_be_reached_and_stays_well(make: Make, clock: Clock) -> None:
    backend = make(Role.SENDER)

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("x", request=request) from ConnectionRefusedError(111, "refused")

    async def fail() -> None:
        backend._client = backend.client(httpx.MockTransport(refuse), CallLog(backend.database))
        with pytest.raises(NotSent):
            await backend._client.balance()
        await backend._client.aclose()

    assert get(backend, "/healthz")[0].json()["provider"] == {"failing_since": None, "trouble": None}
    asyncio.run(fail())
    [answer] = get(backend, "/healthz")
    assert answer.status_code == 200
    assert "connection refused" in answer.json()["provider"]["trouble"]
    assert answer.json()["provider"]["failing_since"]


def test_health_says_which_database_is_used_and_how(make: Make, store: Database) -> None:
    store.write(lambda connection: connection.execute(sa.select(1)))
    told = get(make(Role.WEBHOOKS), "/healthz")[0].json()["store"]
    known = [told[name] for name in ("engine", "driver", "sqlite_version", "journal_mode")]
    if store.dialect == "postgresql":
        assert known == ["postgresql", "psycopg", None, None]
    else:
        assert known == ["sqlite", driver.NAME, dbapi.sqlite_version, "wal" if keeps_wal() else "delete"]
    assert told["commits_wait_for_readers"] is (store.dialect == "sqlite" and not keeps_wal())


def test_one_loop_that_falls_silent_is_named(make: Make, clock: Clock) -> None:
    backend = make(Role.POLLER, Role.SENDER)
    clock.now += timedelta(minutes=1)
    asyncio.run(backend._heartbeat.beat("sender"))
    [answer] = get(backend, "/healthz")
    assert (answer.status_code, answer.json()["silent"]) == (503, ["poller", "deliveries", "jobs"])


def test_a_process_of_pages_alone_is_well_while_the_store_reads(make: Make, clock: Clock, monkeypatch: Any) -> None:
    backend = make(Role.PAGES)
    clock.now += timedelta(days=1)
    assert get(backend, "/healthz")[0].status_code == 200

    def busy() -> None:
        raise StoreBusy("locked")

    monkeypatch.setattr(backend.database, "read", busy)
    [answer] = get(backend, "/healthz")
    assert (answer.status_code, answer.json()["silent"]) == (503, ["store"])


def test_a_process_is_ready_from_the_first_beat_of_each_loop_until_it_is_stopped(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make(Role.WEBHOOKS, Role.SENDER)

    def waits() -> tuple[int, Any]:
        [answer] = get(backend, "/readyz")
        return answer.status_code, answer.json()["waits_for"]

    assert waits() == (503, ["start"])
    backend._health.begun = True
    asyncio.run(backend._heartbeat.beat("sender"))
    assert waits() == (503, ["webhooks", "deliveries", "jobs"])
    for name in ("webhooks", "deliveries", "jobs"):
        asyncio.run(backend._heartbeat.beat(name))
    assert waits() == (200, [])
    backend.database.trouble = "the disk is full"
    assert waits() == (503, ["store"])
    backend.database.trouble = None

    def busy() -> None:
        raise StoreBusy("locked")

    monkeypatch.setattr(backend.database, "read", busy)
    assert waits() == (503, ["store"])


def test_the_loops_make_it_ready_and_their_end_ends_that(make: Make) -> None:
    backend = make(Role.WEBHOOKS)

    async def live() -> None:
        async with backend.lifespan(None):
            assert backend._health.begun

    asyncio.run(live())
    assert not backend._health.begun


def test_health_and_metrics_hold_no_secret(make: Make) -> None:
    backend = make(*Role, public_url="https://console.example")
    answers = get(backend, "/healthz", "/metrics")
    assert SECRET not in "".join(answer.text for answer in answers)


@pytest.mark.parametrize("name", ["uvicorn.access", "httpx"])
def test_the_log_of_calls_names_no_address_of_a_callback(
    make: Make, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make()
    caplog.set_level(logging.INFO, logger=name)
    address = httpx.URL("http://here.example/webhooks/fulfillment/SECRET?key=SECRET")
    logging.getLogger(name).info("%s %s", "POST", address)
    logging.getLogger(name).info("%s %s", "GET", "/orders")
    logging.getLogger(name).info("%s %s", "GET", "/api/v1/orders?q=SECRET")
    assert [record.getMessage() for record in caplog.records] == [
        "POST http://here.example/webhooks/fulfillment/...",
        "GET /orders",
        "GET /api/v1/orders?...",
    ]


def test_the_metrics_are_prometheus_text(make: Make, store: Database, clock: Clock) -> None:
    store.write(lambda connection: ingest.place(connection, request(), source="form", actor=None, now=clock.now))
    [answer] = get(make(Role.PAGES), "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"tracking_orders", "tracking_outbox_waiting"} <= names


def test_metrics_of_a_busy_store_are_told_to_be_missing(make: Make, monkeypatch: Any) -> None:
    backend = make(Role.PAGES)

    def busy() -> None:
        raise StoreBusy("locked")

    monkeypatch.setattr(backend.database, "read", busy)
    assert get(backend, "/metrics")[0].status_code == 503


# Addresses


def test_a_callback_is_asked_for_only_where_we_can_be_reached(make: Make) -> None:
    assert make(*Role).callback_address("demo-0001") is None
    reached = make(*Role, public_url="https://console.example/base/").callback_address("demo-0001")
    assert reached == f"https://console.example/base{WEBHOOK_PATH}{addresses.make_token('demo-0001', SECRET)}"
    assert len(reached) <= 500


def test_the_embedded_sandbox_reaches_us_inside_the_process(make: Make) -> None:
    nobody = {"api_base_url": None, "api_email": None, "api_access_token": None}
    backend = make(*Role, **nobody)
    assert (backend.callback_address("demo-0001") or "").startswith("http://console.internal/webhooks/")
    assert make(Role.PAGES, **nobody).callback_address("demo-0001") is None


def test_a_store_in_the_file_of_the_sandbox_is_refused_at_the_start(make: Make) -> None:
    nobody = {"api_base_url": None, "api_email": None, "api_access_token": None}
    with pytest.raises(SettingsError) as caught:
        make(*Role, **nobody, database_url="sqlite:///data/../data/sandbox.db")
    assert "TRACKING_DATABASE_URL" in str(explain(caught.value).problems)


def test_a_misspelt_scenario_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"sandbox_scenario": "norml", "database_url": "sqlite:///data/sandbox.db"}
    with pytest.raises(SettingsError) as caught:
        Backend(settings(**given))
    assert [str(problem) for problem in caught.value.problems] == [
        "TRACKING_SANDBOX_SCENARIO: is not a scenario; did you mean normal?",
        "TRACKING_DATABASE_URL: names the file of the sandbox, data/sandbox.db",
    ]
    assert list(tmp_path.iterdir()) == []


def test_addresses_are_made_with_the_first_secret_of_a_rotation(make: Make) -> None:
    backend = make(*Role, public_url="https://console.example", webhook_secret=f"{SECRET}-new,{SECRET}")
    assert (backend.callback_address("po") or "").endswith(addresses.make_token("po", f"{SECRET}-new"))


# Leases of the dead


@pytest.mark.parametrize(
    ("owner", "gone"),
    [
        (f"{HOST}/{os.getpid()}/another", True),
        (f"{HOST}/{os.getpid()}/us", False),
        (f"{HOST}/{os.getppid()}/them", False),
        (f"{HOST}/4194305/them", True),
        ("elsewhere/4194305/them", False),
    ],
    ids=["an earlier one with our id", "ourselves", "one that runs", "one that runs no more", "on another host"],
)
def test_who_ran_on_this_host_and_runs_no_more_is_gone(owner: str, gone: bool) -> None:
    assert leases.is_gone(owner, f"{HOST}/{os.getpid()}/us") == gone


def test_a_start_frees_what_the_dead_of_this_host_held_and_nothing_else(
    make: Make, store: Database, planner: PlanningContext, clock: Clock
) -> None:
    dead, alive = f"{HOST}/4194305/x", "elsewhere/1/x"

    def job(connection: sa.Connection) -> None:
        for number, owner in enumerate([dead, alive]):
            ingest.discover(connection, shown(f"BLK-{number}", f"po-{number}"), clock.now, clock.now, planner)
            lease = {"lease_owner": owner, "lease_until": clock.now + timedelta(seconds=90)}
            connection.execute(sa.update(ORDERS).where(ORDERS.c.po_number == f"po-{number}").values(lease))

    store.write(job)
    for owner in (dead, alive):
        store.write(partial(facts.beat, loop="poller", owner=owner, value={}, now=clock.now))
    hold_rights(store, dead, clock.now)
    make(Role.PAGES)._take_over()
    assert store.write(leases.lease_owners) == [alive]
    # Half of what is due would be left to the dead one for as long as its heartbeat is believed.
    assert store.write(facts.beating_owners) == {alive}
    assert rights_of(store, clock.now) == []
    hold_rights(store, alive, clock.now)
    make(Role.PAGES)._take_over()
    assert rights_of(store, clock.now) == [alive, alive]


def hold_rights(store: Database, owner: str, now: datetime) -> None:
    """Has this owner tell of alerts, and remove what is old."""
    lead = alerts.Lead(owner, now + timedelta(seconds=30))
    store.write(lambda connection: alerts.store_lead(connection, lead, now))
    store.write(lambda connection: removal.take_lease(connection, owner, now))


def rights_of(store: Database, now: datetime) -> list[str]:
    """Who tells of alerts and who removes what is old, where somebody does."""
    with store.read() as connection:
        lead = alerts.current_lead(connection)
        return [*([lead.owner] if lead and lead.until > now else []), *removal.lease_owners(connection)]


def test_an_end_gives_up_what_the_process_held_and_nothing_else(
    make: Make, store: Database, planner: PlanningContext, clock: Clock
) -> None:
    backend = make(Role.WEBHOOKS)

    def job(connection: sa.Connection) -> None:
        for number, owner in enumerate([backend._owner, "elsewhere/1/x"]):
            ingest.discover(connection, shown(f"BLK-{number}", f"po-{number}"), clock.now, clock.now, planner)
            lease = {"lease_owner": owner, "lease_until": clock.now + timedelta(seconds=90)}
            connection.execute(sa.update(ORDERS).where(ORDERS.c.po_number == f"po-{number}").values(lease))

    async def run() -> None:
        async with backend.lifespan(None):
            await asyncio.to_thread(store.write, job)
            await asyncio.to_thread(hold_rights, store, backend._owner, clock.now)
            backend._findings.note("order", ["a kind of its own"], clock.now)
            backend.receiver._refusals.count(RefusalRule.ANOTHER_ORDER)

    asyncio.run(run())
    assert store.write(leases.lease_owners) == ["elsewhere/1/x"]
    assert rights_of(store, clock.now) == []
    with store.read() as connection:  # what had gathered in memory
        stored = {key: facts.get_fact(connection, key) for key in (FactKey.FINDINGS, FactKey.REFUSALS)}
    assert all(stored.values()), stored


def test_nothing_is_sent_before_the_forecasts_by_which_it_will_be_late_are_loaded(
    make: Make, store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted, load = threading.Event(), Learner._load
    too_soon = list[bool]()

    def loading(learner: Learner) -> None:
        too_soon.append(posted.wait(0.3))
        load(learner)

    def answer(request: httpx.Request) -> httpx.Response:
        posted.set()
        return httpx.Response(500)

    monkeypatch.setattr(Learner, "_load", loading)
    asked = request("po-1")
    store.write(lambda connection: ingest.place(connection, asked, source="form", actor=None, now=clock.now))
    backend = make(Role.SENDER)
    backend.transport = httpx.MockTransport(answer)

    async def run() -> None:
        async with backend.lifespan(None):
            await asyncio.to_thread(posted.wait, 10)

    asyncio.run(run())
    assert posted.is_set()
    assert too_soon[0] is False


def test_calls_of_orders_that_an_earlier_version_sent_are_known_by_their_address(
    make: Make, store: Database, clock: Clock
) -> None:
    asked = request("po-1")
    store.write(lambda connection: ingest.place(connection, asked, source="form", actor=None, now=clock.now))
    backend = make(Role.WEBHOOKS)
    path = WEBHOOK_PATH + addresses.make_token("po-1", SECRET)
    assert get(backend, path, method="POST")[0].status_code == 404
    backend._add_missing_addresses()
    assert get(backend, path, method="POST")[0].status_code == 204


# Life


def test_the_loops_begin_and_end_with_the_application(make: Make, store: Database) -> None:
    backend = make(Role.WEBHOOKS, Role.POLLER, Role.SENDER)
    backend.transport = httpx.MockTransport(lambda _request: httpx.Response(500))

    def beating() -> bool:
        return all(
            store.write(partial(facts.get_fact, key=f"beat:{name}"))
            for name in ("poller", "sender", "webhooks", "jobs")
        )

    async def run() -> int:
        async with backend.lifespan(None), asyncio.timeout(10):
            while not await asyncio.to_thread(beating):  # noqa: ASYNC110 - the store tells nobody of what is written
                await asyncio.sleep(0.002)
            during = len(asyncio.all_tasks())
            assert await asyncio.to_thread(store.write, facts.beating_owners) == {backend._owner}
        return during - len(asyncio.all_tasks())

    assert asyncio.run(run()) > 0
    assert store.write(facts.beating_owners) == set()  # nobody leaves any work to it
