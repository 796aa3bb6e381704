"""The search finds whatever somebody remembers of an order or of its people, and hides no match behind another."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import line, request, shown
from histories import find_order_id
from search_index import catch_up
from sqlalchemy import Connection

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.reports.exports.writing import export_chunks
from tracking.reports.finding import lookup
from tracking.reports.order import find_order_ids
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.news import News, list_news
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.search import matching
from tracking.storage.search.tables import SEARCH_TEXTS

Place = Callable[..., int]


@pytest.fixture
def place(store: Database, now: datetime) -> Place:
    def placed(po_number: str, *, kind: str = "DigitalDelivery", **address: Any) -> int:
        name = "DigitalDeliveryAddress" if kind == "DigitalDelivery" else "PhysicalDeliveryAddress"
        asked = request(po_number, line("CVS", 10, 1, **{name: address}), kind=kind)
        return store.write(lambda connection: ingest.place(connection, asked, source="form", actor="eve", now=now))

    return placed


def found(store: Database, text: str, now: datetime, **more: Any) -> list[str]:
    page = search.orders_page(store, Filters(text=text, sort="po number", descending=False, **more), now)
    assert page.total == len(page.rows)
    return list(page.rows["po_number"])


POSTAL = {
    "ShippingMethodId": "STANDARD", "Name": "Jürgen Groß", "AddressLine1": "7 Hidden Lane", "City": "Troy",
    "State": "NY", "Zip": "12180", "Country": "US",
}  # fmt: skip


def test_an_address_is_found_in_any_case_and_each_of_its_orders(store: Database, place: Place, now: datetime) -> None:
    place("a", Email="Ann@Example.com")
    place("b", Email="ann@example.com")
    place("c", Email="joann@example.com")
    assert found(store, "Ann@example.COM", now) == ["a", "b", "c"]
    assert find_order_id(store, "ann@example.com") is None
    assert len(find_order_ids(store, "ann@example.com")) == 2
    assert find_order_ids(store, "nobody@example.com") == []
    assert find_order_id(store, "JOANN@EXAMPLE.COM") is not None


@pytest.mark.parametrize("text", ["+15550100123", "001 555 010 0123", "(555) 010-0123", "010-0123", "555.010"])
def test_a_number_is_found_in_any_form_and_beside_an_address(
    store: Database, place: Place, now: datetime, text: str
) -> None:
    place("a", Email="ann@example.com", Sms="+1 (555) 010-0123")
    place("b", Email="bob@example.com", Sms="+1 777 030 0999")
    assert found(store, text, now) == ["a"]


def test_a_number_as_it_is_dialled_within_a_country(store: Database, place: Place, now: datetime) -> None:
    place("a", Sms="0171 2345678")
    place("b", Sms="+49 171 2345678")
    assert found(store, "+49 (0)171 2345678", now) == ["a", "b"]
    assert found(store, "0171-234 56 78", now) == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "JÜRGEN GROSS", "Groß, Jürgen", "ju\u0308rgen", "Juergen", "jurgen  gross", "ürg", "7 hidden ln", "hidden la",
        "Lane, Troy", "12180",
    ],
)  # fmt: skip
def test_a_parcel_is_found_by_name_and_street(store: Database, place: Place, now: datetime, text: str) -> None:
    place("a", kind="PhysicalShipment", **POSTAL)
    place("b", kind="PhysicalShipment", **POSTAL | {"Name": "Bo Ek", "AddressLine1": "1 Main Street", "Zip": "99950"})
    assert found(store, text, now) == ["a"]


def test_ids_are_found_by_a_part_in_any_case(store: Database, place: Place, now: datetime) -> None:
    place("ÜBUNG-1", Email="ann@example.com")
    place("übung-10", Email="bob@example.com")
    place("other", Email="eve@example.com")
    assert found(store, "übung", now) == ["ÜBUNG-1", "übung-10"]
    assert found(store, "Übung-1", now) == ["ÜBUNG-1", "übung-10"]


def test_an_order_placed_elsewhere_is_found_by_all_its_people(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    more = {"DigitalDeliveryAddress": {"Email": "ann@example.com", "Sms": "+1 555 010 0123"}}
    seen = shown("BLK-1", "x", "Pending", line("CVS", 10, 1, **more), kind="DigitalDelivery")
    store.write(lambda connection: ingest.discover(connection, seen, now, now, planner))
    assert found(store, "5550100123", now) == found(store, "ANN@", now) == ["x"]


def test_more_than_two_hundred_orders_of_one_person_are_all_found(store: Database, place: Place, now: datetime) -> None:
    for number in range(205):
        place(f"many-{number}", Email="qa@example.com")
    page = search.orders_page(store, Filters(text="qa@example.com"), now)
    assert (page.total, page.more) == (205, False)


def test_a_product_a_note_and_words_from_all_over_an_order_are_found(
    store: Database, place: Place, now: datetime
) -> None:
    first = place("po-1", Email="ann@example.com")
    place("po-10", Email="bob@example.com")
    note = partial(ingest.record_note, order_id=first, text="Wants a REFUND now", actor="eve", now=now)
    store.write(lambda connection: note(connection, acknowledges=False))
    found_by = {"cvs": ["po-1", "po-10"], "a refund": ["po-1"], "now ann": ["po-1"], "bob refund": [], "po-1 cvs @": []}
    found_by["po-1 @ cvs"] = found_by["po-1 cvs @"] = ["po-1", "po-10"]
    assert {text: found(store, text, now) for text in found_by} == found_by
    assert Filters.from_query({"q": "po-1", "parts": "true"})[0] == Filters(text="po-1")


def test_less_than_three_characters_find_what_begins_with_them(store: Database, place: Place, now: datetime) -> None:
    place("po-1", Email="ann@example.com")
    place("an-1", Email="bob@example.com")
    page = search.orders_page(store, Filters(text="AN"), now)
    assert (list(page.rows["po_number"]), page.notes) == (["an-1"], (lookup.SHORT,))
    assert search.orders_page(store, Filters(text="ann"), now).notes == ()


def test_of_more_orders_than_a_search_lists_the_newest_are_listed_and_a_filter_shows_the_others(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in {"ORDERS_AT_MOST": 3, "SAMPLE": 5, "NEWEST": 3}.items():
        monkeypatch.setattr(matching, name, most)
    for number in range(6):
        place(f"po-{number}", Email=f"p{number}@example.com")
    page = search.orders_page(store, Filters(text="po-"), now)
    assert (sorted(page.rows["po_number"]), page.more) == (["po-3", "po-4", "po-5"], True)
    assert page.notes[0].startswith("More orders hold this text than a search lists; 3 of them are looked through.")
    few = search.orders_page(store, Filters(text="po-", only=("po-0", "po-4")), now)
    assert (sorted(few.rows["po_number"]), few.more, few.notes) == (["po-0", "po-4"], False, ())
    assert [len(chunk) for chunk in export_chunks(store, Filters(text="po-"), now)] == [6]
    assert search.orders_page(store, Filters(text="po-0"), now).rows["po_number"].tolist() == ["po-0"]
    assert search.position(store, Filters(text="po-"), 6, now)[1] is None


def test_orders_that_are_not_looked_through_yet_are_found_by_their_ids_alone_and_that_is_said(
    store: Database, place: Place, now: datetime
) -> None:
    for number in range(3):
        place(f"po-{number}", Email=f"p{number}@example.com")

    def forget(connection: Connection) -> None:
        connection.execute(sa.delete(SEARCH_TEXTS).where(SEARCH_TEXTS.c.order_id < 3))
        facts.set_fact(connection, FactKey.SEARCH, {"older": 3, "indexed": 0}, now)

    store.write(forget)
    page = search.orders_page(store, Filters(text="po-"), now)
    assert list(page.rows["po_number"]) == ["po-2"]
    assert "incomplete: 2 orders placed until" in page.notes[0]
    assert page.incomplete
    assert found(store, "PO-1", now) == ["po-1"]
    assert find_order_ids(store, "p0@example.com") == [1]
    catch_up(store.write, now)
    assert found(store, "po-", now) == ["po-0", "po-1", "po-2"]


def test_news_of_a_search_costs_nothing_while_no_order_is_new(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    place("po-1", Email="ann@example.com")
    page = search.orders_page(store, Filters(text="po-"), now)
    with monkeypatch.context() as patch:
        patch.setattr(matching, "find", None)
        assert list_news(store, Filters(text="po-"), page, now) == News(0)
    place("po-2", Email="bob@example.com")
    place("other", Email="eve@example.com")
    assert list_news(store, Filters(text="po-"), page, now) == News(1)


def test_what_somebody_means_by_a_text_is_one_order_or_a_list(store: Database, place: Place) -> None:
    for name, email in {"po-1": "ann@example.com", "po-10": "bob@example.com", "po-11": "bob@example.com"}.items():
        place(name, Email=email)
    meant = {" PO-1 ": ["po-1"], "ANN@": ["po-1"], "-10": ["po-10"], "nobody": [], "  ": []}
    assert {text: search.find_po_numbers(store, text) for text in meant} == meant
    assert len(search.find_po_numbers(store, "po-")) == len(search.find_po_numbers(store, "bob@example.com")) == 2
