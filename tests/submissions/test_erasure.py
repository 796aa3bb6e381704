import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from fakes import line, request, shown
from search_index import catch_up
from sqlalchemy import Connection

from tracking import ingest
from tracking.access import Access, Person
from tracking.errors import InvalidSubmission, NotAllowed, NotPermitted, StoreBusy, StoreError
from tracking.forecasting.planner import PlanningContext
from tracking.orders.line_matching import diff_lines
from tracking.orders.model import Line, Witness
from tracking.orders.observations import Answered, Attempted, Declined, Observation, Polled
from tracking.provider import recipients as traces
from tracking.provider.responses import ParsedOrder
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import jobs as job_reports
from tracking.storage.claims import ClaimCipher
from tracking.storage.database import Database
from tracking.storage.maintenance import verify
from tracking.storage.search import indexing
from tracking.storage.tables import BATCHES, CALLBACKS, CLAIMS, DRAFTS, EVENTS, EXCHANGES, LINES, ORDERS
from tracking.storage.team.tables import AUDIT_LOG, IMPORT_ROWS, JOBS, SAVED_VIEWS
from tracking.submissions import erasure
from tracking.submissions.erasing import recorded
from tracking.submissions.files import read_json
from tracking.team import jobs, saved_views, work
from tracking.team.imports.handing_in import hand_in
from tracking.team.imports.placing import place_here
from tracking.team.plans import Act, Parameters

ANN, BOB = "Ann.Lee@example.com", "bob@example.com"
OPERATOR = Person("eve")


def mail(email: str, **more: Any) -> dict[str, Any]:
    words = {"To": "Ann-Sophie Lee" if email == ANN else "Bob", "FromName": "HR", "Message": "Well done"}
    return line("CVS", 10, 1, DigitalDeliveryAddress={"Email": email} | more, Personalization=words)


def parcel(name: str) -> dict[str, Any]:
    where = {"AddressLine1": "7 Hidden Lane", "City": "Troy", "State": "NY", "Zip": "12180", "Country": "US"}
    return line("CVSCARD", 25, 1, PhysicalDeliveryAddress={"ShippingMethodId": "STANDARD", "Name": name} | where)


class Office:
    """Makes orders and lets the provider show them."""

    def __init__(self, store: Database, planner: PlanningContext, now: datetime) -> None:
        self.store, self.planner, self.now = store, planner, now

    def place(self, po_number: str, *lines: dict[str, Any], kind: str = "DigitalDelivery") -> int:
        asked = request(po_number, *lines, kind=kind)
        return self.store.write(
            lambda connection: ingest.place(connection, asked, source="form", actor="eve", now=self.now)
        )

    def see(self, order_id: int, witness: Witness, seen: Any, told: ParsedOrder | None = None) -> None:
        self.now += timedelta(minutes=1)
        observation = Observation(witness, self.now, self.now, seen)
        self.store.write(
            lambda connection: ingest.observe(connection, order_id, observation, self.planner, parsed=told)
        )

    def accept(self, order_id: int, po_number: str, *lines: dict[str, Any], kind: str = "DigitalDelivery") -> None:
        self.see(order_id, Witness.US, Attempted(1))
        told = shown(f"BLK-{po_number}", po_number, "Pending", *lines, kind=kind)
        self.see(order_id, Witness.ANSWER, Answered(told.snapshot), told)

    def look(
        self, order_id: int, po_number: str, *lines: dict[str, Any], status: str = "Completed", **more: Any
    ) -> None:
        told = shown(f"BLK-{po_number}", po_number, status, *lines, **({"kind": "DigitalDelivery"} | more))
        self.see(order_id, Witness.POLL, Polled(told.snapshot), told)

    def ordered(self, po_number: str, *lines: dict[str, Any], kind: str = "DigitalDelivery") -> int:
        order_id = self.place(po_number, *lines, kind=kind)
        self.accept(order_id, po_number, *lines, kind=kind)
        return order_id

    def erase(self, recipient: str, **more: Any) -> erasure.Erasure:
        return erasure.erase(self.store, recipient, by=OPERATOR, now=self.now, **more)

    def rows(self, table: sa.Table, *where: Any) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(table).where(*where).order_by(*table.primary_key)).mappings())

    def everything(self) -> str:
        """All rows of all tables, as one text."""
        with self.store.read() as connection:
            rows = [row for each in ORDERS.metadata.sorted_tables for row in connection.execute(sa.select(each))]
        return "\n".join(str(value) for row in rows for value in row)


