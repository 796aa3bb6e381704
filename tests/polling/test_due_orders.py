"""What could be looked at now: which orders, what each has accrued, and in what order they go."""

from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fakes import order_json

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.orders.vocabulary import PollReason
from tracking.polling import due_orders
from tracking.polling.due_orders import (
    FOLLOW_PATIENCE,
    DueOrders,
    _statements,
    creation_times,
    find_due_orders,
)
from tracking.polling.selection import select_calls
from tracking.provider.responses import read_order
from tracking.storage.database import Database, connect
from tracking.storage.tables import ORDERS

PRICE = 10.0
FAR = timedelta(hours=1)
INDEXES = ("ix_orders_following", "ix_orders_urgent", "ix_orders_due", "ix_orders_due", "ix_orders_urgent")


class Field:
    """Orders placed elsewhere, none of them due for an hour, and the survey of them."""

    def __init__(self, store: Database, planner: PlanningContext, now: datetime) -> None:
        self.store, self.planner, self.now = store, planner, now

    def order(self, number: int, age: float, status: str = "Pending", **columns: Any) -> int:
        created = self.now - timedelta(seconds=age)
        raw = order_json(f"BLK-{number}", f"po-{number}", status, created_at=created)

        def job(connection: sa.Connection) -> int:
            ingest.discover(connection, read_order(raw), created, created, self.planner)
            where = ORDERS.c.po_number == f"po-{number}"
            values = {"next_look_at": self.now + FAR, "last_look_at": created} | columns
            connection.execute(sa.update(ORDERS).where(where).values(values))
            return int(connection.execute(sa.select(ORDERS.c.id).where(where)).scalar_one())

        return self.store.write(job)

    def seen(self, after: float = 0, price: float = PRICE, counted_on: float = 0.0) -> DueOrders:
        with self.store.read() as connection:
            return find_due_orders(
                connection, self.planner.forecasts, self.now + timedelta(seconds=after), 1.0, price, counted_on
            )


@pytest.fixture
def field(store: Database, planner: PlanningContext, now: datetime) -> Field:
    return Field(store, planner, now)


def test_an_empty_store_has_nothing_to_look_at(field: Field) -> None:
    seen = field.seen()
    assert (len(seen.candidates), seen.lag) == (0, 0.0)


def test_open_orders_are_listed_by_when_the_provider_made_them(field: Field) -> None:
    young, old = field.order(1, 60), field.order(2, 600)
    seen = field.seen()
    assert list(seen.ids) == [old, young]
    assert list(seen.ages) == pytest.approx([600, 60], abs=0.01)
    assert not seen.candidates.due.any()


def test_what_has_accrued_is_counted_from_the_last_look(field: Field, now: datetime) -> None:
    field.order(1, 100)
    field.order(2, 100, last_look_at=now - timedelta(seconds=20))
    forecast = field.planner.forecasts.for_order("Links", 1)
    expected = forecast.delay_cost.cost_between(np.array([0.0, 80.0]), np.array([100.0, 100.0]))
    seen = field.seen()
    assert sorted(seen.candidates.single_worth) == pytest.approx(sorted(expected), rel=1e-3)


def test_orders_that_somebody_holds_are_left_out_until_the_lease_ends(field: Field, now: datetime) -> None:
    field.order(1, 60, lease_owner="a", lease_until=now + timedelta(seconds=30))
    assert len(field.seen().ids) == 0
    assert len(field.seen(after=30).ids) == 1


def test_finished_orders_are_followed_when_that_is_due_and_not_before(field: Field, now: datetime) -> None:
    followed = field.order(1, 600, "Completed", next_look_at=now + timedelta(seconds=10))
    field.order(2, 600, "Completed", next_look_at=None)
    assert len(field.seen().ids) == 0
    patience = 610 * FOLLOW_PATIENCE
    seen = field.seen(after=15)
    assert list(seen.ids) == [followed]
    assert (seen.candidates.single_worth[0], seen.candidates.due[0]) == (
        pytest.approx(PRICE * 5 / patience, rel=1e-3),
        False,
    )
    assert seen.lag == 0
    seen = field.seen(after=10 + patience + 5)
    assert (seen.candidates.single_worth[0], seen.candidates.due[0]) == (0.0, True)
    assert seen.lag == pytest.approx(patience + 5, abs=0.01)


def test_finished_orders_wait_a_while_to_share_the_page_that_follows_them(field: Field, now: datetime) -> None:
    for number in range(10):
        field.order(number, 600 - number, "Completed", next_look_at=now + timedelta(seconds=number))
    calls = {after: chosen(field.seen(after=after)) for after in (9, 20, 30)}
    assert calls == {9: [], 20: [10], 30: [10]}


@pytest.mark.parametrize("columns", [{"next_look_why": PollReason.REQUESTED.value}, {"failures": 1}])
def test_a_finished_order_that_was_asked_for_or_failed_does_not_wait(
    field: Field, now: datetime, columns: dict[str, Any]
) -> None:
    field.order(1, 600, "Completed", next_look_at=now, **columns)
    assert list(field.seen(after=1).candidates.due) == [True]


def chosen(seen: DueOrders) -> list[int]:
    """How many orders each call is for that is worth making."""
    calls = select_calls(seen.candidates, PRICE, 5, lambda first, last, limit: seen.candidates.created[:limit])
    return [len(call) for call in calls]


