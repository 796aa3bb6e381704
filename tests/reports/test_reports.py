import asyncio
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from histories import START, History, find_order_id
from hypothesis import given
from hypothesis import strategies as st

from tracking import ingest
from tracking.app.web.metrics import metrics_text
from tracking.errors import UnknownOrder
from tracking.forecasting.forecasts import Forecasts
from tracking.orders import wording
from tracking.orders.wording import amount, clock, duration, money, window
from tracking.polling.learner import Learner
from tracking.provider import call_log
from tracking.reports import activity, order, overview, trends
from tracking.reports import health as reports_health
from tracking.reports.exports.columns import names_of
from tracking.reports.exports.orders import ORDER_COLUMNS
from tracking.reports.exports.writing import write_export
from tracking.reports.health import ComponentStatus
from tracking.reports.logs.stored import Stored, size_text, stored
from tracking.reports.order_list import search, view_counts
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.narrowing import FLAGGED
from tracking.reports.order_page import story, verdicts
from tracking.reports.order_page.calls import api_calls
from tracking.reports.order_page.lines import line_progress, lines_page
from tracking.reports.order_page.runs import merge_repeats
from tracking.storage import facts, inbox
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import EVENTS, LINES, OPEN, ORDERS, UNAPPROVED
from tracking.webhooks.silence_alarm import SilenceAlarm


def busy(history: History) -> None:
    """One order of each kind that the overview tells apart."""
    for name in ("DONE-1", "OPEN-1", "LOST-1", "REFUSED-1"):
        history.place(name, value=2500)
    history.complete("DONE-1")
    history.accept("OPEN-1")
    history.lose("LOST-1")
    history.refuse("REFUSED-1")
    history.find_finished("FOUND-1")


def test_overview_of_an_empty_store_says_so(store: Database) -> None:
    seen = overview.overview(store, START)
    assert (seen.verdict, seen.empty, seen.open) == ("No orders yet", True, 0)


def test_overview_counts_each_kind_once(history: History, store: Database) -> None:
    busy(history)
    seen = overview.overview(store, history.at)
    assert (seen.attention, seen.unknown, seen.open, seen.done_today, seen.discovered_today) == (1, 1, 2, 1, 1)
    assert seen.oldest == history.at - START
    assert seen.verdict == "1 order needs a decision. 2 open, none late; oldest 10 min 10 s"


def test_late_orders_are_counted_and_shown_by_the_same_rule(history: History, store: Database) -> None:
    busy(history)
    later = history.at + timedelta(days=20)
    assert overview.overview(store, later).late == 2
    assert set(search.orders_page(store, Filters(view="late"), later).rows["po_number"]) == {"OPEN-1", "LOST-1"}


def test_each_count_leads_to_as_many_orders(history: History, store: Database) -> None:
    busy(history)
    seen = overview.overview(store, history.at)
    counts = {"unknown": seen.unknown, "open": seen.open, "today": seen.done_today, "found": seen.discovered_today}
    for view, count in (counts | {"attention": seen.attention}).items():
        assert (view, search.orders_page(store, Filters(view=view), history.at).total) == (view, count)
    later = history.at + timedelta(hours=10)
    history.announce("OPEN-1")
    for view, number in view_counts.view_counts(store, later).items():
        assert (view, search.orders_page(store, Filters(view=view, each=True), later).total) == (view, number.orders)


