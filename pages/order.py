"""One order: what is known of it, what proves it, what can be done, and how it came about."""

import functools
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pandas as pd
import streamlit as st

import elements
import order_claims
import session
from charts import order as charts
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.model import Order, State, is_open, is_terminal
from tracking.orders.observations import utc_now
from tracking.reports import order as reports_order
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_page import story, verdicts
from tracking.reports.order_page.calls import CALLS_LISTED, api_calls
from tracking.reports.order_page.lines import LINES_PER_PAGE, line_progress, lines_page
from tracking.submissions import actions as submissions_actions

STORY_ROWS = 60
EVENTS_PER_PAGE = 100
CHART_STAYS = timedelta(minutes=1)
WITNESSES = {"us": "we", "answer": "answer", "poll": "poll", "webhook": "webhook", "person": "person"}


def header(view: verdicts.OrderView) -> None:
    """State as word, shape and colour; the ids to copy; the verdict and its evidence."""
    order = view.order
    with st.container(horizontal=True, vertical_alignment="center"):
        elements.badge(order.state)
        text = f"{order.type}, {wording.count(order.units, 'card')} worth {view.worth}, source {order.source}"
        st.text(wording.plain(text))
    with st.container(horizontal=True):
        st.code(order.po_number, language=None, width="content")
        if order.provider_id:
            st.code(order.provider_id, language=None, width="content")
    with st.container(key="verdict"):
        st.markdown(f"**{elements.escape(view.verdict)}**")
    # A container keeps what stands below at its place, so that a refresh builds nothing anew.
    with st.container(key="evidence", gap="xsmall"):
        for piece in view.evidence:
            st.caption(elements.escape(piece))
    with st.grid("auto", min_column_width=160, gap="small"):
        for name, text in view.statuses.items():
            with st.container(gap=None):
                st.caption(name)
                st.text(wording.plain(text))
    if order.note:
        st.caption("Note")
        st.text(wording.plain(order.note))


def chart(view: verdicts.OrderView, rows: list[wording.TimelineEntry]) -> None:
    """The story in lanes by witness.

    A figure that changes is built anew, under the pointer that reads it: it is drawn again when something else than
    another look has come, and else once a minute.
    """
    now = utc_now()
    drawn_of = (view.id, view.order.state, tuple(row.seq for row in rows if not row.ahead))
    drawn = st.session_state.get("timeline_figure")
    if drawn is None or drawn["of"] != drawn_of or (is_open(view.order.state) and now - drawn["at"] > CHART_STAYS):
        drawn = {"of": drawn_of, "at": now, "figure": figure(view.order, rows, now)}
        st.session_state["timeline_figure"] = drawn
    elements.chart(drawn["figure"], "timeline_chart", "The order's events in lanes by witness")


def figure(order: Order, rows: list[wording.TimelineEntry], now: datetime) -> Any:
    """The order's chart as of now."""
    names = ["at", "until", "witness", "kind", "text", "count", "ahead"]
    return charts.timeline(
        pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names),
        created_at=order.created_at,
        completed_after=order.completed_after,
        completed_by=order.completed_by,
        state=order.state,
        now=max(now, order.created_at),
    )


def timeline_row(row: wording.TimelineEntry) -> str:
    """A row of the story as Markdown; what was learned later than it happened shows both times."""
    who = WITNESSES.get(row.witness, "we")
    now = utc_now()
    at = wording.clock(row.at, now)
    late = (row.learned_at - row.until).total_seconds() > 30 and row.count == 1
    learned = f"(learned {wording.clock(row.learned_at, now)})" if late else ""
    text = elements.escape(row.text)
    if row.ahead:
        return f"- :gray[{elements.escape(at)} · {who} · {text}]"
    return f"- {elements.escape(at)} :gray-badge[{who}] {text} {elements.escape(learned)}"


def drawn_below(view: verdicts.OrderView) -> tuple[object, ...]:
    """What the parts of the page that do not move by themselves show of the order."""
    order = view.order
    return order.units_fulfilled, order.state, order.attention, order.acknowledged_at


@st.fragment(run_every="2s", key="head")
def head(order_id: int, drawn: tuple[object, ...]) -> None:
    """What is known now. When the order has moved on, the whole page is drawn again."""
    with elements.error_box():
        view = verdicts.order_view(session.database(), order_id, utc_now())
    if drawn_below(view) != drawn:
        st.rerun()
    with st.container(key="head"):
        header(view)


@st.fragment(run_every="2s", key="live")
def live(order_id: int) -> None:
    """The chart and the story, which move by themselves."""
    with elements.error_box():
        view = verdicts.order_view(session.database(), order_id, utc_now())
        rows = story.timeline(session.database(), order_id, utc_now())
    chart(view, rows)
    if st.session_state["zoom"] == "Story":
        if len(rows) > STORY_ROWS:
            st.caption(f"{len(rows) - STORY_ROWS} earlier rows are under Everything.")
        with st.container(key="story"):
            st.markdown("\n".join(timeline_row(row) for row in rows[-STORY_ROWS:]))
            st.caption("Times are UTC. What is still to come is greyed.")


