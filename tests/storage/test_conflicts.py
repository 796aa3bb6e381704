"""Two processes on one server: what they lock in other orders ends neither of them, and at worst can be repeated."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from fakes import callback, line, request, shown
from sqlalchemy import Connection

from tracking import ingest
from tracking.access import Person
from tracking.app import settings_changes
from tracking.errors import InvalidNote, NotAllowed, StoreBusy, TrackingError
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Witness
from tracking.orders.observations import Answered, Attempted, Observation
from tracking.provider.webhook_bodies import WebhookCall
from tracking.reports.order_list.filters import Filters
from tracking.settings.values import Settings
from tracking.storage import database, facts, orders
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.search import indexing, progress, texts
from tracking.storage.search.tables import SEARCH_TEXTS
from tracking.storage.tables import EVENTS, ORDERS
from tracking.storage.team.audit_log import AuditKind, record_act
from tracking.storage.team.tables import AUDIT_LOG, SAVED_VIEWS
from tracking.storage.writing import groups
from tracking.submissions import erasure as erasing
from tracking.team import saved_views
from tracking.webhooks import intake
from tracking.webhooks.intake import Received

pytestmark = [pytest.mark.postgres, pytest.mark.parametrize("engine", ["postgres"], indirect=True)]
ANN = Person("Ann")
Step = Callable[[Connection], Any]


@pytest.fixture
def other(store: Database) -> Iterator[Database]:
    """The same store in another process, as far as its writer and connections go."""
    opened = Database(store.url)
    yield opened
    opened.close()


@pytest.fixture
def ids(store: Database, now: datetime) -> list[int]:
    return [
        store.write(partial(ingest.place, request=request(name), source="form", actor="Ann", now=now)) for name in "AB"
    ]


@pytest.fixture
def conflicts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The states with which the server ended transactions."""
    ended: list[str] = []
    real = groups.is_conflict

    def noted(error: Any) -> bool:
        if real(error):
            ended.append(error.orig.sqlstate)
        return real(error)

    monkeypatch.setattr(groups, "is_conflict", noted)
    return ended


def note(connection: Connection, order_id: int, now: datetime) -> None:
    connection.execute(sa.text("SET LOCAL deadlock_timeout = '50ms'"))
    ingest.record_note(connection, order_id, text="x", actor=None, now=now, acknowledges=False)


def act(connection: Connection, order_id: int, now: datetime) -> None:
    note(connection, order_id, now)
    record_act(connection, ANN, AuditKind.NOTED, now, order_id=order_id)


def once(gate: threading.Barrier, step: Step) -> Step:
    """The step, which the first time waits for the other's; without it where that one cannot come."""
    waited: list[int] = []

    def job(connection: Connection) -> None:
        step(connection)
        if not waited:
            waited.append(1)
            with contextlib.suppress(threading.BrokenBarrierError):
                gate.wait(0.3)

    return job


def together(store: Database, *steps: Step) -> list[Future[Any]]:
    """Submits them while the writer is busy, so that it takes them as one group."""
    free = threading.Event()
    store.submit(lambda _: free.wait(5))
    futures = [store.submit(step) for step in steps]
    free.set()
    return futures


def test_an_act_in_a_group_waits_for_no_order_while_others_wait_to_be_recorded(
    store: Database, other: Database, ids: list[int], conflicts: list[str], now: datetime
) -> None:
    first, second = ids
    gate = threading.Barrier(2)
    held_first = once(gate, partial(act, order_id=first, now=now))  # then the second order, which the other one has
    held_second = once(gate, partial(note, order_id=second, now=now))  # then the audit log, which the first one has
    futures = together(store, held_first, partial(note, order_id=second, now=now))
    futures += together(other, held_second, lambda connection: record_act(connection, ANN, AuditKind.SEARCHED, now))
    for future in futures:
        future.result(10)
    assert conflicts == []
    with store.read() as connection:
        notes = sa.select(sa.func.count()).where(EVENTS.c.kind == "noted")
        assert connection.execute(notes).scalar() == 3
        assert connection.execute(sa.select(sa.func.count()).select_from(AUDIT_LOG)).scalar() == 2
    assert verify(store) == []