@pytest.fixture
def office(store: Database, planner: PlanningContext, now: datetime) -> Office:
    return Office(store, planner, now)


def test_a_recipient_is_gone_from_everything_and_the_log_still_holds(office: Office) -> None:
    lines = (mail(ANN, Sms="+15550100"), mail(BOB), mail(ANN))
    order_id = office.ordered("a", *lines)
    office.ordered("b", mail(BOB))
    done = office.erase(f"  {ANN.upper()} ")
    assert (done.orders, done.lines, done.refused, done.unfinished) == (["a"], 2, [], None)
    kept = office.everything()
    assert not any(word in kept.lower() for word in ("ann.lee", "sophie", "+15550100"))
    assert kept.count(BOB) == 2 * 5  # lines, what finds them twice, request and document of either order
    assert [row["recipient"] for row in office.rows(LINES, LINES.c.order_id == order_id)] == [None, BOB, None]
    assert all(row["recipient_hash"] for row in office.rows(LINES))
    told = office.rows(EVENTS, EVENTS.c.kind == "erased")
    assert [(row["witness"], row["detail"]) for row in told] == [("person", {"lines": "1,3", "actor": "eve"})]
    assert verify.verify(office.store) == []


def test_a_parcel_loses_its_whole_address(office: Office) -> None:
    office.ordered("a", parcel("Zoë Ønskebarn"), parcel("Max Cole"), kind="PhysicalShipment")
    assert office.erase("ZOË ØNSKEBARN").lines == 1
    kept = office.everything()
    assert "nskebarn" not in kept
    assert kept.count("7 Hidden Lane") == 2  # of the other parcel's request and document
    assert verify.verify(office.store) == []


@pytest.mark.parametrize("said", ["+15550100", "ann-sophie lee"])
def test_a_recipient_is_found_by_what_only_the_request_names(office: Office, said: str) -> None:
    office.ordered("a", mail(ANN, Sms="+15550100"), mail(BOB))
    assert office.erase(said).lines == 1
    assert "Ann" not in office.everything()
    assert verify.verify(office.store) == []


def test_a_line_without_an_address_loses_whom_it_is_for(office: Office) -> None:
    gift = line("CVS", 10, 1, Personalization={"To": "Ann-Sophie Lee", "FromName": "HR"})
    order_id = office.ordered("a", gift, line("AMAZON", 25, 1), kind="Links")
    assert office.erase("Ann-Sophie Lee").lines == 1
    office.look(order_id, "a", gift, line("AMAZON", 25, 1), kind="Links", status="Pending")
    assert "Sophie" not in office.everything()
    assert verify.verify(office.store) == []


def test_what_the_provider_shows_later_brings_nobody_back(office: Office) -> None:
    lines = (mail(ANN), mail(BOB))
    order_id = office.ordered("a", *lines)
    office.erase(ANN)
    # In another order, so that a position would lay one line's address on the other.
    office.look(order_id, "a", *reversed(lines), status="Processing")
    office.look(order_id, "a", *lines)
    kept = office.everything()
    assert "Ann" not in kept
    assert BOB in json.dumps(office.rows(ORDERS)[0]["document"])
    assert office.rows(ORDERS)[0]["state"] == "Completed"
    assert verify.verify(office.store) == []


