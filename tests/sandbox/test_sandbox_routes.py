"""Paths, paging, filters and statuses; the sandbox's own endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tracking.sandbox.faults import NOTE_WORDS
from tracking.sandbox.scenarios import SCENARIOS

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_products_are_filtered_and_paged(desk: Desk) -> None:
    desk.start()
    assert {product["Id"] for product in desk.get("Products", productName="cvs").json()["Data"]} == {"CVS", "CVSCARD"}
    assert all(product["Type"] == "Physical" for product in desk.get("Products", productType="Physical").json()["Data"])
    assert desk.get("Products", productDescription="starbucks").json()["TotalCount"] == 1
    assert len(desk.get("Products", pageSize=2, pageIndex=2).json()["Data"]) == 2
    assert desk.get("Products", pageSize=500).status_code == 200
    assert desk.get("Products", pageSize=501).status_code == 400


@pytest.mark.parametrize(
    ("path", "listed"), [("ShippingMethods", "STANDARD"), ("Carriers", "DEFAULT"), ("Brandings", "DEFAULT")]
)
def test_the_small_lists_hold_what_orders_may_name(desk: Desk, path: str, listed: str) -> None:
    desk.start()
    page: dict[str, Any] = desk.get(path).json()
    assert page["PageSize"] == 5
    assert listed in {thing["Id"] for thing in page["Data"]}
    assert desk.get(path, pageSize=51).status_code == 400


def test_optional_endpoints_may_be_missing(desk: Desk) -> None:
    desk.start("no-balance")
    for path in ("AccountBalance", "Carriers", "Status", "Brandings"):
        assert desk.get(path).status_code == 404
    assert desk.get("ShippingMethods").status_code == 200


def test_an_order_of_five_thousand_lines_is_placed_and_served_whole(desk: Desk) -> None:
    desk.start()
    desk.login()
    order = desk.place("bulk", lines=5000)
    lines = desk.read(order, after=1e6)["LineItems"]
    assert len({line["Id"] for line in lines}) == 5000


def test_an_unknown_order_gets_404(desk: Desk) -> None:
    desk.start()
    for order_id in ("BLK-000000001", "BLK-1", "x", "BLK-99999999999999999999"):
        assert desk.get(f"Orders/{order_id}").status_code == 404


@pytest.mark.parametrize(
    ("scenario", "keys"),
    [
        ("normal", {"PONumber", "PreviousOrderIds"}),
        ("conflict-single", {"PONumber", "OrderId"}),
        ("conflict-id", {"PONumber", "Id"}),
        ("conflict-several", {"PONumber", "PreviousOrderIds"}),
    ],
)
def test_a_409_names_the_order_under_several_keys(desk: Desk, scenario: str, keys: set[str]) -> None:
    desk.start("normal")
    order = desk.place("po")
    desk.start(scenario)
    body = desk.post(desk.order("po")).json()
    assert set(body) == keys
    ids = next(value for name, value in body.items() if name != "PONumber")
    assert order["Id"] in ids
    assert (len(ids) == 2) == (scenario == "conflict-several")


def test_a_409_may_have_no_body(desk: Desk) -> None:
    desk.start("normal")
    desk.place("po")
    desk.start("conflict-empty")
    response = desk.post(desk.order("po"))
    assert (response.status_code, response.content) == (409, b"")


def test_the_list_pages_newest_first_with_five_by_default(desk: Desk) -> None:
    desk.start()
    for index in range(7):
        desk.now += 1
        desk.place(f"po-{index}")
    first = desk.get("Orders").json()
    assert [order["PONumber"] for order in first["Data"]] == [f"po-{index}" for index in (6, 5, 4, 3, 2)]
    assert (first["Page"], first["PageSize"], first["TotalCount"]) == (1, 5, 7)
    assert [order["PONumber"] for order in desk.get("Orders", pageIndex=2).json()["Data"]] == ["po-1", "po-0"]
    assert desk.get("Orders", pageIndex=3).json()["Data"] == []
    assert desk.get("Orders", pageSize=50).json()["Data"][0]["LineItems"][0]["ClaimData"]
    assert desk.get("Orders", pageSize=51).status_code == 400
    assert desk.get("Orders", pageIndex=0).status_code == 400


def test_the_list_is_filtered_by_everything_it_offers(desk: Desk) -> None:
    desk.start()
    desk.place("links")
    desk.now += 60
    desk.place("mail", kind="DigitalDelivery", DigitalDeliveryAddress={"Email": "ben@example.com", "Sms": "+15550100"})
    desk.now += 60
    desk.place("card", kind="PhysicalShipment")

    def po_numbers(**query: str) -> list[str]:
        return [order["PONumber"] for order in desk.get("Orders", **query).json()["Data"]]

    assert po_numbers(poNumber="mail") == ["mail"]
    assert po_numbers(poNumber="mai") == []
    assert po_numbers(productId="CVS") == ["mail", "links"]
    assert po_numbers(recipientName="Ada Ash") == ["card"]
    assert po_numbers(RECIPIENTEMAIL="ben@example.com") == ["mail"]
    assert po_numbers(recipientSms="+15550100") == ["mail"]
    assert po_numbers(startDate="2027-01-15T08:01:00") == ["card", "mail"]
    assert po_numbers(endDate="2027-01-15T08:01:00Z") == ["mail", "links"]
    assert desk.get("Orders", startDate="yesterday").status_code == 400


def test_pages_shift_when_another_system_orders_between_them(desk: Desk) -> None:
    sandbox = desk.start("shifting-pages")
    for index in range(8):
        desk.now += 1
        desk.place(f"po-{index}")
    pages = [desk.get("Orders", pageIndex=index).json()["Data"] for index in (1, 2)]
    numbers = [order["PONumber"] for page in pages for order in page]
    assert len(numbers) > len(set(numbers))
    assert len(sandbox.truth()) == 9


def test_the_list_varies_as_the_faults_say(desk: Desk) -> None:
    desk.start("oldest-first")
    desk.place("demo-1")
    desk.now += 1
    desk.place("demo-10")
    assert [order["PONumber"] for order in desk.get("Orders").json()["Data"]] == ["demo-1", "demo-10"]
    desk.start("bare-lists")
    assert set(desk.get("Orders").json()) == {"Data"}
    desk.start("loose-filters")
    assert len(desk.get("Orders", poNumber="demo-1").json()["Data"]) == 2
    assert len(desk.get("Orders", startDate="2027-01-15T08:00:00").json()["Data"]) == 1
    desk.start("list-without-claims")
    order = desk.get("Orders").json()["Data"][0]
    assert order["LineItems"][0]["ClaimData"] is None
    assert desk.read(order)["LineItems"][0]["ClaimData"]


def test_the_admin_routes_list_and_change_the_scenario(desk: Desk) -> None:
    sandbox = desk.start()
    listing = desk.raw("GET", "/sandbox/scenarios").json()
    assert listing["current"] == "normal"
    assert {scenario["name"] for scenario in listing["scenarios"]} == set(SCENARIOS)
    assert listing["note_words"] == dict(NOTE_WORDS)
    assert desk.raw("PUT", "/sandbox/scenario", params={"name": "camel-case"}).status_code == 200
    assert "poNumber" in desk.post(desk.order("po")).json()
    assert desk.raw("PUT", "/sandbox/scenario", params={"name": "nope"}).status_code == 404
    assert desk.raw("POST", "/sandbox/elsewhere", params={"count": 3}).status_code == 201
    assert desk.raw("POST", "/sandbox/elsewhere", params={"count": 0}).status_code == 400
    assert desk.raw("GET", "/sandbox/truth").json() == sandbox.truth()
    assert len(sandbox.truth()) == 4
