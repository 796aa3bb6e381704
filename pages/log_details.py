"""What a row of a log opens: one API call with request and answer side by side, one webhook, one event."""

from typing import Any

import pandas as pd
import streamlit as st

import elements
import session
import times
from tracking.orders import wording
from tracking.reports.logs import calls


def facts(values: dict[str, Any]) -> None:
    """Names and values beside one another, as far as there is room; what is missing is left out."""
    with st.container(horizontal=True, gap="medium"):
        for name, value in values.items():
            if not _missing(value):
                st.markdown(f":gray[{name}]  \n{elements.escape(value)}", width="content")


def _missing(value: Any) -> bool:
    return value is None or value == "" or bool(pd.isna(value))


def order_link(po_number: Any) -> None:
    """The way to the row's order, where it has one."""
    if isinstance(po_number, str) and po_number:
        elements.order_link(po_number, label=f"Order {elements.escape(po_number)}", icon=":material/arrow_forward:")


@st.dialog("API call", width="large", position="right", icon=":material/swap_vert:")
def api_call(row: pd.Series) -> None:
    """One call of the provider's API: request and answer side by side, and the same for a terminal."""
    with elements.error_box():
        call = calls.call_details(session.database(), int(row["id"]))
    if call is None:
        st.info("This call is not stored any more: only the newest are.")
        return
    status, label = call["status"], calls.outcome_label(call["outcome"], call["status"])
    why = call["outcome"].partition(": ")[2]
    facts({
        "Purpose": calls.purpose_of(call["method"], call["path"]),
        "Time": f"{wording.clock(call['at'])} {times.zone_name()}",
        "Outcome": f"{label}: {why}" if why else label,
        "Latency": f"{call['milliseconds']:,} ms",
    })  # fmt: skip
    order_link(call["po_number"])
    left, right = st.columns(2)
    with left:
        st.markdown("## Request")
        st.code(wording.plain(f"{call['method']} {call['path']}"), language=None, wrap_lines=True)
        body(call["request"], "No body was sent, or it is not recorded.")
    with right:
        st.markdown("## Answer")
        st.code(f"HTTP {status}" if status else "No answer", language=None)
        body(call["answer"], "No body came, or it is not recorded.")
    st.markdown("## Copy as curl")
    st.caption("Set BASE_URL and TOKEN in your shell. Recipients and claim data are masked in what is stored.")
    st.code(wording.plain(calls.curl_of(call)), language="bash", wrap_lines=True)


def body(text: str | None, missing: str) -> None:
    """A stored body as a tree where it is JSON, else as the text that it is."""
    if not text:
        st.caption(missing)
        return
    text = wording.plain(text)
    value = calls.parsed_body(text)
    if value is None:
        st.code(text, language=None, wrap_lines=True)
    else:
        st.json(value, expanded=2)


@st.dialog("Webhook", width="medium", position="right", icon=":material/webhook:")
def webhook(row: pd.Series) -> None:
    """One webhook as received: what it said, what became of it. Bodies are not stored."""
    order_link(row["order"])
    left, right = st.columns(2)
    with left:
        st.markdown("## Request")
        facts({
            "Received": wording.clock(row["received_at"]), "Source": row["source"], "Size": f"{row['size']:,} bytes",
            "Action": row["action"], "Names order": row["po_number"], "Names provider ID": row["provider_id"],
            "Sender's timestamp": None if _missing(row["stated_at"]) else wording.clock(row["stated_at"]),
        })  # fmt: skip
        st.caption("Its body is not stored. What a rejected webhook names proves nothing.")
    with right:
        st.markdown("## Outcome")
        repeats = int(row["repeats"])
        again = f"{wording.count(repeats, 'time')}, last at {wording.clock(row['last_at'])}" if repeats else None
        facts({
            "Outcome": row["outcome_pill"][0], "Rule broken": row["rule"], "Reason": row["reason"],
            "Repeated": again,
        })  # fmt: skip
    st.caption(f"Times are {times.zone_name()}.")


@st.dialog("Event", width="medium", position="right", icon=":material/history:")
def event(row: pd.Series) -> None:
    """One event of an order's log."""
    order_link(row["order"])
    st.markdown(elements.escape(row["text"]))
    facts({
        "Occurred": wording.clock(row["at"]), "Recorded": wording.clock(row["learned_at"]), "Source": row["source"][0],
        "Actor": row["actor"], "Kind": row["kind"], "Number in the order's log": int(row["seq"]),
    })  # fmt: skip
    st.caption(f"Times are {times.zone_name()}.")
