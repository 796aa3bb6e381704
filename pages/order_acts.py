"""What can be done with an order: one row of buttons with keys, and dialogs for what needs words."""

import functools
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import streamlit as st

import actors
import as_of
import elements
import order_approval
import order_work
import session
from tracking.access import Person
from tracking.errors import NotPermitted
from tracking.orders import wording
from tracking.orders.model import Approval, Order, is_terminal
from tracking.orders.observations import utc_now
from tracking.reports.order_page.verdicts import OrderView
from tracking.submissions import actions
from tracking.team.evidence import export_evidence

COPY_LINK, SUMMARY, RECORD = "Copy link", "Customer summary", "Evidence file"
ANEW = "Place under a new PO number"
_ICONS = {COPY_LINK: "link", SUMMARY: "contact_mail", RECORD: "verified", as_of.LABEL: "history", ANEW: "library_add"}


def draw(view: OrderView) -> None:
    """The row of acts; what is not possible says why."""
    order, viewer = view.order, session.may_not_act()
    if order.approval == Approval.WAITING:
        order_approval.draw(view, viewer)
    poll = "Poll again" if is_terminal(order.state) else "Poll now"
    if _button(poll, "check_now", "refresh", "P", viewer or view.allowed["check"]):
        actors.act(poll, functools.partial(_act, actions.check_now, order.po_number, "Poll queued."))
    if _button("Resend", "resend", "send", None, viewer or view.allowed["resend"]):
        _resend(view)
    if order.attention and order.acknowledged_at:
        if _button("Reopen", "reopen", "undo", "U", viewer):
            order_work.reopen(order.po_number)
    elif _button("Acknowledge", "acknowledge", "task_alt", "A", viewer or not_to_acknowledge(order)):
        _acknowledge(order.po_number)
    if _button("Add note", "note", "edit_note", "N", viewer):
        _add_note(order.po_number)
    _draw_menu(view, viewer)


def _button(label: str, key: str, icon: str, shortcut: str | None, why_not: str | None) -> bool:
    options: dict[str, Any] = {"icon": f":material/{icon}:", "shortcut": shortcut}
    return st.button(label, key=key, disabled=why_not is not None, help=why_not and elements.escape(why_not), **options)


def not_to_acknowledge(order: Order) -> str | None:
    """Why there is nothing to acknowledge; None where there is."""
    return None if order.attention else "Nothing about this order needs a decision."


def _act(act: Callable[..., object], po_number: str, done: str, by: Person, **more: Any) -> None:
    """Do it, and draw the page as it is now."""
    act(session.database(), po_number, by=by, now=utc_now(), **more)
    elements.toast_after_rerun(done)


@elements.dialog("Resend", icon=":material/send:")
def _resend(view: OrderView) -> None:
    """It may cost money: what is sent, and what it is worth, is read before it is."""
    po_number = view.order.po_number
    st.markdown(f"{_worth(view)} sent to the provider again, under the same PO number {elements.escape(po_number)}.")
    st.caption(
        "It may be placed and charged now. If the provider has this PO number already, it does not place it twice."
    )
    with st.form("resend_form", border=False):
        person = actors.field()
        sent = _spending_button("Resend", "resend_submit")
    if sent and actors.is_named(person):
        done = "Queued to be sent again under the same PO number."
        elements.attempt(lambda: _act(actions.resend, po_number, done, person))


def _spending_button(label: str, key: str) -> bool:
    """The button of a form that may cost money; with the live provider its label is red, which needs a light ground."""
    ground: Any = "secondary" if session.environment().is_live else "primary"
    return st.form_submit_button(elements.spending_label(label), key=key, type=ground)


def _worth(view: OrderView) -> str:
    """What would be placed, and its face value, at the start of a sentence: "**1 card, 10.00 USD** is"."""
    cards = wording.count(view.order.units, "card")
    return f"**{elements.escape(f'{cards}, {view.worth}')}** {'is' if view.order.units == 1 else 'are'}"


@elements.dialog("Acknowledge", icon=":material/task_alt:")
def _acknowledge(po_number: str) -> None:
    """A click on a reason acknowledges; only "Other" needs words."""
    person = actors.field()
    words = (st.text_input("Details", key="acknowledge_text", placeholder="optional") or "").strip()
    st.caption("Reason: a click on it acknowledges the order.")
    with st.container(horizontal=True):
        pressed = [reason for reason in session.settings().reasons if reason_chip(reason, "reason")]
        other = st.button("Other", key="reason_other")
    if other and not _has_words(words):
        st.error("Enter a few words under Details, for whoever reads this later.")
    elif (pressed or other) and actors.is_named(person):
        why = ": ".join([*pressed, *([words] if _has_words(words) else [])])
        act = functools.partial(_act, actions.acknowledge, po_number, "Acknowledged.", why=why)
        elements.attempt(lambda: act(person))


