"""The table of orders: coloured states, progress, money and times, rows to select, and what can be done with them.

It stands still until it is drawn anew: a row that was selected stays the order that it was.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

import elements
import orders_filters
import times
from tracking.orders import wording
from tracking.orders.model import WebhookStatus, is_open
from tracking.orders.vocabulary import REASON_LABELS, reason_label
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.search import Page

KEY = "orders_table"
ROW_HEIGHT = 30
LETTER = 6.7  # pixels of an average letter of the table, and of one in a pill, with the margins of a pill
PILL_LETTER, PILL_MARGIN = 6.2, 14
LONGEST_ID, LONGEST_REASON = 40, 60
LATE, WEBHOOK_ONLY, ACKNOWLEDGED, LAST_OPENED = "Late", "Webhook only", "Acknowledged", "Last opened"
SNOOZED = "Snoozed"
# By what the whole list is sorted when somebody presses the head of a column.
SORT_OF_COLUMN = {
    "po_number": "po number", "state": "state", "type": "type", "units": "cards", "fulfilled": "cards",
    "value": "value", "placed": "placed", "age": "placed", "completed": "completed",
}  # fmt: skip
UNMARKED = {"age", "fulfilled"}  # another column shows that it is sorted by
ALWAYS = {"state", "po_number", "placed"}
HEADERS = {
    "po_number": "PO number", "change": "What changed", "age": "Age", "flags": "Flags", "units": "Fulfilled",
    "fulfilled": "Cards", "value": "Value", "completed": "Completed", "reason": "Reason", "type": "Type",
    "provider_id": "Provider ID",
    "source": "Source", "state": "State", "expected": "Expected by, 90 %", "placed": "Placed",
    "assignee": "Assigned to",
}  # fmt: skip
FLAGS_WIDTH = 290  # pixels
RIGHT = {"age", "fulfilled", "value"}
AGES_STAY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A page of orders as it was read, `expected` by when each is complete, and `changes` that it shows, by PO number.

    `number` counts the snapshots of a session, so that a selection of rows belongs to one of them.
    """

    number: int
    filters: Filters
    zone: str
    page: Page
    expected: Sequence[datetime | None]
    at: datetime
    changes: Mapping[str, str] = field(default_factory=dict)


def table_frame(snapshot: Snapshot, now: datetime, last_opened: str | None) -> pd.DataFrame:
    """The table's cells, without the columns in which no order of the page has anything."""
    rows = snapshot.page.rows
    orders = rows.astype(object).to_dict("records")
    changes = [snapshot.changes.get(order["po_number"], "") for order in orders]
    cells: dict[str, Any] = {
        "state": [elements.state_cell(order["state"]) for order in orders],
        "po_number": [_cut(order["po_number"]) for order in orders],
        "change": changes,
        "age": [wording.duration(now - order["created_at"]) if is_open(order["state"]) else "" for order in orders],
        "placed": rows["created_at"],
        "value": rows["worth"],
        "expected": pd.to_datetime(pd.Series(list(snapshot.expected), dtype=object), utc=True),
        "units": [100 * order["units_fulfilled"] / order["units"] if order["units"] else None for order in orders],
        "fulfilled": [f"{order['units_fulfilled']:,}/{order['units']:,}" for order in orders],
        "flags": [_that_fit(flags(order, last_opened)) for order in orders],
        "assignee": [_cut(order["assignee"]) for order in orders],
        "reason": [_cut(reason(order, now), LONGEST_REASON) for order in orders],
        "completed": rows["completion"],
        "type": [orders_filters.type_label(order["type"]) for order in orders],
        "provider_id": [_cut(order["provider_id"]) for order in orders],
        "source": [orders_filters.source_label(order["source"]) for order in orders],
    }
    frame = pd.DataFrame({name: pd.Series(list(values)) for name, values in cells.items()})
    return frame[[name for name in cells if name in ALWAYS or any(_holds(value) for value in frame[name])]]


