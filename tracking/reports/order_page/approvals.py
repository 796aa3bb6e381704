"""Approval of an order in words: why it waits, who approved or declined it. Bounded reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from tracking.orders import wording
from tracking.orders.model import Approval, Order
from tracking.orders.vocabulary import EventKind
from tracking.orders.wording import clock, duration
from tracking.storage.tables import EVENTS

_JUDGMENTS = (EventKind.REQUESTED, EventKind.APPROVED, EventKind.DECLINED)


@dataclass(frozen=True, slots=True)
class ApprovalStatus:
    """A second operator's say on one order: a `verdict` while it says what is so, else None; and what stands behind."""

    verdict: str | None
    evidence: tuple[str, ...]


def approval_status(connection: Connection, order_id: int, order: Order, now: datetime) -> ApprovalStatus | None:
    """What a second operator said, or is to say; None where nobody is asked."""
    if order.approval is None:
        return None
    query = select(EVENTS.c.kind, EVENTS.c.detail, EVENTS.c.learned_at).where(EVENTS.c.order_id == order_id)
    events = {row.kind: row for row in connection.execute(query.where(EVENTS.c.kind.in_(_JUDGMENTS)))}
    asked = events.get(EventKind.REQUESTED)
    waits_as = (asked.detail.get("waits") if asked else None) or "above the limit"
    if order.approval == Approval.WAITING:
        verdict = f"Waiting {duration(now - order.created_at)} for a second operator's approval: {waits_as}."
        who = wording.person(order.actor) or "Somebody"
        return ApprovalStatus(verdict, (f"{who} submitted it. Nothing is sent before somebody else approved it.",))
    if order.approval == Approval.BYPASSED:  # another system's order, or sent before the store was put back
        return ApprovalStatus(None, (f"Nobody approved it: it waited for a second operator ({waits_as}).",))
    judged = events.get(EventKind.APPROVED if order.approval == Approval.APPROVED else EventKind.DECLINED)
    if judged is None:
        return None
    by, at = wording.person(judged.detail.get("actor")) or "somebody", clock(judged.learned_at, now)
    why = f": {judged.detail['text']}" if judged.detail.get("text") else ""
    if order.approval == Approval.APPROVED:
        return ApprovalStatus(None, (f"Approved by {by}, {at}{why}. It had to be: {waits_as}.",))
    if order.provider_id is not None:  # it was sent by what this store knows nothing of, and is as the provider says
        return ApprovalStatus(None, (f"Declined by {by}, {at}{why}. Yet the provider has it.",))
    return ApprovalStatus(
        f"Declined by {by}, {at}{why}. It was never sent.", (f"It waited for a second operator: {waits_as}.",)
    )
