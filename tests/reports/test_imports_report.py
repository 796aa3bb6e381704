"""What is reported of an import: its rows by outcome, its orders by state, its problems, when it may end."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from histories import History
from sqlalchemy import insert, select, update

from tracking.access import Person
from tracking.errors import UnknownImport
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import imports
from tracking.reports.team.imports import ImportState, ImportView, import_rows, import_view
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, ORDERS
from tracking.storage.team.tables import JOBS
from tracking.submissions import results
from tracking.submissions.files import read_csv
from tracking.submissions.submit import place_group
from tracking.team.imports.handing_in import hand_in
from tracking.team.imports.placing import place_here

ANN = Person("Ann")
HEADER = "PONumber,Type,ProductId,Value,Quantity\n"


def upload(store: Database, history: History, count: int) -> tuple[int, int]:
    """A file of so many orders of a card each; its import and its job."""
    text = HEADER + "".join(f"W-{number:03d},Links,CVS,10,1\n" for number in range(count))
    checked = read_csv(text.encode(), "wave.csv", catalog=None, chunk=10, now=history.at)
    handed_in = hand_in(store, checked, source="csv", by=ANN, now=history.at)
    return handed_in.batch_id, handed_in.job_id


def view(store: Database, history: History, import_id: int) -> ImportView:
    return import_view(store, import_id, history.at)


def test_an_import_is_told_by_its_rows_and_by_what_its_orders_became(store: Database, history: History) -> None:
    import_id, job_id = upload(store, history, 260)
    waiting = view(store, history, import_id)
    assert (waiting.outcomes, waiting.orders, waiting.line.state) == ({"waiting": 260}, 0, ImportState.PLACING)
    assert (waiting.placing, waiting.steps) == (None, 0)
    others = [read_csv(f"{HEADER}{row}".encode(), "x", catalog=None, chunk=9, now=history.at).requests
              for row in ("W-000,Links,CVS,10,9\n", "w-001,Links,CVS,10,2\n", "W-002,Links,CVS,10,1\n",
                          "W-003,Links,CVS,10,7\n")]  # fmt: skip
    besides: Any = {"source": "form", "actor": "Ann", "now": history.at, "catalog": None}
    store.write(partial(place_group, group=[request for [request] in others], **besides))
    for _ in range(5):
        history.wait(seconds=30)
        store.write(partial(place_here, job_id=job_id, now=history.at))
    with store.read() as connection:
        numbers = connection.execute(select(ORDERS.c.po_number, ORDERS.c.id)).all()
    history.numbers = dict(map(tuple, numbers))
    for number in range(10, 20):
        history.accept(f"W-{number:03d}")
    for number in range(10, 16):
        history.wait(minutes=1)
        history.look(f"W-{number:03d}", "Completed")
    history.look("W-016", "Cancelled")
    history.refuse("W-020")
    store.write(lambda connection: connection.execute(update(ORDERS).where(ORDERS.c.id < 99).values(currency="USD")))
    seen = view(store, history, import_id)
    assert seen.outcomes == {"waiting": 10, "queued": 246, "exists": 1, "rejected": 3}
    assert seen.states == {"Queued": 235, "Pending": 3, "Completed": 6, "Cancelled": 1, "Refused": 1}
    assert (seen.units, seen.fulfilled, seen.undecided, seen.snoozed, seen.open) == (246, 6, 2, 0, 238)
    assert sum(seen.values.values()) == 246_000
    assert set(seen.values) == {"", "USD"}
    assert [(group.text.partition(" (")[0], group.orders, group.first) for group in seen.rejections] == [
        ("PO number is already an order with other lines", 2, "W-000"),
        ("PO number differs in case alone from w-001, which is an order", 1, "W-001"),
    ]
    assert {(group.reason, group.orders, group.first) for group in seen.decisions} == {
        ("cancelled", 1, "W-016"), ("refused", 1, "W-020"),
    }  # fmt: skip
    assert (seen.fulfilment.by, seen.fulfilment.orders, seen.fulfilment.unclear, seen.unsent) == (None, 0, 3, 235)
    assert (seen.fulfilment.steps, seen.steps) == (5, 4)
    record = imports.import_record(seen)
    assert (record["id"], record["states"]["Pending"]) == (import_id, 3)
    assert float(record["values"]["USD"]) * 100 == seen.values["USD"]


def test_the_ends_are_projected_from_the_pace_since_it_goes_on(store: Database, history: History) -> None:
    import_id, job_id = upload(store, history, 500)
    began = history.at
    for _ in range(8):
        history.wait(seconds=30)
        store.write(partial(place_here, job_id=job_id, now=history.at))
    placing = view(store, history, import_id).placing
    assert placing is not None
    assert began + timedelta(minutes=4, seconds=59) <= placing.earliest <= placing.middle
    assert placing.latest is not None
    assert placing.middle <= placing.latest <= began + timedelta(minutes=6)
    resumed = {"changed_at": history.wait(minutes=30), "changed_by": "Bob"}
    store.write(lambda connection: connection.execute(update(JOBS).values(resumed)))
    assert view(store, history, import_id).placing is None


def test_imports_are_listed_by_what_is_recorded_of_them(store: Database, history: History) -> None:
    earlier = {"digest": "d", "name": "old.csv", "rows": 2, "orders": 2, "created_at": history.at, "actor": None}
    old = store.write(lambda c: c.execute(insert(BATCHES).values(earlier).returning(BATCHES.c.id)).scalar_one())
    order_id = history.place("old-1", lines=2)
    of_old = update(ORDERS).where(ORDERS.c.id == order_id).values(batch_id=old)
    store.write(lambda connection: connection.execute(of_old))
    upload(store, history, 3)
    lines, more = imports.imports(store, size=1)
    assert ([line.name for line in lines], more) == (["wave.csv"], True)
    store.write(lambda connection: connection.execute(JOBS.delete()))
    lines, more = imports.imports(store)
    assert [(line.name, line.state, line.waiting) for line in lines] == [
        ("wave.csv", ImportState.UPLOADING, 3), ("old.csv", ImportState.EARLIER, 0),
    ]  # fmt: skip
    assert view(store, history, old).states == {"Queued": 1}
    frame = results.outcome_rows(store, old)
    assert frame["row"].isna().all()
    assert frame["po_number"].tolist() == ["old-1"] * 2
    assert search.orders_page(store, Filters(imported=old), history.at).total == 1
    assert [row.po_number for row in import_rows(store, lines[0].id, "waiting", 2, size=2)] == ["W-002"]
    with pytest.raises(UnknownImport, match="no import 99"):
        view(store, history, 99)
