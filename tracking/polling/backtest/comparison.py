"""Compare polling plans by a backtest: the recorded history replayed under other schedules and rates of calls.

Owns the plans that make the frontier and the sentences about their results. Curves are learned on the way from
first guesses, by each plan from what it saw itself: that compares plans fairly, and is a little worse for each of them
than the console is by now.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from tracking.errors import NotComputed
from tracking.orders.wording import clock, count
from tracking.polling.backtest.engine import replay
from tracking.polling.backtest.history import ENOUGH, Range, RecordedHistory, read_history
from tracking.polling.backtest.model import PollingPlan
from tracking.settings.values import Settings
from tracking.storage.database import Database

PRICES = (2.0, 8.0, 30.0, 120.0)  # of a call, in seconds of waiting
WAITS = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)  # caps of the doubling policy, and waits of the fixed one
POLLS_AT_MOST = 60_000  # of a plan that is only there to be compared with
POLICIES = {"accrual": "Current policy", "doubling": "Doubling", "fixed": "Fixed"}
SPAN = timedelta(days=7)
Progress = Callable[[int, int], None]
Chosen = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """What a plan comes to. Delays in seconds, from when an order was finished until that was seen."""

    policy: str
    setting: str
    calls_an_hour: float
    mean: float
    p95: float
    longest: float


def current_plan(settings: Settings, recorded: RecordedHistory) -> PollingPlan:
    """The schedule of the running console."""
    return PollingPlan(
        rate=settings.api_max_rate,
        floor=settings.poll_floor,
        ceiling=settings.poll_ceiling,
        discover_every=settings.discover_every,
        webhook_share=recorded.webhook_share,
        relative=settings.poll_loss == "relative",
        call_seconds=recorded.calls.takes if recorded.calls else 0.0,
    )


def describe_setting(plan: PollingPlan) -> str:
    """What sets the plan apart from others of its policy, in words."""
    if plan.policy == "fixed":
        return f"every {plan.wait:g} s"
    if plan.policy == "doubling":
        return f"up to {plan.ceiling:g} s"
    return "price follows the budget" if plan.price is None else f"price {plan.price:g} s"


def alternative(plan: PollingPlan, chosen: Chosen) -> PollingPlan:
    """Today's plan with the chosen values; the accrual rule's limits do not apply to waits that were chosen."""
    other = replace(plan, **{name: value for name, value in chosen.items() if value is not None})
    return replace(other, ceiling=max(other.ceiling, other.wait)) if other.policy == "fixed" else other


def plan_error(settings: Settings, chosen: Chosen) -> str | None:
    """What is wrong with what was chosen; None where it can be replayed."""
    policy = chosen.get("policy", "accrual")
    if policy not in POLICIES:
        return f"{str(policy)[:40]!r} is no policy: use one of {', '.join(POLICIES)}"
    for name, only in (("price", "accrual"), ("wait", "fixed")):
        if name in chosen and policy != only:
            return f"--{name} goes with --policy {only} alone"
    if chosen.get("floor", settings.poll_floor) > chosen.get("ceiling", settings.poll_ceiling):
        return "the shortest wait is above the longest"
    return None


def frontier_plans(plan: PollingPlan, recorded: RecordedHistory) -> Iterator[PollingPlan]:
    """The plans of the frontier, all under today's rate limit: accrual at several prices, doubling and fixed waits."""
    yield from (replace(plan, price=price) for price in PRICES)
    open_for = np.minimum(recorded.history.finished, recorded.history.arrived[0] + recorded.history.span)
    seconds_open = float((open_for - recorded.history.arrived).clip(0.0).sum())
    # A plan that would make many more calls is nobody's choice, and takes long to replay.
    waits = [wait for wait in WAITS if seconds_open / wait <= POLLS_AT_MOST]
    yield from (replace(plan, policy="doubling", ceiling=max(wait, plan.floor)) for wait in waits)
    yield from (replace(plan, policy="fixed", wait=wait, ceiling=max(wait, plan.ceiling)) for wait in waits)


