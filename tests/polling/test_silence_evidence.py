import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.forecasting.waits import webhook_share
from tracking.polling.webhook_silence import Evidence, expected_webhooks
from tracking.webhooks.silence_alarm import COMPLETIONS_JUDGED, Arming

SHARES = st.lists(st.floats(1e-6, 1), min_size=1, max_size=30)


def test_three_finished_orders_in_a_row_without_a_word_are_no_accident_where_99_of_100_announce_themselves() -> None:
    assert [Evidence(0.99, 0.0, missed).alarming for missed in (0, 1, 2, 3)] == [False, False, False, True]


def test_where_fewer_announce_themselves_it_takes_more() -> None:
    assert not Evidence(0.5, 0.0, 18).alarming
    assert Evidence(0.5, 0.0, 19).alarming


def test_slow_orders_alone_are_a_suspicion_and_no_alarm() -> None:
    slow = Evidence(0.99, 1000.0, 0)
    assert (slow.suspicious, slow.alarming) == (True, False)


def test_where_nothing_ever_announced_itself_there_is_nothing_to_miss() -> None:
    never = Evidence(0.0, 50.0, 50)
    assert (never.suspicious, never.alarming) == (False, False)


@given(SHARES, st.floats(0, 1))
def test_what_is_expected_grows_with_time_and_never_by_more_than_one_an_order(
    before: list[float], heard: float
) -> None:
    first = np.array(before)
    sooner, later = expected_webhooks(heard, first, first * 0.9), expected_webhooks(heard, first, first * 0.5)
    assert 0 <= sooner <= later + 1e-12 <= heard * len(before) + 1e-9


def test_time_that_has_not_passed_brings_no_announcement() -> None:
    assert expected_webhooks(0.9, np.array([0.5]), np.array([0.5])) == pytest.approx(0.0)


def test_few_orders_that_were_announced_may_never_be_enough_and_hundreds_need_three_or_four() -> None:
    def needed(announced: int) -> int | None:
        """How many finished orders without a webhook raise the alarm, each counted in the share as well."""
        every = range(1, COMPLETIONS_JUDGED + 1)
        shares = {missed: webhook_share(announced, announced + missed) for missed in every}
        number = next((missed for missed, share in shares.items() if Evidence(share, 0.0, missed).alarming), None)
        assert number == Arming(heard=True, announced=announced, finished=announced).needed
        return number

    assert [needed(announced) for announced in (10, 20, 300, 395)] == [None, 27, 4, 4]
    assert [Arming(True, 0, 90).needed, Arming(False, 300, 300).needed, Arming(True).needed] == [None] * 3
    assert Evidence(0.99, 0.0, 3).alarming
