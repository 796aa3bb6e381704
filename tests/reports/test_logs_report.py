"""What the logs count over time and say of one API call: bounds, indexes, both engines."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from histories import START, History

from tracking.provider import call_log
from tracking.reports import activity
from tracking.reports.logs import calls, volume
from tracking.storage.database import Database, connect
from tracking.storage.tables import CALLBACKS, EVENTS, EXCHANGES

HOUR = timedelta(hours=1)


def call(history: History, outcome: str, method: str = "GET", **columns: Any) -> None:
    row = {"at": history.at, "method": method, "path": "/v1/Orders", "milliseconds": 1, "status": None}
    row |= {"outcome": outcome, "order_id": None, "request": None, "answer": None} | columns
    history.database.write(lambda connection: call_log.store_api_calls(connection, [row]))


def test_bars_begin_at_full_multiples_of_their_length() -> None:
    start, step = volume.bars_of(START + timedelta(seconds=90), HOUR)
    assert (start, step) == (START + timedelta(minutes=1) - 59 * timedelta(minutes=1), timedelta(minutes=1))
    assert volume.bars_of(START, timedelta(seconds=1))[1] == timedelta(seconds=1)


def test_rows_are_counted_by_bar_and_group_and_narrowed_as_the_list_is(history: History, store: Database) -> None:
    call(history, "ok")
    call(history, "ok", "POST")
    history.wait(minutes=2)
    call(history, "unreadable")
    for status in (429, 503):
        call(history, "throttled", status=status)
    counted = volume.call_volume(store, history.at, HOUR)
    assert counted.rows.to_dict("split")["data"] == [
        [START, "ok", 2], [history.at, "throttled", 1], [history.at, "unavailable", 1], [history.at, "unreadable", 1],
    ]  # fmt: skip
    assert (counted.step, counted.end, counted.capped) == (
        timedelta(minutes=1),
        history.at + timedelta(minutes=1),
        False,
    )
    assert volume.call_volume(store, history.at, HOUR, method="POST").rows["number"].tolist() == [1]
    assert volume.call_volume(store, history.at + 2 * HOUR, HOUR).rows.empty
    history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1", times=3)
    assert volume.webhook_volume(store, history.at, HOUR).rows["group"].tolist() == ["accepted"]
    assert set(volume.event_volume(store, history.at, HOUR).rows["group"]) == {"us", "answer", "webhook"}
    kinds = ["accepted"]
    assert volume.event_volume(store, history.at, HOUR, kinds=kinds).rows["group"].tolist() == ["answer"]


def test_what_is_counted_and_searched_is_bounded_and_that_is_told(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "ROWS_SEARCHED", 2)
    monkeypatch.setattr(volume, "ROWS_SEARCHED", 2)
    for outcome in ("unreadable", "ok", "ok"):
        call(history, outcome)
        history.wait(seconds=1)
    counted = volume.call_volume(store, history.at, HOUR)
    assert (counted.rows["number"].sum(), counted.capped) == (2, True)
    assert activity.provider_calls(store, failed=True, span=(START, None)).empty
    assert len(activity.provider_calls(store, failed=True, span=(START, START + timedelta(seconds=1)))) == 1


@pytest.mark.parametrize(
    ("at", "index"),
    [
        (CALLBACKS.c.received_at, "ix_callbacks_received"),
        (EXCHANGES.c.at, "ix_exchanges_at"),
        (EVENTS.c.learned_at, "ix_events_learned"),
    ],
)
def test_a_span_is_found_along_an_index(tmp_path: Path, at: Any, index: str) -> None:
    opened = connect(f"sqlite:///{tmp_path}/plan.db")
    query = sa.select(at).where(activity.within(at, START, START + HOUR)).order_by(at.desc()).limit(100)
    with opened.read() as connection:
        compiled = query.compile(connection)
        values = tuple(START.isoformat() if name.startswith("param") else 1 for name in compiled.positiontup or ())
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all())
    opened.close()
    assert plan.count(index) == 2
    assert not re.search("SCAN|TEMP B-TREE", plan)


@pytest.mark.parametrize(
    ("method", "path", "purpose"),
    [
        ("POST", "/v1/Orders", "Place"),
        ("POST", "/v1/Tokens", "Token"),
        ("GET", "/v1/Orders/BLK-1", "Poll one"),
        ("GET", "/v1/Orders", "Find by PO number"),
        ("GET", "/v1/Orders?pageIndex=2&startDate=a&endDate=b", "List page 2"),
        ("GET", "/v1/Orders?pageIndex=1&startDate=a", "Find new, page 1"),
        ("GET", "/v1/Products?pageIndex=3&pageSize=500", "Catalog page 3"),
        ("GET", "/v1/AccountBalance", "Balance"),
        ("GET", "/elsewhere", "Other"),
    ],
)
def test_a_call_says_what_it_was_for(method: str, path: str, purpose: str) -> None:
    assert calls.purpose_of(method, path) == purpose


def test_each_outcome_has_a_label_and_a_group() -> None:
    assert (calls.outcome_label("not sent: no route"), calls.outcome_group("not sent: no route")) == (
        "Not sent",
        "failed",
    )
    assert (calls.outcome_label("throttled", 429), calls.outcome_label("throttled", 503.0)) == (
        "Rate limited",
        "Unavailable, paused",
    )
    assert (calls.outcome_group("throttled", 429), calls.outcome_group("throttled", 503)) == ("declined", "failed")
    assert [calls.outcome_group(outcome) for outcome in ("ok", "not found", "unreadable", "something new")] == [
        "ok",
        "declined",
        "failed",
        "failed",
    ]


def test_one_call_is_read_in_full_and_for_a_terminal(history: History, store: Database) -> None:
    order_id = history.place("FT-1")
    call(history, "ok", "POST", request='{"Note": "it\'s $HOME"}', answer='{"Id": 1', order_id=order_id)
    found = calls.call_details(store, 1) or {}
    assert (found["po_number"], found["outcome"]) == ("FT-1", "ok")
    assert calls.call_details(store, 2) is None
    assert calls.curl_of(found) == (
        'curl -X POST "$BASE_URL"/v1/Orders -H "Authorization: Bearer $TOKEN" '
        "-H 'Content-Type: application/json' -d '{\"Note\": \"it'\"'\"'s $HOME\"}'"
    )
    assert calls.parsed_body(found["request"]) == {"Note": "it's $HOME"}
    assert [calls.parsed_body(text) for text in (found["answer"], None, "", "12", "[" * 100_000)] == [None] * 5
