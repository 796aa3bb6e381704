import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fakes import NOW, line, order_json, request, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking.orders import line_matching, rules
from tracking.orders.events import CLAIM_DATA_AWAITED
from tracking.orders.line_matching import diff_lines, mismatch, missing_proof, pair_lines
from tracking.orders.model import (
    Event,
    Line,
    Order,
    Snapshot,
    State,
    Submission,
    Witness,
    apply_event,
    can_send,
    first_order,
    is_terminal,
    lines_may_change,
)
from tracking.orders.observations import (
    Answered,
    Asked,
    Attempted,
    Declined,
    Missing,
    Noted,
    Observation,
    Observed,
    Polled,
    Requested,
    Unclear,
    Unsent,
    WebhookReported,
)
from tracking.orders.rules import interpret
from tracking.orders.vocabulary import AttentionReason, attention_reason_of
from tracking.provider.responses import read_order

PO = "demo-0001"
TWO = (line("CVS", 10, 2, ExternalId="a"), line("AMAZON", 25, 1, ExternalId="b"))


def seen(what: Observed, at: datetime = NOW, witness: Witness = Witness.POLL, actor: str | None = None) -> Observation:
    return Observation(witness, at, at, what, actor)


def fold(order: Order | None, *what: Observed, start: datetime = NOW) -> tuple[Order, list[Event]]:
    """The order after all of this was seen, a minute apart, and the events of the last thing seen."""
    events: list[Event] = []
    for number, one in enumerate(what):
        observation = seen(one, start + timedelta(minutes=number))
        events = interpret(order, PO, observation)
        for event in events:
            lines = one.lines if isinstance(one, Requested) else ()
            if isinstance(one, Polled) and one.snapshot and order is None:
                lines = tuple(replace(each, status="Pending", claims=0) for each in one.snapshot.lines)
            order = replace(first_order(event), lines=lines) if order is None else apply_event(order, event)
    assert order is not None
    return order, events


def requested(*lines: dict[str, Any], kind: str = "Links") -> Requested:
    asked = request(PO, *lines, kind=kind)
    return Requested(asked.type, "form", asked.units, asked.value_minor, asked.lines)


def snapshot(status: str = "Pending", *lines: dict[str, Any], **more: Any) -> Snapshot:
    return shown(more.pop("provider_id", "BLK-1"), more.pop("po_number", PO), status, *lines, **more).snapshot


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events]


def accepted(*lines: dict[str, Any], kind: str = "Links") -> Order:
    known = snapshot("Pending", *lines, kind=kind)
    order, _ = fold(None, requested(*lines, kind=kind), Attempted(1), Answered(known))
    ids = [each.provider_line_id for each in known.lines]
    named = [replace(each, provider_line_id=name) for each, name in zip(order.lines, ids, strict=True)]
    return replace(order, lines=tuple(named))


# How an order begins


def test_a_request_begins_an_order_that_is_queued() -> None:
    order, events = fold(None, requested(*TWO))
    assert kinds(events) == ["requested"]
    assert (order.state, order.submission, order.units, order.value_minor) == ("Queued", "queued", 3, 4500)
    assert (order.created_at, order.provider_id) == (NOW, None)


def test_a_second_request_says_nothing() -> None:
    assert fold(None, requested(), requested())[1] == []


def test_an_order_placed_elsewhere_begins_when_the_provider_made_it() -> None:
    made = NOW - timedelta(days=2)
    order, events = fold(None, Polled(snapshot("Processing", created_at=made)))
    assert kinds(events) == ["discovered"]
    assert (order.source, order.submission, order.provider_id) == ("elsewhere", "elsewhere", "BLK-1")
    assert order.created_at == order.accepted_at == events[0].happened_at == made


def test_a_discovered_order_that_is_complete_is_marked_as_seen_for_the_first_time() -> None:
    _, events = fold(None, *[Polled(snapshot("Completed"))] * 2)
    assert kinds(events) == ["completed"]
    assert events[0].detail["first_sight"] is True


@pytest.mark.parametrize("what", [Polled(None), Missing(), Attempted(1), WebhookReported("BLK-1"), Noted("x")])
def test_nothing_else_can_begin_an_order(what: Observed) -> None:
    with pytest.raises(TypeError):
        interpret(None, PO, seen(what))


# Sending


def test_an_attempt_makes_the_order_sending() -> None:
    order, events = fold(None, requested(), Attempted(1))
    assert (order.state, events[0].detail) == ("Sending", {"attempt": 1})


@pytest.mark.parametrize("elsewhere", [True, False])
def test_an_order_that_the_provider_has_must_never_be_sent(elsewhere: bool) -> None:
    order = fold(None, Polled(snapshot()))[0] if elsewhere else accepted()
    assert not can_send(order)
    with pytest.raises(ValueError, match="must not be sent"):
        interpret(order, PO, seen(Attempted(2)))


def test_an_unknown_outcome_stays_unknown_through_retries_that_bring_no_answer() -> None:
    order, _ = fold(None, requested(), Attempted(1), Unclear("timeout"))
    assert (order.state, order.submission) == ("Outcome unknown", "unknown")
    for what in (Attempted(2), Unsent("no connection"), Attempted(3), Unclear("504")):
        order, events = fold(order, what)
        assert (order.state, order.submission, len(events)) == ("Outcome unknown", "unknown", 1)


def test_what_surely_did_not_leave_is_queued_again() -> None:
    order, events = fold(None, requested(), Attempted(1), Unsent("no connection"))
    assert (order.state, order.submission, events[0].detail) == ("Queued", "queued", {"reason": "no connection"})


