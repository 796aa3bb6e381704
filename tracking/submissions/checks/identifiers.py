"""Identifiers: PONumbers, references and ids of the provider, and what a spreadsheet makes of them.

A PONumber decides whether an order is a new one, so one that may have been altered is refused.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

from tracking.submissions.checks.texts import Unfit, lost_letter, spreadsheet_error, unseen_character

_ADVICE = "take it from where it came from into a column formatted as text, and save the file again"
# Without a sign an exponent behind digits alone, 12E4, may be the identifier itself.
_EXPONENT = re.compile(
    r"[+-]?[0-9]+(?:[.,][0-9]*)? ?E[+-][0-9]{1,3}|[+-]?[0-9]+[.,][0-9]+ ?(?:E|[x\u00d7*] ?10\^)[0-9]{1,3}",
    re.IGNORECASE,
)
_EMPTY = frozenset(
    {"nan", "nat", "null", "nil", "none", "undefined", "n/a", "<na>", "<null>", "(null)", "[null]", "\\n"}
)
# Of pivot tables and of whoever writes a list, and what a formula makes of an empty cell or of a comparison.
_NO_NUMBER = frozenset(
    {
        *("(blank)", "(leer)", "(vide)", "(en blanco)", "(vuoto)", "(vazio)", "(leeg)", "[object object]"),
        *("ditto", "dito", "idem", "true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "falso", "vero"),
    }
)
_WHOLE_WITH_DECIMALS = re.compile(r"[0-9]+[.,]0+")
_THOUSANDS = re.compile(
    r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.0+)?|[0-9]{1,3}(?:\.[0-9]{3}){2,}(?:,0+)?|[0-9]{1,3}(?:['\u2019][0-9]{3})+(?:\.0+)?"
    r"|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.0+)?"
)
# The months as spreadsheets shorten them in English, German, French, Spanish, Italian, Dutch and Portuguese.
_MONTH = (
    "jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec|jän|m[äa]r|mrz|märz|mai|juni?|juli?|okt|dez|janv|févr|fév|"
    "mars|avr|juin|juil|août|aout|déc|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|mrt|mei|fev|out"
)
_DATE = re.compile(
    rf"[0-9]{{1,2}}\.?[-. ]{{1,2}}(?:{_MONTH})\.?(?:[-. ]{{1,2}}[0-9]{{2,4}})?|(?:{_MONTH})\.?[-. ]{{1,2}}[0-9]{{1,4}}"
    r"|[0-9]{1,2}([/.])[0-9]{1,2}\1(?:[0-9]{4}|[0-9]{2})(?: [0-9:]+(?: [AP]M)?)?|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+",
    re.IGNORECASE,
)
# Dashes that look like the one on the keyboard, and letters of other alphabets that look like Latin ones.
_OTHER_DASH = re.compile("[\u2010\u2011\u2212\ufe63\uff0d]")
_CYRILLIC = (
    "\u0430\u0435\u043e\u0441\u0440\u0445\u0443\u0456\u0455\u0458\u0410\u0412\u0415"
    "\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0405\u0408"
)
_GREEK = "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf"
_LATIN = str.maketrans(_CYRILLIC + _GREEK, "aeocpxyisjABEKMHOPCTYXISJABEZHIKMNOPTYXo")
_DIGITS_OF_A_SPREADSHEET = 15


def altered(text: str) -> str | None:
    """What a spreadsheet made of the identifier, in words with advice; None where it shows no sign of that."""
    if shortened(text):
        return shortened(text)
    if _WHOLE_WITH_DECIMALS.fullmatch(text) or _THOUSANDS.fullmatch(text):
        return f"was taken for a number by a spreadsheet, which wrote marks or decimals into it: {_ADVICE}"
    if _DATE.fullmatch(text):
        return f"is a date, as a spreadsheet makes of an identifier such as 3-24: {_ADVICE}"
    return None


def shortened(text: str) -> str | None:
    """Whether a spreadsheet shortened it to a number with an exponent, whose other digits are lost."""
    if not _EXPONENT.fullmatch(text):
        return None
    return f"was shortened by a spreadsheet to a number with an exponent, and its digits are lost: {_ADVICE}"


def identifier(text: str) -> str:
    """Read an identifier; refuses invisible characters, and whatever a spreadsheet has damaged.

    Raises:
        Unfit: it is none.
    """
    if problem := unseen_character(text) or lost_letter(text) or spreadsheet_error(text) or shortened(text):
        raise Unfit(problem)
    if _OTHER_DASH.search(text):
        raise Unfit("holds a dash that looks like a plain one and is another: retype it")
    if text.casefold() in _EMPTY:
        raise Unfit("is a program's word for an empty cell: fill it in, or leave it empty")
    return text


def po_number(text: str) -> str:
    """Read a PONumber; refuses what a spreadsheet has visibly altered. Raises as `identifier`."""
    if problem := altered(identifier(text)):
        raise Unfit(problem)
    if text and not any(map(str.isalnum, text)):
        raise Unfit("holds no letter and no digit: fill it in, or leave it empty")
    if text.casefold() in _NO_NUMBER:
        raise Unfit("is a word for something that is not here, or what a formula comes to: write the PONumber itself")
    return text


# PONumbers of one file, by their rows


def look_alikes(places: Mapping[str, Iterable[int]], noun: str = "row") -> dict[str, str]:
    """What is wrong with PONumbers that differ only in what a reader does not see, or a spreadsheet takes away.

    `places` are the rows, or what else the noun says, in which each stands.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for text in places:
        alike[_as_read(text)].append(text)
    first = {text: min(numbers) for text, numbers in places.items()}
    return {
        text: f"is read like that of {noun} {first[same[0]]}, and is another: write both alike for one order, or "
        "make the difference plain for two"
        for same in alike.values()
        for text in same[1:]
    }


