"""Who did what: by name, kind, order and time, page by page, and in words."""

import csv
import io
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from histories import History

from tracking.access import Person
from tracking.reports.exports.columns import names_of
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import audit
from tracking.reports.team.audit import AuditFilters
from tracking.reports.team.audit_wording import describe
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import LogHead, examine
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import AUDIT_LOG, JOBS
from tracking.submissions import actions
from tracking.team import jobs
from tracking.team.plans import Act, Parameters

ANN, BOB = Person("Ann"), Person("bob@example.com", signed_in=True)


def record(store: Database, by: Person, kind: AuditKind, at: datetime, **more: Any) -> None:
    store.write(lambda connection: record_act(connection, by, kind, at, **more))


def listed(store: Database, **filters: Any) -> list[tuple[str, str]]:
    page = audit.entries(store, AuditFilters(**filters))
    assert page.next_below is None
    return [(entry.who, entry.kind) for entry in page.entries]


@pytest.fixture
def filled(history: History) -> Database:
    """Five entries, an hour apart; the last two were committed the other way round."""
    store, now = history.database, history.at
    history.place("FT-1")
    history.place("FT-2")
    history.accept("FT-2")
    record(store, ANN, AuditKind.SEARCHED, now, detail={"text": "hash:1", "hits": 3, "at_least": True})
    actions.add_note(store, "FT-1", by=BOB, now=now + timedelta(hours=1), text="called")
    actions.check_now(store, "FT-2", by=ANN, now=now + timedelta(hours=2))
    record(store, ANN, AuditKind.EXPORTED, now + timedelta(hours=4), detail={"what": "orders", "rows": 2})
    record(store, BOB, AuditKind.SEARCHED, now + timedelta(hours=3), detail={"text": "hash:2", "hits": 0})
    return store


def test_entries_are_found_by_name_kind_order_and_time(filled: Database, history: History) -> None:
    searched, exported = ("bob@example.com", "searched"), ("Ann", "exported")
    assert listed(filled)[:2] == [searched, exported]
    assert listed(filled, who="Ann") == [exported, ("Ann", "poll requested"), ("Ann", "searched")]
    assert listed(filled, kind="searched") == [searched, ("Ann", "searched")]
    assert listed(filled, who="Ann", kind="searched", until=history.at + timedelta(hours=1)) == [("Ann", "searched")]
    assert listed(filled, order=" FT-2 ") == [("Ann", "poll requested")]
    assert listed(filled, order="nothing") == []
    # By the time that an entry carries, whichever was committed first.
    at = history.at + timedelta(hours=4)
    assert listed(filled, since=at) == [exported]
    assert listed(filled, since=at - timedelta(hours=1), until=at) == [searched]
    assert listed(filled, since=at + timedelta(hours=1)) == listed(filled, until=history.at) == []
    assert audit.names(filled) == ["Ann", "bob@example.com"]


def test_pages_follow_one_another_without_gap_or_repetition(filled: Database, history: History) -> None:
    first = audit.entries(filled, AuditFilters(), limit=2)
    record(filled, ANN, AuditKind.NOTED, history.at)  # what comes meanwhile moves nothing
    second = audit.entries(filled, AuditFilters(), below=first.next_below, limit=2)
    third = audit.entries(filled, AuditFilters(), below=second.next_below, limit=2)
    assert [entry.seq for page in (first, second, third) for entry in page.entries] == [5, 4, 3, 2, 1]
    assert third.next_below is None


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_holds_what_is_listed(filled: Database, form: str) -> None:
    file = io.BytesIO()
    assert audit.write_entries(filled, AuditFilters(who="Ann"), form=form, file=file) == 3
    lines = file.getvalue().decode("utf-8-sig").splitlines()
    if form == "csv":
        assert lines[0] == ",".join(names_of(audit.COLUMNS))
        [exported, _, searched] = csv.DictReader(lines)
        assert exported["text"] == "Exported orders, 2 rows"
        assert json.loads(searched["detail"]) == {"at_least": True, "hits": 3, "text": "hash:1"}
    else:
        assert [json.loads(line)["seq"] for line in lines] == [4, 3, 1]


