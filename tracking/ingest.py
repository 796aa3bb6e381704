"""Records what was observed of an order: its events, row, counters and next poll, in one transaction.

This is the only way an order changes. Repeats change nothing, and what was erased does not come back. Each function is
a step of a job of the writer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection

from tracking.errors import NotAllowed, UnknownOrder
from tracking.forecasting.classes import first_late_after
from tracking.forecasting.planner import PlanningContext, plan_next_poll, record_prediction
from tracking.orders import model, observations
from tracking.orders.events import work_refusal
from tracking.orders.line_matching import is_same_order, line_annotations, pair_lines, regroup
from tracking.orders.model import Witness
from tracking.orders.observations import Answered, Asked, ClaimRevealed, Erased, Noted, Observation, Polled, Requested
from tracking.orders.rules import interpret
from tracking.orders.vocabulary import MIXED, PollReason
from tracking.provider import recipients
from tracking.provider.responses import ParsedOrder
from tracking.provider.webhook_bodies import FULFILLMENT_COMPLETE, WebhookCall
from tracking.storage import claims, inbox, orders, outbox
from tracking.storage.claims import ClaimCipher
from tracking.storage.team import approval_rule


def place(
    connection: Connection,
    request: model.OrderRequest,
    *,
    source: str,
    actor: str | None,
    now: datetime,
    batch_id: int | None = None,
    values: Mapping[str, int] | None = None,
) -> int:
    """Add an order to be sent: its row, in state Queued, and its row in the outbox. Returns the order's row id.

    `values` are its minor units by currency, where the catalogue tells the currency; None leaves that to the provider.
    Above the approval limit in force it is sent only once a second person has approved it.
    Raises NotAllowed where an order with this PONumber exists.
    """
    if (owner := orders.owner_of_po_number(connection, request.po_number)) is not None:
        raise NotAllowed(f"an order with PONumber {owner} exists; it is left as it is")
    currency = MIXED.join(sorted(values)) if values else None
    several = dict(sorted(values.items())) if values and len(values) > 1 else None
    asked = (request.type, source, request.units, request.value_minor, request.lines, request.note)
    requested = Requested(*asked, currency, several, approval_rule.why_waits(connection, values, request.value_minor))
    observation = Observation(Witness.US, now, now, requested, actor)
    order_id = _add_order(connection, request.po_number, observation, request.lines, request.document, batch_id).id
    outbox.enqueue(connection, order_id, request.document, now, held=requested.waits_as is not None)
    return order_id


def observe(
    connection: Connection,
    order_id: int,
    observation: Observation,
    planner: PlanningContext,
    *,
    parsed: ParsedOrder | None = None,
    stored: orders.StoredOrder | None = None,
) -> model.Order:
    """Store what was observed of an order; returns the order after it. Raises UnknownOrder.

    `parsed` is the provider's document, where it showed one. `stored` is the order, where the caller has read it.
    """
    answered = observation.observed if isinstance(observation.observed, Answered) else None
    stored = stored or _existing(connection, order_id, with_lines=answered is not None or parsed is not None)
    if answered is not None and (owner := _owner_of(connection, answered.snapshot, stored)) is not None:
        observation, parsed = replace(observation, observed=replace(answered, owner=owner)), None
    return _observe(connection, stored, observation, planner, parsed)


def _owner_of(connection: Connection, snapshot: model.Snapshot, stored: orders.StoredOrder) -> str | None:
    """The PONumber of the other order here that has the provider's id, where one has."""
    if stored.order.provider_id is not None or snapshot.po_number == stored.order.po_number:
        return None
    other = orders.find_order(connection, provider_id=snapshot.provider_id, with_lines=False)
    return None if other is None or other.id == stored.id else other.order.po_number


def discover(
    connection: Connection, parsed: ParsedOrder, started_at: datetime, now: datetime, planner: PlanningContext
) -> tuple[model.Order, bool]:
    """Store an order as a list page showed it: a poll of one that is here, or a new one of another system.

    Returns the order as it is known now, and whether it is new here.
    """
    snapshot = parsed.snapshot
    stored = orders.find_order(connection, provider_id=snapshot.provider_id, with_lines=False)
    if stored is not None and stored.columns["digest"] == parsed.digest:
        unchanged = Observation(Witness.POLL, started_at, now, Polled(None, via="list"))
        awaited = model.is_open(stored.order.state) or _is_due(stored, now)
        return _observe(connection, stored, unchanged, planner, None) if awaited else stored.order, False
    observation = Observation(Witness.POLL, started_at, now, Polled(snapshot, via="list"))
    # A number of which letters were lost may be what is left of several.
    is_whole = snapshot.po_number is not None and "\ufffd" not in snapshot.po_number
    po_number = snapshot.po_number if snapshot.po_number and is_whole else snapshot.provider_id
    stored = stored or orders.find_as_named(connection, po_number)
    if stored is not None:
        stored = replace(stored, order=replace(stored.order, lines=orders.lines_of(connection, stored.id)))
        observation, parsed = _as_ordered_here(stored.order, observation, parsed)
        dull = model.is_terminal(stored.order.state) and not _is_due(stored, now)
        if dull and not interpret(stored.order, po_number, observation):
            return stored.order, False
        return _observe(connection, stored, observation, planner, parsed), False
    lines = [_as_ordered(line) for line in snapshot.lines]
    stored = _add_order(connection, po_number, observation, lines, parsed.document)
    return _observe(connection, stored, observation, planner, parsed), True