def _holds(value: Any) -> bool:
    return bool(value) if isinstance(value, str | list) else not pd.isna(value)


def _cut(value: object, longest: int = LONGEST_ID) -> str:
    """Text of any length as a cell, with an ellipsis where it is cut; empty where there is none."""
    text = wording.plain(value) if isinstance(value, str) else ""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def reason(order: Mapping[Any, Any], now: datetime) -> str:
    """Why it needs a decision, or needed one."""
    words, code, webhook_at = (
        None if pd.isna(order[name]) else order[name] for name in ("attention", "attention_reason", "claimed_at")
    )
    return wording.decision_words(words, code, webhook_at, now)


def flags(order: Mapping[Any, Any], last_opened: str | None = None) -> list[str]:
    """What is remarkable about an order, in words."""
    words = [word for word, so in ((SNOOZED, order["snoozed"]), (LATE, order["late"])) if so]
    if order["notice"] == WebhookStatus.CLAIMED and is_open(order["state"]):
        words.append(WEBHOOK_ONLY)
    if isinstance(order["attention"], str):
        acknowledged = not pd.isna(order["acknowledged_at"])
        words.append(ACKNOWLEDGED if acknowledged else reason_label(order["attention_reason"]))
    return words + ([LAST_OPENED] if order["po_number"] == last_opened else [])


def _that_fit(words: list[str]) -> list[str]:
    """As many as their column has room for, then how many more there are: the order's page tells them."""
    width = 0.0
    for number, word in enumerate(words):
        width += _pill_width(word)
        if width > FLAGS_WIDTH and number:
            return [*words[:number], f"+{len(words) - number}"]
    return words


def _pill_width(word: str) -> float:
    return len(word) * PILL_LETTER + PILL_MARGIN


def table_columns(frame: pd.DataFrame, filters: Filters) -> dict[str, Any]:
    """Settings of the columns, each as wide as its texts are: a cell that is too narrow is cut without a sign of it."""
    names = list(map(str, frame.columns))
    arrow = " ↓" if filters.descending else " ↑"
    plain = HEADERS | {"completed": f"{HEADERS['completed']} ({times.zone_label()})"}
    headers = plain | {
        name: plain[name] + arrow for name in names if name not in UNMARKED and SORT_OF_COLUMN.get(name) == filters.sort
    }
    widths = {name: _width(headers[name], frame[name]) for name in names}
    texts = {
        name: st.column_config.TextColumn(
            headers[name], width=widths[name], alignment="right" if name in RIGHT else "left"
        )
        for name in names
    }
    palette = elements.palette()
    colors = {LATE: palette.warning, WEBHOOK_ONLY: palette.accent, ACKNOWLEDGED: palette.muted}
    colors |= {LAST_OPENED: palette.primary, SNOOZED: palette.muted} | dict.fromkeys(
        REASON_LABELS.values(), palette.trouble
    )
    special = {
        "state": elements.state_column(
            headers["state"], sorted({state for [state] in frame["state"]}), pinned=True, width=widths["state"]
        ),
        "po_number": st.column_config.ButtonColumn(
            headers["po_number"], width=widths["po_number"], pinned=True, alignment="left", type="tertiary",
            key=f"{KEY}_open",
        ),
        "flags": elements.pill_column(headers["flags"], colors, width=widths.get("flags")),
        "units": st.column_config.ProgressColumn(headers["units"], width=76, min_value=0, max_value=100, format=" "),
        "expected": times.column(
            headers["expected"], width=_time_width(headers["expected"]),
            help="By when 90 % of similar orders of this age are complete.",
        ),
        "placed": times.column(headers["placed"], width=_time_width(headers["placed"])),
    }  # fmt: skip
    return {name: special.get(name, texts[name]) for name in names}


def _width(header: str, values: pd.Series) -> int:
    """As wide as the longest cell; pills have margins of their own."""
    lengths = [
        sum(map(_pill_width, value)) if isinstance(value, list) else len(str(value)) * LETTER for value in values
    ]
    return int(max([len(header) * LETTER, *lengths])) + 20


