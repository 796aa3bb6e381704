"""The two servers of the command line: a worker without pages, and the simulated provider over HTTP.

Owns the listening socket and the server from its start to the signal that ends it. Holds no rule of what is served.
"""

import asyncio
import contextlib
import socket
import sqlite3
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import typer
import uvicorn
from starlette.types import ASGIApp

from tracking import settings
from tracking.app.backend import Backend
from tracking.app.cli import output as terminal
from tracking.app.connection_limits import BoundedProtocol
from tracking.errors import Problem, SettingsError
from tracking.settings import Role


def serve_worker(host: str, port: int) -> None:
    """Receiver, poller and sender as the settings name them, until a signal ends it.

    Raises:
        SettingsError: they name none of the three.
    """
    loaded = settings.load()
    roles = loaded.roles - {Role.PAGES}
    if not roles:
        raise SettingsError([Problem("TRACKING_ROLES", "names pages only; a worker needs webhooks, poller or sender")])
    backend = Backend(loaded.model_copy(update={"roles": roles}))
    what = ", ".join(sorted(roles)) + (" with the embedded sandbox" if loaded.embedded_sandbox else "")
    try:
        _serve(backend.asgi(), host, port, contextlib.nullcontext(), what)
    finally:
        backend.database.close()


def serve_sandbox(
    file: Path,
    host: str,
    port: int,
    *,
    scenario: str,
    traffic: float,
    history_days: int,
    speed: float,
    seed: int,
) -> None:
    """The simulated provider remembering in this file, until a signal ends it."""
    from tracking.sandbox import Sandbox  # noqa: PLC0415 - a worker, which starts through here too, does not need it

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        simulated = Sandbox(file, scenario=scenario, traffic=traffic, history_days=history_days, speed=speed, seed=seed)
    except (OSError, sqlite3.Error) as exc:
        terminal.say(f"{file} cannot be used ({exc}): choose another --database")
        raise typer.Exit(1) from exc
    what = f"simulated provider ({scenario}; Email sandbox@example.com, AccessToken sandbox)"
    try:
        _serve(simulated.app, host, port, simulated.running(), what)
    finally:
        simulated.close()


def _serve(application: ASGIApp, host: str, port: int, around: AbstractAsyncContextManager[None], what: str) -> None:
    """Serves until a signal ends it."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as exc:
        why = str(exc.strerror).partition(" (")[0]
        terminal.say(f"{host}:{port} cannot be listened on ({why}): choose another --host or --port")
        raise typer.Exit(1) from exc
    config = uvicorn.Config(
        application,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    try:
        with listening:
            terminal.say(f"{what}: http://{host}:{listening.getsockname()[1]}")
            asyncio.run(_served(server, listening, around))
    except KeyboardInterrupt:
        return
    if not server.started:
        raise typer.Exit(1)


async def _served(server: uvicorn.Server, listening: socket.socket, around: AbstractAsyncContextManager[None]) -> None:
    async with around:
        await server.serve(sockets=[listening])
