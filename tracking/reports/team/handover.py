"""Data of the handover: what came, ended and was decided since a moment, and what is open or late now.

Bounded: what is too much to count is counted as far as a limit, and said to be at least so much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, false, func, or_, select

from tracking.forecasting.incidents import LateOrders, stored_late_orders
from tracking.orders.model import State
from tracking.orders.vocabulary import EventKind
from tracking.reports import amounts, health
from tracking.reports.board.decisions import Decisions, decisions
from tracking.reports.health import Health
from tracking.reports.order_list.conditions import COUNTED, conditions, count
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.narrowing import tested_number
from tracking.reports.order_list.view_counts import ViewCount, view_counts
from tracking.reports.team import audit
from tracking.reports.team.audit import AuditEntry, AuditFilters
from tracking.reports.team.jobs import JobStatus, jobs
from tracking.reports.team.outages import OutageReport, outage_report
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, ORDERS
from tracking.storage.team import snoozing
from tracking.storage.team.audit_log import AuditKind
from tracking.storage.team.tables import JOBS

JobCounts = Mapping[int, tuple[int, int]]

USUAL_SPAN = timedelta(hours=8)
LONGEST_SPAN = timedelta(days=31)
ORDERS_READ = 2_000
ENTRIES_READ = 2_000
SNOOZED_READ, SNOOZED_LISTED = 1_000, 20
EXAMPLES = 3
UNSENT = (State.QUEUED.value, State.SENDING.value)
DECISIONS = (
    AuditKind.ACKNOWLEDGED, AuditKind.REOPENED, AuditKind.RESENT, AuditKind.PLACED_ANEW, AuditKind.APPROVED,
    AuditKind.DECLINED, AuditKind.ASSIGNED, AuditKind.SNOOZED, AuditKind.SNOOZE_ENDED, AuditKind.NOTED,
    AuditKind.SUBMITTED, AuditKind.IMPORTED, AuditKind.JOB_STARTED, AuditKind.JOB_STOPPED, AuditKind.JOB_RESUMED,
    AuditKind.REVEALED, AuditKind.EXPORTED, AuditKind.EVIDENCE_EXPORTED, AuditKind.ERASED, AuditKind.DRILL_STARTED,
    AuditKind.DRILL_CUSTOMERS_INFORMED, AuditKind.DRILL_ENDED, AuditKind.IMPORT_DISCARDED,
)  # fmt: skip
# What ended, by the events that say so, and the state that a list of it is of.
_ENDS = {
    State.COMPLETED: (EventKind.COMPLETED,),
    State.CANCELLED: (EventKind.CANCELLED,),
    State.REFUSED: (EventKind.REFUSED, EventKind.PO_NUMBER_MISMATCH),
}


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The orders that were made in the time; types, sources and values (minor units by currency) of the newest `read`.

    Of no more than that these are all.
    """

    orders: ViewCount
    by_type: Mapping[str, int]
    by_source: Mapping[str, int]
    values: amounts.Values
    read: int


@dataclass(frozen=True, slots=True)
class Acts:
    """What somebody did of one kind: how often, with how many orders where one act was on many, and examples.

    `orders` is 0 where no act was on many; `act` is what a job does, `purpose` what the orders were for. A job that was
    stopped twice is one of `jobs`, and its orders are counted once; `outcome`: how many orders of these jobs are done,
    and how many were skipped, by now.
    """

    who: str
    signed_in: bool
    kind: str
    act: str
    purpose: str
    number: int
    orders: int
    jobs: int
    outcome: tuple[int, int] | None
    po_numbers: tuple[str, ...]
    job_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SnoozedOrder:
    """An order that waits until a time, or until something changes (None)."""

    po_number: str
    until: datetime | None
    assignee: str | None


@dataclass(frozen=True, slots=True)
class Handover:
    """What one shift hands on to the next, of the time from `since` to `until`.

    `ended` counts by state, `views` the views of the list of orders now. With `acts_capped` only the newest acts were
    counted. `settings` are the entries of the audit log that say which settings changed. `unsent` orders of ours have
    not reached the provider yet, as far as an answer says.
    """

    since: datetime
    until: datetime
    arrivals: Arrivals
    ended: Mapping[str, ViewCount]
    acts: tuple[Acts, ...]
    acts_capped: bool
    settings: tuple[AuditEntry, ...]
    decisions: Decisions
    views: Mapping[str, ViewCount]
    snoozed: tuple[SnoozedOrder, ...]
    jobs: tuple[JobStatus, ...]
    unsent: ViewCount
    late: LateOrders
    outages: OutageReport
    health: Health


def last_sign_ins(database: Database, name: str) -> tuple[datetime, ...]:
    """When somebody of this name last signed in, and the time before, newest first; empty where that is not known."""
    return tuple(
        entry.at for entry in audit.entries(database, AuditFilters(name, AuditKind.SIGNED_IN), limit=2).entries
    )


def handover(database: Database, since: datetime, now: datetime) -> Handover:
    """Read what is handed on, since LONGEST_SPAN ago at the earliest."""
    since = max(since, now - LONGEST_SPAN)
    with database.snapshot() as connection:
        arrivals = _arrivals(connection, since, now)
        ended = {state.value: _ended(connection, kinds, since, now) for state, kinds in _ENDS.items()}
        snoozed = _snoozed(connection, now)
        late, outages = stored_late_orders(connection), outage_report(connection, since, now)
        unsent = _view_count(connection, conditions(connection, Filters(states=UNSENT), now))
    page = audit.entries(database, AuditFilters(since=since), limit=ENTRIES_READ)
    return Handover(
        since=since,
        until=now,
        arrivals=arrivals,
        ended=ended,
        acts=_acts(page.entries, _job_counts(database, page.entries)),
        acts_capped=page.next_below is not None,
        settings=tuple(entry for entry in page.entries if entry.kind == AuditKind.SETTINGS_CHANGED),
        decisions=decisions(database, now),
        views=view_counts(database, now),
        snoozed=snoozed,
        jobs=tuple(job for job in jobs(database).jobs if job.state != "finished"),
        unsent=unsent,
        late=late,
        outages=outages,
        health=health.health(database, now),
    )