@pytest.mark.parametrize(("kind", "person"), [("DigitalDelivery", ANN), ("Links", "Ann-Sophie Lee")])
def test_claim_data_shown_later_is_not_kept_for_an_erased_line(office: Office, kind: str, person: str) -> None:
    office.planner = replace(office.planner, cipher=ClaimCipher([Fernet.generate_key().decode()]))
    lines = [line("CVS", 10, 1, Personalization={"To": to, "FromName": "HR"}) for to in ("Ann-Sophie Lee", "Bob")]
    if kind == "DigitalDelivery":
        lines = [mail(ANN), mail(BOB)]
    order_id = office.ordered("a", *lines, kind=kind)
    office.erase(person)
    office.look(order_id, "a", *lines, kind=kind)
    assert [row["number"] for row in office.rows(CLAIMS)] == [2]
    assert verify.verify(office.store) == []


def test_orders_on_their_way_are_refused_and_the_rest_is_erased(office: Office) -> None:
    office.place("queued", mail(ANN))
    office.see(office.place("sending", mail(ANN)), Witness.US, Attempted(1))
    office.ordered("taken", mail(ANN))
    declined = office.place("declined", mail(ANN))
    office.see(declined, Witness.US, Attempted(1))
    office.see(declined, Witness.ANSWER, Declined(422, "no funds"))
    done = office.erase(ANN)
    assert (done.orders, done.refused) == (["taken", "declined"], ["queued", "sending"])
    recipients = {row["order_id"]: row["recipient"] for row in office.rows(LINES)}
    assert list(recipients.values()) == [ANN, ANN, None, None]
    with pytest.raises(NotAllowed, match="erased"):
        office.store.write(
            lambda connection: ingest.request_action(connection, declined, what="resend", actor="eve", now=office.now)
        )
    assert verify.verify(office.store) == []


def test_claim_data_and_calls_of_the_order_go_too(office: Office) -> None:
    order_id, other = office.ordered("a", mail(ANN), mail(BOB)), office.ordered("b", mail(BOB))
    office.store.write(lambda connection: kept_beside(connection, order_id, other, office.now))
    done = office.erase(ANN)
    assert (done.claims, done.calls) == (1, 2)
    assert sorted((row["order_id"], row["number"]) for row in office.rows(CLAIMS)) == [(order_id, 2), (other, 1)]
    bodies = {row["path"]: (row["request"], row["answer"]) for row in office.rows(EXCHANGES)}
    assert bodies == {"/own": (None, None), "/list": (None, None), "/other": ("{}", "b***@example.com")}


def kept_beside(connection: Connection, order_id: int, other: int, now: datetime) -> None:
    claims = [{"order_id": key, "number": number} for key, number in ((order_id, 1), (order_id, 2), (other, 1))]
    rest = {"digest": "d", "units": 1, "sealed": "s", "learned_at": now}
    connection.execute(sa.insert(CLAIMS), [claim | rest for claim in claims])
    call = {"at": now, "method": "GET", "milliseconds": 1, "outcome": "ok", "status": 200, "request": "{}"}
    calls = [
        ("/own", order_id, "a***@example.com"),
        ("/list", None, f"for {ANN}"),
        ("/other", other, "b***@example.com"),
    ]
    connection.execute(
        sa.insert(EXCHANGES),
        [call | {"path": path, "order_id": key, "answer": answer} for path, key, answer in calls],
    )


def test_a_dry_run_says_the_same_and_changes_nothing(office: Office) -> None:
    order_id, other = office.ordered("a", mail(ANN), mail(BOB)), office.ordered("b", mail(BOB))
    office.place("c", mail(ANN))
    office.store.write(lambda connection: kept_beside(connection, order_id, other, office.now))
    before = office.everything()
    told = office.erase(ANN, dry_run=True)
    assert office.everything() == before
    assert told == office.erase(ANN)
    assert (told.orders, told.refused) == (["a"], ["c"])


def test_nobody_is_found_twice_and_likenesses_are_left_alone(office: Office) -> None:
    office.ordered("a", mail(ANN), mail(f"jo{ANN}"))
    assert office.erase(ANN).lines == 1
    assert office.erase(ANN) == erasure.Erasure()
    assert office.erase("example.com") == erasure.Erasure()
    assert f"jo{ANN}" in office.everything()


