"""The case of names, numbers, timestamps and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_camel_case_names_everything_that_way(desk: Desk) -> None:
    desk.start("camel-case")
    assert set(desk.login().json()) == {"value", "expiresIn"}
    order = desk.post(desk.order("po")).json()
    assert {"id", "poNumber", "lineItems"} <= set(order)
    assert order["lineItems"][0]["claimData"][0]["claimLinkChallengeAnswer"]
    assert desk.post(desk.order("po")).json()["previousOrderIds"] == [order["id"]]


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [("normal", ""), ("json-errors", "application/json"), ("html-errors", "text/html; charset=utf-8")],
)
def test_errors_come_empty_as_json_or_as_html(desk: Desk, scenario: str, kind: str) -> None:
    desk.start(scenario)
    for response in (desk.raw("GET", "/v1/Status"), desk.get("Orders/BLK-000000099")):
        assert response.status_code in {401, 404}
        assert response.headers.get("content-type", "") == kind
        assert bool(response.content) == bool(kind)


@pytest.mark.parametrize(
    ("scenario", "form"),
    [
        ("normal", "2027-01-15T08:00:00"),
        ("zulu-timestamps", "2027-01-15T08:00:00Z"),
        ("offset-timestamps", "2027-01-15T03:00:00-05:00"),
        ("fraction-timestamps", "2027-01-15T08:00:00.0000000Z"),
        ("us-timestamps", "01/15/2027 08:00:00 AM"),
    ],
)
def test_timestamps_take_every_form(desk: Desk, scenario: str, form: str) -> None:
    desk.start(scenario)
    assert desk.place("po")["Timestamp"] == form


def test_costs_may_be_missing_fields_added_and_numbers_strings(desk: Desk) -> None:
    desk.start("cost-null")
    assert desk.place("a")["LineItems"][0]["Cost"] is None
    desk.start("extra-fields")
    assert desk.place("b")["SchemaRevision"] == 7
    desk.start("string-numbers")
    line = desk.place("c")["LineItems"][0]
    assert (line["Value"], line["Quantity"], line["Cost"]) == ("10", "1", "9.75")
    assert desk.login().json()["ExpiresIn"] == "3600"


def test_fields_that_nobody_needs_may_have_wrong_types(desk: Desk) -> None:
    desk.start("odd-fields")
    order = desk.post(desk.order("po", note="wave 1")).json()
    assert (order["Note"], order["CurrencyCode"]) == ([], {"Code": "USD"})
    line = order["LineItems"][0]
    assert line["Cost"] == {"Amount": "unknown"}
    assert (order["PONumber"], line["ProductId"], line["Quantity"]) == ("po", "CVS", 1)
    listing = desk.get("Orders").json()
    assert (listing["Page"], listing["TotalCount"], len(listing["Data"])) == ("first", [], 1)


def test_lines_of_every_third_completed_order_may_show_a_word_nobody_knows(desk: Desk) -> None:
    desk.start("unknown-line-status")
    orders = [desk.post(desk.order(f"po-{number}")).json() for number in range(3)]
    assert [order["Status"] for order in orders] == ["Completed"] * 3
    assert [order["LineItems"][0]["Status"] for order in orders] == ["Completed", "Completed", "Delivered"]
