"""Compares people: which spellings of an e-mail address, number or name are surely the same, which may be. Pure.

Certain is what cannot be another person: case, Unicode forms, width, space, punctuation, "Last, First", the ways to
write one telephone number, a domain in its letters or in punycode. What may be another person (a plus tag, a number
without its country, a letter without its accent) is never decided here: `may_be_same` says so, for a person to decide.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

LONGEST_KEY = 4000
_PHONE = re.compile(r"[\d\s()./+\u00b7\u2022\u2010-\u2015-]+")
_NAMED_ADDRESS = re.compile(r"[^<>]*<\s*([^<>\s]+@[^<>\s]+)\s*>")
# Accents that stand alone, and so for an apostrophe: composed they would become a space and a mark.
_SPACED_ACCENTS = str.maketrans(dict.fromkeys("\u00b4\u0384\u1fbd\u1fbf\u1ffd\u1ffe", "'"))
_APOSTROPHES = re.compile("['`\u00b4\u2018\u2019\u02bc\u2032]")
_POINTS = re.compile("[\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670]")  # vowels of Hebrew and Arabic
_WITHOUT_MARKS = str.maketrans(
    {
        "\u00f8": "o",
        "\u0142": "l",
        "\u0111": "d",
        "\u00f0": "d",
        "\u00fe": "th",
        "\u00e6": "ae",
        "\u0153": "oe",
        "\u0131": "i",
    }
)
_SPELT_OUT = str.maketrans({"\u00e4": "ae", "\u00f6": "oe", "\u00fc": "ue", "\u00f8": "oe", "\u00e5": "aa"})
_DOTS_MEAN_NOTHING = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}
_EMAIL_LABEL = re.compile(r"(?:mailto|smtp|e-?mail):\s*", re.IGNORECASE)
_PHONE_LABEL = re.compile(
    r"(?:tel|telephone|phone|mobile|mob|cell|sms|whatsapp)(?:\b[.:]*|[.:]+)\s*(?=[+(\d])", re.IGNORECASE
)
_BRACKETS = {"(": ")", "[": "]", "'": "'", "\u2018": "\u2019"}
_ADDRESS_LINES = ("addressline1", "addressline2", "addressline3", "city", "state", "zip", "country")
_STREET_WORDS = {
    "street": "st", "strasse": "str", "avenue": "ave", "av": "ave", "road": "rd", "lane": "ln", "drive": "dr",
    "boulevard": "blvd", "court": "ct", "place": "pl", "square": "sq", "terrace": "ter", "highway": "hwy",
    "parkway": "pkwy", "circle": "cir", "trail": "trl", "way": "wy", "apartment": "apt", "suite": "ste",
    "north": "n", "south": "s", "east": "e", "west": "w", "first": "1st", "second": "2nd", "third": "3rd",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spelling:
    """A recipient as read: `kind` is email, phone or name; who shares one of the `forms` is certainly the same."""

    kind: str
    forms: frozenset[str]
    loose: frozenset[str] | frozenset[frozenset[str]]


def clean(text: str) -> str:
    """The text in one Unicode form, of one width, with single spaces and without invisible characters."""
    # Letters only: a joiner within a name is invisible, and copied from elsewhere more often than typed.
    if "&" in text and ";" in text:
        text = html.unescape(text)  # a name as it stood on a web page
    composed = unicodedata.normalize("NFKC", text.translate(_SPACED_ACCENTS))
    visible = composed if composed.isascii() else "".join(c for c in composed if unicodedata.category(c) != "Cf")
    return " ".join(visible.split())


def fold(text: str) -> str:
    """The text as it compares: `clean`, without case. A Turkish dotted or dotless i is an i, a sharp s is ss."""
    text = clean(text)
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text.casefold()).replace("i\u0307", "i").replace("\u0131", "i")
    return unicodedata.normalize("NFKC", folded)


def without_marks(text: str) -> str:
    """A folded text with the bare letters in place of Latin and Greek ones with marks."""
    if text.isascii():
        return text
    letters: list[str] = []
    for letter in unicodedata.normalize("NFD", text):
        if not ("\u0300" <= letter <= "\u036f" and letters and _has_bare_form(letters[-1])):
            letters.append(letter)
    bare = "".join(letter for letter in letters if not _POINTS.match(letter))
    return unicodedata.normalize("NFC", bare).translate(_WITHOUT_MARKS)


def _has_bare_form(letter: str) -> bool:
    return letter.isascii() or "\u0370" <= letter <= "\u03ff" or letter <= "\u024f"


def variants(text: str) -> frozenset[str]:
    """A folded text as those write it who have no marks: the letters alone, or the marks spelt out (ue for \u00fc)."""
    if text.isascii():
        return frozenset({text})
    return frozenset({without_marks(text), without_marks(text.translate(_SPELT_OUT))})


@lru_cache(maxsize=65_536)
def read_spelling(text: str) -> Spelling:
    """Reads the text as an e-mail address, a telephone number or a name."""
    if email := _email(text):
        return Spelling("email", frozenset({email}), frozenset({_without_tag(each) for each in variants(email)}))
    if phone := _phone(text):
        return Spelling("phone", frozenset({phone}), frozenset({phone.lstrip("+").lstrip("0")}))
    name = _name(text)
    words = frozenset(frozenset(each.split()) for each in variants(name))
    return Spelling("name", frozenset({name} if name else ()), words)


def is_same(one: str, other: str) -> bool:
    """Whether both certainly name the same person."""
    return bool(read_spelling(one).forms & read_spelling(other).forms)


def may_be_same(one: str, other: str) -> str | None:
    """Why both may name the same person although that is not certain; None where they do not, or certainly do."""
    first, second = read_spelling(one), read_spelling(other)
    if first.kind != second.kind or first.forms & second.forms:
        return None
    match first.kind:
        case "email" if first.loose & second.loose:
            return "the same e-mail address but for a tag, a dot or an accent"
        case "phone":
            short, long = sorted((*map(str, first.loose), *map(str, second.loose)), key=len)
            if (len(short) >= 7 and long.endswith(short)) or (len(short) > 9 and long[-9:] == short[-9:]):
                return "the same telephone number but for its country or area"
        case "name" if any(_share(a, b) for a in first.loose for b in second.loose) or _run_together(first, second):
            return "the same name but for its order, an accent or a further name"
    return None


def _run_together(one: Spelling, other: Spelling) -> bool:
    """Whether the names are the same but for where their words part, as of O Brien or Jean Luc."""
    whole = [{variant.replace(" ", "") for form in each.forms for variant in variants(form)} for each in (one, other)]
    return bool((whole[0] & whole[1]) - {""})


def _share(one: Iterable[str], other: Iterable[str]) -> bool:
    words, others = frozenset(one), frozenset(other)
    return bool(words) and (
        words == others or (min(len(words), len(others)) > 1 and (words < others or others < words))
    )


def _email(text: str) -> str | None:
    text = clean(text).rstrip(",;")
    if label := _EMAIL_LABEL.match(text):
        text = text[label.end() :].partition("?")[0]
    if match := _NAMED_ADDRESS.fullmatch(text):
        text = match[1]
    elif text[:1] in _BRACKETS and text.endswith(_BRACKETS[text[0]]):
        text = text[1:-1]
    local, at, domain = text.rpartition("@")
    if not (at and local and domain) or " " in text:
        return None
    labels = (_label(label) for label in domain.replace("\u3002", ".").rstrip(".").split("."))
    return fold(local.strip('"')) + "@" + ".".join(labels)


def _label(label: str) -> str:
    """A part of a domain in its letters; a sharp s stays one, as there it is not ss."""
    label = label.lower()
    if label.startswith("xn--"):
        try:
            label = label[4:].encode("ascii").decode("punycode")
        except UnicodeError:
            return label
    return unicodedata.normalize("NFKC", label.lower()).replace("i\u0307", "i")


def _without_tag(email: str) -> str:
    local, _, domain = email.rpartition("@")
    local, domain = local.split("+")[0], domain.replace("\u00df", "ss")
    if domain in _DOTS_MEAN_NOTHING:
        local, domain = local.replace(".", ""), _DOTS_MEAN_NOTHING[domain]
    return f"{local}@{domain}"


def _digits(text: str) -> str:
    return "".join(str(unicodedata.digit(letter)) for letter in text if letter.isdigit())


def _phone(text: str) -> str | None:
    """The number with its country where that is known, +15550100123; ten digits without one are of North America."""
    text = clean(text).rstrip(",;")
    if label := _PHONE_LABEL.match(text):
        text = text[label.end() :]
    if not _PHONE.fullmatch(text):
        return None
    international = text.lstrip(" (").startswith("+")
    if international or text.startswith("00"):
        text = re.sub(r"\(\s*0\s*\)", "", text)  # +44 (0)20: the zero is for callers from within
    digits = _digits(text)
    if len(digits) < 5:
        return None
    if international:
        return f"+{digits}"
    if len(digits) < 7:
        return digits
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    if digits.startswith("011") and len(digits) >= 13:
        return f"+{digits[3:]}"
    if len(digits) == 10 and digits[0] not in "01":
        return f"+1{digits}"
    return f"+{digits}" if len(digits) > 10 and digits[0] != "0" else digits


def _words(text: str) -> str:
    """A folded text without apostrophes, and with spaces for any other sign."""
    text = _APOSTROPHES.sub("", text)
    return " ".join("".join(" " if unicodedata.category(c)[0] in "PSZ" else c for c in text).split())


def _name(text: str) -> str:
    """A name as "first last", of words alone; what holds no word as it is."""
    folded = fold(text)
    last, comma, first = folded.partition(",")
    if comma and last.strip() and first.strip() and "," not in first and not any(c.isdigit() for c in folded):
        folded = f"{first} {last}"
    return _words(folded) or folded


@lru_cache(maxsize=4096)
def street_address(text: str) -> str:
    """A street address, or a part of one, as it compares: bare letters, and the usual short words."""
    words = _words(without_marks(fold(text))).split()
    return " ".join(_STREET_WORDS.get(word) or re.sub(r"(?<=\w)strasse$", "str", word) for word in words)


def is_at(asked: str, address: Mapping[str, Any]) -> bool:
    """Whether the text is this postal address: its first line at least, and nothing that is not in the address."""
    parts = [street_address(part) for part in address_parts(address)]
    asked_words = street_address(asked)
    has_number = any(letter.isdigit() for letter in asked_words)
    if not parts or not has_number or not f"{asked_words} ".startswith(f"{parts[0]} "):
        return False
    return set(asked_words.split()) <= set(" ".join(parts).split())


def address_parts(address: Mapping[str, Any]) -> list[str]:
    """The lines of a postal address in their order, its names read in any case."""
    folded = {str(name).casefold(): value for name, value in address.items()}
    return [str(folded[name]) for name in _ADDRESS_LINES if isinstance(folded.get(name), str | int)]


# What the search looks through


def search_key(people: Iterable[str], addresses: Iterable[Mapping[str, Any]] = ()) -> str | None:
    """What is kept to find a line by its people: all their forms, each on a line of its own; None without any."""
    forms: dict[str, None] = {}
    for text in people:
        for form in sorted(read_spelling(text).forms):
            forms |= dict.fromkeys((form, *sorted(variants(form))))
    for address in addresses:
        whole = " ".join(address_parts(address))
        forms |= dict.fromkeys((_words(without_marks(fold(whole))), street_address(whole)))
    forms.pop("", None)
    return ("\n" + "\n".join(forms) + "\n")[:LONGEST_KEY] if forms else None


def search_forms(text: str) -> frozenset[str]:
    """What a search for a person, whole or a part, looks for in the key of a line.

    Not what is left where nearly all of the text was punctuation: "<b>" is no search for everyone with a b.
    """
    name = _name(text)
    forms = {name, fold(text), street_address(text), *variants(name), *variants(fold(text)), *read_spelling(text).forms}
    forms.update(_phone_forms(text))
    least = min(LEAST_SEARCHED, len(text.strip()))
    return frozenset(form for form in forms - {""} if len(form) >= least)


def _phone_forms(text: str) -> Iterator[str]:
    phone = _phone(text)
    if phone is None:
        return
    digits = _digits(clean(text))
    yield digits.lstrip("0") or digits
    if phone.startswith("+"):
        # One who gave the number without its country, as it is dialled within: with a zero in front.
        yield from (f"\n0{phone[1 + length :]}\n" for length in (1, 2, 3) if len(phone) > 8)


# People in free text

LEAST_SEARCHED = 3  # letters and digits of a longer text
_EMAILS = re.compile(r"[^\s@\"'<>(),;:]+@[^\s@\"'<>(),;:]+")
_PHONES = re.compile(r"[+(]?\d[\d\s()./\u00b7\u2022\u2010-\u2015-]{3,40}\d")
_LEAST_DIGITS = 7
_NO_WORD = re.compile(r"[^0-9a-z]+")


def can_be_mentioned(person: str) -> bool:
    """Whether free text can name the person: an address, a whole number, a name of two words or more.

    Less than that ("Ann", "US", "example.com", "nb-1", "12345") is a word, a country, a brand or an id in most texts.
    """
    spelling = read_spelling(person)
    if spelling.kind == "phone":
        return all(len(_digits(form)) >= _LEAST_DIGITS for form in spelling.forms)
    words = [word for word in re.split(r"[\s,]+", clean(person)) if word[:1].isalpha()]
    return spelling.kind == "email" or sum(not any(c.isdigit() for c in word) for word in words) > 1


def is_mentioned(text: str, person: str) -> bool:
    """Whether the text names the person somewhere, however written."""
    spelling = read_spelling(person)
    match spelling.kind:
        case "email":
            return any(is_same(each.rstrip("."), person) for each in _EMAILS.findall(clean(text)) if "@" in text)
        case "phone":
            return _holds_number(text, person)
    folded = _APOSTROPHES.sub("", fold(text))
    for form in spelling.forms:
        *first, last = form.split()
        if last in folded:
            words = f" {_NO_WORD.sub(' ', folded) if folded.isascii() else _words(folded)} "
            return any(f" {' '.join(order)} " in words for order in ([*first, last], [last, *first]))
    return False


def _holds_number(text: str, person: str) -> bool:
    """Whether one of the numbers in the text is the person's, or holds it among others."""
    [number] = read_spelling(person).forms
    digits = number.lstrip("+")
    for run in _PHONES.findall(clean(text)):
        if is_same(run, person) or (len(digits) >= 9 and digits in _digits(run)):
            return True
    return False
