"""What an observation means for an order. Pure; the only place where states change.

A poll, a webhook, the provider's answer and a person all become an `Observation`; `interpret` turns it into the events
to append, none where there is nothing to say. Only a GET makes an order Completed; a finished one is never taken back.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, assert_never

from tracking.orders import model, observations
from tracking.orders.echoes import is_echo
from tracking.orders.events import (
    attention_changes,
    attention_for_status,
    cancelled_lines,
    completed_there,
    contradiction_event,
    doubt_event,
    end_snooze,
    first_event,
    new_event,
    unapproved_there,
    work_event,
)
from tracking.orders.line_matching import (
    diff_lines,
    harmless_differences,
    is_same_order,
    mismatch,
    missing_proof,
    pair_lines,
)
from tracking.orders.model import (
    CANCELLED_LINE,
    OUR_STATES,
    TERMINAL,
    Event,
    Order,
    Snapshot,
    State,
    Submission,
    WebhookStatus,
    same_id,
)
from tracking.orders.observations import Answered, Attempted, Erased, Noted, Observation, Polled, Requested, Unsent
from tracking.orders.vocabulary import MIXED, AttentionReason, EventKind

HISTORY_AFTER = timedelta(days=1)
CLAIM_DOUBTED = timedelta(minutes=10)  # after a webhook's claim, while looks show the order open
DUPLICATE = 409
_NO_CHANGE: Mapping[str, Any] = {}


def interpret(order: Order | None, po_number: str, observation: Observation) -> list[Event]:
    """What the observation means for the order: the events to append, none where there is nothing to say.

    `order` is what is known so far, with lines; None for an order seen for the first time.
    """
    if order is None:
        return [first_event(po_number, observation)]
    events = _interpret(order, observation)
    return events if order.snoozed_at is None else end_snooze(order, events)


def _interpret(order: Order, observation: Observation) -> list[Event]:
    observed = observation.observed
    match observed:
        case Polled():  # first, as most are
            return _polled(order, observed, observation)
        case Requested():
            return []
        case Attempted():
            return [_attempted(order, observed, observation)]
        case Answered():
            return _answered(order, observed, observation)
        case observations.Declined():
            return _declined(order, observed, observation)
        case observations.Unclear() | Unsent():
            return _not_answered(order, observed, observation)
        case observations.Missing():
            return [new_event(EventKind.NOT_FOUND, observation, detail={"state": order.state})]
        case observations.WebhookReported():
            return _webhook_reported(order, observed, observation)
        case observations.Asked():
            return [_asked(order, observed, observation)]
        case Noted() | observations.ClaimRevealed() | Erased():
            return [_by_person(order, observed, observation)]
        case (
            observations.Assigned()
            | observations.Snoozed()
            | observations.SnoozeEnded()
            | observations.Reopened()
            | observations.Judged()
        ):
            return [work_event(observed, observation)]
        case _:
            assert_never(observed)


def _attempted(order: Order, observed: Attempted, observation: Observation) -> Event:
    if not model.can_send(order):
        raise ValueError(f"{order.po_number} is {order.state} and must not be sent")
    changes: dict[str, Any] = {}
    if order.submission == Submission.SENDING:
        # The attempt before was never settled: nobody knows what became of it, and this one does not change that.
        changes = {"state": State.UNKNOWN, "submission": Submission.UNKNOWN}
    elif order.submission != Submission.UNKNOWN:
        changes = {"state": State.SENDING, "submission": Submission.SENDING}
    return new_event(EventKind.SENDING, observation, changes=changes, detail={"attempt": observed.attempt})


def _answered(order: Order, observed: Answered, observation: Observation) -> list[Event]:
    snapshot = observed.snapshot
    if order.provider_id is not None:
        if same_id(order.provider_id, snapshot.provider_id):
            return [new_event(EventKind.ANSWER_REPEATED, observation, detail={"provider_id": snapshot.provider_id})]
        words = f"a second order {snapshot.provider_id} under the same PONumber"
        return [contradiction_event(order, observation, AttentionReason.SECOND_ORDER, words)]
    if observed.owner is not None:
        return [_po_number_mismatch(observation, snapshot.provider_id, f"that of PONumber {observed.owner}")]
    garbled = observed.adopted and not is_echo(snapshot.po_number, order.po_number, whole=True)
    difference = "another PONumber" if garbled else mismatch(order, snapshot, to_post=not observed.adopted)
    if difference and (observed.adopted or not is_echo(snapshot.po_number, order.po_number)):
        return [_po_number_mismatch(observation, snapshot.provider_id, difference)]
    state = State.ACCEPTED if model.is_terminal(snapshot.status) or snapshot.status in OUR_STATES else snapshot.status
    accepted = {
        "provider_id": snapshot.provider_id,
        "provider_created_at": snapshot.created_at,
        "accepted_at": observation.learned_at,
        "provider_status": snapshot.status,
        "submission": Submission.ACCEPTED,
        "state": state,
        # The POST had not left before happened_at, so the order cannot have been complete then. What a 409 leads
        # to may have been complete at any time since it was first sent.
        "last_open_at": None if observed.adopted and model.is_terminal(snapshot.status) else observation.happened_at,
        # One code for the whole order says nothing of products that are known to be of several currencies.
        "currency": order.currency if MIXED in (order.currency or "") else snapshot.currency or order.currency,
        **attention_for_status(snapshot.status),
        **unapproved_there(order),
    }
    if difference:  # the answer to our own POST: it is our order, whatever became of its lines
        words = f"the provider took the order with something else than was asked for ({difference})"
        accepted |= attention_changes(AttentionReason.LINES_DIFFER, words)
    differs = difference or harmless_differences(order, snapshot)
    detail = {"provider_id": snapshot.provider_id, "status": snapshot.status, "differs": differs}
    kind = EventKind.ADOPTED if observed.adopted else EventKind.ACCEPTED
    return [new_event(kind, observation, changes=accepted, detail=detail)]


def _po_number_mismatch(observation: Observation, provider_id: str, difference: str) -> Event:
    reason = f"the PONumber belongs to {provider_id}, which is another order ({difference})"
    attention = attention_changes(AttentionReason.PO_NUMBER_MISMATCH, reason)
    changes = {"state": State.REFUSED, "submission": Submission.REFUSED, **attention}
    return new_event(EventKind.PO_NUMBER_MISMATCH, observation, changes=changes, detail={"reason": reason})


def _declined(order: Order, observed: observations.Declined, observation: Observation) -> list[Event]:
    if order.provider_id is not None:
        return [new_event(EventKind.ANSWER_REPEATED, observation, detail={"reason": observed.reason})]
    # A 409 that names several orders: the PONumber is taken, whichever of them it is.
    reason = AttentionReason.PO_NUMBER_MISMATCH if observed.status == DUPLICATE else AttentionReason.REFUSED
    attention = attention_changes(reason, f"refused: {observed.reason}")
    changes = {"state": State.REFUSED, "submission": Submission.REFUSED, **attention}
    detail = {"status": observed.status, "reason": observed.reason}
    return [new_event(EventKind.REFUSED, observation, changes=changes, detail=detail)]


def _not_answered(order: Order, observed: observations.Unclear | Unsent, observation: Observation) -> list[Event]:
    if order.provider_id is not None:
        return []
    if isinstance(observed, Unsent):
        unknown = order.submission == Submission.UNKNOWN
        changes = {} if unknown else {"state": State.QUEUED, "submission": Submission.QUEUED}
        return [new_event(EventKind.NOT_SENT, observation, changes=changes, detail={"reason": observed.reason})]
    changes = {"state": State.UNKNOWN, "submission": Submission.UNKNOWN}
    return [new_event(EventKind.OUTCOME_UNKNOWN, observation, changes=changes, detail={"reason": observed.reason})]


def _webhook_reported(order: Order, observed: observations.WebhookReported, observation: Observation) -> list[Event]:
    if observed.provider_id and order.provider_id and not same_id(observed.provider_id, order.provider_id):
        words = f"a webhook names {observed.provider_id} under this PO number"
        return [contradiction_event(order, observation, AttentionReason.WEBHOOK_FOR_ANOTHER_ORDER, words)]
    if not observed.completes:
        return []
    doubted = order.notice == WebhookStatus.CONTRADICTED and order.state != State.CANCELLED
    if observed.repeats or not (doubted or order.notice == WebhookStatus.NONE):
        return [new_event(EventKind.WEBHOOK_REPEATED, observation, detail={"repeats": observed.repeats})]
    if order.state == State.COMPLETED:
        return [new_event(EventKind.WEBHOOK_CONFIRMED, observation, changes={"notice": WebhookStatus.CONFIRMED})]
    if order.state == State.CANCELLED:
        what = "announced as fulfilled, but cancelled"
        attention = attention_changes(AttentionReason.FULFILLED_BUT_CANCELLED, what)
        contradicted = {"notice": WebhookStatus.CONTRADICTED, **attention}
        return [new_event(EventKind.CONTRADICTION, observation, changes=contradicted, detail={"what": what})]
    changes = {"notice": WebhookStatus.CLAIMED, "claimed_at": observation.learned_at}
    return [new_event(EventKind.WEBHOOK_CLAIMED, observation, changes=changes)]


def _asked(order: Order, observed: observations.Asked, observation: Observation) -> Event:
    changes: dict[str, Any] = {}
    if observed.what == "resend" and order.state == State.REFUSED:
        changes = {"state": State.QUEUED, "submission": Submission.QUEUED, **attention_changes(None)}
    elif observed.what == "place anew":
        changes = attention_changes(None)
    detail = {
        "what": observed.what, "actor": observation.actor, "other": observed.other, "job": observation.job
    }  # fmt: skip
    return new_event(EventKind.ACTION_REQUESTED, observation, changes=changes, detail=detail)


def _by_person(order: Order, observed: Noted | observations.ClaimRevealed | Erased, observation: Observation) -> Event:
    by = observation.actor
    match observed:
        case Noted(acknowledges=False):
            detail: dict[str, Any] = {"text": observed.text, "actor": by, "job": observation.job}
            return new_event(EventKind.NOTED, observation, detail=detail)
        case Noted():
            at = observation.learned_at
            changes = {"acknowledged_at": at, "acknowledged_by": by, "acknowledged_why": observed.text}
            detail = {"text": observed.text, "actor": by, "job": observation.job}
            return new_event(EventKind.ACKNOWLEDGED, observation, changes=changes, detail=detail)
        case observations.ClaimRevealed():
            detail = {name: getattr(observed, name) for name in ("line", "unit", "version")} | {"actor": by}
            return new_event(EventKind.CLAIMS_REVEALED, observation, detail=detail)
        case Erased():
            erased = model.condense_numbers({*model.expand_numbers(order.erased), *observed.numbers})
            detail = {"lines": model.condense_numbers(observed.numbers), "actor": by}
            return new_event(EventKind.RECIPIENTS_ERASED, observation, changes={"erased": erased}, detail=detail)


def _polled(order: Order, observed: Polled, observation: Observation) -> list[Event]:
    snapshot = observed.snapshot
    if snapshot is None:
        if model.is_terminal(order.state):
            return []
        status = order.provider_status or order.state
        return [_still_open(order, observed, observation), *_claim_doubted(order, status, observation)]
    if order.provider_id is None:
        return _adopted_by_poll(order, observed, observation)
    if not is_same_order(snapshot, order):
        what = f"{order.provider_id} was asked for, {snapshot.provider_id} was shown"
        if order.attention == what:
            return []
        return [contradiction_event(order, observation, AttentionReason.ANOTHER_ORDER_SHOWN, what)]
    claim_events = _claims_changed(order, snapshot, observation)
    if model.is_terminal(order.state):
        return claim_events + _polled_after_end(order, snapshot, observation)
    line_changes = diff_lines(order.lines, snapshot.lines)
    match snapshot.status:
        case State.COMPLETED | State.CANCELLED if missing := missing_proof(order, snapshot):
            event = _still_open(order, observed, observation, line_changes=line_changes, missing=missing)
        case State.COMPLETED | State.CANCELLED:
            event = _finished(order, snapshot, observation, line_changes)
        case _:
            event = _still_open(order, observed, observation, line_changes=line_changes)
    return [*claim_events, event, *_claim_doubted(order, snapshot.status, observation)]


def _claim_doubted(order: Order, status: str, observation: Observation) -> list[Event]:
    """A webhook's claim that looks have contradicted for long: a person is needed, as one of the two is wrong."""
    if order.notice != WebhookStatus.CLAIMED or order.claimed_at is None or status in TERMINAL:
        return []
    doubted_for = observation.happened_at - order.claimed_at
    return [doubt_event(order, status, observation, doubted_for)] if doubted_for >= CLAIM_DOUBTED else []