def test_the_reason_of_an_act_and_what_came_of_a_job_are_read_beside_the_log(
    filled: Database, history: History
) -> None:
    at = history.at + timedelta(hours=5)
    history.refuse("FT-1")
    actions.acknowledge(filled, "FT-1", by=ANN, now=at, why="reissued")
    parameters = Parameters(reason="all told")
    about: dict[str, Any] = {"key": "1", "by": ANN, "now": at, "secret": "s"}
    job_id = jobs.start(filled, Filters(only=("FT-1", "FT-2")), Act.ACKNOWLEDGE, parameters, **about)
    filled.write(lambda connection: connection.execute(sa.update(JOBS).values(done=1, skipped=1)))
    entries = audit.entries(filled, AuditFilters()).entries
    meanings = audit.stored_meanings(filled, entries)
    by_kind = {entry.kind: meanings[entry.seq] for entry in entries if entry.seq in meanings}
    assert by_kind == {
        "job started": "all told; 1 done, 1 skipped by now", "acknowledged": "reissued", "noted": "called",
    }  # fmt: skip
    assert entries[0].job_id == job_id
    assert not any("reissued" in str(entry) or "all told" in str(entry) for entry in entries), "an erasure reaches them"
    assert audit.stored_meanings(filled, ()) == {}


def test_each_read_uses_an_index_and_sorts_nothing(filled: Database) -> None:
    moment = datetime.fromisoformat("2026-11-23T00:00+00:00")
    chosen = [AuditFilters(), AuditFilters(who="Ann"), AuditFilters(kind="searched"), AuditFilters(since=moment)]
    for filters in [*chosen, AuditFilters("Ann", "searched", "FT-1", moment, moment)]:
        with filled.read() as connection:
            query = audit._matching(connection, filters, [1] if filters.order else None)
            query = query.order_by(AUDIT_LOG.c.seq.desc()).limit(10)
            if filled.dialect != "sqlite":
                continue
            text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
            steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
        assert not any("TEMP B-TREE" in step for step in steps), steps


def test_a_time_is_a_moment_or_a_length_before_now(now: datetime) -> None:
    assert audit.parse_moment(" ", now) is None
    assert audit.parse_moment("2h", now) == now - timedelta(hours=2)
    assert audit.parse_moment("2026-01-31T09:00+01:00", now) == datetime.fromisoformat("2026-01-31T08:00+00:00")
    with pytest.raises(ValueError, match="is no time"):
        audit.parse_moment("yesterday", now)


