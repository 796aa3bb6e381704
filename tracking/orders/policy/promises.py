"""Promises: by when orders of a type and size are to be done, as a team sets them in `TRACKING_LATE_AFTER`. Pure."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from tracking.orders.model import OrderType

_PROMISE = re.compile(
    r"(?P<type>\w+)(?::(?P<fewest>\d{1,9})(?P<open>-(?P<most>\d{0,9}))?)?=(?P<length>(?:\d{1,9}(?:\.\d{1,9})?[smhd])+)"
)
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST = 365 * 86_400


@dataclass(frozen=True, slots=True)
class LatePromise:
    """By when open orders of a type and size are promised to be done, whatever others took: `Links:100-=2h`.

    `most` is None where orders of any size from `fewest` on are meant. `after`: since the provider took the order.
    """

    order_type: str
    fewest: int
    most: int | None
    after: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one promise.

        Raises:
            ValueError: it is none; the message says what to write.
        """
        match = _PROMISE.fullmatch("".join(text.split()))
        if match is None:
            raise ValueError(
                f"{text.strip()[:40]!r} is no promise: write TYPE=LENGTH or TYPE:FEWEST-MOST=LENGTH,"
                " as in Links:100-=2h"
            )
        types = {known.lower(): known.value for known in OrderType}
        order_type = types.get(match["type"].lower())
        if order_type is None:
            raise ValueError(f"{match['type'][:40]!r} is no delivery type: use one of {', '.join(types.values())}")
        seconds = sum(float(count) * UNIT_SECONDS[unit] for count, unit in _LENGTH.findall(match["length"]))
        if not 1 <= seconds <= LONGEST:
            raise ValueError(f"{match['length'][:20]} must be between a second and a year")
        fewest = int(match["fewest"] or 0)
        most = None if match["fewest"] is None or match["open"] == "-" else int(match["most"] or fewest)
        if most is not None and most < fewest:
            raise ValueError(f"{fewest}-{most} names no size: the fewest cards come first")
        return cls(order_type, fewest, most, timedelta(seconds=seconds))

    def covers(self, order_type: str, units: int) -> bool:
        """Whether it is about orders of this type and number of cards."""
        return self.order_type == order_type and self.fewest <= units and (self.most is None or units <= self.most)


def read_promises(text: Any) -> Any:
    """Read the promises in a setting, with commas between them. Raises ValueError where one cannot be used."""
    if not isinstance(text, str):
        return text
    promises = tuple(LatePromise.parse(part) for part in text.split(",") if part.strip())
    for number, one in enumerate(promises):
        if any((one.order_type, one.fewest, one.most) == (o.order_type, o.fewest, o.most) for o in promises[:number]):
            raise ValueError(f"sets two limits for the same orders of {one.order_type}: remove one")
    return promises
