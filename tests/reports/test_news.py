"""What a list says has changed since it was read, what lies around an order in it, and counts against their lists."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from histories import History

from tracking.forecasting.incidents import LateOrders, current_incidents
from tracking.reports import activity, overview
from tracking.reports.banners import health_banners
from tracking.reports.health import Health
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.news import Change, News, list_news
from tracking.storage.database import Database


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
