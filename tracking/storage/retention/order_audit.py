"""Audits one order after another: its row, lines and events against each other, and the counters they imply.

Texts are hashed as the store holds them, and only what the states follow from is parsed: an event costs a few
microseconds. Where first events left the store, the log begins after the order's checkpoint.
"""

import contextlib
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, bindparam, cast, func, select, type_coerce
from sqlalchemy.engine import RowMapping

from tracking.orders import event_chain as chain
from tracking.orders import model
from tracking.orders.event_chain import Entry
from tracking.storage.counters import Movement, decision_movements, hour_of, needs_decision, state_movements
from tracking.storage.retention.checkpoints import checkpoints_between, facts_by_then, fault_of
from tracking.storage.tables import EVENTS, LINES, ORDERS

_read = json.JSONDecoder().decode
_parsed = lru_cache(maxsize=4096)(_read)
_INITIAL_LINE = {"status": model.State.PENDING.value, "claims": 0, "cost_minor": None}


class OrderLine(NamedTuple):
    """A line as stored. The first fields are those of `event_chain.CONTENT_FIELDS`."""

    number: int
    product_id: str
    value_minor: int
    quantity: int
    external_id: str | None
    recipient_hash: str | None
    recipient: str | None
    recipient_salt: str | None
    recipient_key: str | None
    status: str
    claims: int
    cost_minor: int | None
    provider_line_id: str | None


_ORDER_COLUMNS = ("id", "line_count", "event_count", "events_removed", "head", *model.ORDER_FIELDS)
_ORDERS = select(*(ORDERS.c[name] for name in _ORDER_COLUMNS))
_ORDER = _ORDERS.where(ORDERS.c.id == bindparam("order"))
_ORDERS_AFTER = _ORDERS.order_by(ORDERS.c.id).limit(bindparam("at_most")).where(ORDERS.c.id > bindparam("after"))
_ENDS: Any = bindparam("first"), bindparam("last")
_ALL_LINES = select(LINES.c.order_id, *(LINES.c[name] for name in OrderLine._fields))
_LINES = _ALL_LINES.where(LINES.c.order_id.between(*_ENDS)).order_by(LINES.c.order_id, LINES.c.number)


@dataclass(frozen=True, slots=True)
class LogHead:
    """The hash over the newest event of each order, among the events up to the one with the id `at`.

    It stays the same however many events follow, unless one of those was changed, left out or put in. Written down
    elsewhere, it tells later whether the log is still the one it was.
    """

    at: int
    digest: str

    def __str__(self) -> str:
        return f"{self.at}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> "LogHead":
        """Parse a head in the form in which `str` writes it. Raises ValueError for anything else."""
        match = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text.strip().casefold(), re.ASCII)
        if match is None:
            raise ValueError("is no log head: it is a number, a colon and 64 hexadecimal digits")
        return cls(int(match[1]), match[2])


@dataclass(frozen=True, slots=True)
class StoredLog:
    """An order's row, its events with their ids, its lines and its checkpoint, as they are stored."""

    row: RowMapping
    events: Sequence[tuple[int, Entry]]
    lines: Sequence[OrderLine]
    checkpoint: RowMapping | None

    @property
    def last_hash(self) -> str:
        """The hash of the last event that left, by what came after it; None of them left: that before the first."""
        return (self.events[0][1].previous if self.events else self.row["head"]) or ""


def read_chunk(connection: Connection, after: int, at_most: int) -> list[StoredLog]:
    """Read the orders with the next ids beyond `after`."""
    orders = connection.execute(_ORDERS_AFTER, {"after": after, "at_most": at_most}).mappings().all()
    return _logs(connection, orders)


def read_log(connection: Connection, order_id: int) -> StoredLog | None:
    """Read one order; None where there is none."""
    return next(iter(_logs(connection, connection.execute(_ORDER, {"order": order_id}).mappings().all())), None)


def _logs(connection: Connection, orders: Sequence[RowMapping]) -> list[StoredLog]:
    if not orders:
        return []
    ends = {"first": orders[0]["id"], "last": orders[-1]["id"]}
    events = groupby(connection.execute(_entries(connection.dialect.name), ends).all(), itemgetter(0))
    lines = groupby(connection.execute(_LINES, ends).all(), itemgetter(0))
    entries = {key: [(row[1], Entry(*row[2:])) for row in group] for key, group in events}
    by_order = {key: [OrderLine(*row[1:]) for row in group] for key, group in lines}
    checkpoints = checkpoints_between(connection, **ends)
    return [
        StoredLog(row, _after(row, entries.get(row["id"], [])), by_order.get(row["id"], ()), checkpoints.get(row["id"]))
        for row in orders
    ]


