"""Imports: progress of each, the value of its orders, when all will be placed and complete. Bounded reads.

Bounded by what one file can hold; all of it is found through the indexes on the file. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from tracking.errors import UnknownImport
from tracking.orders.model import CLOSED, State, is_open
from tracking.orders.vocabulary import MIXED
from tracking.reports import amounts
from tracking.reports.amounts import ORDERS_BY_LINES, Values
from tracking.reports.order_list.expected import expected_times
from tracking.reports.order_list.narrowing import FLAGGED
from tracking.reports.order_page.progress import LEAST_STEPS, Projection, project, steps
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, ORDERS
from tracking.storage.team.import_rows import DISCARDED, REJECTED, WAITING
from tracking.storage.team.snoozing import awake, snoozed
from tracking.storage.team.tables import IMPORT_ROWS, JOBS, import_key

PAGE_SIZE = 25
EXPECTED_ORDERS = 5_000
GROUPS = 20
_MINUTE = timedelta(minutes=1)


class ImportState(StrEnum):
    """How far an import is."""

    UPLOADING = "uploading"
    """Not all of its orders are stored yet, or wait again: whoever uploads it is at it, or was interrupted."""
    PLACING = "placing"
    STOPPED = "stopped"
    PLACED = "placed"
    DISCARDED = "discarded"
    """What waited was discarded by somebody; some of it may have been placed before."""
    EARLIER = "earlier"
    """Its orders alone are recorded, as an earlier version did."""


STATE_LABELS = {
    ImportState.UPLOADING: "Uploading",
    ImportState.PLACING: "Making orders",
    ImportState.STOPPED: "Stopped",
    ImportState.PLACED: "Orders created",
    ImportState.DISCARDED: "Discarded",
    ImportState.EARLIER: "Orders only",
}
# What became of a row here, which says nothing of the provider: an order that was made is Queued until it is sent.
OUTCOME_LABELS = {
    WAITING: "Waiting",
    "queued": "Order created",
    "exists": "Already there",
    REJECTED: "Rejected",
    DISCARDED: "Discarded",
}
_BY_JOB: dict[str | None, ImportState] = {"running": ImportState.PLACING, "stopped": ImportState.STOPPED}
_UNPLACED = {ImportState.UPLOADING, ImportState.PLACING, ImportState.STOPPED}


@dataclass(frozen=True, slots=True)
class ImportLine:
    """One import in the list: of `orders`, so many are `placed` (or were there already), `rejected`, `discarded`."""

    id: int
    name: str
    created_at: datetime
    actor: str | None
    rows: int
    orders: int
    state: ImportState
    placed: int
    rejected: int
    job_id: int | None
    changed_at: datetime | None = None
    changed_by: str | None = None
    finished_at: datetime | None = None
    discarded: int = 0

    @property
    def state_label(self) -> str:
        """How far it is, in words."""
        return STATE_LABELS[self.state]

    @property
    def waiting(self) -> int:
        """How many of its orders are still to be placed."""
        return max(self.orders - self.placed - self.rejected, 0) if self.state in _UNPLACED else 0


@dataclass(frozen=True, slots=True)
class Fulfilment:
    """By when 90 % of the open orders that are at the provider are complete; None where there is none to say it of.

    `orders` of them have enough similar orders to say it, `unclear` have not; of more than EXPECTED_ORDERS (`too_many`)
    nothing is said. `pace` projects when all are complete at the pace so far, from `steps` completions after the first.
    """

    by: datetime | None = None
    orders: int = 0
    unclear: int = 0
    too_many: bool = False
    pace: Projection | None = None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Orders with the same problem: how many, and the first of them; `reason` is why they need a decision."""

    text: str
    orders: int
    first: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ImportView:
    """One import: its orders by `outcomes` of their rows, then by the `states` of what was placed.

    `values` is what was placed is worth by currency. `placing` projects when all are placed, from `steps` groups that
    were; `fulfilment` when they are complete. `undecided` need a decision now, and `snoozed` wait.
    """

    line: ImportLine
    outcomes: Mapping[str, int]
    states: Mapping[str, int]
    units: int
    fulfilled: int
    undecided: int
    snoozed: int
    values: Values
    placing: Projection | None
    steps: int
    fulfilment: Fulfilment
    rejections: tuple[Group, ...] = ()
    decisions: tuple[Group, ...] = ()

    @property
    def orders(self) -> int:
        """How many orders it placed."""
        return sum(self.states.values())

    @property
    def queued(self) -> int:
        """How many of them are Queued: orders here, which were not sent yet."""
        return self.states.get(State.QUEUED, 0)

    @property
    def unsent(self) -> int:
        """How many of the open ones are not known to be at the provider."""
        return 0 if self.fulfilment.too_many else self.open - self.fulfilment.orders - self.fulfilment.unclear

    @property
    def open(self) -> int:
        """How many of them are open."""
        return sum(number for state, number in self.states.items() if is_open(state))


