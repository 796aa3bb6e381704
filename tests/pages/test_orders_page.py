import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from histories import History
from streamlit.testing.v1 import AppTest

from tracking.forecasting.forecasts import Forecasts
from tracking.polling.learner import Learner

Visit = Callable[..., AppTest]


def shown(app: AppTest) -> list[str]:
    return app.dataframe[0].value["po_number"].tolist()


def test_the_address_filters_the_orders(visit: Visit, history: History) -> None:
    for name in ("A-1", "A-2", "B-1"):
        history.place(name)
    history.lose("A-2")
    assert shown(visit("orders", q="a-")) == ["A-2", "A-1"]
    assert shown(visit("orders", view="unknown")) == ["A-2"]
    assert shown(visit("orders", sort="po number", asc="true")) == ["A-1", "A-2", "B-1"]
    assert shown(visit("orders", state=["Queued"], prefix="B")) == ["B-1"]


def test_a_filter_narrows_at_once(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders")
    app.text_input(key="q").set_value("A-1").run()
    assert shown(app) == ["A-1"]


def test_bad_values_in_the_address_are_told(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders", min="much", view="nonsense")
    assert not app.exception
    said = " ".join(warning.value for warning in app.warning)
    assert "much" in said
    assert "nonsense" in said
    assert shown(app) == ["A-1"]


def test_orders_come_in_pages(visit: Visit, history: History) -> None:
    for number in range(55):
        history.place(f"A-{number:02}")
    assert len(shown(visit("orders"))) == 50
    assert len(shown(visit("orders", page="2"))) == 5


def test_a_changed_filter_begins_at_its_first_page(visit: Visit, history: History) -> None:
    for number in range(55):
        history.place(f"A-{number:02}")
    app = visit("orders", page="2")
    app.text_input(key="q").set_value("A-0").run()
    assert shown(app) == [f"A-0{number}" for number in range(9, -1, -1)]


def test_nothing_found_says_what_to_do(visit: Visit) -> None:
    app = visit("orders", q="nothing")
    assert not app.dataframe
    assert "No order matches" in app.info[0].value


def test_new_orders_are_told_and_shown_when_asked(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders")
    assert not [button for button in app.button if button.key == "show_new"]
    assert shown(app) == ["A-1"]


def test_exports_are_made_only_when_asked_for(visit: Visit, history: History) -> None:
    history.place("A-1")
    app = visit("orders")
    buttons = app.get("download_button")
    assert [button.proto.label for button in buttons] == ["CSV", "JSONL", "PARQUET"]
    assert all(button.proto.deferred_file_id and not button.proto.url for button in buttons)


def test_headers_are_plain_words_and_missing_values_stay_empty(visit: Visit, history: History) -> None:
    history.find_finished("FOUND-1")
    table = visit("orders").dataframe[0]
    labels = [column["label"] for column in json.loads(table.proto.columns).values() if "label" in column]
    assert labels == [
        "PONumber", "State", "Type", "Cards", "Fulfilled", "Value", "Placed", "Mark", "Completed by", "Provider's id",
        "Source",
    ]  # fmt: skip
    assert table.proto.placeholder == ""
    assert table.value["completed_by"].tolist()[0].startswith("before ")


def test_orders_that_are_late_together_are_one_banner_and_listed_when_wanted(visit: Visit, history: History) -> None:
    history.at = datetime.now(UTC) - timedelta(hours=3)
    for number in range(7):
        history.place(f"A-{number}")
        history.accept(f"A-{number}")
        history.wait(minutes=1)
    learner = Learner(history.database, Forecasts(), lambda: datetime.now(UTC), learns=True)
    asyncio.run(learner.find_late_orders())
    app = visit("orders", view="late")
    assert not app.exception
    [banner] = [warning.value for warning in app.warning if "It is not one order, it is everyone" in warning.value]
    assert banner.startswith("7 of 7 orders placed from")
    assert not app.dataframe
    app.toggle(key="each").set_value(True).run()
    assert len(shown(app)) == 7
    assert len(shown(visit("orders", view="late", each="true"))) == 7
