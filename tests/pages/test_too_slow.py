"""What the pages show of a read that is given up: one sentence with what to do, and all else as it was."""

from collections.abc import Callable
from typing import Any, NoReturn

import expiry
import pytest
from histories import History
from streamlit.testing.v1 import AppTest

import cached
from tracking.errors import TooSlow
from tracking.reports import activity, overview
from tracking.reports.order_list import search

Visit = Callable[..., AppTest]


def give_up(*_args: Any, **_more: Any) -> NoReturn:
    raise TooSlow("interrupted")


def test_a_list_that_takes_too_long_leaves_its_filter_and_says_what_to_do(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("FT-1")
    monkeypatch.setattr(search, "orders_page", give_up)
    monkeypatch.setattr(cached, "view_counts", give_up)
    app = visit("orders", product="CVS", source="form")
    assert not app.exception
    assert ["Choose a span of time, or take a filter away" in each.value for each in app.warning] == [True]
    labels = {button.key: button.label for button in app.button}
    assert {"chip_0", "chip_1", "clear"} <= labels.keys()
    monkeypatch.undo()
    app.button(key="narrower").click().run()
    assert not app.exception
    assert app.query_params["from"]
    assert not app.warning
    assert any("1 order" in each.value for each in app.markdown)


def test_what_refreshes_by_itself_keeps_what_it_showed_and_says_of_when_it_is(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("FT-1")
    app = visit("overview")
    before = [metric.value for metric in app.metric]
    assert before
    assert not [each for each in app.caption if "Not refreshed in time" in each.value]
    expiry.expire()  # as if its time were over
    history.place("FT-2")
    monkeypatch.setattr(overview, "overview_of", give_up)
    app.run()
    assert not app.exception
    assert [metric.value for metric in app.metric] == before
    assert [metric.value for metric in app.run().metric] == before  # the row above is drawn before what it tells of
    assert [each for each in app.caption if "Not refreshed in time: what this page shows is as of " in each.value]
    labels = [each.proto.popover.label for each in app.container(key="counts").get("popover")]
    assert labels == [":orange-badge[:material/hourglass_disabled: healthy, old]"], (
        "the word stays, and is said to be old"
    )


def test_an_order_is_shown_where_its_place_in_the_list_takes_too_long(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("FT-1")
    monkeypatch.setattr(search, "neighbours", give_up)
    app = visit("order", order="FT-1", list="source=form")
    assert not app.exception
    assert [each for each in app.caption if each.value == "Its place in this list takes too long to read."]
    assert any(each.value == "FT-1" for each in app.code)


def test_what_refreshes_and_was_never_read_in_time_does_not_end_the_page(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("A-1")
    monkeypatch.setattr(cached, "status", give_up)
    app = visit("orders")
    assert app.dataframe
    assert [each.value for each in app.caption if "Not read in time" in each.value]
    for read in ("overview", "board", "decisions"):
        monkeypatch.setattr(cached, read, give_up)
    overview_page = visit("overview")
    assert not overview_page.warning
    assert len([each for each in overview_page.caption if "Not read in time" in each.value]) == 3
    assert overview_page.container(key="changes").page_link, "what stands beside it is read by itself"
    monkeypatch.setattr(search, "find_po_numbers", give_up)
    app.text_input(key="find").set_value("A-1").run()
    assert not app.exception
    assert app.query_params["q"] in ("A-1", ["A-1"])


def test_what_the_filter_menu_offers_does_not_end_the_list_where_it_takes_too_long(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("A-1")
    monkeypatch.setattr(cached, "people", give_up)
    monkeypatch.setattr(cached, "stored", give_up)
    app = visit("orders")
    assert not app.exception
    assert app.dataframe
    assert not app.warning
    assert [each for each in app.caption if "only the usual states are offered. Narrow the list" in each.value]
    assert "Pending" in app.multiselect(key="filter_state").options
    [panel] = [each.value for each in app.container(key="counts").markdown if "**Poller**" in each.value]
    assert panel.endswith(":green[●] **Database** :small[:gray[not measured in time; it is tried again by itself]]")


def test_a_log_that_takes_too_long_proposes_a_shorter_time_and_to_take_its_filters_away(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.place("A-1")
    monkeypatch.setattr(activity, "events", give_up)
    app = visit("logs", what="events", since="7d", kinds="completed")
    assert not app.exception
    assert ["Choose a shorter time, or take a filter away" in each.value for each in app.warning] == [True]
    assert app.button(key="narrower").label == "Only the last 24h"
    app.button(key="clear").click().run()
    assert app.warning
    assert "kinds" not in app.query_params
    monkeypatch.undo()
    app.button(key="narrower").click().run()
    assert not app.exception
    assert not app.warning
    assert "since" not in app.query_params, "the usual time"
    assert app.dataframe
    monkeypatch.setattr(cached, "call_volume", give_up)
    monkeypatch.setattr(activity, "events", give_up)
    app = visit("logs", what="events", since="15m")
    assert not app.exception
    assert app.warning
    assert not [each for each in app.button if each.key in {"narrower", "clear"}], "nothing is narrower"
