from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import NOW, callback, line, order_json, request, shown
from sqlalchemy.engine import RowMapping

from tracking import ingest
from tracking.errors import NotAllowed, UnknownOrder
from tracking.forecasting.planner import PlanningContext
from tracking.orders.model import Order, OrderRequest, Witness
from tracking.orders.observations import Answered, Attempted, Declined, Missing, Observation, Observed, Polled, Unclear
from tracking.provider.recipients import MAX_LIST_STORED
from tracking.provider.responses import ParsedOrder, read_order
from tracking.provider.webhook_bodies import WebhookCall
from tracking.storage import orders
from tracking.storage import outbox as storage_outbox
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.tables import CALLBACKS, EVENTS, LINES, ORDERS, OUTBOX

PO = "demo-0001"
TWO = (line("CVS", 10, 2, ExternalId="a"), line("AMAZON", 25, 1, ExternalId="b"))


class Console:
    """The store with what is done to it, a moment at a time; `at` is counted in seconds."""

    def __init__(self, store: Database, planner: PlanningContext) -> None:
        self.store = store
        self.planner = planner
        self.at = 0.0

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.at)

    def place(self, asked: OrderRequest | None = None) -> int:
        return self.store.write(
            lambda connection: ingest.place(connection, asked or request(PO), source="form", actor="ann", now=self.now)
        )

    def observe(self, what: Observed, seen: ParsedOrder | None = None, order_id: int = 1) -> Order:
        observation = Observation(Witness.US, self.now, self.now, what)
        return self.store.write(
            lambda connection: ingest.observe(connection, order_id, observation, self.planner, parsed=seen)
        )

    def look(self, seen: ParsedOrder) -> Order:
        return self.observe(Polled(seen.snapshot), seen)

    def answer(self, seen: ParsedOrder) -> Order:
        return self.observe(Answered(seen.snapshot), seen)

    def discover(self, seen: ParsedOrder) -> tuple[Order, bool]:
        return self.store.write(lambda connection: ingest.discover(connection, seen, self.now, self.now, self.planner))

    def announce(self, said: WebhookCall, times: int = 1) -> str:
        return self.store.write(
            lambda connection: ingest.receive_webhook(connection, said, 99, self.now, self.planner, times=times)
        )

    def ask(self, what: str, order_id: int = 1) -> None:
        self.store.write(
            lambda connection: ingest.request_action(connection, order_id, what=what, actor="ann", now=self.now)
        )

    def postpone(self) -> None:
        """The next look is a day away."""
        far = self.now + timedelta(days=1)
        self.store.write(lambda connection: orders.update_order(connection, 1, {"next_look_at": far}))

    def row(self, table: sa.Table = ORDERS) -> RowMapping:
        with self.store.read() as connection:
            return connection.execute(sa.select(table)).mappings().one()

    def rows(self, table: sa.Table) -> Sequence[RowMapping]:
        with self.store.read() as connection:
            return connection.execute(sa.select(table)).mappings().all()

    def kinds(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(EVENTS.c.kind).order_by(EVENTS.c.id)).scalars())

    def due_in(self) -> float | None:
        """Seconds until the next look."""
        at = self.row()["next_look_at"]
        return None if at is None else (at - self.now).total_seconds()


@pytest.fixture
def console(store: Database, planner: PlanningContext) -> Console:
    return Console(store, planner)


@pytest.fixture
def accepted(console: Console) -> Console:
    console.place()
    console.observe(Attempted(1))
    console.answer(shown())
    return console


# Placing


def test_placing_commits_the_order_its_lines_and_the_intent_to_send(console: Console) -> None:
    asked = request(PO, *TWO)
    console.place(asked)
    row, outbox = console.row(), console.row(OUTBOX)
    assert (row["po_number"], row["state"], row["units"], row["value_minor"], row["actor"]) == (
        *(PO, "Queued", 3, 4500),
        "ann",
    )
    assert (outbox["request"], outbox["done"], outbox["attempts"]) == (asked.document, False, 0)
    assert len(console.rows(LINES)) == 2
    assert console.due_in() is None


