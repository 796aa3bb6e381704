"""Measures what the product's speed rests on, as ratios within one run: absolute figures drift with the machine.

    make bench

Prints a line a measure and one last line with all ratios; exits 1 where one falls short of what the design counts on.
"""

import json
import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bench_webhooks
import bulk
import file_imports
import hook_delays
import page_reads
import page_runs
import provider_calls
import scale_stores
import seeding_costs
from sqlalchemy import Connection, select

from tracking import ingest
from tracking.app.demonstration.seeding import seed
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.orders.model import Witness
from tracking.orders.observations import Observation, Polled
from tracking.provider.http.recording import ApiCall
from tracking.provider.http.sightings import Sightings
from tracking.provider.json_fields import digest_of, parse
from tracking.provider.masking import mask_json
from tracking.provider.responses import read_order
from tracking.storage import database
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.submissions.files import CheckedFile, read_csv

SECRET = "a secret for this measurement alone"
SMALL, LARGE = 1_000, 10_000
CALLBACKS = 600
LOOKS = 400
CALL_TURNS = 3


def _seconds(work: Callable[[], object], times: int = 7) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _alternately(first: Callable[[], object], second: Callable[[], object], times: int = 7) -> tuple[float, float]:
    """The seconds of two works that take turns, so that what else the machine does slows down both alike."""
    pairs = [(_seconds(first, 1), _seconds(second, 1)) for _ in range(times)]
    few, many = zip(*pairs, strict=True)
    return statistics.median(few), statistics.median(many)


def _store(folder: Path, orders: int) -> Database:
    store = database.connect(f"sqlite:///{folder}/{orders}.db")
    now = datetime.now(UTC)
    seed(store, orders, days=30, rng=random.Random(1), now=now)
    scale_stores.add_team_work(store, orders, now)
    return store


def _pages(small: Database, large: Database, now: datetime) -> dict[str, float]:
    """How much longer the pages' reads take on ten times the orders: the overview must not."""
    reads = page_reads.reads(now, _file_of(5000))
    ratios = {}
    for name, read in reads.items():
        few, many = _alternately(lambda: read(small), lambda: read(large))  # noqa: B023 - called at once
        ratios[name] = many / few
        print(f"{name}: {few * 1000:.1f} ms with {SMALL:,} orders, {many * 1000:.1f} ms with {LARGE:,}")
    return ratios


def _open_orders(store: Database, count: int) -> list[tuple[int, str]]:
    with store.read() as connection:
        rows = connection.execute(select(ORDERS.c.id, ORDERS.c.po_number).order_by(ORDERS.c.id).limit(count))
        return [(row[0], row[1]) for row in rows]


def _looks(store: Database, planner: PlanningContext, now: datetime) -> float:
    """Looks recorded in groups against looks committed one by one."""
    orders = _open_orders(store, LOOKS)

    def job(order_id: int) -> Callable[[Connection], object]:
        seen = Observation(Witness.POLL, now, now, Polled(None))
        return lambda connection: ingest.observe(connection, order_id, seen, planner)

    def one_by_one() -> None:
        for order_id, _ in orders:
            store.write(job(order_id))

    def together() -> None:
        for future in [store.submit(job(order_id)) for order_id, _ in orders]:
            future.result()

    alone, grouped = _seconds(one_by_one, 3), _seconds(together, 3)
    print(f"looks recorded: {LOOKS / alone:,.0f} a second one by one, {LOOKS / grouped:,.0f} in groups")
    return alone / grouped


def _unchanged() -> float:
    """A look whose bytes are known against one that must be read: what the digest saves."""
    lines = [{"Id": f"L{n}", "Status": "Pending", "ProductId": "CVS", "Value": 10, "Quantity": 1} for n in range(100)]
    raw = {"Id": "BLK-1", "Status": "Pending", "Type": "Links", "PONumber": "P", "LineItems": lines}
    digest, read = _seconds(lambda: digest_of(raw), 50), _seconds(lambda: read_order(raw), 50)
    print(f"an order of 100 lines: {digest * 1e6:,.0f} us to see that it is unchanged, {read * 1e6:,.0f} us to read")
    return read / digest