def test_an_answer_makes_the_order_accepted_with_the_providers_word() -> None:
    order, events = fold(None, requested(), Attempted(1), Answered(snapshot("AwaitingApproval")))
    assert kinds(events) == ["accepted"]
    assert (order.state, order.submission, order.provider_id) == ("AwaitingApproval", "accepted", "BLK-1")
    assert order.last_open_at == NOW + timedelta(minutes=2)


@pytest.mark.parametrize("status", ["Completed", "Cancelled"])
@pytest.mark.parametrize("adopted", [True, False])
def test_an_answer_alone_never_finishes_an_order(status: str, adopted: bool) -> None:
    order, _ = fold(None, requested(), Attempted(1), Answered(snapshot(status), adopted=adopted))
    assert (order.state, order.provider_status, order.completed_by) == ("Accepted", status, None)
    assert (order.last_open_at is None) == adopted


def test_a_second_answer_changes_nothing() -> None:
    order, events = fold(accepted(), Answered(snapshot("Processing")))
    assert kinds(events) == ["answer repeated"]
    assert order == accepted()


def test_a_second_order_under_the_same_po_number_is_recorded_and_asks_for_a_person() -> None:
    order, events = fold(accepted(), Answered(snapshot(provider_id="BLK-2")))
    assert kinds(events) == ["contradiction"]
    assert (order.provider_id, order.state) == ("BLK-1", "Pending")
    assert "BLK-2" in (order.attention or "")


@pytest.mark.parametrize(
    "other",
    [
        snapshot("Pending", line("CVS", 10, 2)),
        snapshot("Pending", line("CVS", 20)),
        snapshot("Pending", line("AMAZON", 10)),
        snapshot("Pending", line(), line()),
        snapshot("Pending", kind="Codes"),
        snapshot("Pending", po_number="demo-0002"),
    ],
)
def test_an_order_that_a_409_names_is_not_taken_for_ours_when_it_differs(other: Snapshot) -> None:
    order, events = fold(None, requested(), Attempted(1), Answered(other, adopted=True))
    assert kinds(events) == ["mismatch"]
    assert (order.state, order.submission, order.provider_id) == ("Refused", "refused", None)
    assert "BLK-1" in (order.attention or "")


def test_a_409_leads_to_our_order_also_when_its_lines_are_split_or_turned_round() -> None:
    halves = (line("amazon", 25, 1, ExternalId="b"), *[line("CVS", 10, 1, ExternalId="a")] * 2)
    order, events = fold(None, requested(*TWO), Attempted(1), Answered(snapshot("Pending", *halves), adopted=True))
    assert kinds(events) == ["found"]
    assert order.provider_id == "BLK-1"


HARMLESS: list[tuple[str, dict[str, Any], str | None]] = [
    ("nothing", {}, None),
    ("ExternalId not echoed", {"ExternalId": None}, "ExternalId is not echoed"),
    ("ExternalId in capitals", {"ExternalId": "ROW-Ä"}, "ExternalId is echoed in another spelling"),
    ("ExternalId decomposed", {"ExternalId": "row-a\u0308"}, "ExternalId is echoed in another spelling"),
    ("ExternalId cut", {"ExternalId": "row"}, "ExternalId is echoed otherwise"),
    ("ProductId in small letters", {"ProductId": "cvs"}, None),
    ("Value as text", {"Value": "10.00"}, None),
    ("Value as another number", {"Value": 10.0}, None),
    ("Quantity as text", {"Quantity": " 2 "}, None),
    ("Quantity as a fraction", {"Quantity": 2.0}, None),
    ("more fields", {"Region": {"Name": "North"}}, None),
]


@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize(("change", "differs"), [one[1:] for one in HARMLESS], ids=[one[0] for one in HARMLESS])
def test_what_the_provider_echoes_otherwise_is_told_and_the_order_is_ours_and_completes(
    change: dict[str, Any], differs: str | None, adopted: bool
) -> None:
    sent = line("CVS", 10, 2, ExternalId="row-ä")
    order, events = fold(None, requested(sent), Attempted(1), Answered(snapshot("Pending", sent | change), adopted))
    assert (order.state, order.provider_id, order.attention) == ("Pending", "BLK-1", None)
    assert events[0].detail.get("differs") == differs
    done = snapshot("Completed", sent | change, claims=2)
    order, events = fold(order, Polled(done))
    assert (kinds(events), order.state, order.units_fulfilled) == (["completed"], "Completed", 2)


@pytest.mark.parametrize(
    ("shown_as", "differs"),
    [
        ({"po_number": "DEMO-0001"}, "PONumber is echoed in another spelling"),
        ({"po_number": None}, "PONumber is not echoed"),
        ({"po_number": "demo&#45;0001"}, "PONumber is echoed otherwise"),
        ({"po_number": "demo%2D0001"}, "PONumber is echoed otherwise"),
        ({"kind": None}, "Type is not echoed"),
        ({"kind": "LINKS"}, None),
        ({"kind": "Link"}, "Type is echoed otherwise"),
        ({"provider_id": "blk-1"}, None),
    ],
)
def test_ids_and_the_type_may_be_echoed_otherwise(shown_as: dict[str, Any], differs: str | None) -> None:
    order, events = fold(None, requested(), Attempted(1), Answered(snapshot("Pending", **shown_as)))
    assert (order.state, order.attention, events[0].detail.get("differs")) == ("Pending", None, differs)
    for told in (shown_as, {}):
        assert kinds(fold(order, Polled(snapshot("Completed", **told)))[1]) == ["completed"]


