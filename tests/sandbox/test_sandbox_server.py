"""The sandbox behind a real server, where a broken connection is really broken; and starts that fail."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from tracking.sandbox.server import Sandbox

if TYPE_CHECKING:
    from sandbox.conftest import Desk
    from starlette.applications import Starlette


@asynccontextmanager
async def _served(app: Starlette) -> AsyncIterator[str]:
    """The address of a server that lasts as long as the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn offers no event to wait for
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


def test_a_disconnect_breaks_the_connection_without_a_traceback(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sandbox = desk.start()
    body = desk.order("po", note="[disconnect]")

    async def talk() -> list[int]:
        async with _served(sandbox.app) as address, httpx.AsyncClient(base_url=address, trust_env=False) as client:
            credentials = {"Email": "sandbox@example.com", "AccessToken": "sandbox"}
            token = (await client.post("/v1/Tokens", headers=credentials)).json()["Value"]
            client.headers["Authorization"] = f"Bearer {token}"
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/v1/Orders", json=body)
            statuses = []
            for _ in range(2):
                try:
                    statuses.append((await client.post("/v1/Orders", json=body)).status_code)
                except httpx.RemoteProtocolError:
                    continue
            return statuses

    assert asyncio.run(talk())[-1] == 409
    assert len(sandbox.truth()) == 1
    assert "Traceback" not in caplog.text


def test_a_disconnect_in_process_raises(desk: Desk) -> None:
    sandbox = desk.start()
    with pytest.raises(ConnectionResetError):
        desk.post(desk.order("po", note="[disconnect]"))
    assert len(sandbox.truth()) == 1


def test_a_speed_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speed"):
        Sandbox(tmp_path / "x.db", speed=0)


def test_an_unknown_scenario_is_refused(desk: Desk) -> None:
    with pytest.raises(ValueError, match="unknown scenario 'nope'"):
        desk.start("nope")