def actions(view: verdicts.OrderView) -> Person:
    """What a person may do here, the safe one first; what is not possible says why. Returns who acts."""
    po_number = view.order.po_number
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by, looks_only = session.actor(), session.may_not_act()
        finished = is_terminal(view.order.state)
        label = "Look again, although finished" if finished else "Check now"
        why = looks_only or view.allowed["check"]
        if st.button(label, key="check_now", icon=":material/refresh:", disabled=why is not None, help=why):
            looks = functools.partial(submissions_actions.check_now, session.database(), po_number)
            if elements.attempt(lambda: looks(by=by, now=utc_now())):
                st.toast("The poller looks next at this order.")
        why = looks_only or view.allowed["resend"]
        label = "Send again, same PONumber"
        if st.button(label, key="resend", icon=":material/send:", disabled=why is not None, help=why):
            sends = functools.partial(submissions_actions.resend, session.database(), po_number)
            if elements.attempt(lambda: sends(by=by, now=utc_now())):
                elements.toast_after_rerun("The order is sent again under its PONumber.")
        if view.allowed["place anew"] is None:
            place_anew_popover(po_number, by)
        text_popover(view, by, acknowledges=True)
        text_popover(view, by, acknowledges=False)
    return by


def place_anew_popover(po_number: str, by: Person) -> None:
    """A popover to place an order whose PONumber is taken under another one, once both orders are said to be wanted."""
    why = session.may_not_act()
    popover = st.popover(
        "Place anew", key="anew_popover", icon=":material/library_add:", disabled=why is not None, help=why
    )
    with popover, st.form("anew_form", border=False):
        st.caption(
            "The provider has this PONumber for another order, which stays placed. This one can only be placed besides,"
            " under a PONumber of its own. Look at the other order first: if it is this one after all, place nothing."
        )
        other = st.text_input("New PONumber", f"{po_number[:96]}-2", key="anew_po_number", max_chars=100)
        both = st.checkbox("Both orders are wanted", key="anew_both")

        def place() -> None:
            placed = submissions_actions.place_anew(
                session.database(), po_number, other, by=by, now=utc_now(), wants_both=both
            )
            elements.toast_after_rerun(f"Queued as {wording.plain(placed)}.")

        if st.form_submit_button("Place it besides", key="anew_submit"):
            elements.attempt(place)


def text_popover(view: verdicts.OrderView, by: Person, *, acknowledges: bool) -> None:
    """A popover to acknowledge with a reason, or to write a note. It closes once that is written."""
    label, key, asks = (
        ("Acknowledge", "acknowledge", "Why it is dealt with") if acknowledges else ("Note", "note", "Note")
    )
    icon = ":material/task:" if acknowledges else ":material/edit_note:"
    why = session.may_not_act() or (not_to_acknowledge(view.order) if acknowledges else None)
    times = st.session_state.setdefault(f"{key}_times", 0)  # under a new name it begins closed
    with (
        st.container(key=f"{key}_popover", width="content"),
        st.popover(label, key=f"{key}_popover_{times}", icon=icon, disabled=why is not None, help=why),
        st.form(f"{key}_form", clear_on_submit=True, border=False),
    ):
        text = st.text_area(asks, key=f"{key}_text", max_chars=500)
        if not st.form_submit_button("Write down", key=f"{key}_submit"):
            return
        database, po_number = session.database(), view.order.po_number
        if not text.strip():
            st.error("Nothing was written: a few words are needed, for whoever reads this later.")
        elif elements.attempt(
            (lambda: submissions_actions.acknowledge(database, po_number, by=by, now=utc_now(), why=text))
            if acknowledges
            else (lambda: submissions_actions.add_note(database, po_number, by=by, now=utc_now(), text=text))
        ):
            st.session_state[f"{key}_times"] += 1
            elements.toast_after_rerun("Acknowledged." if acknowledges else "Written into the order's story.")


def not_to_acknowledge(order: Order) -> str | None:
    """Why there is nothing to acknowledge; None where there is."""
    if order.acknowledged_at:
        return f"Acknowledged by {order.acknowledged_by or 'somebody'}: {wording.plain(order.acknowledged_why)}"
    return None if order.attention else "Nothing about this order needs a person."