def test_what_comes_after_an_act_that_fails_is_done_and_in_its_order(
    store: Database, ids: list[int], now: datetime
) -> None:
    done: list[str] = []

    def fails(connection: Connection) -> None:
        act(connection, ids[0], now)
        raise NotAllowed("no")

    def step(name: str) -> Step:
        def job(connection: Connection) -> None:
            note(connection, ids[1], now)
            done.append(name)

        return job

    before, failing, *after = together(
        store, step("a"), fails, step("b"), partial(act, order_id=ids[0], now=now), step("c")
    )
    with pytest.raises(NotAllowed):
        failing.result(10)
    for future in (before, *after):
        future.result(10)
    assert [name for name, _ in itertools.groupby(done)] == ["a", "b", "c"]  # what is rolled back runs once more
    with store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(AUDIT_LOG)).scalar() == 1
    assert verify(store) == []


@pytest.mark.parametrize("tries", [1, 3])
def test_who_lock_each_others_orders_go_on_after_a_try_more_or_hear_that_it_can_be_repeated(
    store: Database, other: Database, ids: list[int], conflicts: list[str], now: datetime,
    monkeypatch: pytest.MonkeyPatch, tries: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(database, "TRANSACTION_TRIES", tries)
    gate = threading.Barrier(2)

    def job(first: int, second: int) -> Step:
        held_first = once(gate, partial(note, order_id=first, now=now))

        def both(connection: Connection) -> None:
            held_first(connection)
            note(connection, second, now)

        return both

    futures = [store.submit(job(*ids)), other.submit(job(*reversed(ids)))]
    errors = [error for future in futures if (error := future.exception(10))]
    assert set(conflicts) == {"40P01"}
    assert (store.trouble, other.trouble) == (None, None)
    assert len(errors) == (1 if tries == 1 else 0)
    for error in errors:
        assert isinstance(error, StoreBusy)
        assert "can be repeated" in str(error)
    with store.read() as connection:
        notes = sa.select(sa.func.count()).where(EVENTS.c.kind == "noted")
        assert connection.execute(notes).scalar() == 4 - 2 * len(errors)
    assert verify(store) == []


def at_once(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *acts: Callable[[], Any]) -> list[Any]:
    """Does them in a thread each, which wait for each other after this function of the module; what they raised."""
    gate, real, errors = threading.Barrier(len(acts)), getattr(module, name), list[Any]()

    def waits(*arguments: Any) -> Any:
        result = real(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):
            gate.wait(0.2)
        return result

    def does(what: Callable[[], Any]) -> None:
        try:
            what()
        except TrackingError as error:
            errors.append(error)

    monkeypatch.setattr(module, name, waits)
    threads = [threading.Thread(target=does, args=(each,)) for each in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_of_two_who_save_the_last_view_there_may_be_one_hears_it(
    store: Database, other: Database, conflicts: list[str], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_views, "MOST_VIEWS", 1)
    save = partial(saved_views.save, filters=Filters(view="late"), shared=True, by=ANN, now=now)
    [error] = at_once(
        monkeypatch, saved_views, "_check_number", partial(save, store, "Late"), partial(save, other, "Open")
    )
    assert isinstance(error, InvalidNote)
    with store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(SAVED_VIEWS)).scalar() == 1
    assert conflicts == []


def test_a_setting_that_changed_is_recorded_once_though_two_start_at_once(
    store: Database, other: Database, conflicts: list[str], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (Settings(_env_file=None, webhook_secret="a secret of tests", poll_floor=floor) for floor in (1, 2))
    settings_changes.record_changes(store, before, ["a secret of tests"], now)
    starts = [
        partial(settings_changes.record_changes, each, after, ["a secret of tests"], now) for each in (store, other)
    ]
    assert at_once(monkeypatch, settings_changes, "_changes", *starts) == conflicts == []
    with store.read() as connection:
        [detail] = connection.execute(sa.select(AUDIT_LOG.c.detail)).scalars()
    assert detail == {"changed": {"TRACKING_POLL_FLOOR": ["1.0", "2.0"]}}


def test_writers_that_change_the_same_counters_in_other_orders_do_not_end_each_other(
    store: Database, other: Database, conflicts: list[str], now: datetime
) -> None:
    """Each places an order of this hour and one of the next, in other orders, before either of them commits."""
    gate, later = threading.Barrier(2), now + timedelta(hours=1)

    def place(name: str, at: datetime) -> Step:
        return partial(ingest.place, request=request(name), source="form", actor="Ann", now=at)

    def job(first: Step, second: Step) -> Step:
        held_first = once(gate, first)

        def both(connection: Connection) -> None:
            connection.execute(sa.text("SET LOCAL deadlock_timeout = '50ms'"))
            held_first(connection)
            second(connection)

        return both

    futures = [store.submit(job(place("A", now), place("B", later)))]
    futures.append(other.submit(job(place("C", later), place("D", now))))
    for future in futures:
        future.result(10)
    assert conflicts == []
    assert verify(store) == []


def test_two_writers_place_call_back_and_complete_orders_at_once_and_neither_ends_the_other(
    store: Database, other: Database, conflicts: list[str], planner: PlanningContext, now: datetime
) -> None:
    """Each has orders of its own, and takes the callbacks of the other's; both count in the same hour."""
    hour, each = timedelta(hours=1), 12

    def place(name: str, number: int) -> Step:
        return partial(ingest.place, request=request(name), source="form", actor="Ann", now=now + hour * (number % 2))

    def beat(connection: Connection) -> None:
        facts.set_fact(connection, facts.heartbeat_key("poller"), {}, now)

    def call_back(name: str, number: int) -> Step:
        call = callback(name, f"BLK-{name}")
        return partial(ingest.receive_webhook, call=call, size=9, now=now + hour * (number % 2), planner=planner)

    def look(name: str, number: int) -> Step:
        at, parsed = now + hour * (number % 2), shown(f"BLK-{name}", name, "Completed")
        return partial(ingest.discover, parsed=parsed, started_at=at, now=at, planner=planner)

    def all_of(writer: Database, own: str, others: str) -> None:
        done = [writer.submit(place(f"{own}{number}", number)) for number in range(each)]
        for number in range(each):
            called, looked_at = f"{others}{number}", f"{own}{number}"
            done += [writer.submit(beat), writer.submit(call_back(called, number), orders=[called])]
            done.append(writer.submit(look(looked_at, number), orders=[looked_at]))
        for future in done:
            future.result(20)

    threads = [threading.Thread(target=all_of, args=names) for names in ((store, "A", "B"), (other, "B", "A"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert conflicts == []
    with store.read() as connection:
        states = list(connection.execute(sa.select(ORDERS.c.state)).scalars())
    assert states == ["Completed"] * 2 * each
    assert verify(store) == []


def test_batches_of_webhook_calls_of_the_same_orders_wait_for_each_other_and_no_more(
    store: Database, other: Database, conflicts: list[str], planner: PlanningContext, now: datetime
) -> None:
    numbers = [f"PO-{number}" for number in range(6)]
    for number in numbers:
        store.write(partial(ingest.discover, parsed=shown(number, number), started_at=now, now=now, planner=planner))

    def batch(where: str, run: int, po_numbers: Sequence[str]) -> Step:
        calls = [WebhookCall(None, None, number, None, f"{where} {run} {number}") for number in po_numbers]
        received = [Received(call, 90, 1) for call in calls]

        def job(connection: Connection) -> list[str]:
            connection.execute(sa.text("SET LOCAL deadlock_timeout = '20ms'"))
            return intake.record(connection, received, now, planner)

        return job

    futures = []
    for run in range(10):
        futures += [store.submit(batch("here", run, numbers)), other.submit(batch("there", run, numbers[::-1]))]
    assert {outcome for future in futures for outcome in future.result(10)} == {"accepted"}
    assert conflicts == []
    assert verify(store) == []


def test_a_group_whose_orders_cannot_be_locked_together_is_done_job_by_job(
    store: Database, ids: list[int], now: datetime
) -> None:
    free = threading.Event()
    store.submit(lambda _: free.wait(5))
    futures = [store.submit(partial(note, order_id=each, now=now), orders=[each]) for each in ids]
    futures.append(store.submit(partial(note, order_id=ids[0], now=now), orders=["no such number\0"]))
    free.set()
    assert [future.exception(10) for future in futures] == [None] * 3
    assert store.trouble is None


def test_a_call_that_two_processes_get_at_once_is_one_call_and_ends_neither(
    store: Database, other: Database, conflicts: list[str], planner: PlanningContext, now: datetime
) -> None:
    """One records it beside others, the other by itself: both lock its order first, and store it after that."""
    store.write(partial(ingest.discover, parsed=shown("BLK-1", "PO-1"), started_at=now, now=now, planner=planner))
    call, locked, begun = WebhookCall(None, None, "PO-1", None, "the same"), threading.Event(), threading.Event()

    def beside(connection: Connection) -> list[str]:
        connection.execute(sa.text("SET LOCAL deadlock_timeout = '50ms'"))
        orders.find_by_po_numbers(connection, ["PO-1"])
        locked.set()
        begun.wait(5)
        time.sleep(0.1)  # until the other waits for the order
        return intake.record(connection, [Received(call, 90, 1)], now, planner)

    def alone(connection: Connection) -> str:
        connection.execute(sa.text("SET LOCAL deadlock_timeout = '50ms'"))
        begun.set()
        return ingest.receive_webhook(connection, call, 90, now, planner)

    first = store.submit(beside)
    locked.wait(5)
    assert (other.submit(alone).result(10), first.result(10)) == ("repeated", ["accepted"])
    assert conflicts == []
    assert verify(store) == []


def test_who_is_erased_while_the_texts_of_older_orders_are_made_is_found_no_more(
    store: Database,
    other: Database,
    conflicts: list[str],
    planner: PlanningContext,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = request(
        "PO-1", line("CVS", 10, 1, DigitalDeliveryAddress={"Email": "ann@example.com"}), kind="DigitalDelivery"
    )
    order_id = store.write(partial(ingest.place, request=asked, source="form", actor="Ann", now=now))
    answer = shown("BLK-1", "PO-1", "Pending", line("CVS", 10, 1))
    for seen, parsed in ((Attempted(1), None), (Answered(answer.snapshot), answer)):
        observation = Observation(Witness.US, now, now, seen)
        store.write(partial(ingest.observe, order_id=order_id, observation=observation, planner=planner, parsed=parsed))
    store.write(lambda connection: connection.execute(sa.delete(SEARCH_TEXTS)))
    store.write(partial(progress.store, progress=progress.Progress(older=order_id + 1), now=now))
    real, read = texts.stored_rows, threading.Event()

    def slowly(*arguments: Any) -> Any:
        rows = real(*arguments)
        read.set()
        time.sleep(0.2)  # for the other
        return rows

    monkeypatch.setattr(indexing, "stored_rows", slowly)
    indexed = other.submit(partial(indexing.step, now=now))
    read.wait(5)
    [trace] = store.write(
        partial(erasing._erase_group, order_ids=[order_id], person="ann@example.com", actor="Ann", now=now)
    )
    assert (trace.numbers, trace.is_being_sent) == ((1,), False)
    assert indexed.result(10)
    with store.read() as connection:
        assert not any(connection.execute(sa.select(SEARCH_TEXTS.c.people)).scalars())
    assert conflicts == []
    assert verify(store) == []


def test_a_commit_whose_answer_is_lost_is_not_done_twice(
    store: Database, ids: list[int], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = store._engine.dialect
    real = dialect.do_commit

    def breaks(connection: Any) -> None:
        real(connection)
        monkeypatch.undo()
        connection.driver_connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", breaks)
    with pytest.raises(StoreBusy, match="find out whether it is there"):
        store.write(partial(note, order_id=ids[0], now=now))
    store.write(partial(note, order_id=ids[1], now=now))
    with store.read() as connection:
        notes = sa.select(sa.func.count()).where(EVENTS.c.kind == "noted")
        assert connection.execute(notes).scalar() == 2
    assert store.trouble is None
    assert verify(store) == []
