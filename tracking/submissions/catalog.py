"""Catalog: what the provider sells and how it ships, as stored, and the validation of a request against it.

Owns the rules of denominations, delivery types and shipping, and the words that say what to use instead. Asks the
provider nothing: housekeeping stores the catalog. Without one, or a product in it, nothing is refused, and `unchecked`
says so.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection

from tracking.errors import Problem
from tracking.orders.model import OrderRequest, OrderType
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey

EMPTY = "the provider's catalogue holds no product, so products, amounts and delivery types are not checked"
NOT_CHECKED = (
    "the provider's catalogue has not been read yet, so products, amounts, delivery types and shipping are not checked"
)


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the provider's catalog. Money in minor units; two denominations are the ends of a range."""

    id: str
    name: str
    type: str = ""
    denominations: tuple[int, ...] = ()
    denomination_type: str = "Fixed"
    delivery_types: tuple[str, ...] = ()
    fee_minor: int = 0
    discount_percent: str = "0"
    currency: str | None = None
    has_required_carriers: bool = False

    @property
    def currency_code(self) -> str:
        """The code of its currency, "" where it names none."""
        return (self.currency or "").upper()

    def refusal(self, value_minor: int) -> str | None:
        """Why the product does not come in this amount, and in which it does; None when it does."""
        amount = _amount_text(value_minor)
        if not self.denominations or (self.denomination_type == "Fixed" and value_minor in self.denominations):
            return None
        if self.denomination_type == "Fixed":
            choices = _alternatives([_amount_text(value) for value in self.denominations])
            return f"{amount} is not a denomination of {self.id}; use {choices}"
        low, high = min(self.denominations), max(self.denominations)
        if not low <= value_minor <= high:
            return f"{amount} is outside what {self.id} comes in; use {_amount_text(low)} to {_amount_text(high)}"
        if self.denomination_type == "VariableNoCents" and value_minor % 100:
            return f"{self.id} comes in whole amounts only; use {value_minor // 100} or {value_minor // 100 + 1}"
        return None

    def cost_minor(self, value_minor: int) -> int:
        """What one unit probably costs: value less discount plus fee. The provider's own figure is the truth."""
        cost = value_minor * (1 - Decimal(self.discount_percent) / 100) + self.fee_minor
        return int(cost.quantize(Decimal(1), ROUND_HALF_UP))


