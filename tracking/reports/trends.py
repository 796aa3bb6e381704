"""Spans of time for charts, in steps of an hour or a day. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tracking.orders.model import State
from tracking.startup import pd
from tracking.storage.counters import hour_of

SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
STATES = (
    State.QUEUED, State.SENDING, State.UNKNOWN, State.ACCEPTED, State.PENDING, State.AWAITING_APPROVAL,
    State.PROCESSING, State.REFUSED, State.CANCELLED, State.COMPLETED,
)  # fmt: skip


def day_start(now: datetime) -> datetime:
    """The last midnight, UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def step_name(span: str) -> str:
    """Name what one step of the span's charts is: an hour, or a day."""
    return "day" if span == "30d" else "hour"


def step_starts(now: datetime, span: str) -> list[datetime]:
    """List the hours (days for 30d) of the span, the current one last."""
    if span not in SPANS:
        raise ValueError(f"{span!r} is no span: use one of {', '.join(SPANS)}")
    step = timedelta(days=1) if span == "30d" else timedelta(hours=1)
    last = day_start(now) if span == "30d" else hour_of(now)
    return [last - step * back for back in range(SPANS[span] // step - 1, -1, -1)]


def span_start(now: datetime, span: str) -> datetime:
    """Compute the full hour (day for 30d) in which the span begins."""
    return step_starts(now, span)[0]


def rounded_outwards(frame: pd.DataFrame, *, least: Sequence[str] = (), most: Sequence[str] = ()) -> pd.DataFrame:
    """The frame with these columns as bounds with one decimal, rounded down or up, so that they stay true."""
    tenths = (frame[[*least, *most]] * 10).astype(float).round(6)  # 0.7 times ten is a little more than seven
    tenths[[*least]] //= 1
    tenths[[*most]] = -(-tenths[[*most]] // 1)
    return frame.assign(**{str(name): column / 10 for name, column in tenths.items()})
