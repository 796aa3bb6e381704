"""What acts on many orders cost: their plan, their start, one step, and callbacks and polls beside two of them."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.routing import Route

from tracking import ingest
from tracking.access import Person
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Witness
from tracking.orders.observations import Observation, Polled
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import jobs as job_reports
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.team import jobs
from tracking.team.job_runner import ORDERS_AT_ONCE, JobRunner
from tracking.team.plans import Act, Parameters, plan
from tracking.webhooks import addresses
from tracking.webhooks.receiver import Receiver

CALLS = 200
STEPS = 30
OPERATOR = Person("bench")


def _now() -> datetime:
    return datetime.now(UTC)


def _runner(store: Database) -> JobRunner:
    return JobRunner(store, owner="bench/1/a", lease=timedelta(seconds=30), clock=_now, max_rate=5)


def measure(store: Database, planner: PlanningContext, secret: str) -> tuple[float, float]:
    """Plans and starts two acts on all orders, and measures callbacks and polls alone and beside them.

    Returns how many times as long a callback, and a poll's look, waits beside the jobs, by the median.
    """
    everything, begun = Filters(), []
    for name in ("Ann", "Bob"):
        act, parameters, began = Act.ASSIGN, Parameters(assignee=name), time.perf_counter()
        foreseen = plan(store, everything, act, parameters, now=_now(), max_rate=5)
        planned = time.perf_counter() - began
        begun.append(
            jobs.start(
                store, everything, act, parameters, secret="a secret of the tests", key=name, by=OPERATOR, now=_now()
            )
        )
        started = time.perf_counter() - began - planned
        print(f"an act on {foreseen.total:,} orders: planned in {planned * 1000:.0f} ms, {started * 1000:.0f} to start")
    steps = asyncio.run(_steps(store))
    print(
        f"a step of {ORDERS_AT_ONCE} orders: {statistics.median(steps) * 1000:.0f} ms, longest {max(steps) * 1000:.0f}"
    )
    alone = asyncio.run(_live(store, planner, secret, jobs_run=False))
    before, at = _done(store, begun), time.perf_counter()
    beside = asyncio.run(_live(store, planner, secret, jobs_run=True))
    pace = (_done(store, begun) - before) / (time.perf_counter() - at)
    ratios = [statistics.median(busy) / statistics.median(idle) for idle, busy in zip(alone, beside, strict=True)]
    for what, idle, busy in zip(("a callback", "a poll's look"), alone, beside, strict=True):
        median, beside_jobs, most = (
            statistics.median(idle),
            statistics.median(busy),
            statistics.quantiles(busy, n=20)[-1],
        )
        times = f"{median * 1000:.1f} ms alone, {beside_jobs * 1000:.1f} beside jobs"
        print(f"{what}: {times}, 19 of 20 within {most * 1000:.0f} ms; the jobs meanwhile {pace:,.0f} orders a second")
    return ratios[0], ratios[1]


def _done(store: Database, begun: list[int]) -> int:
    return sum(job_reports.job(store, job_id, _now()).done for job_id in begun)


async def _steps(store: Database) -> list[float]:
    runner, taken = _runner(store), []
    for _ in range(STEPS):
        began = time.perf_counter()
        await runner.turn()
        taken.append(time.perf_counter() - began)
    return taken


async def _live(
    store: Database, planner: PlanningContext, secret: str, *, jobs_run: bool
) -> tuple[list[float], list[float]]:
    """How long each of so many callbacks, and each of so many looks, took, one after the other."""

    async def work() -> None:
        runner = _runner(store)
        while (pause := await runner.turn()) is not None:  # noqa: ASYNC110 - the pause is what is measured
            await asyncio.sleep(pause)

    receiver = Receiver(store, [secret], planner, clock=_now, wake=lambda: None)
    app = Starlette(routes=[Route("/webhooks/fulfillment/{token}", receiver)])
    with store.read() as connection:
        rows = connection.execute(
            select(ORDERS.c.id, ORDERS.c.po_number).order_by(ORDERS.c.id.desc()).limit(CALLS)
        ).all()
    working = asyncio.ensure_future(work()) if jobs_run else None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://console") as client:

        async def call(po_number: str) -> None:
            body = f'{{"Action":"FulfillmentComplete","PONumber":"{po_number}","Timestamp":"01/02/2026 03:09:00 AM"}}'
            path = f"/webhooks/fulfillment/{addresses.make_token(po_number, secret)}"
            answer = await client.post(path, content=body.encode())
            if answer.status_code != 204:
                raise SystemExit("a genuine callback was refused")

        async def look(order_id: int) -> None:
            seen = Observation(Witness.POLL, _now(), _now(), Polled(None))
            await store.run(lambda connection: ingest.observe(connection, order_id, seen, planner))

        called = [await _timed(partial(call, row.po_number)) for row in rows]
        looked = [await _timed(partial(look, row.id)) for row in rows]
    if working is not None:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    return called, looked


async def _timed(what: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await what()
    taken = time.perf_counter() - began
    await asyncio.sleep(0.01)
    return taken
