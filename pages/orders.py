"""Find any order: one box for any id, filters and sorting in the address, pages and exports from the database."""

import functools
import io
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

import cached
import elements
import session
from tracking.orders import wording
from tracking.orders.model import OrderType
from tracking.orders.observations import utc_now
from tracking.reports.order_list import exports as reports_exports
from tracking.reports.order_list import news as list_news
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import PAGE_SIZE, SORTS, Filters

# The words are also those of the address, which takes what a widget shows.
VIEWS = {
    "all": "every order",
    "attention": "refused, cancelled, contradicted or in a state nobody knows, and not acknowledged: needs a person",
    "late": "open for longer than 99 of 100 like it took to finish, or than promised; many together have a banner",
    "unknown": "sent, but nobody can say whether the provider has it",
    "claimed": "the provider's notice says complete, no look has confirmed it yet",
    "open": "not completed, cancelled or refused",
    "today": "seen complete since midnight UTC",
    "found": "complete already when first seen, today",
}
SOURCES = ("", "form", "csv", "json", "seed", "elsewhere")
BOUND = (
    "q",
    "view",
    "state",
    "type",
    "source",
    "product",
    "from",
    "to",
    "min",
    "max",
    "older",
    "prefix",
    "each",
    "parts",
    "sort",
    "asc",
)
SWITCHES = ("each", "parts", "asc")
ANY_CURRENCY = "The number alone, whatever the currency."
FORMS = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


def first_page() -> None:
    """A changed filter begins at its first page."""
    st.session_state["page"] = 1


def controls() -> None:
    """The widgets of the filter. Each one's key is its name in the address."""
    st.text_input(
        "Find an order",
        key="q",
        bind="query-params",
        type="search",
        max_chars=200,
        on_change=first_page,
        placeholder="PONumber, provider id, external id or recipient, whole or a part",
    )
    if search.has_exact_match(session.database(), st.session_state["q"] or ""):
        st.toggle(
            "Also orders that hold this id as a part of theirs", key="parts", bind="query-params", on_change=first_page
        )
    st.pills(
        "View",
        list(VIEWS),
        key="view",
        bind="query-params",
        default="all",
        required=True,
        on_change=first_page,
    )
    st.caption(f"{st.session_state['view']}: {VIEWS[st.session_state['view']]}")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Sort by",
            list(SORTS),
            key="sort",
            bind="query-params",
            on_change=first_page,
            width=180,
        )
        st.toggle("Smallest first", key="asc", bind="query-params", on_change=first_page)
        if st.session_state["view"] == "late":
            st.toggle(
                "Also each order that is late together with others",
                key="each",
                bind="query-params",
                on_change=first_page,
            )
    with st.expander("More filters", key="more_filters", icon=":material/filter_list:"):
        more()


def more() -> None:
    """The filters that are needed less often."""
    with st.grid("auto", min_column_width=220):
        states = cached.filter_options()["states"]
        st.multiselect(
            "State", states, key="state", bind="query-params", format_func=wording.plain, on_change=first_page
        )
        st.multiselect("Type", [str(kind) for kind in OrderType], key="type", bind="query-params", on_change=first_page)
        st.selectbox(
            "Source",
            SOURCES,
            key="source",
            bind="query-params",
            format_func=lambda source: source or "any",
            on_change=first_page,
        )
        st.text_input("Product id", key="product", bind="query-params", on_change=first_page)
        st.text_input(
            "Placed from (UTC)", key="from", bind="query-params", on_change=first_page, placeholder="2026-01-31"
        )
        st.text_input(
            "Placed before (UTC)", key="to", bind="query-params", on_change=first_page, placeholder="2026-02-28"
        )
        st.text_input(
            "Value from", key="min", bind="query-params", on_change=first_page, placeholder="10.00", help=ANY_CURRENCY
        )
        st.text_input(
            "Value up to", key="max", bind="query-params", on_change=first_page, placeholder="500.00", help=ANY_CURRENCY
        )
        st.text_input("Older than", key="older", bind="query-params", on_change=first_page, placeholder="30m, 1h, 2d")
        st.text_input("PONumber begins with", key="prefix", bind="query-params", on_change=first_page)


def chosen() -> tuple[Filters, list[str]]:
    """The filter that the widgets show, and what of the address or of them could not be used."""
    query = {name: st.session_state.get(name) for name in BOUND}
    query = {name: value if isinstance(value, list) else str(value or "") for name, value in query.items()}
    query |= {name: "true" if query[name] else "" for name in SWITCHES}
    filters, problems = Filters.from_query(query)
    return filters, [str(problem) for problem in problems]


# Headers by which the whole list can be sorted, and as what.
SORT_OF_COLUMN = {
    "po_number": "po number", "state": "state", "type": "type", "units": "cards", "value": "value", "placed": "placed",
    "completed_by": "completed",
}  # fmt: skip


def sort_by(column: str) -> None:
    """Sorts the whole list by this column, the other way round where it was sorted by it already."""
    if (word := SORT_OF_COLUMN.get(column)) is None:
        st.toast(f"The list can be sorted by {', '.join(SORTS)}.")
        return
    st.session_state["asc"] = st.session_state["sort"] == word and not st.session_state["asc"]
    st.session_state["sort"] = word
    first_page()


