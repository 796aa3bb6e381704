"""Page elements that all pages draw alike: formats, badges, tables' columns, links and the error box."""

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from tracking.errors import NotAdmitted, NotPermitted, TrackingError, explain
from tracking.orders import wording
from tracking.orders.model import State
from tracking.orders.observations import utc_now

STATE_BADGES: dict[str, tuple[str, str]] = {
    State.QUEUED: (":material/hourglass_empty:", "gray"),
    State.SENDING: (":material/send:", "gray"),
    State.UNKNOWN: (":material/help:", "red"),
    State.REFUSED: (":material/block:", "red"),
    State.ACCEPTED: (":material/task_alt:", "blue"),
    State.PENDING: (":material/schedule:", "blue"),
    State.PROCESSING: (":material/sync:", "blue"),
    State.AWAITING_APPROVAL: (":material/front_hand:", "orange"),
    State.COMPLETED: (":material/check_circle:", "green"),
    State.CANCELLED: (":material/cancel:", "violet"),
}
COLUMN_HEADERS = {
    "at": "Happened", "external_id": "External id", "kind": "What", "learned_at": "Learned",
    "po_number": "PONumber", "product_id": "Product", "provider_id": "Provider's id", "seq": "Number",
    "stated_at": "Stated by the caller", "text": "In words", "witness": "Learned from",
}  # fmt: skip
TIME_COLUMNS = frozenset({"at", "placed"})
UNKNOWN_STATE_BADGE = (":material/question_mark:", "orange")


# Streamlit puts icons, emoji and symbols in place of these after Markdown was read, where no backslash keeps them.
_STREAMLIT_SHORTCUTS = re.compile(r":(?=material/|(?!\d\d:)[\w+-]+:)|(?<!\S)[-<>=~](?=[->=]{1,2}(?!\S))")
_JOINER = "\u2060"


def escape(text: object) -> str:
    """Text from outside for Markdown: shown as it is, nothing in it is interpreted."""
    flat = _STREAMLIT_SHORTCUTS.sub(lambda match: match[0] + _JOINER, " ".join(wording.plain(text).split()))
    flat = re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~:$&@^=])", r"\\\1", flat)
    # Backslashes do not keep bare addresses from becoming links; an invisible joiner within them does.
    flat = re.sub(r"(?i)(http|https|ftp|mailto|www)(?=\\[:.])", rf"\1{_JOINER}", flat)
    return flat.replace("\\@", rf"\@{_JOINER}")


def ago(at: datetime | None, now: datetime | None = None) -> str:
    """How long ago, or in how long, in words."""
    if at is None:
        return "never"
    now = now or utc_now()
    return f"in {wording.duration(at - now)}" if at > now else f"{wording.duration(now - at)} ago"


def badge(state: str) -> None:
    """The state as a word with its shape and colour."""
    icon, color = STATE_BADGES.get(state, UNKNOWN_STATE_BADGE)
    label = re.sub(r"\\([\[\]])", r"\1", escape(state))  # a badge puts backslashes before brackets by itself
    st.badge(label, icon=icon, color=color)  # type: ignore[arg-type]  # LOOKS holds only its colours


def columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Column settings: headers in plain words, times in UTC."""
    return {
        name: _column(name, COLUMN_HEADERS.get(name, _plain(name)), frame[name]) for name in map(str, frame.columns)
    }


def _plain(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ").capitalize()


def _column(name: str, header: str, values: pd.Series) -> Any:
    if name.endswith("_at") or name in TIME_COLUMNS or pd.api.types.is_datetime64_any_dtype(values):
        return st.column_config.DatetimeColumn(header, format="YYYY-MM-DD HH:mm:ss", timezone="UTC")
    return st.column_config.Column(header, pinned=name == "po_number")


def chart(figure: Any, key: str, alt: str) -> None:
    """A plotly chart. Streamlit builds it anew whenever its data change; its place keeps its height meanwhile."""
    with st.container(height=figure.layout.height + 16, border=False):
        st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt)


def order_link(po_number: str, *, label: str = "", icon: str | None = None) -> None:
    """A link to the order's page."""
    st.page_link("timeline.py", label=label or escape(po_number), icon=icon, query_params={"order": po_number})


@contextlib.contextmanager
def error_box() -> Iterator[None]:
    """Show our errors as what went wrong and what to do; the page ends there."""
    try:
        yield
    except NotAdmitted:
        st.rerun()  # the whole page, which begins with the question who it is, also where only a part of it ran
    except TrackingError as exc:
        explanation = explain(exc)
        if isinstance(exc, NotPermitted):
            st.warning(escape(explanation.problems[0]), title=explanation.title, icon=":material/lock:")
            st.stop()
        problems = "\n".join(f"- {escape(problem)}" for problem in explanation.problems)
        st.error(problems, title=explanation.title, icon=":material/error:")
        if explanation.advice:
            st.caption(explanation.advice)
        st.stop()
