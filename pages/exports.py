"""The forms in which something is taken along: a button for each, made at the click and recorded in the audit log."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

import recording

FORMS = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


def buttons(
    what: str,
    make: Callable[[str], tuple[bytes, int]],
    *,
    key: str,
    file_name: str,
    forms: Sequence[str] = tuple(FORMS),
    **about: Any,
) -> None:
    """A button for each form; `make` gives a form's content and how many rows it has.

    `file_name` is without its ending; `about` is what the audit log holds besides, see `recording.export`.
    """
    for form in forms:
        st.download_button(
            form.upper(), recording.export(what, functools.partial(make, form), form=form, **about),
            file_name=f"{file_name}.{form}", mime=FORMS[form], key=f"{key}_{form}", on_click="ignore",
        )  # fmt: skip
