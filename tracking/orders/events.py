"""Builds events: ordinary ones, requests for a person, contradictions. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tracking.orders.model import PROVIDER_STATES, Event, Order, State
from tracking.orders.observations import Observation
from tracking.orders.vocabulary import AttentionReason, EventKind


def new_event(
    kind: EventKind,
    observation: Observation,
    *,
    changes: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    line_changes: Sequence[Mapping[str, Any]] = (),
    happened_at: datetime | None = None,
) -> Event:
    """Build an event: what it changes is made JSON-able, and details without a value are left out."""
    encoded = {name: _encode(value) for name, value in (changes or {}).items()}
    filled_detail = {name: value for name, value in (detail or {}).items() if value is not None}
    happened = happened_at or observation.happened_at
    return Event(
        kind.value, observation.witness, happened, observation.learned_at, encoded, filled_detail, line_changes
    )


def contradiction_event(order: Order, observation: Observation, reason: AttentionReason, what: str) -> Event:
    """Something that contradicts the order: it needs a person, once."""
    changes = attention_changes(reason, what) if order.attention != what else {}
    return new_event(EventKind.CONTRADICTION, observation, changes=changes, detail={"what": what, "state": order.state})


def attention_changes(reason: AttentionReason | None, words: str | None = None) -> dict[str, Any]:
    """The changes that ask for a person, in words and as a code; or those that ask for nobody any more."""
    return {"attention": words, "attention_reason": reason.value if reason else None, "acknowledged_at": None}


def attention_for_status(status: str) -> dict[str, Any]:
    """The changes that a status of the provider's brings: a person is needed for what was cancelled or is unknown."""
    if status == State.CANCELLED:
        return attention_changes(AttentionReason.CANCELLED, "cancelled by the provider")
    if status in PROVIDER_STATES:
        return attention_changes(None)
    return attention_changes(AttentionReason.UNKNOWN_STATUS, f"the provider's word {status!r} is not known")


def _encode(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
