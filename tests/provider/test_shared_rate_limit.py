import asyncio
import itertools
import json
import random
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracking.errors import StoreBusy, Throttled
from tracking.provider.rate_limit import RateLimiter
from tracking.provider.shared_rate_limit import SharedRateLimit, Slot, window_of
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey


@pytest.fixture
def sqlite_store(migrated_file: Path, sqlite_url: str) -> Iterator[Database]:
    shutil.copy(migrated_file, sqlite_url.removeprefix("sqlite:///"))
    opened = Database(sqlite_url)
    yield opened
    opened.close()


class Process:
    """One process on the store: its rate limiter, and when its calls left by everybody's clock."""

    def __init__(self, database: Database, rate: float, left: list[float]) -> None:
        self.limiter = RateLimiter(rate, time.monotonic, asyncio.sleep, SharedRateLimit(database, rate))
        self._left = left

    async def call(self) -> None:
        async with self.limiter.slot():
            self._left.append(time.monotonic())


def crowded(left: Sequence[float], most: int, window: float) -> list[float]:
    """The spans shorter than the window within which one call more than allowed left."""
    ordered = sorted(left)
    spans = (later - earlier for earlier, later in zip(ordered, ordered[most:], strict=False))
    return [span for span in spans if span < window]


def test_three_processes_at_once_leave_no_more_than_one_budget(store: Database) -> None:
    rate, left = 20, list[float]()

    async def works(process: Process) -> None:
        await asyncio.gather(*(process.call() for _ in range(20)))

    # A loop, a thread and a connection for each, as processes have them; what they have in common is the store.
    stores = [Database(store.url) for _ in range(3)]
    threads = [threading.Thread(target=lambda own=own: asyncio.run(works(Process(own, rate, left)))) for own in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for own in stores:
        own.close()
    assert len(left) == 60
    assert crowded(left, rate, 1.0) == []
    assert max(left) - min(left) < 10, "the rate is used, not only kept to"


class Virtual:
    """Processes on a clock that the test moves, with a store that answers at once."""

    def __init__(self, database: Database, rate: float, count: int) -> None:
        self.now = 1000.0
        self.allowances = [SharedRateLimit(database, rate, lambda: self.now) for _ in range(count)]

    def slots(self, which: int, count: int, slack: float, ahead: int = 0) -> Sequence[Slot]:
        return asyncio.run(self.allowances[which].reserve(count, slack, ahead=ahead))


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(1, 4), st.sampled_from([0.05, 0.15, 1.6]), st.floats(0, 2), st.integers(0, 30)
    ),
    min_size=1,
    max_size=15,
)


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(steps=STEPS, rate=st.sampled_from([0.2, 1.0, 2.5, 5.0, 20.0]), seed=st.integers(0, 1000))
def test_wherever_in_its_slot_each_call_leaves_no_window_holds_too_many(
    sqlite_store: Database, steps: list[tuple[int, int, float, float, int]], rate: float, seed: int
) -> None:
    sqlite_store.write(_forget)
    rng, left = random.Random(seed), list[float]()
    world = Virtual(sqlite_store, rate, 3)
    for which, count, slack, passed, ahead in steps:
        try:
            slots = world.slots(which, count, slack, ahead)
        except Throttled as exc:
            world.now += (exc.retry_after or timedelta()).total_seconds() - 30
            continue
        assert 1 <= len(slots) <= count + ahead
        assert all(slot.begin >= world.now for slot in slots)
        left += [rng.choice([slot.begin, slot.end, rng.uniform(slot.begin, slot.end)]) for slot in slots]
        world.now += passed
    assert crowded(left, max(1, int(rate)), window_of(rate) - 1e-6) == []


def _forget(connection: Any) -> None:
    connection.exec_driver_sql("DELETE FROM facts")


def test_a_pause_is_everybodys(store: Database) -> None:
    first, second = SharedRateLimit(store, 5), SharedRateLimit(store, 5)
    first.pause(3.0)
    began = time.monotonic()
    slots = asyncio.run(second.reserve(2, 0.05))
    assert all(2.5 < slot.begin - began < 3.5 for slot in slots)


def test_a_long_pause_refuses_at_once_and_says_for_how_long(store: Database) -> None:
    SharedRateLimit(store, 5).pause(600.0)
    with pytest.raises(Throttled) as caught:
        asyncio.run(SharedRateLimit(store, 5).reserve(1, 0.05))
    assert caught.value.status == 429, "which says that the call has not left"
    assert caught.value.retry_after is not None
    assert 590 < caught.value.retry_after.total_seconds() <= 600
    assert "paused after an answer that asked to wait" in str(caught.value)


def test_where_the_rate_leaves_no_call_free_that_is_said_and_no_pause(sqlite_store: Database) -> None:
    world = Virtual(sqlite_store, 0.02, 1)
    world.slots(0, 1, 0.05)
    with pytest.raises(Throttled, match="the rate limit leaves no call free within 30 s"):
        world.slots(0, 1, 0.05)


