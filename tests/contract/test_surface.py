"""What the addresses beside the pages do to the store, against a model that knows what must be there.

Orders are placed, accepted and completed while callbacks come in every order: genuine, repeated, forged, of another
order, before their order. The model knows each answer, each stored callback and each order's state.
"""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fakes import Clock, callback_body, request, shown
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from prometheus_client.parser import text_string_to_metric_families

from tracking import ingest
from tracking.app.backend import Backend
from tracking.orders.model import Witness
from tracking.orders.observations import Answered, Attempted, Observation, Polled
from tracking.settings.addresses import WEBHOOK_PATH
from tracking.settings.loading import load
from tracking.settings.roles import Role
from tracking.storage import database
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import CALLBACKS, ORDERS
from tracking.webhooks import addresses

SECRETS = ("the-new-secret-of-ours", "an-old-secret-of-ours")
PLACED_HERE = ("ours-1", "ours-2", "ours-3")
ELSEWHERE = ("theirs-1", "theirs-2")
PO_NUMBERS = st.sampled_from(PLACED_HERE + ELSEWHERE)
IDS = {po_number: f"BLK-{number}" for number, po_number in enumerate(PLACED_HERE + ELSEWHERE, start=1)}
STAMPS = st.sampled_from(["01", "02"])
NAMED = st.sampled_from(["by both", "by its number", "by the provider's id", "by another's id"])


@dataclass
class Known:
    """An order as it must be stored."""

    row_id: int
    state: str
    provider_id: str | None = None
    claimed: bool = False


@dataclass
class Call:
    """A proven callback as it must be stored."""

    po_number: str
    names_id: str | None
    outcome: str
    times: int = 1


