"""Callbacks beside a reader that is always there, with each driver of SQLite: a page must not hold up the intake.

    make bench-readers                   half a minute (ARGS="--seconds 20" for more)

For each driver a worker of its own and twenty callbacks a second, first alone, then beside a process that reads as a
page over a large store does: transactions of a second, one after the other. Figures of one run are comparable, as all
have the same machine. Exits 1 where the installed driver keeps a write-ahead log and callbacks wait all the same.
"""

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("", "support", "scenarios"))]

from bench_flood import OWN, Stream, claim, paced, percentile, request  # noqa: E402 - found through the lines above
from processes.children import Child, Nursery, free_port, nursery  # noqa: E402 - the same
from processes.over_http import made_up, store_of, submit  # noqa: E402 - the same

from tracking.storage import engines  # noqa: E402 - the same
from tracking.storage.sqlite import driver, journal  # noqa: E402 - the same
from tracking.webhooks import addresses  # noqa: E402 - the same

SECRET = "a secret for this measurement alone"
CALLS_A_SECOND = 20
ORDERS = 200
MOST = 3.0  # times as long as alone
STANDARD = 'import sys\nsys.modules["pysqlite3"] = None\n'  # as where it is not installed
WORKER = "from tracking.__main__ import main\nmain()"
READER = """
import sys, time
from tracking.storage import engines
engine = engines.make_engine(sys.argv[1], writes=False)
print("reading", flush=True)
while True:
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM orders").fetchall()
        time.sleep(float(sys.argv[2]))
"""
READ_SECONDS = 1.0


async def announce(port: int, po_numbers: list[str], seconds: float) -> list[float]:
    """The seconds each callback waited for its 204, sent at an even pace; whatever else comes ends the measurement."""
    waited: list[float] = []
    numbers, end = itertools.count(), time.perf_counter() + seconds

    async def once() -> None:
        number = next(numbers)
        stamp = f"{number % 12 + 1:02d}/{number // 12 % 28 + 1:02d}/2026 03:{number // 336 % 60:02d}:00 AM"
        po_number = po_numbers[number % len(po_numbers)]
        path = f"/webhooks/fulfillment/{addresses.make_token(po_number, SECRET)}"
        stream, began = Stream(port, OWN), time.perf_counter()
        head = await stream.ask(request(path, claim(po_number, stamp)))
        stream.close()
        if not head.startswith((b"HTTP/1.1 204 ", b"HTTP/1.1 503 ")):
            raise SystemExit(f"a genuine callback was refused: {head[:40]!r}")
        waited.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:

        async def beat() -> None:
            group.create_task(once())

        await paced(CALLS_A_SECOND, end, beat)
    return waited


@contextlib.contextmanager
def reading(children: Nursery, prefix: str) -> Iterator[Child]:
    """Another process reads meanwhile."""
    reader = children.start([sys.executable, "-c", prefix + READER, children.database_url, str(READ_SECONDS)])
    while "reading" not in reader.said:
        time.sleep(0.05)
    try:
        yield reader
    finally:
        reader.kill()


def measure(folder: Path, prefix: str, seconds: float) -> tuple[list[float], list[float], dict[str, str]]:
    """What callbacks waited alone and beside the reader, and what the worker says of its store."""
    folder.mkdir()
    with nursery(folder) as children:
        engines.migrate(children.database_url)
        requests = made_up(ORDERS)
        with store_of(children.database_url) as store:
            submit(store, requests)
        port = free_port()
        command = [sys.executable, "-c", prefix + WORKER, "worker", "--port", str(port)]
        settings = {"WEBHOOK_SECRET": SECRET, "ROLES": "webhooks"}
        worker = children.serve(command, port, settings).ready()
        po_numbers = [one.po_number for one in requests]
        asyncio.run(announce(port, po_numbers, 1))
        alone = asyncio.run(announce(port, po_numbers, seconds))
        with reading(children, prefix):
            beside = asyncio.run(announce(port, po_numbers, seconds))
        return alone, beside, health(worker)


def health(worker: Child) -> dict[str, str]:
    """What the worker says of its store."""
    import httpx  # noqa: PLC0415 - asked once

    said: dict[str, str] = httpx.get(f"{worker.url}/healthz", trust_env=False).json()["store"]
    return said


def main() -> int:
    """Measures what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description="Callbacks beside a reader, with each driver of SQLite.")
    parser.add_argument("--seconds", type=float, default=8, help="length of each stretch")
    asked = parser.parse_args()
    ratios: dict[str, float] = {}
    prefixes = ["", STANDARD] if driver.NAME == "pysqlite3" else [""]
    for number, prefix in enumerate(prefixes):
        with tempfile.TemporaryDirectory(prefix="tracking-readers-") as folder:
            alone, beside, store = measure(Path(folder) / str(number), prefix, asked.seconds)
        middle = [statistics.median(each) * 1000 for each in (alone, beside)]
        late = [percentile(each, 0.99) * 1000 for each in (alone, beside)]
        how = f"{store['driver']} {store['sqlite_version']}, {store['journal_mode']}"
        ratios[how] = middle[1] / middle[0]
        waits = (f"p50 {each:.1f} ms, p99 {last:.1f} ms" for each, last in zip(middle, late, strict=True))
        print(f"{how}: webhooks alone {next(waits)}; beside a reader {next(waits)}")
    fine = next(iter(ratios.values())) <= MOST or not journal.keeps_wal()
    said = ", ".join(f"{ratio:.2f} ({how})" for how, ratio in ratios.items())
    allowed = f"; {MOST:g} allowed with a write-ahead log"
    print(f"readers: webhooks' p50 beside a reader, times that alone: {said}{allowed}{'' if fine else ' FALLS SHORT'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