def imports(database: Database, page: int = 1, size: int = PAGE_SIZE) -> tuple[list[ImportLine], bool]:
    """A page of imports, newest first, and whether there are more."""
    newest = select(BATCHES).order_by(BATCHES.c.id.desc()).limit(size + 1).offset((page - 1) * size)
    with database.snapshot() as connection:
        rows = connection.execute(newest).mappings().all()
        return _lines(connection, rows[:size]), len(rows) > size


def find_import(database: Database, digest: str) -> ImportLine | None:
    """The import of the file with this digest; None where it was never uploaded."""
    first = select(BATCHES).where(BATCHES.c.digest == digest).order_by(BATCHES.c.id).limit(1)
    with database.snapshot() as connection:
        return next(iter(_lines(connection, connection.execute(first).mappings().all())), None)


def _lines(connection: Connection, batches: Sequence[Mapping[Any, Any]]) -> list[ImportLine]:
    keys = {import_key(batch["id"]): batch["id"] for batch in batches}
    jobs = {
        keys[job["key"]]: job for job in connection.execute(select(JOBS).where(JOBS.c.key.in_(keys))).mappings().all()
    }
    outcomes = _outcomes_there(connection, [batch["id"] for batch in batches])
    return [_line(batch, jobs.get(batch["id"]), outcomes.get(batch["id"], frozenset())) for batch in batches]


def _outcomes_there(connection: Connection, batch_ids: Sequence[int]) -> dict[int, frozenset[str]]:
    """Which outcomes rows of each import have, those of imports without rows left out; looks at a row of each."""
    rows = IMPORT_ROWS.c
    there = [
        sa.exists().where(rows.batch_id == BATCHES.c.id, rows.outcome == outcome).correlate(BATCHES).label(outcome)
        for outcome in OUTCOME_LABELS
    ]
    of_each = connection.execute(select(BATCHES.c.id, *there).where(BATCHES.c.id.in_(batch_ids))).mappings()
    outcomes = {row["id"]: frozenset(outcome for outcome in OUTCOME_LABELS if row[outcome]) for row in of_each}
    return {batch_id: each for batch_id, each in outcomes.items() if each}


def _line(batch: Mapping[Any, Any], job: Mapping[Any, Any] | None, outcomes: frozenset[str]) -> ImportLine:
    about = {name: batch[name] for name in ("id", "name", "created_at", "actor", "rows", "orders")}
    state = _state(job["state"] if job else None, outcomes)
    if job is None:
        return ImportLine(**about, state=state, placed=0 if outcomes else batch["orders"], rejected=0, job_id=None)
    times = {name: job[name] for name in ("changed_at", "changed_by", "finished_at")}
    counts = {"placed": job["done"], "rejected": job["skipped_why"].get(REJECTED, 0)}
    counts["discarded"] = job["skipped_why"].get(DISCARDED, 0)
    return ImportLine(**about, **times, **counts, state=state, job_id=job["id"])


def _state(job_state: str | None, outcomes: frozenset[str]) -> ImportState:
    """How far an import is, by the state of its job and the outcomes of its rows."""
    if job_state in _BY_JOB:
        return _BY_JOB[job_state]
    if job_state is None and not outcomes:
        return ImportState.EARLIER
    if WAITING in outcomes:  # no job places them
        return ImportState.UPLOADING
    return ImportState.DISCARDED if DISCARDED in outcomes else ImportState.PLACED


