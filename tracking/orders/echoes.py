"""Echoes: whether an identifier that comes back may be the one that was sent, whatever was done on the way. Pure."""

import contextlib
import html
import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import unquote, unquote_plus

from tracking.orders.model import folded_id, same_id

# Usual lengths of fields that texts are cut to; one less where a zero byte ends them.
_CUTS = frozenset({20, 22, 24, 25, 30, 31, 32, 35, 36, 40, 45, 48, 50, 60, 63, 64, 75, 80, 99})
_TIMES_ESCAPED = 3
_SPELLINGS_AT_MOST = 16
_QUOTED = re.compile(r"""(["'])(.+)\1""", re.DOTALL)
_BY_NUMBER = re.compile(r"(?:\\|%)u([0-9a-fA-F]{4})")
_BACKSLASH = re.compile(r"""\\(["'\\/])""")
_TURKISH = str.maketrans({"\u0130": "i", "\u0131": "i"})  # what a Turkish system makes of i, and of I
_LOST = frozenset("?\ufffd")  # what stands for a letter that a system cannot write, or for each of its bytes
_BYTES_OF_A_LETTER = 4
_LEAST_LEFT = 4  # letters and digits, where others are gone without a trace
_PLAIN_MARKS = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}
_NUMBER = re.compile(r"\d{1,40}(?:\.\d{1,40})?(?:E[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_DIGITS_OF_A_FLOAT = 15


def is_echo(echoed: str | None, sent: str, *, whole: bool = False) -> bool:
    """Whether a PONumber that comes back may be the one that was sent; it may be left out, too.

    Systems on the way escape it, read it in another encoding, or lose what they cannot write or hold. `whole`: nothing
    of it may be lost, as where it alone says whose order it is. Without that it is for what is known otherwise to be
    about this order: the answer to its POST or under its id, a call of its own webhook address. The beginning of a
    PONumber, which may be the beginning of another's too, contradicts none of these, and completes nothing by itself.
    """
    if echoed is None or same_id(echoed, sent) or any(same_id(one, sent) for one in respellings(echoed)):
        return True
    return not whole and _may_be_left_of(echoed.strip(), sent.strip())


def respellings(echoed: str) -> Iterator[str]:
    """What a text may have been before it was escaped, or read in another encoding than it was written in."""
    spellings, latest = {echoed}, [echoed]
    for _ in range(_TIMES_ESCAPED):
        latest = list(dict.fromkeys(one for text in latest for one in _undone(text) if one not in spellings))
        spellings.update(latest)
        yield from latest[:_SPELLINGS_AT_MOST]
        if not latest or len(spellings) > _SPELLINGS_AT_MOST:
            return


def _undone(text: str) -> Iterator[str]:
    """The text with one thing undone that may have been done to it; no database takes one with NUL."""
    if "&" in text:
        yield html.unescape(text)
    if "%" in text:
        yield from (one for one in (unquote(text), unquote(text, "latin-1")) if "\0" not in one and "\ufffd" not in one)
    if "+" in text and "\0" not in (spaced := unquote_plus(text)):
        yield spaced
    if _BY_NUMBER.search(text):
        units = _BY_NUMBER.sub(lambda match: chr(int(match[1], 16)), text).replace("\0", "")
        yield units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if "\\" in text:
        yield _BACKSLASH.sub(r"\1", text)
    if quoted := _QUOTED.fullmatch(text):
        yield quoted[2]
    if "''" in text or '""' in text:
        yield text.replace("''", "'").replace('""', '"')
    if not text.isascii():
        yield from _of_another_encoding(text)


def _of_another_encoding(text: str) -> Iterator[str]:
    for read_in, written_in in (("cp1252", "utf-8"), ("latin-1", "utf-8"), ("latin-1", "cp1252")):
        with contextlib.suppress(ValueError):
            yield text.encode(read_in).decode(written_in)
    yield "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    yield text.translate(_TURKISH)


def _may_be_left_of(echoed: str, sent: str) -> bool:
    """Whether it is what is left of the text: its beginning, its words, its number, its letters of ASCII."""
    if len(echoed) in _CUTS and folded_id(sent).startswith(folded_id(echoed)):
        return True
    if echoed.split() == sent.split() or _is_its_number(echoed, sent):
        return True
    if sent.isascii():
        return False
    return _is_left_in_ascii(echoed, unicodedata.normalize("NFC", sent))


def _is_left_in_ascii(echoed: str, sent: str) -> bool:
    """Whether letters outside of ASCII alone are bare now, or replaced, or gone where enough of the others is left."""
    text = unicodedata.normalize("NFC", echoed).translate(_TURKISH).casefold()
    may_be_gone = sum(letter.isascii() and letter.isalnum() for letter in sent) >= _LEAST_LEFT
    ends = {0}  # where in the text what was sent so far may end
    for letter in sent:
        reached = {end + len(form) for form in _forms(letter) for end in ends if text.startswith(form, end)}
        if not letter.isascii():
            reached |= {place for end in ends for place in _past_lost(text, end)} | (ends if may_be_gone else set())
        ends = reached
    return len(text) in ends


def _forms(letter: str) -> set[str]:
    """The letter as it is compared, and its form in ASCII."""
    if letter.isascii():
        return {letter.casefold()}
    bare = "".join(each for each in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(each))
    plain = "-" if unicodedata.category(letter) == "Pd" else _PLAIN_MARKS.get(letter, bare)
    return {form.translate(_TURKISH).casefold() for form in (letter, plain) if form}


def _past_lost(text: str, start: int) -> Iterator[int]:
    """Behind each of the signs that stand for one letter."""
    for end in range(start, min(start + _BYTES_OF_A_LETTER, len(text))):
        if text[end] not in _LOST:
            return
        yield end + 1


def _is_its_number(echoed: str, sent: str) -> bool:
    """Whether it is the same number, taken for one on the way: without its zeros in front, or as a float holds it."""
    if not (_NUMBER.fullmatch(echoed) and _NUMBER.fullmatch(sent)):
        return False
    one, other = Decimal(echoed), Decimal(sent)
    return one == other or (len(sent) > _DIGITS_OF_A_FLOAT and float(one) == float(other))
