"""The work on the overview: what needs a decision, grouped by reason, and the latest changes."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import streamlit as st

import cached
import elements
import navigation
import refreshed
import times
from board_charts import FLOW_HEIGHT, GAP, LIFECYCLE_HEIGHT, LOWER_HEIGHT
from tracking.errors import TooSlow
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.orders.vocabulary import reason_label
from tracking.reports import amounts
from tracking.reports.board import changes as reports
from tracking.reports.board.changes import Change
from tracking.reports.board.decisions import DecisionGroup, DecisionOrder, Decisions

DECISIONS_HEIGHT = FLOW_HEIGHT
CHANGES_HEIGHT = LIFECYCLE_HEIGHT + GAP + LOWER_HEIGHT
ROWS = 6  # of the card on what needs a decision: its height is fixed
LETTERS = 40  # of a row of that card on a phone; its value stands in it where there is room
EM_SPACE = "\u2003"
HALF_A_DAY = timedelta(hours=12)
WEBHOOK = ":gray[:material/webhook: Webhook]"


def brief(length: timedelta) -> str:
    """A length of time in its largest unit alone, rounded down."""
    return " ".join(wording.duration(length).split()[:2])


def work(*, frozen: bool) -> None:
    """What needs a decision, and the latest changes; `frozen`: these keep their places until newer are asked for."""
    with elements.error_box():
        try:
            first = cached.latest_changes() if frozen else None
        except TooSlow:
            first = None
    _work(first)


@elements.live("3s", "work")
def _work(first: Sequence[Change] | None) -> None:
    """Both cards, which are read and drawn again together: a part that refreshes by itself has a price of its own."""
    with st.container(gap="xsmall"):
        with refreshed.or_later():
            _decisions()
        with refreshed.or_later():
            _changes(first)


def _decisions() -> None:
    """What needs a decision by reason, each reason with the way to its orders."""
    with st.container(border=True, height=DECISIONS_HEIGHT, key="decisions_card", gap="xsmall"):
        current = cached.decisions()
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.subheader("Needs a decision", anchor=False)
            if current.snoozed:
                _view_link(f"{current.snoozed:,} snoozed", "snoozed")
            if current.total:
                _view_link(f"View {current.total:,}", "attention")
        if not current.total:
            st.markdown(":green[:material/check_circle:] Nothing needs a decision.")
        if current.capped:
            st.caption(_part_text(current))
        rows = ROWS - current.capped
        listed = current.groups if len(current.groups) <= rows else current.groups[: rows - 1]
        for group in listed:
            _group(group, at_least="+" if current.capped else "")
        if more := len(current.groups) - len(listed):
            label = f"+{wording.count(more, 'more reason')}"
            navigation.link("orders.py", label, query={"view": "attention"})
        room = rows - len(listed) - 1  # below the line that names them
        if listed and room > 0:
            _waiting_longest(current.oldest[:room])


def _view_link(label: str, view: str) -> None:
    navigation.link("orders.py", label, query={"view": view})


def _part_text(current: Decisions) -> str:
    grouped = sum(group.orders for group in current.groups)
    return f"Grouped are {grouped:,} of {current.total:,}: the oldest and the newest."


def _group(group: DecisionGroup, at_least: str) -> None:
    """One reason in one line: its name is the link, before it the number, behind it the oldest and the value."""
    key = f"reason_{group.reason.replace(' ', '_')}"
    worth = f"{amounts.worth(group.values)}{at_least}"
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key=key, wrap=False):
        label = f"**{group.orders:,}{at_least}** {elements.escape(reason_label(group.reason))}"
        query = {"view": "attention", "reason": group.reason}
        help_text = f"{elements.escape(reason_label(group.reason))}, worth {elements.escape(worth)}"
        navigation.link("orders.py", label, query=query, help_text=help_text, width="stretch")
        age = brief(utc_now() - group.oldest.created_at)
        address = {"order": group.oldest.po_number}
        navigation.link("order.py", f"oldest {age}", query=address, help_text="Open the oldest of them")
        if len(reason_label(group.reason)) + len(worth) <= LETTERS:
            st.caption(elements.escape(worth), width="content")


def _waiting_longest(orders: Sequence[DecisionOrder]) -> None:
    """Single orders, where there is room for them."""
    st.caption("Waiting longest")
    with st.container(key="waiting_longest", gap="xxsmall"):
        for order in orders:
            reason = elements.escape(reason_label(order.reason))
            label = f"{elements.escape(order.po_number)}{EM_SPACE}:gray[{reason}]"
            elements.order_link(order.po_number, label=label, help_text=reason, width="stretch")


def _changes(frozen: Sequence[Change] | None) -> None:
    """The changes as they were read with the page; how many orders have changed since stands above them."""
    current = cached.latest_changes()
    listed = current if frozen is None else frozen
    newer = len({change.key for change in current} - {change.key for change in listed})
    with st.container(border=True, height=CHANGES_HEIGHT, key="changes_card", gap="xsmall"):
        with st.container(
            horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", height=34, border=False
        ):
            st.subheader("Latest changes", anchor=False, width="content")
            many = "+" if newer == reports.CHANGES_LISTED else ""
            if newer and st.button(f"{newer}{many} new: show", key="show_changes", type="tertiary"):
                st.rerun()
        with st.container(key="changes", gap=6):
            for change in listed:
                _change(change)
        if not listed:
            st.caption("No changes yet. Orders that were complete when first seen are not listed.")


def _change(change: Change) -> None:
    """One order in one line, all of it the link: when, the state it came to, and which order."""
    state = WEBHOOK if change.state is None else elements.state_text(change.state)
    at, name = _time_text(change.entry.learned_at), elements.escape(change.po_number)
    help_text = elements.escape(change.entry.text)
    elements.order_link(
        change.po_number, label=EM_SPACE.join((f":gray[{at}]", state, name)), help_text=help_text, width="stretch"
    )


def _time_text(at: datetime) -> str:
    """The time as chosen; a clock goes without its date for half a day, also after midnight."""
    if times.display() == "relative" or utc_now() - at > HALF_A_DAY:
        return times.text(at)
    return wording.clock(at, at)
