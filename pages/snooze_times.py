"""Choices of times to snooze until: an hour, this afternoon, tomorrow, Monday, until something changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import streamlit as st

import times
from tracking.orders import wording
from tracking.orders.observations import utc_now

MORNING, AFTERNOON, EVENING = time(9), time(14), time(17)
SOON = timedelta(minutes=30)  # a time nearer than that is not worth the wait
CHANGE, DATE = "change", "date"


@dataclass(frozen=True, slots=True)
class Until:
    """A choice: its label, and the time in UTC; None until something changes."""

    label: str
    at: datetime | None


def choices(now: datetime) -> Mapping[str, Until]:
    """What is offered, by a word that stays the same from run to run; clocks are those of the reader's zone."""
    local, zone = now.astimezone(times.zone()), times.zone_label()

    def clock(days: int, at: time) -> datetime:
        """The wall clock's time so many days ahead, whether or not the clocks change until then."""
        return datetime.combine(local.date() + timedelta(days=days), at, local.tzinfo).astimezone(now.tzinfo)

    offered = {"hour": Until("For 1 hour", now + timedelta(hours=1))}
    afternoon = next((at for at in (AFTERNOON, EVENING) if clock(0, at) - now > SOON), None)
    if afternoon:
        offered["afternoon"] = Until(f"This afternoon, {afternoon:%H:%M} {zone}", clock(0, afternoon))
    offered["tomorrow"] = Until(f"Tomorrow, {MORNING:%H:%M} {zone}", clock(1, MORNING))
    monday = 7 - local.weekday()
    if monday > 1:
        offered["monday"] = Until(f"Next Monday, {MORNING:%H:%M} {zone}", clock(monday, MORNING))
    return offered | {CHANGE: Until("Until something changes", None)}


def field(key: str) -> datetime | None:
    """A field for a date and a time of the reader's zone; None while it is empty or over."""
    now = utc_now().astimezone(times.zone()).replace(tzinfo=None)
    label = f"Until ({times.zone_name()})"
    until = st.datetime_input(label, value=None, step=300, min_value=now, format="YYYY-MM-DD", key=key)
    return until.replace(tzinfo=times.zone()) if until else None


def text(until: datetime | None) -> str:
    """Until when, in words: "until 09:00:00", "until something changes"."""
    return f"until {wording.clock(until, utc_now())}" if until else "until something changes"
