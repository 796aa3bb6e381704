from datetime import timedelta

import pytest
from fakes import NOW
from hypothesis import given
from hypothesis import strategies as st

from tracking.orders.model import (
    OUR_STATES,
    PROVIDER_STATES,
    TERMINAL,
    Event,
    Line,
    Order,
    OrderRequest,
    Snapshot,
    State,
    Witness,
    allowed_actions,
    apply_event,
    apply_lines,
    condense_numbers,
    expand_numbers,
    first_order,
    is_open,
    is_terminal,
    usual_case,
)

LINES = (Line(1, "CVS", 1000, 2), Line(2, "AMAZON", 2500, 1), Line(3, "CVS", 500, 4))


@given(st.sets(st.integers(1, 6000), min_size=1, max_size=80))
def test_expand_reads_back_what_condense_wrote(numbers: set[int]) -> None:
    assert list(expand_numbers(condense_numbers(numbers))) == sorted(numbers)


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_a_run_of_numbers_is_written_as_its_two_ends(first: int, more: int) -> None:
    text = condense_numbers(range(first, first + more + 1))
    assert text == (f"{first}-{first + more}" if more else str(first))


def test_the_states_are_ours_or_the_providers_and_never_both() -> None:
    assert set(State) == OUR_STATES | PROVIDER_STATES
    assert not OUR_STATES & PROVIDER_STATES
    assert TERMINAL < PROVIDER_STATES


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("completed", "Completed"),
        (" PENDING ", "Pending"),
        ("awaitingapproval", "AwaitingApproval"),
        ("AWAITING_APPROVAL", "AwaitingApproval"),
        ("Awaiting approval", "AwaitingApproval"),
        ("Canceled", "Cancelled"),
    ],
)
def test_a_known_word_is_read_in_any_case(word: str, known: str) -> None:
    assert usual_case(word) == known


@pytest.mark.parametrize("word", ["Shredded", "queued", "Sending", "outcome unknown", "Complete", "Being_made"])
def test_a_word_that_is_not_the_providers_is_kept_as_it_is(word: str) -> None:
    assert usual_case(word) == word


@pytest.mark.parametrize("state", [*State, "Shredded"])
def test_only_completed_and_cancelled_are_terminal_and_refused_is_not_open(state: str) -> None:
    assert is_terminal(state) == (state in {"Completed", "Cancelled"})
    assert is_open(state) == (state not in {"Completed", "Cancelled", "Refused"})


def test_applying_an_event_sets_the_facts_it_names_and_reads_times_back() -> None:
    order = Order("po", "Links", "form", NOW)
    changes = {"state": "Pending", "accepted_at": (NOW + timedelta(hours=1)).isoformat(), "not a fact": 1}
    after = apply_event(order, Event("accepted", Witness.ANSWER, NOW, NOW, changes))
    assert (after.state, after.accepted_at, after.created_at) == ("Pending", NOW + timedelta(hours=1), NOW)


def test_an_order_begins_as_its_first_event_says() -> None:
    facts = {"po_number": "po", "type": "Links", "source": "csv", "created_at": NOW.isoformat(), "units": 7}
    assert first_order(Event("requested", Witness.US, NOW, NOW, facts)) == Order("po", "Links", "csv", NOW, units=7)


def test_line_changes_reach_the_named_lines_alone() -> None:
    after = apply_lines(LINES, [{"numbers": "1,3", "status": "Sent"}, {"numbers": "2-3", "claims": 1}])
    assert [(line.status, line.claims) for line in after] == [("Sent", 0), ("Pending", 1), ("Sent", 1)]


def test_an_order_without_its_lines_takes_line_changes_in_its_stride() -> None:
    order = Order("po", "Links", "form", NOW)
    event = Event("lines changed", Witness.POLL, NOW, NOW, line_changes=[{"numbers": "1", "status": "Sent"}])
    assert apply_event(order, event).lines == ()


def test_units_and_value_are_sums_over_the_lines() -> None:
    request = OrderRequest("po", "Links", LINES, {})
    snapshot = Snapshot("BLK-1", "po", "Pending", "Links", NOW, LINES)
    assert (request.units, request.value_minor) == (snapshot.units, snapshot.value_minor) == (7, 6500)


@pytest.mark.parametrize(
    ("status", "claims", "kind", "fulfilled"),
    [
        ("Pending", 2, "Links", 0),
        ("Completed", 0, "Links", 0),
        ("Completed", 1, "Codes", 1),
        ("Claimed", 9, "Links", 2),
        ("Sent", 0, "DigitalDelivery", 2),
        ("SentToFulfillment", 0, "PhysicalShipment", 0),
        ("Shipped", 0, "PhysicalShipment", 2),
        ("Cancelled", 2, "Links", 0),
    ],
)
def test_links_and_codes_count_as_fulfilled_by_their_claim_data(
    status: str, claims: int, kind: str, fulfilled: int
) -> None:
    assert Line(1, "CVS", 1000, 2, status=status, claims=claims).fulfilled(kind) == fulfilled


@pytest.mark.parametrize("state", [*State, "Shredded"])
def test_an_order_known_to_the_provider_may_never_be_sent_again(state: str) -> None:
    assert allowed_actions(state, "BLK-1")["resend"] is not None
    assert allowed_actions(state, "BLK-1")["check"] is None


@pytest.mark.parametrize("state", [*State, "Shredded"])
def test_only_an_order_whose_po_number_is_anothers_is_placed_anew(state: str) -> None:
    assert allowed_actions(state, None)["place anew"] is not None
    assert allowed_actions(state, None, None, "refused")["place anew"] is not None
    assert (allowed_actions(state, None, None, "ponumber mismatch")["place anew"] is None) == (state == "Refused")
    assert "erased" in (allowed_actions("Refused", None, "1", "ponumber mismatch")["place anew"] or "")
    assert allowed_actions("Refused", "BLK-1", None, "ponumber mismatch")["place anew"] is not None


@pytest.mark.parametrize("state", [*State, "Shredded"])
def test_only_a_refused_order_or_one_of_unknown_outcome_may_be_sent_again(state: str) -> None:
    may = allowed_actions(state, None)
    assert (may["resend"] is None) == (state in {"Refused", "Outcome unknown"})
    assert may["check"] is not None
    assert may["note"] is may["acknowledge"] is None
