"""Product catalog of the simulated provider: products, shipping methods, carriers and brandings, all made up.

Owns what is sold, its prices and what an amount may be. Money is Decimal in, integer cents out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

DIGITAL_TYPES = ("DigitalDelivery", "Links", "Codes")
ORDER_TYPES = (*DIGITAL_TYPES, "PhysicalShipment")


@dataclass(frozen=True)
class SandboxProduct:
    """A gift card: the amounts it comes in, what it costs, and how it may be delivered."""

    id: str
    name: str
    rule: Literal["Fixed", "Variable", "VariableNoCents"]
    amounts: tuple[Decimal, ...]
    deliveries: tuple[str, ...] = ("DigitalDelivery", "Links")
    fee: Decimal = Decimal(0)
    discount: Decimal = Decimal(0)
    currency: str = "USD"
    cultures: tuple[str, ...] = ("en-US",)
    needs_carrier: bool = False

    @property
    def kind(self) -> str:
        """Digital or Physical."""
        return "Physical" if "PhysicalShipment" in self.deliveries else "Digital"

    def accepts(self, value: Decimal) -> bool:
        """Check whether the card comes in this amount."""
        if self.rule == "Fixed":
            return value in self.amounts
        low, high = self.amounts
        step = Decimal(1) if self.rule == "VariableNoCents" else Decimal("0.01")
        return low <= value <= high and value % step == 0

    def unit_cost_cents(self, value: Decimal) -> int:
        """Price of one unit in cents: value less discount plus fee, rounded half up."""
        cost = value * (1 - self.discount / 100) + self.fee
        return int((cost * 100).quantize(Decimal(1), ROUND_HALF_UP))

    def as_json(self) -> dict[str, Any]:
        """The product as the API serves it."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Type": self.kind,
            "CurrencyCode": self.currency,
            "CultureCodes": list(self.cultures),
            "DenominationType": self.rule,
            "Denominations": [json_number(amount) for amount in self.amounts],
            "AvailableDeliveryTypes": list(self.deliveries),
            "ShortDescription": f"{self.name} gift card",
            "LongDescription": f"<p>A gift card for <b>{self.name}</b>.</p>",
            "Terms": "<p>Made up for the sandbox. Worth nothing.</p>",
            "Disclaimer": "The brand is named for illustration only.",
            "RedemptionNote": "<ul><li>Show the card at the till.</li></ul>",
            "Cost": {"Fee": json_number(self.fee), "DiscountPercentage": json_number(self.discount)},
            "Media": {"Faceplates": [{"Name": "Default", "Path": f"https://media.example.com/{self.id.lower()}.png"}]},
            "Meta": {
                "ShippingConfiguration": {
                    "FulfillmentGroup": "DEFAULT" if self.kind == "Physical" else None,
                    "HasRequiredCardCarriers": self.needs_carrier,
                }
            },
            "Translations": [],
        }


def json_number(amount: Decimal) -> int | float:
    """Convert an amount to the number that JSON writes: 10, not 10.0."""
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def _amounts(*numbers: str | int) -> tuple[Decimal, ...]:
    return tuple(Decimal(number) for number in numbers)


