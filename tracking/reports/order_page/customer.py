"""Text for a customer about their order: plain sentences, no terms of ours, no addresses. Pure."""

from datetime import UTC, datetime, timedelta

from tracking.orders.model import Approval, Order, OrderType, State, is_open
from tracking.orders.wording import SAME_MOMENT, TIME_ZONE, count, plain
from tracking.reports.explanations import Expectation

_CARDS: dict[str, tuple[str, str]] = {
    OrderType.LINKS: ("gift link", ""),
    OrderType.CODES: ("gift code", ""),
    OrderType.DIGITAL: ("gift card", " by e-mail"),
    OrderType.PHYSICAL: ("gift card", " by post"),
}
_STAGES: dict[str, str] = {
    State.QUEUED: "It is waiting to be passed on to our supplier.",
    State.SENDING: "It is being passed on to our supplier.",
    State.UNKNOWN: "We have passed it on to our supplier and are waiting for their confirmation. "
    "It will not be ordered twice.",
    State.REFUSED: "Our supplier did not accept it, so it is not being processed.",
    State.AWAITING_APPROVAL: "Our supplier has received it and is checking it before it is processed.",
}
_UNSENT: dict[str | None, str] = {
    Approval.WAITING: "We are checking it before it is passed on to our supplier.",
    Approval.DECLINED: "We decided not to pass it on to our supplier, so it is not being processed.",
}


def customer_summary(order: Order, worth: str, expected: Expectation | None, now: datetime, *, in_transit: int) -> str:
    """Three to five sentences, one a line. `worth`: the face value in words; `in_transit`: cards not shipped yet."""
    noun, how = _CARDS.get(order.type, ("gift card", ""))
    what = f"{count(order.units, noun)}{how}"
    value = "" if "unknown" in worth else f" worth {worth}"
    sentences = [
        f"Your order {order.po_number} for {what}{value} was placed on {_moment(order.created_at)}.",
        _now(order),
        *_cards(order, in_transit),
        *_outlook(order, expected, now),
        f"This is what we know on {_moment(now, up=True)}.",
    ]
    return "\n".join(plain(sentence) for sentence in sentences)


def _now(order: Order) -> str:
    if order.provider_id is None and order.approval in _UNSENT:
        return _UNSENT[order.approval]
    if order.completed_by is not None and not is_open(order.state):
        by = _moment(order.completed_by, up=True)
        done = "It was completed" if order.state == State.COMPLETED else "It was cancelled by our supplier"
        return f"{done} by {by}."
    return _STAGES.get(order.state, "Our supplier has received it and is working on it.")


def _cards(order: Order, in_transit: int) -> list[str]:
    if in_transit:
        return [f"{count(in_transit, 'card')} {'is' if in_transit == 1 else 'are'} with the carrier, not yet shipped."]
    if order.state == State.COMPLETED or (order.units_fulfilled and order.units > 1):
        verb = "is" if order.units_fulfilled == 1 else "are"
        return [f"{order.units_fulfilled:,} of {count(order.units, 'card')} {verb} ready."]
    return []


def _outlook(order: Order, expected: Expectation | None, now: datetime) -> list[str]:
    if not is_open(order.state):
        return []
    if expected is None or expected.nine_in_ten_within is None:
        return ["We cannot say yet when it will be complete."]
    by = _moment(now + expected.nine_in_ten_within, up=True)
    slow = "It is taking longer than most orders like it. " if expected.slower_than >= 90 else ""
    return [f"{slow}We expect it to be complete by {by}."]


def _moment(at: datetime, *, up: bool = False) -> str:
    """The day and the minute with the zone: "4 March 2026, 10:15 (UTC)"; rounded `up` where it is a bound."""
    beyond = (at.astimezone(UTC) - datetime.min.replace(tzinfo=UTC)) % SAME_MOMENT
    local = (at + (-beyond % SAME_MOMENT if up else timedelta())).astimezone(TIME_ZONE.get())
    return f"{local.day} {local:%B %Y, %H:%M} ({local.tzname()})"
