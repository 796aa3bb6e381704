"""Tokens, rate limits, outages and corrupted answers, whatever the order."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from tracking.sandbox.scenarios import SCENARIOS

if TYPE_CHECKING:
    from sandbox.conftest import Desk


def test_a_token_is_needed_for_everything_but_itself(desk: Desk) -> None:
    desk.start()
    for path in ("Products", "Orders", "ShippingMethods", "Carriers", "Brandings", "AccountBalance", "Status"):
        assert desk.raw("GET", f"/v1/{path}").status_code == 401
        assert desk.raw("GET", f"/v1/{path}", headers={"Authorization": "Bearer a.b.c"}).status_code == 401
        assert desk.get(path).status_code == 200


def test_wrong_credentials_get_401(desk: Desk) -> None:
    desk.start()
    assert desk.raw("POST", "/v1/Tokens").status_code == 401
    wrong = {"Email": "sandbox@example.com", "AccessToken": "x"}
    assert desk.raw("POST", "/v1/Tokens", headers=wrong).status_code == 401


def test_a_token_states_its_end_and_ends_then(desk: Desk) -> None:
    desk.start()
    token = desk.login().json()
    assert token["ExpiresIn"] == 3600
    payload = token["Value"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["exp"] == desk.now + 3600
    bearer = {"Authorization": f"Bearer {token['Value']}"}
    desk.now += 3599
    assert desk.raw("GET", "/v1/Status", headers=bearer).status_code == 200
    desk.now += 1
    assert desk.raw("GET", "/v1/Status", headers=bearer).status_code == 401


def test_a_forged_token_is_refused(desk: Desk) -> None:
    desk.start()
    head, payload, signature = desk.login().json()["Value"].split(".")
    later = base64.urlsafe_b64encode(json.dumps({"exp": 9e9, "jti": "x"}).encode()).decode()
    for forged in (f"{head}.{later}.{signature}", f"{head}.{payload}.", f"{head}.{payload}", "", "é.é.é"):
        response = desk.raw("GET", "/v1/Status", headers={"Authorization": f"Bearer {forged}".encode()})
        assert response.status_code == 401


@pytest.mark.parametrize(
    ("scenario", "expires_in"), [("expires-in-minutes", 60), ("expires-in-zero", 0), ("expires-in-negative", -1)]
)
def test_expires_in_misleads(desk: Desk, scenario: str, expires_in: int) -> None:
    desk.start(scenario)
    assert desk.login().json()["ExpiresIn"] == expires_in
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


def test_access_may_be_disabled(desk: Desk) -> None:
    desk.start("access-disabled")
    assert desk.login().status_code == 200
    assert desk.get("Products").status_code == 403


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


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name.startswith("answers-")])
def test_every_fourth_get_is_corrupted(desk: Desk, scenario: str) -> None:
    desk.start("normal")
    order = desk.place("po")
    desk.start(scenario)
    answers = [desk.get(f"Orders/{order['Id']}") for _ in range(5)]
    assert [response.status_code for response in answers] == [200] * 5
    good = [
        desk.fields(response).get("id") == order["Id"] and "status" in desk.fields(response) for response in answers
    ]
    assert good == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("scenario", "status", "server"),
    [
        ("behind-redirects", 302, "example-proxy/1.0"),
        ("behind-firewall", 403, "example-waf"),
        ("behind-portal", 200, "example-hotspot"),
        ("behind-gateway", 400, "example-gateway"),
    ],
)
def test_every_fourth_call_is_answered_by_something_in_between(
    desk: Desk, scenario: str, status: int, server: str
) -> None:
    desk.start(scenario)
    desk.login()
    answers = [desk.get("Status") for _ in range(6)]
    assert [answer.headers.get("Server") for answer in answers] == [None, None, server, None, None, None]
    assert answers[2].status_code == status
    assert desk.post(desk.order("po")).headers.get("Server") == server
    assert desk.post(desk.order("po")).status_code == 201


def test_what_stands_in_between_may_pass_a_call_on(desk: Desk) -> None:
    desk.start("behind-passing-firewall")
    for _ in range(2):
        desk.get("Status")
    assert desk.post(desk.order("po")).status_code == 403
    assert desk.post(desk.order("po")).status_code == 409