def test_the_count_of_a_view_stops_where_it_would_read_too_much(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A-1", "A-2"):
        history.place(name)
        history.refuse(name)
        history.place(f"{name}-open")
    monkeypatch.setattr(view_counts, "MOST_COUNTED", 1)
    counts = {view: str(count) for view, count in view_counts.view_counts(store, history.at).items()}
    assert counts == {
        "all": "4", "attention": "1+", "late": "0", "unknown": "0", "claimed": "0", "open": "2", "today": "0",
        "found": "0", "unassigned": "1+", "snoozed": "0", "approval": "0",
    }  # fmt: skip


def test_the_overview_uses_the_partial_indexes(tmp_path: Any) -> None:
    """A bound value in place of the index's own words would walk over every order."""
    from tracking.storage.database import connect  # noqa: PLC0415 - only this test needs SQLite's own plan

    opened = connect(f"sqlite:///{tmp_path}/plan.db")
    with opened.read() as connection:
        for test, index in (
            (FLAGGED, "ix_orders_flagged"),
            (UNAPPROVED, "ix_orders_approval"),
            (sa.and_(OPEN, ORDERS.c.late_at < START), "ix_orders_open"),
        ):
            query = sa.select(sa.func.count()).select_from(ORDERS).where(test)
            said = query.compile(connection, compile_kwargs={"literal_binds": False})
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", tuple(said.params.values())).all()
            assert index in str(plan)
    opened.close()


def test_what_is_newest_is_read_through_an_index(sqlite_url: str, now: datetime) -> None:
    """Of calls with their bodies, and of all orders, none is read but those that are shown."""
    from tracking.storage.database import connect  # noqa: PLC0415 - as above

    opened = connect(sqlite_url)
    statements: list[tuple[Any, Any]] = []
    sa.event.listen(opened._readers, "before_cursor_execute", lambda *call: statements.append(call[2:4]))
    with opened.read() as connection:
        reports_health.component_status(connection, now)
    for descending in (True, False):
        search.orders_page(opened, Filters(sort="state", descending=descending), now)
    with opened.read() as connection:
        plans = [
            str(row)
            for statement, values in tuple(statements)
            if "ORDER BY" in statement
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        ]
    opened.close()
    assert len(plans) >= 4
    scans = [plan for plan in plans if "SCAN" in plan]
    assert [plan for plan in scans if "USING" not in plan] == []


def test_bounds_in_a_table_are_rounded_outwards() -> None:
    values = [0.7, 0.71, 0.3, 12.99, 5.0]
    frame = pd.DataFrame({"least": values, "most": values, "orders": range(5)})
    told = trends.rounded_outwards(frame, least=["least"], most=["most"])
    assert told["most"].tolist() == [0.7, 0.8, 0.3, 13.0, 5.0]
    assert told["least"].tolist() == [0.7, 0.7, 0.3, 12.9, 5.0]
    assert told["orders"].tolist() == [0, 1, 2, 3, 4]


def test_silent_loops_and_an_unreachable_provider_are_told(store: Database) -> None:
    def remember(connection: sa.Connection) -> None:
        facts.set_fact(connection, "beat:poller", {}, START)
        said = {"failing_since": START.isoformat(), "last_error": "NotSent: no connection: refused"}
        facts.set_fact(connection, "client", said, START)

    store.write(remember)
    health = reports_health.health(store, START + timedelta(minutes=5))
    assert health.why_unreachable == "no connection: refused"
    with store.read() as connection:
        [provider] = [
            part
            for part in reports_health.component_status(connection, START + timedelta(minutes=5))
            if part.name == "Provider"
        ]
    assert provider.text == "no answer for 5 min: no connection: refused"
    assert health.silent == ("poller",)
    assert health.unreachable_since == START
    assert health.refused is None


def test_how_much_is_stored_is_said_of_the_database_its_orders_and_its_events(
    store: Database, history: History
) -> None:
    assert stored(store).orders == stored(store).most_events == 0
    for name in ("A-1", "A-2"):
        history.place(name)
    history.accept("A-1")
    now = stored(store)
    with store.read() as connection:
        events = connection.execute(sa.select(sa.func.count()).select_from(EVENTS)).scalar_one()
    assert now.orders == 2
    assert events <= now.most_events < events + 3
    assert 10**5 < now.size < 10**8
    assert str(Stored(1_200_000, 12_345, 7_000)) == "2 MB, 12,345 orders, at most 7,000 events"
    assert [size_text(size) for size in (1, 999_000_001, 10**9, 5_010_000_000)] == [
        "1 MB",
        "1,000 MB",
        "1.0 GB",
        "5.1 GB",
    ]


def component(store: Database, name: str, now: datetime) -> ComponentStatus:
    with store.read() as connection:
        return next(each for each in reports_health.component_status(connection, now) if each.name == name)


def test_a_provider_that_was_never_called_is_not_said_to_answer(store: Database, history: History) -> None:
    assert component(store, "Provider", history.at).text == "not called yet"
    call = {"at": history.at, "method": "GET", "path": "/v1/Orders", "status": 200, "milliseconds": 12, "outcome": "ok"}
    row = call | {"order_id": None, "request": None, "answer": None}
    store.write(lambda connection: call_log.store_api_calls(connection, [row]))
    assert component(store, "Provider", history.wait(seconds=75)).text == "OK (last answer 1 min 15 s ago)"


def test_calls_in_the_last_minute_are_not_told_of_an_earlier_one(store: Database) -> None:
    said = {"rate": 5, "calls_in_the_last_minute": 9}
    store.write(lambda connection: facts.set_fact(connection, "client", said, START))
    assert component(store, "API usage", START + timedelta(seconds=30)).text == "9 / 300 per min"
    assert component(store, "API usage", START + timedelta(minutes=30)).text == "unknown for 30 min"


def test_a_loop_that_was_never_seen_is_told_once_orders_wait_for_it(store: Database, history: History) -> None:
    assert reports_health.health(store, START).silent == ()
    history.place("QUEUED-1")
    history.place("OPEN-1")
    history.accept("OPEN-1")
    later = history.at + timedelta(days=1)
    assert reports_health.health(store, later).silent == ("poller", "sender")
    poller = component(store, "Poller", later)
    assert (poller.text, poller.worrying) == ("not running, and orders are waiting", True)
    store.write(lambda connection: facts.set_fact(connection, "beat:poller", {}, later))
    assert component(store, "Poller", later + timedelta(seconds=15)).text == "running"
    beats = [partial(facts.beat, loop="poller", owner=owner, value={"left_out": 1200}, now=later) for owner in "ab"]
    for beat in beats:
        store.write(beat)
    assert component(store, "Poller", later).text == "running in 2 processes, 1,200 open orders only when planned"
    assert reports_health.health(store, later).left_out == 1200
    silent = component(store, "Poller", later + timedelta(minutes=5))
    assert (silent.text, silent.worrying) == ("no heartbeat for 5 min", True)
    assert reports_health.health(store, later).silent == ("sender",)


def test_a_loop_that_ended_is_not_called_running_however_lately_it_beat(store: Database) -> None:
    for owner in "ab":
        store.write(partial(facts.beat, loop="jobs", owner=owner, value={}, now=START))
        store.write(partial(facts.beat, loop="poller", owner=owner, value={"left_out": 1200}, now=START))
    soon, much_later = START + timedelta(seconds=5), START + timedelta(minutes=5)
    store.write(partial(facts.withdraw_beats, gone={"a"}))
    assert component(store, "Poller", soon).text == "running, 1,200 open orders only when planned"
    assert reports_health.absent_loop(store, "jobs", soon) is None
    store.write(partial(facts.withdraw_beats, gone={"b"}))
    assert component(store, "Poller", soon).text == "stopped 5 s ago"
    assert reports_health.health(store, soon).left_out == 0
    assert "tracking_orders_not_weighed 0.0" in metrics_text(store, soon).decode()
    assert str(reports_health.absent_loop(store, "jobs", soon)).startswith("no worker is running")
    stopped = component(store, "Poller", much_later)
    assert (stopped.text, stopped.worrying) == ("stopped 5 min ago", True)


@pytest.mark.parametrize(
    ("failures", "seconds", "lasting"), [(1, 60, False), (2, 14, False), (2, 15, True), (3, 1, True)]
)
def test_one_failed_call_is_no_unreachable_provider(
    store: Database, failures: int, seconds: int, lasting: bool
) -> None:
    said = {"failing_since": START.isoformat(), "failures": failures, "last_error": "OutcomeUnknown: it failed (504)"}
    store.write(lambda connection: facts.set_fact(connection, "client", said, START))
    now = START + timedelta(seconds=seconds)
    assert (reports_health.health(store, now).unreachable_since is not None) == lasting
    with store.read() as connection:
        parts = {part.name: part for part in reports_health.component_status(connection, now)}
    assert parts["Provider"].worrying == lasting


def test_refused_credentials_are_told_apart_from_an_unreachable_provider(store: Database) -> None:
    said = {"failing_since": START.isoformat(), "failures": 1, "last_error": "CredentialsRefused: no token (401)"}
    store.write(lambda connection: facts.set_fact(connection, "client", said, START))
    health = reports_health.health(store, START)
    assert health.refused is not None
    assert health.unreachable_since is None


def test_silent_webhooks_are_told_while_they_last_and_an_hour_after(store: Database) -> None:
    later = START + timedelta(minutes=30)

    def told(alarm: SilenceAlarm, at: datetime) -> SilenceAlarm | None:
        store.write(lambda connection: facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, alarm.to_fact(), START))
        return reports_health.health(store, at).webhooks

    assert reports_health.health(store, START).webhooks is None
    lasting, ended = SilenceAlarm(START, START, 3), SilenceAlarm(START, START, 3, ended_at=later)
    assert told(lasting, START + timedelta(days=3)) == lasting
    assert told(ended, later + timedelta(minutes=59)) == ended
    assert told(ended, later + timedelta(minutes=61)) is None


