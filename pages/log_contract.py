"""The contract log: changes of the provider's API, and everything it was seen to use, documented or not."""

import functools
from typing import Any

import pandas as pd
import streamlit as st

import actors
import elements
import exports
import log_columns
import log_table
import session
import times
from tracking.access import Person
from tracking.orders.observations import utc_now
from tracking.reports import activity
from tracking.reports.logs import contract
from tracking.reports.logs.contract import ContractChange
from tracking.team.contract import mark_changes_read

ONLY = {"": "Documented or not", "undocumented": "Undocumented", "changed": "New or gone"}
COLORS = {"new": ("blue", ":material/fiber_new:"), "gone": ("orange", ":material/remove_circle:")}
RESETS = ("contract_page",)


def draw(fresh: Any, _place: Any) -> None:
    """The whole log."""
    state = contract.contract_state(session.database())
    learning = contract.learning_text(state.learning)
    if state.changes:
        _changes(state.changes)
    elif learning:
        end = times.with_zone(state.learning.earliest_end) if state.learning else ""
        until = f" It takes until {end} at least." if end else ""
        st.caption(f"{learning}{until}")
    else:
        st.caption("Nothing new, and nothing gone, that nobody has marked as read.")
    _table(fresh)
    _departures()


def _changes(changes: tuple[ContractChange, ...]) -> None:
    with st.container(border=True, gap="xsmall", key="contract_changes"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader("New or gone", anchor=False, width="content")
            st.space("stretch")
            why_not = session.may_not_act()
            if st.button(
                "Mark as read", key="contract_read", icon=":material/done_all:", disabled=bool(why_not), help=why_not
            ):
                actors.act("Mark as read", functools.partial(_read, changes))
        for each in changes:
            color, icon = COLORS[each.change]
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.badge(log_columns.CHANGES[each.change], icon=icon, color=color)  # type: ignore[arg-type]  # the table holds only its colours
                st.markdown(elements.escape(each.text), width="content")
                when = "first seen" if each.change == "new" else "last seen"
                st.caption(f"{when} {times.text(each.at)}", width="content")


def _read(changes: tuple[ContractChange, ...], by: Person) -> None:
    mark_changes_read(session.database(), changes, by=by, now=utc_now())
    elements.toast_after_rerun("Marked as read: it is not shown here again.")


def _table(fresh: Any) -> None:
    """All that was seen, by endpoint, as it is filtered."""
    now = utc_now()
    everything = contract.sightings(session.database(), now)
    offered = {"": "Any endpoint"} | {each: each for each in contract.endpoints(everything)}
    with log_table.tools():
        endpoint = log_table.picker("Endpoint", "endpoint", offered, "", RESETS, width=200)
        kind = log_table.picker("Kind", "kind", {"": "Any kind"} | contract.KINDS, "", RESETS)
        only = log_table.picker("Contract", "only", ONLY, "", RESETS, width=170)
        filters = {"endpoint": endpoint, "kind": kind, "only": only}
        _export(filters)

    def read() -> pd.DataFrame:
        rows = contract.sightings(session.database(), utc_now(), **filters)
        start = log_table.offset("contract_page")
        return pd.DataFrame(rows[start : start + log_table.SIZE], columns=["id", *contract.EXPORT_COLUMNS])

    frame = log_table.newest(read, "changed", fresh)
    if frame.empty:
        st.caption("Nothing matches." if everything else "Nothing yet.")
    else:
        rows, columns = log_columns.sightings(frame)
        log_table.table(rows, "sightings", columns, "What the provider was seen to use, by endpoint and place")
    log_table.pages("contract_page", len(frame))


def _export(filters: dict[str, str]) -> None:
    with st.popover("Export", icon=":material/download:", key="contract_export"):
        st.caption("Without any value: examples show shapes. Times are UTC.")
        now = utc_now()
        make = functools.partial(contract.export, session.database(), now, **filters)
        file_name = f"contract-{now:%Y%m%d-%H%M%S}"
        exports.buttons("contract", make, key="contract_export", file_name=file_name, forms=("csv", "jsonl"))


def _departures() -> None:
    """What the provider sends otherwise than its contract says."""
    frame = activity.findings(session.database())
    if frame.empty:
        return
    st.subheader("Departures", anchor=False)
    st.caption("Each kind once, without its content. What nobody needs is skipped, and the order goes on.")
    alt = "Departures from the provider's contract, the newest kinds first"
    log_table.table(frame, "contract", log_columns.contract(), alt)