def test_where_another_process_was_asked_to_wait_none_is_tried_for_a_while(store: Database) -> None:
    SharedRateLimit(store, 5).pause(600.0)
    process = Process(store, 5, [])
    assert process.limiter.available() == 5
    with pytest.raises(Throttled, match="API calls are paused"):
        asyncio.run(process.call())
    assert process.limiter.available() == 0
    assert process.limiter.paused_until == 0, "this process was not asked to wait"


def test_slots_of_a_time_before_a_reboot_count_for_nothing(sqlite_store: Database) -> None:
    world = Virtual(sqlite_store, 1.0, 1)
    world.slots(0, 1, 0.05)
    world.allowances[0].pause(10.0)
    sqlite_store.write(lambda _: None)  # the pause is committed with it, if not before
    world.now += 60.0
    world.slots(0, 1, 0.05)
    world.now -= 55.0  # it was on for longer than now when it was paused, and that pause is long over
    assert world.slots(0, 1, 0.05)[0].begin == world.now


def test_of_a_pause_that_began_before_a_reboot_its_rest_counts(
    sqlite_store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, wall = Virtual(sqlite_store, 1.0, 1), datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    monkeypatch.setattr(world.allowances[0], "_clock", lambda: wall)
    world.allowances[0].pause(3000.0)
    sqlite_store.write(lambda _: None)  # the pause is committed with it, if not before
    world.now, wall = 20.0, wall + timedelta(seconds=600)
    with pytest.raises(Throttled) as caught:
        world.slots(0, 1, 0.05)
    assert caught.value.retry_after == timedelta(seconds=2400)
    wall += timedelta(seconds=2400)
    assert world.slots(0, 1, 0.05)[0].begin == world.now


def test_no_call_leaves_while_the_store_cannot_count_it(
    sqlite_store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: Any) -> Any:
        raise StoreBusy("the database is locked")

    monkeypatch.setattr(SharedRateLimit, "_reserve", locked)
    left = list[float]()
    with pytest.raises(Throttled) as caught:
        asyncio.run(Process(sqlite_store, 5, left).call())
    assert caught.value.status == 429
    assert left == []


class Slow(SharedRateLimit):
    """A shared limiter whose slots are over when they are handed out, until asked for long ones."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def reserve(self, count: int, slack: float, *, ahead: int = 0) -> Sequence[Slot]:
        self.asked.append(slack)
        begin = time.monotonic()
        await asyncio.sleep(0.12)
        return [Slot(begin, begin + slack)]

    def pause(self, seconds: float) -> None:
        raise AssertionError("nobody asked to wait")


def test_a_slow_store_is_asked_for_longer_slots_instead_of_for_ever() -> None:
    shared = Slow()
    limiter = RateLimiter(5, time.monotonic, asyncio.sleep, shared)

    async def call() -> None:
        async with limiter.slot():
            pass

    asyncio.run(call())
    assert shared.asked == [0.05, 0.1, 0.2]


def test_calls_that_wait_together_are_counted_in_one_transaction(
    sqlite_store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = itertools.count()
    take = SharedRateLimit._reserve

    def counted(*args: Any) -> Any:
        next(asked)
        return take(*args)

    monkeypatch.setattr(SharedRateLimit, "_reserve", counted)
    left = list[float]()
    process = Process(sqlite_store, 100, left)

    async def calls() -> None:
        await asyncio.gather(*(process.call() for _ in range(20)))

    asyncio.run(calls())
    assert len(left) == 20
    assert next(asked) <= 3

    async def one_after_the_other() -> None:
        for _ in range(100):
            await process.call()

    process.limiter = Process(sqlite_store, 1000, left).limiter
    asked = itertools.count()
    asyncio.run(one_after_the_other())
    assert next(asked) < 20, "calls that leave fast find slots that were reserved ahead"


def test_slots_are_reserved_ahead_only_while_the_budget_has_room(sqlite_store: Database) -> None:
    world = Virtual(sqlite_store, 20, 2)
    assert len(world.slots(0, 1, 0.15, ahead=4)) == 5
    assert len(world.slots(0, 1, 0.15, ahead=40)) == 10
    assert len(world.slots(1, 2, 0.15, ahead=40)) == 2
    with sqlite_store.read() as connection:
        stored = connection.exec_driver_sql("SELECT value FROM facts").scalar_one()
    assert json.loads(stored)["ends"] == [[1000.15, 17]], "one number for all that end together"


def test_slots_that_an_earlier_version_reserved_count(sqlite_store: Database) -> None:
    world = Virtual(sqlite_store, 2, 1)
    earlier = {"ends": [1000.0, 1000.05], "paused_until": 0.0}
    stored = {"key": FactKey.RATE_LIMIT, "value": earlier, "at": datetime.now(UTC)}
    sqlite_store.write(lambda connection: connection.execute(facts.upsert_fact("sqlite"), stored))
    assert world.slots(0, 1, 0.05)[0].begin == 1001.0


def test_a_process_with_a_lower_rate_forgets_no_slot_of_another(sqlite_store: Database) -> None:
    world, slow = Virtual(sqlite_store, 20, 1), Virtual(sqlite_store, 2, 1)
    assert len(world.slots(0, 20, 0.05)) == 20
    slow.slots(0, 1, 0.05)
    assert world.slots(0, 1, 0.05)[0].begin > 1001.0
