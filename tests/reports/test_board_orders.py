"""What the overview says of orders: decisions by reason, open orders against expectation, times, latest changes."""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from histories import START, History

from tracking import ingest
from tracking.access import Person
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Line, Snapshot
from tracking.polling.learner import Learner
from tracking.provider.responses import ParsedOrder
from tracking.reports.board import changes, decisions, expectation
from tracking.reports.board import completion_times as times_module
from tracking.reports.board.completion_times import completion_times
from tracking.storage.database import Database
from tracking.team import work


def discover(history: History, database: Database, planner: PlanningContext, po_number: str, **age: float) -> None:
    """A list shows an open order from elsewhere that was made so long ago."""
    line = Line(1, "CVS", 500, 1, "Pending", 0)
    snapshot = Snapshot(f"OUT-{po_number}", po_number, "Pending", "Links", history.at - timedelta(**age), (line,))
    shown = ParsedOrder(snapshot, {}, f"digest-{po_number}")
    database.write(lambda connection: ingest.discover(connection, shown, history.at, history.at, planner))


def learn(database: Database, planner: PlanningContext, now: datetime) -> None:
    """Fit the curves from what is in the store, as the loop does."""
    asyncio.run(Learner(database, planner.forecasts, lambda: now, learns=True).refit())


def test_decisions_are_grouped_by_reason_with_count_oldest_and_value(history: History, store: Database) -> None:
    for name, value in (("R-1", 1000), ("R-2", 2500), ("C-1", 500)):
        history.place(name, value=value)
    history.refuse("R-1")
    history.wait(minutes=5)
    history.refuse("R-2")
    history.accept("C-1")
    history.look("C-1", "Cancelled")
    found = decisions.decisions(store, history.at)
    assert [(group.reason, group.orders, group.values) for group in found.groups] == [
        ("refused", 2, {"": 3500}),
        ("cancelled", 1, {"": 500}),
    ]
    assert found.groups[0].oldest.created_at == START
    assert (found.total, found.capped) == (3, False)
    assert [(order.po_number, order.reason) for order in found.oldest][-1] == ("C-1", "cancelled")
    history.acknowledge("C-1", "customer told")
    assert [group.reason for group in decisions.decisions(store, history.at).groups] == ["refused"]


def test_of_very_many_decisions_the_oldest_and_the_newest_are_grouped(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "ORDERS_READ", 2)
    for number in range(3):
        history.place(f"R-{number}")
        history.refuse(f"R-{number}")
        history.wait(minutes=1)
    found = decisions.decisions(store, history.at)
    assert (found.total, found.capped, found.groups[0].orders, found.groups[0].oldest.created_at) == (3, True, 2, START)


def test_open_orders_are_compared_with_those_of_their_class(
    history: History, store: Database, planner: PlanningContext
) -> None:
    for number in range(40):
        history.place(f"DONE-{number}")
        history.complete(f"DONE-{number}", minutes=1 + number)
        history.wait(seconds=1)
    history.place("LARGE", lines=4)
    history.accept("LARGE")
    history.place("OPEN")
    history.accept("OPEN")
    history.place("QUEUED")
    history.wait(days=2)
    learn(store, planner, history.at)
    seen = expectation.open_orders(store, history.at)
    shown = {order.po_number: order for order in seen.orders}
    assert (seen.open, seen.waiting, seen.complete) == (3, 1, True)
    assert (shown["OPEN"].age, shown["OPEN"].class_name, shown["OPEN"].late) == (timedelta(days=2), "Links/1", True)
    assert shown["OPEN"].slower_than == pytest.approx(1.0)
    assert shown["LARGE"].slower_than is not None  # by the times of the nearest size
    assert not shown["OPEN"].asleep
    work.snooze(store, "OPEN", None, by=Person("Ann"), now=history.at)
    assert {order.po_number for order in expectation.open_orders(store, history.at).orders if order.asleep} == {"OPEN"}


def test_without_enough_history_an_open_order_has_no_percentile(history: History, store: Database) -> None:
    history.place("OPEN")
    history.accept("OPEN")
    [only] = expectation.open_orders(store, history.at).orders
    assert only.slower_than is None


def test_of_very_many_open_orders_the_most_overdue_and_the_newest_are_read(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectation, "MOST_OVERDUE", 1)
    monkeypatch.setattr(expectation, "NEWEST", 1)
    for number in range(4):
        history.place(f"OPEN-{number}")
        history.accept(f"OPEN-{number}")
        history.wait(minutes=1)
    seen = expectation.open_orders(store, history.at)
    assert [order.po_number for order in seen.orders] == ["OPEN-0", "OPEN-3"]
    assert (seen.open, seen.complete) == (4, False)


