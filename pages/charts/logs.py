"""The volume strip above a log."""

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo

import pandas as pd
import plotly.graph_objects as go

from charts.layout import laid_out
from charts.palette import LIGHT, Palette

HEIGHT = 80


def volume(
    frame: pd.DataFrame,
    colors: Mapping[str, str],
    *,
    start: datetime,
    step: timedelta,
    end: datetime,
    chosen: datetime | None = None,
    zone: tzinfo,
    palette: Palette = LIGHT,
) -> go.Figure:
    """How many rows there were in each bar of time, stacked by group, in the order and colours of `colors`.

    Columns start, group, number, text (what a bar says). Of a chosen bar the others are pale. `customdata` of a bar is
    its start as ISO text.
    """
    figure = go.Figure()
    for group, color in colors.items():
        rows = frame[frame["group"] == group]
        middles = rows["start"] + step / 2
        figure.add_bar(
            x=middles.dt.tz_convert(zone) if len(rows) else [],
            y=rows["number"],
            name=group,
            width=step.total_seconds() * 850,
            marker={
                "color": color,
                "opacity": [1.0 if chosen is None or bar == chosen else 0.3 for bar in rows["start"]],
            },
            customdata=[bar.isoformat() for bar in rows["start"]],
            hovertext=rows["text"],
            hoverinfo="text",
        )
    figure.update_xaxes(
        range=[start.astimezone(zone), end.astimezone(zone)], fixedrange=True, nticks=8, tickfont={"size": 10}
    )
    figure.update_yaxes(fixedrange=True, nticks=3, rangemode="tozero", tickfont={"size": 10}, gridcolor=palette.grid)
    # Plotly's own legend of five groups would be higher than the chart.
    for number, (group, color) in enumerate(colors.items()):
        figure.add_annotation(
            x=1.01,
            y=1.02 - 0.24 * number,
            xref="paper",
            yref="paper",
            xanchor="left",
            yanchor="top",
            text=f'<span style="color:{color};font-size:14px">■</span> {group}',
            font={"size": 10, "color": palette.text},
            showarrow=False,
        )
    figure = laid_out(figure, HEIGHT, barmode="stack", showlegend=False)
    return figure.update_layout(margin={"l": 4, "r": 84, "t": 2, "b": 18}, clickmode="event+select")
