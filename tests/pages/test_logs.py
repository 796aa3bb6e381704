import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from histories import History
from pages.conftest import page_links
from streamlit.testing.v1 import AppTest

from tracking.provider import call_log
from tracking.provider.http.findings import Findings
from tracking.reports import activity
from tracking.storage import inbox
from tracking.storage.database import Database
from tracking.storage.tables import EXCHANGES

Visit = Callable[..., AppTest]


def test_callbacks_are_listed_with_what_became_of_them(visit: Visit, history: History, database: Database) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1", times=2)
    history.announce("EARLY-1")
    database.write(lambda connection: inbox.record_refusal(connection, {"reason": "wrong secret"}, history.at))
    app = visit("logs")
    assert not app.exception
    frame = app.dataframe[0].value
    assert sorted(frame["outcome"]) == ["accepted", "refused", "waiting"]
    app = visit("logs", outcome="refused")
    assert app.dataframe[0].value["reason"].tolist() == ["wrong secret"]


def test_events_can_be_narrowed_to_a_kind(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.complete("FT-1")
    app = visit("logs", what="events")
    assert len(app.dataframe[0].value) == 5
    app.multiselect(key="kinds").set_value(["completed"]).run()
    assert not app.exception
    assert app.dataframe[0].value["po_number"].tolist() == ["FT-1"]


def test_a_length_of_time_that_is_none_is_told(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("logs", what="events")
    app.text_input(key="since").set_value("soon").run()
    assert not app.exception
    assert "no length of time" in app.warning[-1].value


@pytest.mark.parametrize("section", ["callbacks", "calls", "contract", "events", "files"])
def test_each_section_opens_empty(visit: Visit, section: str) -> None:
    assert not visit("logs", what=section).exception


def test_calls_show_their_latency(visit: Visit, database: Database, history: History) -> None:
    call = {"at": history.at, "method": "GET", "path": "/v1/Orders", "status": 200, "milliseconds": 12, "outcome": "ok"}
    row = call | {"order_id": None, "request": None, "answer": None}
    database.write(lambda connection: call_log.store_api_calls(connection, [row]))
    app = visit("logs", what="calls")
    assert app.dataframe[0].value["milliseconds"].tolist() == [12]
    app.toggle(key="failed").set_value(True).run()
    assert not app.dataframe


def calls_of(database: Database, history: History, *outcomes: tuple[str, int | None]) -> None:
    call = {"at": history.at, "method": "GET", "path": "/v1/Orders", "milliseconds": 12, "order_id": None}
    rows = [call | {"outcome": outcome, "status": status} for outcome, status in outcomes]
    bodies = {"request": None, "answer": None}
    database.write(lambda connection: call_log.store_api_calls(connection, [row | bodies for row in rows]))


def test_a_filter_of_calls_is_in_the_address_and_hides_no_failure(
    visit: Visit, database: Database, history: History
) -> None:
    calls_of(database, history, ("ok", 200), ("unreadable", 200), ("unknown", 201), ("not sent", None))
    app = visit("logs", what="calls", failed="true")
    assert sorted(app.dataframe[0].value["outcome"]) == ["not sent", "unknown", "unreadable"]
    assert not visit("logs", what="calls", failed="true", method="POST").dataframe
    app.toggle(key="failed").set_value(False).run()
    assert len(app.dataframe[0].value) == 4


def test_a_filter_of_events_is_in_the_address(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.complete("FT-1")
    app = visit("logs", what="events", kinds=["completed"], since="1d")
    assert app.text_input(key="since").value == "1d"
    assert app.dataframe[0].value["kind"].tolist() == ["completed"]


def test_pages_are_in_the_address_and_a_changed_filter_begins_at_the_first(visit: Visit, history: History) -> None:
    for number in range(101):
        history.place(f"A-{number}")
    app = visit("logs", what="events", log_page="2")
    assert len(app.dataframe[0].value) == 1
    app.text_input(key="since").set_value("1d").run()
    assert len(app.dataframe[0].value) == 100


@pytest.mark.parametrize("section", ["callbacks", "calls", "contract", "events", "files"])
def test_what_has_changed_since_is_told_in_each_section(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    assert not [button for button in visit("logs", what=section).button if button.key == "show_new"]
    monkeypatch.setattr(activity, "count_differences", lambda _shown, _current: 3)
    assert visit("logs", what=section).button(key="show_new").label == "3 rows new or changed: show"


def test_half_of_the_calls_took_no_longer_than_is_said(visit: Visit, database: Database, history: History) -> None:
    calls_of(database, history, ("ok", 200), ("ok", 200))
    database.write(
        lambda connection: connection.execute(sa.update(EXCHANGES).where(EXCHANGES.c.id == 1).values(milliseconds=13))
    )
    captions = [caption.value for caption in visit("logs", what="calls").caption]
    assert "Half of these 2 calls took at the most 13 ms." in captions


def test_a_cell_is_shown_to_be_copied_and_its_order_is_opened_by_a_link(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("logs", what="events")
    app.session_state["log_table_0"] = {"selection": {"rows": [], "columns": [], "cells": [[0, "kind"]]}}
    app.run()
    assert app.code[0].value == "requested"
    [link] = page_links(app)
    assert (link.label, link.proto.query_string) == ("Open FT\\-1", "order=FT-1")


def test_refused_calls_show_what_to_follow_up_and_how_many_there_were(
    visit: Visit, history: History, database: Database
) -> None:
    refused = {"reason": "method GET", "rule": "method", "source": "192.0.2.7", "po_number": "FT-9", "size": 12}
    database.write(lambda connection: inbox.record_refusal(connection, refused, history.at))
    counted = {"method": 1, "address": 1200}
    database.write(lambda connection: inbox.add_refusal_counts(connection, counted, history.at))
    app = visit("logs", outcome="refused")
    assert not app.exception
    row = app.dataframe[0].value.iloc[0]
    assert tuple(row[["rule", "source", "po_number", "size"]]) == ("method", "192.0.2.7", "FT-9", 12)
    told = [caption.value for caption in app.caption if "refused since" in caption.value]
    assert "1,201 calls were refused since" in told[0]
    assert "(1,200 for address, 1 for method). The newest 1 are listed; the others are only counted." in told[0]


def test_departures_from_the_contract_are_listed_once_each(visit: Visit, history: History, database: Database) -> None:
    findings = Findings()
    for _ in range(3):
        findings.note("order", ["CurrencyCode is not a text but an object"], history.at)
    asyncio.run(findings.flush(database, history.at))
    app = visit("logs", what="contract")
    assert not app.exception
    row = app.dataframe[0].value.iloc[0]
    assert tuple(row[["what", "times"]]) == ("order: CurrencyCode is not a text but an object", 3)
