import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import expiry
import pytest
import streamlit as st
from histories import START, History
from sqlalchemy import Connection
from streamlit.testing.v1 import AppTest

import board_charts
import cached
from tracking.orders.vocabulary import AttentionReason
from tracking.reports.board.changes import latest_changes
from tracking.reports.board.decisions import DecisionGroup, DecisionOrder, Decisions
from tracking.storage.counters import record_balance
from tracking.storage.database import Database
from tracking.storage.facts import FactKey, set_fact

Visit = Callable[..., AppTest]
CHARTS = {"flow", "lifecycle_Orders", "expectation", "times_Links"}


def card(app: AppTest, key: str) -> Any:
    return app.container(key=key)


def addresses(block: Any) -> list[set[str]]:
    return [set(link.proto.query_string.split("&")) for link in block.page_link]


def chart_keys(app: AppTest) -> set[str]:
    return {chart.proto.id.rpartition("-")[2] for chart in app.get("plotly_chart")}


def test_an_empty_overview_says_how_to_begin_and_shows_no_charts(visit: Visit) -> None:
    app = visit()
    assert app.header[0].value.endswith("No orders yet")
    assert [button.label for button in card(app, "first_steps").button] == ["Place the first order"]
    assert not app.get("plotly_chart")
    assert not app.metric


def test_as_of_a_moment_the_overview_shows_the_counts_of_then_beside_those_of_now(
    history: History, visit: Visit
) -> None:
    history.at = START
    history.place("A-1")
    history.place("A-2")
    history.accept("A-1")
    history.wait(minutes=30)
    history.look("A-1", "Completed")
    history.refuse("A-2")
    app = visit()
    assert app.button(key="as_of").label == "As of ..."
    app.query_params["as_of"] = "2026-03-04T10:10"
    app.run()
    assert not app.exception
    assert "As known on" in app.warning[0].value
    assert {metric.label: metric.value for metric in app.metric} == {
        "Needs a decision": "0", "Late": "unknown", "Unconfirmed send": "0", "Open": "2", "Completed that day": "0"
    }  # fmt: skip
    notes = [caption.value for caption in app.main.caption if caption.value.startswith(("now", "known"))]
    assert notes == ["now 1", "now 0", "now 0", "now 0", "known by now: 1"]
    assert app.dataframe[0].value["then"].tolist() == [1, 1]
    assert not [button for button in app.button if button.key == "show_me"]
    links = addresses(card(app, "as_of_latest"))
    assert {"order=A-1", "as_of=2026-03-04T10%3A10"} in links


def test_the_overview_shows_its_verdict_and_its_counts_with_the_way_to_their_orders(
    visit: Visit, history: History
) -> None:
    for name in ("A-1", "A-2", "A-3"):
        history.place(name)
    history.complete("A-1")
    history.refuse("A-2")
    history.accept("A-3")
    history.find_finished("FOUND-1")
    app = visit()
    assert not app.exception
    assert "1 order needs a decision. 1 open, none late; oldest " in app.header[0].value
    counts = {metric.label: metric.value for metric in app.metric}
    assert counts == {
        "Needs a decision": "1", "Late": "0", "Unconfirmed send": "0", "Open": "1", "Completed today": "1"
    }  # fmt: skip
    assert addresses(card(app, "count_late")) == [{"view=late", "each=true"}]
    [completed] = card(app, "count_completed").page_link
    assert "Plus 1 order already complete when first seen." in completed.proto.help
    assert chart_keys(app) == CHARTS
    [chart] = [chart for chart in app.get("plotly_chart") if chart.proto.id.endswith("flow")]
    assert chart.proto.alt.startswith("In 24h: 3 orders placed, ")
    assert chart.proto.alt.endswith(" completed; 1 are open now. By the hour.")
    [row] = [block for block in [card(app, "reason_refused")] if block.page_link]
    assert addresses(row) == [{"view=attention", "reason=refused"}, {"order=A-2"}]
    assert row.page_link[0].label == "**1** Refused by the provider"
    assert not row.caption, "there is no room for so long a value"
    assert row.page_link[0].proto.help == "Refused by the provider, worth 10\\.00 \\(currency unknown\\)"
    assert any("n = 1" in caption.value for caption in app.caption)


