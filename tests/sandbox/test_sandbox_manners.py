"""How the sandbox speaks and refuses, whatever the order: names, numbers, times, tokens, limits, outages."""

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
    ("scenario", "told"), [("expires-in-minutes", 60), ("expires-in-zero", 0), ("expires-in-negative", -1)]
)
def test_expires_in_misleads(desk: Desk, scenario: str, told: int) -> None:
    desk.start(scenario)
    assert desk.login().json()["ExpiresIn"] == told
    assert desk.get("Status").status_code == 200


def test_an_opaque_token_works_and_is_no_jwt(desk: Desk) -> None:
    desk.start("opaque-token")
    assert "." not in desk.login().json()["Value"]
    assert desk.get("Status").status_code == 200


def test_an_early_401_ends_one_token_for_good_and_not_the_next(desk: Desk) -> None:
    desk.start("early-401")
    assert [desk.get("Status").status_code for _ in range(14)] == [200] * 12 + [401] * 2
    desk.token = ""
    assert desk.get("Status").status_code == 200


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
    ("scenario", "retry_after"),
    [
        ("rate-limited", "1"),
        ("rate-limited-bare", None),
        ("rate-limited-absurd", "315360000"),
        ("rate-limited-date", "Fri, 15 Jan 2027 08:00:02 GMT"),
    ],
)
def test_too_many_calls_a_second_get_429(desk: Desk, scenario: str, retry_after: str | None) -> None:
    desk.start(scenario)
    desk.login()
    answers = [desk.get("Status") for _ in range(4)]
    assert [response.status_code for response in answers] == [200, 200, 429, 429]
    assert answers[-1].headers.get("Retry-After") == retry_after
    desk.now += 1
    assert desk.get("Status").status_code == 200


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


def test_optional_endpoints_may_be_missing(desk: Desk) -> None:
    desk.start("no-balance")
    for path in ("AccountBalance", "Carriers", "Status", "Brandings"):
        assert desk.get(path).status_code == 404
    assert desk.get("ShippingMethods").status_code == 200


def test_outages_begin_at_once_end_and_come_again(desk: Desk) -> None:
    desk.start("token-outage")
    assert desk.login().status_code == 503
    desk.now += 15
    assert desk.login().status_code == 200
    desk.start("outage")
    refused = desk.raw("GET", "/v1/Status")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "15")
    desk.now += 15
    assert desk.get("Status").status_code == 200
    desk.now += 106
    assert desk.get("Status").status_code == 503


def test_access_may_be_disabled(desk: Desk) -> None:
    desk.start("access-disabled")
    assert desk.login().status_code == 200
    assert desk.get("Products").status_code == 403
