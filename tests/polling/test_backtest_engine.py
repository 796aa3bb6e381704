"""The replay: what it counts, that it learns, and that what it says agrees with what can be reckoned."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.forecasting.survival import Forecast, Interval
from tracking.polling.backtest.engine import _Curves, _Run, replay
from tracking.polling.backtest.model import BacktestResult, History, PollingPlan


def history(*orders: tuple[float, float], announced_after: float = math.inf, name: str = "Links/1") -> History:
    """Orders as (arrived, took)."""
    arrived = np.array([arrived for arrived, _ in orders], dtype=np.float64)
    finished = arrived + np.array([took for _, took in orders], dtype=np.float64)
    return History(arrived, finished, [name] * len(orders), finished + announced_after)


def steady(count: int, took: float = 60.0, every: float = 30.0) -> History:
    rng = np.random.default_rng(1)
    return history(*((number * every, took * math.exp(0.3 * rng.standard_normal())) for number in range(count)))


def test_nothing_costs_nothing() -> None:
    outcome = replay(history(), PollingPlan())
    assert (outcome.calls, outcome.mean, outcome.quantile(0.95)) == (0, 0.0, 0.0)


def test_a_fixed_wait_finds_an_order_within_one_wait_and_makes_as_many_calls_as_fit() -> None:
    outcome = replay(history((0, 100)), PollingPlan("fixed", wait=30.0))
    assert 0 <= outcome.delays[0] <= 33.5
    assert outcome.calls in {3, 4, 5}
    assert outcome.pages == outcome.discoveries == 0


def test_waits_that_double_make_few_calls_and_grow_late() -> None:
    orders = history((0, 3000))
    doubled = replay(orders, PollingPlan("doubling", ceiling=1e9))
    fixed = replay(orders, PollingPlan("fixed", wait=10.0))
    assert doubled.calls < 15 < fixed.calls
    assert doubled.mean > fixed.mean


def test_what_announces_itself_is_looked_at_at_once() -> None:
    outcome = replay(history((0, 500), announced_after=2.0), PollingPlan("fixed", wait=10_000.0, ceiling=1e9))
    assert outcome.calls == 1
    assert outcome.delays[0] == pytest.approx(2.0, abs=0.5)


def test_orders_that_never_finish_are_not_waited_for() -> None:
    orders = history((0, 50), (1, math.inf))
    outcome = replay(orders, PollingPlan())
    assert len(outcome.delays) == 1


def test_curves_that_are_learned_on_the_way_serve_better_than_the_first_guess() -> None:
    orders = history(*((number * 60.0, 600.0) for number in range(30)))
    plan = PollingPlan("accrual", price=20.0, page=1, ceiling=1e9, relative=False)
    learned, guessed = replay(orders, plan), replay(orders, plan, learns=False)
    assert learned.calls * 20.0 + learned.delays.sum() < 0.8 * (guessed.calls * 20.0 + guessed.delays.sum())


def test_what_is_known_before_serves_from_the_first_order_on() -> None:
    orders = history((0, 600.0))
    known = Forecast.fit("Links/1", [Interval(580.0, 620.0)] * 400)
    plan = PollingPlan("accrual", price=20.0, page=1, ceiling=1e9)
    assert replay(orders, plan, [known]).calls < replay(orders, plan).calls


def test_list_pages_spare_calls() -> None:
    orders = steady(60, took=300.0, every=5.0)
    plan = PollingPlan("accrual", price=5.0)
    pages, singles = replay(orders, plan), replay(orders, replace(plan, page=1))
    assert pages.pages > 0
    assert pages.calls < 0.5 * singles.calls
    assert pages.mean < singles.mean


def test_discovery_is_counted_and_looks_at_what_it_shows() -> None:
    orders = steady(40)
    outcome = replay(orders, PollingPlan("accrual", price=50.0, discover_every=30.0))
    assert outcome.discoveries >= orders.span / 30 - 2
    assert outcome.mean < 40


def test_discovery_goes_on_while_nothing_is_open() -> None:
    orders = history((0, 5), (3000, 5))
    assert 100 <= replay(orders, PollingPlan("fixed", wait=5.0, discover_every=30.0)).discoveries <= 102


def test_a_walk_of_the_list_takes_a_page_for_each_fifty_orders_and_one_that_is_not_full() -> None:
    orders = history(*((0, 100) for _ in range(100)), (1, 100))
    outcome = replay(orders, PollingPlan("fixed", wait=500.0, discover_every=60.0))
    assert outcome.discoveries == 1 + 3 + 3, "the first one comes before all orders"
    assert outcome.singles == outcome.pages == 0


def test_a_history_in_seconds_since_1970_says_what_it_says_from_zero() -> None:
    orders = steady(60)
    later = History(orders.arrived + 1.8e9, orders.finished + 1.8e9, orders.classes, orders.webhook_at + 1.8e9)
    assert later.span == pytest.approx(orders.span)
    plan = PollingPlan("accrual", price=5.0, discover_every=30.0)
    ours, theirs = replay(orders, plan), replay(later, plan)
    assert theirs.calls == pytest.approx(ours.calls, rel=0.05)
    assert theirs.mean == pytest.approx(ours.mean, rel=0.1)


def test_orders_that_are_sent_from_the_same_budget_leave_less_of_it_for_looks() -> None:
    orders = steady(120, took=20.0, every=1.0)
    plan = PollingPlan("fixed", rate=2.0, page=1, wait=5.0)
    assert replay(orders, replace(plan, sends=True)).mean > 1.5 * replay(orders, plan).mean


def test_a_call_and_its_commits_take_their_time() -> None:
    orders = history((0, 100))
    at_once = replay(orders, PollingPlan("fixed", wait=30.0))
    slow = replay(orders, PollingPlan("fixed", wait=30.0, call_seconds=2.0))
    assert (slow.delays >= 2.0).all()
    assert (at_once.delays >= 0.0).all()
    committed = replay(orders, PollingPlan("fixed", wait=30.0, call_seconds=2.0, commit_seconds=1.0))
    assert (committed.delays >= 2.0).all()


def test_a_page_tells_of_all_orders_on_it_also_of_those_nobody_would_have_asked_for() -> None:
    young = history((0, 1000), (100, 0.5), name="Links/1")
    run = _Run(young, PollingPlan(floor=1.0), (), 1, learns=False)
    run.now = 101.0
    run._arrive()
    run._poll_page(np.array([0, 1]))
    assert run.pages == 1
    assert list(run.open_orders) == [0]
    assert run.last[0] == 101.0


def test_curves_of_all_classes_at_once_say_what_the_rule_says_of_each() -> None:
    learned = Forecast.fit("Links/1", [Interval(40.0 + step, 50.0 + step) for step in range(0, 400, 7)])
    forecasts = [learned, Forecast.fit("PhysicalShipment/4", ()), Forecast.fit("Links/64", ())]
    curves = _Curves(3, relative=True)
    for number, forecast in enumerate(forecasts):
        curves.take(number, forecast)
    rng = np.random.default_rng(1)
    kinds, polled = rng.integers(0, 3, 200), rng.exponential(1000, 200)
    ages = polled + rng.exponential(1000, 200)
    found = curves.cost_between(kinds, polled, ages)
    for number, forecast in enumerate(forecasts):
        mine = kinds == number
        expected = forecast.delay_cost.cost_between(polled[mine], ages[mine])
        assert found[mine] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_long_histories_are_replayed_to_their_end() -> None:
    orders = steady(400, took=3000.0, every=3000.0)
    outcome = replay(orders, PollingPlan("fixed", rate=5.0, page=1, wait=1000.0, ceiling=1e9))
    assert outcome.mean < 1100


@pytest.mark.parametrize("policy", ["accrual", "doubling", "fixed"])
def test_no_second_holds_more_calls_than_the_budget(policy: str) -> None:
    orders = steady(200, took=20.0, every=0.5)
    outcome = replay(orders, PollingPlan(policy, rate=1.0, page=1, wait=2.0, floor=0.5))
    last_seen = float((orders.finished + outcome.delays).max())
    assert outcome.calls <= last_seen + 2


def test_scarce_calls_make_each_dearer_and_nothing_starves() -> None:
    orders = steady(300, took=20.0, every=0.5)
    outcome = replay(orders, PollingPlan("accrual", rate=0.5))
    assert np.isfinite(outcome.delays).all()
    assert outcome.delays.max() < orders.span + 60


def test_the_same_seed_says_the_same_and_another_not() -> None:
    orders = steady(30)

    def said(seed: int) -> BacktestResult:
        return replay(orders, PollingPlan("fixed", wait=7.0), seed=seed)

    assert list(said(1).delays) == list(said(1).delays)
    assert list(said(1).delays) != list(said(2).delays)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500)), min_size=1, max_size=15),
    st.sampled_from(["accrual", "doubling", "fixed"]),
    st.sampled_from([0.2, 5.0]),
    st.sampled_from([0.0, 30.0]),
)
def test_every_finished_order_is_seen_once_and_never_before_it_is_finished(
    orders: list[tuple[float, float]], policy: str, rate: float, discover: float
) -> None:
    outcome = replay(history(*sorted(orders)), PollingPlan(policy, rate=rate, discover_every=discover))
    assert len(outcome.delays) == len(outcome.classes) == len(orders)
    assert (outcome.delays >= 0).all()
    assert outcome.calls >= 1


@pytest.mark.parametrize(
    "plan",
    [
        PollingPlan(price=5.0, discover_every=30.0, webhook_share=0.5),
        PollingPlan(discover_every=30.0, call_seconds=0.3),
        PollingPlan(discover_every=0.0, rate=0.1),
        PollingPlan(discover_every=30.0, rate=0.1),
        PollingPlan(price=20.0, page=1, floor=5.0),
        PollingPlan("doubling", ceiling=60.0, discover_every=30.0),
        PollingPlan("fixed", wait=45.0, rate=0.2),
    ],
    ids=["accrual", "live price", "scarce", "scarce, discovery", "singles", "doubling", "fixed"],
)
def test_what_is_passed_over_changes_nothing(plan: PollingPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    arrived = np.cumsum(rng.exponential(60.0, 24))
    arrived[12:] += 1500.0  # a time in which nothing is open but what takes long
    took = np.where(rng.random(24) < 0.2, 1200.0, 40.0) * np.exp(0.5 * rng.standard_normal(24))
    names = ["PhysicalShipment/1" if long > 500 else "Links/16" for long in took]
    announced = np.where(rng.random(24) < 0.3, arrived + took + 3.0, math.inf)
    orders = History(arrived, arrived + took, names, announced, rng.random(24) < 0.7)
    leaping = replay(orders, plan)
    monkeypatch.setattr(_Run, "_next_event", lambda run: run.now)
    stepping = replay(orders, plan)
    assert (leaping.singles, leaping.pages, leaping.discoveries) == (
        stepping.singles,
        stepping.pages,
        stepping.discoveries,
    )
    assert leaping.delays == pytest.approx(stepping.delays, abs=1e-6)


def test_completions_that_cannot_announce_themselves_are_not_counted_on() -> None:
    orders = steady(60, took=300.0)
    plan = PollingPlan(price=5.0, webhook_share=0.9)
    silent = replace(orders, webhook_expected=np.zeros(60, dtype=np.bool_))
    assert replay(silent, plan).mean < 0.5 * replay(orders, plan).mean
    assert replay(silent, plan).mean == replay(orders, replace(plan, webhook_share=0.0)).mean
