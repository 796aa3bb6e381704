import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Clock, FakeProvider, order_json, request, shown

from tracking import ingest
from tracking.app import loops
from tracking.app.housekeeping import Housekeeping
from tracking.app.loops import WATCHDOG_TIMEOUT, PollLoop, SendLoop, run_loop
from tracking.app.telemetry.heartbeat import Heartbeat
from tracking.errors import OutcomeUnknown, StoreBusy
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import LEASE_MARGIN
from tracking.polling.discovery import Discovery
from tracking.polling.poller import LEASED_AHEAD, Poller
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.maintenance import verify
from tracking.storage.tables import ORDERS, OUTBOX
from tracking.submissions.sender import QUICK_ANSWER, SENDS_AHEAD, SENDS_AT_ONCE, Sender


class Enough(BaseException):
    """Ends a loop that would go on for ever."""


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses a loop makes, none of which takes any time; the fifth ends it."""
    made: list[float] = []

    async def pause(seconds: float, _wake: asyncio.Event | None) -> None:
        made.append(seconds)
        if len(made) == 5:
            raise Enough

    monkeypatch.setattr(loops, "_pause", pause)
    return made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No end waits long for what these tests never answer."""
    monkeypatch.setattr(loops, "FINISH_SECONDS", 0.05)


async def until(reached: Callable[[], bool], *running: Awaitable[Any]) -> None:
    """Runs until it is so, ten seconds at the most."""
    tasks = [asyncio.ensure_future(one) for one in running]
    try:
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(reached):  # noqa: ASYNC110 - the store tells nobody of what is written
                await asyncio.sleep(0.002)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def queue_orders(store: Database, clock: Clock, count: int) -> None:
    """Orders that wait to be sent, with the PONumbers po-00, po-01 and so on."""
    for number in range(count):
        asked = request(f"po-{number:02}")
        store.write(partial(ingest.place, request=asked, source="form", actor=None, now=clock.now))


def states(store: Database) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(sa.select(ORDERS.c.state).order_by(ORDERS.c.id)).scalars())


def beat_of(store: Database, name: str) -> Any:
    return store.write(lambda connection: facts.get_fact(connection, f"beat:{name}"))


def poll_loop(
    store: Database,
    provider: FakeProvider,
    planner: PlanningContext,
    clock: Clock,
    patience: timedelta = WATCHDOG_TIMEOUT,
) -> PollLoop:
    discovery = Discovery(store, provider, planner, every=timedelta(seconds=30))
    poller = Poller(
        store,
        provider,
        planner,
        owner="here/1/a",
        lease=timedelta(seconds=30),
        clock=clock,
    )
    return PollLoop(poller, discovery, Heartbeat(store, clock), clock, patience)


def send_loop(
    store: Database,
    provider: FakeProvider,
    planner: PlanningContext,
    clock: Clock,
    patience: timedelta = WATCHDOG_TIMEOUT,
) -> SendLoop:
    sender = Sender(
        store,
        provider,
        planner,
        address=lambda _po_number: None,
        owner="here/1/a",
        lease=timedelta(seconds=30),
        clock=clock,
        wake=lambda: None,
    )
    return SendLoop(sender, Heartbeat(store, clock), clock, patience)


# For ever


def test_a_loop_survives_whatever_goes_wrong_in_a_turn(pauses: list[float], caplog: pytest.LogCaptureFixture) -> None:
    outcomes = iter([None, StoreBusy("locked"), OutcomeUnknown("no", status=504), ZeroDivisionError(), None])

    async def turn() -> None:
        if (outcome := next(outcomes)) is not None:
            raise outcome

    with pytest.raises(Enough):
        asyncio.run(run_loop("worker", turn, 0.2))
    assert pauses == [0.2, 1.0, 1.0, 1.0, 0.2]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "ERROR"]
    assert caplog.records[2].exc_info is not None


