from collections.abc import Callable

import pytest
from histories import History
from streamlit.testing.v1 import AppTest

from tracking.provider import call_log
from tracking.storage import inbox
from tracking.storage.database import Database

Visit = Callable[..., AppTest]


def test_callbacks_are_listed_with_what_became_of_them(visit: Visit, history: History, database: Database) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1", times=2)
    history.announce("EARLY-1")
    database.write(lambda connection: inbox.record_refusal(connection, {"reason": "wrong secret"}, history.at))
    app = visit("activity")
    assert not app.exception
    frame = app.dataframe[0].value
    assert sorted(frame["outcome"]) == ["accepted", "refused", "waiting"]
    app = visit("activity", outcome="refused")
    assert app.dataframe[0].value["reason"].tolist() == ["wrong secret"]


def test_events_can_be_narrowed_to_a_kind(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.complete("FT-1")
    app = visit("activity", what="events")
    assert len(app.dataframe[0].value) == 5
    app.multiselect(key="kinds").set_value(["completed"]).run()
    assert not app.exception
    assert app.dataframe[0].value["po_number"].tolist() == ["FT-1"]


def test_a_length_of_time_that_is_none_is_told(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("activity", what="events")
    app.text_input(key="since").set_value("soon").run()
    assert not app.exception
    assert "no length of time" in app.warning[-1].value


@pytest.mark.parametrize("section", ["callbacks", "calls", "events", "files"])
def test_each_section_opens_empty(visit: Visit, section: str) -> None:
    assert not visit("activity", what=section).exception


def test_calls_show_their_latency(visit: Visit, database: Database, history: History) -> None:
    call = {"at": history.at, "method": "GET", "path": "/v1/Orders", "status": 200, "milliseconds": 12, "outcome": "ok"}
    row = call | {"order_id": None, "request": None, "answer": None}
    database.write(lambda connection: call_log.store_api_calls(connection, [row]))
    app = visit("activity", what="calls")
    assert app.dataframe[0].value["milliseconds"].tolist() == [12]
    app.toggle(key="failed").set_value(True).run()
    assert not app.dataframe
