"""The chart of one order: its states as a ribbon, the band in which it ended, and who said what when, in lanes."""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from charts.layout import laid_out
from charts.palette import DARK, LIGHT, Palette
from charts.time_axis import TimeAxis
from tracking.orders.model import is_open
from tracking.orders.vocabulary import state_label
from tracking.orders.wording import clock, duration, longest, plain

LANES = ("Webhook", "Polls", "Sending", "People")
RIBBON = "State"
HEIGHT = 260
_LANE_OF = {"us": "Sending", "answer": "Sending", "poll": "Polls", "webhook": "Webhook", "person": "People"}
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
    "notice confirmed": "triangle-up",
    "acknowledged": "square",
    "noted": "square-open",
    "ahead": "circle-open-dot",
}
_LABELS = {
    "completed": "confirmed",
    "cancelled": "cancelled",
    "contradiction": "contradiction",
    "mismatch": "number taken",
    "refused": "refused",
    "outcome unknown": "no answer",
    "notice repeated": "duplicate",
    "notice claimed": "complete",
    "notice confirmed": "complete",
    "acknowledged": "acknowledged",
    "noted": "note",
}
_TROUBLED = frozenset({"contradiction", "mismatch", "refused", "outcome unknown", "cancelled"})
_LETTER = 0.0075  # of the chart's width: what a letter of a label takes on a wide screen


@dataclass(frozen=True, slots=True)
class Life:
    """What the ribbon is made of; `completed_after` and `completed_by` bound when the order became final."""

    created_at: datetime
    state: str
    completed_after: datetime | None
    completed_by: datetime | None
    now: datetime


def timeline(rows: pd.DataFrame, life: Life, palette: Palette = LIGHT) -> go.Figure:
    """One order's states as a ribbon above its events in lanes by witness, on an axis without long gaps.

    Columns at, until, witness, kind, text, count, ahead, state (what the event made the order's state, or None). While
    the order is open the ribbon ends now, and the next step is drawn as a dotted line.
    """
    past, ahead = rows.loc[~rows["ahead"].astype(bool)], rows.loc[rows["ahead"].astype(bool)]
    lanes = [name for name in LANES if name in set(past["witness"].map(_lane))]
    axis = TimeAxis(_moments(past, ahead, life))
    # An axis without a trace of its own, if only one that nobody sees, is not drawn.
    figure = go.Figure(go.Scatter(x=[0], y=[RIBBON], xaxis="x2", mode="none", hoverinfo="skip"))
    _draw_ribbon(figure, past, life, axis, palette)
    ends = {name: _lane_ends(past, name, axis) for name in lanes}
    for row in _rows(past):
        _draw_event(figure, row, life, axis, palette, ends)
    _draw_band(figure, life, axis, palette)
    _draw_cuts(figure, axis, palette)
    if is_open(life.state):
        _draw_now(figure, ahead, lanes, life, axis, palette)
    return _with_axes(figure, lanes, [-0.01 * axis.width, _right_end(life, axis)], axis, palette)


def alt(rows: pd.DataFrame, life: Life) -> str:
    """What the chart shows, in a sentence for whoever does not see it."""
    past = rows.loc[~rows["ahead"].astype(bool)]
    states = [f"{_word(state)} from {clock(at, life.now)}" for state, at, _ in _states(past, life)]
    lanes = ", ".join(f"{number} of {name}" for name, number in past["witness"].map(_lane).value_counts().items())
    return f"Timeline of the order: {'; '.join(states)}. Events by lane: {lanes or 'none'}."


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    yield from frame.itertuples()


def _word(state: str) -> str:
    """The state for people; the provider's own words stay in the order in which they were written."""
    return plain(state_label(state))


def _lane(witness: str) -> str:
    return _LANE_OF.get(witness, "Sending")


def _moments(past: pd.DataFrame, ahead: pd.DataFrame, life: Life) -> list[datetime]:
    bounds = (life.created_at, life.completed_after, life.completed_by)
    moments = [*past["at"], *past["until"], *(each for each in bounds if each is not None)]
    if is_open(life.state):
        moments += [life.now, *ahead["at"]]
    return moments


def _states(past: pd.DataFrame, life: Life) -> list[tuple[str, datetime, datetime | None]]:
    """Each state with when it began and ended; the last one has no end."""
    begun: list[tuple[str, datetime]] = []
    for row in _rows(past.loc[past["state"].notna()]):
        if not begun or begun[-1][0] != row.state:
            begun.append((str(row.state), row.at))
    if not begun:
        return [(life.state, life.created_at, None)]
    if not is_open(begun[-1][0]) and life.completed_by is not None:
        begun[-1] = begun[-1][0], life.completed_by
    ends = [at for _, at in begun[1:]]
    return [(state, at, end) for (state, at), end in zip(begun, [*ends, None], strict=True)]


