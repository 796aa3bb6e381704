"""What reached us, what we asked, what happened: callbacks, API calls, departures from the contract, the event log."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

import cached
import elements
import session
from tracking.orders import wording
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


def first_page(key: str) -> None:
    """A changed filter begins at its first page."""
    st.session_state[f"{key}_page"] = 1


def not_sorted(_column: str) -> None:
    """Says why a click on a header sorts nothing."""
    st.toast("Newest first; this list has no other order.")


def table_with_news(read: Callable[[], pd.DataFrame], key: str, alt: str) -> pd.DataFrame:
    """A table whose rows open their order, and above it what of it has changed since. Returns what it shows."""
    frame = read()
    news(read, frame)
    if frame.empty:
        st.caption("Nothing here.")
    elif "po_number" in frame:
        elements.table_of_orders(frame, f"{key}_table", alt, sort=not_sorted)
    else:
        config = elements.columns(frame)
        st.dataframe(frame, key=f"{key}_table", hide_index=True, column_config=config, placeholder="", alt=alt)
    return frame


@st.fragment(run_every="5s", key="news")
def news(read: Callable[[], pd.DataFrame], frame: pd.DataFrame) -> None:
    """Says how many rows have come or changed since the table was read; the table itself keeps still."""
    with elements.error_box():
        number = activity.count_differences(frame, read())
    if number:
        text = f"{wording.count(number, 'row')} new or changed: show"
        if st.button(text, key="show_new", icon=":material/refresh:"):
            st.rerun()


def chosen_page(key: str) -> int:
    """The page that is shown: as chosen, else as the address says, which the widget below has not read yet."""
    page = str(st.session_state.get(key, st.query_params.get(key, "1")))
    return max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1


def offset(key: str) -> int:
    """Where the page that is shown begins."""
    return (chosen_page(key) - 1) * SIZE


def pages(key: str, rows: int) -> None:
    """Goes on as long as full pages come."""
    page = chosen_page(key)
    if rows == SIZE or page > 1:
        st.pagination(page + (rows == SIZE), key=key, bind="query-params")


def webhook_calls() -> None:
    """The inbox of callbacks."""
    outcome = st.pills(
        "Outcome",
        list(OUTCOMES),
        key="outcome",
        bind="query-params",
        default="all",
        required=True,
        on_change=first_page,
        args=("callbacks",),
    )
    st.caption(f"{outcome}: {OUTCOMES[outcome or 'all']}")
    columns = ["received_at", "outcome", "po_number", "repeats", "rule", "reason", "source", "provider_id", "action"]
    columns += ["stated_at", "size"]
    one, begin = "" if outcome == "all" else outcome or "", offset("callbacks_page")

    def read() -> pd.DataFrame:
        return activity.webhook_calls(session.database(), outcome=one, limit=SIZE, offset=begin)[columns]

    frame = table_with_news(read, "callbacks", "Callbacks, newest first")
    refused = activity.refusal_counts(session.database())
    if refused is not None:
        rules = ", ".join(f"{count:,} for {rule}" for rule, count in sorted(refused.by_rule.items()))
        st.caption(
            f"{refused.counted:,} calls were refused since {refused.since:%Y-%m-%d %H:%M} UTC ({rules}). "
            f"The newest {refused.stored:,} are listed; the others are only counted. "
            "The order of a refused call is no more than what it named."
        )
    pages("callbacks_page", len(frame))


def calls() -> None:
    """Calls of the provider's API."""
    changed: dict[str, Any] = {"bind": "query-params", "on_change": first_page, "args": ("calls",)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "Method", ["", "GET", "POST"], key="method", format_func=lambda word: word or "any", width=160, **changed
        )
        failed = st.toggle(
            "Only failed", key="failed", help="Whatever did not end well, whatever its status.", **changed
        )
    begin = offset("calls_page")

    def read() -> pd.DataFrame:
        return activity.provider_calls(session.database(), failed=failed, method=method, limit=SIZE, offset=begin)

    middle = st.empty()
    frame = table_with_news(read, "calls", "Calls of the provider's API, newest first")
    if len(frame):
        half = math.ceil(frame["milliseconds"].median())
        middle.caption(f"Half of these {len(frame)} calls took at the most {half} ms.")
    pages("calls_page", len(frame))


def contract() -> None:
    """What the provider sends otherwise than its contract says."""
    st.caption("Each kind once, without what it held. What nobody needs is skipped, and the order goes on.")
    alt = "Departures from the provider's contract, the newest kinds first"
    table_with_news(lambda: activity.findings(session.database()), "contract", alt)


def log() -> None:
    """The event log."""
    changed: dict[str, Any] = {"bind": "query-params", "on_change": first_page, "args": ("log",)}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kinds = st.multiselect("Kind", cached.filter_options()["kinds"], key="kinds", **changed)
        since = st.text_input("Within the last", key="since", placeholder="30m, 1h, 2d", **changed)
    try:
        after = utc_now() - query_params.parse_length(since) if since else None
    except (ValueError, OverflowError) as exc:
        st.warning(elements.escape(exc))
        after = None
    begin = offset("log_page")
    columns = ["learned_at", "po_number", "text", "witness", "kind", "actor", "at"]

    def read() -> pd.DataFrame:
        events = activity.events(session.database(), after, SIZE, kinds=kinds, offset=begin)
        return pd.DataFrame(events, columns=columns)

    frame = table_with_news(read, "log", "Events, newest first")
    pages("log_page", len(frame))


def files() -> None:
    """Files that were handed in."""

    def read() -> pd.DataFrame:
        frame = activity.batches(session.database())
        return frame.assign(digest=frame["digest"].str[:10])

    table_with_news(read, "files", "Files handed in, newest first")


SECTIONS = {"callbacks": webhook_calls, "calls": calls, "contract": contract, "events": log, "files": files}

if st.query_params.get("what") == "schedule":  # as the lab was addressed before
    st.switch_page("insights.py", query_params={"show": "lab"})
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
