"""Widgets bound to the address: the address holds the stored word, people read its label.

What Streamlit binds to an address by itself puts the label there. Here the address is what counts: each run sets the
widget from it, and whoever changes the widget changes the address before the run.
"""

from collections.abc import Collection, Mapping
from typing import Any

import streamlit as st

import arrival
import elements


def choice(name: str, options: Collection[str], default: str) -> str:
    """What the address says for this parameter; the default where it says nothing that is offered."""
    word = st.query_params.get(name, default)
    return word if word in options else default


def number(name: str, *, digits: int = 9) -> int | None:
    """The whole number of at most so many digits that the address says; None where it says none."""
    text = st.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def page(name: str) -> int:
    """The page that the address says, from 1."""
    return max(1, number(name, digits=6) or 1)


def say_unusable(name: str, instead: str) -> None:
    """Say of a number in the address that it is none, and what is shown instead; nothing where there is none."""
    if text := st.query_params.get(name, ""):
        st.warning(
            f"“{elements.escape(text[:40])}” in the address is no number of this kind: {instead} are shown.",
            icon=":material/link_off:",
        )


def choices(name: str, options: Collection[str]) -> list[str]:
    """The same for a parameter that may stand there several times."""
    return [word for word in st.query_params.get_all(name) if word in options]


def bound(name: str, value: Any, default: Any, *, resets: Collection[str] = ()) -> dict[str, Any]:
    """The arguments of a widget that has this value and writes another one into the address.

    `resets`: parameters that are taken away whenever this one changes, such as the page.
    """
    st.session_state[name] = value
    return {"key": name, "on_change": _write, "args": (name, default, tuple(resets))}


def write(name: str, value: Any, default: Any = None, resets: Collection[str] = ()) -> None:
    """Put a value into the address, or take the parameter away where it is the default."""
    text = "true" if value is True else str(value)
    word = "" if value in (default, None, "", []) else value if isinstance(value, list) else text
    change(dict.fromkeys(resets, "") | {name: word})


def change(parameters: Mapping[str, str | list[str]]) -> None:
    """Put these parameters into the address, or take them away where they are empty; one step of Back."""
    if arrival.is_left():
        return
    changed = {name: value if isinstance(value, list) else [value] for name, value in parameters.items()}
    address = {name: st.query_params.get_all(name) for name in st.query_params} | changed
    st.query_params.from_dict({name: values for name, values in address.items() if any(values)})
    arrival.note_address()


def _write(name: str, default: Any, resets: Collection[str]) -> None:
    write(name, st.session_state[name], default, resets)
