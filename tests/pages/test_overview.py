import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from histories import History
from streamlit.testing.v1 import AppTest

import cached
from tracking.reports import overview as reports

Visit = Callable[..., AppTest]


def test_an_empty_overview_says_how_to_begin(visit: Visit) -> None:
    app = visit()
    assert app.header[0].value == "No orders yet"
    assert [link.label for link in app.container(key="first_steps").page_link] == ["Place the first order"]


def test_the_overview_shows_its_verdict_and_counts(visit: Visit, history: History) -> None:
    for name in ("A-1", "A-2", "A-3"):
        history.place(name)
    history.complete("A-1")
    history.refuse("A-2")
    app = visit()
    assert not app.exception
    assert app.header[0].value.startswith("1 order needs a decision. 1 open, none late; oldest ")
    assert app.header[0].value.startswith("1 order needs a decision.")
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown == {"Needs a person": "1", "Late": "0", "Outcome unknown": "0", "Open": "1", "Done today": "1"}


def test_each_count_links_to_its_orders(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit()
    address = app.container(key="count_late").page_link[0].proto.query_string
    assert set(address.split("&")) == {"view=late", "each=true"}


def test_each_chart_comes_as_a_sentence_and_a_table_too(visit: Visit, history: History) -> None:
    history.place("A-1")
    history.complete("A-1")
    history.place("A-2")
    app = visit()
    assert len(app.get("plotly_chart")) == 3
    assert len(app.dataframe) == 3
    said = [caption.value for caption in app.caption]
    assert any("Placed in this span: " in text for text in said)
    assert any("Counted are orders seen open before" in text for text in said)


def test_the_latest_changes_keep_their_places_until_newer_ones_are_asked_for(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A-1", "A-2"):
        history.place(name)
    before = reports.overview(history.database, history.at)
    history.wait(seconds=5)
    history.accept("A-1")
    now = reports.overview(history.database, history.at)
    # Read by the figures, by the changes, by what asks whether there are newer ones, and by the charts.
    readings = iter([before, before, now, now])
    monkeypatch.setattr(cached, "overview", lambda: next(readings))
    app = visit()
    assert [link.label for link in app.container(key="changes").page_link] == ["A\\-2", "A\\-1"]
    assert app.button(key="show_changes").label == "1 newer: show"
    at = (history.at - timedelta(seconds=5)).strftime("%H:%M:%S")
    assert all(text.value.startswith(at) for text in app.container(key="changes").text)


def test_the_span_of_the_charts_can_be_chosen(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit()
    app.session_state["span"] = "30d"
    app.run()
    assert not app.exception
    said = [markdown.value for markdown in app.markdown]
    assert "**Orders by the day they were placed and their state now**" in said
    assert "**Time to completion, by the day of completion**" in said
    month = datetime.now(UTC) - timedelta(days=29)
    assert f"From {month:%Y-%m-%d} 00:00 on. Times are UTC." in [caption.value for caption in app.caption]
    columns = json.loads(app.dataframe[0].proto.columns)
    assert columns["_index"]["label"] == "Day"


def test_found_orders_are_told_apart_from_done_ones(visit: Visit, history: History) -> None:
    history.find_finished("FOUND-1")
    app = visit()
    assert any("does not count 1 orders found already finished" in caption.value for caption in app.caption)
