"""The pictures on the overview: backlog and throughput, lifecycle, expectation and time to completion.

Each answers a click with the orders it stands for; "Data" holds its table and the same ways for the keyboard.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

import board_figures
import cached
import elements
import navigation
import times
from charts import overview as charts
from tracking.orders import wording
from tracking.orders.model import State, is_open
from tracking.orders.vocabulary import state_label
from tracking.reports import trends
from tracking.reports.board.completion_times import CompletionTimes, TimesOfType
from tracking.reports.board.expectation import OpenOrders
from tracking.reports.board.lifecycle import Lifecycle

# Heights in pixels: of the charts, of what a card needs besides, and so of the cards that others stand beside.
FLOW_CHART, LIFECYCLE_CHART, LOWER_CHART = 152, 46, 125
HEAD, FOOT = 66, 23
FLOW_HEIGHT = FLOW_CHART + HEAD
LIFECYCLE_HEIGHT, LOWER_HEIGHT = LIFECYCLE_CHART + HEAD + FOOT, LOWER_CHART + HEAD + FOOT
TYPE_LABELS = {"DigitalDelivery": "Digital", "Links": "Links", "PhysicalShipment": "Physical", "Codes": "Codes"}
FLOW_COLUMNS: dict[str, Any] = {
    "placed": "Placed",
    "completed": "Completed",
    "discovered": "Complete when first seen",
    "open": "Open at its end",
}
EMPTY_LINE = "&nbsp;"
GAP = 7  # pixels between two cards
Query = Mapping[str, Any]


@elements.live("30s", "pictures")
def pictures() -> None:
    """All charts, which are drawn again together."""
    with st.container(gap="xsmall"):
        with _card("flow_card") as row:
            span = backlog(row)
        lifecycle()
        left, right = st.columns(2, gap="xsmall")
        with left, _card("expectation_card") as row:
            expectation(row)
        with right, _card("times_card") as row:
            completion_times(row, span)


@contextmanager
def _card(key: str) -> Iterator[Any]:
    """A card for a chart; yields the row of its title, which on a phone may take more than one line."""
    with st.container(border=True, key=key, gap="xxsmall"):
        yield st.container(horizontal=True, vertical_alignment="center", gap="small")


def _without_chart(text: str, height: int) -> None:
    """What is said in place of a chart of this height, and of the line below it."""
    with st.container(height=height, border=False):
        st.caption(text)
    st.caption(EMPTY_LINE)


def _chart(figure: go.Figure, key: str, alt: str) -> Any:
    """Draw a chart; returns what the point stands for that was clicked, None without a click."""
    st.plotly_chart(
        figure, key=key, alt=alt, height=figure.layout.height, config={"displayModeBar": False},
        on_select=partial(_remember_click, key), selection_mode="points",
    )  # fmt: skip
    return st.session_state.pop(f"{key}_click", None)


def _remember_click(key: str) -> None:
    """Keep what was clicked: in the run that follows the chart has no selection any more if its data have changed."""
    points = st.session_state.get(key, {}).get("selection", {}).get("points")  # none where the chart has gone since
    if points:
        st.session_state[f"{key}_click"] = points[0].get("customdata")


def _data(key: str, title: str) -> Any:
    """The button that opens a chart's table; its content is made only while it is open."""
    meaning = f"{title} as a table, with the way to its orders"
    return st.popover("Data", key=key, type="tertiary", help=meaning, on_change="rerun", width="content")


def _open_by_keyboard(label: str, choices: Mapping[str, Query], key: str, page: str = "orders.py") -> None:
    """What a click on the chart does, for the keyboard: choose, then follow the link."""
    if not choices:
        return
    choice = st.selectbox(label, list(choices), key=key)
    navigation.link(page, "Open", icon=":material/arrow_forward:", query=choices[choice])


def _step(span: str) -> timedelta:
    return timedelta(days=1) if trends.step_name(span) == "day" else timedelta(hours=1)


def _placed_in(begin: datetime, span: str) -> Query:
    """Those of its bar: what was over when it was first seen is not drawn there."""
    within = {"from": begin.isoformat(), "to": (begin + _step(span)).isoformat()}
    return within | {"watched": "true", "sort": "placed"}


# Backlog and throughput


