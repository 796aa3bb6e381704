"""Erasure: remove a recipient from all stored data: lines, requests, documents, recorded calls, claim data, drafts.

What remains is that there was somebody, whose hash the log vouches for and nobody can trace. An order still on its way
needs its recipient and is refused. Who is written in another way is found all the same, but nobody by a part of a name;
who may be somebody else is named, for a person to decide. Nothing here can reach the provider's own records, a backup,
an evidence file that was handed out (those are listed), or the words that people wrote into a note: those are part of
the log.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, or_, select, update

from tracking import ingest
from tracking.access import Person
from tracking.errors import InvalidSubmission, Problem, StoreError
from tracking.orders.model import Submission
from tracking.provider import people
from tracking.provider.masking import mask_recipient
from tracking.provider.recipients import (
    addresses_of,
    is_for,
    line_documents,
    line_id,
    mentions,
    recipients_of,
    remove_person,
)
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.orders import find_order
from tracking.storage.retention.checkpoints import archive_files
from tracking.storage.search import indexing, texts
from tracking.storage.tables import CLAIMS, EVENTS, EXCHANGES, LINES, ORDERS, OUTBOX
from tracking.storage.team.audit_log import ExportedEvidence, exported_evidence
from tracking.submissions.erasing.assignees import assigned_to
from tracking.submissions.erasing.copies import CopyTraces, clear_bodies, erase_copies
from tracking.submissions.erasing.import_rows import erase_from_imports
from tracking.submissions.erasing.recorded import RecordedWrites

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 500
LINES_AT_ONCE = 20
DOCUMENTS_AT_ONCE = 20
SAME_ADDRESS = "the same street address, where others may live too"
_BEING_SENT = frozenset({Submission.QUEUED, Submission.SENDING, Submission.UNKNOWN})
_TEXT_COLUMNS = ("note", "attention", "acknowledged_why")


@dataclass(frozen=True, slots=True)
class OrderTrace:
    """The data of one order that names a person."""

    order_id: int
    po_number: str
    is_being_sent: bool
    numbers: tuple[int, ...]
    request: Mapping[str, Any] | None
    document: Mapping[str, Any] | None
    claims: int
    calls: int
    mentioned: bool


@dataclass(frozen=True, slots=True)
class Likeness:
    """Somebody who may or may not be the same person; `recipient` is masked."""

    po_number: str
    recipient: str
    why: str


@dataclass(slots=True)
class Erasure:
    """The result of an erasure, or of a dry run. The orders are PONumbers.

    `refused` are on their way to the provider. `mentioned` hold the recipient in words that stay, as the log vouches
    for them: a note, a reference. `possible` were left as they are: a person decides, and erases them by their own
    spelling. `exported` are evidence files of these orders that were handed out, out of reach here. `drafts` counts
    orders on the form that were not handed in, and went whole; `jobs` those whose reason, or what else was typed for
    them, named the recipient; `imports` are orders of a file that waited to be placed, and will not be, `references`
    rows of files whose reference named the recipient, `views` saved ones that did, and went, `files` those whose name
    did, which is gone. `assigned` are orders that were given to the recipient as if to a colleague, `assigned_jobs`
    jobs that did so: those words stay. `archives` are files with the logs of old orders: no recipient is in them, but
    what people wrote is, out of reach here. `unfinished` says why deleted data may still be read in the store's files.
    """

    orders: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    mentioned: list[str] = field(default_factory=list)
    possible: list[Likeness] = field(default_factory=list)
    exported: list[ExportedEvidence] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    lines: int = 0
    claims: int = 0
    calls: int = 0
    drafts: int = 0
    jobs: int = 0
    references: int = 0
    views: int = 0
    files: int = 0
    assigned: list[str] = field(default_factory=list)
    assigned_jobs: list[int] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    unfinished: str | None = None

    @property
    def complete(self) -> bool:
        """Whether any data named the recipient, and none of it had to stay."""
        stays = self.refused or self.mentioned or self.assigned or self.assigned_jobs or self.unfinished
        return self.anything and not stays

    @property
    def anything(self) -> bool:
        """Whether anything was erased."""
        orders = self.orders or self.imports or self.references
        return bool(orders or self.calls or self.drafts or self.jobs or self.views or self.files)

    def add(self, trace: OrderTrace) -> None:
        """Count one order."""
        if trace.is_being_sent:
            self.refused.append(trace.po_number)
            return
        self.orders.append(trace.po_number)
        self.mentioned += [trace.po_number] if trace.mentioned else []
        self.lines += len(trace.numbers)
        self.claims += trace.claims
        self.calls += trace.calls

    def add_copies(self, copies: CopyTraces) -> None:
        """Count what lay beside the orders."""
        self.calls += copies.calls
        self.drafts, self.jobs, self.views, self.files = copies.drafts, copies.jobs, copies.views, copies.files


def erase(
    database: Database,
    recipient: str,
    *,
    by: Person,
    now: datetime,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Erasure:
    """Erase the recipient from every order that is not on its way to the provider.

    Calling it again after a crash goes on where it stopped; evidence files of the orders that were done before are not
    listed then, as nothing tells any more that the orders named the recipient. The recipient is an e-mail address, a
    telephone number or the name on a parcel, in any spelling of the same. With `dry_run` nothing changes. `progress` is
    called with (orders looked through, orders in all).

    Raises:
        NotPermitted: the person may not.
        InvalidSubmission: the recipient is empty.
        StoreError: groups committed before stay; call again.
    """
    by.must_operate()
    person = people.clean(recipient)
    if not people.read_spelling(person).forms:
        what = "an e-mail address, a telephone number or a name"
        raise InvalidSubmission([Problem("RECIPIENT", f"is empty: name {what}")])
    done, writes = Erasure(), None if dry_run else RecordedWrites(database, by, now)
    _erase_imports(database, person, done, writes)  # first: what is placed meanwhile is found as an order
    order_ids = list(_find_orders(database, person, done.possible, progress))
    for at in range(0, len(order_ids), LINES_AT_ONCE):
        group = order_ids[at : at + LINES_AT_ONCE]
        if writes is None:
            with database.read() as connection:
                traces = [trace for order_id in group if (trace := _find_trace(connection, order_id, person))]
        else:
            job = partial(_erase_group, order_ids=group, person=person, actor=by.name, now=now)
            traces = writes.write(job, where="orders") if at else writes.write_orders(job, orders=len(order_ids))
        for trace in traces:
            done.add(trace)
        with database.read() as connection:
            names = {trace.order_id: trace.po_number for trace in traces}
            done.exported += exported_evidence(connection, names)
    done.add_copies(erase_copies(database, person, writes, counted=frozenset(order_ids)))
    with database.read() as connection:
        done.assigned, done.assigned_jobs = assigned_to(connection, person)
        done.archives = archive_files(connection)
    if not dry_run:
        done.unfinished = _rewrite_store(database, now, needed=done.anything)
        log.info("erased orders=%d lines=%d refused=%d", len(done.orders), done.lines, len(done.refused))
    return done


def _erase_imports(database: Database, person: str, done: Erasure, writes: RecordedWrites | None) -> None:
    rows = erase_from_imports(database, person, writes)
    done.imports, done.references = rows.po_numbers, rows.references
    done.possible += [Likeness(*each) for each in rows.possible]


def _find_orders(
    database: Database, person: str, possible: list[Likeness], progress: Callable[[int, int], None] | None
) -> Iterator[int]:
    """Find the row ids of orders that name the person in lines, requests or documents; a chunk of orders a read.

    Adds to `possible` who may be the same person in the other orders and lines.
    """
    with database.read() as connection:
        total = connection.execute(select(func.count()).select_from(ORDERS)).scalar_one()
    last = done = 0
    while True:
        with database.read() as connection:
            next_ids = select(ORDERS.c.id).where(ORDERS.c.id > last).order_by(ORDERS.c.id).limit(ROWS_AT_ONCE)
            ids = connection.execute(next_ids).scalars().all()
            if not ids:
                return
            likenesses: dict[tuple[int, str], str] = {}
            yield from sorted(set(_orders_naming(connection, ids[0], ids[-1], person, likenesses)))
            names = select(ORDERS.c.id, ORDERS.c.po_number).where(ORDERS.c.id.in_({key for key, _ in likenesses}))
            po_numbers = {row.id: row.po_number for row in connection.execute(names)} if likenesses else {}
            matches = ((po_numbers[key], masked, why) for (key, masked), why in sorted(likenesses.items()))
            possible += [Likeness(*each) for each in matches]
        last, done = ids[-1], done + len(ids)
        if progress is not None:
            progress(done, max(done, total))


def _orders_naming(
    connection: Connection, first: int, last: int, person: str, likenesses: dict[tuple[int, str], str]
) -> Iterator[int]:
    """Find the orders of this part that name the person; notes who may be the same, by order and masked spelling."""

    def judge(order_id: int, names: Iterable[str]) -> bool:
        if any(people.is_same(name, person) for name in names):
            return True
        for name in names:
            if why := people.may_be_same(name, person):
                likenesses[order_id, mask_recipient(name)] = why
        return False

    lines = select(LINES.c.order_id, LINES.c.recipient).where(LINES.c.recipient.is_not(None))
    for order_id, recipient in connection.execute(lines.where(LINES.c.order_id.between(first, last))):
        if judge(order_id, [recipient]):
            yield order_id
    few = {"yield_per": DOCUMENTS_AT_ONCE}
    for key, column in ((OUTBOX.c.order_id, OUTBOX.c.request), (ORDERS.c.id, ORDERS.c.document)):
        documents = select(key, column).where(key.between(first, last))
        for order_id, document in connection.execute(documents, execution_options=few):
            for line in line_documents(document):
                if judge(order_id, names := recipients_of(line)):
                    for name in names:  # the whole line goes
                        likenesses.pop((order_id, mask_recipient(name)), None)
                    yield order_id
                elif any(people.is_at(person, address) for address in addresses_of(line)):
                    likenesses[order_id, mask_recipient(person)] = SAME_ADDRESS


def _find_trace(connection: Connection, order_id: int, person: str) -> OrderTrace | None:
    """Find the person in the order's data, with request and document as they are without; None where nowhere."""
    columns = (ORDERS.c.po_number, ORDERS.c.submission, ORDERS.c.document, *(ORDERS.c[name] for name in _TEXT_COLUMNS))
    order = connection.execute(select(*columns).where(ORDERS.c.id == order_id)).mappings().one_or_none()
    if order is None:
        return None
    columns_of_lines = select(LINES.c.number, LINES.c.recipient, LINES.c.provider_line_id, LINES.c.external_id)
    lines = connection.execute(columns_of_lines.where(LINES.c.order_id == order_id)).all()
    request = connection.execute(select(OUTBOX.c.request).where(OUTBOX.c.order_id == order_id)).scalar()
    by_id = {line.provider_line_id: line.number for line in lines if line.provider_line_id}
    request_lines = list(enumerate(line_documents(request), start=1))
    numbered = enumerate(line_documents(order["document"]), start=1)
    provider_lines = [(by_id.get(line_id(line), at), line) for at, line in numbered]
    numbers = {line.number for line in lines if line.recipient and people.is_same(line.recipient, person)}
    numbers |= {number for number, line in (*request_lines, *provider_lines) if is_for(line, person)}
    if not numbers:
        return None
    places = {at for at, (number, _) in enumerate(provider_lines, start=1) if number in numbers}
    claims = select(CLAIMS.c.number)
    log = select(EVENTS.c.changes, EVENTS.c.detail).where(EVENTS.c.order_id == order_id)
    words = [order[name] for name in _TEXT_COLUMNS] + [line.external_id for line in lines]
    return OrderTrace(
        order_id,
        order["po_number"],
        order["submission"] in _BEING_SENT,
        tuple(sorted(numbers & {line.number for line in lines})),
        remove_person(request, person, numbers) if request else None,
        remove_person(order["document"], person, places) if order["document"] else None,
        sum(number in numbers for number in connection.execute(claims.where(CLAIMS.c.order_id == order_id)).scalars()),
        connection.execute(select(func.count()).select_from(EXCHANGES).where(_calls_about(order_id))).scalar_one(),
        mentions([*words, *map(list, connection.execute(log))], person),
    )


