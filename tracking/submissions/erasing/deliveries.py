"""Erases a recipient from outgoing webhooks: bodies, receivers' answers, reasons for a skip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sqlalchemy import Connection, literal, or_, select, tuple_, update

from tracking.provider.recipients import copies_name
from tracking.storage.database import Database
from tracking.storage.integration.tables import DELIVERIES, DELIVERY_ATTEMPTS
from tracking.submissions.erasing.recorded import RecordedWrites

ROWS_AT_ONCE = 500
WHERE = "outgoing webhooks"
_ATTEMPT = tuple_(DELIVERY_ATTEMPTS.c.delivery_id, DELIVERY_ATTEMPTS.c.number)
_TEXTS = (DELIVERY_ATTEMPTS.c.answer, DELIVERY_ATTEMPTS.c.error)
Key = tuple[int, int]


def erase_deliveries(database: Database, person: str, writes: RecordedWrites | None) -> int:
    """Take out bodies, answers and reasons that name the person; returns of how many. Without `writes` it only counts.

    A body that waits is made anew at its next attempt: from the log, which names nobody.
    """
    number = 0
    for ids in _bodies(database, person):
        number += len(ids)
        if writes is not None:
            writes.write(partial(_clear_bodies, ids=ids), where=WHERE)
    for keys in _answers(database, person):
        number += len(keys)
        if writes is not None:
            writes.write(partial(_clear_answers, keys=keys), where=WHERE)
    return number


def _bodies(database: Database, person: str) -> Iterator[list[int]]:
    last = 0
    columns = DELIVERIES.c.id, DELIVERIES.c.payload, DELIVERIES.c.settled_why
    query = select(*columns).order_by(DELIVERIES.c.id).limit(ROWS_AT_ONCE)
    while True:
        with database.read() as connection:
            rows = connection.execute(query.where(DELIVERIES.c.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        if named := [row.id for row in rows if copies_name([row.payload, row.settled_why], person)]:
            yield named


def _answers(database: Database, person: str) -> Iterator[list[Key]]:
    last: Key = (0, 0)
    columns = DELIVERY_ATTEMPTS.c.delivery_id, DELIVERY_ATTEMPTS.c.number, *_TEXTS
    query = select(*columns).where(or_(*(text.is_not(None) for text in _TEXTS))).order_by(*columns[:2])
    while True:
        after = tuple_(literal(last[0]), literal(last[1])) < _ATTEMPT
        with database.read() as connection:
            rows = connection.execute(query.where(after).limit(ROWS_AT_ONCE)).all()
        if not rows:
            return
        last = rows[-1].delivery_id, rows[-1].number
        if named := [(row.delivery_id, row.number) for row in rows if copies_name([row.answer, row.error], person)]:
            yield named


def _clear_bodies(connection: Connection, ids: Sequence[int]) -> None:
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_(ids)).values(payload=None, settled_why=None))


def _clear_answers(connection: Connection, keys: Sequence[Key]) -> None:
    of_these = DELIVERY_ATTEMPTS.c.delivery_id.in_([delivery for delivery, _ in keys])
    connection.execute(update(DELIVERY_ATTEMPTS).where(of_these).values(answer=None, error=None))
    connection.execute(update(DELIVERIES).where(DELIVERIES.c.id.in_([key[0] for key in keys])).values(last_error=None))
