"""Insights: how soon completions were detected, how good ETAs were, whether webhooks and polls agree, and the lab."""

from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

import address
import cached
import elements
import figure_cache
import polling_lab
import times
from cached import Insights, Reading
from charts import insights as charts
from charts.layout import in_zone
from orders_filters import type_label
from tracking.reports import trends
from tracking.reports.insights import forecasts, latency

SECTIONS = {"findings": "Findings", "lab": "Polling lab"}
DRAWN = 400  # completions in the chart of both witnesses
PARTS = {"provider": "Provider", "notice": "Webhook delivery", "wait": "Until we polled", "handling": "Processing"}


def card(
    key: str, title: str, finding: str, explanation: str, table: pd.DataFrame, config: dict[str, Any], details: str = ""
) -> Any:
    """A card with its title, its data, the finding in a sentence, and room for one chart; returns it."""
    box = st.container(border=True, key=key, gap="xsmall")
    with box:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.header(title, help=explanation, anchor=False, width="stretch")
            if len(table):
                with st.popover("Data", type="tertiary"):
                    if details:
                        st.markdown(elements.escape(details))
                    columns = elements.columns(table) | config
                    st.dataframe(table, hide_index=True, column_config=columns, placeholder="", alt=f"Data: {title}")
        # Findings differ in length from one refresh to the next; what stands below keeps its place.
        with st.container(height=120, border=False):
            st.markdown(elements.escape(finding))
    return box


def chart(
    box: Any, data: Hashable, figure: Callable[[], go.Figure], key: str, alt: str, *, empty: str | None, **more: Any
) -> Any:
    """The card's chart, drawn of the data, or as much room with a reason where there is nothing to draw."""
    with box:
        if empty is None:
            return elements.chart(figure_cache.figure(data, key, figure), key, alt, **more)
        with st.container(
            height=charts.HEIGHT + 16,
            border=False,
            key=f"{key}_empty",
            vertical_alignment="center",
            horizontal_alignment="center",
        ):
            st.caption(empty, text_alignment="center")
        return None


def detection_delay(reading: Reading[Insights], step: timedelta) -> None:
    """How long after completion we detected it."""
    report = reading.value[0]
    explanation = (
        "From completion at the provider to our detecting it: until the webhook was delivered, until we polled, and "
        "until that poll's answer was processed. Nobody sees the moment of completion, so each is a range. "
        "Dot: the median with its range; whisker: up to the 95th percentile."
    )
    rows = trends.rounded_outwards(report.rows.iloc[::-1], least=_named("least"), most=_named("most"))
    named = {"p50": "p50", "p95": "p95", **PARTS}
    config = {
        f"{name}_{end}": st.column_config.NumberColumn(f"{words}, {limit} s", format="%.1f")
        for name, words in named.items()
        for end, limit in (("least", "at least"), ("most", "at most"))
    } | {"hour": times.column("From"), "stated": st.column_config.NumberColumn("With provider timestamp")}
    details = f"{report.details} Parts are those of the median order."
    box = card("detection_delay", "Detection delay", report.finding, explanation, rows, config, details)
    frame = report.rows.assign(hour=in_zone(report.rows["hour"]))
    empty = f"{report.details} Only orders that a poll has seen open can be measured." if report.rows.empty else None
    chart(
        box,
        reading,
        lambda: charts.delays(frame, target=latency.TARGET, step=step, palette=elements.palette()),
        "delays",
        f"Detection delay per hour or day. {report.finding}",
        empty=empty,
    )


def _named(end: str) -> list[str]:
    return [f"{name}_{end}" for name in ("p50", "p95", *PARTS)]


def forecast_accuracy(reading: Reading[Insights]) -> None:
    """How many of the ETAs held."""
    accuracy = reading.value[1]
    explanation = (
        "When an order is accepted, the time by which 90 of 100 orders like it complete is stored, and scored once it "
        "has passed. The range is what polls leave open: an order that completed between two of them, one before "
        "its ETA and one after, may have held or not."
    )
    types = [type_label(name) or "All orders" for name in accuracy.rows["type"]]
    rows = accuracy.rows.drop(columns="type").assign(like=types)[["like", "etas", "held_least", "held_most", "verdict"]]
    config = {
        "like": st.column_config.TextColumn("Type"),
        "etas": st.column_config.NumberColumn("ETAs due"),
        "held_least": st.column_config.NumberColumn("Held at least", format="%d %%"),
        "held_most": st.column_config.NumberColumn("Held at most", format="%d %%"),
        "verdict": st.column_config.TextColumn("Verdict"),
    }
    box = card("forecast_accuracy", "Forecast accuracy", accuracy.text, explanation, rows, config)
    chart(
        box,
        reading,
        lambda: charts.accuracy(rows, promised=forecasts.PROMISED, palette=elements.palette()),
        "accuracy",
        f"Share of ETAs that held, by type, against {forecasts.PROMISED} of 100 promised. {accuracy.text}",
        empty="ETAs are scored once their time has passed. The first is made when 30 similar orders have completed."
        if rows.empty
        else None,
    )


def witness_agreement(reading: Reading[Insights]) -> None:
    """Whether webhooks and polls reported the same completions, and which came first."""
    agreement = reading.value[2]
    rows = agreement.rows.head(DRAWN)
    explanation = (
        "Each dot is a completion that a webhook and a poll both reported, by how far one was ahead of the other. "
        "A webhook alone completes no order: a poll confirms it. Orders already complete when first seen are excluded. "
        + (f"The newest {DRAWN:,} are drawn." if len(agreement.rows) > DRAWN else "")
    )
    config = {
        "at": times.column("Poll"),
        "lead": st.column_config.NumberColumn("Webhook ahead, s", format="%.1f", help="Below zero: the poll was ahead"),
    }
    box = card("witness_agreement", "Witness agreement", agreement.text, explanation, rows, config)
    event = chart(
        box,
        reading,
        lambda: charts.leads(rows.assign(at=in_zone(rows["at"])), elements.palette()),
        "leads",
        f"Completions by whether the webhook or the poll came first. {agreement.text}",
        empty="Here comes a dot for each completion that a webhook and a poll both reported." if rows.empty else None,
        on_select="rerun",
    )
    points = event.selection.points if event else []
    if points and isinstance(po_number := points[0].get("customdata"), str):
        st.switch_page("order.py", query_params={"order": po_number})


@elements.live("30s", "findings")
def findings(span: str) -> None:
    """The three findings, each a sentence and a chart."""
    reading = cached.insights(span)
    left, middle, right = st.columns(3, gap="small")
    with left:
        detection_delay(reading, timedelta(hours=1) if span == "24h" else timedelta(days=1))
    with middle:
        forecast_accuracy(reading)
    with right:
        witness_agreement(reading)


with st.container(horizontal=True, vertical_alignment="center"):
    section = address.choice("show", SECTIONS, "findings")
    st.segmented_control(
        "Insights", list(SECTIONS), format_func=SECTIONS.__getitem__, required=True, label_visibility="collapsed",
        **address.bound("show", section, "findings"),
    )  # fmt: skip
    span = address.choice("span", trends.SPANS, "7d")
    if section == "findings":
        st.segmented_control(
            "Period", list(trends.SPANS), required=True, label_visibility="collapsed",
            **address.bound("span", span, "7d"),
        )  # fmt: skip
if section == "lab":
    with elements.error_box():
        polling_lab.lab()
else:
    findings(span)
