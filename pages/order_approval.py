"""Approving or declining an order on its page, while it waits for a second operator."""

from collections.abc import Callable

import streamlit as st

import elements
import session
from tracking.access import Person
from tracking.errors import NotPermitted
from tracking.orders import wording
from tracking.orders.events import same_person
from tracking.orders.observations import utc_now
from tracking.reports.order_page.verdicts import OrderView
from tracking.team import approval


def draw(view: OrderView, viewer: str | None) -> None:
    """The two buttons; where they are not for whoever looks they say why. The backend asks for itself."""
    by = session.current_person()
    why_not = viewer or _why_not(view, by)
    options = {"disabled": why_not is not None, "help": why_not and elements.escape(why_not)}
    if st.button("Approve", key="approve", icon=":material/approval:", type="primary", **options) and by:  # type: ignore[arg-type]  # its types are those of two options
        _approve(view)
    if st.button("Decline", key="decline", icon=":material/block:", **options) and by:  # type: ignore[arg-type]  # see above
        _decline(view)


def _why_not(view: OrderView, by: Person | None) -> str | None:
    """Why whoever looks cannot judge this order."""
    if by is None:
        return "Nobody signs in here, so no second operator is proven; it can be approved where people sign in."
    if same_person(view.order.actor, by.name):
        return "You submitted this order; a second operator has to approve or decline it."
    return None


@elements.dialog("Approve", icon=":material/approval:")
def _approve(view: OrderView) -> None:
    """It may cost money: what is sent, and what it is worth, is read before it is."""
    order = view.order
    cards = wording.count(order.units, "card")
    st.markdown(f"**{elements.escape(f'{cards}, {view.worth}')}**, submitted by {elements.escape(order.actor)}.")
    st.caption("It is sent to the provider at once, and may be charged.")
    with st.form("approve_form", border=False):
        why = st.text_input("Reason", key="approve_why", placeholder="optional")
        sent = st.form_submit_button(
            elements.spending_label("Approve"),
            key="approve_submit",
            type="secondary" if session.environment().is_live else "primary",
        )
    if sent:
        elements.attempt(lambda: judge(approval.approve, order.po_number, why or "", "Approved. It is sent now."))


@elements.dialog("Decline", icon=":material/block:")
def _decline(view: OrderView) -> None:
    po_number = view.order.po_number
    st.caption("It is never sent. Whoever needs it after all places it again, under another PO number.")
    with st.form("decline_form", border=False):
        why = st.text_input("Reason", key="decline_why")
        sent = st.form_submit_button("Decline", key="decline_submit", type="primary")
    if sent:
        elements.attempt(lambda: judge(approval.decline, po_number, why or "", "Declined. It is not sent."))


def judge(act: Callable[..., None], po_number: str, why: str, done: str) -> None:
    """Approve or decline as whoever is signed in now: since the dialog opened they may have become a viewer."""
    if (by := session.current_person()) is None:
        raise NotPermitted("nobody signs in here; approve and decline where people sign in")
    act(session.database(), po_number, by=by, now=utc_now(), why=why)
    elements.toast_after_rerun(done)
