"""As of a moment: the overview and an order as they were known then, beside what is known today; no act is there."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

import elements
import order_story
import session
import times
from tracking.errors import NotComputed
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.orders.vocabulary import state_label
from tracking.reports.as_of.order import Difference, order_as_of
from tracking.reports.as_of.overview import Figures, OverviewAsOf, overview_as_of
from tracking.reports.order_list.query_params import Reader

PARAMETER = "as_of"
LABEL = "As of ..."
ICON = ":material/history:"
UNKNOWN = "unknown"
FIGURES = ("Needs a decision", "Late", "Unconfirmed send", "Open", "Completed that day")


def asked() -> datetime | None:
    """The moment that the address names, UTC where it names no zone; None where it names none that is over."""
    if PARAMETER not in st.query_params:
        return None
    reader = Reader({PARAMETER: st.query_params[PARAMETER]})
    moment = reader.time(PARAMETER)
    if moment is None or moment > utc_now():
        why = "names no time; write 2026-01-31T14:00" if moment is None else "is yet to come"
        st.warning(f"What the address gives as of which to show {why}. This is now.", icon=":material/history_off:")
        return None
    return moment


@elements.dialog("As of a date and time", icon=ICON)
def choose(page: str, query: Mapping[str, str]) -> None:
    """Asks for the moment, in the reader's zone, and goes there; the browser's Back leads to now."""
    now = utc_now().astimezone(times.zone()).replace(tzinfo=None)
    st.caption("What was known then, from the log, with what is known today beside it. Nothing can be done there.")
    with st.form("as_of_form", border=False):
        picked = st.datetime_input(
            f"Date and time ({times.zone_label()})",
            value=now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1),
            max_value=now,
            step=60,
            format="YYYY-MM-DD",
            key="as_of_moment",
        )
        if st.form_submit_button("Show", key="as_of_show", type="primary", icon=ICON) and picked is not None:
            # Of an hour that a clock shows twice it is the first.
            moment = picked.replace(tzinfo=times.zone()).astimezone(UTC)
            st.switch_page(page, query_params={**query, PARAMETER: f"{moment:%Y-%m-%dT%H:%M}"})


def _band(moment: datetime, page: str, query: Mapping[str, str], more: str = "") -> None:
    """Across the page: that this is the past, of when, and the way to now."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="as_of_band"):
        when = elements.escape(f"{wording.clock(moment)} ({times.zone_label()})")
        st.warning(f"**As known on {when}.** Nothing can be done here. {more}", icon=ICON, width="stretch")
        st.page_link(page, label="Now", icon=":material/update:", query_params=dict(query), width="content")


def draw_overview(moment: datetime) -> None:
    """The counts of then beside those of today, the open orders by state, and what was new then."""
    past = overview_as_of(session.database(), moment, utc_now())
    rounded = past.moment != past.asked
    more = "Too much happened within the hour to be added up: this is its beginning." if rounded else ""
    _band(past.moment, "overview.py", {}, more)
    if past.first_at is None or past.moment < past.first_at:
        since = f" before {elements.escape(wording.clock(past.first_at))}" if past.first_at else " yet"
        st.info(f"Nothing was recorded{since}.", icon=":material/inbox:")
        return
    _draw_figures(past)
    states, latest = st.columns([1, 1], gap="small")
    with states.container(border=True, key="as_of_states", height="stretch"):
        st.header("Open orders by state", anchor=False)
        _draw_states(past.then, past.today)
    with latest.container(border=True, key="as_of_latest", height="stretch", gap="xsmall"):
        st.header("Newest events then", anchor=False)
        _draw_latest(past)


def _draw_figures(past: OverviewAsOf) -> None:
    with st.grid(len(FIGURES), min_column_width=150, gap="xsmall", key="as_of_figures"):
        pairs = zip(FIGURES, _numbers(past.then), _numbers(past.today), strict=True)
        for title, then, today in pairs:
            with st.container(border=True, gap="xxsmall"):
                value = UNKNOWN if then is None else f"{then:,}"
                st.metric(title, value, help=_meaning(title, past), border=False)
                number = UNKNOWN if today is None else f"{today:,}"
                st.caption(f"known by now: {number}" if title == FIGURES[-1] else f"now {number}")


def _numbers(figures: Figures) -> Sequence[int | None]:
    return figures.needs_decision, figures.late, figures.unconfirmed, figures.open, figures.completed


