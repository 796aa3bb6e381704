"""What a run of a page costs: the console's own pages, opened over their websockets, against a page without content.

    python tests/bench/page_runs.py      half a minute

A run is what a visit, a click or a choice costs the server's process, in milliseconds of processor; the least of some
stretches counts, as whatever else the machine does only adds to it.
"""

import asyncio
import random
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from live_pages import LivePage
from sockets import processor_seconds
from sqlalchemy import select

from tracking.app.demonstration.seeding import seed
from tracking.storage import database
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS

from processes.children import Child, nursery  # isort: skip - found through sockets

ORDERS_STORED = 3_000
STRETCHES, RUNS = 5, 15
ABOVE_EMPTY = 20.0
"""Milliseconds that a run of the three busiest pages may cost above one of an empty page."""
JUDGED = ("overview", "orders", "timeline")


async def run_cost(console: Child, path: str, query: str) -> float:
    """The processor milliseconds of one warm run of a page."""
    port = int(console.url.rpartition(":")[2])
    stretches = []
    async with LivePage(port, path, query) as page:
        for _ in range(3):
            await page.run()
        for _ in range(STRETCHES):
            began = processor_seconds(console.process.pid)
            for _ in range(RUNS):
                await page.run()
            stretches.append((processor_seconds(console.process.pid) - began) / RUNS * 1000)
    if page.failures:
        raise SystemExit(f"the page {path or 'overview'} showed an error: {page.failures[0]}")
    return min(stretches)


def pages_of(store: Database) -> dict[str, tuple[str, str]]:
    """The pages by name, with path and query; of the orders' pages one of an order of some lines."""
    with store.read() as connection:
        some = select(ORDERS.c.po_number).where(ORDERS.c.line_count >= 10).order_by(ORDERS.c.id).limit(1)
        order = f"order={connection.execute(some).scalar_one()}"
    paths = ("orders", "submit", "activity", "insights", "jobs", "imports", "audit", "handover", "alerts", "hooks")
    return {"overview": ("", ""), "timeline": ("timeline", order)} | {path: (path, "") for path in paths}


def measure(folder: Path) -> dict[str, float]:
    """The processor milliseconds of a run of each page above one of an empty page."""
    script = folder / "empty.py"
    script.write_text("import streamlit as st\n", "utf-8")
    with nursery(folder) as children:
        store = database.connect(children.database_url)
        seed(store, ORDERS_STORED, days=30, rng=random.Random(1), now=datetime.now(UTC))
        pages = pages_of(store)
        store.close()
        bare = children.streamlit(script=str(script)).ready("/_stcore/health")
        empty = asyncio.run(run_cost(bare, "", ""))
        bare.kill()
        console = children.streamlit({"ROLES": "pages"}).ready()
        costs = {name: asyncio.run(run_cost(console, *page)) - empty for name, page in pages.items()}
        console.kill()
    told = ", ".join(f"{name} {cost:.1f}" for name, cost in costs.items())
    print(f"a warm run, ms of processor above the {empty:.1f} of an empty page: {told}")
    return costs


def prompt(costs: dict[str, float]) -> bool:
    """Whether each of the pages that people have open all day costs no more than it may."""
    return dearest(costs) <= ABOVE_EMPTY


def dearest(costs: dict[str, float]) -> float:
    """What a run of the dearest of them costs."""
    return max(costs[name] for name in JUDGED)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tracking-pages-") as name:
        sys.exit(0 if prompt(measure(Path(name))) else 1)
