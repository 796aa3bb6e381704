"""Overview: a board that says without a click whether anything is wrong, and where to begin if it is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

import as_of
import board_balance
import board_charts
import board_work
import cached
import elements
import navigation
import refreshed
import show_me
from charts import overview as charts
from orders_filters import VIEW_MEANINGS
from tracking.errors import TooSlow
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import overview
from tracking.reports.board.figures import Figure, Trend

ON_A_WALL = "board" in st.query_params
# Written so that on a phone they are one line whatever the time: a second one would move the page.
SIGNS = {"Last poll": "polled {} ago", "Last webhook": "webhook {} ago", "Token": "token {} left"}  # nosec B105 - words
# The figure's name in `Trend`, the orders it counts, its title, icon and colour.
COUNTS = (
    ("needs_decision", "attention", "Needs a decision", "front_hand", "inverse"),
    ("late", "late", "Late", "schedule", "inverse"),
    ("unconfirmed", "unknown", "Unconfirmed send", "help", "inverse"),
    ("open", "open", "Open", "pending_actions", "off"),
    ("completed", "done_today", "Completed today", "check_circle", "normal"),
)
# Pixels; fixed, as the parts of a card come one after the other.
COUNT_HEIGHT, WALL_COUNT_HEIGHT, WALL_HEIGHT = 170, 188, 130
VERDICT_WIDTH = 860  # pixels: beside it there is room for the buttons on a desk; on a phone they stand below


def _verdict(current: overview.Overview) -> None:
    """The state of things in a sentence, and the signs of life."""
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", gap="xxsmall", key="verdict"
    ):
        st.header(f"{_sign(current)} {current.verdict}", anchor=False, width="content")
        signs = (_signed(sign.name, sign.at) for sign in current.components if sign.name in SIGNS)
        with st.container(horizontal=True, vertical_alignment="center", gap="small", width="content"):
            board_balance.line()
            st.caption(" · ".join(signs), width="content")


def _follow_demonstration() -> None:
    """Draw the page anew once the week before the demonstration is written: the charts show but the half of it."""
    before, writing = st.session_state.get("week_in_progress"), cached.demonstration_in_progress()
    st.session_state["week_in_progress"] = writing
    if before and not writing:
        cached.forget_charts()
        st.rerun()


def _signed(name: str, at: datetime | None) -> str:
    """How long ago it was, or how long the token is still valid, which the next call renews. In one unit."""
    words, now = SIGNS[name], utc_now()
    if at is None:
        return f"{words.split()[0]} never"
    return "token expired" if name == "Token" and at <= now else words.format(board_work.brief(abs(now - at)))


@elements.live("3s", "figures")
def figures(headline: DeltaGenerator) -> None:
    """The sentence, in its place beside the buttons, and below it the five counts with their course over a day.

    They are drawn together: each by itself would for seconds say another number than the other.
    """
    _follow_demonstration()
    current, trend = cached.board()
    with headline, refreshed.or_later():
        _verdict(current)
    with st.grid(len(COUNTS), min_column_width=150, gap="xsmall", key="counts_grid"):
        for count in COUNTS:
            _count(current, trend, *count)


def _sign(current: overview.Overview) -> str:
    """How grave it is, by colour and by shape."""
    if current.empty:
        return ":gray[:material/inbox:]"
    if current.attention or current.unknown:
        return ":red[:material/error:]"
    return ":orange[:material/warning:]" if current.late else ":green[:material/check_circle:]"


def _count(current: overview.Overview, trend: Trend, name: str, listed: str, title: str, icon: str, color: Any) -> None:
    figure: Figure = getattr(trend, name)
    query = dict(overview.COUNTED_LISTS[listed])
    meaning = VIEW_MEANINGS[query["view"]]
    if name == "completed" and current.discovered_today:
        others = wording.count(current.discovered_today, "order")
        meaning = f"{meaning} Plus {others} already complete when first seen."
    if name in {"needs_decision", "late"}:
        asleep = f"{wording.count(figure.snoozed, 'order')} snoozed. " if figure.snoozed else ""
        meaning = f"{meaning} {asleep}The bars count snoozed orders, too."
    with st.container(
        border=True, key=f"count_{name}", gap="xxsmall", height=WALL_COUNT_HEIGHT if ON_A_WALL else COUNT_HEIGHT
    ):
        navigation.link("orders.py", title, icon=f":material/{icon}:", query=query, help_text=meaning)
        if ON_A_WALL:
            figure_on_wall = charts.wall_figure(
                figure.now, figure.hourly, WALL_HEIGHT, elements.palette(), alarming=color == "inverse"
            )
            elements.chart(figure_on_wall, f"wall_{name}", f"{title}: {figure.now:,}")
            return
        change = _change(name, figure)
        st.metric(title, f"{figure.now:,}", label_visibility="collapsed", chart_type="bar", delta_color=color,
                  chart_data=[each or 0 for each in figure.hourly], **change)  # fmt: skip


def _change(name: str, figure: Figure) -> Mapping[str, Any]:
    """The difference to an hour ago; of what was completed today, to yesterday by the same hour."""
    if figure.change is None:
        return {"delta": None, "delta_description": "not recorded an hour ago" if name == "late" else "since midnight"}
    # Streamlit writes a number without separators, and reads the sign of a text.
    delta = f"{figure.change:,}" if abs(figure.change) >= 1000 else figure.change
    since = "vs. yesterday" if name == "completed" else "in 1 h, with snoozed" if figure.snoozed else "in 1 h"
    return {"delta": delta, "delta_description": since}


@elements.live("3s", "first_steps")
def first_steps(headline: DeltaGenerator) -> None:
    """How to begin, in place of charts without content; until there is an order, wherever it was placed."""
    current = cached.overview()
    if not current.empty:
        st.rerun()
    with headline, refreshed.or_later():
        _verdict(current)
    with st.container(border=True, key="first_steps"):
        st.subheader("Start here", anchor=False)
        st.markdown(
            "Pick a product, send it, and watch its timeline move by itself. Orders of other systems show up too."
        )
        if st.button("Place the first order", type="primary", icon=":material/add_shopping_cart:"):
            st.switch_page("new_order.py")


def board() -> None:
    """Work on the left, pictures on the right; on a phone the work comes first."""
    work, pictures = st.columns([1, 2], gap="xsmall")
    with work:
        board_work.work(frozen=not ON_A_WALL)
    with pictures:
        board_charts.pictures()


with elements.error_box():
    if (moment := as_of.asked()) is not None:
        as_of.draw_overview(moment)
        st.stop()
    try:
        empty = cached.overview().empty
    except TooSlow:  # each part says so in its place, and tries again
        empty = False
with st.container(horizontal=True, vertical_alignment="center", key="headline"):
    place = st.container(width="stretch" if ON_A_WALL else VERDICT_WIDTH)
    if not ON_A_WALL:
        st.space("stretch")
        if not empty and st.button(as_of.LABEL, key="as_of", icon=as_of.ICON, type="tertiary"):
            as_of.choose("overview.py", {})
        show_me.choices()
if empty:
    first_steps(place)
else:
    figures(place)
    board()
