"""A log's table: rows that open by mouse and by keyboard, its pages, what is new, and the strip of volumes above it."""

import functools
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pandas as pd
import streamlit as st

import address
import elements
import figure_cache
import times
from charts import logs as charts
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import activity
from tracking.reports.logs.volume import Volume
from tracking.reports.order_list import query_params

SIZE = 100
SPANS = ("15m", "1h", "6h", "24h", "7d", "30d")
USUAL_SPAN = "24h"
OPEN, ORDER = "open", "order"
ROW_HEIGHT = 27


def tools() -> Any:
    """The row of a log's filters and buttons."""
    return elements.row_to_swipe("log_filters")


def picker(
    label: str,
    name: str,
    options: Mapping[str, str],
    default: str,
    resets: Collection[str],
    width: int = 130,
    **more: Any,
) -> str:
    """A filter that is one of a few words in the address; people choose it by its label."""
    chosen = address.choice(name, options, default)
    bound = address.bound(name, chosen, default, resets=resets)
    st.selectbox(
        label,
        list(options),
        format_func=options.__getitem__,
        width=width,
        label_visibility="collapsed",
        **more,
        **bound,
    )
    return chosen


def span_chosen(*, resets: Collection[str]) -> timedelta:
    """The field for how far back the log goes; what is no length of time is told, and the usual one counts."""
    text = st.query_params.get("since", USUAL_SPAN)
    try:
        length = query_params.parse_length(text)
        utc_now() - length
    except (ValueError, OverflowError) as exc:
        st.warning(elements.escape(exc))
        text, length = USUAL_SPAN, query_params.parse_length(USUAL_SPAN)
    st.selectbox(
        "Within the last",
        list(dict.fromkeys([*SPANS, text])),
        accept_new_options=True,
        width=110,
        label_visibility="collapsed",
        help="How far back: 30m, 1h, 2d, or type another length",
        **address.bound("since", text, USUAL_SPAN, resets=("bar", *resets)),
    )
    return length


def shorter_span() -> str | None:
    """The next shorter time than the one that the address says; None where there is none."""
    try:
        length = query_params.parse_length(st.query_params.get("since", USUAL_SPAN))
    except (ValueError, OverflowError):
        length = query_params.parse_length(USUAL_SPAN)
    return next((span for span in reversed(SPANS) if query_params.parse_length(span) < length), None)


def window(volume: Volume) -> activity.Span:
    """The time that is listed: the chosen bar, else all bars."""
    chosen = chosen_bar()
    return (chosen, chosen + volume.step) if chosen else (volume.start, None)


def chosen_bar() -> datetime | None:
    """When the bar begins that the address names."""
    try:
        at = datetime.fromisoformat(st.query_params.get("bar", ""))
    except ValueError:
        return None
    return at if at.tzinfo else None


def bar_chosen(volume: Volume, noun: str, *, resets: Collection[str]) -> None:
    """The field that names one bar, which is what a click on it chooses; for the keyboard, and to leave it again."""
    numbers = volume.rows.groupby("start")["number"].sum()
    chosen = chosen_bar()
    bars = sorted({*numbers.index, *([chosen] if chosen else [])}, reverse=True)
    labels = {
        at.isoformat(): f"{wording.clock(at, utc_now())}, {wording.count(int(numbers.get(at, 0)), noun)}" for at in bars
    }
    st.selectbox(
        "Part of the time",
        list(labels),
        format_func=lambda bar: labels.get(bar, bar),
        index=None,
        placeholder="All bars",
        width=230,
        label_visibility="collapsed",
        help="A click on a bar of the chart does the same",
        **address.bound("bar", chosen.isoformat() if chosen else None, None, resets=resets),
    )


def strip(volume: Volume, groups: Mapping[str, tuple[str, str]], noun: str, *, resets: Collection[str]) -> None:
    """The bars of the span by group; `groups` maps what is stored to its label and colour. A click chooses a bar."""
    frame, colors, summary = _bars(volume, tuple(groups.items()), noun, times.zone())
    chosen = chosen_bar()
    key = f"strip_{noun}_{chosen}"
    figure = figure_cache.figure(
        volume,
        key,
        lambda: charts.volume(
            frame, colors, start=volume.start, step=volume.step, end=volume.end, chosen=chosen, zone=times.zone(),
            palette=elements.palette(),
        ),
    )  # fmt: skip
    elements.chart(
        figure, key, f"{noun.capitalize()}s by time: {summary}.",
        on_select=lambda: _choose(key, resets), selection_mode="points",
    )  # fmt: skip
    if volume.capped:
        st.caption(f"Only the newest {activity.ROWS_SEARCHED:,} {noun}s of this time are counted and searched.")


@functools.lru_cache(maxsize=64)
def _bars(
    volume: Volume,
    groups: tuple[tuple[str, tuple[str, str]], ...],
    noun: str,
    zone: tzinfo,  # noqa: ARG001 - what it is remembered under
) -> tuple[pd.DataFrame, dict[str, str], str]:
    """The strip's bars, the colours of its groups, and its sums in words; of the same volume the same ones."""
    labels = {group: label for group, (label, _) in groups}
    present = set(volume.rows["group"])
    colors = dict(named for group, named in groups if group in present)
    frame = volume.rows.assign(group=volume.rows["group"].map(lambda group: labels.get(group, group)))
    frame = frame.groupby(["start", "group"], sort=False)["number"].sum().reset_index()
    frame["text"] = [f"{wording.clock(row.start, utc_now())}: {row.number:,} {row.group}" for row in _records(frame)]
    sums = frame.groupby("group")["number"].sum()
    summary = ", ".join(f"{sums[label]:,} {label}" for label in colors if label in sums) or f"no {noun}s"
    return frame, colors, summary