def import_view(database: Database, batch_id: int, now: datetime) -> ImportView:
    """One import as it is now. Raises UnknownImport."""
    with database.snapshot() as connection:
        batch = connection.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).mappings().one_or_none()
        if batch is None:
            raise UnknownImport(f"there is no import {batch_id}")
        [line] = _lines(connection, [batch])
        outcomes = _outcomes(connection, batch_id)
        states = Counter[str]()
        sums = Counter[str]()
        for row in _states(connection, batch_id, now):
            states[row["state"]] += row["orders"]
            sums.update({name: int(row[name] or 0) for name in ("units", "fulfilled", "undecided", "snoozed")})
        placed_at = _placed_at(connection, line) if line.state is ImportState.PLACING else []
        values = _values(connection, batch_id)
        rejections = _rejections(connection, batch_id) if outcomes.get("rejected") else ()
        decisions = _decisions(connection, batch_id, now) if sums["undecided"] else ()
        open_orders = _open_orders(connection, batch_id)
        completed_at = _completed_at(connection, batch_id) if any(map(is_open, states)) else []
    placing = project(placed_at, placed_at[-1][1] + line.waiting, now) if len(placed_at) > LEAST_STEPS else None
    lost = sum(number for state, number in states.items() if state in CLOSED and state != State.COMPLETED)
    fulfilment = replace(
        _fulfilment(database, open_orders, now),
        pace=project(completed_at, states.total() - lost + line.waiting, now),
        steps=steps(completed_at),
    )
    return ImportView(
        line, outcomes, dict(states), sums["units"], sums["fulfilled"], sums["undecided"], sums["snoozed"], values,
        placing, steps(placed_at), fulfilment, rejections, decisions,
    )  # fmt: skip


def _outcomes(connection: Connection, batch_id: int) -> dict[str, int]:
    rows = IMPORT_ROWS.c
    counted = select(rows.outcome, func.count()).where(rows.batch_id == batch_id).group_by(rows.outcome)
    numbers = {row[0]: row[1] for row in connection.execute(counted)}
    return {outcome: numbers[outcome] for outcome in OUTCOME_LABELS if outcome in numbers}


def _states(connection: Connection, batch_id: int, now: datetime) -> Sequence[Mapping[Any, Any]]:
    query = select(
        ORDERS.c.state,
        func.count().label("orders"),
        func.sum(ORDERS.c.units).label("units"),
        func.sum(ORDERS.c.units_fulfilled).label("fulfilled"),
        func.sum(sa.case((sa.and_(FLAGGED, awake(now)), 1), else_=0)).label("undecided"),
        func.sum(sa.case((snoozed(now), 1), else_=0)).label("snoozed"),
    )
    return connection.execute(query.where(ORDERS.c.batch_id == batch_id).group_by(ORDERS.c.state)).mappings().all()


def _placed_at(connection: Connection, line: ImportLine) -> list[tuple[datetime, int]]:
    """How many orders were placed when, added up, since it was started or resumed."""
    since = max(line.created_at, line.changed_at or line.created_at)
    groups = select(ORDERS.c.created_at, func.count()).where(ORDERS.c.batch_id == line.id, ORDERS.c.created_at >= since)
    total, placed = 0, []
    for at, number in connection.execute(groups.group_by(ORDERS.c.created_at).order_by(ORDERS.c.created_at)):
        total += number
        placed.append((at, total))
    return placed


def _values(connection: Connection, batch_id: int) -> Values:
    """What the orders are worth by currency; what an order's currency does not say is added up from its lines."""
    this = ORDERS.c.batch_id == batch_id
    sums = amounts.Sums()
    added = select(ORDERS.c.currency, func.sum(ORDERS.c.value_minor), func.count()).where(this)
    for currency, value, orders in connection.execute(added.group_by(ORDERS.c.currency)):
        sums.add(currency, int(value), orders)
    if sums.unclear:
        columns = (ORDERS.c.id, ORDERS.c.currency, ORDERS.c.value_minor)
        mixed = sa.or_(ORDERS.c.currency.is_(None), ORDERS.c.currency == "", ORDERS.c.currency.contains(MIXED))
        rows = connection.execute(select(*columns).where(this, mixed).limit(ORDERS_BY_LINES)).mappings().all()
        by_order = amounts.order_values(connection, rows)
        for row in rows:
            sums.split(row["currency"], row["value_minor"], by_order[row["id"]])
    return sums.values


