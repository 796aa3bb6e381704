"""One console against one sandbox: submits orders, lets others place some, compares what both believe at the end."""

import asyncio
import contextlib
import functools
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select
from virtual import CountedDatabase, VirtualLoop

from tracking import ingest
from tracking.app import loops
from tracking.app.backend import Backend
from tracking.app.embedded_sandbox import InProcessTransport
from tracking.orders.model import OrderRequest
from tracking.provider.call_log import CallLog
from tracking.provider.client import Client, account_of
from tracking.provider.http.session import ApiLimits, TimeSource
from tracking.provider.shared_rate_limit import SharedRateLimit
from tracking.sandbox.server import Sandbox
from tracking.settings.values import Settings
from tracking.storage import engines
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import ORDERS
from tracking.submissions.requests import read_request

SHIPPING = {
    "ShippingMethodId": "STANDARD",
    "Name": "Ada Example",
    "AddressLine1": "1 Example Street",
    "City": "Springfield",
    "State": "IL",
    "Zip": "62701",
    "Country": "US",
}

SECRETS: Mapping[str, Any] = {
    "api_email": "sandbox@example.com",
    "api_access_token": "sandbox",
    "webhook_secret": "made up for the scenarios",
}


def request(number: int, rng: random.Random, note: str = "") -> OrderRequest:
    """A made-up order: all three delivery types, mostly small, now and then a larger one."""
    kind = ("Links", "DigitalDelivery", "PhysicalShipment")[number % 3]
    lines = []
    for position in range(rng.choice((1, 1, 1, 2, 12))):
        product = "CVSCARD" if kind == "PhysicalShipment" else "CVS"
        line: dict[str, Any] = {"ProductId": product, "Value": rng.choice((10, 25)), "Quantity": 1}
        line["ExternalId"] = f"row-{number}-{position}"
        if kind == "DigitalDelivery":
            line["DigitalDeliveryAddress"] = {"Email": f"person{number}@example.com"}
        if kind == "PhysicalShipment":
            line["PhysicalDeliveryAddress"] = SHIPPING
        lines.append(line)
    document = {"Type": kind, "PONumber": f"T-{number:05d}", "Note": note or f"test {number}", "LineItems": lines}
    return read_request(document)


_pause = loops._pause


async def _paused(least: float, seconds: float, wake: asyncio.Event | None) -> None:
    """As the loops pause, but no shorter than `least`."""
    await _pause(max(seconds, least), wake)


@dataclass
class Outcome:
    """What was found at the end; `problems` is empty when the console and the provider agree."""

    problems: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    virtual_seconds: float = 0.0


class _VirtualBackend(Backend):
    def __init__(self, settings: Settings, loop: VirtualLoop, store: CountedDatabase) -> None:
        super().__init__(settings, clock=loop.clock, store=store)
        self._loop = loop
        self.calls = 0

    def client(self, transport: httpx.AsyncBaseTransport | None, call_log: CallLog) -> Client:
        def record(call: Any) -> None:
            self.calls += 1
            call_log.record(call)

        rate, times = self.settings.api_max_rate, TimeSource(self._loop.clock, self._loop.time)
        # PostgreSQL's own clock knows nothing of virtual time.
        virtual = self.database.dialect == "sqlite"
        shared = SharedRateLimit(self.database, rate, times.monotonic, times.clock) if virtual else None
        return Client(
            account_of(self.settings),
            limits=ApiLimits(rate, self.settings.api_timeout, shared),
            times=times,
            transport=transport,
            record=record,
        )


@functools.cache
def _migrated() -> bytes:
    """An empty store: quicker to write down again than to migrate one for each scenario."""
    with tempfile.TemporaryDirectory() as folder:
        engines.migrate(f"sqlite:///{folder}/tracking.db")
        return Path(folder, "tracking.db").read_bytes()


def _empty_store(folder: Path) -> str:
    file = folder / "tracking.db"
    file.write_bytes(_migrated())
    return f"sqlite:///{file}"