def test_a_taken_po_number_is_not_placed_again_and_the_first_order_is_left_as_it_is(console: Console) -> None:
    console.place()
    with pytest.raises(NotAllowed, match="exists"):
        console.place(request(PO, line(value=99)))
    assert console.row()["value_minor"] == 1000
    assert len(console.rows(OUTBOX)) == 1


def test_an_order_placed_elsewhere_takes_its_po_number_too(console: Console) -> None:
    console.discover(shown())
    with pytest.raises(NotAllowed):
        console.place()


# Answers


def test_an_answer_makes_the_order_due_and_late_from_then_on(accepted: Console) -> None:
    row = accepted.row()
    assert (row["state"], row["provider_id"], row["accepted_at"]) == ("Pending", "BLK-1", NOW)
    assert row["next_look_at"] > NOW
    assert row["late_at"] == NOW + timedelta(minutes=15, seconds=3)
    assert accepted.rows(LINES)[0]["provider_line_id"] == "BLK-1-1"


def test_an_answer_that_says_completed_is_looked_after_at_once(console: Console) -> None:
    console.place()
    console.answer(shown(status="Completed"))
    assert (console.row()["state"], console.due_in()) == ("Accepted", 0)


def test_an_order_that_was_refused_has_nothing_to_look_at(console: Console) -> None:
    console.place()
    console.observe(Declined(422, "the balance does not cover the order"))
    assert (console.row()["state"], console.due_in()) == ("Refused", None)


def test_an_order_that_is_not_stored_cannot_be_observed(console: Console) -> None:
    with pytest.raises(UnknownOrder):
        console.observe(Missing(), order_id=4711)


# Looks


def test_looks_are_counted_and_end_the_lease(accepted: Console) -> None:
    accepted.store.write(
        lambda connection: orders.update_order(
            connection, 1, {"lease_owner": "a", "lease_until": NOW, "failures": 3, "next_look_at": NOW}
        )
    )
    accepted.at = 60
    accepted.look(shown(status="Processing"))
    row = accepted.row()
    assert (row["looks"], row["failures"], row["lease_owner"], row["lease_until"]) == (1, 0, None, None)
    assert (row["state"], row["last_look_at"]) == ("Processing", accepted.now)
    assert 13 < (accepted.due_in() or 0) < 25


def test_a_completed_order_is_never_due_again_when_nothing_can_change(accepted: Console) -> None:
    accepted.look(shown(status="Completed", line_status="Claimed", claims=1))
    assert (accepted.row()["state"], accepted.due_in()) == ("Completed", None)


def test_a_completed_order_is_followed_while_its_lines_may_change_and_then_no_more(accepted: Console) -> None:
    accepted.look(shown(status="Completed"))
    assert 250 < (accepted.due_in() or 0) < 350
    accepted.at += 86400
    accepted.look(shown(status="Completed"))
    assert accepted.due_in() == pytest.approx(43200, rel=0.1)
    accepted.at += 14 * 86400
    accepted.observe(Polled(None))
    assert accepted.due_in() is None


def test_the_lines_of_a_completed_order_go_on_without_touching_it(accepted: Console) -> None:
    accepted.look(shown(status="Completed"))
    done = accepted.row()["completed_by"]
    accepted.at = 600
    accepted.look(shown(status="Completed", line_status="Claimed", claims=1))
    row = accepted.row()
    assert accepted.kinds()[-1] == "lines changed"
    assert (row["state"], row["completed_by"], accepted.rows(LINES)[0]["status"]) == ("Completed", done, "Claimed")
    assert accepted.due_in() is None


def test_a_cancelled_order_is_not_followed(accepted: Console) -> None:
    accepted.look(shown(status="Cancelled"))
    assert (accepted.row()["state"], accepted.due_in()) == ("Cancelled", None)


