"""The lines of an order on its page: how many are in which state, filtered, searched and paged."""

from typing import Any

import pandas as pd
import streamlit as st

import elements
import recording
import session
from charts.palette import Palette
from tracking.orders.model import FULFILLED_LINE, State
from tracking.reports.order_page.lines import LINES_PER_PAGE, find_lines, line_progress
from tracking.reports.order_page.rows import removed_of
from tracking.reports.order_page.verdicts import OrderView

LONGEST_SEARCH = 200


def draw(view: OrderView) -> None:
    """States as pills that filter, a search, and a page of lines."""
    progress = line_progress(session.database(), view.id)
    counts: dict[str, int] = dict(zip(progress["status"], progress["lines"], strict=True))
    if not counts:
        removed = removed_of(session.database(), view.id)
        text = f"Lines and claim data are gone: {removed}." if removed else "The provider has shown no lines yet."
        st.caption(elements.escape(text))
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        status = st.pills(
            "Status",
            list(counts),
            key=f"lines_status_{view.id}",
            format_func=lambda name: f"{elements.escape(name)} {counts[name]:,}",
            label_visibility="collapsed",
        )
        text = st.text_input(
            "Search lines",
            key=f"lines_text_{view.id}",
            type="search",
            placeholder="Line number, product, external ID or recipient",
            label_visibility="collapsed",
        )
    _draw_table(view, counts, status, text or "")


def _draw_table(view: OrderView, counts: dict[str, int], status: str | None, text: str) -> None:
    if len(text) > LONGEST_SEARCH:
        st.error(f"The search has {len(text):,} characters; at most {LONGEST_SEARCH}.", icon=":material/error:")
        return
    # Another filter begins at its first page, under a key of its own.
    key = f"lines_page_{view.id}_{status}_{text}"
    page = int(st.session_state.get(key) or 1)
    matching = find_lines(session.database(), view.id, page, status=status, text=text)
    recording.search(text, matching.total, order_id=view.id)
    if not matching.total:
        st.caption("No line matches. Clear the status or the search.")
        return
    frame = matching.rows
    frame["status"] = pd.Series([[name] for name in frame["status"]], index=frame.index)
    frame["fulfilled"] = frame["fulfilled"].astype(str) + " of " + frame["quantity"].astype(str)
    st.dataframe(
        frame,
        key=f"lines_{view.id}",
        hide_index=True,
        height="content",
        row_height=30,
        column_config=_columns(list(counts), elements.palette()),
        placeholder="",
        alt=f"Lines of the order, {matching.total:,} match; recipients are masked",
    )
    pages = -(-matching.total // LINES_PER_PAGE)
    if pages > 1:
        st.pagination(pages, key=key)


def _columns(statuses: list[str], palette: Palette) -> dict[str, Any]:
    colors = {status: _color(status, palette) for status in statuses}
    return {
        "number": st.column_config.NumberColumn("#", width=60),
        "product_id": st.column_config.TextColumn("Product"),
        "value": st.column_config.TextColumn("Value", alignment="right"),
        "quantity": st.column_config.NumberColumn("Cards", width=70),
        "status": elements.pill_column("Status", colors),
        "fulfilled": st.column_config.TextColumn("Fulfilled", alignment="right"),
        "external_id": st.column_config.TextColumn("External ID"),
        "recipient": st.column_config.TextColumn("Recipient"),
    }


def _color(status: str, palette: Palette) -> str:
    return palette.state(State.COMPLETED if status in FULFILLED_LINE else status)
