"""Webhooks against polls: which came first for each completion, by how much, and which came alone.

Reads only, bounded: the newest completions of a period, found by what happened and when. Orders that were complete when
they were first seen are not in it: our poll was no witness of when they completed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders.latency import between
from tracking.orders.model import Submission, WebhookStatus
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import count
from tracking.reports.newest import newest_ids
from tracking.startup import pd
from tracking.storage.database import Database
from tracking.storage.tables import CALLBACKS, EVENTS, ORDERS

COMPLETIONS_COMPARED = 2_000


@dataclass(frozen=True, slots=True)
class WitnessAgreement:
    """What webhooks and polls said of the same completions.

    Attributes:
        rows: completions that both reported, the newest first: at (the poll's answer), po_number, lead (seconds from
            the webhook to the poll's answer; below zero where the poll came first).
        polls_alone: how many completions no webhook reported though one was due.
        not_announced: how many were placed elsewhere, so that no webhook is due.
        webhooks_alone: how many orders a webhook called complete and no poll has confirmed yet.
        contradicted: of how many orders polls contradicted the webhook.
        text: the finding in sentences.
    """

    rows: pd.DataFrame
    polls_alone: int
    not_announced: int
    webhooks_alone: int
    contradicted: int
    text: str


def witness_agreement(database: Database, since: datetime) -> WitnessAgreement:
    """Compare webhooks and polls of the newest COMPLETIONS_COMPARED orders that completed from `since` on."""
    with database.read() as connection:
        rows = connection.execute(_completions(since)).all()
        claimed = _orders_with(connection, since, [EventKind.WEBHOOK_CLAIMED], WebhookStatus.CLAIMED)
        denied = _orders_with(
            connection, since, [EventKind.CONTRADICTION, EventKind.CANCELLED], WebhookStatus.CONTRADICTED
        )
    compared = rows[:COMPLETIONS_COMPARED]
    leads = [
        (row.completed_by, row.po_number, (row.completed_by - row.webhook_at).total_seconds())
        for row in compared
        if row.webhook_at is not None
    ]
    alone = [row for row in compared if row.webhook_at is None]
    elsewhere = sum(row.submission == Submission.ELSEWHERE for row in alone)
    premature = sum(row.first_at is not None and row.first_at <= row.completed_after for row in compared)
    frame = pd.DataFrame(leads, columns=["at", "po_number", "lead"])
    counts = (len(alone) - elsewhere, elsewhere, claimed, denied + premature)
    capped = len(rows) > COMPLETIONS_COMPARED
    return WitnessAgreement(frame, *counts, text=_finding(frame, *counts, capped=capped))


def _completions(since: datetime) -> Any:
    """Select the newest completions with the time of the first webhook after the last poll that said "open"."""
    newest = (
        select(ORDERS.c.id, ORDERS.c.po_number, ORDERS.c.submission, ORDERS.c.completed_after, ORDERS.c.completed_by)
        .join(EVENTS, sa.and_(EVENTS.c.order_id == ORDERS.c.id, EVENTS.c.kind == EventKind.COMPLETED))
        .where(EVENTS.c.learned_at >= since, ORDERS.c.last_open_at.is_not(None), ORDERS.c.completed_by.is_not(None))
        .order_by(EVENTS.c.learned_at.desc())
        .limit(COMPLETIONS_COMPARED + 1)
    )
    done, call = newest.subquery("done"), CALLBACKS.alias("call")
    in_time = sa.func.min(sa.case((call.c.received_at > done.c.completed_after, call.c.received_at)))
    first, webhook = (
        select(each).where(call.c.order_id == done.c.id, call.c.outcome != "refused").correlate(done).scalar_subquery()
        for each in (sa.func.min(call.c.received_at), in_time)
    )
    columns = (each for name, each in done.c.items() if name != "id")
    query = select(*columns, first.label("first_at"), webhook.label("webhook_at"))
    return query.order_by(done.c.completed_by.desc())


def _orders_with(connection: Connection, since: datetime, kinds: list[EventKind], notice: WebhookStatus) -> int:
    """Count the orders of the newest such events whose webhook status is this one now."""
    of_span = EVENTS.c.learned_at >= since
    newest = newest_ids(EVENTS.c.id, EVENTS.c.kind, EVENTS.c.learned_at, kinds, COMPLETIONS_COMPARED, of_span)
    chosen = newest.subquery()
    joined = chosen.join(EVENTS, EVENTS.c.id == chosen.c.id).join(ORDERS, ORDERS.c.id == EVENTS.c.order_id)
    number = select(sa.func.count(sa.distinct(ORDERS.c.id))).select_from(joined).where(ORDERS.c.notice == notice)
    return int(connection.execute(number).scalar_one())


# In words


def _finding(
    frame: pd.DataFrame, polls_alone: int, elsewhere: int, claimed: int, contradicted: int, *, capped: bool
) -> str:
    total = len(frame) + polls_alone + elsewhere
    if not total + claimed + contradicted:
        return "No completions observed in this period."
    number = f"{'the newest ' if capped else ''}{count(total, 'completion')}"
    alone = [
        (polls_alone, "by poll only"),
        (elsewhere, "from other systems (no webhook)"),
        (claimed, "more by webhook only so far"),
    ]
    parts = [
        f"{len(frame):,} reported by both{_lead_text(frame)}",
        *(f"{many:,} {words}" for many, words in alone if many),
    ]
    denied = (
        f"In {count(contradicted, 'order')} polls contradicted the webhook." if contradicted else "No contradiction."
    )
    return f"Of {number}: {'; '.join(parts)}. {denied}"


def _lead_text(frame: pd.DataFrame) -> str:
    """Who came first how often, and by how much half of them led."""
    sides = (("webhook", frame["lead"][frame["lead"] >= 0]), ("poll", -frame["lead"][frame["lead"] < 0]))
    parts = [f"{who} first in {len(leads):,}, median {_length(leads)}" for who, leads in sides if len(leads)]
    return f" ({', '.join(parts)})" if parts else ""


def _length(seconds: pd.Series) -> str:
    median = timedelta(seconds=round(float(seconds.median()), 1))
    return between(median, median) if median else "under 0.1 s"
