"""The measures a way to plan looks is judged by, each taken on the product's own code with fixed seeds."""

import math
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import numpy.typing as npt
import running
import sqlalchemy as sa
from optimum import Judge
from shapes import SHAPES, Shape, lognormal

from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.survival import EDGES, Curve, DelayCost, Forecast, Interval
from tracking.polling.backtest.engine import replay
from tracking.polling.backtest.model import History, PollingPlan
from tracking.polling.due_orders import creation_times, find_due_orders
from tracking.polling.selection import select_calls
from tracking.polling.webhook_silence import Evidence, expected_webhooks
from tracking.storage import database
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS

Array = npt.NDArray[np.float64]
MEDIAN = 600.0
PRICES = (0.2, 0.05, 0.01)  # of a call, in medians
UNBOUNDED = 1e12
HEAVIEST = frozenset({"Lomax 1.5", "bimodal 95% 500x"})
LIGHTER = tuple(shape for shape in SHAPES if shape.name not in HEAVIEST)


@dataclass(frozen=True)
class Row:
    """One line of the table: what was reached, and the most it may be; with `least` also the least."""

    measure: str
    reached: float
    most: float
    short: str
    least: float = -math.inf

    @property
    def holds(self) -> bool:
        return self.least <= self.reached <= self.most

    @property
    def wanted(self) -> str:
        """What is to be reached, as the table shows it."""
        return f"<= {self.most:g}" if math.isinf(self.least) else f"{self.least:g} to {self.most:g}"


def known(shape: Shape, median: float, *, relative: bool = False) -> Forecast:
    """A forecast that knows the shape, and so needs no guard against what it has not seen."""
    done = shape.finished(EDGES, median)
    curve = Curve.of(np.append(np.diff(done), 1 - done[-1]), math.inf)
    return Forecast(shape.name, curve, DelayCost(curve, relative=relative))


def looks(forecast: Forecast, price: float, last: float, floor: float) -> Array:
    """The ages of all looks at an order that never finishes, until `last`."""
    ages = [0.0]
    while ages[-1] < last and len(ages) < 5000:
        wait = forecast.wait(ages[-1], price, floor=floor, ceiling=UNBOUNDED)
        ages.append(ages[-1] + (wait if wait < UNBOUNDED else last))
    return np.array(ages[1:])


# The cost of a schedule against that of the best one


def cost_when_known(shapes: Sequence[Shape] = SHAPES, prices: Sequence[float] = PRICES) -> list[Row]:
    """The rule on the true curve against the optimum, wherever that takes three calls an order or more."""
    worst = {1: 0.0, 2: 0.0}
    for shape in shapes:
        judge, forecast = Judge(shape, MEDIAN), known(shape, MEDIAN)
        for share in prices:
            price = share * MEDIAN
            least, calls = judge.least(price)
            if calls >= 3:
                made, delay = judge.mean(looks(forecast, price, judge.last, MEDIAN * 1e-4))
                worst[shape.modes] = max(worst[shape.modes], (price * made + delay) / least)
    return [
        Row("cost against the optimum, curve known, one hump (worst)", worst[1], 1.03, "known"),
        Row("cost against the optimum, curve known, two humps (worst)", worst[2], 1.10, "known, bimodal"),
    ]


def cost_when_learned(seeds: int = 6, shapes: Sequence[Shape] = LIGHTER) -> list[Row]:
    """The same with a curve learned from what the schedule itself has seen; the first guess is wrong by two."""
    price = 0.05 * MEDIAN
    early, late = [], []
    for shape in shapes:
        judge = Judge(shape, MEDIAN)
        least, _ = judge.least(price)
        for seed in range(seeds):
            guess = MEDIAN * (2.0 if seed % 2 else 0.5)
            seen: list[Interval] = []
            for number, took in enumerate(shape.times(MEDIAN, 100, np.random.default_rng(seed))):
                if number < 10 or number % 10 == 0:  # curves are learned anew once a minute, not with every order
                    ages = _learned_looks(seen, guess, price, judge.last)
                if number < 10:
                    early.append(_cost(judge, ages, price) / least)
                seen.append(_between(ages, took))
            late.append(_cost(judge, _learned_looks(seen, guess, price, judge.last), price) / least)
    return [
        Row("cost, curve learned, after 100 orders (mean of seven shapes)", _mean(late), 1.10, "learned"),
        Row("cost, orders 1 to 10, first guess wrong by 2 (mean of seven)", _mean(early), 1.25, "first ten"),
    ]


