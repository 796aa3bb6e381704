"""Finds recipients in a request or in the provider's document of an order, and removes them. Pure.

Reads names in any case, as the provider writes them in more than one. Matches people by their whole e-mail address,
telephone number or name, however that is written (see `people`).
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from tracking.provider import people
from tracking.provider.masking import PERSONAL_FIELDS

MAX_LIST_STORED = 100
_RECIPIENTS = frozenset({"email", "sms", "name", "to", "recipientname", "recipientemail", "recipientsms"})
_LINES = frozenset({"lineitems", "lines"})  # of the provider, of a draft
LineDocument = Mapping[str, Any]


def line_documents(document: Any) -> list[LineDocument]:
    """The line items of a request or a document; none where it does not hold them."""
    if not isinstance(document, Mapping):
        return []
    items = next((value for name, value in document.items() if name.casefold() == "lineitems"), None)
    return [item if isinstance(item, Mapping) else {} for item in items] if isinstance(items, list) else []


def recipients_of(line: LineDocument) -> frozenset[str]:
    """Everything that names who receives the line, as it is written there."""
    return frozenset(_recipient_names(line, depth=0))


def is_for(line: LineDocument, person: str) -> bool:
    """Whether the person certainly receives the line."""
    return any(people.is_same(name, person) for name in recipients_of(line))


def addresses_of(line: LineDocument) -> list[Mapping[str, Any]]:
    """The postal addresses of the line."""
    return [
        value
        for name, value in line.items()
        if name.casefold() == "physicaldeliveryaddress" and isinstance(value, Mapping)
    ]


def search_key(line: LineDocument, recipient: str | None) -> str | None:
    """What the search looks through to find the line by its people: their forms and addresses; None without any."""
    names = recipients_of(line) | ({recipient} if recipient else set())
    return people.search_key(sorted(names), addresses_of(line))


def _recipient_names(value: Any, *, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping) and depth < 4:
        for name, entry in value.items():
            if isinstance(entry, str) and name.casefold() in _RECIPIENTS:
                yield entry
            elif depth or name.casefold() in PERSONAL_FIELDS:
                yield from _recipient_names(entry, depth=depth + 1)


def line_id(line: LineDocument) -> str | None:
    """The provider's id of the line."""
    return next((str(value) for name, value in line.items() if name.casefold() == "id" and value is not None), None)


def mentions(value: Any, person: str) -> bool:
    """Whether the person is named anywhere in this text, or in values that hold text."""
    if isinstance(value, Mapping):
        return any(mentions(entry, person) for entry in value.values())
    if isinstance(value, list):
        return any(mentions(entry, person) for entry in value)
    return isinstance(value, str) and people.is_mentioned(value, person)


def copies_name(value: Any, person: str) -> bool:
    """Whether what was written down beside the orders names the person whole.

    That is in its words, where nothing but a person is written like that, or as the recipient of a line it holds.
    """
    return (people.can_be_mentioned(person) and mentions(value, person)) or _holds_line_for(value, person)


def _holds_line_for(value: Any, person: str) -> bool:
    """Whether a line somewhere in these values goes to the person; of anything else a name may be a brand's."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip()[:1] in {"{", "["} else None
        except (ValueError, RecursionError):  # cut where it was too long
            return False
    if isinstance(value, list):
        return any(_holds_line_for(entry, person) for entry in value)
    if not isinstance(value, Mapping):
        return False
    lines = [line for name in value if name.casefold() in _LINES for line in _mappings(value[name])]
    return any(is_for(line, person) for line in lines) or any(_holds_line_for(each, person) for each in value.values())


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def remove_person(document: Mapping[str, Any], person: str, numbers: Collection[int]) -> dict[str, Any]:
    """Removes the people of these lines, counted from 1, and the person anywhere else in a request or a document."""
    cleared = _remove_people(document, lambda number, _: number in numbers)
    result: dict[str, Any] = _without(cleared, person)
    return result


def document_to_store(document: Mapping[str, Any], recipients: Collection[str] | None = None) -> dict[str, Any]:
    """What is stored of the provider's document: no long list of lines, as each is stored in a row of its own.

    `recipients` are those who were not erased, and people of no other line stay; None where nobody was.
    """
    too_long = {name for name, value in document.items() if isinstance(value, list) and len(value) > MAX_LIST_STORED}
    short = {name: value for name, value in document.items() if name not in too_long}
    if recipients is None:
        return short
    forms = _forms(recipients)
    return _remove_people(short, lambda _, line: not _forms(recipients_of(line)) & forms)


def _remove_people(document: Mapping[str, Any], is_removed: Callable[[int, LineDocument], bool]) -> dict[str, Any]:
    """Removes all that is personal from the document but for the lines that stay."""
    numbered = enumerate(line_documents(document), start=1)
    lines = [_impersonal(line) if is_removed(at, line) else line for at, line in numbered]
    fields = _impersonal(document)
    return fields | {name: lines for name in fields if lines and name.casefold() == "lineitems"}


def _impersonal(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name.casefold() not in PERSONAL_FIELDS}


def _forms(names: Collection[str]) -> frozenset[str]:
    return frozenset().union(*(people.read_spelling(name).forms for name in names))


def _without(value: Any, person: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(entry, person) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without(entry, person) for entry in value]
    if not isinstance(value, str) or not people.is_mentioned(value, person):
        return value
    as_asked = re.compile(rf"(?<!\w){re.escape(person.strip())}(?!\w)", re.IGNORECASE)
    rest = as_asked.sub("***", value)
    # In a spelling of its own the words around it go too, rather than a part of it stay.
    return "***" if people.is_mentioned(rest, person) else rest
