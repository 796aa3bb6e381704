from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import plotly.graph_objects as go
import pytest

from charts import order, overview
from charts.palette import LIGHT
from tracking.orders.wording import TIME_ZONE

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
    texts = [trace.text[0] for trace in overview.completion_times(frame, 200).data]
    assert texts == ["p95 at most 4 min 53 s<br>7 orders", "p50 at most 1 min 2 s<br>7 orders"]


def test_a_click_on_an_hour_stands_for_it_whatever_was_drawn_there() -> None:
    hours = [START, START + timedelta(hours=1)]
    frame = pd.DataFrame({"hour": hours, "placed": [3, 0], "completed": [1, 0], "open": [2, 2]})
    course = pd.DataFrame({"hour": hours, "state": ["<b>", "<b>"], "orders": [2, 2]})
    figure = overview.flow(frame, course, 200)
    areas = [trace for trace in figure.data if trace.customdata is not None]
    assert [list(area.customdata) for area in areas] == [[hour.isoformat() for hour in hours]] * 2
    assert areas[1].text[0] == "3 placed, 1 completed<br>2 open at its end<br>2 &lt;b&gt;"
    assert [list(trace.y) for trace in figure.data][1:3] == [[3, 0], [-1, 0]]


def test_hours_are_drawn_as_the_clock_of_whoever_reads_shows_them() -> None:
    token = TIME_ZONE.set(ZoneInfo("Europe/Berlin"))
    try:
        frame = pd.DataFrame({"hour": [START], "p50": [1.0], "p95": [2.0], "orders": [1]})
        [drawn, *_] = overview.completion_times(frame, 200).data
    finally:
        TIME_ZONE.reset(token)
    assert pd.Timestamp(drawn.x[0]) == pd.Timestamp("2026-03-04 11:00")


def test_open_orders_without_history_have_a_lane_of_their_own_and_late_ones_stand_out() -> None:
    frame = pd.DataFrame(
        {
            "po_number": ["A", "B", "C"],
            "state": ["Pending"] * 3,
            "age": [60.0, 86_400.0, 5.0],
            "slower_than": [0.5, 1.0, float("nan")],
            "like": ["links, 1 card"] * 3,
            "late": [False, True, False],
        }
    )
    late, usual, unknown = overview.expectation(frame, 200, LIGHT).data
    assert [list(trace.customdata) for trace in (late, usual, unknown)] == [["B"], ["A"], ["C"]]
    assert late.y[0] > overview.LATE_FROM > usual.y[0] > 0 > unknown.y[0]
    assert late.marker.symbol != usual.marker.symbol != unknown.marker.symbol
    assert late.text[0] == "B<br>Pending, 1 d 0 h old<br>slower than 99 of 100 (links, 1 card)"
    assert "not enough history" in unknown.text[0]


def test_each_bar_of_the_lifecycle_is_whole_and_small_states_keep_their_numbers() -> None:
    rows = [
        ["Open 4", "Pending", 3, "3"],
        ["Open 4", "Outcome unknown", 1, "1"],
        ["Ended today 9", "Completed", 9, "9"],
    ]
    bars = pd.DataFrame(rows, columns=["bar", "state", "amount", "text"])
    figure = overview.lifecycle(bars, 60)
    assert [list(trace.x) for trace in figure.data] == [[0.75], [0.25], [1.0]]
    assert figure.data[1].text[0] == "Unconfirmed 1"
    assert figure.data[1].marker.pattern.shape == "/"
    assert [list(trace.customdata) for trace in figure.data] == [["Pending"], ["Outcome unknown"], ["Completed"]]
