"""Charts of the insights: detection delay, forecast accuracy, who reported first, and the polling lab."""

import html
import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from charts.layout import laid_out
from charts.palette import LIGHT, Palette
from tracking.orders.latency import between, within
from tracking.orders.wording import count, longest, plain
from tracking.reports.insights.forecasts import Verdict

HEIGHT = 280
# Lengths of time that people count in, for axes from a tenth of a second to weeks.
LENGTHS = {
    0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36_000: "10 h", 86_400: "1 d",
    864_000: "10 d",
}  # fmt: skip
SHORTEST = 0.05  # seconds: what is less is drawn here, as nothing of zero is on a scale of tens
_ENOUGH = 30  # ETAs: with fewer, a share of them says little
_MARKED = frozenset({"today", "today, replayed", "tried"})
_POSITIONS = {"today": "middle right", "today, replayed": "bottom left", "tried": "top right"}


def delays(frame: pd.DataFrame, *, target: timedelta, step: timedelta, palette: Palette = LIGHT) -> go.Figure:
    """Detection delay by hour or day: a dot with its range for the median, a whisker up to p95, a line for the target.

    Columns hour, orders and, in seconds, p50_least, p50_most, p95_least, p95_most. `step`: an hour or a day.
    """
    figure = go.Figure()
    least, most, slowest = (frame[name].clip(lower=SHORTEST) for name in ("p50_least", "p50_most", "p95_most"))
    texts = [_delay_text(row) for row in _records(frame)]
    width = max(2, min(7, 100 // max(len(frame), 1)))
    for name, low, high, thickness, color in (
        ("up to p95", most, slowest, 2, palette.muted),
        ("range of p50", least, most, width, palette.primary),
    ):
        figure.add_scatter(
            x=_segments(frame["hour"], frame["hour"]), y=_segments(low, high), name=name, mode="lines",
            line={"color": color, "width": thickness}, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    for name, values, symbol, size, color in (
        ("p95", slowest, "line-ew-open", width + 3, palette.muted),
        ("p50", most, "circle", width + 3, palette.primary),
    ):
        marker = {"symbol": symbol, "size": size, "color": color, "line": {"width": 2, "color": color}}
        figure.add_scatter(x=frame["hour"], y=values, name=name, mode="markers", marker=marker, hovertext=texts,
                           hoverinfo="text")  # fmt: skip
    figure.add_hline(
        y=target.total_seconds(),
        line={"color": palette.good, "width": 1.5, "dash": "dash"},
    )
    figure.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        y=math.log10(target.total_seconds()),  # on an axis of tens an annotation stands by its exponent
        yanchor="bottom",
        text=f"target {longest(target)}",
        showarrow=False,
        font={"color": palette.good},
    )
    figure.update_yaxes(**_length_axis(least.min(), max(slowest.max(), target.total_seconds())))
    if not frame.empty:  # around a lone day the axis would count milliseconds
        first, last = frame["hour"].min(), frame["hour"].max()
        edge = max((last - first) * 0.04, step / 2)
        days = {"tick0": first, "dtick": 86_400_000 * (1 + len(frame) // 8), "tickformat": "%b %d"}
        figure.update_xaxes(
            range=[first - edge, last + edge], fixedrange=True, **(days if step >= timedelta(days=1) else {})
        )
    return laid_out(figure, HEIGHT)


def _delay_text(row: Any) -> str:
    p50, p95 = (
        within(timedelta(seconds=least), timedelta(seconds=most))
        for least, most in ((row.p50_least, row.p50_most), (row.p95_least, row.p95_most))
    )
    return f"{row.hour:%b %d, %H:%M}: p50 {p50}, p95 {p95} ({count(row.orders, 'order')})"


def _records(frame: pd.DataFrame) -> list[Any]:
    return list(frame.itertuples())


def _segments(first: Iterable[Any], last: Iterable[Any]) -> list[Any]:
    """The ends of lines that do not touch one another."""
    return [end for pair in zip(first, last, strict=True) for end in (*pair, None)]


def _length_axis(least: float, most: float) -> dict[str, Any]:
    """An axis of lengths of time on a scale of tens, with the ticks that people count in."""
    bounds = [math.log10(max(least, SHORTEST) * 0.7), math.log10(max(most, 1.0) * 1.6)]
    return {
        "type": "log", "range": bounds, "fixedrange": True,
        "tickmode": "array", "tickvals": list(LENGTHS), "ticktext": list(LENGTHS.values()),
    }  # fmt: skip


def accuracy(frame: pd.DataFrame, *, promised: int, palette: Palette = LIGHT) -> go.Figure:
    """The share in a hundred of ETAs that held, as a range by type of order, beside the share that was promised.

    Columns like, etas, held_least, held_most, verdict. What rests on few ETAs is hollow and grey.
    """
    figure = go.Figure()
    names = [f"{html.escape(plain(row.like))} (n = {row.etas:,})" for row in _records(frame)]
    for row, name in zip(_records(frame), names, strict=True):
        few = row.etas < _ENOUGH
        color = palette.muted if few else palette.trouble if row.verdict == Verdict.FEWER else palette.primary
        note = f", not enough history ({row.etas} of {_ENOUGH})" if few else ""
        held = f"{row.held_least}" if row.held_least == row.held_most else f"{row.held_least} to {row.held_most}"
        figure.add_scatter(
            x=[row.held_least, row.held_most],
            y=[name, name],
            mode="lines+markers",
            line={"color": color, "width": 5},
            marker={"color": color, "size": 11, "symbol": "circle-open" if few else "circle"},
            hovertext=f"{html.escape(plain(row.like))}: {held} of 100 held, {row.verdict}{note}",
            hoverinfo="text",
        )
    figure.add_vline(
        x=promised, line={"color": palette.good, "width": 1.5, "dash": "dash"},
        annotation_text=f"promised {promised} %",
        annotation_position="top left",
        annotation_font_color=palette.good,
    )  # fmt: skip
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], fixedrange=True, automargin=True)
    figure.update_yaxes(range=[-0.6, len(names) - 0.1])
    lowest = min([60, *(row.held_least - 6 for row in _records(frame))])
    figure.update_xaxes(range=[lowest, 103], ticksuffix=" %", fixedrange=True, title="ETAs that held")
    return laid_out(figure, HEIGHT, showlegend=False)


LEADS = (-86_400, -3600, -60, -10, -1, 0, 1, 10, 60, 3600, 86_400)


def leads(frame: pd.DataFrame, palette: Palette = LIGHT) -> go.Figure:
    """Each completion that both witnesses reported: left of zero the poll came first, right of it the webhook.

    Columns at, po_number, lead (seconds). The scale is that of `stretched`.
    """
    figure = go.Figure()
    for name, rows, color, symbol in (
        ("poll first", frame[frame["lead"] < 0], palette.primary, "circle"),
        ("webhook first", frame[frame["lead"] >= 0], palette.accent, "diamond"),
    ):
        figure.add_scatter(
            x=[stretched(lead) for lead in rows["lead"]],
            y=rows["at"],
            name=name,
            mode="markers",
            marker={"color": color, "symbol": symbol, "size": 7, "opacity": 0.7},
            customdata=rows["po_number"],
            hovertext=[
                f"{html.escape(plain(row.po_number))}: {name} by {_exactly(row.lead)}" for row in _records(rows)
            ],
            hoverinfo="text",
        )
    figure.add_vline(x=0, line={"color": palette.muted, "width": 1})
    furthest = 1.1 * max([stretched(1), *(stretched(abs(lead)) for lead in frame["lead"])])
    for sign, name, color in ((-1, "◀ poll first", palette.primary), (1, "webhook first ▶", palette.accent)):
        place: dict[str, Any] = {"x": sign * furthest, "xanchor": "left" if sign < 0 else "right", "y": 1.0}
        text = f"<b>{name}</b>"
        figure.add_annotation(
            **place, yref="paper", yanchor="bottom", text=text, font={"color": color}, showarrow=False
        )
    figure.update_xaxes(
        range=[-furthest, furthest], tickmode="array", tickvals=[stretched(lead) for lead in LEADS],
        ticktext=[LENGTHS.get(abs(lead), "0") for lead in LEADS], fixedrange=True, zeroline=False, tickangle=0,
    )  # fmt: skip
    first, last = frame["at"].min(), frame["at"].max()
    edge = max((last - first) * 0.04, timedelta(minutes=10))  # around a lone time the axis would count milliseconds
    figure.update_yaxes(range=[first - edge, last + edge], fixedrange=True, nticks=6)
    return laid_out(figure, HEIGHT, showlegend=False).update_layout(margin={"t": 28})


def _exactly(seconds: float) -> str:
    length = timedelta(seconds=abs(seconds))
    return between(length, length)


def stretched(seconds: float) -> float:
    """Seconds on a scale of tens that goes through zero and to both sides."""
    return math.copysign(math.log10(1 + abs(seconds) * 10), seconds)


def frontier(points: pd.DataFrame, *, name: str, palette: Palette = LIGHT) -> go.Figure:
    """Plans by calls an hour and delay, on scales of tens. Columns plan, setting, calls_an_hour, delay, least, most.

    A line for each policy; what really happened is a star with the range it must lie in, a tried plan a diamond.
    """
    looks = {
        "accrual": ("circle", palette.primary, "solid", 9),
        "doubling": ("square", palette.warning, "dash", 9),
        "fixed": ("triangle-up", palette.accent, "dot", 10),
        "today": ("star", palette.good, "solid", 18),
        "today, replayed": ("star-open", palette.good, "solid", 15),
        "tried": ("diamond", palette.trouble, "solid", 14),
    }
    figure = go.Figure()
    for plan, rows in points.sort_values("calls_an_hour", kind="stable").groupby("plan", sort=False):
        symbol, color, dash, size = looks.get(str(plan), ("circle-open", palette.ahead, "solid", 9))
        alone = plan in _MARKED
        figure.add_scatter(
            x=rows["calls_an_hour"],
            y=rows["delay"],
            name=PLAN_LABELS.get(str(plan), str(plan)),
            mode="markers+text" if alone else "lines+markers",
            text=[PLAN_LABELS.get(str(plan), str(plan))] * len(rows) if alone else None,
            textposition=_POSITIONS.get(str(plan), "top center"),
            textfont={"color": palette.text, "size": 13},
            cliponaxis=False,
            marker={"symbol": symbol, "size": size, "color": color, "line": {"width": 1, "color": palette.text}},
            line={"color": color, "dash": dash},
            error_y=_error(rows, palette) if plan == "today" else None,
            customdata=rows["setting"],
            hovertemplate="%{fullData.name} %{customdata}<br>%{x:,.0f} calls/h<br>%{y:,.1f} s<extra></extra>",
        )
    axis = {"type": "log", "tickmode": "array", "tickformat": ",", "fixedrange": True, "automargin": True}
    figure.update_xaxes(title="calls per hour", tickvals=_tens(points["calls_an_hour"]), **axis)
    figure.update_yaxes(title=f"{name}, seconds", tickvals=_tens(points["delay"]), **axis)
    return laid_out(figure, 400)


PLAN_LABELS = {
    "today": "now", "today, replayed": "now, replayed", "tried": "tried", "accrual": "current policy",
    "doubling": "doubling waits", "fixed": "fixed wait",
}  # fmt: skip


def _tens(values: pd.Series) -> list[float]:
    """1, 2, 5, 10, ... around the values."""
    positive = values[values > 0]
    if positive.empty:
        return []
    first, last = math.floor(math.log10(positive.min())), math.ceil(math.log10(positive.max()))
    return [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]


def _error(rows: pd.DataFrame, palette: Palette) -> dict[str, Any]:
    least = rows["least"].clip(lower=rows["delay"] / 5)  # nothing of zero is on a scale of tens
    up, down = rows["most"] - rows["delay"], rows["delay"] - least
    color = palette.text
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": color, "thickness": 1}
