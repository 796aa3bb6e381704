"""The laboratory: what it compares, what it says, and that both are true."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from histories import START, History

from tracking.errors import NotComputed
from tracking.polling.backtest import comparison
from tracking.polling.backtest.comparison import (
    FrontierPoint,
    alternative,
    compare_plans,
    current_plan,
    delay_at_calls,
    describe_comparison,
    frontier_plans,
    plan_error,
)
from tracking.polling.backtest.history import ENOUGH, RecordedHistory, read_history
from tracking.polling.backtest.model import PollingPlan
from tracking.settings.loading import load
from tracking.settings.values import Settings
from tracking.storage.database import Database, connect

SINCE = START - timedelta(days=1)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TRACKING_POLL_FLOOR", "2")
    monkeypatch.setenv("TRACKING_API_MAX_RATE", "3")
    monkeypatch.setenv("TRACKING_POLL_LOSS", "absolute")
    return load()


def recorded(store: Database) -> RecordedHistory:
    """The least that is a history, written into the store."""
    orders = History(store)
    for number in range(ENOUGH):
        orders.place(f"A-{number}")
        orders.complete(f"A-{number}", minutes=1)
    found = read_history(store, SINCE)
    assert found is not None
    return found


@pytest.fixture
def known(store: Database) -> RecordedHistory:
    """That history, in the store of each engine in turn."""
    return recorded(store)


@pytest.fixture(scope="module")
def history(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordedHistory]:
    """The same for tests of what is made of it, which ask no store."""
    file = shutil.copy(migrated_file, tmp_path_factory.mktemp("history") / "tracking.db")
    store = connect(f"sqlite:///{file}")
    yield recorded(store)
    store.close()


def computed(store: Database, configured: Settings, *, frontier: bool = False, **chosen: Any) -> dict[str, Any]:
    told: list[tuple[int, int]] = []
    answer = compare_plans(
        store, configured, SINCE, chosen, frontier=frontier, progress=lambda done, all_: told.append((done, all_))
    )
    assert told
    assert told[-1][0] == told[-1][1]
    return answer


def test_today_is_what_the_settings_say(history: RecordedHistory, configured: Settings) -> None:
    plan = current_plan(configured, history)
    assert (plan.policy, plan.price, plan.rate, plan.floor, plan.ceiling) == ("accrual", None, 3.0, 2.0, 900.0)
    assert (plan.discover_every, plan.relative, plan.webhook_share) == (30.0, False, history.webhook_share)


def test_what_is_tried_is_todays_plan_but_for_what_was_chosen() -> None:
    plan = PollingPlan(rate=3.0, ceiling=900.0)
    assert alternative(plan, {"rate": 1.0}) == replace(plan, rate=1.0)
    fixed = alternative(plan, {"policy": "fixed", "wait": 3600.0})
    assert (fixed.wait, fixed.ceiling) == (3600.0, 3600.0), "no ceiling cuts a wait that was asked for"


@pytest.mark.parametrize(
    ("chosen", "word"),
    [
        ({}, None),
        ({"policy": "doubling", "ceiling": 60.0}, None),
        ({"policy": "guess"}, "no policy"),
        ({"policy": "doubling", "price": 2.0}, "--price goes with"),
        ({"wait": 2.0}, "--wait goes with"),
        ({"ceiling": 1.0}, "above the longest"),
        ({"floor": 901.0}, "above the longest"),
    ],
)
def test_what_cannot_be_replayed_is_told(chosen: dict[str, Any], word: str | None, configured: Settings) -> None:
    told = plan_error(configured, chosen)
    assert told is None if word is None else word in (told or "")


def test_no_plan_to_compare_with_makes_more_looks_than_a_replay_can_take(
    history: RecordedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = PollingPlan()
    few = [each for each in frontier_plans(plan, history) if each.policy == "fixed"]
    assert {each.wait for each in few} == set(comparison.WAITS)
    monkeypatch.setattr(comparison, "POLLS_AT_MOST", 100)
    fewer = {each.wait for each in frontier_plans(plan, history) if each.policy == "fixed"}
    assert fewer == {wait for wait in comparison.WAITS if wait > 5}
    assert all(each.rate == plan.rate for each in frontier_plans(plan, history))


def test_the_frontier_holds_each_policy_once_for_each_outcome_and_denser_plans_know_sooner(
    known: RecordedHistory, store: Database, configured: Settings
) -> None:
    answer = computed(store, configured, frontier=True)
    points = answer["frontier"]
    assert {point["policy"] for point in points} == set(comparison.POLICIES)
    assert len({(point["policy"], point["calls_an_hour"], point["mean"]) for point in points}) == len(points)
    fixed = [point for point in points if point["policy"] == "fixed"]
    assert [point["calls_an_hour"] for point in fixed] == sorted(
        (each["calls_an_hour"] for each in fixed), reverse=True
    )
    assert fixed[0]["mean"] < fixed[-1]["mean"]
    assert all(point["mean"] <= point["longest"] for point in points)
    assert answer["tried"] is None


def test_a_plan_that_is_tried_stands_beside_today(
    known: RecordedHistory, store: Database, configured: Settings
) -> None:
    answer = computed(store, configured, policy="fixed", wait=300.0)
    assert answer["frontier"] == []
    assert (answer["tried"]["policy"], answer["tried"]["setting"]) == ("fixed", "every 300 s")
    assert answer["tried"]["calls_an_hour"] < answer["today"]["calls_an_hour"]
    assert answer["tried"]["mean"] > answer["today"]["mean"]
    assert any(line.startswith("Alternative, fixed, every 300 s: ") for line in answer["said"])


def test_what_it_rests_on_is_said(known: RecordedHistory, store: Database, configured: Settings) -> None:
    answer = computed(store, configured)
    text = " ".join(answer["basis"])
    assert f"of which {ENOUGH} completed" in text
    assert "Completion times are uncertain by 60.0 s (median)" in text
    assert "starts from default estimates" in text
    assert "not recorded" in text
    assert (answer["finished"], answer["really"]["calls_an_hour"]) == (ENOUGH, None)
    assert answer["really"]["mean"]["least"] <= answer["really"]["mean"]["value"] <= answer["really"]["mean"]["most"]


def test_too_little_history_is_told(store: Database, configured: Settings) -> None:
    with pytest.raises(NotComputed, match="fewer than 20 orders completed"):
        computed(store, configured)


def point(policy: str, calls: float, mean: float) -> FrontierPoint:
    return FrontierPoint(policy, "", calls, mean, 2 * mean, 3 * mean)


def test_between_two_points_the_delay_at_as_many_calls_is_on_the_line_of_the_logarithms() -> None:
    line = [point("fixed", 1000, 1), point("fixed", 10, 100)]
    assert delay_at_calls(line, 100) == pytest.approx(10)
    assert delay_at_calls(line, 1000) == pytest.approx(1)
    assert delay_at_calls(line, 1001) is None
    assert delay_at_calls(line, 9) is None
    assert delay_at_calls(line[:1], 1000) is None


def test_a_policy_that_cannot_make_as_many_calls_is_told_with_its_nearest_point(history: RecordedHistory) -> None:
    ours = point("accrual", 400, 4)
    found = [point("doubling", 900, 9), point("doubling", 2000, 5), point("fixed", 300, 30), point("fixed", 500, 20)]
    told = describe_comparison(history, ours, None, found)
    assert "Doubling makes at least 900 calls/h: mean delay 9.0 s." in told
    assert any(line.startswith("Fixed at the same number of calls: mean delay 2") for line in told)
    slow = describe_comparison(history, point("accrual", 4000, 1), None, found)
    assert "Doubling makes at most 2,000 calls/h: mean delay 5.0 s." in slow


@pytest.mark.parametrize(("p95", "said"), [(4.11, "4.2 s"), (4.1, "4.1 s"), (99.96, "100 s"), (599.5, "10 min")])
def test_the_95th_percentile_is_rounded_up(history: RecordedHistory, p95: float, said: str) -> None:
    told = describe_comparison(history, replace(point("accrual", 400, 4), p95=p95), None, [])
    assert any(f"p95 {said}" in line for line in told)


def test_what_the_current_policy_gains_at_as_many_calls_comes_first(history: RecordedHistory) -> None:
    points = [point("accrual", 100, 16), point("fixed", 100, 40), point("fixed", 900, 30), point("doubling", 900, 9)]
    [first, now, *_] = describe_comparison(history, point("accrual", 400, 4), None, points)
    assert first.startswith("At 400 calls/h the current policy detects completions after 4.0 s (mean); ")
    assert first.endswith("fixed waits would take 33.4 s, 8.3 times as long.")
    assert now.startswith("Now: calls not recorded, mean delay ")
    assert describe_comparison(history, point("accrual", 400, 4), None, [])[0] == now
