"""Polls and POSTs of the product over real sockets, against bare httpx in the same run: how many, and what each costs.

    python tests/bench/provider_calls.py

The provider is a process of its own that answers after 20 ms (`stub_provider`). Here are the product's own poller,
sender, client and store, put together as `app.backend` does, with a rate limit that never binds and orders that are
always due. Each figure is measured in turn with its yardstick and is a median of ratios.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "support")]

import httpx  # noqa: E402 - the same
import sqlalchemy as sa  # noqa: E402 - the same
import stub_provider as stub  # noqa: E402 - found through the lines above
import uvloop  # noqa: E402 - the same
from processes.children import free_port  # noqa: E402 - the same
from sqlalchemy import Connection, event  # noqa: E402 - the same

from tracking import ingest  # noqa: E402 - the same
from tracking.app.loops import IN_FLIGHT, PollLoop, SendLoop, run_loop  # noqa: E402 - the same
from tracking.app.telemetry.heartbeat import Heartbeat  # noqa: E402 - the same
from tracking.forecasting.planner import PlanningContext  # noqa: E402 - the same
from tracking.forecasting.waits import Policy  # noqa: E402 - the same
from tracking.polling.discovery import Discovery  # noqa: E402 - the same
from tracking.polling.poller import Poller  # noqa: E402 - the same
from tracking.provider.call_log import FLUSH_SECONDS, CallLog  # noqa: E402 - the same
from tracking.provider.client import Client  # noqa: E402 - the same
from tracking.provider.http.findings import FINDINGS_EVERY, Findings  # noqa: E402 - the same
from tracking.provider.http.session import ApiAccount, ApiLimits  # noqa: E402 - the same
from tracking.provider.responses import read_order  # noqa: E402 - the same
from tracking.provider.shared_rate_limit import SharedRateLimit  # noqa: E402 - the same
from tracking.startup import spare_long_lived  # noqa: E402 - the same
from tracking.storage import database  # noqa: E402 - the same
from tracking.storage.database import Database  # noqa: E402 - the same
from tracking.storage.tables import ORDERS  # noqa: E402 - the same
from tracking.submissions.requests import read_request  # noqa: E402 - the same
from tracking.submissions.sender import SENDS_AT_ONCE, Sender  # noqa: E402 - the same

OPEN_ORDERS = 400
POSTS = 300
SECONDS = 2.0
TURNS = 5
RATE = 5000.0
DUE_AGAIN = timedelta(milliseconds=1)
IDEAL = IN_FLIGHT / stub.DELAY


@dataclass
class Tally:
    """What the store did meanwhile."""

    counts: Counter[str] = field(default_factory=Counter)

    def watch(self, store: Database) -> None:
        """Counts from now on."""
        submit = store.submit

        def counted(job: Callable[[Connection], Any], **named: Any) -> Any:
            self.counts["write jobs"] += 1
            return submit(job, **named)

        store.submit = counted  # type: ignore[method-assign]
        event.listen(store._engine, "commit", lambda _: self.counts.update(["commits"]))
        event.listen(store._engine, "after_cursor_execute", self._statement)

    def _statement(self, *given: Any) -> None:
        self.counts["statements"] += 1


@dataclass
class Measured:
    """So many calls, the seconds they took, and the seconds of this process's processor."""

    calls: int
    seconds: float
    processor: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def cost(self) -> float:
        """Milliseconds of the processor for a call."""
        return self.processor / max(self.calls, 1) * 1000


