"""Charts of the overview. What a click on them stands for is in the `customdata` of their points."""

import html
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from charts.layout import in_zone, laid_out
from charts.palette import DARK, LIGHT, Palette
from tracking.orders.model import State
from tracking.orders.vocabulary import state_label
from tracking.orders.wording import count, duration, longest, plain
from tracking.reports import amounts

AGES = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (86_400, "1 d"), (864_000, "10 d"))
SHARES = ((0.0, "0 %"), (0.9, "90 %"), (0.99, "99 %"))
LATE_FROM, HIGHEST, NO_HISTORY = 2.0, 2.6, -0.45  # of the vertical axis of `expectation`
HATCHED = frozenset({State.UNKNOWN, State.REFUSED})
MID_GREY = 128
SMALL = {"size": 11}


def flow(frame: pd.DataFrame, course: pd.DataFrame, height: int, palette: Palette = LIGHT) -> go.Figure:
    """The open orders by state, stacked, and below them what was placed (up) and completed (down).

    `frame` has the columns hour, placed, completed, discovered, open; `course` has hour, state, orders. A click
    anywhere in a step of the lower panel selects its hour: no list holds what was open at the end of a past one.
    """
    figure = make_subplots(rows=2, shared_xaxes=True, row_heights=[0.42, 0.58], vertical_spacing=0.09)
    for state, rows in course.groupby("state", sort=False):
        marker = {"color": palette.state(str(state)), "line": {"width": 0}}
        figure.add_bar(x=in_zone(rows["hour"]), y=rows["orders"], marker=marker, hoverinfo="skip", row=1, col=1)
    hours = in_zone(frame["hour"])
    for name, sign, color in (("placed", 1, palette.primary), ("completed", -1, palette.states[State.COMPLETED])):
        bars = {"y": sign * frame[name], "marker": {"color": color}, "hoverinfo": "skip"}
        figure.add_bar(x=hours, **bars, row=2, col=1)
    opened, moved = int(frame["open"].max()), int(frame[["placed", "completed"]].to_numpy().max())
    panels = ((1, 0, max(opened, 1), ("Open",)), (2, -max(moved, 1), max(moved, 1), ("Placed", "Completed")))
    texts = _step_texts(frame, course)
    for row, least, most, names in panels:
        values = [hour.isoformat() for hour in frame["hour"]] if row == len(panels) else None
        _add_click_area(figure, hours, values, texts, (least, most), row)
        ticks = sorted({least, 0, most})
        numbers = [f"{abs(tick):,}" for tick in ticks]
        figure.update_yaxes(range=[least, most], tickvals=ticks, ticktext=numbers, fixedrange=True, row=row, col=1)
        for place, name in zip((1, 0), names, strict=False):
            _add_label(figure, name, "y domain" if row == 1 else "y2 domain", place)
    figure.update_xaxes(fixedrange=True)
    drawn = laid_out(figure, height, barmode="relative", bargap=0.15, showlegend=False)
    return drawn.update_layout(margin={"t": 8, "b": 0, "r": 70})


def _step_texts(frame: pd.DataFrame, course: pd.DataFrame) -> list[str]:
    """What happened in each step, in words."""
    states: dict[Any, list[str]] = {}
    for row in course[course["orders"] > 0].itertuples():
        states.setdefault(row.hour, []).append(f"{row.orders:,} {html.escape(plain(state_label(str(row.state))))}")
    return [
        f"{row.placed:,} placed, {row.completed:,} completed<br>"
        + (f"{over:,} complete when first seen, not drawn<br>" if over else "")
        + f"{row.open:,} open at its end{'<br>' if row.hour in states else ''}{'<br>'.join(states.get(row.hour, []))}"
        for row, over in zip(frame.itertuples(), frame["discovered"], strict=True)
    ]


def _add_click_area(
    figure: go.Figure, hours: pd.Series, values: Sequence[str] | None, texts: Sequence[str], reach: tuple[int, int],
    row: int,
) -> None:  # fmt: skip
    """Unseen bars over the full height: the label of the whole step, and with `values` where it can be clicked."""
    unseen = {"opacity": 0}
    figure.add_bar(
        x=hours, y=[reach[1] - reach[0]] * len(hours), base=reach[0], text=texts, textposition="none",
        customdata=values, hovertemplate="%{x}<br>%{text}<extra></extra>", marker=unseen,
        selected={"marker": unseen}, unselected={"marker": unseen}, row=row, col=1,
    )  # fmt: skip


