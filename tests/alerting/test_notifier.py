"""Alerts arrive, once and with their end, over real sockets; of several processes one sends, whoever is killed."""

import asyncio
import json
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from alert_receivers import addresses, receivers
from fakes import Clock
from histories import History
from pydantic import SecretStr
from sqlalchemy import Connection

from tracking.access import Access, Person
from tracking.alerting import listing, snoozing
from tracking.alerting.messages import Gravity, Message, Origin
from tracking.alerting.notifier import CLAIM, LEAD, Notifier
from tracking.alerting.rules import ALL
from tracking.alerting.services import Service, load_services
from tracking.errors import InvalidNote, NotAllowed, NotPermitted, StoreBusy, StoreError
from tracking.forecasting import incidents
from tracking.reports.health import component_status
from tracking.settings.alerts import QuietHours
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.integration import alerts as stored
from tracking.storage.integration.alerts import Alert
from tracking.storage.integration.tables import ALERTS, SUBSCRIPTIONS
from tracking.storage.tables import ORDERS
from tracking.webhooks.silence_alarm import SilenceAlarm

ABOUT_SILENCE = (
    "Orders are polled as if no webhook would come. "
    "Check that the provider can reach the address in TRACKING_PUBLIC_URL."
)
HERE = f"{socket.gethostname()}/{os.getpid()}"
ANN = Person("Ann")


class FakeService(Service):
    """Keeps what it was sent; takes it unless it `refuses`, and with `hangs` never answers."""

    def __init__(self, name: str = "json") -> None:
        super().__init__(name, None)
        self.got: list[Message] = []
        self.refuses = self.hangs = False

    def start(self, message: Message) -> Future[bool]:
        future: Future[bool] = Future()
        if self.hangs:
            return future
        self.got += [] if self.refuses else [message]
        future.set_result(not self.refuses)
        return future

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.got]