def backlog(row: Any) -> str:
    """How many orders are open, were placed and were completed over the span; returns the span."""
    with row:
        st.subheader("Backlog and throughput", anchor=False, width="content")
        span = st.segmented_control(
            "Span", list(trends.SPANS), key="span", default="24h", required=True, bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
        data = _data("flow_data", "Backlog and throughput")
    reading = cached.flow(span)
    frame, course = reading.value
    step = trends.step_name(span)
    placed, completed, opened = int(frame["placed"].sum()), int(frame["completed"].sum()), int(frame["open"].iloc[-1])
    alt = f"In {span}: {placed:,} orders placed, {completed:,} completed; {opened:,} are open now. By the {step}."
    clicked = _chart(board_figures.flow(reading, FLOW_CHART), "flow", alt)
    if clicked:
        st.switch_page("orders.py", query_params=_placed_in(datetime.fromisoformat(clicked), span))
    if data.open:
        with data:
            _flow_tables(frame, course, span)
    return span


def _flow_tables(frame: pd.DataFrame, course: pd.DataFrame, span: str) -> None:
    step = trends.step_name(span)
    hours = [hour.to_pydatetime() for hour in frame["hour"].iloc[::-1]]
    choices = {wording.clock(hour)[:-3]: _placed_in(hour, span) for hour in hours}
    _open_by_keyboard(f"Orders placed in the {step} from", choices, "flow_choice")
    st.caption("Orders of other systems count as placed when first seen, and not if they were over by then.")
    config = FLOW_COLUMNS | {"hour": times.column(step.capitalize())}
    st.dataframe(frame.iloc[::-1], hide_index=True, column_config=config, height=260, alt=f"Orders by {step}")
    named = course.assign(state=course["state"].map(state_label))
    wide = named.pivot_table(index="hour", columns="state", values="orders", aggfunc="sum", sort=False)
    # The hours stay in the index: a provider's word for a state may be any, also "hour".
    st.dataframe(
        wide.sort_index(ascending=False), column_config={"_index": times.column(step.capitalize())}, height=260,
        alt=f"Open orders by {step} and state",
    )  # fmt: skip


# Lifecycle


@elements.live("3s", "lifecycle")
def lifecycle() -> None:
    """In which state the orders are now, by number or value; as often as the counts above, which it repeats."""
    with _card("lifecycle_card") as row:
        _lifecycle(row)


def _lifecycle(row: Any) -> None:
    with row:
        st.subheader("Lifecycle now", anchor=False, width="content")
        view = st.segmented_control(
            "Lifecycle by", ["Orders", "Value"], key="lifecycle_view", default="Orders", required=True,
            label_visibility="collapsed",
        )  # fmt: skip
        data = _data("lifecycle_data", "The lifecycle")
    reading = cached.lifecycle_now()
    current, drawn = reading.value, board_figures.lifecycle_numbers(reading)
    if view == "Value" or data.open:
        current = replace(current, values=cached.open_values())
    if view == "Value":
        drawn = board_figures.lifecycle_values(current)
    clicked = _chart(drawn.figure(LIFECYCLE_CHART), f"lifecycle_{view}", f"Orders by state: {drawn.states}.")
    if clicked:
        st.switch_page("orders.py", query_params=_in_state(clicked, current.since))
    st.caption(drawn.small_states or EMPTY_LINE)
    if data.open:
        with data:
            _lifecycle_table(current)


def _in_state(state: str, since: datetime) -> Query:
    """Those of its bar: of an open state all that are in it, of another those that came to it since midnight."""
    if state == State.COMPLETED:
        return {"view": "today"}
    return {"state": state} | ({} if is_open(state) else {"ended_from": since.isoformat(), "watched": "true"})


def _lifecycle_table(current: Lifecycle) -> None:
    states = current.states
    ways = ((str(row.state), "" if row.open else " today") for row in states[states["orders"] > 0].itertuples())
    choices = {f"{state_label(state)}{today}": _in_state(state, current.since) for state, today in ways}
    _open_by_keyboard("Orders that are", choices, "lifecycle_choice")
    table = states.assign(
        state=states["state"].map(state_label), open=states["open"].map({True: "now", False: "today"})
    )
    names = {"state": "State", "open": "When", "orders": "Orders", "units": "Cards"}
    st.dataframe(table, hide_index=True, column_config=names, height="content", alt="Orders and cards by state")
    values = current.values.assign(
        state=current.values["state"].map(state_label), value=charts.amounts_in_words(current.values)
    )
    st.dataframe(
        values[["state", "orders", "value"]], hide_index=True, height="content", alt="Open value by state and currency",
        column_config={"state": "State", "orders": "Orders", "value": "Open value"},
    )  # fmt: skip


# Expectation


def expectation(row: Any) -> None:
    """Each open order by its age, and by how many finished orders like it took less."""
    with row:
        st.subheader("Open orders against expectation", anchor=False, width="content")
        data = _data("expectation_data", "Open orders")
    reading = cached.open_orders()
    current = reading.value
    if not current.orders:
        _without_chart("No order is open at the provider.", LOWER_CHART)
        return
    frame = board_figures.dots(reading)
    text = _expectation_text(current, frame)
    clicked = _chart(
        board_figures.expectation(reading, LOWER_CHART), "expectation", re.sub(r":\w+\[(.)\]", r"\1", text)
    )
    st.caption(text)
    if clicked:
        st.switch_page("order.py", query_params={"order": clicked})
    if data.open:
        with data:
            choices = {name: {"order": name} for name in frame["po_number"]}
            _open_by_keyboard("Order", choices, "expectation_choice", "order.py")
            _expectation_table(frame)


def _expectation_text(current: OpenOrders, frame: pd.DataFrame) -> str:
    late, unknown = int(frame["late"].sum()), int(frame["slower_than"].isna().sum())
    of_all = "" if current.complete else f" of {current.open:,}: the most overdue and the newest"
    asleep = int((frame["late"] & frame["asleep"]).sum())  # the counts of what is late leave them out
    of_these = f", {asleep:,} of them snoozed" if asleep else ""
    parts = [f"{wording.count(len(frame), 'open order')}{of_all}", f":red[◆] {late:,} late{of_these}"]
    if current.waiting:
        parts.append(f"{current.waiting:,} not accepted yet")
    if unknown:
        parts.append(f":gray[○] {unknown:,} without enough history")
    return " · ".join(parts)


def _expectation_table(frame: pd.DataFrame) -> None:
    oldest = frame.sort_values("age", ascending=False)
    table = pd.DataFrame(
        {
            "Order": oldest["po_number"],
            "State": oldest["state"].map(state_label),
            "Age": [wording.duration(timedelta(seconds=age)) for age in oldest["age"]],
            "Slower than, of 100": (oldest["slower_than"] * 100 // 1).clip(upper=99),
            "Compared with": oldest["like"],
            "Late": oldest["late"],
        }
    )
    st.dataframe(table, hide_index=True, height=300, placeholder="no history", alt="Open orders against expectation")


# Time to completion


def completion_times(row: Any, span: str) -> None:
    """How long orders of one type took, from the middle one to the slowest of twenty."""
    row.subheader("Time to completion", anchor=False, width="content")
    reading = cached.completion_times(span)
    current = reading.value
    if not current.by_type:
        _without_chart("No completions observed in this period.", LOWER_CHART)
        return
    with row:
        name = _chosen_type(sorted(current.by_type, key=_place_of_type))
        data = _data("times_data", "Time to completion")
    took = current.by_type[name]
    text = _times_text(current, took, "hour" if span == "24h" else "day")
    figure = board_figures.completion_times(reading, name, LOWER_CHART)
    clicked = _chart(figure, f"times_{name}", f"Time to completion, {TYPE_LABELS.get(name, name)}: {text}")
    st.caption(text)
    if clicked:
        st.switch_page("orders.py", query_params=_completed_in(datetime.fromisoformat(clicked), name, span))
    if data.open:
        with data:
            _times_table(took, name, span)


def _completed_in(begin: datetime, order_type: str, span: str) -> Query:
    length = timedelta(hours=1) if span == "24h" else timedelta(days=1)
    within = {"done_from": begin.isoformat(), "done_to": (begin + length).isoformat()}
    return {"type": order_type, "sort": "completed", "watched": "true", **within}


def _place_of_type(name: str) -> tuple[int, str]:
    """Known types in one order always, so that none changes its place under the pointer."""
    names = list(TYPE_LABELS)
    return names.index(name) if name in names else len(names), name


def _chosen_type(names: list[str]) -> str:
    """The delivery type to show: the first that occurs until another is chosen."""
    chosen = st.selectbox(
        "Delivery type", names, key="times_type", label_visibility="collapsed", width=130,
        format_func=lambda name: wording.plain(TYPE_LABELS.get(name, name)),
    )  # fmt: skip
    return chosen if chosen in names else names[0]


def _times_text(current: CompletionTimes, took: TimesOfType, step: str) -> str:
    newest = f" (of each {step} at most the newest {current.newest:,} are read)" if current.newest else ""
    return f"p50 {wording.longest(took.p50)}, p95 {wording.longest(took.p95)}, n = {took.orders:,}{newest}"


def _times_table(took: TimesOfType, name: str, span: str) -> None:
    step = "hour" if span == "24h" else "day"
    begins = [begin.to_pydatetime() for begin in took.rows["hour"].iloc[::-1]]
    choices = {wording.clock(begin)[:-3]: _completed_in(begin, name, span) for begin in begins}
    _open_by_keyboard(f"Orders completed in the {step} from", choices, "times_choice")
    st.caption("Orders already complete when first seen are excluded.")
    newest_first = trends.rounded_outwards(took.rows.iloc[::-1], most=("p50", "p95"))
    config = {
        "hour": times.column(step.capitalize()),
        "p50": st.column_config.NumberColumn("p50, s", format="%.1f"),
        "p95": st.column_config.NumberColumn("p95, s", format="%.1f"),
        "orders": "Orders",
    }
    alt = f"Seconds to completion by {step}"
    st.dataframe(newest_first, hide_index=True, column_config=config, height=260, alt=alt)
