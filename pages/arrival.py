"""Notes which page is open, so that a late request of the page before does not leave the screen white.

The browser keeps asking for the parts of a page that refresh by themselves until it knows that another page is open.
Streamlit answers such a late request as one for the page before, after which the browser draws nothing more at all.
"""

from collections.abc import Mapping
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

_KEY = "arrived"


def note(page: Any) -> None:
    """Note the page that is drawn, and its address."""
    context = get_script_run_ctx()
    if context is not None:
        st.session_state[_KEY] = page, context.page_script_hash, _address()


def note_address() -> None:
    """Note that the address has changed, which only a part of the page may have done."""
    if _KEY in st.session_state:
        page, number, _ = st.session_state[_KEY]
        st.session_state[_KEY] = page, number, _address()


def is_left() -> bool:
    """Whether this run was asked for by a page that has been left."""
    context, arrived = get_script_run_ctx(), st.session_state.get(_KEY)
    if context is None or arrived is None:
        return False
    return context.page_script_hash not in {arrived[1], context.pages_manager.main_script_hash}


def go_on() -> None:
    """Draw the page where they have arrived, whole, where this run was asked for by the one before."""
    if is_left():
        page, _, address = st.session_state[_KEY]
        st.switch_page(page, query_params=address)


def _address() -> Mapping[str, list[str]]:
    return {name: st.query_params.get_all(name) for name in st.query_params}
