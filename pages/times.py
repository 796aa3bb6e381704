"""Times as whoever reads them has chosen: in UTC, in the zone of their browser, or as how long ago."""

from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import streamlit as st

import session
from tracking.orders import wording
from tracking.orders.observations import utc_now

DISPLAYS = ("UTC", "local", "relative")
_DISPLAY: ContextVar[str | None] = ContextVar("display", default=None)  # as chosen, in the run that is drawn


def display() -> str:
    """How times are shown: "UTC", "local" or "relative"."""
    return _DISPLAY.get() or _chosen_display()


def _chosen_display() -> str:
    chosen = session.preferences().times
    return chosen if chosen in DISPLAYS else "UTC"


def local_name() -> str | None:
    """The name of the browser's zone, such as "Europe/Berlin"; None where it names none that this machine knows."""
    name = st.context.timezone
    try:
        return ZoneInfo(name).key if name else None
    except (KeyError, OSError, ValueError):  # no such zone, no file of zones, no name of one
        return None


def zone_name() -> str:
    """The name of the zone in which clocks are shown."""
    return "UTC" if display() == "UTC" else local_name() or "UTC"


def zone_label() -> str:
    """The same in short, for heads and buttons: "Berlin"."""
    return zone_name().rpartition("/")[2].replace("_", " ")


def zone() -> tzinfo:
    """The zone in which clocks are shown."""
    name = zone_name()
    return UTC if name == "UTC" else ZoneInfo(name)


def apply() -> None:
    """Write the clocks of all sentences of this run in the chosen zone."""
    _DISPLAY.set(_chosen_display())
    wording.TIME_ZONE.set(zone())


def text(at: datetime | None, now: datetime | None = None) -> str:
    """A moment as chosen: a clock, with the date unless it is today's, or how long ago, or in how long."""
    now = now or utc_now()
    if at is None:
        return "never"
    if display() != "relative":
        return wording.clock(at, now)
    return f"in {wording.duration(at - now)}" if at > now else wording.ago(at, now)


def with_zone(at: datetime | None) -> str:
    """The same with the zone behind a clock, for sentences that are read alone."""
    return text(at) if at is None or display() == "relative" else f"{text(at)} {zone_label()}"


def heading(header: str) -> str:
    """The head of a column of moments: with the zone, unless they are shown as how long ago."""
    return header if display() == "relative" else f"{header} ({zone_label()})"


def column(header: str, **settings: Any) -> Any:
    """A table's column of moments under its `heading`."""
    layout = "distance" if display() == "relative" else "MMM D, HH:mm:ss"
    return st.column_config.DatetimeColumn(heading(header), format=layout, timezone=zone_name(), **settings)
