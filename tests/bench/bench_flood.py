"""A worker under a flood: genuine callbacks and polling beside a thousand hostile calls a second, all on 127.0.0.x.

    make bench-flood                     a minute (ARGS="--seconds 5" for less)

A sandbox whose orders never end, a worker that polls them, and this process, which plays the provider's webhooks and
the strangers, some of them from the provider's own address as behind a proxy. First an idle stretch, then the flood.
Exits 1 where a genuine call was lost or late, where the polling stalled, or where the flood left more than a trace.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / name) for name in ("", "support", "scenarios")]

from processes.children import Child, free_port, nursery, provider_settings, until  # noqa: E402 - found through the lines above
from processes.over_http import made_up, store_of, submit  # noqa: E402 - the same
from sqlalchemy import func, select  # noqa: E402 - the same

from tracking.storage.database import Database  # noqa: E402 - the same
from tracking.storage.tables import CALLBACKS, ORDERS  # noqa: E402 - the same
from tracking.webhooks import addresses  # noqa: E402 - the same
from tracking.webhooks.refusals import REFUSALS_STORED_PER_SECOND  # noqa: E402 - the same

SECRET = "a secret for this measurement alone"
ORDERS_POLLED = 40
GENUINE_A_SECOND = 10
LATEST = 2.0  # seconds a genuine call may wait for its answer, at the 99th percentile
LEAST_LOOKS = 0.5  # of those in an idle stretch of the same length
MOST_GROWTH = 64  # MB
STREAMS = 40  # connections of the flood that stay open
WARM_UP = 3.0  # seconds
SLOW = 100  # connections that send a body byte by byte
OWN, STRANGERS = "127.0.0.1", ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


@dataclass
class Figures:
    """What was sent and what came back."""

    genuine: list[float] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    refused: Counter[bytes] = field(default_factory=Counter)
    broken: int = 0


def request(path: str, body: bytes, *, method: str = "POST", close: bool = False) -> bytes:
    """The bytes of one call."""
    last = "Connection: close\r\n" if close else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: console\r\n{last}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def claim(po_number: str | None, stamp: str, provider_id: str | None = None) -> bytes:
    """A callback's body."""
    named = {"PONumber": po_number, "OrderId": provider_id}
    told = "".join(f'"{name}":"{value}",' for name, value in named.items() if value)
    return f'{{"Action":"FulfillmentComplete",{told}"Timestamp":"{stamp}"}}'.encode()


def hostile(po_numbers: list[str], rng: random.Random) -> bytes:
    """What a stranger may send: tokens made up and of other orders, broken and large bodies, other methods."""
    mine, other = rng.sample(po_numbers, 2)
    guessed = "".join(rng.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", k=43))
    token = addresses.make_token(mine, SECRET)
    path, body, method = rng.choice(
        [
            (guessed, claim(mine, "01/02/2026 03:09:00 AM"), "POST"),
            (guessed, claim(mine, "01/02/2026 03:09:00 AM"), "POST"),
            (token, claim(other, "01/02/2026 03:09:00 AM"), "POST"),
            (guessed, claim(None, "", f"BLK-{rng.randrange(10**9):09d}"), "POST"),
            (token, b'{"Action":' * 50, "POST"),
            (token, b"\xff" * 100, "POST"),
            (guessed, b" " * 8192, "POST"),
            (guessed[:7], b"", "POST"),
            (token, b"", "GET"),
        ]
    )
    return request(f"/webhooks/fulfillment/{path}", body, method=method)


class Stream:
    """A connection that sends one call after the other."""

    def __init__(self, port: int, source: str) -> None:
        self._port = port
        self._source = source
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, call: bytes) -> bytes:
        """The head of the answer, its Date apart; a connection that was closed meanwhile is opened anew, once."""
        for again in (True, False):
            try:
                reader, writer = self._open or await asyncio.open_connection(
                    "127.0.0.1", self._port, local_addr=(self._source, 0)
                )
                self._open = reader, writer
                writer.write(call)
                head = await reader.readuntil(b"\r\n\r\n")
            except (OSError, asyncio.IncompleteReadError):
                self.close()
                if not again:
                    raise
            else:
                return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"date:"))
        raise AssertionError("the second failure is raised")

    def close(self) -> None:
        """Lets go of the connection."""
        if self._open is not None:
            self._open[1].close()
        self._open = None


