from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_a_small_links_order_is_complete_with_its_claim_in_the_answer(desk: Desk) -> None:
    desk.start()
    order = desk.place("demo-1", note="wave 1", hook="https://hooks.example.com/x?key=1")
    assert order["Status"] == "Completed"
    assert (order["PONumber"], order["Type"], order["Note"]) == ("demo-1", "Links", "wave 1")
    assert order["Timestamp"] == "2027-01-15T08:00:00"
    assert order["WebhookSettings"] == {"FulfillmentComplete": "https://hooks.example.com/x?key=1"}
    (line,) = order["LineItems"]
    assert (line["Status"], line["Cost"], line["ExternalId"]) == ("Completed", 9.75, "row-1")
    (claim,) = line["ClaimData"]
    assert claim["ClaimLink"].startswith("https://claim.example.com/")
    assert claim["ClaimLinkChallengeAnswer"]


def test_a_larger_order_is_pending_then_in_work_line_by_line_then_complete(desk: Desk) -> None:
    desk.start()
    order = desk.place("bulk", lines=100)
    assert order["Status"] == "Pending"
    assert {line["Status"] for line in order["LineItems"]} == {"Pending"}
    seen: list[tuple[str, int]] = []
    while not seen or seen[-1][0] != "Completed":
        shown = desk.show(order, after=10)
        seen.append((shown["Status"], sum(bool(line["ClaimData"]) for line in shown["LineItems"])))
    assert ("Processing", 0) in seen
    assert any(status == "Processing" and 0 < done < 100 for status, done in seen)
    assert seen == sorted(seen, key=lambda step: step[1])
    assert seen[-1] == ("Completed", 100)


def test_larger_orders_take_longer_and_speed_divides_the_time(desk: Desk) -> None:
    def typical(lines: int, speed: float) -> float:
        desk.path = desk.path.with_name(f"{lines}-{speed}.db")
        desk.now = 1_800_000_000.0
        desk.start(speed=speed)
        for index in range(9):
            desk.place(f"po-{index}", lines=lines)
        begun = desk.now
        desk.now += 1e6
        assert desk.sandbox is not None
        ended = sorted(datetime.fromisoformat(order["completed_at"]) for order in desk.sandbox.truth())
        return ended[4].timestamp() - begun

    small, large, fast = typical(10, 1), typical(200, 1), typical(10, 10)
    assert 20 < small < 100
    assert large > 4 * small
    assert fast == pytest.approx(small / 10, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Links", ["Pending", "Completed", "Claimed"]),
        ("Codes", ["Pending", "Completed", "Claimed"]),
        ("DigitalDelivery", ["Pending", "Sent", "Claimed"]),
        ("PhysicalShipment", ["Pending", "SentToFulfillment", "Shipped"]),
    ],
)
def test_lines_have_their_own_machine_and_go_on_after_the_order(desk: Desk, kind: str, path: list[str]) -> None:
    desk.start()
    order = desk.place("po", kind=kind, lines=10)
    seen: dict[str, None] = {}
    at_completion: set[str] = set()
    for _ in range(80):
        shown = desk.show(order, after=5 if not at_completion else 3600)
        statuses = [line["Status"] for line in shown["LineItems"]]
        seen.update(dict.fromkeys(reversed(statuses)))
        if shown["Status"] == "Completed" and not at_completion:
            at_completion = set(statuses)
    assert set(seen) == set(path)
    assert at_completion == {path[1]}


def test_codes_carry_a_barcode_and_a_pin_for_each_unit(desk: Desk) -> None:
    desk.start()
    (line,) = desk.place("po", kind="Codes", Quantity=3)["LineItems"]
    assert len(line["ClaimData"]) == 3
    assert len({claim["BarcodeChars"] for claim in line["ClaimData"]}) == 3
    assert [code["Label"] for code in line["ClaimData"][0]["Codes"]] == ["Card number", "PIN"]
    assert "ClaimLink" not in line["ClaimData"][0]


