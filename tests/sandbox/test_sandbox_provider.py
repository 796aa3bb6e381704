"""Duplicate PONumbers, funds and visibility."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_a_second_post_of_a_ponumber_gets_409_with_the_first_order(desk: Desk) -> None:
    sandbox = desk.start()
    order = desk.place("po")
    response = desk.post(desk.order("po", Value=25))
    assert (response.status_code, response.json()) == (409, {"PONumber": "po", "PreviousOrderIds": [order["Id"]]})
    (truth,) = sandbox.truth()
    assert (truth["id"], truth["posts"], truth["source"]) == (order["Id"], 2, "api")


def test_a_mismatch_is_a_conflict_with_other_contents(desk: Desk) -> None:
    sandbox = desk.start()
    response = desk.post(desk.order("po", note="[mismatch]"))
    assert response.status_code == 409
    (truth,) = sandbox.truth()
    assert (truth["id"], truth["source"], truth["units"]) == (response.json()["PreviousOrderIds"][0], "elsewhere", 2)


def test_a_strict_provider_compares_contents(desk: Desk) -> None:
    desk.start("conflict-strict")
    assert desk.insist("po") in {"placed", "conflict"}
    assert desk.post(desk.order("po", lines=2)).status_code == 409
    assert desk.post(desk.order("po", lines=3)).status_code == 400


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


def test_a_refusal_may_use_the_ponumber_up(desk: Desk) -> None:
    sandbox = desk.start("refusal-uses-up")
    body = desk.order("po", note="[insufficient-funds]")
    assert desk.post(body).status_code == 422
    again = desk.post(body)
    assert (again.status_code, again.json()["PreviousOrderIds"]) == (409, [])
    assert sandbox.truth() == []


def test_a_new_order_may_be_invisible_at_first(desk: Desk) -> None:
    desk.start("late-visible")
    order = desk.place("po")
    assert desk.get(f"Orders/{order['Id']}").status_code == 404
    assert desk.get("Orders", poNumber="po").json()["Data"] == []
    assert desk.read(order, after=6)["PONumber"] == "po"