# Filters and search


def test_a_filter_survives_its_way_through_an_address() -> None:
    filters = Filters(
        text="a b", view="late", states=("Pending", "On hold"), types=("Links",), source="csv", product="CVS",
        created_from=datetime(2026, 1, 2, tzinfo=UTC), created_to=datetime(2026, 1, 3, 4, 5, tzinfo=UTC),
        completed_from=datetime(2026, 1, 5, tzinfo=UTC), completed_to=datetime(2026, 1, 6, tzinfo=UTC),
        ended_from=datetime(2026, 1, 7, tzinfo=UTC), watched=True,
        min_minor=1250, max_minor=99900, older_than=timedelta(hours=3), po_prefix="FT-", sort="value",
        not_states=("Refused",), not_types=("Codes",), not_sources=("seed",), reasons=("cancelled",),
        not_reasons=("other",), only=("A-1, and B", "A-2"), descending=False, page=3,
    )  # fmt: skip
    assert Filters.from_query(filters.to_query()) == (filters, [])
    assert Filters().to_query() == {}


def test_bad_values_in_an_address_are_told_and_left_out() -> None:
    filters, problems = Filters.from_query(
        {"view": "nonsense", "from": "yesterday", "min": "much", "older": "soon", "page": "-1", "sort": "id; DROP",
         "reason": ["cancelled", "moody"]}
    )  # fmt: skip
    assert filters == Filters(reasons=("cancelled",))
    assert {problem.where for problem in problems} == {"view", "from", "min", "older", "page", "sort", "reason"}
    [sort] = [problem.message for problem in problems if problem.where == "sort"]
    assert sort.endswith("use one of placed, po number, state, type, cards, value, completed, next poll")
    for word in ("next look", "next poll"):
        assert Filters.from_query({"sort": word}) == (Filters(sort="next look"), [])


