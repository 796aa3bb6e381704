"""Load over real sockets: servers in processes of their own, and a client that costs next to nothing in another.

What is measured is the server: requests are written as ready bytes over connections that stay open, and of the answers
only the status is read. A bare endpoint on the product's own HTTP server is the yardstick beside it.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE), *(str(HERE.parent / name) for name in ("", "support", "scenarios"))]

from processes.children import Child, Nursery, free_port  # noqa: E402 - found through the line above

PYTHON = (sys.executable, "-c")
START = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
MAIN = "from tracking.__main__ import main\nmain()\n"
STANDARD_DRIVER = 'sys.modules["pysqlite3"] = None\n'  # as where it is not installed
COUNTING = """
import atexit, json, signal
from collections import Counter
from sqlalchemy import event
from sqlalchemy.engine import Engine
counted = Counter()
event.listen(Engine, "commit", lambda connection: counted.update(["commits"]))
event.listen(Engine, "before_cursor_execute", lambda *given: counted.update(["statements"]))
atexit.register(lambda: open({file!r}, "w").write(json.dumps(counted)))
"""
REQUEST_END = b"\r\n\r\n"


def processor_seconds(pid: int) -> float:
    """The seconds of processor that a process has used so far, all its threads together."""
    return time.clock_gettime(~pid << 3 | 2)  # the clock that Linux keeps for the process (clock_getcpuclockid)


def serve_product(
    children: Nursery, command: str, settings: dict[str, object], *, prefix: str = "", counted: Path | None = None
) -> Child:
    """Start `tracking worker` or another command that serves; `counted` gets its statements and commits at its end."""
    port = free_port()
    counting = COUNTING.format(file=str(counted)) if counted else ""
    code = START + prefix + counting + MAIN
    return children.serve([*PYTHON, code, command, "--port", str(port)], port, settings).ready()


def serve_bare(children: Nursery) -> Child:
    """Start an endpoint that reads the body and answers 204, on the HTTP server of the product."""
    port = free_port()
    child = children.serve([sys.executable, str(Path(__file__)), "bare", str(port)], port, {})
    return child.ready("/healthz")


def bare_application() -> Any:
    """The endpoint by which all others are measured."""
    from starlette.applications import Starlette  # noqa: PLC0415 - the process that asks need not wait for it
    from starlette.requests import Request  # noqa: PLC0415 - the same
    from starlette.responses import Response  # noqa: PLC0415 - the same
    from starlette.routing import Route  # noqa: PLC0415 - the same

    async def nothing(request: Request) -> Response:
        await request.body()
        return Response(status_code=204)

    async def well(_request: Request) -> Response:
        return Response(status_code=200)

    return Starlette(routes=[Route("/healthz", well), Route("/{rest:path}", nothing, methods=["POST"])])


@dataclass(frozen=True)
class Load:
    """What became of requests: `seconds` from the first to the last, `waits` of each, how often each status came."""

    seconds: float
    waits: list[float]
    statuses: dict[str, int]
    processor: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.waits) / self.seconds

    @property
    def processor_each(self) -> float:
        """The seconds of processor that the server used for each."""
        return self.processor / len(self.waits)

    def wait(self, quantile: float) -> float:
        """The seconds within which this share of the answers came."""
        return sorted(self.waits)[min(int(quantile * len(self.waits)), len(self.waits) - 1)]


def load(server: Child, requests: Sequence[bytes], *, in_flight: int, folder: Path) -> Load:
    """Send the requests from a process of its own, over so many connections with one request each at a time."""
    file = folder / f"requests-{time.monotonic_ns()}.json"
    file.write_text(json.dumps([request.decode() for request in requests]))
    port = server.url.rpartition(":")[2]
    before = processor_seconds(server.process.pid)
    command = [sys.executable, str(Path(__file__)), "load", port, str(file), str(in_flight)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Load(**said, processor=processor_seconds(server.process.pid) - before)


def post(path: str, body: bytes) -> bytes:
    """The bytes of a request that keeps its connection."""
    head = f"POST {path} HTTP/1.1\r\nHost: console\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + REQUEST_END + body


class _Connection(asyncio.Protocol):
    """Sends one request after the other, as long as there are any."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._requests, self._done = requests, done
        self._began, self._answer = 0.0, b""
        self.waits: list[float] = []
        self.statuses: Counter[str] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Sends the next one once the answer is whole."""
        self._answer += data
        head, end, body = self._answer.partition(REQUEST_END)
        if not end or len(body) < _length(head):
            return
        self.waits.append(time.perf_counter() - self._began)
        self.statuses[head[9:12].decode()] += 1
        self._answer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the measurement where the server closed it."""
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed a connection"))

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)


def _length(head: bytes) -> int:
    _, _, after = head.lower().partition(b"content-length:")
    return int(after.partition(b"\r\n")[0] or 0)


async def _send_all(port: int, requests: Sequence[bytes], in_flight: int) -> dict[str, Any]:
    loop, rest = asyncio.get_running_loop(), iter(requests)
    done = [loop.create_future() for _ in range(in_flight)]
    began = time.perf_counter()
    connections = [_Connection(rest, one) for one in done]
    for connection in connections:
        await loop.create_connection(lambda connection=connection: connection, "127.0.0.1", port)  # type: ignore[misc]  # the default binds the loop's value
    await asyncio.gather(*done)
    seconds = time.perf_counter() - began
    statuses = sum((one.statuses for one in connections), Counter[str]())
    return {"seconds": seconds, "waits": [wait for one in connections for wait in one.waits], "statuses": statuses}


def main(arguments: Sequence[str]) -> None:
    """Serve the bare endpoint, or send a load and print what became of it as JSON."""
    if arguments[0] == "load":
        port, file, in_flight = arguments[1:]
        requests = [request.encode() for request in json.loads(Path(file).read_text())]
        print(json.dumps(asyncio.run(_send_all(int(port), requests, int(in_flight)))))
        return
    from tracking.app.cli import servers  # noqa: PLC0415 - a client does not need it

    servers.serve(bare_application(), "127.0.0.1", int(arguments[1]), contextlib.nullcontext(), "a bare endpoint")


if __name__ == "__main__":
    main(sys.argv[1:])
