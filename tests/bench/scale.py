"""Does any read of the pages grow with the store? Times all of them on stores of 10,000 orders and many more.

    make bench-scale ORDERS=1000000      an hour, most of it to fill the stores (ARGS="--keep FOLDER" to use them again)

For every read that pages make: processor milliseconds at each size, the growth exponent (the logarithm of the ratio of
the times over that of the sizes) and the slowest of its statements, run by itself. Then callbacks beside every page on
the largest store (`scale_beside`). Exits 1 where one grows faster, or takes longer, than the design allows.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [*(str(HERE.parent / name) for name in ("", "support", "scenarios")), str(HERE), str(HERE.parents[1])]

import page_reads  # noqa: E402 - found through the lines above, as are those that follow
import scale_beside  # noqa: E402 - the same
import scale_stores  # noqa: E402 - the same
from page_reads import DEEP, EXPORT, SEARCH, USUAL, PageRead  # noqa: E402 - the same
from sqlalchemy import event  # noqa: E402 - the same

from tracking.startup import spare_long_lived  # noqa: E402 - the same
from tracking.storage.database import Database  # noqa: E402 - the same

SIZES = (10_000, 100_000)
# An export's first rows are up to a thousand: in a small store of open orders there are not so many.
MOST_GROWTH = {USUAL: 0.2, DEEP: 0.5, SEARCH: math.inf, EXPORT: 0.5}
MOST_MILLISECONDS = {USUAL: 50.0, DEEP: 50.0, SEARCH: 100.0, EXPORT: 50.0}
FLAT_BELOW = 1.0
"""Milliseconds: what takes less is not asked how it grows, as that would be noise."""
RUNS = 5
BESIDE_SECONDS = 30.0  # of callbacks with every page open, and as many with none
PATIENCE = 10.0  # seconds after which a read that is slow is not repeated


@dataclass(frozen=True)
class Row:
    """What one read took.

    Attributes:
        times: processor milliseconds by the number of orders; none where the store is too small for it.
        slowest: the statement that took longest in the largest store, with its processor milliseconds.
    """

    read: PageRead
    times: dict[int, float]
    slowest: tuple[float, str]

    @property
    def growth(self) -> float | None:
        """The exponent from the smallest store that it reads its most in to the largest; None below a millisecond."""
        sizes = [size for size in sorted(self.times) if size >= self.read.full_from]
        if len(sizes) < 2 or self.times[sizes[-1]] < FLAT_BELOW:
            return None
        ratio = self.times[sizes[-1]] / max(self.times[sizes[0]], FLAT_BELOW)
        return math.log(ratio) / math.log(sizes[-1] / sizes[0])

    @property
    def faults(self) -> list[str]:
        """What of it misses its target."""
        growth, most = self.growth, MOST_GROWTH[self.read.kind]
        faults = [f"grows by {growth:.2f}, {most} allowed"] if growth is not None and growth > most else []
        allowed = MOST_MILLISECONDS[self.read.kind]
        return faults + ([f"{self.slowest[0]:,.0f} ms, {allowed:g} allowed"] if self.slowest[0] > allowed else [])

    def __str__(self) -> str:
        flat = f"flat below {FLAT_BELOW:g} ms" if len(self.times) > 1 else "one size"
        since = f" from {self.read.full_from:,} on" if self.read.full_from else ""
        growth = flat if self.growth is None else f"growth {self.growth:.2f}{since}"
        times = ", ".join(f"{took:,.1f} ms at {size:,}" for size, took in sorted(self.times.items()))
        faults = f" FALLS SHORT: {'; '.join(self.faults)}" if self.faults else ""
        slowest = f"slowest statement {self.slowest[0]:,.1f} ms"
        return f"{self.read.page} / {self.read.name}: {times}; {growth}; {slowest}{faults}"


Statement = tuple[str, Any]


def least_milliseconds(work: Callable[[], object], runs: int = RUNS) -> float:
    """The least processor time of some runs: whatever else the machine does only adds to it."""
    least, began = math.inf, time.monotonic()
    for _ in range(runs):
        start = time.thread_time()
        work()
        least = min(least, (time.thread_time() - start) * 1000)
        if time.monotonic() - began > PATIENCE:
            break
    return least


def statements_of(store: Database, read: PageRead) -> list[Statement]:
    """The statements that the read sends, with their values."""
    sent: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not many:
            sent.append((statement, parameters))

    event.listen(store._readers, "before_cursor_execute", note)
    try:
        read.read(store)
    finally:
        event.remove(store._readers, "before_cursor_execute", note)
    return sent


def slowest_statement(store: Database, read: PageRead) -> tuple[float, str]:
    """The statement of the read that takes longest, run by itself until its last row, and its milliseconds."""
    slowest = (0.0, "")
    with store.read() as connection:
        for statement, parameters in statements_of(store, read):
            run = lambda: connection.exec_driver_sql(statement, parameters).fetchall()  # noqa: B023, E731 - run at once
            took = least_milliseconds(run, 3) if statement.lstrip().startswith(("SELECT", "WITH")) else 0.0
            slowest = max(slowest, (took, statement))
    return slowest


def measure(stores: dict[int, Database], reads: Sequence[PageRead], tell: Callable[[str], None]) -> list[Row]:
    """Times each read on each store, and its statements on the largest."""
    largest = stores[max(stores)]
    rows = []
    for read in reads:
        times = {}
        for size, store in stores.items():
            if size >= read.least:
                read.read(store)  # what is remembered of it, and its pages of the file, are there from now on
                times[size] = least_milliseconds(lambda: read.read(store))  # noqa: B023 - run at once
        if times:
            rows.append(Row(read, times, slowest_statement(largest, read)))
            tell(str(rows[-1]))
    return rows


def report(rows: Sequence[Row], tell: Callable[[str], None]) -> int:
    """Sums up; the exit code."""
    short = [row for row in rows if row.faults]
    for row in short:
        tell(f"SLOW {row.read.page} / {row.read.name}: {'; '.join(row.faults)}: {' '.join(row.slowest[1].split())}")
    words = []
    for kind, what in ((USUAL, "any page"), (DEEP, "a deep page"), (SEARCH, "search by a part"), (EXPORT, "an export")):
        of_kind = [row for row in rows if row.read.kind == kind]
        if of_kind:
            growth = max((row.growth or 0.0 for row in of_kind), default=0.0)
            slowest = max(row.slowest[0] for row in of_kind)
            words.append(f"{what}: slowest query {slowest:.0f} ms, growth at most {growth:.2f}")
    tell(f"scale: {'; '.join(words)}; {len(short)} of {len(rows)} reads fall short" + (" FALLS SHORT" if short else ""))
    return 1 if short else 0


def run(orders: int, folder: Path, chosen: Sequence[PageRead], tell: Callable[[str], None]) -> int:
    """Fills the stores that are not there, and measures; the exit code."""
    sizes = [*(size for size in SIZES if size < orders), orders]
    stores = {size: scale_stores.store_of(folder, size, tell) for size in sizes}
    try:
        return report(measure(stores, chosen, tell), tell)
    finally:
        for store in stores.values():
            store.close()


def main() -> int:
    """Measures what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(description="How the pages' reads grow with the store.")
    parser.add_argument("--orders", type=int, default=1_000_000, help="orders of the largest store")
    parser.add_argument("--keep", type=Path, help="a folder in which the stores stay, to be used again")
    parser.add_argument("--only", default="", help="only reads whose page or name holds this")
    asked = parser.parse_args()
    reads = [read for read in page_reads.page_reads(datetime.now(UTC)) if asked.only in f"{read.page} / {read.name}"]

    def tell(line: str) -> None:
        print(line, flush=True)

    spare_long_lived()  # as the processes do that make these reads
    with tempfile.TemporaryDirectory(prefix="tracking-scale-") as folder:
        place: Path = asked.keep or Path(folder)
        code = run(asked.orders, place, reads, tell)
        if asked.only:
            return code
        beside = scale_beside.measure(place / f"{asked.orders}.db", BESIDE_SECONDS)
        tell(f"beside: {beside}")
        return code if beside.holds else 1


if __name__ == "__main__":
    sys.exit(main())
