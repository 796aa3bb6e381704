"""Logs: webhooks received, API calls made, the event log, imported files, and what the provider was seen to use."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

import address
import cached
import elements
import log_columns
import log_contract
import log_details
import log_table
import session
import times
from tracking.errors import TooSlow
from tracking.orders import wording
from tracking.orders.wording import KINDS
from tracking.reports import activity
from tracking.reports.order_list import query_params

SECTIONS = {
    "callbacks": "Webhooks",
    "calls": "API calls",
    "events": "Event log",
    "files": "Imports",
    "contract": "Contract",
}
OUTCOMES = {"all": "All", "accepted": "Accepted", "repeated": "Repeated", "waiting": "Waiting", "refused": "Rejected"}
MEANINGS = (
    "**Accepted**: authenticated and matched to an order. **Repeated**: came again, ignored. **Waiting**: "
    "authenticated, its order is not known here yet. **Rejected**: not authenticated, or for a different order."
)
PAGES = ("callbacks_page", "calls_page", "log_page")
METHODS = {"": "Any method", "GET": "GET", "POST": "POST"}


def nothing(noun: str) -> None:
    """Says that there is nothing, and offers to look at all of it."""
    st.caption(f"No {noun} match in this time.")
    filters = set(st.query_params) - {"what"}
    if filters and st.button("Clear filters", key="clear_filters", icon=":material/filter_alt_off:"):
        what = st.query_params.get("what")
        st.query_params.from_dict({"what": what} if what else {})
        st.rerun()


def webhooks(fresh: Any, place: Any) -> None:
    """The webhooks received."""
    resets = ("callbacks_page",)
    with log_table.tools():
        outcome = log_table.picker("Outcome", "outcome", OUTCOMES, "all", resets, help=MEANINGS)
        length = log_table.span_chosen(resets=resets)
        volume = cached.webhook_volume(length)
        log_table.bar_chosen(volume, "webhook", resets=resets)
    log_table.strip(volume, log_columns.webhook_groups(), "webhook", resets=resets)
    span, one = log_table.window(volume), "" if outcome == "all" else outcome

    def read() -> pd.DataFrame:
        page = {"limit": log_table.SIZE, "offset": log_table.offset("callbacks_page")}
        return activity.webhook_calls(session.database(), outcome=one, span=span, **page)

    frame = log_table.newest(read, "changed", fresh)
    if frame.empty:
        nothing("webhooks")
    else:
        rows, columns = log_columns.webhooks(frame)
        alt, opened = "Webhooks received, newest first", log_details.webhook
        log_table.table(rows, "callbacks", columns, alt, place=place, opened=opened)
    rejections()
    log_table.pages("callbacks_page", len(frame))


def rejections() -> None:
    """How many webhooks were rejected in all, as only the newest are listed."""
    refused = activity.refusal_counts(session.database())
    if refused is not None:
        rules = ", ".join(f"{count:,} for {rule}" for rule, count in sorted(refused.by_rule.items()))
        st.caption(
            f"{wording.count(refused.counted, 'webhook')} rejected since {times.text(refused.since)} ({rules}). "
            f"The newest {refused.stored:,} are listed; the others are only counted. "
            "What a rejected webhook names proves nothing."
        )


def api_calls(fresh: Any, place: Any) -> None:
    """Calls of the provider's API."""
    resets = ("calls_page",)
    with log_table.tools():
        method = log_table.picker("Method", "method", METHODS, "", resets)
        failed = address.choice("failed", ("true",), "") == "true"
        st.toggle(
            "Only failed",
            help="All that did not end well, whatever the status.",
            **address.bound("failed", failed, False, resets=resets),
        )
        length = log_table.span_chosen(resets=resets)
        volume = cached.call_volume(length, method)
        log_table.bar_chosen(volume, "call", resets=resets)
    log_table.strip(volume, log_columns.call_groups(volume.rows["group"]), "call", resets=resets)
    span = log_table.window(volume)

    def read() -> pd.DataFrame:
        page = {"limit": log_table.SIZE, "offset": log_table.offset("calls_page")}
        return activity.provider_calls(session.database(), failed=failed, method=method, span=span, **page)

    frame = log_table.newest(read, "new", fresh)
    if frame.empty:
        nothing("API calls")
    else:
        rows, columns = log_columns.api_calls(frame)
        log_table.table(rows, "calls", columns, "API calls, newest first", place=place, opened=log_details.api_call)
        p50 = int(frame["milliseconds"].quantile(0.5, interpolation="higher"))
        st.caption(f"p50 {p50:,} ms (these {len(frame)} calls)")
    log_table.pages("calls_page", len(frame))