def _after(row: RowMapping, events: Sequence[tuple[int, Entry]]) -> Sequence[tuple[int, Entry]]:
    """The events from the order's checkpoint on; those before it are about to leave."""
    removed = row["events_removed"]
    return [one for one in events if one[1].seq > removed] if removed else events


@cache
def _entries(dialect: str) -> Any:
    """Select the events, the columns of an `Entry` as the texts that are stored."""
    columns: dict[str, Any] = {name: EVENTS.c[name] for name in Entry._fields}
    columns |= {name: cast(EVENTS.c[name], Text) for name in ("changes", "line_changes", "detail")}
    for name in ("happened_at", "learned_at"):
        utc = func.to_char(func.timezone("UTC", EVENTS.c[name]), "YYYY-MM-DD HH24:MI:SS.US")
        columns[name] = type_coerce(EVENTS.c[name], Text) if dialect == "sqlite" else utc
    entries = select(EVENTS.c.order_id, EVENTS.c.id, *columns.values())
    return entries.where(EVENTS.c.order_id.between(*_ENDS)).order_by(EVENTS.c.order_id, EVENTS.c.seq)


@lru_cache(maxsize=4096)
def _hour(text: str) -> datetime:
    """The full hour in UTC of a time as an entry or an event's changes hold it."""
    moment = datetime.fromisoformat(text)
    return hour_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


