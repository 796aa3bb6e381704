"""What leaves the store, what stays of it, and that it is verified: on both engines."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from histories import PLANNER, History

from tracking import ingest
from tracking.provider.call_log import calls_complete_since
from tracking.provider.webhook_bodies import WebhookCall
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import examine, verify
from tracking.storage.retention import removal
from tracking.storage.retention.lease import count_removed, take_lease
from tracking.storage.retention.removal import remove_old
from tracking.storage.retention.tables import CHECKPOINTS
from tracking.storage.search.tables import SEARCH_TEXTS
from tracking.storage.tables import CALLBACKS, CLAIMS, COUNTERS, EVENTS, EXCHANGES, LINES, ORDERS, OUTBOX, PREDICTIONS

LEFT = (LINES, CLAIMS, OUTBOX, CALLBACKS, PREDICTIONS, EXCHANGES)


@pytest.fixture
def past(store: Database) -> History:
    """Two completed orders, one of them with a webhook, one that is open, and then half a year."""
    history = History(store)
    for po_number in ("po-1", "po-2"):
        history.place(po_number, lines=3, recipient=f"{po_number}@example.com")
        history.complete(po_number)
    history.announce("po-2")
    call: dict[str, Any] = {"at": history.at, "method": "GET", "path": "/v1/Orders/BLK-1", "outcome": "ok"}
    history.database.write(lambda connection: connection.execute(sa.insert(EXCHANGES), call | {"order_id": 1}))
    history.place("po-3")
    history.accept("po-3")
    history.wait(days=180)
    follow(history, "po-1", "po-2")
    assert verify(history.database) == []
    return history


def follow(history: History, *po_numbers: str) -> None:
    """The last look, after which their lines are followed no more."""
    for po_number in po_numbers:
        history.look(po_number, "Completed")


def remove_all(history: History, before: datetime | None = None) -> int:
    """Step by step all that may leave; returns in how many steps."""
    for steps in range(1, 1000):
        step = history.database.write(lambda connection: remove_old(connection, before or history.at, history.at))
        if not step.anything:
            return steps
    raise AssertionError("it does not end")


def rows(history: History, table: Any, order_id: int) -> int:
    key = table.c.id if table is ORDERS else table.c.order_id
    with history.database.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).where(key == order_id)).scalar_one())


def stored_texts(connection: sa.Connection) -> list[Any]:
    return list(connection.execute(sa.select(SEARCH_TEXTS)))


def order(history: History, po_number: str) -> Any:
    with history.database.read() as connection:
        return connection.execute(sa.select(ORDERS).where(ORDERS.c.po_number == po_number)).mappings().one()


def test_the_log_of_a_finished_order_leaves_and_its_facts_stay(past: History) -> None:
    before = order(past, "po-1")
    heads = examine(past.database).head
    remove_all(past)
    after = order(past, "po-1")
    gone = {"events_removed": before["event_count"], "document": None}
    assert dict(after) == dict(before) | gone
    assert [rows(past, table, 1) + rows(past, table, 2) for table in (EVENTS, *LEFT)] == [0] * 7
    assert rows(past, LINES, 3) == rows(past, OUTBOX, 3) == 1
    with past.database.read() as connection:
        found_by = {row.order_id: row.words + row.people for row in stored_texts(connection)}
    assert ("po-1" in found_by[1], "example.com" in "".join(found_by.values())) == (True, False)
    assert verify(past.database) == []
    assert examine(past.database, expected=heads).differences == []


def test_calls_that_left_with_their_order_are_not_taken_for_calls_that_were_never_made(past: History) -> None:
    old, new = past.at - timedelta(days=100), past.at - timedelta(days=90)
    calls = [
        {"at": at, "method": "GET", "path": "/v1/Orders", "outcome": "ok", "milliseconds": 1, "order_id": order_id}
        for at, order_id in ((past.at - timedelta(days=170), 3), (old, 2), (new, 3))
    ]
    past.database.write(lambda connection: connection.execute(sa.insert(EXCHANGES), calls))
    with past.database.read() as connection:
        assert calls_complete_since(connection) != old

    def step(connection: sa.Connection) -> bool:
        so_far = take_lease(connection, "console", past.at) or {}
        removed = remove_old(connection, past.at, past.at)
        count_removed(connection, so_far, removed, past.at)
        return removed.anything

    while past.database.write(step):
        pass
    with past.database.read() as connection:
        assert calls_complete_since(connection) == old


def test_what_is_young_open_unsettled_or_unfinished_stays(past: History) -> None:
    past.wait(days=1)
    past.place("po-4")
    past.complete("po-4")
    past.place("po-5")
    past.accept("po-5")
    past.look("po-5", "Cancelled")
    remove_all(past, past.at - timedelta(hours=1))
    assert [order(past, f"po-{number}")["events_removed"] > 0 for number in range(1, 6)] == [True, True] + [False] * 3
    past.wait(days=1)
    past.database.write(lambda connection: connection.execute(sa.update(LINES).values(status="SentToFulfillment")))
    remove_all(past)
    assert order(past, "po-4")["events_removed"] == 0
    past.acknowledge("po-5", "done")
    past.database.write(lambda connection: connection.execute(sa.update(LINES).values(status="Completed")))


def test_large_orders_leave_in_bounded_steps_and_verify_holds_after_each(
    past: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", 4)
    for _ in range(100):
        step = past.database.write(lambda connection: remove_old(connection, past.at, past.at))
        assert step.rows <= 5
        assert verify(past.database) == []
        if not step.anything:
            break
    assert [rows(past, table, 1) + rows(past, table, 2) for table in (EVENTS, *LEFT)] == [0] * 7


@pytest.mark.parametrize(
    ("tampered", "words"),
    [
        (sa.update(ORDERS).values(state="Cancelled"), "its checkpoint does not fit"),
        (sa.update(ORDERS).values(value_minor=1), "its checkpoint does not fit"),
        (sa.update(ORDERS).values(head="0" * 64), "its checkpoint does not fit"),
        (sa.update(ORDERS).values(events_removed=2), "event 3 does not fit"),
        (sa.update(ORDERS).values(events_removed=0), "event 1 does not fit"),
        (sa.update(CHECKPOINTS).values(movements=[]), "its checkpoint does not fit"),
        (sa.delete(CHECKPOINTS), "no checkpoint"),
        (sa.update(COUNTERS).where(COUNTERS.c.state == "Completed").values(orders=7), "counter"),
    ],
)
def test_what_was_changed_by_hand_of_an_archived_order_is_named(past: History, tampered: Any, words: str) -> None:
    remove_all(past)
    key = {"orders": ORDERS.c.id, "checkpoints": CHECKPOINTS.c.order_id}.get(tampered.table.name)
    statement = tampered if key is None else tampered.where(key == 1)
    past.database.write(lambda connection: connection.execute(statement))
    assert any(words in each for each in verify(past.database))


def test_an_order_that_does_not_agree_with_its_log_stays(past: History) -> None:
    spoilt = sa.update(EVENTS).where(EVENTS.c.order_id == 1, EVENTS.c.seq == 2).values(kind="x")
    past.database.write(lambda connection: connection.execute(spoilt))
    step = past.database.write(lambda connection: remove_old(connection, past.at, past.at))
    assert (step.orders, step.unsound) == (1, 1)
    assert order(past, "po-1")["events_removed"] == 0


def test_what_comes_later_goes_on_from_the_checkpoint(past: History) -> None:
    remove_all(past)
    seq = order(past, "po-1")["event_count"]
    for stamp in ("a", "a", "b"):
        call = WebhookCall("FulfillmentComplete", None, "po-1", past.at, f"digest-{stamp}")
        past.database.write(partial(ingest.receive_webhook, call=call, size=9, now=past.at, planner=PLANNER))
    past.numbers["po-1"] = 1
    past.look("po-1", "Completed")
    past.acknowledge("po-2", "seen")
    past.look("po-2", "Processing")
    assert verify(past.database) == []
    assert rows(past, LINES, 1) == 0
    late = order(past, "po-1")
    assert (late["state"], late["document"], late["event_count"] - seq) == ("Completed", None, 3)
    flagged = order(past, "po-2")
    assert (flagged["state"], flagged["attention_reason"]) == ("Completed", "changed after end")
    facts = sa.update(CHECKPOINTS).values(facts={"state": "Completed"})
    past.wait(days=180)
    past.acknowledge("po-2", "refunded")
    past.wait(days=180)
    remove_all(past)
    assert verify(past.database) == []
    assert order(past, "po-1")["events_removed"] == late["event_count"]
    past.database.write(lambda connection: connection.execute(facts))
    assert sum("its checkpoint does not fit" in each for each in verify(past.database)) == 2


def test_what_comes_while_a_log_leaves_stays(past: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", 4)
    before = past.at
    past.database.write(lambda connection: remove_old(connection, before, past.at))
    assert order(past, "po-1")["events_removed"] > 0 < rows(past, LINES, 1)
    past.wait(seconds=1)
    past.announce("po-1")
    call: dict[str, Any] = {"at": past.at, "method": "GET", "path": "/v1/Orders/BLK-1", "outcome": "ok"}
    past.database.write(lambda connection: connection.execute(sa.insert(EXCHANGES), call | {"order_id": 1}))
    remove_all(past, before)
    assert [rows(past, table, 1) for table in (EVENTS, CALLBACKS, EXCHANGES, LINES)] == [1, 1, 1, 0]
    assert verify(past.database) == []
    past.wait(days=1)
    past.find_open("elsewhere")
    remove_all(past)
    assert [rows(past, table, 1) for table in (EVENTS, CALLBACKS, EXCHANGES)] == [0] * 3
    assert verify(past.database) == []