def all_events(view: verdicts.OrderView) -> None:
    """Each event, newest first."""
    pages = max(1, -(-view.event_count // EVENTS_PER_PAGE))
    page = st.pagination(pages, key="events_page") if pages > 1 else 1
    rows = story.all_events(session.database(), view.id, page, EVENTS_PER_PAGE)
    names = ["seq", "learned_at", "at", "witness", "kind", "text"]
    frame = pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)
    st.dataframe(
        frame,
        key="everything",
        hide_index=True,
        column_config=elements.columns(frame),
        placeholder="",
        alt="Every event of the order",
    )


def lines(view: verdicts.OrderView) -> None:
    """The lines with their own states."""
    order = view.order
    st.markdown(f"**Lines: {view.line_count:,}**")
    share = min(1.0, order.units_fulfilled / order.units) if order.units else 0.0
    st.progress(share, text=f"{order.units_fulfilled:,} of {wording.count(order.units, 'card')} fulfilled")
    progress = line_progress(session.database(), view.id)
    text = ", ".join(f"{row.lines:,} {elements.escape(row.status)}" for row in progress.itertuples())
    st.caption(f"Lines by state: {text}" if text else "The provider has shown no lines yet.")
    pages = max(1, -(-view.line_count // LINES_PER_PAGE))
    page = st.pagination(pages, key="lines_page") if pages > 1 else 1
    frame = lines_page(session.database(), view.id, page)
    st.dataframe(
        frame,
        key="lines",
        hide_index=True,
        column_config=elements.columns(frame),
        placeholder="",
        alt="Lines of the order; recipients are masked",
    )


def calls(view: verdicts.OrderView) -> None:
    """Request and answer side by side, newest first; secrets and recipients are masked."""
    box = st.expander("Calls of the provider's API for this order", key="exchanges", on_change="rerun")
    if not box.open:
        return
    with box:
        records = api_calls(session.database(), view.id)
        if not records:
            st.caption("No call that concerned this order is on record.")
            return
        labels = [f"{wording.clock(call['at'])}  {call['method']} {call['path']}  {outcome(call)}" for call in records]
        label = "Call" if len(records) < CALLS_LISTED else f"Call, of the newest {len(records)}"
        picked = st.selectbox(label, range(len(records)), key="exchange", format_func=lambda number: labels[number])
        asked, answered = st.columns(2)
        asked.caption("Request")
        asked.code(records[picked]["request"] or "no body", language="json", wrap_lines=True)
        answered.caption(f"Answer: {outcome(records[picked])}")
        answered.code(records[picked]["answer"] or "no body", language="json", wrap_lines=True)


def outcome(call: dict[str, object]) -> str:
    """What came of a call, in short."""
    status = f"{call['status']} " if call["status"] else ""
    return f"{status}{call['outcome']}, {call['milliseconds']} ms"


def neighbours(view: verdicts.OrderView) -> None:
    """The orders before and after this one in the list it was opened from, which its address names."""
    address = st.query_params.get("list")
    if not address:
        return
    filters, _ = Filters.from_query(parse_qs(address))
    before, after = search.neighbours(session.database(), filters, view.id, utc_now())
    query = {"list": address}
    with st.container(horizontal=True):
        if before:
            elements.order_link(before, label="Previous", icon=":material/arrow_back:", query=query)
        if after:
            elements.order_link(after, label="Next", icon=":material/arrow_forward:", query=query)
        link = filters.to_query() or {"view": "all"}
        st.page_link("orders.py", label="Back to the list", icon=":material/list_alt:", query_params=link)


def no_such_order(any_id: str, *, several: bool) -> None:
    """Says that nothing, or more than one order, has this id, and offers the search."""
    st.warning("More than one order has the id" if several else "No order has the id", icon=":material/search_off:")
    st.text(wording.plain(any_id))
    st.page_link(
        "orders.py", label="Search for it as a part of an id", icon=":material/search:", query_params={"q": any_id}
    )


elements.show_toast()
any_id = st.text_input(
    "Order",
    key="order",
    bind="query-params",
    type="search",
    max_chars=200,
    placeholder="PONumber, provider id, external id or recipient",
)
if not any_id or not any_id.strip():
    st.caption("Give an id of any kind, or open an order from the list.")
    st.page_link("orders.py", label="Go to the list of orders", icon=":material/list_alt:")
    st.stop()
with elements.error_box():
    matches = reports_order.find_order_ids(session.database(), any_id)
if len(matches) != 1:
    no_such_order(any_id, several=bool(matches))
    st.stop()
order_id = matches[0]
with elements.error_box():
    view = verdicts.order_view(session.database(), order_id, utc_now())
    neighbours(view)
    with st.container():
        if view.order.attention and not view.order.acknowledged_at:
            st.error(elements.escape(view.order.attention), title="Needs a person", icon=":material/person_alert:")
        if view.order.state == State.UNKNOWN:
            st.info("The one safe action is to send it again under the same PONumber.", icon=":material/info:")
    head(order_id, drawn_below(view))
    by = actions(view)
    st.segmented_control("Events", ["Story", "Everything"], key="zoom", default="Story", required=True)
    live(order_id)
    if st.session_state["zoom"] == "Everything":
        all_events(view)
    lines(view)
    order_claims.draw(view, by)
    calls(view)
    if view.raw:
        with st.expander("The order as the provider showed it, masked", key="raw"):
            st.code(view.raw, language="json", wrap_lines=True)
