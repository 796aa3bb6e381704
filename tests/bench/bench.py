"""Measures what the product's speed rests on, as ratios within one run: absolute figures drift with the machine.

    make bench

Prints a line a measure and one last line with all ratios; exits 1 where one falls short of what the design counts on.
"""

import functools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bench_webhooks
import bulk
import file_imports
import page_runs
from sqlalchemy import Connection, select, update

from tracking import ingest
from tracking.access import Person
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
from tracking.reports import activity, overview
from tracking.reports.as_of.order import order_as_of
from tracking.reports.as_of.overview import overview_as_of
from tracking.reports.board import changes, decisions, expectation
from tracking.reports.board.balance import balance_status
from tracking.reports.board.completion_times import completion_times
from tracking.reports.board.course import flow, lifecycle_course
from tracking.reports.board.figures import trend
from tracking.reports.board.lifecycle import lifecycle_now
from tracking.reports.evidence.making import make_evidence
from tracking.reports.insights import forecasts, latency, witnesses
from tracking.reports.logs import contract, volume
from tracking.reports.order_list import search, view_counts
from tracking.reports.order_list.expected import expected_times
from tracking.reports.order_list.filters import REASONS, Filters
from tracking.reports.order_list.news import list_news
from tracking.reports.order_page import story, verdicts
from tracking.reports.order_page.lines import find_lines
from tracking.reports.order_page.why import why_curve
from tracking.reports.team import audit, handover, people
from tracking.reports.team import jobs as job_reports
from tracking.reports.team.audit import AuditFilters
from tracking.reports.team.drills import newest_drills
from tracking.reports.team.saved_views import saved_views
from tracking.storage import counters, database, facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import ORDERS
from tracking.storage.team import sightings
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.sightings import AT_MOST, Gathered, Sighting
from tracking.submissions import results
from tracking.submissions.files import CheckedFile, read_csv
from tracking.team import jobs
from tracking.team.plans import Act, Parameters

