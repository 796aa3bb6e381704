import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import NOW, Clock, FakeProvider, line, order_json
from polling_setup import PollingSetup, lease_best, several

from tracking.errors import (
    AccessDisabled,
    CredentialsRefused,
    NotFound,
    NotSent,
    NotTheProvider,
    OutcomeUnknown,
    ProviderError,
    Throttled,
    UnknownOrder,
    UnreadableAnswer,
)
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import CHEAPER, DEARER
from tracking.orders.model import Witness
from tracking.orders.observations import Observation, Polled
from tracking.polling.poller import Poller
from tracking.polling.unchanged import UnchangedAnswers
from tracking.provider.client import Answer
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import ORDERS

LOST = OutcomeUnknown("no answer in time")
UNREADABLE = UnreadableAnswer("cut", status=200)


@pytest.fixture
def watch(store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock) -> PollingSetup:
    return PollingSetup(store, provider, planner, clock)


def test_nothing_due_asks_nothing(watch: PollingSetup) -> None:
    assert watch.poll() == 0
    assert watch.provider.calls == []


def test_a_single_due_order_is_asked_for_by_its_id(watch: PollingSetup) -> None:
    watch.know(order_json())
    watch.provider.show(order_json(status="Completed"))
    assert watch.poll(seconds=5) == 1
    assert watch.provider.calls == [("order", "BLK-1")]
    assert watch.states() == {"Completed"}
    assert watch.poll() == 0


def test_an_answer_without_news_is_a_look_all_the_same(watch: PollingSetup) -> None:
    watch.know(order_json())
    watch.poll(seconds=60)
    row = watch.row()
    assert (row["looks"], row["last_open_at"], row["lease_owner"]) == (2, watch.clock.now, None)


def test_orders_of_the_same_time_share_one_list_page(watch: PollingSetup) -> None:
    watch.know(*several(30))
    watch.provider.show(*several(30, "Completed"))
    assert watch.poll() == 30
    [asked] = watch.provider.called("orders")
    assert len(watch.provider.calls) == 1
    assert (asked["page"], asked["size"]) == (1, 50)
    assert asked["start"] <= NOW - timedelta(seconds=29)
    assert asked["end"] >= NOW
    assert watch.states() == {"Completed"}


def test_more_orders_than_a_page_holds_take_more_pages(watch: PollingSetup) -> None:
    watch.know(*several(60, apart=10))
    watch.provider.show(*several(60, "Completed", apart=10))
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "orders"]
    assert watch.states() == {"Completed"}


def test_orders_with_many_lines_or_without_a_creation_time_are_asked_for_by_their_ids(watch: PollingSetup) -> None:
    many = [line(ExternalId=f"row-{number}") for number in range(101)]
    timeless = order_json("BLK-2", "timeless")
    del timeless["Timestamp"]
    watch.know(order_json("BLK-1", "large", "Pending", *many), timeless)
    watch.poll()
    assert sorted(watch.provider.calls) == [("order", "BLK-1"), ("order", "BLK-2")]


def test_orders_that_the_page_does_not_show_are_asked_for_one_by_one(watch: PollingSetup) -> None:
    watch.know(*several(3))
    watch.provider.page_limit = 2
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "order"]
    assert {row["looks"] for row in watch.rows()} == {2}


@pytest.mark.parametrize("error", [UNREADABLE, NotTheProvider("a firewall's page came instead", status=403)])
def test_a_page_that_cannot_be_read_falls_back_to_single_looks(watch: PollingSetup, error: ProviderError) -> None:
    watch.know(*several(3))
    watch.provider.will("orders", error)
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "order", "order", "order"]


def test_a_completed_order_that_the_page_shows_without_claim_data_is_asked_for_by_its_id(watch: PollingSetup) -> None:
    watch.know(*several(2))
    without, full = several(2, "Completed")
    without["LineItems"][0]["ClaimData"] = None
    watch.provider.show(without, full)
    watch.poll()
    assert [method for method, _ in watch.provider.calls] == ["orders", "order"]
    assert sorted(row["state"] for row in watch.rows()) == ["Completed", "Pending"]


@pytest.mark.parametrize("error", [LOST, NotTheProvider("an HTML page came instead", status=502)])
def test_a_page_that_fails_postpones_every_order_on_it(watch: PollingSetup, error: ProviderError) -> None:
    watch.know(*several(3))
    watch.provider.will("orders", error)
    watch.poll()
    assert {(row["failures"], row["lease_owner"]) for row in watch.rows()} == {(1, None)}
    assert watch.poll() == 0


# Failures


def test_failures_back_off_and_an_answer_ends_them(watch: PollingSetup) -> None:
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


