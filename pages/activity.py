"""What reached us, what we asked, what happened: callbacks, calls of the provider's API, the event log."""

import pandas as pd
import streamlit as st

import cached
import elements
import session
from tracking.orders.observations import utc_now
from tracking.reports import activity
from tracking.reports.order_list import query_params

SIZE = 100
# The words are also those of the address, which takes what a widget shows.
OUTCOMES = {
    "all": "every call of our address",
    "accepted": "proven by its address and matched to an order",
    "repeated": "came again, which changed nothing",
    "waiting": "proven, but its order is not known here yet",
    "refused": "proved nothing, or named another order than its address",
}


def open_order(key: str, po_numbers: pd.Series) -> None:
    """Opens the order of the row whose cell was clicked."""
    cells = st.session_state[key].selection.cells
    if cells and cells[0][0] < len(po_numbers):
        po_number = po_numbers.iloc[cells[0][0]]
        if isinstance(po_number, str):
            st.switch_page("timeline.py", query_params={"order": po_number})


def linked_table(frame: pd.DataFrame, key: str, alt: str) -> None:
    """A table whose rows open their order, with its pages."""
    if frame.empty:
        st.caption("Nothing here.")
    else:
        st.dataframe(
            frame,
            key=f"{key}_table",
            hide_index=True,
            column_config=elements.columns(frame),
            placeholder="",
            on_select="rerun",
            selection_mode="single-cell",
            alt=alt,
        )
        st.caption("A click on a row opens its order. Times are UTC.")
        open_order(f"{key}_table", frame["po_number"])


def offset(key: str) -> int:
    """Where the chosen page begins."""
    return (int(st.session_state.get(key, 1)) - 1) * SIZE


def pages(key: str, rows: int) -> None:
    """Goes on as long as full pages come."""
    page = int(st.session_state.get(key, 1))
    if rows == SIZE or page > 1:
        st.pagination(page + (rows == SIZE), key=key)


def webhook_calls() -> None:
    """The inbox of callbacks."""
    outcome = st.pills(
        "Outcome",
        list(OUTCOMES),
        key="outcome",
        bind="query-params",
        default="all",
        required=True,
    )
    st.caption(f"{outcome}: {OUTCOMES[outcome or 'all']}")
    frame = activity.webhook_calls(
        session.database(),
        outcome="" if outcome == "all" else outcome or "",
        limit=SIZE,
        offset=offset("callbacks_page"),
    )
    columns = ["received_at", "outcome", "po_number", "repeats", "reason", "provider_id", "action", "stated_at", "size"]
    linked_table(frame[columns], "callbacks", "Callbacks, newest first")
    refused = activity.refusal_count(session.database())
    if refused is not None:
        st.caption(f"{refused:,} refused calls in all; the newest are kept.")
    pages("callbacks_page", len(frame))


def calls() -> None:
    """Calls of the provider's API."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "Method", ["", "GET", "POST"], key="method", format_func=lambda word: word or "any", width=160
        )
        failed = st.toggle("Only failed", key="failed")
    begin = offset("calls_page")
    frame = activity.provider_calls(session.database(), failed=failed, method=method, limit=SIZE, offset=begin)
    if len(frame):
        middle = frame["milliseconds"].median()
        st.caption(f"Half of these {len(frame)} calls took at the most {middle:.0f} ms.")
    linked_table(frame, "calls", "Calls of the provider's API, newest first")
    pages("calls_page", len(frame))


def log() -> None:
    """The event log."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kinds = st.multiselect("Kind", cached.filter_options()["kinds"], key="kinds")
        since = st.text_input("Within the last", key="since", placeholder="30m, 1h, 2d")
    try:
        after = utc_now() - query_params.parse_length(since) if since else None
    except (ValueError, OverflowError) as exc:
        st.warning(elements.escape(exc))
        after = None
    begin = offset("log_page")
    events = activity.events(session.database(), after, SIZE, kinds=kinds, offset=begin)
    frame = pd.DataFrame(events, columns=["learned_at", "po_number", "text", "witness", "kind", "actor", "at"])
    linked_table(frame, "log", "Events, newest first")
    pages("log_page", len(frame))


def files() -> None:
    """Files that were handed in."""
    frame = activity.batches(session.database())
    if frame.empty:
        st.caption("No file has been handed in.")
        return
    frame = frame.assign(digest=frame["digest"].str[:10])
    st.dataframe(
        frame,
        key="files_table",
        hide_index=True,
        column_config=elements.columns(frame),
        placeholder="",
        alt="Files handed in, newest first",
    )


SECTIONS = {"callbacks": webhook_calls, "calls": calls, "events": log, "files": files}

st.title("Activity")
section = st.segmented_control(
    "What",
    list(SECTIONS),
    key="what",
    bind="query-params",
    default="callbacks",
    required=True,
)
if st.button("Refresh", key="refresh", icon=":material/refresh:"):
    st.rerun()
with elements.error_box():
    SECTIONS[section or "callbacks"]()
