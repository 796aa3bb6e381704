"""Backend: the composition root. Settings in, a running process out; the one place where the real parts are chosen."""

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from tracking.alerting.setup import make_notifier
from tracking.api.callers.use import FLUSH_SECONDS as USE_FLUSH_SECONDS
from tracking.api.edge import Api, Assistants
from tracking.app import embedded_sandbox, settings_changes
from tracking.app.demonstration.running import Demonstration
from tracking.app.embedded_sandbox import PUBLIC_URL, EmbeddedSandbox
from tracking.app.environment import environment_label
from tracking.app.folders import console_folder
from tracking.app.housekeeping import Housekeeping
from tracking.app.integration import outgoing
from tracking.app.integration.delivery_loop import DeliveryLoop
from tracking.app.loops import WATCHDOG_TIMEOUT, JobLoop, PollLoop, SendLoop, run_loop
from tracking.app.reconciler import Reconciler
from tracking.app.telemetry import logs, traces
from tracking.app.telemetry.heartbeat import Heartbeat
from tracking.app.web.address_check import callback_bases, path_prefixes
from tracking.app.web.connection_limits import REPEAT_FILTER
from tracking.app.web.health import Health
from tracking.errors import StoreError
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.orders.observations import utc_now
from tracking.polling.discovery import Discovery
from tracking.polling.learner import LATE_CHECK_EVERY, REFIT_EVERY, SILENCE_CHECK_EVERY, Learner
from tracking.polling.poller import Poller
from tracking.provider.call_log import FLUSH_SECONDS, ApiCallRecord, CallLog
from tracking.provider.client import Client
from tracking.provider.http.connection import check_environment
from tracking.provider.http.findings import FINDINGS_EVERY, Findings
from tracking.provider.shared_rate_limit import SharedRateLimit
from tracking.settings.addresses import WEBHOOK_PATH
from tracking.settings.roles import Role
from tracking.settings.values import Settings
from tracking.startup import LATER_IMPORTS_SECONDS
from tracking.storage import database, facts
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.maintenance.holdings import release_holdings, take_over
from tracking.storage.retention.cleanup import TURN_EVERY, Cleanup
from tracking.storage.team import approval_rule
from tracking.submissions.sender import Sender
from tracking.team import drills
from tracking.team.imports import placing
from tracking.team.job_runner import JobRunner
from tracking.team.plans import Act
from tracking.webhooks import address_book, addresses
from tracking.webhooks.receiver import Receiver
from tracking.webhooks.routing import WebhookRouter

if TYPE_CHECKING:
    from tracking.sandbox.server import Sandbox

log = logging.getLogger(__name__)

# A poll or a POST may wait for a slot, renew the token, be refused, renew it again, be repeated and looked up.
CALLS_PER_TASK = 8
RECONCILE_EVERY = 2.0
DRILL_EVERY = 3.0
END_SECONDS = 3.0  # for each thing that is stored when the process ends


