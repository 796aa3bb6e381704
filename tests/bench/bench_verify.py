"""Measures how long it takes to verify a store with a million events.

    make bench-verify

Some orders are made up as by `tracking seed` and then repeated under other PONumbers, each chained anew, as making up
all of them would take many times as long as the audit. Prints one line with all figures; exits 1 where an audit takes
more than 60 seconds, or finds a difference.
"""

import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking.app.demonstration.seeding import seed
from tracking.orders import event_chain as chain
from tracking.orders.model import Event, Witness
from tracking.storage import database
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.search import indexing
from tracking.storage.search.texts import add_texts, stored_rows
from tracking.storage.tables import COUNTERS, EVENTS, LINES, ORDERS

EVENTS_WANTED = 1_000_000
MADE_UP = 2_000
SECONDS_AT_MOST = 60
Rows = list[dict[str, Any]]


def _rows(connection: Connection, table: sa.Table, *by: Any) -> Iterator[dict[str, Any]]:
    return (dict(row) for row in connection.execute(sa.select(table).order_by(*by)).mappings())


def _by_order(rows: Iterator[dict[str, Any]]) -> dict[int, Rows]:
    return {key: list(group) for key, group in groupby(rows, lambda row: int(row["order_id"]))}


def _event(row: Mapping[str, Any], names: Mapping[str, str]) -> Event:
    """The event of the row, with the order's names in what it sets exchanged for these."""
    changes = {name: names.get(name, value) for name, value in row["changes"].items()}
    times = row["happened_at"], row["learned_at"]
    return Event(row["kind"], Witness(row["witness"]), *times, changes, row["detail"], row["line_changes"])


def _repeat(store: Database, times: int) -> None:
    """The same orders as many times, and the counters with them."""
    with store.read() as connection:
        orders = list(_rows(connection, ORDERS, ORDERS.c.id))
        lines = _by_order(_rows(connection, LINES, LINES.c.order_id, LINES.c.number))
        events = _by_order(_rows(connection, EVENTS, EVENTS.c.order_id, EVENTS.c.seq))
    first = len(orders) + 1
    for copy in range(1, times):
        more_orders, more_lines, more_events = Rows(), Rows(), Rows()
        for key, order in enumerate(orders, start=first + (copy - 1) * len(orders)):
            names = {name: f"{order[name]}-{copy}" for name in ("po_number", "provider_id") if order[name]}
            told = [_event(row, names) for row in events[order["id"]]]
            log, head = chain.event_rows(names["po_number"], chain.first_hash(names["po_number"]), 0, told)
            more_orders.append(order | names | {"id": key, "head": head})
            more_lines += [line | {"order_id": key} for line in lines[order["id"]]]
            more_events += [entry | {"order_id": key} for entry in log]
        parts = ((ORDERS, more_orders), (LINES, more_lines), (EVENTS, more_events))
        store.write(partial(_add, parts, more_orders[0]["id"], more_orders[-1]["id"]))
    counted = {name: COUNTERS.c[name] * times for name in ("orders", "units", "value_minor")}
    store.write(lambda connection: connection.execute(sa.update(COUNTERS).values(counted)).rowcount)


def _add(parts: Iterable[tuple[sa.Table, Rows]], first: int, last: int, connection: Connection) -> None:
    for table, rows in parts:
        connection.execute(sa.insert(table), rows)
    add_texts(connection, stored_rows(connection, first, last))
    indexing.index_all(connection, datetime.now(UTC))


def _filled(folder: Path, wanted: int) -> tuple[Database, int]:
    """A store with at least so many events, and how many it holds."""
    store = database.connect(f"sqlite:///{folder}/store.db")
    began = time.perf_counter()
    made = seed(store, MADE_UP, days=30, rng=random.Random(1), now=datetime.now(UTC))
    times = -(-wanted // made)
    _repeat(store, times)
    print(f"{MADE_UP * times:,} orders made in {time.perf_counter() - began:.0f} s")
    return store, made * times


def main(wanted: int) -> int:
    """Measures; the exit code."""
    with tempfile.TemporaryDirectory() as name:
        store, events = _filled(Path(name), wanted)
        began, used = time.perf_counter(), time.process_time()
        findings = verify.examine(store)
        seconds, used = time.perf_counter() - began, time.process_time() - used
        store.close()
    print(*findings.differences[:5], sep="\n", end="\n" if findings.differences else "")
    holds = not findings.differences and seconds <= SECONDS_AT_MOST
    print(
        f"{events:,} events verified in {seconds:.1f} s, {seconds / events * 1e6:.1f} us an event; "
        f"{used:.1f} s of the processor, {used / events * 1e6:.1f} us an event{'' if holds else ' FALLS SHORT'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS_WANTED))
