"""Balance threshold: below which balance of the account it is time to pay in (`TRACKING_BALANCE_BELOW`). Pure."""

from dataclasses import dataclass
from typing import Any, Self

from tracking.orders.policy.approval_limit import ApprovalLimit
from tracking.orders.wording import money


@dataclass(frozen=True, slots=True)
class BalanceThreshold:
    """Minor units, and the currency of the account's balance; "" where the setting names none."""

    minor: int
    currency: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a threshold such as "500" or "500 USD". Raises ValueError where it is none; the message says why."""
        amounts = ApprovalLimit.parse(text).amounts
        if len(amounts) > 1:
            raise ValueError("names several amounts: an account has one balance, in one currency, as in 500 USD")
        [(currency, minor)] = amounts.items()
        return cls(minor, currency)

    def __str__(self) -> str:
        """The threshold for people."""
        return money(self.minor, self.currency)


def read_threshold(text: Any) -> Any:
    """Read the threshold in a setting; None for a blank one. Raises ValueError where it cannot be used."""
    return BalanceThreshold.parse(text) if isinstance(text, str) and text.strip() else text or None
