"""Records a batch of webhook calls in one transaction, with few statements.

What is plain is done together: the first call of an order in the job, not known yet, whose order is here and is the one
that it names. Whatever else comes is done after it, one by one by `ingest.receive_webhook`, which would do all alike.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Witness, same_id
from tracking.orders.observations import Observation, WebhookReported
from tracking.provider.webhook_bodies import FULFILLMENT_COMPLETE, WebhookCall
from tracking.storage import inbox, orders

_NAMES = tuple(entry.name for entry in fields(WebhookCall))
_values = attrgetter(*_NAMES)


class Received(NamedTuple):
    """A proven call, the size of its body in bytes, and how often it came in this batch."""

    call: WebhookCall
    size: int
    times: int


def record(connection: Connection, received: Sequence[Received], now: datetime, planner: PlanningContext) -> list[str]:
    """Record the calls, each with another digest; returns what became of each, as `ingest.receive_webhook` says it."""
    numbers = {one.call.po_number for one in received if one.call.po_number is not None}
    by_number = orders.find_by_po_numbers(connection, sorted(numbers)) if numbers else {}
    repeated = inbox.stored_digests(connection, [one.call.digest for one in received])
    rows, outcomes, rest = list[dict[str, Any]](), ["accepted"] * len(received), list[int]()
    claims = list[tuple[orders.StoredOrder, Observation]]()
    for place, one in enumerate(received):
        # A later call of the same order in this job must see what this one changes.
        stored = by_number.pop(one.call.po_number or "", None)
        if stored is None or one.call.digest in repeated or _names_another(stored, one.call):
            rest.append(place)
            continue
        rows.append(_row(one, stored.id, now))
        reported = WebhookReported(one.call.provider_id, 0, completes=one.call.action in {None, FULFILLMENT_COMPLETE})
        claims.append((stored, Observation(Witness.WEBHOOK, now, now, reported)))
    with orders.deferred_writes(connection):
        for stored, observation in claims:
            ingest.observe(connection, stored.id, observation, planner, stored=stored)
    inbox.record_webhook_calls(connection, rows)
    for place in rest:
        call, size, times = received[place]
        outcomes[place] = ingest.receive_webhook(connection, call, size, now, planner, times=times)
    return outcomes


def _names_another(stored: orders.StoredOrder, call: WebhookCall) -> bool:
    own_id = stored.order.provider_id
    return bool(call.provider_id and own_id and not same_id(call.provider_id, own_id))


def _row(one: Received, order_id: int, now: datetime) -> dict[str, Any]:
    values = dict(zip(_NAMES, _values(one.call), strict=True))
    outcome = {"outcome": "accepted", "size": one.size, "rule": None, "order_id": order_id, "repeats": one.times - 1}
    return values | outcome | {"method": "POST", "received_at": now, "last_at": now}
