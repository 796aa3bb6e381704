"""Charts of one order beside its timeline: cards fulfilled over time, and where it stands among orders like it."""

import html
import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import plotly.graph_objects as go

from charts.layout import laid_out
from charts.palette import LIGHT, Palette
from tracking.orders.wording import TIME_ZONE, clock, duration, latest

HEIGHT = 220
_AGES = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (21_600, "6 h"), (86_400, "1 d"))
_LONG_AGES = ((604_800, "7 d"), (2_592_000, "30 d"))

Counted = Sequence[tuple[datetime, int]]


def fulfilled(
    counted: Counted,
    units: int,
    until: datetime,
    ends: tuple[datetime, datetime, datetime | None] | None = None,
    palette: Palette = LIGHT,
) -> go.Figure:
    """Cards fulfilled over time as steps, as polls showed them, up to `until`; of `units` in all.

    `ends`: when all will be at the pace so far (earliest, in the middle, latest or None), drawn dashed with its band.
    """
    figure, zone = go.Figure(), TIME_ZONE.get()
    times = [at.astimezone(zone) for at, _ in counted] + [until.astimezone(zone)]
    numbers = [number for _, number in counted] + [counted[-1][1]]
    if ends is not None:
        _draw_projection(figure, times[-1], numbers[-1], units, ends, palette)
    figure.add_scatter(
        x=times,
        y=numbers,
        mode="lines",
        line={"shape": "hv", "color": palette.primary, "width": 2.5},
        fill="tozeroy",
        hovertext=[f"{clock(at, until)}: {number:,} of {units:,}" for at, number in zip(times, numbers, strict=True)],
        hoverinfo="text",
        name="fulfilled",
    )
    figure.add_hline(
        y=units,
        line={"color": palette.muted, "width": 1, "dash": "dot"},
        annotation={"text": f"all {units:,}", "font": {"color": palette.muted, "size": 11}},
        annotation_position="top left",
    )
    small = {"size": 11, "color": palette.muted}
    figure.update_yaxes(range=[0, units * 1.15], gridcolor=palette.grid, tickfont=small, fixedrange=True)
    figure.update_xaxes(gridcolor=palette.grid, tickfont=small, fixedrange=True, nticks=8)
    return laid_out(figure, HEIGHT, showlegend=False)


def _draw_projection(
    figure: go.Figure,
    now: datetime,
    done: int,
    units: int,
    ends: tuple[datetime, datetime, datetime | None],
    palette: Palette,
) -> None:
    zone = TIME_ZONE.get()
    earliest, middle = (end.astimezone(zone) for end in ends[:2])
    if ends[2] is not None:
        late = ends[2].astimezone(zone)
        figure.add_scatter(
            x=[now, earliest, late, now],
            y=[done, units, units, done],
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=palette.ahead,
            opacity=0.35,
            hoverinfo="skip",
            name="range",
        )
    by = "unknown" if ends[2] is None else latest(ends[2], now)
    figure.add_scatter(
        x=[now, middle],
        y=[done, units],
        mode="lines",
        line={"color": palette.muted, "width": 2, "dash": "dash"},
        hovertext=f"at the pace so far: all between {clock(earliest, now)} and {by}",
        hoverinfo="text",
        name="projection",
    )


def standing(
    ages: Sequence[float],
    still_open: Sequence[float],
    age: float,
    next_poll_age: float | None,
    palette: Palette = LIGHT,
) -> go.Figure:
    """The share of similar orders that were still open at each age in seconds, and where this one stands."""
    figure = go.Figure()
    shares = [100 * share for share in still_open]
    words = [duration(timedelta(seconds=each)) for each in ages]
    figure.add_scatter(
        x=list(ages),
        y=shares,
        mode="lines",
        line={"color": palette.primary, "width": 2.5},
        fill="tozeroy",
        hovertext=[f"{share:.0f} % still open after {word}" for share, word in zip(shares, words, strict=True)],
        hoverinfo="text",
        name="still open",
    )
    here = max(age, 1.0)
    _draw_mark(figure, here, f"this order, {duration(timedelta(seconds=age))}", palette.accent, "solid", top=True)
    if next_poll_age is not None:
        text = f"next poll, {duration(timedelta(seconds=next_poll_age))}"
        _draw_mark(figure, max(next_poll_age, 1.0), text, palette.muted, "dot", top=False)
    small = {"size": 11, "color": palette.muted}
    ticks = [tick for tick in (*_AGES, *_LONG_AGES) if tick[0] <= ages[-1] * 1.05]
    figure.update_xaxes(
        type="log", tickvals=[tick[0] for tick in ticks], ticktext=[tick[1] for tick in ticks], tickfont=small
    )
    figure.update_xaxes(title={"text": "age of the order", "font": small}, gridcolor=palette.grid, fixedrange=True)
    figure.update_yaxes(range=[0, 112], ticksuffix=" %", tickfont=small, gridcolor=palette.grid, fixedrange=True)
    figure.update_yaxes(title={"text": "still open", "font": small})
    return laid_out(figure, HEIGHT, showlegend=False)


def _draw_mark(figure: go.Figure, age: float, text: str, color: str, dash: str, *, top: bool) -> None:
    figure.add_vline(x=age, line={"color": color, "width": 2, "dash": dash})
    figure.add_annotation(
        x=math.log10(age),
        y=0.98 if top else 0.84,
        yref="paper",
        xanchor="left",
        xshift=4,
        text=html.escape(text),
        showarrow=False,
        font={"color": color, "size": 12},
    )