@pytest.mark.parametrize(
    ("sent", "echoed", "whole"),
    [
        ("Müller & Söhne", "Müller &amp; Söhne", True),
        ("Müller-1", "MÃ¼ller-1", True),
        ("O'Brien", "O&#39;Brien", True),
        ("Müller-1", "M?ller-1", False),
        ("Müller-1", "Muller-1", False),
        (f"{'x' * 49}/{'y' * 30}", f"{'x' * 49}/", False),
        ("batch-1", "batch-10", None),
        ("batch-10", "batch-1", None),
        ("a-1", "a?1", None),
        ("R&D/7", "R&amp;amp;D/7", True),
        ("R&D/7", "R%2526D%252F7", True),
        ("R&D/7", "R\\u0026D\\/7", True),
        ("O'Brien", "O''Brien", True),
        ("O'Brien", "O\\'Brien", True),
        ("po 7", "po+7", True),
        ("po 7", '"po 7"', True),
        ("Müller-1", "M%FCller-1", True),
        ("A\u20131", "A\u00961", True),
        ("istanbul-1", "İSTANBUL-1", True),
        ("a-1", "\ufeffa-1\u200b", True),
        ("00123", "123", False),
        ("12.50", "12.5", False),
        ("12345678901234567890", "12345678901234567168", False),
        ("a  1", "a 1", False),
        ("Müller-1", "MULLER-1", False),
        ("Müller-1", "M??ller-1", False),
        ("Müller-1", "M\ufffdller-1", False),
        ("Müller-1", "Mller-1", False),
        ("日本-1", "??????-1", False),
        ("日本-1", "-1", None),
        ("Müller-1", "Müller-2", None),
        ("Müller-1", "?????????", None),
        ("0012-a", "12-a", None),
        ("123", "124", None),
        ("é" * 100, "?" * 199 + "!", None),
    ],
)
def test_a_po_number_that_came_back_garbled_is_ours_where_what_answers_says_so(
    sent: str, echoed: str, whole: bool | None
) -> None:
    """In answer to our own POST, and under the id we asked for; a 409 proves by nothing but the whole number."""
    order = replace(fold(None, requested(), Attempted(1))[0], po_number=sent)
    named = snapshot(po_number=echoed)
    placed, _ = fold(order, Answered(named))
    assert placed.state == ("Pending" if whole is not None else "Refused")
    assert fold(order, Answered(named, adopted=True))[0].state == ("Pending" if whole else "Refused")
    mine = replace(order, provider_id="BLK-1")
    assert kinds(fold(mine, Polled(named))[1]) == (["still open"] if whole is not None else ["contradiction"])


def test_an_id_in_another_case_is_the_same_order_for_every_witness() -> None:
    order = accepted()
    other = {"provider_id": "blk-1", "po_number": "DEMO-0001"}
    assert kinds(fold(order, Answered(snapshot("Pending", **other)))[1]) == ["answer repeated"]
    assert kinds(fold(order, WebhookReported("blk-1"))[1]) == ["notice claimed"]
    assert kinds(fold(order, Polled(snapshot("Pending", **other)))[1]) == ["still open"]


def test_the_note_may_come_back_trimmed_or_composed_otherwise() -> None:
    asked = replace(requested(), note="Über\u00a0uns ")
    for note, differs in (
        ("U\u0308ber uns", None),
        ("ber uns", "Note is echoed otherwise"),
        (None, "Note is not echoed"),
    ):
        shown_back = replace(snapshot(), note=note)
        order, events = fold(None, asked, Attempted(1), Answered(shown_back))
        assert (order.state, events[0].detail.get("differs")) == ("Pending", differs)


@pytest.mark.parametrize(
    ("shown", "differs"),
    [
        (replace(snapshot("Pending"), lines=()), "its lines are not shown"),
        (
            replace(snapshot("Pending"), lines=(), unreadable="LineItems[0].Value is not a number"),
            "its lines cannot be read",
        ),
    ],
)
def test_an_answer_to_our_post_that_leaves_lines_out_is_our_order_and_looks_judge_its_lines(
    shown: Snapshot, differs: str
) -> None:
    order, events = fold(None, requested(), Attempted(1), Answered(shown))
    assert (order.state, order.attention, events[0].detail["differs"]) == ("Pending", None, differs)
    assert fold(order, Polled(replace(shown, status="Completed")))[0].state == "Pending"
    assert fold(order, Polled(snapshot("Completed")))[0].state == "Completed"
    assert fold(None, requested(), Attempted(1), Answered(shown, adopted=True))[0].provider_id is None


def test_an_order_taken_with_other_lines_is_accepted_and_needs_a_person() -> None:
    order, events = fold(None, requested(), Attempted(1), Answered(snapshot("Pending", line("CVS", 20))))
    assert kinds(events) == ["accepted"]
    assert (order.state, order.provider_id, order.attention_reason) == ("Pending", "BLK-1", "lines differ")
    order, _ = fold(order, Polled(snapshot("Completed", line("CVS", 20))))
    assert order.state != "Completed"


def test_what_the_provider_does_not_say_is_no_mismatch() -> None:
    order, _ = fold(None, requested())
    assert mismatch(order, replace(snapshot(), po_number=None, type=None)) is None


def test_a_refusal_makes_the_order_refused_with_its_reason() -> None:
    order, events = fold(None, requested(), Attempted(1), Declined(422, "the balance does not cover it"))
    assert kinds(events) == ["refused"]
    assert (order.state, order.submission) == ("Refused", "refused")
    assert order.attention == "refused: the balance does not cover it"