def _meaning(title: str, past: OverviewAsOf) -> str | None:
    match title:
        case "Needs a decision":
            return "Snoozed orders are among them, then and now."
        case "Late":
            by = elements.escape(wording.clock(past.late_at))
            return f"Lateness is no part of the log. It was counted by {by}, or nobody recorded it."
        case "Completed that day":
            return "Of that day (UTC): those up to then and, by now, all of it. Not those complete when first seen."
    return None


def _draw_states(then: Figures, today: Figures) -> None:
    states = sorted({*then.by_state, *today.by_state})
    if not states:
        st.caption("No order was open then, and none is now.")
        return
    rows = [(elements.state_cell(state), then.by_state.get(state, 0), today.by_state.get(state, 0)) for state in states]
    frame = pd.DataFrame(rows, columns=["state", "then", "today"])
    frame["change"] = frame["today"] - frame["then"]
    st.dataframe(
        frame,
        key="as_of_state_table",
        hide_index=True,
        height="content",
        column_config={
            "state": elements.state_column(labels=[state_label(state) for state in states]),
            "then": st.column_config.NumberColumn("Then", format="localized"),
            "today": st.column_config.NumberColumn("Now", format="localized"),
            "change": st.column_config.NumberColumn("Change", format="%+d"),
        },
        placeholder="",
        alt=f"Open orders by state: {then.open:,} then, {today.open:,} now",
    )


def _draw_latest(past: OverviewAsOf) -> None:
    for event in past.latest:
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False):
            st.caption(elements.escape(wording.clock(event.entry.learned_at, past.moment)), width="content")
            elements.order_link(event.po_number, query={PARAMETER: st.query_params[PARAMETER]})
            with st.container():
                st.caption(elements.escape(event.entry.text))


def draw_order(order_id: int, moment: datetime) -> None:
    """The order as it was known then, and today beside it."""
    query = {"order": st.query_params.get("order", "")}
    try:
        past = order_as_of(session.database(), order_id, moment)
    except NotComputed as exc:
        st.warning(elements.escape(str(exc)), icon=ICON)
        st.page_link("order.py", label="Now", icon=":material/update:", query_params=query, width="content")
        return
    po_number = past.today.po_number
    _band(moment, "order.py", {"order": po_number})
    st.code(po_number, language=None, width="content")
    if past.then is None:
        first = elements.escape(wording.clock(past.first_at))
        st.info(f"Nothing was known of this order then. It was first heard of on {first}.", icon=":material/inbox:")
    then, today = st.columns(2, gap="small")
    with then.container(border=True, key="as_of_then", height="stretch", gap="xsmall"):
        st.header("Known then", anchor=False)
        if past.then is not None:
            _draw_side(past.then.state, past.verdicts[0] or "", past.events, past.lines)
    with today.container(border=True, key="as_of_today", height="stretch", gap="xsmall"):
        st.header("Known today", anchor=False)
        _draw_side(past.today.state, past.verdicts[1], past.events_today, past.lines_today)
    if past.then is not None:
        _draw_differences(past.differences, lines_moved=past.lines != past.lines_today)
        st.header("What had happened by then", anchor=False)
        if (more := len(past.rows) - order_story.ROWS) > 0:
            st.caption(f"And {more:,} earlier rows.")
        with st.container(key="story"):
            order_story.draw_rows(past.rows[-order_story.ROWS :], utc_now())


def _draw_side(state: str, verdict: str, events: int, lines: Mapping[str, int]) -> None:
    elements.badge(state)
    st.markdown(f"**{elements.escape(verdict)}**")
    statuses = (f"{wording.count(number, 'line')} {state_label(status)}" for status, number in sorted(lines.items()))
    st.caption(elements.escape(" · ".join([wording.count(events, "event"), *statuses])))


def _draw_differences(differences: Sequence[Difference], *, lines_moved: bool) -> None:
    st.header("What is known otherwise today", anchor=False)
    if not differences:
        lines = "Of the order itself nothing; its lines have moved on." if lines_moved else "Nothing."
        st.caption(lines)
        return
    rows: list[tuple[Any, ...]] = [(each.fact, each.then or "not set", each.today or "not set") for each in differences]
    st.dataframe(
        pd.DataFrame(rows, columns=["fact", "then", "today"]),
        key="as_of_differences",
        hide_index=True,
        height="content",
        column_config={"fact": "Fact", "then": "Then", "today": "Today"},
        placeholder="",
        alt=f"{wording.count(len(rows), 'fact')} of the order that differ between then and today",
    )