def test_words_that_the_log_vouches_for_are_named(office: Office) -> None:
    order_id = office.ordered("a", mail(ANN))
    office.ordered("b", mail(ANN))
    office.store.write(
        lambda connection: ingest.record_note(
            connection, order_id, text=f"told {ANN} by phone", actor="eve", now=office.now, acknowledges=False
        )
    )
    assert office.erase(ANN).mentioned == ["a"]


@pytest.mark.parametrize(
    "said",
    [
        "+15550100123",
        "+1 555 010 0123",
        "1-555-010-0123",
        "001 (555) 010.0123",
        "(555) 010-0123",
        "tel:+1-555-010-0123",
    ],
)
def test_a_telephone_number_is_the_same_however_written(office: Office, said: str) -> None:
    office.ordered("a", line("CVS", 10, 1, DigitalDeliveryAddress={"Sms": "+1 (555) 010-0123"}), mail(BOB))
    done = office.erase(said)
    assert (done.orders, done.lines, done.possible) == (["a"], 1, [])
    kept = office.everything()
    assert not any(part in kept for part in ("010-0123", "5550100123"))  # shorter ones may be in a hash


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Jos\u00e9  Garc\u00eda", "JOSE\u0301 GARCI\u0301A"),
        ("Jos\u00e9 Garc\u00eda", "Garc\u00eda, Jos\u00e9"),
        ("J\u00fcrgen Gro\u00df", "J\u00dcRGEN GROSS"),
        ("\uff2a\uff4f \uff2c\uff45\uff45", "jo lee"),
        ("\u0130lker I\u015f\u0131k", "ilker \u0131\u015f\u0131k"),
    ],
)
def test_a_name_is_the_same_in_every_spelling(office: Office, written: str, said: str) -> None:
    office.ordered("a", parcel(written), kind="PhysicalShipment")
    assert office.erase(said).orders == ["a"]
    assert "hidden" not in office.everything().lower()
    assert verify.verify(office.store) == []


def test_a_domain_is_the_same_in_letters_and_in_punycode(office: Office) -> None:
    office.ordered("a", mail("Ann@M\u00fcnchen.example"))
    assert office.erase("ann@xn--mnchen-3ya.EXAMPLE").orders == ["a"]


def test_who_may_be_somebody_else_is_left_and_named_for_a_person_to_decide(office: Office) -> None:
    office.ordered("exact", mail("ann@example.com"))
    office.ordered("tagged", mail("ann+gifts@example.com"))
    office.ordered("other", mail("anna@example.com"))
    for preview in (True, False):
        done = office.erase("ANN@example.com", dry_run=preview)
        assert done.orders == ["exact"]
        why = "the same e-mail address but for a tag, a dot or an accent"
        assert done.possible == [erasure.Likeness("tagged", "a***@example.com", why)]
    kept = office.everything()
    assert "ann+gifts@example.com" in kept
    assert "anna@example.com" in kept


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("Jose Garcia", "J***"),
        ("Jos\u00e9 Maria Garc\u00eda", "J***"),
        ("7 Hidden Ln", "7***"),
        ("0555 0100123", "+1***23"),
    ],
)
def test_what_is_not_certain_is_not_erased(office: Office, said: str, masked: str) -> None:
    to = parcel("Jos\u00e9 Garc\u00eda") | {"Personalization": {"To": "+1 555 010 0123", "FromName": "HR"}}
    office.ordered("a", to, kind="PhysicalShipment")
    before = office.everything()
    done = office.erase(said)
    assert [(each.po_number, each.recipient) for each in done.possible] == [("a", masked)]
    assert (done.orders, office.everything()) == ([], before)


