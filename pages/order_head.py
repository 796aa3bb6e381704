"""The head of an order's page: place in the list, title, verdict with its evidence, webhook and poll."""

from typing import Any
from urllib.parse import parse_qs

import streamlit as st

import elements
import session
from tracking.errors import TooSlow
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.orders.wording import SOURCES, count
from tracking.reports.explanations import TYPES
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_page import verdicts
from tracking.reports.order_page.verdicts import OrderView, Status, Tone
from tracking.storage.reading.time_limits import REFRESHED_SECONDS, time_limit

_TONES: dict[Tone, tuple[str, str]] = {
    Tone.GOOD: (":material/check:", "green"),
    Tone.WAITING: (":material/schedule:", "blue"),
    Tone.BAD: (":material/error:", "red"),
    Tone.NONE: (":material/remove:", "gray"),
}
_POSITION_TTL = "30s"
LABEL = 115  # pixels


def draw_way(view: OrderView) -> None:
    """The way back to the list that the order was opened from, which its address names, and through it."""
    address = st.query_params.get("list")
    with st.container(horizontal=True, vertical_alignment="center", key="way"):
        if address:
            _draw_neighbours(view, address)
        else:
            st.page_link("orders.py", label="All orders", icon=":material/arrow_back:", query_params={"view": "all"})
        st.space("stretch")
        st.text(wording.plain(_facts(view)))


def _draw_neighbours(view: OrderView, address: str) -> None:
    filters, _ = Filters.from_query(parse_qs(address))
    st.session_state["last_opened"] = view.order.po_number  # the list marks it
    before, after, place, total = _place(filters, address, view.id)
    query = filters.to_query() or {"view": "all"}
    back = f"Back to {count(total, 'result')}" if total else "Back to the list"
    st.page_link("orders.py", label=back, icon=":material/arrow_back:", query_params=query)
    if place:
        st.text(f"{place:,} of {total:,}")
    for label, icon, po_number in (("Previous", "chevron_left", before), ("Next", "chevron_right", after)):
        if po_number:
            elements.order_link(po_number, label=label, icon=f":material/{icon}:", query={"list": address})


def _place(filters: Filters, address: str, order_id: int) -> tuple[str | None, str | None, int | None, int | None]:
    """What stands before and after the order in its list, its place there, and how many there are."""
    try:
        with time_limit(REFRESHED_SECONDS):
            return *search.neighbours(session.database(), filters, order_id, utc_now()), *_position(address, order_id)
    except TooSlow:  # the order itself is what was asked for
        st.caption("Its place in this list takes too long to read.", width="content")
        return None, None, None, None


@st.cache_data(ttl=_POSITION_TTL, max_entries=500, show_spinner=False)
def _position(address: str, order_id: int) -> tuple[int | None, int | None]:
    filters, _ = Filters.from_query(parse_qs(address))
    return search.position(session.database(), filters, order_id, utc_now())


def _facts(view: OrderView) -> str:
    """Cards, money, type, source and who placed it, in short."""
    order = view.order
    who = wording.person(order.actor)
    source = SOURCES.get(order.source, order.source)
    facts = [count(order.units, "card"), view.worth, TYPES.get(order.type, order.type), f"by {source}"]
    return " · ".join([*facts, *([who] if who else [])])


def draw_identity(view: OrderView) -> None:
    """The state, and the ids to copy."""
    elements.badge(view.order.state)
    st.code(view.order.po_number, language=None, width="content")
    if view.order.provider_id:
        st.code(view.order.provider_id, language=None, width="content")


def draw_decision(view: OrderView) -> None:
    """A red box while somebody has to decide, grey while that waits; afterwards a line of who has, when and why."""
    if view.decision is None:
        return
    if view.order.acknowledged_at is None and view.is_snoozed:
        st.info(elements.escape(view.decision), icon=":material/snooze:")
    elif view.order.acknowledged_at is None:
        st.error(elements.escape(view.decision), icon=":material/front_hand:")
    else:
        st.caption(f":material/task_alt: {elements.escape(view.decision)}")


def _signature(view: OrderView) -> tuple[object, ...]:
    """What the parts of the page that do not move by themselves show of the order."""
    order = view.order
    moved = order.units_fulfilled, order.state, order.attention, order.acknowledged_at, order.submission
    return *moved, order.assignee, order.snoozed_at, order.snoozed_until, view.is_snoozed


@elements.live("2s", "head")
def _draw_cards(order_id: int, drawn: tuple[object, ...]) -> None:
    """The verdict and both witnesses. When the order has moved on, the whole page is drawn again."""
    view = verdicts.order_view(session.database(), order_id, utc_now())
    if _signature(view) != drawn:
        elements.redraw_page()
    # Containers with keys keep what stands below at its place, so that a refresh builds nothing anew.
    with st.container(key="cards"):
        left, right = st.columns([3, 2], gap="small")
        with left.container(border=True, key="verdict", height="stretch", gap="xsmall"):
            st.header(elements.escape(view.verdict), anchor=False)
            with st.container(key="evidence", gap="xsmall"):
                for piece in view.evidence:
                    st.markdown(elements.escape(piece))
        with right.container(border=True, key="witnesses", height="stretch", gap="xsmall"):
            _draw_witnesses(view)


def draw_cards(view: OrderView) -> None:
    """The verdict with its evidence, beside it the progress and both witnesses; they move by themselves."""
    _draw_cards(view.id, _signature(view))


def _draw_witnesses(view: OrderView) -> None:
    order = view.order
    share = min(1.0, order.units_fulfilled / order.units) if order.units else 0.0
    st.progress(share, text=f"{order.units_fulfilled:,} of {count(order.units, 'card')} fulfilled")
    for label, status in view.statuses.items():
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.caption(label, width=LABEL)
            _badge(status)
            if label == verdicts.WEBHOOK and view.agreement is not None:
                _badge(view.agreement)
    if order.note:
        st.caption(f"Note: {elements.escape(order.note)}")


def _badge(status: Status) -> None:
    icon, color = _TONES[status.tone]
    options: dict[str, Any] = {"icon": icon, "color": color}
    st.badge(elements.badge_label(status.text), **options)
