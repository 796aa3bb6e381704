"""The demonstration's week: written once, whatever interrupts it, and such that log, counters and provider agree."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from fakes import request

from tracking import ingest
from tracking.app.demonstration import history, plan
from tracking.app.demonstration.history import History
from tracking.app.demonstration.team.acts import BEN, SOLD_OUT, TEAM
from tracking.app.embedded_sandbox import InProcessTransport
from tracking.forecasting import finish_times, predictions
from tracking.orders.vocabulary import AttentionReason, EventKind
from tracking.provider.json_fields import digest_of
from tracking.reports.board.balance import balance_status
from tracking.reports.board.changes import latest_changes
from tracking.reports.order_list.view_counts import view_counts
from tracking.reports.team import handover, saved_views
from tracking.sandbox.database import OPENING_BALANCE_CENTS
from tracking.sandbox.server import Sandbox
from tracking.storage import database, facts
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.maintenance.verify import verify
from tracking.storage.tables import BATCHES, CALLBACKS, COUNTERS, EVENTS, EXCHANGES, FACTS, ORDERS, OUTBOX
from tracking.storage.team.audit_log import AuditKind
from tracking.storage.team.tables import AUDIT_LOG, IMPORT_ROWS, JOB_ORDERS, JOBS
from tracking.team.job_runner import JobRunner

NOW = datetime(2025, 3, 3, 12, tzinfo=UTC)  # whenever this runs, the week is over
ORDERS_AT_RANDOM = 110
KEY = Fernet.generate_key().decode()
ACTS = {
    EventKind.ACKNOWLEDGED, EventKind.ASSIGNED, EventKind.NOTED, EventKind.REOPENED, EventKind.SNOOZED,
    EventKind.CLAIMS_REVEALED, EventKind.ACTION_REQUESTED,
}  # fmt: skip
AS_ENTRY = {EventKind.ACTION_REQUESTED: AuditKind.RESENT}


def week(store: Database, sandbox: Sandbox) -> History:
    return History(
        store, sandbox, address=lambda po: f"http://console.internal/webhooks/fulfillment/{po}",
        cipher=ClaimCipher((KEY,)), orders=ORDERS_AT_RANDOM,
    )  # fmt: skip


class _Killed(Exception):
    pass


def write_with_two_kills(store: Database, sandbox: Sandbox) -> int:
    """Writes the week: one process ends after a few groups, the next within one, once the sandbox has its orders."""
    first = week(store, sandbox)
    assert first.begin(NOW)
    assert all(first.write_group() for _ in range(3))
    second = week(store, sandbox)
    assert second.begin(NOW + timedelta(hours=1))
    with pytest.MonkeyPatch.context() as patch:

        def killed(*_: Any) -> None:
            raise _Killed

        patch.setattr(history, "_store_calls", killed)
        with pytest.raises(_Killed):
            second.write_group()
    third = week(store, sandbox)
    assert third.begin(NOW + timedelta(hours=2))
    worker = JobRunner(store, owner="another", lease=timedelta(minutes=1), clock=lambda: NOW, max_rate=5)
    running = 0
    while third.write_group():
        running += len(select(store, JOBS.c.id, where=JOBS.c.state == "running"))
        assert asyncio.run(worker.turn()) is None, "some of a job's orders are yet to be written"
    assert running
    assert not week(store, sandbox).begin(NOW + timedelta(hours=3))
    return len(plan.plan_week(NOW, 0, ORDERS_AT_RANDOM))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Sandbox, int]]:
    folder: Path = tmp_path_factory.mktemp("week")
    sandbox = Sandbox(folder / "sandbox.db", lifelike=True, clock=NOW.timestamp)
    with closing(database.connect(f"sqlite:///{folder}/tracking.db")) as store, closing(sandbox):
        # So few orders suffice here for a forecast, so that a small week has predictions.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(finish_times, "RELIABLE_ORDERS", 10)
            planned = write_with_two_kills(store, sandbox)
        yield store, sandbox, planned


def select(store: Database, *columns: Any, where: Any = True) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(sa.select(*columns).where(where)))


def test_it_is_written_once_and_agrees_with_its_log_whatever_interrupts_it(
    written: tuple[Database, Sandbox, int],
) -> None:
    store, _, planned = written
    assert len(select(store, ORDERS.c.id)) == planned
    assert verify(store) == []
    stated = select(store, EVENTS.c.learned_at, EVENTS.c.happened_at, where=EVENTS.c.kind != "noted")
    assert [row for row in stated if not row.happened_at <= row.learned_at <= NOW + timedelta(seconds=1)] == []
    assert min(row.learned_at for row in stated) < NOW - timedelta(days=6)


def test_there_are_orders_in_each_state_and_each_reason_for_a_decision_that_a_day_brings(
    written: tuple[Database, Sandbox, int],
) -> None:
    store, _, _ = written
    states = {row.state for row in select(store, ORDERS.c.state)}
    ours = {"Queued", "Sending", "Outcome unknown", "Accepted", "Refused"}
    assert states == ours | {"Pending", "Processing", "AwaitingApproval", "InReview", "Completed", "Cancelled"}
    asks = ORDERS.c.attention.is_not(None), ORDERS.c.acknowledged_at.is_(None)
    reasons = {row.attention_reason for row in select(store, ORDERS.c.attention_reason, where=sa.and_(*asks))}
    assert reasons == {
        AttentionReason.REFUSED,
        AttentionReason.PO_NUMBER_MISMATCH,
        AttentionReason.WEBHOOK_NOT_CONFIRMED,
        AttentionReason.CANCELLED,
        AttentionReason.UNKNOWN_STATUS,
        AttentionReason.CHANGED_AFTER_END,
        AttentionReason.CLAIM_DATA_MISSING,
    }
    assert {row.source for row in select(store, ORDERS.c.source)} == {"form", "api", "csv", "elsewhere"}
    assert len(select(store, ORDERS.c.id, where=ORDERS.c.units > 100)) >= 1
    assert len(select(store, BATCHES.c.id)) == len(plan._FILES)
    assert len(select(store, IMPORT_ROWS.c.order_id)) == sum(row.orders for row in select(store, BATCHES.c.orders))
    waiting = select(store, OUTBOX.c.next_attempt_at, where=OUTBOX.c.done.is_(False))
    assert all(row.next_attempt_at < NOW + timedelta(minutes=15) for row in waiting)


def test_the_balance_of_each_hour_is_what_was_left_after_our_orders(written: tuple[Database, Sandbox, int]) -> None:
    store, sandbox, _ = written
    status = balance_status(store, NOW)
    assert status is None, "it is read for the first time after the week"
    spent = select(
        store, COUNTERS.c.value_minor, where=sa.and_(COUNTERS.c.name == "balance", COUNTERS.c.state == "spent")
    )
    levels = select(store, COUNTERS.c.value_minor, where=sa.and_(COUNTERS.c.name == "balance", COUNTERS.c.state == ""))
    assert len(levels) == 24 * plan.DAYS
    left = sandbox.provider.database.balance_cents()
    assert max(levels)[0] - min(levels)[0] == sum(row.value_minor for row in spent) > 0
    assert left <= min(levels)[0] <= max(levels)[0] <= OPENING_BALANCE_CENTS


def test_each_act_of_the_team_stands_once_in_the_audit_log_in_the_order_of_time(
    written: tuple[Database, Sandbox, int],
) -> None:
    store, _, _ = written
    entries = select(store, *AUDIT_LOG.c)
    assert [row.at for row in entries] == sorted(row.at for row in entries)
    events = select(store, *EVENTS.c, where=EVENTS.c.kind.in_(ACTS))
    alone = [
        (row.order_id, row.detail["actor"], AS_ENTRY.get(row.kind, row.kind), row.learned_at)
        for row in events
        if not row.detail.get("job")
    ]
    of_form = select(store, ORDERS.c.id, ORDERS.c.actor, ORDERS.c.created_at, where=ORDERS.c.source == "form")
    alone += [(row.id, row.actor, AuditKind.SUBMITTED, row.created_at) for row in of_form]
    of_orders = [row for row in entries if row.order_id is not None]
    assert sorted((row.order_id, row.person, row.kind, row.at) for row in of_orders) == sorted(alone)
    others = Counter(row.kind for row in entries if row.order_id is None)
    assert others == {AuditKind.VIEW_SAVED: 1, AuditKind.IMPORTED: len(plan._FILES), AuditKind.JOB_STARTED: 2}
    kinds = {AS_ENTRY.get(kind, kind.value) for kind in ACTS} | {AuditKind.SUBMITTED}
    assert {row.kind for row in of_orders} == kinds
    assert {row.person for row in entries} == set(TEAM)


def test_jobs_of_the_team_touched_each_order_once_and_are_over(written: tuple[Database, Sandbox, int]) -> None:
    store, _, _ = written
    jobs = select(store, *JOBS.c)
    assert [row.created_at for row in jobs] == sorted(row.created_at for row in jobs)
    assert {(row.state, row.done + row.skipped - row.total) for row in jobs} == {("finished", 0)}
    acts = {row.act: row for row in jobs}
    assert (acts["acknowledge"].done, dict(acts["acknowledge"].skipped_why)) == (
        SOLD_OUT - 1,
        {"it is acknowledged already": 1},
    )
    touched = select(store, *JOB_ORDERS.c)
    assert {row.job_id for row in touched} == {acts["acknowledge"].id, acts["assign"].id}
    by_job = [
        (row.detail["job"], row.order_id, row.learned_at)
        for row in select(store, *EVENTS.c, where=EVENTS.c.kind.in_(ACTS))
        if row.detail.get("job")
    ]
    assert sorted(by_job) == sorted((row.job_id, row.order_id, row.at) for row in touched if row.outcome == "done")


def test_a_first_start_has_something_to_hand_over_and_leaves_orders_to_be_taken(
    written: tuple[Database, Sandbox, int],
) -> None:
    store, _, _ = written
    report = handover.handover(store, NOW - handover.USUAL_SPAN, NOW)
    assert {acts.kind for acts in report.acts} >= {
        AuditKind.ACKNOWLEDGED, AuditKind.ASSIGNED, AuditKind.REOPENED, AuditKind.SNOOZED, AuditKind.SUBMITTED,
        AuditKind.IMPORTED, AuditKind.JOB_STARTED,
    }  # fmt: skip
    tomorrow = datetime(2025, 3, 4, 9, tzinfo=UTC)
    assert [(order.until, order.assignee) for order in report.snoozed] == [
        (tomorrow, BEN), (tomorrow, BEN), (None, None),
    ]  # fmt: skip
    counts = view_counts(store, NOW)
    assert counts["unassigned"].orders < counts["attention"].orders
    assert counts["unassigned"].orders >= 4
    assert [view.name for view in saved_views.saved_views(store, BEN) if view.shared] == ["Cards by post under way"]


def test_webhooks_were_accepted_repeated_missed_and_refused_and_predictions_are_scored(
    written: tuple[Database, Sandbox, int],
) -> None:
    store, _, _ = written
    calls = select(store, CALLBACKS.c.outcome, CALLBACKS.c.repeats, CALLBACKS.c.rule)
    assert {(row.outcome, row.repeats > 0) for row in calls} == {
        ("accepted", False),
        ("accepted", True),
        ("refused", False),
    }
    assert "address" in {row.rule for row in calls}
    ours = sa.and_(ORDERS.c.source != "elsewhere", ORDERS.c.completed_by.is_not(None))
    assert {row.claimed_at is None for row in select(store, ORDERS.c.claimed_at, where=ours)} == {True, False}
    assert {row.status for row in select(store, EXCHANGES.c.status)} >= {200, 201, 400, 409, 422, 429, 504}
    with store.read() as connection:
        scores = predictions.score_by_type(connection, NOW - timedelta(days=7), NOW)
        fact = facts.get_fact(connection, FactKey.REFUSALS)
    assert sum(score.held for score in scores.values()) > 0
    assert fact is not None
    assert fact.value["counted"] == sum(row.outcome == "refused" for row in calls)


def test_the_provider_shows_what_was_last_seen_of_its_orders(written: tuple[Database, Sandbox, int]) -> None:
    store, sandbox, _ = written
    completed = select(store, ORDERS.c.provider_id, ORDERS.c.digest, where=ORDERS.c.next_look_at.is_(None))
    known = [row for row in completed if row.digest]
    sample = random.Random(0).sample(known, min(12, len(known)))

    async def ask() -> dict[str, str]:
        transport = InProcessTransport(sandbox.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sandbox.internal") as client:
            account = {"Email": "sandbox@example.com", "AccessToken": "sandbox"}
            token = (await client.post("/v1/Tokens", headers=account)).json()["Value"]
            client.headers["Authorization"] = f"Bearer {token}"
            ids = [row.provider_id for row in sample]
            return {one: digest_of((await client.get(f"/v1/Orders/{one}")).json()) for one in ids}

    assert asyncio.run(ask()) == {row.provider_id: row.digest for row in sample}


def test_what_is_learned_now_stands_before_all_of_the_week(store: Database, tmp_path: Path) -> None:
    with closing(Sandbox(tmp_path / "sandbox.db")) as sandbox:
        history = week(store, sandbox)
        history.begin(NOW)
        history.write_group()
    later = NOW + timedelta(minutes=1)
    store.write(lambda connection: ingest.place(connection, request(), source="form", actor="Ann", now=later))
    assert latest_changes(store)[0].po_number == request().po_number


def test_it_is_written_into_nothing_that_holds_orders(store: Database, tmp_path: Path) -> None:
    with closing(Sandbox(tmp_path / "sandbox.db")) as sandbox:
        sandbox.place_elsewhere(1)
        assert not week(store, sandbox).begin(NOW)
    with closing(Sandbox(tmp_path / "another.db")) as sandbox:
        assert week(store, sandbox).begin(NOW)
    store.write(lambda connection: ingest.place(connection, request(), source="form", actor="Ann", now=NOW))
    with closing(Sandbox(tmp_path / "third.db")) as sandbox:
        store.write(lambda connection: connection.execute(sa.delete(FACTS)))
        assert not week(store, sandbox).begin(NOW)