_LINKS = ("DigitalDelivery", "Links")
_CODES = ("DigitalDelivery", "Links", "Codes")
_PHYSICAL = ("PhysicalShipment",)
_CATALOG = (
    SandboxProduct("AMAZON", "Amazon", "Variable", _amounts(1, 2000), _CODES),
    SandboxProduct("CVS", "CVS Pharmacy", "Fixed", _amounts(5, 10, 25, 50, 100), _CODES, discount=Decimal("2.5")),
    SandboxProduct("TARGET", "Target", "Variable", _amounts(5, 500), _CODES, discount=Decimal("1.25")),
    SandboxProduct("STARBUCKS", "Starbucks", "VariableNoCents", _amounts(5, 100), _LINKS, discount=Decimal(3)),
    SandboxProduct("BESTBUY", "Best Buy", "VariableNoCents", _amounts(5, 500), _CODES, discount=Decimal(1)),
    SandboxProduct("HOMEDEPOT", "The Home Depot", "Variable", _amounts(5, 2000), _CODES, discount=Decimal(2)),
    SandboxProduct("NIKE", "Nike", "VariableNoCents", _amounts(25, 250), _LINKS, discount=Decimal(5)),
    SandboxProduct("SEPHORA", "Sephora", "Fixed", _amounts(10, 25, 50, 100), _LINKS, discount=Decimal(4)),
    SandboxProduct("CINEMA", "Rialto Cinemas", "Fixed", _amounts("12.50", 25, 50), _CODES, discount=Decimal(10)),
    SandboxProduct(
        "TRAILS", "Trail and Peak Outfitters", "Variable", _amounts(20, 500), _LINKS, discount=Decimal("7.5")
    ),
    SandboxProduct("VISAVIRTUAL", "Visa Virtual Prepaid", "Variable", _amounts(10, 1000), _LINKS, fee=Decimal("2.95")),
    SandboxProduct("CHOICE", "Your Choice", "VariableNoCents", _amounts(5, 500), _LINKS, fee=Decimal("0.50")),
    SandboxProduct(
        "INDIGO", "Indigo Books", "Fixed", _amounts(10, 25, 50), _CODES, currency="CAD", cultures=("en-CA", "fr-CA")
    ),
    SandboxProduct(
        "CVSCARD", "CVS Pharmacy, plastic", "Fixed", _amounts(10, 25, 50, 100), _PHYSICAL, fee=Decimal("0.75")
    ),
    SandboxProduct(
        "VISACARD", "Visa Prepaid, plastic", "VariableNoCents", _amounts(20, 500), _PHYSICAL, fee=Decimal("3.95")
    ),
    SandboxProduct(
        "GIFTBOX", "Boxed Choice Card", "Fixed", _amounts(50, 100), _PHYSICAL, fee=Decimal(6), needs_carrier=True
    ),
)
PRODUCTS: Mapping[str, SandboxProduct] = {product.id: product for product in _CATALOG}

SHIPPING_CENTS: Mapping[str, int] = {"STANDARD": 595, "EXPEDITED": 1495, "OVERNIGHT": 2995}
SHIPPING_METHODS: tuple[Mapping[str, Any], ...] = (
    {"Id": "STANDARD", "Carrier": "USPS", "Description": "First class, 3 to 7 days", "Cost": 5.95},
    {"Id": "EXPEDITED", "Carrier": "UPS", "Description": "Two days", "Cost": 14.95},
    {"Id": "OVERNIGHT", "Carrier": "FedEx", "Description": "The next working day", "Cost": 29.95},
)
CARRIERS: tuple[Mapping[str, Any], ...] = (
    {"Id": "DEFAULT", "Name": "Plain carrier", "Description": "White card holder"},
    {"Id": "BIRTHDAY", "Name": "Birthday", "Description": "Card holder with balloons"},
    {"Id": "THANKS", "Name": "Thank you", "Description": "Card holder with flowers"},
    {"Id": "HOLIDAY", "Name": "Holidays", "Description": "Card holder with snow"},
    {"Id": "CONGRATS", "Name": "Congratulations", "Description": "Card holder with confetti"},
    {"Id": "PREMIUM", "Name": "Premium box", "Description": "Box with a magnet"},
)
BRANDINGS: tuple[Mapping[str, Any], ...] = (
    {"Id": "DEFAULT", "Name": "Default", "Description": "The provider's own design"},
    {"Id": "ACME", "Name": "Acme Rewards", "Description": "Made up for the sandbox"},
)
CARRIER_IDS = frozenset(str(carrier["Id"]) for carrier in CARRIERS)
BRANDING_IDS = frozenset(str(branding["Id"]) for branding in BRANDINGS)
