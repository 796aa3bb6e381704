"""What can be done with the orders selected in the list, or with all that match: open, poll, export, act on many."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

import actors
import elements
import exports
import job_words
import orders_bulk
import orders_table
import session
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.exports.writing import EXPORTS, expected_sizes, write_export
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
from tracking.submissions import actions
from tracking.team.plans import Act

CODE_LETTER, WIDEST_ID = 8.5, 340  # pixels
WIDER = "A part of the filter in the address cannot be used: more orders match than were asked for. Correct it first."
EXPORTED = {"orders": "Order", "lines": "Line", "events": "Event", "deliveries": "Delivery of a webhook"}
MORE = (Act.SNOOZE, Act.ASSIGN, Act.RESEND, Act.REOPEN, Act.END_SNOOZE)


def number_of(snapshot: orders_table.Snapshot) -> str:
    """How many orders match, in words."""
    page = snapshot.page
    return f"{page.number} {'order' if page.total == 1 else 'orders'}"


def select_all(snapshot: orders_table.Snapshot, left_out: Sequence[str]) -> None:
    """The button that selects all that match, on all pages; off where a part of the filter was left out.

    Without that part more match than whoever follows the address asked for.
    """
    all_of_them = "Select all that match" if snapshot.page.more else f"Select all {number_of(snapshot)}"
    st.button(
        all_of_them, key="select_all", type="tertiary", icon=":material/select_all:",
        on_click=_select_all, args=(snapshot,), disabled=bool(left_out), help=WIDER if left_out else None,
    )  # fmt: skip


def _select_all(snapshot: orders_table.Snapshot) -> None:
    """In place of the rows that are selected: a selection of rows is none of what else matches."""
    orders_table.new_turn()
    st.session_state["all_selected"] = _drawing(snapshot)


def _drawing(snapshot: orders_table.Snapshot) -> tuple[int, int]:
    """Which drawing of the table it is: a selection belongs to one."""
    return snapshot.number, st.session_state.get(f"{orders_table.KEY}_turn", 0)


def are_all_selected(snapshot: orders_table.Snapshot, left_out: Sequence[str]) -> bool:
    """Whether all that match are selected, not only rows of this page; never with a part of the filter left out."""
    return not left_out and bool(st.session_state.get("all_selected") == _drawing(snapshot))


def bar(snapshot: orders_table.Snapshot, po_numbers: Sequence[str]) -> None:
    """The bar at the bottom of the window, while orders are selected: these, or all that match without any."""
    with st.bottom, st.container(horizontal=True, vertical_alignment="center", gap="small", key="selection"):
        opened = False
        if po_numbers:
            opened = _opens(snapshot, po_numbers)
            chosen = Filters(sort=snapshot.filters.sort, descending=snapshot.filters.descending, only=tuple(po_numbers))
            words = f"{wording.count(len(po_numbers), 'order')} selected"
        else:
            chosen, words = replace(snapshot.filters, page=1), f"All {number_of(snapshot)}"
            if (which := job_words.which(chosen)) != "All orders":
                words += f": {which}"
            st.markdown(f"**{elements.escape(words)}**", width="content")
        picked = _picked_act()
        label, matching = ("Export selected", len(po_numbers)) if po_numbers else ("Export all", snapshot.page.total)
        export(label, chosen, "export_selected", "selected", matching)
        st.button("Clear selection", key="clear_selection", type="tertiary", on_click=orders_table.new_turn)
    if opened:
        orders_table.open_order(po_numbers[0], snapshot.filters)
    if picked is Act.POLL and len(po_numbers) == 1:  # as on its own page; of several it is one job
        actors.act("Poll now", functools.partial(_poll, po_numbers[0]))
        elements.show_toast()
    elif picked:
        orders_bulk.open_drawer(chosen, words, picked)


def _opens(snapshot: orders_table.Snapshot, po_numbers: Sequence[str]) -> bool:
    """What single orders of the page have: their number, the ids of one, and the button that opens it."""
    one = len(po_numbers) == 1
    st.markdown(f"**{len(po_numbers)} selected**", width="content")
    if one:
        _ids(snapshot, po_numbers[0])
    return st.button(
        "Open", key="open_selected", icon=":material/open_in_new:", type="primary", shortcut="O", disabled=not one,
        help=None if one else "Select one order to open it.",
    )  # fmt: skip


def _picked_act() -> Act | None:
    """The act whose button was pressed; a viewer sees why there is none for them."""
    reason = session.may_not_act()
    off = reason is not None
    polled = st.button("Poll now", key="poll_selected", icon=":material/sync:", shortcut="P", disabled=off, help=reason)
    acknowledged = st.button(
        "Acknowledge", key="acknowledge_selected", icon=":material/task_alt:", shortcut="A", disabled=off, help=reason
    )
    more: Act | None = st.menu_button(
        "More acts", MORE, key="more_selected", format_func=orders_bulk.label, disabled=off, help=reason
    )
    if polled or acknowledged:
        return Act.POLL if polled else Act.ACKNOWLEDGE
    return more


def _ids(snapshot: orders_table.Snapshot, po_number: str) -> None:
    """The ids of the selected order, whole, to be copied."""
    rows = snapshot.page.rows
    provider_id = rows.loc[rows["po_number"] == po_number, "provider_id"].iloc[0]
    for text in (po_number, provider_id):
        if isinstance(text, str) and text:
            # In a row, content that could scroll would give way to the buttons until nothing of it is left.
            st.code(wording.plain(text), language=None, width=min(int(len(text) * CODE_LETTER) + 36, WIDEST_ID))


def _poll(po_number: str, person: Person) -> None:
    """Make the order due for a poll now, and say so."""
    actions.check_now(session.database(), po_number, by=person, now=utc_now())
    st.session_state["toast"] = "Poll queued."


def export(label: str, filters: Filters, key: str, name: str, matching: int) -> None:
    """All that match as a file. Made when asked for, so that nothing lies ready for others to fetch.

    `matching`: how many orders match, as far as is known.
    """
    with st.popover(label, icon=":material/download:", key=key):
        what = st.selectbox("One row for each", list(EXPORTS), format_func=EXPORTED.__getitem__, key=f"{key}_what")
        st.caption(f"Without claim data; recipients are masked. Times are UTC. {exports.LARGER}")
        make = functools.partial(_exported, session.database(), filters, what)
        file_name = f"{what}-{name}-{utc_now():%Y%m%d-%H%M%S}"
        sizes = expected_sizes(session.database(), filters, utc_now(), what, matching)
        exports.buttons(EXPORTS[what].name, make, key=key, file_name=file_name, sizes=sizes, filters=filters)


def _exported(database: Database, filters: Filters, what: str, form: str) -> tuple[bytes, int]:
    """The file itself, and how many rows it holds."""
    return exports.in_memory(lambda file: write_export(database, filters, utc_now(), form=form, file=file, what=what))
