"""Where the simulation touches the product: how a console is put together, started and killed.

A console is what `server.Backend` builds, with the writer's thread and the sleeping loops replaced by turns that the
simulator gives: the store's own transactions, the real client (below it a simulated network), sender, poller, receiver.
"""

import base64
import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import httpx
from alarms import SHORT_GROUPED, SHORT_RULES
from approvals import SUBMITTER
from marketplace import START
from network import TIMEOUT, Broken, Refused
from outbound import SHORT_WAITS
from pacing import Group, Pace
from retention import removes
from shortcut import ShortReader, ShortWriter
from sqlalchemy import Connection, event
from sqlalchemy.pool import QueuePool
from sqlmodel import SQLModel
from stepping import SteppedLoop

from tracking.access import Person
from tracking.alerting import lifecycle
from tracking.app.loops import JobLoop, PollLoop, SendLoop
from tracking.delivery import retries
from tracking.errors import StoreBusy, StoreError, TrackingError
from tracking.forecasting import waits
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.orders.model import OrderRequest
from tracking.polling.discovery import Discovery
from tracking.polling.poller import Poller
from tracking.provider.client import Client
from tracking.provider.http.session import ApiAccount, ApiLimits, TimeSource
from tracking.provider.json_fields import digest_of
from tracking.provider.shared_rate_limit import SharedRateLimit
from tracking.provider.webhook_bodies import read_webhook_call
from tracking.storage import engines as storage_engines
from tracking.storage import inbox, leases, orders
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database
from tracking.storage.engines import make_engine, translated
from tracking.storage.integration import deliveries
from tracking.storage.retention import archiving, removal
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.writing.groups import Job
from tracking.submissions import actions, requests
from tracking.submissions import submit as submissions
from tracking.submissions.sender import Sender
from tracking.team import approval, job_runner
from tracking.team.imports import placing
from tracking.team.job_runner import JobRunner
from tracking.team.plans import Act
from tracking.webhooks import addresses
from tracking.webhooks.receiver import Receiver

if TYPE_CHECKING:
    from world import World

T = TypeVar("T")
RATE = 5
SECRET = "made up for the simulation"
CLAIMS_KEY = base64.urlsafe_b64encode(b"made up for the simulation, too.").decode()
KEPT_REFUSALS = 5
LARGEST_STORE = 100_000  # pages
TABLES = sorted(SQLModel.metadata.tables)


class Died(BaseException):
    """The process was killed under somebody who waited for it."""


class StoreFile:
    """One SQLite file for all histories of a worker."""

    def __init__(self, folder: Path) -> None:
        file = folder / "tracking.db"
        storage_engines.migrate(f"sqlite:///{file}")
        # No other process opens the file, so that locks need be kept among connections only, without the system's help.
        self._address = f"file:{file}?vfs=unix-excl"
        self.url = f"sqlite:///{self._address}&uri=true"
        self._template = dbapi.connect(":memory:")
        self.raw = self._connect()
        self.raw.backup(self._template)
        self.locker = self._connect()
        self.full = False
        # Engines keep their compiled statements and connections; each console slot has a writer of its own.
        self.engines = [self._engines() for _ in range(2)]
        self._short_readers: dict[int, Connection] = {}

    def _connect(self) -> dbapi.Connection:
        raw = dbapi.connect(self._address, uri=True, isolation_level=None)
        _set_up(raw, None)
        return raw

    def _engines(self) -> tuple[Any, Any]:
        # A process that is killed lets go of its connection, which the next may have: to open one takes a millisecond.
        with patch.multiple(storage_engines, NullPool=QueuePool, _set_up_writer=_set_up):
            writer = make_engine(self.url, writes=True)
        event.listen(writer, "checkout", self._limited)
        return writer, make_engine(self.url, writes=False)

    def reader(self, slot: int) -> Connection:
        """The one connection for all that is read the short way."""
        if slot not in self._short_readers:
            self._short_readers[slot] = ShortReader(self.engines[slot][1])
        return self._short_readers[slot]

    def _limited(self, raw: dbapi.Connection, _record: object, _proxy: object) -> None:
        raw.execute(f"PRAGMA max_page_count={1 if self.full else LARGEST_STORE}").fetchall()

    def empty(self, *, anew: bool) -> None:
        """A migrated store without an order: the rows are deleted, as each connection would have to read a new schema.

        `anew`: the file too is as small as a new one, which tells when a disk is full.
        """
        self.full = False
        if self.locker.in_transaction:
            self.locker.rollback()
        if anew:
            self._template.backup(self.raw)
            return
        self.raw.execute("BEGIN")
        for table in TABLES:
            self.raw.execute(f"DELETE FROM {table}")
        self.raw.execute("COMMIT")

    def close(self) -> None:
        for raw in (self.raw, self.locker, self._template):
            raw.close()
        for reader in self._short_readers.values():
            reader.close()
        for engines in self.engines:
            for engine in engines:
                engine.dispose()


