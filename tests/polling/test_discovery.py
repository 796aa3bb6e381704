import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fakes import NOW, Clock, FakeProvider, order_json
from polling_setup import PollingSetup, several

from tracking.errors import OutcomeUnknown, UnreadableAnswer
from tracking.forecasting.planner import PlanningContext
from tracking.polling import discovery
from tracking.polling.discovery import OVERLAP
from tracking.provider.client import OrdersPage
from tracking.storage.database import Database

LOST = OutcomeUnknown("no answer in time")
UNREADABLE = UnreadableAnswer("cut", status=200)


@pytest.fixture
def watch(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> PollingSetup:
    return PollingSetup(store, provider, planner, clock)


def test_discovery_finds_what_others_placed_and_comes_again_when_it_is_due(watch: PollingSetup) -> None:
    watch.provider.show(*several(3))
    assert watch.discover()
    assert len(watch.rows()) == 3
    assert {row["source"] for row in watch.rows()} == {"elsewhere"}
    assert not watch.discover(seconds=29)
    watch.provider.show(order_json("BLK-9", "new", created_at=watch.clock.now))
    assert watch.discover(seconds=1)
    assert len(watch.rows()) == 4


def test_discovery_that_is_switched_off_asks_nothing(watch: PollingSetup) -> None:
    off = watch.walker(every=0)
    assert not asyncio.run(off.walk_if_due(watch.clock.now))
    assert watch.provider.calls == []


def test_the_first_discovery_goes_back_thirty_days_and_the_next_ones_a_little(watch: PollingSetup) -> None:
    watch.provider.show(*several(2, apart=3600))
    watch.discover()
    watch.discover(seconds=30)
    first, second = watch.provider.called("orders")
    assert first["start"] == NOW - timedelta(days=30) - OVERLAP
    assert second["start"] == NOW - OVERLAP
    assert watch.watermark() == NOW.isoformat()


def test_a_creation_time_ahead_of_our_clock_does_not_hide_what_comes_until_then(watch: PollingSetup) -> None:
    watch.provider.show(order_json(created_at=NOW + timedelta(days=365)))
    watch.discover()
    assert watch.watermark() == NOW.isoformat()


def test_the_watermark_never_goes_back(watch: PollingSetup) -> None:
    watch.provider.show(order_json())
    watch.discover()
    watch.provider.kept.clear()
    watch.discover(seconds=30)
    assert watch.watermark() == NOW.isoformat()


@pytest.mark.parametrize("newest_first", [True, False])
def test_discovery_walks_all_pages(watch: PollingSetup, newest_first: bool) -> None:
    watch.provider.newest_first = newest_first
    watch.provider.show(*several(70))
    watch.discover()
    assert len(watch.rows()) == 70
    assert [asked["page"] for asked in watch.provider.called("orders")] == [1, 2]


def test_orders_that_come_in_between_two_pages_are_stored_once_and_none_is_lost(watch: PollingSetup) -> None:
    def insert(page: int) -> None:
        watch.provider.show(order_json(f"NEW-{page}", f"new-{page}", created_at=NOW + timedelta(seconds=page)))

    watch.provider.newest_first = True
    watch.provider.show(*several(70))
    watch.provider.inserting = insert
    watch.discover()
    stored = {row["po_number"] for row in watch.rows()}
    assert {f"po-{number:04}" for number in range(70)} <= stored
    assert len(stored) == len(watch.rows())


def test_an_unreadable_page_is_tried_in_smaller_ones(watch: PollingSetup) -> None:
    watch.provider.show(*several(3))
    watch.provider.will("orders", UNREADABLE, UNREADABLE)
    watch.discover()
    assert [asked["size"] for asked in watch.provider.called("orders")][:3] == [50, 10, 1]
    assert len(watch.rows()) == 3


@pytest.mark.parametrize("unreadable", [True, False])
def test_a_page_of_nothing_new_or_nothing_readable_does_not_end_the_walk(
    watch: PollingSetup, monkeypatch: pytest.MonkeyPatch, unreadable: bool
) -> None:
    watch.provider.show(*several(110))
    listed = watch.provider.orders

    async def orders(*, page: int, **asked: Any) -> OrdersPage:
        shown = await listed(page=1 if page == 2 and not unreadable else page, **asked)
        return replace(shown, orders=(), unreadable=50) if page == 2 and unreadable else shown

    monkeypatch.setattr(watch.provider, "orders", orders)
    watch.discover()
    assert len(watch.provider.called("orders")) == 3
    assert len(watch.rows()) == 60


def test_a_walk_through_pages_without_end_is_cut(
    watch: PollingSetup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(discovery, "PAGES_AT_MOST", 3)
    watch.provider.show(*several(100))
    listed = watch.provider.orders

    async def in_turns(*, page: int, **asked: Any) -> OrdersPage:
        return await listed(page=2 - page % 2, **asked)

    monkeypatch.setattr(watch.provider, "orders", in_turns)
    watch.discover()
    assert (len(watch.provider.called("orders")), len(watch.rows())) == (3, 100)
    assert "list cut" in caplog.text


def test_a_walk_ends_where_the_provider_shows_one_page_whatever_number_is_asked_for(
    watch: PollingSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.provider.show(*several(50))
    listed = watch.provider.orders

    async def first_page(*, page: int, **asked: Any) -> OrdersPage:
        return await listed(page=1, **asked)

    monkeypatch.setattr(watch.provider, "orders", first_page)
    watch.discover()
    assert (len(watch.provider.called("orders")), len(watch.rows())) == (3, 50)


def test_a_walk_that_breaks_off_keeps_what_it_saw_and_begins_again_at_the_same_place(watch: PollingSetup) -> None:
    watch.provider.show(*several(60))
    watch.provider.will("orders", None, LOST)
    assert watch.discover()
    assert (len(watch.rows()), watch.watermark()) == (50, None)
    watch.discover(seconds=30)
    assert (len(watch.rows()), watch.watermark()) == (60, NOW.isoformat())


def test_a_clock_that_was_set_back_does_not_stop_discovery(watch: PollingSetup) -> None:
    watch.discover()
    assert watch.discover(days=-2)
