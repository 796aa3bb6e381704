"""Verify the store: recompute every order, line, counter and hash from the log, and compare. Writes nothing.

The log is cut at its newest event when the audit begins, so that a console may go on working meanwhile: rows are
compared with all their events, counters with the events before the cut. Texts are hashed as the store holds them, and
only what the states follow from is parsed: an event costs a few microseconds.

How many orders were late in an hour, and what the account held, is no part of the log and cannot be recomputed: what is
recorded of it is only checked for what cannot be, such as hours that are yet to come.
"""

import contextlib
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, bindparam, cast, func, select, text, type_coerce
from sqlalchemy.engine import RowMapping

from tracking.orders import event_chain as chain
from tracking.orders import model
from tracking.orders.event_chain import Entry
from tracking.orders.observations import utc_now
from tracking.storage.counters import (
    LATE,
    LEVEL,
    REFILLED,
    SAMPLED,
    SPENT,
    Movement,
    decision_movements,
    hour_of,
    needs_decision,
    state_movements,
)
from tracking.storage.database import Database
from tracking.storage.tables import COUNTERS, EVENTS, LINES, ORDERS
from tracking.storage.team import audit_log

ORDERS_AT_ONCE = 500
DIFFERENCES_AT_MOST = 1000
Counts = dict[tuple[str, datetime, str], tuple[int, int, int]]
Progress = Callable[[int, int], None]
_read = json.JSONDecoder().decode
_parsed = lru_cache(maxsize=4096)(_read)
_INITIAL_LINE = {"status": model.State.PENDING.value, "claims": 0, "cost_minor": None}


class _Line(NamedTuple):
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


_ORDER_COLUMNS = ("id", "line_count", "event_count", "head", *model.ORDER_FIELDS)
_ORDERS = select(*(ORDERS.c[name] for name in _ORDER_COLUMNS)).order_by(ORDERS.c.id).limit(bindparam("at_most"))
_ORDERS_AFTER = _ORDERS.where(ORDERS.c.id > bindparam("after"))
_ENDS: Any = bindparam("first"), bindparam("last")
_ALL_LINES = select(LINES.c.order_id, *(LINES.c[name] for name in _Line._fields))
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
class Findings:
    """The result of an audit: the differences in words, none when all agrees; at most DIFFERENCES_AT_MOST of them.

    `head` is that of the whole log; None where there were so many differences that the end was not reached.
    `audit_head` is that of the audit log of people: the number and the hash of its newest entry.
    """

    differences: list[str]
    head: LogHead | None
    audit_head: LogHead | None = None


def verify(database: Database, progress: Progress | None = None) -> list[str]:
    """List every difference between what is stored and what the log says, as `examine` does."""
    return examine(database, progress).differences


def examine(
    database: Database,
    progress: Progress | None = None,
    *,
    expected: LogHead | None = None,
    expected_audit: LogHead | None = None,
) -> Findings:
    """Compare all that is stored with the log, and the log with its hashes and with a head that was noted down earlier.

    `expected` is such a head of the log, `expected_audit` one of the audit log of people. `progress` is called with
    (orders done, orders in all).
    """
    with database.snapshot() as connection:
        if database.dialect == "postgresql":
            # Ids are drawn before their events are committed: whoever has drawn one is waited for.
            connection.execute(text("LOCK TABLE events IN SHARE MODE"))
        cut = connection.execute(select(func.max(EVENTS.c.id))).scalar() or 0
        rows = connection.execute(select(COUNTERS)).all()
        counts = {(row.name, row.hour, row.state): (row.orders, row.units, row.value_minor) for row in rows}
        total = connection.execute(select(func.count()).select_from(ORDERS)).scalar_one()
    audit = _Audit(cut, {cut, expected.at} if expected else {cut})
    done, last = 0, 0
    while len(audit.differences) < DIFFERENCES_AT_MOST:
        with database.snapshot() as connection:
            orders, events, lines = _chunk(connection, last)
        if not orders:
            break
        for row in orders:
            audit.differences += audit.check(row, events.get(row["id"], ()), lines.get(row["id"], ()))
        last, done = orders[-1]["id"], done + len(orders)
        if progress is not None:
            progress(done, max(done, total))
    else:
        return Findings(audit.differences[:DIFFERENCES_AT_MOST], None)
    samples = [*_sample_faults(counts, utc_now())]
    with database.snapshot() as connection:
        samples += audit_log.differences(connection)
        audit_head = LogHead(*audit_log.head_of(connection))
        if expected_audit is not None and (entry := audit_log.hash_at(connection, expected_audit.at)) is None:
            samples.append(f"the audit log has no entry {expected_audit.at}, whose head is expected")
        elif expected_audit is not None and entry != expected_audit.digest:
            what = f"the audit log up to entry {expected_audit.at} is not the expected one"
            samples.append(f"{what}: its head is {entry}")
    counted = {key: numbers for key, numbers in counts.items() if key[0] not in SAMPLED}
    differences = (audit.differences + _compare_counts(counted, audit.recomputed) + samples)[:DIFFERENCES_AT_MOST]
    if expected is not None and (is_now := audit.head(expected.at)) != expected:
        what = "is not the expected one"
        differences.append(f"the log up to event {expected.at} {what}: its head is {is_now}")
    return Findings(differences, audit.head(cut), audit_head)