def _is_due(stored: orders.StoredOrder, now: datetime) -> bool:
    """Whether a poll of the order was due, so that the next one must be planned."""
    return stored.columns["next_look_at"] is not None and stored.columns["next_look_at"] <= now


def receive_webhook(
    connection: Connection, call: WebhookCall, size: int, now: datetime, planner: PlanningContext, *, times: int = 1
) -> str:
    """Record a webhook call whose address was proven: it makes its order due, or waits for an order that is not here.

    `times` is how often it came in the batch. Returns what became of it: accepted, repeated, waiting or refused.
    """
    values = asdict(call) | {"outcome": "accepted", "size": size, "rule": None}
    # The order is locked before the call, as where calls are recorded together.
    stored = orders.find_order(connection, po_number=call.po_number, provider_id=call.provider_id, with_lines=False)
    call_id, repeats = inbox.record_webhook_call(connection, values, now, times=times)
    if stored is None:
        inbox.settle_webhook_call(connection, call_id, {"outcome": "waiting", "order_id": None, "reason": call.reason})
        return "waiting" if not repeats else "repeated"
    if repeats and any(
        each["id"] == call_id for each in inbox.waiting_webhook_calls(connection, stored.order.po_number)
    ):
        repeats = 0  # it came before its order, whose log does not know of it yet
    return _apply_webhook(connection, stored, values | {"id": call_id}, repeats, now, planner)


def _apply_webhook(
    connection: Connection,
    stored: orders.StoredOrder,
    webhook_call: Mapping[str, Any],
    repeats: int,
    now: datetime,
    planner: PlanningContext,
    *,
    came_at: datetime | None = None,
) -> str:
    """Apply a webhook call to its order; `came_at` is given for a call that waited for its order."""
    provider_id, own_id = webhook_call["provider_id"], stored.order.provider_id
    foreign = bool(provider_id and own_id and not model.same_id(provider_id, own_id))
    outcome, reason, rule = "accepted", webhook_call["reason"], None
    if foreign:
        outcome, reason, rule = "refused", "it names another order than its address", "another order"
    settled = {"outcome": outcome, "order_id": stored.id, "reason": reason, "rule": rule}
    inbox.settle_webhook_call(connection, webhook_call["id"], settled)
    if not (foreign and repeats):
        completes = webhook_call["action"] in {None, FULFILLMENT_COMPLETE}
        reported = observations.WebhookReported(provider_id, repeats, completes=completes)
        observation = Observation(Witness.WEBHOOK, min(came_at or now, now), now, reported)
        _observe(connection, stored, observation, planner, None)
    return outcome if not repeats or foreign else "repeated"


def request_action(
    connection: Connection, order_id: int, *, what: str, actor: str | None, now: datetime, job: int | None = None
) -> None:
    """Record that a person wants the order polled now ("check") or sent again under its PONumber ("resend").

    Raises UnknownOrder, or NotAllowed where the order's state forbids it.
    """
    stored = _existing(connection, order_id)
    _must_allow(stored.order, what)
    extra_columns: dict[str, Any] = {}
    if what == "check":
        # Without the digest the next answer counts as new: it stores what was not stored before, such as claim data.
        extra_columns = {"next_look_at": now, "next_look_why": PollReason.REQUESTED, "digest": None}
    elif not outbox.requeue(connection, order_id, now):
        raise NotAllowed("another system placed this order; it cannot be resent")
    _append(connection, stored, Observation(Witness.PERSON, now, now, Asked(what), actor, job), extra_columns)


