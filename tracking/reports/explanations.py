"""Explains an order by similar ones: when it will complete, whether it is late, why it is polled when it is.

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
from tracking.orders.vocabulary import state_label
from tracking.orders.wording import clock, count, duration, latest, longest, poll_reason
from tracking.reports.insights.latency import breakdown_of
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
    "PhysicalShipment": "physical shipment",
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of one open order; the fields are the keys of `tracking why --json`.

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
        text = f"No estimate: {_history_text(orders)} ({like}). Orders already complete when first seen do not count."
        return Expectation(age, like, orders, 0, None, None, text)
    slower = min(int(compared.slower_than(seconds) * 100), 99)
    half, nine_in_ten = (remaining(compared.finishes_by(share, seconds), seconds) for share in (0.5, 0.9))
    pace = f"Slower than {slower} % of similar orders." if slower else "No slower than similar orders so far."
    size = " of another size" if compared.like != name else ""
    rest = f"Based on {count(orders, 'completed order')}{size} ({like})."
    text = f"{_completion_text(half, nine_in_ten)}. {pace} {rest}"
    return Expectation(age, like, orders, slower, half, nine_in_ten, text)


def _history_text(orders: int) -> str:
    return f"not enough history, {orders} of {RELIABLE_ORDERS} completed orders"


def _completion_text(half: timedelta | None, nine_in_ten: timedelta | None) -> str:
    if half is None:
        return "No estimate: hardly any similar order took this long and completed"
    ninth = f"{longest(nine_in_ten)} (90 %)" if nine_in_ten else "an unknown time (90 %)"
    return f"Expected to complete within {longest(half)} (50 %) or {ninth}"


def late_limit_text(limit: LateLimit) -> str:
    """Word from what age on an order is late, and what that rests on."""
    after, orders, like = longest(limit.after), count(limit.orders, "completed order"), class_text(limit.like)
    match limit.basis:
        case LateBasis.PROMISE:
            because = "as promised in TRACKING_LATE_AFTER"
        case LateBasis.LEARNED:
            because = f"99 % of {orders} took less ({like})"
        case LateBasis.BORROWED:
            because = f"by {orders} of another size ({like}), as too few of this size have completed"
        case LateBasis.GUESS:
            because = f"a default, {_history_text(limit.orders)} ({like})"
    return f"Late from an age of {after}: {because}."


def class_text(name: str) -> str:
    """Word the class as people call it: "links, 33 to 64 cards"."""
    order_type, least, most = class_bounds(name)
    cards = count(most, "card") if least == most else f"{least} to {most:,} cards"
    return f"{TYPES.get(order_type, order_type)}, {cards}"


def score_text(score: Score) -> str:
    """Word how the predictions of similar orders fared: how many held, as far as is known."""
    most = score.predictions - score.failed
    held = f"{score.held:,}" if score.held == most else f"{score.held:,} to {most:,}"
    return f"90 % ETAs of similar orders: {score.predictions:,} made, {held} held."


def incident_text(incident: Incident, now: datetime) -> str:
    """Word an incident in a sentence."""
    placed = f"placed from {clock(incident.first, now)} to {clock(incident.last, now)}"
    done = f"; {incident.done_late:,} more completed late" if incident.done_late else ""
    classes = incident.classes
    kind = class_text(classes[0]) if len(classes) == 1 else f"orders of {count(len(classes), 'kind')}"
    return f"{incident.late:,} of {incident.orders:,} orders {placed} are late ({kind}){done}."


def others_text(others: LateWithOthers | None, now: datetime) -> str | None:
    """Word whether a late order is late alone; None of an order that is not late."""
    if others is None:
        return None
    if others.incident is not None:
        return f"Not only this order: {incident_text(others.incident, now)}"
    if not others.near:
        return "No similar order placed around the same time is due yet."
    late = f"{others.late or 'none'} {'are' if others.late > 1 else 'is'}"
    return f"Of {count(others.near, 'similar order')} placed around the same time, {late} late."


def next_poll_text(row: RowMapping, now: datetime) -> str:
    """Word by when the order of this row is polled next, and why; a list page that shows it may come sooner."""
    because = f" ({reason})" if (reason := poll_reason(row["next_look_why"])) else ""
    return f"Next poll by {latest(max(row['next_look_at'], now), now)}{because}."


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


def confirmation_text(connection: Connection, order: Order, row: RowMapping, webhook_at: datetime | None) -> str | None:
    """Word which poll found the order final, what the last one showed, and whether the webhook (`webhook_at`) agrees.

    None of an order that is not final.
    """
    if order.completed_by is None:
        return None
    at = clock(order.completed_by, order.created_at)
    fulfilled = f"{order.units_fulfilled:,} of {count(order.units, 'card')}"
    webhook = f" and by the provider's webhook at {clock(webhook_at, order.created_at)}" if webhook_at else ""
    agree = {WebhookStatus.CONFIRMED: " They agree.", WebhookStatus.CONTRADICTED: " They disagree."}
    verdict = agree.get(WebhookStatus(order.notice), "") if webhook_at else ""
    if verdict != " They agree.":
        webhook = f"; the webhook at {clock(webhook_at, order.created_at)} said complete" if webhook_at else ""
    if row["last_look_at"] is None or row["last_look_at"] <= order.completed_by:
        return f"Confirmed by poll {row['looks']:,} at {at} ({fulfilled}){webhook}.{verdict}"
    last = f"the last of {count(row['looks'], 'poll')}, at {clock(row['last_look_at'], order.created_at)}"
    # A poll after the end that shows nothing new leaves no event.
    later = EVENTS.c.witness == Witness.POLL, EVENTS.c.learned_at > order.completed_by
    news = select(EVENTS.c.id).where(EVENTS.c.order_id == row["id"], *later).limit(1)
    if connection.execute(news).first() is None:
        return f"Confirmed by a poll at {at} ({fulfilled}){webhook}.{verdict} Still so in {last}."
    return f"Confirmed by a poll at {at}{webhook}.{verdict} By {last}: {fulfilled}."


_COLUMNS = (
    "po_number", "provider_id", "provider_status", "state", "type", "units", "submission", "notice", "accepted_at",
    "claimed_at", "looks", "failures", "last_look_at", "next_look_at", "next_look_why", "late_at",
)  # fmt: skip
_OF_SENTENCES = frozenset({"provider_status", "submission", "notice"})  # read, and not returned


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
        **{name: row[name] for name in _COLUMNS if name not in _OF_SENTENCES},
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
        sentences = [f"{state_label(row['state'])} for {duration(expected.age)}. {expected.text}"]
    elif row["state"] in {State.QUEUED, State.SENDING, State.UNKNOWN}:
        sentences = [f"{state_label(row['state'])}: not accepted by the provider yet, so there is nothing to poll."]
    else:
        sentences = [f"{state_label(row['state'])}."]
    if row["notice"] == WebhookStatus.CLAIMED and row["claimed_at"] is not None:
        sentences.append(f"A webhook announced completion at {clock(row['claimed_at'], now)}; only a poll confirms it.")
    return sentences


def last_poll_text(row: RowMapping, now: datetime) -> str:
    """How many polls there were and how long ago the last was, without a stop; of an order that was polled.

    Of one that is complete at the provider alone it counts the polls that could prove that: a page of the list, which
    may leave claim data out, is none of them, and stands in the timeline all the same.
    """
    polls, ago = count(row["looks"], "poll"), duration(now - row["last_look_at"])
    could = " that could prove it" if row["provider_status"] == State.COMPLETED and is_open(row["state"]) else ""
    return f"Last of {polls}{could}, {ago} ago"


def _next_poll_sentences(row: RowMapping, price: float | None, heard: float, now: datetime) -> list[str]:
    """Word why the next poll is when it is; `price` is None where no poll of an open order is planned."""
    sentences = []
    if row["last_look_at"] is not None:
        sentences.append(f"{last_poll_text(row, now)}.")
    if row["failures"]:
        sentences.append(f"{count(row['failures'], 'poll')} in a row got no answer, so the waits grow.")
    if row["next_look_at"] is None:
        sentences.append("No poll is planned.")
        return sentences
    sentences.append(next_poll_text(row, now))
    if price is not None:
        sentences.append(
            f"A poll costs {price:.1f} s of expected waiting now; a list page that shows the order may come sooner, "
            "as all orders on it share its cost."
        )
        if heard:
            sentences.append(
                f"{int(heard * 100)} % of completions are announced by webhooks, which makes polls worth less."
            )
    return sentences
