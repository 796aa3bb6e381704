"""Commands that run until a signal ends them: worker (no pages) and sandbox (the simulated provider over HTTP)."""

import asyncio
import contextlib
import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from starlette.types import ASGIApp

from tracking.app.backend import Backend
from tracking.app.cli import output
from tracking.app.cli.context import load_settings, print_store
from tracking.app.cli.options import HostOption, JsonFlag, SeedOption
from tracking.app.telemetry import logs
from tracking.app.web.connection_limits import limited
from tracking.errors import Problem, SettingsError
from tracking.settings.roles import Role
from tracking.startup import spare_once_started


def worker_command(
    *,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for webhooks, /healthz and /metrics.")] = 8600,
) -> None:
    """Run webhook receiver, poller and sender, without pages."""
    loaded = load_settings()
    logs.configure(loaded.log_level, loaded.log_format)
    print_store(loaded.database_url)
    roles = loaded.roles - {Role.PAGES}
    if not roles:
        raise SettingsError([Problem("TRACKING_ROLES", "names pages only; a worker needs webhooks, poller or sender")])
    backend = Backend(loaded.model_copy(update={"roles": roles}))
    what = ", ".join(sorted(roles)) + (" with the embedded sandbox" if loaded.embedded_sandbox else "")
    with contextlib.closing(backend.database):
        serve(backend.asgi(), host, port, contextlib.nullcontext(), what)


def sandbox_command(  # noqa: PLR0913 - each is an option of its own, and typer reads them from here
    *,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8700,
    scenario: Annotated[str, typer.Option(help="How it behaves; see --list.")] = "normal",
    file: Annotated[Path, typer.Option("--database", help="The file it keeps its data in.")] = Path(
        "data/sandbox-server.db"
    ),
    traffic: Annotated[float, typer.Option(min=0, max=600, help="Orders per minute from other systems.")] = 0.0,
    history_days: Annotated[int, typer.Option(min=0, max=3650, help="Days of history for a new file.")] = 0,
    speed: Annotated[float, typer.Option(min=0.001, max=1e6, help="Divides all delays.")] = 1.0,
    seed: SeedOption = 0,
    listed: Annotated[bool, typer.Option("--list", help="List the scenarios and exit.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the simulated provider over HTTP."""
    from tracking.sandbox.scenarios import SCENARIOS  # noqa: PLC0415 - the other commands need not wait for it
    from tracking.sandbox.server import Sandbox  # noqa: PLC0415 - as above

    if listed and as_json:
        output.print_json([{"name": each.name, "summary": each.summary} for each in SCENARIOS.values()])
    elif listed:
        rows = ((each.name, each.summary) for each in SCENARIOS.values())
        output.print_table(("scenario", "what it does"), rows)
    if listed:
        return
    if scenario not in SCENARIOS:
        raise typer.BadParameter(f"{scenario!r} is not a scenario; see --list", param_hint="--scenario")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        simulated = Sandbox(file, scenario=scenario, traffic=traffic, history_days=history_days, speed=speed, seed=seed)
    except OSError as exc:
        output.print_stderr(f"{file} cannot be used ({exc}): choose another --database")
        raise typer.Exit(1) from exc
    what = f"simulated provider ({scenario}; Email sandbox@example.com, AccessToken sandbox)"
    with contextlib.closing(simulated):
        serve(simulated.app, host, port, simulated.running(), what)


class _Server(uvicorn.Server):
    """A server beside which nothing that was made for its start is looked through for garbage."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and leave to the garbage collector what comes after that; what is imported later as well."""
        await super().startup(sockets)
        spare_once_started()


def serve(application: ASGIApp, host: str, port: int, around: AbstractAsyncContextManager[None], what: str) -> None:
    """Serve on a socket of its own, within the context `around`, until a signal ends it."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        why = str(exc.strerror).partition(" (")[0]
        output.print_stderr(f"{host}:{port} cannot be listened on ({why}): choose another --host or --port")
        raise typer.Exit(1) from exc
    server = _Server(limited(application, lifespan="on"))

    async def run() -> None:
        async with around:
            await server.serve(sockets=[listening])

    try:
        with listening:
            output.print_stderr(f"{what}: http://{host}:{listening.getsockname()[1]}")
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(run())
    except KeyboardInterrupt:
        return
    if not server.started:
        raise typer.Exit(1)
