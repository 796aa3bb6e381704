"""Acts on many orders: what a plan tells, that a job touches each order once whoever asks and whatever dies."""

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from fakes import Clock
from histories import History
from sqlalchemy import Connection, func, select, update

from tracking import ingest
from tracking.access import Person
from tracking.errors import InvalidJob, InvalidNote, NotAllowed, StoreBusy, UnknownJob
from tracking.orders.model import Line, Witness
from tracking.orders.observations import Answered, Attempted, Observation, Unclear
from tracking.orders.wording import amount
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import jobs as job_reports
from tracking.storage.database import Database
from tracking.storage.leases import lease_owners, release_leases
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import EVENTS, ORDERS, OUTBOX
from tracking.storage.team.tables import AUDIT_LOG, JOB_ORDERS, JOBS
from tracking.submissions import actions
from tracking.team import job_runner, jobs, work
from tracking.team.disclosures import text_hash
from tracking.team.job_runner import STUMBLED, JobRunner
from tracking.team.jobs import Group, Job
from tracking.team.plans import OTHERS_PO_NUMBER, Act, Parameters, plan

ANN, BOB = Person("Ann"), Person("bob@example.com", signed_in=True)
WHY = Parameters(reason="the customers are told")
EVERYTHING = Filters()
SECRET = "a secret of sixteen characters"
AT_ONCE = 5


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runner, "ORDERS_AT_ONCE", AT_ONCE)


def runner(store: Database, clock: Callable[[], datetime], owner: str = "here/1/a", **more: Any) -> JobRunner:
    return JobRunner(store, owner=owner, lease=timedelta(seconds=30), clock=clock, max_rate=5, **more)


def run(store: Database, clock: Clock, **more: Any) -> int:
    """Runs until nothing is due at this time; returns how many turns that took."""

    async def turns() -> int:
        running, made = runner(store, clock, **more), 0
        while await running.turn() is not None:
            made += 1
        return made

    return asyncio.run(turns())


def job_row(store: Database, job_id: int) -> Any:
    with store.read() as connection:
        return connection.execute(select(JOBS).where(JOBS.c.id == job_id)).one()


def outcomes(store: Database, job_id: int) -> dict[str, tuple[str, str | None]]:
    query = select(ORDERS.c.po_number, JOB_ORDERS.c.outcome, JOB_ORDERS.c.why).join(
        JOB_ORDERS, JOB_ORDERS.c.order_id == ORDERS.c.id
    )
    with store.read() as connection:
        rows = connection.execute(query.where(JOB_ORDERS.c.job_id == job_id).order_by(ORDERS.c.id))
        return {row.po_number: (row.outcome, row.why) for row in rows}


def events_of_job(store: Database, job_id: int) -> dict[str, list[str]]:
    """The kinds of the events that name the job, by order."""
    query = select(ORDERS.c.po_number, EVENTS.c.kind, EVENTS.c.detail).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    found: dict[str, list[str]] = {}
    with store.read() as connection:
        for row in connection.execute(query.order_by(EVENTS.c.id)):
            if row.detail.get("job") == job_id:
                found.setdefault(row.po_number, []).append(row.kind)
    return found


def audit(store: Database) -> list[tuple[str, str, dict[str, Any]]]:
    with store.read() as connection:
        names = ("person", "kind", "detail")
        return [tuple(row) for row in connection.execute(select(*(AUDIT_LOG.c[name] for name in names)))]


def refused(store: Database, now: datetime, count: int) -> History:
    history = History(store, now)
    for number in range(count):
        history.place(f"FT-{number:03}")
        history.refuse(f"FT-{number:03}")
    return history


@pytest.fixture
def mixed(store: Database, now: datetime) -> History:
    """Orders in about every state that an act treats in its own way."""
    history = History(store, now)
    history.place("QUEUED")
    for name, value in (("OPEN", 1500), ("REFUSED", 2000), ("DONE", 100), ("LOST", 300), ("OTHERS", 700)):
        history.place(name, value=value)
    history.accept("OPEN")
    history.refuse("REFUSED")
    history.complete("DONE")
    history.lose("LOST")
    history.place("ACKNOWLEDGED")
    history.refuse("ACKNOWLEDGED")
    history.acknowledge("ACKNOWLEDGED", "it is settled")
    history.see("OTHERS", *mismatched(history))
    return history


