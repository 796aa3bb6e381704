"""What the pages read is remembered for a moment, and read once for all who ask meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

import refreshed


def test_a_read_is_made_once_for_all_who_ask_at_the_same_time_and_anew_once_it_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads, goes_on = [], Event()

    @refreshed.refreshed(ttl=5, max_entries=2)
    def doubled(number: int) -> int:
        goes_on.wait(10)
        reads.append(number)
        return 2 * number

    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(doubled, 1) for _ in range(2)]
        goes_on.set()
        assert [answer.result(10) for answer in answers] == [2, 2]
    assert reads == [1]
    assert (doubled(1), doubled(2), doubled(3)) == (2, 4, 6)
    assert reads == [1, 2, 3]
    assert (doubled(1), reads) == (2, [1, 2, 3, 1]), "the oldest of three is forgotten"
    doubled.clear()
    assert (doubled(1), reads) == (2, [1, 2, 3, 1, 1]), "somebody has just changed it"
    monkeypatch.setattr("refreshed.time.monotonic", lambda: float("inf"))
    assert (doubled(1), reads) == (2, [1, 2, 3, 1, 1, 1])
