"""Download buttons of exports, one for each form; made at the click, and recorded in the audit log.

Streamlit holds what a button gives in memory, whole: a file of a page is bounded. The command line writes any size.
"""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import streamlit as st

import recording
from tracking.errors import NotAllowed

FORMS = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}

MOST_BYTES = 100_000_000
LARGER = f"Files of up to {MOST_BYTES // 1_000_000} MB; the command “tracking export” writes larger ones."


class _Bounded(io.BytesIO):
    """A file in memory that refuses to grow beyond MOST_BYTES: half a file would pass for a whole one."""

    def write(self, content: Any, /) -> int:
        """Write it, or none of it. Raises NotAllowed."""
        if self.tell() + len(content) > MOST_BYTES:
            raise NotAllowed(f"the file would be larger than {MOST_BYTES // 1_000_000} MB: use `tracking export`")
        return super().write(content)


def in_memory(write: Callable[[IO[bytes]], int]) -> tuple[bytes, int]:
    """What `write` writes, and how many rows it says that is. Raises NotAllowed where it is more than a page gives."""
    file = _Bounded()
    rows = write(file)
    return file.getvalue(), rows


def buttons(
    what: str,
    make: Callable[[str], tuple[bytes, int]],
    *,
    key: str,
    file_name: str,
    forms: Sequence[str] = tuple(FORMS),
    sizes: Mapping[str, int] | None = None,
    **about: Any,
) -> None:
    """A button for each form; `make` gives a form's content and how many rows it has.

    `sizes` is about how many bytes each form has: one of more than MOST_BYTES cannot be asked for, and why is said.

    `file_name` is without its ending; `about` is what the audit log holds besides, see `recording.export`.
    """
    too_large = {form: size for form, size in (sizes or {}).items() if size > MOST_BYTES}
    if too_large:
        megabytes = ", ".join(f"{form.upper()} about {size / 1_000_000:,.0f} MB" for form, size in too_large.items())
        st.caption(f"Too large for a page: {megabytes}. “tracking export” writes it, or set a narrower filter.")
    for form in forms:
        st.download_button(
            form.upper(), recording.export(what, functools.partial(make, form), form=form, **about),
            file_name=f"{file_name}.{form}", mime=FORMS[form], key=f"{key}_{form}", on_click="ignore",
            disabled=form in too_large,
        )  # fmt: skip