def test_a_404_is_never_final(watch: PollingSetup) -> None:
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
    watch: PollingSetup, error: ProviderError, wait: float, failures: int
) -> None:
    watch.know(order_json())
    watch.provider.will("order", error)
    watch.poll()
    assert (watch.waits(), watch.row()["failures"], watch.states()) == (wait, failures, {"Pending"})
    assert watch.row()["next_look_why"] == "last poll without answer"


@pytest.mark.parametrize("error", [LOST, UNREADABLE, NotFound("no", status=404), NotTheProvider("no", status=404)])
def test_no_failure_ever_finishes_an_order(watch: PollingSetup, error: ProviderError) -> None:
    watch.know(order_json())
    watch.provider.will("order", error)
    watch.poll()
    assert watch.states() == {"Pending"}
    assert watch.waits() is not None


# Leases


def test_two_pollers_never_ask_for_the_same_order(watch: PollingSetup, now: datetime) -> None:
    watch.know(*several(4, apart=86400))
    other = watch.worker("there/9/b")

    async def both() -> list[int]:
        works = [await lease_best(worker, now) for worker in (watch.poller, other)]
        return [sum(len(work.rows) for work in part) for part in works]

    assert sum(asyncio.run(both())) == 4


def test_what_a_dead_poller_claimed_is_looked_at_when_its_lease_ends(watch: PollingSetup) -> None:
    watch.know(order_json())
    asyncio.run(lease_best(watch.worker("dead/9/b"), watch.clock.now))
    assert watch.poll(seconds=89) == 0
    assert watch.poll(seconds=1) == 1


def test_what_does_not_fit_into_the_works_asked_for_is_given_back(watch: PollingSetup) -> None:
    timeless = [order_json(f"X-{number}", f"x-{number}") for number in range(3)]
    for order in timeless:
        del order["Timestamp"]
    watch.know(*timeless, *several(4))
    taken = asyncio.run(lease_best(watch.poller, watch.clock.now, 2))
    assert sorted(len(work.rows) for work in taken) == [1, 4]
    assert sum(row["lease_owner"] is not None for row in watch.rows()) == 5
    rest = asyncio.run(lease_best(watch.worker("there/9/b"), watch.clock.now))
    assert sum(len(work.rows) for work in rest) == 2


