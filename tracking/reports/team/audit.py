"""Pages of the audit log, newest first, filtered by name, kind, order and time. Bounded reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy import Connection, select

from tracking.orders import wording
from tracking.orders.model import Witness
from tracking.reports.exports.columns import Kind, columns, names_of
from tracking.reports.exports.forms import write_rows
from tracking.reports.order import id_of_order
from tracking.reports.order_list.query_params import parse_length
from tracking.reports.team.audit_wording import describe
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, ORDERS
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AuditKind
from tracking.storage.team.tables import AUDIT_LOG, JOBS
from tracking.values import value

PAGE_SIZE = 100
EXPORT_CHUNK = 1000
EXPORTED_AT_MOST = 200_000
NAMES_READ = 2000
# Entries are numbered as they are committed, which may be a moment after the time they carry.
_OUT_OF_ORDER = 100
KINDS = tuple(kind.value for kind in AuditKind)
_WITH_REASON = frozenset(
    map(str, (AuditKind.ACKNOWLEDGED, AuditKind.DECLINED, AuditKind.NOTED, AuditKind.REOPENED, AuditKind.SNOOZED))
)
_OF_JOBS = frozenset({AuditKind.JOB_STARTED.value, AuditKind.IMPORTED.value})
COLUMNS = columns(
    seq=Kind.WHOLE,
    at=Kind.TIME,
    who=Kind.TEXT,
    signed_in=Kind.FLAG,
    kind=Kind.TEXT,
    text=Kind.TEXT,
    po_number=Kind.IDENTIFIER,
    job_id=Kind.WHOLE,
    detail=Kind.JSON,
    previous=Kind.TEXT,
)


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which entries to list; empty leaves nothing out. `order` is its PONumber or provider id; `until` is excluded."""

    who: str = ""
    kind: str = ""
    order: str = ""
    since: datetime | None = None
    until: datetime | None = None