def table(page: search.Page, query: dict[str, str]) -> None:
    """One page of orders; `query` leads back to it from an order."""
    rows = page.rows
    frame = rows[["po_number", "state", "type", "units", "units_fulfilled"]].copy()
    frame.insert(5, "value", rows["worth"])
    frame["placed"] = rows["created_at"]
    frame["mark"] = [marks(row) for row in rows.itertuples()]
    frame["completed_by"] = rows["completion"]
    frame["provider_id"] = rows["provider_id"]
    frame["source"] = rows["source"]
    completed = "When a look showed it, or between which two looks it became so."
    columns = elements.columns(frame)
    config = {
        "units": "Cards",
        "units_fulfilled": "Fulfilled",
        "value": columns["value"] | {"alignment": "right"},
        "completed_by": columns["completed_by"] | {"help": completed},
    }
    alt = "Orders that match the filter"
    elements.table_of_orders(frame, "orders_table", alt, sort=sort_by, config=config, query=query)


def marks(row: object) -> str:
    """What is remarkable about the order, in words."""
    words = ["late"] if getattr(row, "late", False) else []
    if getattr(row, "notice", "") == "claimed":
        words.append("claimed, not confirmed")
    attention = getattr(row, "attention", None)
    if isinstance(attention, str):
        acknowledged = getattr(row, "acknowledged_at", None)
        words.append(
            f"acknowledged: {attention}"
            if isinstance(acknowledged, datetime) and not pd.isna(acknowledged)
            else attention
        )
    return ", ".join(words)


@st.fragment(run_every="5s", key="news")
def news(filters: Filters, page: search.Page) -> None:
    """Says how many have come or changed since; the table itself keeps still."""
    with elements.error_box():
        current = list_news.list_news(session.database(), filters, page, utc_now())
    parts = [
        f"{number:,} {word}" for number, word in ((current.new, "new"), (len(current.changes), "changed")) if number
    ]
    if parts and st.button(f"{', '.join(parts)}: show", key="show_new", icon=":material/refresh:"):
        st.rerun()


def exports(filters: Filters) -> None:
    """All that match as a file. Made when asked for, so that nothing lies ready for others to fetch."""
    with st.popover("Export", icon=":material/download:", key="export"):
        database = session.database()
        st.caption("All orders that match, without recipients and claim data. Times are UTC.")
        for form, mime in FORMS.items():
            name = f"orders-{filters.view}-{utc_now():%Y%m%d-%H%M%S}.{form}"
            st.download_button(
                form.upper(), session.only_while_admitted(functools.partial(exported, database, filters, form)),
                file_name=name, mime=mime, key=f"export_{form}", on_click="ignore",
            )  # fmt: skip


def exported(database: Any, filters: Filters, form: str) -> bytes:
    """The file itself. Made outside of the script, where nobody is known to be at the screen."""
    file = io.BytesIO()
    reports_exports.write_export(database, filters, utc_now(), form=form, file=file)
    return file.getvalue()


def clear() -> None:
    """Back to all orders."""
    usual: dict[str, object] = {"view": "all", "sort": "placed", "state": [], "type": []} | dict.fromkeys(
        SWITCHES, False
    )
    for name in BOUND:
        st.session_state[name] = usual.get(name, "")
    st.session_state["orders_filter"] = {}
    first_page()


if (
    st.session_state["entered"]
    and not set(st.query_params) & {*BOUND, "page"}
    and st.session_state.get("orders_filter")
):
    # The browser's Back brings the address without its parameters; the filter that was left is put back.
    st.switch_page("orders.py", query_params=st.session_state["orders_filter"])
address = {name: st.query_params.get_all(name) for name in st.query_params}
_, wrong = Filters.from_query(address)
with elements.error_box():
    controls()
filters, problems = chosen()
for problem in dict.fromkeys([*(str(problem) for problem in wrong), *problems]):
    st.warning(f"Left out of the filter: {elements.escape(problem)}", icon=":material/filter_alt_off:")
with elements.error_box():
    matches = search.orders_count(session.database(), filters, utc_now())
above = st.container(horizontal=True, vertical_alignment="center")
table_place = st.container()
pages = max(1, -(-matches // PAGE_SIZE))
filters = replace(filters, page=st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1)
with elements.error_box():
    page = search.orders_page(session.database(), filters, utc_now(), total=matches)
st.session_state["orders_filter"] = filters.to_query()
with above:
    total = f"more than {page.total - 1:,} orders" if page.more else wording.count(page.total, "order")
    st.markdown(f"**{total}**", width="content")
    exports(filters)
    if filters.to_query().keys() - {"page"}:
        st.button("Clear the filter", key="clear", icon=":material/filter_alt_off:", on_click=clear)
    news(filters, page)
with table_place:
    if page.rows.empty and filters.view == "late" and not filters.each and cached.late_orders().incidents:
        st.info("None is late but for those that the banner tells of.", icon=":material/groups:")
    elif page.rows.empty:
        st.info("No order matches. Take away a filter, or look for a part of the id.", icon=":material/search_off:")
    else:
        table(page, {"list": urlencode(filters.to_query() or {"page": "1"}, doseq=True)})
        if pages > 1:
            st.caption("A click on a header sorts all that match; the statistics of a column are those of this page.")