class Backend:
    """The receiver, the loops and the routes of one process: put `routes()` and `lifespan` into an ASGI application.

    `store` is the store, where it is not the one of the settings. Raises SettingsError for a setting that can only be
    checked now, StoreUnusable or StoreBusy where the store cannot be opened.
    """

    def __init__(
        self, settings: Settings, *, clock: Callable[[], datetime] = utc_now, store: Database | None = None
    ) -> None:
        calls = bool(settings.roles & {Role.POLLER, Role.SENDER})
        if calls and settings.embedded_sandbox:
            embedded_sandbox.announce(settings)
        elif calls:
            check_environment()
        outgoing.check_hooks(settings)
        self.settings = settings
        self.clock = clock
        self.database = store or database.connect(settings.database_url)
        self._secrets = settings.webhook_secrets()
        bounds = Policy(timedelta(seconds=settings.poll_floor), timedelta(seconds=settings.poll_ceiling))
        chance = random.Random()  # noqa: S311 - it spreads due times and guards nothing  # nosec B311
        forecasts = Forecasts(relative=settings.poll_loss == "relative", promises=settings.late_after)
        self._planner = PlanningContext(bounds, chance, ClaimCipher(settings.claims_keys()), forecasts)
        self._lease = timedelta(seconds=settings.api_timeout)
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._heartbeat = Heartbeat(self.database, clock, self._owner)
        self._notifier = make_notifier(
            settings,
            self.database,
            clock=clock,
            owner=self._owner,
            environment=environment_label(settings),
            folder=console_folder(),
        )
        logs.hide_addresses()
        logging.getLogger("uvicorn.error").addFilter(REPEAT_FILTER)
        self._wakes: list[asyncio.Event] = []
        self._findings = Findings()
        self.receiver = Receiver(
            self.database, self._secrets, self._planner, clock=clock, wake=self._wake, findings=self._findings
        )
        self.api = Api(self.database, clock=clock, secrets=self._secrets, wake=self._wake)
        self.transport: httpx.AsyncBaseTransport | None = None
        self._client: Client | None = None
        self._health = Health(
            settings,
            self.database,
            self._heartbeat,
            clock=clock,
            client_status=self._client_status,
            alerts_status=self._notifier.status,
            requests=self.api.requests,
        )
        embedded = calls and settings.embedded_sandbox
        self._sandbox = EmbeddedSandbox(settings, self.asgi(lifespan=False)) if embedded else None
        self._demonstration: Demonstration | None = None

    def _client_status(self) -> dict[str, Any]:
        return self._client.status() if self._client else {}

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()

    # The application

    def routes(self, base_path: str = "") -> list[BaseRoute]:
        """List the routes that are not pages, also below `base_path` and below the path of TRACKING_PUBLIC_URL."""
        health = self._health
        endpoints: dict[str, Any] = {"/healthz": health.healthz, "/readyz": health.readyz, "/metrics": health.metrics}
        names = {urlsplit(url).hostname or "" for url in (self.settings.console_url, self.settings.public_url) if url}
        endpoints |= {"/api/{rest:path}": self.api, "/mcp": Assistants(self.api, names)}
        if Role.WEBHOOKS in self.settings.roles:
            # An instance, not a function: Starlette hands it every method, and it refuses all but POST alike.
            paths = (WEBHOOK_PATH + "{token}", "/webhooks/{rest:path}", "/webhooks")
            endpoints |= dict.fromkeys(paths, self.receiver)
        prefixes = path_prefixes(base_path, self.settings.public_url)
        return [Route(prefix + path, endpoint) for prefix in prefixes for path, endpoint in endpoints.items()]

    def asgi(self, *, lifespan: bool = True) -> ASGIApp:
        """Make an ASGI application of its own, for a worker without pages."""
        application = Starlette(routes=self.routes(), lifespan=self.lifespan if lifespan else None)
        # A redirect would repeat the caller's Host, and tell some addresses below /webhooks from others.
        application.router.redirect_slashes = False
        return WebhookRouter(application, self.receiver, callback_bases(self.settings))

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Run the loops while the application lives."""
        logs.adopt_servers()
        asyncio.get_running_loop().call_later(LATER_IMPORTS_SECONDS, logs.adopt_servers)
        async with contextlib.AsyncExitStack() as stack:
            if end_traces := traces.start():
                stack.push_async_callback(asyncio.to_thread, end_traces)
            transport = self.transport
            if self._sandbox is not None:
                sandbox, transport = await stack.enter_async_context(self._sandbox.running())
                self._demonstration = self._make_demonstration(self._sandbox, sandbox)
            await asyncio.to_thread(self._enforce_approvals)
            if self._demonstration is not None:
                await self._demonstration.begin()
            await asyncio.to_thread(self._take_over)
            await asyncio.to_thread(outgoing.add_hooks, self.database, self.settings, self.clock())
            loops = [asyncio.create_task(loop) for loop in await self._loops(stack, transport)]
            log.info("started roles=%s owner=%s", ",".join(sorted(self.settings.roles)), self._owner)
            self._health.begun = True
            try:
                yield
            finally:
                self._health.begun = False
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
                await self._end("what this process holds", self._release_holdings)
                await self._end("counts of the API", self._count)

    async def _loops(self, stack: contextlib.AsyncExitStack, transport: httpx.AsyncBaseTransport | None) -> list[Any]:
        roles = self.settings.roles
        working = bool(roles & {Role.WEBHOOKS, Role.POLLER, Role.SENDER})
        loops: list[Any] = [asyncio.to_thread(self._record_settings), run_loop("api", self._count, USE_FLUSH_SECONDS)]
        loops += [run_loop(*turn) for turn in self._notifier.turns]
        if working:
            loops.append(run_loop("findings", self._store_findings, FINDINGS_EVERY))
            stack.push_async_callback(self._end, "findings", partial(self._store_findings, ending=True))
        if Role.WEBHOOKS in roles:
            stack.push_async_callback(self._end, "refused webhooks", self.receiver.flush)
            loops += [run_loop("receiver", self._receiver_beat, 2.0), asyncio.to_thread(self._add_missing_addresses)]
        if not roles & {Role.POLLER, Role.SENDER}:
            return loops
        timeout = max(WATCHDOG_TIMEOUT, CALLS_PER_TASK * self._lease)
        call_log = CallLog(self.database)
        client = self._client = self.client(transport, call_log)
        stack.push_async_callback(client.aclose)
        stack.push_async_callback(self._end, "API calls", call_log.flush)
        client.resume(await asyncio.to_thread(self._client_state_before))
        if self._demonstration is not None:
            loops.append(self._demonstration.run())
        learner = Learner(self.database, self._planner.forecasts, self.clock, learns=Role.POLLER in roles)
        loops += [
            run_loop("call log", call_log.flush, FLUSH_SECONDS),
            Housekeeping(self.database, client, self.clock, self.settings.balance_below, owner=self._owner).run(),
            self._learn(learner),
            run_loop("webhook silence", learner.check_silence, SILENCE_CHECK_EVERY),
            run_loop("late orders", learner.find_late_orders, LATE_CHECK_EVERY),
        ]
        if self._sandbox is not None:
            loops.append(run_loop("drill", self._watch_drill, DRILL_EVERY))
        leasing: dict[str, Any] = {"owner": self._owner, "lease": self._lease, "clock": self.clock}
        steps = {Act.IMPORT: placing.step}
        runner = JobRunner(self.database, max_rate=self.settings.api_max_rate, steps=steps, **leasing)
        loops.append(JobLoop(runner, self._heartbeat, self.clock, timeout).run())
        if (days := self.settings.keep_days) is not None:
            who: dict[str, Any] = {"owner": self._owner, "clock": self.clock, "archive": self.settings.archive}
            cleanup = Cleanup(self.database, timedelta(days=days), **who)
            loops.append(run_loop("retention", cleanup.turn, TURN_EVERY))
        parts = self.database, client, self._planner
        discovery = Discovery(*parts, every=timedelta(seconds=self.settings.discover_every))
        if Role.POLLER in roles:
            poller = Poller(*parts, **leasing)
            polling = PollLoop(poller, discovery, self._heartbeat, self.clock, timeout)
            self._wakes.append(polling.wake)
            loops.append(self._poll(polling, learner))
        if Role.SENDER in roles:
            sender = Sender(*parts, address=self.callback_address, wake=self._wake, **leasing)
            sending = SendLoop(sender, self._heartbeat, self.clock, timeout)
            loops.append(self._send(sending, Reconciler(self.database, discovery, sender, self.clock), learner))
        return loops

    def _make_demonstration(self, embedded: EmbeddedSandbox, sandbox: "Sandbox") -> Demonstration | None:
        """Make the demonstration, where this process is the one that polls and sends."""
        if not (embedded.demonstrates and {Role.POLLER, Role.SENDER} <= self.settings.roles):
            return None

        async def alive() -> None:
            for name in (PollLoop.name, SendLoop.name, DeliveryLoop.name):
                await self._heartbeat.beat(name)

        return Demonstration(
            self.database,
            sandbox,
            receiver=embedded.receiver,
            per_minute=self.settings.sandbox_traffic,
            address=self.callback_address,
            cipher=self._planner.cipher,
            clock=self.clock,
            alive=alive,
        )

    async def _wait_prepared(self) -> None:
        """Wait for the past of the demonstration, where there is one."""
        if self._demonstration is not None:
            await self._demonstration.prepared.wait()

    async def _learn(self, learner: Learner) -> None:
        await self._wait_prepared()
        await run_loop("forecasts", learner.refit, REFIT_EVERY)

    async def _poll(self, polling: PollLoop, learner: Learner) -> None:
        """Poll, once the forecasts are loaded again."""
        await learner.wait_loaded()
        await polling.run()

    async def _send(self, sending: SendLoop, reconciler: Reconciler, learner: Learner) -> None:
        """Send and deliver, once it is known whether the store was restored from a backup and forecasts are loaded.

        By these it is set from when on an order that the provider takes will be late.
        """
        await self._wait_prepared()
        await learner.wait_loaded()
        await reconciler.detect_restore()
        async with asyncio.TaskGroup() as group:
            group.create_task(sending.run())
            group.create_task(self._deliver())
            group.create_task(run_loop("reconciler", reconciler.reconcile, RECONCILE_EVERY))

    async def _deliver(self) -> None:
        """Deliver events to other systems."""
        deliverer = outgoing.make_deliverer(self.database, self.settings, self._owner, self.clock)
        await DeliveryLoop(deliverer, self._heartbeat, self.clock).run()

    def _client_state_before(self) -> Mapping[str, Any]:
        """Read how the clients before this one fared: a pause holds, and calls fail until one is answered."""
        # No call leaves anyway before the store can count it.
        with contextlib.suppress(StoreError), self.database.read() as connection:
            if stored := facts.get_fact(connection, FactKey.API_CLIENT):
                return stored.value
        return {}

    def client(self, transport: httpx.AsyncBaseTransport | None, call_log: CallLog) -> Client:
        """Build the client of the provider."""
        shared = SharedRateLimit(self.database, self.settings.api_max_rate)

        def record(call: ApiCallRecord) -> None:
            self._health.calls.observe(call)
            call_log.record(call)

        return Client.from_settings(
            self.settings, transport=transport, record=record, shared=shared, findings=self._findings
        )

    def callback_address(self, po_number: str) -> str | None:
        """Make the order's webhook address; None when no setting says where we can be reached."""
        base = PUBLIC_URL if self._sandbox and not self.settings.public_url else self.settings.public_url
        if base is None:
            return None
        return f"{base}{WEBHOOK_PATH}{addresses.make_token(po_number, self._secrets[0])}"

    async def _receiver_beat(self) -> None:
        await self._heartbeat.beat("webhooks", {"accepted": self.receiver.accepted, "refused": self.receiver.refused})
        await self.receiver.flush()

    async def _store_findings(self, *, ending: bool = False) -> None:
        await self._findings.flush(self.database, self.clock(), ending=ending)

    async def _end(self, what: str, store: Callable[[], Awaitable[None]]) -> None:
        """Store what would be lost with this process; where the store does not answer in time, that is logged."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await store()
        except (StoreError, TimeoutError) as exc:
            log.warning("%s: not stored at the end: %s", what, exc)

    async def _release_holdings(self) -> None:
        await self.database.run(lambda connection: release_holdings(connection, [self._owner], self.clock()))

    async def _count(self) -> None:
        """Store what was read by the API."""
        await asyncio.to_thread(self.api.service.use.flush, self.clock())

    def _record_settings(self) -> None:
        """Record in the audit log which settings are others than at the last start."""
        try:
            settings_changes.record_changes(self.database, self.settings, self._secrets, self.clock())
        except StoreError as exc:
            log.warning("changed settings are not recorded: %s", exc)

    async def _watch_drill(self) -> None:
        await asyncio.to_thread(drills.watch, self.database, self.clock())

    def _add_missing_addresses(self) -> None:
        """Store the addresses of orders that an earlier version sent, so that calls of them are known by them."""
        try:
            added = address_book.add_missing(self.database, self._secrets)
        except StoreError as exc:
            log.warning("webhook addresses of earlier orders are not stored: %s", exc)
        else:
            log.info("webhook addresses stored orders=%d", added)

    def _enforce_approvals(self) -> None:
        """Put the approval limit of the settings in force; only a process with pages, where people sign in, ends one.

        Raises StoreError: nothing is to be placed before the store knows of the limit.
        """
        limit = self.settings.approval_limit
        if (limit or Role.PAGES in self.settings.roles) and approval_rule.enforce(self.database, limit, self.clock()):
            log.warning("orders wait for a second operator's approval above: %s", limit or "no limit, none waits")

    def _take_over(self) -> None:
        """Release what processes of this host hold that are gone."""
        try:
            gone = self.database.write(lambda connection: take_over(connection, self._owner, self.clock()))
        except StoreError as exc:
            log.warning("what dead processes hold stays until it ends by itself: %s", exc)
            return
        if gone:
            log.info("took over from processes=%d", len(gone))
