"""Orders as a work list: views with their counts, filters in the address, and a table that stands still."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import parse_qs

import streamlit as st

import cached
import drill_watch
import elements
import job_words
import orders_filters
import orders_saved
import orders_selection
import orders_table
import recording
import session
import times
from orders_table import Snapshot
from tracking.errors import TooSlow
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports.order_list import news as order_news
from tracking.reports.order_list import search
from tracking.reports.order_list.expected import expected_times
from tracking.reports.order_list.filters import Filters
from tracking.storage.reading.time_limits import ASKED_SECONDS

CHANGES_LISTED = 20
NARROWER = timedelta(days=7)
KEYS = (
    "In the table arrows move, Shift+Space selects a row, O opens it and P polls what is selected. Back and reload "
    "bring the filter back and flag the order opened last; the table starts at its top, as browsers do not remember a "
    "place inside it."
)


def read_snapshot(filters: Filters, before: Snapshot | None, now: datetime) -> Snapshot:
    """The page of orders that is shown: read anew when the filter changed, or when somebody asked for what is new."""
    asked: order_news.News | None = st.session_state.pop("show_news", None)
    zone = times.zone_name()
    stands = before is not None and (before.filters, before.zone) == (filters, zone) and not st.session_state["entered"]
    if before is not None and stands and asked is None:
        return before
    page = search.orders_page(session.database(), filters, now)
    if page.rows.empty and filters.page > 1:  # beyond the last page
        page = search.orders_page(session.database(), replace(filters, page=1), now)
    recording.search(filters.text, page.total - page.more, more=page.more)
    rows = page.rows.astype(object).to_dict("records")
    changes = {change.po_number: change.text for change in asked.changes} if asked else {}
    if asked and before:
        changes |= {row["po_number"]: "New" for row in rows if row["id"] > before.page.newest_id}
    number = before.number + 1 if before else 1
    return Snapshot(number, filters, zone, page, expected_times(session.database(), rows, now), now, changes)


@elements.live("5s", "news")
def news(snapshot: Snapshot) -> None:
    """Says what has come or changed since, order by order; the table itself keeps still."""
    current = order_news.list_news(session.database(), snapshot.filters, snapshot.page, utc_now())
    numbers = ((current.new, "new"), (len(current.changes), "changed"))
    parts = [f"{number:,} {word}" for number, word in numbers if number]
    if not parts:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", width="content"):
        if current.changes:
            with st.popover("What changed", type="tertiary", key="what_changed"):
                for change in current.changes[:CHANGES_LISTED]:
                    st.markdown(f"**{elements.escape(change.po_number)}**: {elements.escape(change.text)}")
                if rest := len(current.changes) - CHANGES_LISTED:
                    st.caption(f"and {rest} more" if rest > 0 else "")
        if st.button(f"{', '.join(parts)}: show", key="show_new", icon=":material/refresh:"):
            st.session_state["show_news"] = current
            st.rerun()


@elements.live("5s", "running_jobs")
def running_jobs() -> None:
    """Which acts on many orders are under way, whoever started them, each with the way to it."""
    running = cached.running_jobs()
    if not running:
        return
    with st.container(horizontal=True, gap="xsmall", key="running"):
        for job in running:
            done = job.total - job.waiting
            label = f"{job.person}: {job_words.naming(job.act, job.total)}, {100 * done // max(job.total, 1)} %"
            st.page_link(
                "jobs.py", label=elements.escape(label), icon=":material/progress_activity:", width="content",
                query_params={"job": str(job.id)},
            )  # fmt: skip


def head(filters: Filters, snapshot: Snapshot, problems: list[str]) -> None:
    """The views; below them what can be done with the list, and how many match as of when, with what filters it.

    `problems`: what of the filter was left out.

    On a phone the first two rows are swiped, so that the orders begin on its first screen. The right end above the
    table stays free: the table's own buttons appear there.
    """
    orders_filters.views(filters)
    total = snapshot.page.total
    with elements.row_to_swipe("list_head"):
        orders_filters.popover(filters)
        orders_filters.sorting(filters)
        orders_selection.export("Export", filters, "export", filters.view, total)
        orders_saved.menu(filters)
        if total:
            orders_selection.select_all(snapshot, problems)
    text = orders_selection.number_of(snapshot)
    meaning = f"{orders_filters.VIEW_MEANINGS[filters.view]} {KEYS}"
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="chips"):
        st.markdown(f"**{text}** as of {wording.clock(snapshot.at, snapshot.at)}", width="content", help=meaning)
        orders_filters.switches(filters)
        orders_filters.show_chips(filters)
        if orders_filters.chips(filters) and total:
            st.button("Clear filters", key="clear", type="tertiary", on_click=orders_filters.clear)
        news(snapshot)  # last: it comes and goes, and moves nothing here
    running_jobs()


def nothing(filters: Filters, *, incomplete: bool) -> None:
    """Why the list is empty, and the way out. `incomplete`: not all orders were looked through for the text."""
    together = cached.late_orders().incidents if filters.view == "late" and not filters.each else ()
    if together:
        number = sum(incident.late for incident in together)
        st.info(f"No order is late by itself; {number:,} are late as part of an incident.", icon=":material/groups:")
        label, act = "Include them", lambda: orders_filters.set_parameters(each="true")
    else:
        none = "No order found so far" if incomplete else "No matching orders"
        advice = "search for another part of it" if filters.text else "search for part of an ID"
        st.info(f"{none}. Clear filters, or {advice}.", icon=":material/search_off:")
        label, act = "Clear filters", orders_filters.clear
    st.button(label, key="way_out", on_click=act)


def filters_left() -> dict[str, str | list[str]]:
    """The filter with which this session last saw the list, as query parameters."""
    left: dict[str, str | list[str]] = st.session_state.get("orders_filter", {})
    return left


def too_slow(filters: Filters) -> None:
    """What to do about a filter that takes too long: its parts to take away, and a span of time that is narrower."""
    orders_filters.views(filters)
    with elements.row_to_swipe("list_head"):
        orders_filters.popover(filters)
        orders_filters.sorting(filters)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="chips"):
        orders_filters.show_chips(filters)
        st.button("Clear filters", key="clear", type="tertiary", on_click=orders_filters.clear)
    st.warning(
        f"This list takes longer than {ASKED_SECONDS:g} seconds to read: few orders match, and no index leads to them. "
        "Choose a span of time, or take a filter away.",
        icon=":material/hourglass_disabled:",
    )
    if filters.created_from is None:
        since = (utc_now() - NARROWER).date().isoformat()
        change = partial(orders_filters.set_parameters, **{"from": since})
        st.button(f"Only orders of the last {NARROWER.days} days", key="narrower", on_click=change)


filters, problems = orders_filters.read_filters()
if "list" in st.query_params or not set(st.query_params) & orders_filters.PARAMETERS:
    # The browser's Back brings the address without its parameters, or with those of the order's or the job's page,
    # which name them; the filter that was left is put back.
    left = parse_qs(st.query_params.get("list", "")) or (st.session_state["entered"] and filters_left())
    if left:
        st.switch_page("orders.py", query_params=left)
with elements.error_box():
    now = utc_now()
    try:
        snapshot = read_snapshot(filters, st.session_state.get("orders_snapshot"), now)
    except TooSlow:
        too_slow(filters)
        st.stop()
    st.session_state["orders_snapshot"] = snapshot
    st.session_state["orders_filter"] = filters.to_query()
    head(filters, snapshot, problems)
    for problem in dict.fromkeys(problems):
        st.warning(f"Left out of the filter: {elements.escape(problem)}", icon=":material/filter_alt_off:")
    if problems:
        st.caption(orders_selection.WIDER)
    for note in snapshot.page.notes:
        st.caption(f":material/info: {elements.escape(note)}")
    selected: list[str] = []
    if snapshot.page.rows.empty:
        nothing(filters, incomplete=snapshot.page.incomplete)
    else:
        drill_watch.opened(snapshot.page.rows["po_number"])
        selected = orders_table.draw(snapshot, now, st.session_state.get("last_opened"))
    page = snapshot.page
    # Where they could not be counted in time, a page that is full may have one behind it.
    pages = max(1, -(-page.total // filters.page_size)) + (page.more and len(page.rows) == filters.page_size)
    if pages > 1:
        orders_filters.pages(pages, filters.page if filters.page <= pages else 1)
    if selected or orders_selection.are_all_selected(snapshot, problems):
        orders_selection.bar(snapshot, selected)
