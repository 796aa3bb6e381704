"""Order lifecycle: plans all statuses when an order is placed, and reads them off by the clock ever after.

Owns the two state machines (order and lines), when each step is due and when webhooks are. Pure: time and random
generator come as arguments, so a restart or a step of the clock changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracking.sandbox.faults import Faults
from tracking.sandbox.order_validation import epoch_seconds
from tracking.sandbox.responses import format_us_timestamp

Step = tuple[float, str]
_HOUR = 3600.0
_FULFILLED: Mapping[str, str] = {
    "Links": "Completed",
    "Codes": "Completed",
    "DigitalDelivery": "Sent",
    "PhysicalShipment": "SentToFulfillment",
}


@dataclass(frozen=True)
class LineLifecycle:
    """When a line is fulfilled (handed over, for a shipment) and when it is claimed or shipped, if ever."""

    fulfilled_at: float | None
    moved_at: float | None


@dataclass(frozen=True)
class Lifecycle:
    """The steps of an order, its lines, and the time from which all claim data is served."""

    steps: tuple[Step, ...]
    lines: tuple[LineLifecycle, ...]
    claims_at: float | None

    @property
    def completed_at(self) -> float | None:
        """When it is Completed for the first time."""
        return first_time(self.steps, "Completed")


@dataclass(frozen=True)
class ScheduledWebhook:
    """A webhook to send: when it is due, the time it states, and whether it names an order of somebody else."""

    due_at: float
    stated_at: float
    foreign: bool = False

    def body(self, order_id: str, po_number: str) -> dict[str, str]:
        """The JSON body, the same at every try."""
        return {
            "Action": "FulfillmentComplete",
            "OrderId": "BLK-999999999" if self.foreign else order_id,
            "PONumber": "FOREIGN-1" if self.foreign else po_number,
            "Timestamp": format_us_timestamp(self.stated_at),
        }


def first_time(steps: Sequence[Step], status: str) -> float | None:
    """Find when a status is reached for the first time."""
    return next((at for at, reached in steps if reached == status), None)


def order_status(steps: Sequence[Step], now: float) -> str:
    """Compute the order's status at a time; before its creation the first one."""
    return next((status for at, status in reversed(steps) if at <= now), steps[0][1])


def line_status(kind: str, line: LineLifecycle, steps: Sequence[Step], now: float) -> str:
    """Compute the line's status at a time. Cancelling an order cancels every line of it."""
    cancelled_at = first_time(steps, "Cancelled")
    if cancelled_at is not None and cancelled_at <= now:
        return "Cancelled"
    if line.moved_at is not None and line.moved_at <= now:
        return "Shipped" if kind == "PhysicalShipment" else "Claimed"
    if line.fulfilled_at is not None and line.fulfilled_at <= now:
        return _FULFILLED[kind]
    return "Pending"


def fulfillment_seconds(units: int, faults: Faults, speed: float, rng: random.Random) -> float:
    """Draw the seconds from creation to completion: longer for larger orders, scattered lognormally."""
    seconds = faults.seconds_base + faults.seconds_per_unit * units
    return faults.pace * seconds * rng.lognormvariate(0, 0.3) / speed


def plan_lifecycle(
    kind: str,
    items: Sequence[Mapping[str, Any]],
    faults: Faults,
    created_at: float,
    *,
    speed: float,
    rng: random.Random,
    seconds: float | None = None,
) -> Lifecycle:
    """Plan the lifecycle of an order placed at a time. `seconds` overrides how long it takes."""
    units = sum(int(item["Quantity"]) for item in items)
    length = fulfillment_seconds(units, faults, speed, rng)
    if seconds is not None:
        length = seconds
    elif _is_instant(kind, units, faults):
        length = 0.0
    if faults.never:
        return Lifecycle(((created_at, "Pending"),), _unfulfilled_lines(len(items)), None)
    if faults.cancelled:
        end: Step = (created_at + length, "Cancelled")
        return Lifecycle((*_steps_before_end(created_at, length, faults), end), _unfulfilled_lines(len(items)), None)
    fulfillment_times = _fulfillment_times(kind, items, created_at, length)
    length = max(fulfillment_times) - created_at
    steps: tuple[Step, ...] = (*_steps_before_end(created_at, length, faults), (created_at + length, "Completed"))
    lag = max(length, 5 / speed)
    if faults.regress:
        back = created_at + length + lag / 2
        steps = (*steps, (back, "Processing"), (back + lag / 2, "Completed"))
    end_times = (_claim_or_shipping_time(kind, at, created_at + length, speed, rng) for at in fulfillment_times)
    lines = tuple(map(LineLifecycle, fulfillment_times, end_times))
    return Lifecycle(steps, lines, created_at + length + (0 if faults.claim_data == "full" else lag))