def _view_count(connection: Connection, clauses: list[Any], ids: Any = None) -> ViewCount:
    number = count(connection, clauses, ids)
    return ViewCount(min(number, COUNTED), more=number > COUNTED)


def _arrivals(connection: Connection, since: datetime, now: datetime) -> Arrivals:
    matching = conditions(connection, Filters(created_from=since), now)
    columns = (ORDERS.c[name] for name in ("id", "type", "source", "currency", "value_minor"))
    sorted_so = select(*columns).where(*matching).order_by(ORDERS.c.created_at.desc(), ORDERS.c.id.desc())
    newest = sorted_so.limit(ORDERS_READ).subquery()
    groups = select(newest.c.type, newest.c.source, newest.c.currency, func.count(), func.sum(newest.c.value_minor))
    by_type, by_source, worth = Counter[str](), Counter[str](), Counter[str]()
    unclear = []
    for kind, source, currency, orders, value in connection.execute(groups.group_by(*groups.selected_columns[:3])):
        by_type[kind] += orders
        by_source[source] += orders
        if amounts.is_one_currency(currency):
            worth[currency] += int(value)
        else:
            unclear.append(newest.c.currency.is_not_distinct_from(currency))
    others = select(newest.c.id, newest.c.currency, newest.c.value_minor).where(or_(false(), *unclear))
    rows = connection.execute(others).mappings().all() if unclear else ()
    for values in amounts.order_values(connection, rows).values():
        worth.update(values)
    return Arrivals(_view_count(connection, matching), by_type, by_source, dict(worth), by_type.total())


def _ended(connection: Connection, kinds: Sequence[EventKind], since: datetime, now: datetime) -> ViewCount:
    """Orders that ended in the time, by when we learned it; those that were over when first seen are left out.

    Counted event by event, as far as is counted: a list of all of them would be made before the first was counted.
    """
    matching = [EVENTS.c.kind.in_(kinds), EVENTS.c.learned_at >= since]
    matching += conditions(connection, Filters(watched=True), now)
    ended = select(tested_number(EVENTS.c.order_id)).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    return _view_count(connection, matching, ended.where(*matching).distinct())


def _job_counts(database: Database, entries: Sequence[AuditEntry]) -> JobCounts:
    """How many orders of the jobs in these entries are done and were skipped by now, by the job's number."""
    ids = {entry.job_id for entry in entries if entry.job_id is not None}
    query = select(JOBS.c.id, JOBS.c.done, JOBS.c.skipped).where(JOBS.c.id.in_(ids))
    with database.read() as connection:
        return {row.id: (row.done, row.skipped) for row in connection.execute(query)} if ids else {}


def _acts(entries: Sequence[AuditEntry], job_counts: JobCounts) -> tuple[Acts, ...]:
    """What was done, in the order of DECISIONS, and by whom."""
    kinds = [kind.value for kind in DECISIONS]
    groups: dict[tuple[str, bool, str, str, str], list[AuditEntry]] = {}
    for entry in entries:
        if entry.kind in kinds:
            act, purpose = (str(entry.detail.get(name) or "") for name in ("act", "purpose"))
            groups.setdefault((entry.who, entry.signed_in, entry.kind, act, purpose), []).append(entry)
    in_order = sorted(groups.items(), key=lambda group: (kinds.index(group[0][2]), group[0][0].casefold()))
    return tuple(_acts_of(*key, of_key, job_counts) for key, of_key in in_order)


def _acts_of(
    who: str, signed_in: bool, kind: str, act: str, purpose: str, entries: Sequence[AuditEntry], job_counts: JobCounts
) -> Acts:
    po_numbers = dict.fromkeys(entry.po_number for entry in entries if entry.po_number)
    # A job that was stopped twice has its orders once: each entry says how many it has in all.
    orders: dict[Any, int] = {}
    for entry in entries:
        if kind not in (AuditKind.ERASED, AuditKind.EXPORTED):
            what = entry.seq if entry.job_id is None else f"job {entry.job_id}"
            orders[what] = int(entry.detail.get("orders") or 0)
    job_ids = dict.fromkeys(entry.job_id for entry in entries if entry.job_id is not None)
    counts = [job_counts[job_id] for job_id in job_ids if job_id in job_counts]
    outcome = (sum(count[0] for count in counts), sum(count[1] for count in counts)) if counts else None
    examples = tuple(po_numbers)[:EXAMPLES], tuple(job_ids)[:EXAMPLES]
    numbers = len(entries), sum(orders.values()), len(job_ids)
    return Acts(who, signed_in, kind, act, purpose, *numbers, outcome, *examples)


def _snoozed(connection: Connection, now: datetime) -> tuple[SnoozedOrder, ...]:
    """Those that ask for somebody again first; of very many, among those snoozed last."""
    columns = (ORDERS.c[name] for name in ("po_number", "snoozed_until", "assignee"))
    newest = select(*columns).where(snoozing.snoozed(now)).order_by(ORDERS.c.snoozed_at.desc()).limit(SNOOZED_READ)
    orders = [SnoozedOrder(*row) for row in connection.execute(newest)]
    orders.sort(key=lambda order: (order.until is None, order.until or now))
    return tuple(orders[:SNOOZED_LISTED])
