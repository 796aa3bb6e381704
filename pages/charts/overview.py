"""Charts of the overview."""

import html
from datetime import timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from charts.layout import laid_out
from charts.palette import LIGHT, Palette
from tracking.orders.model import State
from tracking.orders.wording import decimals, longest, plain

MINUTES_FROM = 300  # seconds
DAY_MS = 86_400_000


def lifecycle(frame: pd.DataFrame, palette: Palette = LIGHT) -> go.Figure:
    """Orders by hour or day, stacked by state. Columns hour, state, orders."""
    figure = go.Figure()
    for state, rows in frame.groupby("state", sort=False):
        color = palette.state(str(state))
        name = html.escape(plain(state))
        figure.add_bar(x=rows["hour"], y=rows["orders"], name=name, marker={"color": color})
    figure.update_yaxes(rangemode="tozero", tickformat=",d")
    return laid_out(figure, 300, barmode="stack", bargap=0.1)


def bands(frame: pd.DataFrame, palette: Palette = LIGHT) -> go.Figure:
    """The value of open orders by age, in one currency. Columns band, currency, orders, value_minor."""
    currency = str(frame["currency"].iloc[0])
    digits = decimals(currency)
    colors = [palette.state(State.UNKNOWN) if band == "outcome unknown" else palette.primary for band in frame["band"]]
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
    return laid_out(figure, 300, showlegend=False)


def completions(frame: pd.DataFrame, palette: Palette = LIGHT) -> go.Figure:
    """Time to completion by hour or day. Columns hour, p50, p95 (seconds), orders."""
    figure = go.Figure()
    for name, color, dash in (("p50", palette.primary, "solid"), ("p95", palette.warning, "dot")):
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
    return laid_out(figure, 300)


def lags(frame: pd.DataFrame, palette: Palette = LIGHT) -> go.Figure:
    """From done to known by day: the middles of the parts stacked, with an error bar for the range of the whole.

    Columns day and, in seconds, `<part>_least` and `<part>_most` of notice, wait, handling and lag.
    """
    figure = go.Figure()
    first, last = frame["day"].min(), frame["day"].max()
    days = (last - first) // timedelta(days=1) + 1
    slow = bool(frame["lag_most"].max() >= MINUTES_FROM)
    looks = {
        "notice": ("notice", palette.good, "/"),
        "wait": ("our wait", palette.primary, ""),
        "handling": ("handling", palette.warning, "."),
    }
    for part, (name, color, shape) in looks.items():
        marker = {"color": color, "pattern": {"shape": shape, "fillmode": "overlay", "size": 6}}
        width = min(0.6, 0.1 * days) * DAY_MS  # a lone day is no wall
        figure.add_bar(**_middles(frame, part, name, slow=slow), width=width, marker=marker)
    whole = _middles(frame, "lag", "least to most of the whole", slow=slow)
    half = (frame["lag_most"] - frame["lag_least"]) / (120 if slow else 2)
    bar = {"type": "data", "array": half, "color": palette.muted, "thickness": 1.5, "width": 5}
    middle = {"symbol": "line-ew-open", "size": 8, "color": palette.muted}
    figure.add_scatter(**whole, mode="markers", marker=middle, error_y=bar)
    figure.update_yaxes(rangemode="tozero", title="minutes" if slow else "seconds")
    edge, every = timedelta(days=0.5), max(1, round(days / 4)) * DAY_MS
    figure.update_xaxes(range=[first - edge, last + edge], tick0=last, dtick=every, tickformat="%b %d")
    return laid_out(figure, 300, barmode="stack").update_layout(legend={"traceorder": "normal"})


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