class Surface(RuleBasedStateMachine):
    """The receiver, /healthz and /metrics over a store of their own."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="tracking-surface-")
        file = Path(self.folder.name) / "tracking.db"
        shutil.copy(self.template, file)
        self.store = database.connect(f"sqlite:///{file}")
        # Nothing here outlives the test, and most of its time would be the disk's.
        sa.event.listen(self.store._engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        self.clock = Clock()
        provider = {"api_base_url": "https://api.example", "api_email": "us@example.com", "api_access_token": "x" * 20}
        known = load(**provider, webhook_secret=",".join(SECRETS), roles=frozenset({Role.WEBHOOKS}))
        self.backend = Backend(known, clock=self.clock, store=self.store)
        self.planner = self.backend._planner
        self.orders: dict[str, Known] = {}
        self.calls: dict[tuple[str | None, str | None, str], Call] = {}
        self.done: set[str] = set()
        self.forged = 0

    def teardown(self) -> None:
        assert verify(self.store) == []
        self.store.close()
        self.folder.cleanup()

    # What happens to orders

    @rule(po_number=st.sampled_from(PLACED_HERE))
    def place(self, po_number: str) -> None:
        if po_number in self.orders:
            return
        job = partial(ingest.place, request=request(po_number), source="form", actor=None, now=self.clock.now)
        self.orders[po_number] = Known(self.store.write(job), "Queued")

    @rule(po_number=st.sampled_from(PLACED_HERE))
    def accept(self, po_number: str) -> None:
        order = self.orders.get(po_number)
        if order is None or order.provider_id is not None:
            return
        self._observe(order, Witness.US, Attempted(1))
        answered = shown(IDS[po_number], po_number)
        self._observe(order, Witness.ANSWER, Answered(answered.snapshot), answered)
        self._became_known(po_number, order)

    @rule(po_number=st.sampled_from(ELSEWHERE))
    def discover(self, po_number: str) -> None:
        if po_number in self.orders:
            return
        now, listed = self.clock.now, shown(IDS[po_number], po_number)
        self.store.write(lambda connection: ingest.discover(connection, listed, now, now, self.planner))
        with self.store.read() as connection:
            row_id = connection.execute(sa.select(ORDERS.c.id).where(ORDERS.c.po_number == po_number)).scalar_one()
        self.orders[po_number] = Known(row_id, "Pending")
        self._became_known(po_number, self.orders[po_number])

    @rule(po_number=PO_NUMBERS)
    def complete(self, po_number: str) -> None:
        """At the provider: nothing shows it here before a look."""
        self.done.add(po_number)

    @rule(po_number=PO_NUMBERS)
    def look(self, po_number: str) -> None:
        order = self.orders.get(po_number)
        if order is None or order.provider_id is None or order.state == "Completed":
            return
        order.state = "Completed" if po_number in self.done else "Pending"
        seen = shown(order.provider_id, po_number, order.state)
        self._observe(order, Witness.POLL, Polled(seen.snapshot), seen)

    def _observe(self, order: Known, witness: Witness, seen: Any, answered: Any = None) -> None:
        observation = Observation(witness, self.clock.now, self.clock.now, seen)
        self.store.write(
            lambda connection: ingest.observe(connection, order.row_id, observation, self.planner, parsed=answered)
        )

    def _became_known(self, po_number: str, order: Known) -> None:
        order.state, order.provider_id = "Pending", IDS[po_number]
        for call in self.calls.values():
            if call.po_number == po_number and call.outcome == "waiting":
                call.outcome = self._outcome(call.po_number, call.names_id)

    # What comes from outside

    @rule(po_number=PO_NUMBERS, named=NAMED, stamp=STAMPS, secret=st.sampled_from(SECRETS), times=st.integers(1, 4))
    def announce(self, po_number: str, named: str, stamp: str, secret: str, times: int) -> None:
        """A call under the order's own address, perhaps several times at once."""
        number = None if named == "by the provider's id" else po_number
        own, other = IDS[po_number], "BLK-99"
        names_id = {"by its number": None, "by another's id": other}.get(named, own)
        answers = self._post(addresses.make_token(po_number, secret), callback_body(number, names_id, stamp), times)
        if number is None and (po_number not in self.orders or self.orders[po_number].provider_id is None):
            self.forged += times  # nobody knows that id yet
            assert answers == [404] * times
            return
        outcome = self._outcome(po_number, names_id)
        call = self.calls.setdefault((number, names_id, stamp), Call(po_number, names_id, outcome, times=0))
        call.outcome, call.times = outcome, call.times + times
        assert answers == [404 if outcome == "refused" else 204] * times

    def _outcome(self, po_number: str, names_id: str | None) -> str:
        order = self.orders.get(po_number)
        if order is None:
            return "waiting"
        if names_id and order.provider_id and names_id != order.provider_id:
            return "refused"
        order.claimed = True
        return "accepted"

    @rule(po_number=PO_NUMBERS, other=PO_NUMBERS, stamp=STAMPS, token=st.sampled_from(["another's", "made up", "none"]))
    def forge(self, po_number: str, other: str, stamp: str, token: str) -> None:
        """A call under an address that is not the order's."""
        if token == "another's" and other == po_number:
            return
        presented = {"another's": addresses.make_token(other, SECRETS[0]), "made up": "A" * 43, "none": ""}[token]
        assert self._post(presented, callback_body(po_number, IDS[po_number], stamp)) == [404]
        self.forged += 1

    @rule(body=st.binary(max_size=60), po_number=PO_NUMBERS)
    def babble(self, body: bytes, po_number: str) -> None:
        """Anything at all under a right address."""
        assert self._post(addresses.make_token(po_number, SECRETS[0]), body) == [404]
        self.forged += 1

    @rule(seconds=st.sampled_from([1, 10, 31, 3600]))
    def wait(self, seconds: int) -> None:
        self.clock.now += timedelta(seconds=seconds)

    def _post(self, token: str, body: bytes, times: int = 1) -> list[int]:
        async def run() -> list[int]:
            transport = httpx.ASGITransport(self.backend.asgi(lifespan=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                calls = [client.post(WEBHOOK_PATH + token, content=body) for _ in range(times)]
                return [answer.status_code for answer in await asyncio.gather(*calls)]

        return asyncio.run(run())

    def _get(self, path: str) -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self.backend.asgi(lifespan=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.get(path)

        return asyncio.run(run())

    # What must hold

    @rule()
    def health(self) -> None:
        answer = self._get("/healthz")
        silent = self.clock.now - self.backend._health.started_at > timedelta(seconds=15)  # no loop runs here
        assert (answer.status_code, answer.json()["status"]) == ((503, "silent") if silent else (200, "ok"))

    @precondition(lambda self: self.orders)
    @rule()
    def metrics(self) -> None:
        families = {family.name: family for family in text_string_to_metric_families(self._get("/metrics").text)}
        told = {sample.labels["state"]: int(sample.value) for sample in families["tracking_orders"].samples}
        assert {state: count for state, count in told.items() if count} == Counter(
            order.state for order in self.orders.values()
        )

    @invariant()
    def orders_are_as_observed(self) -> None:
        with self.store.read() as connection:
            rows = {row["po_number"]: row for row in connection.execute(sa.select(ORDERS)).mappings()}
        assert {po_number: row["state"] for po_number, row in rows.items()} == {
            po_number: order.state for po_number, order in self.orders.items()
        }
        assert {po_number for po_number, row in rows.items() if row["notice"] != "none"} == {
            po_number for po_number, order in self.orders.items() if order.claimed
        }

    @invariant()
    def every_proven_call_is_stored_and_nothing_else_but_refusals(self) -> None:
        with self.store.read() as connection:
            rows = connection.execute(sa.select(CALLBACKS)).mappings().all()
        kept = sorted((row["outcome"], row["repeats"] + 1) for row in rows if row["digest"] is not None)
        assert kept == sorted((call.outcome, call.times) for call in self.calls.values())
        anonymous = [row for row in rows if row["digest"] is None]
        assert len(anonymous) <= self.forged
        assert {row["outcome"] for row in anonymous} <= {"refused"}
        assert {row["order_id"] for row in anonymous} <= {None}


def test_the_surface_stores_what_it_must_and_nothing_else(
    migrated_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("TRACKING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Surface, "template", migrated_file, raising=False)
    # Sixteen steps are short enough to read; shrinking them would take minutes of transactions.
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    quick = settings(
        max_examples=10, stateful_step_count=16, deadline=None, phases=phases, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Surface, settings=quick)
