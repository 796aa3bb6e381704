"""The one way an order changes.

An observation goes in, and in one transaction the log, the row, the counters and the due time say what it means.
Repeats change nothing. Every function is a step of a job that `Database` commits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tracking.errors import NotAllowed, UnknownOrder
from tracking.forecasting.classes import late_after
from tracking.forecasting.planner import Planner, plan_next_poll, record_prediction
from tracking.orders.line_matching import annotations, pair
from tracking.orders.model import (
    Event,
    Line,
    Notice,
    Order,
    OrderRequest,
    Snapshot,
    State,
    Witness,
    allowed,
    apply,
    begin,
    expand,
    is_open,
    is_terminal,
)
from tracking.orders.observations import (
    Announced,
    Answered,
    Asked,
    Erased,
    Looked,
    Noted,
    Observation,
    Requested,
    Unsealed,
)
from tracking.orders.rules import interpret
from tracking.provider import recipients
from tracking.provider.responses import Callback, Shown
from tracking.storage import claims, inbox, orders, outbox
from tracking.storage.claims import ClaimCipher


@dataclass(frozen=True, slots=True)
class Announcement:
    """What became of a callback: accepted, repeated, waiting or refused."""

    outcome: str
    reason: str | None = None


def place(
    connection: Connection,
    request: OrderRequest,
    *,
    source: str,
    actor: str | None,
    now: datetime,
    batch_id: int | None = None,
) -> int:
    """Commits the intent to order: the order in state Queued and its outbox row. Returns the order's row id.

    Raises:
        NotAllowed: an order with this PONumber exists.
    """
    if orders.find_order(connection, po_number=request.po_number, with_lines=False) is not None:
        raise NotAllowed(f"an order with PONumber {request.po_number} exists; it is left as it is")
    seen = Requested(request.type, source, request.units, request.value_minor, request.lines, request.note)
    observation = Observation(Witness.US, now, now, seen, actor)
    order_id = _begin(connection, request.po_number, observation, request.lines, now, {"batch_id": batch_id}).id
    outbox.queue(connection, order_id, request.document, now)
    return order_id


def observe(
    connection: Connection,
    order_id: int,
    observation: Observation,
    planner: Planner,
    *,
    shown: Shown | None = None,
) -> Order:
    """What was seen of an order that is stored. Returns the order as it is now known.

    Raises:
        UnknownOrder: there is no such order.
    """
    needs_lines = isinstance(observation.seen, Answered) or shown is not None
    kept = orders.find_order(connection, order_id=order_id, with_lines=needs_lines)
    if kept is None:
        raise UnknownOrder(f"no order has the row id {order_id}")
    return _observe(connection, kept, observation, planner, shown)


def discover(
    connection: Connection, shown: Shown, started_at: datetime, now: datetime, planner: Planner
) -> tuple[Order, bool]:
    """An order that a list showed: a look at one we know, or one that somebody placed elsewhere.

    Returns the order as it is now known, and whether it is new here.
    """
    snapshot = shown.snapshot
    kept = orders.find_order(connection, provider_id=snapshot.provider_id, with_lines=False)
    if kept is not None and kept.row["digest"] == shown.digest:
        unchanged = Observation(Witness.POLL, started_at, now, Looked(None, via="list"))
        awaited = is_open(kept.order.state) or _is_due(kept, now)
        return _observe(connection, kept, unchanged, planner, None) if awaited else kept.order, False
    observation = Observation(Witness.POLL, started_at, now, Looked(snapshot, via="list"))
    po_number = snapshot.po_number or snapshot.provider_id
    kept = kept or orders.find_order(connection, po_number=po_number, with_lines=False)
    if kept is not None:
        kept = replace(kept, order=replace(kept.order, lines=orders.lines_of(connection, kept.id)))
        dull = is_terminal(kept.order.state) and not _is_due(kept, now)
        if dull and not interpret(kept.order, po_number, observation):
            return kept.order, False
        return _observe(connection, kept, observation, planner, shown), False
    blank = tuple(_untouched(line) for line in snapshot.lines)
    kept = _begin(connection, po_number, observation, blank, now, {})
    return _observe(connection, kept, observation, planner, shown), True


def _is_due(kept: orders.StoredOrder, now: datetime) -> bool:
    """Whether this look was waited for, so that the next one must be planned."""
    return kept.row["next_look_at"] is not None and kept.row["next_look_at"] <= now


def announce(
    connection: Connection, callback: Callback, size: int, now: datetime, planner: Planner, *, times: int = 1
) -> Announcement:
    """A callback whose address was proven: a claim that makes a known order due, kept for an unknown one.

    `times` is how often it has come since the last time it was told of.
    """
    values = {
        "digest": callback.digest,
        "outcome": "accepted",
        "action": callback.action,
        "po_number": callback.po_number,
        "provider_id": callback.provider_id,
        "stated_at": callback.stated_at,
        "size": size,
    }
    callback_id, repeats = inbox.record_webhook_call(connection, values, now, times=times)
    kept = _announced_order(connection, callback)
    if kept is None:
        inbox.settle_webhook_call(connection, callback_id, outcome="waiting", order_id=None)
        return Announcement("waiting" if not repeats else "repeated")
    return _announce(connection, kept, callback_id, repeats, callback.provider_id, now, planner)


def _announced_order(connection: Connection, callback: Callback) -> orders.StoredOrder | None:
    if callback.po_number is not None:
        return orders.find_order(connection, po_number=callback.po_number, with_lines=False)
    return orders.find_order(connection, provider_id=callback.provider_id, with_lines=False)


def _announce(
    connection: Connection,
    kept: orders.StoredOrder,
    callback_id: int,
    repeats: int,
    provider_id: str | None,
    now: datetime,
    planner: Planner,
) -> Announcement:
    foreign = bool(provider_id and kept.order.provider_id and provider_id != kept.order.provider_id)
    reason = "it names another order than its address" if foreign else None
    outcome = "refused" if foreign else "accepted"
    inbox.settle_webhook_call(connection, callback_id, outcome=outcome, order_id=kept.id, reason=reason)
    if not (foreign and repeats):
        observation = Observation(Witness.WEBHOOK, now, now, Announced(provider_id, repeats))
        _observe(connection, kept, observation, planner, None)
    return Announcement(outcome if not repeats or foreign else "repeated", reason)


def ask(connection: Connection, order_id: int, *, what: str, actor: str | None, now: datetime) -> None:
    """A person asks to look at the order now ("check") or to send it again under the same PONumber ("resend").

    Raises:
        UnknownOrder: there is no such order.
        NotAllowed: the order's state forbids it.
    """
    kept = _existing(connection, order_id)
    if refusal := allowed(kept.order.state, kept.order.provider_id, kept.order.erased)[what]:
        raise NotAllowed(refusal)
    beside: dict[str, Any] = {}
    if what == "check":
        # Without the digest the look is a whole one: it keeps what was not kept before, such as claim data.
        beside = {"next_look_at": now, "next_look_why": "asked for by a person", "digest": None}
    elif not outbox.requeue(connection, order_id, now):
        raise NotAllowed("this order was not placed here; it cannot be sent again")
    _append(connection, kept, Observation(Witness.PERSON, now, now, Asked(what), actor), beside)


def note(
    connection: Connection, order_id: int, *, text: str, actor: str | None, now: datetime, acknowledges: bool
) -> None:
    """A person writes something down; with `acknowledges` the order no longer asks for a person.

    Raises:
        UnknownOrder: there is no such order.
        NotAllowed: the text is empty.
    """
    if not text.strip():
        raise NotAllowed("a reason is needed: who reads this later wants to know why")
    seen = Noted(text.strip()[:500], acknowledges)
    _append(connection, _existing(connection, order_id), Observation(Witness.PERSON, now, now, seen, actor), {})


def reveal(
    connection: Connection, order_id: int, wanted: Unsealed, *, vault: ClaimCipher, actor: str, now: datetime
) -> tuple[claims.ClaimVersion, int, str]:
    """Writes down that a person sees one unit's claim data; returns it sealed, the count of versions, the PONumber.

    Raises:
        UnknownOrder: there is no such order.
        ClaimsUnavailable: it cannot be shown; nothing is written down, as nothing will be shown.
    """
    kept = _existing(connection, order_id)
    known = claims.versions(connection, order_id, wanted.line)
    found = claims.select_version(known, wanted, vault, kept.order.po_number)
    seen = replace(wanted, version=found.number if len(known) > 1 else None)
    _append(connection, kept, Observation(Witness.PERSON, now, now, seen, actor), {})
    return found, len(known), kept.order.po_number


def erase(
    connection: Connection,
    kept: orders.StoredOrder,
    numbers: Sequence[int],
    document: Any,
    *,
    actor: str,
    now: datetime,
) -> None:
    """Takes the recipient out of these lines and puts the fact into the log; `document` is the provider's without them.

    The keyed hash stays, which the log vouches for; without its salt it tells nobody who it was.
    """
    orders.annotate_lines(
        connection, kept.id, [{"number": number, "recipient": None, "recipient_salt": None} for number in numbers]
    )
    observation = Observation(Witness.PERSON, now, now, Erased(tuple(numbers)), actor)
    _append(connection, kept, observation, {"document": document})


def _existing(connection: Connection, order_id: int) -> orders.StoredOrder:
    kept = orders.find_order(connection, order_id=order_id, with_lines=False)
    if kept is None:
        raise UnknownOrder("no such order")
    return kept


def _untouched(line: Line) -> Line:
    """The line as it was when it was ordered: what it shows now arrives as a change, so that the log holds it."""
    return replace(line, status=State.PENDING.value, claims=0, cost_minor=None, claim_digest=None)


def _begin(
    connection: Connection,
    po_number: str,
    observation: Observation,
    lines: tuple[Line, ...],
    now: datetime,
    beside: Mapping[str, Any],
) -> orders.StoredOrder:
    [first] = interpret(None, po_number, observation)
    order = replace(begin(first), lines=lines)
    late = {"late_at": order.created_at + late_after(order.type, order.units)}
    order_id = orders.add_order(connection, order, first, late | dict(beside))
    kept = orders.find_order(connection, order_id=order_id)
    if kept is None:
        raise UnknownOrder(f"{po_number} vanished while it was stored at {now}")
    return kept


def _append(
    connection: Connection, kept: orders.StoredOrder, observation: Observation, beside: Mapping[str, Any]
) -> tuple[Order, list[Event]]:
    events = interpret(kept.order, kept.order.po_number, observation)
    after = list(_fold(kept.order, events))
    orders.save_order(connection, kept, after, events, beside)
    return (after[-1] if after else kept.order), events


def _fold(order: Order, events: Iterable[Event]) -> Iterable[Order]:
    for event in events:
        order = apply(order, event)
        yield order


def _observe(
    connection: Connection, kept: orders.StoredOrder, observation: Observation, planner: Planner, shown: Shown | None
) -> Order:
    events = interpret(kept.order, kept.order.po_number, observation)
    after = list(_fold(kept.order, events))
    order = after[-1] if after else kept.order
    beside = plan_next_poll(kept, order, observation, planner)
    if shown is not None and _shows(shown.snapshot, order):
        people = [line.recipient for line in kept.order.lines if line.recipient] if kept.order.erased else None
        beside["document"] = recipients.kept(shown.document, people)
        # Equal bytes may be passed over only after a look: an answer to a POST is not believed as a look is.
        if isinstance(observation.seen, Looked):
            beside["digest"] = shown.digest
        pairs = list(pair(kept.order.lines, shown.snapshot.lines))
        orders.annotate_lines(connection, kept.id, annotations(pairs))
        erased = frozenset(expand(kept.order.erased))
        found = claims.claims_by_line([one for one in pairs if one[0].number not in erased], shown.claims)
        claims.store_claims(connection, kept.id, order.po_number, found, planner.cipher, observation.learned_at)
    if order.provider_id is not None and kept.order.provider_id is None and order.accepted_at is not None:
        beside["late_at"] = order.accepted_at + planner.book.late_after(order.type, order.units)
    orders.save_order(connection, kept, after, events, beside)
    became_known = kept.order.provider_id is None or kept.row["event_count"] == 1
    if order.provider_id is not None and became_known:
        record_prediction(connection, kept.id, order, observation.learned_at, planner)
        order = _adopt_waiting(connection, kept.id, order, observation.learned_at, planner)
    return order


def _adopt_waiting(connection: Connection, order_id: int, order: Order, now: datetime, planner: Planner) -> Order:
    """Callbacks that came before their order find it now."""
    for waiting in inbox.waiting_webhook_calls(connection, order.po_number):
        kept = orders.find_order(connection, order_id=order_id, with_lines=False)
        if kept is not None:
            _announce(connection, kept, waiting["id"], 0, waiting["provider_id"], now, planner)
            order = replace(order, notice=Notice.CLAIMED.value) if is_open(order.state) else order
    return order


def _shows(snapshot: Snapshot, order: Order) -> bool:
    """Whether it is this order: what is shown under its id with the PONumber of another is not kept as its own."""
    return order.provider_id == snapshot.provider_id and snapshot.po_number in {None, order.po_number}
