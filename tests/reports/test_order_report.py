"""What is said of one order: its verdict, the order of its timeline, its lines and its calls."""

from datetime import timedelta
from typing import Any

import pytest
from histories import START, History, find_order_id

from tracking.orders.model import Witness
from tracking.orders.observations import Observation, Polled
from tracking.provider import call_log
from tracking.reports import activity, order
from tracking.reports.order_page import story, verdicts
from tracking.reports.order_page.calls import api_calls
from tracking.reports.order_page.lines import line_progress, lines_page
from tracking.storage.database import Database
from tracking.submissions.results import order_statuses

CALL: dict[str, Any] = {
    "at": START, "method": "GET", "path": "/v1/Orders/1", "status": 200, "milliseconds": 5, "outcome": "ok",
    "order_id": None, "request": None, "answer": None,
}  # fmt: skip


def record(store: Database, *calls: dict[str, Any]) -> None:
    store.write(lambda connection: call_log.store_api_calls(connection, [CALL | call for call in calls]))


def test_a_refusal_is_told_once_and_its_lines_are_nobodys_word(history: History, store: Database) -> None:
    number = history.place("FT-1", lines=2)
    waiting = lines_page(store, number)["status"].tolist()
    history.refuse("FT-1", "the balance of 54.00 does not cover it")
    view = verdicts.order_view(store, number, history.at)
    assert view.verdict == "Refused: the balance of 54.00 does not cover it."
    assert [str(view.statuses[name]) for name in ("Provider status", "Our status")] == ["refused", "needs a decision"]
    assert (waiting, lines_page(store, number)["status"].tolist()) == (["not shown yet"] * 2, ["not placed"] * 2)
    assert line_progress(store, number).to_dict("records") == [{"status": "not placed", "lines": 2, "cards": 2}]


def test_the_timeline_is_in_the_order_in_which_things_happened(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.accept("FT-1")
    left = history.wait(seconds=10)
    history.wait(seconds=5)
    history.announce("FT-1")
    slow = Observation(
        Witness.POLL, left, history.wait(seconds=5), Polled(history.snapshot("FT-1", "Processing"), "order")
    )
    store.write(lambda connection: history.observe(connection, number, slow))
    rows = [row for row in story.timeline(store, number, history.at) if not row.ahead]
    assert [row.kind for row in rows][-2:] == ["still open", "notice claimed"]
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    told = order.order_record(store, number)["timeline"]
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)


def test_a_notice_that_came_before_its_order_stands_where_it_came(history: History, store: Database) -> None:
    history.announce("FOUND-1")
    came = history.at
    history.wait(minutes=5)
    history.find_open("FOUND-1")
    number = find_order_id(store, "FOUND-1")
    assert number is not None
    notice = next(row for row in story.timeline(store, number, history.at) if row.kind == "notice claimed")
    assert (notice.at, notice.learned_at) == (came, came + timedelta(minutes=5))
    assert (
        f"The provider's webhook said complete at {came:%H:%M:%S}; not confirmed by a poll."
        in verdicts.order_view(store, number, history.at).evidence
    )


def test_a_webhook_that_polls_do_not_confirm_is_told_by_its_time_and_no_length_that_has_passed(
    history: History, store: Database
) -> None:
    number = history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1")
    came = history.at
    history.wait(minutes=10)
    history.look("FT-1", "Processing")
    view = verdicts.order_view(store, number, history.wait(hours=2))
    label = "webhook says complete, polls do not"
    assert view.decision == f"Needs a decision: {label} (webhook at {came:%H:%M:%S})."
    assert view.order.attention == "announced as complete 10 min ago, and still Processing at the provider"
    assert order_statuses(store, ["FT-1"])["FT-1"].message == label


def test_a_look_that_a_list_page_answered_is_one_of_the_orders_calls(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.accept("FT-1")
    history.wait(seconds=10)
    history.look("FT-1", "Pending")
    page = "/v1/Orders?page=1&size=50"
    record(
        store,
        {"at": START, "order_id": number, "method": "POST", "path": "/v1/Orders"},
        {"at": history.at, "path": page},
        {"at": history.at + timedelta(seconds=1), "path": page},
        {"at": history.at, "path": "/v1/Products"},
    )
    calls = [(call["at"], call["path"]) for call in api_calls(store, number)]
    assert calls == [(history.at, page), (START, "/v1/Orders")]


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ('{"Id": "BLK-1", "Lines": [1]}', '{\n  "Id": "BLK-1",\n  "Lines": [\n    1\n  ]\n}'),
        ('{"Id": "BLK-1", "Li', '{"Id": "BLK-1", "Li'),
        (None, None),
    ],
)
def test_an_answer_is_shown_line_by_line(
    history: History, store: Database, kept: str | None, shown: str | None
) -> None:
    number = history.place("FT-1")
    record(store, {"order_id": number, "answer": kept})
    assert api_calls(store, number)[0]["answer"] == shown


def test_a_call_whose_answer_could_not_be_used_has_failed_whatever_its_status(store: Database) -> None:
    outcomes = {"unreadable": 200, "unknown": 201, "not found": 404, "ok": 200, "not sent": None}
    record(store, *({"outcome": outcome, "status": status} for outcome, status in outcomes.items()))
    failed = activity.provider_calls(store, failed=True)["outcome"].tolist()
    assert sorted(failed) == ["not found", "not sent", "unknown", "unreadable"]


def test_the_polls_of_an_order_that_is_complete_there_alone_are_those_that_could_prove_it(
    history: History, store: Database
) -> None:
    number = history.place("A-1")
    history.accept("A-1")
    history.wait(minutes=1)
    history.look("A-1", "Pending")
    assert last_poll(store, number, history) == "Last of 1 poll, 0 s ago: Pending."
    without_claims = history.snapshot("A-1", "Pending").lines
    for via in ("order", "list"):
        history.wait(minutes=1)
        history.see("A-1", Polled(history.snapshot("A-1", "Completed", without_claims), via=via))
    assert last_poll(store, number, history) == "Last of 2 polls that could prove it, 1 min ago: Completed."


def last_poll(store: Database, order_id: int, history: History) -> str:
    """What the order's page says of its last poll."""
    [text] = [piece for piece in verdicts.order_view(store, order_id, history.at).evidence if "Last of" in piece]
    return text
