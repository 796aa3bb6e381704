"""The state of things at a glance: what is open, late or needs a person, how long orders take, who still speaks."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

import cached
import elements
from charts import overview as charts
from tracking.orders import wording
from tracking.orders.observations import utc_now
from tracking.reports import amounts, health, overview, trends

COUNTS = (
    ("attention", "Needs a person", "refused, cancelled, contradicted or a word nobody knows"),
    ("late", "Late", "open for longer than 99 of 100 orders like it took to finish, or than was promised"),
    ("unknown", "Outcome unknown", "sent, but nobody can say whether the provider has it"),
    ("open", "Open", "not completed, cancelled or refused"),
    ("done_today", "Done today", "seen complete since midnight UTC"),
)


@st.fragment(run_every="3s", key="figures")
def figures() -> None:
    """The verdict, the five counts and the signs of life."""
    with elements.error_box():
        current = cached.overview()
    st.header(current.verdict)
    # A container keeps what stands below at its place, so that a refresh builds nothing anew.
    with st.container():
        if current.empty:
            empty()
        counts(current)
    st.caption("Signs of life: how old each one is")
    with st.grid(len(COUNTS), min_column_width=150, gap="small"):
        for sign in current.components:
            mark = ":red[:material/warning:] " if sign.worrying else ""
            st.markdown(f"**{sign.name}**  \n{mark}{elements.escape(sign.text)}", help=absolute(sign))


def changes() -> None:
    """The latest changes. They keep their places until somebody asks for the newer ones."""
    with elements.error_box():
        current = cached.overview().changes
    newer_changes(current)
    with st.container(key="changes", gap="xsmall"):
        for po_number, entry in current:
            order, change = st.columns([2, 7], gap="xsmall", vertical_alignment="center")
            with order:
                elements.order_link(po_number)
            change.text(f"{wording.clock(entry.learned_at, utc_now())}: {entry.text}")


@st.fragment(run_every="3s", key="newer_changes")
def newer_changes(before: Sequence[tuple[str, wording.TimelineEntry]]) -> None:
    """Says how many orders have changed since the changes below were read."""
    with elements.error_box():
        current = cached.overview().changes
    number = len({(po_number, entry.seq) for po_number, entry in current} - {(name, each.seq) for name, each in before})
    with st.container(horizontal=True, vertical_alignment="center", height=48, border=False):
        if before or number:
            st.markdown("**Latest changes**", width="content")
        many = "or more " if number == overview.CHANGES_LISTED else ""
        if number and st.button(f"{number} {many}newer: show", key="show_changes", icon=":material/refresh:"):
            st.rerun()


def absolute(sign: health.ComponentStatus) -> str | None:
    """The sign's time as such, for those who want it."""
    return f"{wording.clock(sign.at)} UTC" if sign.at else None


def empty() -> None:
    """How to begin."""
    with st.container(border=True, key="first_steps"):
        st.markdown(
            "There are no orders yet. Place a first one: pick a product, review it, send it, and watch its timeline "
            "move by itself. Or run `tracking seed --orders 1000` for made-up history."
        )
        st.page_link("new_order.py", label="Place the first order", icon=":material/add_shopping_cart:")


def counts(current: overview.Overview) -> None:
    """The five counts, each with a link to the orders it counts."""
    with st.grid(len(COUNTS), min_column_width=150, gap="small"):
        for name, label, meaning in COUNTS:
            with st.container(border=True, key=f"count_{name}", gap="xsmall"):
                st.metric(label, f"{getattr(current, name):,}", help=meaning)
                query = dict(overview.COUNTED_LISTS[name])
                st.page_link("orders.py", label="Show", icon=":material/arrow_forward:", query_params=query)
    if current.discovered_today:
        st.caption(f"Done today does not count {current.discovered_today:,} orders found already finished.")


@st.fragment(run_every="30s", key="history")
def history() -> None:
    """The charts, each also as a sentence and as a table."""
    span = st.segmented_control(
        "Span", list(trends.SPANS), key="span", default="24h", required=True, bind="query-params"
    )
    with elements.error_box():
        stock, completions = cached.charts(span or "24h")
        current = cached.overview()
    since, now = trends.span_start(utc_now(), span or "24h"), utc_now()
    st.caption(f"From {wording.clock(since, now)[:-3]} on. Times are UTC.")
    step = trends.step_name(span or "24h")
    by_state(stock, step)
    left, right = st.columns(2)
    with left:
        at_risk(current)
    with right:
        how_long(completions, step)