def _learned_looks(seen: Sequence[Interval], guess: float, price: float, last: float) -> Array:
    forecast = Forecast.fit("Links/1", seen, guess=guess, relative=False)
    return looks(forecast, price, last, MEDIAN * 1e-3)


def _cost(judge: Judge, ages: Array, price: float) -> float:
    calls, delay = judge.mean(ages)
    return price * calls + delay


def _between(ages: Array, took: float) -> Interval:
    index = int(np.searchsorted(ages, took))
    return Interval(float(ages[index - 1]) if index else 0.0, float(ages[min(index, len(ages) - 1)]))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def delay_at_equal_calls(orders: int = 4000, shapes: Sequence[Shape] = SHAPES) -> list[Row]:
    """Mean delay against doubling from a wait that fits the size, with jitter, at as many calls an order."""
    ratios = []
    for shape in shapes:
        judge, forecast = Judge(shape, MEDIAN), known(shape, MEDIAN)
        rng = np.random.default_rng(1)
        calls, delay = _doubling(shape.times(MEDIAN, orders, rng), 0.1 * MEDIAN, rng)
        low, high = 1e-4 * MEDIAN, 100 * MEDIAN
        for _ in range(20):  # the price at which the rule makes as many calls
            price = math.sqrt(low * high)
            made, _ = judge.mean(looks(forecast, price, judge.last, MEDIAN * 1e-4))
            low, high = (price, high) if made > calls else (low, price)
        made, held = judge.mean(looks(forecast, high, judge.last, MEDIAN * 1e-4))  # on the side of fewer calls
        ratios.append(held / delay)
    return [Row("mean delay at equal calls against doubling (mean of nine)", _mean(ratios), 0.35, "equal calls")]


def _doubling(took: Array, first: float, rng: np.random.Generator) -> tuple[float, float]:
    """The mean (calls, delay) of waits that double, each shortened at random by up to a half."""
    calls, at, wait = np.zeros(len(took)), np.zeros(len(took)), first
    waiting = np.ones(len(took), dtype=np.bool_)
    while waiting.any():
        at[waiting] += wait * rng.uniform(0.5, 1.0, int(waiting.sum()))
        calls[waiting] += 1
        waiting &= at < took
        wait *= 2
    return float(calls.mean()), float((at - took).mean())


# Many orders and few calls: the product's choice of calls, replayed

MEDIANS = (5.0, 60.0, 600.0, 7200.0)
SHARES = (0.4, 0.3, 0.2, 0.1)  # small orders are the most
ORDER_EVERY = 5.0
CALLS_AN_ORDER = 2.0
CAPPED_AT = 60.0


def mixed(orders: int, seed: int = 5) -> tuple[History, list[Forecast]]:
    """Orders of four classes that come at random, and forecasts that know their shapes."""
    rng = np.random.default_rng(seed)
    arrived = np.cumsum(rng.exponential(ORDER_EVERY, orders))
    chosen = rng.choice(len(MEDIANS), orders, p=SHARES)
    took = np.array(MEDIANS)[chosen] * np.exp(rng.standard_normal(orders))
    shape = lognormal(1.0)
    forecasts = [replace(known(shape, median), name=f"Links/{index + 1}") for index, median in enumerate(MEDIANS)]
    names = [forecasts[index].name for index in chosen]
    return History(arrived, arrived + took, names, np.full(orders, math.inf)), forecasts