def _unfulfilled_lines(count: int) -> tuple[LineLifecycle, ...]:
    return (LineLifecycle(None, None),) * count


def _is_instant(kind: str, units: int, faults: Faults) -> bool:
    if faults.pace == 0:
        return True
    detour = faults.unknown_status or faults.approval or faults.cancelled or faults.pace > 1
    small = units <= faults.pending_threshold_units and faults.webhook != "early"
    return kind in {"Links", "Codes"} and small and not detour


def _steps_before_end(created_at: float, length: float, faults: Faults) -> tuple[Step, ...]:
    """The steps before the last."""
    if length == 0:
        return ()
    steps: list[Step] = [(created_at, "Pending")]
    if faults.approval:
        steps.append((created_at + 0.1 * length, "AwaitingApproval"))
    if faults.unknown_status:
        steps.append((created_at + 0.3 * length, "InReview"))
    steps.append((created_at + (0.6 if len(steps) > 1 else 0.15) * length, "Processing"))
    return tuple(steps)


def _fulfillment_times(kind: str, items: Sequence[Mapping[str, Any]], created_at: float, length: float) -> list[float]:
    """Line by line over the later part of the order's time; a delivery date ahead is waited for."""
    count = len(items)
    times = [created_at + length * (0.2 + 0.8 * (index + 1) / count) for index in range(count)]
    times[-1] = created_at + length
    if kind == "PhysicalShipment":
        return times
    dates = (epoch_seconds(str((item.get("Personalization") or {}).get("DeliveryDate") or "")) for item in items)
    return [max(at, date or at) for at, date in zip(times, dates, strict=True)]


def _claim_or_shipping_time(
    kind: str, fulfilled_at: float, completed_at: float, speed: float, rng: random.Random
) -> float | None:
    """Shipments follow the order's completion within hours; two of three digital cards are claimed some day."""
    if kind == "PhysicalShipment":
        return completed_at + (0.5 * _HOUR + rng.expovariate(1 / (3 * _HOUR))) / speed
    if rng.random() > 0.66:
        return None
    return fulfilled_at + (60 + rng.expovariate(1 / (6 * _HOUR))) / speed


def schedule_webhooks(lifecycle: Lifecycle, faults: Faults, speed: float) -> list[ScheduledWebhook]:
    """Schedule the webhooks of an order. One that is never completed has none."""
    completed_at, created_at = lifecycle.completed_at, lifecycle.steps[0][0]
    if completed_at is None or faults.webhook == "never":
        return []
    if faults.webhook == "duplicate":
        return [ScheduledWebhook(completed_at + wait / speed, completed_at) for wait in (0, 1, 3)]
    if faults.webhook == "late":
        return [ScheduledWebhook(completed_at + 300 / speed, completed_at)]
    if faults.webhook == "early":
        early = created_at + 0.7 * (completed_at - created_at)
        return [ScheduledWebhook(early, early)]
    if faults.webhook == "foreign":
        return [
            ScheduledWebhook(completed_at, completed_at, foreign=True),
            ScheduledWebhook(completed_at + 1 / speed, completed_at),
        ]
    return [ScheduledWebhook(completed_at, completed_at)]