def test_words_name_a_person_in_another_spelling_too(office: Office) -> None:
    order_id = office.ordered("a", line("CVS", 10, 1, DigitalDeliveryAddress={"Sms": "+1 (555) 010-0123"}))
    office.store.write(
        lambda connection: ingest.record_note(
            connection, order_id, text="called 001-555-010-0123", actor="eve", now=office.now, acknowledges=False
        )
    )
    assert office.erase("+15550100123").mentioned == ["a"]


def test_a_draft_a_refused_call_and_a_job_that_name_the_person_lose_it(office: Office) -> None:
    content = {"po_number": "x", "lines": [{"DigitalDeliveryAddress": {"Email": "Ann.Lee@EXAMPLE.com"}}]}
    drafts = [{"owner": "one", "content": content}, {"owner": "two", "content": {"po_number": "y", "lines": []}}]
    call = {"received_at": office.now, "last_at": office.now, "outcome": "refused", "po_number": f"for {ANN}"}

    def add(connection: Connection) -> None:
        connection.execute(sa.insert(DRAFTS), [{"saved_at": office.now, **draft} for draft in drafts])
        connection.execute(sa.insert(CALLBACKS), [call | {"repeats": 0, "method": "POST", "size": 0}])
        for key, words in (("1", f"told {ANN} by telephone"), ("2", "nothing to do")):
            parameters, chosen = {"reason": words, "until": None}, {"view": "all"}
            jobs.add(connection, Act.ACKNOWLEDGE, parameters, chosen, key=key, by=OPERATOR, now=office.now)

    office.store.write(add)
    for name, text in (("hers", f" {ANN.upper()} "), (f"of {ANN}", ""), ("late", "")):
        view = Filters(view="late", text=text)
        saved_views.save(office.store, name, view, shared=True, by=OPERATOR, now=office.now)
    assert (office.erase(ANN, dry_run=True).drafts, len(office.rows(DRAFTS))) == (1, 2)
    done = office.erase(ANN)
    assert (done.drafts, done.calls, done.jobs, done.views, done.complete) == (1, 1, 1, 2, True)
    assert [row["name"] for row in office.rows(SAVED_VIEWS)] == ["late"]
    assert [row["owner"] for row in office.rows(DRAFTS)] == ["two"]
    assert [row["parameters"]["reason"] for row in office.rows(JOBS)] == ["(erased)", "nothing to do"]
    assert "ann.lee" not in office.everything().lower()


def test_an_order_of_a_file_that_waits_is_not_placed_and_its_row_says_why(office: Office) -> None:
    documents = [
        {"Type": "DigitalDelivery", "PONumber": name, "LineItems": [mail(email) | {"ExternalId": reference}]}
        for name, email, reference in (("a", ANN, "r-1"), ("b", BOB, ANN), ("c", f"jo{ANN}", "r-3"))
    ]
    checked = read_json(json.dumps(documents).encode(), "wave.json", catalog=None, database=office.store)
    first = hand_in(office.store, checked, source="json", by=OPERATOR, now=office.now)
    place = partial(place_here, job_id=first.job_id, now=office.now)
    told = office.erase(ANN, dry_run=True)
    assert (told.imports, told.references, told.orders) == (["a"], 1, [])
    assert office.erase(ANN) == told
    assert office.store.write(place) == 2
    assert [(row["outcome"], row["request"]) for row in office.rows(IMPORT_ROWS)] == [
        ("rejected", None), ("queued", None), ("queued", None),
    ]  # fmt: skip
    assert office.rows(IMPORT_ROWS)[0]["message"] == "its recipient was erased before it was placed"
    [job] = office.rows(JOBS)
    assert (job["done"], job["skipped"], job["skipped_why"]) == (2, 1, {"rejected": 1})
    assert [row["lines"][0][4] for row in office.rows(IMPORT_ROWS)] == ["r-1", None, "r-3"]
    assert [row["po_number"] for row in office.rows(ORDERS)] == ["b", "c"]
    hand_in(office.store, checked, source="json", by=OPERATOR, now=office.now)  # whoever uploads it again means it
    assert office.store.write(place) == 1