def place_anew(
    connection: Connection, order_id: int, request: model.OrderRequest, *, actor: str | None, now: datetime
) -> int:
    """Place an order again under another PONumber, as its own belongs to another order and a person wants both.

    The log of each of the two names the other. Returns the row id of the new one.

    Raises:
        UnknownOrder: there is no such order.
        NotAllowed: its state forbids it, or the new PONumber is taken.
    """
    stored = _existing(connection, order_id)
    _must_allow(stored.order, "place anew")
    new_id = place(connection, request, source=stored.order.source, actor=actor, now=now)
    placed = _existing(connection, new_id)
    links = (stored, "place anew", request.po_number), (placed, "placed anew", stored.order.po_number)
    for one, what, other in links:
        _append(connection, one, Observation(Witness.PERSON, now, now, Asked(what, other), actor), {})
    return new_id


def _must_allow(order: model.Order, what: str) -> None:
    allowed = model.allowed_actions(
        order.state, order.provider_id, order.erased, order.attention_reason, order.approval
    )
    if refusal := allowed[what]:
        raise NotAllowed(refusal)


def record_note(
    connection: Connection,
    order_id: int,
    *,
    text: str,
    actor: str | None,
    now: datetime,
    acknowledges: bool,
    job: int | None = None,
) -> None:
    """Record a person's note; with `acknowledges` the order needs no decision any more.

    Raises UnknownOrder, or NotAllowed for an empty text.
    """
    if not text.strip():
        raise NotAllowed("a reason is required: write a few words")
    noted = Noted(text.strip()[:500], acknowledges)
    _append(connection, _existing(connection, order_id), Observation(Witness.PERSON, now, now, noted, actor, job), {})


def record_work(
    connection: Connection,
    order_id: int,
    worked: observations.Worked,
    *,
    actor: str,
    now: datetime,
    job: int | None = None,
) -> None:
    """Record a person's work on the order: assign it, snooze it, end the snooze, reopen, approve or decline it.

    Raises UnknownOrder, or NotAllowed where that cannot be done with it.
    """
    stored = _existing(connection, order_id)
    if refusal := work_refusal(stored.order, worked, actor):
        raise NotAllowed(refusal)
    late = {}
    if isinstance(worked, observations.Judged):
        outbox.release_held(connection, order_id, now, approved=worked.approved)
        late = {"late_at": now + first_late_after(stored.order.type, stored.order.units)} if worked.approved else {}
    _append(connection, stored, Observation(Witness.PERSON, now, now, worked, actor, job), late)


def record_reveal(
    connection: Connection, order_id: int, request: ClaimRevealed, *, cipher: ClaimCipher, actor: str, now: datetime
) -> tuple[claims.ClaimVersion, int, str]:
    """Record that a person sees one unit's claim data; returns it encrypted, the number of versions, and the PONumber.

    Raises UnknownOrder, or ClaimsUnavailable: nothing is written down then, as nothing will be shown.
    """
    stored = _existing(connection, order_id)
    versions = claims.load_versions(connection, order_id, request.line)
    version = claims.select_version(versions, request, cipher, stored.order.po_number)
    revealed = replace(request, version=version.number if len(versions) > 1 else None)
    _append(connection, stored, Observation(Witness.PERSON, now, now, revealed, actor), {})
    return version, len(versions), stored.order.po_number


def erase_recipients(
    connection: Connection, stored: orders.StoredOrder, numbers: Sequence[int], document: Any, actor: str, now: datetime
) -> None:
    """Remove the recipient from these lines, and record that in the log; `document` is the provider's without them.

    The keyed hash stays, as the log is chained over it; without its salt it does not tell who the recipient was.
    """
    nobody = {"recipient": None, "recipient_salt": None, "recipient_key": None}
    orders.annotate_lines(connection, stored.id, [{"number": number, **nobody} for number in numbers])
    erased = Observation(Witness.PERSON, now, now, Erased(tuple(numbers)), actor)
    _append(connection, stored, erased, {"document": document})


def _as_ordered_here(
    order: model.Order, observation: Observation, parsed: ParsedOrder
) -> tuple[Observation, ParsedOrder]:
    """The observation and the document, with the provider's lines grouped as ours are."""
    snapshot, observed = parsed.snapshot, observation.observed
    lines = regroup(order.lines, snapshot.lines, parsed.claims) if order.lines else None
    if lines is None or not isinstance(observed, Answered | Polled) or observed.snapshot is not snapshot:
        return observation, parsed
    snapshot = replace(snapshot, lines=lines[0], line_count=len(snapshot.lines))
    observed = replace(observed, snapshot=snapshot)
    return replace(observation, observed=observed), replace(parsed, snapshot=snapshot, claims=lines[1])


def _existing(connection: Connection, order_id: int, *, with_lines: bool = False) -> orders.StoredOrder:
    stored = orders.find_order(connection, order_id=order_id, with_lines=with_lines)
    if stored is None:
        raise UnknownOrder(f"no order has the row id {order_id}")
    return stored