def mismatched(history: History) -> Any:
    shown = history.snapshot("OTHERS", "Pending", [Line(1, "AMZ", 9900, 7)])
    return Answered(shown, adopted=True), Witness.ANSWER


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize(
    ("act", "parameters", "acting", "skipped"),
    [
        (Act.POLL, Parameters(), 2, {"the provider has not given this order an ID yet; there is nothing to poll": 5}),
        (Act.ACKNOWLEDGE, WHY, 2, {"it needs no decision": 4, "it is acknowledged already": 1}),
        (
            Act.SNOOZE,
            Parameters(),
            5,
            {"only an open order, or one that needs a decision, can be snoozed": 2},
        ),
        (Act.ASSIGN, Parameters(assignee="Cleo"), 7, {}),
        (Act.ASSIGN, Parameters(), 0, {"it is assigned to nobody": 7}),
        (
            Act.RESEND,
            Parameters(),
            3,
            {"only an unconfirmed or refused order can be resent": 3, OTHERS_PO_NUMBER: 1},
        ),
        (Act.REOPEN, Parameters(), 1, {"only an acknowledged order can be reopened": 6}),
        (Act.END_SNOOZE, Parameters(), 0, {"it is not snoozed": 7}),
    ],
)
def test_a_job_does_what_its_plan_told(
    store: Database, clock: Clock, act: Act, parameters: Parameters, acting: int, skipped: dict[str, int]
) -> None:
    foreseen = plan(store, EVERYTHING, act, parameters, now=clock(), max_rate=5)
    assert (foreseen.total, foreseen.acting, foreseen.skipped) == (7, acting, skipped)
    job_id = jobs.start(store, EVERYTHING, act, parameters, secret=SECRET, key="k", by=BOB, now=clock())
    while job_row(store, job_id).state == "running":
        run(store, clock)
        clock.pass_by(seconds=2)
    row = job_row(store, job_id)
    assert (row.total, row.done, row.skipped, row.skipped_why) == (7, acting, 7 - acting, skipped)
    became = outcomes(store, job_id)
    assert sum(outcome == "done" for outcome, _ in became.values()) == acting
    assert set(events_of_job(store, job_id)) == {name for name, (outcome, _) in became.items() if outcome == "done"}
    assert all(len(kinds) == 1 for kinds in events_of_job(store, job_id).values())
    assert [(person, kind) for person, kind, _ in audit(store)] == [("bob@example.com", "job started")]
    assert verify(store) == []


def test_a_plan_tells_calls_time_and_values_by_currency(store: Database, mixed: History, now: datetime) -> None:
    mixed.place("SEVERAL", value=400)
    foreseen = plan(store, EVERYTHING, Act.POLL, Parameters(), now=now, max_rate=0.5)
    assert (foreseen.calls, foreseen.seconds) == (2, 8)
    assert foreseen.values == {"": 1600}
    assert plan(store, Filters(states=("Refused",)), Act.RESEND, Parameters(), now=now, max_rate=5).acting == 2
    with pytest.raises(InvalidJob, match="uploading its file"):
        plan(store, EVERYTHING, Act.IMPORT, Parameters(), now=now, max_rate=5)


def test_a_resent_order_is_due_again_under_the_same_po_number(store: Database, mixed: History, clock: Clock) -> None:
    jobs.start(store, Filters(only=("REFUSED",)), Act.RESEND, Parameters(), secret=SECRET, key="k", by=ANN, now=clock())
    run(store, clock)
    with store.read() as connection:
        query = select(OUTBOX.c.done, OUTBOX.c.next_attempt_at, OUTBOX.c.request)
        row = connection.execute(query.where(OUTBOX.c.order_id == mixed.numbers["REFUSED"])).one()
    assert (row.done, row.next_attempt_at, row.request["PONumber"]) == (False, clock(), "REFUSED")


def test_the_same_key_is_one_job_also_at_the_same_moment(store: Database, now: datetime) -> None:
    refused(store, now, 30)

    def begin(_: int) -> int:
        return jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="same", by=ANN, now=now)

    with ThreadPoolExecutor(8) as pool:
        [job_id] = set(pool.map(begin, range(16)))
    assert job_row(store, job_id).total == 30
    assert [kind for _, kind, _ in audit(store)] == ["job started"]
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(JOB_ORDERS)).scalar() == 30