def test_a_refusal_that_comes_after_the_acceptance_changes_nothing() -> None:
    order, events = fold(accepted(), Declined(400, "bad"))
    assert (kinds(events), order) == (["answer repeated"], accepted())


@pytest.mark.parametrize("what", [Unclear("x"), Unsent("x")])
def test_a_failure_that_comes_after_the_acceptance_says_nothing(what: Observed) -> None:
    assert interpret(accepted(), PO, seen(what)) == []


def test_an_order_without_a_known_outcome_that_turns_up_in_a_look_is_found() -> None:
    order, events = fold(None, requested(), Attempted(1), Unclear("timeout"), Polled(snapshot("Completed")))
    assert kinds(events) == ["found", "completed"]
    assert (order.state, order.submission, order.completed_after) == ("Completed", "accepted", NOW)


def test_a_look_without_news_says_nothing_of_an_order_that_was_never_seen() -> None:
    order, _ = fold(None, requested())
    assert kinds(fold(order, Polled(None))[1]) == ["still open"]
    assert fold(order, Polled(None))[0].state == "Queued"


# Looking


def test_a_look_makes_the_order_completed_within_the_window_it_must_lie_in() -> None:
    order, _ = fold(accepted(), Polled(snapshot("Processing")), start=NOW + timedelta(hours=1))
    order, events = fold(order, Polled(snapshot("Completed")), start=NOW + timedelta(hours=2))
    assert kinds(events) == ["completed"]
    assert (order.state, order.units_fulfilled, order.attention) == ("Completed", 1, None)
    assert order.completed_after == NOW + timedelta(hours=1)
    assert order.completed_by == NOW + timedelta(hours=2)


def test_costs_are_added_up_when_every_line_tells_its_own() -> None:
    order, _ = fold(accepted(*TWO), Polled(snapshot("Completed", *[one | {"Cost": 9.75} for one in TWO])))
    assert order.cost_minor == 1950
    half = (TWO[0] | {"Cost": 9.75}, TWO[1])
    assert fold(accepted(*TWO), Polled(snapshot("Completed", *half)))[0].cost_minor is None


@pytest.mark.parametrize("claims", [0, 1])
def test_completed_without_all_claim_data_is_not_completed_yet(claims: int) -> None:
    double = line(quantity=2)
    order, events = fold(accepted(double), Polled(snapshot("Completed", double, claims=claims)))
    assert (order.state, order.provider_status, order.units_fulfilled) == ("Pending", "Completed", claims)
    assert events[0].detail["incomplete"] is True
    order, _ = fold(order, Polled(snapshot("Completed", double, claims=2)))
    assert (order.state, order.units_fulfilled) == ("Completed", 2)


@pytest.mark.parametrize(
    ("kind", "status", "done"),
    [
        ("Links", "Completed", True),
        ("Links", "Pending", False),
        ("Links", "Cancelled", True),
        ("Codes", "Completed", True),
        ("DigitalDelivery", "Sent", True),
        ("DigitalDelivery", "Pending", False),
        ("PhysicalShipment", "SentToFulfillment", True),
        ("PhysicalShipment", "Pending", False),
    ],
)
def test_an_order_is_fulfilled_when_each_line_is_done_in_the_way_of_its_type(
    kind: str, status: str, done: bool
) -> None:
    one = shown("BLK-1", PO, "Completed", kind=kind, line_status=status).snapshot
    assert (missing_proof(Order(PO, kind, "form", NOW), one) is None) == done


def test_an_order_without_lines_is_not_fulfilled() -> None:
    assert missing_proof(Order(PO, "Links", "form", NOW), replace(snapshot("Completed"), lines=()))


def test_completed_with_other_lines_is_not_completed() -> None:
    order, _ = fold(accepted(), Polled(snapshot("Completed", line(), line())))
    assert order.state == "Pending"


COMPLETED_BUT = "completed at the provider, but "


def completed_at_the_provider(*lines: dict[str, Any], **more: Any) -> Order:
    """An order of one line after one look that shows it Completed with these lines."""
    return fold(accepted(), Polled(snapshot("Completed", *lines, **more)))[0]


@pytest.mark.parametrize(
    ("lines", "more", "what"),
    [
        ((), {"line_status": "Delivered"}, "line 1 is 'Delivered', a word that is not known"),
        ((), {"line_status": "Pending"}, "line 1 is 'Pending'"),
        ((line(), line()), {}, "other lines: 2 there, 1 asked for: 1 more of cvs over 10.00"),
        ((line(quantity=2),), {}, "other lines: 1 there, 1 asked for: 1 more of cvs over 10.00"),
        (
            (line("AMAZON"),),
            {},
            "other lines: 1 there, 1 asked for: 1 more of amazon over 10.00, 1 fewer of cvs over 10.00",
        ),
    ],
)
def test_completed_at_the_provider_with_lines_that_do_not_fit_asks_for_a_person_at_once(
    lines: tuple[dict[str, Any], ...], more: dict[str, Any], what: str
) -> None:
    order = completed_at_the_provider(*lines, **more)
    assert (order.state, order.provider_status) == ("Pending", "Completed")
    assert (order.attention, order.attention_reason) == (COMPLETED_BUT + what, "lines do not fit")
    assert order.completed_there_at == NOW


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([], "no line is shown"),
        ({}, "its lines cannot be read: LineItems is not a list but an object"),
        ([line() | {"Quantity": None}], "its lines cannot be read: LineItems[0].Quantity is missing"),
        (["?"], "its lines cannot be read: LineItems[0] is not an object but a text"),
    ],
)
def test_completed_at_the_provider_with_lines_that_cannot_be_read_asks_for_a_person(lines: Any, what: str) -> None:
    now = read_order(order_json("BLK-1", PO, "Completed") | {"LineItems": lines}).snapshot
    order, _ = fold(accepted(), Polled(now))
    assert (order.state, order.attention) == ("Pending", COMPLETED_BUT + what)


