import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any

import pytest
import virtual

from tracking.errors import StoreBusy, StoreError, StoreUnusable
from tracking.storage.writing.batching import Batcher, together_or_alone


class Rounds:
    """Work that waits to be let on, round by round."""

    def __init__(self, most: int = 100) -> None:
        self.seen: list[list[int]] = []
        self.go = asyncio.Semaphore(0)
        self.failing: Exception | None = None
        self.batcher = Batcher(self._work, most=most)

    async def _work(self, items: list[int]) -> list[str]:
        self.seen.append(items)
        await self.go.acquire()
        if self.failing is not None:
            raise self.failing
        return [str(item) for item in items]

    def start(self, *items: int) -> list[asyncio.Task[str]]:
        return [asyncio.create_task(self.batcher.submit(item)) for item in items]


async def turns() -> None:
    """Lets everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def within(story: Callable[[Rounds], Coroutine[Any, Any, None]], most: int = 100) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            await story(Rounds(most))

    asyncio.run(run())


def test_what_comes_during_a_round_makes_up_the_next_one() -> None:
    async def story(rounds: Rounds) -> None:
        first = rounds.start(1)
        await turns()
        others = rounds.start(2, 3, 4)
        await turns()
        assert (rounds.seen, rounds.batcher.idle) == ([[1]], False)
        rounds.go.release()
        await turns()
        assert rounds.seen == [[1], [2, 3, 4]]
        assert (first[0].result(), [task.done() for task in others]) == ("1", [False] * 3)
        rounds.go.release()
        assert await asyncio.gather(*others) == ["2", "3", "4"]
        assert rounds.batcher.idle

    within(story)


def test_a_round_takes_no_more_than_the_most() -> None:
    async def story(rounds: Rounds) -> None:
        tasks = rounds.start(1, 2, 3)
        rounds.go.release()
        rounds.go.release()
        assert await asyncio.gather(*tasks) == ["1", "2", "3"]
        assert rounds.seen == [[1, 2], [3]]

    within(story, most=2)


def test_a_pause_lets_more_gather() -> None:
    async def run() -> list[list[int]]:
        seen: list[list[int]] = []

        async def work(items: list[int]) -> list[int]:
            seen.append(items)
            return items

        batcher = Batcher(work, pause=0.01)
        await batcher.submit(1)
        await asyncio.gather(*(batcher.submit(item) for item in (2, 3)))
        return seen

    assert asyncio.run(run()) == [[1], [2, 3]]


@pytest.mark.parametrize(("gather", "batches"), [(0.0, [[1], [2, 3]]), (10.0, [[1, 2, 3]])])
def test_what_arrives_turn_by_turn_is_let_in_where_that_is_asked_for(gather: float, batches: list[list[int]]) -> None:
    async def run() -> list[list[int]]:
        seen: list[list[int]] = []

        async def work(items: list[int]) -> list[int]:
            seen.append(items)
            await turns()
            return items

        batcher = Batcher(work, gather=gather)
        tasks: list[asyncio.Task[int]] = []
        for item in (1, 2, 3):
            tasks.append(asyncio.create_task(batcher.submit(item)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return seen

    assert asyncio.run(run()) == batches


def sizes(calls: int, *, gather: float, delays: Sequence[float]) -> list[int]:
    """The sizes of the batches of some callers, of whom each has its next item so long after its last one."""
    found: list[int] = []

    async def work(items: list[int]) -> list[int]:
        found.append(len(items))
        await asyncio.sleep(0.1)
        return items

    async def story(_: virtual.VirtualLoop) -> None:
        batcher = Batcher(work, gather=gather)

        async def call(delay: float) -> None:
            for item in range(calls):
                await batcher.submit(item)
                await asyncio.sleep(delay)

        await asyncio.gather(*map(call, delays))

    virtual.run(story)
    return found


def test_callers_that_come_again_at_once_share_a_batch_also_where_one_is_first() -> None:
    # Without waiting for the others the quickest is alone in every second batch.
    delays = [0.0] + [0.01] * 7
    assert sizes(4, gather=1.0, delays=delays) == [8, 8, 8, 8]
    assert sizes(2, gather=0.0, delays=delays) == [8, 1, 7]


def test_callers_that_are_gone_are_waited_for_half_as_long_as_a_batch_takes() -> None:
    async def story(loop: virtual.VirtualLoop) -> tuple[float, float]:
        clock = loop.time

        async def work(items: list[int]) -> list[int]:
            await asyncio.sleep(0.2)
            return items

        batcher = Batcher(work, gather=10.0)
        await asyncio.gather(*map(batcher.submit, range(8)))
        began = clock()
        await batcher.submit(1)  # seven others do not come
        waited = clock() - began
        await asyncio.sleep(0.2)
        began = clock()
        await batcher.submit(2)  # nobody is expected any more
        return waited, clock() - began

    waited, alone = virtual.run(story)
    assert waited == pytest.approx(0.3, abs=0.01)
    assert alone == pytest.approx(0.2, abs=0.01)


def test_a_stream_without_end_is_cut_after_the_time() -> None:
    async def run() -> None:
        begun = asyncio.Event()

        async def work(items: list[int]) -> list[int]:
            begun.set()
            return items

        batcher = Batcher(work, gather=0.01)
        tasks: list[asyncio.Task[int]] = []
        while not begun.is_set():
            tasks.append(asyncio.create_task(batcher.submit(len(tasks))))
            await asyncio.sleep(0)
        assert await asyncio.gather(*tasks) == list(range(len(tasks)))

    asyncio.run(asyncio.wait_for(run(), 10))


def test_an_error_goes_to_every_caller_of_its_round_and_to_no_other() -> None:
    async def story(rounds: Rounds) -> None:
        failed = rounds.start(1, 2)
        await turns()
        later = rounds.start(3)
        rounds.failing = LookupError("no")
        rounds.go.release()
        await turns()
        rounds.failing = None
        rounds.go.release()
        for task in failed:
            with pytest.raises(LookupError):
                await task
        assert await later[0] == "3"

    within(story)


def test_a_caller_that_goes_away_takes_nothing_from_the_others() -> None:
    async def story(rounds: Rounds) -> None:
        gone, stays = rounds.start(1, 2)
        await turns()
        gone.cancel()
        rounds.go.release()
        assert await stays == "2"

    within(story)


def test_nobody_waits_for_ever_where_the_loop_ends() -> None:
    rounds: list[asyncio.Task[str]] = []

    async def run() -> None:
        made = Rounds()
        rounds.extend(made.start(1))
        await turns()
        rounds.extend(made.start(2))
        await turns()

    asyncio.run(run())
    assert [task.cancelled() for task in rounds] == [True, True]


def test_what_a_batch_logs_is_not_said_of_the_item_that_came_first() -> None:
    order: ContextVar[str] = ContextVar("order", default="none")
    seen: list[str] = []

    async def work(items: list[int]) -> list[int]:
        seen.append(order.get())
        return items

    async def run() -> None:
        order.set("the first")
        await Batcher(work).submit(1)

    asyncio.run(run())
    assert seen == ["none"]


async def halves(items: Sequence[int], calls: list[Sequence[int]], error: Exception) -> list[int]:
    """Half of each even number; an odd one among them is an error."""
    calls.append(items)
    if any(item % 2 for item in items):
        raise error
    return [item // 2 for item in items]


def test_where_work_for_all_fails_each_is_done_alone_and_the_one_at_fault_gets_the_error() -> None:
    calls: list[Sequence[int]] = []
    error = ValueError("odd")
    outcomes = asyncio.run(together_or_alone([2, 3, 4], lambda items: halves(items, calls, error)))
    assert outcomes == [1, error, 2]
    assert calls == [[2, 3, 4], [2], [3], [4]]


def test_what_works_together_is_done_once() -> None:
    calls: list[Sequence[int]] = []
    assert asyncio.run(together_or_alone([2, 4], lambda items: halves(items, calls, ValueError()))) == [1, 2]
    assert calls == [[2, 4]]


@pytest.mark.parametrize("error", [StoreBusy("full"), StoreUnusable("gone")])
def test_a_store_in_trouble_is_asked_once_and_not_for_each(error: StoreError) -> None:
    calls: list[Sequence[int]] = []
    with pytest.raises(type(error)):
        asyncio.run(together_or_alone([2, 3, 4], lambda items: halves(items, calls, error)))
    assert calls == [[2, 3, 4]]