class Desk:
    """The console and the sandbox, both in this process, on virtual time."""

    def __init__(
        self,
        folder: Path,
        scenario: str,
        loop: VirtualLoop,
        *,
        seed: int = 1,
        url: str | None = None,
        secrets: Mapping[str, str] | None = None,
        tick: float = 5.0,
    ) -> None:
        self.loop = loop
        self.rng = random.Random(seed)
        url = url or _empty_store(folder)
        self.store = CountedDatabase(url, loop)
        # Every turn of a loop is a hop into a thread, and costs more than all else here; wake-ups come without one.
        loops._pause = partial(_paused, tick)
        self.backend = _VirtualBackend(
            Settings(
                api_base_url="http://sandbox.internal",
                database_url=url,
                public_url="http://console.internal",
                api_max_rate=50,
                api_timeout=10,
                discover_every=30,
                **{**SECRETS, **(secrets or {})},
            ),
            loop,
            self.store,
        )
        self.hooks = httpx.AsyncClient(transport=InProcessTransport(self.backend.asgi(lifespan=False)))
        account = account_of(self.backend.settings)
        self.sandbox = Sandbox(
            folder / "sandbox.db",
            scenario=scenario,
            clock=lambda: loop.true_clock().timestamp(),
            sleep=asyncio.sleep,
            webhook_client=self.hooks,
            seed=seed,
            email=account.email,
            access_token=account.access_token,
        )
        self.backend.transport = InProcessTransport(self.sandbox.app)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Both at work."""
        try:
            async with self.sandbox.running(), self.backend.lifespan(None):
                yield
        finally:
            await self.hooks.aclose()
            self.sandbox.close()
            # A thread whose waiter was cancelled may read still, and would leave its connection open.
            await self.loop.shutdown_default_executor()
            self.store.close()
            loops._pause = _pause

    async def submit(self, requests: list[OrderRequest]) -> None:
        """Commits the requests as the form does."""
        now = self.loop.clock()

        def job(connection: Any) -> None:
            for one in requests:
                ingest.place(connection, one, source="form", actor="tester", now=now)

        await self.store.run(job)

    def rows(self) -> dict[str, Any]:
        """The console's orders by PONumber."""
        with self.store.read() as connection:
            return {row["po_number"]: row for row in connection.execute(select(ORDERS)).mappings()}

    def disagreements(self) -> list[str]:
        """Where the console does not believe what is true at the provider."""
        truth = {order["po_number"]: order for order in self.sandbox.truth()}
        rows = self.rows()
        wrong = [f"{po}: not seen here ({order['status']} there)" for po, order in truth.items() if po not in rows]
        for po, row in rows.items():
            expected = truth[po]["status"] if po in truth and _ours(row, truth[po]) else "Refused"
            if row["state"] != expected:
                wrong.append(f"{po}: {row['state']} here, {expected} there ({row['attention']})")
        return wrong

    async def settle(self, limit: timedelta, *, open_at_the_end: frozenset[str] = frozenset()) -> Outcome:
        """Waits until both agree and nothing is open, at most for `limit` of virtual time; then audits the store."""
        end = self.loop.now + limit.total_seconds()
        while self.loop.now < end:
            await asyncio.sleep(20)
            settled = all(order["status"] in {"Completed", "Cancelled", *open_at_the_end} for order in self._truth())
            if settled and not await asyncio.to_thread(self.disagreements):
                break
        outcome = Outcome(self.disagreements(), calls=self.backend.calls, virtual_seconds=self.loop.now)
        outcome.states = Counter(row["state"] for row in self.rows().values())
        ids = Counter(order["po_number"] for order in self._truth())
        outcome.problems += [f"{po}: placed {count} times" for po, count in ids.items() if count > 1]
        outcome.problems += verify(self.store)
        return outcome

    def _truth(self) -> list[dict[str, Any]]:
        return self.sandbox.truth()


def _ours(row: Any, there: dict[str, Any]) -> bool:
    """Whether the provider's order under this PONumber is the one we mean, not another system's."""
    return bool(row["source"] == "elsewhere" or there["source"] == "api")