_Chunk = tuple[Sequence[RowMapping], Mapping[int, list[tuple[int, Entry]]], Mapping[int, list[_Line]]]


def _chunk(connection: Connection, after: int) -> _Chunk:
    orders = connection.execute(_ORDERS_AFTER, {"after": after, "at_most": ORDERS_AT_ONCE}).mappings().all()
    if not orders:
        return [], {}, {}
    ends = {"first": orders[0]["id"], "last": orders[-1]["id"]}
    events = groupby(connection.execute(_entries(connection.dialect.name), ends).all(), itemgetter(0))
    lines = groupby(connection.execute(_LINES, ends).all(), itemgetter(0))
    entries = {key: [(row[1], Entry(*row[2:])) for row in group] for key, group in events}
    return orders, entries, {key: [_Line(*row[1:]) for row in group] for key, group in lines}


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


class _Audit:
    """Checks order after order by their row's id, and adds up their counters and hashes."""

    def __init__(self, cut: int, heads: Iterable[int]) -> None:
        self.differences: list[str] = []
        self.recomputed: dict[tuple[str, datetime, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._heads = {at: hashlib.sha256() for at in heads}
        self._cut = cut

    def head(self, at: int) -> LogHead:
        return LogHead(at, self._heads[at].hexdigest())

    def check(self, row: RowMapping, events: Sequence[tuple[int, Entry]], lines: Sequence[_Line]) -> Iterable[str]:
        name, entries = row["po_number"], [entry for _, entry in events]
        digests = _digests(name, row["head"], entries) if entries else []
        for at, heads in self._heads.items():
            if until := [digest for (key, _), digest in zip(events, digests, strict=True) if key <= at]:
                heads.update(until[-1].encode())
        if missing := chain.numbering_fault([entry.seq for entry in entries], row["event_count"]):
            return [f"{name}: {missing}"]
        link = chain.broken_link(name, row["head"], entries, digests)
        broken = [f"{name}: {link}"] if link else []
        if len(lines) != row["line_count"]:
            return [*broken, f"{name}: {len(lines)} of its {row['line_count']} lines are there"]
        try:
            order = self._fold(events)
            contents = _parsed(entries[0].detail).get("contents")
            folded = _folded_lines(lines, entries)
            return [*broken, *_compare_facts(name, row, order), *_compare_lines(lines, folded, order, contents)]
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            return [*broken, f"{name}: its log cannot be read ({type(exc).__name__}): an event was changed"]

    def _fold(self, events: Sequence[tuple[int, Entry]]) -> model.Order:
        """Fold the events into the order: to merge all they set, the later above the earlier, is to apply each."""
        facts: dict[str, Any] = {}
        for key, entry in events:
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
        _, last = events[-1]
        moment = datetime.fromisoformat(last.learned_at)
        return model.first_order(model.Event(last.kind, model.Witness(last.witness), moment, moment, facts))

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


def _folded_lines(lines: Iterable[_Line], entries: Iterable[Entry]) -> dict[int, dict[str, Any]]:
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
    lines: Sequence[_Line], folded: Mapping[int, Mapping[str, Any]], order: model.Order, contents: str | None
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


def _recipient_fits(line: _Line, *, erased: bool) -> bool:
    """Tell whether the hash is that of the recipient; an erased recipient leaves its hash alone."""
    if erased or line.recipient_hash is None:
        return line.recipient is None and line.recipient_salt is None and (not erased or line.recipient_key is None)
    if line.recipient is None or line.recipient_salt is None:
        return False
    return chain.keyed_hash(line.recipient, line.recipient_salt) == line.recipient_hash


def _compare_counts(stored: Counts, recomputed: Mapping[tuple[str, datetime, str], list[int]]) -> list[str]:
    keys = sorted(stored.keys() | recomputed.keys())
    pairs = ((*key, stored.get(key, (0, 0, 0)), tuple(recomputed.get(key, (0, 0, 0)))) for key in keys)
    return [
        f"counter {name} {hour:%Y-%m-%d %H}h {state}: stored {actual}, the log says {expected}"
        for name, hour, state, actual, expected in pairs
        if actual != expected
    ]


def _sample_faults(counts: Counts, now: datetime) -> Iterator[str]:
    """Describe what the hourly samples cannot be; whether they were right nobody can recompute."""
    for (name, hour, state), numbers in sorted(counts.items()):
        if name not in SAMPLED:
            continue
        if hour > now:
            yield f"counter {name} {hour:%Y-%m-%d %H}h: is of an hour that is yet to come"
        if not (_can_be_late(state, *numbers) if name == LATE else _can_be_balance(state, *numbers)):
            yield f"counter {name} {hour:%Y-%m-%d %H}h {state}: stored {numbers}, which it cannot be"


def _can_be_late(state: str, orders: int, units: int, value_minor: int) -> bool:
    return orders >= 0 and not (state or units or value_minor)


def _can_be_balance(state: str, orders: int, units: int, value_minor: int) -> bool:
    """A balance may be overdrawn; what moved has a direction of its own."""
    return not (orders or units) and (state == LEVEL or (state in {SPENT, REFILLED} and value_minor > 0))