@pytest.mark.parametrize(
    ("kind", "detail", "text"),
    [
        ("searched", {"text": "hash:1", "hits": 1, "at_least": True}, "Searched, at least 1 hit: hash:1…"),
        (
            "exported",
            {"what": "orders", "form": "csv", "rows": 9, "filter": {"view": "late", "q": ["Queued", "hash:0123abcd4"]}},
            "Exported orders, as CSV, 9 rows: the view “Late”, with Queued or hash:0123abcd… in it",
        ),
        (
            "exported",
            {"what": "orders", "filter": {"state": ["Queued", "hash:0123abcd4"], "min": "12.50", "source": "hash:01"}},
            "Exported orders: state Queued or hash:0123abcd…, value from 12.50, from hash:01…",
        ),
        ("erased", {"from": "imports"}, "Erased a recipient from imports"),
        ("erased", {"orders": 2}, "Erased a recipient, 2 orders"),
        (
            "settings changed",
            {"changed": {"TRACKING_POLL_FLOOR": ["1.0", None]}, "secrets": ["TRACKING_CLAIMS_KEY"]},
            "Settings since the last start: TRACKING_POLL_FLOOR 1.0 → unset; TRACKING_CLAIMS_KEY changed",
        ),
        (
            AuditKind.SETTINGS_CHANGED,
            {"changed": {"TRACKING_POLL_FLOOR": ["1", "2"]}, "roles": "poller", "compared_roles": "pages"},
            "First start of a process with poller, set otherwise than the one with pages: TRACKING_POLL_FLOOR 1 → 2",
        ),
        ("assigned", {"assignee": None}, "Assigned to nobody"),
        ("snoozed", {"until": "2026-11-24T09:00:00+00:00"}, "Snoozed until 2026-11-24 09:00:00"),
        ("exported", {"what": "orders", "selected": 2, "filter": {"min": 1250, "from": "2026-11-24T00:00:00+00:00"}},
         "Exported orders, 2 selected by hand: value from 12.50, placed from 2026-11-24 00:00:00"),
        ("job started", {"act": "poll", "orders": 393, "filter": {"view": "attention", "state": ["Pending"]}},
         "Started “poll” of 393 orders: the view “Needs decision”, state Pending"),
        ("job started", {"act": "snooze", "orders": 1, "filter": {"q": "text"}, "until": "2026-12-01T09:00:00+00:00"},
         "Started “snooze” of 1 order until 2026-12-01 09:00:00: with a text in it"),
        ("job started", {"act": "assign", "orders": 2, "filter": {"older": "3600s"}, "assignee": "Bob"},
         "Started “assign” of 2 orders to Bob: open for 1 h 0 min or longer"),
        ("job stopped", {"act": "assign", "orders": 2000, "done": 1052, "skipped": 0},
         "Stopped “assign” of 2,000 orders, with 1,052 done and 0 skipped by then"),
        ("view saved", {"view": 3, "shared": True}, "Saved a view for all (number 3)"),
        ("view deleted", {"view": 3, "shared": False}, "Deleted a view of their own (number 3)"),
        ("imported", {"import": 7, "orders": 2000}, "Imported 2,000 orders as import 7"),
        ("placed anew", {"po_number": "FT-2"}, "Placed it anew as FT-2"),
        ("revealed", {"line": 1, "unit": 2}, "Revealed the claim data of line 1, unit 2"),
        ("evidence exported", {"sha256": 64 * "a", "masked": True, "events": 5},
         "Exported evidence with recipients masked, 5 events, SHA-256 aaaaaaaa…"),
        ("sign-in refused", {"address": "v***@example.com", "why": "not on the list"},
         "Turned away a sign-in of v***@example.com: not on the list"),
        ("submitted", {"orders": 1, "source": "form"}, "Submitted 1 order by form"),
        ("of a later version", {"some_thing": 1}, "of a later version: some thing 1"),
        ("acknowledged", {}, "Acknowledged"),
    ],
)  # fmt: skip
def test_an_entry_says_what_was_done(kind: str, detail: dict[str, Any], text: str) -> None:
    assert describe(kind, detail) == text


def test_a_head_that_was_noted_tells_an_audit_log_that_was_written_anew(filled: Database, history: History) -> None:
    noted = LogHead.parse(audit.head(filled))
    record(filled, ANN, AuditKind.NOTED, history.at)
    assert examine(filled, expected_audit=noted).differences == []
    filled.write(lambda connection: connection.execute(sa.delete(AUDIT_LOG)))
    filled.write(lambda connection: connection.exec_driver_sql("DELETE FROM facts WHERE key = 'audit log'"))
    assert examine(filled, expected_audit=noted).differences == [
        f"the audit log has no entry {noted.at}, whose head is expected"
    ]
    for _ in range(noted.at):
        record(filled, ANN, AuditKind.NOTED, history.at)
    [difference] = examine(filled, expected_audit=noted).differences
    assert f"the audit log up to entry {noted.at} is not the expected one" in difference
