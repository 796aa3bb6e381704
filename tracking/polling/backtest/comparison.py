"""The laboratory: the recorded history replayed under other schedules and budgets, before anything is changed live.

Owns the ladder of plans that make the frontier and what is said of their outcomes. Curves are learned on the way from
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
from tracking.polling.backtest.engine import Outcome, Plan, replay
from tracking.polling.backtest.history import ENOUGH, Range, Recorded, read
from tracking.settings import Settings
from tracking.storage.database import Database

PRICES = (2.0, 8.0, 30.0, 120.0)  # of a call, in seconds of waiting
WAITS = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)  # caps of the doubling policy, and waits of the fixed one
LOOKS_AT_MOST = 60_000  # of a plan that is only there to be compared with
STEP = 0.2  # seconds: as often as the console chooses its calls
POLICIES = ("accrual", "doubling", "fixed")
SPAN = timedelta(days=7)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Point:
    """What a plan comes to. Delays in seconds, from when an order was finished until that was seen."""

    policy: str
    setting: str
    calls_an_hour: float
    mean: float
    p95: float
    longest: float


def today(settings: Settings, recorded: Recorded) -> Plan:
    """The schedule of the running console."""
    return Plan(
        rate=settings.api_max_rate,
        floor=settings.poll_floor,
        ceiling=settings.poll_ceiling,
        discover_every=settings.discover_every,
        heard=recorded.heard,
        relative=settings.poll_loss == "relative",
        takes=recorded.really.asked.takes if recorded.really.asked else 0.0,
    )


def setting_of(plan: Plan) -> str:
    """What sets the plan apart from others of its policy, in words."""
    match plan.policy:
        case "fixed":
            return f"every {plan.wait:g} s"
        case "doubling":
            return f"up to {plan.ceiling:g} s"
        case _:
            return "price follows the budget" if plan.price is None else f"price {plan.price:g} s"


def tried(plan: Plan, chosen: Mapping[str, Any]) -> Plan:
    """Today's plan with what was chosen in place of it; no limits of the accrual rule on waits that are chosen."""
    other = replace(plan, **{name: value for name, value in chosen.items() if value is not None})
    return replace(other, ceiling=max(other.ceiling, other.wait)) if other.policy == "fixed" else other


def problem(settings: Settings, chosen: Mapping[str, Any]) -> str | None:
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


def ladder(plan: Plan, recorded: Recorded) -> Iterator[Plan]:
    """The plans of the frontier, all under today's budget: accrual at several prices, and what people know."""
    yield from (replace(plan, price=price) for price in PRICES)
    open_for = np.minimum(recorded.history.finished, recorded.history.arrived[0] + recorded.history.span)
    seconds = float((open_for - recorded.history.arrived).clip(0.0).sum())
    for wait in WAITS:
        # A plan that would make many more calls is nobody's choice, and takes long to replay.
        if seconds / wait <= LOOKS_AT_MOST:
            yield replace(plan, policy="doubling", ceiling=max(wait, plan.floor))
    for wait in WAITS:
        if seconds / wait <= LOOKS_AT_MOST:
            yield replace(plan, policy="fixed", wait=wait, ceiling=max(wait, plan.ceiling))


def _point(recorded: Recorded, plan: Plan) -> Point:
    outcome: Outcome = replay(recorded.history, plan, step=STEP)
    longest = float(outcome.delays.max(initial=0.0))
    made = (round(figure, 3) for figure in (outcome.calls_an_hour, outcome.mean, outcome.quantile(0.95), longest))
    return Point(plan.policy, setting_of(plan), *made)