@value(frozen=True, slots=True)  # the handover reads thousands
class AuditEntry:
    """One entry; `signed_in`: a sign-in proves who it was."""

    seq: int
    at: datetime
    who: str
    signed_in: bool
    kind: str
    po_number: str | None
    job_id: int | None
    detail: Mapping[str, Any]
    previous: str

    @property
    def text(self) -> str:
        """What was done, in words."""
        return describe(self.kind, self.detail)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; `next_below` is where the next page goes on, None after the last one."""

    entries: tuple[AuditEntry, ...]
    next_below: int | None


def parse_moment(text: str, now: datetime) -> datetime | None:
    """A time (UTC where no zone is named), or a length before now such as "2h"; None for none. Raises ValueError."""
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return now - parse_length(text)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"{text[:40]!r} is no time: write 2026-01-31T09:00, or 2h for two hours ago") from exc


def entries(
    database: Database, filters: AuditFilters, *, below: int | None = None, limit: int = PAGE_SIZE
) -> AuditPage:
    """A page of the entries that match, those with a number below `below`."""
    order_id = id_of_order(database, filters.order) if filters.order.strip() else None
    order_ids = [order_id or 0] if filters.order.strip() else None
    with database.read() as connection:
        query = _matching(connection, filters, order_ids)
        if below is not None:
            query = query.where(AUDIT_LOG.c.seq < below)
        rows = connection.execute(query.order_by(AUDIT_LOG.c.seq.desc()).limit(limit + 1)).all()
    matching = (AuditEntry(*row) for row in rows[:limit])
    listed = tuple(entry for entry in matching if _within(entry.at, filters))
    return AuditPage(listed, rows[limit - 1].seq if len(rows) > limit else None)


def stored_meanings(database: Database, entries: Sequence[AuditEntry]) -> Mapping[int, str]:
    """Read what is known of a page of entries beside the log: the reason that was given, what came of a job by now.

    By the entries' numbers. The log itself holds neither, as a reason may have to be erased and a job goes on.
    """
    written = [entry.seq for entry in entries if entry.kind in _WITH_REASON]
    acts = sa.and_(EVENTS.c.order_id == AUDIT_LOG.c.order_id, EVENTS.c.learned_at == AUDIT_LOG.c.at)
    texts = select(AUDIT_LOG.c.seq, EVENTS.c.detail).join(EVENTS, acts)
    texts = texts.where(AUDIT_LOG.c.seq.in_(written), EVENTS.c.witness == Witness.PERSON)
    of_jobs = {entry.seq: entry.job_id for entry in entries if entry.kind in _OF_JOBS}
    jobs = select(JOBS.c.id, JOBS.c.parameters, JOBS.c.done, JOBS.c.skipped).where(JOBS.c.id.in_(of_jobs.values()))
    with database.read() as connection:
        found = connection.execute(texts).all() if written else []
        meanings = {seq: str(detail["text"]) for seq, detail in found if detail.get("text")}
        by_id = {row.id: row for row in connection.execute(jobs)} if of_jobs else {}
    for seq, job_id in of_jobs.items():
        if (row := by_id.get(job_id)) is not None:
            reason = row.parameters.get("reason")
            by_now = f"{row.done:,} done, {row.skipped:,} skipped by now"
            meanings[seq] = f"{reason}; {by_now}" if reason else by_now
    return {seq: wording.plain(text) for seq, text in meanings.items()}


def head(database: Database) -> str:
    """The number and the hash of the newest entry, as `verify` prints and takes them."""
    with database.read() as connection:
        seq, digest = audit_log.head_of(connection)
    return f"{seq}:{digest}"


def names(database: Database) -> list[str]:
    """Who did something lately, by the alphabet: of the newest entries."""
    newest = select(AUDIT_LOG.c.person).order_by(AUDIT_LOG.c.seq.desc()).limit(NAMES_READ).subquery()
    with database.read() as connection:
        return sorted(connection.execute(select(newest.c.person).distinct()).scalars(), key=str.casefold)


def write_entries(database: Database, filters: AuditFilters, *, form: str, file: IO[bytes]) -> int:
    """Write the entries that match as csv or jsonl, newest first, EXPORTED_AT_MOST of them; returns how many."""
    return write_rows(_chunks(database, filters), COLUMNS, form=form, file=file)


def record(entry: AuditEntry) -> dict[str, Any]:
    """The entry as a line of an export, and as `tracking audit --json` prints it."""
    return {name: getattr(entry, name) for name in names_of(COLUMNS)}


def _chunks(database: Database, filters: AuditFilters) -> Iterator[list[dict[str, Any]]]:
    below, written = None, 0
    while written < EXPORTED_AT_MOST:
        page = entries(database, filters, below=below, limit=EXPORT_CHUNK)
        yield [record(entry) for entry in page.entries]
        below, written = page.next_below, written + len(page.entries)
        if below is None:
            return


def _matching(connection: Connection, filters: AuditFilters, order_ids: list[int] | None) -> Any:
    """The entries by what has an index; of the time only the numbers between which it lies."""
    # In the places of an entry's fields: to look up each by its name takes longer, and thousands are read.
    own = [AUDIT_LOG.c[name] for name in ("seq", "at", "person", "signed_in", "kind", "job_id", "detail", "previous")]
    columns = [*own[:5], ORDERS.c.po_number, *own[5:]]
    query = select(*columns).outerjoin(ORDERS, ORDERS.c.id == AUDIT_LOG.c.order_id)
    if order_ids is not None:
        query = query.where(AUDIT_LOG.c.order_id.in_(order_ids))
    if filters.who:
        query = query.where(AUDIT_LOG.c.person == filters.who)
    if filters.kind:
        query = query.where(AUDIT_LOG.c.kind == filters.kind)
    if filters.since is not None:
        after = select(AUDIT_LOG.c.seq).where(AUDIT_LOG.c.at >= filters.since).order_by(AUDIT_LOG.c.at)
        query = query.where(AUDIT_LOG.c.seq >= _end(connection, after, sa.func.min))
    if filters.until is not None:
        before = select(AUDIT_LOG.c.seq).where(AUDIT_LOG.c.at < filters.until).order_by(AUDIT_LOG.c.at.desc())
        query = query.where(AUDIT_LOG.c.seq <= _end(connection, before, sa.func.max))
    return query


def _end(connection: Connection, closest: Any, pick: Any) -> int:
    """The first or the last number of the entries closest to a time; one that no entry has where there are none."""
    seqs = closest.limit(_OUT_OF_ORDER).subquery()
    end: int | None = connection.execute(select(pick(seqs.c.seq))).scalar()
    return end if end is not None else 0 if pick is sa.func.max else 2**62


def _within(at: datetime, filters: AuditFilters) -> bool:
    after = filters.since is None or at >= filters.since
    return after and (filters.until is None or at < filters.until)