def test_two_processes_start_the_same_job_at_once(store: Database, now: datetime) -> None:
    refused(store, now, 5)
    others = [Database(store.url) for _ in range(2)]
    try:
        with ThreadPoolExecutor(4) as pool:
            work = [
                pool.submit(
                    jobs.start, each, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=person, now=now
                )
                for each in others
                for person in (ANN, BOB)
            ]
            [job_id] = {each.result() for each in work}
    finally:
        for each in others:
            each.close()
    assert len(outcomes(store, job_id)) == 5
    assert [kind for _, kind, _ in audit(store)] == ["job started"]


def test_what_an_order_became_meanwhile_is_judged_when_its_turn_comes(store: Database, clock: Clock) -> None:
    refused(store, clock(), 3)
    job_id = jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=clock())
    actions.acknowledge(store, "FT-001", by=BOB, now=clock(), why="I was first")
    History(store, clock()).place("FT-LATER")
    run(store, clock)
    assert outcomes(store, job_id) == {
        "FT-000": ("done", None),
        "FT-001": ("skipped", "it is acknowledged already"),
        "FT-002": ("done", None),
    }
    assert job_row(store, job_id).state == "finished"


def test_a_stopped_job_touches_nothing_more_and_goes_on_where_it_stopped(store: Database, clock: Clock) -> None:
    refused(store, clock(), AT_ONCE + 5)
    job_id = jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=clock())
    assert asyncio.run(runner(store, clock).turn()) is not None
    jobs.stop(store, job_id, by=BOB, now=clock())
    assert run(store, clock) == 0
    assert job_row(store, job_id).done == AT_ONCE
    with pytest.raises(NotAllowed, match="stopped already, by bob"):
        jobs.stop(store, job_id, by=ANN, now=clock())
    jobs.resume(store, job_id, by=ANN, now=clock())
    run(store, clock, owner="here/2/b")
    assert all(kinds == ["acknowledged"] for kinds in events_of_job(store, job_id).values())
    assert job_row(store, job_id).done == len(events_of_job(store, job_id)) == AT_ONCE + 5
    for change in (jobs.stop, jobs.resume):
        with pytest.raises(NotAllowed, match="the job is complete"):
            change(store, job_id, by=ANN, now=clock())
        with pytest.raises(UnknownJob):
            change(store, 99, by=ANN, now=clock())
    assert [(person, kind) for person, kind, _ in audit(store)] == [
        ("Ann", "job started"),
        ("bob@example.com", "job stopped"),
        ("Ann", "job resumed"),
    ]
    assert verify(store) == []


def test_two_people_stop_and_resume_at_once_and_each_change_is_one_entry(store: Database, clock: Clock) -> None:
    refused(store, clock(), 4)
    job_id = jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=clock())

    def attempt(change: Callable[..., None], by: Person) -> bool:
        try:
            change(store, job_id, by=by, now=clock())
        except NotAllowed:
            return False
        return True

    for change in (jobs.stop, jobs.resume):
        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(lambda by, change=change: attempt(change, by), [ANN, BOB] * 4)) == 1
    assert [kind for _, kind, _ in audit(store)] == ["job started", "job stopped", "job resumed"]


def test_several_workers_share_the_jobs_and_never_do_an_order_twice(store: Database, clock: Clock) -> None:
    refused(store, clock(), 3 * AT_ONCE)
    begin: list[tuple[Act, Parameters]] = [(Act.ACKNOWLEDGE, WHY), (Act.ASSIGN, Parameters(assignee="Cleo"))]
    ids = [jobs.start(store, EVERYTHING, *each, secret=SECRET, key=each[0], by=ANN, now=clock()) for each in begin]

    async def work_together(databases: list[Database]) -> None:
        async def one(number: int, database: Database) -> None:
            worker = runner(database, clock, f"here/{number}/x")
            while any(job_row(store, job_id).state == "running" for job_id in ids):
                await worker.turn()

        await asyncio.gather(*(one(*each) for each in enumerate(databases)))

    others = [Database(store.url) for _ in range(2)]
    try:
        asyncio.run(work_together([store, *others]))
    finally:
        for each in others:
            each.close()
    for job_id in ids:
        assert job_row(store, job_id).done == 3 * AT_ONCE
        assert [len(kinds) for kinds in events_of_job(store, job_id).values()] == [1] * (3 * AT_ONCE)
    assert verify(store) == []


