"""Measures what an order takes in the store, what stays of it once its log left, and what that costs.

    make bench-retention

Orders are made up as by `tracking seed`; then all of them that are completed or cancelled leave, step by step. Prints
bytes per order before and after (SQLite's pages, API calls and claim data apart), and the processor time per order and
step; exits 1 where the store does not agree with itself afterwards.
"""

import random
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from tracking.app.demonstration.seeding import seed
from tracking.orders.observations import utc_now
from tracking.storage.database import Database, connect
from tracking.storage.maintenance.verify import verify
from tracking.storage.retention.removal import remove_old

MADE_UP = 3_000


def used_bytes(store: Database) -> int:
    """The bytes of all pages that hold anything."""
    with store.read() as connection:
        pragmas = ("page_count", "freelist_count", "page_size")
        pages, free, size = (connection.execute(sa.text(f"PRAGMA {name}")).scalar_one() for name in pragmas)
    return int((pages - free) * size)


def main() -> int:
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else MADE_UP
    with tempfile.TemporaryDirectory() as folder:
        store, now = connect(f"sqlite:///{Path(folder)}/store.db"), utc_now()
        seed(store, orders, days=100, rng=random.Random(1), now=now)
        before, removed, steps = used_bytes(store), 0, list[float]()
        while True:
            began = time.process_time()
            step = store.write(lambda connection: remove_old(connection, now + timedelta(days=1), now))
            steps.append(time.process_time() - began)
            removed += step.orders
            if not step.anything:
                break
        after, differences = used_bytes(store), verify(store)
        store.close()
    steps.sort()
    sizes = f"{before / orders:,.0f} bytes an order before, {after / orders:,.0f} after"
    print(
        f"{removed:,} of {orders:,} orders left: {sizes};"
        f" {1000 * sum(steps) / removed:.1f} ms of processor an order, a step {1000 * steps[len(steps) // 2]:.0f} ms"
        f" (p50), {1000 * steps[-1]:.0f} ms (longest); {len(differences)} differences"
    )
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
