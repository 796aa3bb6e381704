from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import plotly.graph_objects as go
import pytest

from charts import order, order_progress, overview
from charts.palette import LIGHT
from charts.time_axis import TimeAxis
from tracking.orders.wording import TIME_ZONE

START = datetime(2026, 3, 4, 10, tzinfo=UTC)
NAMES = ["at", "until", "witness", "kind", "text", "count", "ahead", "state"]


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def row(minutes: float, witness: str, kind: str, state: str | None = None, *, ahead: bool = False) -> list[object]:
    return [after(minutes), after(minutes), witness, kind, kind, 1, ahead, state]


def drawn(
    state: str, *rows: list[object], window: tuple[float, float] | None = None, now: float = 120
) -> tuple[go.Figure, order.Life]:
    low, high = (after(window[0]), after(window[1])) if window else (None, None)
    life = order.Life(START, state, low, high, after(now))
    return order.timeline(pd.DataFrame(rows, columns=NAMES), life), life


def ribbon(figure: go.Figure) -> list[tuple[str, float, float]]:
    """The states with where they begin and end."""
    bars = [bar for bar in figure.data if isinstance(bar, go.Bar) and bar.y[0] == "State" and bar.text]
    return [(bar.text, bar.base[0], bar.base[0] + bar.x[0]) for bar in bars]


def lanes(figure: go.Figure) -> list[str]:
    return list(figure.layout.yaxis.categoryarray)[::-1]


SENT = row(0, "us", "requested", "Queued"), row(1, "answer", "accepted", "Pending")


def test_an_open_orders_ribbon_ends_now_and_only_lanes_in_use_are_drawn() -> None:
    figure, _ = drawn("Pending", *SENT, row(4, "poll", "ahead", ahead=True), now=3)
    assert ribbon(figure) == [("Queued", 0, 60), ("Pending", 60, 180)]
    assert lanes(figure) == ["State", "Sending"]
    assert "now" in [each.text for each in figure.layout.annotations]
    assert [each.x0 for each in figure.layout.shapes] == [180, 240], "now, and the next poll"


@pytest.mark.parametrize("kind", ["refused", "mismatch"])
def test_a_refused_order_ends_where_it_was_refused(kind: str) -> None:
    figure, _ = drawn("Refused", *SENT, row(2, "answer", kind, "Refused"), row(3, "person", "acknowledged"))
    (*_, pending, refused) = ribbon(figure)
    assert (pending, refused[:2]) == (("Pending", 60, 120), ("Refused", 120))
    assert not any(each.text == "now" for each in figure.layout.annotations)
    assert lanes(figure) == ["State", "Sending", "People"]


@pytest.mark.parametrize("state", ["Completed", "Cancelled"])
def test_the_band_in_which_an_order_ended_says_so_in_the_colour_of_its_state(state: str) -> None:
    figure, life = drawn(state, *SENT, row(2.1, "poll", state.lower(), state), window=(2, 3))
    [band] = figure.layout.shapes
    assert (band.fillcolor, band.x0, band.x1) == (LIGHT.states[state], 120, 180)
    assert f"{state.lower()} in this 1 min" in [each.text for each in figure.layout.annotations]
    assert ribbon(figure)[-2:] == [("Pending", 60, 120), (state, 180, pytest.approx(180 * 1.09))]
    assert LIGHT.states["Completed"] != LIGHT.states["Cancelled"]
    told = order.alt(pd.DataFrame([SENT[0], row(2.1, "poll", state.lower(), state)], columns=NAMES), life)
    assert told.startswith(f"Timeline of the order: Queued from 10:00:00; {state} from 10:03:00.")


def test_equal_polls_are_a_bar_with_their_number() -> None:
    run = row(1.5, "poll", "still open")
    run[1], run[5] = after(2.5), 34
    figure, _ = drawn("Pending", *SENT, run, now=3)
    [bar] = [bar for bar in figure.data if isinstance(bar, go.Bar) and bar.y[0] == "Polls"]
    assert (bar.base[0], bar.x[0], bar.text) == (90, 60, "34")