def test_the_sentence_and_the_counts_are_of_one_reading_however_fast_the_orders_change(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("A-1")
    read, numbers = cached._board, itertools.count(1)

    def board(url: str) -> Any:
        (current, trend, lifecycle), number = read(url), next(numbers)
        decisions = replace(trend.needs_decision, now=number)
        return replace(current, verdict=f"{number} to decide"), replace(trend, needs_decision=decisions), lifecycle

    monkeypatch.setattr(cached, "_board", board)
    app = visit()
    [decisions] = [metric.value for metric in app.metric if metric.label == "Needs a decision"]
    assert app.header[0].value.endswith(f" {decisions} to decide")
    assert card(app, "headline").header, "it stands beside the buttons"


@pytest.mark.parametrize("span", ["24h", "30d"])
def test_each_chart_has_a_table_and_the_same_ways_for_the_keyboard(visit: Visit, history: History, span: str) -> None:
    history.place("A-1")
    history.complete("A-1")
    history.place("A-2")
    history.accept("A-2")
    history.place("A-3")
    history.refuse("A-3")
    app = visit()
    app.session_state["span"] = span
    for name in ("flow_data", "lifecycle_data", "expectation_data", "times_data"):
        app.session_state[name] = True
    app.run()
    assert not app.exception
    assert len(app.dataframe) == 6
    hours = app.selectbox(key="flow_choice")
    assert len(hours.options) == (24 if span == "24h" else 30)
    assert app.selectbox(key="expectation_choice").options == ["A-2"]
    assert app.selectbox(key="lifecycle_choice").options == ["Pending", "Refused today", "Completed today"]
    app.selectbox(key="lifecycle_choice").select("Refused today").run()
    [refused] = [query for query in addresses(app) if "state=Refused" in query]
    assert "watched=true" in refused
    assert any(part.startswith("ended_from=") for part in refused)
    ways = [query for query in addresses(app) if any(part.startswith(("from=", "order=", "type=")) for part in query)]
    assert {part.partition("=")[0] for query in ways for part in query} >= {
        "from",
        "to",
        "order",
        "type",
        "done_from",
        "done_to",
    }


def test_more_reasons_than_the_card_has_room_for_are_named_with_the_way_to_them(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, history: History
) -> None:
    oldest = DecisionOrder("A-1", "refused", history.at)
    groups = tuple(DecisionGroup(reason, 1, oldest, {"USD": 1000}) for reason in list(AttentionReason)[:7])
    history.place("A-1")
    found = Decisions(groups, (oldest,), 7, capped=False)
    monkeypatch.setattr(cached, "decisions", lambda: found)
    card_links = card(visit(), "decisions_card").page_link
    assert (card_links[-1].label, card_links[-1].proto.query_string) == ("+2 more reasons", "view=attention")
    assert sum(link.label.startswith("**1**") for link in card_links) == 5
    found = Decisions(groups[:6], (oldest,), 6, capped=False)
    assert sum(link.label.startswith("**1**") for link in card(visit(), "decisions_card").page_link) == 6
    board_charts._remember_click("gone since")  # a click that comes when its chart is no longer there
    assert "gone since_click" not in st.session_state


def test_the_latest_changes_keep_their_places_until_newer_ones_are_asked_for(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A-1", "A-2"):
        history.place(name)
    before = latest_changes(history.database)
    history.wait(seconds=5)
    history.accept("A-1")
    now = latest_changes(history.database)
    # Read by the page, and then by what asks whether there are newer ones.
    readings = iter([before, now])
    monkeypatch.setattr(cached, "latest_changes", lambda: next(readings))
    app = visit()
    state, at = (
        ":gray[:material/hourglass_empty: Queued]",
        (history.at - timedelta(seconds=5)).strftime("%H:%M:%S"),
    )
    labels = [link.label for link in card(app, "changes").page_link]
    assert labels == [f":gray[{at}]\u2003{state}\u2003A\\-{number}" for number in (2, 1)]
    assert app.button(key="show_changes").label == "1 new: show"


def test_values_are_shown_by_currency_on_request(visit: Visit, history: History) -> None:
    history.place("A-1", value=1250)
    app = visit()
    app.session_state["lifecycle_view"] = "Value"
    app.run()
    assert not app.exception
    assert "lifecycle_Value" in chart_keys(app)


def test_a_board_on_a_wall_has_large_figures_and_no_search(visit: Visit, history: History) -> None:
    history.at = datetime.now(UTC)
    history.place("A-1")
    app = visit()
    app.query_params["board"] = "1"
    app.run()
    assert not app.exception
    assert not app.metric
    assert {"wall_open", "wall_late"} <= chart_keys(app)
    assert not [field for field in app.text_input if field.key == "find"]
    history.place("A-2")
    expiry.expire()
    app.run()
    names = [link.label.rpartition("\u2003")[2] for link in card(app, "changes").page_link]
    assert names == ["A\\-2", "A\\-1"], "nobody asks for what is new there"


def test_the_charts_are_read_anew_once_the_week_before_a_demonstration_is_written(
    visit: Visit, history: History, database: Database
) -> None:
    def note(*, complete: bool) -> None:
        database.write(lambda connection: set_fact(connection, "demonstration", {"complete": complete}, history.at))
        cached._demonstration_in_progress.clear()

    history.place("A-1")
    note(complete=False)
    app = visit()
    history.place("A-2")
    app.run()
    assert int(cached.flow("24h").value[0]["placed"].sum()) == 1  # remembered for half a minute
    note(complete=True)
    app.run()
    assert not app.exception
    assert int(cached.flow("24h").value[0]["placed"].sum()) == 2


def test_the_balance_says_how_long_it_lasts_and_in_words_that_it_is_low(
    visit: Visit, history: History, database: Database
) -> None:
    history.place("A-1")
    now = datetime.now(UTC)

    def read(connection: Connection) -> None:
        for back in range(60, -1, -1):
            record_balance(connection, 500_00 + back * 100, 501_00 + back * 100, now - timedelta(hours=back))
        value = {"available_minor": 500_00, "offered": True, "below_minor": 600_00, "below_currency": "U<S>D"}
        set_fact(connection, "balance", value, now)
        set_fact(connection, FactKey.API_CLIENT, {"token_valid_until": (now - timedelta(minutes=5)).isoformat()}, now)

    assert not [each for each in visit().metric if "Balance" in each.label]
    database.write(read)
    expiry.expire()
    app = visit()
    assert not app.exception
    [metric] = [each for each in app.metric if "Balance" in each.label]
    assert metric.value == "500\\.00 U\\<S\\>D"
    said = " ".join(str(each.value) for each in (*app.caption, *app.warning)).replace("\\", "")
    assert "below 600.00 U<S>D, lasts 20 to 21 days." in said
    assert "The balance is 500.00 U<S>D, below 600.00 U<S>D" in said
    assert "token expired" in said


def test_a_change_of_thousands_has_its_separators(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("A-1")
    visit()
    current, trend = cached.board()
    grown = replace(trend, open=replace(trend.open, change=3068), late=replace(trend.late, change=-1200))
    monkeypatch.setattr(cached, "board", lambda: (current, grown))
    deltas = [metric.delta for metric in visit().metric]
    assert "3,068" in deltas
    assert "-1,200" in deltas
