"""Tells the running fire drill that somebody opened a page that shows one of its orders."""

import contextlib
from collections.abc import Iterable

import cached
import session
from tracking.errors import StoreError
from tracking.orders.observations import utc_now
from tracking.reports.team.drills import Step
from tracking.team import drills


def opened(po_numbers: Iterable[str]) -> None:
    """A page shows these orders. With a real provider there is no drill, and nothing is read."""
    if not session.settings().embedded_sandbox:
        return
    drill = cached.running_drill()
    if drill is not None and Step.OPENED not in drill.at:
        with contextlib.suppress(StoreError):  # the next page that is opened tells it
            drills.note_opened(session.database(), po_numbers, utc_now())
