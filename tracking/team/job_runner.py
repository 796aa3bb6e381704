"""Runs jobs in the background: a group of orders a step, in turn among the jobs, with pauses for other work.

A step is one transaction: the orders' acts, their outcomes and the job's counts. What was killed in between wrote
nothing of it, so that each order is touched once. What an order became meanwhile is judged when its turn comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from tracking import ingest
from tracking.errors import NotAllowed, StoreBusy, StoreUnusable
from tracking.orders.vocabulary import PollReason
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.leases import lease_rows, unleased
from tracking.storage.tables import ORDERS, OUTBOX
from tracking.storage.team.tables import JOB_ORDERS, JOBS
from tracking.team.jobs import DONE, RUNNING, SKIPPED, WAITING, Group, Job, Step, after_group
from tracking.team.plans import CALL_SHARE, CALLS, Act, Parameters, refusal, work_of
from tracking.team.work import check_assignee

log = logging.getLogger(__name__)

ORDERS_AT_ONCE = 25
PAUSE_SHARE = 2  # times as long as a step took, before the next one: others write meanwhile
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = timedelta(minutes=5)
WAIT_AFTER_ERROR = timedelta(minutes=1)
SECONDS_AHEAD = 4  # calls that a job has asked for and that were not made yet; beyond that it waits
WAIT_FOR_CALLS = timedelta(seconds=1)
STUMBLED = "the console could not do it; its log says why"
_COLUMNS = [JOBS.c[name] for name in ("id", "act", "parameters", "person", "done", "skipped", "skipped_why")]
_NOW: Any = bindparam("now")
_IS_TURN = or_(JOBS.c.next_turn_at <= _NOW, JOBS.c.next_turn_at > bindparam("too_far"))
_FREE = or_(unleased(JOBS), JOBS.c.lease_owner == bindparam("owner"), JOBS.c.lease_until > bindparam("too_far"))
_DUE = and_(JOBS.c.state == RUNNING, _IS_TURN, _FREE)
ANY_DUE = select(JOBS.c.id).where(_DUE).limit(1)
LEASE_JOB = lease_rows(JOBS.c.id, _DUE, (JOBS.c.next_turn_at, JOBS.c.id), _COLUMNS)
UPDATE_JOB = update(JOBS).where(JOBS.c.id == bindparam("changed_id"))
_THIS = JOB_ORDERS.c.job_id == bindparam("job")
NEXT_ORDERS = (
    select(JOB_ORDERS.c.order_id)
    .where(_THIS, JOB_ORDERS.c.outcome == WAITING)
    .order_by(JOB_ORDERS.c.order_id)
    .limit(bindparam("at_most"))
)
SETTLE = (
    update(JOB_ORDERS)
    .where(_THIS, JOB_ORDERS.c.order_id == bindparam("order"))
    .values(outcome=bindparam("became"), why=bindparam("reason"), at=bindparam("now"))
)
CALLING = select(func.count()).select_from(JOBS).where(JOBS.c.state == RUNNING, JOBS.c.act.in_(sorted(CALLS)))
_LATEST = (
    select(JOB_ORDERS.c.order_id)
    .where(_THIS, JOB_ORDERS.c.outcome == DONE)
    .order_by(JOB_ORDERS.c.order_id.desc())
    .limit(bindparam("at_most"))
    .cte("latest")
)
_POLL_AWAITED = and_(ORDERS.c.next_look_at <= _NOW, ORDERS.c.next_look_why == PollReason.REQUESTED.value)
_SEND_AWAITED = and_(OUTBOX.c.done.is_(False), OUTBOX.c.next_attempt_at <= _NOW)
_POLLED = _LATEST.join(ORDERS, ORDERS.c.id == _LATEST.c.order_id)
_SENT = _LATEST.join(OUTBOX, OUTBOX.c.order_id == _LATEST.c.order_id)
AWAITED = {
    Act.POLL: select(func.count()).select_from(_POLLED).where(_POLL_AWAITED),
    Act.RESEND: select(func.count()).select_from(_SENT).where(_SEND_AWAITED),
}


class _Turn(NamedTuple):
    """Whose turn it was, and what came of it; None where it has to wait."""

    job: Job
    group: Group | None


class JobRunner:
    """Takes running jobs in turn, under a lease, and does their next group.

    `max_rate` is the limit in calls a second; all jobs together take half of it. `steps` are the steps of acts that are
    not done with orders there are, by their act: see `jobs.Step`.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        lease: timedelta,
        clock: Callable[[], datetime],
        max_rate: float,
        steps: Mapping[Act, Step] | None = None,
    ) -> None:
        self._database = database
        self._owner = owner
        self._lease = lease
        self._clock = clock
        self._calls_per_second = max_rate * CALL_SHARE
        self._steps: dict[Act, Step] = {act: step_of_orders for act in Act if act is not Act.IMPORT}
        self._steps |= steps or {}

    async def turn(self) -> float | None:
        """Do the next group of the job whose turn it is; returns for how long to pause, None where nothing is due.

        Raises StoreBusy and StoreUnusable. Where a group fails otherwise its orders are taken one by one, and the one
        that cannot be done is skipped.
        """
        if not await asyncio.to_thread(self._is_any_due):
            return None
        began = asyncio.get_running_loop().time()
        try:
            turn = await self._run(ORDERS_AT_ONCE)
        except (StoreBusy, StoreUnusable):
            raise
        except Exception:  # one order's trouble must not end its job
            log.exception("a group of a job failed")
            turn = await self._run_one()
        if turn is None:
            return None
        if turn.group is not None and not turn.group.touched:
            log.info("job finished job=%d act=%s", turn.job.id, turn.job.act)
        return max((asyncio.get_running_loop().time() - began) * PAUSE_SHARE, SHORTEST_PAUSE)

    def _is_any_due(self) -> bool:
        with self._database.read() as connection:
            return connection.execute(ANY_DUE, self._due(self._clock())).first() is not None

    def _due(self, now: datetime) -> dict[str, Any]:
        """Parameters of ANY_DUE: what lies ahead of `too_far`, and so of any plan, is due: the clock was set back."""
        return {"now": now, "owner": self._owner, "too_far": now + max(LONGEST_PAUSE, 2 * self._lease)}

    async def _run(self, at_most: int) -> _Turn | None:
        return await self._database.run(partial(self._step, at_most=at_most))

    async def _run_one(self) -> _Turn | None:
        try:
            return await self._run(1)
        except (StoreBusy, StoreUnusable):
            raise
        except Exception:
            log.exception("an order of a job cannot be done")
            return await self._database.run(partial(self._step, at_most=1, gives_up=True))

    def _step(self, connection: Connection, at_most: int, *, gives_up: bool = False) -> _Turn | None:
        """One transaction: the job's lease, its next group, and its counts."""
        now = self._clock()
        values = self._due(now) | {"until": now + self._lease, "at_most": 1}
        row = connection.execute(LEASE_JOB, values).mappings().one_or_none()
        if row is None:
            return None
        job = Job(row["id"], Act(row["act"]), row["parameters"], row["person"])
        step = self._steps[job.act]
        if gives_up and step is not step_of_orders:
            return _postpone(connection, job, now + WAIT_AFTER_ERROR)
        at_once, jobs = self._calls_at_once(connection, job.act)
        if self._is_ahead(connection, job, jobs, now):
            return _postpone(connection, job, now + WAIT_FOR_CALLS)
        group = (_give_up if gives_up else step)(connection, job, now, at_most, at_once)
        seconds = group.done * CALLS.get(job.act, 0) * jobs / self._calls_per_second
        wait = min(timedelta(seconds=seconds), LONGEST_PAUSE)
        changed = after_group(row, group, now) | ({"next_turn_at": now + wait} if group.touched else {})
        connection.execute(UPDATE_JOB, {"changed_id": job.id, **changed})
        return _Turn(job, group)

    def _is_ahead(self, connection: Connection, job: Job, jobs: int, now: datetime) -> bool:
        """Whether many of the calls that the job asked for still wait, so that more would hold others up."""
        if job.act not in AWAITED:
            return False
        most = max(int(self._calls_per_second * SECONDS_AHEAD / jobs), 1)
        values = {"job": job.id, "now": now, "at_most": most}
        return bool(connection.execute(AWAITED[job.act], values).scalar_one() >= most)

    def _calls_at_once(self, connection: Connection, act: Act) -> tuple[int, int]:
        """How many calls a group of the act may cost, about a second's worth; and how many jobs share the budget."""
        if act not in CALLS:
            return ORDERS_AT_ONCE, 1
        jobs = max(connection.execute(CALLING).scalar_one(), 1)
        return max(int(self._calls_per_second / jobs), 1), jobs


