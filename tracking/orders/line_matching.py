"""How the provider's lines compare with ours: the same order or another, which line is which, what changed. Pure."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from tracking.orders.model import FULFILLED_LINE, Line, Order, OrderType, Snapshot, condense_numbers

TYPE_UNKNOWN = "unknown"


def mismatch(order: Order, snapshot: Snapshot) -> str | None:
    """How the provider's order differs from the one we asked for, in words; None when they agree."""
    if snapshot.po_number is not None and snapshot.po_number != order.po_number:
        return "another PONumber"
    if snapshot.type is not None and order.type not in {snapshot.type, TYPE_UNKNOWN}:
        return f"type {snapshot.type} where {order.type} was asked for"
    requested, received = _multiset(order.lines), _multiset(snapshot.lines)
    return None if requested == received else f"other lines: {len(snapshot.lines)} there, {len(order.lines)} asked for"


def _multiset(lines: Sequence[Line]) -> Counter[tuple[str, int, str | None]]:
    """Units per product, value and external id: the same for a line of two and for two lines of one."""
    counts: Counter[tuple[str, int, str | None]] = Counter()
    for line in lines:
        counts[line.product_id.casefold(), line.value_minor, line.external_id] += line.quantity
    return counts


def diff_lines(stored: Sequence[Line], reported: Sequence[Line]) -> list[dict[str, Any]]:
    """What changed in which lines, equal changes together: [{"numbers": "1-40", "status": "Sent"}, ...]."""
    changed: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for line, now in pair_lines(stored, reported):
        if changes := _line_changes(line, now):
            changed.setdefault(tuple(changes.items()), []).append(line.number)
    return [{"numbers": condense_numbers(numbers), **dict(news)} for news, numbers in changed.items()]


def _line_changes(line: Line, now: Line) -> dict[str, Any]:
    news = {
        "status": now.status != line.status,
        "claims": now.claims > line.claims,
        "cost_minor": now.cost_minor is not None and now.cost_minor != line.cost_minor,
    }
    return {name: getattr(now, name) for name, is_new in news.items() if is_new}


def pair_lines(stored: Sequence[Line], reported: Sequence[Line]) -> Iterator[tuple[Line, Line]]:
    """Each known line with the shown one: by the provider's line id, then by contents, by position only among equals.

    The provider may show lines in any order, so a position alone would lay one line's fate on another's recipient.
    """
    by_id = {line.provider_line_id: line for line in reported if line.provider_line_id}
    taken = {line.provider_line_id for line in stored if line.provider_line_id}
    alike: dict[tuple[object, ...], deque[Line]] = {}
    for line in reported:
        if line.provider_line_id is None or line.provider_line_id not in taken:
            for key in _match_keys(line):
                alike.setdefault(key, deque()).append(line)
    matches: dict[int, Line] = {}
    used: set[int] = set()
    for likeness in range(2):
        # The surest for all lines first: one whose recipient was erased must not take what another is known by.
        for line in stored:
            if line.number in matches:
                continue
            key = tuple(_match_keys(line))[likeness]
            now = by_id.get(line.provider_line_id) if line.provider_line_id else _free(alike.get(key), used)
            if now is not None:
                used.add(now.number)
                matches[line.number] = now
    yield from ((line, matches[line.number]) for line in stored if line.number in matches)


def _match_keys(line: Line) -> Iterator[tuple[object, ...]]:
    """What a line is recognized by, the surest first."""
    contents = (line.product_id.casefold(), line.value_minor, line.quantity, line.external_id)
    yield (*contents, line.recipient)
    yield contents


def _free(candidates: deque[Line] | None, used: set[int]) -> Line | None:
    while candidates:
        if (candidate := candidates.popleft()).number not in used:
            return candidate
    return None


def fully_fulfilled(order: Order, snapshot: Snapshot) -> bool:
    """Whether a Completed order shows all that completes it: the lines asked for, claim data for each unit."""
    if order.lines and mismatch(order, snapshot):
        return False
    kind = snapshot.type or order.type
    return bool(snapshot.lines) and all(line.status == "Cancelled" or _line_done(line, kind) for line in snapshot.lines)


def _line_done(line: Line, order_type: str) -> bool:
    if order_type in {OrderType.LINKS, OrderType.CODES}:
        return line.fulfilled(order_type) >= line.quantity
    return line.status in FULFILLED_LINE | {"SentToFulfillment"}


def line_annotations(pairs: Sequence[tuple[Line, Line]]) -> list[dict[str, Any]]:
    """The provider's line ids and the digests of the first claim data, where they were not known yet."""
    notes = []
    for line, now in pairs:
        note: dict[str, Any] = {}
        if line.provider_line_id is None and now.provider_line_id is not None:
            note["provider_line_id"] = now.provider_line_id
        # The first complete claim data is kept; what comes short at first is only a part of it.
        if now.claim_digest is not None and (line.claim_digest is None or now.claims > line.claims):
            note["claim_digest"] = now.claim_digest
        if note:
            notes.append({"number": line.number, **note})
    return notes
