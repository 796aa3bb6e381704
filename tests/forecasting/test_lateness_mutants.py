"""Faults planted in how lateness is judged: each makes a test of the simulated classes, or of the store, fail."""

import math
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import test_finish_times as simulated
import test_forecasts as limits
import test_lateness as stored
from histories import History

from tracking.forecasting import finish_times, forecasts, lateness
from tracking.forecasting.classes import class_of
from tracking.forecasting.finish_times import FinishedOrder, FinishTimes
from tracking.forecasting.learned import history_by_class
from tracking.forecasting.survival import Interval
from tracking.storage.database import Database

Plant = tuple[object, str, Any]
Check = Callable[[History, Database], None]


def without_store(check: Callable[..., None], *args: Any) -> Check:
    return lambda _history, _store: check(*args)


def with_open_orders(rows: Any, now: Any) -> Any:
    """Open orders counted as if they would finish right now."""
    histories = honest_history(rows, now)
    for row in rows:
        if row.completed_by is None:
            ago = (now - row.accepted_at).total_seconds()
            interval = Interval(ago, ago + 1.0)
            histories[class_of(row.type, row.units)].finished.insert(0, FinishedOrder(interval, math.inf))
    return histories


def never_borrowed(self: forecasts.Forecasts, name: str) -> forecasts.ComparableTimes:
    return forecasts.ComparableTimes(self.finish_times(name), name)


honest_history = history_by_class
STUCK = without_store(simulated.test_stuck_orders_are_late_however_many_hang, simulated.quick, 200)
FALSE_ALARMS = without_store(
    simulated.test_of_a_hundred_orders_that_finish_two_at_most_are_called_late, simulated.fast_and_slow, 1
)
MUTANTS: dict[str, tuple[Plant, Check]] = {
    "orders that hang count": ((simulated, "history_by_class", with_open_orders), STUCK),
    "the median is late": ((finish_times, "LATE_SHARE", 0.5), FALSE_ALARMS),
    "few orders have no margin": (
        (finish_times, "MARGIN", 0.0),
        without_store(simulated.test_the_limit_is_what_99_of_100_show_and_a_margin_for_few),
    ),
    "the youngest count at once": (
        (finish_times, "AGED", 0.0),
        without_store(simulated.test_young_orders_say_nothing_until_all_placed_with_them_would_have_finished),
    ),
    "an outage is a measure": (
        (finish_times, "_in_a_row", lambda *_: False),
        without_store(simulated.test_an_outage_and_its_end_leave_the_limit_where_it_was),
    ),
    "the latest alone are a measure": (
        (finish_times, "NEWEST", 5),
        without_store(simulated.test_the_limit_is_what_99_of_100_show_and_a_margin_for_few),
    ),
    "what is unknown is promised": (
        (FinishTimes, "_least_share", 0.0),
        without_store(simulated.test_beyond_what_finished_orders_took_nothing_is_promised),
    ),
    "no size lends": (
        (forecasts.Forecasts, "comparable_times", never_borrowed),
        without_store(limits.test_a_class_with_few_finished_orders_borrows_from_the_nearest_size_of_its_type),
    ),
    "a promise is not minded": (
        (forecasts.Forecasts, "promise", lambda *_: None),
        without_store(limits.test_a_promise_wins_over_what_was_learned_and_the_narrowest_over_others),
    ),
    "late orders follow each new limit": (
        (lateness, "_replaces", lambda *_: True),
        stored.test_what_is_late_stays_late_when_the_limit_moves,
    ),
    "late orders never follow": (
        (lateness, "_replaces", lambda *_: False),
        stored.test_a_class_whose_newest_orders_took_longer_is_judged_anew,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
@pytest.mark.parametrize("engine", ["sqlite"])
def test_each_planted_fault_is_found(name: str, engine: str, store: Database) -> None:
    (owner, attribute, value), check = MUTANTS[name]
    with patch.object(owner, attribute, value), pytest.raises(AssertionError):
        check(History(store), store)
