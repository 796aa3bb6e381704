import math
from collections.abc import Collection

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracking.forecasting.survival import Array
from tracking.polling.selection import PADDING, WIDEST, Candidates, CreationTimes, select_calls

PRICE = 10.0


def candidates(*orders: tuple[float, float], due: Collection[int] = (), urgent: Collection[int] = ()) -> Candidates:
    """Orders as (created, accrued), which any page can answer for."""
    created = np.array([created for created, _ in orders], dtype=np.float64)
    accrued = np.array([worth for _, worth in orders], dtype=np.float64)
    marks = [np.array([index in marked for index in range(len(orders))]) for marked in (due, urgent)]
    return Candidates(created, accrued, accrued.copy(), *marks)


def nobody_else(known: Candidates, *others: float) -> CreationTimes:
    every = np.sort(np.concatenate((known.created[~np.isnan(known.created)], np.array(others, dtype=np.float64))))

    def population(first: float, last: float, limit: int) -> Array:
        return every[(every >= first) & (every <= last)][:limit]

    return population


WALL = tuple(5e5 + step for step in range(9)) + tuple(1.5e6 + step for step in range(9))  # more than a page holds


def chosen(known: Candidates, *others: float, at_most: int = 10, page: int = 5) -> list[tuple[int, ...]]:
    return select_calls(known, PRICE, at_most, nobody_else(known, *others), page)


def test_what_has_not_accrued_its_price_is_left_alone() -> None:
    assert chosen(candidates((0, 4.0), (1e6, 9.9)), *WALL) == []
    assert chosen(candidates()) == []


def test_several_orders_together_are_worth_the_page_that_none_is_worth_alone() -> None:
    assert chosen(candidates((0, 4.0), (10, 4.0), (20, 4.0))) == [(0, 1, 2)]


def test_what_is_due_is_looked_at_whatever_it_has_accrued() -> None:
    assert chosen(candidates((0, 0.0), (1e6, 1.0), due={0}), *WALL) == [(0,)]


def test_an_order_alone_on_its_page_is_asked_for_by_its_id() -> None:
    assert chosen(candidates((0, 50.0), (10, 0.0))) == [(0,)]


def test_the_most_accrued_goes_first_and_no_more_calls_are_made_than_there_are() -> None:
    known = candidates((0, 30.0), (1e6, 20.0), (2e6, 90.0))
    assert chosen(known, *WALL, at_most=2) == [(2,), (0,)]


def test_what_somebody_announced_goes_before_everything_else() -> None:
    known = candidates((0, 1e6), (1e6, 0.5), due={1}, urgent={1})
    assert chosen(known, *WALL) == [(1,), (0,)]


def test_finished_orders_take_up_room_on_the_page() -> None:
    known = candidates((0, 6.0), (10, 6.0), (100, 6.0), (110, 6.0))
    crowd = [20.0 + step for step in range(9)]
    assert sorted(chosen(known, *crowd)) == [(0, 1), (2, 3)]


def test_what_the_padding_of_a_page_shows_takes_up_room_too() -> None:
    known = candidates(*((second / 2, 6.0) for second in range(12)))
    calls = chosen(known)
    assert calls
    for call in calls:
        first, last = (known.created[call[end]] for end in (0, -1))
        assert len(nobody_else(known)(first - PADDING, last + PADDING, 100)) <= 5


def test_a_crowd_that_no_page_is_worth_does_not_hide_a_page_elsewhere() -> None:
    known = candidates((0, 9.0), (100, 9.0), (1e6, 5.5), (1e6 + 5, 5.5))
    crowd = [20.0 + step for step in range(9)]
    assert chosen(known, *crowd, *WALL) == [(2, 3)]


def test_a_time_in_which_thousands_were_created_is_asked_for_order_by_order() -> None:
    known = candidates((0, 11.0), (1e5, 12.0))
    crowd = np.linspace(1, 1e5 - 1, WIDEST + 10)
    assert chosen(known, *crowd) == [(1,), (0,)]


def test_orders_that_no_list_answers_for_are_asked_for_alone() -> None:
    known = candidates((0, 11.0), (1, 11.0), (math.nan, 11.0))
    known.list_worth[1] = math.nan
    assert sorted(chosen(known)) == [(0,), (1,), (2,)]


def test_the_cost_of_asking_again_for_what_the_list_cannot_prove_speaks_against_the_page() -> None:
    known = candidates((0, 30.0), (1, 12.0))
    known.list_worth[:] = (4.0, 3.0)
    assert chosen(known) == [(0,), (1,)]


ORDERS = st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 40)), max_size=40).map(sorted)


@given(ORDERS, st.lists(st.floats(0, 1e4), max_size=40), st.integers(1, 8), st.integers(2, 7))
def test_no_order_is_asked_for_twice_and_every_call_fits_and_is_worth_its_price(
    orders: list[tuple[float, float]], others: list[float], at_most: int, page: int
) -> None:
    known = candidates(*orders)
    population = nobody_else(known, *others)
    calls = select_calls(known, PRICE, at_most, population, page)
    asked = [index for call in calls for index in call]
    assert len(asked) == len(set(asked))
    assert len(calls) <= at_most
    for call in calls:
        assert sum(orders[index][1] for index in call) >= PRICE * (1 - 1e-9)
        if len(call) > 1:
            first, last = (orders[call[end]][0] for end in (0, -1))
            assert len(population(first - PADDING, last + PADDING, 1000)) <= page


@given(ORDERS)
def test_with_room_enough_nothing_that_is_worth_a_call_is_passed_over(orders: list[tuple[float, float]]) -> None:
    known = candidates(*orders)
    asked = {index for call in chosen(known, at_most=100) for index in call}
    assert {index for index, (_, worth) in enumerate(orders) if worth >= PRICE} <= asked