def test_a_cancelled_order_whose_lines_cannot_be_read_asks_for_a_person_and_is_looked_at_again() -> None:
    odd = read_order(order_json("BLK-1", PO, "Cancelled") | {"LineItems": ["?"]}).snapshot
    order, _ = fold(accepted(), Polled(odd), Polled(None), start=NOW + timedelta(hours=1))
    assert (order.state, order.attention_reason) == ("Pending", "cancelled")
    assert order.last_open_at == accepted().last_open_at
    order, _ = fold(order, Polled(snapshot("Cancelled")))
    assert order.state == "Cancelled"


def test_claim_data_may_come_a_little_later_than_the_word_and_is_asked_for_when_it_does_not() -> None:
    order, _ = fold(accepted(), Polled(snapshot("Completed", claims=0)))
    assert (order.attention, order.completed_there_at) == (None, NOW)
    late = NOW + CLAIM_DATA_AWAITED
    order, events = fold(order, Polled(snapshot("Completed", claims=0)), start=late)
    assert order.attention == COMPLETED_BUT + "claim data is missing for 1 of 1 cards"
    assert (order.attention_reason, events[0].changes["attention_reason"]) == (*["claim data missing"] * 2,)
    order, _ = fold(order, Polled(snapshot("Completed")), start=late)
    assert (order.state, order.attention, order.attention_reason) == ("Completed", None, None)


def test_claim_data_that_is_missing_is_told_where_the_answer_stays_the_same_to_the_byte() -> None:
    order, _ = fold(accepted(), Polled(snapshot("Completed", claims=0)))
    order, _ = fold(order, Polled(None), start=NOW + CLAIM_DATA_AWAITED)
    assert order.attention == COMPLETED_BUT + "not all of its claim data has come"


def test_what_a_person_has_acknowledged_of_an_unproven_completion_is_not_told_again() -> None:
    order = completed_at_the_provider(line_status="Delivered")
    order, _ = fold(order, Noted("they sent it", acknowledges=True), Polled(None), start=NOW + timedelta(hours=1))
    order, _ = fold(order, Polled(snapshot("Completed", line_status="Lost")))
    assert order.acknowledged_at == NOW + timedelta(hours=1)


def test_a_completion_that_is_taken_back_before_it_was_proven_asks_for_nobody_any_more() -> None:
    order = completed_at_the_provider(line_status="Delivered")
    order, _ = fold(order, Polled(snapshot("Processing")))
    assert (order.state, order.attention, order.completed_there_at) == ("Processing", None, None)


def test_an_unknown_word_after_an_unproven_completion_is_what_a_person_is_asked_about() -> None:
    order = completed_at_the_provider(line_status="Delivered")
    order, _ = fold(order, Polled(snapshot("OnHold")))
    assert (order.attention_reason, order.completed_there_at) == ("unknown status", None)


def test_an_unproven_completion_is_told_after_what_a_person_must_see_first() -> None:
    order, _ = fold(accepted(), WebhookReported("BLK-9"))
    before = order.attention
    order, _ = fold(order, Polled(snapshot("Completed", line_status="Delivered")))
    assert order.attention == before
    order, _ = fold(order, Noted("seen", acknowledges=True), Polled(snapshot("Completed", line_status="Delivered")))
    assert order.attention_reason == "lines do not fit"


def test_a_list_that_shows_no_claim_data_asks_for_nobody() -> None:
    order, _ = fold(accepted(), *[Polled(snapshot("Completed", claims=0), via="list")] * 3)
    assert (order.attention, order.completed_there_at) == (None, None)


def test_cancelled_lines_of_a_completed_order_ask_for_a_person() -> None:
    shown_lines = (line(Status="Completed"), line("AMAZON", Status="Cancelled"))
    order, _ = fold(accepted(line(), line("AMAZON")), Polled(snapshot("Completed", *shown_lines)))
    assert (order.state, order.attention_reason) == ("Completed", "lines cancelled")
    assert order.attention == "completed, but the provider cancelled line 2"


def test_a_line_cancelled_after_completion_asks_for_a_person() -> None:
    order, _ = fold(accepted(), Polled(snapshot("Completed")), Polled(snapshot("Completed", line(Status="Cancelled"))))
    assert (order.state, order.attention_reason) == ("Completed", "lines cancelled")


def test_a_notice_of_something_else_is_a_reason_to_look_and_no_claim() -> None:
    order, events = fold(accepted(), WebhookReported("BLK-1", completes=False))
    assert (order.notice, events) == ("none", [])


def test_a_cancelled_order_asks_for_a_person() -> None:
    order, events = fold(accepted(), Polled(snapshot("Cancelled")))
    assert kinds(events) == ["cancelled"]
    assert (order.state, order.attention) == ("Cancelled", "cancelled by the provider")


def test_a_look_without_news_only_moves_the_time_the_order_was_last_seen_open() -> None:
    order, events = fold(accepted(), Polled(None), start=NOW + timedelta(hours=1))
    assert events[0].changes == {"last_open_at": (NOW + timedelta(hours=1)).isoformat()}
    assert order.state == "Pending"


