from datetime import UTC, datetime, timedelta

import pandas as pd
import plotly.graph_objects as go
import pytest

from charts import order, overview
from charts.palette import LIGHT

START = datetime(2026, 3, 4, 10, tzinfo=UTC)
NAMES = ["at", "until", "witness", "kind", "text", "count", "ahead"]


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def drawn(state: str, *kinds: str, window: tuple[float, float] | None = None) -> go.Figure:
    """The chart two hours later of an order with an event of each kind, one a minute."""
    moments = [after(number) for number in range(len(kinds))]
    rows = [[at, at, "us", kind, kind, 1, False] for at, kind in zip(moments, kinds, strict=True)]
    low, high = (after(window[0]), after(window[1])) if window else (None, None)
    return order.timeline(
        pd.DataFrame(rows, columns=NAMES),
        created_at=START,
        completed_after=low,
        completed_by=high,
        state=state,
        now=after(120),
    )


def order_line(figure: go.Figure) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == "order")


def test_an_open_order_is_dashed_up_to_now() -> None:
    line = order_line(drawn("Pending", "requested", "accepted"))
    assert (line.line.dash, line.x[-1], line.hovertext) == ("dash", after(120), "still open at 12:00:00")


@pytest.mark.parametrize("kind", ["refused", "mismatch"])
def test_a_refused_order_ends_where_it_was_refused(kind: str) -> None:
    line = order_line(drawn("Refused", "requested", "sending", kind, "acknowledged"))
    assert (line.line.dash, line.x[-1]) == (None, after(2))
    assert line.hovertext == "from asked for to refused"
    assert line.line.color == LIGHT.states["Refused"]


@pytest.mark.parametrize("state", ["Completed", "Cancelled"])
def test_the_band_in_which_an_order_ended_has_the_colour_of_its_state(state: str) -> None:
    figure = drawn(state, "requested", "accepted", state.lower(), window=(1, 2))
    [band] = figure.layout.shapes
    assert (band.fillcolor, band.x0, band.x1) == (LIGHT.states[state], after(1), after(2))
    assert order_line(figure).line.color == LIGHT.states[state]
    assert f"{state.lower()} somewhere in this band" in [trace.hovertext for trace in figure.data]
    assert LIGHT.states["Completed"] != LIGHT.states["Cancelled"]


def test_the_bounds_of_completion_are_told_rounded_up() -> None:
    frame = pd.DataFrame({"hour": [START], "p50": [61.2], "p95": [292.5], "orders": [7]})
    texts = [trace.customdata[0][0] for trace in overview.completions(frame).data]
    assert texts == ["1 min 2 s", "4 min 53 s"]
