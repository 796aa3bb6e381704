"""Tolerant parser of foreign JSON: bytes, digests, and an object's fields as texts, numbers, money and times.

Knows no order and no request: what the fields mean is read above it. Refuses with UnreadableAnswer, or with ValueError
for a single value, and neither holds what came in.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Never, TypeVar

from tracking.errors import UnreadableAnswer

_T = TypeVar("_T")

MAX_DEPTH = 64
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,40})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_LARGEST = Decimal(10) ** 13
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_US_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M:%S")


def parse(body: bytes) -> Any:
    """Parses the bytes as JSON.

    Raises:
        UnreadableAnswer: no UTF-8, no JSON, a name twice in one object, NaN or Infinity, or nested deeper than 64.
    """
    try:
        text = body.decode("utf-8-sig")
        raw = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body is not JSON") from exc
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(raw):
        raise UnreadableAnswer("the body is nested too deeply")
    return raw


def _refuse_constant(_: str) -> Never:
    raise ValueError("NaN and Infinity are not JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return members


def _is_deeper(raw: Any) -> bool:
    values = [raw]
    for _ in range(MAX_DEPTH + 1):
        parents = (value for value in values if isinstance(value, dict | list))
        values = [child for parent in parents for child in (parent.values() if isinstance(parent, dict) else parent)]
    return bool(values)


def digest_of(raw: Any) -> str:
    """SHA-256 in hex of the canonical JSON, claim data included: the same for list items and single answers.

    Raises:
        UnreadableAnswer: a number in it is not finite, or it is nested too deeply.
    """
    try:
        text = json.dumps(raw, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body holds what JSON cannot") from exc
    return hashlib.sha256(text.encode()).hexdigest()


class Fields:
    """Fields of one JSON object, read without regard to the case of their names.

    Its readers take the first of the named fields that is not null, and raise UnreadableAnswer naming the field.
    """

    def __init__(self, raw: Any, where: str = "") -> None:
        if not isinstance(raw, Mapping):
            raise UnreadableAnswer(f"{where or 'the answer'} is not an object")
        self._where = where
        self._values = {str(name).casefold(): value for name, value in raw.items()}
        if len(self._values) != len(raw):
            raise UnreadableAnswer(f"{where or 'the answer'} holds a name twice in different cases")

    def get(self, *names: str) -> Any:
        """The first of the named values that is not null."""
        values = (self._values.get(name) for name in names)
        return next((value for value in values if value is not None), None)

    def text(self, *names: str, limit: int = 200) -> str | None:
        """The text, cut to `limit`; None where there is none."""
        return self._read(names, lambda value: text_of(value, limit))

    def whole(self, *names: str) -> int | None:
        """The whole number from 0 on; None where there is none."""
        return self._read(names, whole_of)

    def minor(self, *names: str) -> int | None:
        """The amount of money in minor units; None where there is none."""
        return self._read(names, minor_of)

    def required(self, value: _T | None, name: str) -> _T:
        """The value, which must be there."""
        if value is None:
            raise self._unreadable(name, ValueError("is missing"))
        return value

    def _read(self, names: tuple[str, ...], convert: Callable[[Any], _T]) -> _T | None:
        value = self.get(*names)
        try:
            return None if value is None else convert(value)
        except ValueError as exc:
            raise self._unreadable(names[0], exc) from exc

    def _unreadable(self, name: str, exc: ValueError) -> UnreadableAnswer:
        return UnreadableAnswer(f"{f'{self._where}.' if self._where else ''}{name} {exc}")


def stripped_text(value: str | int) -> str:
    """A text without the space around it, or a number as a text."""
    return value.strip() if isinstance(value, str) else f"{value:#x}" if abs(value) >= 10**30 else str(value)


def text_of(value: Any, limit: int) -> str | None:
    """The text, fit for a database and cut to `limit`; None where it is empty. Raises ValueError for no text."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("is not a text")  # noqa: TRY004 - a wrong type in foreign JSON is a wrong value
    return storable(stripped_text(value)[:limit]) or None


def storable(text: str) -> str:
    """The text with what no database takes (NUL, lone surrogates) replaced."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def decimal_of(value: Any) -> Decimal:
    """The number, given as one or as a text. Raises ValueError for none, or one beyond ten to the 13."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("is not a number")  # noqa: TRY004 - as above
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("is too large")
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    number = Decimal(text)
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError("is too large")
    return number


def minor_of(value: Any) -> int:
    """The amount in minor units, rounded half up. Raises ValueError as `decimal_of`."""
    return int((decimal_of(value) * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def whole_of(value: Any) -> int:
    """The whole number from 0 on. Raises ValueError for any other."""
    number = decimal_of(value)
    if number != number.to_integral_value() or number < 0:
        raise ValueError("is not a whole number")
    return int(number)


def parse_time(text: Any) -> datetime:
    """The time in UTC; UTC too where no zone is named. Reads ISO 8601 and the US form with AM and PM.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(text, str) or len(text) > 64:
        raise ValueError("is not a time")
    for time_format in (None, *_US_FORMATS):
        try:
            at = datetime.strptime(text.strip(), time_format) if time_format else datetime.fromisoformat(text.strip())  # noqa: DTZ007 - the next line gives the zone
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise ValueError("is not a time")


def format_time(at: datetime | None) -> str | None:
    """The time as the provider writes it, in UTC to the second; None for None."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def time_or_none(text: Any) -> datetime | None:
    """The time as `parse_time` reads it; None where it cannot."""
    try:
        return parse_time(text)
    except ValueError:
        return None