class Console:
    """Poller and sender of one process on a store, as `app.backend` puts them together."""

    def __init__(self, store: Database, url: str) -> None:
        self.store = store
        self._planner = PlanningContext(Policy(DUE_AGAIN, DUE_AGAIN), random.Random(1))
        self._calls = CallLog(store)
        self._findings = Findings()
        shared = SharedRateLimit(store, RATE)
        account = ApiAccount(url, "bench@example.com", "made-up")
        self._client = Client(
            account, record=self._calls.record, limits=ApiLimits(RATE, 30, shared), findings=self._findings
        )
        leasing: dict[str, Any] = {"owner": "bench/1/a", "lease": timedelta(seconds=30), "clock": now}
        parts = store, self._client, self._planner
        heartbeat = Heartbeat(store, now)
        poller = Poller(*parts, **leasing)
        self.polling = PollLoop(poller, Discovery(*parts, every=timedelta()), heartbeat, now)
        self.stored = 0
        self.tally = Tally()
        self.enough: tuple[int, asyncio.Event] | None = None
        sender = Sender(
            *parts, address=lambda po: f"https://console.example.com/{po}", wake=self._count_stored, **leasing
        )
        self.sending = SendLoop(sender, heartbeat, now)

    def _count_stored(self) -> None:
        self.stored += 1
        if self.enough is not None and self.stored >= self.enough[0]:
            self.enough[1].set()

    async def beside(self, *loops: Awaitable[None]) -> list[asyncio.Task[None]]:
        """Starts the loops, and what goes on beside them in any process."""
        tidying = (
            run_loop("call log", self._calls.flush, FLUSH_SECONDS),
            run_loop("findings", lambda: self._findings.flush(self.store, now()), FINDINGS_EVERY),
        )
        return [asyncio.ensure_future(one) for one in (*loops, *tidying)]

    async def close(self) -> None:
        """Writes the last calls down and closes all connections."""
        await self._calls.flush()
        await self._client.aclose()

    def looks(self) -> int:
        """How many polls the store has of all orders."""
        with self.store.read() as connection:
            return int(connection.execute(sa.select(sa.func.sum(ORDERS.c.looks))).scalar_one())

    def add_open(self, count: int) -> None:
        """Orders that are open at the provider."""

        def job(connection: Connection) -> None:
            for number in range(count):
                ingest.discover(connection, read_order(stub.open_order(number)), now(), now(), self._planner)

        self.store.write(job)

    def place(self, numbers: Iterator[int], count: int) -> None:
        """Orders that wait to be sent."""
        lines = [{"ProductId": "CVS", "Value": 10, "Quantity": 1}]
        named = [stub.po_number(number) for number in itertools.islice(numbers, count)]
        wanted = [read_request({"Type": "Links", "PONumber": po, "LineItems": lines}) for po in named]
        placing: dict[str, Any] = {"source": "bench", "actor": None, "now": now()}

        def job(connection: Connection) -> None:
            for one in wanted:
                ingest.place(connection, one, **placing)

        self.store.write(job)


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def polls(console: Console, seconds: float = SECONDS) -> Measured:
    """The poll loop for so long."""
    tasks = await console.beside(console.polling.run())
    await asyncio.sleep(0.3)  # the token, the connections
    before, began, used = console.looks(), time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    taken, processor = time.perf_counter() - began, time.process_time() - used
    found = Measured(console.looks() - before, taken, processor)
    await _end(tasks)
    return found


async def posts(console: Console, numbers: Iterator[int], *, polling: bool, count: int = POSTS) -> Measured:
    """The send loop until so many orders are sent, alone or beside the poll loop."""
    tasks = await console.beside(*([console.polling.run()] if polling else []))
    if polling:
        await asyncio.sleep(0.3)
    console.place(numbers, count)
    console.tally.counts.clear()
    all_stored = asyncio.Event()
    before, began, used = console.stored, time.perf_counter(), time.process_time()
    console.enough = (before + count, all_stored)
    tasks.append(asyncio.ensure_future(console.sending.run()))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            await all_stored.wait()
    found = Measured(console.stored - before, time.perf_counter() - began, time.process_time() - used)
    await _end(tasks)
    return found


async def bare(url: str, method: str, at_once: int, seconds: float = SECONDS) -> Measured:
    """Httpx alone, as it comes: one client, so many calls in flight."""
    lines = [{"ProductId": "CVS", "Value": 10, "Quantity": 1}]
    path = f"/v1/Orders/{stub.order_id(1)}" if method == "GET" else "/v1/Orders"
    document = {"Type": "Links", "PONumber": "bare", "LineItems": lines} if method == "POST" else None
    calls = 0
    async with httpx.AsyncClient(base_url=url) as client:
        began, used = time.perf_counter(), time.process_time()

        async def work() -> None:
            nonlocal calls
            while time.perf_counter() - began < seconds:
                (await client.request(method, path, json=document)).json()
                calls += 1

        await asyncio.gather(*(work() for _ in range(at_once)))
        return Measured(calls, time.perf_counter() - began, time.process_time() - used)


