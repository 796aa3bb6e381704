"""What an import of 5,000 orders costs: to save, to place, and each read of its page, against one of 500."""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tracking.access import Person
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import imports
from tracking.storage import database
from tracking.storage.database import Database
from tracking.submissions import results
from tracking.submissions.erasing.import_rows import erase_from_imports
from tracking.submissions.files import read_csv
from tracking.team.imports.handing_in import hand_in
from tracking.team.imports.placing import place_here

FEW, MANY = 500, 5_000
BOUNDED = ("imports", "one import: a page of its rows", "one import: its orders")
ME = Person("bench")


def measure(folder: Path) -> float:
    """Print what each read takes on both; returns how much longer the slowest of those takes that must not grow."""
    now = datetime.now(UTC)
    few, many = _store(folder, FEW, now), _store(folder, MANY, now)
    reads: dict[str, Callable[[Database], object]] = {
        "imports": imports.imports,
        "one import": lambda store: imports.import_view(store, 1, now),
        "one import: a page of its rows": lambda store: imports.import_rows(store, 1, "queued", 4),
        "one import: its orders": lambda store: search.orders_page(store, Filters(imported=1), now),
        "one import: its outcome file": lambda store: results.outcome_rows(store, 1),
        "one import: looked through by an erasure": lambda store: erase_from_imports(store, "x@y.zz", None),
    }
    ratios = {}
    for name, read in reads.items():
        one, ten = _seconds(partial(read, few)), _seconds(partial(read, many))
        ratios[name] = ten / one
        print(f"{name}: {one * 1000:.1f} ms with {FEW:,} orders in the file, {ten * 1000:.1f} ms with {MANY:,}")
    few.close()
    many.close()
    return max(ratios[name] for name in BOUNDED)


def _store(folder: Path, orders: int, now: datetime) -> Database:
    store = database.connect(f"sqlite:///{folder}/import-{orders}.db")
    rows = "".join(f"B-{number:05d},Links,CVS,10,1,row-{number}\n" for number in range(orders))
    text = f"PONumber,Type,ProductId,Value,Quantity,ExternalId\n{rows}"
    checked = read_csv(text.encode(), "bench.csv", catalog=None, chunk=1000, now=now, database=store)
    began = time.perf_counter()
    job_id = hand_in(store, checked, source="csv", by=ME, now=now).job_id
    saved = time.perf_counter()
    longest = 0.0
    step = partial(place_here, job_id=job_id, now=now)
    while True:
        before = time.perf_counter()
        if not store.write(step):
            break
        longest = max(longest, time.perf_counter() - before)
    placing = time.perf_counter() - saved
    print(
        f"a file of {orders:,} orders: saved in {saved - began:.2f} s, placed in {placing:.2f} s, "
        f"a group in {longest * 1000:.0f} ms at most"
    )
    return store


def _seconds(read: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        read()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
