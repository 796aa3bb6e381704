"""Numbers and amounts of money as systems of any country write them, read where only one reading is possible.

An error is a ValueError without what came in.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

LONGEST_AMOUNT = 60
_NUMBER = re.compile(r"[+-]?\d{1,18}(\.\d{1,40})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_LARGEST = Decimal(10) ** 13
# A code or a sign, before or behind; small letters for the codes that are seen so, as "10 pcs" is no amount.
_CURRENCY = (
    r"(?:(?:[A-Z]{0,3}|us|ca|au)[$\u00a2-\u00a5\u20a0-\u20bf\u0e3f]|[A-Z]{3}|R\$?|Rs\.?|[Kk]r\.?|z\u0142|K\u010d|Ft"
    r"|usd|eur|gbp|cad|aud|chf|jpy|inr|mxn|brl|sek|nok|dkk|pln|aed|kwd)"
)
_WRITTEN = re.compile(
    rf"(?:{_CURRENCY})?\s*(?P<sign>[+-]?)\s*(?:{_CURRENCY})?\s*(?:"
    r"(?P<us>\d{1,3}(?:,\d{3})*\.\d{1,2}|\d{1,3}(?P<gap>[\x20'])\d{3}(?:(?P=gap)\d{3})*(?:\.\d{1,2})?)"
    r"|(?P<eu>\d{1,3}(?:[.\x20']\d{3})*,\d{1,2}|\d+,\d{1,2})"
    r"|(?P<plain>\d+(?:\.(?:\d{1,2}|\d{4}))?|(?:0|\d{4,})\.\d{3}|\d+\.|\.\d{1,2}))"
    rf"\s*(?:{_CURRENCY})?",
    re.ASCII,
)
# Spaces that keep digits together, the minus sign and the apostrophe of typesetters, letters as wide as Chinese ones.
_PLAIN = str.maketrans(
    dict.fromkeys("\u00a0\u2007\u2009\u202f", " ")
    | {"\u2212": "-", "\u2019": "'", "\uffe5": "\u00a5", "\uffe1": "\u00a3"}
    | {chr(0xFF01 + place): chr(0x21 + place) for place in range(94)}
)


def type_name(value: Any) -> str:
    """What kind of JSON it is, for a sentence."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case Mapping():
            return "an object"
        case list():
            return "a list"
        case str():
            return "a text"
    return "a number"


def decimal_of(value: Any) -> Decimal:
    """The number, given as one or as a text. Raises ValueError for none, or one beyond ten to the 13."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"is not a number but {type_name(value)}")  # noqa: TRY004 - a wrong type in foreign JSON is a wrong value
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ValueError("is too large")
    text = str(value).strip()
    number = Decimal(text if _NUMBER.fullmatch(text) else _as_written(text))
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError("is too large")
    return number


def _as_written(text: str) -> str:
    """The number in a text such as "$1,000.00" or "10,00 EUR"; "1,000" and "1.000 EUR" may be one or a thousand."""
    written = _WRITTEN.fullmatch(text.translate(_PLAIN)) if len(text) <= LONGEST_AMOUNT else None
    if written is None:
        raise ValueError("is not a number")
    if european := written["eu"]:
        digits = re.sub(r"[^\d,]", "", european).replace(",", ".")
    else:
        digits = re.sub(r"[^\d.]", "", written["us"] or written["plain"])
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
