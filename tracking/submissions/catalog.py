"""What the provider sells and how it ships, as last read, and what that says against a request.

Owns the rules of denominations, delivery types and shipping, and the words that tell what to use instead. Asks the
provider nothing: whoever keeps the catalogue in the store does. Without a catalogue nothing is refused.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tracking.errors import Problem
from tracking.orders.model import OrderRequest
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the provider's catalogue. Money in minor units; two denominations are the ends of a range."""

    id: str
    name: str
    type: str
    denominations: tuple[int, ...]
    denomination_type: str
    delivery_types: tuple[str, ...]
    fee_minor: int
    discount_percent: str
    currency: str | None
    has_required_carriers: bool

    def refusal(self, value_minor: int) -> str | None:
        """Why the product does not come in this amount, and in which it does; None when it does."""
        amount = money(value_minor)
        if not self.denominations:
            return None
        if self.denomination_type == "Fixed":
            choices = _either([money(value) for value in self.denominations])
            return (
                None
                if value_minor in self.denominations
                else f"{amount} is not a denomination of {self.id}; use {choices}"
            )
        low, high = self.denominations[0], self.denominations[-1]
        if not low <= value_minor <= high:
            return f"{amount} is outside what {self.id} comes in; use {money(low)} to {money(high)}"
        if self.denomination_type == "VariableNoCents" and value_minor % 100:
            return f"{self.id} comes in whole amounts only; use {value_minor // 100} or {value_minor // 100 + 1}"
        return None

    def cost_minor(self, value_minor: int) -> int:
        """What one unit probably costs: value less discount plus fee. The provider's own figure is the truth."""
        cost = value_minor * (1 - Decimal(self.discount_percent) / 100) + self.fee_minor
        return int(cost.quantize(Decimal(1), ROUND_HALF_UP))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the provider sells and how it ships, as last read. Lists may be empty where the provider offers none."""

    products: Mapping[str, Product]
    shipping_methods: tuple[Mapping[str, Any], ...] = ()
    carriers: tuple[Mapping[str, Any], ...] = ()

    def quote(self, requests: Iterable[OrderRequest]) -> "Quote":
        """Add up what the requests probably cost, as far as the catalogue holds their products."""
        lines = [line for request in requests for line in request.lines]
        offered = [(self.products[line.product_id], line) for line in lines if line.product_id in self.products]
        return Quote(
            cost_minor=sum(product.cost_minor(line.value_minor) * line.quantity for product, line in offered),
            currency=next((product.currency for product, _ in offered if product.currency), None),
        )


@dataclass(frozen=True, slots=True)
class Quote:
    """What orders probably cost, in minor units, and the currency; None where no product names one."""

    cost_minor: int
    currency: str | None


def money(minor: int) -> str:
    """Minor units as people write them: 10, 12.50."""
    return f"{minor // 100}" if minor % 100 == 0 else f"{minor / 100:.2f}"


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def load_catalogue(database: Database) -> Catalogue | None:
    """The catalogue as last read from the provider; None before the first time."""
    with database.read() as connection:
        known = facts.get_fact(connection, FactKey.CATALOG)
    return None if known is None else read_catalogue(known[1])


def read_catalogue(value: Mapping[str, Any]) -> Catalogue:
    """The catalogue from the form it is stored in."""
    products = [_product(raw) for raw in value.get("products", ())]
    return Catalogue(
        {product.id: product for product in products},
        tuple(value.get("shipping_methods", ())),
        tuple(value.get("carriers", ())),
    )


def _product(raw: Mapping[str, Any]) -> Product:
    return Product(
        id=raw["id"],
        name=raw.get("name") or raw["id"],
        type=raw.get("type") or "",
        denominations=tuple(raw.get("denominations") or ()),
        denomination_type=raw.get("denomination_type") or "Fixed",
        delivery_types=tuple(raw.get("delivery_types") or ()),
        fee_minor=raw.get("fee_minor") or 0,
        discount_percent=str(raw.get("discount_percent") or "0"),
        currency=raw.get("currency"),
        has_required_carriers=bool(raw.get("has_required_carriers")),
    )


def check(request: OrderRequest, catalogue: Catalogue | None) -> list[Problem]:
    """What the catalogue says against the request; nothing while there is no catalogue."""
    if catalogue is None:
        return []
    documents = request.document.get("LineItems") or ()
    problems: list[Problem] = []
    for index, (line, document) in enumerate(zip(request.lines, documents, strict=True)):
        where = f"LineItems[{index}]"
        product = catalogue.products.get(line.product_id)
        if product is None:
            message = f"the provider sells no {line.product_id!r}{nearest(line.product_id, catalogue.products)}"
            problems.append(Problem(f"{where}.ProductId", message))
            continue
        if refusal := product.refusal(line.value_minor):
            problems.append(Problem(f"{where}.Value", refusal))
        if product.delivery_types and request.type not in product.delivery_types:
            offered = _either(product.delivery_types)
            problems.append(
                Problem(f"{where}.ProductId", f"{product.id} is not offered as {request.type}; use {offered}")
            )
        problems += _check_shipping(document.get("PhysicalDeliveryAddress") or {}, product, catalogue, where)
    return problems


def _check_shipping(
    address: Mapping[str, Any], product: Product, catalogue: Catalogue, where: str
) -> Iterator[Problem]:
    choices = {"ShippingMethodId": catalogue.shipping_methods, "CarrierId": catalogue.carriers}
    for name, offered in choices.items():
        ids = [str(choice["id"]) for choice in offered]
        chosen = address.get(name)
        if chosen and ids and chosen not in ids:
            message = f"the provider does not offer {chosen!r}; use {_either(ids)}"
            yield Problem(f"{where}.PhysicalDeliveryAddress.{name}", message)
        elif address and not chosen and name == "CarrierId" and product.has_required_carriers:
            message = f"{product.id} needs one; use {_either(ids)}" if ids else f"{product.id} needs one"
            yield Problem(f"{where}.PhysicalDeliveryAddress.{name}", message)


def nearest(word: str, known: Iterable[str]) -> str:
    """A question whether the most similar known word was meant; empty where none is similar."""
    folded = {choice.casefold(): choice for choice in known}
    found = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"; did you mean {folded[found[0]]}?" if found else ""