def test_a_regress_after_completion_is_recorded_once_and_changes_no_state(accepted: Console) -> None:
    accepted.look(shown(status="Completed"))
    for status in ("Pending", "Pending", "Pending"):
        accepted.at += 400
        accepted.look(shown(status=status))
    assert accepted.kinds().count("contradiction") == 1
    assert accepted.row()["state"] == "Completed"


def test_claim_data_that_comes_late_completes_the_order_later(accepted: Console) -> None:
    accepted.look(shown(status="Completed", claims=0))
    assert (accepted.row()["state"], accepted.row()["units_fulfilled"]) == ("Pending", 0)
    accepted.at = 60
    accepted.look(shown(status="Completed"))
    assert (accepted.row()["state"], accepted.row()["units_fulfilled"]) == ("Completed", 1)


def test_rotated_claim_data_keeps_the_first_digest_and_is_recorded(accepted: Console) -> None:
    accepted.look(shown(status="Completed"))
    first = accepted.rows(LINES)[0]["claim_digest"]
    rotated = order_json(status="Completed")
    rotated["LineItems"][0]["ClaimData"][0]["ClaimLink"] = "https://claim.example/other"
    accepted.look(read_order(rotated))
    assert accepted.kinds()[-1] == "claims changed"
    assert accepted.rows(LINES)[0]["claim_digest"] == first


@pytest.mark.parametrize("word", ["Shredded", "Queued"])
def test_an_unknown_word_is_shown_and_the_order_stays_open_and_due(accepted: Console, word: str) -> None:
    accepted.look(shown(status=word))
    row = accepted.row()
    assert row["state"] == ("Shredded" if word == "Shredded" else "Pending")
    assert word in row["attention"]
    assert accepted.due_in() is not None


def test_the_document_is_kept_without_claim_data_and_without_its_many_lines(console: Console) -> None:
    many = [line(value=5, ExternalId=f"row-{number}") for number in range(MAX_LIST_STORED + 1)]
    console.discover(shown("BLK-1", PO, "Completed", *many))
    assert "LineItems" not in console.row()["document"]
    assert "claim.example" not in str([dict(row) for row in (*console.rows(LINES), *console.rows(EVENTS))])


def test_no_claim_link_is_stored_anywhere(accepted: Console) -> None:
    accepted.look(shown(status="Completed"))
    for table in (ORDERS, LINES, EVENTS, OUTBOX):
        assert "claim.example" not in str([dict(row) for row in accepted.rows(table)])


# Orders from elsewhere


def test_an_order_from_elsewhere_is_found_once(console: Console) -> None:
    order, new = console.discover(shown(created_at=NOW - timedelta(hours=1)))
    assert (new, order.source, order.state) == (True, "elsewhere", "Pending")
    console.at = 30
    again, new = console.discover(shown(created_at=NOW - timedelta(hours=1)))
    assert (new, again.state, len(console.rows(ORDERS))) == (False, "Pending", 1)
    assert console.kinds() == ["discovered", "still open", "still open"]


def test_an_order_without_a_po_number_goes_by_its_id(console: Console) -> None:
    console.discover(shown(po_number=None))
    assert console.row()["po_number"] == "BLK-1"


def test_a_finished_order_that_the_list_shows_again_changes_nothing(console: Console) -> None:
    console.discover(shown(status="Completed"))
    before = console.row()
    for _ in range(3):
        console.at += 30
        console.discover(shown(status="Completed"))
    assert console.row() == before


def test_a_completed_order_that_the_list_shows_without_claim_data_is_not_completed_yet(console: Console) -> None:
    console.discover(shown(status="Completed", claims=0))
    assert console.row()["state"] == "Accepted"
    console.look(shown(status="Completed"))
    assert console.row()["state"] == "Completed"


def test_our_order_of_unknown_outcome_is_found_by_the_list(console: Console) -> None:
    console.place()
    console.observe(Attempted(1))
    console.observe(Unclear("timeout"))
    order, new = console.discover(shown())
    assert (new, order.provider_id, order.state, order.source) == (False, "BLK-1", "Pending", "form")
    assert console.kinds()[-2:] == ["found", "still open"]