def test_a_pause_ends_when_it_is_woken() -> None:
    async def run() -> bool:
        wake = asyncio.Event()
        asyncio.get_running_loop().call_soon(wake.set)
        async with asyncio.timeout(5):
            await loops._pause(1000, wake)
        return wake.is_set()

    assert asyncio.run(run()) is False


def test_a_pause_ends_by_itself() -> None:
    async def run() -> None:
        await loops._pause(0.001, None)
        await loops._pause(0.001, asyncio.Event())

    asyncio.run(run())


# Beats


def test_a_beat_reaches_the_store_every_two_seconds_at_the_most(store: Database, clock: Clock) -> None:
    pulse = Heartbeat(store, clock)
    started = clock.now
    asyncio.run(pulse.beat("poller", {"in_flight": 1}))
    for _ in range(3):
        asyncio.run(pulse.beat("poller", {"in_flight": 2}))
    at, value = beat_of(store, "poller")
    assert (at, value["in_flight"]) == (started, 1)
    clock.pass_by(seconds=2)
    asyncio.run(pulse.beat("poller", {"in_flight": 2}))
    at, value = beat_of(store, "poller")
    assert (at, value["in_flight"], {"pid", "host"} <= value.keys()) == (clock.now, 2, True)
    assert pulse.beats["poller"] == pulse.store_wrote_at == clock.now


def test_a_clock_that_was_set_back_does_not_stop_the_beats(store: Database, clock: Clock) -> None:
    pulse = Heartbeat(store, clock)
    asyncio.run(pulse.beat("poller"))
    clock.pass_by(days=-1)
    asyncio.run(pulse.beat("poller"))
    assert beat_of(store, "poller")[0] == clock.now


# Polling and sending


def test_the_poll_loop_looks_at_what_is_due_and_discovers(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock
) -> None:
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    clock.pass_by(seconds=60)
    provider.show(order_json(status="Completed"), order_json("BLK-2", "new"))
    loop = poll_loop(store, provider, planner, clock)
    asyncio.run(until(lambda: states(store) == ["Completed", "Pending"], loop.run()))
    assert beat_of(store, "poller") is not None


