"""What SQLite plans to do for each statement of the pages' reads: none reads without a bound."""

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import page_reads
import pytest
from histories import History
from plans import REASONS_OF_PAGES, SORT, Complaints, recorded, unbounded, unneeded, without

from tracking.app.demonstration.seeding import seed
from tracking.reports import activity
from tracking.reports.logs import volume
from tracking.reports.order_list import narrowing, news, search
from tracking.reports.order_list.filters import REASONS, SORTS, VIEWS, Filters
from tracking.storage.database import Database, connect
from tracking.submissions.files import read_csv

ORDERS = 200
NOW = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)  # in the first seconds of a minute news are looked for in any case
DAY = NOW - timedelta(days=1)


@pytest.fixture(scope="module")
def seeded(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Two hundred orders of a month; a plan goes by the tables and their statistics, not by what is in them."""
    file = tmp_path_factory.mktemp("plans") / "tracking.db"
    file.write_bytes(migrated_file.read_bytes())
    store = connect(f"sqlite:///{file}")
    seed(store, ORDERS, days=30, rng=random.Random(1), now=NOW)
    recent = History(store, NOW)
    recent.place("OPEN-1", lines=12)
    recent.accept("OPEN-1")
    yield store
    store.close()


@pytest.fixture(scope="module")
def found(seeded: Database) -> Complaints:
    """What the plans of all reads show, in a store with statistics and in one without; the product makes none."""
    file = read_csv(b"PONumber,Type,ProductId,Value,Quantity\n", "a.csv", catalog=None, chunk=9, now=NOW)
    with recorded() as record:
        for read in page_reads.reads(NOW, file).values():
            read(seeded)
        _read_logs(seeded)
        _read_news(seeded)
    return unbounded(record, seeded)


def _read_logs(store: Database) -> None:
    week = (NOW - timedelta(days=7), None)
    for span in (None, week):
        for outcome in ("", "accepted", "repeated", "waiting", "refused"):
            activity.webhook_calls(store, outcome=outcome, span=span)
        for kinds in ((), ("completed",), ("completed", "cancelled", "refused")):
            activity.events(store, span=span, kinds=kinds, offset=100)
        for failed, method in ((True, ""), (False, "POST"), (True, "GET")):
            activity.provider_calls(store, failed=failed, method=method, span=span)
    volume.event_volume(store, NOW, timedelta(days=7), kinds=("completed", "cancelled"))
    volume.call_volume(store, NOW, timedelta(days=7), method="POST")
    activity.refusal_counts(store)


def _read_news(store: Database) -> None:
    for filters in (Filters(), Filters(sort="value"), Filters(sort="placed", descending=False)):
        news.list_news(store, filters, search.orders_page(store, filters, NOW), NOW)


def test_no_read_of_a_page_is_without_a_bound(found: Complaints) -> None:
    assert not (unanswered := without(found, REASONS_OF_PAGES)), "\n".join(unanswered)
    assert not (idle := unneeded(found, REASONS_OF_PAGES)), "\n".join(idle)


FILTERS = (
    *(Filters(view=view, assigned="Ann") for view in VIEWS),
    *(Filters(sort=sort, descending=descending) for sort in SORTS for descending in (True, False)),
    *(Filters(view="open", sort=sort) for sort in SORTS),
    *(Filters(types=("Links",), sort=sort) for sort in SORTS),
    Filters(states=("Completed",)),
    Filters(states=("Completed", "Pending")),
    Filters(not_states=("Completed",)),
    Filters(types=("Codes", "Links")),
    Filters(not_types=("Links",)),
    Filters(source="form"),
    Filters(not_sources=("form",)),
    Filters(reasons=REASONS),
    Filters(not_reasons=REASONS[:1]),
    Filters(product="CVS"),
    Filters(po_prefix="SEED-"),
    Filters(assigned="Ann"),
    Filters(imported=1),
    Filters(job=1),
    Filters(only=("SEED-1", "SEED-2")),
    Filters(min_minor=1),
    Filters(min_minor=1, max_minor=10**9, sort="value"),
    Filters(created_from=DAY, created_to=NOW),
    Filters(created_from=DAY, sort="value"),
    Filters(older_than=timedelta(days=1)),
    Filters(completed_from=DAY),
    Filters(completed_to=DAY),
    Filters(ended_from=DAY),
    Filters(watched=True),
    Filters(source="form", min_minor=1, product="CVS", completed_from=DAY),
)


# Sorted all the same: one import; the open orders alone; the few that have a next poll, and all that have none.
SORTED = {
    f"{SORT} orders USING INDEX ix_orders_batch_id (batch_id=?)",
    "USE TEMP B-TREE FOR ORDER BY after SCAN orders USING INDEX ix_orders_following",
    "USE TEMP B-TREE FOR ORDER BY after SCAN orders",
}


def _complaints_of_lists(store: Database, filters: Iterable[Filters]) -> set[str]:
    with recorded() as record:
        for one in filters:
            search.orders_page(store, one, NOW)
    found = unbounded(record, store)
    return found.get("reports.order_list.search.orders_page", set())


def test_where_many_match_a_list_is_walked_in_its_order(seeded: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found soon is all that is read; to sort all that matches would take as long as there are orders."""
    for bound in ("RARE", "FEW_LATE"):
        monkeypatch.setattr(narrowing, bound, -1)
    found = _complaints_of_lists(seeded, FILTERS)
    sorts = {text for text in found if text.startswith("USE TEMP B-TREE FOR ORDER BY")}
    assert sorts - SORTED == set()


def test_where_few_match_a_list_is_read_from_these(seeded: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "RARE", 10**6)
    narrowed = [one for one in FILTERS if one.view != "all" or (one.sort == "placed" and not narrowing._others(one))]
    found = _complaints_of_lists(seeded, narrowed)
    assert {text for text in found if "INDEX ix_orders_created" in text or text == "SCAN orders"} == set()


def test_the_beginning_of_a_po_number_is_found_along_the_index_on_postgresql(postgres_store: Database) -> None:
    # Among some orders, with statistics: the server makes them when it likes, and reads an empty table by any index.
    history = History(postgres_store, NOW)
    for number in range(ORDERS):
        history.place(f"{'seed' if number < 2 else 'other'}-{number}")
    postgres_store.write(lambda connection: connection.exec_driver_sql("ANALYZE orders"))
    (indexed,) = narrowing._indexed(Filters(po_prefix="seed-"), NOW, "postgresql")
    with postgres_store.read() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        query = indexed.ids.compile(connection, compile_kwargs={"literal_binds": True})
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {query}").scalars())
    assert "ix_orders_po_folded" in plan
    assert "po_folded)::text ~>=~" in plan
