"""Tolerant reading of JSON from outside: bytes, digests, and fields as texts, numbers, money and times.

Knows no order and no request: what the fields mean is read above it. Refuses with UnreadableAnswer, or with ValueError
for a single value, and neither holds what came in.
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Never, TypeVar

from tracking.errors import UnreadableAnswer

_T = TypeVar("_T")

MAX_DEPTH = 64
MAX_KEY = 200  # characters of an id
LONGEST_AMOUNT = 60
FINDINGS_AT_MOST = 50  # of one answer
_LONGEST_INTEGER = 1000  # digits
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,40})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_LARGEST = Decimal(10) ** 13
_CURRENCY = r"(?:[A-Z]{3}|[$\u20ac\u00a3])"
_WRITTEN = re.compile(  # as people write amounts, where only one reading is possible
    rf"{_CURRENCY}?\s*(?P<sign>[+-]?)\s*{_CURRENCY}?\s*(?:"
    r"(?P<us>\d{1,3}(?:,\d{3})*\.\d{1,2})|(?P<eu>\d{1,3}(?:[.\x20\u00a0\u202f']\d{3})*,\d{1,2}|\d+,\d{1,2})"
    rf"|(?P<plain>\d+(?:\.(?:\d{{1,2}}|\d{{4}}))?|(?:0|\d{{4,}})\.\d{{3}}))\s*{_CURRENCY}?",
    re.ASCII,
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_US_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M:%S")
_USUAL_FORM = re.compile(
    r"(\d\d)/(\d\d)/(\d{4}) (0[1-9]|1[0-2]):(\d\d):(\d\d) ([AP])M", re.ASCII
)  # as webhooks write it
_EPOCH = re.compile(r"(?:/Date\()?(\d{10}(?:\d{3}){0,3})(\.\d{1,9})?(?:[+-]\d{4})?(?:\)/)?", re.ASCII)
_PLAUSIBLE_YEARS = range(2000, 2101)
_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no", ""})
_INDEX = re.compile(r"\[\d+\]")
_TYPES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    (Mapping, "an object"),
    (list, "a list"),
    (str, "a text"),
)


class _Members(dict[str, Any]):
    """The members of an object of which some stand there twice with different values: `repeated` names them."""

    repeated: frozenset[str] = frozenset()


def parse(body: bytes) -> Any:
    """Parses the bytes as JSON in any form of Unicode; a wrong byte becomes U+FFFD, what is nested deeper than 64 None.

    Raises:
        UnreadableAnswer: it is no JSON.
    """
    return parse_text(body.decode(json.detect_encoding(body), "replace"))


def parse_strictly(body: bytes) -> Any:
    """Parses the bytes of a file that a person hands in, who can mend what two readers would read differently.

    Raises:
        UnreadableAnswer: no UTF-8, no JSON, a name twice in one object, NaN or Infinity, or nested deeper than 64.
    """
    try:
        text = body.decode("utf-8-sig")
        raw = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_members_once)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body is not JSON") from exc
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(raw):
        raise UnreadableAnswer("the body is nested too deeply")
    return raw


def _refuse_constant(_: str) -> Never:
    raise ValueError("NaN and Infinity are not JSON")


def _members_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return members


def parse_text(text: str) -> Any:
    """Parses the text as JSON, as `parse` does."""
    try:
        raw = _DECODER.decode(text)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body is not JSON") from exc
    is_deeper = text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(raw)
    return _cut(raw, MAX_DEPTH) if is_deeper else raw


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else math.inf


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    marked = _Members(members)
    # Compared as texts: what is not a number is not equal to itself.
    marked.repeated = frozenset(name for name, value in pairs if repr(value) != repr(members[name]))
    return marked


_DECODER = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_members)
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _is_deeper(raw: Any) -> bool:
    values = [raw]
    for _ in range(MAX_DEPTH + 1):
        parents = (value for value in values if isinstance(value, dict | list))
        values = [child for parent in parents for child in (parent.values() if isinstance(parent, dict) else parent)]
    return bool(values)


def _cut(raw: Any, levels: int) -> Any:
    if isinstance(raw, dict):
        return {name: _cut(value, levels - 1) for name, value in raw.items()} if levels > 0 else None
    if isinstance(raw, list):
        return [_cut(value, levels - 1) for value in raw] if levels > 0 else None
    return raw


def digest_of(raw: Any) -> str:
    """SHA-256 in hex of the canonical JSON, claim data included: the same for list items and single answers.

    Raises:
        UnreadableAnswer: it is nested too deeply.
    """
    try:
        text = _canonical(raw)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body holds what JSON cannot") from exc
    return hashlib.sha256(text.encode()).hexdigest()


class Fields:
    """Fields of one JSON object, read without regard to the case of their names.

    What is optional is None where it cannot be read, and noted in `notes` as a sentence without its value: a field that
    nobody needs blocks nothing. What is needed raises UnreadableAnswer naming the field.

    Args:
        raw: the object.
        where: what it is called in a note: "LineItems[0]"; notes leave the index out.
        notes: collects the notes, FINDINGS_AT_MOST at the most.
    """

    def __init__(self, raw: Any, where: str = "", notes: set[str] | None = None) -> None:
        self._where, self.notes = where, set[str]() if notes is None else notes
        if not isinstance(raw, Mapping):
            raise UnreadableAnswer(self.note("", f"is not an object but {type_name(raw)}"))
        self._values: dict[str, Any] = {}
        self._ambiguous = {name.casefold() for name in getattr(raw, "repeated", ())}
        for name, value in raw.items():
            folded = str(name).casefold()
            if folded in self._values and repr(self._values[folded]) != repr(value):
                self._ambiguous.add(folded)
            self._values[folded] = value

    def note(self, name: str, what: str) -> str:
        """Notes what is unexpected of a field; returns the sentence."""
        where = ".".join(filter(None, (self._where, name))) or "the answer"
        if len(self.notes) < FINDINGS_AT_MOST:
            self.notes.add(f"{_INDEX.sub('[]', where)} {what}")
        return f"{where} {what}"

    def get(self, *names: str) -> Any:
        """The first of the named values that is not null."""
        values = (self._values.get(name) for name in names)
        return next((value for value in values if value is not None), None)

    def has(self, name: str) -> bool:
        """Whether the field is there with a value that is not empty."""
        return self.get(name.casefold()) not in (None, "")

    def key(self, name: str) -> str | None:
        """The id, whole; None where there is none."""
        return self._read((name,), key_of)

    def object(self, name: str) -> "Fields":
        """The fields of the object; none where it is missing or no object."""
        raw, where = self.get(name.casefold()), ".".join(filter(None, (self._where, name)))
        if raw is not None and not isinstance(raw, Mapping):
            self.note(name, f"is not an object but {type_name(raw)}")
        return Fields(raw if isinstance(raw, Mapping) else {}, where, self.notes)

    def text(self, *names: str, limit: int = 200) -> str | None:
        """The text, cut to `limit`; None where there is none."""
        return self._read(names, lambda value: text_of(value, limit))

    def whole(self, *names: str) -> int | None:
        """The whole number from 0 on; None where there is none."""
        return self._read(names, whole_of)

    def minor(self, *names: str) -> int | None:
        """The amount of money in minor units; None where there is none."""
        return self._read(names, minor_of)

    def decimal(self, *names: str) -> Decimal | None:
        """The number; None where there is none."""
        return self._read(names, decimal_of)

    def time(self, *names: str) -> datetime | None:
        """The time in UTC; None where there is none."""
        return self._read(names, moment_of)

    def flag(self, *names: str) -> bool:
        """Whether it says yes; no where it says nothing."""
        return self._read(names, flag_of) or False

    def needed(self, name: str, convert: Callable[[Any], _T | None]) -> _T:
        """The value, which must be there.

        Raises:
            UnreadableAnswer: it is missing, stands there twice, or cannot be read.
        """
        try:
            converted = self._converted(name, convert)
        except ValueError as exc:
            raise UnreadableAnswer(self.note(name, str(exc))) from exc
        if converted is None:
            raise UnreadableAnswer(self.note(name, "is missing"))
        return converted

    def _read(self, names: tuple[str, ...], convert: Callable[[Any], _T | None]) -> _T | None:
        """The first of the values that can be read; what cannot is noted."""
        for name in names:
            try:
                converted = self._converted(name, convert)
            except ValueError as exc:
                self.note(name, str(exc))
            else:
                if converted is not None:
                    return converted
        return None

    def _converted(self, name: str, convert: Callable[[Any], _T | None]) -> _T | None:
        folded = name.casefold()
        if folded in self._ambiguous:
            raise ValueError("stands there twice")
        value = self._values.get(folded)
        return None if value is None else convert(value)


def type_name(value: Any) -> str:
    """What kind of JSON it is, for a sentence."""
    if value is None:
        return "null"
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "a number")


def stripped_text(value: str | int) -> str:
    """A text without the space around it, or a number as a text."""
    return value.strip() if isinstance(value, str) else f"{value:#x}" if abs(value) >= 10**30 else str(value)


def text_of(value: Any, limit: int) -> str | None:
    """The text, fit for a database and cut to `limit`; None where it is empty. Raises ValueError for no text."""
    if value is None:
        return None
    if isinstance(value, float) and math.isfinite(value):
        value = int(value) if value.is_integer() else repr(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"is not a text but {type_name(value)}")  # noqa: TRY004 - a wrong type in foreign JSON is a wrong value
    return storable(stripped_text(value)[:limit]) or None


def key_of(value: Any) -> str | None:
    """The text of an id, which must be whole. Raises ValueError for none, or one that was cut or garbled."""
    text = text_of(value, MAX_KEY + 1)
    if text is not None and (len(text) > MAX_KEY or "\ufffd" in text):
        raise ValueError("is too long" if len(text) > MAX_KEY else "holds characters that cannot be read")
    return text


def storable(text: str) -> str:
    """The text with what no database takes (NUL, lone surrogates) replaced."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def decimal_of(value: Any) -> Decimal:
    """The number, given as one or as a text. Raises ValueError for none, or one beyond ten to the 13."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"is not a number but {type_name(value)}")  # noqa: TRY004 - as above
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("is too large")
    text = str(value).strip()
    number = Decimal(text if _NUMBER.fullmatch(text) else _as_written(text))
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError("is too large")
    return number


def _as_written(text: str) -> str:
    """The number in a text such as "$1,000.00" or "10,00 EUR"; "1,000" and "1.000 EUR" may be one or a thousand."""
    written = _WRITTEN.fullmatch(text) if len(text) <= LONGEST_AMOUNT else None
    if written is None:
        raise ValueError("is not a number")
    american, european, plain = written["us"], written["eu"], written["plain"]
    digits = american.replace(",", "") if american else plain or re.sub(r"[^\d,]", "", european).replace(",", ".")
    return written["sign"] + digits


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
    if usual := _USUAL_FORM.fullmatch(text):
        month, day, year, hour, minute, second = map(int, usual.groups()[:6])
        with contextlib.suppress(ValueError):
            return datetime(year, month, day, hour % 12 + 12 * (usual[7] == "P"), minute, second, tzinfo=UTC)
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


def moment_of(value: Any) -> datetime | None:
    """The time in UTC in whatever form it came: as `parse_time`, of RFC 5322, or seconds or milliseconds since 1970.

    None where it is empty. Raises ValueError for none, and for one in a year that nobody can mean.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(text := str(value).strip()) > 64:
        raise ValueError(f"is not a time but {type_name(value)}")
    if not text:
        return None
    if epoch := _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(float(epoch[1] + (epoch[2] or "")) / 10 ** (len(epoch[1]) - 10), UTC)
    try:
        at = parse_time(text.removesuffix(" UTC").removesuffix(" GMT"))
    except ValueError:
        at = _mail_time(text)
    if at.year not in _PLAUSIBLE_YEARS:
        raise ValueError("is not a time that can be meant")
    return at


def _mail_time(text: str) -> datetime:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError) as exc:
        raise ValueError("is not a time") from exc
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def flag_of(value: Any) -> bool:
    """Whether it says yes, as true or false, a number or a word. Raises ValueError for anything else."""
    word = str(value).strip().casefold() if isinstance(value, bool | int | str) else None
    if word is None or word not in _YES | _NO:
        raise ValueError(f"is neither true nor false but {type_name(value)}")
    return word in _YES
