"""A server as `tracking worker` runs it, in a thread, for requests over a real socket."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from tracking.app.web.connection_limits import limited

START_SECONDS = 30


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells when it serves."""
        await super().startup(sockets)
        self.ready.set()


@contextlib.contextmanager
def serving(app: Any) -> Iterator[int]:
    """The port at which the application is served, with bounded connections."""
    server = _Server(limited(app, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        if not server.ready.wait(START_SECONDS):
            raise RuntimeError("the server does not start")
        try:
            yield int(listening.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)