def _records(frame: pd.DataFrame) -> list[Any]:
    return list(frame.itertuples())


def _choose(key: str, resets: Collection[str]) -> None:
    if points := st.session_state[key].selection.points:
        bar = points[0].get("customdata")
        address.write("bar", None if bar == st.query_params.get("bar") else bar, resets=resets)


def offset(name: str) -> int:
    """Where the page begins that the address says."""
    return (address.page(name) - 1) * SIZE


def pages(name: str, rows: int) -> None:
    """Goes on as long as full pages come."""
    page = address.page(name)
    if rows == SIZE or page > 1:
        key = f"{name}_{page}"  # one for each page, as the widget has no other way to be told where it stands
        st.pagination(page + (rows == SIZE), default=page, key=key, on_change=_turn_page, args=(name, key))


def _turn_page(name: str, key: str) -> None:
    address.write(name, st.session_state[key], 1)


def newest(read: Callable[[], pd.DataFrame], words: str, fresh: Any) -> pd.DataFrame:
    """The rows as they are now; whether others have come or changed since is said in `fresh`."""
    frame = read()
    with fresh:
        news(read, frame, words)
    return frame


@elements.live("5s", "news")
def news(read: Callable[[], pd.DataFrame], frame: pd.DataFrame, words: str) -> None:
    """Says how many rows have come or changed since the table was read; the table itself keeps still."""
    number = activity.count_differences(frame, read())
    if number and st.button(f"{number} {words}: show", key="show_new", icon=":material/refresh:"):
        st.rerun()


def table(
    frame: pd.DataFrame,
    name: str,
    columns: Mapping[str, Any],
    alt: str,
    *,
    opened: Callable[[pd.Series], None] | None = None,
    place: Any = None,
) -> None:
    """The table with these columns of the frame. `opened` shows a row; `po_order` names the order of a row, if any.

    By mouse a row is opened by its button, and its order by the button that says its PONumber. By keyboard a row opens
    as it is selected, and once more by the button in `place`. A click on a header says that nothing is sorted.
    """
    turn = st.session_state.setdefault(f"{name}_turn", 0)
    key = f"{name}_table_{turn}"
    visible = frame.apply(lambda column: elements.shortened(column) if column.dtype in (object, "str") else column)
    config = dict(columns)
    if opened is not None:
        visible.insert(0, OPEN, "Open")
        config = {
            OPEN: st.column_config.ButtonColumn("Details", width=70, pinned=True, type="tertiary", key=f"{name}_open")
        } | config
    with st.container(key=name):
        event = st.dataframe(
            visible, key=key, height="content", hide_index=True, column_config=config, column_order=list(config),
            row_height=ROW_HEIGHT, placeholder="", alt=alt, on_select=lambda: _select(key, name),
            selection_mode=("single-row", "single-column"),
        )  # fmt: skip
    selected = [row for row in event.selection.rows if row < len(frame)]
    if opened is not None:
        with place:
            pressed = st.button(
                "Open", key="open_selected", icon=":material/open_in_full:", disabled=not selected, shortcut="O",
                help="Opens the selected row once more. One opens as it is selected by the box at its left, or by "
                "Shift+Space.",
            )  # fmt: skip
        click = st.session_state.get(f"{name}_open")
        just_selected = st.session_state.pop(f"{name}_selected", None)
        row = click["row"] if click else selected[0] if pressed and selected else just_selected
        if row is not None and 0 <= row < len(frame):
            opened(frame.iloc[row])
    click = st.session_state.get(f"{name}_order")
    if (
        click
        and 0 <= click["row"] < len(frame)
        and isinstance(number := frame[ORDER].iloc[click["row"]], str)
        and number
    ):
        st.switch_page("order.py", query_params={"order": number})


def plain(
    read: Callable[[], pd.DataFrame], name: str, columns: Mapping[str, Any], alt: str, fresh: Any
) -> pd.DataFrame:
    """A table without strip and details; returns what it holds."""
    frame = newest(read, "changed", fresh)
    if frame.empty:
        st.caption("Nothing yet.")
    else:
        table(frame, name, columns, alt)
    return frame


def order_column(name: str) -> Any:
    """The column whose cells open their order."""
    return st.column_config.ButtonColumn("Order", width=190, type="tertiary", key=f"{name}_order", alignment="left")


def _select(key: str, name: str) -> None:
    """Open the row that was selected. Nothing is sorted by a header: the grid would sort this page alone.

    The table begins anew then, lest the header stay selected.
    """
    selection = st.session_state[key].selection
    if selection.columns:
        st.session_state[f"{name}_turn"] += 1
        st.toast("Newest first; this list has no other order.")
    elif selection.rows:
        st.session_state[f"{name}_selected"] = selection.rows[0]
