"""From an alarm that is raised to its end, judged from what the store holds."""

from datetime import datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from histories import History
from sqlalchemy import Connection

from tracking.forecasting.forecasts import Forecasts
from tracking.polling import webhook_silence
from tracking.polling.webhook_silence import Evidence
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import CALLBACKS, ORDERS
from tracking.webhooks import silence_alarm
from tracking.webhooks.silence_alarm import SilenceAlarm

MINUTE = timedelta(minutes=1)


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


@pytest.fixture
def forecasts() -> Forecasts:
    known = Forecasts()
    known.webhook_share = 0.99
    return known


def hear(store: Database, at: datetime, outcome: str = "accepted") -> None:
    values = {"digest": f"{outcome} {at}", "outcome": outcome, "received_at": at, "last_at": at, "size": 1}
    store.write(lambda connection: connection.execute(sa.insert(CALLBACKS), values | {"repeats": 0, "method": "POST"}))


def finish(history: History, *names: str) -> None:
    """Orders of ours that a look finds finished."""
    for name in names:
        history.place(name)
        history.complete(name)


def found(store: Database, forecasts: Forecasts, now: datetime) -> Evidence:
    with store.read() as connection:
        return webhook_silence.gather_evidence(connection, forecasts, now)[0]


def test_finished_orders_that_nobody_announced_are_counted_since_the_last_webhook(
    history: History, store: Database, forecasts: Forecasts
) -> None:
    finish(history, "BEFORE-1")
    history.wait(minutes=5)
    hear(store, history.at)
    history.wait(minutes=1)
    finish(history, "A-1", "A-2")
    assert found(store, forecasts, history.at + MINUTE).unannounced == 2


def listen(history: History, seconds: int) -> None:
    """Time in which a receiver runs."""
    for _ in range(0, seconds, 10):
        history.database.write(partial(facts.beat, loop="webhooks", owner="a", value={}, now=history.at))
        history.wait(seconds=10)


def take(history: History, *names: str) -> None:
    """The provider takes orders of ours."""
    for name in names:
        history.place(name)
        history.accept(name)


def test_what_may_have_finished_while_nobody_listened_speaks_for_no_silence(
    history: History, store: Database, forecasts: Forecasts
) -> None:
    hear(store, history.at)
    take(history, "A-1", "A-2", "A-3")
    listen(history, 60)
    history.wait(hours=3)  # the orders finish, and their webhooks find nobody
    assert found(store, forecasts, history.at).unannounced == 0
    listen(history, 10)
    for name in ("A-1", "A-2", "A-3"):
        history.look(name, "Completed")
    listen(history, 60)
    assert found(store, forecasts, history.at).unannounced == 0
    take(history, "B-1", "B-2")
    listen(history, 30)
    store.write(partial(facts.withdraw_beats, gone={"a"}))  # started again: that is no break
    listen(history, 30)
    history.look("B-1", "Completed")
    history.look("B-2", "Completed")
    listen(history, 30)
    assert found(store, forecasts, history.at).unannounced == 2
    history.wait(minutes=1)
    assert found(store, forecasts, history.at).unannounced == 5, "nobody listens now, and that is a silence"


def test_an_announcement_has_a_while_to_arrive(history: History, store: Database, forecasts: Forecasts) -> None:
    hear(store, history.at)
    history.wait(minutes=1)
    finish(history, "A-1")
    assert found(store, forecasts, history.at + timedelta(seconds=5)).unannounced == 0
    assert found(store, forecasts, history.at + timedelta(seconds=20)).unannounced == 1


def test_orders_placed_elsewhere_announce_themselves_elsewhere(
    history: History, store: Database, forecasts: Forecasts
) -> None:
    hear(store, history.at)
    history.wait(minutes=1)
    history.find_finished("E-1")
    assert found(store, forecasts, history.at + MINUTE).unannounced == 0


def test_an_announced_order_is_not_missed_and_a_refused_callback_is_no_webhook(
    history: History, store: Database, forecasts: Forecasts
) -> None:
    hear(store, history.at)
    history.wait(minutes=1)
    finish(history, "A-1", "A-2")
    told = sa.update(ORDERS).where(ORDERS.c.po_number == "A-1").values(notice="confirmed")
    store.write(lambda connection: connection.execute(told))
    hear(store, history.at + MINUTE, "refused")
    assert found(store, forecasts, history.at + 2 * MINUTE).unannounced == 1


def test_open_orders_that_should_have_finished_raise_a_suspicion(
    history: History, store: Database, forecasts: Forecasts
) -> None:
    for number in range(8):
        history.place(f"A-{number}")
        history.accept(f"A-{number}")
    hear(store, history.at)
    assert not found(store, forecasts, history.at + timedelta(seconds=1)).suspicious
    late = found(store, forecasts, history.at + timedelta(hours=1))
    assert late.suspicious
    assert late.expected_webhooks <= 8


def test_where_webhooks_are_not_counted_on_nothing_is_missed(history: History, store: Database) -> None:
    hear(store, history.at)
    finish(history, "A-1")
    assert found(store, Forecasts(), history.at + MINUTE) == Evidence(0.0)


def test_an_alarm_is_raised_once_lasts_and_ends_with_the_next_webhook(now: datetime) -> None:
    heard = now - 5 * MINUTE
    raised = webhook_silence.update_alarm(None, Evidence(0.99, 0.0, 3), heard, now)
    assert raised == SilenceAlarm(heard, now, 3)
    assert webhook_silence.update_alarm(raised, Evidence(0.99, 0.0, 9), heard, now + MINUTE) is raised
    ended = webhook_silence.update_alarm(raised, Evidence(0.99), now + 2 * MINUTE, now + 3 * MINUTE)
    assert ended == SilenceAlarm(heard, now, 3, ended_at=now + 2 * MINUTE)
    again = webhook_silence.update_alarm(ended, Evidence(0.99, 0.0, 3), now + 4 * MINUTE, now + 9 * MINUTE)
    assert again == SilenceAlarm(now + 4 * MINUTE, now + 9 * MINUTE, 3)


def test_the_alarm_is_kept_for_whoever_asks(store: Database, now: datetime) -> None:
    alarm = SilenceAlarm(now - MINUTE, now, 4, ended_at=now + MINUTE)

    def keep(connection: Connection) -> None:
        facts.set_fact(connection, FactKey.WEBHOOK_SILENCE, alarm.to_fact(), now)

    with store.read() as connection:
        assert silence_alarm.latest_alarm(connection) is None
    store.write(keep)
    with store.read() as connection:
        assert silence_alarm.latest_alarm(connection) == alarm