def _add_label(figure: go.Figure, text: str, of_axis: str, place: int) -> None:
    """A name to the right of a panel, at its top (1) or its bottom (0), in place of a legend."""
    figure.add_annotation(
        text=text, x=1, y=place, xref="paper", yref=of_axis, xshift=6, showarrow=False, font=SMALL,
        xanchor="left", yanchor="top" if place else "bottom",
    )  # fmt: skip


def lifecycle(bars: pd.DataFrame, height: int, palette: Palette = LIGHT) -> go.Figure:
    """Bars of states, each as long as the others. Columns bar (its label), state, amount, text (of the amount)."""
    figure = go.Figure()
    total = bars.groupby("bar")["amount"].transform("sum")
    for state, rows in bars.assign(share=bars["amount"] / total.where(total > 0, 1)).groupby("state", sort=False):
        label, color = html.escape(plain(state_label(str(state)))), palette.state(str(state))
        pattern = {"shape": "/" if state in HATCHED else "", "fillmode": "overlay", "size": 6}
        figure.add_bar(
            y=rows["bar"], x=rows["share"], orientation="h", name=label,
            marker={"color": color, "line": {"color": _faint(palette.text), "width": 1}, "pattern": pattern},
            text=[f"{label} {html.escape(text)}" for text in rows["text"]], textposition="inside", textangle=0,
            insidetextanchor="middle", insidetextfont={"size": 11, "color": _readable_on(color)},
            customdata=[str(state)] * len(rows), hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(visible=False, range=[0, 1], fixedrange=True)
    figure.update_yaxes(autorange="reversed", fixedrange=True, ticks="", ticksuffix="  ")
    smallest = {"minsize": 8, "mode": "hide"}
    stacked = laid_out(figure, height, barmode="stack", bargap=0.06, uniformtext=smallest, showlegend=False)
    return stacked.update_layout(margin={"t": 2, "b": 2})


def expectation(frame: pd.DataFrame, height: int, palette: Palette = LIGHT) -> go.Figure:
    """Open orders by age and by how many of 100 finished orders like them took less; the more, the higher.

    Columns po_number, state, age (seconds), slower_than (0 to 1, empty where nobody knows), like, late. Those that
    nobody can compare stand in a lane of their own below.
    """
    figure = go.Figure()
    height_of = frame["slower_than"].map(_height_of_share)
    groups = (
        ("Late", frame["late"], palette.trouble, "diamond"),
        ("Not late", ~frame["late"] & frame["slower_than"].notna(), palette.primary, "circle"),
        ("No history", ~frame["late"] & frame["slower_than"].isna(), palette.muted, "circle-open"),
    )
    for name, chosen, color, symbol in groups:
        rows = frame[chosen]
        figure.add_scatter(
            x=rows["age"].clip(lower=AGES[0][0]), y=height_of[chosen], name=f"{name} {len(rows):,}", mode="markers",
            marker={"color": color, "symbol": symbol, "size": 8, "opacity": 0.75}, customdata=list(rows["po_number"]),
            text=[_order_text(row) for row in rows.itertuples()], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    figure.add_hrect(LATE_FROM, HIGHEST, fillcolor=palette.trouble, opacity=0.12, line_width=0, layer="below")
    ticks = [_height_of_share(share) for share, _ in SHARES]
    figure.update_yaxes(
        range=[NO_HISTORY - 0.25, HIGHEST], zeroline=False, fixedrange=True,
        tickvals=[NO_HISTORY, *ticks],
        ticktext=["no history", *(text for _, text in SHARES)], title={"text": "slower than", "font": SMALL},
    )  # fmt: skip
    figure.update_xaxes(**_axis_of_ages(frame["age"], 1.3), zeroline=False)
    _add_label(figure, "late", "y domain", 1)
    return laid_out(figure, height, showlegend=False).update_layout(margin={"t": 8, "b": 0, "r": 34})


def _height_of_share(share: float) -> float:
    """Where a share of finished orders stands: as far from 90 to 99 of 100 as from none to 90."""
    if math.isnan(share):
        return NO_HISTORY
    return min(-math.log10(max(1.0 - share, 1e-9)), HIGHEST - 0.15)


def _order_text(row: Any) -> str:
    compared = "not enough history" if math.isnan(row.slower_than) else (
        f"slower than {min(int(row.slower_than * 100), 99)} of 100"
    )  # fmt: skip
    age = duration(timedelta(seconds=row.age))
    words = (row.po_number, f"{state_label(row.state)}, {age} old", f"{compared} ({row.like})")
    return "<br>".join(html.escape(plain(part)) for part in words)


def completion_times(frame: pd.DataFrame, height: int, palette: Palette = LIGHT) -> go.Figure:
    """Time to completion by hour or day as an area from p50 to p95. Columns hour, p50, p95 (seconds), orders."""
    figure, hours = go.Figure(), in_zone(frame["hour"])
    looks = (("p95", palette.warning, "dot", None), ("p50", palette.primary, "solid", "tonexty"))
    for name, color, dash, fill in looks:
        labels = [
            f"{name} at most {longest(timedelta(seconds=seconds))}<br>{count(orders, 'order')}"
            for seconds, orders in zip(frame[name], frame["orders"], strict=True)
        ]
        figure.add_scatter(
            x=hours, y=frame[name].clip(lower=AGES[0][0]), name=name, mode="lines+markers", fill=fill,
            fillcolor=_faint(palette.primary), line={"color": color, "dash": dash, "width": 2}, marker={"size": 5},
            text=labels, hovertemplate="%{x}<br>%{text}<extra></extra>",
            customdata=[hour.isoformat() for hour in frame["hour"]],
        )  # fmt: skip
    figure.update_yaxes(**_axis_of_ages(pd.concat([frame["p50"], frame["p95"]]), 1.2))
    if not frame.empty:  # around a lone hour the axis would count milliseconds
        first, last = hours.min(), hours.max()
        edge = max((last - first) * 0.04, timedelta(hours=1))
        figure.update_xaxes(range=[first - edge, last + edge * 2])
        for name, anchor in (("p95", "bottom"), ("p50", "top")):
            y = math.log10(max(float(frame[name].iloc[-1]), AGES[0][0]))
            place = {"x": last, "y": y, "xanchor": "left", "yanchor": anchor}
            figure.add_annotation(text=f" {name}", showarrow=False, font=SMALL, **place)
    return laid_out(figure, height, showlegend=False).update_layout(margin={"t": 8, "b": 0})


def _axis_of_ages(seconds: pd.Series, room: float) -> dict[str, Any]:
    """A logarithmic axis of lengths of time with the marks that people count in, and a little room at both ends."""
    least, most = max(float(seconds.min()), AGES[0][0]), max(float(seconds.max()), AGES[1][0])
    low = max((at for at, _ in AGES if at <= least), default=AGES[0][0])
    high = min((at for at, _ in AGES if at >= most), default=most)
    return {
        "type": "log", "fixedrange": True, "range": [math.log10(low / room), math.log10(high * room)],
        "tickvals": [at for at, _ in AGES], "ticktext": [text for _, text in AGES],
    }  # fmt: skip


def wall_figure(
    number: int, hourly: Sequence[int | None], height: int, palette: Palette = LIGHT, *, alarming: bool = False
) -> go.Figure:
    """One figure in letters that are read across a room, with its course by hour; `alarming` unless it is zero."""
    color = palette.trouble if alarming and number else palette.text
    figure = make_subplots(rows=2, row_heights=[0.68, 0.32], vertical_spacing=0, specs=[[{"type": "domain"}], [{}]])
    letters = {"font": {"size": 64, "color": color}, "valueformat": ",d"}
    figure.add_indicator(value=number, number=letters, row=1, col=1)
    figure.add_bar(y=[0 if each is None else each for each in hourly], marker={"color": palette.muted}, row=2, col=1)
    figure.update_xaxes(visible=False, fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True, rangemode="tozero")
    return laid_out(figure, height, showlegend=False, bargap=0.3).update_layout(margin={"t": 0, "b": 0})


def _readable_on(color: str) -> str:
    """The colour of text that stands out: that of the light theme on what is light, of the dark one on what is dark."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return LIGHT.text if 0.299 * red + 0.587 * green + 0.114 * blue > MID_GREY else DARK.text


def _faint(color: str) -> str:
    """The colour of a theme, nearly transparent."""
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def amounts_in_words(values: pd.DataFrame) -> list[str]:
    """The columns value_minor and currency of each row as money."""
    pairs = zip(values["value_minor"], values["currency"], strict=True)
    return [amounts.worth({currency: int(minor)}) for minor, currency in pairs]
