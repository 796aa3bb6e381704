"""The overview's charts and their texts, drawn again only when their data is newer."""

import functools
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

import elements
import figure_cache
from cached import Reading
from charts import overview as charts
from tracking.orders import wording
from tracking.orders.vocabulary import state_label
from tracking.reports import explanations
from tracking.reports.board.completion_times import CompletionTimes
from tracking.reports.board.expectation import OpenOrders
from tracking.reports.board.lifecycle import Lifecycle

CURRENCIES_DRAWN = 2
READABLE_SHARE = 0.15  # of a bar: a smaller part of it has no room for its name
REMEMBERED = 32  # data of some spans, in two themes and a few time zones


def flow(reading: Reading[tuple[pd.DataFrame, pd.DataFrame]], height: int) -> go.Figure:
    """Backlog and throughput, `height` pixels high as all of them."""
    return figure_cache.figure(reading, "flow", lambda: charts.flow(*reading.value, height, elements.palette()))


@dataclass(frozen=True, slots=True)
class LifecycleChart:
    """The orders by state: bars (bar, state, amount, text), also as `content`, the states in words, and small ones."""

    bars: pd.DataFrame
    content: tuple[tuple[Any, ...], ...]
    states: str
    small_states: str

    def figure(self, height: int) -> go.Figure:
        """The bars as a chart."""
        draw = partial(charts.lifecycle, self.bars, height, elements.palette())
        return figure_cache.figure(self.content, "lifecycle", draw)


@functools.lru_cache(maxsize=REMEMBERED)
def lifecycle_numbers(reading: Reading[Lifecycle]) -> LifecycleChart:
    """The lifecycle by the number of orders."""
    return _lifecycle_chart(reading.value, _numbers(reading.value))


def lifecycle_values(current: Lifecycle) -> LifecycleChart:
    """The lifecycle by what open orders are worth."""
    return _lifecycle_chart(current, _values(current))


def expectation(reading: Reading[OpenOrders], height: int) -> go.Figure:
    """Open orders against expectation."""
    return figure_cache.figure(
        reading, "expectation", lambda: charts.expectation(dots(reading), height, elements.palette())
    )


def completion_times(reading: Reading[CompletionTimes], order_type: str, height: int) -> go.Figure:
    """How long orders of the type took."""
    rows = reading.value.by_type[order_type].rows
    name = f"times {order_type}"
    return figure_cache.figure(reading, name, lambda: charts.completion_times(rows, height, elements.palette()))


@functools.lru_cache(maxsize=REMEMBERED)
def dots(reading: Reading[OpenOrders]) -> pd.DataFrame:
    """The open orders as `expectation` draws them, a row each: their ages in seconds, what they are compared with."""
    current = reading.value
    frame = pd.DataFrame([asdict(order) for order in current.orders])
    frame["age"] = [order.age.total_seconds() for order in current.orders]
    frame["slower_than"] = frame["slower_than"].astype(float)
    frame["like"] = frame.pop("class_name").map(explanations.class_text)
    return frame


def _lifecycle_chart(current: Lifecycle, bars: pd.DataFrame) -> LifecycleChart:
    content = tuple(bars.itertuples(index=False, name=None))
    return LifecycleChart(bars, content, _states_text(current), _small_states(bars))


def _states_text(current: Lifecycle) -> str:
    rows = current.states[current.states["orders"] > 0]
    parts = [f"{row.orders:,} {state_label(str(row.state))}{'' if row.open else ' today'}" for row in rows.itertuples()]
    return ", ".join(parts) or "none"


def _small_states(bars: pd.DataFrame) -> str:
    """What is too small in a bar to be read there."""
    share = bars["amount"] / bars.groupby("bar")["amount"].transform("sum")
    small = bars[share < READABLE_SHARE]
    pairs = zip(small["text"], small["state"], strict=True)
    return ", ".join(f"{text} {elements.escape(state_label(state))}" for text, state in pairs)


def _numbers(current: Lifecycle) -> pd.DataFrame:
    rows = current.states[current.states["orders"] > 0]
    sums = rows.groupby("open")["orders"].sum()
    names = {True: f"Open {sums.get(True, 0):,}", False: f"Ended today {sums.get(False, 0):,}"}
    return pd.DataFrame(
        {
            "bar": rows["open"].map(names),
            "state": rows["state"],
            "amount": rows["orders"],
            "text": rows["orders"].map("{:,}".format),
        }
    )


def _values(current: Lifecycle) -> pd.DataFrame:
    """Open value by state, a bar for each of the currencies of the most orders: amounts of two have no sum."""
    values = current.values[current.values["value_minor"] > 0]
    sums = values.groupby("currency")[["orders", "value_minor"]].sum().sort_values("orders", ascending=False)
    drawn = values[values["currency"].isin(sums.index[:CURRENCIES_DRAWN])]
    names = {name: wording.money(int(minor), str(name)) for name, minor in sums["value_minor"].items()}
    return pd.DataFrame(
        {
            "bar": drawn["currency"].map(names),
            "state": drawn["state"],
            "amount": drawn["value_minor"],
            "text": charts.amounts_in_words(drawn),
        }
    )
