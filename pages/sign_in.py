"""Sign-in: where people have to sign in, nothing is read or shown before it is known who asks."""

from typing import NoReturn
from urllib.parse import urlencode

import streamlit as st

import elements
import recording
import session
from tracking.access import Person
from tracking.errors import NotAdmitted, TrackingError


def is_open() -> bool:
    """Whether whoever is at the screen may look."""
    try:
        session.current_person()
    except TrackingError:
        return False
    return True


def require_sign_in() -> Person | None:
    """Whoever is signed in, None while nobody has to be; the run ends here for all others."""
    person = None
    with elements.error_box():
        try:
            person = session.current_person()
        except NotAdmitted as exc:
            if not session.identity():
                ask()
            recording.refusal(str(exc))
            turn_away(str(exc))
    return person


def sign_in() -> None:
    """Leads to the provider, and from there back to this page."""
    query = urlencode([(name, value) for name in st.query_params for value in st.query_params.get_all(name)])
    session.note_landing(f"{st.context.url or ''}?{query}")
    st.login()


def ask() -> NoReturn:
    """Asks to sign in."""
    st.title("Fulfillment Tracking")
    st.text("Sign in to see orders.")
    st.button("Sign in", key="sign_in", type="primary", icon=":material/login:", on_click=sign_in)
    st.stop()


def turn_away(reason: str) -> NoReturn:
    """Says why somebody who has signed in sees nothing, and lets them leave or try again."""
    st.title("Fulfillment Tracking")
    st.warning(
        elements.escape(f"{reason[:1].upper()}{reason[1:]}."), title="You cannot sign in", icon=":material/lock:"
    )
    st.caption("Ask whoever runs this console to add you to the operators or viewers.")
    with st.container(horizontal=True):
        st.button("Sign in again", key="sign_in", icon=":material/login:", on_click=sign_in)
        st.button("Sign out", key="sign_out", icon=":material/logout:", on_click=st.logout)
    st.stop()
