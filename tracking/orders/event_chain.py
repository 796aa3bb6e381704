"""Hash chain of an order's log: what an event's hash covers, and the keyed hashes of recipients.

Each event carries the hash of the one before, so that none can be changed, left out, put in or moved unseen; the hash
of the newest is kept with the order. A recipient enters the chain only as a hash that is keyed with a salt of the line:
once the salt is deleted, nobody can tell any more who it was, and the chain still holds. Pure; knows no store.

An event's hash is the SHA-256 of a JSON array: PONumber, seq, kind, witness, happened_at, learned_at, changes,
line_changes, detail, the hash before. Times are in UTC to the microsecond, the names in objects are sorted, and all is
spaced as Python's `json` does it by default: so are the texts in the store's JSON columns, which can be hashed as read.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from tracking.orders.model import Event, Line

CONTENT_FIELDS = ("number", "product_id", "value_minor", "quantity", "external_id", "recipient_hash")
LINE_FIELDS = tuple(entry.name for entry in fields(Line))
LINE_COLUMNS = (*LINE_FIELDS, "recipient_salt", "recipient_hash")
contents_of = itemgetter(*map(LINE_COLUMNS.index, CONTENT_FIELDS))
"""Picks the values of CONTENT_FIELDS out of those of LINE_COLUMNS."""
_line_facts = attrgetter(*LINE_FIELDS)


def _encoder(*, sort_keys: bool) -> Callable[[Any], str]:
    """Build what writes JSON as `json` does: that would build its encoder in C anew for each of the many documents."""
    plain = json.JSONEncoder(sort_keys=sort_keys)
    build = getattr(json.encoder, "c_make_encoder", None)
    if build is None:
        return plain.encode
    chunks = build(None, plain.default, quoted, None, ": ", ", ", sort_keys, False, True)
    return lambda document: "".join(chunks(document, 0))


canonical, _as_given = _encoder(sort_keys=True), _encoder(sort_keys=False)


def as_json(document: Any) -> str:
    """The document as `json` writes it."""
    return _as_given(document)  # not that itself: for each connection psycopg makes types anew of a closure


def _document(facts: Mapping[str, Any]) -> str:
    """The same for a document, quicker where it has no entry or one text, as most have."""
    if len(facts) > 1:
        return canonical(facts)
    for name, value in facts.items():
        if type(value) is str and type(name) is str:
            return f"{{{quoted(name)}: {quoted(value)}}}"
        return canonical(facts)
    return _NOTHING


_NOTHING, _NONE = canonical({}), canonical([])


class Entry(NamedTuple):
    """An event as the texts that are hashed; `previous` is the hash of the one before."""

    seq: int
    kind: str
    witness: str
    happened_at: str
    learned_at: str
    changes: str
    line_changes: str
    detail: str
    previous: str | None

    def hashed_text(self, po_number: str) -> str:
        """The JSON array whose hash it is."""
        return _hashed_text(quoted(po_number), self)

    def event_hash(self, po_number: str) -> str:
        """The hash in hex that the next event, or the order, carries."""
        return hashlib.sha256(self.hashed_text(po_number).encode()).hexdigest()


def _hashed_text(name: str, entry: tuple[int, str, str, str, str, str, str, str, str | None]) -> str:
    """The JSON array of an entry, or of its values; `name` is the PONumber in quotes."""
    seq, kind, witness, happened_at, learned_at, changes, line_changes, detail, previous = entry
    return (
        f"[{name}, {seq}, {quoted(kind)}, {quoted(witness)}, {quoted(happened_at)}, {quoted(learned_at)}, {changes}, "
        f"{line_changes}, {detail}, {quoted(previous or '')}]"
    )


def first_hash(po_number: str) -> str:
    """What stands for the hash before an order's first event."""
    return hashlib.sha256(f"the log of {po_number}".encode()).hexdigest()


def hashed_time(at: datetime) -> str:
    """The time as it is hashed: 2026-01-31 09:00:00.000000, in UTC."""
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat(" ", "microseconds")[:26]


def event_rows(po_number: str, head: str, count: int, events: Iterable[Event]) -> tuple[list[dict[str, Any]], str]:
    """The events as rows of the log without their order's id, and the new head.

    `head` is the hash of the event before, `first_hash` for the first; `count` is how many there are before.
    """
    chained = []
    for seq, event in enumerate(events, start=count + 1):
        row = {
            "seq": seq,
            "kind": event.kind,
            "happened_at": event.happened_at,
            "learned_at": event.learned_at,
            "witness": event.witness.value,
            "changes": _sorted(event.changes),
            "line_changes": [_sorted(change) for change in event.line_changes],
            "detail": _sorted(event.detail),
            "previous": head,
        }
        chained.append(row)
        head = chain_entry(row).event_hash(po_number)
    return chained, head


