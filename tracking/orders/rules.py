"""What an observation means for an order. Pure; the only place where states change.

A poll, a webhook, the provider's answer and a person all become an `Observation`; `interpret` turns it into the events
to append, none where there is nothing to say. Only a GET makes an order Completed; a finished one is never taken back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from tracking.orders.line_matching import UNTOLD, diff_lines, fully_fulfilled, mismatch, pair
from tracking.orders.model import (
    FINAL_LINE,
    KNOWN_WORDS,
    OURS,
    Event,
    Notice,
    Order,
    Snapshot,
    State,
    Submission,
    apply,
    apply_lines,
    condense,
    expand,
    is_terminal,
)
from tracking.orders.observations import (
    Announced,
    Answered,
    Asked,
    Attempted,
    Declined,
    Erased,
    Looked,
    Missing,
    Noted,
    Observation,
    Requested,
    Unclear,
    Unsealed,
    Unsent,
)

HISTORY_AFTER = timedelta(days=1)


def interpret(order: Order | None, po_number: str, observation: Observation) -> list[Event]:
    """What the observation means for the order: the events to append, none where there is nothing to say.

    Args:
        order: what is known so far, with lines; None for an order seen for the first time.
        po_number: the order's PONumber.
        observation: what was seen.
    """
    seen = observation.seen
    if order is None:
        return [_first(po_number, observation)]
    match seen:
        case Requested():
            return []
        case Attempted():
            return [_attempted(order, seen, observation)]
        case Answered():
            return _answered(order, seen, observation)
        case Declined():
            return _declined(order, seen, observation)
        case Unclear() | Unsent():
            return _not_answered(order, seen, observation)
        case Looked():
            return _looked(order, seen, observation)
        case Missing():
            return [_event("not found", observation, detail={"state": order.state})]
        case Announced():
            return _announced(order, seen, observation)
        case Asked():
            return [_asked(order, seen, observation)]
        case Noted() | Unsealed() | Erased():
            return [_by_person(order, seen, observation)]
        case _:
            assert_never(seen)


def _event(
    kind: str,
    observation: Observation,
    *,
    changes: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    line_changes: Sequence[Mapping[str, Any]] = (),
    happened_at: datetime | None = None,
) -> Event:
    encoded = {name: _encode(value) for name, value in (changes or {}).items()}
    told = {name: value for name, value in (detail or {}).items() if value is not None}
    happened = happened_at or observation.happened_at
    return Event(kind, observation.witness, happened, observation.learned_at, encoded, told, line_changes)


def _first(po_number: str, observation: Observation) -> Event:
    seen = observation.seen
    base = {"po_number": po_number, "created_at": observation.learned_at}
    if isinstance(seen, Requested):
        names = ("type", "source", "units", "value_minor", "note", "currency")
        facts = {name: getattr(seen, name) for name in names}
        return _event(
            "requested",
            observation,
            changes=base | facts | {"actor": observation.actor, "state": State.QUEUED, "submission": Submission.QUEUED},
            detail={"lines": len(seen.lines)},
        )
    if not isinstance(seen, Looked) or seen.snapshot is None:
        raise TypeError(f"an order cannot begin with {type(seen).__name__}")
    shown = seen.snapshot
    facts = {
        "type": shown.type or UNTOLD,
        "source": "elsewhere",
        "units": shown.units,
        "value_minor": shown.value_minor,
        "note": shown.note,
        "currency": shown.currency,
        "provider_id": shown.provider_id,
        "provider_created_at": shown.created_at,
        "accepted_at": shown.created_at,
        "created_at": shown.created_at or observation.learned_at,
        "submission": Submission.ELSEWHERE,
        "state": State.ACCEPTED,
        "last_open_at": None,
    }
    happened = min(shown.created_at or observation.happened_at, observation.learned_at)
    return _event(
        "discovered", observation, changes=base | facts, detail={"lines": len(shown.lines)}, happened_at=happened
    )


def _attempted(order: Order, seen: Attempted, observation: Observation) -> Event:
    if not can_send(order):
        raise ValueError(f"{order.po_number} is {order.state} and must not be sent")
    changes: dict[str, Any] = {}
    if order.submission == Submission.SENDING:
        # The attempt before was never settled: nobody knows what became of it, and this one does not change that.
        changes = {"state": State.UNKNOWN, "submission": Submission.UNKNOWN}
    elif order.submission != Submission.UNKNOWN:
        changes = {"state": State.SENDING, "submission": Submission.SENDING}
    return _event("sending", observation, changes=changes, detail={"attempt": seen.attempt})


def can_send(order: Order) -> bool:
    """Whether a POST may leave: never for an order the provider is known to have."""
    return order.provider_id is None and order.submission != Submission.ELSEWHERE


def _answered(order: Order, seen: Answered, observation: Observation) -> list[Event]:
    shown = seen.snapshot
    if order.provider_id is not None:
        if order.provider_id == shown.provider_id:
            return [_event("answer repeated", observation, detail={"provider_id": shown.provider_id})]
        return [_contradiction(order, observation, f"a second order {shown.provider_id} under the same PONumber")]
    if difference := mismatch(order, shown):
        return [_taken_by_another(observation, shown.provider_id, difference)]
    accepted = {
        "provider_id": shown.provider_id,
        "provider_created_at": shown.created_at,
        "accepted_at": observation.learned_at,
        "provider_status": shown.status,
        "submission": Submission.ACCEPTED,
        "state": State.ACCEPTED if is_terminal(shown.status) or shown.status in OURS else shown.status,
        # The POST had not left before happened_at, so the order cannot have been complete then. What a 409 leads
        # to may have been complete at any time since it was first sent.
        "last_open_at": None if seen.adopted and is_terminal(shown.status) else observation.happened_at,
        "currency": shown.currency or order.currency,
        "attention": _attention_for(shown.status),
        "acknowledged_at": None,
    }
    detail = {"provider_id": shown.provider_id, "status": shown.status}
    return [_event("found" if seen.adopted else "accepted", observation, changes=accepted, detail=detail)]


def _taken_by_another(observation: Observation, provider_id: str, difference: str) -> Event:
    reason = f"the PONumber belongs to {provider_id}, which is another order ({difference})"
    changes = {"state": State.REFUSED, "submission": Submission.REFUSED, "attention": reason, "acknowledged_at": None}
    return _event("mismatch", observation, changes=changes, detail={"reason": reason})


def _declined(order: Order, seen: Declined, observation: Observation) -> list[Event]:
    if order.provider_id is not None:
        return [_event("answer repeated", observation, detail={"reason": seen.reason})]
    changes = {
        "state": State.REFUSED,
        "submission": Submission.REFUSED,
        "attention": f"refused: {seen.reason}",
        "acknowledged_at": None,
    }
    return [_event("refused", observation, changes=changes, detail={"status": seen.status, "reason": seen.reason})]


def _not_answered(order: Order, seen: Unclear | Unsent, observation: Observation) -> list[Event]:
    if order.provider_id is not None:
        return []
    if isinstance(seen, Unsent):
        unknown = order.submission == Submission.UNKNOWN
        changes = {} if unknown else {"state": State.QUEUED, "submission": Submission.QUEUED}
        return [_event("not sent", observation, changes=changes, detail={"reason": seen.reason})]
    changes = {"state": State.UNKNOWN, "submission": Submission.UNKNOWN}
    return [_event("outcome unknown", observation, changes=changes, detail={"reason": seen.reason})]


def _contradiction(order: Order, observation: Observation, what: str) -> Event:
    changes = {"attention": what, "acknowledged_at": None} if order.attention != what else {}
    return _event("contradiction", observation, changes=changes, detail={"what": what, "state": order.state})


def _announced(order: Order, seen: Announced, observation: Observation) -> list[Event]:
    if seen.provider_id and order.provider_id and seen.provider_id != order.provider_id:
        return [_contradiction(order, observation, f"a notice names {seen.provider_id} under this PONumber")]
    if seen.repeats or order.notice != Notice.NONE:
        return [_event("notice repeated", observation, detail={"repeats": seen.repeats})]
    if order.state == State.COMPLETED:
        return [_event("notice confirmed", observation, changes={"notice": Notice.CONFIRMED})]
    if order.state == State.CANCELLED:
        what = "announced as fulfilled, but cancelled"
        contradicted = {"notice": Notice.CONTRADICTED, "attention": what, "acknowledged_at": None}
        return [_event("contradiction", observation, changes=contradicted, detail={"what": what})]
    changes = {"notice": Notice.CLAIMED, "claimed_at": observation.learned_at}
    return [_event("notice claimed", observation, changes=changes)]


def _asked(order: Order, seen: Asked, observation: Observation) -> Event:
    changes: dict[str, Any] = {}
    if seen.what == "resend" and order.state == State.REFUSED:
        changes = {"state": State.QUEUED, "submission": Submission.QUEUED, "attention": None, "acknowledged_at": None}
    return _event("asked", observation, changes=changes, detail={"what": seen.what, "actor": observation.actor})


def _noted(seen: Noted, observation: Observation) -> Event:
    detail = {"text": seen.text, "actor": observation.actor}
    if not seen.acknowledges:
        return _event("noted", observation, detail=detail)
    changes = {
        "acknowledged_at": observation.learned_at,
        "acknowledged_by": observation.actor,
        "acknowledged_why": seen.text,
    }
    return _event("acknowledged", observation, changes=changes, detail=detail)


def _by_person(order: Order, seen: Noted | Unsealed | Erased, observation: Observation) -> Event:
    match seen:
        case Noted():
            return _noted(seen, observation)
        case Unsealed():
            detail = {"line": seen.line, "unit": seen.unit, "version": seen.version, "actor": observation.actor}
            return _event("revealed", observation, detail=detail)
        case Erased():
            changes = {"erased": condense({*expand(order.erased), *seen.numbers})}
            detail = {"lines": condense(seen.numbers), "actor": observation.actor}
            return _event("erased", observation, changes=changes, detail=detail)


def _attention_for(status: str) -> str | None:
    if status == State.CANCELLED:
        return "cancelled by the provider"
    return None if status in KNOWN_WORDS else f"the provider's word {status!r} is not known"


def _looked(order: Order, seen: Looked, observation: Observation) -> list[Event]:
    shown = seen.snapshot
    if shown is None:
        return [] if is_terminal(order.state) else [_still_open(order, seen, observation)]
    if order.provider_id is None:
        return _found_by_looking(order, seen, observation)
    if shown.provider_id != order.provider_id or (shown.po_number or order.po_number) != order.po_number:
        what = f"{order.provider_id} was asked for, {shown.provider_id} was shown"
        return [] if order.attention == what else [_contradiction(order, observation, what)]
    rotated = _rotated(order, shown, observation)
    if is_terminal(order.state):
        return rotated + _looked_at_finished(order, shown, observation)
    line_changes = diff_lines(order.lines, shown.lines)
    match shown.status:
        case State.COMPLETED if not fully_fulfilled(order, shown):
            return [*rotated, _still_open(order, seen, observation, line_changes=line_changes, incomplete=True)]
        case State.COMPLETED | State.CANCELLED:
            return [*rotated, _finished(order, shown, observation, line_changes)]
        case _:
            return [*rotated, _still_open(order, seen, observation, line_changes=line_changes)]


def _rotated(order: Order, shown: Snapshot, observation: Observation) -> list[Event]:
    """Claim data that is not what it was at first: money may have been handed out twice, so it is written down."""
    numbers = [
        line.number
        for line, now in pair(order.lines, shown.lines)
        if line.claim_digest and now.claim_digest and now.claims <= line.claims
        if line.claim_digest != now.claim_digest
    ]
    return [_event("claims changed", observation, detail={"lines": condense(numbers)})] if numbers else []


def _found_by_looking(order: Order, seen: Looked, observation: Observation) -> list[Event]:
    """An order whose submission has no known outcome turns up in a look: the same as a 409 that names it."""
    if seen.snapshot is None:
        return []
    found = _answered(order, Answered(seen.snapshot, adopted=True), observation)
    known = order.attention
    for event in found:
        order = apply(order, event)
    if order.provider_id is None:
        return [] if known is not None and order.attention == known else found
    return found + _looked(order, seen, observation)


def _still_open(
    order: Order,
    seen: Looked,
    observation: Observation,
    *,
    line_changes: Sequence[Mapping[str, Any]] = (),
    incomplete: bool = False,
) -> Event:
    status = seen.snapshot.status if seen.snapshot else (order.provider_status or order.state)
    # A list may leave claim data out, so one that shows none does not prove that the order was still open.
    unsure = seen.via == "list" and status == State.COMPLETED
    changes: dict[str, Any] = {} if unsure else {"last_open_at": observation.happened_at}
    if seen.snapshot is not None:
        state = order.state if incomplete or status in OURS else status
        changes |= {"provider_status": status, "state": state}
        if line_changes:
            changes["units_fulfilled"] = _units_fulfilled(order, line_changes)
        if (attention := _attention_for(status)) and attention != order.attention:
            changes |= {"attention": attention, "acknowledged_at": None}
    changes = _only_news(order, changes)
    detail = {"status": status, "via": seen.via, "incomplete": incomplete or None}
    return _event("still open", observation, changes=changes, detail=detail, line_changes=line_changes)


def _only_news(order: Order, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if getattr(order, name) != value}


def _units_fulfilled(order: Order, line_changes: Sequence[Mapping[str, Any]]) -> int:
    return sum(line.fulfilled(order.type) for line in apply_lines(order.lines, line_changes))


def _finished(
    order: Order, shown: Snapshot, observation: Observation, line_changes: Sequence[Mapping[str, Any]]
) -> Event:
    completed = shown.status == State.COMPLETED
    after = order.last_open_at or order.created_at
    first_sight = order.last_open_at is None and order.submission == Submission.ELSEWHERE
    changes: dict[str, Any] = {
        "state": shown.status,
        "provider_status": shown.status,
        "completed_after": min(after, observation.learned_at),
        "completed_by": observation.learned_at,
        "units_fulfilled": _units_fulfilled(order, line_changes),
    }
    if order.notice == Notice.CLAIMED:
        changes["notice"] = Notice.CONFIRMED if completed else Notice.CONTRADICTED
    # What was cancelled days before anybody here could watch it is history, not work for today.
    history = first_sight and observation.learned_at - order.created_at > HISTORY_AFTER
    attention = None if completed or history else _attention_for(shown.status)
    changes |= {"attention": attention, "acknowledged_at": None}
    if order.lines and (costs := [line.cost_minor for line in shown.lines]) and None not in costs:
        changes["cost_minor"] = sum(cost or 0 for cost in costs)
    return _event(
        "completed" if completed else "cancelled",
        observation,
        changes=_only_news(order, changes),
        detail={"status": shown.status, "first_sight": first_sight or None},
        line_changes=line_changes,
    )


def _looked_at_finished(order: Order, shown: Snapshot, observation: Observation) -> list[Event]:
    line_changes = diff_lines(order.lines, shown.lines)
    if shown.status != order.state:
        what = f"finished as {order.state}, now shown as {shown.status}"
        return [] if order.attention == what else [_contradiction(order, observation, what)]
    if not line_changes:
        return []
    changes = _only_news(order, {"units_fulfilled": _units_fulfilled(order, line_changes)})
    return [_event("lines changed", observation, changes=changes, line_changes=line_changes)]


def wants_following(order: Order) -> bool:
    """Whether lines of a finished order may still change: sent but not claimed, handed over but not shipped."""
    return order.state == State.COMPLETED and any(line.status not in FINAL_LINE for line in order.lines)


def _encode(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