Make = Callable[..., Notifier]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture(autouse=True)
def unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apprise waits seconds between two mails, and a notifier some before it tells of what began before its start."""
    monkeypatch.setattr("apprise.plugins.base.NotifyBase.request_rate_per_sec", 0)
    monkeypatch.setattr("tracking.alerting.lifecycle.SETTLED_AFTER", timedelta())


@pytest.fixture
def make(store: Database, clock: Clock, service: FakeService) -> Make:
    def build(*services: Service, owner: str = f"{HERE}/us", **more: Any) -> Notifier:
        return Notifier(store, services or [service], clock=clock, owner=owner, **more)

    return build


def run(notifier: Notifier, clock: Clock, *seconds: float) -> None:
    """Turn after turn, so many seconds after the one before; poller and sender have been at work for a day."""
    for each in seconds:
        now = clock.pass_by(seconds=each)
        at_work = {"since": (now - timedelta(days=1)).isoformat(), "owners": {"a-host/1/x": now.isoformat()}}
        for loop in ("poller", "sender"):
            beat = partial(facts.set_fact, key=facts.heartbeat_key(loop), value=at_work, now=now)
            notifier._database.write(beat)
        asyncio.run(notifier.turn())


def client(store: Database, now: datetime, since: datetime | None, error: str = "NotSent: no connection") -> None:
    """What the process that calls the provider says of its calls."""
    failing = {"failing_since": since.isoformat(), "failures": 9, "last_error": error} if since else {}
    store.write(lambda connection: facts.set_fact(connection, FactKey.API_CLIENT, failing, now))


def find_late(store: Database, now: datetime) -> None:
    def job(connection: Connection) -> None:
        incidents.store_late_orders(connection, incidents.find_late_orders(connection, now), now)

    store.write(job)


def late(store: Database, po_number: str, at: datetime | None) -> None:
    changed = sa.update(ORDERS).where(ORDERS.c.po_number == po_number).values(late_at=at)
    store.write(lambda connection: connection.execute(changed).rowcount)


def silence(store: Database, alarm: SilenceAlarm) -> None:
    store.write(lambda c: facts.set_fact(c, FactKey.WEBHOOK_SILENCE, alarm.to_fact(), alarm.alarmed_at))


def rows(store: Database) -> list[Alert]:
    with store.read() as connection:
        return stored.newest(connection, 100)[::-1]


def test_silence_an_outage_and_a_late_order_arrive_by_http_and_by_mail_and_so_does_their_end(
    store: Database, clock: Clock, make: Make
) -> None:
    history = History(store, clock.now)
    history.place("FT-1")
    history.accept("FT-1")
    with receivers() as (http, smtp):
        services = load_services(SecretStr(addresses(http, smtp)))
        notifier = make(*services, origin=Origin("[TEST] ", "https://console.example.com/ops"))
        late(store, "FT-1", clock.now)
        run(notifier, clock, 1)
        clock.pass_by(seconds=61)
        find_late(store, clock.now)
        silence(store, alarm := SilenceAlarm(clock.now - timedelta(minutes=9), clock.now, 4))
        run(notifier, clock, 0, 5)
        client(store, clock.now, clock.now)
        run(notifier, clock, 61, 5)
        began = http.titles
        late(store, "FT-1", None)
        find_late(store, clock.now)
        client(store, clock.now, None)
        silence(store, SilenceAlarm(alarm.since, alarm.alarmed_at, 4, clock.now))
        run(notifier, clock, 1, 70, 5, 300, 5)
        ended = http.titles[len(began) :]
    assert sorted(began) == [
        "[TEST] FT-1 is late",
        "[TEST] No webhooks since 11:52:02: 4 orders completed without one",
        "[TEST] Provider unreachable since 12:01:07 (1 min 1 s ago); orders are queued",
    ]
    assert sorted(ended) == [
        "[TEST] Recovered: FT-1 is no longer late, after 2 min 14 s",
        "[TEST] Recovered: No webhooks, after 10 min 12 s",
        "[TEST] Recovered: Provider unreachable, after 1 min 7 s",
    ]
    bodies = {document["title"]: document["message"] for document in http.got}
    assert bodies["[TEST] FT-1 is late"].splitlines() == [
        "It should have completed by 2026-11-23 12:00:00.",
        "https://console.example.com/ops/timeline?order=FT-1",
        "Times are in UTC.",
    ]
    assert sorted(subject for subject, _ in smtp.got) == sorted(http.titles)
    assert all("Times are in UTC." in text for _, text in smtp.got)
    assert {alert.sent_to for alert in rows(store)} == {("json", "mailto")} == {a.end_sent_to for a in rows(store)}
    assert "kanari" not in repr((services, notifier.status(), rows(store)))


def test_a_service_that_does_not_take_it_is_tried_again_and_named_without_its_address(
    store: Database, clock: Clock, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    with receivers() as (http, smtp):
        http.refuses = True
        notifier = make(*load_services(SecretStr(addresses(http, smtp))))
        client(store, clock.now, clock.now)
        run(notifier, clock, 60, 5)
        assert (http.got, len(smtp.got)) == ([], 1)
        assert list(notifier.status()["failing"]) == ["json"]
        [alert] = rows(store)
        assert (alert.sent_to, alert.last_error) == (("mailto",), "not taken by json")
        http.refuses = False
        run(notifier, clock, 10, 5)
        assert (len(http.got), len(smtp.got)) == (1, 1)
    assert notifier.status() == {"services": ["json", "mailto"], "failing": {}}
    with store.read() as connection:
        lead = stored.current_lead(connection)
    assert lead is not None
    assert (lead.services, lead.sent, lead.failed, lead.failing) == (("json", "mailto"), 2, 1, {})
    assert "kanari" not in caplog.text


def test_of_several_processes_one_sends_and_another_goes_on_when_it_is_gone(
    store: Database, clock: Clock, make: Make, service: FakeService
) -> None:
    ours, theirs = make(owner="a-host/1/x"), make(owner="b-host/1/x")
    client(store, clock.now, clock.now)

    async def both() -> None:
        await asyncio.gather(ours.turn(), theirs.turn())

    for _ in range(5):
        clock.pass_by(seconds=20)
        asyncio.run(both())
    assert len(service.got) == 1
    client(store, clock.now, None)
    asyncio.run(both())
    # Now the one that leads is gone, whichever it is: the other one goes on when the lease ends.
    with store.read() as connection:
        lead = stored.current_lead(connection)
    assert lead is not None
    assert lead.until == clock.now + LEAD
    other = theirs if lead.owner.startswith("a") else ours
    run(other, clock, 29)
    with store.read() as connection:
        assert stored.current_lead(connection) == lead
    run(other, clock, 1, 31)
    assert service.titles[1:] == ["Recovered: Provider unreachable, after 1 min 40 s"]


@pytest.mark.parametrize("sent", [False, True])
def test_who_is_killed_while_sending_leaves_one_message_to_the_next(
    store: Database, clock: Clock, make: Make, service: FakeService, *, sent: bool
) -> None:
    killed, next_one = make(owner="a-host/1/x"), make(owner="b-host/1/x")
    client(store, clock.now, clock.now)
    clock.pass_by(seconds=60)
    groups = asyncio.run(killed._next_groups(clock.now))
    assert len(groups) == 1
    if sent:
        asyncio.run(killed._send(groups))
    run(next_one, clock, CLAIM.total_seconds() - 1)
    assert len(service.got) == sent
    run(next_one, clock, 1, 60)
    assert len(service.got) == 1 + sent
    client(store, clock.now, None)
    run(next_one, clock, 1, 61, 5)
    assert len(service.got) == 2 + sent
    assert service.titles[-1].startswith("Recovered: Provider unreachable")


def test_what_was_sent_and_could_not_be_recorded_is_recorded_later_and_not_sent_again(
    store: Database, clock: Clock, make: Make, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier, real = make(), store.submit

    def fails_after_sending(job: Any, **more: Any) -> Any:
        if service.got and len(failures) < 2:
            failures.append(StoreBusy("the disk is full"))
            future: Future[Any] = Future()
            future.set_exception(failures[-1])
            return future
        return real(job, **more)

    failures: list[StoreBusy] = []
    monkeypatch.setattr(store, "submit", fails_after_sending)
    client(store, clock.now, clock.now)
    for _ in range(2):
        with pytest.raises(StoreBusy):
            run(notifier, clock, 60)
    run(notifier, clock, 60, 60, 120)
    assert len(service.got) == 1
    assert [alert.sent_to for alert in rows(store)] == [("json",)]


def test_a_process_that_is_asked_to_end_finishes_what_it_sends(
    store: Database, clock: Clock, make: Make, service: FakeService
) -> None:
    client(store, clock.now, clock.now)
    clock.pass_by(seconds=60)
    answer: Future[bool] = Future()
    sending = asyncio.Event()

    class Slow(FakeService):
        def start(self, message: Message) -> Future[bool]:
            sending.set()
            return answer

    notifier = make(Slow())

    async def main() -> None:
        turn = asyncio.create_task(notifier.turn())
        await asyncio.wait_for(sending.wait(), 10)
        turn.cancel()
        answer.set_result(True)
        with pytest.raises(asyncio.CancelledError):
            await turn

    asyncio.run(main())
    assert [alert.sent_to for alert in rows(store)] == [("json",)]


def test_a_service_that_hangs_gets_nothing_more_until_it_answers_and_holds_up_no_other(
    store: Database, clock: Clock, make: Make, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracking.alerting.notifier.SEND_SECONDS", 0.01)
    hanging = FakeService("mailto")
    hanging.hangs = True
    notifier = make(hanging, service)
    client(store, clock.now, clock.now)

    async def main() -> None:
        for seconds in (60, 10, 30):
            clock.pass_by(seconds=seconds)
            await notifier.turn()
        hanging.hangs = False
        clock.pass_by(seconds=60)
        await notifier.turn()
        assert hanging.got == [], "the first message may be taken yet"

    asyncio.run(main())
    assert len(service.got) == 1
    assert list(notifier.status()["failing"]) == ["mailto"]


def test_messages_wait_for_the_quiet_hours_to_end_and_what_still_lasts_is_one_summary(
    store: Database, clock: Clock, make: Make, service: FakeService
) -> None:
    notifier = make(quiet=QuietHours.parse("11:00-13:00"))
    client(store, clock.now, clock.now)
    silence(store, SilenceAlarm(clock.now - timedelta(minutes=9), clock.now, 4))
    subscribe(store, clock.now, "ERP")
    subscribe(store, clock.now, "Slack", state="active")
    run(notifier, clock, 60, 600)
    assert service.got == []
    subscribe(store, clock.now, "ERP", state="active")
    run(notifier, clock, 60, 5, 3600)
    [summary] = service.got
    assert summary.title == "After the quiet hours: 2 alerts that last"
    assert summary.body.splitlines() == [
        "Provider unreachable since 12:00:00 (1 h 12 min ago); orders are queued",
        "Reason: no connection. Orders are queued and will be sent automatically.",
        "No webhooks since 11:51:00: 4 orders completed without one",
        ABOUT_SILENCE,
        "Times are in UTC.",
    ]


GONE = "the receiver says that it is gone (410)"
REFUSED = "one delivery (order.completed, msg_0f_order_completed) has been refused for three days"


def subscribe(store: Database, now: datetime, name: str, state: str = "switched off", why: str | None = None) -> None:
    row = {"name": name, "url": "https://erp.example.com", "state": state, "state_at": now, "state_by": "system"}
    row["state_why"] = why
    row |= {"created_at": now, "created_by": "Ann", "event_types": [], "secrets": []}

    def job(connection: Connection) -> None:
        connection.execute(sa.delete(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.name == name))
        connection.execute(sa.insert(SUBSCRIPTIONS).values(row))

    store.write(job)


def test_a_subscription_that_was_switched_off_is_told_of_and_so_is_that_it_works_again(
    store: Database, clock: Clock, make: Make, service: FakeService
) -> None:
    notifier = make(origin=Origin("", "https://console.example.com"))
    subscribe(store, clock.now, "ERP <https://evil.example.com>", why=GONE)
    run(notifier, clock, 5, 5)
    subscribe(store, clock.now, "ERP <https://evil.example.com>", state="active")
    run(notifier, clock, 5, 5)
    name = "ERP ·https·//evil.example.com·"
    assert service.titles == [
        f"Outgoing webhooks to “{name}” are switched off: the receiver says that it is gone",
        f"Recovered: outgoing webhooks to “{name}” are switched on again, or were removed, after 15 s",
    ]
    assert [message.body.splitlines()[-2] for message in service.got] == ["https://console.example.com/hooks"] * 2


def test_a_snooze_holds_messages_and_whoever_did_it_is_in_the_audit_log(
    store: Database, clock: Clock, make: Make, service: FakeService
) -> None:
    notifier, until = make(), clock.now + timedelta(hours=1)
    for wrong, error in (("unreachable", InvalidNote), ("nothing", NotAllowed)):
        with pytest.raises(error):
            snoozing.snooze(store, wrong, clock.now, by=ANN, now=clock.now)
    with pytest.raises(NotPermitted):
        snoozing.snooze(store, ALL, until, by=Person("vi@example.com", Access.VIEWER), now=clock.now)
    snoozing.snooze(store, ALL, until, by=ANN, now=clock.now)
    client(store, clock.now, clock.now)
    run(notifier, clock, 60, 60)
    assert service.got == []
    listed = listing.alert_list(store, clock.now)
    assert [listed.state(alert, clock.now) for alert in listed.lasting] == ["snoozed until 13:00:00"]
    assert snoozing.unsnooze(store, ALL, by=ANN, now=clock.now)
    assert not snoozing.unsnooze(store, ALL, by=ANN, now=clock.now)
    run(notifier, clock, 1)
    assert len(service.got) == 1
    listed = listing.alert_list(store, clock.now)
    assert [listed.state(alert, clock.now) for alert in listed.lasting] == ["sent"]
    assert listed.snoozes == {}


def test_a_store_that_cannot_be_written_is_told_of_once_from_memory_and_its_alert_is_stored_afterwards(
    store: Database, clock: Clock, make: Make, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier, neighbour = make(), make(owner=f"{HERE}/another")
    run(notifier, clock, 1)
    asyncio.run(neighbour.turn())
    monkeypatch.setattr(store, "trouble", "the disk is full")

    def watch(*seconds: float) -> None:
        for each in seconds:
            clock.pass_by(seconds=each)
            asyncio.run(notifier.watch_store())

    watch(1, 9, 1, 60)
    assert service.titles == ["The database cannot be written: nothing is received or sent until it can"]
    assert service.got[0].body.startswith("The disk is full.")
    assert rows(store) == []
    monkeypatch.setattr(store, "trouble", None)
    watch(1, 10, 20, 1)
    assert service.titles[1:] == ["Recovered: Database cannot be written, after 1 min 11 s"]
    [alert] = rows(store)
    assert (alert.rule, alert.sent_to, alert.end_sent_to) == ("store", ("json",), ("json",))
    watch(1, 60)
    run(notifier, clock, 5)
    assert len(service.got) == 2


def test_of_one_machine_only_the_process_that_leads_tells_of_the_store(
    store: Database, clock: Clock, make: Make, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make(owner=f"{socket.gethostname()}/{os.getppid()}/leads"), clock, 1)
    notifier = make()
    run(notifier, clock, 1)
    monkeypatch.setattr(store, "trouble", "the disk is full")
    for _ in range(3):
        asyncio.run(notifier.watch_store())
        clock.pass_by(seconds=60)
    assert service.got == []


def test_a_quiet_turn_writes_nothing_but_its_lease(store: Database, clock: Clock, make: Make) -> None:
    notifier = make()
    run(notifier, clock, 5)
    writes: list[Any] = []
    real = store.submit

    def counted(job: Any, **more: Any) -> Any:
        writes.append(job)
        return real(job, **more)

    store.submit = counted  # type: ignore[method-assign]
    try:
        run(notifier, clock, *[5] * 12)
    finally:
        del store.submit
    beats = 2 * 12
    assert len(writes) - beats <= 60 / (LEAD.total_seconds() / 2) + 1


def test_late_orders_are_told_of_together_and_an_incident_at_once_whatever_was_sent_of_single_ones(
    store: Database, clock: Clock, make: Make, service: FakeService
) -> None:
    history = History(store, clock.now - timedelta(hours=1))
    for number in range(9):
        history.place(f"FT-{number}")
        history.accept(f"FT-{number}")
        late(store, f"FT-{number}", None)
    notifier = make()

    def becomes_late(*numbers: int) -> None:
        for number in numbers:
            late(store, f"FT-{number}", clock.now - timedelta(seconds=60))
        find_late(store, clock.now)
        run(notifier, clock, 0)

    becomes_late(0)
    clock.pass_by(seconds=30)
    becomes_late(1)
    becomes_late(2)
    run(notifier, clock, 260)
    assert service.titles == ["FT-0 is late"]
    run(notifier, clock, 10)
    assert service.titles[1:] == ["2 orders are late: FT-1, FT-2"]
    becomes_late(3)
    assert len(service.got) == 2
    becomes_late(*range(4, 9))
    assert [title.partition(" placed")[0] for title in service.titles[2:]] == ["9 of 9 orders"]
    run(notifier, clock, 5, 300, 300)
    assert len(service.got) == 3
    for number in range(9):
        history.look(f"FT-{number}", "Completed")
    find_late(store, clock.now)
    run(notifier, clock, 5, 60, 60)
    assert [title.partition(", after")[0] for title in service.titles[3:]] == [
        "Recovered: 3 orders are no longer late: FT-0, FT-1, FT-2",
        "Recovered: Links orders are not late together any more, or all of them are snoozed",
    ]
    lines = service.got[3].body.splitlines()
    assert [line.partition(", after")[0] for line in lines[:2]] == [
        "- FT-0 is no longer late",
        "- FT-1 is no longer late",
    ]


def test_old_alerts_are_removed_and_lasting_ones_stay(store: Database, clock: Clock, make: Make) -> None:
    subscribe(store, clock.now, "ERP")
    client(store, clock.now, clock.now)
    notifier = make()
    run(notifier, clock, 60)
    client(store, clock.now, None)
    run(notifier, clock, 5, 60, 86400 * 91, 5)
    assert [alert.rule for alert in rows(store)] == ["deliveries"]


def test_there_is_one_alert_at_a_time_of_a_rule_and_a_subject(store: Database, now: datetime) -> None:
    alert = Alert("late", "FT-1", {}, now, now)
    store.write(partial(stored.store_alerts, alerts=[alert]))
    with pytest.raises(StoreError, match="IntegrityError"):
        store.write(partial(stored.store_alerts, alerts=[alert]))
    with store.read() as connection:
        assert stored.open_numbers(connection) == {"late": 1}
        assert connection.execute(sa.select(sa.func.count()).select_from(ALERTS)).scalar_one() == 1


def test_the_health_names_the_services_and_those_that_take_nothing(
    store: Database, clock: Clock, make: Make, service: FakeService
) -> None:
    def status() -> tuple[str, bool] | None:
        with store.read() as connection:
            components = component_status(connection, clock.now)
        return next(((one.text, one.worrying) for one in components if one.name == "Alerts"), None)

    assert status() is None
    silent = FakeService("mailto")
    silent.refuses = True
    notifier = make(service, silent)
    run(notifier, clock, 1)
    assert status() == ("sent to json, mailto", False)
    subscribe(store, clock.now, "ERP")
    run(notifier, clock, 5)
    assert status() == ("sent to json, mailto takes none since 12:00:06", True)
    clock.pass_by(minutes=5)
    assert status() is None


@pytest.mark.parametrize("seed", range(3))
def test_whoever_is_killed_at_whatever_step_each_trouble_is_told_of_once_more_at_most_for_each_kill(
    store: Database, clock: Clock, make: Make, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(alerts: Sequence[Alert], *_: Any) -> Message:
        return Message(json.dumps([[alert.id, alert.ended_at is not None] for alert in alerts]), "", Gravity.INFO)

    monkeypatch.setattr("tracking.alerting.messages.message", named)
    chance, service = random.Random(seed), FakeService()
    kills: Counter[int | None] = Counter()
    processes = [make(service, owner=f"{host}-host/1/x") for host in "ab"]
    lasting: list[str] = []
    for step in range(60):
        if chance.random() < 0.4:
            lasting.append(f"S{step}")
            subscribe(store, clock.now, lasting[-1])
        elif lasting and chance.random() < 0.5:
            subscribe(store, clock.now, lasting.pop(chance.randrange(len(lasting))), state="active")
        clock.pass_by(seconds=chance.choice([1, 5, 30, 130]))
        service.refuses = chance.random() < 0.2
        number = chance.randrange(2)
        killed = chance.choice([None, None, None, "claimed", "sent"])
        if killed is None:
            asyncio.run(processes[number].turn())
            continue
        groups = asyncio.run(processes[number]._next_groups(clock.now))
        if killed == "sent" and groups:
            asyncio.run(processes[number]._send(groups))
            kills.update(alert.id for group in groups for alert in group)
        processes[number] = make(service, owner=f"{'ab'[number]}-host/1/{step}")
    service.refuses = False
    for name in lasting:
        subscribe(store, clock.now, name, state="active")
    run(processes[0], clock, *[1000] * 5)
    told = [(number, ended) for title in service.titles for number, ended in json.loads(title)]
    assert len(told) > 10
    for alert in rows(store):
        messages_of_it = [ended for number, ended in told if number == alert.id]
        assert messages_of_it == sorted(messages_of_it), "an end before its begin"
        assert messages_of_it.count(True) >= 1, "nobody heard of its end, or of it at all"
        assert len(messages_of_it) <= 2 + kills[alert.id]
        assert alert.next_attempt_at is None


def test_two_processes_at_once_send_each_message_once(
    store: Database, clock: Clock, service: FakeService, make: Make
) -> None:
    other = Database(store.url) if store.dialect == "postgresql" else store  # of SQLite a process has one
    both = [make(owner="a-host/1/x"), Notifier(other, [service], clock=clock, owner="b-host/1/x")]
    try:
        with ThreadPoolExecutor(2) as pool:
            for number in range(8):
                subscribe(store, clock.now, f"S{number}", why=REFUSED)
                clock.pass_by(seconds=31)  # any lease is over: both may lead
                for each in [pool.submit(asyncio.run, notifier.turn()) for notifier in both]:
                    each.result()
    finally:
        if other is not store:
            other.close()
    run(both[0], clock, 31)
    assert sorted(service.titles) == [
        f"Outgoing webhooks to “S{number}” are switched off: one delivery has been refused for three days"
        for number in range(8)
    ]
