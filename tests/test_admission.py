import asyncio
from datetime import timedelta

import pytest
from fakes import NOW
from hypothesis import given
from hypothesis import strategies as st

from tracking.webhooks.throttling import Allowances, OpenReads, source_of

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


# Allowances


def test_a_source_may_be_refused_so_often_at_once_and_then_at_the_rate_of_the_refill() -> None:
    allowances = Allowances(burst=3, refill=0.5)
    assert not allowances.spent("a", NOW)
    assert [allowances.charge("a", NOW) for _ in range(5)] == [True, True, True, False, False]
    assert allowances.spent("a", NOW)
    assert allowances.spent("a", NOW + SECOND)
    assert not allowances.spent("a", NOW + 2 * SECOND)
    assert [allowances.charge("a", NOW + 2 * SECOND) for _ in range(2)] == [True, False]


def test_a_source_says_nothing_about_another() -> None:
    allowances = Allowances(burst=1)
    assert allowances.charge("a", NOW)
    assert not allowances.charge("a", NOW)
    assert allowances.charge("b", NOW)


def test_an_allowance_never_grows_beyond_its_burst() -> None:
    allowances = Allowances(burst=2)
    allowances.charge("a", NOW)
    later = NOW + timedelta(days=1)
    assert [allowances.charge("a", later) for _ in range(3)] == [True, True, False]


def test_a_clock_that_was_set_back_neither_gives_nor_takes_for_long() -> None:
    allowances = Allowances(burst=2)
    allowances.charge("a", NOW)
    before = NOW - timedelta(days=1)
    assert [allowances.charge("a", before) for _ in range(2)] == [True, False]
    assert allowances.charge("a", before + SECOND)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=200))
def test_no_crowd_of_sources_is_remembered_beyond_the_bound(calls: list[tuple[int, int]]) -> None:
    allowances, now = Allowances(sources=10, burst=2), NOW
    for source, seconds in calls:
        now += seconds * SECOND
        allowances.charge(f"source {source}", now)
        assert len(allowances) <= 10


def test_the_source_that_was_refused_longest_ago_is_forgotten_first() -> None:
    allowances = Allowances(sources=2, burst=1)
    for source in ("a", "b", "a", "c"):
        allowances.charge(source, NOW)
    assert (allowances.spent("a", NOW), allowances.spent("b", NOW), allowances.spent("c", NOW)) == (True, False, True)


# Open reads


def held(reads: OpenReads, sources: str) -> list[str]:
    """Opens a read for each letter, one after the other; the places of those that had to give way, in order."""

    async def run() -> list[str]:
        gone: list[str] = []
        forever = asyncio.Event()

        async def hold(place: int, source: str) -> None:
            try:
                async with reads.reading(source, 600):
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
    reads = OpenReads(most=10, most_of_a_source=2)
    assert held(reads, "abaaab") == ["a0", "a2"]
    assert len(reads) == 0


def test_where_all_together_have_too_many_open_the_oldest_of_all_gives_way() -> None:
    reads = OpenReads(most=3, most_of_a_source=2)
    assert held(reads, "abcde") == ["a0", "b1"]
    assert len(reads) == 0


def test_a_newcomer_is_never_the_one_to_go() -> None:
    assert held(OpenReads(most=1, most_of_a_source=1), "ab") == ["a0"]


def test_a_read_ends_with_its_time() -> None:
    async def run() -> None:
        async with OpenReads().reading("a", 0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(run())
