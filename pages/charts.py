"""The charts: DataFrames in, plotly figures out. Knows no Streamlit and no store."""

import html
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from tracking.orders.model import is_open
from tracking.orders.wording import clock, decimals, longest, plain

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
LAG_LOOKS = {
    "notice": ("notice", "#4f8a5b", "/"),
    "wait": ("our wait", "#1f5f8b", ""),
    "handling": ("handling", "#d08c2c", "."),
}
MINUTES_FROM = 300  # seconds
DAY_MS = 86_400_000
_WHOLE = "#7d8590"
_OBSERVED = "#1f5f8b"
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
    """Orders by hour or day, stacked by state. Columns hour, state, orders."""
    figure = go.Figure()
    for state, rows in frame.groupby("state", sort=False):
        color = COLORS.get(str(state), OTHER_STATE)
        name = html.escape(plain(state))
        figure.add_bar(x=rows["hour"], y=rows["orders"], name=name, marker={"color": color})
    figure.update_yaxes(rangemode="tozero", tickformat=",d")
    return _laid_out(figure, 300, barmode="stack", bargap=0.1)


def bands(frame: pd.DataFrame) -> go.Figure:
    """The value of open orders by age, in one currency. Columns band, currency, orders, value_minor."""
    currency = str(frame["currency"].iloc[0])
    digits = decimals(currency)
    colors = [COLORS["Outcome unknown"] if band == "outcome unknown" else _OBSERVED for band in frame["band"]]
    figure = go.Figure(
        go.Bar(
            y=frame["band"],
            x=frame["value_minor"] / 100,
            orientation="h",
            marker={"color": colors},
            customdata=frame["orders"],
            hovertemplate=f"%{{y}}: %{{x:,.{digits}f}} {currency} in %{{customdata}} orders<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", fixedrange=True)
    figure.update_xaxes(rangemode="tozero", tickformat=",.0f")
    return _laid_out(figure, 300, showlegend=False)


def completions(frame: pd.DataFrame) -> go.Figure:
    """Time to completion by hour or day. Columns hour, p50, p95 (seconds), orders."""
    figure = go.Figure()
    for name, color, dash in (("p50", _OBSERVED, "solid"), ("p95", "#d08c2c", "dot")):
        figure.add_scatter(
            x=frame["hour"],
            y=frame[name] / 60,
            name=name,
            mode="lines+markers",
            line={"color": color, "dash": dash},
            customdata=[
                (longest(timedelta(seconds=seconds)), orders)
                for seconds, orders in zip(frame[name], frame["orders"], strict=True)
            ],
            hovertemplate=f"{name} of %{{customdata[1]}} orders: at the most %{{customdata[0]}}<extra></extra>",
        )
    figure.update_yaxes(rangemode="tozero", title="minutes")
    if not frame.empty:  # around a lone hour the axis would count milliseconds
        first, last = frame["hour"].min(), frame["hour"].max()
        edge = max((last - first) * 0.04, timedelta(hours=1))
        figure.update_xaxes(range=[first - edge, last + edge])
    return _laid_out(figure, 300)


def lags(frame: pd.DataFrame) -> go.Figure:
    """From done to known by day: the middles of the parts stacked, with an error bar for the range of the whole.

    Columns day and, in seconds, `<part>_least` and `<part>_most` of notice, wait, handling and lag.
    """
    figure = go.Figure()
    first, last = frame["day"].min(), frame["day"].max()
    days = (last - first) // timedelta(days=1) + 1
    slow = bool(frame["lag_most"].max() >= MINUTES_FROM)
    for part, (name, color, shape) in LAG_LOOKS.items():
        marker = {"color": color, "pattern": {"shape": shape, "fillmode": "overlay", "size": 6}}
        width = min(0.6, 0.1 * days) * DAY_MS  # a lone day is no wall
        figure.add_bar(**_middles(frame, part, name, slow=slow), width=width, marker=marker)
    whole = _middles(frame, "lag", "least to most of the whole", slow=slow)
    half = (frame["lag_most"] - frame["lag_least"]) / (120 if slow else 2)
    bar = {"type": "data", "array": half, "color": _WHOLE, "thickness": 1.5, "width": 5}
    middle = {"symbol": "line-ew-open", "size": 8, "color": _WHOLE}
    figure.add_scatter(**whole, mode="markers", marker=middle, error_y=bar)
    figure.update_yaxes(rangemode="tozero", title="minutes" if slow else "seconds")
    edge, every = timedelta(days=0.5), max(1, round(days / 4)) * DAY_MS
    figure.update_xaxes(range=[first - edge, last + edge], tick0=last, dtick=every, tickformat="%b %d")
    return _laid_out(figure, 300, barmode="stack").update_layout(legend={"traceorder": "normal"})


def _middles(frame: pd.DataFrame, part: str, name: str, *, slow: bool) -> dict[str, Any]:
    """What a trace of this part needs: days, the middle of each range, and in words its ends."""
    unit, scale = ("min", 60) if slow else ("s", 1)
    least, most = frame[f"{part}_least"] / scale, frame[f"{part}_most"] / scale
    between = f"%{{customdata[0]:.1f}} to %{{customdata[1]:.1f}} {unit}"
    return {
        "x": frame["day"],
        "y": (least + most) / 2,
        "name": name,
        "customdata": list(zip(least * 10 // 1 / 10, -(-most * 10 // 1) / 10, strict=True)),
        "hovertemplate": f"%{{x|%Y-%m-%d}} {name}: {between}<extra></extra>",
    }


def timeline(
    rows: pd.DataFrame,
    *,
    created_at: datetime,
    completed_after: datetime | None,
    completed_by: datetime | None,
    state: str,
    now: datetime,
) -> go.Figure:
    """One order's events in lanes by witness, with the band in which it must have ended, in the colour of its state.

    Columns at, until, witness, kind, text, count, ahead. While the order is open its line is dashed up to now.
    """
    figure = go.Figure()
    opened, color = is_open(state), COLORS.get(state, OTHER_STATE)
    end = max([now, *_past(rows)["until"]]) if opened else completed_by or _refused_at(rows) or now
    figure.add_scatter(
        x=[created_at, end],
        y=["order", "order"],
        mode="lines",
        line={"color": _OBSERVED, "width": 3, "dash": "dash"} if opened else {"color": color, "width": 6},
        hovertext=f"still open at {clock(now, created_at)}" if opened else f"from asked for to {state.lower()}",
        hoverinfo="text",
        name="order",
    )
    for row in rows.itertuples():
        _event(figure, row)
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
    return _laid_out(figure, 260, showlegend=False)


def _past(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[~rows["ahead"].astype(bool)]


def _refused_at(rows: pd.DataFrame) -> datetime | None:
    """When the order was refused, or found to be another one; it was sent again since where it is not closed."""
    ended = rows.loc[rows["kind"].isin({"refused", "mismatch"}), "until"].tolist()
    return max(ended, default=None)


def _event(figure: go.Figure, row: Any) -> None:
    lane = _LANE_OF.get(row.witness, "us")
    color = _AHEAD if row.ahead else _TROUBLE if row.kind in _TROUBLED else _OBSERVED
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
