"""The chart of one order."""

import html
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from charts.layout import laid_out
from charts.palette import LIGHT, Palette
from tracking.orders.model import is_open
from tracking.orders.wording import clock

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
_TROUBLED = frozenset({"contradiction", "mismatch", "refused", "outcome unknown", "cancelled"})


def timeline(
    rows: pd.DataFrame,
    *,
    created_at: datetime,
    completed_after: datetime | None,
    completed_by: datetime | None,
    state: str,
    now: datetime,
    palette: Palette = LIGHT,
) -> go.Figure:
    """One order's events in lanes by witness, with the band in which it must have ended, in the colour of its state.

    Columns at, until, witness, kind, text, count, ahead. While the order is open its line is dashed up to now.
    """
    figure = go.Figure()
    opened, color = is_open(state), palette.state(state)
    end = max([now, *_past(rows)["until"]]) if opened else completed_by or _refused_at(rows) or now
    figure.add_scatter(
        x=[created_at, end],
        y=["order", "order"],
        mode="lines",
        line={"color": palette.primary, "width": 3, "dash": "dash"} if opened else {"color": color, "width": 6},
        hovertext=f"still open at {clock(now, created_at)}" if opened else f"from asked for to {state.lower()}",
        hoverinfo="text",
        name="order",
    )
    for row in rows.itertuples():
        _event(figure, row, palette)
    if completed_after is not None and completed_by is not None:
        figure.add_vrect(x0=completed_after, x1=completed_by, fillcolor=color, opacity=0.25, line_width=0)
        figure.add_scatter(
            x=[completed_after + (completed_by - completed_after) / 2],
            y=["order"],
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 14, "color": color},
            hovertext=f"{state.lower()} somewhere in this band",
            hoverinfo="text",
            name=f"{state.lower()} within",
        )
    figure.update_yaxes(categoryorder="array", categoryarray=[*LANES[::-1], "order"], fixedrange=True)
    figure.update_yaxes(range=[-0.6, len(LANES) + 0.6])
    figure.update_xaxes(range=_range(rows, created_at, end))
    return laid_out(figure, 260, showlegend=False)


def _past(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[~rows["ahead"].astype(bool)]


def _refused_at(rows: pd.DataFrame) -> datetime | None:
    """When the order was refused, or found to be another one; it was sent again since where it is not closed."""
    ended = rows.loc[rows["kind"].isin({"refused", "mismatch"}), "until"].tolist()
    return max(ended, default=None)


def _event(figure: go.Figure, row: Any, palette: Palette) -> None:
    lane = _LANE_OF.get(row.witness, "us")
    color = palette.ahead if row.ahead else palette.trouble if row.kind in _TROUBLED else palette.primary
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
    past = _past(rows)
    ends = [end, *past["until"].tolist()]
    starts = [start, *past["at"].tolist()]
    first, last = min(starts), max(ends)
    ahead = rows.loc[rows["ahead"].astype(bool), "at"].tolist()
    # The next step is shown where it is near; a look tomorrow would squeeze all that happened into one spot.
    last = max([last, *(moment for moment in ahead if moment - last <= (last - first) / 2)])
    margin = max((last - first) * 0.04, timedelta(seconds=1))
    return [first - margin, last + margin]