@contextlib.contextmanager
def provider() -> Iterator[str]:
    """The stub's address while its process runs."""
    port = free_port()
    command = [sys.executable, str(HERE / "stub_provider.py"), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@dataclass(frozen=True)
class Row:
    """One figure: what it is, and the bound it must keep; `most` where it is an upper one."""

    name: str
    value: float
    bound: float
    most: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.value <= self.bound if self.most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "at most" if self.most else "at least"
        return f"{self.name}: {self.value:.2f} ({sign} {self.bound:g}){'' if self.holds else ' FALLS SHORT'}"


async def _take(console: Console, url: str, turns: int) -> list[Row]:
    numbers = itertools.count(700_000)
    console.add_open(OPEN_ORDERS)
    await polls(console, 1.0)  # the first look at each order reads it in full
    took: dict[str, list[Measured]] = {}
    measures: dict[str, Callable[[], Awaitable[Measured]]] = {
        "GETs of bare httpx": partial(bare, url, "GET", IN_FLIGHT),
        "polls": partial(polls, console),
        "POSTs of bare httpx": partial(bare, url, "POST", SENDS_AT_ONCE),
        "POSTs": partial(posts, console, numbers, polling=False),
        "POSTs beside the poller": partial(posts, console, numbers, polling=True),
    }
    for _ in range(turns):
        for name, measure in measures.items():
            took.setdefault(name, []).append(await measure())
    for name, each in took.items():
        rate, cost = statistics.median(one.rate for one in each), statistics.median(one.cost for one in each)
        print(f"{name}: {rate:,.0f} a second, {cost:.2f} ms of the processor for each")
    tally = console.tally
    tally.watch(console.store)
    for name, measure in (("poll", measures["polls"]), ("POST", measures["POSTs"])):
        tally.counts.clear()
        calls = (await measure()).calls
        counted = ", ".join(f"{count / max(calls, 1):.2f} {what}" for what, count in sorted(tally.counts.items()))
        print(f"the writer for each {name}: {counted}")
    return _rows(took)


def _rows(took: dict[str, list[Measured]]) -> list[Row]:
    def against(name: str, yardstick: str, figure: str) -> Any:
        pairs = zip(took[name], took[yardstick], strict=True)
        return statistics.median(getattr(one, figure) / getattr(other, figure) for one, other in pairs)

    of_ideal = statistics.median(one.rate / IDEAL for one in took["polls"])
    return [
        Row("polls a second against the ideal", of_ideal, 0.7),
        Row("polls a second against bare httpx", against("polls", "GETs of bare httpx", "rate"), 0.7),
        Row("processor of a poll against a bare GET", against("polls", "GETs of bare httpx", "cost"), 2.0, most=True),
        Row("POSTs a second against bare httpx", against("POSTs", "POSTs of bare httpx", "rate"), 0.7),
        Row(
            "POSTs a second beside the poller against bare httpx",
            against("POSTs beside the poller", "POSTs of bare httpx", "rate"),
            0.3,
        ),
        Row("processor of a POST against a bare POST", against("POSTs", "POSTs of bare httpx", "cost"), 6.0, most=True),
    ]


def measure(folder: Path, turns: int = TURNS) -> list[Row]:
    """All rows, on a new store in the folder."""
    store = database.connect(f"sqlite:///{folder / 'provider_calls.db'}")
    with provider() as url:
        console = Console(store, url)

        async def run() -> list[Row]:
            spare_long_lived()  # as a server does once it has started
            try:
                return await _take(console, url, turns)
            finally:
                await console.close()

        try:
            return uvloop.run(run())
        finally:
            store.close()


def main() -> int:
    """Measures and prints everything; the exit code."""
    logging.disable(logging.WARNING)  # of the calls that each end cuts off
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else TURNS)
    print(*rows, sep="\n")
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
