"""Writes the demonstration's week of history, group by group; after an interruption it goes on where it was.

It goes into an empty store beside an empty sandbox and nowhere else. How far it came is a fact of the store, committed
with the orders; the same plan is made again from it, so that a process that was killed goes on where it stopped.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tracking.app.demonstration import plan
from tracking.app.demonstration.follow import Desk, FollowedOrder, chance
from tracking.app.demonstration.past import Past
from tracking.app.demonstration.plan import PlannedOrder
from tracking.app.demonstration.team.journal import Journal
from tracking.forecasting import learned
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.waits import Policy
from tracking.orders.model import State, Submission
from tracking.provider.call_log import ApiCallRecord, store_api_calls
from tracking.sandbox.server import Sandbox
from tracking.storage import facts, inbox
from tracking.storage.claims import ClaimCipher
from tracking.storage.counters import hour_of, record_balance, record_late
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.integration.notifications import nobody_notified
from tracking.storage.tables import BATCHES, LINES, ORDERS
from tracking.storage.team.tables import IMPORT_ROWS, JOBS, import_key
from tracking.team.jobs import FINISHED
from tracking.webhooks.receiver import RefusalRule

log = logging.getLogger(__name__)

GROUP_LINES = 80
LEARNED_EVERY = timedelta(hours=8)
# Longer than live polls wait, so that cards that travel for days do not fill the log.
POLICY = Policy(timedelta(seconds=1), timedelta(hours=2))
_RECORDED = [entry.name for entry in fields(ApiCallRecord) if entry.name not in {"order_po", "provider_id"}]
_FORGED = 24
_STRANGERS = ("203.0.113.7", "198.51.100.23")


class History:
    """Writes the week that ends when it is first begun."""

    def __init__(
        self,
        database: Database,
        sandbox: Sandbox,
        *,
        address: Callable[[str], str | None],
        cipher: ClaimCipher,
        seed: int = 0,
        orders: int = plan.ORDERS,
    ) -> None:
        self._database, self._sandbox, self._address = database, sandbox, address
        self._seed, self._orders = seed, orders
        self._forecasts = Forecasts()
        self._planner = PlanningContext(POLICY, random.Random(seed), cipher, self._forecasts)  # noqa: S311 - it guards nothing  # nosec B311
        self._learned_at: datetime | None = None
        self._week: Sequence[PlannedOrder] = ()
        self._until: datetime | None = None
        self._done = 0

    def begin(self, now: datetime) -> bool:
        """Find out whether there is something to write; begins it where store and sandbox are empty.

        Raises StoreError.
        """
        with self._database.read() as connection:
            fact = facts.get_fact(connection, FactKey.DEMONSTRATION)
            empty = connection.execute(sa.select(ORDERS.c.id).limit(1)).first() is None
        if fact is None and not (empty and not self._sandbox.provider.database.count_orders()):
            return False
        if fact is None:
            value: Mapping[str, Any] = {
                "until": now.isoformat(),
                "seed": self._seed,
                "orders": self._orders,
                "done": 0,
                "complete": False,
            }
            begun = value
            self._database.write(lambda connection: facts.set_fact(connection, FactKey.DEMONSTRATION, begun, now))
        else:
            value = fact.value
        if value["complete"]:
            return False
        self._until = datetime.fromisoformat(value["until"])
        self._week = plan.plan_week(self._until, value["seed"], value["orders"])
        self._seed, self._orders, self._done = value["seed"], value["orders"], value["done"]
        return True

    def write_group(self) -> bool:
        """Write the next group of orders; False once all are written. Raises StoreError, after which it can go on."""
        group = list(_group(self._week[self._done :]))
        self._database.write(lambda connection: self._write(connection, group))
        self._done += len(group)
        return self._done < len(self._week)

    def _write(self, connection: Connection, group: Sequence[PlannedOrder]) -> None:
        """Write one group. The sandbox commits first: what it has then is left as it is when the group comes again."""
        until = self._until
        assert until is not None  # noqa: S101 - it has begun  # nosec B101
        self._learn(connection, group[0].at)
        journal = Journal(connection, self._planner.cipher, _waiting_entries(connection))
        past = Past(self._sandbox.provider, until.timestamp())
        desk = Desk(connection, past, self._planner, self._address, until, journal)
        if self._done == 0:
            journal.save_view(group[0].at - timedelta(minutes=5))
            _refuse_forged_calls(connection, until, chance(self._seed, -1))
        with nobody_notified(connection), desk.past.transaction():
            for number, planned in enumerate(group, self._done):
                desk.planner = replace(self._planner, rng=chance(self._seed, number))
                FollowedOrder(desk, planned, _batch_id(connection, planned, self._week, journal)).run()
        _store_calls(connection, desk.calls)
        if desk.refusals:
            inbox.add_refusal_counts(connection, Counter(desk.refusals), until)
        self._note_progress(connection, until, self._done + len(group), journal)

    def _note_progress(self, connection: Connection, until: datetime, done: int, journal: Journal) -> None:
        complete = done >= len(self._week)
        progress: dict[str, Any] = {"seed": self._seed, "orders": self._orders, "done": done, "complete": complete}
        # What is done with later orders is done after they were placed.
        progress["entries"] = journal.write(None if complete else self._week[done].at)
        facts.set_fact(connection, FactKey.DEMONSTRATION, {"until": until.isoformat(), **progress}, until)
        if complete:
            # What other systems placed up to now is here, so that the list is read from here on.
            read_until = {"watermark": until.isoformat(), "next_at": until.isoformat()}
            facts.set_fact(connection, FactKey.DISCOVERY, read_until, until)
            _record_late_orders(connection, until)
            _record_balances(connection, until, self._sandbox.provider.database.balance_cents())
            _record_imports(connection)

    def _learn(self, connection: Connection, now: datetime) -> None:
        """Learn from what had finished by then, so that predictions rest on no more than was known."""
        if self._learned_at is not None and now - self._learned_at < LEARNED_EVERY:
            return
        self._learned_at = now
        rows: Any = [_as_of(row, now) for row in learned.newest_orders(connection) if row.accepted_at <= now]
        histories = learned.history_by_class(rows, now)
        fitted = learned.fit_forecasts(histories, self._forecasts.by_class(), relative=True)
        self._forecasts.replace(fitted, learned.fit_finish_times(histories, self._forecasts))
        self._forecasts.webhook_share = learned.estimated_webhook_share(rows)


def _group(week: Sequence[PlannedOrder]) -> Iterable[PlannedOrder]:
    """The next orders, up to so many lines, so that the writer is held up for moments only."""
    lines = 0
    for planned in week:
        yield planned
        lines += len(planned.document["LineItems"])
        if lines >= GROUP_LINES:
            return


def _as_of(row: Any, now: datetime) -> SimpleNamespace:
    """The times of an order as they were known at a time."""
    values = dict(row._mapping)  # noqa: SLF001 - public; so named to differ from every column
    last_open = min(values["last_open_at"] or now, now)
    if values["completed_by"] is not None and values["completed_by"] > now:
        values |= {"completed_by": None, "completed_after": None, "state": State.PROCESSING, "last_open_at": last_open}
    elif values["last_open_at"] is not None:
        values["last_open_at"] = last_open
    return SimpleNamespace(**values)


def _waiting_entries(connection: Connection) -> list[dict[str, Any]]:
    """The entries of the audit log that the group before has left to be written."""
    fact = facts.get_fact(connection, FactKey.DEMONSTRATION)
    entries: list[dict[str, Any]] = fact.value.get("entries", []) if fact else []
    return entries


def _batch_id(
    connection: Connection, planned: PlannedOrder, week: Sequence[PlannedOrder], journal: Journal
) -> int | None:
    """The row of the file that the order came in."""
    if planned.file is None:
        return None
    stored = connection.execute(sa.select(BATCHES.c.id).where(BATCHES.c.digest == planned.file)).scalar()
    if stored is not None:
        return int(stored)
    within = [one for one in week if one.file == planned.file]
    lines = sum(len(one.document["LineItems"]) for one in within)
    values = {"digest": planned.file, "name": planned.file, "rows": lines, "orders": len(within)}
    add = sa.insert(BATCHES).values(created_at=planned.at, actor=planned.actor, **values).returning(BATCHES.c.id)
    batch_id = int(connection.execute(add).scalar_one())
    journal.start_import(batch_id, len(within), planned.actor or "", planned.at)
    return batch_id


def _record_imports(connection: Connection) -> None:
    """Record the rows of the week's files, and that the orders of each were placed at once."""
    names = ("product_id", "value_minor", "quantity", "external_id")
    for batch in connection.execute(sa.select(BATCHES)).mappings().all():
        of_batch = sa.select(ORDERS).where(ORDERS.c.batch_id == batch["id"]).order_by(ORDERS.c.id)
        orders = connection.execute(of_batch).mappings().all()
        rows, last = [], 1  # the header of the file
        for number, order in enumerate(orders, 1):
            of_order = sa.select(*(LINES.c[name] for name in names)).where(LINES.c.order_id == order["id"])
            lines = connection.execute(of_order.order_by(LINES.c.number)).all()
            row = {"batch_id": batch["id"], "number": number, "order_id": order["id"], "outcome": "queued"}
            row |= {"po_number": order["po_number"], "po_folded": order["po_folded"]}
            row |= {"first_row": last + 1, "last_row": last + len(lines)}
            rows.append(row | {"lines": [[at, *line] for at, line in enumerate(lines, last + 1)]})
            last += len(lines)
        connection.execute(sa.insert(IMPORT_ROWS), rows)
        ending = {"done": batch["orders"], "state": FINISHED, "finished_at": orders[-1]["created_at"]}
        connection.execute(sa.update(JOBS).where(JOBS.c.key == import_key(batch["id"])).values(ending))


