"""Planner: when an order is polled next after what was observed of it, and why."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tracking.forecasting import predictions
from tracking.forecasting.classes import class_of
from tracking.forecasting.forecasts import Forecasts
from tracking.forecasting.waits import WEBHOOK_SPACING, Policy, follow_up_wait, poll_wait
from tracking.orders.events import CLAIM_DATA_AWAITED
from tracking.orders.model import (
    Order,
    State,
    Submission,
    WebhookStatus,
    is_open,
    is_terminal,
    lines_may_change,
)
from tracking.orders.observations import (
    Answered,
    Observation,
    Polled,
    WebhookReported,
)
from tracking.orders.vocabulary import PollReason
from tracking.storage import orders
from tracking.storage.claims import ClaimCipher


@dataclass(frozen=True, slots=True)
class PlanningContext:
    """What `ingest` needs beside an observation: policy and forecasts for due times, the cipher of claim data."""

    policy: Policy
    rng: random.Random
    cipher: ClaimCipher = field(default_factory=ClaimCipher)
    forecasts: Forecasts = field(default_factory=Forecasts)


def record_prediction(
    connection: Connection, order_id: int, order: Order, now: datetime, planner: PlanningContext
) -> None:
    """Store a prediction for an order that the provider has just taken, unless it is already done."""
    if order.accepted_at is not None and is_open(order.state) and order.state != State.ACCEPTED:
        compared = planner.forecasts.comparable_times(class_of(order.type, order.units))
        predictions.store_prediction(connection, order_id, compared, now - order.accepted_at, now)


def plan_next_poll(
    stored: orders.StoredOrder, order: Order, observation: Observation, planner: PlanningContext
) -> dict[str, Any]:
    """Plan the next poll and its reason; empty where the observation changes neither."""
    now = observation.learned_at
    match observation.observed:
        case Polled(via="list") if order.provider_status == State.COMPLETED and is_open(order.state):
            # The list may lack the proof, so a poll of the order itself is due at once; no later list puts it off.
            is_new = stored.order.provider_status != order.provider_status
            return {"next_look_at": now, "next_look_why": PollReason.LISTED_AS_COMPLETED} if is_new else {}
        case Polled():
            polled = {
                "looks": stored.columns["looks"] + 1,
                "failures": 0,
                "last_look_at": now,
                "lease_owner": None,
                "lease_until": None,
            }
            return polled | _plan_poll(order, now, planner)
        case Answered() if order.provider_id is not None and _awaits_confirmation(order):
            return {"next_look_at": now, "next_look_why": PollReason.ANSWERED_AS_COMPLETED}
        case Answered():
            return _plan_poll(order, now, planner)
        case WebhookReported() if order.provider_id is not None and is_open(order.state):
            return _plan_after_webhook(stored, now)
        case _:
            return {}


def _plan_poll(order: Order, now: datetime, planner: PlanningContext) -> dict[str, Any]:
    if order.provider_id is None:
        return {"next_look_at": None, "next_look_why": None}
    if is_terminal(order.state):
        return _plan_follow_up(order, now, planner)
    age = now - (order.accepted_at or order.created_at)
    since_webhook = now - order.claimed_at if order.claimed_at and order.notice == WebhookStatus.CLAIMED else None
    forecast = planner.forecasts.for_order(order.type, order.units)
    price = planner.forecasts.price_of_poll(announces=order.submission != Submission.ELSEWHERE)
    wait = poll_wait(planner.policy, forecast, age, since_webhook, price, planner.rng)
    if order.completed_there_at is not None:
        wait = min(wait, max(_wait_for_proof(abs(now - order.completed_there_at)), planner.policy.floor))
    why = PollReason.MAY_HAVE_FINISHED if since_webhook is None else PollReason.WEBHOOK_UNCONFIRMED
    return {"next_look_at": now + wait, "next_look_why": why}


def _wait_for_proof(since: timedelta) -> timedelta:
    """Until it is time to tell that an order completed there lacks its proof; then twice as long each time."""
    return CLAIM_DATA_AWAITED - since if since < CLAIM_DATA_AWAITED else since


def _awaits_confirmation(order: Order) -> bool:
    return order.state == State.ACCEPTED or order.notice == WebhookStatus.CLAIMED


def _plan_follow_up(order: Order, now: datetime, planner: PlanningContext) -> dict[str, Any]:
    ended = {"next_look_at": None, "next_look_why": None}
    if order.state != State.COMPLETED or (order.lines and not lines_may_change(order)):
        return ended
    # From the earliest time it can have been finished: one that was found finished may have been so for days.
    wait = follow_up_wait(order.type, now - (order.completed_after or now), planner.rng)
    return ended if wait is None else {"next_look_at": now + wait, "next_look_why": PollReason.LINES_MAY_CHANGE}


def _plan_after_webhook(stored: orders.StoredOrder, now: datetime) -> dict[str, Any]:
    """Plan a poll at once after a webhook call, but at most one in 30 seconds for webhook calls."""
    last = stored.columns["webhook_look_at"]
    # A last time that lies ahead was taken from a clock that has been set back since.
    due = now if last is None or last > now + WEBHOOK_SPACING else max(now, last + WEBHOOK_SPACING)
    planned = stored.columns["next_look_at"]
    if planned is not None and planned <= due:
        return {}
    return {"next_look_at": due, "next_look_why": PollReason.WEBHOOK, "webhook_look_at": due}
