"""The search finds whatever somebody remembers of an order or of its people, and hides no match behind another."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from fakes import line, request, shown
from histories import find_order_id

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.reports.order import find_order_ids
from tracking.reports.order_list import conditions, search
from tracking.reports.order_list.filters import Filters
from tracking.storage.database import Database

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


def test_in_a_large_store_an_exact_id_is_shown_alone_and_that_is_said(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    place("po-1", Email="ann@example.com")
    place("po-10", Email="bob@example.com")
    assert found(store, "po-1", now) == ["po-1", "po-10"]
    monkeypatch.setattr(conditions, "SEARCHED_WHOLE", 1)
    page = search.orders_page(store, Filters(text="po-1"), now)
    assert (list(page.rows["po_number"]), page.exact) == (["po-1"], True)
    assert found(store, "po-1", now, parts=True) == ["po-1", "po-10"]
    assert Filters.from_query({"q": "po-1", "parts": "true"})[0] == Filters(text="po-1", parts=True)


def test_what_somebody_means_by_a_text_is_one_order_or_a_list(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, email in {"po-1": "ann@example.com", "po-10": "bob@example.com", "po-11": "bob@example.com"}.items():
        place(name, Email=email)
    meant = {" PO-1 ": ["po-1"], "ANN@": ["po-1"], "-10": ["po-10"], "nobody": [], "  ": []}
    assert {text: search.find_po_numbers(store, text) for text in meant} == meant
    assert len(search.find_po_numbers(store, "po-")) == len(search.find_po_numbers(store, "bob@example.com")) == 2
    monkeypatch.setattr(conditions, "SEARCHED_WHOLE", 1)
    assert search.find_po_numbers(store, "po-1") == ["po-1"]
    assert search.find_po_numbers(store, "ann@") == search.find_po_numbers(store, "-10") == []