SECRET = "a secret for this measurement alone"
SMALL, LARGE = 1_000, 10_000
CALLBACKS = 1000
LOOKS = 400


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
    used = [
        Gathered(Sighting(f"GET /v1/{number % 5}", "field", f"Place{number}", ""), 9, now, now, "99.9")
        for number in range(min(orders // 3, AT_MOST))
    ]
    store.write(lambda connection: sightings.store(connection, used, len(used), now))
    store.write(lambda connection: _act(connection, orders, now))
    store.write(lambda connection: _read_balances(connection, now))
    store.write(lambda connection: connection.execute(update(ORDERS).values(assignee="Eve")).rowcount)
    return store


def _act(connection: Connection, orders: int, now: datetime) -> None:
    """Ten people each did something with every tenth order, over a month."""
    kinds = (AuditKind.ACKNOWLEDGED, AuditKind.SEARCHED, AuditKind.EXPORTED, AuditKind.SNOOZED)
    for number in range(orders):
        at, by = now - timedelta(days=30) * (1 - number / orders), Person(f"Ann {number % 10}")
        order_id = number + 1 if number % 4 in {0, 3} else None
        record_act(connection, by, kinds[number % 4], at, order_id=order_id, detail={"hits": number})


def _read_balances(connection: Connection, now: datetime) -> None:
    """What a month of readings leaves, an hour each."""
    for back in range(30 * 24, -1, -1):
        counters.record_balance(connection, 10_000 + back, 10_001 + back, now - timedelta(hours=back))
    facts.set_fact(connection, FactKey.BALANCE, {"available_minor": 10_000, "offered": True}, now)


def _pages(small: Database, large: Database, now: datetime) -> dict[str, float]:
    """How much longer the pages' reads take on ten times the orders: the overview must not."""
    file = _file_of(5000)
    waiting = {store: search.orders_page(store, Filters(view="open"), now) for store in (small, large)}
    reads: dict[str, Callable[[Database], object]] = {
        "overview": lambda store: overview.overview(store, now),
        "decisions": lambda store: decisions.decisions(store, now),
        "open orders": lambda store: expectation.open_orders(store, now),
        "completion times": lambda store: completion_times(store, now, "24h"),
        "latest changes": changes.latest_changes,
        "insights: detection delay": lambda store: latency.latency_report(store, now - timedelta(days=7)),
        "insights: forecast accuracy": lambda store: forecasts.forecast_accuracy(store, now - timedelta(days=7), now),
        "insights: witness agreement": lambda store: witnesses.witness_agreement(store, now - timedelta(days=7)),
        "figures of a day": lambda store: trend(store, now),
        "balance": lambda store: balance_status(store, now),
        "backlog and throughput": lambda store: flow(store, now, "7d"),
        "course of the lifecycle": lambda store: lifecycle_course(store, now, "7d"),
        "lifecycle now": lambda store: lifecycle_now(store, now),
        "logs: volume of webhooks": lambda store: volume.webhook_volume(store, now, timedelta(days=7)),
        "logs: volume of events": lambda store: volume.event_volume(store, now, timedelta(days=7)),
        "logs: volume of API calls": lambda store: volume.call_volume(store, now, timedelta(days=7)),
        "logs: rejected webhooks": lambda store: activity.webhook_calls(
            store, outcome="refused", span=(now - timedelta(days=7), None)
        ),
        "logs: failed API calls": lambda store: activity.provider_calls(
            store, failed=True, span=(now - timedelta(days=7), None)
        ),
        "logs: what the provider uses": lambda store: contract.sightings(store, now),
        "logs: what is new or gone": contract.contract_state,
        "first page of orders": lambda store: search.orders_page(store, Filters(), now),
        "preview of a file": lambda store: results.preview_rows(store, file, 200),
        "orders but the completed": lambda store: search.orders_page(store, Filters(not_states=("Completed",)), now),
        "orders that need a decision for a reason": lambda store: search.orders_page(
            store, Filters(reasons=REASONS), now
        ),
        "counts of the views": lambda store: view_counts.view_counts(store, now, "Eve"),
        "orders of somebody who has all": lambda store: search.orders_page(
            store, Filters(view="mine", assigned="Eve"), now
        ),
        "orders that wait for approval": lambda store: search.orders_page(store, Filters(view="approval"), now),
        "drills": newest_drills,
        "names to assign to": people.recent_names,
        "saved views": lambda store: saved_views(store, "Ann"),
        "jobs that run": job_reports.running,
        "jobs": job_reports.jobs,
        "one job": lambda store: job_reports.job(store, _job(store), now),
        "one job with its orders": lambda store: job_reports.job_view(store, _job(store), "waiting", 4, now),
        "audit log": lambda store: audit.entries(store, AuditFilters()),
        "audit log of a name and a kind since a time": lambda store: audit.entries(
            store, AuditFilters("Ann 1", "searched", since=now - timedelta(hours=8))
        ),
        "audit log: names": audit.names,
        "handover of a shift": lambda store: handover.handover(store, now - timedelta(hours=8), now),
        "expected times of a page": lambda store: expected_times(store, _records(waiting[store]), now),
        "what changed since a page was read": lambda store: list_news(store, Filters(view="open"), waiting[store], now),
        "the order that a text means": lambda store: search.find_po_numbers(store, waiting[store].rows["po_number"][0]),
        "counts as of yesterday": lambda store: overview_as_of(store, now - timedelta(hours=23.5), now),
        "one order: as of yesterday": lambda store: order_as_of(
            store, _order_of_some_lines(store), now - timedelta(hours=24)
        ),
        "one order: its evidence file": lambda store: make_evidence(
            store, _order_of_some_lines(store), made_by="bench", signed_in=False, now=now, masked=True
        ),
        "one order: its head": lambda store: verdicts.order_view(store, _order_of_some_lines(store), now),
        "one order: its story": lambda store: story.story(store, _order_of_some_lines(store), now),
        "one order: its lines": lambda store: find_lines(store, _order_of_some_lines(store), text="wave"),
        "one order: its curve": lambda store: why_curve(store, _order_of_some_lines(store), now),
        "one order: its place in the list": lambda store: search.position(store, Filters(), 1, now),
    }
    ratios = {}
    for name, read in reads.items():
        few, many = _alternately(lambda: read(small), lambda: read(large))  # noqa: B023 - called at once
        ratios[name] = many / few
        print(f"{name}: {few * 1000:.1f} ms with {SMALL:,} orders, {many * 1000:.1f} ms with {LARGE:,}")
    return ratios


def _records(page: search.Page) -> list[dict[Hashable, Any]]:
    return page.rows.astype(object).to_dict("records")


@functools.cache
def _order_of_some_lines(store: Database) -> int:
    """An order that has as many lines in each store."""
    with store.read() as connection:
        some = select(ORDERS.c.id).where(ORDERS.c.line_count >= 10).order_by(ORDERS.c.line_count, ORDERS.c.id)
        return int(connection.execute(some.limit(1)).scalar_one())


@functools.cache
def _job(store: Database) -> int:
    """An act on all orders that nobody does."""
    assign = Parameters(assignee="Ann")
    by, now = bulk.OPERATOR, datetime.now(UTC)
    job_id = jobs.start(
        store, Filters(), Act.ASSIGN, assign, secret="a secret of the tests", key="read", by=by, now=now
    )
    jobs.stop(store, job_id, by=by, now=now)
    return job_id


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
        small.close()
        large.close()
    bounded = (
        "overview", "latest changes", "figures of a day", "backlog and throughput", "course of the lifecycle",
        "first page of orders", "counts of the views", "expected times of a page", "the order that a text means",
        "audit log", "audit log of a name and a kind since a time", "audit log: names",
        "orders that wait for approval", "orders of somebody who has all",
    )  # fmt: skip
    of_one_order = (name for name in ratios if name.startswith(("one order", "one job", "jobs")))
    holds = all(ratios[name] < 3 for name in (*bounded, *of_one_order)) and grouping > 1 and digest > 1 and rows < 20
    holds = holds and prompt and page_runs.prompt(page_costs) and beside_jobs < 5 and sighted < 0.5 and of_a_file < 3
    told = ", ".join(f"{measure} x{ratio:.1f}" for measure, ratio in ratios.items())
    print(
        f"ten times the orders: {told}; group commit x{grouping:.1f}; "
        f"{webhooks}; digest x{digest:.1f}; "
        f"sightings at {sighted:.2f} of a poll; ten times the rows x{rows:.1f}; "
        f"ten times the orders of a file x{of_a_file:.1f}; "
        f"callbacks and polls beside jobs x{beside_jobs:.1f}; "
        f"the dearest of the busy pages {page_runs.dearest(page_costs):.0f} ms above an empty one"
        f"{'' if holds else ' FALLS SHORT'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