def test_a_delivery_date_ahead_is_waited_for(desk: Desk) -> None:
    desk.start()
    words = {"To": "Ada", "FromName": "Ben", "DeliveryDate": "2027-01-18T08:00:00Z"}
    order = desk.place("po", kind="DigitalDelivery", Personalization=words)
    before = desk.show(order, after=2 * 86_400)
    assert (before["Status"], before["LineItems"][0]["Status"]) == ("Processing", "Pending")
    after = desk.show(order, after=86_400)
    assert after["Status"] == "Completed"
    assert after["LineItems"][0]["Status"] in {"Sent", "Claimed"}


def test_names_are_read_in_any_case(desk: Desk) -> None:
    desk.start()
    body = {"type": "Links", "poNumber": "po", "LINEITEMS": [{"productId": "CVS", "value": 25, "quantity": 2}]}
    response = desk.post(body)
    assert response.status_code == 201
    assert response.json()["LineItems"][0]["Cost"] == 48.76


LONG = "x" * 500


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


def test_a_second_post_of_a_ponumber_gets_409_with_the_first_order(desk: Desk) -> None:
    sandbox = desk.start()
    order = desk.place("po")
    response = desk.post(desk.order("po", Value=25))
    assert (response.status_code, response.json()) == (409, {"PONumber": "po", "PreviousOrderIds": [order["Id"]]})
    (truth,) = sandbox.truth()
    assert (truth["id"], truth["posts"], truth["source"]) == (order["Id"], 2, "api")


def test_the_balance_is_debited_to_the_cent_and_once(desk: Desk) -> None:
    sandbox = desk.start()
    sandbox.set_balance(10_000)
    desk.place("a", ProductId="CINEMA", Value=12.5, Quantity=3)  # 12.50 less 10 percent: 11.25 each
    assert desk.get("AccountBalance").json() == {"Pending": 0.0, "Available": 66.25}
    desk.post(desk.order("a", ProductId="CINEMA", Value=12.5, Quantity=3))
    desk.place("b", kind="PhysicalShipment")  # 10 plus 0.75 plus 5.95 for the post
    assert desk.get("AccountBalance").json() == {"Pending": 16.7, "Available": 49.55}
    refused = desk.post(desk.order("c", Value=50, Quantity=2))
    assert (refused.status_code, refused.json()) == (422, {"AvailableBalance": 49.55, "OrderCost": 97.5})
    assert desk.get("AccountBalance").json()["Available"] == 49.55
    sandbox.set_balance(9_750)
    desk.place("c", Value=50, Quantity=2)
    assert desk.get("AccountBalance").json()["Available"] == 0


def test_an_order_of_five_thousand_lines_is_placed_and_shown_whole(desk: Desk) -> None:
    desk.start()
    desk.login()
    order = desk.place("bulk", lines=5000)
    shown = desk.show(order, after=1e6)["LineItems"]
    assert len({line["Id"] for line in shown}) == 5000


def test_an_unknown_order_gets_404(desk: Desk) -> None:
    desk.start()
    for order_id in ("BLK-000000001", "BLK-1", "x", "BLK-99999999999999999999"):
        assert desk.get(f"Orders/{order_id}").status_code == 404


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

    def found(**query: str) -> list[str]:
        return [order["PONumber"] for order in desk.get("Orders", **query).json()["Data"]]

    assert found(poNumber="mail") == ["mail"]
    assert found(poNumber="mai") == []
    assert found(productId="CVS") == ["mail", "links"]
    assert found(recipientName="Ada Ash") == ["card"]
    assert found(RECIPIENTEMAIL="ben@example.com") == ["mail"]
    assert found(recipientSms="+15550100") == ["mail"]
    assert found(startDate="2027-01-15T08:01:00") == ["card", "mail"]
    assert found(endDate="2027-01-15T08:01:00Z") == ["mail", "links"]
    assert desk.get("Orders", startDate="yesterday").status_code == 400