def reason_chip(reason: str, key: str) -> bool:
    """A button for one of the team's reasons; whether it was pressed."""
    return st.button(elements.escape(reason), key=f"{key}_{reason}")


@elements.dialog("Add note", icon=":material/edit_note:")
def _add_note(po_number: str) -> None:
    with st.form("note_form", border=False):
        person = actors.field()
        text = st.text_area("Note", key="note_text")
        sent = st.form_submit_button("Add note", key="note_submit", type="primary")
    if sent and not _has_words(text or ""):
        st.error("Enter a few words, for whoever reads this later.")
    elif sent and actors.is_named(person):
        act = functools.partial(_act, actions.add_note, po_number, "Note added.", text=text)
        elements.attempt(lambda: act(person))


def _has_words(text: str) -> bool:
    """Whether there is a letter or a figure in it; blanks alone, also such as have no width, say nothing."""
    return any(letter.isalnum() for letter in text)


def _draw_menu(view: OrderView, viewer: str | None) -> None:
    options = [COPY_LINK, SUMMARY, RECORD, as_of.LABEL]
    if view.allowed["place anew"] is None and viewer is None:
        options.append(ANEW)
    picked = st.menu_button("More", options, key="more", format_func=lambda name: f":material/{_ICONS[name]}: {name}")
    if picked == COPY_LINK:
        _copy_link(view.order.po_number)
    elif picked == SUMMARY:
        _customer_summary(view.summary)
    elif picked == RECORD:
        _evidence_file(view.id, view.order.po_number)
    elif picked == as_of.LABEL:
        as_of.choose("order.py", {"order": view.order.po_number})
    elif picked == ANEW:
        _place_anew(view)


@elements.dialog("Link to this order", icon=":material/link:")
def _copy_link(po_number: str) -> None:
    address = urlsplit(str(st.context.url or ""))
    place = f"{address.scheme}://{address.netloc}{address.path}" if address.netloc else "/timeline"
    st.code(f"{place}?{urlencode({'order': po_number})}", language=None, wrap_lines=True)


@elements.dialog("Customer summary", icon=":material/contact_mail:", width="medium")
def _customer_summary(text: str) -> None:
    st.caption("Plain sentences for a mail to the customer, without recipients. Read them before you send them.")
    st.code(text, language=None, wrap_lines=True)


@elements.dialog("Evidence file", icon=":material/verified:")
def _evidence_file(order_id: int, po_number: str) -> None:
    st.caption(
        "A ZIP to hand on: a page to read and print, the log with every hash, lines, API calls and webhooks, never "
        "claim data. `tracking verify-evidence` proves it on any machine. The audit log records who downloads it."
    )
    person, masked = actors.field(), True
    if session.may_not_act() is None:
        masked = not st.toggle("Recipients in full", key="evidence_whole", help="Otherwise they are masked.")
    content = evidence_content(order_id, masked=masked, person=person)
    name = re.sub(r"[^\w.-]", "_", po_number)
    options: dict[str, Any] = {"disabled": person is None, "on_click": "ignore", "icon": ":material/download:"}
    st.download_button(
        "Download", content, f"evidence-{name}.zip", "application/zip", key="evidence_file", type="primary", **options
    )


def evidence_content(order_id: int, *, masked: bool, person: Person | None) -> Callable[[], bytes]:
    """The download's content, made for whoever is admitted at the click; where nobody signs in, for `person`."""
    store = session.database()

    def make(admitted: Person | None) -> bytes:
        if (by := admitted or person) is None:
            raise NotPermitted("no name is given; enter your name first")
        return export_evidence(store, order_id, masked=masked, by=by, now=utc_now()).content

    return session.only_while_admitted(make)


@elements.dialog("Place under a new PO number", icon=":material/library_add:")
def _place_anew(view: OrderView) -> None:
    po_number = view.order.po_number
    st.markdown(f"{_worth(view)} sent to the provider as an order of its own, which may be charged.")
    st.caption(
        "The provider has this PO number for another order, which stays placed. Check that order first: if it is this "
        "one after all, place nothing. Otherwise this order can be placed in addition, under a PO number of its own."
    )
    with st.form("anew_form", border=False):
        person = actors.field()
        other = st.text_input("New PO number", f"{po_number[:96]}-2", key="anew_po_number")
        both = st.checkbox("Both orders are wanted", key="anew_both")
        sent = _spending_button("Place order", "anew_submit")
    if sent and actors.is_named(person):
        elements.attempt(lambda: _placed_anew(po_number, other, person, both=both))


def _placed_anew(po_number: str, other: str, by: Person, *, both: bool) -> None:
    placed = actions.place_anew(session.database(), po_number, other, by=by, now=utc_now(), wants_both=both)
    elements.toast_after_rerun(f"Queued as {wording.plain(placed)}.")
