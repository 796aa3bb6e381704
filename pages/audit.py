"""Audit log: who did what, took what along and searched for how much, newest first. Everybody may read it."""

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

import address
import elements
import exports
import log_table
import recording
import session
import times
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.team import audit
from tracking.reports.team.audit import AuditEntry, AuditFilters
from tracking.reports.team.audit_wording import LABELS
from tracking.storage.team.audit_log import NOBODY
from tracking.team.disclosures import text_hash

SPANS = ("1h", "8h", "24h", "7d", "30d")
RESETS = ("below",)
MEANING = (
    "What people did, exported, searched for and revealed, sign-ins and changed settings; not what they read. The text "
    "of a search is here as a keyed hash only."
)


def draw_filters() -> AuditFilters:
    """The filters, all of them in the address."""
    now = utc_now()
    with elements.row_to_swipe("audit_filters"):
        who = _picked("Who", "person", audit.names(session.database()), "Anybody", wording.person, width=200)
        kind = _picked("What", "kind", list(audit.KINDS), "Anything", LABELS.get, width=190)
        order = _text("Order", "order", "Order", "PO number or provider ID of an order", width=190)
        since = _moment_text("since", "Since", now)
        until = _moment_text("until", "Until", now)
    return AuditFilters(who, kind, order, since, until)


def _picked(label: str, name: str, offered: list[str], anything: str, words: Any, *, width: int) -> str:
    """A filter that is one of these words in the address, or one that is not among them; people read its label."""
    value = st.query_params.get(name, "")
    options = list(dict.fromkeys(["", *offered, value]))
    st.selectbox(
        label, options, format_func=lambda word: wording.plain(words(word) or word) if word else anything, width=width,
        label_visibility="collapsed", **address.bound(name, value, "", resets=RESETS),
    )  # fmt: skip
    return value


def _text(label: str, name: str, placeholder: str, help_text: str, *, width: int) -> str:
    value = st.query_params.get(name, "")[:200]
    st.text_input(
        label, placeholder=placeholder, help=help_text, width=width, label_visibility="collapsed",
        **address.bound(name, value, "", resets=RESETS),
    )  # fmt: skip
    return value


def _moment_text(name: str, label: str, now: Any) -> Any:
    """A time or a length before now; what is neither is told and left out."""
    value = st.query_params.get(name, "")[:40]
    st.selectbox(
        label, list(dict.fromkeys(["", *SPANS, value])), accept_new_options=True, width=170,
        format_func=lambda text: f"{label} {text}{' ago' if text in SPANS else ''}" if text else f"{label}: any time",
        label_visibility="collapsed", help="A length before now such as 2h, or a time in UTC: 2026-01-31T09:00",
        **address.bound(name, value, "", resets=RESETS),
    )  # fmt: skip
    try:
        return audit.parse_moment(value, now)
    except ValueError as exc:
        st.warning(elements.escape(exc), icon=":material/filter_alt_off:")
        return None


def draw_export(filters: AuditFilters) -> None:
    """The entries that match as a file."""
    with st.popover("Export", icon=":material/download:", key="audit_export"):
        database = session.database()
        st.caption(f"Newest first, at most {audit.EXPORTED_AT_MOST:,} entries. Times are UTC.")

        def make(form: str) -> tuple[bytes, int]:
            file = io.BytesIO()
            count = audit.write_entries(database, filters, form=form, file=file)
            return file.getvalue(), count

        file_name = f"audit-log-{utc_now():%Y%m%d-%H%M%S}"
        chosen = _chosen(filters)
        exports.buttons("audit log", make, key="audit", file_name=file_name, forms=("csv", "jsonl"), chosen=chosen)


def _chosen(filters: AuditFilters) -> dict[str, Any]:
    """The filter for the audit log itself: what can be typed as a keyed hash."""
    typed = {"person": filters.who, "order": filters.order}
    hashed = {name: text_hash(text, recording.secret()) for name, text in typed.items() if text}
    moments = {"since": filters.since, "until": filters.until}
    times_of = {name: at.isoformat() for name, at in moments.items() if at}
    return hashed | times_of | ({"kind": filters.kind} if filters.kind in audit.KINDS else {})


