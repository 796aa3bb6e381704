"""What a list says has changed since it was read, what lies around an order in it, and counts against their lists."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from histories import History
from sqlalchemy import Connection, event, update

from tracking.forecasting.incidents import LateOrders, current_incidents
from tracking.reports import activity, overview
from tracking.reports.banners import health_banners
from tracking.reports.health import Health
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.news import Change, News, list_news
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS


def test_new_orders_are_those_that_match(history: History, store: Database) -> None:
    history.place("A-1")
    page = search.orders_page(store, Filters(po_prefix="A"), history.at)
    history.place("A-2")
    history.place("B-1")
    assert list_news(store, Filters(po_prefix="A"), page, history.at) == News(1)


def test_a_change_of_what_is_shown_is_news_and_another_look_is_not(history: History, store: Database) -> None:
    for name in ("A-1", "A-2"):
        history.place(name)
        history.accept(name)
    page = search.orders_page(store, Filters(), history.at)
    history.wait(seconds=5)
    history.look("A-1", "Pending")
    assert list_news(store, Filters(), page, history.at) == News(0)
    history.look("A-1", "Processing")
    assert list_news(store, Filters(), page, history.at) == News(0, (Change("A-1", "Pending to Processing"),))
    late = list_news(store, Filters(), page, history.at + timedelta(days=400)).changes
    assert late == (Change("A-2", "late now"), Change("A-1", "Pending to Processing"))


def test_an_order_that_enters_or_leaves_the_list_is_news(history: History, store: Database) -> None:
    for name in ("A-1", "A-2", "A-3"):
        history.place(name)
        history.accept(name)
    flagged, still_open = Filters(view="attention"), Filters(view="open", page_size=2)
    nothing, first = (search.orders_page(store, each, history.at) for each in (flagged, still_open))
    history.wait(seconds=5)
    history.look("A-3", "Cancelled")
    assert list_news(store, flagged, nothing, history.at).changes == (Change("A-3", "Cancelled, now in this list"),)
    # A-1 moves up to the end of the page, which is no news of it.
    assert list_news(store, still_open, first, history.at) == News(
        0, (Change("A-3", "Pending to Cancelled, needs a decision"),)
    )


def test_an_order_enters_the_list_behind_any_number_of_new_ones(history: History, store: Database) -> None:
    history.place("A-1")
    history.accept("A-1")
    flagged = Filters(view="attention", page_size=1)
    nothing = search.orders_page(store, flagged, history.at)
    for name in ("B-1", "B-2", "B-3"):
        history.place(name)
        history.accept(name)
    for name in ("A-1", "B-1", "B-2", "B-3"):
        history.look(name, "Cancelled")
    entered = Change("A-1", "Cancelled, now in this list")
    assert list_news(store, flagged, nothing, history.at) == News(3, (entered,))


def test_rows_that_came_went_or_changed_are_counted() -> None:
    def rows(*values: tuple[str, int]) -> pd.DataFrame:
        return pd.DataFrame(values, columns=["outcome", "repeats"])

    shown = rows(("accepted", 0), ("waiting", 0))
    assert activity.count_differences(shown, rows(("accepted", 0), ("waiting", 0))) == 0
    assert activity.count_differences(shown, rows(("accepted", 1), ("waiting", 0))) == 1
    assert activity.count_differences(shown, rows(("refused", 0), ("accepted", 0), ("waiting", 0))) == 1
    assert activity.count_differences(shown, rows(("accepted", 0))) == 1


@pytest.mark.parametrize("sort", ["placed", "po number", "value", "completed"])
@pytest.mark.parametrize("descending", [True, False])
def test_neighbours_are_those_of_the_list_over_all_its_pages(
    history: History, store: Database, sort: str, descending: bool
) -> None:
    for number in range(6):
        history.place(f"A-{number}", value=1000 + 100 * (number % 3))
        if number % 2:
            history.complete(f"A-{number}")
    filters = Filters(sort=sort, descending=descending)
    names = search.orders_page(store, filters, history.at).rows["po_number"].tolist()
    paged = Filters(sort=sort, descending=descending, page_size=2)
    for before, name, after in zip([None, *names], names, [*names[1:], None], strict=False):
        assert search.neighbours(store, paged, history.numbers[name], history.at) == (before, after)


def test_an_order_that_left_the_list_still_has_its_neighbours(history: History, store: Database) -> None:
    for name in ("A-1", "A-2", "A-3"):
        history.place(name)
        history.refuse(name)
    filters = Filters(view="attention")
    assert search.neighbours(store, filters, history.numbers["A-2"], history.at) == ("A-3", "A-1")
    history.acknowledge("A-2", "placed anew")
    assert search.orders_page(store, filters, history.at).total == 2
    assert search.neighbours(store, filters, history.numbers["A-2"], history.at) == ("A-3", "A-1")


def test_each_count_of_the_overview_is_that_of_the_list_it_links_to(history: History, store: Database) -> None:
    history.at = datetime.now(UTC) - timedelta(hours=3)
    for number in range(9):
        history.place(f"LATE-{number}")
        history.accept(f"LATE-{number}")
        history.wait(minutes=1)
    for name in ("GONE-1", "GONE-2"):
        history.place(name)
        history.lose(name)
    history.place("REFUSED-1")
    history.refuse("REFUSED-1")
    now = datetime.now(UTC)
    history.at = now
    history.find_finished("FOUND-1")
    history.place("DONE-1")
    history.complete("DONE-1", minutes=0.1)
    now = history.at
    current = overview.overview(store, now)
    assert current.late >= 9
    for name, query in overview.COUNTED_LISTS.items():
        filters, problems = Filters.from_query(query)
        assert not problems
        listed = search.orders_page(store, filters, now)
        assert (name, getattr(current, name)) == (name, len(listed.rows))
        assert (name, getattr(current, name)) == (name, listed.total)


def test_the_banner_of_late_orders_links_to_as_many_as_it_counts(history: History, store: Database) -> None:
    for number in range(9):
        history.place(f"LATE-{number}")
        history.wait(seconds=5)
        history.accept(f"LATE-{number}")
        history.wait(minutes=1)
    history.wait(hours=5)
    history.place("ALONE-1")
    history.accept("ALONE-1")
    now = history.wait(hours=5)
    with store.read() as connection:
        [incident] = current_incidents(connection, now)
    healthy = Health(unreachable_since=None, refused=None, paused_until=None, silent=())
    [banner] = health_banners(healthy, LateOrders((incident,)), now)
    assert banner.orders is not None
    filters, problems = Filters.from_query(banner.orders)
    assert not problems
    assert banner.text.startswith("9 of 9 orders placed ")
    assert search.orders_page(store, filters, now).total == 9
    assert search.orders_page(store, Filters(view="late", each=True), now).total == 10


def _statements(store: Database, filters: Filters, page: search.Page, now: datetime) -> int:
    counted: list[str] = []

    def note(*call: Any) -> None:
        counted.append(call[2])

    event.listen(store._readers, "before_cursor_execute", note)
    try:
        assert list_news(store, filters, page, now) == News(0)
    finally:
        event.remove(store._readers, "before_cursor_execute", note)
    return len([text for text in counted if text.startswith("SELECT")])


def test_one_statement_tells_that_there_is_nothing_new(history: History, store: Database) -> None:
    for name in ("A-1", "A-2"):
        history.place(name)
        history.accept(name)
    filters = Filters(product="CVS", source="form")
    page = search.orders_page(store, filters, history.at)
    assert _statements(store, filters, page, history.at + timedelta(seconds=20)) == 1
    # What moves without an event is looked for once a minute all the same.
    assert _statements(store, filters, page, history.at + timedelta(seconds=62)) > 1


def test_what_the_clock_alone_changes_is_news(history: History, store: Database) -> None:
    late, flagged = Filters(view="late", each=True), Filters(view="attention")
    history.place("A-1")
    history.accept("A-1")
    order_id = history.place("A-2")
    history.refuse("A-2")
    until = history.at + timedelta(minutes=30)
    store.write(lambda connection: snooze(connection, order_id, until, history.at))
    pages = [search.orders_page(store, filters, history.at) for filters in (late, flagged)]
    at = until + timedelta(seconds=20)
    assert list_news(store, late, pages[0], history.at + timedelta(seconds=20)) == News(0)
    assert [change.po_number for change in list_news(store, flagged, pages[1], at).changes] == ["A-2"]
    at = history.at + timedelta(days=400, seconds=20)
    assert [change.po_number for change in list_news(store, late, pages[0], at).changes] == ["A-1"]


def snooze(connection: Connection, order_id: int, until: datetime, now: datetime) -> None:
    """As an operator does, without the log: only the row counts for a list."""
    changed = update(ORDERS).where(ORDERS.c.id == order_id)
    connection.execute(changed.values(snoozed_at=now, snoozed_until=until))