def _as_ordered(line: model.Line) -> model.Line:
    """The line as it was ordered: what it shows by now follows as an event's change, so that the log holds it."""
    return replace(line, status=model.State.PENDING.value, claims=0, cost_minor=None, claim_digest=None)


def _add_order(
    connection: Connection,
    po_number: str,
    observation: Observation,
    lines: Sequence[model.Line],
    document: Mapping[str, Any],
    batch_id: int | None = None,
) -> orders.StoredOrder:
    [first] = interpret(None, po_number, observation)
    order = replace(model.first_order(first), lines=tuple(lines))
    late_at = None if order.approval else order.created_at + first_late_after(order.type, order.units)
    documents = recipients.line_documents(document)
    if len(documents) != len(lines):
        documents = [{}] * len(lines)
    keys = [recipients.search_key(each, line.recipient) for each, line in zip(documents, lines, strict=True)]
    return orders.add_order(connection, order, first, {"late_at": late_at, "batch_id": batch_id}, keys)


def _append(
    connection: Connection, stored: orders.StoredOrder, observation: Observation, extra_columns: Mapping[str, Any]
) -> None:
    events, after = _interpreted(stored, observation)
    orders.save_order(connection, stored, after[1:], events, extra_columns)


def _interpreted(stored: orders.StoredOrder, observation: Observation) -> tuple[list[model.Event], list[model.Order]]:
    """The observation's events, and the order before them and after each."""
    events = interpret(stored.order, stored.order.po_number, observation)
    return events, list(accumulate(events, model.apply_event, initial=stored.order))


def _observe(
    connection: Connection,
    stored: orders.StoredOrder,
    observation: Observation,
    planner: PlanningContext,
    parsed: ParsedOrder | None,
) -> model.Order:
    if parsed is not None:
        observation, parsed = _as_ordered_here(stored.order, observation, parsed)
    events, after = _interpreted(stored, observation)
    order = after[-1]
    extra_columns = plan_next_poll(stored, order, observation, planner)
    if parsed is not None and is_same_order(parsed.snapshot, order) and not stored.columns["events_removed"]:
        people = [line.recipient for line in stored.order.lines if line.recipient] if stored.order.erased else None
        extra_columns["document"] = recipients.document_to_store(parsed.document, people)
        # The digest lets an equal answer be skipped, so only a poll sets it: an answer to a POST is less certain, and
        # a list that shows an order as completed may lack the proof.
        if isinstance(observation.observed, Polled) and not _is_to_be_confirmed(order, observation.observed):
            extra_columns["digest"] = parsed.digest
        pairs = list(pair_lines(stored.order.lines, parsed.snapshot.lines))
        orders.annotate_lines(connection, stored.id, line_annotations(pairs))
        erased = frozenset(model.expand_numbers(stored.order.erased))
        line_claims = claims.claims_by_line([one for one in pairs if one[0].number not in erased], parsed.claims)
        claims.store_claims(connection, stored.id, order.po_number, line_claims, planner.cipher, observation.learned_at)
    if order.approval != stored.order.approval:  # it waited, and is at the provider: there is nothing to send any more
        outbox.finish_outbox(connection, stored.id, again_at=None)
    became_known = stored.order.provider_id is None or stored.columns["event_count"] == 1
    if order.provider_id is not None and became_known and order.accepted_at is not None:
        extra_columns["late_at"] = order.accepted_at + planner.forecasts.late_limit(order.type, order.units).after
    orders.save_order(connection, stored, after[1:], events, extra_columns)
    if order.provider_id is not None and became_known:
        record_prediction(connection, stored.id, order, observation.learned_at, planner)
        order = _adopt_waiting(connection, stored.id, order, observation.learned_at, planner)
    return order


def _is_to_be_confirmed(order: model.Order, polled: Polled) -> bool:
    return polled.via == "list" and order.provider_status == model.State.COMPLETED and model.is_open(order.state)


def _adopt_waiting(
    connection: Connection, order_id: int, order: model.Order, now: datetime, planner: PlanningContext
) -> model.Order:
    """Apply the webhook calls that came before their order was here."""
    for waiting in inbox.waiting_webhook_calls(connection, order.po_number):
        stored = orders.find_order(connection, order_id=order_id, with_lines=False)
        if stored is not None:
            _apply_webhook(connection, stored, dict(waiting), 0, now, planner, came_at=waiting["received_at"])
            claims = model.is_open(order.state) and waiting["action"] in {None, FULFILLMENT_COMPLETE}
            order = replace(order, notice=model.WebhookStatus.CLAIMED.value) if claims else order
    return order
