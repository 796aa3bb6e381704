"""Embedded sandbox: runs the simulated provider inside our own process, without port and network."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from starlette.types import ASGIApp

from tracking.errors import Problem, SettingsError
from tracking.settings.values import Settings
from tracking.storage.engines import file_of
from tracking.submissions.catalog import did_you_mean

if TYPE_CHECKING:
    from tracking.sandbox.server import Sandbox

log = logging.getLogger(__name__)

PUBLIC_URL = "http://console.internal"
HISTORY_DAYS = 7


_at_work: list[Sandbox] = []


def running_sandbox() -> Sandbox | None:
    """Find the embedded sandbox that runs in this process; None where none does."""
    return _at_work[-1] if _at_work else None


class InProcessTransport(httpx.AsyncBaseTransport):
    """Calls an application in process; whatever it raises becomes a broken connection, as over a network."""

    def __init__(self, app: ASGIApp) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raises httpx.RemoteProtocolError where the application breaks off."""
        try:
            return await self._transport.handle_async_request(request)
        except httpx.HTTPError:
            raise
        except Exception as exc:
            raise httpx.RemoteProtocolError("the connection broke", request=request) from exc


def note_words() -> Mapping[str, str]:
    """List the words that choose, in square brackets in an order's note, how the sandbox treats it: word to effect."""
    from tracking.sandbox.faults import NOTE_WORDS  # noqa: PLC0415 - no start with a real provider waits for it

    return NOTE_WORDS


def check_settings(settings: Settings) -> None:
    """Check what the embedded sandbox is told, before anything is made. Raises SettingsError with every problem."""
    from tracking.sandbox.scenarios import SCENARIOS  # noqa: PLC0415 - as above

    problems, name = [], settings.sandbox_scenario
    if name not in SCENARIOS:
        hint = did_you_mean(name, SCENARIOS) or "; tracking sandbox --list names them"
        problems.append(Problem("TRACKING_SANDBOX_SCENARIO", f"is not a scenario{hint}"))
    store, ours = file_of(settings.database_url), _file_of_sandbox(settings)
    if store is not None and store.resolve() == ours.resolve():  # it has a SQLite of its own: see `driver`
        problems.append(Problem("TRACKING_DATABASE_URL", f"names the file of the sandbox, {store}"))
    if problems:
        raise SettingsError(problems)


def announce(settings: Settings) -> None:
    """Say in the log that no provider is worked with, and why. Raises SettingsError as `check_settings` does."""
    check_settings(settings)
    asked = "TRACKING_API_BASE_URL asks for it" if settings.api_base_url else "nothing of a provider is set"
    log.warning("the provider is simulated by the embedded sandbox, as %s: no order is real", asked)


def _file_of_sandbox(settings: Settings) -> Path:
    return settings.data_folder / "sandbox.db"


class EmbeddedSandbox:
    """A sandbox in `sandbox.db` in the data folder, which delivers its webhooks to `receiver`, our own application.

    With traffic it is part of a demonstration, which gives it a past and a present. Without, it has a week of orders
    from elsewhere and is quiet. The settings are those that `check_settings` accepts.
    """

    def __init__(self, settings: Settings, receiver: ASGIApp) -> None:
        from tracking.sandbox.server import Sandbox  # noqa: PLC0415 - as above

        self._sandbox_type = Sandbox
        self._path = _file_of_sandbox(settings)
        self._settings = settings
        self.receiver = receiver
        self.demonstrates = settings.sandbox_traffic > 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Sandbox, httpx.AsyncBaseTransport]]:
        """Run the sandbox while the block lasts; gives it and the transport that leads to it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        async with httpx.AsyncClient(transport=InProcessTransport(self.receiver), timeout=10) as webhooks:
            sandbox = self._sandbox_type(
                self._path,
                scenario=self._settings.sandbox_scenario,
                history_days=0 if self.demonstrates else HISTORY_DAYS,
                lifelike=self.demonstrates,
                webhook_client=webhooks,
            )
            _at_work.append(sandbox)
            try:
                async with sandbox.running():
                    yield sandbox, InProcessTransport(sandbox.app)
            finally:
                _at_work.remove(sandbox)
                sandbox.close()
