import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from finished import times_of
from histories import History
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.testing.v1 import AppTest

import actors
import exports
import orders_selection
import orders_table
import recording
import session
from tracking.access import Person
from tracking.app.preferences import Preferences
from tracking.errors import NotAllowed
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.learned import store_forecasts
from tracking.forecasting.survival import Forecast, Interval
from tracking.orders.vocabulary import EventKind
from tracking.polling.learner import Learner
from tracking.reports import activity
from tracking.reports.order_list import news as list_news
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.news import Change, News
from tracking.reports.order_list.search import orders_page
from tracking.reports.team.saved_views import saved_views
from tracking.storage.database import Database
from tracking.storage.team.tables import AUDIT_LOG

Visit = Callable[..., AppTest]


def po_numbers(app: AppTest) -> list[str]:
    return app.dataframe[0].value["po_number"].tolist()


def address(app: AppTest) -> dict[str, list[str]]:
    return {name: value if isinstance(value, list) else [value] for name, value in app.query_params.items()}


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def select(app: AppTest, *rows: int) -> AppTest:
    key = f"orders_table_{app.session_state['orders_snapshot'].number}_{app.session_state['orders_table_turn']}"
    app.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return app.run()


def test_the_address_filters_the_orders(visit: Visit, history: History) -> None:
    for name in ("A-1", "A-2", "B-1"):
        history.place(name)
    history.lose("A-2")
    assert po_numbers(visit("orders", q="a-")) == ["A-2", "A-1"]
    assert po_numbers(visit("orders", view="unknown")) == ["A-2"]
    assert po_numbers(visit("orders", sort="po number", asc="true")) == ["A-1", "A-2", "B-1"]
    assert po_numbers(visit("orders", state=["Queued"], prefix="B")) == ["B-1"]
    assert po_numbers(visit("orders", not_state=["Queued"])) == ["A-2"]
    back = visit("orders", list="view=unknown")  # as the browser's Back brings it from an order's page
    assert address(back) == {"view": ["unknown"]}
    assert address(visit("orders", job="7", list="view=unknown&sort=value")) == {"view": ["unknown"], "sort": ["value"]}
    assert po_numbers(back) == ["A-2"]


def test_a_widget_changes_the_address_and_a_chip_changes_it_back(visit: Visit, history: History) -> None:
    for number in range(30):
        history.place(f"A-{number:02}")
    app = visit("orders", page="2")
    assert len(po_numbers(app)) == 5
    assert "Clear filters" not in labels(app)
    app.text_input(key="filter_q").set_value("A-0").run()
    assert po_numbers(app) == [f"A-0{number}" for number in range(9, -1, -1)]
    app.multiselect(key="filter_not_state").set_value(["Outcome unknown", "Refused"]).run()
    assert address(app) == {"q": ["A-0"], "not_state": ["Outcome unknown", "Refused"]}
    assert [button.label for button in app.button if str(button.key).startswith("chip_")] == [
        'Contains "A\\-0"', "State is not Unconfirmed", "State is not Refused",
    ]  # fmt: skip
    app.button(key="chip_2").click().run()
    assert address(app) == {"q": ["A-0"], "not_state": ["Outcome unknown"]}
    app.button(key="clear").click().run()
    assert address(app) == {}
    assert len(po_numbers(app)) == 25


def test_every_filter_of_an_address_is_a_chip_that_takes_it_away(visit: Visit, history: History) -> None:
    history.place("A-1")
    query = {
        "q": "A", "state": "Queued", "not_state": "Refused", "type": "Links", "not_type": "Codes", "source": "form",
        "not_source": "seed", "not_reason": "cancelled", "product": "CVS", "from": "2020-01-01T10:00:00+00:00",
        "to": "2199-01-01", "min": "1", "max": "100", "older": "0s", "prefix": "A", "po": "A-1", "watched": "true",
    }  # fmt: skip
    app = visit("orders", **query)
    assert not app.exception
    assert po_numbers(app) == ["A-1"]
    chips = [button for button in app.button if str(button.key).startswith("chip_")]
    assert len(chips) == len(query)
    assert "Placed from 2020\\-01\\-01 10\\:00\\:00" in [chip.label for chip in chips]
    for name, text in {
        "not_state": "State is not Refused",
        "po": "1 order selected",
        "min": "Value from 1\\.00",
    }.items():
        next(button for button in app.button if button.label == text).click().run()
        assert address(app).keys() == query.keys() - {name}
        query.pop(name)


