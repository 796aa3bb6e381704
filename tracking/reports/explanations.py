"""Explanations of an order from how orders like it behaved: when it will finish, what is late, why it is polled when.

Reads only, all bounded. Says how many finished orders each statement rests on, and where it is a guess.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from tracking.errors import UnknownOrder
from tracking.forecasting.classes import RELIABLE_ORDERS, class_bounds, class_of
from tracking.forecasting.forecasts import ComparableTimes, Forecasts, LateBasis, LateLimit
from tracking.forecasting.incidents import Incident, LateWithOthers, late_with_others
from tracking.forecasting.lateness import stored_limit
from tracking.forecasting.predictions import Score, remaining, score_of_class
from tracking.forecasting.waits import MOST_WEBHOOK_SHARE, price_with_webhooks
from tracking.orders.model import Order, State, Submission, WebhookStatus, Witness, is_open
from tracking.orders.wording import clock, count, duration, latest, longest, poll_reason
from tracking.reports.latency import breakdown_of
from tracking.storage import facts
from tracking.storage.facts import FactKey
from tracking.storage.tables import EVENTS, ORDERS
from tracking.webhooks import silence_alarm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import RowMapping

    from tracking.storage.database import Database

TYPES = {
    "DigitalDelivery": "digital delivery",
    "Links": "links",
    "Codes": "codes",
    "PhysicalShipment": "shipments",
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of one open order; its fields are keys of what `tracking why --json` writes.

    Attributes:
        age: since the provider took it.
        like: the class it is compared with, in words.
        orders: how many finished orders of that class this rests on.
        slower_than: of 100 like it, how many finished sooner; 0 to 99.
        half_within: how much longer half of those as old as this take at the most; None: nobody knows.
        nine_in_ten_within: the same for nine in ten.
        text: all that in a sentence.
    """

    age: timedelta
    like: str
    orders: int
    slower_than: int
    half_within: timedelta | None
    nine_in_ten_within: timedelta | None
    text: str


def expectation(compared: ComparableTimes, name: str, age: timedelta) -> Expectation:
    """Describe what is expected of an open order of this class and age, by the finished orders it is compared with."""
    seconds, like, orders = max(age.total_seconds(), 0.0), class_text(compared.like), compared.times.orders
    if not compared.times.reliable:
        text = f"How long it takes is unknown: {_needed(orders)} ({like}); those found finished already do not count."
        return Expectation(age, like, orders, 0, None, None, text)
    slower = min(int(compared.slower_than(seconds) * 100), 99)
    half, nine_in_ten = (remaining(compared.finishes_by(share, seconds), seconds) for share in (0.5, 0.9))
    pace = f"Slower than {slower} of 100 like it" if slower else "As fast as any like it so far"
    size = "" if compared.like == name else " of another size"
    rest = f"That rests on {count(orders, 'finished order')}{size} ({like})."
    return Expectation(
        age, like, orders, slower, half, nine_in_ten, f"{pace}; {_finish_text(half, nine_in_ten)}. {rest}"
    )


def _needed(orders: int) -> str:
    return f"{orders} of the {RELIABLE_ORDERS} finished orders needed"


def _finish_text(half: timedelta | None, nine_in_ten: timedelta | None) -> str:
    if half is None:
        return "hardly any took as long and finished, so when it will is unknown"
    ninth = f"nine in ten within {longest(nine_in_ten)}" if nine_in_ten else "when nine in ten do is unknown"
    return f"half of those as old as this finish within {longest(half)}, {ninth}"


def late_limit_text(limit: LateLimit) -> str:
    """Word from what age on an order is late, and what that rests on."""
    after, orders, like = longest(limit.after), count(limit.orders, "finished order"), class_text(limit.like)
    match limit.basis:
        case LateBasis.PROMISE:
            because = "as TRACKING_LATE_AFTER promises"
        case LateBasis.LEARNED:
            because = f"as 99 of 100 of those that finish took less, by {orders} ({like})"
        case LateBasis.BORROWED:
            because = f"by {orders} of another size ({like}), as too few of its own have finished"
        case LateBasis.GUESS:
            because = f"by a first guess, with {_needed(limit.orders)} ({like})"
    return f"It is late from an age of {after} on, {because}."


