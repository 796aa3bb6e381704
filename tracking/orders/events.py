"""Builds events: the first of an order, ordinary ones, requests for a person, contradictions, a team's work. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tracking.orders.model import (
    CANCELLED_LINE,
    PROVIDER_STATES,
    TERMINAL,
    TYPE_UNKNOWN,
    Approval,
    Event,
    Line,
    LineDiffs,
    Order,
    State,
    Submission,
    WebhookStatus,
    condense_numbers,
    is_open,
)
from tracking.orders.observations import (
    Assigned,
    Judged,
    Observation,
    Polled,
    Reopened,
    Requested,
    Snoozed,
    SnoozeEnded,
    Worked,
)
from tracking.orders.vocabulary import UNPROVEN_COMPLETION, AttentionReason, EventKind

CLAIM_DATA_AWAITED = timedelta(seconds=15)  # after the first look that showed the order completed without it
_SUPERSEDED = UNPROVEN_COMPLETION | {AttentionReason.UNKNOWN_STATUS, AttentionReason.LINES_DIFFER}


def first_event(po_number: str, observation: Observation) -> Event:
    """Build an order's first event: it was requested here, or a poll showed it for the first time."""
    observed = observation.observed
    if isinstance(observed, Requested):
        names = ("type", "source", "units", "value_minor", "note", "currency")
        changes = {name: getattr(observed, name) for name in names}
        changes |= {"po_number": po_number, "created_at": observation.learned_at, "actor": observation.actor}
        changes |= {"state": State.QUEUED, "submission": Submission.QUEUED}
        changes |= {"approval": Approval.WAITING} if observed.waits_as else {}
        values = observed.values and dict(observed.values)
        detail = {"lines": len(observed.lines), "values": values, "waits": observed.waits_as}
        return new_event(EventKind.REQUESTED, observation, changes=changes, detail=detail)
    if not isinstance(observed, Polled) or observed.snapshot is None:
        raise TypeError(f"an order cannot begin with {type(observed).__name__}")
    snapshot = observed.snapshot
    facts = {
        **{name: getattr(snapshot, name) for name in ("units", "value_minor", "note", "currency", "provider_id")},
        "po_number": po_number,
        "type": snapshot.type or TYPE_UNKNOWN,
        "source": "elsewhere",
        "provider_created_at": snapshot.created_at,
        "accepted_at": snapshot.created_at,
        "created_at": snapshot.created_at or observation.learned_at,
        "submission": Submission.ELSEWHERE,
        "state": State.ACCEPTED,
        "last_open_at": None,
    }
    detail = {"lines": len(snapshot.lines)}
    happened = min(snapshot.created_at or observation.happened_at, observation.learned_at)
    return new_event(EventKind.DISCOVERED, observation, changes=facts, detail=detail, happened_at=happened)


def new_event(
    kind: EventKind,
    observation: Observation,
    *,
    changes: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    line_changes: LineDiffs = (),
    happened_at: datetime | None = None,
) -> Event:
    """Build an event: what it changes is made JSON-able, and details without a value are left out."""
    encoded = {**changes} if changes else {}
    for name, value in encoded.items():
        if isinstance(value, datetime):
            encoded[name] = value.isoformat()
    filled_detail = {name: value for name, value in detail.items() if value is not None} if detail else {}
    happened = happened_at or observation.happened_at
    return Event(str(kind), observation.witness, happened, observation.learned_at, encoded, filled_detail, line_changes)


def contradiction_event(order: Order, observation: Observation, reason: AttentionReason, what: str) -> Event:
    """Something that contradicts the order: it needs a person, once."""
    changes = attention_changes(reason, what) if order.attention != what else {}
    return new_event(EventKind.CONTRADICTION, observation, changes=changes, detail={"what": what, "state": order.state})


def doubt_event(order: Order, status: str, observation: Observation, doubted_for: timedelta) -> Event:
    """Polls have contradicted a webhook's claim for so long; needs a decision, unless the order already does."""
    what = f"announced as complete {int(doubted_for.total_seconds() // 60)} min ago, and still {status} at the provider"
    asks = order.attention is None or order.acknowledged_at is not None
    attention = attention_changes(AttentionReason.WEBHOOK_NOT_CONFIRMED, what) if asks else {}
    changes = {"notice": WebhookStatus.CONTRADICTED, **attention}
    return new_event(EventKind.CONTRADICTION, observation, changes=changes, detail={"what": what})


def attention_changes(reason: AttentionReason | None, words: str | None = None) -> dict[str, Any]:
    """The changes by which an order needs a decision, in words and as a code; or, with None, needs none any more."""
    return {"attention": words, "attention_reason": reason.value if reason else None, "acknowledged_at": None}


def attention_for_status(status: str) -> dict[str, Any]:
    """The changes that a status brings: a cancelled order, or one with an unknown status, needs a decision."""
    if status == State.CANCELLED:
        return attention_changes(AttentionReason.CANCELLED, "cancelled by the provider")
    if status in PROVIDER_STATES:
        return attention_changes(None)
    return attention_changes(AttentionReason.UNKNOWN_STATUS, f"the provider's word {status!r} is not known")


def unapproved_there(order: Order) -> dict[str, Any]:
    """The changes of an order that is found at the provider although nobody approved it; none for any other."""
    match order.approval:
        case Approval.WAITING | Approval.BYPASSED:
            words = "the provider has it, and nobody approved it"
            return {"approval": Approval.BYPASSED, **attention_changes(AttentionReason.NOT_APPROVED, words)}
        case Approval.DECLINED:
            return attention_changes(AttentionReason.NOT_APPROVED, "the provider has it, though it was declined here")
    return {}


