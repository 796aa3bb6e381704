import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import NOW, Clock, FakeProvider, line, order_json
from sqlalchemy.engine import RowMapping

from tracking import ingest
from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    NotFound,
    NotSent,
    OutcomeUnknown,
    ProviderError,
    Throttled,
    UnreadableAnswer,
)
from tracking.forecasting.planner import Planner
from tracking.forecasting.waits import CHEAPER, DEARER
from tracking.polling import discovery
from tracking.polling.discovery import OVERLAP, Discovery
from tracking.polling.poller import Poller
from tracking.provider.client import Answer, OrdersPage
from tracking.provider.responses import read_order
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import EVENTS, ORDERS

LOST = OutcomeUnknown("no answer in time")
UNREADABLE = UnreadableAnswer("cut", status=200)


class Watch:
    """A poller with its store and its provider."""

    def __init__(self, store: Database, provider: FakeProvider, planner: Planner, clock: Clock) -> None:
        self.store, self.provider, self.planner, self.clock = store, provider, planner, clock
        self.discovery = self.walker()
        self.poller = self.worker("here/1/a")

    def walker(self, every: float = 30) -> Discovery:
        return Discovery(self.store, self.provider, self.planner, every=timedelta(seconds=every))

    def worker(self, owner: str) -> Poller:
        return Poller(
            self.store,
            self.provider,
            self.planner,
            owner=owner,
            lease=timedelta(seconds=30),
            clock=self.clock,
        )

    def know(self, *orders: dict[str, Any]) -> None:
        """The store and the provider know these orders; all are due now."""
        self.provider.show(*orders)
        now = self.clock.now

        def job(connection: sa.Connection) -> None:
            for raw in orders:
                ingest.discover(connection, read_order(raw), now, now, self.planner)
            connection.execute(sa.update(ORDERS).values(next_look_at=now))

        self.store.write(job)

    def poll(self, **later: float) -> int:
        return asyncio.run(self.poller.poll_once(self.clock.pass_by(**later)))

    def discover(self, **later: float) -> bool:
        return asyncio.run(self.discovery.walk_if_due(self.clock.pass_by(**later)))

    def rows(self) -> Sequence[RowMapping]:
        with self.store.read() as connection:
            return connection.execute(sa.select(ORDERS).order_by(ORDERS.c.id)).mappings().all()

    def row(self) -> RowMapping:
        [row] = self.rows()
        return row

    def states(self) -> set[str]:
        return {row["state"] for row in self.rows()}

    def waits(self) -> float | None:
        at = self.row()["next_look_at"]
        return None if at is None else (at - self.clock.now).total_seconds()

    def kinds(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(EVENTS.c.kind).order_by(EVENTS.c.id)).scalars())

    def watermark(self) -> str | None:
        fact = self.store.write(lambda connection: facts.get_fact(connection, "discover"))
        return fact[1]["watermark"] if fact else None


def several(count: int, status: str = "Pending", apart: float = 1) -> list[dict[str, Any]]:
    return [
        order_json(f"BLK-{number}", f"po-{number:04}", status, created_at=NOW - timedelta(seconds=apart * number))
        for number in range(count)
    ]


@pytest.fixture
def watch(store: Database, provider: FakeProvider, planner: Planner, clock: Clock) -> Watch:
    return Watch(store, provider, planner, clock)


# Looks


def test_nothing_due_asks_nothing(watch: Watch) -> None:
    assert watch.poll() == 0
    assert watch.provider.calls == []


def test_a_single_due_order_is_asked_for_by_its_id(watch: Watch) -> None:
    watch.know(order_json())
    watch.provider.show(order_json(status="Completed"))
    assert watch.poll(seconds=5) == 1
    assert watch.provider.calls == [("order", "BLK-1")]
    assert watch.states() == {"Completed"}
    assert watch.poll() == 0


def test_an_answer_without_news_is_a_look_all_the_same(watch: Watch) -> None:
    watch.know(order_json())
    watch.poll(seconds=60)
    row = watch.row()
    assert (row["looks"], row["last_open_at"], row["lease_owner"]) == (2, watch.clock.now, None)


def test_orders_of_the_same_time_share_one_list_page(watch: Watch) -> None:
    watch.know(*several(30))
    watch.provider.show(*several(30, "Completed"))
    assert watch.poll() == 30
    [asked] = watch.provider.called("orders")
    assert len(watch.provider.calls) == 1
    assert (asked["page"], asked["size"]) == (1, 50)
    assert asked["start"] <= NOW - timedelta(seconds=29)
    assert asked["end"] >= NOW
    assert watch.states() == {"Completed"}