def _point(recorded: RecordedHistory, plan: PollingPlan) -> FrontierPoint:
    outcome = replay(recorded.history, plan)
    figures = outcome.calls_an_hour, outcome.mean, outcome.quantile(0.95), outcome.quantile(1.0)
    return FrontierPoint(plan.policy, describe_setting(plan), *(round(figure, 3) for figure in figures))


def compare_plans(
    database: Database, settings: Settings, since: datetime, chosen: Chosen, *, frontier: bool, progress: Progress
) -> dict[str, Any]:
    """Replays the history since then, under `chosen` fields of `PollingPlan` too; returns what `replan --json` prints.

    With `frontier` the plans of the frontier are replayed as well. `progress` is called after each replay, with how
    many of how many are done.

    Raises:
        NotComputed: too few orders completed in that period.
    """
    recorded = read_history(database, since)
    if recorded is None:
        raise NotComputed(f"there is too little history to replay: fewer than {ENOUGH} orders completed in that period")
    plan = current_plan(settings, recorded)
    plans = [plan, *([alternative(plan, chosen)] if chosen else [])]
    plans += frontier_plans(plan, recorded) if frontier else []
    points = []
    for number, each in enumerate(plans, start=1):
        points.append(_point(recorded, each))
        progress(number, len(plans))
    ours, other = points[0], points[1] if chosen else None
    ladder = {(point.policy, point.calls_an_hour, point.mean): point for point in points[2 if chosen else 1 :]}
    return _as_json(recorded, ours, other, list(ladder.values()))


def _as_json(
    recorded: RecordedHistory, ours: FrontierPoint, other: FrontierPoint | None, frontier: Sequence[FrontierPoint]
) -> dict[str, Any]:
    calls_an_hour = recorded.calls_an_hour
    return {
        "since": recorded.since,
        "until": recorded.until,
        "orders": len(recorded.history),
        "finished": recorded.finished,
        "left_out": {"found": recorded.finished_before, "cancelled": recorded.cancelled, "earlier": recorded.earlier},
        "newest_only": recorded.newest_only,
        "known_to": round(recorded.finish_uncertainty, 3),
        "stated": recorded.stated,
        "heard": round(recorded.webhook_share, 3),
        "really": {
            "calls_an_hour": None if calls_an_hour is None else round(calls_an_hour, 3),
            "asked": asdict(recorded.calls) if recorded.calls else None,
            **{name: _rounded(getattr(recorded, name)) for name in ("mean", "p95", "longest")},
        },
        "today": asdict(ours),
        "tried": asdict(other) if other else None,
        "frontier": [asdict(point) for point in frontier],
        "said": describe_comparison(recorded, ours, other, frontier),
        "basis": describe_basis(recorded),
    }


def _rounded(figure: Range) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(figure).items()}


# In words


def describe_basis(recorded: RecordedHistory) -> list[str]:
    """What was replayed and how well it is known, in sentences."""
    newest = "the newest " if recorded.newest_only else ""
    replayed = (
        f"{newest}{count(len(recorded.history), 'order')} from {clock(recorded.since)} to {clock(recorded.until)}"
    )
    drawn = "an unknown one is drawn from the range it must lie in"
    sentences = [
        f"Replayed: {replayed} UTC, of which {recorded.finished:,} completed.",
        f"Completion times are uncertain by {seconds(recorded.finish_uncertainty)} (median); {drawn}.",
        "Each plan starts from default estimates and learns on the way, so all do slightly worse than they would now.",
    ]
    reasons = (
        (recorded.finished_before, "already complete when first seen"),
        (recorded.cancelled, "cancelled"),
        (recorded.earlier, "from before API calls were recorded"),
    )
    if left_out := ", ".join(f"{number:,} {why}" for number, why in reasons if number):
        sentences.append(f"Excluded: {left_out}.")
    if (calls := recorded.calls) is None:
        return [*sentences, "The API calls made in that period were not recorded."]
    if calls.aside:
        aside = f"{count(calls.aside, 'poll')} of completed or older orders, which no plan replays"
        sentences.append(f"Not counted: {aside}.")
    if calls.pages + calls.discoveries:
        sentences.append("List pages fetched to follow such orders are included in the current figure.")
    return sentences