@given(
    st.dictionaries(
        st.sampled_from(sorted(Filters(page=2).to_query() | {"from": "", "max": "", "older": ""})), st.text()
    )
)
def test_no_address_breaks_the_filter(query: dict[str, str]) -> None:
    filters, _ = Filters.from_query(query)
    assert filters.page >= 1


def test_search_takes_any_id_whole_or_in_part(history: History, store: Database) -> None:
    history.place("FT-A_1", external_id="row%7", recipient="Ann@example.com")
    history.accept("FT-A_1")
    history.place("FT-AB1", external_id="row77", recipient="bob@example.com")
    texts = ["FT-A_1", " ft-a_1 ", "A_1", "BLK-1", "row%7", "row%", "ann@example", "  ann@example.com\n", "BLK -1"]
    for text in texts:
        found = search.orders_page(store, Filters(text=text), history.at)
        assert (text, found.rows["po_number"].tolist()) == (text, ["FT-A_1"])


def test_pages_do_not_overlap_and_count_all(history: History, store: Database) -> None:
    names = [f"PO-{number}" for number in range(7)]
    for name in names:
        history.place(name)
    seen = []
    for page in (1, 2, 3):
        shown = search.orders_page(store, Filters(page=page, page_size=3, sort="state"), history.at)
        assert shown.total == 7
        seen += shown.rows["po_number"].tolist()
    assert sorted(seen) == names


def test_missing_values_are_sorted_last(history: History, store: Database) -> None:
    busy(history)
    for descending in (True, False):
        filters = Filters(sort="completed", descending=descending)
        rows = search.orders_page(store, filters, history.at).rows
        assert rows["completed_by"].isna().tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("sort", ["completed", "next look"])
def test_neighbours_and_pages_follow_the_list_where_some_have_no_value(
    history: History, store: Database, sort: str
) -> None:
    busy(history)
    for view, descending in (("all", True), ("all", False), ("open", True)):
        filters = Filters(sort=sort, descending=descending, view=view)
        rows = search.orders_page(store, filters, history.at).rows
        names = rows["po_number"].tolist()
        beside = [search.neighbours(store, filters, number, history.at) for number in rows["id"].tolist()]
        assert beside == list(zip([None, *names[:-1]], [*names[1:], None], strict=True))
        pages = [search.orders_page(store, replace(filters, page=page, page_size=2), history.at) for page in (1, 2, 3)]
        assert [name for page in pages for name in page.rows["po_number"]] == names


