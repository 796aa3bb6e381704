"""Takes a recipient out of everything that is kept, on a person's word: lines, requests, documents, calls, claim data.

What remains is that there was somebody, whose hash the log vouches for and nobody can trace. An order still on its way
needs its recipient and is refused. Nothing here can reach the provider's own records, a backup, or the words that
people wrote into a note: those are part of the log.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, or_, select, update

from tracking import ingest
from tracking.access import Person
from tracking.errors import InvalidSubmission, Problem, StoreError
from tracking.orders.model import Submission
from tracking.provider.recipients import folded, id_of, lines_of, mentions, recipients, without
from tracking.storage import facts
from tracking.storage import orders as store
from tracking.storage.database import Database
from tracking.storage.tables import CLAIMS, EVENTS, EXCHANGES, LINES, ORDERS, OUTBOX

log = logging.getLogger(__name__)

CHUNK = 500
GROUP = 20
DOCUMENTS_AT_ONCE = 20
REWRITTEN = "erasure"
_ON_THEIR_WAY = frozenset({Submission.QUEUED, Submission.SENDING, Submission.UNKNOWN})
_IN_WORDS = ("note", "attention", "acknowledged_why")


@dataclass(frozen=True, slots=True)
class _Trace:
    """What one order holds of a person."""

    order_id: int
    po_number: str
    on_its_way: bool
    numbers: tuple[int, ...]
    request: Mapping[str, Any] | None
    document: Mapping[str, Any] | None
    claims: int
    calls: int
    mentioned: bool


@dataclass(slots=True)
class Erasure:
    """What was erased, or would be. The orders are PONumbers.

    `refused` are on their way to the provider. `mentioned` hold the recipient in words that stay, as the log vouches
    for them: a note, a reference. `unfinished` says why what was deleted may still be read in the store's files.
    """

    orders: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    mentioned: list[str] = field(default_factory=list)
    lines: int = 0
    claims: int = 0
    calls: int = 0
    unfinished: str | None = None

    @property
    def complete(self) -> bool:
        """Whether somebody was found, and nothing had to stay."""
        return bool(self.orders or self.calls) and not (self.refused or self.mentioned or self.unfinished)

    def add(self, trace: _Trace) -> None:
        """Counts what became of one order."""
        if trace.on_its_way:
            self.refused.append(trace.po_number)
            return
        self.orders.append(trace.po_number)
        self.mentioned += [trace.po_number] if trace.mentioned else []
        self.lines += len(trace.numbers)
        self.claims += trace.claims
        self.calls += trace.calls


def erase(
    database: Database,
    recipient: str,
    *,
    by: Person,
    now: datetime,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Erasure:
    """Erases the recipient from every order that is not on its way to the provider.

    Calling it again after a crash goes on where it stopped.

    Args:
        database: the store.
        recipient: an e-mail address, a telephone number, or the name on a parcel; case and space around it are ignored.
        by: who wants it so.
        now: when.
        dry_run: only find out what would be erased.
        progress: called with (orders looked through, orders in all).

    Raises:
        NotPermitted: the person may not.
        InvalidSubmission: the recipient is empty.
        StoreError: groups committed before stay; call again.
    """
    by.must_operate()
    person = folded(recipient)
    if not person:
        raise InvalidSubmission(
            [Problem("RECIPIENT", "is empty: name an e-mail address, a telephone number or a name")]
        )
    done = Erasure()
    found = list(_concerned(database, person, progress))
    for at in range(0, len(found), GROUP):
        group = found[at : at + GROUP]
        for trace in (
            _foreseen(database, group, person) if dry_run else database.write(_Erasing(group, person, by, now))
        ):
            done.add(trace)
    if dry_run:
        done.calls += _more_calls(database, person, frozenset(found))
    else:
        done.calls += database.write(lambda connection: _forget_calls(connection, _tells_of(person)))
        done.unfinished = _rewrite(database, now, needed=bool(done.orders or done.calls))
        log.info("erased orders=%d lines=%d refused=%d", len(done.orders), done.lines, len(done.refused))
    return done


def _concerned(database: Database, person: str, progress: Callable[[int, int], None] | None) -> Iterator[int]:
    """The row ids of the orders that name the person, by lines, requests and documents; a chunk of orders a read."""
    with database.read() as connection:
        total = connection.execute(select(func.count()).select_from(ORDERS)).scalar_one()
    last = done = 0
    while True:
        with database.read() as connection:
            next_ids = select(ORDERS.c.id).where(ORDERS.c.id > last).order_by(ORDERS.c.id).limit(CHUNK)
            ids = connection.execute(next_ids).scalars().all()
            if not ids:
                return
            yield from sorted(set(_naming(connection, ids[0], ids[-1], person)))
        last, done = ids[-1], done + len(ids)
        if progress is not None:
            progress(done, max(done, total))


def _naming(connection: Connection, first: int, last: int, person: str) -> Iterator[int]:
    lines = select(LINES.c.order_id, LINES.c.recipient).where(LINES.c.recipient.is_not(None))
    for order_id, recipient in connection.execute(lines.where(LINES.c.order_id.between(first, last))):
        if folded(recipient) == person:
            yield order_id
    few = {"yield_per": DOCUMENTS_AT_ONCE}
    for key, column in ((OUTBOX.c.order_id, OUTBOX.c.request), (ORDERS.c.id, ORDERS.c.document)):
        documents = select(key, column).where(key.between(first, last))
        for order_id, document in connection.execute(documents, execution_options=few):
            if any(person in recipients(line) for line in lines_of(document)):
                yield order_id


def _foreseen(database: Database, order_ids: Sequence[int], person: str) -> Iterator[_Trace]:
    with database.read() as connection:
        yield from filter(None, (_traced(connection, order_id, person) for order_id in order_ids))


def _traced(connection: Connection, order_id: int, person: str) -> _Trace | None:
    """What the order holds of the person, with its request and document as they are without; None where nothing."""
    columns = (ORDERS.c.po_number, ORDERS.c.submission, ORDERS.c.document, *(ORDERS.c[name] for name in _IN_WORDS))
    order = connection.execute(select(*columns).where(ORDERS.c.id == order_id)).mappings().one_or_none()
    if order is None:
        return None
    kept = select(LINES.c.number, LINES.c.recipient, LINES.c.provider_line_id, LINES.c.external_id)
    lines = connection.execute(kept.where(LINES.c.order_id == order_id)).all()
    request = connection.execute(select(OUTBOX.c.request).where(OUTBOX.c.order_id == order_id)).scalar()
    by_id = {line.provider_line_id: line.number for line in lines if line.provider_line_id}
    asked = list(enumerate(lines_of(request), start=1))
    shown = [(by_id.get(id_of(line), at), line) for at, line in enumerate(lines_of(order["document"]), 1)]
    numbers = {line.number for line in lines if line.recipient and folded(line.recipient) == person}
    numbers |= {number for number, line in (*asked, *shown) if person in recipients(line)}
    if not numbers:
        return None
    places = {at for at, (number, _) in enumerate(shown, start=1) if number in numbers}
    claims = select(CLAIMS.c.number)
    words = [order[name] for name in _IN_WORDS] + [line.external_id for line in lines]
    return _Trace(
        order_id,
        order["po_number"],
        order["submission"] in _ON_THEIR_WAY,
        tuple(sorted(numbers & {line.number for line in lines})),
        without(request, person, numbers) if request else None,
        without(order["document"], person, places) if order["document"] else None,
        sum(number in numbers for number in connection.execute(claims.where(CLAIMS.c.order_id == order_id)).scalars()),
        connection.execute(select(func.count()).select_from(EXCHANGES).where(_told_by(order_id))).scalar_one(),
        mentions([*words, _told(connection, order_id)], person),
    )


def _told(connection: Connection, order_id: int) -> list[Any]:
    log = select(EVENTS.c.changes, EVENTS.c.detail).where(EVENTS.c.order_id == order_id)
    return [part for row in connection.execute(log) for part in row]


def _told_by(order_id: int) -> ColumnElement[bool]:
    """Calls about the order whose masked bodies are kept."""
    return and_(
        EXCHANGES.c.order_id == order_id, or_(EXCHANGES.c.request.is_not(None), EXCHANGES.c.answer.is_not(None))
    )


def _tells_of(person: str) -> ColumnElement[bool]:
    """Calls, such as lists, whose masked bodies hold the person all the same."""
    return or_(*(column.icontains(person, autoescape=True) for column in (EXCHANGES.c.request, EXCHANGES.c.answer)))


def _more_calls(database: Database, person: str, counted: frozenset[int]) -> int:
    """How many calls tell of the person besides those of the orders that are counted already."""
    with database.read() as connection:
        concerned = connection.execute(select(EXCHANGES.c.order_id).where(_tells_of(person))).scalars()
        return sum(order_id not in counted for order_id in concerned)


def _forget_calls(connection: Connection, which: ColumnElement[bool]) -> int:
    return connection.execute(update(EXCHANGES).where(which).values(request=None, answer=None)).rowcount


@dataclass(frozen=True, slots=True)
class _Erasing:
    """The job that erases the person from a few orders; what it finds is looked up anew, with the orders locked."""

    order_ids: Sequence[int]
    person: str
    by: Person
    now: datetime

    def __call__(self, connection: Connection) -> list[_Trace]:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        traced = [trace for order_id in self.order_ids if (trace := self._erase(connection, order_id))]
        if traced:
            facts.set_fact(connection, REWRITTEN, {"done": False}, self.now)
        return traced

    def _erase(self, connection: Connection, order_id: int) -> _Trace | None:
        kept = store.find_order(connection, order_id=order_id, with_lines=False)
        trace = _traced(connection, order_id, self.person)
        if kept is None or trace is None or trace.on_its_way:
            return trace
        ingest.erase_recipients(connection, kept, trace.numbers, trace.document, actor=self.by.name, now=self.now)
        if trace.request is not None:
            connection.execute(update(OUTBOX).where(OUTBOX.c.order_id == order_id).values(request=dict(trace.request)))
        these = and_(CLAIMS.c.order_id == order_id, CLAIMS.c.number == bindparam("line"))
        connection.execute(delete(CLAIMS).where(these), [{"line": number} for number in trace.numbers])
        _forget_calls(connection, _told_by(order_id))
        return trace


def _rewrite(database: Database, now: datetime, *, needed: bool) -> str | None:
    """Clears the store's files of what was deleted, also where an erasure before this one could not; or why not."""
    with database.read() as connection:
        last = facts.fact(connection, REWRITTEN)
    if not needed and (last is None or last[1]["done"]):
        return None
    try:
        database.rewrite()
    except StoreError as exc:
        return str(exc)
    database.write(lambda connection: facts.set_fact(connection, REWRITTEN, {"done": True}, now))
    return None