def compute(
    database: Database,
    settings: Settings,
    since: datetime,
    chosen: Mapping[str, Any],
    *,
    frontier: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Replays the history since then; returns what `replan --json` prints.

    Args:
        database: the store.
        settings: of the running console.
        since: from when on orders are replayed.
        chosen: what to try in place of today's settings: fields of `Plan`; empty for nothing.
        frontier: whether to replay the whole ladder of plans too.
        progress: told after each replay.

    Raises:
        NotComputed: too few orders finished in that time.
    """
    recorded = read(database, since)
    if recorded is None:
        raise NotComputed(f"there is too little history to replay: fewer than {ENOUGH} orders finished in that time")
    plan = today(settings, recorded)
    plans = [plan, *([tried(plan, chosen)] if chosen else []), *(ladder(plan, recorded) if frontier else [])]
    points = []
    for number, each in enumerate(plans, start=1):
        points.append(_point(recorded, each))
        progress(number, len(plans))
    ours, other = points[0], points[1] if chosen else None
    found = list(
        {(point.policy, point.calls_an_hour, point.mean): point for point in points[2 if chosen else 1 :]}.values()
    )
    return _record(recorded, ours, other, found)


def _record(recorded: Recorded, ours: Point, other: Point | None, found: Sequence[Point]) -> dict[str, Any]:
    really = recorded.really
    return {
        "since": recorded.since,
        "until": recorded.until,
        "orders": len(recorded.history),
        "finished": recorded.finished,
        "left_out": {name: getattr(recorded, name) for name in ("found", "cancelled", "earlier")},
        "newest_only": recorded.cut,
        "known_to": round(recorded.known_to, 3),
        "stated": recorded.stated,
        "heard": round(recorded.heard, 3),
        "really": {
            "calls_an_hour": None if really.calls_an_hour is None else round(really.calls_an_hour, 3),
            "asked": asdict(really.asked) if really.asked else None,
            **{name: _rounded(getattr(really, name)) for name in ("mean", "p95", "longest")},
        },
        "today": asdict(ours),
        "tried": asdict(other) if other else None,
        "frontier": [asdict(point) for point in found],
        "said": compared(recorded, ours, other, found),
        "basis": basis(recorded),
    }


def _rounded(figure: Range) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(figure).items()}


# In words


def basis(recorded: Recorded) -> list[str]:
    """What was replayed and how well it is known, in sentences."""
    began, ended = clock(recorded.since), clock(recorded.until)
    newest = "the newest " if recorded.cut else ""
    replayed = f"{newest}{count(len(recorded.history), 'order')} from {began} to {ended} UTC"
    known = (
        f"Half of the finishing times are known to {seconds(recorded.known_to)}; where one is not known, it is drawn"
    )
    told = [
        f"Replayed: {replayed}, of which {recorded.finished:,} finished.",
        f"{known} from the time it must lie in.",
        "Each plan learns its curves on the way from first guesses, so all do a little worse than they would now.",
    ]
    reasons = (
        (recorded.found, "finished when first seen"),
        (recorded.cancelled, "cancelled"),
        (recorded.earlier, "from before calls were recorded"),
    )
    left_out = ", ".join(f"{number:,} {why}" for number, why in reasons if number)
    if left_out:
        told.append(f"Left out: {left_out}.")
    asked = recorded.really.asked
    if asked is None:
        told.append("The calls that were really made are not on record for that time.")
    elif asked.aside:
        told.append(f"Not counted: {count(asked.aside, 'look')} at finished or older orders, which no plan replays.")
    if asked is not None and asked.pages + asked.discoveries:
        told.append("List pages that were asked for to follow such orders count among today's calls all the same.")
    return told


def compared(recorded: Recorded, ours: Point, other: Point | None, found: Sequence[Point]) -> list[str]:
    """Today beside the replay and the other plans, in sentences."""
    really, calls = recorded.really, recorded.really.calls_an_hour
    span = f"{seconds(really.mean.value)} ({figure(really.mean.least)} to {figure(really.mean.most)} s)"
    made = f"{figure(calls)} calls an hour" if calls is not None else "calls not on record"
    told = [f"Today: {made}, known {span} after done on average."]
    told.append(f"Replayed under today's settings: {_told(ours)}.")
    if other is not None:
        told.append(f"Tried, {other.policy}, {other.setting}: {_told(other)}.")
    wanted = ours.calls_an_hour if calls is None else calls
    for policy in POLICIES if found else ():
        line = [ours, *found] if policy == "accrual" else found
        told += _at_as_many(policy, [point for point in line if point.policy == policy], wanted)
    return told


def _at_as_many(policy: str, points: Sequence[Point], calls: float) -> list[str]:
    """What the policy comes to at so many calls an hour, or that it makes more or fewer whatever its setting."""
    if (delay := at_calls(points, calls)) is not None:
        return [f"{policy.capitalize()} at as many calls: {seconds(delay)}."]
    by_calls = sorted(points, key=lambda point: point.calls_an_hour)
    for end, word in ((by_calls[:1], "least"), (by_calls[-1:], "most")):
        for point in end:
            if (calls < point.calls_an_hour) == (word == "least"):
                made = f"{figure(point.calls_an_hour)} calls an hour at the {word}"
                return [f"{policy.capitalize()} made {made}, and knew {seconds(point.mean)} after done on average."]
    return []


def _told(point: Point) -> str:
    late = f"{seconds(point.mean)} on average, 95 of 100 within {seconds(point.p95)}"
    return f"{figure(point.calls_an_hour)} calls an hour, known {late}"


def at_calls(points: Sequence[Point], calls: float) -> float | None:
    """The mean delay of a policy at so many calls an hour, between two of its points; None beyond them."""
    known = sorted(
        {(point.calls_an_hour, point.mean) for point in points if point.calls_an_hour > 0 and point.mean > 0}
    )
    if len(known) < 2 or not known[0][0] <= calls <= known[-1][0]:
        return None
    at, delays = (np.log([pair[part] for pair in known]) for part in (0, 1))
    return float(np.exp(np.interp(math.log(calls), at, delays)))


def seconds(value: float) -> str:
    """A length for people: "4.1 s", "12 min"."""
    return f"{figure(value)} s" if value < 600 else f"{value / 60:.0f} min"


def figure(value: float) -> str:
    """A figure with two digits that tell, or all before the point."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
