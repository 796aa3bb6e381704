"""Two windows of one person, or two people, ask for the same thing at the same moment."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest
from fakes import line, request
from histories import History, find_order_id

from tracking import ingest
from tracking.access import Access, Person
from tracking.errors import InvalidSubmission, NotAllowed, NotPermitted
from tracking.orders.model import Line, Witness
from tracking.orders.observations import Answered, Attempted
from tracking.reports.order_page import story, verdicts
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.submissions import actions, files, submit
from tracking.team.imports.handing_in import submit_file

ANN, BOB = Person("Ann"), Person("Bob")
FILE = "Type,ProductId,Value,Quantity,PONumber\n" + "\n".join(f"Links,CVS,10,1,{number:03d}" for number in range(120))


def test_the_same_file_from_two_windows_at_once_is_ordered_once(store: Database, now: datetime) -> None:
    windows = [
        files.read_csv(FILE.encode(), "f.csv", catalog=None, chunk=1000, now=now, database=store) for _ in range(2)
    ]

    def hand_in(window: int) -> list[submit.Receipt]:
        by = (ANN, BOB)[window]
        return submit_file(store, windows[window], source="csv", by=by, now=now)

    with ThreadPoolExecutor(2) as pool:
        receipts = [receipt for found in pool.map(hand_in, range(2)) for receipt in found]
    queued = Counter(receipt.po_number for receipt in receipts if receipt.outcome == "queued")
    assert len(queued) == 120  # both may say so of one order, as each had its file placed
    assert len({receipt.order_id for receipt in receipts}) == 120
    assert verify(store) == []


def test_of_two_windows_that_send_an_order_again_one_does(store: Database, now: datetime) -> None:
    history = History(store, now)
    history.place("FT-1")
    history.refuse("FT-1")

    def again(by: Person) -> str:
        try:
            actions.resend(store, "FT-1", by=by, now=now)
        except NotAllowed as exc:
            return str(exc)
        return "sent"

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(again, (ANN, BOB)))
    assert said[1] == "sent"
    assert "can be resent" in said[0]


def test_a_window_that_still_shows_an_order_as_unknown_cannot_send_what_was_found_meanwhile(
    store: Database, now: datetime
) -> None:
    history = History(store, now)
    history.place("FT-1")
    history.lose("FT-1")
    history.accept("FT-1")
    with pytest.raises(NotAllowed, match="can be resent"):
        actions.resend(store, "FT-1", by=ANN, now=now)


@pytest.fixture
def taken(store: Database, now: datetime) -> History:
    """FT-1, whose PONumber the provider has for another order."""
    history = History(store, now)
    asked = request("FT-1", line("CVS", 10, 2, ExternalId="a"), line("AMAZON", 25))
    history.numbers["FT-1"] = store.write(
        lambda connection: ingest.place(connection, asked, source="csv", actor="Ann", now=now)
    )
    history.see("FT-1", Attempted(1), Witness.US)
    other = history.snapshot("FT-1", "Pending", [Line(1, "CVS", 9900, 1)])
    history.see("FT-1", Answered(other, adopted=True), Witness.ANSWER)
    return history


def test_an_order_whose_po_number_is_anothers_is_placed_anew_once_both_are_said_to_be_wanted(
    taken: History, store: Database, now: datetime
) -> None:
    with pytest.raises(InvalidSubmission, match="both are wanted"):
        actions.place_anew(store, "FT-1", "FT-1-2", by=ANN, now=now, wants_both=False)
    assert actions.place_anew(store, "ft-1", " FT-1-2 ", by=ANN, now=now, wants_both=True) == "FT-1-2"
    first, second = (find_order_id(store, name) for name in ("FT-1", "FT-1-2"))
    assert first is not None
    assert second is not None
    before, placed = verdicts.order_view(store, first, now).order, verdicts.order_view(store, second, now).order
    assert (before.state, before.attention) == ("Refused", None)
    assert (placed.state, placed.source, placed.units, placed.value_minor) == ("Queued", "csv", 3, 4500)
    assert any("placed this anew as FT-1-2" in row.text for row in story.timeline(store, first, now))
    assert any("placed this for FT-1" in row.text for row in story.timeline(store, second, now))
    assert verify(store) == []
    with pytest.raises(NotAllowed):
        actions.place_anew(store, "FT-1", "FT-1-3", by=BOB, now=now, wants_both=True)


@pytest.mark.parametrize("other", ["FT-1", "ft-1", "", " ", "x" * 101])
def test_a_po_number_that_is_taken_or_none_places_nothing_anew(
    taken: History, store: Database, now: datetime, other: str
) -> None:
    with pytest.raises((NotAllowed, InvalidSubmission)):
        actions.place_anew(store, "FT-1", other, by=ANN, now=now, wants_both=True)
    order_id = find_order_id(store, "FT-1")
    assert order_id is not None
    assert verdicts.order_view(store, order_id, now).order.attention_reason == "ponumber mismatch"


def test_what_is_not_taken_by_another_order_is_not_placed_anew(store: Database, now: datetime) -> None:
    history = History(store, now)
    asked = request("FT-2")
    history.numbers["FT-2"] = store.write(
        lambda connection: ingest.place(connection, asked, source="csv", actor="Ann", now=now)
    )
    history.refuse("FT-2")
    with pytest.raises(NotAllowed, match="belongs to another order"):
        actions.place_anew(store, "FT-2", "FT-3", by=ANN, now=now, wants_both=True)
    with pytest.raises(NotPermitted):
        actions.place_anew(store, "FT-2", "FT-3", by=Person("Vi", Access.VIEWER), now=now, wants_both=True)


def test_of_two_windows_that_place_an_order_anew_one_does(taken: History, store: Database, now: datetime) -> None:
    def anew(number: int) -> str:
        try:
            return actions.place_anew(store, "FT-1", f"FT-1-{number}", by=ANN, now=now, wants_both=True)
        except NotAllowed:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        outcomes = sorted(pool.map(anew, (2, 3)))
    assert outcomes[1] == "refused"
    assert outcomes[0] in {"FT-1-2", "FT-1-3"}