def test_a_lease_keeps_others_away_until_it_ends_or_its_owner_is_gone(store: Database, clock: Clock) -> None:
    refused(store, clock(), AT_ONCE + 1)
    jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=clock())
    assert asyncio.run(runner(store, clock).turn()) is not None
    assert run(store, clock, owner="here/2/b") == 0
    assert store.write(lease_owners) == ["here/1/a"]
    store.write(lambda connection: release_leases(connection, ["here/1/a"]))
    assert asyncio.run(runner(store, clock, "here/2/b").turn()) is not None
    clock.pass_by(seconds=31)
    assert run(store, clock, owner="here/3/c") == 1
    clock.pass_by(hours=-5)
    assert run(store, clock) == 0


def test_calls_are_paced_at_half_of_the_rate_and_shared_among_jobs(store: Database, clock: Clock) -> None:
    history = History(store, clock())
    for number in range(8):
        history.place(f"FT-{number}")
        history.accept(f"FT-{number}")
    first = jobs.start(store, EVERYTHING, Act.POLL, Parameters(), secret=SECRET, key="1", by=ANN, now=clock())
    done = []
    for _ in range(3):
        run(store, clock)
        done.append(job_row(store, first).done)
        clock.pass_by(seconds=0.8)
    assert done == [2, 4, 6]  # at 5 calls a second, 2.5 are theirs
    made = update(ORDERS).values(next_look_at=clock() + timedelta(hours=1))
    store.write(lambda connection: connection.execute(made))
    second = jobs.start(store, EVERYTHING, Act.POLL, Parameters(), secret=SECRET, key="2", by=BOB, now=clock())
    run(store, clock)
    assert [job_row(store, each).done for each in (first, second)] == [7, 1]
    with store.read() as connection:
        due = connection.execute(select(ORDERS.c.next_look_why).where(ORDERS.c.next_look_at <= clock())).scalars()
        assert list(due) == ["requested by a person"] * 2


@pytest.mark.parametrize("act", [Act.POLL, Act.RESEND])
def test_a_job_waits_while_the_calls_it_asked_for_are_not_made(store: Database, clock: Clock, act: Act) -> None:
    history = History(store, clock())
    for number in range(14):
        history.place(f"FT-{number:02}")
        (history.accept if act is Act.POLL else history.refuse)(f"FT-{number:02}")
    job_id = jobs.start(store, EVERYTHING, act, Parameters(), secret=SECRET, key="1", by=ANN, now=clock())
    for _ in range(20):
        run(store, clock)
        clock.pass_by(seconds=1)
    assert job_row(store, job_id).done == 10  # the calls of four seconds
    with store.read() as connection:
        first = connection.execute(select(func.min(ORDERS.c.id))).scalar_one()
    later = clock() + timedelta(minutes=1)
    due = {ORDERS.c.next_look_at: later} if act is Act.POLL else {OUTBOX.c.next_attempt_at: later}
    table, key = (ORDERS, ORDERS.c.id) if act is Act.POLL else (OUTBOX, OUTBOX.c.order_id)
    store.write(lambda connection: connection.execute(update(table).where(key < first + 3).values(due)))
    clock.pass_by(seconds=1)
    run(store, clock)
    assert job_row(store, job_id).done == 12