COPIES_FOR = {"Email": ANN}, {"Sms": "+1 (555) 010-0123"}, {"Name": "Jo Lee"}, {"Name": "Madonna"}


def write_copies(office: Office) -> None:
    """A draft, a recorded call and a refused notice, each with people, words and ids of its own."""
    lines = [{"ProductId": "AMAZON", "DigitalDeliveryAddress": where} for where in COPIES_FOR[:2]]
    lines += [{"PhysicalDeliveryAddress": where | {"Country": "US"}} for where in COPIES_FOR[2:]]
    draft = {"owner": "one", "saved_at": office.now, "content": {"po_number": "nb-1", "lines": lines}}
    call = {"at": office.now, "method": "POST", "milliseconds": 1, "outcome": "ok", "status": 422, "path": "/v1/Orders"}
    call |= {"request": json.dumps({"PONumber": "nb-1", "LineItems": lines}), "answer": "Amazon of US: a 12345, Ann"}
    notice = {"received_at": office.now, "last_at": office.now, "outcome": "refused", "po_number": "nb-1"}
    notice |= {"repeats": 0, "method": "POST", "size": 0, "action": "for Madonna, US, and Jo Lee of +15550100123"}

    def add(connection: Connection) -> None:
        connection.execute(sa.insert(DRAFTS), [draft])
        connection.execute(sa.insert(EXCHANGES), [call])
        connection.execute(sa.insert(CALLBACKS), [notice])

    office.store.write(add)


@pytest.mark.parametrize(
    "said", ["a", "US", "Amazon", "example.com", "Ann", "nb-1", "Jo", "12345", "0123", "AMAZON 25", "lee@example.com"]
)
def test_a_part_of_a_name_a_word_or_an_id_is_nobody(office: Office, said: str) -> None:
    write_copies(office)
    before = office.everything()
    for preview in (True, False):
        assert office.erase(said, dry_run=preview) == erasure.Erasure()
    assert office.everything() == before


@pytest.mark.parametrize(("said", "calls"), [(ANN.upper(), 1), ("001 555 010 0123", 2), ("LEE, Jo", 2), ("madonna", 1)])
def test_who_is_named_whole_in_copies_alone_is_erased(office: Office, said: str, calls: int) -> None:
    write_copies(office)
    for preview in (True, False):
        done = office.erase(said, dry_run=preview)
        assert (done.drafts, done.calls, done.orders) == (1, calls, [])
    assert (office.rows(DRAFTS), office.rows(EXCHANGES)[0]["request"]) == ([], None)


def test_what_would_still_find_an_erased_line_is_a_difference(office: Office) -> None:
    office.ordered("a", mail(ANN))
    office.erase(ANN)
    assert verify.verify(office.store) == []
    office.store.write(lambda connection: connection.execute(sa.update(LINES).values(recipient_key="ann")))
    assert verify.verify(office.store) == ["a: line 1 has another recipient than the log says"]


def test_only_operators_erase_and_only_somebody(office: Office) -> None:
    with pytest.raises(NotPermitted):
        erasure.erase(office.store, ANN, by=Person("max", Access.VIEWER), now=office.now)
    with pytest.raises(InvalidSubmission, match="is empty"):
        office.erase("  ")