def _set_up(raw: dbapi.Connection, _record: object) -> None:
    """As the product does, but no power is lost here and no time passes while SQLite waits, so neither costs any."""
    for pragma in ("busy_timeout=0", "journal_mode=WAL", "synchronous=OFF", "foreign_keys=ON"):
        raw.execute(f"PRAGMA {pragma}").fetchall()


class SimulatedDatabase(Database):
    """A Database whose writer takes its turn when the simulator lets it, in the caller's thread."""

    def __init__(self, file: StoreFile, console: "Console") -> None:
        self.url, self.dialect, self.trouble = file.url, "sqlite", None
        self._engine, self._readers = file.engines[console.slot]
        self._short = not console.world.climate.through_engine
        self._engine._connection_cls = ShortWriter if self._short else Connection
        self._reader = partial(file.reader, console.slot)
        self.closed = False
        self._console = console
        self._waiting: list[Job] = []
        self._connection: Connection | None = None
        self.at_once = False

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """As the product's; where statements are shortened, so is the way to a connection."""
        if not self._short:
            with super().read() as connection:
                yield connection
            return
        with translated():
            yield self._reader()

    def submit(self, job: Callable[[Connection], T], *, orders: Iterable[int | str] = ()) -> Future[T]:
        future: Future[T] = Future()
        console = self._console
        if console.dead:
            return future
        if self.at_once:
            self._turn_with([Job(job, future, frozenset(orders))])
            if console.dead:
                raise Died
        else:
            self._waiting.append(Job(job, future, frozenset(orders)))
            if len(self._waiting) == 1:
                console.loop.call_later(0.001 + 0.004 * console.world.chance.draw("writer"), self._turn)
        return future

    def _turn(self) -> None:
        jobs, self._waiting = self._waiting, []
        self._turn_with(jobs)

    def _turn_with(self, jobs: list[Job]) -> None:
        world, console = self._console.world, self._console
        if world.dies_at(console, "commit before"):
            return
        self._commit(jobs)
        errors = [job.future.exception() for job in jobs]
        for error in errors:
            if isinstance(error, StoreError) and not isinstance(error, StoreBusy):
                world.auditor.stumbled(f"the store refused a job: {error}")
        if not all(isinstance(error, StoreError) for error in errors):
            world.committed(console)
        world.dies_at(console, "commit after")

    def wal_bytes(self) -> int:
        return 0

    def kill(self) -> None:
        """Lets go of the connection, and with it of what was not committed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Console:
    """One process: it starts with the file as it finds it, and can be killed at any time."""

    def __init__(self, world: "World", slot: int, number: int) -> None:
        self.world, self.slot, self.number = world, slot, number
        self.dead = False
        self.suspended_until = 0.0
        self.error: BaseException | None = None
        self._told, self._time = 0.0, START
        self.owner = f"host/{number}/sim"
        self.loop = SteppedLoop(lambda: world.now)  # type: ignore[abstract]  # no sockets, no signals
        self.database = SimulatedDatabase(world.file, self)
        climate = world.climate
        policy = Policy(timedelta(seconds=climate.floor), timedelta(seconds=climate.ceiling))
        planner = PlanningContext(policy, random.Random(world.chance.seed * 100 + number), ClaimCipher([CLAIMS_KEY]))
        planner.forecasts.price, planner.forecasts.unproven_share, planner.forecasts.webhook_share = (
            climate.price,
            climate.unproven,
            climate.heard,
        )
        planner.forecasts.promises = world.latecomers.promises()
        self.client = self._client()
        lease = timedelta(seconds=TIMEOUT)
        sender = Sender(
            self.database,
            self.client,
            planner,
            address=self._address,
            owner=self.owner,
            lease=lease,
            clock=self.clock,
            wake=self._woken,
        )
        every = timedelta(seconds=climate.discover_every)
        discovery = Discovery(self.database, self.client, planner, every=every)
        poller = Poller(
            self.database,
            self.client,
            planner,
            owner=self.owner,
            lease=lease,
            clock=self.clock,
        )
        self.receiver = Receiver(self.database, (SECRET,), planner, clock=self.clock, wake=self._woken)
        pulse: Any = None  # beats are not simulated
        sending = SendLoop(sender, pulse, self.clock)
        polling = PollLoop(poller, discovery, pulse, self.clock)
        group: Any = Group(self.loop)
        self.paces = [
            Pace(self, lambda: sending._turn(group), world.auditor.attempt_due),
            Pace(self, lambda: polling._turn(group), world.auditor.look_due),
        ]
        if world.teamwork.busy:
            steps = {Act.IMPORT: placing.step}
            runner = JobRunner(
                self.database, owner=self.owner, lease=lease, clock=self.clock, max_rate=RATE, steps=steps
            )
            running = JobLoop(runner, pulse, self.clock)
            self.paces.append(Pace(self, lambda: running._turn(group), world.teamwork.job_due))
        if world.outbound.busy:
            deliverer = world.outbound.deliverer(self)
            turn = partial(world.outbound.turn, deliverer, self, group)
            self.paces.append(Pace(self, turn, world.outbound.due))
            self.paces.append(Pace(self, partial(world.latecomers.turn, deliverer), world.latecomers.due))
        if world.alarms.busy:
            notifier = world.alarms.notifier(self)
            self.paces.append(Pace(self, partial(world.alarms.turn, notifier, self), world.alarms.due))
        if climate.discover_every:
            self.paces.append(Pace(self, polling._discover, world.auditor.discovery_due))
        self._begin()

    def __str__(self) -> str:
        return f"console {self.number}"

    def clock(self) -> datetime:
        """What the console's machine takes for now."""
        told = self.world.now + self.world.skew
        if told != self._told:
            self._told, self._time = told, START + timedelta(seconds=told)
        return self._time

    def _begin(self) -> None:
        """Takes over from the dead as `Backend` does, then starts the loops."""
        gone = [str(console.owner) for console in self.world.gone] if self.world.climate.follows_leases else []
        self.database.at_once = True
        try:
            if gone:
                self.database.write(lambda connection: leases.release_leases(connection, gone))
                if self.world.outbound.busy:
                    self.database.write(lambda connection: deliveries.release_owners(connection, gone))
        except (StoreError, Died):
            pass
        finally:
            self.database.at_once = False
        for pace in self.paces:
            self.loop.create_task(pace.run())

    def _address(self, po_number: str) -> str | None:
        if not self.world.climate.asks_webhooks:
            return None
        return f"https://console.example.com/webhooks/fulfillment/{addresses.make_token(po_number, SECRET)}"

    def _woken(self) -> None:
        due = self.world.auditor.look_due()
        if due is not None and due <= self.world.now:
            self.paces[1].wake()

    def kill(self) -> None:
        """From now on it does nothing any more. What it had not committed is gone."""
        self.dead = True

    def bury(self) -> None:
        """Drops what the process held, once none of its code is running."""
        self.database.kill()
        self.loop.abandon()

    # The client

    def _monotonic(self) -> float:
        return self.world.now

    def _client(self) -> Client:
        shared = self.world.climate.shares_budget
        limiter = SharedRateLimit(self.database, RATE, self._monotonic, self.clock) if shared else None
        return Client(
            ApiAccount("https://provider.example.com", "console@example.com", "made-up-token"),
            limits=ApiLimits(RATE, TIMEOUT, limiter),
            times=TimeSource(self.clock, self._monotonic),
            record=lambda _: None,
            transport=_Wire(self),
        )

    # What people do, and what the provider sends

    def at_once(self, act: Callable[[Database, datetime], T]) -> T | None:
        """Does something as a page would; None where it was refused, or where the process died over it: see `error`."""
        self.database.at_once, self.error = True, None
        try:
            return act(self.database, self.clock())
        except (TrackingError, Died) as exc:
            self.error = exc
            if self.world.telling:
                self.world.tell(f"  refused: {exc!r}")
            return None
        finally:
            self.database.at_once = False

    def receive(self, token: str, body: bytes, answered: Callable[[int], object], method: str = "POST") -> None:
        """One call of the webhook's address."""
        scope = {
            "type": "http",
            "method": method,
            "path": f"/webhooks/fulfillment/{token}",
            "headers": [],
            "path_params": {"token": token},
        }
        arriving = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            return next(arriving)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and not self.dead:
                answered(message["status"])

        self.loop.create_task(self.receiver(scope, receive, send))


