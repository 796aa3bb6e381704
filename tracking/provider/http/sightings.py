"""Sightings: the fields and words that the provider was seen to use, gathered in memory, stored in groups.

Of a value only its type and its shape are looked at ("99.9", "AAA-999"), and the words of fields that hold one of a
few. A name or a word that looks like data, or that names a person or a secret of ours, is counted as "{name}" or
"{word}". The walk through an answer is bounded, and so is what is remembered of an endpoint.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tracking.errors import NotTheProvider, Throttled, UnreadableAnswer
from tracking.provider.http.contract import WEBHOOK, endpoint_of, is_documented, is_documented_name, is_open
from tracking.provider.http.contract_changes import judge
from tracking.provider.http.recording import ApiCall
from tracking.provider.masking import is_confidential, people_in
from tracking.storage.database import Database
from tracking.storage.team import sightings as stored
from tracking.storage.team.sightings import AT_MOST_PER_ENDPOINT, Gathered, Sighting

log = logging.getLogger(__name__)

STORED_EVERY = 60.0  # seconds between two updates of how often what is stored already came
VALUES_AT_MOST = 600  # that are looked at in one answer
ENTRIES_AT_MOST = 12  # of one list, others in the next answer
DEPTH = 12
READ_FOR_PEOPLE = 10_000  # values
NAMES_AT_MOST = 40  # of one object that are not documented, and words of one field
LONGEST_EXAMPLE = 40
LOGGED_AT_MOST = 5
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9 _.-]{0,39}|\d{1,3}")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}")
_INDEX = re.compile(r"\[\d+\]")
_DATA_DIGITS = re.compile(r"\d[^\d]*\d[^\d]*\d")
_WORDED = (
    *("status", "action", "deliverytype", "deliverytypes", "denominationtype", "currency", "currencycode"),
    *("culture", "culturecodes", "errorcode", "reasoncode", "fulfillmentgroup"),
)
_WORDED_NAMES = frozenset({"type", "carrier"})
_WORDED_IN_ERRORS = frozenset({"code", "error", "property"})
_TYPES = {
    dict: "object",
    list: "list",
    str: "text",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
}
Hide = Callable[[str], str]


class _Count:
    """How often one thing was seen by this process; once an answer, however often it stands there."""

    __slots__ = ("above", "above_total", "example", "first", "flushed", "last", "sighting", "total", "turn")

    def __init__(self, sighting: Sighting, above: "_Count | None" = None, example: str | None = None) -> None:
        self.sighting, self.above, self.example = sighting, above, example
        self.total = self.flushed = self.above_total = 0
        self.turn = -1
        self.first: datetime | None = None
        self.last: datetime | None = None

    def note(self, turn: int, now: datetime) -> None:
        if self.turn == turn:
            return
        self.turn, self.last = turn, now
        self.first = self.first or now
        self.total += 1
        if self.above is not None:
            self.above_total = self.above.total


class _Node:
    """One place in the JSON of an endpoint. `guarded`: what is below is claim data, a secret or about a person."""

    __slots__ = ("children", "field", "guarded", "others", "types", "worded", "words")

    def __init__(self, field: _Count, *, guarded: bool = False, worded: bool = False) -> None:
        self.field, self.guarded, self.worded = field, guarded, worded
        self.children: dict[str, _Node] = {}
        self.types: dict[type, _Count] = {}
        self.words: dict[Any, _Count] = {}
        self.others = 0  # names below it that are not documented


class Sightings:
    """What this process saw, until `flush` stores it. Noting raises nothing."""

    def __init__(self) -> None:
        self._roots: dict[tuple[str, str], _Node] = {}
        self._counts: dict[Sighting, _Count] = {}
        self._sizes: dict[str, int] = {}
        self._turn = self._answers = self._left = 0
        self._stored_at: datetime | None = None
        self._now: datetime | None = None
        self._hide: Hide = str

    def note_answer(self, call: ApiCall, error: BaseException | None, now: datetime, hide: Hide) -> None:
        """Notes the answer to a call; `hide` masks our own secrets. An answer that is the one before is not walked."""
        foreign = isinstance(error, NotTheProvider) or (isinstance(error, Throttled) and error.by_other)
        if call.status is None or foreign or (isinstance(error, UnreadableAnswer) and call.raw is None):
            return
        endpoint = endpoint_of(call.method, call.path)
        where = "" if call.status < 300 else str(call.status)
        document = None if call.masked_answer == '"unchanged"' else call.raw
        self._note(endpoint, where, document, call.answer_headers.get("content-type", ""), now, hide, call.document)
        self._count(Sighting(endpoint, "status", "", str(call.status)))

    def note_webhook(self, members: Mapping[str, Any], content_type: str, now: datetime) -> None:
        """Notes the body of a webhook call that was proven."""
        self._note(WEBHOOK, "", dict(members) or None, content_type, now, str, None)

    def _note(
        self, endpoint: str, where: str, raw: Any, content_type: str, now: datetime, hide: Hide, request: Any
    ) -> None:
        self._turn += 1
        self._answers += 1
        self._left, self._now = VALUES_AT_MOST, now
        media = content_type.partition(";")[0].strip().lower()
        if media:
            fit = media if _MEDIA_TYPE.fullmatch(media) else "{other}"
            self._count(Sighting(endpoint, "content type", "", fit))
        if raw is None:
            return
        self._hide = _hiding(request, raw, hide)
        root = self._roots.get((endpoint, where))
        if root is None:
            count = self._counted(Sighting(endpoint, "field", where, ""))
            if count is None:
                return
            root = self._roots[endpoint, where] = _Node(count, guarded=endpoint == "POST /v1/Tokens")
        self._walk(root, raw, 0)
        self._hide = str

    def _walk(self, node: _Node, value: Any, depth: int) -> None:
        now = self._now
        if now is None or self._left <= 0 or depth > DEPTH:
            return
        self._left -= 1
        turn = self._turn
        node.field.note(turn, now)
        kind = dict if isinstance(value, dict) else type(value)
        count = node.types.get(kind) or self._typed(node, kind, value)
        if count is not None:
            count.note(turn, now)
        if kind is dict:
            for name, entry in value.items():
                if self._left <= 0:
                    break
                child = node.children.get(name) or self._child(node, name)
                if child is not None:
                    self._walk(child, entry, depth + 1)
        elif kind is list:
            child = node.children.get("[]") or self._child(node, "[]")
            if child is not None:
                for entry in _sample(value, turn):
                    self._walk(child, entry, depth + 1)
        elif node.worded and kind in {str, int} and (word := self._worded(node, value)) is not None:
            word.note(turn, now)

    def _typed(self, node: _Node, kind: type, value: Any) -> _Count | None:
        endpoint, _, place, _ = node.field.sighting
        example = _example(value, guarded=node.guarded)
        node.field.example = node.field.example or example
        count = self._counted(Sighting(endpoint, "type", place, _TYPES.get(kind, "other")), node.field, example)
        if count is not None:
            node.types[kind] = count
        return count

    def _child(self, node: _Node, name: str) -> _Node | None:
        """The place of a name that is new below this one; None where no more are remembered."""
        self._left -= 1
        endpoint, _, place, _ = node.field.sighting
        separator = "" if name == "[]" or not place else " " if place.isdigit() else "."
        field = Sighting(endpoint, "field", f"{place}{separator}{name}", "")
        documented = name == "[]" or is_documented(field)
        if not documented:
            if not self._is_name(node, name):
                name = "{name}"
                field = field._replace(place=f"{place}{separator}{name}")
            if (other := node.children.get(name)) is not None:
                return other
        count = self._counted(field, node.field)
        if count is None:
            return None
        node.others += not documented
        folded = place.rpartition(".")[2].removesuffix("[]").casefold() if name == "[]" else name.casefold()
        guarded = node.guarded or (is_confidential(folded) and name != "[]")
        made = node.children[name] = _Node(count, guarded=guarded, worded=not guarded and _is_worded(folded, place))
        return made

    def _is_name(self, node: _Node, name: str) -> bool:
        usual = not node.guarded and node.others < NAMES_AT_MOST and _NAME.fullmatch(name) is not None
        return usual and not _DATA_DIGITS.search(name) and self._hide(name) == name

    def _worded(self, node: _Node, value: Any) -> _Count | None:
        key = value if isinstance(value, str) else str(value)
        if (count := node.words.get(key)) is not None:
            return count
        endpoint, _, place, _ = node.field.sighting
        word = _INDEX.sub("[]", key.strip())
        sighting = Sighting(endpoint, "word", place, word)
        fit = (is_documented(sighting) and not is_open(place)) or self._is_word(place, word)
        if not fit or len(node.words) >= NAMES_AT_MOST:
            return self._counted(sighting._replace(value="{word}"), node.field)
        count = self._counted(sighting, node.field, word)
        if count is not None:
            node.words[key] = count
        return count

    def _is_word(self, place: str, word: str) -> bool:
        if place.casefold().endswith("property"):  # what it names was in the request, whatever that was
            return all(is_documented_name(part.removesuffix("[]")) for part in word.split("."))
        return bool(_WORD.fullmatch(word)) and not _DATA_DIGITS.search(word) and self._hide(word) == word

    def _count(self, sighting: Sighting) -> None:
        if self._now is not None and (count := self._counted(sighting)) is not None:
            count.note(self._turn, self._now)

    def _counted(self, sighting: Sighting, above: _Count | None = None, example: str | None = None) -> _Count | None:
        """The count of this; of what is not documented no more than so many are remembered, and the rest is counted."""
        if (count := self._counts.get(sighting)) is not None:
            return count
        endpoint = sighting.endpoint
        if not is_documented(sighting):
            if self._sizes.get(endpoint, 0) >= AT_MOST_PER_ENDPOINT:
                beyond = stored.beyond(sighting)
                count = self._counts.setdefault(beyond, _Count(beyond))
                count.total += 1
                count.first, count.last = count.first or self._now, self._now
                return None
            self._sizes[endpoint] = self._sizes.get(endpoint, 0) + 1
        count = self._counts[sighting] = _Count(sighting, above, example)
        return count

    async def flush(self, database: Database, now: datetime, *, ending: bool = False) -> None:
        """Stores what is new, at once, and how often all came, once a minute; tells the log what nobody knew yet.

        All of it at once where the process is `ending`.
        """
        is_new = any(not count.flushed and count.total for count in self._counts.values())
        age = None if self._stored_at is None else (now - self._stored_at).total_seconds()
        if not self._answers or not (ending or is_new or age is None or not 0 <= age < STORED_EVERY):
            return
        taken, answers = list(self._taken()), self._answers
        totals = {count.sighting: count.total for count in self._counts.values()}
        fresh_ones = await database.run(lambda connection: _store(connection, taken, answers, now))
        for sighting, total in totals.items():
            self._counts[sighting].flushed = total
        self._answers -= answers
        self._stored_at = now
        if fresh_ones:
            named = "; ".join(" ".join(filter(None, each)) for each in fresh_ones[:LOGGED_AT_MOST])
            log.warning("the provider uses what it did not use before (%d): %s", len(fresh_ones), named)

    def _taken(self) -> Iterator[Gathered]:
        for count in self._counts.values():
            if count.total > count.flushed and count.first and count.last:
                above = count.above
                yield Gathered(
                    count.sighting,
                    count.total - count.flushed,
                    count.first,
                    count.last,
                    count.example,
                    above.sighting if above else None,
                    count.above_total - above.flushed if above else 0,
                    is_documented(count.sighting),
                )


def _store(connection: Connection, taken: list[Gathered], answers: int, now: datetime) -> list[Sighting]:
    """Stores what was gathered and judges the whole; returns what is new since the baseline."""
    learning, fresh = stored.store(connection, taken, answers, now)
    judge(connection, now)
    return fresh if learning.over_at is not None else []


def _hiding(request: Any, raw: Any, hide: Hide) -> Hide:
    """What masks our secrets and whoever the request or the answer is about; all of it where that is too long to read.

    Asked for new names and words alone.
    """
    people: set[str] | None = None

    def hidden(text: str) -> str:
        nonlocal people
        if people is None:
            small = _is_small([request, raw])
            people = {person.casefold() for person in people_in([request, raw])} if small else {""}
        folded = text.casefold()
        named = any(person in {folded, ""} or (len(person) > 4 and person in folded) for person in people)
        return "" if named else hide(text)

    return hidden


def _is_small(value: Any) -> bool:
    """Whether there are at most READ_FOR_PEOPLE values in it."""
    values, number = [value], 0
    while values and number <= READ_FOR_PEOPLE:
        number += 1
        each = values.pop()
        if isinstance(each, dict | list):
            number += len(each)
            values += each.values() if isinstance(each, dict) else each
    return not values


def _is_worded(folded: str, place: str) -> bool:
    """Whether a field of this name holds one of a few words."""
    in_errors = place[:1].isdigit() and folded in _WORDED_IN_ERRORS
    return folded.endswith(_WORDED) or folded in _WORDED_NAMES or in_errors


def _sample(entries: list[Any], turn: int) -> list[Any]:
    """So many entries, spread over the list; in another turn others."""
    step = -(-len(entries) // ENTRIES_AT_MOST) if len(entries) > ENTRIES_AT_MOST else 1
    return entries[turn % step :: step]


def _example(value: Any, *, guarded: bool) -> str | None:
    """The shape of a value: letters as A and a, digits as 9. No letter of it is in there."""
    if value is None or isinstance(value, dict):
        return None
    if isinstance(value, list):
        return None if guarded else "a list"
    if guarded:
        return "***"
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else repr(value)
    return "".join(map(_shape, text[:LONGEST_EXAMPLE])) or None


def _shape(letter: str) -> str:
    if letter.isalpha():
        return "A" if letter.isupper() else "a"
    return "9" if letter.isnumeric() else letter if letter.isascii() and letter.isprintable() else "?"
