"""Stored words: kinds of events, reasons for a decision, reasons for the next poll; and their labels. Pure.

Values are stored, and those of events are hashed: a value once written is never renamed. What people read instead of
them stands beside them as labels; whole sentences are in `wording`.
"""

import functools
import re
from enum import StrEnum
from typing import Any

MIXED = "+"
"""Stands between the currencies of an order that has several: its amounts have no sum."""


@functools.lru_cache(maxsize=512)
def folded_word(word: str) -> str:
    """A word of the provider's as such words are compared: without case, signs between its parts, and one L or two."""
    return re.sub("[-_ ]", "", word.strip()).casefold().replace("canceled", "cancelled")


class EventKind(StrEnum):
    """What an entry of an order's log is about."""

    REQUESTED = "requested"
    DISCOVERED = "discovered"
    SENDING = "sending"
    ACCEPTED = "accepted"
    ADOPTED = "found"
    """The provider had the order already: a 409 or a list led to it."""
    REFUSED = "refused"
    NOT_SENT = "not sent"
    OUTCOME_UNKNOWN = "outcome unknown"
    PO_NUMBER_MISMATCH = "mismatch"
    NOT_FOUND = "not found"
    STILL_OPEN = "still open"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    LINES_CHANGED = "lines changed"
    CONTRADICTION = "contradiction"
    WEBHOOK_CLAIMED = "notice claimed"
    WEBHOOK_CONFIRMED = "notice confirmed"
    WEBHOOK_REPEATED = "notice repeated"
    ANSWER_REPEATED = "answer repeated"
    CLAIMS_CHANGED = "claims changed"
    CLAIMS_REVEALED = "revealed"
    ACTION_REQUESTED = "asked"
    NOTED = "noted"
    ACKNOWLEDGED = "acknowledged"
    RECIPIENTS_ERASED = "erased"
    ASSIGNED = "assigned"
    SNOOZED = "snoozed"
    SNOOZE_ENDED = "snooze ended"
    REOPENED = "reopened"
    APPROVED = "approved"
    DECLINED = "declined"


class PollReason(StrEnum):
    """Why an order's next poll is due when it is."""

    MAY_HAVE_FINISHED = "may have finished"
    REQUESTED = "requested by a person"
    WEBHOOK = "webhook received"
    WEBHOOK_UNCONFIRMED = "webhook not confirmed"
    LISTED_AS_COMPLETED = "listed as completed"
    ANSWERED_AS_COMPLETED = "answered as completed"
    LINES_MAY_CHANGE = "lines may change"
    NO_ANSWER = "last poll without answer"


class AttentionReason(StrEnum):
    """Why an order needs a person's decision, as a code beside the words in `attention`."""

    REFUSED = "refused"
    PO_NUMBER_MISMATCH = "ponumber mismatch"
    LINES_DIFFER = "lines differ"
    SECOND_ORDER = "second order"
    WEBHOOK_FOR_ANOTHER_ORDER = "webhook for another order"
    WEBHOOK_NOT_CONFIRMED = "webhook not confirmed"
    FULFILLED_BUT_CANCELLED = "fulfilled but cancelled"
    CANCELLED = "cancelled"
    UNKNOWN_STATUS = "unknown status"
    ANOTHER_ORDER_SHOWN = "another order shown"
    CHANGED_AFTER_END = "changed after end"
    LINES_DO_NOT_FIT = "lines do not fit"
    """Completed at the provider, but its lines are not what completes it."""
    CLAIM_DATA_MISSING = "claim data missing"
    """Completed at the provider for a while, and claim data has still not come."""
    LINES_CANCELLED = "lines cancelled"
    NOT_APPROVED = "not approved"
    """The provider has it, though it is above the limit and nobody approved it."""
    OTHER = "other"