class _Wire(httpx.AsyncBaseTransport):
    """The simulated network as httpx sees it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        params = dict(request.url.params)
        try:
            status, retry_after, body = await self._console.world.network.exchange(
                self._console, request.method, request.url.path, params, request.content, token
            )
        except Refused as exc:
            raise httpx.ConnectError("refused") from exc
        except Broken as exc:
            raise httpx.ReadError("broken") from exc
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return httpx.Response(status, headers=headers, content=body)


@contextlib.contextmanager
def simulated_constants(seed: int) -> Iterator[None]:
    """The product's chance follows the seed, and what is bounded by thousands is bounded by a few."""
    salts = random.Random(seed)
    with (
        patch.object(orders, "new_salt", lambda: f"{salts.getrandbits(128):032x}"),
        patch.object(inbox, "REFUSALS_STORED", KEPT_REFUSALS),
        patch.object(job_runner, "ORDERS_AT_ONCE", 1),
        patch.object(submissions, "GROUP_ORDERS", 1),
        patch.object(job_runner, "SECONDS_AHEAD", 0.4),
        patch.object(removal, "ROWS_AT_ONCE", 5),
        patch.object(retries, "WAITS", SHORT_WAITS),
        patch.multiple(lifecycle, RULES=SHORT_RULES, GROUPED_EVERY=SHORT_GROUPED),
        patch.multiple(archiving, PAUSE=0, ORDERS_READ=1, ORDERS_OF_A_FILE=2),
        # Else lines are looked at again for longer than a history lasts, and nothing would leave.
        patch.object(waits, "FOLLOW_FOR", {} if removes(seed) else waits.FOLLOW_FOR),
        patch.object(waits, "FOLLOW_FOR_OTHERS", timedelta(-1) if removes(seed) else waits.FOLLOW_FOR_OTHERS),
    ):
        yield


