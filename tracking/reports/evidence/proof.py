"""What an order's own log proves of it, in words: its facts one by one, and what became of it. Pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tracking.orders.model import Order, State
from tracking.orders.vocabulary import MIXED, state_label
from tracking.orders.wording import clock, count, decision_words, money, plain, window

FACT_LABELS = {
    "po_number": "PO number", "provider_id": "Provider ID", "state": "State", "type": "Type", "source": "Came by",
    "units": "Cards", "units_fulfilled": "Cards fulfilled", "value_minor": "Face value", "cost_minor": "Cost",
    "provider_status": "Provider's last word", "submission": "Our submission", "notice": "Webhook",
    "created_at": "Created", "provider_created_at": "Created at the provider", "accepted_at": "Accepted",
    "last_open_at": "Last seen open", "completed_after": "Completed after", "completed_by": "Completed by",
    "completed_there_at": "Called complete without proof since", "claimed_at": "Webhook received",
    "actor": "Submitted by", "note": "Note", "attention": "Needs a decision", "attention_reason": "Reason code",
    "acknowledged_at": "Acknowledged", "acknowledged_by": "Acknowledged by", "acknowledged_why": "Acknowledged because",
    "assignee": "Assigned to", "snoozed_at": "Snoozed since", "snoozed_until": "Snoozed until", "approval": "Approval",
    "erased": "Recipients erased in lines", "currency": "Currency",
}  # fmt: skip


def facts(order: Order, time_text: Callable[[datetime], str]) -> dict[str, str]:
    """Every fact of the order that is set, as texts by name."""
    values = ((name, getattr(order, name)) for name in FACT_LABELS)
    return {name: _text(name, value, order, time_text) for name, value in values if value is not None}


def _text(name: str, value: Any, order: Order, time_text: Callable[[datetime], str]) -> str:
    match value:
        case datetime():
            return time_text(value)
        case _ if name == "attention":
            return plain(_decision(order))
        case int() if name.endswith("_minor"):
            mixed = MIXED in (order.currency or "")
            return "in several currencies, so without a sum" if mixed else money(value, order.currency)
    return plain(value)


def verdict(order: Order) -> str:
    """What became of the order, in a sentence or two, as far as its own log proves it."""
    if order.attention and order.acknowledged_at is None:
        return f"{_outcome(order)}. Needs a decision: {_decision(order)}."
    if order.acknowledged_at:
        return f"{_outcome(order)}. A decision was taken by {order.acknowledged_by}."
    return f"{_outcome(order)}."


def _outcome(order: Order) -> str:
    match order.state:
        case State.COMPLETED if order.completed_by:
            day, when = (
                clock(order.completed_by)[:10],
                window(order.completed_after, order.completed_by, order.completed_by),
            )
            return f"Completed on {day}, {when}, confirmed by a poll"
        case State.COMPLETED:
            return "Completed, confirmed by a poll"
        case State.CANCELLED:
            return "Cancelled by the provider, confirmed by a poll"
        case State.REFUSED:
            return "Refused: the provider does not have it"
        case State.UNKNOWN:
            return "Unconfirmed: it was sent, and no usable answer came"
    done = f", {order.units_fulfilled:,} of {count(order.units, 'card')} fulfilled" if order.units_fulfilled else ""
    return f"Open: {state_label(order.state)}{done}"


def _decision(order: Order) -> str:
    """Why it needs a decision, in words that stay true."""
    return decision_words(order.attention, order.attention_reason, order.claimed_at)