def _postpone(connection: Connection, job: Job, until: datetime) -> _Turn:
    connection.execute(UPDATE_JOB, {"changed_id": job.id, "next_turn_at": until})
    return _Turn(job, None)


def step_of_orders(connection: Connection, job: Job, now: datetime, at_most: int, calls: int) -> Group:
    """Act on the next orders of the job, or skip them: each with its outcome in the same transaction."""
    outcomes: dict[int, str | None] = {}
    acted = 0
    for order_id in _next_orders(connection, job, at_most):
        if acted >= calls:
            break
        outcomes[order_id] = _act(connection, job, order_id, now)
        acted += outcomes[order_id] is None
    return _settle(connection, job, outcomes, now)


def _next_orders(connection: Connection, job: Job, at_most: int) -> list[int]:
    return list(connection.execute(NEXT_ORDERS, {"job": job.id, "at_most": at_most}).scalars())


def _act(connection: Connection, job: Job, order_id: int, now: datetime) -> str | None:
    """Act on one order; returns why it is skipped, None where it was done."""
    stored = orders.find_order(connection, order_id=order_id, with_lines=False)
    if stored is None:
        return "there is no such order any more"
    parameters = Parameters.from_document(job.parameters)
    if why := refusal(stored.order, job.act, parameters):
        return why
    by: dict[str, Any] = {"actor": job.person, "now": now, "job": job.id}
    try:
        if (work := work_of(job.act, parameters)) is not None:
            check_assignee(connection, order_id, work)
            ingest.record_work(connection, order_id, work, **by)
        elif job.act is Act.ACKNOWLEDGE:
            ingest.record_note(connection, order_id, text=parameters.reason or "", acknowledges=True, **by)
        else:
            what = "resend" if job.act is Act.RESEND else "check"
            ingest.request_action(connection, order_id, what=what, **by)
    except NotAllowed as exc:
        return str(exc)
    return None


def _settle(connection: Connection, job: Job, outcomes: Mapping[int, str | None], now: datetime) -> Group:
    rows = [
        {"job": job.id, "order": order_id, "became": SKIPPED if why else DONE, "reason": why, "now": now}
        for order_id, why in outcomes.items()
    ]
    if rows:
        connection.execute(SETTLE, rows)
    skipped = Counter(why for why in outcomes.values() if why)
    return Group(len(rows) - skipped.total(), skipped)


def _give_up(connection: Connection, job: Job, now: datetime, at_most: int, _calls: int) -> Group:
    """Skip what cannot be done, so that the job goes on."""
    return _settle(connection, job, dict.fromkeys(_next_orders(connection, job, at_most), STUMBLED), now)