def class_text(name: str) -> str:
    """Word the class as people call it: "links, 33 to 64 cards"."""
    order_type, least, most = class_bounds(name)
    cards = count(most, "card") if least == most else f"{least} to {most:,} cards"
    return f"{TYPES.get(order_type, order_type)}, {cards}"


def score_text(score: Score, orders: str = "orders like it") -> str:
    """Word how the predictions of orders fared: how many of 100 held, as far as is known."""
    least, most = score.held_of_100
    held = str(least) if least == most else f"{least} to {most}"
    return f"Of the last {count(score.predictions, 'nine-in-ten statement')} about {orders} {held} of 100 held."


def incident_text(incident: Incident, now: datetime) -> str:
    """Word an incident in a sentence."""
    placed = f"placed from {clock(incident.first, now)} to {clock(incident.last, now)}"
    done = f", {incident.done_late} more were late and are done" if incident.done_late else ""
    classes = incident.classes
    kind = class_text(classes[0]) if len(classes) == 1 else f"orders of {count(len(classes), 'kind')}"
    return f"{incident.late:,} of {incident.orders:,} orders {placed} are late ({kind}){done}."


def others_text(others: LateWithOthers | None, now: datetime) -> str | None:
    """Word whether a late order is late alone; None of an order that is not late."""
    if others is None:
        return None
    if others.incident is not None:
        return f"Not this order alone: {incident_text(others.incident, now)}"
    if not others.near:
        return "No order like it was placed around it that should be done by now."
    late = (
        "none of them is" if not others.late else "1 of them is" if others.late == 1 else f"{others.late} of them are"
    )
    return f"Of the {count(others.near, 'order')} like it that were placed around it, {late} late."


# From the store


def load_forecast(connection: Connection, name: str, *, relative: bool = True) -> Forecasts:
    """Load what was learned of a class and of other sizes of its type, and the present price of a call."""
    from tracking.forecasting import learned  # noqa: PLC0415 - numpy is imported when first needed, not at a start

    forecasts = Forecasts(relative=relative)
    learned.load_forecasts(connection, forecasts, class_bounds(name)[0])
    stored = facts.get_fact(connection, FactKey.PACING)
    pacing: Mapping[str, Any] = stored[1] if stored else {}
    forecasts.price = float(pacing.get("price", forecasts.price))
    forecasts.webhook_share = min(float(pacing.get("heard", 0.0)), MOST_WEBHOOK_SHARE)
    return forecasts


def order_expectation(connection: Connection, row: RowMapping, now: datetime) -> Expectation | None:
    """Describe what is expected of the order in this row; None of one that is not open at the provider."""
    if row["accepted_at"] is None or not is_open(row["state"]):
        return None
    name = class_of(row["type"], row["units"])
    expected = expectation(load_forecast(connection, name).comparable_times(name), name, now - row["accepted_at"])
    score = score_of_class(connection, name, now)
    return expected if score is None else replace(expected, text=f"{expected.text} {score_text(score)}")


def finding_look_text(connection: Connection, order: Order, row: RowMapping) -> str | None:
    """Word which look found the order finished, and what the last one showed; None of an order that is not finished."""
    if order.completed_by is None:
        return None
    by = clock(order.completed_by, order.created_at)
    fulfilled = f"{order.units_fulfilled} of {count(order.units, 'card')}"
    looks = f"{count(row['looks'], 'look')} in all"
    if row["last_look_at"] is None or row["last_look_at"] <= order.completed_by:
        return f"A look at {by} showed {fulfilled} fulfilled ({looks})."
    last = clock(row["last_look_at"], order.created_at)
    # A look after the end that shows nothing new leaves no event.
    later = EVENTS.c.witness == Witness.POLL, EVENTS.c.learned_at > order.completed_by
    news = select(EVENTS.c.id).where(EVENTS.c.order_id == row["id"], *later).limit(1)
    if connection.execute(news).first() is None:
        return f"A look at {by} showed {fulfilled} fulfilled; the last look, at {last}, showed the same ({looks})."
    return (
        f"A look at {by} showed it {order.state}; the last look was at {last} ({looks}), by now {fulfilled} fulfilled."
    )