def describe_comparison(
    recorded: RecordedHistory, ours: FrontierPoint, other: FrontierPoint | None, frontier: Sequence[FrontierPoint]
) -> list[str]:
    """Today beside the replay and the other plans, in sentences."""
    mean, calls = recorded.mean, recorded.calls_an_hour
    span = f"{seconds(mean.value)} ({seconds(mean.least)} to {seconds(mean.most)})"
    made = f"{figure(calls)} calls/h" if calls is not None else "calls not recorded"
    sentences = [f"Now: {made}, mean delay {span}."]
    sentences.append(f"Current settings, replayed: {_describe_point(ours)}.")
    if other is not None:
        sentences.append(f"Alternative, {other.policy}, {other.setting}: {_describe_point(other)}.")
    calls_to_match = ours.calls_an_hour if calls is None else calls
    # Ours is always "accrual".
    lines = {policy: [point for point in [ours, *frontier] if point.policy == policy] for policy in POLICIES}
    if not frontier:
        return sentences
    for policy, points in lines.items():
        sentences += _at_as_many(POLICIES[policy], points, calls_to_match)
    return [*_gain(lines, calls_to_match), *sentences]


def _gain(lines: Mapping[str, Sequence[FrontierPoint]], calls: float) -> list[str]:
    """What the current policy gains or loses at as many calls against the best of the others, where both are known."""
    delays = {policy: delay for policy, points in lines.items() if (delay := delay_at_calls(points, calls)) is not None}
    if "accrual" not in delays or len(delays) == 1:
        return []
    ours = delays.pop("accrual")
    best = min(delays, key=lambda policy: delays[policy])
    times = figure(round(delays[best] / ours, 1))
    other = f"{POLICIES[best].lower()} waits would take {seconds(delays[best])}, {times} times as long"
    return [f"At {figure(calls)} calls/h the current policy detects completions after {seconds(ours)} (mean); {other}."]


def _at_as_many(name: str, points: Sequence[FrontierPoint], calls: float) -> list[str]:
    """Delay of a policy at so many calls an hour, or that it makes more, or fewer, whatever its setting."""
    if (delay := delay_at_calls(points, calls)) is not None:
        return [f"{name} at the same number of calls: mean delay {seconds(delay)}."]
    by_calls = sorted(points, key=lambda point: point.calls_an_hour)
    for point, word in zip(by_calls[:1] + by_calls[-1:], ("least", "most"), strict=False):
        if (calls < point.calls_an_hour) == (word == "least"):
            made = f"at {word} {figure(point.calls_an_hour)} calls/h"
            return [f"{name} makes {made}: mean delay {seconds(point.mean)}."]
    return []


def _describe_point(point: FrontierPoint) -> str:
    delay = f"mean delay {seconds(point.mean)}, p95 {seconds(_rounded_up(point.p95))}"
    return f"{figure(point.calls_an_hour)} calls/h, {delay}"


def delay_at_calls(points: Sequence[FrontierPoint], calls: float) -> float | None:
    """The mean delay of a policy at so many calls an hour, between two of its points; None beyond them."""
    by_calls = sorted(
        {(point.calls_an_hour, point.mean) for point in points if point.calls_an_hour > 0 and point.mean > 0}
    )
    if len(by_calls) < 2 or not by_calls[0][0] <= calls <= by_calls[-1][0]:
        return None
    at, delays = (np.log([pair[part] for pair in by_calls]) for part in (0, 1))
    return float(np.exp(np.interp(math.log(calls), at, delays)))


def seconds(value: float) -> str:
    """A length for people: "4.1 s", "12 min"."""
    return f"{figure(value)} s" if value < 600 else f"{value / 60:.0f} min"


def _rounded_up(value: float) -> float:
    """Seconds rounded up to what `seconds` shows of them: what is said to be done within them was."""
    step = 0.1 if value < 100 else 1 if value < 600 else 60
    return math.ceil(value / step) * step


def figure(value: float) -> str:
    """A figure with two digits that tell, or all before the point."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
