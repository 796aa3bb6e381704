from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tracking.sandbox.faults import NOTE_WORDS
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


def test_products_show_every_rule_and_every_field(desk: Desk) -> None:
    desk.start()
    page = desk.get("Products").json()
    products = page["Data"]
    assert (page["PageSize"], page["TotalCount"]) == (25, len(products))
    assert len(products) >= 12
    assert {"CVS", "AMAZON"} <= {product["Id"] for product in products}
    assert {product["DenominationType"] for product in products} == {"Fixed", "Variable", "VariableNoCents"}
    assert {product["Type"] for product in products} == {"Digital", "Physical"}
    assert {product["CurrencyCode"] for product in products} == {"USD", "CAD"}
    assert desk.get("Products/CVS").json() == next(product for product in products if product["Id"] == "CVS")
    assert desk.get("Products/NOPE").status_code == 404


def test_products_are_filtered_and_paged(desk: Desk) -> None:
    desk.start()
    assert {product["Id"] for product in desk.get("Products", productName="cvs").json()["Data"]} == {"CVS", "CVSCARD"}
    assert all(product["Type"] == "Physical" for product in desk.get("Products", productType="Physical").json()["Data"])
    assert desk.get("Products", productDescription="starbucks").json()["TotalCount"] == 1
    assert len(desk.get("Products", pageSize=2, pageIndex=2).json()["Data"]) == 2
    assert desk.get("Products", pageSize=500).status_code == 200
    assert desk.get("Products", pageSize=501).status_code == 400


@pytest.mark.parametrize(
    ("path", "known"), [("ShippingMethods", "STANDARD"), ("Carriers", "DEFAULT"), ("Brandings", "DEFAULT")]
)
def test_the_small_lists_hold_what_orders_may_name(desk: Desk, path: str, known: str) -> None:
    desk.start()
    page: dict[str, Any] = desk.get(path).json()
    assert page["PageSize"] == 5
    assert known in {thing["Id"] for thing in page["Data"]}
    assert desk.get(path, pageSize=51).status_code == 400


def test_the_controls_tell_and_change_the_scenario(desk: Desk) -> None:
    sandbox = desk.start()
    told = desk.raw("GET", "/sandbox/scenarios").json()
    assert told["current"] == "normal"
    assert {scenario["name"] for scenario in told["scenarios"]} == set(SCENARIOS)
    assert told["note_words"] == dict(NOTE_WORDS)
    assert desk.raw("PUT", "/sandbox/scenario", params={"name": "camel-case"}).status_code == 200
    assert "poNumber" in desk.post(desk.order("po")).json()
    assert desk.raw("PUT", "/sandbox/scenario", params={"name": "nope"}).status_code == 404
    assert desk.raw("POST", "/sandbox/elsewhere", params={"count": 3}).status_code == 201
    assert desk.raw("POST", "/sandbox/elsewhere", params={"count": 0}).status_code == 400
    assert desk.raw("GET", "/sandbox/truth").json() == sandbox.truth()
    assert len(sandbox.truth()) == 4


def test_an_unknown_scenario_is_no_start(desk: Desk) -> None:
    with pytest.raises(ValueError, match="unknown scenario 'nope'"):
        desk.start("nope")
