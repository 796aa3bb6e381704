"""The story of one order: lines that moved on as one row, the course of many cards, what customers are written."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from finished import times_of
from histories import START, History

from tracking.forecasting.learned import store_forecasts
from tracking.forecasting.survival import Forecast, Interval
from tracking.orders import wording
from tracking.orders.model import Line
from tracking.orders.observations import Polled
from tracking.provider.responses import ParsedOrder
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_page import progress, story, verdicts
from tracking.reports.order_page.lines import find_lines
from tracking.reports.order_page.why import why_curve
from tracking.storage.database import Database


def fulfil(history: History, name: str, done: int, of: int) -> None:
    """A poll shows so many of the lines with their claim data."""
    lines = [
        Line(number, "CVS", 1000, 1, "Completed" if number <= done else "Pending", claims=int(number <= done))
        for number in range(1, of + 1)
    ]
    snapshot = history.snapshot(name, "Processing", lines)
    history.see(name, Polled(snapshot, "order"), shown=ParsedOrder(snapshot, {}, f"digest-{done}-{history.at}"))


def bulk(history: History, *counts: int, of: int = 20) -> int:
    """An order of many lines of which polls showed so many fulfilled, a minute apart."""
    number = history.place("BULK-1", lines=of)
    history.accept("BULK-1")
    history.wait(minutes=1)
    fulfil(history, "BULK-1", 0, of)
    for done in counts:
        history.wait(minutes=1)
        fulfil(history, "BULK-1", done, of)
    return number


def test_lines_that_moved_on_are_one_row_with_their_number_of_polls(history: History, store: Database) -> None:
    number = bulk(history, 3, 3, 8, 12)
    record = story.story(store, number, history.at)
    texts = [row.text for row in record.rows]
    assert "Lines 1 to 12 fulfilled between 10:02:00 and 10:05:00 (4 polls, all Processing)" in texts
    assert [count for _, count in record.fulfilled] == [0, 3, 8, 12]
    assert record.polled_at == history.at
    for _ in range(2):
        history.wait(minutes=1)
        fulfil(history, "BULK-1", 12, 20)
    assert "(6 polls, all Processing)" in story.timeline(store, number, history.at)[-2].text
    version = story.story_version(store, number, history.at)
    assert story.story_version(store, number, history.wait(milliseconds=1)) == version
    fulfil(history, "BULK-1", 13, 20)
    assert story.story_version(store, number, history.at) != version


def test_the_pace_says_when_all_cards_are_there_and_says_nothing_without_enough_of_it(
    history: History, store: Database
) -> None:
    number = bulk(history, 2, 4, 6)
    record = story.story(store, number, history.at)
    assert progress.steps(record.fulfilled) == 2
    assert progress.project(record.fulfilled, 20, history.at) is None
    for done in (8, 10, 12):
        history.wait(minutes=1)
        fulfil(history, "BULK-1", done, 20)
    told = progress.project(story.story(store, number, history.at).fulfilled, 20, history.at)
    assert told is not None
    assert {told.earliest, told.middle, told.latest} == {history.at + timedelta(minutes=4)}, "2 cards a minute, 8 left"
    assert told.text == "At the pace so far all cards are fulfilled between 10:11 and 10:11 (5 recorded increases)."
    stalled = progress.project(story.story(store, number, history.at).fulfilled, 20, history.at + timedelta(hours=1))
    assert stalled is not None
    assert stalled.latest is not None
    assert stalled.latest > stalled.middle > told.middle, "a pace that has died down is no promise"


def test_lines_are_found_by_status_and_by_what_they_hold(history: History, store: Database) -> None:
    number = bulk(history, 3, of=5)
    assert find_lines(store, number, status="Completed").rows["number"].tolist() == [1, 2, 3]
    assert find_lines(store, number, status="Completed", page=2, size=2).rows["number"].tolist() == [3]
    assert find_lines(store, number, status="Completed", size=2).total == 3
    assert find_lines(store, number, text="4").rows["number"].tolist() == [4]
    assert find_lines(store, number, text="cvs").total == 5
    assert find_lines(store, number, text="4", status="Completed").total == 0


def test_an_order_has_a_place_in_the_list_it_came_from(history: History, store: Database) -> None:
    numbers = [history.place(f"A-{each}") for each in range(3)]
    places = [search.position(store, Filters(), number, history.at) for number in numbers]
    assert places == [(3, 3), (2, 3), (1, 3)]
    assert search.position(store, Filters(view="attention"), numbers[0], history.at) == (None, 0)


def test_the_curve_of_an_orders_class_says_where_it_stands_only_with_enough_history(
    history: History, store: Database
) -> None:
    number = history.place("SLOW-1")
    assert why_curve(store, number, history.at) is None
    history.accept("SLOW-1")
    history.wait(seconds=10)
    curve = why_curve(store, number, history.at)
    assert curve is not None
    assert (curve.ages, curve.orders) == ((), 0)
    assert curve.sentences[0].startswith("Not enough history (0 of 30 completed orders like it)")
    times = {"Links/1": times_of(Interval(8.0, 9.0), Interval(39.0, 41.0), orders=20)}
    forecasts = [Forecast.fit(name, ()) for name in times]
    store.write(lambda connection: store_forecasts(connection, forecasts, START, times))
    curve = why_curve(store, number, history.at)
    assert curve is not None
    assert curve.age == 10
    assert curve.next_poll_age is not None
    assert curve.ages[0] == 1
    assert curve.ages[-1] >= 40
    assert list(curve.still_open) == sorted(curve.still_open, reverse=True)
    assert "40 completed orders (links, 1 card)" in curve.sentences[0]
    assert "46 % of similar orders completed sooner" in curve.sentences[0]


def test_a_customer_is_written_plain_sentences(history: History, store: Database) -> None:
    number = history.place("FT-1", lines=2, recipient="ann@example.com")

    def summary() -> list[str]:
        return verdicts.order_view(store, number, history.at).summary.split("\n")

    assert summary() == [
        "Your order FT-1 for 2 gift links was placed on 4 March 2026, 10:00 (UTC).",
        "It is waiting to be passed on to our supplier.",
        "We cannot say yet when it will be complete.",
        "This is what we know on 4 March 2026, 10:00 (UTC).",
    ]
    history.complete("FT-1", minutes=10)
    reset = wording.TIME_ZONE.set(ZoneInfo("Europe/Berlin"))
    assert summary()[1:3] == ["It was completed by 4 March 2026, 11:11 (CET).", "2 of 2 cards are ready."]
    wording.TIME_ZONE.reset(reset)
    assert "ann@" not in "".join(summary())


@pytest.mark.parametrize("kind", ["refused", "lost"])
def test_a_customer_reads_none_of_our_words(history: History, store: Database, kind: str) -> None:
    number = history.place("FT-1")
    history.refuse("FT-1", "the balance of 54.00 does not cover it") if kind == "refused" else history.lose("FT-1")
    text = verdicts.order_view(store, number, history.at).summary
    assert "supplier" in text
    assert not [word for word in ("balance", "poll", "webhook", "provider", "PO number", "unconfirmed") if word in text]