def event_entries(po_number: str, head: str, count: int, events: Iterable[Event]) -> tuple[list[Entry], str]:
    """The same as `event_rows`, as the texts that are hashed and that SQLite stores."""
    name, chained = quoted(po_number), []
    for seq, event in enumerate(events, start=count + 1):
        learned = hashed_time(event.learned_at)
        happened = learned if event.happened_at is event.learned_at else hashed_time(event.happened_at)
        changes, detail = _document(event.changes), _document(event.detail)
        lines = canonical(event.line_changes) if event.line_changes else _NONE
        entry = Entry(seq, event.kind, str(event.witness), happened, learned, changes, lines, detail, head)
        chained.append(entry)
        head = hashlib.sha256(_hashed_text(name, entry).encode()).hexdigest()
    return chained, head


def chain_entry(row: Mapping[Any, Any]) -> Entry:
    """The entry that a row of the log holds."""
    learned = hashed_time(row["learned_at"])
    happened = learned if row["happened_at"] is row["learned_at"] else hashed_time(row["happened_at"])
    lines = canonical(row["line_changes"]) if row["line_changes"] else _NONE
    documents = _document(row["changes"]), lines, _document(row["detail"])
    return Entry(row["seq"], row["kind"], row["witness"], happened, learned, *documents, row["previous"])


def _sorted(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items())) if len(values) > 1 else {**values}


def numbering_fault(seqs: Sequence[int], count: int, after: int = 0) -> str | None:
    """Describe a fault in the numbers of an order's events, None when they go from 1, or beyond `after`, to `count`."""
    if not seqs and not count:
        return "no event tells where it comes from"
    if list(seqs) == list(range(after + 1, count + 1)):
        return None
    first = next(number for number, seq in enumerate([*seqs, 0], after + 1) if seq != number)
    if len(seqs) > count - after:
        return f"event {count + 1} does not fit: the log has {len(seqs)} events where {count - after} were written"
    what = "a gap" if first <= len(seqs) + after else "a tail that is missing"
    return f"event {first} does not fit: the log has {what} ({len(seqs)} of {count - after} events)"


def stored_hashes(head: str | None, entries: Sequence[Entry]) -> list[str | None]:
    """List each event's hash as stored: by the next event, that of the newest by the order."""
    return [*(entry.previous for entry in entries[1:]), head]


def broken_link(
    po_number: str, head: str | None, entries: Sequence[Entry], digests: Sequence[str], before: str | None = None
) -> str | None:
    """Describe the first event whose hash, computed in `digests`, does not fit between its neighbours'; else None.

    `before` is the hash before the first of them, where that is not an order's first event.
    """
    carried = stored_hashes(head, entries)
    wrong = next((at for at, digest in enumerate(digests) if digest != carried[at]), None)
    if entries[0].previous != (before or first_hash(po_number)):
        wrong = 0
    elif wrong is not None and wrong + 1 < len(entries):
        after = entries[wrong + 1]._replace(previous=digests[wrong])
        # Where the next event would fit with the hash it should carry, only what it carries was changed.
        wrong += after.event_hash(po_number) == carried[wrong + 1]
    if wrong is None:
        return None
    return f"event {entries[wrong].seq} ({entries[wrong].kind}) does not fit: it or what follows was changed"


def keyed_hash(recipient: str, salt: str) -> str:
    """The recipient's hash, keyed with the salt of the line (HMAC-SHA256, hex)."""
    return hmac.digest(salt.encode(), recipient.encode(), "sha256").hex()


def line_rows(lines: Sequence[Line], new_salt: Callable[[], str]) -> list[dict[str, Any]]:
    """The lines as rows without their order's id; each recipient with a salt of its own and the hash keyed with it."""
    return [dict(zip(LINE_COLUMNS, values, strict=True)) for values in line_values(lines, new_salt)]


def line_values(lines: Sequence[Line], new_salt: Callable[[], str]) -> list[tuple[Any, ...]]:
    """The same as values of LINE_COLUMNS."""
    made = []
    for line in lines:
        salt = hashed = None
        if line.recipient is not None and (salt := new_salt()):
            hashed = keyed_hash(line.recipient, salt)
        made.append((*_line_facts(line), salt, hashed))
    return made


def contents_hash(lines: Iterable[Sequence[Any]]) -> str:
    """The hash over all lines as ordered, each given as the values of CONTENT_FIELDS."""
    return hashlib.sha256(canonical([tuple(line) for line in lines]).encode()).hexdigest()


def with_contents(first: Event, lines: Iterable[Mapping[str, Any]]) -> Event:
    """The order's first event with a hash over its lines, so that none can be changed unnoticed."""
    return telling(first, contents_hash([line[name] for name in CONTENT_FIELDS] for line in lines))


def telling(first: Event, contents: str) -> Event:
    """The order's first event with the hash of its contents."""
    detail = {**first.detail, "contents": contents}
    return Event(
        first.kind, first.witness, first.happened_at, first.learned_at, first.changes, detail, first.line_changes
    )