def _claims_changed(order: Order, snapshot: Snapshot, observation: Observation) -> list[Event]:
    """Claim data that is not what it was at first: money may have been handed out twice, so it is written down."""
    if not any(line.claim_digest for line in order.lines):
        return []
    numbers = [
        line.number
        for line, now in pair_lines(order.lines, snapshot.lines)
        if line.claim_digest and now.claim_digest and now.claims <= line.claims
        if line.claim_digest != now.claim_digest
    ]
    detail = {"lines": model.condense_numbers(numbers)}
    return [new_event(EventKind.CLAIMS_CHANGED, observation, detail=detail)] if numbers else []


def _adopted_by_poll(order: Order, observed: Polled, observation: Observation) -> list[Event]:
    """An order whose submission has no known outcome turns up in a look: the same as a 409 that names it."""
    if observed.snapshot is None or observed.snapshot.unreadable:
        return []
    events = _answered(order, Answered(observed.snapshot, adopted=True), observation)
    attention_before = order.attention
    for event in events:
        order = model.apply_event(order, event)
    if order.provider_id is None:
        return [] if attention_before is not None and order.attention == attention_before else events
    return events + _polled(order, observed, observation)


def _still_open(
    order: Order,
    observed: Polled,
    observation: Observation,
    *,
    line_changes: model.LineDiffs = (),
    missing: tuple[AttentionReason, str] | None = None,
) -> Event:
    if observed.snapshot is None and _is_open_as_before(order):
        return _open_as_before(order, observed, observation)
    status = observed.snapshot.status if observed.snapshot else (order.provider_status or order.state)
    # A list may leave claim data out, so one that shows none does not prove that the order was still open; nor do lines
    # that do not fit.
    reasons = (missing[0] if missing else None, order.attention_reason)
    odd = status == State.COMPLETED and AttentionReason.LINES_DO_NOT_FIT in reasons
    unsure = status == State.CANCELLED or (status == State.COMPLETED and (observed.via == "list" or odd))
    changes: dict[str, Any] = {} if unsure else {"last_open_at": observation.happened_at}
    if observed.via == "order" or status != State.COMPLETED:
        changes |= completed_there(order, status, observation, missing)
    if observed.snapshot is not None:
        state = order.state if missing or status in OUR_STATES else status
        changes |= {"provider_status": status, "state": state}
        if line_changes:
            changes["units_fulfilled"] = _units_fulfilled(order, line_changes)
        attention = attention_for_status(status)
        if attention["attention"] not in {None, order.attention}:
            changes |= attention
    changes = _only_changes(order, changes)
    detail = {"status": status, "via": observed.via, "incomplete": True if missing else None}
    return new_event(EventKind.STILL_OPEN, observation, changes=changes, detail=detail, line_changes=line_changes)