def _as_read(text: str) -> str:
    """The text as people see it: without case, alphabet, spaces, kinds of dashes, leading zeros, invisible signs."""
    folded = unicodedata.normalize("NFKC", text).translate(_LATIN).casefold()
    letters = ("-" if unicodedata.category(letter) == "Pd" or letter == "\u2212" else letter for letter in folded)
    plain = "".join(letter for letter in letters if letter != " " and not unseen_character(letter))
    return plain.lstrip("0") if plain.isdecimal() else plain


def lost_digits(texts: Iterable[str]) -> dict[str, str]:
    """What is wrong with PONumbers of which a spreadsheet took zeros in front, digits after the fifteenth, or all."""
    texts = list(texts)
    numbers = [text for text in texts if text.isascii() and text.isdigit()]
    long = [text for text in numbers if len(text) > _DIGITS_OF_A_SPREADSHEET]
    cut = [text for text in long if not text[_DIGITS_OF_A_SPREADSHEET:].strip("0")]
    words = f"has zeros from the sixteenth digit on, as of a spreadsheet, which keeps fifteen: {_ADVICE}"
    # One with other digits there shows that the column was kept as text.
    nothing = "is zero, as a spreadsheet makes of a reference to an empty cell: write the PONumber itself"
    # In a column of numbers it may be the first of them.
    zero = dict.fromkeys(["0"] if "0" in numbers and len(numbers) < len(texts) else (), nothing)
    problems = zero | dict.fromkeys(cut if len(cut) == len(long) else (), words)
    widths = {len(text) for text in numbers if text.startswith("0")}
    short = [text for text in numbers if len(widths) == 1 and len(text) < min(widths)]
    return problems | dict.fromkeys(
        short, f"has fewer digits than those with zeros in front, as of a spreadsheet: {_ADVICE}"
    )


def other_spellings(text: str) -> set[str]:
    """How else the same identifier is written: digits with other zeros in front, plain dashes for others."""
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0")
        return {"0" * zeros + digits for zeros in range(7) if zeros or digits} - {text}
    return {"".join("-" if unicodedata.category(letter) == "Pd" else letter for letter in text)} - {text}
