"""Behind an order's verdict: its place among similar orders, its API calls, the provider's latest answer."""

import streamlit as st

import elements
import session
from charts import order_progress
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.order_page.calls import CALLS_LISTED, api_calls
from tracking.reports.order_page.rows import removed_of
from tracking.reports.order_page.verdicts import OrderView
from tracking.reports.order_page.why import why_curve


def draw_why(view: OrderView) -> None:
    """The curve of orders like it, with where this one stands; read only once it is opened."""
    if view.order.accepted_at is None:
        return
    box = st.expander("Why?", key="why", icon=":material/help:", type="compact", on_change="rerun")
    if not box.open:
        return
    with box:
        curve = why_curve(session.database(), view.id, utc_now())
        if curve is None:
            return
        for sentence in curve.sentences:
            st.markdown(elements.escape(sentence))
        if curve.ages:
            figure = order_progress.standing(
                curve.ages, curve.still_open, curve.age, curve.next_poll_age, elements.palette()
            )
            elements.chart(figure, "why_chart", f"Share of similar orders still open by age. {curve.sentences[0]}")


def draw_calls(view: OrderView) -> None:
    """Request and answer side by side, newest first; secrets and recipients are masked."""
    records = api_calls(session.database(), view.id)
    if not records:
        st.caption(_nothing(view, "No API call for this order is on record."))
        return
    labels = [f"{wording.clock(call['at'])}  {call['method']} {call['path']}  {outcome(call)}" for call in records]
    label = "Call" if len(records) < CALLS_LISTED else f"Call, of the newest {len(records)}"
    picked = st.selectbox(label, range(len(records)), key="exchange", format_func=lambda number: labels[number])
    asked, answered = st.columns(2)
    asked.caption("Request")
    asked.code(records[picked]["request"] or "no body", language="json", wrap_lines=True)
    answered.caption(f"Answer: {elements.escape(outcome(records[picked]))}")
    answered.code(records[picked]["answer"] or "no body", language="json", wrap_lines=True)


def _nothing(view: OrderView, text: str) -> str:
    """Why there is nothing: what was removed, or else the text."""
    removed = removed_of(session.database(), view.id)
    return f"What there was is gone: {elements.escape(removed)}." if removed else text


def outcome(call: dict[str, object]) -> str:
    """What came of a call, in short."""
    status = f"{call['status']} " if call["status"] else ""
    return f"{status}{call['outcome']}, {call['milliseconds']} ms"


def draw_raw(view: OrderView) -> None:
    """The provider's latest response."""
    if not view.raw:
        st.caption(_nothing(view, "The provider has shown nothing of this order yet."))
        return
    st.caption("Latest provider response (masked)")
    st.code(view.raw, language="json", wrap_lines=True)
