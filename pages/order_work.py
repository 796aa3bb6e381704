"""Assignee and snooze of an order on its page: one row with the menus that change them."""

import functools
from collections.abc import Callable
from datetime import datetime

import streamlit as st

import actors
import cached
import elements
import session
import snooze_times
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.model import Order, is_open
from tracking.orders.observations import utc_now
from tracking.reports.order_page.verdicts import OrderView
from tracking.team import work

NOBODY, SOMEBODY_ELSE, ME = "", "\0else", "\0me"  # no name has such a letter
END = "end"


def draw(view: OrderView) -> None:
    """The row: whose it is, and until when it waits."""
    viewer = session.may_not_act()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="work"):
        if not view.order.assignee:
            st.caption(":material/person_off: Unassigned", width="content")
        for icon, text in view.work:
            st.caption(f":material/{icon}: {elements.escape(text)}", width="content")
        _assign_menu(view.order, viewer)
        _snooze_menu(view, viewer)


def reopen(po_number: str) -> None:
    """Take the acknowledgement back, whoever gave it."""
    act = functools.partial(work.reopen, session.database(), po_number)
    actors.act("Reopen", functools.partial(_do, act, "Reopened: it needs a decision again."))


def _do(act: Callable[..., object], done: str, by: Person) -> None:
    """Do it, and draw the page as it is now."""
    act(by=by, now=utc_now())
    elements.toast_after_rerun(done)


def _assign_menu(order: Order, viewer: str | None) -> None:
    options = [name for name in people(order.assignee) if name != order.assignee]
    if order.assignee is None or order.assignee != actors.name():
        options.insert(0, ME)
    options += [SOMEBODY_ELSE, *([NOBODY] if order.assignee else [])]
    picked = st.menu_button(
        "Assign", options, key="assign", type="tertiary", icon=":material/person_add:", disabled=viewer is not None,
        help=viewer, format_func=assignee_label,
    )  # fmt: skip
    if picked == SOMEBODY_ELSE:
        _assign_to_somebody(order.po_number)
    elif picked is not None:
        actors.act("Assign", functools.partial(_assign, order.po_number, picked))


def people(*others: str | None) -> list[str]:
    """The names that are offered: those used lately, without whoever acts, who is offered as "me"."""
    names = dict.fromkeys([*cached.people(), *filter(None, others)])
    return [name for name in names if name != actors.name()]


def assignee_label(name: str) -> str:
    """A choice of the menu in words."""
    return {NOBODY: "Nobody", SOMEBODY_ELSE: "Somebody else", ME: "Me"}.get(name) or elements.escape(name)


def _assign(po_number: str, picked: str, by: Person) -> None:
    name = by.name if picked == ME else picked
    done = f"Assigned to {wording.plain(name)}." if name else "Assigned to nobody."
    _do(functools.partial(work.assign, session.database(), po_number, name), done, by)


@elements.dialog("Assign", icon=":material/person_add:")
def _assign_to_somebody(po_number: str) -> None:
    with st.form("assign_form", border=False):
        person = actors.field()
        name = st.text_input("Name", key="assign_name", max_chars=work.LONGEST_NAME)
        sent = st.form_submit_button("Assign", key="assign_submit", type="primary")
    if sent and not (name or "").strip():
        st.error("Enter whom the order is for.")
    elif sent and actors.is_named(person):
        elements.attempt(lambda: _assign(po_number, name.strip(), person))


def _snooze_menu(view: OrderView, viewer: str | None) -> None:
    order, offered = view.order, snooze_times.choices(utc_now())
    why_not = viewer or _not_to_snooze(order)
    words = [END] if order.snoozed_at else []
    picked = st.menu_button(
        "Snooze", [*words, *offered, snooze_times.DATE], key="snooze", type="tertiary", icon=":material/snooze:",
        disabled=why_not is not None, help=why_not,
        format_func=lambda word: offered[word].label if word in offered else _WORDS[word],
    )  # fmt: skip
    if picked == END:
        act = functools.partial(work.end_snooze, session.database(), order.po_number)
        actors.act("End snooze", functools.partial(_do, act, "No longer snoozed."))
    elif picked == snooze_times.DATE:
        _snooze_until(order.po_number)
    elif picked:
        until = snooze_times.choices(utc_now()).get(picked, offered[picked]).at
        actors.act("Snooze", functools.partial(_snooze, order.po_number, until))


_WORDS = {END: "End snooze", snooze_times.DATE: "Until a date and time"}


def _not_to_snooze(order: Order) -> str | None:
    needs_decision = order.attention is not None and order.acknowledged_at is None
    if is_open(order.state) or needs_decision or order.snoozed_at:
        return None
    return "Only an open order, or one that needs a decision, can be snoozed."


def _snooze(po_number: str, until: datetime | None, by: Person) -> None:
    snooze = functools.partial(work.snooze, session.database(), po_number, until)
    _do(snooze, f"Snoozed {snooze_times.text(until)}.", by)


@elements.dialog("Snooze", icon=":material/snooze:")
def _snooze_until(po_number: str) -> None:
    with st.form("snooze_form", border=False):
        person = actors.field()
        until = snooze_times.field("snooze_date")
        sent = st.form_submit_button("Snooze", key="snooze_submit", type="primary")
    if sent and until is None:
        st.error("Choose a date and a time that is yet to come.")
    elif sent and actors.is_named(person):
        elements.attempt(lambda: _snooze(po_number, until, person))