_COLUMNS = (
    "po_number", "provider_id", "state", "type", "units", "submission", "notice", "accepted_at", "claimed_at",
    "looks", "failures", "last_look_at", "next_look_at", "next_look_why", "late_at",
)  # fmt: skip


def explain_next_poll(database: Database, order_id: int, now: datetime) -> dict[str, Any]:
    """Explain when the order is polled next, and why: what is expected of it, of its class, and what a poll costs.

    Of a completed order it says where its time went.

    Raises:
        UnknownOrder: no order has this id.
    """
    with database.read() as connection:
        query = select(*(ORDERS.c[name] for name in _COLUMNS)).where(ORDERS.c.id == order_id)
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise UnknownOrder(f"no order has the number {order_id}")
        expected = order_expectation(connection, row, now)
        forecasts = load_forecast(connection, class_of(row["type"], row["units"]))
        alarm = silence_alarm.latest_alarm(connection)
        others = others_text(late_with_others(connection, row, now), now)
        limit = None if expected is None else stored_limit(connection, row["type"], row["units"])
        breakdown = breakdown_of(connection, order_id)
    announces = row["submission"] != Submission.ELSEWHERE
    silent = alarm is not None and alarm.ended_at is None
    heard = forecasts.webhook_share if announces and not silent else 0.0
    return {
        **{name: row[name] for name in _COLUMNS if name not in {"submission", "notice"}},
        "expected": None if expected is None else asdict(expected),
        "lag": None if breakdown is None else breakdown.record(),
        "price": round(price_with_webhooks(forecasts.price, heard), 1),
        "heard": round(heard, 3),
        "reasons": [
            *_state_sentences(row, expected, now),
            *([breakdown.text] if breakdown else []),
            *([late_limit_text(limit)] if limit else []),
            *([others] if others else []),
            *_next_poll_sentences(row, price_with_webhooks(forecasts.price, heard) if expected else None, heard, now),
        ],
    }


def _state_sentences(row: RowMapping, expected: Expectation | None, now: datetime) -> list[str]:
    """Word the order's state in sentences."""
    if expected is not None:
        sentences = [f"{row['state']} for {duration(expected.age)}. {expected.text}"]
    elif row["state"] in {State.QUEUED, State.SENDING, State.UNKNOWN}:
        sentences = [f"{row['state']}: the provider has not taken it yet, so there is nothing to look at."]
    else:
        sentences = [f"{row['state']}."]
    if row["notice"] == WebhookStatus.CLAIMED and row["claimed_at"] is not None:
        sentences.append(f"Its completion was announced at {clock(row['claimed_at'], now)}; only a look confirms it.")
    return sentences


def _next_poll_sentences(row: RowMapping, price: float | None, heard: float, now: datetime) -> list[str]:
    """Word why the next poll is when it is; `price` is None where no poll of an open order is planned."""
    sentences = []
    if row["last_look_at"] is not None:
        ago = duration(now - row["last_look_at"])
        sentences.append(f"The last of {count(row['looks'], 'look')} was {ago} ago.")
    if row["failures"]:
        sentences.append(f"{count(row['failures'], 'look')} in a row brought no answer, so that the waits grow.")
    if row["next_look_at"] is None:
        sentences.append("No look is planned.")
        return sentences
    because = f", because {reason}" if (reason := poll_reason(row["next_look_why"])) else ""
    sentences.append(f"Next look at {latest(max(row['next_look_at'], now), now)} at the latest{because}.")
    if price is not None:
        sentences.append(
            f"A look costs {price:.1f} s of expected waiting now; a list page that shows it may come sooner, "
            "as it is paid for by all orders it shows."
        )
        if heard:
            sentences.append(f"{int(heard * 100)} of 100 completions announce themselves, which makes looks dearer.")
    return sentences