def test_filters_narrow(history: History, store: Database) -> None:
    busy(history)
    history.place("BIG-1", value=90_000, lines=3)

    def found(**filters: Any) -> set[str]:
        return set(search.orders_page(store, Filters(**filters), history.at).rows["po_number"])

    assert found(min_minor=200_000) == {"BIG-1"}
    assert found(max_minor=500) == {"FOUND-1"}
    assert found(states=("Refused", "Completed")) == {"REFUSED-1", "DONE-1", "FOUND-1"}
    assert found(source="elsewhere", types=("Links",)) == {"FOUND-1"}
    assert found(po_prefix="OPEN") == {"OPEN-1"}
    assert found(product="AMAZON") == set()
    assert found(created_from=history.at) == {"BIG-1"}
    assert found(older_than=timedelta(minutes=30)) == {"FOUND-1"}
    assert found(completed_from=START + timedelta(minutes=10)) == {"DONE-1", "FOUND-1"}
    assert found(completed_to=START + timedelta(minutes=10)) == set()
    assert found(completed_from=START, completed_to=START + timedelta(hours=1)) == {"DONE-1", "FOUND-1"}
    assert found(ended_from=START) == {"DONE-1", "FOUND-1", "REFUSED-1"}
    assert found(ended_from=START, watched=True, states=("Refused", "Completed")) == {"DONE-1", "REFUSED-1"}
    assert found(ended_from=history.at + timedelta(days=1)) == set()
    assert found(watched=True, created_to=START + timedelta(hours=1)) == {
        "DONE-1", "OPEN-1", "LOST-1", "REFUSED-1", "BIG-1"
    }  # fmt: skip
    assert found(only=("BIG-1", "OPEN-1", "none")) == {"BIG-1", "OPEN-1"}
    assert found(not_states=("Completed", "Pending", "Queued"), not_sources=("csv",)) == {"LOST-1", "REFUSED-1"}
    assert found(not_types=("Links",)) == set()
    assert found(reasons=("refused", "cancelled")) == {"REFUSED-1"}
    assert found() - found(not_reasons=("refused",)) == {"REFUSED-1"}
    history.acknowledge("REFUSED-1", "placed anew")
    assert found(reasons=("refused",)) == set()


# Exports


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "  =1", "\uff1d1", "\uff0b1", "\u00a0=1", "\u2003@a"]
)
def test_a_formula_gets_a_quote(text: str) -> None:
    assert wording.spreadsheet_safe(text) == f"'{text}"


@pytest.mark.parametrize("value", ["FT-1", "a=b", 5, None, ""])
def test_anything_else_stays_as_it_is(value: object) -> None:
    assert wording.spreadsheet_safe(value) == value


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_export_holds_all_that_match_and_no_recipients(history: History, store: Database, form: str) -> None:
    history.place("=CMD-1", recipient="secret@example.com")
    for number in range(3):
        history.place(f"PO-{number}", recipient="secret@example.com")
    file = io.BytesIO()
    assert write_export(store, Filters(page_size=1), history.at, form=form, file=file) == 4
    data = file.getvalue()
    assert b"secret" not in data
    match form:
        case "csv":
            frame = pd.read_csv(io.BytesIO(data))
        case "jsonl":
            frame = pd.read_json(io.BytesIO(data), lines=True)
        case _:
            frame = pd.read_parquet(io.BytesIO(data))
    assert list(frame.columns) == list(names_of(ORDER_COLUMNS))
    assert set(frame["po_number"]) == {"'=CMD-1" if form == "csv" else "=CMD-1", "PO-0", "PO-1", "PO-2"}
    assert set(frame["value"].astype(float)) == {10.0}


def test_an_empty_export_keeps_its_columns(store: Database) -> None:
    file = io.BytesIO()
    assert write_export(store, Filters(), START, form="parquet", file=file) == 0
    assert list(pd.read_parquet(io.BytesIO(file.getvalue())).columns) == list(names_of(ORDER_COLUMNS))


# One order


