"""Trace of a poll: the span that a poll adds to an order's trace when it showed something new."""

from datetime import datetime

from tracking import tracing
from tracking.orders.model import Order, is_terminal
from tracking.tracing import Attribute, Step


def record_poll(order: Order, started_at: datetime, ended_at: datetime, *, by: str) -> None:
    """Record the poll, and where it ended the order, the order as a whole.

    `by` is what was asked for: the order ("poll") or a page of the list ("poll list").
    """
    if not tracing.is_collected():
        return
    about: dict[str, Attribute] = {"order.state": order.state, "order.type": order.type, "order.cards": order.units}
    tracing.record(Step(by, order.po_number, started_at, ended_at, "client", about))
    if is_terminal(order.state):
        tracing.record(Step("order", order.po_number, order.created_at, ended_at, attributes=about, whole=True))
