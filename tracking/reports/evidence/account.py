"""Facts and lines of an order as the log in an evidence file gives them, and where that log is broken. Pure.

The events are the texts that were hashed, one a line, so that each line's SHA-256 is what the next line ends in. All of
it may have been written by anybody: whatever cannot be so is told in words, and costs no more than its own size.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from tracking.orders import event_chain, model, wording
from tracking.orders.event_chain import Entry, canonical
from tracking.orders.model import Order
from tracking.orders.wording import TIME_ZONE, TimelineEntry
from tracking.reports.evidence.layout import EVENTS, LINES, read_jsonl

LINE_FIELDS = (*event_chain.CONTENT_FIELDS, "provider_line_id", "status", "claims", "cost_minor")
"""The columns of a line that are in the file, beside `currency`, `recipient` and, unless masked, `recipient_salt`."""
FAULTS_AT_MOST = 100
MOST_LINE_CHANGES = 5_000_000
_INITIAL_LINE: Mapping[str, Any] = {"status": model.State.PENDING.value, "claims": 0, "cost_minor": None}
# What a log that somebody made up may raise wherever it is read.
IMPOSSIBLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(slots=True)
class Account:
    """The order as its events make it, and its timeline; `faults` say where events and lines do not hold."""

    order: Order | None = None
    timeline: list[TimelineEntry] = field(default_factory=list)
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@contextlib.contextmanager
def in_utc() -> Iterator[None]:
    """Word times in UTC, whatever zone the reader has chosen."""
    token = TIME_ZONE.set(UTC)
    try:
        yield
    finally:
        TIME_ZONE.reset(token)


def events_text(po_number: str, rows: Iterable[Mapping[Any, Any]]) -> bytes:
    """The events as they were hashed, one a line; `rows` are those of the store, the oldest first."""
    texts = (event_chain.chain_entry(row).hashed_text(po_number) for row in rows)
    return b"".join(text.encode() + b"\n" for text in texts)


def read_account(manifest: Mapping[str, Any], events: bytes, lines: bytes) -> Account:
    """Read what the events and lines say of the order that the manifest names, with so many events and its head."""
    account, order = Account(), manifest["order"]
    po_number, count, head = order["po_number"], order["events"], order["head"]
    rows = _read_rows(EVENTS, events, account.faults)
    account.lines = _read_lines(lines, account.faults, masked=manifest["masked"])
    try:
        entries = [_entry(row, po_number) for row in rows]
        removed = order.get("removed")
        if fault := _chain_fault(po_number, count, head, entries, removed):
            account.faults.append(f"{EVENTS}: {fault}")
        if entries or removed:
            account.order = _fold(rows, removed["facts"] if removed else {})
            with in_utc():
                account.timeline = [wording.describe_event(_event_row(row)) for row in rows]
        if account.order is not None and removed is None:
            account.faults += islice(_line_faults(account.order, rows, account.lines), FAULTS_AT_MOST)
        elif account.lines:
            account.faults.append(f"{LINES}: holds lines of an order whose lines were removed")
    except IMPOSSIBLE as exc:
        account.faults.append(f"{EVENTS}: an event cannot be one of this order's ({type(exc).__name__})")
    return account


def _read_rows(name: str, content: bytes, faults: list[str]) -> list[Any]:
    try:
        return read_jsonl(content)
    except ValueError as exc:
        faults.append(f"{name}: {exc}")
        return []


def _read_lines(content: bytes, faults: list[str], *, masked: bool) -> list[Mapping[str, Any]]:
    """The lines, as far as each holds what it is to hold and nothing else."""
    names = {*LINE_FIELDS, "currency", "recipient", *([] if masked else ["recipient_salt"])}
    rows = _read_rows(LINES, content, faults)
    wrong = [number for number, row in enumerate(rows, 1) if not isinstance(row, dict) or row.keys() != names]
    faults += [f"{LINES}: line {number} is not as it was written" for number in wrong[:FAULTS_AT_MOST]]
    return [] if wrong else rows


def _entry(row: Sequence[Any], po_number: str) -> Entry:
    named, seq, kind, witness, happened_at, learned_at, *documents, previous = row
    if named != po_number:
        raise ValueError("it is another order's")
    changes, line_changes, detail = map(canonical, documents)
    return Entry(seq, kind, witness, happened_at, learned_at, changes, line_changes, detail, previous)


def _chain_fault(
    po_number: str, count: int, head: str | None, entries: Sequence[Entry], removed: Mapping[str, Any] | None
) -> str | None:
    after, before = (removed["events"], removed["last_hash"]) if removed else (0, None)
    if fault := event_chain.numbering_fault([entry.seq for entry in entries], count, after):
        return fault
    if not entries:
        return None if head == before else "the head is not that of the last event that was removed"
    digests = [entry.event_hash(po_number) for entry in entries]
    return event_chain.broken_link(po_number, head, entries, digests, before)


def _event_row(row: Sequence[Any]) -> dict[str, Any]:
    """The event as a row of the log."""
    names = ("seq", "kind", "witness", "happened_at", "learned_at", "changes", "line_changes", "detail")
    times = {"happened_at": _time(row[4]), "learned_at": _time(row[5])}
    return dict(zip(names, row[1:9], strict=True)) | times


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _fold(rows: Sequence[Sequence[Any]], before: Mapping[str, Any]) -> Order:
    """Fold the events: merging what they set, later over earlier, is to apply each; `before` is what held earlier."""
    facts: dict[str, Any] = dict(before)
    for row in rows:
        facts |= model.complete_changes(row[6])
    moment = datetime.fromtimestamp(0, UTC)
    return model.first_order(model.Event("", model.Witness.US, moment, moment, facts))


def _line_faults(order: Order, rows: Sequence[Sequence[Any]], lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where the lines are not those that were ordered, or not as the events left them."""
    folded = _folded_lines([line["number"] for line in lines], rows)
    for line in lines:
        number = line["number"]
        if wrong := [name for name in _INITIAL_LINE if line[name] != folded[number][name]]:
            yield f"{LINES}: line {number} differs from the events in {', '.join(wrong)}"
        if "recipient_salt" in line and not _recipient_fits(line):
            yield f"{LINES}: line {number} has another recipient than was ordered"
    contents = rows[0][8].get("contents")
    ordered = [[line[name] for name in event_chain.CONTENT_FIELDS] for line in lines]
    if contents is not None and event_chain.contents_hash(ordered) != contents:
        yield f"{LINES}: its lines are not those that were ordered: product, value, quantity, reference or recipient"
    units = sum(line["quantity"] for line in lines)
    value = sum(line["quantity"] * line["value_minor"] for line in lines)
    if (units, value) != (order.units, order.value_minor):
        yield f"{LINES}: its lines hold {units} cards worth {value}, the order {order.units} worth {order.value_minor}"


def _recipient_fits(line: Mapping[str, Any]) -> bool:
    """Whether the hash is that of the recipient; of one who was erased it is alone."""
    recipient, salt = line["recipient"], line["recipient_salt"]
    if recipient is None or salt is None:
        return recipient is salt is None
    return bool(event_chain.keyed_hash(recipient, salt) == line["recipient_hash"])


def _folded_lines(numbers: Iterable[int], rows: Iterable[Sequence[Any]]) -> dict[int, dict[str, Any]]:
    folded = {number: dict(_INITIAL_LINE) for number in numbers}
    left = MOST_LINE_CHANGES
    for row in rows:
        for change in row[7]:
            changed = list(islice(model.expand_numbers(change["numbers"]), min(left, len(folded)) + 1))
            left -= len(changed)
            if left < 0 or len(changed) > len(folded):
                raise ValueError("it changes more lines than there are")
            for number in changed:
                folded[number].update(change)
    return folded