_PRODUCT = TypeAdapter(Product)


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the provider sells and how it ships, as last read. Lists may be empty where the provider offers none."""

    products: Mapping[str, Product]
    shipping_methods: tuple[Mapping[str, Any], ...] = ()
    carriers: tuple[Mapping[str, Any], ...] = ()

    def quote(self, requests: Iterable[OrderRequest]) -> dict[str, int]:
        """Estimate the cost of the requests, as far as the catalogue has their products.

        Returns minor units by currency, "" for products that name none.
        """
        costs: Counter[str] = Counter()
        for line in (line for request in requests for line in request.lines):
            if product := self.products.get(line.product_id):
                costs[product.currency_code] += product.cost_minor(line.value_minor) * line.quantity
        return dict(costs)

    @property
    def only_currency(self) -> str:
        """The currency of all products; "" where there are several, or one names none."""
        [only, *others] = {product.currency_code for product in self.products.values()} or {""}
        return "" if others else only


def face_values(requests: Iterable[OrderRequest], catalog: Catalog | None) -> dict[str, int]:
    """Add up the face value of the requests: minor units by currency, "" where the catalogue does not tell it."""
    by_product = catalog.products if catalog else {}
    values: Counter[str] = Counter()
    for line in (line for request in requests for line in request.lines):
        product = by_product.get(line.product_id)
        values[product.currency_code if product else ""] += line.value_minor * line.quantity
    return dict(values)


def certain_values(request: OrderRequest, catalog: Catalog | None) -> dict[str, int] | None:
    """The face value of the request by currency, where the catalogue tells the currency of all of it; else None."""
    values = face_values([request], catalog)
    return values if all(values) else None


def _amount_text(minor: int) -> str:
    """Minor units as people write them: 10, 12.50."""
    return f"{minor // 100}" if minor % 100 == 0 else f"{minor / 100:.2f}"


def _alternatives(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def load_catalog(database: Database) -> Catalog | None:
    """Loads the catalog as last read from the provider; None before the first time."""
    with database.read() as connection:
        return stored_catalog(connection)


def stored_catalog(connection: Connection) -> Catalog | None:
    """The same within a transaction."""
    stored = facts.get_fact(connection, FactKey.CATALOG)
    return None if stored is None else parse_catalog(stored[1])


def parse_catalog(value: Mapping[str, Any]) -> Catalog:
    """Parses the catalog from the JSON it is stored as."""
    products = {raw["id"]: _PRODUCT.validate_python({"name": raw["id"]} | raw) for raw in value.get("products", ())}
    return Catalog(products, tuple(value.get("shipping_methods", ())), tuple(value.get("carriers", ())))


def check_request(request: OrderRequest, catalog: Catalog | None) -> list[Problem]:
    """Validates the request against the catalog; no problems while there is none."""
    documents = request.document.get("LineItems") or ()
    values = (line.value_minor for line in request.lines)
    return check_lines(request.type, zip(documents, values, strict=True), catalog)


def unchecked(requests: Iterable[OrderRequest], catalog: Catalog | None) -> tuple[str, ...]:
    """What could not be checked against the catalog, in sentences; empty where all was checked."""
    if catalog is None:
        return (NOT_CHECKED,)
    if not catalog.products:
        return (EMPTY,)
    requests = tuple(requests)
    ordered = {line.product_id for request in requests for line in request.lines}
    without = sorted(name for name in ordered & catalog.products.keys() if not catalog.products[name].denominations)
    sentences = (
        [f"the catalogue names no amounts of {', '.join(without)}, so theirs are not checked"] if without else []
    )
    if not catalog.shipping_methods and any(request.type == OrderType.PHYSICAL for request in requests):
        sentences.append("the catalogue names no shipping methods, so those of cards by post are not checked")
    return tuple(sentences)


def check_lines(
    kind: str | None, lines: Iterable[tuple[Mapping[str, Any], int | None]], catalog: Catalog | None
) -> list[Problem]:
    """Validates the line items, each with its value in minor units, as far as they were readable."""
    if catalog is None or not catalog.products:
        return []
    problems: list[Problem] = []
    for index, (document, value_minor) in enumerate(lines):
        product_id, where = document.get("ProductId"), f"LineItems[{index}]"
        if not isinstance(product_id, str):
            continue
        product = catalog.products.get(product_id)
        if product is None:
            message = f"the provider sells no {product_id[:100]!r}{did_you_mean(product_id[:100], catalog.products)}"
            problems.append(Problem(f"{where}.ProductId", message))
            continue
        if value_minor is not None and (refusal := product.refusal(value_minor)):
            problems.append(Problem(f"{where}.Value", refusal))
        is_certain = set(product.delivery_types) <= set(OrderType)  # a word nobody knows may stand for this one
        if product.delivery_types and is_certain and kind and kind not in product.delivery_types:
            refusal = f"{product.id} is not offered as {kind}; use {_alternatives(product.delivery_types)}"
            problems.append(Problem(f"{where}.ProductId", refusal))
        problems += _check_shipping(document.get("PhysicalDeliveryAddress") or {}, product, catalog, where)
    return problems


def _check_shipping(address: Mapping[str, Any], product: Product, catalog: Catalog, where: str) -> Iterator[Problem]:
    choices = {"ShippingMethodId": catalog.shipping_methods, "CarrierId": catalog.carriers}
    for name, offered in choices.items():
        ids = [str(choice["id"]) for choice in offered]
        chosen = address.get(name)
        if chosen and ids and chosen not in ids:
            message = f"the provider does not offer {str(chosen)[:100]!r}; use {_alternatives(ids)}"
            yield Problem(f"{where}.PhysicalDeliveryAddress.{name}", message)
        elif address and not chosen and name == "CarrierId" and product.has_required_carriers:
            message = f"{product.id} needs one; use {_alternatives(ids)}" if ids else f"{product.id} needs one"
            yield Problem(f"{where}.PhysicalDeliveryAddress.{name}", message)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Asks whether the most similar of the names was meant; empty where none is similar."""
    folded = {choice.casefold(): choice for choice in names}
    matches = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"; did you mean {folded[matches[0]]}?" if matches else ""