def test_one_poll_that_fails_does_not_end_the_poll_loop(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    provider.show(order_json(status="Completed"))
    provider.will("orders", *[OutcomeUnknown("no")] * 50)
    provider.will("order", ZeroDivisionError(), StoreBusy("locked"))
    loop = poll_loop(store, provider, planner, clock)

    def after_the_lease() -> bool:
        clock.pass_by(seconds=91)
        return states(store) == ["Completed"]

    asyncio.run(until(after_the_lease, loop.run()))
    assert "a poll failed unexpectedly" in caplog.text
    assert "a poll was not stored" in caplog.text


def test_the_send_loop_settles_what_was_left_behind_before_it_sends(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock
) -> None:
    queue_orders(store, clock, 2)
    loop = send_loop(store, provider, planner, clock)
    provider.losing.append(OutcomeUnknown("no"))
    asyncio.run(until(lambda: states(store) == ["Outcome unknown", "Pending"], loop.run()))
    crashed = sa.update(ORDERS).where(ORDERS.c.id == 1).values(submission="sending")
    store.write(lambda connection: connection.execute(crashed))
    clock.pass_by(seconds=60)
    loop = send_loop(store, provider, planner, clock)
    asyncio.run(until(lambda: states(store) == ["Pending", "Pending"], loop.run()))
    assert len(provider.kept) == 2
    with store.read() as connection:
        assert set(connection.execute(sa.select(OUTBOX.c.done)).scalars()) == {True}


class Stuck:
    """A call that begins and is answered only when told."""

    def __init__(self) -> None:
        self.begun = 0
        self.answered = asyncio.Event()

    async def __call__(self, *_args: Any, **_more: Any) -> Any:
        self.begun += 1
        await self.answered.wait()
        raise OutcomeUnknown("no answer in time")


def test_a_post_that_takes_long_does_not_stop_the_senders_beats(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(lambda connection: ingest.place(connection, request(), source="form", actor=None, now=clock.now))
    loop, slow = send_loop(store, provider, planner, clock), Stuck()
    monkeypatch.setattr(provider, "place", slow)

    async def run() -> None:
        running = asyncio.create_task(loop.run())
        await until(lambda: slow.begun == 1)
        later = clock.pass_by(seconds=20)
        await until(lambda: loop._heartbeat.beats["sender"] == later)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


def test_an_order_that_is_on_its_way_at_the_end_is_waited_for_and_nothing_else_is_sent(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_orders(store, clock, SENDS_AT_ONCE + 3)
    loop, answers, place, begun = send_loop(store, provider, planner, clock), asyncio.Event(), provider.place, []
    monkeypatch.setattr(loops, "FINISH_SECONDS", 10)

    async def placing(document: Any) -> Any:
        begun.append(document)
        await answers.wait()
        return await place(document)

    monkeypatch.setattr(provider, "place", placing)

    async def run() -> None:
        running = asyncio.create_task(loop.run())
        await until(lambda: len(begun) == SENDS_AT_ONCE)
        running.cancel()
        await asyncio.sleep(0.02)
        assert not running.done()
        answers.set()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    assert states(store) == ["Pending"] * SENDS_AT_ONCE + ["Queued"] * 3


def test_what_is_not_answered_by_then_is_left_to_the_next_start(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(lambda connection: ingest.place(connection, request(), source="form", actor=None, now=clock.now))
    loop, slow = send_loop(store, provider, planner, clock), Stuck()
    monkeypatch.setattr(provider, "place", slow)
    asyncio.run(until(lambda: slow.begun == 1, loop.run()))
    assert states(store) == ["Sending"]
    clock.pass_by(minutes=5)
    asyncio.run(until(lambda: states(store) == ["Outcome unknown"], send_loop(store, provider, planner, clock).run()))


def test_one_slow_post_holds_up_none_of_the_others(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_orders(store, clock, 20)
    loop, slow, place = send_loop(store, provider, planner, clock), Stuck(), provider.place

    async def placing(document: Any) -> Any:
        return await (slow if document["PONumber"] == "po-00" else place)(document)

    monkeypatch.setattr(provider, "place", placing)
    asyncio.run(until(lambda: states(store) == ["Sending"] + ["Pending"] * 19, loop.run()))
    assert slow.begun == 1


def test_a_look_and_a_walk_that_take_long_do_not_stop_the_pollers_beats(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(lambda connection: ingest.discover(connection, shown(), clock.now, clock.now, planner))
    loop, slow, walk = poll_loop(store, provider, planner, clock), Stuck(), Stuck()
    monkeypatch.setattr(provider, "order", slow)
    monkeypatch.setattr(provider, "orders", walk)

    async def run() -> None:
        running = asyncio.create_task(loop.run())
        clock.pass_by(seconds=60)
        await until(lambda: slow.begun + walk.begun >= 2)
        later = clock.pass_by(seconds=20)
        await until(lambda: loop._heartbeat.beats["poller"] == later)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


@pytest.mark.parametrize("name", ["sender", "poller"])
def test_a_loop_whose_work_lasts_longer_than_its_patience_falls_silent(
    store: Database,
    provider: FakeProvider,
    planner: PlanningContext,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    store.write(lambda connection: ingest.place(connection, request(), source="form", actor=None, now=clock.now))
    found = shown("BLK-2", "found")
    store.write(lambda connection: ingest.discover(connection, found, clock.now, clock.now, planner))
    make: Any = send_loop if name == "sender" else poll_loop
    loop, stuck = make(store, provider, planner, clock, patience=timedelta()), Stuck()
    for method in ("place", "order", "orders"):
        monkeypatch.setattr(provider, method, stuck)

    async def run() -> None:
        running = asyncio.create_task(loop.run())
        clock.pass_by(seconds=60)
        await until(lambda: stuck.begun >= 1)
        later = clock.pass_by(seconds=20)
        await loop._beat()
        assert loop._heartbeat.beats.get(name) != later
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


@pytest.fixture
def crowded(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> tuple[PollLoop, Stuck, Callable[[], int]]:
    """A loop with more due orders than places, whose calls are stuck, and how many orders it holds."""

    def know(connection: sa.Connection) -> None:
        for number in range(60):
            found = shown(f"BLK-{number}", f"po-{number}")
            ingest.discover(connection, found, clock.now, clock.now, planner)
        # Without a creation time no list page holds them, so each takes a call of its own.
        connection.execute(sa.update(ORDERS).values(next_look_at=clock.now, provider_created_at=None))

    store.write(know)
    loop, stuck = poll_loop(store, provider, planner, clock), Stuck()
    monkeypatch.setattr(loop._poller, "poll", stuck)

    def held() -> int:
        with store.read() as connection:
            leased = sa.select(sa.func.count()).where(ORDERS.c.lease_owner.is_not(None))
            return int(connection.execute(leased).scalar_one())

    return loop, stuck, held


async def fill(loop: PollLoop, stuck: Stuck, group: asyncio.TaskGroup) -> None:
    """One turn, after which each place has a call that is stuck."""
    await loop._turn(group)
    await until(lambda: stuck.begun == loops.IN_FLIGHT)


def test_the_poll_loop_claims_what_can_start_and_a_few_calls_ahead(
    crowded: tuple[PollLoop, Stuck, Callable[[], int]],
) -> None:
    loop, stuck, held = crowded
    most = loops.IN_FLIGHT + LEASED_AHEAD

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            await fill(loop, stuck, group)
            assert held() == most
            await loop._turn(group)
            assert (stuck.begun, held(), loop.wake.is_set()) == (loops.IN_FLIGHT, most, False)
            stuck.answered.set()
        assert loop.wake.is_set()

    asyncio.run(run())


def test_what_was_claimed_ahead_is_let_go_while_the_provider_refuses(
    crowded: tuple[PollLoop, Stuck, Callable[[], int]], clock: Clock
) -> None:
    loop, stuck, held = crowded

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            await fill(loop, stuck, group)
            assert len(loop._ready) == LEASED_AHEAD
            assert all(loop._poller.may_start(call, clock.now) for call in loop._ready)
            loop._poller._paused_until = clock.now + timedelta(seconds=20)
            await loop._turn(group)
            assert not loop._ready
            assert (stuck.begun, held()) == (loops.IN_FLIGHT, loops.IN_FLIGHT)
            stuck.answered.set()

    asyncio.run(run())


def test_what_was_claimed_ahead_does_not_start_where_it_could_outlive_its_lease(
    crowded: tuple[PollLoop, Stuck, Callable[[], int]], clock: Clock
) -> None:
    loop, stuck, _ = crowded

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            await fill(loop, stuck, group)
            first = loop._ready[0]
            later = clock.pass_by(seconds=31)  # a call may take 30 of the 90 s that are left, and as many of the margin
            assert not loop._poller.may_start(first, later)
            loop._refill(group)
            assert first in loop._ready
            await loop._turn(group)
            assert first not in loop._ready
            stuck.answered.set()

    asyncio.run(run())


def test_a_place_is_free_again_once_its_call_is_answered_whatever_the_store_takes(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock
) -> None:
    loop = send_loop(store, provider, planner, clock)
    stored, begun = asyncio.Event(), list[int]()

    async def work(answered: Callable[[], None]) -> None:
        begun.append(1)
        answered()
        await stored.wait()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            while loop._free_places() > 0 and len(begun) < 100:
                loop._start(group, work, None)
                await asyncio.sleep(0)
            assert (len(begun), loop._free_places()) == (2 * SENDS_AT_ONCE, 0), "so many answers may wait for the store"
            stored.set()
        assert (loop._free_places(), loop.wake.is_set()) == (SENDS_AT_ONCE, True)

    asyncio.run(run())


@pytest.mark.parametrize("takes", [QUICK_ANSWER, QUICK_ANSWER * 2])
def test_attempts_are_committed_ahead_only_where_answers_come_quickly_and_leave_once_a_place_is_free(
    takes: timedelta,
    store: Database,
    provider: FakeProvider,
    planner: PlanningContext,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue_orders(store, clock, SENDS_AT_ONCE + SENDS_AHEAD + 2)
    loop, slow, place = send_loop(store, provider, planner, clock), Stuck(), provider.place
    loop._sender._latest_took = takes
    ahead = SENDS_AHEAD if takes == QUICK_ANSWER else 0

    async def placing(document: Any) -> Any:
        assert states(store).count("Sending") >= 1
        return await (slow if slow.begun < SENDS_AT_ONCE else place)(document)

    monkeypatch.setattr(provider, "place", placing)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            await loop._turn(group)
            await until(lambda: slow.begun == SENDS_AT_ONCE)
            begun = SENDS_AT_ONCE + ahead
            assert states(store) == ["Sending"] * begun + ["Queued"] * (SENDS_AT_ONCE + SENDS_AHEAD + 2 - begun)
            await loop._turn(group)
            assert (slow.begun, len(provider.called("place"))) == (SENDS_AT_ONCE, 0)
            slow.answered.set()
        assert len(provider.called("place")) == ahead

    asyncio.run(run())


def test_what_was_committed_ahead_does_not_leave_where_all_sending_stops_or_its_time_is_over(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_orders(store, clock, SENDS_AT_ONCE + 2)
    loop, slow = send_loop(store, provider, planner, clock), Stuck()
    loop._sender._latest_took = QUICK_ANSWER
    monkeypatch.setattr(provider, "place", slow)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            await loop._turn(group)
            await until(lambda: slow.begun == SENDS_AT_ONCE)
            first = loop._ready[0]
            assert not loop._sender.may_start(first, clock.now + LEASE_MARGIN)
            loop._sender._stop(timedelta(seconds=20))
            await loop._turn(group)
            assert (list(loop._ready), slow.begun) == ([], SENDS_AT_ONCE)
            assert states(store) == ["Sending"] * SENDS_AT_ONCE + ["Queued"] * 2
            with store.read() as connection:
                due = connection.execute(sa.select(OUTBOX.c.next_attempt_at).where(OUTBOX.c.lease_owner.is_(None)))
                assert set(due.scalars()) == {clock.now + timedelta(seconds=20)}
            slow.answered.set()

    asyncio.run(run())
    assert loop._sender._under_way == set()
    assert verify.verify(store) == []


def test_what_was_committed_ahead_and_did_not_leave_is_no_unknown_outcome_after_the_end(
    store: Database, provider: FakeProvider, planner: PlanningContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_orders(store, clock, SENDS_AT_ONCE + 2)
    loop, slow = send_loop(store, provider, planner, clock), Stuck()
    loop._sender._latest_took = QUICK_ANSWER
    monkeypatch.setattr(provider, "place", slow)
    asyncio.run(until(lambda: slow.begun == SENDS_AT_ONCE and len(loop._ready) == 2, loop.run()))
    assert states(store) == ["Sending"] * SENDS_AT_ONCE + ["Queued"] * 2, "the others had left"


@pytest.mark.parametrize(("busy", "surveys"), [(0.0, 2), (5.0, 1)])
def test_a_survey_is_followed_by_a_pause_as_it_kept_a_processor_busy_however_long_it_waited(
    busy: float,
    surveys: int,
    store: Database,
    provider: FakeProvider,
    planner: PlanningContext,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, made = poll_loop(store, provider, planner, clock), []

    async def survey(_: Any, at_most: int) -> None:
        made.append(at_most)
        loop._poller.planning_seconds = busy
        await asyncio.to_thread(lambda: store.write(lambda connection: connection.execute(sa.text("SELECT 1"))))

    monkeypatch.setattr(loop._poller, "survey", survey)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            await loop._turn(group)
            await loop._turn(group)

    asyncio.run(run())
    assert len(made) == surveys


# Housekeeping


def fact(store: Database, key: str) -> dict[str, Any] | None:
    found = store.write(lambda connection: facts.get_fact(connection, key))
    return found[1] if found else None


def test_the_catalogue_is_fetched_once_a_day_and_a_minute_after_a_failure(
    store: Database, provider: FakeProvider, clock: Clock
) -> None:
    house = Housekeeping(store, provider, clock)
    provider.will("products", OutcomeUnknown("no"))
    with pytest.raises(OutcomeUnknown):
        asyncio.run(house._catalogue())
    assert fact(store, "catalogue") is None
    asyncio.run(house._catalogue())
    assert len(provider.called("products")) == 1
    clock.pass_by(seconds=60)
    asyncio.run(house._catalogue())
    assert fact(store, "catalogue") == {"products": [{"id": "CVS"}], "shipping_methods": [], "carriers": []}
    clock.pass_by(hours=23)
    asyncio.run(house._catalogue())
    assert len(provider.called("products")) == 2
    clock.pass_by(hours=1)
    asyncio.run(house._catalogue())
    assert len(provider.called("products")) == 3


def test_a_list_that_fails_holds_up_no_products_and_an_empty_catalogue_takes_the_place_of_none(
    store: Database, provider: FakeProvider, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing() -> list[dict[str, Any]]:
        return []

    def read(minutes: int) -> dict[str, Any] | None:
        clock.pass_by(minutes=minutes)
        asyncio.run(house._catalogue())
        return fact(store, "catalogue")

    house = Housekeeping(store, provider, clock)
    provider.will("carriers", OutcomeUnknown("no"))
    whole = {"products": [{"id": "CVS"}], "shipping_methods": [], "carriers": []}
    assert read(0) == whole
    store.write(lambda connection: facts.set_fact(connection, "catalogue", whole | {"carriers": ["x"]}, clock.now))
    provider.will("carriers", OutcomeUnknown("no"))
    assert read(10) == whole | {"carriers": ["x"]}
    with monkeypatch.context() as patch:
        patch.setattr(provider, "products", nothing)
        assert read(10) == whole | {"carriers": ["x"]}
    assert read(10) == whole
    assert read(23 * 60) == whole
    assert len(provider.called("products")) == 3


def test_a_balance_that_is_not_offered_is_switched_off_quietly(
    store: Database, provider: FakeProvider, clock: Clock
) -> None:
    house = Housekeeping(store, provider, clock)
    asyncio.run(house._balance())
    assert fact(store, "balance") == {"available_minor": 10000, "pending_minor": 0, "offered": True}
    provider.balances = None
    for _ in range(3):
        clock.pass_by(seconds=60)
        asyncio.run(house._balance())
    assert fact(store, "balance") == {"offered": False}
    assert len(provider.called("balance")) == 2


def test_housekeeping_makes_what_older_orders_are_found_by(
    store: Database, provider: FakeProvider, clock: Clock, now: datetime
) -> None:
    store.write(lambda connection: ingest.place(connection, request("po-1"), source="x", actor="eve", now=now))
    older = {"older": 2**31, "indexed": 0}
    store.write(lambda connection: facts.set_fact(connection, FactKey.SEARCH, older, now))
    asyncio.run(Housekeeping(store, provider, clock)._search_index())
    assert fact(store, FactKey.SEARCH) == {"older": 0, "indexed": 0}


def test_housekeeping_goes_on_when_the_provider_does_not(store: Database, provider: FakeProvider, clock: Clock) -> None:
    provider.will("products", OutcomeUnknown("no"))
    house = Housekeeping(store, provider, clock)
    asyncio.run(
        until(
            lambda: (fact(store, "client") or {}).get("rate") == 5 and fact(store, "balance") is not None, house.run()
        )
    )