def test_a_store_that_is_busy_is_rewritten_the_next_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.ordered("a", mail(ANN))

    def busy(_: Database) -> None:
        raise StoreBusy("somebody reads")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "rewrite", busy)
        assert office.erase(ANN).unfinished == "somebody reads"
        assert office.erase(ANN).unfinished == "somebody reads"
    assert office.erase(ANN).unfinished is None
    patched: list[Database] = []
    monkeypatch.setattr(Database, "rewrite", patched.append)
    assert office.erase(ANN).unfinished is None
    assert patched == []


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_byte_of_the_files_tells_who_was_erased(
    office: Office, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [f"person{number:03d}@example.com" for number in range(60)]
    rare = people[0] = "zqxj@example.com"
    monkeypatch.setattr(indexing, "GROUP", 1)
    for part in range(6):
        po_number, lines = f"po-{part}", [mail(email) for email in people[part * 10 : part * 10 + 10]]
        order_id = office.ordered(po_number, *lines)
        for status in ("Processing", "Pending", "Completed"):  # each look writes the document anew, elsewhere
            office.look(order_id, po_number, *lines, status=status)
    file = Path(sqlite_url.removeprefix("sqlite:///"))

    def bytes_of() -> bytes:
        return b"".join(part.read_bytes() for part in sorted(file.parent.glob(f"{file.name}*")))

    catch_up(office.store.write, office.now)
    assert all(email.encode() in bytes_of() for email in people)
    for email in people[::23]:
        assert office.erase(email.upper()).lines == 1
    left = bytes_of().lower()
    assert [email for email in people[::23] if email.encode() in left] == []
    assert [email for email in people if email not in people[::23] and email.encode() not in left] == []
    with office.store.read() as connection:
        entered = sa.text("SELECT count(*) FROM search_index WHERE search_index MATCH :letters")
        letters = [rare[at : at + 3] for at in range(4)]
        counts = [connection.execute(entered, {"letters": f'"{each}"'}).scalar() for each in letters]
    assert counts == [0, 0, 0, 0]
    assert verify.verify(office.store) == []


def test_what_holds_no_lines_is_left_as_it_is() -> None:
    assert traces.line_documents(None) == []
    assert traces.line_documents({"lineItems": None}) == []
    assert traces.remove_person({"Id": "BLK-1"}, ANN, {1}) == {"Id": "BLK-1"}


def test_a_line_whose_recipient_was_erased_takes_no_others_fate() -> None:
    erased, bob = Line(1, "CVS", 1000, 1), Line(2, "CVS", 1000, 1, recipient=BOB)
    seen = [Line(1, "CVS", 1000, 1, "Sent", recipient=BOB), Line(2, "CVS", 1000, 1, recipient=ANN)]
    assert diff_lines([erased, bob], seen) == [{"numbers": "2", "status": "Sent"}]


def test_names_are_read_in_any_case() -> None:
    document = {"lineItems": [{"id": 1, "digitalDeliveryAddress": {"email": f" {ANN} "}}, "nonsense"]}
    [first, second] = traces.line_documents(document)
    assert (traces.line_id(first), traces.line_id(second)) == ("1", None)
    assert [sorted(traces.recipients_of(each)) for each in (first, second)] == [[f" {ANN} "], []]
    assert traces.remove_person(document, ANN, {1}) == {"lineItems": [{"id": 1}, {}]}


def test_an_erasure_is_in_the_audit_log_without_whom_it_erased(office: Office) -> None:
    office.ordered("a", mail(ANN))
    office.erase(ANN, dry_run=True)
    office.erase(ANN)
    office.erase(ANN)
    [entry] = office.rows(AUDIT_LOG)
    assert (entry["kind"], entry["person"], entry["detail"]) == ("erased", OPERATOR.name, {"orders": 1})


def hand_in_for(office: Office, *emails: str, name: str = "wave.json") -> int:
    """A file with an order for each of these, which wait to be placed; returns the job."""
    documents = [
        {"Type": "DigitalDelivery", "PONumber": f"{name}-{number}", "LineItems": [mail(email)]}
        for number, email in enumerate(emails)
    ]
    checked = read_json(json.dumps(documents).encode(), name, catalog=None, database=office.store)
    return hand_in(office.store, checked, source="json", by=OPERATOR, now=office.now).job_id


def draft_for(office: Office, email: str) -> None:
    content = {"po_number": "x", "lines": [{"DigitalDeliveryAddress": {"Email": email}}]}
    row = {"owner": "one", "saved_at": office.now, "content": content}
    office.store.write(lambda connection: connection.execute(sa.insert(DRAFTS), [row]))


def erasures(office: Office) -> list[dict[str, Any]]:
    return [row["detail"] for row in office.rows(AUDIT_LOG, AUDIT_LOG.c.kind == "erased")]


PARTS: dict[str, Callable[[Office], Any]] = {
    "imports": lambda office: hand_in_for(office, ANN),
    "orders": lambda office: office.ordered("a", mail(ANN)),
    "copies": lambda office: draft_for(office, ANN),
}


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_removed_without_an_entry_of_the_audit_log(
    office: Office, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    PARTS[part](office)
    before = office.everything()

    def fails(*_: Any, **__: Any) -> None:
        raise StoreError("it cannot be recorded")

    with monkeypatch.context() as patch:
        patch.setattr(recorded, "record_act", fails)
        with pytest.raises(StoreError):
            office.erase(ANN)
    assert office.everything() == before
    assert office.erase(ANN).anything
    assert len(erasures(office)) == 1


def test_an_erasure_that_is_killed_is_recorded_with_the_first_that_it_removed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in_for(office, ANN)
    office.ordered("a", mail(ANN))
    draft_for(office, ANN)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "_find_orders", killed)
        with pytest.raises(KeyboardInterrupt):
            office.erase(ANN)
    assert erasures(office) == [{"from": "imports"}]
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "erase_copies", killed)
        with pytest.raises(KeyboardInterrupt):
            office.erase(ANN)
    assert erasures(office)[1:] == [{"orders": 1}]
    office.erase(ANN)
    assert erasures(office)[2:] == [{"from": "copies beside orders"}]
    office.erase(ANN)
    assert len(erasures(office)) == 3
    assert verify.verify(office.store) == []