def by_state(stock: pd.DataFrame, step: str) -> None:
    """Orders by when they were made, in steps of an hour or a day, and the state they are in now."""
    st.markdown(f"**Orders by the {step} they were placed and their state now**")
    sums = stock.groupby("state", sort=False)["orders"].sum()
    text = ", ".join(f"{number:,} {elements.escape(state)}" for state, number in sums.items())
    st.caption(f"Placed in this span: {text or 'no orders'}.")
    if sums.empty:
        return
    elements.chart(charts.lifecycle(stock), "lifecycle", f"Orders by {step}, stacked by state")
    with st.expander("As a table", key="lifecycle_table"):
        wide = stock.pivot_table(index="hour", columns="state", values="orders", aggfunc="sum", sort=False)
        wide = wide.sort_index(ascending=False)
        # The hours stay in the index: a provider's word for a state may be any, also "hour".
        config = {"_index": step_column(step)}
        st.dataframe(wide, column_config=config, placeholder="", alt=f"Orders by {step} and state")


def step_column(step: str) -> Any:
    """The column of the hours or days of a table."""
    form = "YYYY-MM-DD HH:mm" if step == "hour" else "YYYY-MM-DD"
    return st.column_config.DatetimeColumn(step.capitalize(), format=form, timezone="UTC")


def at_risk(current: overview.Overview) -> None:
    """The value of open orders by age."""
    st.markdown("**Value of open orders by age**")
    oldest = f", the oldest {wording.duration(current.oldest)} old" if current.oldest else ""
    total = elements.escape(amounts.worth(current.values))
    st.caption(f"{total} in {current.open:,} open orders{oldest}. Ages go by the hour an order was placed in.")
    if not current.open:
        return
    # Amounts of different currencies share no axis.
    for currency in current.values:
        bands = current.bands[current.bands["currency"] == currency]
        if len(current.values) > 1:
            st.caption(elements.escape(currency or "Currency unknown"))
        key = f"bands_{currency}" if currency else "bands"
        elements.chart(charts.bands(bands), key, f"Value of open orders by age, {currency or 'currency unknown'}")
    table = current.bands[["band", "orders"]].copy()
    pairs = zip(current.bands["value_minor"], current.bands["currency"], strict=True)
    table["value"] = [wording.money(int(minor), currency) for minor, currency in pairs]
    with st.expander("As a table", key="bands_table"):
        config = elements.columns(table)
        st.dataframe(table, hide_index=True, column_config=config, placeholder="", alt="Value of open orders by age")


def how_long(completions: trends.Completions, step: str) -> None:
    """Times to completion, in steps of an hour or a day."""
    st.markdown(f"**Time to completion, by the {step} of completion**")
    if completions.p50 is None or completions.p95 is None:
        st.caption("No order that was followed to its end completed in this span.")
        return
    first = f"{completions.rows['hour'].min():%Y-%m-%d %H:%M}"
    newest, since = ("the newest ", f", from {first} on,") if completions.capped else ("", "")
    st.caption(
        f"Half of {newest}{wording.count(completions.orders, 'order')}{since} took at the most "
        f"{wording.longest(completions.p50)}, 95 of 100 at the most {wording.longest(completions.p95)}. "
        "Counted are orders seen open before; those found finished are not."
    )
    elements.chart(charts.completions(completions.rows), "completions", f"Time to completion by {step}")
    with st.expander("As a table", key="completions_table"):
        newest_first = trends.rounded_outwards(completions.rows.iloc[::-1], most=("p50", "p95"))
        seconds = {
            name: st.column_config.NumberColumn(f"{words}, s", format="%.1f")
            for name, words in (("p50", "Half within"), ("p95", "95 of 100 within"))
        }
        config = elements.columns(newest_first) | {"hour": step_column(step)} | seconds
        st.dataframe(
            newest_first, hide_index=True, column_config=config, placeholder="", alt=f"Seconds to completion by {step}"
        )


figures()
changes()
history()
