import asyncio
from datetime import timedelta

import pytest
from fakes import NOW
from hypothesis import given
from hypothesis import strategies as st

from tracking.webhooks.throttling import ReadSlots, RefusalLimits, source_of

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1%eth0", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_source_is_an_address_or_the_network_one_caller_may_own(host: str | None, source: str) -> None:
    assert source_of(host) == source


@given(st.text(max_size=60))
def test_any_text_for_a_host_is_some_source(host: str) -> None:
    assert source_of(host) == source_of(source_of(host).partition("/")[0])


# Refusal limits


def test_a_source_may_be_refused_so_often_at_once_and_then_at_the_rate_of_the_refill() -> None:
    limits = RefusalLimits(burst=3, refill=0.5)
    assert not limits.exhausted("a", NOW)
    assert [limits.take("a", NOW) for _ in range(5)] == [True, True, True, False, False]
    assert limits.exhausted("a", NOW)
    assert limits.exhausted("a", NOW + SECOND)
    assert not limits.exhausted("a", NOW + 2 * SECOND)
    assert [limits.take("a", NOW + 2 * SECOND) for _ in range(2)] == [True, False]


def test_a_source_says_nothing_about_another() -> None:
    limits = RefusalLimits(burst=1)
    assert limits.take("a", NOW)
    assert not limits.take("a", NOW)
    assert limits.take("b", NOW)


def test_an_allowance_never_grows_beyond_its_burst() -> None:
    limits = RefusalLimits(burst=2)
    limits.take("a", NOW)
    later = NOW + timedelta(days=1)
    assert [limits.take("a", later) for _ in range(3)] == [True, True, False]


def test_a_clock_that_was_set_back_neither_gives_nor_takes_for_long() -> None:
    limits = RefusalLimits(burst=2)
    limits.take("a", NOW)
    before = NOW - timedelta(days=1)
    assert [limits.take("a", before) for _ in range(2)] == [True, False]
    assert limits.take("a", before + SECOND)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=200))
def test_no_crowd_of_sources_is_remembered_beyond_the_bound(calls: list[tuple[int, int]]) -> None:
    limits, now = RefusalLimits(sources=10, burst=2), NOW
    for source, seconds in calls:
        now += seconds * SECOND
        limits.take(f"source {source}", now)
        assert len(limits.buckets) <= 10


def test_the_source_that_was_refused_longest_ago_is_forgotten_first() -> None:
    limits = RefusalLimits(sources=2, burst=1)
    for source in ("a", "b", "a", "c"):
        limits.take(source, NOW)
    assert (limits.exhausted("a", NOW), limits.exhausted("b", NOW), limits.exhausted("c", NOW)) == (
        True,
        False,
        True,
    )


# Open reads


def held(reads: ReadSlots, sources: str) -> list[str]:
    """Opens a read for each letter, one after the other; the places of those that had to give way, in order."""

    async def run() -> list[str]:
        gone: list[str] = []
        forever = asyncio.Event()

        async def hold(place: int, source: str) -> None:
            try:
                async with reads.slot(source, 600):
                    await forever.wait()
            except TimeoutError:
                gone.append(f"{source}{place}")

        tasks = []
        for place, source in enumerate(sources):
            tasks.append(asyncio.create_task(hold(place, source)))
            for _ in range(4):  # it enters, another is told, wakes and leaves
                await asyncio.sleep(0)
        forever.set()
        await asyncio.gather(*tasks)
        return gone

    return asyncio.run(run())


def test_where_a_source_has_too_many_open_its_own_oldest_gives_way() -> None:
    reads = ReadSlots(most=10, most_of_a_source=2)
    assert held(reads, "abaaab") == ["a0", "a2"]
    assert not reads.sources


def test_where_all_together_have_too_many_open_the_oldest_of_all_gives_way() -> None:
    reads = ReadSlots(most=3, most_of_a_source=2)
    assert held(reads, "abcde") == ["a0", "b1"]
    assert not reads.sources


def test_a_newcomer_is_never_the_one_to_go() -> None:
    assert held(ReadSlots(most=1, most_of_a_source=1), "ab") == ["a0"]


def test_a_read_ends_with_its_time() -> None:
    async def run() -> None:
        async with ReadSlots().slot("a", 0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(run())