def frame_of(entries: tuple[AuditEntry, ...], meanings: Mapping[int, str]) -> pd.DataFrame:
    """The entries as rows of the table; `meanings`: what is known beside them, by number."""
    rows = [
        {
            "at": entry.at,
            "who": wording.plain(wording.person(entry.who) or ""),
            "proof": [] if entry.who in NOBODY else ["signed in" if entry.signed_in else "as given"],
            "text": ": ".join(filter(None, (entry.text, meanings.get(entry.seq)))),
            "order": entry.po_number or "",
            "job": str(entry.job_id) if entry.job_id is not None else "",
            "seq": entry.seq,
        }
        for entry in entries
    ]
    return pd.DataFrame(rows)


def columns_of(frame: pd.DataFrame) -> dict[str, Any]:
    """The columns of the table; a job's only where one is among the entries."""
    palette = elements.palette()
    proof = {"signed in": palette.good, "as given": palette.muted}
    columns = {
        "at": times.column("Time", width=140),
        "who": st.column_config.TextColumn("Who", width=190),
        "proof": elements.pill_column("Name", proof, width=95),
        "order": log_table.order_column("audit"),
        "job": st.column_config.TextColumn("Job", width=60),
        "text": st.column_config.TextColumn("What was done", width=520),
        "seq": st.column_config.NumberColumn("#", width=70),
    }
    empty = [name for name in ("order", "job") if not frame[name].any()]
    return {name: column for name, column in columns.items() if name not in empty}


@st.dialog("Entry of the audit log", width="medium", position="right", icon=":material/policy:")
def open_entry(entry: AuditEntry, meaning: str) -> None:
    """One entry with everything that is stored of it."""
    proof = "proven by a sign-in" if entry.signed_in else "as somebody gave it"
    st.markdown(f"**{elements.escape(entry.text)}**")
    if meaning:
        st.markdown(elements.escape(meaning))
    who = elements.escape(wording.person(entry.who) or "")
    st.markdown(who if entry.who in NOBODY else f"{who}, {proof}")
    st.caption(f"{elements.escape(wording.clock(entry.at))} {times.zone_name()}, entry {entry.seq:,}")
    if entry.po_number:
        label = f"Order {elements.escape(entry.po_number)}"
        elements.order_link(entry.po_number, label=label, icon=":material/arrow_forward:")
    if entry.job_id is not None:
        job = {"job": str(entry.job_id)}
        st.page_link("jobs.py", label=f"Job {entry.job_id}", icon=":material/arrow_forward:", query_params=job)
    if entry.detail:
        st.json(entry.detail)
    st.caption("Hash of the entry before")
    st.code(entry.previous, language=None, wrap_lines=True)


def draw_head() -> None:
    """The log's head, to be noted elsewhere."""
    with st.popover("Log head", key="audit_head", type="tertiary", icon=":material/link:"):
        st.caption(
            "Note it elsewhere. Later `tracking verify --expect-audit-head HEAD` tells whether the log up to here is "
            "still what it is now."
        )
        st.code(audit.head(session.database()), language=None, wrap_lines=True)


def draw_pages(page: audit.AuditPage) -> None:
    """The ways to older entries and back to the newest."""
    with st.container(horizontal=True, key="audit_pages"):
        if "below" in st.query_params:
            st.button("Newest", key="newest", icon=":material/first_page:", on_click=address.write, args=("below", ""))
        if page.next_below is not None:
            st.button(
                "Older", key="older", icon=":material/navigate_next:", on_click=address.write,
                args=("below", str(page.next_below)),
            )  # fmt: skip


def draw() -> None:
    """The page."""
    st.header("Audit log", anchor=False, help=MEANING)
    filters = draw_filters()
    page = audit.entries(session.database(), filters, below=address.number("below", digits=18))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        draw_export(filters)
        draw_head()
        st.space("stretch")
        place = st.container(width="content")
    if not page.entries:
        st.info("No entries match.", icon=":material/search_off:")
        if st.query_params.to_dict():
            st.button("Clear filters", key="clear_filters", on_click=st.query_params.clear)
    else:
        meanings = audit.stored_meanings(session.database(), page.entries)
        frame = frame_of(page.entries, meanings)
        alt = f"The audit log, newest first; {len(frame):,} listed"
        by_number = {entry.seq: entry for entry in page.entries}

        def opened(row: pd.Series) -> None:
            number = int(row["seq"])
            open_entry(by_number[number], meanings.get(number, ""))

        log_table.table(frame, "audit", columns_of(frame), alt, opened=opened, place=place)
    draw_pages(page)


with elements.error_box():
    draw()
