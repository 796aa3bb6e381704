"""Reads query parameters one by one: texts, choices, times, amounts and lengths; notes what cannot be used. Pure."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from tracking.errors import Problem
from tracking.orders.policy.promises import UNIT_SECONDS
from tracking.provider.json_fields import storable

T = TypeVar("T")
N = TypeVar("N", int, None)
LONGEST = timedelta(days=36_525)
_NO_LENGTH = "is no length of time below a hundred years: write 30m, 1h or 2d"


def parse_length(text: str) -> timedelta:
    """A length such as "90s", "30m", "1h" or "2d", a hundred years at the most.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"(\d{1,10})\s*([smhd])", text.strip().lower(), re.ASCII)
    if match is None or int(match[1]) * UNIT_SECONDS[match[2]] > LONGEST.total_seconds():
        raise ValueError(f"{text[:40]!r} {_NO_LENGTH}")
    return timedelta(seconds=int(match[1]) * UNIT_SECONDS[match[2]])


class Reader:
    """Reads query parameters one by one; what cannot be used is noted and left out."""

    def __init__(self, query: Mapping[str, Any]) -> None:
        self.query = query
        self.problems: list[Problem] = []

    def yes(self, name: str) -> bool:
        """Whether the switch is on."""
        return self.text(name).lower() in {"true", "1"}

    def many(self, name: str) -> tuple[str, ...]:
        """All values, also those in one text with commas between."""
        value = self.query.get(name) or []
        return tuple(storable(str(part)) for part in (value.split(",") if isinstance(value, str) else value))

    def text(self, name: str) -> str:
        """The last value; empty without one."""
        values = self.many(name) if not isinstance(self.query.get(name), str) else (self.query[name],)
        return storable(values[-1].strip()) if values else ""

    def _wrong(self, name: str, why: str) -> None:
        self.problems.append(Problem(name, why))

    def one_of(self, name: str, allowed: tuple[str, ...], usual: str) -> str:
        """One of the known words, else the usual one."""
        text = self.text(name)
        if text and text not in allowed:
            self._wrong(name, f"{text[:40]!r} is not known; use one of {', '.join(allowed)}")
        return text if text in allowed else usual

    def each_of(self, name: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
        """All values that are among the allowed ones."""
        values = self.many(name)
        for text in values:
            if text and text not in allowed:
                self._wrong(name, f"{text[:40]!r} is not known; use {', '.join(allowed)}")
        return tuple(text for text in values if text in allowed)

    def time(self, name: str) -> datetime | None:
        """A day or a time, UTC where no zone is named."""
        return self._parsed(name, _moment, "is no date or time; write 2026-01-31 or 2026-01-31T09:00:00Z")

    def money(self, name: str) -> int | None:
        """An amount, in minor units."""
        return self._parsed(name, _minor, "is no amount; write 12.50")

    def length(self, name: str) -> timedelta | None:
        """A length of time."""
        return self._parsed(name, parse_length, _NO_LENGTH)

    def _parsed(self, name: str, parse: Callable[[str], T], problem: str) -> T | None:
        text = self.text(name)
        try:
            return parse(text) if text else None
        except (ValueError, ArithmeticError):
            self._wrong(name, f"{text[:40]!r} {problem}")
            return None

    def number(self, name: str, usual: N, least: int, most: int) -> int | N:
        """A whole number within these bounds, else the usual one."""

        def parsed(text: str) -> int:
            if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
                raise ValueError(text)
            return int(text)

        number = self._parsed(name, parsed, f"is no whole number from {least} to {most}")
        return usual if number is None else number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _minor(text: str) -> int:
    minor = Decimal(text) * 100
    if not minor.is_finite() or abs(minor) > 10**15:
        raise ValueError(text)
    return int(minor)