def test_an_order_from_elsewhere_that_is_completed_later_is_completed_within_its_window(console: Console) -> None:
    console.discover(shown(created_at=NOW - timedelta(hours=1)))
    console.at = 60
    console.look(shown(status="Completed", created_at=NOW - timedelta(hours=1)))
    row = console.row()
    assert (row["completed_after"], row["completed_by"]) == (NOW, console.now)


# Notices


def test_a_notice_makes_the_order_due_at_once_and_completes_nothing(accepted: Console) -> None:
    accepted.at = 500
    accepted.postpone()
    assert accepted.announce(callback()) == "accepted"
    row = accepted.row()
    assert (row["state"], row["notice"], row["claimed_at"], accepted.due_in()) == (
        *("Pending", "claimed", accepted.now),
        0,
    )
    assert (accepted.row(CALLBACKS)["outcome"], accepted.row(CALLBACKS)["order_id"]) == ("accepted", 1)


def test_no_more_than_one_look_in_thirty_seconds_comes_from_notices(accepted: Console) -> None:
    """The looks that follow say "still open", and push the due time far away each time."""
    dues = []
    for second in range(0, 75, 5):
        accepted.at = 10_000 + second
        if second == 0:
            accepted.postpone()
        accepted.announce(callback(stamp=f"{second + 10}"))
        if (accepted.due_in() or 0) <= 0:
            dues.append(second)
            accepted.postpone()
    assert dues == [0, 30, 60]


def test_a_repeated_notice_is_counted_and_claims_nothing_new(accepted: Console) -> None:
    accepted.announce(callback())
    accepted.at = 5
    for _ in range(3):
        assert accepted.announce(callback()) == "repeated"
    assert accepted.row(CALLBACKS)["repeats"] == 3
    assert accepted.row()["claimed_at"] == NOW


def test_notices_that_come_together_claim_once_and_are_all_counted(accepted: Console) -> None:
    assert accepted.announce(callback(), times=3) == "accepted"
    assert (accepted.row()["notice"], accepted.row(CALLBACKS)["repeats"], accepted.due_in()) == ("claimed", 2, 0)
    assert accepted.announce(callback(), times=4) == "repeated"
    assert accepted.row(CALLBACKS)["repeats"] == 6
    assert accepted.kinds().count("notice repeated") == 1


def test_a_notice_of_a_finished_order_asks_for_nothing(accepted: Console) -> None:
    accepted.look(shown(status="Completed", line_status="Claimed", claims=1))
    assert accepted.announce(callback()) == "accepted"
    assert (accepted.row()["notice"], accepted.due_in()) == ("confirmed", None)


def test_a_notice_before_the_answer_is_kept_and_the_answer_is_looked_after_at_once(console: Console) -> None:
    console.place()
    console.observe(Attempted(1))
    assert console.announce(callback()) == "accepted"
    assert (console.row()["notice"], console.due_in()) == ("claimed", None)
    console.at = 2
    console.answer(shown())
    assert (console.row()["state"], console.due_in()) == ("Pending", 0)


def test_a_notice_of_an_order_not_stored_yet_waits_and_is_adopted_by_discovery(console: Console) -> None:
    assert console.announce(callback()) == "waiting"
    assert console.announce(callback()) == "repeated"
    console.at = 20
    console.discover(shown())
    row, waited = console.row(), console.row(CALLBACKS)
    assert (row["notice"], row["claimed_at"], console.due_in()) == ("claimed", console.now, 0)
    assert (waited["outcome"], waited["order_id"], waited["repeats"]) == ("accepted", 1, 1)


def test_a_notice_that_waited_for_an_order_placed_here_is_adopted_when_it_is_accepted(console: Console) -> None:
    console.announce(callback())
    console.place()
    assert console.row(CALLBACKS)["outcome"] == "waiting"
    console.observe(Attempted(1))
    console.answer(shown())
    assert (console.row(CALLBACKS)["outcome"], console.row()["notice"], console.due_in()) == ("accepted", "claimed", 0)