class OrderAudit:
    """Checks order after order by their row's id, and adds up their counters and hashes.

    `unprovable` counts, for each head, the orders of whose events by then some left the store.
    """

    def __init__(self, cut: int, heads: Iterable[int]) -> None:
        self.differences: list[str] = []
        self.recomputed: dict[tuple[str, datetime, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self.unprovable: Counter[int] = Counter()
        self._heads = {at: hashlib.sha256() for at in heads}
        self._cut = cut

    def head(self, at: int) -> LogHead:
        """The head of the log by the event with this id, once all orders were checked."""
        return LogHead(at, self._heads[at].hexdigest())

    def check(self, log: StoredLog) -> Iterable[str]:
        """Describe where the order's row, lines and events do not fit together."""
        row, lines, checkpoint = log.row, log.lines, log.checkpoint
        name, entries = row["po_number"], [entry for _, entry in log.events]
        digests = _digests(name, row["head"], entries) if entries else []
        self._add_to_heads(log, digests)
        if missing := chain.numbering_fault(
            [entry.seq for entry in entries], row["event_count"], row["events_removed"]
        ):
            return [f"{name}: {missing}"]
        if checkpoint is not None or row["events_removed"]:
            if fault := fault_of(checkpoint, row, log.last_hash):
                return [f"{name}: {fault}"]
            before = log.last_hash
        else:
            before = chain.first_hash(name)
        link = chain.broken_link(name, row["head"], entries, digests, before) if entries else None
        broken = [f"{name}: {link}"] if link else []
        if checkpoint is None and len(lines) != row["line_count"]:
            return [*broken, f"{name}: {len(lines)} of its {row['line_count']} lines are there"]
        try:
            order = self._fold(log)
            facts = _compare_facts(name, row, order)
            if checkpoint is not None:
                return [*broken, *facts]
            contents = _parsed(entries[0].detail).get("contents")
            folded = _folded_lines(lines, entries)
            return [*broken, *facts, *_compare_lines(lines, folded, order, contents)]
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            return [*broken, f"{name}: its log cannot be read ({type(exc).__name__}): an event was changed"]

    def _add_to_heads(self, log: StoredLog, digests: Sequence[str]) -> None:
        for at, heads in self._heads.items():
            if until := [digest for (key, _), digest in zip(log.events, digests, strict=True) if key <= at]:
                heads.update(until[-1].encode())
            elif log.checkpoint is not None and log.checkpoint["last_event"] <= at:
                heads.update(log.last_hash.encode())
            elif log.checkpoint is not None and log.checkpoint["first_event"] <= at:
                self.unprovable[at] += 1

    def _fold(self, log: StoredLog) -> model.Order:
        """Fold the events into the order: to merge all they set, the later above the earlier, is to apply each."""
        facts: dict[str, Any] = {}
        moment = datetime.fromtimestamp(0, UTC)
        if log.checkpoint is not None:
            facts = facts_by_then(log.checkpoint, log.row)
            self._count_removed(log.checkpoint["movements"])
        for key, entry in log.events:
            before, needed = facts.get("state"), _needs_decision(facts)
            facts |= model.complete_changes(_read(entry.changes))
            if key > self._cut:
                continue
            if facts["state"] != before:
                first_sight = bool(_parsed(entry.detail).get("first_sight"))
                times = _hour(facts["created_at"]), _hour(entry.learned_at[:13])
                self._count(state_movements(before, facts["state"], *times, first_sight=first_sight), facts)
            if (needs := _needs_decision(facts)) != needed:
                self._count(decision_movements(needed, needs, _hour(entry.learned_at[:13])), facts)
        return model.first_order(model.Event("", model.Witness.US, moment, moment, facts))

    def _count_removed(self, movements: Iterable[Sequence[Any]]) -> None:
        for name, hour, state, *numbers in movements:
            counts = self.recomputed[name, _hour(hour), state]
            counts[:] = [sum(pair) for pair in zip(counts, numbers, strict=True)]

    def _count(self, movements: Iterable[Movement], facts: Mapping[str, Any]) -> None:
        for name, hour, state, sign in movements:
            counts = self.recomputed[name, hour, state]
            counts[0] += sign
            counts[1] += sign * facts["units"]
            counts[2] += sign * facts["value_minor"]


def _needs_decision(facts: Mapping[str, Any]) -> bool:
    return needs_decision(facts.get("attention"), facts.get("acknowledged_at"))


def _digests(name: str, head: str | None, entries: Sequence[Entry]) -> list[str]:
    """Compute the events' hashes: over the texts as stored or, where that does not fit, over their canonical form."""
    return [
        digest if (digest := entry.event_hash(name)) == stored else _canonical(entry).event_hash(name)
        for entry, stored in zip(entries, chain.stored_hashes(head, entries), strict=True)
    ]


def _canonical(entry: Entry) -> Entry:
    """Rewrite its JSON in the form that is hashed: what was stored before there were hashes is not sorted."""
    with contextlib.suppress(ValueError):
        texts = ("changes", "line_changes", "detail")
        canonical: dict[str, Any] = {name: chain.canonical(json.loads(getattr(entry, name))) for name in texts}
        return entry._replace(**canonical)
    return entry


def _folded_lines(lines: Iterable[OrderLine], entries: Iterable[Entry]) -> dict[int, dict[str, Any]]:
    """Fold the log's changes of each line, the later above the earlier, as `orders.model` does."""
    folded = {line.number: dict(_INITIAL_LINE) for line in lines}
    for entry in entries:
        if entry.line_changes != "[]":
            for change in _parsed(entry.line_changes):
                for number in model.expand_numbers(change["numbers"]):
                    folded[number].update(change)
    return folded


def _compare_facts(name: str, row: RowMapping, order: model.Order) -> Iterator[str]:
    for fact in model.ORDER_FIELDS:
        if row[fact] != getattr(order, fact):
            yield f"{name}: {fact} is stored as {row[fact]!r}, the log says {getattr(order, fact)!r}"


def _compare_lines(
    lines: Sequence[OrderLine], folded: Mapping[int, Mapping[str, Any]], order: model.Order, contents: str | None
) -> Iterator[str]:
    name, erased = order.po_number, frozenset(model.expand_numbers(order.erased))
    for line in lines:
        if wrong := [part for part in _INITIAL_LINE if getattr(line, part) != folded[line.number][part]]:
            yield f"{name}: line {line.number} differs from the log in {', '.join(wrong)}"
        if not _recipient_fits(line, erased=line.number in erased):
            yield f"{name}: line {line.number} has another recipient than the log says"
    units = sum(line.quantity for line in lines)
    value = sum(line.quantity * line.value_minor for line in lines)
    if lines and (units, value) != (order.units, order.value_minor):
        yield f"{name}: its lines hold {units} units worth {value}, the order {order.units} worth {order.value_minor}"
    if contents is not None and chain.contents_hash(line[: len(chain.CONTENT_FIELDS)] for line in lines) != contents:
        yield f"{name}: its lines are not those that were ordered: product, value, quantity, reference or recipient"


def _recipient_fits(line: OrderLine, *, erased: bool) -> bool:
    """Tell whether the hash is that of the recipient; an erased recipient leaves its hash alone."""
    if erased or line.recipient_hash is None:
        return line.recipient is None and line.recipient_salt is None and (not erased or line.recipient_key is None)
    if line.recipient is None or line.recipient_salt is None:
        return False
    return chain.keyed_hash(line.recipient, line.recipient_salt) == line.recipient_hash
