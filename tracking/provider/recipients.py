"""Where a recipient shows in a request or in the provider's document of an order, and how to take them out. Pure.

Reads names in any case, as the provider writes them in more than one. Matches people by their whole e-mail address,
telephone number or name, without regard to case and to space around it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from tracking.provider.masking import PEOPLE

DOCUMENT_LINES_KEPT = 100
_RECIPIENTS = frozenset({"email", "sms", "name", "to", "recipientname", "recipientemail", "recipientsms"})
Line = Mapping[str, Any]


def folded(text: str) -> str:
    """The text as people are compared."""
    return text.strip().casefold()


def lines_of(document: Any) -> list[Line]:
    """The line items of a request or a document; none where it does not hold them."""
    if not isinstance(document, Mapping):
        return []
    items = next((value for name, value in document.items() if name.casefold() == "lineitems"), None)
    return [item if isinstance(item, Mapping) else {} for item in items] if isinstance(items, list) else []


def recipients(line: Line) -> frozenset[str]:
    """Everything that names who receives the line, folded."""
    return frozenset(map(folded, _named(line, depth=0)))


def _named(value: Any, *, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping) and depth < 4:
        for name, entry in value.items():
            if isinstance(entry, str) and name.casefold() in _RECIPIENTS:
                yield entry
            elif depth == 0 and name.casefold() not in PEOPLE:
                continue
            else:
                yield from _named(entry, depth=depth + 1)


def id_of(line: Line) -> str | None:
    """The provider's id of the line."""
    return next((str(value) for name, value in line.items() if name.casefold() == "id" and value is not None), None)


def mentions(words: Any, person: str) -> bool:
    """Whether the person is named anywhere in these words, or values that hold words."""
    return bool(_replaced(words, _pattern(person)) != words)


def without(document: Mapping[str, Any], person: str, numbers: Collection[int]) -> dict[str, Any]:
    """The document without the people of these lines, counted from 1, and without the person anywhere else.

    Args:
        document: a request, or an order as the provider showed it.
        person: who is erased.
        numbers: the lines that are this person's.
    """
    cleared = _with_lines(document, lambda number, _: number in numbers)
    replaced: dict[str, Any] = _replaced(cleared, _pattern(person))
    return replaced


def kept(document: Mapping[str, Any], known: Collection[str] | None = None) -> dict[str, Any]:
    """What is kept of the provider's document: no long list of lines, as each is kept in a row of its own.

    Args:
        document: the order as the provider shows it.
        known: the recipients who were not erased; None where nobody was, so that all are kept.
    """
    short = {
        name: value
        for name, value in document.items()
        if not (isinstance(value, list) and len(value) > DOCUMENT_LINES_KEPT)
    }
    return short if known is None else of_known_people(short, known)


def of_known_people(document: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """The document without the people of all lines but those that name one of the known recipients."""
    names = frozenset(map(folded, known))
    return _with_lines(document, lambda _, line: not recipients(line) & names)


def _with_lines(document: Mapping[str, Any], strange: Callable[[int, Line], bool]) -> dict[str, Any]:
    """The document whose strange lines have lost all that is personal."""
    lines = [
        {name: value for name, value in line.items() if name.casefold() not in PEOPLE} if strange(at, line) else line
        for at, line in enumerate(lines_of(document), start=1)
    ]
    return {
        name: lines if name.casefold() == "lineitems" and lines else value
        for name, value in document.items()
        if name.casefold() not in PEOPLE
    }


def _pattern(person: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(person.strip())}(?!\w)", re.IGNORECASE)


def _replaced(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _replaced(entry, pattern) for name, entry in value.items()}
    if isinstance(value, list):
        return [_replaced(entry, pattern) for entry in value]
    return pattern.sub("***", value) if isinstance(value, str) else value