def _is_open_as_before(order: Order) -> bool:
    """Whether an answer that is the one before says no more than that the order is open still."""
    ends = order.provider_status in TERMINAL or order.state in TERMINAL
    return not ends and order.completed_there_at is None and order.attention_reason is None


def _open_as_before(order: Order, observed: Polled, observation: Observation) -> Event:
    """The same event as for any open order, without looking at what cannot have changed: so are most answers."""
    at, detail = observation.happened_at, {"status": order.provider_status or order.state, "via": observed.via}
    changes = {"last_open_at": at.isoformat()} if order.last_open_at != at else {}
    return Event(str(EventKind.STILL_OPEN), observation.witness, at, observation.learned_at, changes, detail)


def _only_changes(order: Order, changes: Mapping[str, Any]) -> dict[str, Any]:
    changed = {name: value for name, value in changes.items() if getattr(order, name) != value}
    if "attention" in changed and "attention_reason" in changes:
        changed["attention_reason"] = changes["attention_reason"]  # words and code are written together
    return changed


def _units_fulfilled(order: Order, line_changes: model.LineDiffs) -> int:
    """How many units are fulfilled after the changes, each line being in one of them at the most."""
    news = {number: change for change in line_changes for number in model.expand_numbers(change["numbers"])}
    return sum(line.fulfilled_after(order.type, news.get(line.number, _NO_CHANGE)) for line in order.lines)


