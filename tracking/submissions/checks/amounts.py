"""Numbers as people and spreadsheets of any country write them; refused where two readings are possible."""

import re
import unicodedata
from decimal import Decimal
from typing import Any

from tracking.provider.scalars.amounts import decimal_of, whole_of
from tracking.submissions.checks.texts import Unfit, unseen_character

MOST = 100_000_000
_GAP = "[ \u00a0\u2007\u2009\u202f'\u2019]"
_BY_GAPS = re.compile(rf"[0-9]{{1,3}}({_GAP})[0-9]{{3}}(?:\1[0-9]{{3}})*(?:[.,][0-9]+)?")
_BY_MARKS = re.compile(
    r"[0-9]{1,3}(?:([.,])[0-9]{3})(?:\1[0-9]{3})*(?!\1)[.,][0-9]+|[0-9]{1,3}([.,])[0-9]{3}(?:\2[0-9]{3})+"
)
_UNCLEAR = re.compile(r"([1-9][0-9]{0,2})[.,]([0-9]{3})")
_DECIMAL_COMMA = re.compile(r"[0-9]+,[0-9]+")
_EXPONENT = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?[eE][+-]?[0-9]+")
_CURRENCY_CODE = re.compile(r"[A-Z]{3}\s*[0-9.,]+|[0-9.,]+\s*[A-Z]{3}|R\s*[0-9.,]+|[0-9.,]+\s*(?:kr|z\u0142)\.?")
_CURRENCY_IN_IT = "holds a currency: write the number alone; it is in the currency of the product"


def plain_number(text: str) -> str:
    """The number with a decimal point and nothing else: "1.000,50", "1,000.50" and "1 000,50" are "1000.50".

    What is no number comes back as it is.

    Raises:
        Unfit: two readers would read it differently ("1.000"), or it is no number alone ("$10", "1E+03").
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return text
    if match := _UNCLEAR.fullmatch(text):
        fraction = match[2].rstrip("0")
        small = f"{match[1]}.{fraction}" if fraction else match[1]
        advice = "write it without marks between thousands, and with at most two decimals"
        raise Unfit(f"is not clear, {match[1]}{match[2]} or {small}: {advice}")
    if _EXPONENT.fullmatch(text):
        raise Unfit(
            "was shortened by a spreadsheet to a number with an exponent: show all its digits and save it again"
        )
    if _CURRENCY_CODE.fullmatch(text) or any(unicodedata.category(letter) == "Sc" for letter in text):
        raise Unfit(_CURRENCY_IN_IT)
    plain = _without_marks(text)
    if problem := unseen_character(plain):
        raise Unfit(problem)
    if any(map(str.isalpha, plain)) and _is_amount(plain):
        raise Unfit(_CURRENCY_IN_IT)
    return plain


def _is_amount(text: str) -> bool:
    try:
        decimal_of(text)
    except ValueError:
        return False
    return True


def requested_amount(value: Any) -> Decimal:
    """The amount, if a database holds what an order of very many such cards comes to.

    Raises:
        ValueError: it is none; Unfit where the reason can be said.
    """
    amount = decimal_of(plain_number(value) if isinstance(value, str) else value)
    if amount > MOST:
        raise Unfit(f"must be an amount of at most {MOST:,}")
    return amount


def requested_quantity(value: Any) -> int:
    """The whole number. Raises ValueError as `requested_amount`."""
    return whole_of(plain_number(value) if isinstance(value, str) else value)


def amount_or_text(text: str) -> float | str:
    """The amount above 0 with at most two decimals, or the text where it is none."""
    try:
        amount = decimal_of(plain_number(text))
    except ValueError:
        return text
    return float(amount) if amount > 0 and amount == round(amount, 2) else text


def whole_or_text(text: str) -> int | str:
    """The whole number from 1 on, or the text where it is none."""
    try:
        return whole_of(plain_number(text)) or text
    except ValueError:
        return text


def _without_marks(text: str) -> str:
    if _BY_GAPS.fullmatch(text):
        return re.sub(_GAP, "", text).replace(",", ".")
    if match := _BY_MARKS.fullmatch(text):
        return text.replace(match[1] or match[2], "").replace(",", ".")
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text