def test_an_order_that_cannot_be_done_is_skipped_and_its_job_goes_on(
    store: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    history = refused(store, clock(), 3)
    real = ingest.record_note

    def stumble(connection: Any, order_id: int, **more: Any) -> None:
        if order_id == history.numbers["FT-001"]:
            raise ZeroDivisionError
        real(connection, order_id, **more)

    monkeypatch.setattr(ingest, "record_note", stumble)
    job_id = jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=clock())
    run(store, clock)
    assert [why for _, why in outcomes(store, job_id).values()] == [None, STUMBLED, None]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_an_act_of_another_kind_brings_its_own_step(store: Database, clock: Clock) -> None:
    rows = ["a", "b", "c"]
    fails = iter([StoreBusy("locked"), ZeroDivisionError(), ZeroDivisionError()])

    def step(_connection: Any, job: Job, _now: datetime, at_most: int, _calls: int) -> Group:
        assert (job.act, job.parameters, job.person) == (Act.IMPORT, {"batch_id": 7}, "Ann")
        if error := next(fails, None):
            raise error
        taken = rows[: min(at_most, 2)]
        del rows[: len(taken)]
        return Group(len(taken))

    def begin(connection: Any) -> tuple[int, bool]:
        return jobs.add(connection, Act.IMPORT, {"batch_id": 7}, {"import": 7}, key="7", by=ANN, now=clock(), total=3)

    job_id, new = store.write(begin)
    assert (new, store.write(begin)) == (True, (job_id, False))
    steps = {Act.IMPORT: step}
    with pytest.raises(StoreBusy):
        asyncio.run(runner(store, clock, steps=steps).turn())
    assert run(store, clock, steps=steps) == 1
    assert job_row(store, job_id).next_turn_at == clock() + timedelta(minutes=1)
    clock.pass_by(minutes=1)
    assert run(store, clock, steps=steps) == 3
    assert (job_row(store, job_id).state, job_row(store, job_id).done) == ("finished", 3)


@pytest.mark.parametrize(
    ("act", "parameters", "what"),
    [
        (Act.ACKNOWLEDGE, Parameters(), "Reason: is empty"),
        (
            Act.SNOOZE,
            Parameters(until=datetime.fromisoformat("2020-01-01T00:00+00:00")),
            "Until: this time is over already",
        ),
        (Act.ASSIGN, Parameters(assignee="x" * 99), "Name: has 99 characters"),
    ],
)
def test_an_act_that_lacks_what_it_needs_is_not_started(
    store: Database, now: datetime, act: Act, parameters: Parameters, what: str
) -> None:
    refused(store, now, 1)
    with pytest.raises(InvalidNote, match=what):
        jobs.start(store, EVERYTHING, act, parameters, secret=SECRET, key="k", by=ANN, now=now)
    assert audit(store) == []


def test_none_and_too_many_are_not_started_and_leave_nothing(
    store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(store, now, 3)
    with pytest.raises(InvalidJob, match="none matches"):
        jobs.start(store, Filters(states=("Nowhere",)), Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=now)
    monkeypatch.setattr(jobs, "MOST_ORDERS", 2)
    monkeypatch.setattr("tracking.team.plans.MOST_ORDERS", 2)
    assert plan(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, now=now, max_rate=5).too_many
    with pytest.raises(InvalidJob, match="more than 2 match"):
        jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=now)
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(JOBS)).scalar() == 0
    assert audit(store) == []


def test_what_was_typed_is_in_no_entry_of_the_audit_log_and_in_no_filter_of_a_job(
    store: Database, now: datetime
) -> None:
    refused(store, now, 2)
    words, typed = ("Completed", "ann@example.com"), text_hash("ann@example.com", SECRET)
    filters = Filters(
        text="FT-00", po_prefix="FT", not_states=words, types=("Links", *words), view="attention", sort="value", page=3,
        min_minor=100, created_from=now - timedelta(days=1),
    )  # fmt: skip
    start = partial(jobs.start, store, secret=SECRET, by=ANN, now=now)
    start(filters, Act.ACKNOWLEDGE, WHY, key="k")
    start(Filters(only=("FT-000",)), Act.ASSIGN, Parameters(assignee="Cleo"), key="l")
    first, second = (detail for _, _, detail in audit(store))
    chosen: dict[str, Any] = {"q": text_hash("FT-00", SECRET), "prefix": text_hash("FT", SECRET), "view": "attention"}
    chosen |= {"not_state": ["Completed", typed], "type": ["Links", "Completed", typed], "min": amount(100)}
    chosen |= {"from": (now - timedelta(days=1)).isoformat()}
    assert first == {"act": "acknowledge", "orders": 2, "filter": chosen}
    assert second == {"act": "assign", "orders": 1, "filter": {"po": "1 selected"}, "assignee": "Cleo"}
    assert job_row(store, 1).filter == chosen


