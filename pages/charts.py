"""The charts: DataFrames in, plotly figures out. Knows no Streamlit and no store."""

import html
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from tracking.reports import plain

COLORS = {
    "Queued": "#aab4be",
    "Sending": "#7d8b99",
    "Outcome unknown": "#b3261e",
    "Refused": "#7c2a2a",
    "Accepted": "#9cc3dd",
    "Pending": "#6aa3c8",
    "AwaitingApproval": "#d08c2c",
    "Processing": "#1f5f8b",
    "Cancelled": "#8a76b5",
    "Completed": "#4f8a5b",
}
OTHER_STATE = "#c9a227"
LANES = ("people", "webhook", "poll", "us")
_LANE_OF = {"us": "us", "answer": "us", "poll": "poll", "webhook": "webhook", "person": "people"}
_SYMBOLS = {
    "completed": "star",
    "cancelled": "x",
    "contradiction": "x",
    "mismatch": "x",
    "refused": "x",
    "outcome unknown": "diamond-open",
    "notice repeated": "circle-open",
    "answer repeated": "circle-open",
    "notice claimed": "triangle-up",
    "acknowledged": "square",
    "noted": "square-open",
    "ahead": "circle-open-dot",
}
_SEEN = "#1f5f8b"
_AHEAD = "#aab4be"
_TROUBLE = "#b3261e"
_TROUBLED = frozenset({"contradiction", "mismatch", "refused", "outcome unknown", "cancelled"})


def _laid_out(figure: go.Figure, height: int, **more: Any) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.2, "title": None},
        hovermode="closest",
        dragmode=False,
        **more,
    )
    return figure


def lifecycle(frame: pd.DataFrame) -> go.Figure:
    """Orders by hour, stacked by state. Columns hour, state, orders."""
    figure = go.Figure()
    for state, rows in frame.groupby("state", sort=False):
        color = COLORS.get(str(state), OTHER_STATE)
        name = html.escape(plain(state))
        figure.add_bar(x=rows["hour"], y=rows["orders"], name=name, marker={"color": color})
    figure.update_yaxes(rangemode="tozero", tickformat=",d")
    return _laid_out(figure, 300, barmode="stack", bargap=0.1)


def bands(frame: pd.DataFrame) -> go.Figure:
    """The value of open orders by age. Columns band, orders, value_minor."""
    colors = [COLORS["Outcome unknown"] if band == "outcome unknown" else _SEEN for band in frame["band"]]
    figure = go.Figure(
        go.Bar(
            y=frame["band"],
            x=frame["value_minor"] / 100,
            orientation="h",
            marker={"color": colors},
            customdata=frame["orders"],
            hovertemplate="%{y}: %{x:,.2f} in %{customdata} orders<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    figure.update_xaxes(rangemode="tozero", tickformat=",.0f")
    return _laid_out(figure, 260, showlegend=False)


def completions(frame: pd.DataFrame) -> go.Figure:
    """Time to completion by hour. Columns hour, p50, p95 (seconds), orders."""
    figure = go.Figure()
    for name, color, dash in (("p50", _SEEN, "solid"), ("p95", "#d08c2c", "dot")):
        figure.add_scatter(
            x=frame["hour"],
            y=frame[name] / 60,
            name=name,
            mode="lines+markers",
            line={"color": color, "dash": dash},
            customdata=frame["orders"],
            hovertemplate=f"{name} %{{y:.1f}} min of %{{customdata}} orders<extra></extra>",
        )
    figure.update_yaxes(rangemode="tozero", title="minutes")
    return _laid_out(figure, 260)


def timeline(
    rows: pd.DataFrame,
    *,
    created_at: datetime,
    completed_after: datetime | None,
    completed_by: datetime | None,
    now: datetime,
) -> go.Figure:
    """One order's events in lanes by witness, with the band in which it must have become complete.

    Columns at, until, witness, kind, text, count, ahead. While the order is open its line is dashed up to now.
    """
    figure = go.Figure()
    known = rows.loc[~rows["ahead"].astype(bool), "until"].tolist()
    end = completed_by or max([now, *known])
    figure.add_scatter(
        x=[created_at, end],
        y=["order", "order"],
        mode="lines",
        line={"color": _SEEN, "width": 6 if completed_by else 3, "dash": "solid" if completed_by else "dash"},
        hovertext="from asked for to finished" if completed_by else "still open",
        hoverinfo="text",
        name="order",
    )
    for row in rows.itertuples():
        _event(figure, row)
    if completed_after is not None and completed_by is not None:
        figure.add_vrect(x0=completed_after, x1=completed_by, fillcolor="#4f8a5b", opacity=0.25, line_width=0)
        figure.add_scatter(
            x=[completed_after + (completed_by - completed_after) / 2],
            y=["order"],
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 14, "color": "#4f8a5b"},
            hovertext="finished somewhere in this band",
            hoverinfo="text",
            name="finished within",
        )
    figure.update_yaxes(categoryorder="array", categoryarray=[*LANES[::-1], "order"], fixedrange=True)
    figure.update_yaxes(range=[-0.6, len(LANES) + 0.6])
    figure.update_xaxes(range=_range(rows, created_at, end))
    return _laid_out(figure, 260, showlegend=False)


def _event(figure: go.Figure, row: Any) -> None:
    lane = _LANE_OF.get(row.witness, "us")
    color = _AHEAD if row.ahead else _TROUBLE if row.kind in _TROUBLED else _SEEN
    figure.add_scatter(
        x=[row.at] if row.count == 1 else [row.at, row.until],
        y=[lane] if row.count == 1 else [lane, lane],
        mode="markers" if row.count == 1 else "lines+markers",
        marker={"symbol": _SYMBOLS.get(row.kind, "circle"), "size": 11, "color": color},
        line={"color": color, "width": 2, "dash": "dot"},
        hovertext=html.escape(row.text[:200]),
        hoverinfo="x+text",
        name=html.escape(row.kind),
    )


def _range(rows: pd.DataFrame, start: datetime, end: datetime) -> list[datetime]:
    known = rows.loc[~rows["ahead"].astype(bool)]
    ends = [end, *known["until"].tolist()]
    starts = [start, *known["at"].tolist()]
    first, last = min(starts), max(ends)
    ahead = rows.loc[rows["ahead"].astype(bool), "at"].tolist()
    # The next step is shown where it is near; a look tomorrow would squeeze all that happened into one spot.
    last = max([last, *(moment for moment in ahead if moment - last <= (last - first) / 2)])
    margin = max((last - first) * 0.04, timedelta(seconds=1))
    return [first - margin, last + margin]
