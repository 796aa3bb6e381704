"""The claim data of one order on its page: one unit at a time, by an act that is recorded."""

from datetime import datetime

import streamlit as st

import actors
import elements
import session
from tracking.access import Person
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.order_page import verdicts
from tracking.storage import claims as storage_claims
from tracking.submissions import actions as submissions_actions


def draw(view: verdicts.OrderView) -> None:
    """The claim data of one unit, for this one run of the page: it is kept in no state, link or file."""
    ends = storage_claims.claim_lines(session.database(), view.id)
    if ends is None:
        return
    box = st.expander("Claim data", key="claims", icon=":material/lock:", on_change="rerun")
    if not box.open:
        return
    with box:
        st.caption("Stored encrypted. Who reveals a unit's data is recorded in the timeline.")
        person = actors.field()
        with st.container(horizontal=True, vertical_alignment="bottom"):
            first, last = ends
            line = st.number_input("Line", value=first, key=f"claims_line_{view.id}", width=120)
            versions = storage_claims.claim_versions(session.database(), view.id, line)
            most = max((units for units, _ in versions), default=1)
            unit = st.number_input("Unit", value=1, key=f"claims_unit_{view.id}_{line}", width=120)
            version = picked_version(view, line, versions)
            wrong = elements.out_of_bounds("Line", line, first, last) or elements.out_of_bounds("Unit", unit, 1, most)
            why = session.may_not_act() or (None if person else "Enter your name first.") or wrong
            asked = st.button(
                "Reveal claim data", key="reveal", icon=":material/visibility:", disabled=why is not None, help=why
            )
        if wrong:
            st.error(wrong, icon=":material/error:")
        if asked and person:
            reveal(view, person, line, unit, version)


def picked_version(view: verdicts.OrderView, line: int, versions: list[tuple[int, datetime]]) -> int | None:
    """Which version of the line's claim data, where the provider has shown several; the newest at first."""
    if len(versions) < 2:
        return None

    def label(number: int) -> str:
        units, since = versions[number - 1]
        return f"{number} of {len(versions)}, {wording.count(units, 'unit')}, {wording.clock(since)}"

    numbers = range(len(versions), 0, -1)
    return st.selectbox("Version", numbers, key=f"claims_version_{view.id}_{line}", format_func=label, width=320)


def reveal(view: verdicts.OrderView, by: Person, line: int, unit: int, version: int | None) -> None:
    """Shows the unit's data as plain text; the next run of the page does without."""
    store, vault, po_number = session.database(), session.claim_cipher(), view.order.po_number

    def show() -> None:
        revealed = submissions_actions.reveal(
            store, vault, po_number, line, unit, by=by, now=utc_now(), version=version
        )
        for label, value in revealed.data:
            st.caption(elements.escape(label))
            st.code(value, language=None, wrap_lines=True)
        if earlier := revealed.versions - 1:
            others = wording.count(earlier, "other version")
            st.caption(f"The provider has shown {others} of this line's claim data too.")
        st.caption("Recorded in the timeline. It disappears as soon as anything else is done on this page.")

    elements.attempt(show)