# What people do

PERSON = Person(SUBMITTER)


def submit(database: Database, request: OrderRequest, now: datetime) -> str:
    """Hands one order in; what its receipt says."""
    [receipt] = submissions.submit(database, [request], source="form", by=PERSON, now=now)
    return receipt.outcome


def act(database: Database, what: str, po_number: str, now: datetime) -> None:
    """What a person does with an order."""
    match what:
        case "check":
            actions.check_now(database, po_number, by=PERSON, now=now)
        case "resend":
            actions.resend(database, po_number, by=PERSON, now=now)
        case "note":
            actions.add_note(database, po_number, by=PERSON, now=now, text="called them")
        case "acknowledge":
            actions.acknowledge(database, po_number, by=PERSON, now=now, why="dealt with")


def judge(database: Database, what: str, po_number: str, by: Person, now: datetime) -> bool:
    """Approves or declines an order; True where that was taken."""
    if what == "approve":
        approval.approve(database, po_number, by=by, now=now)
    else:
        approval.decline(database, po_number, by=by, now=now, why="not wanted")
    return True


def read_request(document: Mapping[str, Any]) -> OrderRequest:
    """The request as the form makes it."""
    return requests.read_request(dict(document))


def digests_of_notice(body: bytes, po_number: str | None) -> frozenset[str]:
    """What may tell repeats of a notice: its body, or where that does not name the order its body and its address."""
    alone = read_webhook_call(body).digest
    return frozenset({alone, digest_of([alone, po_number])})


def digest_of_address(token: str) -> str:
    """As what an address is stored."""
    return addresses.token_digest(token)