def _draw_ribbon(figure: go.Figure, past: pd.DataFrame, life: Life, axis: TimeAxis, palette: Palette) -> None:
    states = _states(past, life)
    for number, (state, since, until) in enumerate(states):
        label, color = html.escape(_word(state)), palette.state(state)
        if until is None:
            end = axis.at(life.now) if is_open(state) else _right_end(life, axis)
            when = f"since {clock(since, life.now)}"
        else:
            final = number == len(states) - 2 and not is_open(states[-1][0])
            end = axis.at(max(since, life.completed_after) if final and life.completed_after else until)
            when = f"{clock(since, life.now)} to {clock(until, life.now)}"
        start = axis.at(since)
        bar = _bar(start, max(end - start, 0.0), RIBBON, color, label, f"<b>{label}</b><br>{when}")
        figure.add_bar(**bar, width=0.72, marker={"color": color, "line": {"color": palette.grid, "width": 1}})
    if len(states) > 1 and (window := _window(life)) is not None:
        start, end = (axis.at(moment) for moment in window)
        first, last = (clock(moment, life.now) for moment in window)
        hover = f"{html.escape(_window_text(life, window))}, between {first} and {last}"
        before, after = palette.state(states[-2][0]), palette.state(life.state)
        pattern = {"shape": "/", "fgcolor": after, "bgcolor": before, "size": 9, "solidity": 0.5}
        bar = _bar(start, end - start, RIBBON, after, "", hover)
        figure.add_bar(**bar, width=0.72, marker={"color": before, "pattern": pattern})


def _bar(start: float, width: float, lane: str, color: str, text: str, hover: str) -> dict[str, Any]:
    """A horizontal bar with its text inside, where there is room for it."""
    return {
        "base": [start], "x": [width], "y": [lane], "orientation": "h", "text": text, "textposition": "inside",
        "insidetextanchor": "middle", "textangle": 0, "insidetextfont": {"color": _ink(color), "size": 12},
        "hovertext": hover, "hoverinfo": "text", "name": text or lane,
    }  # fmt: skip


def _right_end(life: Life, axis: TimeAxis) -> float:
    """How far the axis goes: a little beyond the last event, so that a final state can be read."""
    return axis.width * (1.01 if is_open(life.state) else 1.09)


def _window(life: Life) -> tuple[datetime, datetime] | None:
    """Between which polls the order became final; None where it is open, or was final at the first poll."""
    if life.completed_after is None or life.completed_by is None or is_open(life.state):
        return None
    return life.completed_after, life.completed_by


def _window_text(life: Life, window: tuple[datetime, datetime]) -> str:
    length = longest(window[1] - window[0])
    return f"{_word(life.state).lower()} in {'this' if length.startswith('1 ') else 'these'} {length}"


def _ink(color: str) -> str:
    """The text that is read best on this colour."""
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return LIGHT.text if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else DARK.text


def _draw_event(
    figure: go.Figure, row: Any, life: Life, axis: TimeAxis, palette: Palette, ends: dict[str, list[float]]
) -> None:
    lane, place = _lane(row.witness), axis.at(row.at)
    color = palette.trouble if row.kind in _TROUBLED else palette.primary
    since = row.at - life.created_at
    hover = f"{clock(row.at, life.now)} (+{duration(since)})<br>{html.escape(_wrapped(row.text))}"
    if row.count > 1 and row.until > row.at:
        bar = _bar(place, axis.at(row.until) - place, lane, color, f"{row.count:,}", hover.replace("\n", "<br>"))
        figure.add_bar(**bar, width=0.5, marker={"color": color, "opacity": 0.75, "line": {"color": color, "width": 2}})
        return
    text, side = _label(row.kind, place, axis, ends[lane])
    figure.add_scatter(
        x=[place],
        y=[lane],
        mode="markers+text",
        marker={"symbol": _SYMBOLS.get(row.kind, "circle"), "size": 12 if row.kind != "completed" else 15},
        marker_color=color,
        text=text,
        textposition=f"middle {side}",
        textfont={"color": palette.muted, "size": 11},
        hovertext=hover.replace("\n", "<br>"),
        hoverinfo="text",
        name=html.escape(row.kind),
    )


def _lane_ends(past: pd.DataFrame, lane: str, axis: TimeAxis) -> list[float]:
    """Where something stands in the lane."""
    rows = past.loc[past["witness"].map(_lane) == lane]
    return sorted({axis.at(moment) for moment in [*rows["at"], *rows["until"]]})