def test_views_carry_counts_and_late_ones_are_those_of_their_count(visit: Visit, history: History) -> None:
    history.at = datetime.now(UTC) - timedelta(hours=3)
    for number in range(7):
        history.place(f"A-{number}")
        history.accept(f"A-{number}")
        history.wait(minutes=1)
    learner = Learner(history.database, Forecasts(), lambda: datetime.now(UTC), learns=True)
    asyncio.run(learner.find_late_orders())
    app = visit("orders", view="late")
    assert not app.exception
    assert [option.content for option in app.segmented_control(key="filter_view").proto.options][:6] == [
        "All 7", "Needs decision 0", "Unassigned 0", "Mine", "Late 7", "Unconfirmed send 0",
    ]  # fmt: skip
    assert not app.dataframe
    assert "7 are late as part of an incident" in app.info[0].value
    app.button(key="way_out").click().run()
    assert len(po_numbers(app)) == 7
    assert {flag for flags in app.dataframe[0].value["flags"] for flag in flags} == {"Late"}
    app.segmented_control(key="filter_view").set_value("open").run()
    assert address(app) == {"view": ["open"]}
    app.segmented_control(key="filter_view").set_value("late").run()
    assert address(app) == {"view": ["late"], "each": ["true"]}
    assert len(po_numbers(app)) == 7


