"""Terms of a search: the text taken as a whole or as words; as ids, and as people's spellings. Pure."""

from __future__ import annotations

from tracking.provider import people
from tracking.provider.json_fields import storable
from tracking.storage.search.matching import LETTERS, Needle
from tracking.storage.search.texts import fold

WORDS_AT_MOST = 8  # of a longer text only the whole is looked for


def readable(text: str) -> str:
    """The text as it is looked for: without what no store holds, with single spaces."""
    return " ".join(storable(text).split())


def is_short(text: str) -> bool:
    """Whether the text has so few characters that only what begins with it is looked for."""
    return len(fold(text)) < LETTERS


def alternatives(text: str) -> list[tuple[Needle, ...]]:
    """The needles of a text that is not short: the whole, or else each of its words."""
    text = readable(text)
    whole = _needle(text)
    each = tuple(_needle(word) for word in dict.fromkeys(text.split()))
    several = 1 < len(each) <= WORDS_AT_MOST and any(needle.is_indexed for needle in each)
    return [(whole,), each] if several else [(whole,)]


def _needle(text: str) -> Needle:
    """An id is found with its spaces and without; people however they are written."""
    words = {fold(text), fold("".join(text.split()))}
    forms = people.search_forms(text)
    least = min(LETTERS, len(fold(text)))
    return Needle(*(tuple(sorted(form for form in each if len(form) >= least)) for each in (words, forms)))