# Events written before there were codes hold the words alone, and never change: they are hashed.
_WORDS_OF_OLD_EVENTS = (
    (r"refused: ", AttentionReason.REFUSED),
    (r"the PONumber belongs to .*, which is another order \(", AttentionReason.PO_NUMBER_MISMATCH),
    (r"a second order .* under the same PONumber$", AttentionReason.SECOND_ORDER),
    (r"a notice names .* under this PONumber$", AttentionReason.WEBHOOK_FOR_ANOTHER_ORDER),
    (r"announced as fulfilled, but cancelled$", AttentionReason.FULFILLED_BUT_CANCELLED),
    (r"cancelled by the provider$", AttentionReason.CANCELLED),
    (r"the provider's word .* is not known$", AttentionReason.UNKNOWN_STATUS),
    (r".* was asked for, .* was shown$", AttentionReason.ANOTHER_ORDER_SHOWN),
    (r"finished as .*, now shown as ", AttentionReason.CHANGED_AFTER_END),
)
UNPROVEN_COMPLETION = frozenset({AttentionReason.LINES_DO_NOT_FIT, AttentionReason.CLAIM_DATA_MISSING})
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), reason) for pattern, reason in _WORDS_OF_OLD_EVENTS)


def attention_reason_of(words: str | None) -> AttentionReason | None:
    """The code for the words of an old event; `OTHER` where none fits, None without words."""
    if words is None:
        return None
    return next((reason for pattern, reason in _PATTERNS if pattern.match(words)), AttentionReason.OTHER)


REASON_LABELS: dict[str, str] = {
    AttentionReason.REFUSED: "Refused by the provider",
    AttentionReason.PO_NUMBER_MISMATCH: "PO number belongs to another order",
    AttentionReason.LINES_DIFFER: "Provider shows other lines",
    AttentionReason.SECOND_ORDER: "Second order under the same PO number",
    AttentionReason.WEBHOOK_FOR_ANOTHER_ORDER: "Webhook names another order",
    AttentionReason.WEBHOOK_NOT_CONFIRMED: "Webhook says complete, polls do not",
    AttentionReason.FULFILLED_BUT_CANCELLED: "Announced as fulfilled, then cancelled",
    AttentionReason.CANCELLED: "Cancelled by the provider",
    AttentionReason.UNKNOWN_STATUS: "Unknown provider status",
    AttentionReason.ANOTHER_ORDER_SHOWN: "Provider shows another order",
    AttentionReason.CHANGED_AFTER_END: "Changed after it was final",
    AttentionReason.LINES_DO_NOT_FIT: "Completed, but lines do not add up",
    AttentionReason.CLAIM_DATA_MISSING: "Completed, claim data missing",
    AttentionReason.LINES_CANCELLED: "Completed, some lines cancelled",
    AttentionReason.NOT_APPROVED: "At the provider without approval",
    AttentionReason.OTHER: "Other reason",
}
# The stored words of states are the provider's and stay; this one of ours reads otherwise on the screen.
STATE_LABELS = {"Outcome unknown": "Unconfirmed", "AwaitingApproval": "Awaiting approval"}


def reason_label(code: str | None) -> str:
    """Why an order needs a decision, in a few words; a code that nobody knows is told as another reason."""
    return REASON_LABELS.get(code or "", REASON_LABELS[AttentionReason.OTHER])


def state_label(state: str) -> str:
    """The word for a state that people read: the provider's own, but for what reads better."""
    return STATE_LABELS.get(state, state)


def state_of_label(text: str) -> str:
    """The stored word for a state that somebody wrote as they read it; any other text comes back as it is."""
    folded = text.strip().casefold()
    return next((state for state, label in STATE_LABELS.items() if label.casefold() == folded), text)


REASON_PRESETS = ("Customer informed", "Reordered", "Test order")
"""Why orders are acknowledged, where a team sets no reasons of its own in `TRACKING_REASONS`."""
MOST_PRESETS, LONGEST_PRESET = 8, 40


def read_presets(text: Any) -> Any:
    """Split a team's reasons at their commas; none leave the usual ones. Raises ValueError where one cannot be used."""
    if not isinstance(text, str):
        return text
    reasons = tuple(dict.fromkeys(" ".join(part.split()) for part in text.split(",") if part.strip()))
    if len(reasons) > MOST_PRESETS:
        raise ValueError(f"has {len(reasons)} reasons; use {MOST_PRESETS} at most")
    for reason in reasons:
        if len(reason) > LONGEST_PRESET or not reason.isprintable() or not any(map(str.isalnum, reason)):
            raise ValueError(f"needs reasons of letters, {LONGEST_PRESET} characters at most, with commas between them")
    return reasons or REASON_PRESETS