def test_completion_times_are_told_by_type_and_only_of_orders_seen_open_before(
    history: History, store: Database
) -> None:
    for number, minutes in enumerate((1, 2, 9)):
        history.place(f"DONE-{number}")
        history.complete(f"DONE-{number}", minutes=minutes)
    history.find_finished("FOUND-1")
    took = completion_times(store, history.at, "24h")
    assert list(took.by_type) == ["Links"]
    links = took.by_type["Links"]
    assert (links.orders, links.p50, links.p95) == (3, timedelta(seconds=130), timedelta(seconds=550))
    assert links.rows["orders"].sum() == 3
    assert not completion_times(store, history.at + timedelta(days=3), "24h").by_type


def test_of_each_hour_so_many_completions_are_read_and_that_is_told(
    history: History, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        history.place(f"DONE-{number}")
        history.complete(f"DONE-{number}", minutes=1)
    assert completion_times(store, history.at, "24h").newest is None
    monkeypatch.setattr(times_module, "COMPLETIONS_READ", 24 * 2)
    took = completion_times(store, history.at, "24h")
    assert (took.newest, took.by_type["Links"].orders) == (2, 2)
    history.wait(hours=1)
    history.place("DONE-9")
    history.complete("DONE-9", minutes=1)
    took = completion_times(store, history.at, "24h")
    assert took.by_type["Links"].rows["orders"].tolist() == [2, 1]
    assert completion_times(store, history.at, "7d").by_type["Links"].orders == 4


def test_half_and_95_of_100_are_times_that_so_many_kept(history: History, store: Database) -> None:
    for number in range(20):
        history.place(f"A-{number}")
        history.complete(f"A-{number}", minutes=number + 1)
    took = completion_times(store, history.at, "24h").by_type["Links"]
    lengths = [timedelta(minutes=number + 1, seconds=10) for number in range(20)]
    assert sum(length <= took.p50 for length in lengths) >= 10
    assert sum(length <= took.p95 for length in lengths) >= 19
    assert {took.p50, took.p95} <= set(lengths)


def test_latest_changes_name_each_order_once_with_its_state(history: History, store: Database) -> None:
    for name in ("DONE-1", "REFUSED-1"):
        history.place(name)
    history.complete("DONE-1")
    history.refuse("REFUSED-1")
    found = changes.latest_changes(store)
    assert [(change.po_number, change.state) for change in found] == [("REFUSED-1", "Refused"), ("DONE-1", "Completed")]
    assert found[0].key != found[1].key
    history.wait(hours=1)
    history.acknowledge("DONE-1", "customer told")
    assert changes.latest_changes(store) == found, "a note changes no state"
    history.place("OPEN-1")
    history.accept("OPEN-1")
    history.announce("OPEN-1")
    claim = changes.latest_changes(store)[0]
    assert (claim.po_number, claim.state, claim.entry.kind) == ("OPEN-1", None, "notice claimed")


def test_history_read_in_does_not_fill_the_latest_changes(
    history: History, store: Database, planner: PlanningContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "EVENTS_READ", 5)
    history.place("OURS")
    history.wait(seconds=1)
    for age in range(8):
        discover(history, store, planner, f"OLD-{age}", days=2 + age)
    discover(history, store, planner, "NEW", minutes=1)
    assert [change.po_number for change in changes.latest_changes(store)] == ["NEW", "OURS"]


def test_of_changes_of_one_moment_the_newest_order_stands_first(
    history: History, store: Database, planner: PlanningContext
) -> None:
    """A page of the list comes newest first and is learned at one moment; what came before may be stored later."""
    for age in (50, 10, 30):
        discover(history, store, planner, f"AGE-{age}", minutes=age)
    history.at -= timedelta(hours=5)
    history.place("BEFORE")
    assert [change.po_number for change in changes.latest_changes(store)] == ["AGE-10", "AGE-30", "AGE-50", "BEFORE"]


def test_the_reads_go_through_indexes(sqlite_url: str) -> None:
    from tracking.storage.database import connect  # noqa: PLC0415 - only this test needs SQLite's own plan

    opened = connect(sqlite_url)
    statements: list[tuple[Any, Any]] = []
    sa.event.listen(opened._readers, "before_cursor_execute", lambda *call: statements.append(call[2:4]))
    reads = partial(decisions.decisions, now=START), changes.latest_changes, partial(expectation.open_orders, now=START)
    for read in (*reads, partial(completion_times, now=START, span="24h")):
        read(opened)
    with opened.read() as connection:
        plans = [
            row[3]
            for statement, values in tuple(statements)
            if "orders" in statement or "events" in statement
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
        ]
    opened.close()
    text = "\n".join(plans)
    # What stands in parentheses are the newest events, of which there are so many as are asked for.
    walks = {plan.rstrip("0123456789") for plan in plans if plan.startswith("SCAN") and "USING" not in plan}
    assert walks == {"SCAN anon_"}
    for index in ("ix_orders_flagged", "ix_orders_open", "ix_orders_following", "ix_events_learned", "ix_events_kind"):
        assert index in text
