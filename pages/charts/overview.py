"""Charts of the overview."""

import html
from datetime import timedelta

import pandas as pd
import plotly.graph_objects as go

from charts.layout import laid_out
from charts.palette import LIGHT, Palette
from tracking.orders.model import State
from tracking.orders.wording import decimals, longest, plain


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