@pytest.mark.parametrize("name", ["assigned", "source", "product", "states", "not_types", "not_sources"])
def test_a_word_that_is_not_known_is_hashed_wherever_a_filter_has_it(name: str) -> None:
    single = name in {"assigned", "source", "product"}
    for word, written in (("Cleo", text_hash("Cleo", SECRET)), ("Completed", "Completed")):
        filters = Filters(**{name: word if single else (word,)})  # type: ignore[arg-type]
        assert list(jobs.chosen_detail(filters, SECRET).values()) == [written if single else [written]]


def test_no_job_assigns_an_order_to_its_recipient_and_colleagues_keep_their_addresses(
    store: Database, clock: Clock
) -> None:
    history = History(store, clock())
    for number, recipient in enumerate(("cleo@example.com", BOB.name, "Dora@example.com")):
        history.place(f"FT-{number:03}", recipient=recipient)
    work.snooze(store, "FT-000", None, by=BOB, now=clock())  # by which Bob is known to sign in
    start = partial(jobs.start, store, EVERYTHING, Act.ASSIGN, secret=SECRET, by=ANN, now=clock())
    before = audit(store)
    with pytest.raises(InvalidNote, match="Name: is the address of somebody it goes to"):
        start(Parameters(assignee="Cleo@example.com"), key="1")
    assert audit(store) == before
    bobs = start(Parameters(assignee=BOB.name), key="2")
    # Written in another way than the order has it, she is found once it is that order's turn.
    doras = start(Parameters(assignee="dora@EXAMPLE.com"), key="3")
    run(store, clock)
    assert {outcome for outcome, _ in outcomes(store, bobs).values()} == {"done"}
    assert outcomes(store, doras)["FT-002"] == ("skipped", f"the name is {work.RECIPIENTS_ADDRESS}")
    assert sorted(outcome for outcome, _ in outcomes(store, doras).values()) == ["done", "done", "skipped"]


def test_a_snooze_and_its_end_by_job_say_so_in_the_log(store: Database, clock: Clock) -> None:
    refused(store, clock(), 2)
    later = clock() + timedelta(hours=3)
    first = jobs.start(
        store, EVERYTHING, Act.SNOOZE, Parameters("tomorrow", later), secret=SECRET, key="1", by=ANN, now=clock()
    )
    run(store, clock)
    again = plan(store, EVERYTHING, Act.SNOOZE, Parameters(until=later), now=clock(), max_rate=5)
    assert again.skipped == {"it is snoozed until then already": 2}
    assert plan(store, EVERYTHING, Act.SNOOZE, Parameters(), now=clock(), max_rate=5).acting == 2
    work.end_snooze(store, "FT-000", by=BOB, now=clock())
    second = jobs.start(store, EVERYTHING, Act.END_SNOOZE, Parameters(), secret=SECRET, key="2", by=BOB, now=clock())
    run(store, clock)
    assert events_of_job(store, first) == {"FT-000": ["snoozed"], "FT-001": ["snoozed"]}
    assert events_of_job(store, second) == {"FT-001": ["snooze ended"]}
    assert verify(store) == []


