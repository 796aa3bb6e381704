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