def delay_at_capacity(orders: int = 3000) -> list[Row]:
    """A budget of two calls an order: the greatest accrued wait first, against doubling up to a minute."""
    history, forecasts = mixed(orders)
    rate = CALLS_AN_ORDER / ORDER_EVERY
    plan = PollingPlan("accrual", rate=rate, price=1.0, page=1, ceiling=UNBOUNDED, relative=False)
    ours = replay(history, plan, forecasts, learns=False)
    theirs = replay(history, PollingPlan("doubling", rate=rate, ceiling=CAPPED_AT, page=1), learns=False)
    slowest = np.array([name == forecasts[-1].name for name in ours.classes])
    return [
        Row("mean delay at two calls an order against capped doubling", ours.mean / theirs.mean, 0.25, "at capacity"),
        Row(
            "longest wait against the mean of the slowest class",
            float(ours.delays.max() / ours.delays[slowest].mean()),
            5.0,
            "longest",
        ),
    ]


LIST_PRICE = 30.0


def list_pages(orders: int = 1200) -> list[Row]:
    """Calls and delay with list pages, against a call for each order at the same price."""
    rows = []
    for pending in (10, 100):
        rng = np.random.default_rng(3)
        took = lognormal(1.0).times(MEDIAN, orders, rng)
        arrived = np.cumsum(rng.exponential(float(took.mean()) / pending, orders))
        history = History(arrived, arrived + took, ["Links/1"] * orders, np.full(orders, math.inf))
        forecast = replace(known(lognormal(1.0), MEDIAN), name="Links/1")
        plan = PollingPlan("accrual", rate=100.0, price=LIST_PRICE, ceiling=UNBOUNDED, relative=False)
        pages = replay(history, plan, [forecast], learns=False)
        singles = replay(history, replace(plan, page=1), [forecast], learns=False)
        rows += [
            Row(f"calls with list pages, {pending} open orders", pages.calls / singles.calls, 0.35, f"calls {pending}"),
            Row(f"delay with list pages, {pending} open orders", pages.mean / singles.mean, 1.0, f"delay {pending}"),
        ]
    return rows


# Webhooks that fall silent

HEARD, GRACE, LOOK_AGAIN, LISTENED = 0.99, 15.0, 30.0, 10.0
A_YEAR = 60 * 24 * 365


