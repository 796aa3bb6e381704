import pytest

from tracking.orders.model import State, usual_case
from tracking.orders.vocabulary import AttentionReason, EventKind, attention_reason_of, state_label, state_of_label
from tracking.orders.wording import KINDS, sentence


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("refused: the balance is 3.00\nand that is not enough", AttentionReason.REFUSED),
        ("refused: cancelled by the provider", AttentionReason.REFUSED),
        ("the PONumber belongs to BLK-7, which is another order (type Links)", AttentionReason.PO_NUMBER_MISMATCH),
        ("a second order BLK-7 under the same PONumber", AttentionReason.SECOND_ORDER),
        ("a notice names BLK-7 under this PONumber", AttentionReason.WEBHOOK_FOR_ANOTHER_ORDER),
        ("announced as fulfilled, but cancelled", AttentionReason.FULFILLED_BUT_CANCELLED),
        ("cancelled by the provider", AttentionReason.CANCELLED),
        ("the provider's word 'On Hold\n' is not known", AttentionReason.UNKNOWN_STATUS),
        ("BLK-7 was asked for, BLK-8 was shown", AttentionReason.ANOTHER_ORDER_SHOWN),
        ("finished as Completed, now shown as Pending", AttentionReason.CHANGED_AFTER_END),
        ("written by hand", AttentionReason.OTHER),
        ("", AttentionReason.OTHER),
        (None, None),
    ],
)
def test_the_words_of_an_old_event_have_a_code(words: str | None, reason: AttentionReason | None) -> None:
    assert attention_reason_of(words) == reason


def test_the_stored_kinds_of_events_are_those_of_every_store_there_is() -> None:
    """They are hashed: a kind that is renamed or dropped breaks the log of every store that holds it."""
    assert list(KINDS) == [
        "accepted", "acknowledged", "answer repeated", "approved", "asked", "assigned", "cancelled", "claims changed",
        "completed", "contradiction", "declined", "discovered", "erased", "found", "lines changed", "mismatch",
        "not found", "not sent", "noted", "notice claimed", "notice confirmed", "notice repeated", "outcome unknown",
        "refused", "reopened", "requested", "revealed", "sending", "snooze ended", "snoozed", "still open",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", EventKind)
def test_each_kind_of_event_has_a_sentence(kind: EventKind) -> None:
    assert not sentence(kind, "us", {}, {}).endswith(f": {kind}")


def test_an_attempt_is_said_to_begin_as_it_is_recorded_before_anything_leaves() -> None:
    assert sentence(EventKind.SENDING, "us", {}, {"attempt": 2}) == "Sending to provider, attempt 2"


@pytest.mark.parametrize("state", State)
def test_a_state_is_found_again_by_what_people_read_of_it(state: State) -> None:
    assert usual_case(state_of_label(state_label(state).lower()), State) == state
    assert state_of_label("On Hold") == "On Hold"