async def paced(rate: float, end: float, beat: object) -> None:
    """Calls `beat` so many times a second until the end, late ones at once."""
    began = time.perf_counter()
    for number in itertools.count():
        due = began + number / rate
        if due >= end:
            return
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        await beat()  # type: ignore[operator]  # a coroutine function


class Flood:
    """The hostile calls and the genuine ones, side by side, until the end."""

    def __init__(self, port: int, po_numbers: list[str], seconds: float, rate: int) -> None:
        self.figures = Figures()
        self._port = port
        self._po_numbers = po_numbers
        self._end = time.perf_counter() + seconds
        self._rate = rate
        self._rng = random.Random(1)
        self._numbers = itertools.count()

    async def run(self) -> Figures:
        """Everything at once; what came of it."""
        tasks = [self._provider()]
        if self._rate:
            tasks += [task(number) for task in (self._stay, self._come_and_go) for number in range(STREAMS)]
            tasks += [self._dawdle(number) for number in range(SLOW)]
        await asyncio.gather(*tasks)
        return self.figures

    def _stream(self, number: int) -> Stream:
        return Stream(self._port, STRANGERS[number % len(STRANGERS)])

    async def _send(self, stream: Stream) -> None:
        try:
            self.figures.refused[await stream.ask(hostile(self._po_numbers, self._rng))] += 1
        except (OSError, asyncio.IncompleteReadError):
            self.figures.broken += 1

    async def _stay(self, number: int) -> None:
        """A stranger that keeps its connection."""
        stream = self._stream(number)
        await paced(0.8 * self._rate / STREAMS, self._end, lambda: self._send(stream))
        stream.close()

    async def _come_and_go(self, number: int) -> None:
        """A stranger that connects for each call."""

        async def once() -> None:
            stream = self._stream(number)
            await self._send(stream)
            stream.close()

        await paced(0.2 * self._rate / STREAMS, self._end, once)

    async def _dawdle(self, number: int) -> None:
        """A stranger that sends its body byte by byte, and comes back when it is cut off."""
        source = STRANGERS[number % len(STRANGERS)]
        head = request("/webhooks/fulfillment/" + "x" * 43, b" " * 100)[:-100]
        while time.perf_counter() < self._end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
                writer.write(head)
                while time.perf_counter() < self._end and not writer.is_closing():
                    writer.write(b" ")
                    await asyncio.sleep(1)
                writer.close()

    async def _provider(self) -> None:
        async with asyncio.TaskGroup() as group:

            async def beat() -> None:
                group.create_task(self._announce())

            await paced(GENUINE_A_SECOND, self._end, beat)

    async def _announce(self) -> None:
        number = next(self._numbers)
        po_number = self._po_numbers[number % len(self._po_numbers)]
        stamp = f"{number % 12 + 1:02d}/{number // 12 % 28 + 1:02d}/2026 03:{number // 336 % 60:02d}:00 AM"
        path = f"/webhooks/fulfillment/{addresses.make_token(po_number, SECRET)}"
        stream, began = Stream(self._port, OWN), time.perf_counter()
        try:
            head = await stream.ask(request(path, claim(po_number, stamp)))
        except (OSError, asyncio.IncompleteReadError) as exc:
            self.figures.lost[type(exc).__name__] += 1
            return
        finally:
            stream.close()
        self.figures.genuine.append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 204 "):
            self.figures.lost[head[:12].decode()] += 1


def looks(store: Database) -> int:
    """How many looks the worker has had at all orders together."""
    with store.read() as connection:
        return int(connection.execute(select(func.sum(ORDERS.c.looks))).scalar_one() or 0)


def refused_rows(store: Database) -> int:
    """How many refused calls are kept."""
    with store.read() as connection:
        refused = select(func.count()).select_from(CALLBACKS).where(CALLBACKS.c.outcome == "refused")
        return int(connection.execute(refused).scalar_one())