def _label(kind: str, place: float, axis: TimeAxis, taken: list[float]) -> tuple[str, str]:
    """A word for the marker, and on which of its sides there is room for it; none where there is none."""
    text = _LABELS.get(kind, "")
    needed = (len(text) + 3) * _LETTER * axis.width
    sides = [("right", place, place + needed), ("left", place - needed, place)]
    for side, lower, upper in reversed(sides) if place > 0.8 * axis.width else sides:
        crossed = any(lower <= other <= upper and other != place for other in taken)
        cut = any(piece.start < upper and lower < piece.start + piece.width for piece in axis.cuts)
        if not crossed and not cut and lower >= 0 and upper <= 1.08 * axis.width:
            return text, side
    return "", "right"


def _wrapped(text: str, width: int = 70) -> str:
    words, lines = text[:300].split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _draw_band(figure: go.Figure, life: Life, axis: TimeAxis, palette: Palette) -> None:
    """The band between the polls that saw the order open and final; it became so somewhere in it."""
    window = _window(life)
    if window is None:
        return
    start, end = (axis.at(moment) for moment in window)
    color = palette.state(life.state)
    figure.add_vrect(x0=start, x1=end, fillcolor=color, opacity=0.28, line={"color": color, "width": 1}, layer="below")
    place = min(max((start + end) / 2, axis.width * 0.1), axis.width * 0.97)
    _write_above(figure, place, _window_text(life, window), palette)


def _write_above(figure: go.Figure, place: float, text: str, palette: Palette) -> None:
    font = {"color": palette.text, "size": 12}
    figure.add_annotation(
        x=place, y=1, yref="paper", yanchor="bottom", yshift=20, text=html.escape(text), showarrow=False, font=font
    )


def _draw_cuts(figure: go.Figure, axis: TimeAxis, palette: Palette) -> None:
    for piece in axis.cuts:
        start, end = piece.start + piece.width * 0.2, piece.start + piece.width * 0.8
        for place in (start, end):
            figure.add_vline(x=place, line={"color": palette.muted, "width": 1, "dash": "dash"})
        figure.add_vrect(x0=start, x1=end, fillcolor=palette.grid, opacity=0.55, line_width=0, layer="below")
        figure.add_annotation(
            x=(start + end) / 2,
            y=0.02,
            yref="paper",
            yanchor="bottom",
            text=f"{duration(piece.length)}<br>no news",
            showarrow=False,
            font={"color": palette.text, "size": 11},
        )


def _draw_now(
    figure: go.Figure, ahead: pd.DataFrame, lanes: list[str], life: Life, axis: TimeAxis, palette: Palette
) -> None:
    now = axis.at(life.now)
    figure.add_vline(x=now, line={"color": palette.text, "width": 1.5})
    _write_above(figure, now, "now", palette)
    for row in _rows(ahead):
        place, lane = axis.at(row.at), _lane(row.witness)
        figure.add_vline(x=place, line={"color": palette.muted, "width": 1, "dash": "dot"})
        figure.add_scatter(
            x=[place],
            y=[lane if lane in lanes else RIBBON],
            mode="markers",
            marker={"symbol": "circle-open-dot", "size": 12, "color": palette.muted},
            hovertext=f"{clock(row.at, life.now)}<br>{html.escape(_wrapped(row.text))}",
            hoverinfo="text",
            name="ahead",
        )


def _with_axes(figure: go.Figure, lanes: list[str], span: list[float], axis: TimeAxis, palette: Palette) -> go.Figure:
    order = [*reversed(lanes), RIBBON]
    places, texts = axis.clock_ticks()
    tops, lengths = axis.elapsed_ticks()
    small = {"size": 11, "color": palette.muted}
    figure.update_layout(
        barmode="overlay",
        uniformtext={"minsize": 10, "mode": "hide"},
        xaxis={"range": span, "tickvals": places, "ticktext": texts, "gridcolor": palette.grid, "tickfont": small},
        xaxis2={
            "range": span,
            "overlaying": "x",
            "side": "top",
            "tickvals": tops,
            "ticktext": lengths,
            "tickfont": small,
            "showgrid": False,
            "fixedrange": True,
        },
    )
    figure.update_xaxes(zeroline=False, tickangle=0)
    figure.update_yaxes(categoryorder="array", categoryarray=order, range=[-0.6, len(order) - 0.4], fixedrange=True)
    figure.update_yaxes(showgrid=False, tickfont={"size": 12, "color": palette.text})
    laid_out(figure, HEIGHT, showlegend=False)
    return figure.update_layout(margin={"l": 8, "r": 8, "t": 44, "b": 8})
