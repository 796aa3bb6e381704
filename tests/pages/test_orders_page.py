import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from histories import History
from pages.conftest import page_links
from streamlit.testing.v1 import AppTest

from tracking.forecasting.forecasts import Forecasts
from tracking.polling.learner import Learner
from tracking.reports.order_list import news as list_news
from tracking.reports.order_list.news import Change, News

Visit = Callable[..., AppTest]
ONE = (Change("A-1", "Pending to Completed"),)


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
    for number in range(30):
        history.place(f"A-{number:02}")
    assert len(shown(visit("orders"))) == 25
    assert len(shown(visit("orders", page="2"))) == 5


def test_a_changed_filter_begins_at_its_first_page(visit: Visit, history: History) -> None:
    for number in range(30):
        history.place(f"A-{number:02}")
    app = visit("orders", page="2")
    app.text_input(key="q").set_value("A-0").run()
    assert shown(app) == [f"A-0{number}" for number in range(9, -1, -1)]


def test_nothing_found_says_what_to_do(visit: Visit) -> None:
    app = visit("orders", q="nothing")
    assert not app.dataframe
    assert "No order matches" in app.info[0].value


@pytest.mark.parametrize(
    ("news", "said"),
    [(News(2), "2 new: show"), (News(0, ONE), "1 changed: show"), (News(2, ONE), "2 new, 1 changed: show")],
)
def test_what_has_come_or_changed_is_told_and_shown_when_asked(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch, news: News, said: str
) -> None:
    history.place("A-1")
    assert not [button for button in visit("orders").button if button.key == "show_new"]
    monkeypatch.setattr(list_news, "list_news", lambda *_: news)
    app = visit("orders")
    assert app.button(key="show_new").label == said
    assert shown(app) == ["A-1"]


def test_a_cell_is_shown_to_be_copied_and_its_order_is_opened_by_a_link(visit: Visit, history: History) -> None:
    for name in ("A-1", "A-2"):
        history.place(name)
    app = visit("orders", sort="po number")
    for column, text in {"state": "Queued", "value": "10.00 (currency unknown)", "provider_id": None}.items():
        app.session_state["orders_table_0"] = {"selection": {"rows": [], "columns": [], "cells": [[1, column]]}}
        app.run()
        assert [code.value for code in app.code] == ([text] if text else [])
        [link] = page_links(app)
        assert link.label == "Open A\\-1"
        assert link.proto.query_string == "order=A-1&list=sort%3Dpo%2Bnumber"


def test_the_filter_can_be_cleared_once_there_is_one(visit: Visit, history: History) -> None:
    for number in range(30):
        history.place(f"A-{number:02}")

    def offered(**query: str) -> bool:
        return any(button.key == "clear" for button in visit("orders", **query).button)

    assert [offered(), offered(page="2"), offered(page="2", q="a"), offered(view="open")] == [False, False, True, True]


def test_each_column_is_as_wide_as_its_texts_and_what_is_cut_ends_in_an_ellipsis(
    visit: Visit, history: History
) -> None:
    for number in range(20):
        history.place(f"A-{number}")
    history.refuse("A-0", "the balance of 54.00 does not cover the order of 75.00")
    table = visit("orders").dataframe[0]
    columns = json.loads(table.proto.columns)
    assert "currency" not in table.value
    assert columns["mark"]["width"] > 7 * len("refused: the balance of 54.00 does not cover the order of 75.00")
    history.place("LONG-1")
    history.refuse("LONG-1", "x" * 300)
    [mark] = [text for text in visit("orders").dataframe[0].value["mark"] if "xxx" in text]
    assert mark.endswith("x…")


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
        "", "PO number", "State", "Type", "Cards", "Fulfilled", "Value", "Placed", "Mark", "Completed by",
        "Provider ID", "Source",
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
    [banner] = [warning.value for warning in app.warning if "contact the provider once" in warning.value]
    assert banner.startswith("7 of 7 orders placed ")
    assert not app.dataframe
    app.toggle(key="each").set_value(True).run()
    assert len(shown(app)) == 7
    assert len(shown(visit("orders", view="late", each="true"))) == 7
