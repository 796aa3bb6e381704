"""Who acts: whoever is signed in, else as they call themselves, asked once and remembered for this browser."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

import streamlit as st

import elements
import session
from tracking.access import Person

LONGEST_NAME = 60


def current() -> Person | None:
    """Whoever acts; None until they were asked."""
    if person := session.current_person():
        return person
    called = session.preferences().name
    return Person(called) if called else None


def name() -> str:
    """What whoever acts is called; empty until they were asked."""
    person = current()
    return person.name if person else ""


def act(label: str, do: Callable[[Person], object]) -> None:
    """Do what somebody pressed a button for. Who acts is asked before, in a dialog, unless it is clear.

    `label` is what the button says. What goes wrong is shown where the act was asked for.
    """
    if person := current():
        elements.attempt(lambda: do(person))
    else:
        _ask(label, do)


@elements.dialog("Who acts?", icon=":material/badge:")
def _ask(label: str, do: Callable[[Person], object]) -> None:
    with st.form("who_acts", border=False):
        person = field()
        if st.form_submit_button(label, type="primary") and is_named(person) and elements.attempt(lambda: do(person)):
            st.rerun()


def field() -> Person | None:
    """The field for a name, for a form of its own; draws nothing where it is clear who acts. None while it is empty."""
    if person := current():
        return person
    entered = st.text_input(
        "Your name", key="actor_name", max_chars=LONGEST_NAME, help="Recorded with everything you do. Asked once."
    )
    if not (entered or "").strip():
        st.caption("Enter your name: it is recorded with what you do.")
        return None
    rename(entered)
    return Person(entered.strip())


def is_named(person: Person | None) -> TypeGuard[Person]:
    """Whether it is clear who acts, for the moment somebody pressed a button; says so where it is not."""
    if person is None:
        st.error("Enter your name first.")
    return person is not None


def rename(called: str) -> None:
    """Remember how whoever is at this browser calls themselves."""
    session.save_preferences(replace(session.preferences(), name=called.strip()[:LONGEST_NAME]))
