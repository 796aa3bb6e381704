"""The story of an order on its page: its chart, its timeline in rows, and each of its events."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

import elements
import session
import times
from charts import order as charts
from charts import order_progress
from tracking.orders import wording
from tracking.orders.model import Order, Witness, is_open
from tracking.orders.observations import utc_now
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import TimelineEntry
from tracking.reports.order_page import progress, story
from tracking.reports.order_page.rows import REMOVED
from tracking.reports.order_page.story import Story
from tracking.reports.order_page.verdicts import OrderView

ROWS = 60
ROWS_IN_CHART = 300
EVENTS_PER_PAGE = 100
CHART_STAYS = timedelta(minutes=1)
BULK = 10
"""From so many cards on their progress is drawn."""
LATER = timedelta(seconds=30)
ICONS: dict[str, str] = {
    Witness.US: ":blue[:material/send:]",
    Witness.ANSWER: ":blue[:material/reply:]",
    Witness.POLL: ":blue[:material/sync:]",
    Witness.WEBHOOK: ":violet[:material/webhook:]",
    Witness.PERSON: ":orange[:material/person:]",
}
_TROUBLE = {
    EventKind.CONTRADICTION,
    EventKind.PO_NUMBER_MISMATCH,
    EventKind.REFUSED,
    EventKind.OUTCOME_UNKNOWN,
    EventKind.CANCELLED,
}


def _story(order_id: int, now: datetime) -> Story:
    """The story as it is now; its events are read again only where it is another one, or times are shown otherwise."""
    version = order_id, times.zone_name(), story.story_version(session.database(), order_id, now)
    last = st.session_state.get("order_story")
    if last is None or last[0] != version:
        last = st.session_state["order_story"] = version, story.story(session.database(), order_id, now)
    record: Story = last[1]
    return record


@elements.live("2s", "chart")
def draw_charts(order: Order, order_id: int) -> None:
    """The charts, which move by themselves; none of an order whose beginning was removed, as they would make it up."""
    now = utc_now()
    record = _story(order_id, now)
    if all(row.kind != REMOVED for row in record.rows):
        _draw_charts(order, order_id, record, now)


@elements.live("2s", "live")
def _draw_summary(order_id: int) -> None:
    now = utc_now()
    with st.container(key="story"):
        draw_rows(_story(order_id, now).rows, now)


def draw_summary(view: OrderView) -> None:
    """The timeline in rows, which move by themselves."""
    _draw_summary(view.id)


def draw_rows(rows: Sequence[TimelineEntry], now: datetime) -> None:
    """The newest rows as a list with fixed columns: when, who said it, what; what is still to come is grey."""
    if len(rows) > ROWS:
        st.caption(f"{len(rows) - ROWS:,} earlier rows are under All events.")
    head = (f"| {elements.escape(times.heading('When'))} | Source | Event |", "| :-- | :-- | :-- |")
    st.markdown("\n".join([*head, *(_row(row, now) for row in rows[-ROWS:])]))


def _row(row: TimelineEntry, now: datetime) -> str:
    icon, label = ICONS.get(row.witness, ICONS[Witness.US]), wording.source_label(row.witness)
    # The source stands in a column of its own.
    words = row.text.removeprefix(f"{label}: ")
    words = words if words == row.text else words[:1].upper() + words[1:]
    at, text = elements.escape(times.text(row.at, now)), elements.escape(words)
    source = label.replace(" ", "&nbsp;")
    if row.ahead:
        return f"| :gray[{at}] | :gray[:material/schedule:&nbsp;{source}] | :gray[{text}] |"
    if row.kind in _TROUBLE:
        text = f":red[{text}]"
    late = row.count == 1 and row.learned_at - row.until > LATER
    learned = f" :gray[(recorded {elements.escape(times.text(row.learned_at, now))})]" if late else ""
    return f"| {at} | {icon}&nbsp;{source} | {text}{learned} |"


def _draw_charts(order: Order, order_id: int, record: Story, now: datetime) -> None:
    """Charts are built anew, under the pointer that reads them, where they change.

    So they are drawn again when something else than another equal poll has come, and else once a minute.
    """
    palette = elements.palette()
    rows = record.rows[-ROWS_IN_CHART:]
    drawn_of = (order_id, order.state, tuple(row.seq for row in rows if not row.ahead), palette, times.zone_name())
    drawn = st.session_state.get("timeline_figure")
    if drawn is None or drawn["of"] != drawn_of or (is_open(order.state) and now - drawn["at"] > CHART_STAYS):
        life = charts.Life(
            order.created_at, order.state, order.completed_after, order.completed_by, max(now, order.created_at)
        )
        frame = _frame(rows)
        figures = _draw_figures(order, frame, life, record)
        drawn = {"of": drawn_of, "at": now, "figures": figures, "alt": charts.alt(frame, life)}
        st.session_state["timeline_figure"] = drawn
    elements.chart(drawn["figures"][0], "timeline_chart", drawn["alt"])
    if len(drawn["figures"]) > 1:
        text = _progress_text(order, record, now)
        st.caption(elements.escape(text))
        elements.chart(drawn["figures"][1], "progress_chart", f"Cards fulfilled over time. {text}")


def _frame(rows: Sequence[TimelineEntry]) -> pd.DataFrame:
    names = ["at", "until", "witness", "kind", "text", "count", "ahead"]
    table = [[*(getattr(row, name) for name in names), row.changes.get("state")] for row in rows]
    return pd.DataFrame(table, columns=[*names, "state"])


def _draw_figures(order: Order, frame: pd.DataFrame, life: charts.Life, record: Story) -> list[Any]:
    """The timeline and, of an order of many cards, their progress."""
    figures = [charts.timeline(frame, life, elements.palette())]
    if order.units >= BULK and len(record.fulfilled) > 1:
        projection = _projection(order, record, life.now)
        ends = (projection.earliest, projection.middle, projection.latest) if projection else None
        until = max(_polled_at(order, record, life.now), record.fulfilled[-1][0])
        figures.append(order_progress.fulfilled(record.fulfilled, order.units, until, ends, elements.palette()))
    return figures


def _polled_at(order: Order, record: Story, now: datetime) -> datetime:
    """Up to when the progress is on record."""
    return (record.polled_at if is_open(order.state) else order.completed_by) or now


def _projection(order: Order, record: Story, now: datetime) -> progress.Projection | None:
    polled_at = _polled_at(order, record, now)
    return progress.project(record.fulfilled, order.units, polled_at) if is_open(order.state) else None


def _progress_text(order: Order, record: Story, now: datetime) -> str:
    done = record.fulfilled[-1][1]
    text = f"{done:,} of {wording.count(order.units, 'card')} fulfilled."
    if (projection := _projection(order, record, now)) is not None:
        return f"{text} {projection.text}"
    if not is_open(order.state) or done >= order.units:
        return text
    few = progress.steps(record.fulfilled)
    return f"{text} Not enough recorded increases for a projection ({few} of {progress.LEAST_STEPS})."


def draw_events(view: OrderView) -> None:
    """Each event, newest first."""
    pages = max(1, -(-view.event_count // EVENTS_PER_PAGE))
    page = st.pagination(pages, key="events_page") if pages > 1 else 1
    rows = story.all_events(session.database(), view.id, page, EVENTS_PER_PAGE)
    table = [(row.seq, row.learned_at, row.at, wording.source_label(row.witness), row.text) for row in rows]
    frame = pd.DataFrame(table, columns=["seq", "learned_at", "at", "witness", "text"])
    config = {
        "seq": st.column_config.NumberColumn("#", width=60),
        "learned_at": times.column("Recorded"),
        "at": times.column("Occurred"),
        "witness": st.column_config.TextColumn("Source", width=110),
        "text": st.column_config.TextColumn("Event", width=700),
    }
    st.dataframe(
        frame,
        key="everything",
        hide_index=True,
        column_config=config,
        placeholder="",
        alt="Every event of the order, newest first",
    )
    order = {"order": view.order.po_number}
    st.page_link("audit.py", label="Audit log of this order", icon=":material/policy:", query_params=order)