def test_bad_values_in_the_address_are_named_and_a_page_too_far_is_the_first(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders", min="much", view="nonsense", page="7", **{"from": "0001-01-01"})
    assert not app.exception
    text = " ".join(warning.value for warning in app.warning)
    assert "much" in text
    assert "nonsense" in text
    assert po_numbers(app) == ["A-1"]


def test_an_empty_list_offers_the_way_out(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders", q="nothing", sort="value")
    assert not app.dataframe
    assert app.info[0].value == "No matching orders. Clear filters, or search for another part of it."
    app.button(key="way_out").click().run()
    assert po_numbers(app) == ["A-1"]
    assert address(app) == {"sort": ["value"]}


def test_the_table_stands_still_until_what_is_new_is_asked_for(
    visit: Visit, history: History, monkeypatch: Any
) -> None:
    history.place("A-1")
    app = visit("orders")
    assert "show_new" not in [button.key for button in app.button]
    history.place("A-2")
    monkeypatch.setattr(list_news, "list_news", lambda *_: News(1, (Change("A-1", "Queued to Sending"),)))
    app.run()
    assert po_numbers(app) == ["A-1"]
    assert app.button(key="show_new").label == "1 new, 1 changed: show"
    assert "**A\\-1**: Queued to Sending" in [text.value for text in app.markdown]
    app.button(key="show_new").click().run()
    assert po_numbers(app) == ["A-2", "A-1"]
    assert app.dataframe[0].value["change"].tolist() == ["New", "Queued to Sending"]


def test_selected_rows_have_a_bar_of_what_can_be_done(visit: Visit, history: History, database: Database) -> None:
    for name in ("A-1", "A-2", "A-3"):
        history.place(name)
    history.accept("A-1")
    app = select(visit("orders", sort="po number", asc="true"), 0)
    assert [code.value for code in app.code] == ["A-1", "BLK-1"]
    assert not app.button(key="open_selected").disabled
    app.session_state["preferences"] = Preferences(name="Ann")
    app.button(key="poll_selected").click().run()
    assert [each.value.replace("\\", "") for each in app.toast] == ["Poll queued."]
    select(app, 0, 1)
    assert not app.code
    assert app.button(key="open_selected").disabled
    assert "**2 selected**" in [text.value for text in app.markdown]
    app.button(key="poll_selected").click().run()
    texts = [str(each.value) for kind in (app.markdown, app.caption) for each in kind]
    assert "**1** of 2 orders would be queued for a poll, worth " in "\n".join(texts), (
        "several are one job, which is planned first"
    )
    assert any(each.startswith("1 skipped: ") for each in texts)
    assert app.button(key="bulk_start").label == "Poll 1 order"
    asked = [entry["po_number"] for entry in activity.events(database, kinds=[EventKind.ACTION_REQUESTED])]
    assert asked == ["A-1"]
    app.button(key="clear_selection").click().run()
    assert "clear_selection" not in [button.key for button in app.button]


def test_a_selection_belongs_to_one_drawing_and_the_head_says_how_the_list_is_sorted(
    visit: Visit, history: History
) -> None:
    for number in range(3):
        history.place(f"A-{number}", value=100 * (30 - number))
    app = select(visit("orders"), 0)
    assert "open_selected" in [button.key for button in app.button]
    app.selectbox(key="filter_sort").set_value("value").run()
    assert po_numbers(app) == ["A-0", "A-1", "A-2"]
    assert "open_selected" not in [button.key for button in app.button]
    columns = json.loads(app.dataframe[0].proto.columns)
    assert (columns["value"]["label"], columns["placed"]["label"]) == ("Value ↓", "Placed (UTC)")
    app.button(key="direction").click().run()
    assert address(app) == {"sort": ["value"], "asc": ["true"]}
    assert po_numbers(app) == ["A-2", "A-1", "A-0"]


def test_columns_fit_their_texts_and_empty_ones_are_left_out(
    visit: Visit, history: History, database: Database
) -> None:
    history.find_finished("FOUND-1")
    table = visit("orders").dataframe[0]
    labels = [column["label"] for column in json.loads(table.proto.columns).values() if "label" in column]
    assert labels == [
        "State", "PO number", "Placed ↓ (UTC)", "Value", "Fulfilled", "Cards", "Completed (UTC)", "Type", "Provider ID",
        "Source",
    ]  # fmt: skip
    assert table.proto.placeholder == ""
    row = table.value.iloc[0]
    assert (list(row["state"]), row["units"], row["fulfilled"], row["source"]) == (
        ["Completed"],
        100,
        "1/1",
        "Other system",
    )
    assert row["completed"].startswith("before ")
    long = "LONG-" + "x" * 60
    history.place(long)
    history.refuse(long)
    history.place("OPEN-1")
    history.accept("OPEN-1")
    times = {"Links/1": times_of(Interval(3599.0, 3601.0), orders=40)}
    forecasts = [Forecast.fit("Links/1", ())]
    database.write(lambda connection: store_forecasts(connection, forecasts, history.at, times))
    table = visit("orders").dataframe[0]
    assert table.value["po_number"].tolist()[1] == f"{long[:39]}…"
    assert table.value["expected"].notna().tolist() == [True, False, False]
    assert [list(flags) for flags in table.value["flags"]] == [[], ["Refused by the provider"], []]
    assert table.value["reason"].tolist() == ["", "refused: 422 the balance does not cover the order", ""]
    assert table.value["provider_id"].tolist() == ["BLK-3", "", "OUT-FOUND-1"]
    assert table.proto.alt == "3 of 3 orders, sorted by Placed, descending"
    columns = json.loads(table.proto.columns)
    assert columns["expected"]["label"].startswith("Expected by, 90 % (")
    assert columns["flags"]["width"] > 7 * len("Refused by the provider")


def test_flags_say_what_is_remarkable(history: History) -> None:
    history.place("A-1")
    history.accept("A-1")
    history.announce("A-1")
    history.place("A-2")
    history.refuse("A-2")
    history.acknowledge("A-2", "placed anew")
    history.place("A-3")
    history.accept("A-3")
    history.announce("A-3")
    came = history.at
    history.wait(minutes=10)
    history.look("A-3", "Processing")
    page = orders_page(history.database, Filters(sort="po number", descending=False), history.at + timedelta(days=400))
    first, second, third = page.rows.astype(object).to_dict("records")
    assert orders_table.flags(first) == ["Late", "Webhook only"]
    assert orders_table.flags(second, "A-2") == ["Acknowledged", "Last opened"]
    assert orders_table.flags(third) == ["Late", "Webhook says complete, polls do not"]
    assert orders_table.reason(third, came) == f"webhook says complete, polls do not (webhook at {came:%H:%M:%S})"


def test_exports_are_made_only_when_asked_for(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = select(visit("orders"), 0)
    buttons = app.get("download_button")
    assert [button.proto.label for button in buttons] == 2 * ["CSV", "JSONL", "PARQUET"]
    assert all(button.proto.deferred_file_id and not button.proto.url for button in buttons)


def test_a_form_that_would_be_too_large_for_a_page_cannot_be_asked_for(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        history.place(f"A-{number}")
    monkeypatch.setattr(exports, "MOST_BYTES", 2000)  # three orders: about 1,020 bytes as CSV, 2,220 as JSON lines
    app = visit("orders")
    assert {button.proto.label: button.proto.disabled for button in app.get("download_button")} == {
        "CSV": False, "JSONL": True, "PARQUET": False,
    }  # fmt: skip
    assert "Too large for a page: JSONL about 0 MB" in " ".join(caption.value for caption in app.caption)
    app.selectbox(key="export_what").select("events").run()
    assert [button.proto.disabled for button in app.get("download_button")] == [False, False, False]


def test_every_download_of_what_is_stored_is_recorded() -> None:
    """Templates and samples hold nothing of anybody; an evidence file is recorded where it is made; all others here."""
    pages = {path: path.read_text() for path in Path(orders_table.__file__).parent.glob("*.py")}
    calls = {path.name: text.count("download_button(") for path, text in pages.items()}
    recorded = {path.name: text.count("recording.export(") for path, text in pages.items()}
    assert {name for name, number in calls.items() if number > recorded[name]} == {"csv_upload.py", "order_acts.py"}
    assert calls["csv_upload.py"] - recorded["csv_upload.py"] == 1


@pytest.mark.parametrize("form", exports.FORMS)
def test_a_file_that_is_too_large_for_a_page_is_not_given_in_part(
    history: History, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for number in range(3):
        history.place(f"A-{number}")
    content, rows = orders_selection._exported(history.database, Filters(), "orders", form)
    assert rows == 3
    monkeypatch.setattr(exports, "MOST_BYTES", len(content) - 1)
    with pytest.raises(NotAllowed, match="use `tracking export`"):
        orders_selection._exported(history.database, Filters(), "orders", form)


def test_an_export_is_in_the_audit_log_before_it_is_given(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.place("A-1")
    monkeypatch.setattr(actors, "current", lambda: Person("Ann"))
    filters = Filters(text="kanari-email", view="open", only=("A-1",))

    def make() -> tuple[bytes, int]:
        return orders_selection._exported(history.database, Filters(view="open"), "orders", "csv")

    assert b"A-1" in recording.export("orders", make, filters=filters, form="csv")()
    with history.database.read() as connection:
        entry = connection.execute(sa.select(AUDIT_LOG)).mappings().one()
    assert (entry["kind"], entry["person"], entry["detail"]["rows"]) == ("exported", "Ann", 1)
    assert (entry["detail"]["order_ids"], entry["detail"]["filter"]["view"]) == ([1], "open")
    assert "kanari" not in repr(entry)


def test_flags_beyond_the_room_of_their_column_are_counted() -> None:
    assert orders_table._that_fit(["Late", "Last opened"]) == ["Late", "Last opened"]
    assert orders_table._that_fit(["Late", "Webhook only", "Completed, claim data missing"]) == [
        "Late", "Webhook only", "+1",
    ]  # fmt: skip
    assert orders_table._that_fit(["Webhook says complete, polls do not"]) == ["Webhook says complete, polls do not"]


def test_a_filter_is_saved_for_all_replaced_when_asked_opened_and_deleted(
    visit: Visit, history: History, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))
    history.place("A-1")

    def pressed(app: AppTest, option: str, button: str) -> None:
        """Press the dialog's button. A run of a test is the whole page: the menu's option is picked along with it."""
        app.menu_button(key="saved_views").set_value(option)
        app.button(key=button).click().run()
        assert not app.exception

    app = visit("orders", view="open", prefix="A")
    for label in ("Save", "Replace it"):
        app.menu_button(key="saved_views").set_value("save").run()
        app.text_input(key="view_name").set_value("Mine *all*")
        app.menu_button(key="saved_views").set_value("save")
        app.segmented_control(key="view_shared").set_value("For everybody").run()
        assert app.button(key="view_save").label == label
        pressed(app, "save", "view_save")
        assert [toast.value.replace("\\", "") for toast in app.toast] == ["Saved for everybody."]
    [view] = saved_views(database, "Cleo")
    assert (view.query, view.created_by) == ({"view": "open", "prefix": "A"}, "Bea")
    other = visit("orders")
    assert other.menu_button(key="saved_views").options[0] == ":material/group: Mine \\*all\\* (shared)"
    other.menu_button(key="saved_views").set_value(str(view.id)).run()
    assert address(other) == {"view": ["open"], "prefix": ["A"]}
    for entered, why in (("  ", "Enter a name with a letter or a digit."), ("mine *ALL*", None)):
        other.menu_button(key="saved_views").set_value("save").run()
        other.text_input(key="view_name").set_value(entered)
        other.menu_button(key="saved_views").set_value("save").run()
        button = other.button(key="view_save")
        assert (button.disabled, button.help) == (why is not None, why or "")
    assert "Everybody has a view of this name too; the menu marks the shared one." in [
        each.value for each in other.caption
    ]
    other.menu_button(key="saved_views").set_value("delete").run()
    assert other.selectbox(key="view_to_delete").options == ["Mine *all* (shared)"]
    pressed(other, "delete", "view_delete")
    assert saved_views(database, "Bea") == ()


def test_an_address_that_cannot_be_used_whole_lets_nobody_select_all_that_match(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders", view="open")
    app.button(key="select_all").click().run()
    assert app.button(key="acknowledge_selected")
    app.query_params["view"] = "decision"
    app.run()
    assert "Left out of the filter" in app.warning[0].value
    button = app.button(key="select_all")
    assert (button.disabled, button.help) == (True, orders_selection.WIDER)
    assert "acknowledge_selected" not in [each.key for each in app.button]


def test_a_browser_that_lost_the_filters_is_shown_those_of_the_address(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders", q="A-1", sort="value")
    app.run()
    app._run(WidgetStates())  # it sends none of the fields, as it has just begun to show them
    text, sorting = app.text_input(key="filter_q").proto, app.selectbox(key="filter_sort").proto
    assert (text.set_value, text.value) == (True, "A-1")
    assert (sorting.set_value, sorting.raw_value) == (True, "Sort: Value")
