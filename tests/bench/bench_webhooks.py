"""Webhooks over real sockets: durable before their 204, against a bare endpoint on the same HTTP server.

    make bench-webhooks                  half a minute (ARGS="--calls 3000" for more)

A worker with the role webhooks and a bare endpoint take turns under the same load, 64 calls in flight, each call of an
order of its own. Once more with the standard library's SQLite, whose rollback journal is the fallback. Beside that what
the writer alone takes to record them (`intake_costs`). Figures of one run are comparable; exits 1 where a ratio falls
short.
"""

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import intake_costs  # isort: skip - the same
from sockets import STANDARD_DRIVER, Load, load, post, serve_bare, serve_product  # isort: skip - finds the tests' rooms
from processes.children import HTTP, Child, Nursery, nursery
from processes.over_http import store_of
from sqlalchemy import Connection

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.provider.responses import read_order
from tracking.storage import engines
from tracking.storage.database import Database
from tracking.storage.sqlite import driver
from tracking.webhooks import addresses

SECRET = "a secret for this measurement alone"
IN_FLIGHT = 64
CALLS, ROUNDS = 1000, 3
LEAST_RATE, MOST_PROCESSOR = 0.15, 4.5  # against the bare endpoint
RECORDED, LEAST_GAIN = 4000, 2.0  # calls; a call among others costs the writer so many times less than by itself
MOST_WAIT = 12.0  # at the 99th percentile, times as long as at the bare endpoint
MOST_COMMITS = 0.03  # a callback: those in flight arrive together, and are to be committed together


@dataclass(frozen=True)
class Taken:
    """A worker and the bare endpoint, round by round under the same load, and what each callback cost the store."""

    how: str
    rounds: list[tuple[Load, Load]]
    statements: float
    commits: float

    def ratio(self, figure: str) -> float:
        """The median of the rounds, the worker against the bare endpoint."""
        ours, bare = self.medians(figure)
        return ours / bare

    def medians(self, figure: str) -> tuple[float, float]:
        """The medians of the rounds, of the worker and of the bare endpoint."""
        loads = zip(*self.rounds, strict=True)
        ours, bare = (statistics.median(float(getattr(load, figure)) for load in each) for each in loads)
        return ours, bare

    def waits(self, quantile: float) -> tuple[float, float]:
        """The seconds within which this share of the answers came, of both; the median of the rounds."""
        ours, bare = zip(*((one.wait(quantile), other.wait(quantile)) for one, other in self.rounds), strict=True)
        return statistics.median(ours), statistics.median(bare)


def a_planner() -> PlanningContext:
    """Plans polls as a console does that has learned nothing yet."""
    return PlanningContext(Policy(timedelta(seconds=1), timedelta(minutes=15)), random.Random(1))


def open_orders(store: Database, count: int) -> list[str]:
    """Orders that the provider has and has not finished; their PONumbers."""
    now, planner = datetime.now(UTC), a_planner()
    numbers = [f"CALL-{number:06d}" for number in range(count)]

    def job(connection: Connection) -> None:
        for number in numbers:
            line = {"Id": f"L-{number}", "Status": "Pending", "ProductId": "CVS", "Value": 10, "Quantity": 1}
            raw = {"Id": f"BLK-{number}", "Status": "Pending", "Type": "Links", "PONumber": number, "LineItems": [line]}
            ingest.discover(connection, read_order(raw), now, now, planner)

    store.write(job)
    return numbers


def calls(po_numbers: Sequence[str]) -> list[bytes]:
    """A genuine call of each order."""
    body = (
        '{{"Action":"FulfillmentComplete","PONumber":"{0}","OrderId":"BLK-{0}","Timestamp":"01/02/2026 03:09:00 AM"}}'
    )
    return [
        post(f"/webhooks/fulfillment/{addresses.make_token(number, SECRET)}", body.format(number).encode())
        for number in po_numbers
    ]


