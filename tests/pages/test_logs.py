import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from histories import History
from streamlit.testing.v1 import AppTest

import log_details
import log_table
import session
from charts import logs as charts
from tracking.app.preferences import Preferences
from tracking.provider import call_log
from tracking.provider.http.findings import Findings
from tracking.provider.http.recording import ApiCall
from tracking.provider.http.sightings import Sightings
from tracking.reports import activity
from tracking.storage import inbox
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EXCHANGES
from tracking.storage.team import sightings
from tracking.storage.team.tables import AUDIT_LOG

Visit = Callable[..., AppTest]
SECTIONS = ["callbacks", "calls", "contract", "events", "files"]


def calls_of(database: Database, history: History, *outcomes: tuple[str, int | None], **columns: Any) -> None:
    call = {"at": history.at, "method": "GET", "path": "/v1/Orders", "milliseconds": 12, "order_id": None}
    bodies = {"request": None, "answer": None}
    rows = [call | bodies | {"outcome": outcome, "status": status} | columns for outcome, status in outcomes]
    database.write(lambda connection: call_log.store_api_calls(connection, rows))


def alts(app: AppTest) -> list[str]:
    return [chart.proto.alt for chart in app.get("plotly_chart")]


def test_webhooks_are_listed_with_what_became_of_them(visit: Visit, history: History, database: Database) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1", times=2)
    history.announce("EARLY-1")
    database.write(lambda connection: inbox.record_refusal(connection, {"reason": "wrong secret"}, history.at))
    app = visit("logs")
    assert not app.exception
    frame = app.dataframe[0].value
    assert sorted(frame["outcome"]) == ["accepted", "refused", "waiting"]
    assert sorted(cell[0] for cell in frame["outcome_pill"]) == ["Accepted", "Rejected", "Waiting"]
    assert sorted(frame["order"]) == ["", "", "FT-1"], "what a webhook names is no order of ours"
    assert alts(app) == ["Webhooks by time: 1 Accepted, 1 Waiting, 1 Rejected."]
    assert visit("logs", outcome="refused").dataframe[0].value["reason"].tolist() == ["wrong secret"]
    assert visit("logs", outcome="repeated").dataframe[0].value["order"].tolist() == ["FT-1"]


