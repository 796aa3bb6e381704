"""Measures how long it takes to verify a store with a million events.

    make bench-verify

The orders are made up as by `tracking seed`. Prints one line with all figures; exits 1 where an audit takes more than
60 seconds, or finds a difference.
"""

import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select

from tracking import audit, database
from tracking.database import Database
from tracking.seeding import seed
from tracking.tables import EVENTS

EVENTS_WANTED = 1_000_000
EVENTS_AN_ORDER = 7.7
SECONDS_AT_MOST = 60


def _filled(folder: Path, wanted: int) -> Database:
    store = database.connect(f"sqlite:///{folder}/store.db")
    began = time.perf_counter()
    seed(store, int(wanted / EVENTS_AN_ORDER) + 20, days=30, rng=random.Random(1), now=datetime.now(UTC))
    print(f"made up in {time.perf_counter() - began:.0f} s")
    return store


def main(wanted: int) -> int:
    """Measures; the exit code."""
    with tempfile.TemporaryDirectory() as name:
        store = _filled(Path(name), wanted)
        with store.read() as connection:
            events = connection.execute(select(func.count()).select_from(EVENTS)).scalar_one()
        began, used = time.perf_counter(), time.process_time()
        findings = audit.examine(store)
        seconds, used = time.perf_counter() - began, time.process_time() - used
        store.close()
    holds = not findings.differences and seconds <= SECONDS_AT_MOST
    print(
        f"{events:,} events verified in {seconds:.1f} s, {seconds / events * 1e6:.1f} us an event; "
        f"{used:.1f} s of the processor, {used / events * 1e6:.1f} us an event{'' if holds else ' FALLS SHORT'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS_WANTED))