def test_an_order_is_found_by_any_of_its_ids(history: History, store: Database) -> None:
    number = history.place("FT-1", external_id="row-9", recipient="ann@example.com")
    history.accept("FT-1")
    for text in ("FT-1", " FT-1 ", "ft-1", "BLK-1", "blk-1", "row-9", "ann@example.com"):
        assert (text, find_order_id(store, text)) == (text, number)


def test_an_id_of_several_orders_or_of_none_finds_none(history: History, store: Database) -> None:
    history.place("FT-1", recipient="ann@example.com")
    history.place("FT-2", recipient="ann@example.com")
    assert find_order_id(store, "ann@example.com") is None
    assert find_order_id(store, "nobody") is None
    assert find_order_id(store, "  ") is None


def test_the_story_in_json_has_the_promised_keys(history: History, store: Database) -> None:
    number = history.place("FT-1", value=12_500, recipient="ann@example.com")
    history.complete("FT-1")
    told = json.loads(json.dumps(order.order_record(store, number)))
    assert list(told) == [
        "po_number", "provider_id", "state", "type", "units", "value", "values", "source", "claimed", "created_at",
        "accepted_at", "completed_after", "completed_by", "next_look_at", "approval", "lines", "timeline",
    ]  # fmt: skip
    assert (told["state"], told["value"], told["claimed"]) == ("Completed", "125.00", False)
    assert told["created_at"] == "2026-03-04T10:00:00+00:00"
    assert told["lines"][0]["recipient"] == "a***@example.com"
    assert [event["kind"] for event in told["timeline"]][-1] == "completed"
    assert {"at", "learned_at", "witness", "kind", "text"} <= set(told["timeline"][0])


def test_an_unknown_order_has_no_story(store: Database) -> None:
    with pytest.raises(UnknownOrder):
        order.order_record(store, 99)
    with pytest.raises(UnknownOrder):
        verdicts.order_view(store, 99, START)


