"""What the sandbox refuses with 400."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandbox.conftest import Desk


LONG = "x" * 500


def test_names_are_read_in_any_case(desk: Desk) -> None:
    desk.start()
    body = {"type": "Links", "poNumber": "po", "LINEITEMS": [{"productId": "CVS", "value": 25, "quantity": 2}]}
    response = desk.post(body)
    assert response.status_code == 201
    assert response.json()["LineItems"][0]["Cost"] == 48.76


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"Type": "Cash"}, "Type"),
        ({"Type": ["Links"]}, "Type"),
        ({"PONumber": ""}, "PONumber"),
        ({"PONumber": 7}, "PONumber"),
        ({"PONumber": "x" * 101}, "PONumber"),
        ({"Note": "x" * 251}, "Note"),
        ({"Personalization": {"PhotoUrl": LONG}}, "Personalization.PhotoUrl"),
        ({"Personalization": "x"}, "Personalization"),
        ({"WebhookSettings": {"FulfillmentComplete": "/hook"}}, "WebhookSettings.FulfillmentComplete"),
        (
            {"WebhookSettings": {"FulfillmentComplete": "https://example.com/" + LONG}},
            "WebhookSettings.FulfillmentComplete",
        ),
        ({"LineItems": []}, "LineItems"),
        ({"LineItems": None}, "LineItems"),
        ({"LineItems": ["x"]}, "LineItems[0]"),
    ],
)
def test_a_wrong_order_gets_400_that_names_the_property(desk: Desk, change: dict[str, Any], wrong: str) -> None:
    desk.start()
    response = desk.post({**desk.order("po"), **change})
    assert response.status_code == 400
    assert [error["Property"] for error in response.json()["Errors"]] == [wrong]
    assert response.json()["Errors"][0]["Errors"]
    assert desk.sandbox is not None
    assert desk.sandbox.truth() == []


@pytest.mark.parametrize(
    ("kind", "change", "wrong"),
    [
        ("Links", {"ProductId": None}, "ProductId"),
        ("Links", {"ProductId": "NOPE"}, "ProductId"),
        ("Links", {"ProductId": "CVSCARD"}, "ProductId"),
        ("Codes", {"ProductId": "STARBUCKS"}, "ProductId"),
        ("Links", {"Value": 11}, "Value"),
        ("Links", {"Value": "10"}, "Value"),
        ("Links", {"ProductId": "AMAZON", "Value": 0.5}, "Value"),
        ("Links", {"ProductId": "AMAZON", "Value": 10.005}, "Value"),
        ("Links", {"ProductId": "BESTBUY", "Value": 10.5}, "Value"),
        ("Links", {"Quantity": 0}, "Quantity"),
        ("Links", {"Quantity": 1.5}, "Quantity"),
        ("Links", {"Quantity": True}, "Quantity"),
        ("Links", {"Quantity": 10**30}, "Quantity"),
        ("Links", {"BrandingId": "NOPE"}, "BrandingId"),
        ("Links", {"Personalization": {"To": "Ada"}}, "Personalization.FromName"),
        ("Links", {"Personalization": {"To": "A", "FromName": "B", "Message": LONG}}, "Personalization.Message"),
        (
            "Links",
            {"Personalization": {"To": "A", "FromName": "B", "DeliveryDate": "soon"}},
            "Personalization.DeliveryDate",
        ),
        ("DigitalDelivery", {"DigitalDeliveryAddress": None}, "DigitalDeliveryAddress"),
        ("DigitalDelivery", {"DigitalDeliveryAddress": {}}, "DigitalDeliveryAddress"),
        ("DigitalDelivery", {"DigitalDeliveryAddress": {"Email": "ada"}}, "DigitalDeliveryAddress.Email"),
        ("DigitalDelivery", {"DigitalDeliveryAddress": {"Sms": "1" * 21}}, "DigitalDeliveryAddress.Sms"),
        ("PhysicalShipment", {"PhysicalDeliveryAddress": None}, "PhysicalDeliveryAddress"),
    ],
)
def test_a_wrong_line_gets_400_that_names_the_property(
    desk: Desk, kind: str, change: dict[str, Any], wrong: str
) -> None:
    desk.start()
    response = desk.post(desk.order("po", kind=kind, **change))
    assert response.status_code == 400
    assert [error["Property"] for error in response.json()["Errors"]] == [f"LineItems[0].{wrong}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ShippingMethodId", "NOPE"),
        ("ShippingMethodId", None),
        ("Name", None),
        ("AddressLine1", LONG),
        ("City", " "),
        ("State", "Illinois"),
        ("Zip", "1" * 51),
        ("Country", "U1"),
        ("CarrierId", "NOPE"),
    ],
)
def test_a_wrong_address_gets_400_that_names_the_property(desk: Desk, name: str, value: str | None) -> None:
    desk.start()
    body = desk.order("po", kind="PhysicalShipment")
    body["LineItems"][0]["PhysicalDeliveryAddress"][name] = value
    response = desk.post(body)
    assert response.status_code == 400
    assert [error["Property"] for error in response.json()["Errors"]] == [
        f"LineItems[0].PhysicalDeliveryAddress.{name}"
    ]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'{"Note": NaN}', b"\xff", b'{"PONumber": "\\ud800"}', b"[" * 9999]
)
def test_a_body_that_is_no_order_gets_400(desk: Desk, raw: bytes) -> None:
    desk.start()
    assert desk.call("POST", "/v1/Orders", content=raw).status_code == 400


def test_a_quantity_above_one_may_be_refused(desk: Desk) -> None:
    desk.start("single-quantity")
    assert desk.post(desk.order("a", Quantity=2)).status_code == 400
    assert desk.post(desk.order("b", Quantity=1)).status_code == 201
    assert desk.post(desk.order("c", kind="PhysicalShipment", Quantity=2)).status_code == 201


@pytest.mark.parametrize(("scenario", "status"), [("max-lines", 400), ("too-large", 413)])
def test_orders_above_the_limit_are_refused(desk: Desk, scenario: str, status: int) -> None:
    desk.start(scenario)
    assert desk.post(desk.order("a", lines=51)).status_code == status
    assert desk.post(desk.order("b", lines=50)).status_code == 201