def _record_late_orders(connection: Connection, until: datetime) -> None:
    """Record for each hour how many orders were late at its end, as the poller of that time would have."""
    times = sa.select(ORDERS.c.late_at, ORDERS.c.completed_by).where(ORDERS.c.state != State.REFUSED.value)
    rows = connection.execute(times.where(ORDERS.c.provider_id.is_not(None), ORDERS.c.late_at < until)).all()
    for hours in range(24 * plan.DAYS):
        at = hour_of(until) - timedelta(hours=hours, seconds=1)
        late = sum(row.late_at < at and (row.completed_by is None or row.completed_by > at) for row in rows)
        record_late(connection, late, at)


def _record_balances(connection: Connection, until: datetime, left_minor: int) -> None:
    """Record what the account held at each hour's end: what is left, and the cost of our orders that came after."""
    ours = ORDERS.c.accepted_at.is_not(None), ORDERS.c.source != Submission.ELSEWHERE.value
    rows = connection.execute(sa.select(ORDERS.c.accepted_at, ORDERS.c.cost_minor).where(*ours)).all()
    before = None
    for hours in range(24 * plan.DAYS - 1, -1, -1):
        at = hour_of(until) - timedelta(hours=hours, seconds=1)
        level = left_minor + sum(row.cost_minor or 0 for row in rows if row.accepted_at > at)
        record_balance(connection, level, before, at)
        before = level


def _refuse_forged_calls(connection: Connection, until: datetime, rng: random.Random) -> None:
    """Webhook calls of strangers that guessed an address, over the week."""
    for _ in range(_FORGED):
        at = until - timedelta(hours=rng.uniform(0.1, 24 * plan.DAYS))
        named = {"source": rng.choice(_STRANGERS), "method": "POST", "size": rng.randint(20, 160)}
        reason, rule = "the address does not fit the order it names", RefusalRule.ADDRESS.value
        inbox.record_refusal(connection, {**named, "reason": reason, "rule": rule}, at)
    begin = until - timedelta(days=plan.DAYS)
    inbox.add_refusal_counts(connection, {RefusalRule.ADDRESS.value: _FORGED}, begin)


def _store_calls(connection: Connection, calls: Iterable[tuple[int | None, ApiCallRecord]]) -> None:
    newest_last = sorted(calls, key=lambda one: one[1].at)
    rows = [{name: getattr(call, name) for name in _RECORDED} | {"order_id": number} for number, call in newest_last]
    store_api_calls(connection, rows)
