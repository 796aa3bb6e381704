"""Outgoing webhooks for tests: a receiver over real sockets, and a store with subscriptions and a deliverer."""

import asyncio
import ipaddress
import random
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from cryptography.fernet import Fernet
from fakes import Clock, order_json, request
from sqlalchemy.engine import RowMapping
from standardwebhooks import Webhook

from tracking import ingest
from tracking.access import Person
from tracking.delivery import subscribing
from tracking.delivery.deliverer import Deliverer
from tracking.delivery.posting import Poster, Reply
from tracking.delivery.signing import Secret, SecretCipher
from tracking.delivery.subscribing import NewHook
from tracking.delivery.targets import Target
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Order, Witness
from tracking.orders.observations import Answered, Observation, Observed, Polled
from tracking.provider.responses import read_order
from tracking.storage.database import Database
from tracking.storage.integration.tables import DELIVERIES, DELIVERY_ATTEMPTS, SUBSCRIPTIONS

ANN = Person("ann")
KEYS = (Fernet.generate_key().decode(),)
THIS_MACHINE = (ipaddress.ip_network("127.0.0.0/8"),)
URL = "https://crm.example.com/hooks"


class Receiver:
    """Answers on a port of this machine; stores what it gets, and verifies it once it has the secret.

    `statuses` are what it answers next, 204 after the last.
    """

    def __init__(self) -> None:
        self.secret: Secret | None = None
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.answer = b"thanks"
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.times: dict[str, float] = {}
        self.bodies: list[tuple[str, str]] = []
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=query-canary"

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                if receiver.secret is not None and status < 300:
                    message = Webhook(receiver.secret.text).verify(body, dict(self.headers))
                    receiver.messages.append((self.headers["webhook-id"], message))
                    order = message["data"].get("order", {})
                    receiver.times.setdefault(order.get("po_number", ""), time.monotonic())
                receiver.bodies.append((self.headers["webhook-id"], body))
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(receiver.answer if status != 204 else b"")

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()


class ScriptedPoster(Poster):
    """Answers from a script, 204 after its end, and stores what it was given."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self.replies = list(replies)
        self.posted: list[tuple[str, str]] = []

    async def post(self, target: Target, payload: str, headers: Any) -> Reply:
        self.posted.append((headers["webhook-id"], payload))
        return self.replies.pop(0) if self.replies else Reply(204)


class Outgoing:
    """A store with its orders, and who is notified of them."""

    def __init__(self, store: Database, planner: PlanningContext) -> None:
        self.store, self.planner, self.clock = store, planner, Clock()
        self.cipher = SecretCipher(KEYS)

    @property
    def now(self) -> datetime:
        return self.clock.now

    def subscribe(self, name: str = "crm", url: str = URL, *event_types: str, **filters: Any) -> Secret:
        hook = NewHook(name, url, event_types, **filters)
        how: dict[str, Any] = {"cipher": self.cipher, "allowed": THIS_MACHINE}
        return subscribing.add(self.store, hook, **how, by=ANN, now=self.now)

    def deliverer(self, poster: Poster, owner: str = "here/1/a") -> Deliverer:
        more: dict[str, Any] = {"owner": owner, "clock": self.clock, "allowed": THIS_MACHINE, "rng": random.Random(1)}
        return Deliverer(self.store, poster, self.cipher, **more)

    def deliver(self, poster: Poster, **later: float) -> int:
        """Delivers what is due, turn by turn until nothing is; returns how many posts that took."""
        self.clock.pass_by(**later)
        deliverer = self.deliverer(poster)

        async def run() -> int:
            posts = 0
            while leased := await deliverer.begin_due(self.now, 32):
                posts += len(leased)
                await asyncio.gather(*map(deliverer.deliver, leased))
            return posts

        return asyncio.run(run())

    def place(self, po_number: str = "demo-0001", *lines: Any, source: str = "form", kind: str = "Links") -> int:
        asked = request(po_number, *lines, kind=kind)
        return self.store.write(
            lambda connection: ingest.place(connection, asked, source=source, actor="ann", now=self.now)
        )

    def observe(self, order_id: int, what: Observed, raw: dict[str, Any] | None = None) -> Order:
        observation = Observation(Witness.POLL, self.now, self.now, what)
        parsed = read_order(raw) if raw else None
        return self.store.write(
            lambda connection: ingest.observe(connection, order_id, observation, self.planner, parsed=parsed)
        )

    def accepted(self, po_number: str = "demo-0001", provider_id: str = "BLK-1", *lines: Any, **how: Any) -> int:
        order_id = self.place(po_number, *lines, **how)
        raw = order_json(provider_id, po_number, "Pending", *lines, created_at=self.now)
        self.observe(order_id, Answered(read_order(raw).snapshot), raw)
        return order_id

    def polled(
        self, order_id: int, status: str, po_number: str = "demo-0001", provider_id: str = "BLK-1", *lines: Any
    ) -> Order:
        raw = order_json(provider_id, po_number, status, *lines, created_at=self.now)
        return self.observe(order_id, Polled(read_order(raw).snapshot), raw)

    def rows(self, table: sa.Table = DELIVERIES) -> Sequence[RowMapping]:
        with self.store.read() as connection:
            keys = list(table.primary_key.columns)
            return connection.execute(sa.select(table).order_by(*keys)).mappings().all()

    def row(self, table: sa.Table = SUBSCRIPTIONS) -> RowMapping:
        [row] = self.rows(table)
        return row

    def types(self) -> list[str]:
        return [row["event_type"] for row in self.rows()]

    def attempts(self) -> Sequence[RowMapping]:
        return self.rows(DELIVERY_ATTEMPTS)