@pytest.mark.parametrize("word", ["Shredded", "PartiallyCompleted", "completed?"])
def test_a_word_nobody_knows_means_in_work_and_is_shown(word: str) -> None:
    order, _ = fold(accepted(), Polled(snapshot(word)))
    assert (order.state, order.provider_status) == (word, word)
    assert word in (order.attention or "")
    acknowledged, _ = fold(order, Noted("asked them", acknowledges=True))
    again, _ = fold(acknowledged, Polled(snapshot(word)))
    assert again.acknowledged_at is not None
    assert fold(again, Polled(snapshot("Completed")))[0].attention is None


@pytest.mark.parametrize("word", ["Queued", "Sending", "Outcome unknown", "Refused", "Accepted"])
def test_a_providers_word_that_is_one_of_ours_does_not_become_the_state(word: str) -> None:
    order, _ = fold(accepted(), Polled(snapshot(word)))
    assert (order.state, order.provider_status) == ("Pending", word)
    assert word in (order.attention or "")


@pytest.mark.parametrize("other", [{"provider_id": "BLK-9"}, {"po_number": "demo-0009"}])
def test_a_look_that_shows_another_order_changes_no_state_and_is_recorded_once(other: dict[str, str]) -> None:
    order, events = fold(accepted(), Polled(snapshot("Completed", **other)))
    assert (kinds(events), order.state) == (["contradiction"], "Pending")
    assert fold(order, Polled(snapshot("Completed", **other)))[1] == []


@pytest.mark.parametrize("status", ["Pending", "Cancelled", "Shredded", "Refused"])
def test_a_completed_order_is_never_taken_back_and_the_contradiction_is_recorded_once(status: str) -> None:
    done, _ = fold(accepted(), Polled(snapshot("Completed")))
    order, events = fold(done, Polled(snapshot(status)))
    assert kinds(events) == ["contradiction"]
    assert (order.state, order.completed_by) == ("Completed", done.completed_by)
    assert order.attention == f"finished as Completed, now shown as {status}"
    assert fold(order, Polled(snapshot(status)))[1] == []


def test_a_finished_order_says_nothing_more_when_nothing_changes() -> None:
    done, _ = fold(accepted(), Polled(snapshot("Completed")))
    assert fold(done, Polled(None))[1] == []
    assert fold(done, Polled(snapshot("Completed")))[1] == []


def test_the_lines_of_a_finished_order_go_on() -> None:
    done, _ = fold(accepted(*TWO), Polled(snapshot("Completed", *TWO)))
    assert lines_may_change(done)
    order, events = fold(done, Polled(snapshot("Completed", *TWO, line_status="Claimed", claims=2)))
    assert kinds(events) == ["lines changed"]
    assert [each.status for each in order.lines] == ["Claimed", "Claimed"]
    assert (order.state, lines_may_change(order)) == ("Completed", False)


def test_claim_data_that_changed_is_written_down() -> None:
    done, _ = fold(accepted(), Polled(snapshot("Completed")))
    known = replace(done, lines=tuple(replace(one, claim_digest="first") for one in done.lines))
    order, events = fold(known, Polled(snapshot("Completed")))
    assert kinds(events) == ["claims changed"]
    assert (events[0].detail, order.state) == ({"lines": "1"}, "Completed")


def test_a_404_changes_nothing_and_is_recorded() -> None:
    order, events = fold(accepted(), Missing())
    assert (kinds(events), order) == (["not found"], accepted())


# Notices


def test_a_notice_is_a_claim_and_a_look_confirms_it() -> None:
    order, events = fold(accepted(), WebhookReported("BLK-1"))
    assert (kinds(events), order.state, order.notice) == (["notice claimed"], "Pending", "claimed")
    order, _ = fold(order, Polled(snapshot("Completed")))
    assert (order.state, order.notice) == ("Completed", "confirmed")


@pytest.mark.parametrize("unchanged", [True, False])
def test_a_claim_that_looks_contradict_for_long_needs_a_person_once(unchanged: bool) -> None:
    open_again = Polled(None if unchanged else snapshot("Processing"))
    order, _ = fold(accepted(), Polled(snapshot("Processing")), WebhookReported("BLK-1"))
    assert order.claimed_at is not None
    claimed_at = order.claimed_at
    order, events = fold(order, open_again, start=claimed_at + timedelta(minutes=9))
    assert (kinds(events), order.notice, order.attention) == (["still open"], "claimed", None)
    order, events = fold(order, open_again, start=claimed_at + timedelta(minutes=10))
    assert kinds(events) == ["still open", "contradiction"]
    assert (order.notice, order.attention_reason) == ("contradicted", "webhook not confirmed")
    assert order.attention == "announced as complete 10 min ago, and still Processing at the provider"
    assert kinds(fold(order, open_again, start=claimed_at + timedelta(minutes=20))[1]) == ["still open"]


def test_a_contradicted_claim_that_is_made_anew_counts_anew_and_completion_ends_it() -> None:
    order, _ = fold(accepted(), WebhookReported("BLK-1"))
    order, _ = fold(order, Polled(snapshot("Pending")), start=NOW + timedelta(minutes=30))
    assert order.notice == "contradicted"
    again, events = fold(order, WebhookReported("BLK-1"), start=NOW + timedelta(hours=1))
    assert (kinds(events), again.notice, again.claimed_at) == (["notice claimed"], "claimed", NOW + timedelta(hours=1))
    for before, notice in ((order, "contradicted"), (again, "confirmed")):
        done, _ = fold(before, Polled(snapshot("Completed")), start=NOW + timedelta(hours=1))
        assert (done.state, done.notice, done.attention) == ("Completed", notice, None)


