"""The course of an order: planned once when it is placed, read off by the clock ever after.

Owns the two state machines (order and lines), when each step is due and when webhooks are. Pure: the time and the
chance come as arguments, so a restart or a step of the clock changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracking.sandbox.faults import Switches
from tracking.sandbox.order_validation import parse_time
from tracking.sandbox.responses import us_timestamp

Step = tuple[float, str]
_HOUR = 3600.0
_FULFILLED: Mapping[str, str] = {
    "Links": "Completed",
    "Codes": "Completed",
    "DigitalDelivery": "Sent",
    "PhysicalShipment": "SentToFulfillment",
}


@dataclass(frozen=True)
class LineCourse:
    """When a line is fulfilled (handed over, for a shipment) and when it is claimed or shipped, if ever."""

    fulfilled_at: float | None
    moved_at: float | None


@dataclass(frozen=True)
class Course:
    """The steps of an order, its lines, and the time from which all claim data is there."""

    steps: tuple[Step, ...]
    lines: tuple[LineCourse, ...]
    claims_at: float | None

    @property
    def completed_at(self) -> float | None:
        """When it is Completed for the first time."""
        return first(self.steps, "Completed")


@dataclass(frozen=True)
class Announcement:
    """One webhook: when it is due, the time it states, and whether it names an order that is not ours."""

    due_at: float
    stated_at: float
    foreign: bool = False

    def body(self, order_id: str, po_number: str) -> dict[str, str]:
        """What is sent, the same at every try."""
        return {
            "Action": "FulfillmentComplete",
            "OrderId": "BLK-999999999" if self.foreign else order_id,
            "PONumber": "FOREIGN-1" if self.foreign else po_number,
            "Timestamp": us_timestamp(self.stated_at),
        }


def first(steps: Sequence[Step], status: str) -> float | None:
    """When a status is reached for the first time."""
    return next((at for at, word in steps if word == status), None)


def order_status(steps: Sequence[Step], now: float) -> str:
    """The order's status at a time; before its creation the first one."""
    return next((word for at, word in reversed(steps) if at <= now), steps[0][1])


def line_status(kind: str, line: LineCourse, steps: Sequence[Step], now: float) -> str:
    """The line's status at a time. Cancelling an order cancels every line of it."""
    cancelled_at = first(steps, "Cancelled")
    if cancelled_at is not None and cancelled_at <= now:
        return "Cancelled"
    if line.moved_at is not None and line.moved_at <= now:
        return "Shipped" if kind == "PhysicalShipment" else "Claimed"
    if line.fulfilled_at is not None and line.fulfilled_at <= now:
        return _FULFILLED[kind]
    return "Pending"


def duration(units: int, switches: Switches, speed: float, chance: random.Random) -> float:
    """Seconds from creation to completion: longer for larger orders, scattered lognormally."""
    seconds = switches.seconds_base + switches.seconds_per_unit * units
    return switches.pace * seconds * chance.lognormvariate(0, 0.3) / speed


def plan(
    kind: str,
    items: Sequence[Mapping[str, Any]],
    switches: Switches,
    created_at: float,
    *,
    speed: float,
    chance: random.Random,
    takes: float | None = None,
) -> Course:
    """The course of an order placed at a time. `takes` overrides how long it takes, in seconds."""
    units = sum(int(item["Quantity"]) for item in items)
    length = duration(units, switches, speed, chance)
    if takes is not None:
        length = takes
    elif _is_instant(kind, units, switches):
        length = 0.0
    if switches.never:
        return Course(((created_at, "Pending"),), _untouched(len(items)), None)
    if switches.cancelled:
        end: Step = (created_at + length, "Cancelled")
        return Course((*_way(created_at, length, switches), end), _untouched(len(items)), None)
    fulfilled = _fulfilled_times(kind, items, created_at, length)
    length = max(fulfilled) - created_at
    steps: tuple[Step, ...] = (*_way(created_at, length, switches), (created_at + length, "Completed"))
    lag = max(length, 5 / speed)
    if switches.regress:
        back = created_at + length + lag / 2
        steps = (*steps, (back, "Processing"), (back + lag / 2, "Completed"))
    lines = tuple(LineCourse(at, _moved_at(kind, at, created_at + length, speed, chance)) for at in fulfilled)
    return Course(steps, lines, created_at + length + (0 if switches.claim_data == "full" else lag))


def _untouched(count: int) -> tuple[LineCourse, ...]:
    return (LineCourse(None, None),) * count


def _is_instant(kind: str, units: int, switches: Switches) -> bool:
    if switches.pace == 0:
        return True
    detour = switches.unknown_status or switches.approval or switches.cancelled or switches.pace > 1
    small = units <= switches.pending_threshold_units and switches.webhook != "early"
    return kind in {"Links", "Codes"} and small and not detour


def _way(created_at: float, length: float, switches: Switches) -> tuple[Step, ...]:
    """The steps before the last."""
    if length == 0:
        return ()
    steps: list[Step] = [(created_at, "Pending")]
    if switches.approval:
        steps.append((created_at + 0.1 * length, "AwaitingApproval"))
    if switches.unknown_status:
        steps.append((created_at + 0.3 * length, "InReview"))
    steps.append((created_at + (0.6 if len(steps) > 1 else 0.15) * length, "Processing"))
    return tuple(steps)


def _fulfilled_times(kind: str, items: Sequence[Mapping[str, Any]], created_at: float, length: float) -> list[float]:
    """Line by line over the later part of the order's time; a delivery date ahead is waited for."""
    count = len(items)
    times = [created_at + length * (0.2 + 0.8 * (index + 1) / count) for index in range(count)]
    times[-1] = created_at + length
    if kind == "PhysicalShipment":
        return times
    dates = (parse_time(str((item.get("Personalization") or {}).get("DeliveryDate") or "")) for item in items)
    return [max(at, date or at) for at, date in zip(times, dates, strict=True)]


def _moved_at(kind: str, fulfilled_at: float, completed_at: float, speed: float, chance: random.Random) -> float | None:
    """Shipments follow the order's completion within hours; two of three digital cards are claimed some day."""
    if kind == "PhysicalShipment":
        return completed_at + (0.5 * _HOUR + chance.expovariate(1 / (3 * _HOUR))) / speed
    if chance.random() > 0.66:
        return None
    return fulfilled_at + (60 + chance.expovariate(1 / (6 * _HOUR))) / speed


def announcements(course: Course, switches: Switches, speed: float) -> list[Announcement]:
    """The webhooks of an order. One that is never completed has none."""
    done, begun = course.completed_at, course.steps[0][0]
    if done is None or switches.webhook == "never":
        return []
    if switches.webhook == "duplicate":
        return [Announcement(done + wait / speed, done) for wait in (0, 1, 3)]
    if switches.webhook == "late":
        return [Announcement(done + 300 / speed, done)]
    if switches.webhook == "early":
        early = begun + 0.7 * (done - begun)
        return [Announcement(early, early)]
    if switches.webhook == "foreign":
        return [Announcement(done, done, foreign=True), Announcement(done + 1 / speed, done)]
    return [Announcement(done, done)]
