"""Page elements that all pages draw alike: formats, badges, tables' columns, links and the error box."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

import arrival
import navigation
import refreshed
import session
import times
from charts.palette import DARK, LIGHT, Palette
from tracking.errors import NotAdmitted, NotPermitted, TooSlow, TrackingError, explain
from tracking.orders import wording
from tracking.orders.model import State
from tracking.orders.vocabulary import state_label
from tracking.storage.reading.time_limits import REFRESHED_SECONDS, time_limit

P = ParamSpec("P")
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
    "at": "Occurred", "external_id": "External ID", "kind": "Kind", "learned_at": "Recorded",
    "po_number": "PO number", "product_id": "Product", "provider_id": "Provider ID", "seq": "Number",
    "rule": "Rule", "source": "Source", "stated_at": "Sender's timestamp", "text": "Event",
    "witness": "Source",
}  # fmt: skip
LONGEST_TEXT = 120
LONGEST_METRIC = 16
# What a metric would take for Markdown, as it can stand in the name of a currency.
_MARKED = re.compile(r"[^\w ,.()-]|www", re.IGNORECASE)
LETTER = 7.6  # pixels of an average letter of a table
TIME_COLUMNS = frozenset({"at", "placed"})
UNKNOWN_STATE_BADGE = (":material/question_mark:", "orange")


def is_dark() -> bool:
    """Whether the visitor sees the page in the dark theme."""
    return bool(st.context.theme.type == "dark")


def palette() -> Palette:
    """The colours of the theme in which the visitor sees the page."""
    return DARK if is_dark() else LIGHT


def live(every: str, key: str, *, parallel: bool = False) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate a part of a page that is drawn again by itself, `every` such as "3s", with times as chosen.

    A part runs without the page around it, and so sets by itself what that sets.
    """

    def decorated(draw: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(draw)
        def with_times(*args: P.args, **kwargs: P.kwargs) -> None:
            arrival.go_on()
            with error_box(), time_limit(REFRESHED_SECONDS):
                times.apply()
                with refreshed.or_later():
                    draw(*args, **kwargs)
                refreshed.note(key)

        fragment: Callable[P, None] = st.fragment(with_times, run_every=every, parallel=parallel, key=key)
        return fragment

    return decorated


def dialog(title: str, **settings: Any) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate a dialog. While it is open no part of the page draws all of it anew by itself: see `redraw_page`."""

    def decorated(draw: Callable[P, None]) -> Callable[P, None]:
        opened = st.dialog(title, on_dismiss="rerun", **settings)(draw)

        @functools.wraps(draw)
        def remembered(*args: P.args, **kwargs: P.kwargs) -> None:
            st.session_state["in_dialog"] = True
            opened(*args, **kwargs)

        return remembered

    return decorated


def row_to_swipe(key: str) -> DeltaGenerator:
    """A row that stays one where it is wider than the window, and is swiped: a phone shows what stands below it."""
    return st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small", key=key)


def redraw_page() -> None:
    """Draw the whole page anew, as its data changed; not while a dialog is open, which that would close.

    What is half typed there would be lost. Once the dialog is closed, the page is drawn anew anyway. What this run says
    was done the next one says again: the browser may not have come to it.
    """
    if not st.session_state.get("in_dialog"):
        if text := st.session_state.get("toast_of_this_run"):
            st.session_state["toast"] = text
        st.rerun()


def spending_label(label: str) -> str:
    """The label of a button for what may cost money: with the live provider it is red and says so."""
    return f":red[:material/bolt: **{label}, LIVE**]" if session.environment().is_live else label


def state_column(header: str = "State", labels: Iterable[str] = (), **settings: Any) -> Any:
    """A table's column of states as coloured pills; its cells are lists of one label, of `state_cell`.

    `labels`: those of the table, so that words of the provider's that nobody knows have their colour too.
    """
    colors = dict.fromkeys(labels, palette().other_state)
    colors |= {state_label(state): color for state, color in palette().states.items()}
    return pill_column(header, colors, **settings)


def pill_column(header: str, colors: Mapping[str, str], **settings: Any) -> Any:
    """A table's column of words as pills, each in its colour, thinned so that the word can be read on it."""
    tints = [palette().tint(color) for color in colors.values()]
    return st.column_config.MultiselectColumn(header, options=list(colors), color=tints, **settings)


def state_cell(state: str) -> list[str]:
    """A state as the cell of a `state_column`."""
    return [wording.plain(state_label(state))]


# Streamlit puts icons, emoji and symbols in place of these after Markdown was read, where no backslash keeps them.
_STREAMLIT_SHORTCUTS = re.compile(r":(?=material/|(?!\d\d:)[\w+-]+:)|(?<!\S)[-<>=~](?=[->=]{1,2}(?!\S))")
_JOINER = "\u2060"


def escape(text: object) -> str:
    """Text from outside for Markdown: shown as it is, nothing in it is interpreted."""
    return _escaped(wording.plain(text))


@functools.lru_cache(maxsize=2048)
def _escaped(text: str) -> str:
    """The same of text that is harmless otherwise; what is on the screen is drawn again and again."""
    flat = _STREAMLIT_SHORTCUTS.sub(lambda match: match[0] + _JOINER, " ".join(text.split()))
    flat = re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~:$&@^=])", r"\\\1", flat)
    # Backslashes do not keep bare addresses from becoming links; an invisible joiner within them does.
    flat = re.sub(r"(?i)(http|https|ftp|mailto|www)(?=\\[:.])", rf"\1{_JOINER}", flat)
    return flat.replace("\\@", rf"\@{_JOINER}")