def _finished(order: Order, snapshot: Snapshot, observation: Observation, line_changes: model.LineDiffs) -> Event:
    completed = snapshot.status == State.COMPLETED
    after = order.last_open_at or order.created_at
    first_sight = order.last_open_at is None and order.submission == Submission.ELSEWHERE
    changes: dict[str, Any] = {
        "state": snapshot.status,
        "provider_status": snapshot.status,
        "completed_after": min(after, observation.learned_at),
        "completed_by": observation.learned_at,
        "units_fulfilled": _units_fulfilled(order, line_changes),
    }
    if order.notice == WebhookStatus.CLAIMED:
        changes["notice"] = WebhookStatus.CONFIRMED if completed else WebhookStatus.CONTRADICTED
    # What was cancelled days before anybody here could watch it is history, not work for today.
    history = first_sight and observation.learned_at - order.created_at > HISTORY_AFTER
    if completed and _is_asked_to_approve(order):
        changes |= unapproved_there(order)
    else:
        changes |= attention_changes(None) if completed or history else attention_for_status(snapshot.status)
    cancelled = cancelled_lines(snapshot.lines) if completed and not history else None
    changes |= attention_changes(AttentionReason.LINES_CANCELLED, cancelled) if cancelled else {}
    if order.lines and (costs := [line.cost_minor for line in snapshot.lines]) and None not in costs:
        changes["cost_minor"] = sum(cost or 0 for cost in costs)
    kind = EventKind.COMPLETED if completed else EventKind.CANCELLED
    detail = {"status": snapshot.status, "first_sight": first_sight or None}
    changes = _only_changes(order, changes)
    return new_event(kind, observation, changes=changes, detail=detail, line_changes=line_changes)


def _is_asked_to_approve(order: Order) -> bool:
    """Whether nobody has answered yet that it came to the provider without an approval: its completion does not."""
    return model.is_at_provider_unapproved(order) and order.attention is not None and order.acknowledged_at is None


def _polled_after_end(order: Order, snapshot: Snapshot, observation: Observation) -> list[Event]:
    line_changes = diff_lines(order.lines, snapshot.lines)
    if snapshot.status != order.state:
        what = f"finished as {order.state}, now shown as {snapshot.status}"
        if order.attention == what:
            return []
        return [contradiction_event(order, observation, AttentionReason.CHANGED_AFTER_END, what)]
    if not line_changes:
        return []
    changes = _only_changes(order, {"units_fulfilled": _units_fulfilled(order, line_changes)})
    newly = any(change.get("status") == CANCELLED_LINE for change in line_changes)
    if newly and order.state == State.COMPLETED:
        changes |= attention_changes(AttentionReason.LINES_CANCELLED, cancelled_lines(snapshot.lines))
    return [new_event(EventKind.LINES_CHANGED, observation, changes=changes, line_changes=line_changes)]