def measure(folder: Path, count: int, prefix: str) -> Taken:
    """Both under the same load by turns, then a worker whose statements are counted."""
    folder.mkdir()
    with nursery(folder) as children:
        engines.migrate(children.database_url)
        with store_of(children.database_url) as store:
            wanted = calls(open_orders(store, count * (ROUNDS + 2)))
        settings: dict[str, object] = {"WEBHOOK_SECRET": SECRET, "ROLES": "webhooks"}
        bare = serve_bare(children)
        ours = serve_product(children, "worker", settings, prefix=prefix)
        parts = [wanted[start : start + count] for start in range(0, len(wanted), count)]
        answered(ours, parts[0], folder)
        rounds = [(answered(ours, part, folder), answered(bare, part, folder)) for part in parts[2:]]
        how = _store_of(ours)
        ours.stop()
        statements, commits = _count(children, settings, prefix, parts[1], folder)
        return Taken(how, rounds, statements, commits)


def answered(server: Child, requests: Sequence[bytes], folder: Path) -> Load:
    """The load, all of it answered with 204."""
    done = load(server, requests, in_flight=IN_FLIGHT, folder=folder)
    if set(done.statuses) != {"204"}:
        raise SystemExit(f"a genuine callback was refused: {done.statuses}")
    return done


def _store_of(worker: Child) -> str:
    store = HTTP.get(f"{worker.url}/healthz").json()["store"]
    return f"{store['driver']} {store['sqlite_version']}, {store['journal_mode']}"


def _count(
    children: Nursery, settings: dict[str, object], prefix: str, requests: Sequence[bytes], folder: Path
) -> tuple[float, float]:
    """The statements and the commits of a callback, less what an idle worker does in as long."""
    file = folder / "counted.json"
    worker = serve_product(children, "worker", settings, prefix=prefix, counted=file)
    answered(worker, requests, folder)
    worker.stop()
    counted = json.loads(file.read_text())
    return counted["statements"] / len(requests), counted["commits"] / len(requests)


def measured(count: int) -> tuple[str, bool]:
    """Measures with each driver of SQLite and prints a line for each; what the installed one reached, and if enough."""
    taken = []
    for number, prefix in enumerate(["", STANDARD_DRIVER] if driver.NAME == "pysqlite3" else [""]):
        with tempfile.TemporaryDirectory(prefix="tracking-webhooks-") as folder:
            taken.append(measure(Path(folder) / str(number), count, prefix))
    for one in taken:
        (ours, bare), (used, bare_used) = one.medians("per_second"), one.medians("processor_each")
        late, bare_late = one.waits(0.99)
        print(
            f"{one.how}: {ours:,.0f} webhooks a second, {bare:,.0f} by a bare endpoint; p99 {late * 1000:.0f} ms"
            f" against {bare_late * 1000:.0f}; processor {used * 1e6:,.0f} us against {bare_used * 1e6:,.0f};"
            f" a callback {one.statements:.2f} statements, {one.commits:.3f} commits"
        )
    first = taken[0]
    rate, processor = first.ratio("per_second"), first.ratio("processor_each")
    late, bare_late = first.waits(0.99)
    fine = rate >= LEAST_RATE and processor <= MOST_PROCESSOR and late / bare_late <= MOST_WAIT
    fine = fine and first.commits <= MOST_COMMITS
    return f"webhooks at {rate:.2f} of a bare endpoint, processor x{processor:.1f}, p99 x{late / bare_late:.1f}", fine


def recorded(folder: Path) -> bool:
    """Prints what the writer takes to record calls together and one by one; whether together costs little enough."""
    url = f"sqlite:///{folder / 'recorded.db'}"
    engines.migrate(url)
    with contextlib.closing(Database(url)) as store:
        together, alone = intake_costs.measure(store, open_orders(store, RECORDED), a_planner())
    print(
        f"the writer records a call in {together * 1e6:,.0f} us of processor where {intake_costs.TOGETHER} came"
        f" together, in {alone * 1e6:,.0f} by itself: x{alone / together:.1f}, the commit apart"
    )
    return alone / together >= LEAST_GAIN


def main() -> int:
    """Measures what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description="Webhooks over real sockets, with each driver of SQLite.")
    parser.add_argument("--calls", type=int, default=CALLS, help="callbacks in each of the rounds")
    count = parser.parse_args().calls
    with tempfile.TemporaryDirectory(prefix="tracking-webhooks-") as folder:
        cheap = recorded(Path(folder))
    reached, fine = measured(count)
    fine = fine and cheap
    print(f"{reached}{'' if fine else ' FALLS SHORT'}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
