"""Compares the provider's lines with ours: same order or another, which line is which, what changed. Pure."""

import hashlib
import operator
import unicodedata
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracking.orders.echoes import is_echo
from tracking.orders.model import (
    CANCELLED_LINE,
    FULFILLED_LINE,
    LINE_STATUSES,
    TYPE_UNKNOWN,
    ClaimData,
    Line,
    Order,
    OrderType,
    Snapshot,
    State,
    condense_numbers,
    folded_id,
    same_id,
)
from tracking.orders.vocabulary import AttentionReason

REGROUPED = "g"  # begins the digest of claim data of a line that the provider groups otherwise
LINE_ORDER = ("Pending", "SentToFulfillment", "Completed", "Sent", "Shipped", "Claimed", "Cancelled")
DIFFERENCES_AT_MOST = 3
DONE_LINE = FULFILLED_LINE | {CANCELLED_LINE, "SentToFulfillment"}
_ASKED_FOR = operator.attrgetter("product_id", "value_minor", "quantity")
_TYPES = frozenset(OrderType)
_UNFOLDED = frozenset("\u200b\ufeff")


def mismatch(order: Order, snapshot: Snapshot, *, to_post: bool = False) -> str | None:
    """Why the provider's order is not the one we asked for, in words; None when it is ours.

    Judged by what the provider promises to echo: PONumber, type, products, values, quantities. Whatever else differs
    is told by `harmless_differences` and decides nothing. `to_post`: in answer to our own POST, which is ours though
    its lines are left out or cannot be read; looks will show them.
    """
    if not is_echo(snapshot.po_number, order.po_number):
        return "another PONumber"
    if snapshot.type in _TYPES and order.type not in {snapshot.type, TYPE_UNKNOWN}:
        return f"type {snapshot.type} where {order.type} was asked for"
    if list(map(_ASKED_FOR, order.lines)) == list(map(_ASKED_FOR, snapshot.lines)):
        return None
    if to_post and (snapshot.unreadable or not snapshot.lines):
        return None
    requested, received = _multiset(order.lines), _multiset(snapshot.lines)
    return None if requested == received else f"other lines: {len(snapshot.lines)} there, {len(order.lines)} asked for"


def is_same_order(snapshot: Snapshot, order: Order) -> bool:
    """Whether the ids are those of this order: what is shown under its id with another's PONumber is not."""
    same_number = is_echo(snapshot.po_number, order.po_number)
    return order.provider_id is not None and same_id(order.provider_id, snapshot.provider_id) and same_number


def _multiset(lines: Sequence[Line]) -> Counter[tuple[str, int]]:
    """Units per product and value: the same for a line of two and for two lines of one."""
    counts: Counter[tuple[str, int]] = Counter()
    for line in lines:
        counts[folded_id(line.product_id), line.value_minor] += line.quantity
    return counts


def harmless_differences(order: Order, snapshot: Snapshot) -> str | None:
    """What the provider echoes differently although the order is ours, in words; None where nothing differs.

    Names fields and never repeats what they hold.
    """
    texts = []
    if snapshot.po_number is None or snapshot.po_number != order.po_number:
        texts.append(_difference("PONumber", order.po_number, snapshot.po_number))
    if order.type not in {snapshot.type, TYPE_UNKNOWN}:
        texts.append(_difference("Type", order.type, snapshot.type))
    if order.note and _plain(order.note) != _plain(snapshot.note):
        texts.append(_difference("Note", order.note, snapshot.note))
    if snapshot.unreadable or not snapshot.lines:
        texts.append("its lines cannot be read" if snapshot.unreadable else "its lines are not shown")
    elif snapshot.line_count is not None:
        texts.append(f"{snapshot.line_count} lines where {len(order.lines)} were sent")
    else:
        pairs = list(pair_lines(order.lines, snapshot.lines))
        others = [(line, now) for line, now in pairs if line.external_id and line.external_id != now.external_id]
        if others:
            line, now = others[0]
            texts.append(_difference("ExternalId", line.external_id or "", now.external_id))
    return "; ".join(texts) or None


def _difference(name: str, sent: str, echoed: str | None) -> str:
    if not echoed:
        return f"{name} is not echoed"
    return f"{name} is echoed in another spelling" if _plain(sent) == _plain(echoed) else f"{name} is echoed otherwise"


def _plain(text: str | None) -> str:
    """A text by what people read: without regard to case, composition, kinds and runs of space, invisible marks."""
    normal = unicodedata.normalize("NFKC", text or "").casefold()
    return " ".join("".join(letter for letter in normal if letter not in _UNFOLDED).split())


Unit = tuple[Line, int, Any]


