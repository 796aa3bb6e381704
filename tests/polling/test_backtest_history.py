"""What is replayed must be what happened: windows, announcements, what is left out, and the calls that were made."""

import math
from datetime import datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from histories import START, History
from sqlalchemy import Connection

from tracking.orders.model import Witness
from tracking.orders.observations import Answered, Attempted
from tracking.polling.backtest import history as recorded
from tracking.polling.backtest.history import ENOUGH, RecordedHistory, read_history
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import CALLBACKS, EXCHANGES, ORDERS
from tracking.webhooks.silence_alarm import SilenceAlarm

SINCE = START - timedelta(days=1)


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One finished order is enough."""
    monkeypatch.setattr(recorded, "ENOUGH", 1)


def known(store: Database) -> RecordedHistory:
    found = read_history(store, SINCE)
    assert found is not None
    return found


def finished(found: RecordedHistory) -> datetime:
    """When the only order that finished did."""
    [at] = found.history.finished[np.isfinite(found.history.finished)]
    return datetime.fromtimestamp(at, START.tzinfo)


def state_callback(store: Database, number: int, received: datetime, stated: datetime | None = None) -> None:
    row = {"digest": f"{number} {received}", "outcome": "accepted", "received_at": received, "last_at": received}
    row |= {"order_id": number, "stated_at": stated, "size": 1, "repeats": 0, "method": "POST"}
    store.write(lambda connection: connection.execute(sa.insert(CALLBACKS), row))


def call(store: Database, at: datetime, path: str, order_id: int | None = None, method: str = "GET") -> None:
    row = {"at": at, "method": method, "path": path, "status": 200, "milliseconds": 200, "outcome": "ok"}
    row |= {"order_id": order_id, "request": None, "answer": None}
    store.write(lambda connection: connection.execute(sa.insert(EXCHANGES), row))


def test_a_finish_lies_between_the_last_look_that_said_open_and_the_first_that_said_done(
    history: History, store: Database, few: None
) -> None:
    history.place("A-1")
    history.complete("A-1", minutes=10)
    found = known(store)
    assert history.at - timedelta(minutes=10) <= finished(found) <= history.at
    assert found.finish_uncertainty == pytest.approx(600)
    assert found.history.webhook_at.tolist() == [math.inf]
    assert found.history.classes == ["Links/1"]
    assert found.mean.least == pytest.approx(0)
    assert found.mean.most == pytest.approx(600)
    assert found.mean.least <= found.mean.value <= found.mean.most
    assert found.calls is None
    assert found.calls_an_hour is None


def test_the_same_store_tells_the_same(history: History, store: Database, few: None) -> None:
    history.place("A-1")
    history.complete("A-1")
    assert finished(known(store)) == finished(known(store))


def test_a_claim_after_the_last_open_look_bounds_the_finish(history: History, store: Database, few: None) -> None:
    history.place("A-1")
    history.accept("A-1")
    history.wait(minutes=1)
    history.look("A-1", "Pending")
    open_at = history.at
    claimed = history.wait(seconds=30)
    history.announce("A-1")
    history.wait(minutes=5)
    history.look("A-1", "Completed")
    found = known(store)
    assert open_at <= finished(found) <= claimed
    assert found.history.webhook_at.tolist() == [claimed.timestamp()]
    assert found.mean.least == pytest.approx(300)


def test_a_claim_before_a_look_that_said_open_tells_nothing(history: History, store: Database, few: None) -> None:
    history.place("A-1")
    history.accept("A-1")
    history.wait(minutes=1)
    history.announce("A-1")
    open_at = history.wait(minutes=1)
    history.look("A-1", "Pending")
    history.wait(minutes=1)
    history.look("A-1", "Completed")
    found = known(store)
    assert open_at <= finished(found) <= history.at
    assert found.history.webhook_at.tolist() == [math.inf]


def test_a_callback_that_states_the_time_tells_it_to_the_second_where_that_can_be(
    history: History, store: Database, few: None
) -> None:
    number = history.place("A-1")
    history.complete("A-1", minutes=10)
    seen = history.at
    stated = (seen - timedelta(minutes=4)).replace(microsecond=0)
    state_callback(store, number, seen + timedelta(seconds=5), stated)
    found = known(store)
    assert stated <= finished(found) <= stated + timedelta(seconds=1)
    assert found.stated == 1
    assert found.finish_uncertainty == pytest.approx(1.0)
    assert found.history.webhook_at.tolist() == [(seen + timedelta(seconds=5)).timestamp()]


def test_a_stated_time_that_looks_contradict_is_not_believed(history: History, store: Database, few: None) -> None:
    number = history.place("A-1")
    history.complete("A-1", minutes=10)
    state_callback(store, number, history.at, history.at - timedelta(minutes=30))
    found = known(store)
    assert found.stated == 0
    assert finished(found) >= history.at - timedelta(minutes=10)


def test_what_was_done_in_the_answer_to_the_order_finished_and_announced_itself_then(
    history: History, store: Database, few: None
) -> None:
    history.place("A-1")
    history.see("A-1", Attempted(1), Witness.US)
    history.see("A-1", Answered(history.snapshot("A-1", "Completed")), Witness.ANSWER)
    answered = history.at
    history.wait(seconds=3)
    history.look("A-1", "Completed")
    found = known(store)
    assert finished(found) == answered
    assert found.history.webhook_at.tolist() == [answered.timestamp()]


def test_open_orders_go_on_and_those_nobody_could_watch_are_left_out_and_counted(
    history: History, store: Database, few: None
) -> None:
    for name in ("DONE-1", "OPEN-1", "GONE-1", "UNSENT-1"):
        history.place(name)
    history.complete("DONE-1")
    history.accept("OPEN-1")
    history.accept("GONE-1")
    history.look("GONE-1", "Cancelled")
    history.find_finished("FOUND-1")
    found = known(store)
    assert sorted(found.history.finished.tolist())[1:] == [math.inf]
    assert (found.finished, len(found.history), found.finished_before, found.cancelled) == (1, 2, 1, 1)


def test_orders_of_other_systems_do_not_announce_themselves(history: History, store: Database, few: None) -> None:
    history.place("A-1")
    history.complete("A-1")
    history.place("B-1")
    history.complete("B-1")
    other = sa.update(ORDERS).where(ORDERS.c.po_number == "B-1").values(submission="elsewhere")
    store.write(lambda connection: connection.execute(other))
    found = known(store).history
    assert found.webhook_expected is not None
    assert found.webhook_expected.tolist() == [True, False]


def test_fewer_orders_than_enough_are_no_history(history: History, store: Database) -> None:
    for number in range(ENOUGH):
        assert read_history(store, SINCE) is None
        history.place(f"A-{number}")
        history.complete(f"A-{number}", minutes=1)
    assert known(store).finished == ENOUGH
    assert read_history(store, history.at) is None


def test_only_the_newest_are_read_and_that_is_said(
    history: History, store: Database, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "ORDERS_REPLAYED", 2)
    for number in range(2):
        history.place(f"A-{number}")
        history.complete(f"A-{number}", minutes=1)
    assert not known(store).newest_only
    history.place("A-2")
    history.complete("A-2", minutes=1)
    found = known(store)
    assert (found.newest_only, len(found.history)) == (True, 2)
    assert found.since > START


def test_calls_are_counted_by_what_they_were_for_within_the_history(
    history: History, store: Database, few: None
) -> None:
    call(store, history.at - timedelta(seconds=5), "/v1/Orders?pageIndex=1&pageSize=50&startDate=a")  # before
    number = history.place("A-1")
    history.wait(seconds=1)
    history.complete("A-1")
    later = history.place("A-2")
    history.complete("A-2")
    at = history.at - timedelta(minutes=2)
    call(store, at, f"/v1/Orders/BLK-{later}", later)
    call(store, at, f"/v1/Orders/BLK-{number}", number)  # it had finished by then
    call(store, at, "/v1/Orders?pageIndex=1&pageSize=50&startDate=a&endDate=b")
    call(store, at, "/v1/Orders?pageIndex=1&pageSize=50&startDate=a")
    call(store, at, "/v1/Orders?pageIndex=2&pageSize=50&startDate=a")
    call(store, at, "/v1/Orders?pageIndex=1&pageSize=50")  # looked up by its PONumber
    call(store, at, "/v1/AccountBalance")
    call(store, at, "/v1/Orders", later, "POST")
    call(store, history.at + timedelta(seconds=1), f"/v1/Orders/BLK-{later}", later)  # after
    asked = known(store).calls
    assert asked is not None
    assert (asked.singles, asked.pages, asked.discoveries, asked.aside, asked.total) == (1, 1, 2, 1, 4)
    assert asked.takes == pytest.approx(0.2)
    hours = (known(store).until - known(store).since) / timedelta(hours=1)
    assert known(store).calls_an_hour == pytest.approx(4 / hours)


def test_the_history_is_that_of_the_time_from_which_calls_are_on_record(
    history: History, store: Database, few: None
) -> None:
    history.place("A-1")
    history.complete("A-1")
    call(store, history.wait(seconds=1), "/v1/AccountBalance")
    assert known(store).calls is None, "no order finished since then"
    history.place("A-2")
    history.complete("A-2")
    found = known(store)
    assert (found.finished, found.earlier) == (1, 1)
    assert found.since > START
    assert found.calls is not None


def test_nobody_counts_on_webhooks_that_are_silent(history: History, store: Database, few: None) -> None:
    for number in range(3):
        history.place(f"A-{number}")
        history.accept(f"A-{number}")
        history.wait(minutes=1)
        history.announce(f"A-{number}")
        history.look(f"A-{number}", "Completed")
    assert known(store).webhook_share == pytest.approx(3 / 8)

    def fall_silent(connection: Connection) -> None:
        facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, SilenceAlarm(START, START, 3).to_fact(), START)

    store.write(fall_silent)
    assert known(store).webhook_share == 0.0