def test_a_doubted_claim_does_not_take_the_place_of_what_a_person_is_asked_already() -> None:
    order, _ = fold(accepted(), WebhookReported("BLK-1"), Polled(snapshot("Shredded")))
    order, _ = fold(order, Polled(snapshot("Shredded")), start=NOW + timedelta(minutes=30))
    assert (order.notice, order.attention_reason) == ("contradicted", "unknown status")


def test_a_notice_of_an_order_that_is_cancelled_is_contradicted_whichever_comes_first() -> None:
    first, _ = fold(accepted(), WebhookReported("BLK-1"), Polled(snapshot("Cancelled")))
    last, events = fold(accepted(), Polled(snapshot("Cancelled")), WebhookReported("BLK-1"))
    assert first.notice == last.notice == "contradicted"
    assert kinds(events) == ["contradiction"]


def test_a_notice_after_the_look_is_confirmed_at_once() -> None:
    order, events = fold(accepted(), Polled(snapshot("Completed")), WebhookReported(None))
    assert (kinds(events), order.notice) == (["notice confirmed"], "confirmed")


@pytest.mark.parametrize("again", [WebhookReported("BLK-1", repeats=3), WebhookReported("BLK-1")])
def test_a_repeated_notice_changes_nothing(again: WebhookReported) -> None:
    order, _ = fold(accepted(), WebhookReported("BLK-1"))
    repeated, events = fold(order, again)
    assert (kinds(events), repeated) == (["notice repeated"], order)


def test_a_notice_that_names_another_order_is_no_claim() -> None:
    order, events = fold(accepted(), WebhookReported("BLK-9"))
    assert (kinds(events), order.notice) == (["contradiction"], "none")
    assert "BLK-9" in (order.attention or "")


def test_a_notice_before_the_answer_is_a_claim_too() -> None:
    order, _ = fold(None, requested(), Attempted(1), WebhookReported("BLK-1"), Answered(snapshot("Completed")))
    assert (order.state, order.notice) == ("Accepted", "claimed")


# People


def test_a_refused_order_that_is_sent_again_is_queued() -> None:
    order, _ = fold(None, requested(), Attempted(1), Declined(422, "x"), Asked("resend"))
    assert (order.state, order.submission, order.attention) == ("Queued", "queued", None)


def test_an_order_placed_anew_stays_refused_and_asks_for_nobody_any_more() -> None:
    other = Answered(snapshot("Pending", line("CVS", 20)), adopted=True)
    order, _ = fold(None, requested(), Attempted(1), other, Asked("place anew", "demo-0001-2"))
    assert (order.state, order.submission, order.attention) == ("Refused", "refused", None)
    several = Declined(409, "several orders have this PONumber: BLK-1, BLK-2")
    assert fold(None, requested(), Attempted(1), several)[0].attention_reason == "ponumber mismatch"


def test_asking_to_look_or_to_resend_an_unknown_outcome_changes_no_state() -> None:
    order, _ = fold(None, requested(), Attempted(1), Unclear("x"))
    for what in ("check", "resend"):
        after, events = fold(order, Asked(what))
        assert (kinds(events), after) == (["asked"], order)


def test_an_acknowledgement_keeps_who_and_why() -> None:
    order, _ = fold(accepted(), Polled(snapshot("Cancelled")))
    [event] = interpret(order, PO, seen(Noted("customer told", acknowledges=True), NOW, Witness.PERSON, "ann"))
    after = apply_event(order, event)
    assert (after.acknowledged_by, after.acknowledged_why, after.acknowledged_at) == ("ann", "customer told", NOW)


def test_a_note_changes_nothing() -> None:
    order, events = fold(accepted(), Noted("hello"))
    assert (kinds(events), events[0].changes, order) == (["noted"], {}, accepted())


# Lines


def test_equal_changes_of_many_lines_are_told_together() -> None:
    known = tuple(Line(number, "CVS", 1000, 1) for number in range(1, 5001))
    now = tuple(replace(one, status="Sent" if one.number != 2500 else "Cancelled") for one in known)
    assert diff_lines(known, now) == [
        {"numbers": "1-2499,2501-5000", "status": "Sent"},
        {"numbers": "2500", "status": "Cancelled"},
    ]


def test_lines_are_known_by_their_ids_once_these_are_known() -> None:
    known = (Line(1, "CVS", 1000, 1, provider_line_id="A"), Line(2, "CVS", 1000, 1, provider_line_id="B"))
    now = (Line(1, "CVS", 1000, 1, "Sent", provider_line_id="B"), Line(2, "CVS", 1000, 1, provider_line_id="A"))
    assert diff_lines(known, now) == [{"numbers": "2", "status": "Sent"}]


_LINES = st.builds(
    Line,
    st.just(0),
    st.sampled_from(["CVS", "cvs", "AMAZON"]),
    st.just(1000),
    st.integers(1, 2),
    provider_line_id=st.sampled_from([None, None, "LI-1", "li-1", "LI-2"]),
    external_id=st.sampled_from([None, "A", "a", "B"]),
    recipient=st.sampled_from([None, "one@example.com"]),
)