def test_equal_looks_collapse_and_the_next_step_comes_last(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.accept("FT-1")
    for _ in range(12):
        history.wait(minutes=3)
        history.look("FT-1", "Pending")
    rows = story.timeline(store, number, history.at)
    assert [row.kind for row in rows] == ["requested", "sending", "accepted", "still open", "ahead"]
    assert rows[3].text == "12 polls, all Pending (10:03:00 to 10:36:00)"
    assert rows[4].ahead
    assert rows[4].at >= history.at
    assert rows[4].text == "Next poll at the latest: it may be complete by then"
    by = clock(rows[4].at + timedelta(seconds=1) - timedelta(microseconds=1), history.at)
    assert f"Next poll by {by} (it may be complete by then)." in (
        verdicts.order_view(store, number, history.at).evidence
    )


def test_a_repeated_notice_is_told_as_such(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1", times=3)
    texts = [row.text for row in story.timeline(store, number, history.at)]
    assert "Webhook: complete (awaiting confirmation)" in texts
    assert any("2 duplicate webhooks, ignored" in text for text in texts)
    assert str(verdicts.order_view(store, number, history.at).statuses["Webhook"]) == "completion received"


def test_a_completion_is_told_as_the_window_it_lies_in(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.complete("FT-1", minutes=10)
    view = verdicts.order_view(store, number, history.at)
    assert view.verdict == "Completed 10 s to 11 min after it was placed."
    assert "Previous poll, 10:00:10: still open." in view.evidence


def test_an_answer_to_the_post_is_called_no_poll(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.accept("FT-1")
    history.wait(minutes=10)
    history.look("FT-1", "Completed")
    evidence = verdicts.order_view(store, number, history.at).evidence
    assert any("Confirmed by poll 1" in piece for piece in evidence)
    assert not any("Previous poll" in piece for piece in evidence)
    assert any("no poll found it open" in piece for piece in evidence)


def test_a_look_after_the_end_is_not_the_one_that_found_it(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.complete("FT-1", minutes=10)
    assert "Confirmed by poll 2 at 10:10:10 (1 of 1 card)." in (verdicts.order_view(store, number, history.at).evidence)
    history.wait(minutes=5)
    history.look("FT-1", "Completed")
    said = "Confirmed by a poll at 10:10:10 (1 of 1 card). Still so in the last of 3 polls, at 10:15:10."
    assert said in verdicts.order_view(store, number, history.at).evidence
    history.wait(minutes=5)
    history.look("FT-1", "Pending")
    said = "Confirmed by a poll at 10:10:10. By the last of 4 polls, at 10:20:10: 1 of 1 card"
    assert any(piece.startswith(said) for piece in verdicts.order_view(store, number, history.at).evidence)


def test_cards_that_are_on_their_way_are_told_of_a_completed_order(history: History, store: Database) -> None:
    number = history.place("FT-1", lines=2)
    history.complete("FT-1", minutes=10)
    with_status = LINES.update().where(LINES.c.order_id == number, LINES.c.number == 1)
    store.write(lambda connection: connection.execute(with_status.values(status="SentToFulfillment", quantity=3)))
    view = verdicts.order_view(store, number, history.at)
    assert view.verdict == "Completed 10 s to 11 min after it was placed; 3 cards handed over, not shipped yet."
    assert any("complete while these are in transit" in piece for piece in view.evidence)


def test_an_order_found_finished_is_not_given_a_time_it_took(history: History, store: Database) -> None:
    history.find_finished("FOUND-1")
    number = find_order_id(store, "FOUND-1")
    assert number is not None
    assert verdicts.order_view(store, number, history.at).verdict.startswith(
        "Completed some time before our first poll"
    )


def test_an_unknown_outcome_names_its_one_safe_action(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.lose("FT-1")
    view = verdicts.order_view(store, number, history.at)
    assert view.verdict == "Unconfirmed: sent without an answer. The provider may or may not have the order."
    assert view.allowed["resend"] is None
    assert view.allowed["check"] is not None
    assert story.timeline(store, number, history.at)[-1].text == "Resend under the same PO number"


def test_what_people_write_is_part_of_the_story(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.refuse("FT-1")
    store.write(
        lambda connection: ingest.record_note(
            connection, number, text="called them", actor="Bea", now=history.at, acknowledges=True
        )
    )
    view = verdicts.order_view(store, number, history.at)
    assert (str(view.statuses["Our status"]), view.decision) == (
        "acknowledged",
        f"Acknowledged by Bea, {clock(history.at, history.at)}: called them",
    )
    assert story.timeline(store, number, history.at)[-1].text == "Acknowledged by Bea: called them"


def test_lines_come_in_pages_with_their_progress(history: History, store: Database) -> None:
    number = history.place("BULK-1", lines=250)
    history.complete("BULK-1")
    assert lines_page(store, number, page=3)["number"].tolist() == list(range(201, 251))
    progress = line_progress(store, number)
    assert progress.to_dict("records") == [{"status": "Completed", "lines": 250, "cards": 250}]


def test_slow_orders_are_compared_with_their_like(history: History, store: Database) -> None:
    for number in range(30):
        name = f"PAST-{number}"
        history.place(name)
        history.complete(name, minutes=5)
    number = history.place("SLOW-1")
    history.accept("SLOW-1")
    history.wait(hours=1)
    asyncio.run(Learner(store, Forecasts(), lambda: history.at, learns=True).refit())
    expected, limit = verdicts.order_view(store, number, history.at).evidence[:2]
    assert re.match(r"No estimate: hardly any similar order took this long and completed\. Slower than 9\d %", expected)
    assert expected.endswith("Based on 30 completed orders (links, 1 card).")
    assert re.match(r"Late from an age of \d+ min( \d+ s)?: 99 % of 30 completed orders took less", limit)


def test_where_nothing_like_it_has_finished_it_is_said_how_many_are_needed(history: History, store: Database) -> None:
    number = history.place("FIRST-1")
    history.accept("FIRST-1")
    history.wait(seconds=5)
    told = verdicts.order_view(store, number, history.at).evidence[0]
    assert told == (
        "No estimate: not enough history, 0 of 30 completed orders (links, 1 card). "
        "Orders already complete when first seen do not count."
    )


def test_every_event_can_be_paged(history: History, store: Database) -> None:
    number = history.place("FT-1")
    history.complete("FT-1")
    newest = story.all_events(store, number, 1, 2)
    older = story.all_events(store, number, 2, 2)
    assert [row.seq for row in newest + older] == [5, 4, 3, 2]


# Activity


def test_callbacks_are_told_apart(history: History, store: Database) -> None:
    history.place("FT-1")
    history.accept("FT-1")
    history.announce("FT-1", times=2)
    history.announce("NOT-YET")
    store.write(lambda connection: inbox.record_refusal(connection, {"reason": "wrong secret", "size": 3}, history.at))
    found = {
        outcome: activity.webhook_calls(store, outcome=outcome)
        for outcome in ("accepted", "repeated", "waiting", "refused")
    }
    assert found["accepted"]["po_number"].tolist() == ["FT-1"]
    assert found["repeated"]["repeats"].tolist() == [1]
    assert found["waiting"]["po_number"].tolist() == ["NOT-YET"]
    assert found["refused"]["reason"].tolist() == ["wrong secret"]
    assert len(activity.webhook_calls(store)) == 3


def test_calls_can_be_narrowed_to_failures(history: History, store: Database) -> None:
    number = history.place("FT-1")
    call = {"at": START, "method": "GET", "path": "/v1/Orders/1", "milliseconds": 5, "request": None, "answer": "{}"}
    rows = [
        call | {"status": 200, "outcome": "ok", "order_id": number},
        call | {"status": None, "outcome": "timeout", "order_id": None},
    ]
    store.write(lambda connection: call_log.store_api_calls(connection, rows))
    assert len(activity.provider_calls(store)) == 2
    assert activity.provider_calls(store, failed=True)["outcome"].tolist() == ["timeout"]
    assert [call["outcome"] for call in api_calls(store, number)] == ["ok"]


def test_events_since_a_time_come_newest_first(history: History, store: Database) -> None:
    history.place("FT-1")
    history.complete("FT-1")
    found = activity.events(store, START + timedelta(seconds=1), 10)
    assert [event["kind"] for event in found] == ["completed", "still open"]
    assert [event["kind"] for event in activity.events(store, kinds=["requested"])] == ["requested"]


def test_the_command_line_lists_orders_without_lines(history: History, store: Database) -> None:
    busy(history)
    records = search.order_records(store, Filters(states=("Pending",)), history.at)
    assert [record["po_number"] for record in records] == ["OPEN-1"]
    assert "lines" not in records[0]


# Words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (59, "59 s"), (3120, "52 min"), (11_100, "3 h 5 min"), (100_000, "1 d 3 h")],
)
def test_lengths_of_time_in_words(seconds: int, said: str) -> None:
    assert duration(timedelta(seconds=seconds)) == said


def test_amounts_and_times_in_words() -> None:
    assert money(123_456_789, "USD") == "1,234,567.89 USD"
    assert money(-150, None) == "-1.50 (currency unknown)"
    assert [money(123_456_700, code) for code in ("JPY", "KWD")] == ["1,234,567 JPY", "1,234,567.000 KWD"]
    assert (money(150, "JPY"), amount(1250, "KWD"), amount(1250)) == ("1.50 JPY", "12.500", "12.50")
    assert clock(START, START) == "10:00:00"
    assert clock(START) == "2026-03-04 10:00:00"


def test_nothing_collapses_to_nothing() -> None:
    assert merge_repeats([]) == []


def test_a_line_knows_what_is_masked(history: History, store: Database) -> None:
    number = history.place("FT-1", recipient="+15550001234")
    assert lines_page(store, number)["recipient"].tolist() == ["+1***34"]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (None, "before 10:00:00"),
        (timedelta(seconds=60), "10:00:00"),
        (timedelta(minutes=61), "08:59 to 10:00"),
        (timedelta(hours=11), "2026-03-03 23:00 to 2026-03-04 10:00"),
    ],
)
def test_a_window_is_as_wide_as_what_is_not_known(after: timedelta | None, said: str) -> None:
    assert window(None if after is None else START - after, START, START) == said


def test_a_window_of_another_day_says_which() -> None:
    assert window(START - timedelta(hours=1), START, START + timedelta(days=1)) == "2026-03-04 09:00 to 10:00"


def test_the_list_says_no_more_of_a_completion_than_is_known(history: History, store: Database) -> None:
    busy(history)
    history.place("GONE-1")
    history.accept("GONE-1")
    history.look("GONE-1", "Cancelled")
    rows = search.orders_page(store, Filters(), history.at).rows.set_index("po_number")
    shown = rows["completion"].to_dict()
    assert (shown["DONE-1"], shown["FOUND-1"]) == ("10:00 to 10:11", "before 10:10:10")
    assert {shown[name] for name in ("OPEN-1", "REFUSED-1", "GONE-1")} == {""}