def failed_calls() -> None:
    """The way to the calls that failed lately, from wherever one is in the logs; nothing where none did."""
    try:
        volume = cached.call_volume(query_params.parse_length(log_table.USUAL_SPAN), "")
    except TooSlow:  # the log itself says so, where it is the one that is open
        return
    number = int(volume.rows.loc[volume.rows["group"] != "ok", "number"].sum())
    if number and st.button(
        f"{wording.count(number, 'failed call')} in {log_table.USUAL_SPAN}",
        key="failed_calls",
        type="tertiary",
        icon=":material/error:",
        help=f"API calls of the last {log_table.USUAL_SPAN} that did not end well",
    ):
        st.query_params.from_dict({"what": "calls", "failed": "true"})
        st.rerun()


def events(fresh: Any, place: Any) -> None:
    """The event log."""
    resets = ("log_page",)
    with log_table.tools():
        kinds = address.choices("kinds", KINDS)
        st.multiselect(
            "Kinds",
            list(KINDS),
            placeholder="All kinds",
            width=260,
            label_visibility="collapsed",
            **address.bound("kinds", kinds, [], resets=resets),
        )
        length = log_table.span_chosen(resets=resets)
        volume = cached.event_volume(length, tuple(kinds))
        log_table.bar_chosen(volume, "event", resets=resets)
    log_table.strip(volume, log_columns.event_groups(), "event", resets=resets)
    span = log_table.window(volume)
    names = ["learned_at", "witness", "po_number", "text", "actor", "at", "kind", "seq"]

    def read() -> pd.DataFrame:
        begin = log_table.offset("log_page")
        rows = activity.events(session.database(), span=span, limit=log_table.SIZE, kinds=kinds, offset=begin)
        return pd.DataFrame(rows, columns=names)

    frame = log_table.newest(read, "new", fresh)
    if frame.empty:
        nothing("events")
    else:
        rows, columns = log_columns.events(frame)
        log_table.table(rows, "log", columns, "Events, newest first", place=place, opened=log_details.event)
    log_table.pages("log_page", len(frame))


def imports(fresh: Any, _place: Any) -> None:
    """Files that were imported."""

    def read() -> pd.DataFrame:
        frame = activity.batches(session.database())
        return frame.assign(digest=frame["digest"].str[:10])

    frame = log_table.plain(read, "files", log_columns.imports(), "Imported files, newest first", fresh)
    click = st.session_state.get("open_import")
    if click and 0 <= click["row"] < len(frame):
        st.switch_page("imports.py", query_params={"import": str(frame["id"].iloc[click["row"]])})


def too_slow() -> None:
    """What to do about a log that takes too long: a shorter time, and its filters to take away."""
    st.warning(
        "This log takes too long to read. Choose a shorter time, or take a filter away.",
        icon=":material/hourglass_disabled:",
    )
    shorter = log_table.shorter_span()
    filters = set(st.query_params) - {"what", "since"}
    with st.container(horizontal=True, gap="small"):
        if shorter:
            change = partial(address.write, "since", shorter, log_table.USUAL_SPAN, ("bar", *PAGES))
            st.button(f"Only the last {shorter}", key="narrower", on_click=change)
        if filters:
            st.button(
                "Clear filters",
                key="clear",
                type="tertiary",
                on_click=address.change,
                args=(dict.fromkeys(filters, ""),),
            )


DRAW = {"callbacks": webhooks, "calls": api_calls, "events": events, "files": imports, "contract": log_contract.draw}

if st.query_params.get("what") == "schedule":  # as the lab was addressed before
    st.switch_page("insights.py", query_params={"show": "lab"})
section = address.choice("what", SECTIONS, "callbacks")
with st.container(horizontal=True, vertical_alignment="center", gap="small"):
    st.segmented_control(
        "Log",
        list(SECTIONS),
        format_func=SECTIONS.__getitem__,
        required=True,
        label_visibility="collapsed",
        wrap=False,
        **address.bound("what", section, "callbacks", resets=("bar",)),
    )
    if not (section == "calls" and "failed" in st.query_params):
        failed_calls()
    st.space("stretch")
    # Its room is there before it has anything to say, so that nothing below moves.
    fresh, place = st.container(width=170, height=38, border=False), st.container(width="content")
with elements.error_box(), st.container(gap="xsmall"):
    try:
        DRAW[section](fresh, place)
    except TooSlow:
        too_slow()
