"""What it costs the writer to record webhook calls that came together, against recording each of them by itself."""

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.provider.webhook_bodies import FULFILLMENT_COMPLETE, WebhookCall
from tracking.storage.database import Database
from tracking.webhooks import intake
from tracking.webhooks.intake import Received

TOGETHER = 31  # as many as gather with 64 in flight, of which the others are being committed meanwhile
Record = Callable[[Connection, Sequence[Received], datetime], object]


def measure(store: Database, po_numbers: Sequence[str], planner: PlanningContext) -> tuple[float, float]:
    """Record a call of each of these open orders, group by group in turn both ways.

    Returns the seconds of processor of a call, recorded together and by itself: medians of the groups, without what
    the commit takes.
    """
    ways: tuple[Record, ...] = (partial(_together, planner=planner), partial(_one_by_one, planner=planner))
    taken = [list[float](), list[float]()]
    for first in range(0, len(po_numbers) - TOGETHER + 1, TOGETHER):
        received = [_received(po_number) for po_number in po_numbers[first : first + TOGETHER]]
        place = first // TOGETHER % 2
        taken[place].append(store.write(partial(_timed, record=ways[place], received=received)) / TOGETHER)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _received(po_number: str) -> Received:
    call = WebhookCall(
        FULFILLMENT_COMPLETE,
        f"BLK-{po_number}",
        po_number,
        datetime.now(UTC),
        f"notice of {po_number}",
        None,
        "127.0.0.1",
    )
    return Received(call, 130, 1)


def _timed(connection: Connection, record: Record, received: Sequence[Received]) -> float:
    began = time.thread_time()
    record(connection, received, datetime.now(UTC))
    return time.thread_time() - began


def _together(connection: Connection, received: Sequence[Received], now: datetime, planner: PlanningContext) -> None:
    if set(intake.record(connection, received, now, planner)) != {"accepted"}:
        raise SystemExit("a genuine callback was not accepted")


def _one_by_one(connection: Connection, received: Sequence[Received], now: datetime, planner: PlanningContext) -> None:
    for call, size, times in received:
        ingest.receive_webhook(connection, call, size, now, planner, times=times)
