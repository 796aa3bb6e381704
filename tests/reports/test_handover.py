"""The handover says what came, ended, was decided and is open, how far it knows, and leads to each of it."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from histories import History

from tracking.access import Person
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.search import orders_page
from tracking.reports.team import handover as reports
from tracking.reports.team.handover import Handover, handover
from tracking.reports.team.handover_wording import markdown, sections, title
from tracking.reports.team.outages import outage_report
from tracking.storage.database import Database
from tracking.storage.tables import EXCHANGES
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import JOBS
from tracking.submissions import actions
from tracking.team import jobs, work
from tracking.team.plans import Act, Parameters

ANN, BOB = Person("Ann"), Person("*bob*@example.com", signed_in=True)
HOURS = timedelta(hours=1)


def texts(handed: Handover) -> dict[str, list[str]]:
    return {section.title: [line.text for line in section.lines] for section in sections(handed)}


def call(store: Database, at: datetime, outcome: str, status: int | None = None) -> None:
    row = {"at": at, "method": "GET", "path": "/v1/Orders", "outcome": outcome, "status": status, "milliseconds": 1}
    store.write(lambda connection: connection.execute(sa.insert(EXCHANGES), row))


@pytest.fixture
def shift(history: History) -> Database:
    """An order before the shift, three within it, and what two people did with them."""
    store, begin = history.database, history.at
    history.place("OLD")
    history.at = begin + 2 * HOURS
    for name in ("A", "B", "C"):
        history.place(name)
        history.accept(name)
    history.look("A", "Completed")
    for name in ("B", "C"):
        history.look(name, "Cancelled")
    at = history.at + HOURS
    actions.acknowledge(store, "B", by=ANN, now=at, why="reissued")
    work.reopen(store, "B", by=BOB, now=at + HOURS)
    work.snooze(store, "C", at + 24 * HOURS, by=BOB, now=at)
    detail = {"act": "acknowledge", "orders": 393}
    store.write(lambda connection: record_act(connection, ANN, AuditKind.JOB_STARTED, at, job_id=7, detail=detail))
    return store


def test_a_handover_tells_what_came_was_decided_and_is_open(shift: Database, history: History) -> None:
    since, now = history.at - HOURS, history.at + 3 * HOURS
    handed = handover(shift, since, now)
    parts = texts(handed)
    assert parts["Came in"] == ["Orders: 3 orders", "Worth: 30.00 (currency unknown)", "By type: 3 links"]
    assert parts["Ended"] == ["Completed: 1 order", "Cancelled: 2 orders"]
    assert parts["Decided and done"] == [
        "Acknowledged by Ann (B)",
        "Reopened by *bob*@example.com (B)",
        "Snoozed by *bob*@example.com (C)",
        "Job started: acknowledge by Ann, 393 orders (job 7)",
    ]
    assert parts["To do now"][0] == "Needs decision: 1 order, and 1 snoozed"
    assert parts["To do now"][1].startswith("Cancelled by the provider: 1 order, ")
    assert "Unassigned: 1 order" in parts["To do now"]
    assert parts["Snoozed"][0].startswith("C until ")
    assert parts["Jobs, imports and unsent orders"] == ["Not sent yet: 1 order"]
    assert any("Only the last time without webhooks is stored" in text for text in parts["What this does not know"])
    assert texts(handover(shift, now - timedelta(minutes=1), now))["Ended"] == []


def test_what_jobs_did_is_counted_once_and_unsent_orders_are_work_that_is_left(
    shift: Database, history: History
) -> None:
    now = history.at + 3 * HOURS
    for name in ("D", "E"):
        history.place(name)
    since = now - timedelta(minutes=1)
    parameters = Parameters(reason="reissued")
    ids = [
        jobs.start(
            shift, Filters(only=names), Act.ACKNOWLEDGE, parameters, key=str(names), by=ANN, now=since, secret="s"
        )
        for names in (("B", "C"), ("A", "D", "E"))
    ]
    for act in (jobs.stop, jobs.resume, jobs.stop):
        act(shift, ids[1], by=ANN, now=since)
    shift.write(
        lambda connection: connection.execute(sa.update(JOBS).where(JOBS.c.id == ids[0]).values(done=1, skipped=1))
    )
    detail = {"orders": 1, "source": "form", "purpose": "a fire drill"}
    shift.write(lambda connection: record_act(connection, ANN, AuditKind.SUBMITTED, since, detail=detail))
    handed = handover(shift, since, now)
    parts = texts(handed)
    first, second = ids
    assert parts["Decided and done"] == [
        "Submitted for a fire drill by Ann, 1 order",
        f"Job started: acknowledge by Ann, 2 times, 5 orders, 1 done, 1 skipped by now (job {second}, job {first})",
        f"Job stopped: acknowledge by Ann, 2 times, 3 orders, 0 done, 0 skipped by now (job {second})",
        f"Job resumed: acknowledge by Ann, 3 orders, 0 done, 0 skipped by now (job {second})",
    ]
    assert parts["Jobs, imports and unsent orders"][-1] == "Not sent yet: 3 orders"
    assert "state=Queued&state=Sending" in markdown(handed, "UTC", "https://console.example")


def test_each_line_leads_to_as_many_orders_as_it_says(shift: Database, history: History) -> None:
    now = history.at + 3 * HOURS
    lines = [line for part in sections(handover(shift, history.at - HOURS, now)) for line in part.lines]
    counted = [line for line in lines if line.page == "orders" and line.text.endswith(("order", "orders"))]
    assert len(counted) >= 5
    for line in counted:
        filters, problems = Filters.from_query(line.query)
        assert not problems
        assert f"{orders_page(shift, filters, now).total} order" in line.text


def test_the_markdown_marks_nothing_that_somebody_gave_as_a_name(shift: Database, history: History) -> None:
    handed = handover(shift, history.at - HOURS, history.at + 3 * HOURS)
    text = markdown(handed, "UTC", "https://console.example/")
    assert text.startswith(f"# {title(handed)} (UTC)\n\n## To do now\n\n- ")
    assert "- [Reopened](https://console.example/audit?person=%2Abob%2A%40example.com" in text
    assert "## Came in\n\n- Nothing.\n" in markdown(handover(shift, handed.until - HOURS, handed.until), "UTC")
    plain = markdown(handed, "UTC")
    assert "](" not in plain
    assert r"- Snoozed by \*bob\*@example.com (C)" in plain


def test_more_than_is_read_is_said_to_be_at_least_so_much(
    shift: Database, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ORDERS_READ", 2), ("COUNTED", 2), ("ENTRIES_READ", 1)):
        monkeypatch.setattr(reports, name, value)
    parts = texts(handover(shift, history.at - HOURS, history.at + 3 * HOURS))
    assert parts["Came in"][0] == "Orders: at least 2 orders"
    assert parts["Came in"][2] == "By type: 2 links, of the newest 2"
    assert len(parts["Decided and done"]) == 1
    assert "what was done is at least this" in parts["What this does not know"][-1]


def test_outages_are_calls_that_failed_one_after_another(store: Database, now: datetime) -> None:
    outcomes = ["ok", "not sent: refused", "ok", "ok", "unknown", "unknown", "not sent: refused", "rejected", "ok"]
    for number, outcome in enumerate([*outcomes, *3 * ["unreadable"]]):
        call(store, now + number * HOURS, outcome)
    call(store, now + 2.5 * HOURS, "cancelled")
    with store.read() as connection:
        report = outage_report(connection, now + HOURS, now + 24 * HOURS)
        whole = outage_report(connection, now, now + 24 * HOURS)
    first, second = report.outages
    assert (first.began_at, first.ended_at, first.calls, first.why) == (
        now + 4 * HOURS, now + 7 * HOURS, 3, "No usable answer",
    )  # fmt: skip
    assert (second.began_at, second.ended_at, second.why) == (now + 9 * HOURS, None, "Unreadable")
    assert (report.calls, report.failed, report.calls_since) == (12, 7, None)
    assert whole.calls_since == now, "no earlier call is stored, so nothing before is known"


@pytest.mark.parametrize(
    ("seconds", "status", "why"),
    [((0, 15, 30, 60, 120), 503, "unavailable, paused"), ((0, 20), 503, "unavailable, paused"),
     ((0, 1, 2), 429, "rate limited"), ((0, 5), 503, None)],
)  # fmt: skip
def test_a_provider_that_turned_calls_away_was_an_outage_as_the_pages_said(
    store: Database, now: datetime, seconds: tuple[int, ...], status: int, why: str | None
) -> None:
    call(store, now - timedelta(seconds=1), "ok", 200)
    for second in seconds:
        call(store, now + timedelta(seconds=second), "throttled", status)
    call(store, now + timedelta(seconds=seconds[-1] + 1), "ok", 200)
    lines = texts(handover(store, now - HOURS, now + HOURS))["Incidents and outages"]
    number = f"{len(seconds)} API calls failed one after another ({why})"
    assert [text.partition(": ")[2] for text in lines if number in text] == ([number] if why else [])
    assert lines[-1] == f"API calls: {len(seconds)} of {len(seconds) + 2} calls failed"


def test_nothing_is_made_of_an_empty_store(store: Database, now: datetime) -> None:
    parts: dict[str, Any] = texts(handover(store, now - 8 * HOURS, now))
    unknown = parts.pop("What this does not know")
    assert not any(parts.values()), parts
    assert "No API call of this time is stored" in unknown[0]
    assert reports.last_sign_ins(store, "Ann") == ()
    for at in (now - 9 * HOURS, now - HOURS, now):
        store.write(partial(record_act, person=ANN, kind=AuditKind.SIGNED_IN, now=at))
    assert reports.last_sign_ins(store, "Ann") == (now, now - HOURS)
    assert handover(store, now - timedelta(days=400), now).since == now - reports.LONGEST_SPAN