def cpu(child: Child) -> float:
    """The processor seconds the process has used; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        spent = Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def memory(child: Child) -> int:
    """The resident memory of the process in MB; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{child.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // 1024
    return 0


def percentile(values: list[float], share: float) -> float:
    """The value below which this share lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def measure(folder: Path, seconds: float, rate: int) -> int:
    """Runs both stretches and says what came; the exit code."""
    with nursery(folder) as children:
        port = free_port()
        sandbox = children.sandbox("endless-pending", speed=1)
        settings = provider_settings(sandbox.url) | {
            "WEBHOOK_SECRET": SECRET,
            "POLL_CEILING": 1,  # the same as the floor: the wait grows neither with age nor after a notice
            "POLL_FLOOR": 1,
            "DISCOVER_EVERY": 5,
        }
        worker = children.worker(settings, port=port).ready()
        requests = made_up(ORDERS_POLLED)
        po_numbers = [one.po_number for one in requests]
        with store_of(children.database_url) as store:
            submit(store, requests)
            until("a look at every order", lambda: looks(store) >= ORDERS_POLLED, within=60)
            stretches: list[tuple[Figures, int, float]] = []
            began = time.monotonic()
            asyncio.run(Flood(port, po_numbers, WARM_UP, rate).run())
            before = memory(worker)
            for calls in (0, rate):
                seen, spent = looks(store), cpu(worker)
                figures = asyncio.run(Flood(port, po_numbers, seconds, calls).run())
                stretches.append((figures, looks(store) - seen, cpu(worker) - spent))
            kept, most_kept = refused_rows(store), REFUSALS_STORED_PER_SECOND * (time.monotonic() - began + 1)
            grown = memory(worker) - before
        said = worker.ready().said
    wrong = shortcomings(stretches, said)
    wrong += [f"{kept} refusals kept"] if kept > most_kept else []
    wrong += [f"grown by {grown} MB"] if grown > MOST_GROWTH else []
    return told(
        stretches, seconds, f"{kept} refusals kept; {before} MB of memory before, {grown} MB more afterwards", wrong
    )


def shortcomings(stretches: list[tuple[Figures, int, float]], said: str) -> list[str]:
    """What the flood harmed."""
    (_, idle, _), (figures, flooded, _) = stretches
    wrong = [
        f"genuine calls lost: {dict(figures.lost)}" if figures.lost else "",
        "genuine calls late" if percentile(figures.genuine, 0.99) > LATEST else "",
        "the polling stalled" if flooded < LEAST_LOOKS * idle else "",
        f"{len(figures.refused)} kinds of refusals: {list(figures.refused)[:3]}" if len(figures.refused) != 1 else "",
        "the worker stumbled" if "Traceback" in said else "",
    ]
    return [each for each in wrong if each]


def told(stretches: list[tuple[Figures, int, float]], seconds: float, traces: str, wrong: list[str]) -> int:
    """Prints the figures; the exit code."""
    for name, (figures, looked, spent) in zip(("idle", "flood"), stretches, strict=True):
        middle, late = statistics.median(figures.genuine) * 1000, percentile(figures.genuine, 0.99) * 1000
        print(
            f"{name}: {len(figures.genuine)} genuine calls, {figures.lost.total()} lost, p50 {middle:.1f} ms,"
            f" p99 {late:.1f} ms; {figures.refused.total() / seconds:,.0f} hostile calls a second refused,"
            f" {figures.broken} broken off; {looked} polls; the worker's processor {spent / seconds:.0%}"
        )
    (_, idle, _), (figures, flooded, _) = stretches
    print(
        f"flood: genuine p99 {percentile(figures.genuine, 0.99) * 1000:.1f} ms, {figures.lost.total()} lost;"
        f" polls {flooded / max(idle, 1):.2f} times those of idle; {traces}"
        f"{' FALLS SHORT: ' + '; '.join(wrong) if wrong else ''}"
    )
    return 1 if wrong else 0


def main() -> int:
    """Measures what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description="A worker under a flood of hostile callbacks.")
    parser.add_argument("--seconds", type=float, default=60, help="length of the idle stretch and of the flood")
    parser.add_argument("--rate", type=int, default=1000, help="hostile calls a second")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tracking-flood-") as folder:
        return measure(Path(folder), asked.seconds, asked.rate)


if __name__ == "__main__":
    sys.exit(main())