def regroup(
    ordered: Sequence[Line], reported: Sequence[Line], claims: Mapping[int, ClaimData]
) -> tuple[tuple[Line, ...], dict[int, ClaimData]] | None:
    """The provider's lines as ours are grouped, where it splits or joins them: a line of two is two lines of one.

    Args:
        ordered: our lines.
        reported: the provider's.
        claims: the claim data of these, by their numbers.

    Returns:
        The lines under our numbers, and their claim data by these; None where they are grouped alike, or do not add up
        to the same units of the same products and values.
    """
    if Counter(map(_contents, ordered)) == Counter(map(_contents, reported)) or _multiset(ordered) != _multiset(
        reported
    ):
        return None
    shares = _share_units(ordered, reported, claims)
    lines, regrouped_claims = [], {}
    for line in ordered:
        entries = tuple(entry for _, _, entry in shares[line.number] if entry is not None)
        lines.append(_joined(line, shares[line.number], entries))
        if entries:
            regrouped_claims[line.number] = ClaimData(entries)
    return tuple(lines), regrouped_claims


def _share_units(
    ordered: Sequence[Line], reported: Sequence[Line], claims: Mapping[int, ClaimData]
) -> dict[int, list[Unit]]:
    """The provider's units for each of our lines: with its ExternalId and recipient first, then as they come."""
    pools: dict[tuple[object, ...], deque[Unit]] = {}
    for line in reported:
        entries = claims[line.number].units if line.number in claims else ()
        for position in range(line.quantity):
            entry = entries[position] if position < len(entries) else None
            pools.setdefault(_origin(line), deque()).append((line, position, entry))
    shares: dict[int, list[Unit]] = {}
    for line in ordered:
        own = pools.get(_origin(line), deque())
        shares[line.number] = [own.popleft() for _ in range(min(line.quantity, len(own)))]
    rest: dict[tuple[object, ...], deque[Unit]] = {}
    for origin, pool in pools.items():
        rest.setdefault(origin[:2], deque()).extend(pool)
    for line in ordered:
        more = line.quantity - len(shares[line.number])
        shares[line.number] += [rest[_contents(line)[:2]].popleft() for _ in range(more)]
    return shares


def _origin(line: Line) -> tuple[object, ...]:
    return (*_contents(line)[:2], folded_id(line.external_id or ""), folded_id(line.recipient or ""))


def _contents(line: Line) -> tuple[str, int, int]:
    return folded_id(line.product_id), line.value_minor, line.quantity


def _joined(line: Line, units: Sequence[Unit], entries: Sequence[Any]) -> Line:
    """The line that these units make: as far on as the one that is least far, its cost the sum of their shares."""
    statuses = {reported.status for reported, _, _ in units}
    ranks = {status: rank for rank, status in enumerate(LINE_ORDER)}
    costs = [_cost_of_unit(reported, position) for reported, position, _ in units]
    digest = hashlib.sha256(repr(sorted(entries)).encode()).hexdigest()[:15] if entries else None
    other_digest = line.claim_digest is not None and not line.claim_digest.startswith(REGROUPED)
    return Line(
        number=line.number,
        product_id=line.product_id,
        value_minor=line.value_minor,
        quantity=line.quantity,
        status=min(statuses, key=lambda status: ranks.get(status, -1), default=line.status),
        claims=len(entries),
        provider_line_id=line.provider_line_id,
        external_id=line.external_id,
        recipient=line.recipient,
        cost_minor=None if None in costs else sum(cost or 0 for cost in costs),
        claim_digest=None if digest is None or other_digest else f"{REGROUPED}{digest}",
    )


def _cost_of_unit(line: Line, position: int) -> int | None:
    """The unit's share of the cost of its line; the first units carry what does not divide."""
    if line.cost_minor is None:
        return None
    share, rest = divmod(line.cost_minor, line.quantity)
    return share + (position < rest)


def diff_lines(stored: Sequence[Line], reported: Sequence[Line]) -> list[dict[str, Any]]:
    """What changed in which lines, equal changes together: [{"numbers": "1-40", "status": "Sent"}, ...]."""
    changed: dict[tuple[tuple[str, Any], ...], list[int]] = {}
    for line, now in pair_lines(stored, reported):
        if changes := _line_changes(line, now):
            changed.setdefault(tuple(changes.items()), []).append(line.number)
    return [{"numbers": condense_numbers(numbers), **dict(news)} for news, numbers in changed.items()]


def _line_changes(line: Line, now: Line) -> dict[str, Any]:
    news: dict[str, Any] = {}
    if now.status != line.status:
        news["status"] = now.status
    if now.claims > line.claims:
        news["claims"] = now.claims
    if now.cost_minor is not None and now.cost_minor != line.cost_minor:
        news["cost_minor"] = now.cost_minor
    return news


