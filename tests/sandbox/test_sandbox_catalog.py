"""What the sandbox sells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.conftest import Desk


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