def test_a_notice_that_came_before_its_order_and_again_after_it_is_a_claim_and_no_repeat(console: Console) -> None:
    console.announce(callback())
    console.place()
    assert console.announce(callback()) == "accepted"
    assert (console.row()["notice"], console.row(CALLBACKS)["outcome"]) == ("claimed", "accepted")
    assert console.announce(callback()) == "repeated"
    console.observe(Attempted(1))
    console.answer(shown())
    assert (console.row()["notice"], console.due_in()) == ("claimed", 0)


def test_a_notice_that_names_another_order_than_its_address_is_refused_shown_and_recorded_once(
    accepted: Console,
) -> None:
    for _ in range(3):
        assert accepted.announce(callback(provider_id="BLK-9")) == "refused"
        assert accepted.row(CALLBACKS)["reason"] == "it names another order than its address"
    row, kept = accepted.row(), accepted.row(CALLBACKS)
    assert (row["notice"], row["state"]) == ("none", "Pending")
    assert "BLK-9" in row["attention"]
    assert (kept["outcome"], kept["repeats"], kept["order_id"]) == ("refused", 2, 1)
    assert accepted.kinds().count("contradiction") == 1


def test_a_notice_without_a_po_number_finds_its_order_by_the_providers_id(accepted: Console) -> None:
    assert accepted.announce(callback(po_number=None)) == "accepted"
    assert accepted.row()["notice"] == "claimed"


# People


def test_a_person_may_have_a_known_order_looked_at_now(accepted: Console) -> None:
    accepted.at = 1
    accepted.ask("check")
    assert (accepted.due_in(), accepted.row()["next_look_why"]) == (0, "requested by a person")
    assert accepted.kinds()[-1] == "asked"


def test_a_person_may_have_a_refused_order_sent_again_once(console: Console) -> None:
    console.place()
    console.observe(Declined(422, "x"))
    console.store.write(lambda connection: storage_outbox.finish_outbox(connection, 1, again_at=None))
    console.at = 60
    console.ask("resend")
    assert (console.row()["state"], console.row()["attention"]) == ("Queued", None)
    assert (console.row(OUTBOX)["done"], console.row(OUTBOX)["next_attempt_at"]) == (False, console.now)
    with pytest.raises(NotAllowed):
        console.ask("resend")


@pytest.mark.parametrize("what", ["check", "resend"])
def test_what_the_state_forbids_is_not_done(console: Console, what: str) -> None:
    console.place()
    with pytest.raises(NotAllowed):
        console.ask(what)
    assert console.kinds() == ["requested"]


def test_an_accepted_order_cannot_be_sent_again(accepted: Console) -> None:
    with pytest.raises(NotAllowed):
        accepted.ask("resend")


def test_an_unknown_order_cannot_be_asked_for(console: Console) -> None:
    with pytest.raises(UnknownOrder):
        console.ask("check", 4711)


def test_an_acknowledgement_needs_a_reason_and_keeps_it(accepted: Console) -> None:
    def note(text: str) -> Any:
        return lambda connection: ingest.record_note(connection, 1, text=text, actor="ann", now=NOW, acknowledges=True)

    accepted.look(shown(status="Cancelled"))
    with pytest.raises(NotAllowed, match="reason"):
        accepted.store.write(note("  "))
    accepted.store.write(note(" told the customer "))
    row = accepted.row()
    assert (row["acknowledged_why"], row["acknowledged_by"], row["acknowledged_at"]) == (
        *("told the customer", "ann"),
        NOW,
    )


def test_everything_done_here_can_be_recomputed_from_the_log(accepted: Console) -> None:
    accepted.announce(callback())
    accepted.look(shown(status="Completed", claims=0))
    accepted.look(shown(status="Completed"))
    accepted.look(shown(status="Pending"))
    accepted.ask("check")
    assert verify.verify(accepted.store) == []