def pair_lines(stored: Sequence[Line], reported: Sequence[Line]) -> Iterator[tuple[Line, Line]]:
    """Pair our lines with the provider's: by its line id, then by contents, by position only among equals.

    The provider may show lines in any order, so a position alone would lay one line's fate on another's recipient.
    """
    if _stand_alike(stored, reported):
        yield from zip(stored, reported, strict=True)
        return
    by_id = {folded_id(line.provider_line_id): line for line in reported if line.provider_line_id}
    taken = {folded_id(line.provider_line_id) for line in stored if line.provider_line_id}
    alike: dict[tuple[object, ...], deque[Line]] = {}
    for line in reported:
        if line.provider_line_id is None or folded_id(line.provider_line_id) not in taken:
            for key in _match_keys(line):
                alike.setdefault(key, deque()).append(line)
    matches: dict[int, Line] = {}
    used: set[int] = set()
    for likeness in range(LIKENESSES):
        # The surest for all lines first: one whose recipient was erased must not take what another is known by.
        for line in stored:
            if line.number in matches:
                continue
            line_id = line.provider_line_id
            key = tuple(_match_keys(line))[likeness]
            now = by_id.get(folded_id(line_id)) if line_id else _free(alike.get(key), used)
            if now is not None:
                used.add(now.number)
                matches[line.number] = now
    yield from ((line, matches[line.number]) for line in stored if line.number in matches)


def _stand_alike(stored: Sequence[Line], reported: Sequence[Line]) -> bool:
    """Whether each is shown where it stands here, so that none has to be looked for: by its id, or as none has one."""
    if len(stored) != len(reported):
        return False
    ids = [line.provider_line_id for line in stored]
    if any(ids):
        same = all(ids) and ids == [line.provider_line_id for line in reported]
        return same and len({folded_id(line_id) for line_id in ids if line_id}) == len(ids)
    # An empty id is none, and yet not the id that a line without one has.
    unknown = ids.count(None) == len(ids)
    return unknown and all(map(operator.eq, map(_ECHOED, stored), map(_ECHOED, reported)))


LIKENESSES = 4
_ECHOED = operator.attrgetter("product_id", "value_minor", "quantity", "external_id", "recipient")


def _match_keys(line: Line) -> Iterator[tuple[object, ...]]:
    """What a line is recognized by, the surest first. An ExternalId or a recipient that is not echoed parts no pair."""
    contents = (folded_id(line.product_id), line.value_minor, line.quantity)
    external = folded_id(line.external_id) if line.external_id else None
    recipient = folded_id(line.recipient) if line.recipient else None
    yield ("both", *contents, external, recipient)
    yield ("external", *contents, external)
    yield ("recipient", *contents, recipient)
    yield contents


def _free(candidates: deque[Line] | None, used: set[int]) -> Line | None:
    while candidates:
        if (candidate := candidates.popleft()).number not in used:
            return candidate
    return None


def missing_proof(order: Order, snapshot: Snapshot) -> tuple[AttentionReason, str] | None:
    """Which proof a completed order lacks, as a reason and in words; None when it lacks none.

    That is, of a Completed one, the lines asked for, each with a status that is known, and claim data for each unit; of
    a Cancelled one lines that can be read.
    """
    if snapshot.status == State.CANCELLED and not snapshot.unreadable:
        return None
    return _lines_that_do_not_fit(order, snapshot) or _claims_missing(order, snapshot)


def _lines_that_do_not_fit(order: Order, snapshot: Snapshot) -> tuple[AttentionReason, str] | None:
    words = None
    if snapshot.unreadable:
        words = f"its lines cannot be read: {snapshot.unreadable}"
    elif not snapshot.lines:
        words = "no line is shown"
    elif order.lines and (difference := mismatch(order, snapshot)):
        words = ": ".join(filter(None, (difference, _surplus(order.lines, snapshot.lines))))
    elif unfinished := [line for line in snapshot.lines if line.status not in DONE_LINE]:
        first = unfinished[0]
        more = f", and {len(unfinished) - 1} more like it" if len(unfinished) > 1 else ""
        unknown = "" if first.status in LINE_STATUSES else ", a word that is not known"
        words = f"line {first.number} is {first.status!r}{unknown}{more}"
    return (AttentionReason.LINES_DO_NOT_FIT, words) if words else None


def _surplus(asked_for: Sequence[Line], received: Sequence[Line]) -> str:
    """How many cards of what came more or fewer than were asked for, in words; "" where none did."""
    there, here = _multiset(received), _multiset(asked_for)
    surplus = sorted(((there - here) + (here - there)).items(), key=str)
    parts = [
        f"{count} {'more' if key in there - here else 'fewer'} of {key[0]} over {key[1] / 100:.2f}"
        for key, count in surplus
    ]
    return ", ".join(parts[:DIFFERENCES_AT_MOST]) + (", ..." if len(parts) > DIFFERENCES_AT_MOST else "")


def _claims_missing(order: Order, snapshot: Snapshot) -> tuple[AttentionReason, str] | None:
    kind = _type_of(order, snapshot)
    if kind not in {OrderType.LINKS, OrderType.CODES}:
        return None
    awaited = [line for line in snapshot.lines if line.status != CANCELLED_LINE]
    missing = sum(line.quantity - line.fulfilled(kind) for line in awaited)
    words = f"claim data is missing for {missing} of {snapshot.units} cards"
    return (AttentionReason.CLAIM_DATA_MISSING, words) if missing else None


def _type_of(order: Order, snapshot: Snapshot) -> str:
    return order.type if order.type != TYPE_UNKNOWN else snapshot.type or TYPE_UNKNOWN


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