def test_an_order_is_not_looked_at_again_within_the_floor_nor_after_a_failure(field: Field, now: datetime) -> None:
    field.order(1, 60, last_look_at=now - timedelta(seconds=0.5))
    field.order(2, 60, failures=2)
    assert list(field.seen().candidates.single_worth) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("columns", "urgent"),
    [
        ({"notice": "claimed"}, True),
        ({"next_look_why": PollReason.REQUESTED.value}, True),
        ({}, False),
    ],
)
def test_what_is_announced_or_asked_for_goes_first(
    field: Field, now: datetime, columns: dict[str, Any], urgent: bool
) -> None:
    field.order(1, 60, next_look_at=now, **columns)
    assert list(field.seen().candidates.urgent) == [urgent]


@pytest.mark.parametrize(
    "columns", [{"provider_created_at": None}, {"line_count": 101}, {"provider_status": "Completed"}]
)
def test_orders_that_a_page_cannot_settle_are_not_listed(field: Field, columns: dict[str, Any]) -> None:
    field.order(1, 60, **columns)
    seen = field.seen()
    assert np.isnan(seen.candidates.list_worth).all()
    assert seen.candidates.single_worth[0] > 0


def test_a_webhook_that_may_come_makes_a_look_less_worth_it_for_orders_of_ours_alone(field: Field) -> None:
    field.order(1, 60)
    field.order(2, 60, submission="accepted")
    plain = field.seen().candidates.single_worth.copy()
    seen = field.seen(counted_on=0.9)
    ours = seen.webhook_expected
    assert ours.sum() == 1
    assert seen.candidates.single_worth[ours] == pytest.approx(plain[ours] * 0.1)
    assert seen.candidates.single_worth[~ours] == pytest.approx(plain[~ours])


def test_a_list_that_proves_nothing_costs_another_call_for_what_has_finished(field: Field) -> None:
    field.order(1, 60)
    proving = field.seen(price=1.0)
    assert proving.candidates.list_worth == pytest.approx(proving.candidates.single_worth)
    field.planner.forecasts.unproven_share = 1.0
    seen = field.seen(price=1.0)
    still_open = field.planner.forecasts.for_order("Links", 1).curve.at(seen.ages)
    assert seen.candidates.list_worth == pytest.approx(seen.candidates.single_worth - (1 - still_open))


def test_a_clock_that_was_set_back_makes_no_order_worth_a_look_each_second(field: Field) -> None:
    field.order(1, -3600, last_look_at=field.now + timedelta(hours=1))
    seen = field.seen()
    assert seen.ages[0] == pytest.approx(3600, abs=0.01)
    assert seen.candidates.single_worth[0] >= 0


def test_finished_orders_count_among_those_created_in_a_time(field: Field, now: datetime) -> None:
    for number in range(3):
        field.order(number, 60 + number, "Completed" if number else "Pending")
    at = now.timestamp()
    with field.store.read() as connection:
        assert list(creation_times(connection, at - 61.5, at, 10)) == pytest.approx([at - 61, at - 60], abs=0.01)
        assert len(creation_times(connection, 0.0, at, 2)) == 2


def test_open_orders_are_read_through_an_index_and_not_among_all(tmp_path: Path) -> None:
    opened = connect(f"sqlite:///{tmp_path}/plan.db")
    with opened.read() as connection:
        for each, index in zip(_statements("sqlite"), INDEXES, strict=True):
            said = each.compile(connection)
            values = [said.params[name] if name != "now" else "2026-11-24" for name in said.positiontup or ()]
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", tuple(values)).all())
            assert index in plan
    opened.close()


def test_where_more_are_open_than_are_read_those_come_that_were_announced_asked_for_or_planned_first(
    field: Field, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_orders, "OPEN_READ", 3)
    monkeypatch.setattr(due_orders, "FINISHED_READ", 1)
    planned = [field.order(number, 60, next_look_at=now + timedelta(seconds=number - 4)) for number in range(8)]
    announced = field.order(10, 60, next_look_at=now, notice="claimed")
    asked_for = field.order(11, 60, next_look_at=now, next_look_why=PollReason.REQUESTED)
    accepted = field.order(9, 60, next_look_at=now, state="Accepted")
    field.order(12, 60, notice="claimed")  # its poll is to wait for an hour, as there was one just now
    field.order(13, 600, "Completed", next_look_at=now - FAR)
    followed = field.order(14, 600, "Completed", next_look_at=now, next_look_why=PollReason.REQUESTED)
    seen = field.seen()
    assert {announced, asked_for, accepted, followed, *planned[:3]} <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids)) == 8
    assert seen.left_out == 12 - 3
    # Who was polled comes again after all others, so that each one's turn comes.
    turns = set[int]()
    for number in range(5):
        turns |= (read := set(map(int, field.seen().ids)))
        later = sa.update(ORDERS).where(ORDERS.c.id.in_(read)).values(next_look_at=now + timedelta(minutes=1 + number))
        field.store.write(partial(_execute, statement=later))
    assert set(planned) <= turns


def _execute(connection: sa.Connection, statement: sa.Executable) -> None:
    connection.execute(statement)


def test_a_store_whose_open_orders_are_all_read_leaves_none_out(
    field: Field, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due_orders, "OPEN_READ", 2)
    open_orders = [field.order(number, 60 + number) for number in range(2)]
    seen = field.seen()
    assert (sorted(seen.ids), seen.left_out) == (open_orders, 0)