def test_more_orders_than_a_page_holds_take_more_pages(watch: Watch) -> None:
    watch.know(*several(60, apart=10))
    watch.provider.show(*several(60, "Completed", apart=10))
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "orders"]
    assert watch.states() == {"Completed"}


def test_orders_with_many_lines_or_without_a_creation_time_are_asked_for_by_their_ids(watch: Watch) -> None:
    many = [line(ExternalId=f"row-{number}") for number in range(101)]
    timeless = order_json("BLK-2", "timeless")
    del timeless["Timestamp"]
    watch.know(order_json("BLK-1", "large", "Pending", *many), timeless)
    watch.poll()
    assert sorted(watch.provider.calls) == [("order", "BLK-1"), ("order", "BLK-2")]


def test_orders_that_the_page_does_not_show_are_asked_for_one_by_one(watch: Watch) -> None:
    watch.know(*several(3))
    watch.provider.page_limit = 2
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "order"]
    assert {row["looks"] for row in watch.rows()} == {2}


def test_a_page_that_cannot_be_read_falls_back_to_single_looks(watch: Watch) -> None:
    watch.know(*several(3))
    watch.provider.will("orders", UNREADABLE)
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "order", "order", "order"]


def test_a_completed_order_that_the_page_shows_without_claim_data_is_asked_for_by_its_id(watch: Watch) -> None:
    watch.know(*several(2))
    without, full = several(2, "Completed")
    without["LineItems"][0]["ClaimData"] = None
    watch.provider.show(without, full)
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "order"]
    assert sorted(row["state"] for row in watch.rows()) == ["Completed", "Pending"]


def test_a_page_that_fails_postpones_every_order_on_it(watch: Watch) -> None:
    watch.know(*several(3))
    watch.provider.will("orders", LOST)
    watch.poll()
    assert {(row["failures"], row["lease_owner"]) for row in watch.rows()} == {(1, None)}
    assert watch.poll() == 0


# Failures


def test_failures_back_off_and_an_answer_ends_them(watch: Watch) -> None:
    watch.know(order_json())
    waits = []
    for _ in range(10):
        watch.provider.will("order", LOST)
        watch.poll(minutes=6)
        waits.append(watch.waits() or 0)
    assert waits[:3] == [pytest.approx(2, rel=0.1), pytest.approx(4, rel=0.1), pytest.approx(8, rel=0.1)]
    assert waits[-1] == 300
    watch.poll(minutes=6)
    assert watch.row()["failures"] == 0


def test_a_404_is_never_final(watch: Watch) -> None:
    watch.know(order_json())
    del watch.provider.kept["BLK-1"]
    for _ in range(3):
        watch.poll(minutes=6)
    assert (watch.states(), watch.row()["failures"]) == ({"Pending"}, 3)
    assert watch.kinds()[-3:] == ["not found"] * 3
    watch.provider.show(order_json(status="Completed"))
    watch.poll(minutes=6)
    assert watch.states() == {"Completed"}


@pytest.mark.parametrize(
    ("error", "wait", "failures"),
    [
        (Throttled("wait", status=429, retry_after=timedelta(seconds=77)), 77, 0),
        (Throttled("wait", status=503, retry_after=timedelta(seconds=600)), 600, 0),
        (CredentialsRefused("no", status=401), 60, 1),
        (AccessDisabled("no", status=403), 60, 1),
        (NotSent("no connection"), 10, 1),
    ],
)
def test_a_provider_that_asks_to_wait_or_shuts_us_out_is_left_alone_for_so_long(
    watch: Watch, error: ProviderError, wait: float, failures: int
) -> None:
    watch.know(order_json())
    watch.provider.will("order", error)
    watch.poll()
    assert (watch.waits(), watch.row()["failures"], watch.states()) == (wait, failures, {"Pending"})
    assert watch.row()["next_look_why"] == "last poll without answer"


@pytest.mark.parametrize("error", [LOST, UNREADABLE, NotFound("no", status=404)])
def test_no_failure_ever_finishes_an_order(watch: Watch, error: ProviderError) -> None:
    watch.know(order_json())
    watch.provider.will("order", error)
    watch.poll()
    assert watch.states() == {"Pending"}
    assert watch.waits() is not None


# Leases


def test_two_pollers_never_ask_for_the_same_order(watch: Watch, now: datetime) -> None:
    watch.know(*several(4, apart=86400))
    other = watch.worker("there/9/b")

    async def both() -> list[int]:
        works = [await worker.lease(now) for worker in (watch.poller, other)]
        return [sum(len(work.rows) for work in part) for part in works]

    assert sum(asyncio.run(both())) == 4