def test_a_long_gap_is_cut_and_says_how_long_it_was() -> None:
    late = 4 * 1440 + 20 * 60
    figure, _ = drawn("Processing", *SENT, row(2, "poll", "still open"), row(late, "poll", "still open"), now=late + 1)
    assert "4 d 19 h<br>no news" in [each.text for each in figure.layout.annotations]
    assert figure.layout.xaxis.range[1] < 400


def test_places_on_the_axis_keep_their_order_and_ticks_stand_at_round_times() -> None:
    moments = [after(each) for each in (0, 0.1, 0.3, 600, 600.2, 601, 9000)]
    axis = TimeAxis(moments)
    places = [axis.at(moment) for moment in moments]
    assert places == sorted(set(places))
    assert [piece.length for piece in axis.cuts] == [timedelta(minutes=599.7), timedelta(minutes=8399)]
    ticks, texts = axis.clock_ticks()
    assert ticks == sorted(ticks)
    assert texts[0] == "10:00:00<br>Mar 4"
    assert axis.elapsed_ticks()[1][0] == "+0 s"
    assert TimeAxis([START]).at(START) == 0


def test_an_axis_that_would_need_many_cuts_has_none_and_its_ticks_differ() -> None:
    moments = [after(each) for each in (0, 0.01, 115, 235, 355, 454, 454.5, 460)]
    axis = TimeAxis(moments)
    assert (axis.cuts, axis.width) == ([], 460 * 60)
    far = TimeAxis([after(each) for each in (0, 600, 600.2, 600.5, 601)])
    assert len(far.cuts) == 1
    assert len(set(far.elapsed_ticks()[1])) == len(far.elapsed_ticks()[1])
    assert "+10 h 30 s" in far.elapsed_ticks()[1]


def test_the_course_of_a_bulk_order_shows_what_is_on_record_and_the_pace_only_where_there_is_one() -> None:
    counted = [(after(0), 0), (after(1), 40), (after(2), 80)]
    assert [each.name for each in order_progress.fulfilled(counted, 100, after(2)).data] == ["fulfilled"]
    ends = after(2.4), after(2.5), after(3)
    figure = order_progress.fulfilled(counted, 100, after(2), ends)
    assert {each.name for each in figure.data} == {"fulfilled", "projection", "range"}
    assert list(figure.data[-1].y) == [0, 40, 80, 80]
    assert figure.data[-1].line.shape == "hv"


def test_the_curve_of_similar_orders_marks_this_one_and_its_next_poll() -> None:
    figure = order_progress.standing([1.0, 10.0, 100.0], [1.0, 0.5, 0.1], 30.0, 45.0)
    assert [each.text for each in figure.layout.annotations] == ["this order, 30 s", "next poll, 45 s"]
    assert figure.data[0].hovertext[1] == "50 % still open after 10 s"


def test_the_bounds_of_completion_are_told_rounded_up() -> None:
    frame = pd.DataFrame({"hour": [START], "p50": [61.2], "p95": [292.5], "orders": [7]})
    texts = [trace.text[0] for trace in overview.completion_times(frame, 200).data]
    assert texts == ["p95 at most 4 min 53 s<br>7 orders", "p50 at most 1 min 2 s<br>7 orders"]


def test_a_click_on_an_hour_stands_for_it_whatever_was_drawn_there() -> None:
    hours = [START, START + timedelta(hours=1)]
    frame = pd.DataFrame({"hour": hours, "placed": [3, 0], "completed": [1, 0], "discovered": [2, 0], "open": [2, 2]})
    course = pd.DataFrame({"hour": hours, "state": ["<b>", "<b>"], "orders": [2, 2]})
    figure = overview.flow(frame, course, 200)
    opened, moved = [trace for trace in figure.data if trace.text is not None]
    assert opened.customdata is None, "no list holds what was open at the end of a past hour"
    assert list(moved.customdata) == [hour.isoformat() for hour in hours]
    assert moved.text[0] == (
        "3 placed, 1 completed<br>2 complete when first seen, not drawn<br>2 open at its end<br>2 &lt;b&gt;"
    )
    assert moved.text[1] == "0 placed, 0 completed<br>2 open at its end<br>2 &lt;b&gt;"
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