def test_a_job_says_how_far_it_is_when_it_ends_and_what_it_touched(store: Database, clock: Clock) -> None:
    refused(store, clock(), 2 * AT_ONCE)
    actions.acknowledge(store, "FT-003", by=BOB, now=clock(), why="I was first")
    job_id = jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=BOB, now=clock())
    assert job_reports.job(store, job_id, clock()).ends_at is None
    clock.pass_by(seconds=10)
    assert asyncio.run(runner(store, clock).turn()) is not None
    status = job_reports.job(store, job_id, clock())
    assert (status.act, status.person, status.signed_in, status.state) == ("acknowledge", BOB.name, True, "running")
    assert (status.total, status.done, status.skipped, status.waiting) == (10, 4, 1, 5)
    assert status.ends_at == clock.now + timedelta(seconds=10)
    jobs.stop(store, job_id, by=ANN, now=clock())
    stopped = job_reports.job(store, job_id, clock())
    assert (stopped.ends_at, stopped.changed_by) == (None, "Ann")
    second = jobs.start(store, Filters(only=("FT-001",)), Act.REOPEN, WHY, secret=SECRET, key="l", by=ANN, now=clock())
    page = job_reports.jobs(store, size=1)
    assert ([each.id for each in page.jobs], page.total, page.running) == ([second], 2, 1)
    assert [each.id for each in job_reports.jobs(store, 2, size=1).jobs] == [job_id]
    [skipped] = job_reports.job_view(store, job_id, "skipped", 1, clock()).orders
    assert (skipped.po_number, skipped.why) == ("FT-003", "it is acknowledged already")
    waiting = job_reports.job_view(store, job_id, "waiting", 7, clock(), size=3)
    assert (waiting.page, waiting.pages, waiting.job) == (2, 2, stopped)
    assert [each.po_number for each in waiting.orders] == ["FT-008", "FT-009"]
    file = io.BytesIO()
    assert job_reports.write_touched(store, job_id, form="jsonl", file=file) == 10
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert rows[3] | {"at": ""} == {
        "po_number": "FT-003", "provider_id": None, "outcome": "skipped", "why": "it is acknowledged already",
        "at": "", "state": "Refused",
    }  # fmt: skip
    for form in ("csv", "parquet"):
        assert job_reports.write_touched(store, job_id, form=form, file=io.BytesIO(), outcome="done") == 4
    for read in (
        lambda: job_reports.job(store, 99, clock()),
        lambda: job_reports.write_touched(store, 99, form="csv", file=file),
    ):
        with pytest.raises(UnknownJob):
            read()


def test_people_and_a_job_act_on_the_same_orders_at_once_and_no_act_is_lost_or_doubled(
    store: Database, clock: Clock
) -> None:
    refused(store, clock(), 2 * AT_ONCE)
    job_id = jobs.start(store, EVERYTHING, Act.ACKNOWLEDGE, WHY, secret=SECRET, key="k", by=ANN, now=clock())
    other = Database(store.url)

    def assign_all() -> None:
        for number in reversed(range(2 * AT_ONCE)):
            work.assign(other, f"FT-{number:03}", "Cleo", by=BOB, now=clock())

    try:
        with ThreadPoolExecutor(1) as pool:
            assigning = pool.submit(assign_all)
            run(store, clock)
            assigning.result()
    finally:
        other.close()
    with store.read() as connection:
        by_kind = select(EVENTS.c.kind, func.count()).where(EVENTS.c.witness == Witness.PERSON.value)
        counted = {row[0]: row[1] for row in connection.execute(by_kind.group_by(EVENTS.c.kind))}
    assert counted == {"acknowledged": 2 * AT_ONCE, "assigned": 2 * AT_ONCE}
    assert job_row(store, job_id).done == 2 * AT_ONCE
    assert len(audit(store)) == 2 * AT_ONCE + 1
    assert verify(store) == []


def test_a_job_that_starts_beside_other_changes_takes_the_orders_as_these_leave_them(
    store: Database, clock: Clock
) -> None:
    """What waits to be added to the counters is added before they are asked which states there are."""
    history = History(store, clock())
    ids = [history.place(name) for name in ("po-1", "po-2")]
    busy, free = threading.Event(), threading.Event()

    def held(_: Connection) -> None:
        busy.set()
        free.wait(5)

    store.submit(held)
    busy.wait(5)
    lost = [Observation(Witness.US, clock(), clock(), seen) for seen in (Attempted(1), Unclear("timed out"))]
    for seen in lost:
        store.submit(partial(history.observe, order_id=ids[0], observation=seen))
    started = ThreadPoolExecutor(1).submit(
        jobs.start,
        store,
        Filters(not_states=("Completed",)),
        Act.ACKNOWLEDGE,
        WHY,
        secret=SECRET,
        key="k",
        by=ANN,
        now=clock(),
    )
    deadline = time.monotonic() + 3
    while store._queue.qsize() < 3 and not started.done() and time.monotonic() < deadline:
        time.sleep(0.01)
    free.set()
    taken = (
        select(JOB_ORDERS.c.order_id).where(JOB_ORDERS.c.job_id == started.result(10)).order_by(JOB_ORDERS.c.order_id)
    )
    with store.read() as connection:
        assert connection.execute(taken).scalars().all() == ids
    assert verify(store) == []
