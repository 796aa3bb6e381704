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
from datetime import datetime
from decimal import Decimal
from typing import Any, Never, TypeVar

from tracking.errors import UnreadableAnswer
from tracking.provider.scalars.amounts import decimal_of, minor_of, type_name, whole_of
from tracking.provider.scalars.times import moment_of

_T = TypeVar("_T")

MAX_DEPTH = 64
MAX_KEY = 200  # characters of an id
FINDINGS_AT_MOST = 50  # of one answer
ROUNDED = "has more than two decimals, and is stored as rounded to hundredths"
_LONGEST_INTEGER = 1000  # digits
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_YES = frozenset({"true", "1", "1.0", "yes", "y", "t", "on"})
_NO = frozenset({"false", "0", "0.0", "no", "n", "f", "off", ""})
_INDEX = re.compile(r"\[\d+\]")


class _Members(dict[str, Any]):
    """The members of an object of which some stand there twice with different values: `repeated` names them."""

    repeated: frozenset[str] = frozenset()


def parse(body: bytes, charset: str = "") -> Any:
    """Parses the bytes as JSON in any form of Unicode, else in the charset that a header names.

    A byte that is wrong in all of them becomes U+FFFD, what is nested deeper than 64 None.

    Raises:
        UnreadableAnswer: it is no JSON.
    """
    unicode_form = json.detect_encoding(body)
    for encoding in (unicode_form, charset):
        with contextlib.suppress(LookupError, ValueError):
            return parse_text(body.decode(encoding or unicode_form))
    return parse_text(body.decode(unicode_form, "replace"))


def charset_of(content_type: str) -> str:
    """The charset that a Content-Type names, in small letters; "" for none."""
    _, _, charset = content_type.casefold().partition("charset=")
    return charset.partition(";")[0].strip(" \"'")


def parse_strictly(body: bytes, charset: str = "") -> Any:
    """Parses the bytes of a file that a person hands in, who can mend what two readers would read differently.

    Raises:
        UnreadableAnswer: neither UTF-8 nor in the charset that a header names; no JSON, a name twice in one object,
            NaN or Infinity, or nested deeper than 64.
    """
    try:
        text = _utf8_or(charset, body)
        raw = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_members_once)
    except (ValueError, RecursionError) as exc:
        raise UnreadableAnswer("the body is not JSON") from exc
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(raw):
        raise UnreadableAnswer("the body is nested too deeply")
    return raw


def _utf8_or(charset: str, body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        if not charset:
            raise
        with contextlib.suppress(LookupError):
            return body.decode(charset)
        raise


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
        raw = _DECODER.decode(text.rstrip("\0"))
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


# Not strict: a line break within a text, as a careless program writes it, is no doubt of what the text is.
_DECODER = json.JSONDecoder(parse_int=_integer, object_pairs_hook=_members, strict=False)
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
        if value is None:
            return None
        converted = convert(value)
        if convert is minor_of and decimal_of(value) * 100 != converted:
            self.note(name, ROUNDED)
        return converted


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


def echoed_key_of(value: Any) -> str | None:
    """The text of an id that we gave ourselves, in which letters may have been lost on the way back.

    Raises ValueError as `key_of` otherwise.
    """
    text = text_of(value, MAX_KEY + 1)
    return text if text is not None and len(text) <= MAX_KEY else key_of(text)


def storable(text: str) -> str:
    """The text with what no database takes (NUL, lone surrogates) replaced."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def flag_of(value: Any) -> bool:
    """Whether it says yes, as true or false, a number or a word. Raises ValueError for anything else."""
    word = str(value).strip().casefold() if isinstance(value, bool | int | float | str) else None
    if word is None or word not in _YES | _NO:
        raise ValueError(f"is neither true nor false but {type_name(value)}")
    return word in _YES