def _calls_about(order_id: int) -> ColumnElement[bool]:
    """The condition for recorded calls about the order whose masked bodies are stored."""
    has_body = or_(EXCHANGES.c.request.is_not(None), EXCHANGES.c.answer.is_not(None))
    return and_(EXCHANGES.c.order_id == order_id, has_body)


def _erase_group(
    connection: Connection, order_ids: Sequence[int], person: str, actor: str, now: datetime
) -> list[OrderTrace]:
    """Erase the person from a few orders; their data is read anew, with the orders locked."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    traces = [trace for order_id in order_ids if (trace := _erase_order(connection, order_id, person, actor, now))]
    if traces:
        facts.set_fact(connection, FactKey.ERASURE, {"done": False}, now)
    return traces


def _erase_order(connection: Connection, order_id: int, person: str, actor: str, now: datetime) -> OrderTrace | None:
    stored = find_order(connection, order_id=order_id, with_lines=False)
    trace = _find_trace(connection, order_id, person)
    if stored is None or trace is None or trace.is_being_sent:
        return trace
    ingest.erase_recipients(connection, stored, trace.numbers, trace.document, actor, now)
    texts.replace_texts(connection, order_id)
    if trace.request is not None:
        connection.execute(update(OUTBOX).where(OUTBOX.c.order_id == order_id).values(request=dict(trace.request)))
    these = and_(CLAIMS.c.order_id == order_id, CLAIMS.c.number == bindparam("line"))
    connection.execute(delete(CLAIMS).where(these), [{"line": number} for number in trace.numbers])
    clear_bodies(connection, _calls_about(order_id))
    return trace


def _rewrite_store(database: Database, now: datetime, *, needed: bool) -> str | None:
    """Clear the store's files of deleted data, also where an earlier erasure could not; returns why it failed."""
    with database.read() as connection:
        last = facts.get_fact(connection, FactKey.ERASURE)
    if not needed and (last is None or last[1]["done"]):
        return None
    try:
        database.write(indexing.forget_deleted)
        database.rewrite()
    except StoreError as exc:
        return str(exc)
    database.write(lambda connection: facts.set_fact(connection, FactKey.ERASURE, {"done": True}, now))
    return None