def _rejections(connection: Connection, batch_id: int) -> tuple[Group, ...]:
    """Why rows were rejected, most first; a PO number at a message's head is left out, so that alike ones are one."""
    rows = IMPORT_ROWS.c
    headed = rows.message.startswith(rows.po_number)
    text = sa.case(
        (headed, sa.literal("PO number") + func.substr(rows.message, func.length(rows.po_number) + 1)),
        else_=rows.message,
    ).label("text")
    groups = select(text, func.count().label("orders"), func.min(rows.po_number).label("first"))
    groups = groups.where(rows.batch_id == batch_id, rows.outcome == "rejected").group_by("text")
    counted = connection.execute(groups.order_by(sa.desc("orders"), "first").limit(GROUPS)).mappings()
    return tuple(Group(row["text"] or "rejected", row["orders"], row["first"]) for row in counted)


def _decisions(connection: Connection, batch_id: int, now: datetime) -> tuple[Group, ...]:
    reason = func.coalesce(ORDERS.c.attention_reason, "other").label("reason")
    groups = select(reason, func.count().label("orders"), func.min(ORDERS.c.po_number).label("first"))
    groups = groups.where(ORDERS.c.batch_id == batch_id, FLAGGED, awake(now)).group_by("reason")
    counted = connection.execute(groups.order_by(sa.desc("orders"), "reason").limit(GROUPS)).mappings()
    return tuple(Group("", row["orders"], row["first"], row["reason"]) for row in counted)


def _open_orders(connection: Connection, batch_id: int) -> list[dict[str, Any]]:
    """The open orders at the provider as far as they differ, with how many each stands for."""
    names = ("type", "units", "state", "accepted_at")
    query = select(*(ORDERS.c[name] for name in names)).where(
        ORDERS.c.batch_id == batch_id, ORDERS.c.state.not_in(sorted(CLOSED)), ORDERS.c.accepted_at.is_not(None)
    )
    return [dict(row) for row in connection.execute(query.limit(EXPECTED_ORDERS + 1)).mappings()]


def _completed_at(connection: Connection, batch_id: int) -> list[tuple[datetime, int]]:
    """How many orders were complete when, added up, by when we learned it."""
    completed = ORDERS.c.batch_id == batch_id, ORDERS.c.state == State.COMPLETED, ORDERS.c.completed_by.is_not(None)
    times = sorted(connection.execute(select(ORDERS.c.completed_by).where(*completed)).scalars())
    return [(at, number) for number, at in enumerate(times, 1)]


def _fulfilment(database: Database, open_orders: Sequence[Mapping[str, Any]], now: datetime) -> Fulfilment:
    if len(open_orders) > EXPECTED_ORDERS:
        return Fulfilment(too_many=True)
    alike = Counter(
        (order["type"], order["units"], order["accepted_at"].replace(second=0, microsecond=0)) for order in open_orders
    )
    kinds = [
        {"type": kind, "units": units, "state": State.PENDING.value, "accepted_at": minute + _MINUTE}
        for kind, units, minute in alike
    ]
    times = list(zip(expected_times(database, kinds, now), alike.values(), strict=True))
    ends = [by for by, _ in times if by is not None]
    orders = sum(number for by, number in times if by is not None)
    return Fulfilment(max(ends, default=None), orders, alike.total() - orders)


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One order of the file: its rows there, and what came of it; `state` is that of its order."""

    po_number: str
    first_row: int | None
    last_row: int | None
    outcome: str
    message: str
    state: str | None


def import_rows(
    database: Database, batch_id: int, outcome: str = "", page: int = 1, size: int = PAGE_SIZE
) -> list[ImportRow]:
    """A page of the file's orders in the file's order; those with this outcome, or all."""
    names = ("po_number", "first_row", "last_row", "outcome", "message")
    query = select(*(IMPORT_ROWS.c[name] for name in names), ORDERS.c.state)
    query = query.outerjoin(ORDERS, ORDERS.c.id == IMPORT_ROWS.c.order_id).where(IMPORT_ROWS.c.batch_id == batch_id)
    if outcome:
        query = query.where(IMPORT_ROWS.c.outcome == outcome)
    with database.read() as connection:
        rows = connection.execute(query.order_by(IMPORT_ROWS.c.number).limit(size).offset((page - 1) * size))
        return [ImportRow(**{**row, "message": row["message"] or ""}) for row in rows.mappings()]


def import_record(view: ImportView) -> dict[str, Any]:
    """The import as programs are given it; amounts are decimal texts by currency."""
    record = asdict(view) | {"values": amounts.decimal_texts(view.values)}
    return {**record.pop("line"), **record}
