"""Approval limit: above which value of an order a second person approves it (`TRACKING_APPROVAL_ABOVE`). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from tracking.orders.wording import amount, money

_PART = re.compile(r"(?P<whole>0|[1-9]\d{0,8})(?:\.(?P<cents>\d{1,2}))?(?:\s*(?P<currency>[A-Za-z]{3}))?")
_THOUSANDS = re.compile(r"\d,\d{3}(?!\d)")
_OTHERS = ""
APPROVAL_OFF = (
    "TRACKING_APPROVAL_ABOVE is not in force: nobody signs in here, so no second operator is proven, and orders are"
    " sent without an approval. Set TRACKING_OPERATORS, or unset it"
)
HOW_TO_WRITE = "write an amount, with a currency where it is of one alone, as in 500 or 500 USD, 450 EUR"


@dataclass(frozen=True, slots=True)
class ApprovalLimit:
    """What one order may be worth without a second person: minor units by currency, "" for all that are not named.

    What is not known counts as what makes an order wait: an unknown currency as that of the lowest limit, a currency
    without a limit as above it.
    """

    amounts: Mapping[str, int]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a limit such as "500", "500 USD, 450 EUR" or "500 USD, 400".

        Raises:
            ValueError: it is none; the message says what to write.
        """
        if _THOUSANDS.search(text):
            raise ValueError("is ambiguous: write amounts without a comma in them, as in 1500 USD, 1200 EUR")
        amounts: dict[str, int] = {}
        for part in (part.strip() for part in text.split(",") if part.strip()):
            match = _PART.fullmatch(part)
            if match is None:
                raise ValueError(f"holds {part[:40]!r}, which is no amount: {HOW_TO_WRITE}")
            currency = (match["currency"] or _OTHERS).upper()
            if currency in amounts:
                raise ValueError(f"sets two limits for {currency or 'all currencies'}: remove one")
            amounts[currency] = int(match["whole"]) * 100 + int((match["cents"] or "").ljust(2, "0"))
        if not amounts:
            raise ValueError(f"names no amount: {HOW_TO_WRITE}")
        return cls(amounts)

    def __str__(self) -> str:
        """The limit as it is written in the setting."""
        return ", ".join(
            f"{minor // 100}{f'.{minor % 100:02}' if minor % 100 else ''} {currency}".strip()
            for currency, minor in self.amounts.items()
        )

    def why_waits(self, values: Mapping[str, int]) -> str | None:
        """Say why an order waits that is worth this: minor units by currency, "" where nobody knows it.

        None where it needs no approval. What is of several currencies takes a part of the limit of each.
        """
        limits = {currency: self._limit(currency) for currency in values}
        without = sorted(currency for currency, limit in limits.items() if limit is None)
        if without:
            named = ", ".join(currency for currency in without if currency)
            return f"no limit is set for {named}" if named else "its currency is not known, and limits are by currency"
        if sum(_part(value, limits[currency] or 0) for currency, value in values.items()) <= 1:
            return None
        if len(values) > 1:
            return "the amounts of its currencies are together above their limits"
        [(currency, limit)] = limits.items()
        lowest = " (the lowest limit, as its currency is not known)" if not currency and len(self.amounts) > 1 else ""
        return f"above the limit of {money(limit or 0, currency) if currency else amount(limit or 0)}{lowest}"

    def _limit(self, currency: str) -> int | None:
        """The limit for a currency; of an unknown one the lowest, where there is one for whatever it may be."""
        if not currency:
            return min(self.amounts.values()) if _OTHERS in self.amounts else None
        return self.amounts.get(currency.upper(), self.amounts.get(_OTHERS))


def read_limit(text: Any) -> Any:
    """Read the limit in a setting; None for a blank one. Raises ValueError where it cannot be used."""
    return ApprovalLimit.parse(text) if isinstance(text, str) and text.strip() else text or None


def _part(value: int, limit: int) -> Fraction:
    """Which part of the limit the value takes; anything is more than all of a limit of 0."""
    return Fraction(value, limit) if limit else Fraction(2 if value else 0)