def _time_width(header: str) -> int:
    """As wide as a moment, or as the head, which names the zone."""
    return int(max(len("Nov 30, 00:00:00"), len(header) + len(times.zone_label()) + 2) * LETTER) + 12


@dataclass(frozen=True, slots=True)
class _Table:
    """The cells of a snapshot with the settings of their columns, as they were at a moment."""

    snapshot: Snapshot
    marked: tuple[str | None, str, str]
    at: datetime
    frame: pd.DataFrame
    columns: dict[str, Any]


def _table(snapshot: Snapshot, now: datetime, last_opened: str | None) -> _Table:
    """The table, made anew where it would show another thing, and for the ages of its orders every few seconds.

    A run of the page for a choice elsewhere on it would else spend a quarter of its time on the same cells.
    """
    marked = last_opened, times.display(), times.zone_name()
    table: _Table | None = st.session_state.get(f"{KEY}_table")
    is_same = table is not None and table.snapshot is snapshot and table.marked == marked
    if table is None or not is_same or not timedelta() <= now - table.at < AGES_STAY:
        frame = table_frame(snapshot, now, last_opened)
        table = _Table(snapshot, marked, now, frame, table_columns(frame, snapshot.filters))
        st.session_state[f"{KEY}_table"] = table
    return table


def draw(snapshot: Snapshot, now: datetime, last_opened: str | None) -> list[str]:
    """Draw the table; returns the PO numbers of the selected rows.

    Arrows move from cell to cell and nothing else; Shift and Space select a row. A PO number opens its order.
    """
    table = _table(snapshot, now, last_opened)
    po_numbers = snapshot.page.rows["po_number"].tolist()
    key = f"{KEY}_{snapshot.number}_{st.session_state.setdefault(f'{KEY}_turn', 0)}"
    with st.container(key=KEY):
        event = st.dataframe(
            table.frame,
            key=key,
            height="content",
            row_height=ROW_HEIGHT,
            hide_index=True,
            column_config=table.columns,
            placeholder="",
            on_select=functools.partial(_sort_by_header, key, snapshot.filters),
            selection_mode=("multi-row", "single-column"),
            alt=_alt(snapshot),
        )
    click = st.session_state.get(f"{KEY}_open")
    if click and 0 <= click["row"] < len(po_numbers):
        open_order(po_numbers[click["row"]], snapshot.filters)
    return [po_numbers[row] for row in event.selection.rows if row < len(po_numbers)]


def _alt(snapshot: Snapshot) -> str:
    """What the table holds, in a sentence."""
    direction = "descending" if snapshot.filters.descending else "ascending"
    sorting = f"{orders_filters.SORT_LABELS[snapshot.filters.sort]}, {direction}"
    return f"{len(snapshot.page.rows)} of {snapshot.page.number} orders, sorted by {sorting}"


def _sort_by_header(key: str, filters: Filters) -> None:
    """Sort all that match by the column whose head was pressed, the other way round where they are sorted by it."""
    if not (pressed := st.session_state[key].selection.columns):
        return
    # The browser would keep the head selected, and send it along with each row that is selected later.
    new_turn()
    if (word := SORT_OF_COLUMN.get(pressed[0])) is None:
        st.toast(f"The list can be sorted by {', '.join(orders_filters.SORT_LABELS.values())}.")
        return
    ascending = filters.sort == word and filters.descending
    orders_filters.set_parameters(sort="" if word == "placed" else word, asc="true" if ascending else "")


def new_turn() -> None:
    """Take all selections away."""
    st.session_state[f"{KEY}_turn"] = st.session_state.get(f"{KEY}_turn", 0) + 1


def open_order(po_number: str, filters: Filters) -> None:
    """Go to the order's page; its address leads back to this list, where the order is marked."""
    st.session_state["last_opened"] = po_number
    address = urlencode(filters.to_query() or {"page": "1"}, doseq=True)
    st.switch_page("order.py", query_params={"order": po_number, "list": address})