def completed_there(
    order: Order, status: str, observation: Observation, missing: tuple[AttentionReason, str] | None
) -> dict[str, Any]:
    """Since when the provider has called an open order Completed, and the request for a person to see what is missing.

    Claim data may come a little later than the word, so that only what is still missing after a while is told.
    """
    if status != State.COMPLETED:
        unfounded = order.attention_reason is not None and order.attention_reason in UNPROVEN_COMPLETION
        return {"completed_there_at": None, **(attention_changes(None) if unfounded else {})}
    since = order.completed_there_at or observation.learned_at
    if missing is None:  # the same bytes as before: lines that do not fit would have been told then
        missing = AttentionReason.CLAIM_DATA_MISSING, "not all of its claim data has come"
    reason, what = missing
    awaited = reason == AttentionReason.CLAIM_DATA_MISSING and observation.learned_at - since < CLAIM_DATA_AWAITED
    repeats = order.attention_reason in {reason, AttentionReason.LINES_DO_NOT_FIT}
    waits = order.attention is not None and order.acknowledged_at is None and order.attention_reason not in _SUPERSEDED
    flagged = {} if awaited or repeats or waits else attention_changes(reason, f"completed at the provider, but {what}")
    return {"completed_there_at": since, **flagged}


def cancelled_lines(lines: Iterable[Line]) -> str | None:
    """Which lines of a completed order are cancelled, in words; None where there are none."""
    numbers = [line.number for line in lines if line.status == CANCELLED_LINE]
    return f"completed, but the provider cancelled line {condense_numbers(numbers)}" if numbers else None


def work_event(observed: Worked, observation: Observation) -> Event:
    """Build the event of a person's work on an order: given to somebody, snoozed, taken up again, approved."""
    detail: dict[str, Any] = {
        "actor": observation.actor,
        "text": getattr(observed, "why", None),
        "job": observation.job,
    }
    changes: dict[str, Any]
    match observed:
        case Assigned(assignee):
            detail["assignee"] = assignee
            return new_event(EventKind.ASSIGNED, observation, changes={"assignee": assignee}, detail=detail)
        case Snoozed(until):
            changes = {"snoozed_at": observation.learned_at, "snoozed_until": until}
            return new_event(EventKind.SNOOZED, observation, changes=changes, detail=detail)
        case SnoozeEnded():
            return new_event(EventKind.SNOOZE_ENDED, observation, changes=dict(_AWAKE), detail=detail)
        case Reopened():
            return new_event(
                EventKind.REOPENED, observation, changes={"acknowledged_at": None, **_AWAKE}, detail=detail
            )
        case Judged(approved=True):
            changes = {"approval": Approval.APPROVED}
            return new_event(EventKind.APPROVED, observation, changes=changes, detail=detail)
        case Judged():
            refused = {"state": State.REFUSED, "submission": Submission.REFUSED, **attention_changes(None)}
            changes = {"approval": Approval.DECLINED, **refused}
            return new_event(EventKind.DECLINED, observation, changes=changes, detail=detail)


def work_refusal(order: Order, observed: Worked, actor: str | None) -> str | None:
    """Say why a person cannot do this with the order; None where they can."""
    waits = order.attention is not None and order.acknowledged_at is None
    match observed:
        case Assigned(assignee) if assignee == order.assignee:
            return f"it is assigned to {assignee} already" if assignee else "it is assigned to nobody"
        case Snoozed() if not waits and not is_open(order.state):
            return "only an open order, or one that needs a decision, can be snoozed"
        case SnoozeEnded() if order.snoozed_at is None:
            return "it is not snoozed"
        case Reopened() if order.attention is None or waits:
            return "only an acknowledged order can be reopened"
        case Judged() if order.approval != Approval.WAITING:
            return "it does not wait for an approval"
        case Judged(approved=True) if order.state != State.QUEUED:
            return f"it is {order.state} by now; decline it, or place it again under another PO number"
        case Judged() if same_person(order.actor, actor):
            return "you submitted this order; a second operator has to approve or decline it"
    return None


def same_person(one: str | None, other: str | None) -> bool:
    """Whether both names may be those of one person; stored as "cli:NAME", "api:TOKEN"."""
    first, second = ((name or "").removeprefix("cli:").removeprefix("api:").strip().casefold() for name in (one, other))
    return first == second


def end_snooze(order: Order, events: list[Event]) -> list[Event]:
    """Make the events end the order's snooze where they bring what somebody waits for, or must know at once.

    Until a time, that is a new request for a person, or the order's end; until something changes, also any change of
    its state, of what the webhook said, or of how much is fulfilled.
    """
    if order.snoozed_at is None:
        return events
    return [
        replace(event, changes={**event.changes, **_AWAKE}) if _wakes(order, event.changes) else event
        for event in events
    ]


_AWAKE: Mapping[str, Any] = {"snoozed_at": None, "snoozed_until": None}


def _wakes(order: Order, changes: Mapping[str, Any]) -> bool:
    final = changes.get("state") in {*TERMINAL, State.REFUSED}
    if final or changes.get("attention") is not None or changes.get("acknowledged_at") is not None:
        return True
    return order.snoozed_until is None and not changes.keys().isdisjoint({"state", "notice", "units_fulfilled"})