def test_the_filters_of_events_are_in_the_address(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.complete("FT-1")
    app = visit("logs", what="events")
    assert len(app.dataframe[0].value) == 5
    app.multiselect(key="kinds").set_value(["completed"]).run()
    assert not app.exception
    assert app.query_params["kinds"] in ("completed", ["completed"])
    assert app.dataframe[0].value["po_number"].tolist() == ["FT-1"]
    app = visit("logs", what="events", kinds=["completed"], since="3d")
    assert app.selectbox(key="since").value == "3d"
    assert app.dataframe[0].value["kind"].tolist() == ["completed"]


def test_a_length_of_time_that_is_none_is_told(visit: Visit, history: History) -> None:
    history.place("FT-1")
    app = visit("logs", what="events", since="soon")
    assert not app.exception
    assert "no length of time" in app.warning[-1].value
    assert len(app.dataframe[0].value) == 1


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_opens_empty(visit: Visit, section: str) -> None:
    app = visit("logs", what=section)
    assert not app.exception
    assert not app.dataframe


def test_a_filter_of_calls_is_in_the_address_and_hides_no_failure(
    visit: Visit, database: Database, history: History
) -> None:
    calls_of(database, history, ("ok", 200), ("unreadable", 200), ("unknown", 201), ("not sent: no route", None))
    app = visit("logs")
    app.button(key="failed_calls").click().run()
    assert (app.query_params["what"], app.query_params["failed"]) == ("calls", "true")
    frame = app.dataframe[0].value
    assert sorted(cell[0] for cell in frame["outcome_pill"]) == ["No usable answer", "Not sent", "Unreadable"]
    assert alts(app) == ["Calls by time: 1 OK, 3 Failed."]
    app.selectbox(key="method").set_value("POST").run()
    assert (app.query_params["method"], app.query_params["failed"]) == ("POST", "true")
    assert not app.dataframe
    app.button(key="clear_filters").click().run()
    assert len(app.dataframe[0].value) == 4
    assert app.query_params["what"] == "calls"


def test_a_bar_narrows_the_list_to_its_time_and_is_in_the_address(
    visit: Visit, database: Database, history: History
) -> None:
    now = datetime.now(UTC)
    for hours in (1, 5):
        calls_of(database, history, ("ok", 200), at=now - timedelta(hours=hours), milliseconds=hours)
    app = visit("logs", what="calls")
    assert [bar.partition(", ")[2] for bar in app.selectbox(key="bar").options] == ["1 call", "1 call"]
    app.selectbox(key="bar").select_index(1).run()
    assert not app.exception
    bar = str(app.query_params["bar"])
    assert app.dataframe[0].value["milliseconds"].tolist() == [5]
    assert visit("logs", what="calls", bar=bar).dataframe[0].value["milliseconds"].tolist() == [5]
    assert len(visit("logs", what="calls", bar="never").dataframe[0].value) == 2


def test_pages_are_in_the_address_and_a_changed_filter_begins_at_the_first(visit: Visit, history: History) -> None:
    for number in range(101):
        history.place(f"A-{number}")
    app = visit("logs", what="events", log_page="2")
    assert len(app.dataframe[0].value) == 1
    app.selectbox(key="since").set_value("6h").run()
    assert len(app.dataframe[0].value) == 100
    assert "log_page" not in app.query_params


@pytest.mark.parametrize("section", SECTIONS)
def test_what_has_changed_since_is_told_in_each_section(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    assert not [button for button in visit("logs", what=section).button if button.key == "show_new"]
    monkeypatch.setattr(activity, "count_differences", lambda _shown, _current: 3)
    assert visit("logs", what=section).button(key="show_new").label in {"3 new: show", "3 changed: show"}


def test_half_of_the_calls_took_no_longer_than_is_said(visit: Visit, database: Database, history: History) -> None:
    calls_of(database, history, ("ok", 200), ("ok", 200))
    database.write(
        lambda connection: connection.execute(sa.update(EXCHANGES).where(EXCHANGES.c.id == 1).values(milliseconds=13))
    )
    app = visit("logs", what="calls")
    assert "p50 13 ms (these 2 calls)" in [caption.value for caption in app.caption]
    assert set(app.dataframe[0].value["purpose"]) == {"Find by PO number"}


def opened(app: AppTest, name: str) -> str:
    """What is written once the first row was selected and opened by the button."""
    app.session_state[f"{name}_table_0"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    app.button(key="open_selected").click().run()
    assert not app.exception
    texts = [element.value for kind in (app.markdown, app.caption, app.code) for element in kind]
    return "\n".join(map(str, texts)).replace("\\", "")


def test_a_row_opens_request_and_answer_side_by_side(visit: Visit, database: Database, history: History) -> None:
    order_id = history.place("FT-1")
    answer = '{"Id": "BLK-1", "Status": "Pending"}'
    sent = {"method": "POST", "request": '{"PONumber": "FT-1"', "answer": answer, "order_id": order_id}
    calls_of(database, history, ("ok", 201), **sent)
    app = visit("logs", what="calls")
    assert app.button(key="open_selected").disabled
    said = opened(app, "calls")
    assert [tree.value for tree in app.json] == [answer]
    assert '{"PONumber": "FT-1"' in said, "what is cut is no JSON, and shown as the text that it is"
    assert "HTTP 201" in said
    assert "curl -X POST \"$BASE_URL\"/v1/Orders -H 'Content-Type: application/json'" not in said
    assert 'Bearer $TOKEN"' in said
    assert "Place" in said


def test_a_webhook_and_an_event_open_with_what_is_known_of_them(visit: Visit, history: History) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1", times=3)
    said = opened(visit("logs"), "callbacks")
    assert "Its body is not stored" in said
    assert "2 times, last at" in said
    said = opened(visit("logs", what="events"), "log")
    assert "Duplicate webhook, ignored" in said
    assert "Number in the order's log" in said


def test_rejected_webhooks_show_what_to_follow_up_and_how_many_there_were(
    visit: Visit, history: History, database: Database
) -> None:
    refused = {"reason": "method GET", "rule": "method", "source": "192.0.2.7", "po_number": "FT-9", "size": 12}
    database.write(lambda connection: inbox.record_refusal(connection, refused, history.at))
    counted = {"method": 1, "address": 1200}
    database.write(lambda connection: inbox.add_refusal_counts(connection, counted, history.at))
    app = visit("logs", outcome="refused")
    assert not app.exception
    row = app.dataframe[0].value.iloc[0]
    assert tuple(row[["why", "source", "po_number", "order"]]) == ("method: method GET", "192.0.2.7", "FT-9", "")
    told = [caption.value for caption in app.caption if "rejected since" in caption.value]
    assert "1,201 webhooks rejected since" in told[0]
    assert "(1,200 for address, 1 for method). The newest 1 are listed; the others are only counted." in told[0]


def test_what_came_long_after_it_was_stated_says_so(visit: Visit, history: History, database: Database) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1")
    stated = history.at - timedelta(seconds=7)
    database.write(lambda connection: connection.execute(sa.update(CALLBACKS).values(stated_at=stated)))
    assert visit("logs").dataframe[0].value["delay"].tolist() == [7.0]


def test_departures_from_the_contract_are_listed_once_each(visit: Visit, history: History, database: Database) -> None:
    findings = Findings()
    for _ in range(3):
        findings.note("order", ["CurrencyCode is not a text but an object"], history.at)
    asyncio.run(findings.flush(database, history.at))
    app = visit("logs", what="contract")
    assert not app.exception
    row = app.dataframe[0].value.iloc[0]
    assert tuple(row[["what", "times"]]) == ("order: CurrencyCode is not a text but an object", 3)


def test_of_a_chosen_bar_the_others_are_pale() -> None:
    start, step = datetime(2026, 3, 4, 10, tzinfo=UTC), timedelta(minutes=1)
    frame = pd.DataFrame(
        [(start, "OK", 3, "3 OK"), (start + step, "OK", 1, "1 OK")], columns=["start", "group", "number", "text"]
    )
    end = start + 60 * step
    figure = charts.volume(frame, {"OK": "#123456"}, start=start, step=step, end=end, chosen=start, zone=UTC)
    [bars] = figure.data
    assert bars.marker.opacity == (1.0, 0.3)
    assert bars.customdata == (start.isoformat(), (start + step).isoformat())


def test_a_value_that_is_missing_is_left_out() -> None:
    assert [log_details._missing(value) for value in (None, "", pd.NaT, float("nan"), 0, "x")] == [True] * 4 + [
        False
    ] * 2
    assert log_table.SPANS[3] == log_table.USUAL_SPAN


def test_what_the_provider_uses_is_listed_and_what_is_new_is_marked_as_read(
    visit: Visit, history: History, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Ann"))
    monkeypatch.setattr(sightings, "LEARNING_ANSWERS", 2)
    gathered, raw = Sightings(), {"Id": "BLK-1", "Status": "Pending"}
    for days, document in ((3, raw), (1, raw), (0, raw | {"Hold_1": "<b>until</b> *now*"})):
        call = ApiCall("GET", "/v1/Orders/BLK-1", status=200, raw=document)
        at = history.at - timedelta(days=days)
        gathered.note_answer(call, None, at, str)
        asyncio.run(gathered.flush(database, at))
    app = visit("logs", what="contract")
    assert not app.exception
    assert len(app.dataframe[0].value) == 10
    assert [each.value for each in app.info] == ["The provider's API changed\\: 1 new"]
    assert any("1 new field in GET" in each.value for each in app.markdown)
    app.selectbox(key="only").set_value("changed").run()
    assert app.query_params["only"] in ("changed", ["changed"])
    assert app.dataframe[0].value["place"].tolist() == ["Hold_1", "Hold_1"]
    app.button(key="contract_read").click().run()
    assert not app.exception
    with database.read() as connection:
        assert sightings.news(connection) == []
        [entry] = connection.execute(sa.select(AUDIT_LOG.c.person, AUDIT_LOG.c.kind, AUDIT_LOG.c.detail)).all()
    assert tuple(entry) == ("Ann", "contract changes read", {"new": 2})
    app = visit("logs", what="contract", endpoint="GET /v1/Orders/{id}", kind="word")
    assert app.dataframe[0].value["value"].tolist() == ["Pending"]
