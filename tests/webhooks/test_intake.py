import random
import shutil
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import shown
from sqlalchemy import Connection

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.provider.webhook_bodies import WebhookCall
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import CALLBACKS, EVENTS, ORDERS
from tracking.webhooks import intake
from tracking.webhooks.intake import Received

NUMBERS = [f"PO-{number}" for number in range(6)]
LEFT_OUT = {"id", "head", "previous", "order_id"}  # the rows' ids, and what is hashed with each order's own salts


def call(
    po_number: str | None, digest: str, *, provider_id: str | None = None, action: str | None = None
) -> WebhookCall:
    return WebhookCall(action, provider_id, po_number, None, digest, source="127.0.0.1")


# In one job, and in this order: what is plain, and all that is not.
CALLS = (
    Received(call("PO-0", "a", provider_id="BLK-0", action="FulfillmentComplete"), 90, 1),
    Received(call("PO-1", "b"), 91, 3),  # came three times at once
    Received(call("PO-0", "c"), 92, 1),  # another call of an order that has one already
    Received(call("PO-2", "before"), 93, 2),  # came before
    Received(call("PO-2", "d"), 94, 1),  # after a repeat
    Received(call("PO-3", "e", provider_id="BLK-99"), 95, 1),  # names another order
    Received(call("unheard-of", "f"), 96, 1),
    Received(call(None, "g", provider_id="BLK-4"), 97, 1),
    Received(call("po-5", "h"), 98, 1),  # in another case
    Received(call("PO-1", "i", action="Cancelled"), 99, 1),  # no claim
)


@pytest.fixture
def together(store: Database, now: datetime) -> Database:
    return filled(store, now)


@pytest.fixture
def alone(tmp_path: Path, migrated_file: Path, now: datetime) -> Iterator[Database]:
    opened = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'alone.db')}")
    yield filled(opened, now)
    opened.close()


def filled(store: Database, now: datetime) -> Database:
    """Orders that the provider has, of which one was announced before."""
    planner = PlanningContext(Policy(timedelta(seconds=1), timedelta(seconds=900)), random.Random(1))
    for number, po_number in enumerate(NUMBERS):
        parsed = shown(f"BLK-{number}", po_number)
        for at in (now, now + timedelta(seconds=1)):
            store.write(lambda connection, parsed=parsed, at=at: ingest.discover(connection, parsed, at, at, planner))  # type: ignore[misc]  # the default binds the loop's value
    earlier = call("PO-2", "before")
    store.write(lambda connection: ingest.receive_webhook(connection, earlier, 93, now, planner))
    return store


def contents(store: Database) -> list[list[dict[str, Any]]]:
    with store.read() as connection:
        return [
            [
                {name: value for name, value in row.items() if name not in LEFT_OUT}
                for row in connection.execute(sa.select(table).order_by(*by)).mappings()
            ]
            for table, by in (
                (CALLBACKS, [CALLBACKS.c.digest]),
                (ORDERS, [ORDERS.c.id]),
                (EVENTS, [EVENTS.c.order_id, EVENTS.c.seq]),
            )
        ]


def test_calls_that_are_recorded_together_leave_what_each_of_them_leaves_alone(
    together: Database, alone: Database, planner: PlanningContext, now: datetime
) -> None:
    at = now + timedelta(minutes=1)
    outcomes = together.write(lambda connection: intake.record(connection, CALLS, at, planner))
    singly = [
        alone.write(
            lambda connection, one=one: ingest.receive_webhook(
                connection, one.call, one.size, at, planner, times=one.times
            )  # type: ignore[misc]  # the default binds the loop's value
        )
        for one in CALLS
    ]
    assert outcomes == singly
    assert outcomes == [
        *("accepted", "accepted", "accepted", "repeated", "accepted"),
        *("refused", "waiting", "accepted", "accepted", "accepted"),
    ]
    assert contents(together) == contents(alone)
    assert (verify(together), verify(alone)) == ([], [])


def test_a_batch_of_plain_calls_takes_as_many_statements_as_one(
    together: Database, planner: PlanningContext, now: datetime
) -> None:
    def statements(calls: Sequence[Received]) -> int:
        counted = []
        sa.event.listen(together._engine, "before_cursor_execute", note := lambda *_: counted.append(1))
        together.write(lambda connection: intake.record(connection, calls, now + timedelta(hours=1), planner))
        sa.event.remove(together._engine, "before_cursor_execute", note)
        return len(counted)

    one = statements([Received(call("PO-0", "one"), 90, 1)])
    assert statements([Received(call(number, f"many {number}"), 90, 1) for number in NUMBERS[1:2] + NUMBERS[3:]]) == one


def test_an_order_that_is_found_while_orders_are_saved_together_is_found_as_it_was_saved(
    together: Database, now: datetime
) -> None:
    def job(connection: Connection) -> list[int]:
        with orders.deferred_writes(connection):
            for number in range(3):
                text = f"note {number}"
                ingest.record_note(connection, order_id, text=text, actor=None, now=now, acknowledges=False)
        read = orders.find_order(connection, order_id=order_id)
        return [read.columns["event_count"]] if read else []

    with together.read() as connection:
        order_id, count = connection.execute(sa.select(ORDERS.c.id, ORDERS.c.event_count).limit(1)).one()
    assert together.write(job) == [count + 3]
    assert verify(together) == []
