"""Health endpoints: does this process work (/healthz), may it be sent work (/readyz), its figures (/metrics)."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tracking.app.integration.delivery_loop import DeliveryLoop
from tracking.app.loops import JobLoop
from tracking.app.telemetry.heartbeat import Heartbeat
from tracking.app.web.call_figures import CallFigures
from tracking.errors import StoreError
from tracking.orders.policy.approval_limit import APPROVAL_OFF
from tracking.settings.roles import Role
from tracking.settings.values import Settings
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey


class Health:
    """The endpoints of one process.

    `client_status` is the state of its client of the provider, empty where it has none, `alerts_status` which services
    take alerts and which do not, `requests` the answers of its API by method, route and status. `begun` is set while
    its loops run: not before they were started, nor once it is being stopped. `started_at` counts for a loop without
    a beat.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        heartbeat: Heartbeat,
        *,
        clock: Callable[[], datetime],
        client_status: Callable[[], dict[str, Any]],
        alerts_status: Callable[[], dict[str, Any]] = dict,
        requests: Mapping[tuple[str, str, int], int] | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._heartbeat = heartbeat
        self._clock = clock
        self._client_status = client_status
        self._alerts_status = alerts_status
        self._requests = {} if requests is None else requests
        self.started_at = clock()
        self.begun = False
        self.calls = CallFigures()

    async def healthz(self, _request: Request) -> Response:
        """Answer 200 while the loops beat and the store writes, else 503; with the age of each."""
        loops = self._ages()
        now, expected = self._clock(), bool(loops)
        wrote = _age(now, self._heartbeat.store_wrote_at or self.started_at)
        limit = facts.LOOP_SILENT_AFTER.total_seconds()
        silent = [name for name, age in loops.items() if age > limit]
        trouble = self._database.trouble
        well = wrote <= limit if expected else await asyncio.to_thread(self._store_reads)
        if trouble or not well:
            silent.append("store")
        settings = self._settings
        document = {
            "status": "silent" if silent else "ok",
            "silent": silent,
            "loops": {name: {"age_seconds": age} for name, age in loops.items()},
            "store": {
                "last_write_age_seconds": wrote if expected else None,
                "trouble": trouble,
                **self._database.description(),
            },
            "provider": self._provider_trouble(),
            "alerts": self._alerts_status(),
            "roles": sorted(settings.roles),
            "sandbox": settings.embedded_sandbox,
            "approvals": "in force" if settings.approval_limit else settings.approval_above and APPROVAL_OFF,
        }
        return JSONResponse(document, status_code=503 if silent else 200)

    async def readyz(self, _request: Request) -> Response:
        """Answer 200 once each loop has begun and while the store can be read and written, else 503 with the reasons.

        What waits for the provider is ready: webhooks and pages do not need it.
        """
        beats = self._heartbeat.beats
        waits_for = [] if self.begun else ["start"]
        waits_for += [name for name in self._expected_loops() if self.begun and name not in beats]
        if self._database.trouble or not await asyncio.to_thread(self._store_reads):
            waits_for.append("store")
        document = {"status": "not ready" if waits_for else "ready", "waits_for": waits_for}
        return JSONResponse(document, status_code=503 if waits_for else 200)

    async def metrics(self, _request: Request) -> Response:
        """Answer the metrics as Prometheus text, or 503 where the store cannot be read."""
        try:
            return await asyncio.to_thread(self._exposition)
        except StoreError as exc:
            return Response(f"# {exc}\n", status_code=503, media_type="text/plain")

    def _exposition(self) -> Response:
        from tracking.app.web import metrics  # noqa: PLC0415 - brings its library, which no start has to wait for

        text = metrics.metrics_text(self._database, self._clock(), self.calls, self._requests)
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})

    def _ages(self) -> dict[str, float]:
        now, beats = self._clock(), self._heartbeat.beats
        return {name: _age(now, beats.get(name, self.started_at)) for name in self._expected_loops()}

    def _expected_loops(self) -> list[str]:
        roles = self._settings.roles
        loops = [role.value for role in (Role.WEBHOOKS, Role.POLLER, Role.SENDER) if role in roles]
        loops += [DeliveryLoop.name] if Role.SENDER in roles else []
        return [*loops, JobLoop.name] if roles & {Role.POLLER, Role.SENDER} else loops

    def _provider_trouble(self) -> dict[str, str | None]:
        """Say since when calls of this process fail, and why: it waits for the provider, and is well itself."""
        status = self._client_status()
        since = status.get("failing_since")
        return {"failing_since": since, "trouble": status.get("last_error") if since else None}

    def _store_reads(self) -> bool:
        with contextlib.suppress(StoreError), self._database.read() as connection:
            facts.get_fact(connection, FactKey.API_CLIENT)
            return True
        return False


def _age(now: datetime, then: datetime) -> float:
    """Count the seconds since a time, or until it: the clock stepped back, and no heartbeat came since."""
    return round(abs((now - then).total_seconds()), 1)
