"""Erases a recipient from copies: recorded calls, refused webhook calls, drafts, saved views, file names.

Drafts and saved views go whole; a job loses the words that somebody typed for it, an import the name of its file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, delete, or_, select, update

from tracking.provider.recipients import copies_name
from tracking.storage.database import Database
from tracking.storage.tables import BATCHES, CALLBACKS, DRAFTS, EXCHANGES
from tracking.storage.team.tables import JOBS, SAVED_VIEWS
from tracking.submissions.erasing.deliveries import erase_deliveries
from tracking.submissions.erasing.recorded import RecordedWrites

ROWS_AT_ONCE = 500
ERASED_WORDS = "(erased)"
WHERE = "copies beside orders"
_NOTICE = (CALLBACKS.c.po_number, CALLBACKS.c.provider_id, CALLBACKS.c.action)


@dataclass(slots=True)
class CopyTraces:
    """How many copies named the person: calls, drafts, texts of jobs, saved views, file names."""

    calls: int = 0
    drafts: int = 0
    jobs: int = 0
    views: int = 0
    files: int = 0


def erase_copies(
    database: Database, person: str, writes: RecordedWrites | None, *, counted: frozenset[int]
) -> CopyTraces:
    """Erase what names the person beside the orders.

    Without `writes` it only counts, and calls of the orders that are counted already not once more.
    """
    done = CopyTraces()
    for ids in _pages_naming(database, person, EXCHANGES.c.id, (EXCHANGES.c.request, EXCHANGES.c.answer)):
        if writes is not None:
            done.calls += writes.write(partial(clear_bodies, which=EXCHANGES.c.id.in_(ids)), where=WHERE)
        else:
            with database.read() as connection:
                concerned = connection.execute(select(EXCHANGES.c.order_id).where(EXCHANGES.c.id.in_(ids))).scalars()
                done.calls += sum(order_id not in counted for order_id in concerned)

    def erase(removal: Callable[..., None], pages: Iterator[list[Any]]) -> int:
        number = 0
        for keys in pages:
            number += len(keys)
            if writes is not None:
                writes.write(partial(removal, keys=keys), where=WHERE)
        return number

    pages = partial(_pages_naming, database, person)
    done.calls += erase_deliveries(database, person, writes)
    done.calls += erase(_clear_refusals, pages(CALLBACKS.c.id, _NOTICE, CALLBACKS.c.outcome == "refused"))
    done.drafts = erase(partial(_delete, key=DRAFTS.c.owner), pages(DRAFTS.c.owner, (DRAFTS.c.content,)))
    view = (SAVED_VIEWS.c.name, SAVED_VIEWS.c.query)
    done.views = erase(partial(_delete, key=SAVED_VIEWS.c.id), pages(SAVED_VIEWS.c.id, view))
    done.jobs = erase(partial(_clear_job_words, person=person), pages(JOBS.c.id, (JOBS.c.parameters,)))
    done.files = erase(_clear_file_names, pages(BATCHES.c.id, (BATCHES.c.name,), read=_file_words))
    return done


def clear_bodies(connection: Connection, which: ColumnElement[bool]) -> int:
    """Take the bodies out of recorded calls; returns of how many. A step of a job of the writer."""
    return connection.execute(update(EXCHANGES).where(which).values(request=None, answer=None)).rowcount


def _pages_naming(
    database: Database,
    person: str,
    key: ColumnElement[Any],
    columns: Sequence[ColumnElement[Any]],
    *where: Any,
    read: Callable[[Any], Any] = lambda value: value,
) -> Iterator[list[Any]]:
    """Find the rows that name the person whole in these columns, by their keys; a page of rows a read.

    `read` makes of a column's value what may hold a name.
    """
    query = select(key, *columns).where(or_(*(column.is_not(None) for column in columns)))
    query = query.where(*where).order_by(key).limit(ROWS_AT_ONCE)
    last = None
    while True:
        with database.read() as connection:
            rows = connection.execute(query if last is None else query.where(key > last)).all()
        if not rows:
            return
        last = rows[-1][0]
        if named := [row[0] for row in rows if copies_name([read(value) for value in row[1:]], person)]:
            yield named


def _file_words(name: str) -> list[str]:
    """A file's name as it may name somebody: also without its last endings, and with spaces for the signs in it."""
    stem = PurePath(name).stem
    names = [name, stem, PurePath(stem).stem]
    return names if "@" in name else [*names, re.sub(r"[\W_]+", " ", stem)]


def _clear_refusals(connection: Connection, keys: Sequence[int]) -> None:
    nothing = {"po_number": None, "provider_id": None, "action": None}
    connection.execute(update(CALLBACKS).where(CALLBACKS.c.id.in_(keys)).values(nothing))


def _clear_file_names(connection: Connection, keys: Sequence[int]) -> None:
    connection.execute(update(BATCHES).where(BATCHES.c.id.in_(keys)).values(name=ERASED_WORDS))


def _clear_job_words(connection: Connection, keys: Sequence[int], person: str) -> None:
    """Remove texts typed for a job that name the person; a job that still runs goes on without them."""
    for row in connection.execute(select(JOBS.c.id, JOBS.c.parameters).where(JOBS.c.id.in_(keys))).all():
        cleared = {
            name: ERASED_WORDS if copies_name([value], person) else value for name, value in row.parameters.items()
        }
        connection.execute(update(JOBS).where(JOBS.c.id == row.id).values(parameters=cleared))


def _delete(connection: Connection, keys: Sequence[Any], key: Column[Any]) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    connection.execute(delete(key.table).where(key.in_(keys)))
