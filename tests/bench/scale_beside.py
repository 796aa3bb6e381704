"""Callbacks beside every page of the console on a large store, and the memory of fifty live pages.

    python tests/bench/scale_beside.py STORE.db      a minute (ARGS="--seconds 60" for more)

The console is a process as it is started everywhere, with receiver and pages in one, on a copy of the store. Twenty
callbacks a second come over sockets, by turns with no page open and with every page open once; the pages are held open
by another process, as browsers would, and refresh by themselves. Exits 1 where callbacks wait for pages, or where fifty
pages take too much memory.
"""

import argparse
import asyncio
import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [*(str(HERE.parent / name) for name in ("", "support", "scenarios")), str(HERE), str(HERE.parents[1])]

from bench_flood import memory, percentile  # noqa: E402 - found through the lines above
from bench_readers import SECRET, announce  # noqa: E402 - the same
from live_pages import LivePage  # noqa: E402 - the same
from processes.children import Child, nursery  # noqa: E402 - the same
from sqlalchemy import select  # noqa: E402 - the same

from tracking.orders.observations import utc_now  # noqa: E402 - the same
from tracking.reports.order_list import search  # noqa: E402 - the same
from tracking.reports.order_list.filters import Filters  # noqa: E402 - the same
from tracking.storage import database  # noqa: E402 - the same
from tracking.storage.database import Database  # noqa: E402 - the same
from tracking.storage.tables import ORDERS  # noqa: E402 - the same

MOST_TIMES, MOST_MEGABYTES = 2.0, 300.0
LIVE_PAGES, TURNS = 50, 3
SETTLED_AFTER = 5.0  # seconds from when all pages were drawn
Address = tuple[str, str]


@dataclass(frozen=True)
class Beside:
    """What callbacks waited in seconds, alone and beside every page; the console's megabytes with fifty pages."""

    alone: list[float]
    beside: list[float]
    megabytes: float

    @property
    def ratio(self) -> float:
        """How much longer the slowest of a hundred waits beside the pages."""
        return percentile(self.beside, 0.99) / percentile(self.alone, 0.99)

    @property
    def holds(self) -> bool:
        """Whether both are within what the design allows."""
        return self.ratio <= MOST_TIMES and self.megabytes <= MOST_MEGABYTES

    def __str__(self) -> str:
        waits = [(statistics.median(each) * 1000, percentile(each, 0.99) * 1000) for each in (self.alone, self.beside)]
        (middle, late), (middle_beside, late_beside) = waits
        return (
            f"callbacks with no page open p50 {middle:.1f} ms, p99 {late:.1f} ms; with every page open p50 "
            f"{middle_beside:.1f} ms, p99 {late_beside:.1f} ms (x{self.ratio:.1f}); the console with {LIVE_PAGES} "
            f"live pages takes {self.megabytes:.0f} MB{'' if self.holds else ' FALLS SHORT'}"
        )


def addresses(store: Database) -> list[Address]:
    """Every page with path and query: the list's in several views, an order's of a large and of a late one."""
    with store.read() as connection:
        large = select(ORDERS.c.po_number).where(ORDERS.c.line_count >= 10).order_by(ORDERS.c.id).limit(1)
        shown = [connection.execute(large).scalar_one()]
    late = search.orders_page(store, Filters(view="late", each=True), utc_now()).rows
    shown += list(late["po_number"].head(1))
    listed = ("", "view=late", "view=open", "view=attention", "state=Completed&page=100", "q=0000012")
    return [
        ("", ""),
        *(("timeline", f"order={po_number}") for po_number in shown),
        *(("orders", query) for query in listed),
        *((path, "") for path in ("submit", "activity", "insights", "jobs", "imports", "audit", "handover")),
    ]


async def hold_open(port: int, pages: Sequence[Address]) -> None:
    """Keeps the pages open until it is killed; says so once each was drawn."""
    async with contextlib.AsyncExitStack() as opened:
        held = [await opened.enter_async_context(LivePage(port, *page, refreshes=True)) for page in pages]
        for page, address in zip(held, pages, strict=True):
            if page.failures:
                raise SystemExit(f"the page {address} showed an error: {page.failures[0]}")
        print("open", flush=True)
        await asyncio.Event().wait()


@contextlib.contextmanager
def pages_open(console: Child, pages: Sequence[Address]) -> Iterator[None]:
    """Another process holds the pages open meanwhile."""
    port = console.url.rpartition(":")[2]
    command = [sys.executable, str(Path(__file__)), "--hold", port, *("?".join(page) for page in pages)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            if holder.stdout is None or holder.stdout.readline().strip() != "open":
                raise SystemExit("the pages could not be opened")
            time.sleep(SETTLED_AFTER)
            yield
        finally:
            holder.kill()


def measure(file: Path, seconds: float, turns: int = TURNS) -> Beside:
    """What callbacks wait on a copy of this store, by turns, and what the pages take."""
    with tempfile.TemporaryDirectory(prefix="tracking-beside-", dir=file.parent) as name:
        folder = Path(name)
        shutil.copy(file, folder / "tracking.db")
        with nursery(folder) as children:
            store = database.connect(children.database_url)
            pages = addresses(store)
            with store.read() as connection:
                newest = select(ORDERS.c.po_number).order_by(ORDERS.c.id.desc()).limit(2000)
                po_numbers = list(connection.execute(newest).scalars())
            store.close()
            console = children.streamlit({"ROLES": "webhooks,pages", "WEBHOOK_SECRET": SECRET}).ready(within=60)
            return _by_turns(console, pages, po_numbers, seconds, turns)


def _by_turns(console: Child, pages: Sequence[Address], po_numbers: list[str], seconds: float, turns: int) -> Beside:
    port = int(console.url.rpartition(":")[2])
    asyncio.run(announce(port, po_numbers, 2))
    alone, beside = list[float](), list[float]()
    for turn in range(turns):
        rest = po_numbers[turn * 17 :]
        alone += asyncio.run(announce(port, rest, seconds / turns))
        with pages_open(console, pages):
            beside += asyncio.run(announce(port, rest, seconds / turns))
    many = [pages[number % len(pages)] for number in range(LIVE_PAGES)]
    with pages_open(console, many):
        return Beside(alone, beside, memory(console))


def main() -> int:
    """Measures what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description="Callbacks beside every page on a large store.")
    parser.add_argument("store", type=Path, help="the SQLite file; it is copied")
    parser.add_argument("--seconds", type=float, default=30, help="of callbacks with pages, and as many without")
    asked = parser.parse_args()
    measured = measure(asked.store, asked.seconds)
    print(f"beside: {measured}")
    return 0 if measured.holds else 1


if __name__ == "__main__":
    if sys.argv[1] == "--hold":
        _, _, at, *opened = sys.argv
        asyncio.run(hold_open(int(at), [(page.partition("?")[0], page.partition("?")[2]) for page in opened]))
    sys.exit(main())