@pytest.mark.parametrize(
    ("name", "said", "cleared"),
    [
        (f"{ANN}.json", ANN.lower(), True),
        (f"{ANN} (1).json", ANN, True),
        ("gifts-Jo_Lee.json", "Lee, Jo", True),
        ("15550100123.json", "+1 555 010 0123", True),
        (f"jo{ANN}.json", ANN, False),
        ("gifts.json", "gifts", False),
    ],
)
def test_a_file_loses_the_name_of_whom_it_names(office: Office, name: str, said: str, cleared: bool) -> None:
    hand_in_for(office, BOB, name=name)
    assert name not in repr([row["filter"] for row in office.rows(JOBS)])
    assert office.erase(said, dry_run=True).files == office.erase(said).files == cleared
    assert [row["name"] for row in office.rows(BATCHES)] == ["(erased)" if cleared else name]
    [job] = job_reports.jobs(office.store).jobs
    assert job.filter == {"import": 1, "file": "(erased)" if cleared else name}
    assert job_reports.job(office.store, job.id, office.now).filter == job.filter
    assert [each.filter for each in job_reports.running(office.store)] == [job.filter]


def test_orders_that_are_or_were_assigned_to_the_recipient_are_listed(office: Office) -> None:
    for po_number in ("a", "b", "c"):
        office.ordered(po_number, mail(BOB))
    office.ordered("d", mail(ANN))
    by: dict[str, Any] = {"by": OPERATOR, "now": office.now}
    work.assign(office.store, "a", ANN, **by)
    work.assign(office.store, "b", f"for {ANN.upper()}", **by)
    work.assign(office.store, "b", "Cleo", **by)
    work.assign(office.store, "c", f"jo{ANN}", **by)
    only = Filters(only=("a",))
    numbers = [
        jobs.start(office.store, only, Act.ASSIGN, Parameters(assignee=name), key=name, secret="a secret", **by)
        for name in (ANN, "Cleo")
    ]
    for done in (office.erase(ANN, dry_run=True), office.erase(ANN)):
        assert (done.assigned, done.assigned_jobs, done.orders, done.complete) == (
            ["a", "b"],
            numbers[:1],
            ["d"],
            False,
        )
    again = office.erase(ANN)  # what stays is still named
    assert (again.assigned, again.anything) == (["a", "b"], False)