def _sighted() -> float:
    """What a look at an answer that changed costs, against what it costs to note which fields and words it uses."""
    lines = [{"Id": f"L{n}", "Status": "Pending", "ProductId": "CVS", "Value": 10, "Quantity": 1} for n in range(10)]
    raw = {"Id": "BLK-1", "Status": "Pending", "Type": "Links", "PONumber": "P", "LineItems": lines}
    body, gathering, now = json.dumps(raw).encode(), Sightings(), datetime.now(UTC)
    call = ApiCall("GET", "/v1/Orders/BLK-1", status=200, raw=raw)
    same = ApiCall("GET", "/v1/Orders/BLK-1", status=200, raw=raw, masked_answer='"unchanged"')

    def poll() -> None:
        found = parse(body)
        read_order(found)
        mask_json(found, 4000)

    read, noted = _seconds(poll, 50), _seconds(lambda: gathering.note_answer(call, None, now, str), 50)
    unchanged = _seconds(lambda: gathering.note_answer(same, None, now, str), 50)
    print(
        f"an order of 10 lines: {read * 1e6:,.0f} us to read and mask, {noted * 1e6:,.0f} us to note what it uses, "
        f"{unchanged * 1e6:,.1f} us where it is unchanged"
    )
    return noted / read


def _file_of(rows: int) -> CheckedFile:
    """A CSV file of so many rows, every tenth of them with a problem of its own."""
    values = (f"{number}.001" if number % 10 == 9 else "10" for number in range(rows))
    lines = (f",Links,CVS,{value},1,row-{number}\n" for number, value in enumerate(values))
    text = "PONumber,Type,ProductId,Value,Quantity,ExternalId\n" + "".join(lines)
    return read_csv(text.encode(), "orders.csv", catalog=None, chunk=1000, now=datetime.now(UTC))


def _rows() -> float:
    """A CSV of ten times the rows: the check of a file must not grow faster than the file."""
    few, many = _seconds(lambda: _file_of(500)), _seconds(lambda: _file_of(5000), 3)
    print(f"a CSV: 500 rows checked in {few * 1000:,.0f} ms, 5,000 in {many * 1000:,.0f} ms")
    return many / few


def _calls(folder: Path) -> bool:
    """Polls and POSTs over real sockets; whether all their bounds are kept."""
    logging.disable(logging.WARNING)  # of the calls that each end cuts off
    try:
        rows = provider_calls.measure(folder, CALL_TURNS)
    finally:
        logging.disable(logging.NOTSET)
    print(*rows, sep="\n")
    return all(row.holds for row in rows)


def main() -> int:
    """Measures everything; the exit code."""
    now = datetime.now(UTC)
    planner = PlanningContext(Policy(timedelta(seconds=1), timedelta(minutes=15)), random.Random(1))
    with tempfile.TemporaryDirectory() as name:
        small, large = _store(Path(name), SMALL), _store(Path(name), LARGE)
        ratios = _pages(small, large, now)
        grouping, (webhooks, prompt), digest = (
            _looks(small, planner, now),
            bench_webhooks.measured(CALLBACKS),
            _unchanged(),
        )
        rows, sighted = _rows(), _sighted()
        beside_jobs = max(bulk.measure(large, planner, SECRET))
        of_a_file = file_imports.measure(Path(name))
        page_costs = page_runs.measure(Path(name))
        in_bulk = seeding_costs.measure(Path(name))
        hook_delay, hook_delay_at_most = hook_delays.measure(Path(name))
        calls_hold = _calls(Path(name))
        small.close()
        large.close()
    bounded = (
        "overview", "latest changes", "figures of a day", "backlog and throughput", "course of the lifecycle",
        "first page of orders", "counts of the views", "expected times of a page", "the order that a text means",
        "audit log", "audit log of a name and a kind since a time", "audit log: names",
        "orders that wait for approval", "orders of somebody who has many",
    )  # fmt: skip
    of_one_order = (name for name in ratios if name.startswith(("one order", "one job", "jobs")))
    holds = all(ratios[name] < 3 for name in (*bounded, *of_one_order)) and grouping > 1 and digest > 1 and rows < 20
    holds = holds and prompt and page_runs.prompt(page_costs) and beside_jobs < 5 and sighted < 0.5 and of_a_file < 3
    holds = holds and in_bulk >= seeding_costs.LEAST_RATIO
    holds = holds and hook_delay_at_most < hook_delays.AIM and calls_hold
    told = ", ".join(f"{measure} x{ratio:.1f}" for measure, ratio in ratios.items())
    print(
        f"ten times the orders: {told}; group commit x{grouping:.1f}; "
        f"{webhooks}; digest x{digest:.1f}; "
        f"sightings at {sighted:.2f} of a poll; ten times the rows x{rows:.1f}; "
        f"ten times the orders of a file x{of_a_file:.1f}; "
        f"made up in bulk x{in_bulk:.1f}; "
        f"outgoing webhooks {hook_delay:.2f} s after the commit, {hook_delay_at_most:.2f} s at most; "
        f"callbacks and polls beside jobs x{beside_jobs:.1f}; "
        f"the dearest of the busy pages {page_runs.dearest(page_costs):.0f} ms above an empty one"
        f"{'' if holds else ' FALLS SHORT'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
