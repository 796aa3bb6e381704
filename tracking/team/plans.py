"""Plans of acts on many orders: how many would be done, which are skipped and why, the cost. Changes nothing.

`refusal` judges one order, for the plan and again when its turn comes: an order may have changed meanwhile.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.engine import RowMapping

from tracking.errors import InvalidJob, Problem
from tracking.orders import wording
from tracking.orders.events import work_refusal
from tracking.orders.model import Order, State, allowed_actions
from tracking.orders.observations import Assigned, Reopened, Snoozed, SnoozeEnded, Worked
from tracking.orders.vocabulary import AttentionReason
from tracking.reports import amounts
from tracking.reports.order_list.conditions import conditions
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.submissions.actions import readable_note
from tracking.team.work import check_until, readable_name

MOST_ORDERS = 100_000
CALL_SHARE = 0.5  # of the rate limit; the rest is for the live work
ORDERS_PER_SECOND = 300.0  # with the pauses that leave the writer to others, as `make bench` measures it
UNCLEAR_AT_ONCE = 5000
_MISMATCH = AttentionReason.PO_NUMBER_MISMATCH
OTHERS_PO_NUMBER = "its PO number belongs to another order; place it anew under another PO number"


class Act(StrEnum):
    """What is done with many orders. Stored with the job: a word once written is never renamed."""

    POLL = "poll"
    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    ASSIGN = "assign"
    RESEND = "resend"
    REOPEN = "reopen"
    END_SNOOZE = "end snooze"
    IMPORT = "import"
    """Places the rows of a file, which become orders by it; all others are done with orders there are."""


CALLS = {Act.POLL: 1, Act.RESEND: 1}
"""How many calls of the provider's API one order costs; the other acts cost none."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an act is done with: the reason in words, until when to snooze (None: until something changes), for whom."""

    reason: str | None = None
    until: datetime | None = None
    assignee: str | None = None

    def to_document(self) -> dict[str, Any]:
        """The parameters as JSON, without what is not set."""
        values = asdict(self) | {"until": self.until.isoformat() if self.until else None}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Parameters:
        """The parameters that `to_document` wrote."""
        until = document.get("until")
        until_time = datetime.fromisoformat(until) if until else None
        return cls(document.get("reason"), until_time, document.get("assignee"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What an act would do with the orders that match now.

    `skipped` counts by reason, in words. `calls` of the API, and the `seconds` that all of it takes at least at the
    budget. `values` are those of the acting orders: minor units by currency, "" for a currency that nobody knows.
    With `too_many` more match than one job may have, and the figures are those of the first so many.
    """

    total: int
    acting: int
    skipped: Mapping[str, int]
    calls: int
    seconds: float
    values: Mapping[str, int]
    too_many: bool = False


def check_parameters(act: Act, parameters: Parameters, now: datetime) -> Parameters:
    """The parameters as they are stored, only those that the act has.

    Raises InvalidNote for a reason, a name or a time that cannot be, or a reason that is missing.
    """
    reason = readable_note(parameters.reason or "") if act is Act.ACKNOWLEDGE or parameters.reason else None
    match act:
        case Act.ACKNOWLEDGE | Act.REOPEN:
            return Parameters(reason=reason)
        case Act.SNOOZE:
            check_until(parameters.until, now)
            return Parameters(reason=reason, until=parameters.until)
        case Act.ASSIGN:
            return Parameters(assignee=readable_name(parameters.assignee))
        case _:
            return Parameters()


def work_of(act: Act, parameters: Parameters) -> Worked | None:
    """What a person does with each order; None for the acts that are no work on an order."""
    match act:
        case Act.SNOOZE:
            return Snoozed(parameters.until, parameters.reason)
        case Act.ASSIGN:
            return Assigned(parameters.assignee)
        case Act.REOPEN:
            return Reopened(parameters.reason)
        case Act.END_SNOOZE:
            return SnoozeEnded()
        case _:
            return None


def refusal(order: Order, act: Act, parameters: Parameters) -> str | None:
    """Say why the act skips the order, in the same words for all such orders; None where it does not skip it."""
    if (work := work_of(act, parameters)) is not None:
        return _work_skip(order, work)
    if act is Act.ACKNOWLEDGE:
        return _acknowledge_skip(order)
    if act is Act.RESEND and order.state == State.REFUSED and order.attention_reason == _MISMATCH:
        return OTHERS_PO_NUMBER
    what = {Act.POLL: "check", Act.RESEND: "resend"}[act]
    return allowed_actions(order.state, order.provider_id, order.erased, order.attention_reason, order.approval)[what]


def _work_skip(order: Order, work: Worked) -> str | None:
    if isinstance(work, Snoozed) and order.snoozed_at is not None and order.snoozed_until == work.until:
        return "it is snoozed until then already" if work.until else "it is snoozed until something changes already"
    return work_refusal(order, work, None)


def _acknowledge_skip(order: Order) -> str | None:
    if order.attention is None:
        return "it needs no decision"
    return "it is acknowledged already" if order.acknowledged_at is not None else None


def plan(
    database: Database, filters: Filters, act: Act, parameters: Parameters, *, now: datetime, max_rate: float
) -> Plan:
    """Judge all orders that match, by groups of those that are alike; `max_rate` is the limit in calls a second.

    Raises InvalidJob for an act that is not done with orders there are.
    """
    must_be_on_orders(act)
    parameters = replace(parameters, assignee=readable_name(parameters.assignee))
    facts = _facts(parameters)
    with database.snapshot() as connection:
        matching = matching_orders(
            conditions(connection, filters, now), *facts, ORDERS.c.currency, ORDERS.c.value_minor
        )
        groups = connection.execute(_groups(matching.subquery())).mappings().all()
        total = sum(group["orders"] for group in groups)
        skipped: Counter[str] = Counter()
        sums = amounts.Sums()
        for group in groups:
            why = refusal(_representative(group, parameters, now), act, parameters)
            if why is not None:
                skipped[why] += group["orders"]
            else:
                sums.add(group["currency"], int(group["value"]), group["orders"])
        if sums.unclear:
            _add_by_lines(connection, matching, act, parameters, sums, now)
    acting = total - skipped.total()
    calls = acting * CALLS.get(act, 0)
    seconds = max(total / ORDERS_PER_SECOND, calls / (max_rate * CALL_SHARE))
    return Plan(total, acting, dict(skipped.most_common()), calls, seconds, sums.values, too_many=total > MOST_ORDERS)


def least_time(foreseen: Plan) -> str:
    """How long all of it takes at least, in words."""
    return wording.duration(timedelta(seconds=max(1, math.ceil(foreseen.seconds))))


def must_be_on_orders(act: Act) -> None:
    """Raise InvalidJob for the one act that is not done with orders there are."""
    if act is Act.IMPORT:
        raise InvalidJob([Problem("Act", "an import is started by uploading its file")])


def matching_orders(clauses: Sequence[Any], *columns: Any) -> Any:
    """Select the orders that match, with their ids: one more than a job may have at the most."""
    return select(ORDERS.c.id, *columns).where(*clauses).limit(MOST_ORDERS + 1)


def _facts(parameters: Parameters) -> list[Any]:
    """The facts that decide, with few values each, so that orders alike can be counted together."""
    orders = ORDERS.c
    plain = [orders[name] for name in ("state", "attention_reason", "approval", "assignee")]
    is_set = [
        orders[name].is_not(None).label(name)
        for name in ("provider_id", "erased", "attention", "acknowledged_at", "snoozed_at")
    ]
    same = orders.snoozed_until.is_(None) if parameters.until is None else orders.snoozed_until == parameters.until
    return [*plain, *is_set, sa.func.coalesce(same, sa.false()).label("snoozed_alike")]


def _groups(matching: Any) -> Any:
    alike = [column for column in matching.c if column.name not in {"id", "value_minor"}]
    sums = sa.func.count().label("orders"), sa.func.sum(matching.c.value_minor).label("value")
    return select(*alike, *sums).group_by(*alike)


def _representative(group: RowMapping, parameters: Parameters, now: datetime) -> Order:
    """An order that has the facts of the group, and otherwise says nothing."""
    facts: dict[str, Any] = {name: group[name] for name in ("state", "attention_reason", "approval", "assignee")}
    facts |= {name: "set" if group[name] else None for name in ("provider_id", "erased", "attention")}
    facts |= {name: now if group[name] else None for name in ("acknowledged_at", "snoozed_at")}
    other = None if parameters.until else now
    until = parameters.until if group["snoozed_alike"] else other
    return Order("", "", "", now, **facts, snoozed_until=until)


def _add_by_lines(
    connection: Connection, matching: Any, act: Act, parameters: Parameters, sums: amounts.Sums, now: datetime
) -> None:
    """Move amounts whose currency only the lines tell to that currency, for a bounded number of orders."""
    inner = matching.subquery()
    unclear = sa.or_(inner.c.currency.is_(None), inner.c.currency == "", inner.c.currency.contains("+"))
    rows = connection.execute(select(inner).where(unclear).limit(UNCLEAR_AT_ONCE)).mappings().all()
    acting = [row for row in rows if refusal(_representative(row, parameters, now), act, parameters) is None]
    by_order = amounts.order_values(connection, acting)
    for row in acting:
        sums.split(row["currency"], row["value_minor"], by_order[row["id"]])