@given(st.lists(_LINES, max_size=5), st.lists(_LINES, max_size=5), st.sampled_from(["others", "ids", "as before"]))
def test_lines_that_stand_alike_are_paired_as_by_looking_for_each(
    stored: list[Line], shown_lines: list[Line], answer: str
) -> None:
    if answer == "ids":
        shown_lines = [replace(one, provider_line_id=f"LI-{at}") for at, one in enumerate(stored)]
    elif answer == "as before":
        shown_lines = [replace(one, status="Completed") for one in stored]
    known, now = (
        [replace(one, number=number) for number, one in enumerate(lines, 1)] for lines in (stored, shown_lines)
    )
    paired = list(pair_lines(known, now))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_matching, "_stand_alike", lambda *_: False)
        assert list(pair_lines(known, now)) == paired


@pytest.mark.parametrize("status", ["Pending", "Processing", "OnTheMoon", "Completed", "Cancelled"])
def test_an_answer_that_is_the_one_before_says_the_same_however_it_is_read(status: str) -> None:
    for order in (accepted(), fold(accepted(), Polled(snapshot(status)))[0]):
        again = seen(Polled(None), NOW + timedelta(hours=1))
        events = interpret(order, PO, again)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rules, "_is_open_as_before", lambda _: False)
            assert interpret(order, PO, again) == events


def test_claim_data_that_vanishes_does_not_take_units_back() -> None:
    done, _ = fold(accepted(), Polled(snapshot("Completed")))
    order, _ = fold(done, Polled(snapshot("Completed", claims=0)))
    assert (order.units_fulfilled, order.lines[0].claims) == (1, 1)


# Whatever is seen, in whatever order

WORDS = st.sampled_from(["Pending", "Processing", "AwaitingApproval", "Completed", "Cancelled", "Shredded", "Sending"])
ANSWERED_WORDS = st.sampled_from(["Pending", "Processing", "Completed", "Cancelled", "Shredded"])
LINE_WORDS = st.sampled_from(["Pending", "Completed", "Cancelled", "Sent", "Claimed", "Shipped", "Lost"])
IDS = st.sampled_from(["BLK-1", "BLK-1", "BLK-1", "BLK-2"])
POS = st.sampled_from([PO, PO, PO, None, "demo-0002"])


@st.composite
def snapshots(draw: st.DrawFn, words: st.SearchStrategy[str] = WORDS) -> Snapshot:
    asked = draw(st.sampled_from([TWO, TWO, TWO, TWO[:1]]))
    raw = order_json(draw(IDS), draw(POS), draw(words), *asked, claims=draw(st.integers(0, 3)))
    for each in raw["LineItems"]:
        each["Status"] = draw(LINE_WORDS)
    return read_order(raw).snapshot


SEEN = st.one_of(
    st.just(Attempted(1)),
    st.builds(Answered, snapshots(ANSWERED_WORDS), st.booleans()),
    st.sampled_from([Declined(422, "x"), Unclear("x"), Unsent("x"), Missing()]),
    st.builds(Polled, snapshots() | st.none()),
    st.builds(Polled, snapshots()),
    st.builds(Polled, st.just(snapshot("Completed", *TWO, claims=2, line_status="Completed"))),
    st.builds(WebhookReported, st.sampled_from(["BLK-1", "BLK-2", None]), st.integers(0, 2)),
    st.sampled_from([Asked("check"), Asked("resend"), Noted("x"), Noted("x", acknowledges=True)]),
)


def check_step(before: Order, after: Order, what: Observed, at: datetime) -> None:
    if is_terminal(before.state):
        assert after.state == before.state
        assert (after.completed_after, after.completed_by) == (before.completed_after, before.completed_by)
    if before.provider_id is not None:
        assert after.provider_id == before.provider_id
    if after.state == State.COMPLETED != before.state:
        assert isinstance(what, Polled)
        assert what.snapshot is not None
        assert (what.snapshot.status, what.snapshot.provider_id) == (State.COMPLETED, after.provider_id)
        assert what.snapshot.po_number in {PO, None}
        assert not before.lines or mismatch(before, what.snapshot) is None
        assert after.completed_after is not None
        assert after.completed_after <= at == after.completed_by
    if isinstance(what, WebhookReported | Noted | Missing | Attempted):
        assert after.provider_id == before.provider_id
        assert not is_terminal(after.state) or after.state == before.state
    if before.submission == Submission.UNKNOWN and isinstance(what, Attempted | Unsent | Unclear):
        assert after.submission == Submission.UNKNOWN
    assert (after.units, after.value_minor, after.type) == (before.units, before.value_minor, before.type)
    assert 0 <= after.units_fulfilled <= after.units


@settings(max_examples=300)
@given(st.booleans(), snapshots(), st.lists(SEEN, max_size=14))
def test_whatever_is_seen_the_rules_that_guard_money_hold(
    placed_here: bool,
    first: Snapshot,
    history: list[Observed],
) -> None:
    start: Observed = requested(*TWO) if placed_here else Polled(replace(first, po_number=PO))
    order, log = fold(None, start)
    lines = order.lines
    for number, what in enumerate(history, start=1):
        at = NOW + timedelta(minutes=number)
        if isinstance(what, Attempted) and not can_send(order):
            continue
        before = order
        events = interpret(order, PO, seen(what, at))
        for event in events:
            order = apply_event(order, event)
            # Events written before there were codes are read by their words: both must come to the same.
            # What is newer than the codes has none by its words.
            assert attention_reason_of(order.attention) in {order.attention_reason, AttentionReason.OTHER}
        check_step(before, order, what, at)
        log += events
    again = replace(first_order(log[0]), lines=lines)
    for event in log[1:]:
        read_back = {"changes": json.loads(json.dumps(event.changes)), "line_changes": event.line_changes}
        again = apply_event(again, replace(event, **read_back))
    assert (again, again.lines) == (order, order.lines)