def silent_webhooks(outages: int = 100, quiet_minutes: int = A_YEAR) -> list[Row]:
    """99 of 100 completions announce themselves, one order a minute; then none does. Also a year without an outage."""
    found = [_listen(400, seed, silent_from=12_000.0)[0] for seed in range(outages)]
    parts = 5
    false = sum(_listen(quiet_minutes // parts, seed)[1] for seed in range(parts))
    return [
        Row("seconds until a silent outage raises the alarm (mean)", _mean(found), 300.0, "silence s"),
        Row("false alarms in a year", float(false), 1.0, "false alarms"),
    ]


def _listen(minutes: int, seed: int, silent_from: float = math.inf) -> tuple[float, int]:
    """(seconds from the outage to the alarm, alarms in all). Orders take five minutes, exponentially; five are open."""
    rng = np.random.default_rng(seed)
    done = np.sort(np.cumsum(rng.exponential(60.0, minutes)) + rng.exponential(300.0, minutes))
    heard = (rng.random(minutes) < HEARD) & (done < silent_from)
    open_then, open_now = np.ones(5), np.full(5, math.exp(-LISTENED / 300.0))
    step = expected_webhooks(HEARD, open_then, open_now)
    waited, missed, alarms, index, looked = 0.0, 0, 0, 0, 0.0
    unheard: list[float] = []
    for now in np.arange(LISTENED, minutes * 60.0, LISTENED):
        waited += step
        while index < minutes and done[index] <= now:
            if heard[index]:
                waited, missed, unheard = 0.0, 0, []
            else:
                unheard.append(float(done[index]))
            index += 1
        if Evidence(HEARD, waited, missed).suspicious and now - looked >= LOOK_AGAIN:
            looked = float(now)
            missed += sum(moment < now - GRACE for moment in unheard)
            unheard = [moment for moment in unheard if moment >= now - GRACE]
        if Evidence(HEARD, waited, missed).alarming:
            alarms += 1
            if now > silent_from:
                return float(now - silent_from), alarms
            waited, missed = 0.0, 0
    return math.inf, alarms


# What planning itself costs

SIZES = 12
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def planning(orders: int = 100_000) -> list[Row]:
    """One real pass over a store of open orders: read, judged, calls chosen. Seconds of the processor, memory."""
    with tempfile.TemporaryDirectory() as folder:
        store = database.connect(f"sqlite:///{Path(folder) / 'planning.db'}")
        try:
            store.write(partial(_fill, orders=orders))
            forecasts = Forecasts()
            _pass(store, forecasts)  # the first one also makes the first guesses and fills caches
            began = process_time()
            found, calls = _pass(store, forecasts)
            took = process_time() - began
            tracemalloc.start()
            _pass(store, forecasts)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        finally:
            store.close()
    assert found == orders
    assert calls > 0
    return [
        Row(f"one pass over {orders:,} open orders, seconds of the processor", took, 1.0, "pass s"),
        Row(f"one pass over {orders:,} open orders, MB at its peak", peak / 1e6, 200.0, "pass MB"),
    ]


def _pass(store: Database, forecasts: Forecasts) -> tuple[int, int]:
    with store.read() as connection:
        seen = find_due_orders(connection, forecasts, NOW, 1.0, forecasts.price)
        calls = select_calls(seen.candidates, forecasts.price, 5, partial(creation_times, connection))
    return len(seen.ids), len(calls)


def _fill(connection: sa.Connection, orders: int) -> None:
    rng = np.random.default_rng(1)
    ages = rng.exponential(3600, orders)
    looked = ages * rng.uniform(0, 1, orders)
    planned = rng.uniform(-5, 900, orders)
    kinds, sizes = rng.integers(0, 3, orders), 2 ** rng.integers(0, SIZES, orders)
    for start in range(0, orders, 5000):
        rows = []
        for number in range(start, min(start + 5000, orders)):
            created = NOW - timedelta(seconds=float(ages[number]))
            rows.append(
                {
                    "po_number": f"PLAN-{number}", "type": ("Links", "Codes", "PhysicalShipment")[kinds[number]],
                    "source": "bench", "created_at": created, "state": "Pending", "submission": "accepted",
                    "notice": "none", "provider_id": f"BLK-{number}", "provider_status": "Pending",
                    "units": int(sizes[number]), "line_count": 1, "provider_created_at": created,
                    "accepted_at": created, "last_look_at": created + timedelta(seconds=float(looked[number])),
                    "next_look_at": NOW + timedelta(seconds=float(planned[number])),
                    "late_at": created + timedelta(days=1), "units_fulfilled": 0, "value_minor": 1000, "event_count": 1,
                    "looks": 1, "failures": 0,
                }
            )  # fmt: skip
        connection.execute(sa.insert(ORDERS), rows)


# The running console against the replay of what it lived through

CLOSE = 0.15
REPLAYS = 10  # each says a little else; what they say on average is held against the console


def running_console(orders: int = 500, seed: int = 1, speed: float = running.SPEED) -> list[Row]:
    """Calls and delays of a worker against a sandbox over HTTP, divided by what the replay says of the same history."""
    with tempfile.TemporaryDirectory(prefix="tracking-running-") as folder:
        measured = running.measure(Path(folder), orders, seed, speed)
    said = [replay(measured.history, measured.plan, seed=each) for each in range(REPLAYS)]
    ratios = {
        "calls": measured.calls / _mean([each.calls for each in said]),
        "mean delay": float(measured.delays.mean()) / _mean([each.mean for each in said]),
        "delay of 19 in 20": float(np.quantile(measured.delays, 0.95)) / _mean([each.quantile(0.95) for each in said]),
    }
    return [
        Row(f"{what}, {orders} orders over HTTP, against the replay", ratio, 1 + CLOSE, f"running {what}", 1 - CLOSE)
        for what, ratio in ratios.items()
    ]


MEASURES: tuple[Callable[[], list[Row]], ...] = (
    cost_when_known,
    cost_when_learned,
    delay_at_equal_calls,
    delay_at_capacity,
    list_pages,
    silent_webhooks,
    planning,
    running_console,
)