def test_orders_that_a_page_did_not_settle_are_given_back_before_their_lease_ends(
    watch: PollingSetup, monkeypatch: pytest.MonkeyPatch
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


def test_finished_orders_on_one_page_are_followed_at_longer_and_longer_waits(watch: PollingSetup) -> None:
    orders = [
        order_json(f"BLK-{number}", f"po-{number}", "Completed", kind="DigitalDelivery", line_status="Sent")
        for number in range(2)
    ]
    watch.know(*orders)
    assert watch.poll(seconds=1) == 2
    assert watch.provider.calls[-1][0] == "orders"
    assert all(row["next_look_at"] > watch.clock.now and row["lease_owner"] is None for row in watch.rows())
    assert watch.poll(seconds=100) == 0


def test_whatever_was_seen_the_log_agrees_with_the_rows(watch: PollingSetup) -> None:
    watch.know(*several(20, "Processing"))
    watch.provider.show(*several(10, "Completed"))
    watch.poll(minutes=1)
    watch.provider.show(*several(10, "Cancelled"))
    watch.discover()
    watch.poll(minutes=20)
    assert verify.verify(watch.store) == []


# Worth


def test_open_orders_that_together_are_worth_it_share_a_page_before_any_is_due(watch: PollingSetup) -> None:
    watch.know(*several(8, apart=0.1))
    watch.poll()
    looked = len(watch.provider.calls)
    soonest = min(row["next_look_at"] for row in watch.rows())
    while len(watch.provider.calls) == looked:
        watch.poll(seconds=0.5)
    assert watch.clock.now < soonest
    assert [row["looks"] for row in watch.rows()] == [watch.rows()[0]["looks"]] * 8
    assert len(watch.provider.called("order")) == 0


def test_what_a_survey_costs_is_counted_in_time_of_the_processor(watch: PollingSetup) -> None:
    watch.know(*several(30, apart=1))
    assert watch.poller.planning_seconds == 0.0
    watch.poll()
    assert 0.0 < watch.poller.planning_seconds < 5.0


def test_scarce_calls_become_dearer_and_idle_ones_cheaper_once_a_second(watch: PollingSetup) -> None:
    forecasts = watch.planner.forecasts
    watch.know(*several(120, apart=86400))
    before = forecasts.price
    asyncio.run(lease_best(watch.poller, watch.clock.pass_by(seconds=5), 2))
    asyncio.run(lease_best(watch.poller, watch.clock.pass_by(seconds=0.2), 2))
    assert forecasts.price == pytest.approx(before * DEARER)
    watch.clock.pass_by(seconds=1)
    watch.store.write(lambda connection: connection.execute(sa.update(ORDERS).values(next_look_at=None)))
    watch.poll()
    assert forecasts.price == pytest.approx(before * DEARER * CHEAPER)


def test_nobody_counts_on_webhooks_in_the_sweep_nor_where_silence_is_suspected(watch: PollingSetup) -> None:
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


def test_two_workers_choose_other_orders_and_one_takes_over_what_the_other_leaves_behind(watch: PollingSetup) -> None:
    watch.know(*several(120))
    other = watch.worker("there/9/b")
    alone = {"provider_created_at": None}  # so that each is polled by itself
    watch.store.write(lambda connection: connection.execute(sa.update(ORDERS).values(alone)).rowcount)
    for owner in ("here/1/a", "there/9/b"):
        beat = partial(facts.beat, loop="poller", owner=owner, value={}, now=watch.clock.now)
        watch.store.write(beat)

    async def chosen(poller: Poller) -> set[int]:
        await poller.survey(watch.clock.now, 200)
        return {order_id for call in poller._chosen for order_id in call}

    first, second = (asyncio.run(chosen(poller)) for poller in (watch.poller, other))
    assert (len(first | second), first & second) == (120, set())
    later = sa.update(ORDERS).where(ORDERS.c.id.in_(first)).values(next_look_at=watch.clock.now + timedelta(hours=1))
    watch.store.write(lambda connection: connection.execute(later).rowcount)  # it goes on with its own part
    watch.clock.pass_by(seconds=6)
    assert second <= asyncio.run(chosen(watch.poller)), "the other one is slow, or dead"


def test_what_another_worker_polled_since_it_was_chosen_is_not_leased(watch: PollingSetup) -> None:
    watch.know(*several(3))
    watch.store.write(
        lambda connection: connection.execute(sa.update(ORDERS).values(provider_created_at=None)).rowcount
    )
    other = watch.worker("there/9/b")

    async def both() -> list[int]:
        now = watch.clock.pass_by(seconds=60)
        await watch.poller.survey(now)
        await other.survey(now)
        later = watch.clock.pass_by(seconds=0.5)
        for call in await other.lease(later, 2):
            await other.poll(call)
        return [len(await watch.poller.lease(watch.clock.pass_by(seconds=0.1), 2)) for _ in range(2)]

    assert asyncio.run(both()) == [0, 1]


def test_answers_that_say_nothing_new_are_recorded_by_one_job(
    watch: PollingSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.know(*several(5, apart=1e6))
    watch.poll(seconds=60)
    jobs: list[Any] = []
    run = watch.store.run

    def recorded(job: Any, **named: Any) -> Any:
        jobs.append(job)
        return run(job, **named)

    monkeypatch.setattr(watch.store, "run", recorded)
    assert watch.poll(hours=1) == 5
    assert len(jobs) == 2, "one leases them, one records them"
    assert {row["looks"] for row in watch.rows()} == {3}
    assert verify.verify(watch.store) == []


def test_answers_that_come_just_after_a_commit_share_the_next_one(
    watch: PollingSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.know(*several(3, apart=1e6))
    watch.poll(seconds=60)
    now = watch.clock.pass_by(hours=1)
    recording, commits = UnchangedAnswers(watch.store, watch.planner), list[list[int]]()
    run = watch.store.run

    def recorded(job: Any, *, orders: Sequence[int]) -> Any:
        commits.append(list(orders))
        return run(job, orders=orders)

    monkeypatch.setattr(watch.store, "run", recorded)

    async def one_after_another() -> None:
        unchanged = Observation(Witness.POLL, now, now, Polled(None))
        await recording.record(1, unchanged)
        second = asyncio.create_task(recording.record(2, unchanged))
        await asyncio.sleep(0)
        await asyncio.gather(second, recording.record(3, unchanged))

    asyncio.run(one_after_another())
    assert commits == [[1], [2, 3]]
    assert {row["looks"] for row in watch.rows()} == {3}


def test_an_order_that_is_gone_takes_no_other_polls_record_with_it(watch: PollingSetup) -> None:
    watch.know(*several(2, apart=1e6))
    watch.poll(seconds=60)
    now = watch.clock.pass_by(hours=1)
    recording = UnchangedAnswers(watch.store, watch.planner)

    async def both() -> list[Any]:
        seen = Observation(Witness.POLL, now, now, Polled(None))
        return await asyncio.gather(*(recording.record(each, seen) for each in (1, 99)), return_exceptions=True)

    recorded, failed = asyncio.run(both())
    assert (recorded, type(failed)) == (None, UnknownOrder)
    assert [row["looks"] for row in watch.rows()] == [3, 2]