def test_what_a_dead_poller_claimed_is_looked_at_when_its_lease_ends(watch: Watch) -> None:
    watch.know(order_json())
    asyncio.run(watch.worker("dead/9/b").lease(watch.clock.now))
    assert watch.poll(seconds=89) == 0
    assert watch.poll(seconds=1) == 1


def test_what_does_not_fit_into_the_works_asked_for_is_given_back(watch: Watch) -> None:
    timeless = [order_json(f"X-{number}", f"x-{number}") for number in range(3)]
    for order in timeless:
        del order["Timestamp"]
    watch.know(*timeless, *several(4))
    taken = asyncio.run(watch.poller.lease(watch.clock.now, 2))
    assert sorted(len(work.rows) for work in taken) == [1, 4]
    assert sum(row["lease_owner"] is not None for row in watch.rows()) == 5
    rest = asyncio.run(watch.worker("there/9/b").lease(watch.clock.now))
    assert sum(len(work.rows) for work in rest) == 2


def test_orders_that_a_page_did_not_settle_are_given_back_before_their_lease_ends(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.know(*several(5))
    watch.provider.will("orders", UNREADABLE)
    answer = watch.provider.order

    async def slow(provider_id: str, *, last_digest: str | None = None) -> Answer:
        watch.clock.pass_by(seconds=25)
        return await answer(provider_id, last_digest=last_digest)

    monkeypatch.setattr(watch.provider, "order", slow)
    watch.poll()
    assert len(watch.provider.called("order")) == 2
    assert sorted((row["lease_owner"], row["looks"]) for row in watch.rows()) == [*[(None, 1)] * 3, *[(None, 2)] * 2]
    watch.poll()
    assert min(row["looks"] for row in watch.rows()) == 2


def test_finished_orders_on_one_page_are_followed_at_longer_and_longer_waits(watch: Watch) -> None:
    orders = [
        order_json(f"BLK-{number}", f"po-{number}", "Completed", kind="DigitalDelivery", line_status="Sent")
        for number in range(2)
    ]
    watch.know(*orders)
    assert watch.poll(seconds=1) == 2
    assert watch.provider.calls[-1][0] == "orders"
    assert all(row["next_look_at"] > watch.clock.now and row["lease_owner"] is None for row in watch.rows())
    assert watch.poll(seconds=100) == 0


# Discovery


def test_discovery_finds_what_others_placed_and_comes_again_when_it_is_due(watch: Watch) -> None:
    watch.provider.show(*several(3))
    assert watch.discover()
    assert len(watch.rows()) == 3
    assert {row["source"] for row in watch.rows()} == {"elsewhere"}
    assert not watch.discover(seconds=29)
    watch.provider.show(order_json("BLK-9", "new", created_at=watch.clock.now))
    assert watch.discover(seconds=1)
    assert len(watch.rows()) == 4


def test_discovery_that_is_switched_off_asks_nothing(watch: Watch) -> None:
    off = watch.walker(every=0)
    assert not asyncio.run(off.walk_if_due(watch.clock.now))
    assert watch.provider.calls == []


def test_the_first_discovery_goes_back_thirty_days_and_the_next_ones_a_little(watch: Watch) -> None:
    watch.provider.show(*several(2, apart=3600))
    watch.discover()
    watch.discover(seconds=30)
    first, second = watch.provider.called("orders")
    assert first["start"] == NOW - timedelta(days=30) - OVERLAP
    assert second["start"] == NOW - OVERLAP
    assert watch.watermark() == NOW.isoformat()


def test_a_creation_time_ahead_of_our_clock_does_not_hide_what_comes_until_then(watch: Watch) -> None:
    watch.provider.show(order_json(created_at=NOW + timedelta(days=365)))
    watch.discover()
    assert watch.watermark() == NOW.isoformat()


def test_the_watermark_never_goes_back(watch: Watch) -> None:
    watch.provider.show(order_json())
    watch.discover()
    watch.provider.kept.clear()
    watch.discover(seconds=30)
    assert watch.watermark() == NOW.isoformat()


@pytest.mark.parametrize("newest_first", [True, False])
def test_discovery_walks_all_pages(watch: Watch, newest_first: bool) -> None:
    watch.provider.newest_first = newest_first
    watch.provider.show(*several(70))
    watch.discover()
    assert len(watch.rows()) == 70
    assert [asked["page"] for asked in watch.provider.called("orders")] == [1, 2]


def test_orders_that_come_in_between_two_pages_are_stored_once_and_none_is_lost(watch: Watch) -> None:
    def insert(page: int) -> None:
        watch.provider.show(order_json(f"NEW-{page}", f"new-{page}", created_at=NOW + timedelta(seconds=page)))

    watch.provider.newest_first = True
    watch.provider.show(*several(70))
    watch.provider.inserting = insert
    watch.discover()
    stored = {row["po_number"] for row in watch.rows()}
    assert {f"po-{number:04}" for number in range(70)} <= stored
    assert len(stored) == len(watch.rows())


def test_an_unreadable_page_is_tried_in_smaller_ones(watch: Watch) -> None:
    watch.provider.show(*several(3))
    watch.provider.will("orders", UNREADABLE, UNREADABLE)
    watch.discover()
    assert [asked["size"] for asked in watch.provider.called("orders")][:3] == [50, 10, 1]
    assert len(watch.rows()) == 3


@pytest.mark.parametrize("unreadable", [True, False])
def test_a_page_of_nothing_new_or_nothing_readable_does_not_end_the_walk(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, unreadable: bool
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
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(discovery, "PAGES_AT_MOST", 3)
    watch.provider.show(*several(50))
    listed = watch.provider.orders

    async def first_page(*, page: int, **asked: Any) -> OrdersPage:
        return await listed(page=1, **asked)

    monkeypatch.setattr(watch.provider, "orders", first_page)
    watch.discover()
    assert (len(watch.provider.called("orders")), len(watch.rows())) == (3, 50)
    assert "list cut" in caplog.text


def test_a_walk_that_breaks_off_keeps_what_it_saw_and_begins_again_at_the_same_place(watch: Watch) -> None:
    watch.provider.show(*several(60))
    watch.provider.will("orders", None, LOST)
    assert watch.discover()
    assert (len(watch.rows()), watch.watermark()) == (50, None)
    watch.discover(seconds=30)
    assert (len(watch.rows()), watch.watermark()) == (60, NOW.isoformat())


def test_a_clock_that_was_set_back_does_not_stop_discovery(watch: Watch) -> None:
    watch.discover()
    assert watch.discover(days=-2)


def test_whatever_was_seen_the_log_agrees_with_the_rows(watch: Watch) -> None:
    watch.know(*several(20, "Processing"))
    watch.provider.show(*several(10, "Completed"))
    watch.poll(minutes=1)
    watch.provider.show(*several(10, "Cancelled"))
    watch.discover()
    watch.poll(minutes=20)
    assert verify.verify(watch.store) == []


# Worth


def test_open_orders_that_together_are_worth_it_share_a_page_before_any_is_due(watch: Watch) -> None:
    watch.know(*several(8, apart=0.1))
    watch.poll()
    looked = len(watch.provider.calls)
    soonest = min(row["next_look_at"] for row in watch.rows())
    while len(watch.provider.calls) == looked:
        watch.poll(seconds=0.5)
    assert watch.clock.now < soonest
    assert [row["looks"] for row in watch.rows()] == [watch.rows()[0]["looks"]] * 8
    assert len(watch.provider.called("order")) == 0


def test_what_a_survey_costs_is_counted_in_time_of_the_processor(watch: Watch) -> None:
    watch.know(*several(30, apart=1))
    assert watch.poller.planning_seconds == 0.0
    watch.poll()
    assert 0.0 < watch.poller.planning_seconds < 5.0


def test_scarce_calls_become_dearer_and_idle_ones_cheaper_once_a_second(watch: Watch) -> None:
    forecasts = watch.planner.forecasts
    watch.know(*several(120, apart=86400))
    before = forecasts.price
    asyncio.run(watch.poller.lease(watch.clock.pass_by(seconds=5), 2))
    asyncio.run(watch.poller.lease(watch.clock.pass_by(seconds=0.2), 2))
    assert forecasts.price == pytest.approx(before * DEARER)
    watch.clock.pass_by(seconds=1)
    watch.store.write(lambda connection: connection.execute(sa.update(ORDERS).values(next_look_at=None)))
    watch.poll()
    assert forecasts.price == pytest.approx(before * DEARER * CHEAPER)


def test_nobody_counts_on_webhooks_in_the_sweep_nor_where_silence_is_suspected(watch: Watch) -> None:
    watch.planner.forecasts.webhook_share = 0.99
    now = watch.clock.now
    counted = [
        watch.poller._expected_webhook_share(now + timedelta(seconds=seconds)) for seconds in (0, 1, 299, 300, 301)
    ]
    assert counted == [0.0, 0.99, 0.99, 0.0, 0.99]
    watch.planner.forecasts.sweep_asked = True
    assert [watch.poller._expected_webhook_share(now + timedelta(seconds=second)) for second in (302, 303)] == [
        0.0,
        0.99,
    ]