# Lines grouped otherwise


def split(status: str, links: Sequence[str] = ()) -> ParsedOrder:
    """TWO, its first line as two of one, the other way round; `links` are the claim links of its units."""
    halves = [line("CVS", 10, 1, ExternalId="a")] * 2
    raw = order_json("BLK-1", PO, status, line("AMAZON", 25, 1, ExternalId="b"), *halves, claims=0)
    for each, link in zip(raw["LineItems"], links, strict=False):
        each.update({"ClaimData": [{"ClaimLink": link}], "Status": "Completed"})
    for each in raw["LineItems"]:
        each.update(Cost="9.75")
    return read_order(raw)


def test_an_order_whose_lines_the_provider_splits_completes_with_the_claim_data_of_each_unit(console: Console) -> None:
    console.place(request(PO, *TWO))
    console.observe(Attempted(1))
    order = console.answer(split("Pending"))
    assert (order.state, order.attention) == ("Pending", None)
    assert console.rows(EVENTS)[-1]["detail"]["differs"] == "3 lines where 2 were sent"
    order = console.look(split("Processing", ["https://claim.example/b", "https://claim.example/a1"]))
    assert (order.state, [row["claims"] for row in console.rows(LINES)]) == ("Processing", [1, 1])
    links = [f"https://claim.example/{name}" for name in ("b", "a1", "a2")]
    order = console.look(split("Completed", links))
    assert (order.state, order.units_fulfilled, order.cost_minor) == ("Completed", 3, 2925)
    rows = console.rows(LINES)
    assert sorted((row["number"], row["status"], row["claims"], row["cost_minor"]) for row in rows) == [
        (1, "Completed", 2, 1950),
        (2, "Completed", 1, 975),
    ]
    console.look(split("Completed", [links[0], links[2], links[1]]))
    assert console.kinds()[-1] == "completed"
    console.look(split("Completed", [links[0], links[1], "https://claim.example/other"]))
    assert console.kinds()[-1] == "claims changed"
    assert verify.verify(console.store) == []


def test_an_order_whose_lines_the_provider_joins_completes_line_by_line(console: Console) -> None:
    console.place(request(PO, *[line("CVS", 10, 1, ExternalId=name) for name in "ab"]))
    console.observe(Attempted(1))
    console.answer(shown("BLK-1", PO, "Pending", line("CVS", 10, 2)))
    order = console.look(shown("BLK-1", PO, "Completed", line("CVS", 10, 2)))
    assert (order.state, order.units_fulfilled) == ("Completed", 2)
    assert [(row["status"], row["claims"]) for row in console.rows(LINES)] == [("Completed", 1)] * 2


# Ids in another case


def test_an_order_is_the_same_whatever_the_case_of_its_ids(console: Console) -> None:
    console.place()
    console.observe(Attempted(1))
    console.answer(shown("BLK-A", PO.upper()))
    assert console.announce(callback(PO.upper(), "blk-a")) == "accepted"
    order, is_new = console.discover(shown("blk-a", PO.title(), "Completed"))
    assert (order.state, order.po_number, order.provider_id, is_new) == ("Completed", PO, "BLK-A", False)
    assert verify.verify(console.store) == []


def test_an_answer_that_names_an_order_of_ours_under_another_po_number_is_a_mismatch(console: Console) -> None:
    console.discover(shown("BLK-1", PO.upper()))
    with console.store.read() as connection:
        assert orders.owner_of_po_number(connection, PO) == PO.upper()
    console.store.write(lambda connection: connection.execute(sa.update(ORDERS).values(po_folded=None)))
    placed = console.place()
    console.observe(Attempted(1), order_id=placed)
    order = console.observe(Answered(shown("blk-1", PO.upper()).snapshot, adopted=True), order_id=placed)
    assert (order.state, order.provider_id, order.attention_reason) == ("Refused", None, "ponumber mismatch")
    assert PO.upper() in (order.attention or "")