def badge(state: str, *, width: Any = "content") -> None:
    """The state as a word with its shape and colour."""
    icon, color = STATE_BADGES.get(state, UNKNOWN_STATE_BADGE)
    st.badge(badge_label(state_label(state)), icon=icon, color=color, width=width)  # type: ignore[arg-type]  # the table holds only its colours


def state_text(state: str) -> str:
    """The same as Markdown without a ground, to stand within a text: a badge is higher than its line."""
    icon, color = STATE_BADGES.get(state, UNKNOWN_STATE_BADGE)
    return f":{color}[{icon} {escape(state_label(state))}]"


def badge_label(text: str) -> str:
    """Text from outside for a badge, which puts backslashes before brackets by itself."""
    return re.sub(r"\\([\[\]])", r"\1", escape(text))


def columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Column settings: headers in plain words, times as the reader has chosen."""
    return {
        name: _column(name, COLUMN_HEADERS.get(name, _plain(name)), frame[name]) for name in map(str, frame.columns)
    }


def _plain(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ").capitalize()


def _column(name: str, header: str, values: pd.Series) -> Any:
    if name.endswith("_at") or name in TIME_COLUMNS or pd.api.types.is_datetime64_any_dtype(values):
        return times.column(header)
    if pd.api.types.is_numeric_dtype(values):
        return st.column_config.Column(header)
    # The grid measures the first rows alone, and cuts what is longer further down without a sign of it.
    letters = max(len(header), *(len(text) for text in values.dropna().astype(str)), 0)
    return st.column_config.Column(header, pinned=name == "po_number", width=int(letters * LETTER + 24))


def shortened(values: pd.Series) -> pd.Series:
    """Texts for a column, cut with an ellipsis where they are longer than the widest column."""
    return values.map(
        lambda text: f"{text[: LONGEST_TEXT - 1]}…" if isinstance(text, str) and len(text) > LONGEST_TEXT else text
    )


def figure(label: str, value: str, *, help_text: str | None = None) -> None:
    """A figure in a box of its own; what is too long for large letters, or could be Markdown, is written small."""
    if len(value) <= LONGEST_METRIC and not _MARKED.search(value):
        st.metric(label, value, border=True, help=help_text)
        return
    with st.container(border=True, gap="xsmall"):
        st.caption(label, help=help_text)
        st.markdown(f"**{escape(value)}**")


def chart(figure: Any, key: str, alt: str, **more: Any) -> Any:
    """A plotly chart; `more` goes to Streamlit. Its place keeps its height while it is built anew, as data change."""
    with st.container(height=figure.layout.height + 16, border=False):
        return st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=alt, **more)


def order_link(po_number: str, *, label: str = "", query: dict[str, str] | None = None, **more: Any) -> None:
    """A link to the order's page; `query` is added to its address, `more` goes to `navigation.link`."""
    navigation.link("order.py", label or escape(po_number), query={"order": po_number} | (query or {}), **more)


@contextlib.contextmanager
def error_box() -> Iterator[None]:
    """Show our errors as what went wrong and what to do; the page ends there."""
    try:
        yield
    except NotAdmitted:
        st.rerun()  # the whole page, which begins with the question who it is, also where only a part of it ran
    except TrackingError as exc:
        _show_error(exc)
        st.stop()


def out_of_bounds(label: str, number: float, least: float, most: float) -> str | None:
    """What to say of a number outside its bounds; the browser would drop it without a word. None for one within."""
    return None if least <= number <= most else f"{label}: enter {least:,.10g} to {most:,.10g}, not {number:,.10g}."


def attempt(act: Callable[[], object]) -> bool:
    """Do what somebody asked for. What went wrong is shown here, and the page goes on; returns whether it was done."""
    try:
        act()
    except NotAdmitted:
        st.rerun()
    except TrackingError as exc:
        _show_error(exc)
        return False
    return True


def _show_error(error: TrackingError) -> None:
    explanation = explain(error)
    if isinstance(error, TooSlow):
        st.warning(f"{explanation.title}. {explanation.advice}", icon=":material/hourglass_disabled:")
        return
    if isinstance(error, NotPermitted):
        st.warning(escape(explanation.problems[0]), title=explanation.title, icon=":material/lock:")
        return
    problems = "\n".join(f"- {escape(problem)}" for problem in explanation.problems)
    st.error(problems, title=explanation.title, icon=":material/error:")
    if explanation.advice:
        st.caption(explanation.advice)


def toast_after_rerun(text: str) -> None:
    """Draw the page anew, and say there what was done; nothing in the text is interpreted."""
    st.session_state["toast"] = text
    st.rerun()


def show_toast() -> None:
    """Say what was done in the run before, and remember it until the page is drawn: see `redraw_page`."""
    text = st.session_state["toast_of_this_run"] = st.session_state.pop("toast", None)
    if text:
        st.toast(escape(text))
