"""Idempotency of the API: requests under an Idempotency-Key, with the answer, for a day. Steps of a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select, update

from tracking.storage.integration.tables import API_REQUESTS
from tracking.storage.tables import insert_for

REMEMBERED = timedelta(days=1)
FORGOTTEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Answered:
    """What was asked before under a key, by its hash, and what was answered."""

    digest: str
    status: int
    answer: Mapping[str, Any]


def find(connection: Connection, token_id: int, key: str, now: datetime) -> Answered | None:
    """What was answered under the key within a day."""
    row = _answered(connection, token_id, key)
    return Answered(row.digest, row.status, row.answer) if row and row.at > now - REMEMBERED else None


def claim(connection: Connection, token_id: int, key: str, digest: str, now: datetime) -> Answered | None:
    """Take the key for this transaction; what was answered under it before, None where it is new.

    Of two transactions that come together the second one waits until the first has ended.
    """
    row = {"token_id": token_id, "key": key, "digest": digest, "at": now, "status": 0, "answer": {}}
    adding = insert_for(connection.dialect.name, API_REQUESTS).values(row)
    if (before := find(connection, token_id, key, now)) is not None:
        return before
    connection.execute(delete(API_REQUESTS).where(*_key(token_id, key), API_REQUESTS.c.at <= now - REMEMBERED))
    added = adding.on_conflict_do_nothing().returning(API_REQUESTS.c.key)  # of an INSERT no driver counts the rows
    if connection.execute(added).first() is not None:
        return None
    other = _answered(connection, token_id, key)  # committed while this one waited
    return Answered(other.digest, other.status, other.answer)


def _key(token_id: int, key: str) -> tuple[Any, Any]:
    return API_REQUESTS.c.token_id == token_id, API_REQUESTS.c.key == key


def _answered(connection: Connection, token_id: int, key: str) -> Any:
    return connection.execute(select(API_REQUESTS).where(*_key(token_id, key))).first()


def answer(connection: Connection, token_id: int, key: str, status: int, document: Mapping[str, Any]) -> None:
    """Keep what is answered, in the transaction of the act."""
    changes = {"status": status, "answer": dict(document)}
    connection.execute(update(API_REQUESTS).where(*_key(token_id, key)).values(changes))


def has_old(connection: Connection, now: datetime) -> bool:
    """Whether there are answers that are older than a day."""
    old = select(API_REQUESTS.c.at).where(API_REQUESTS.c.at <= now - REMEMBERED).limit(1)
    return connection.execute(old).first() is not None


def forget(connection: Connection, now: datetime) -> int:
    """Remove answers that are older than a day, so many at the most; returns how many."""
    old = select(API_REQUESTS.c.at).where(API_REQUESTS.c.at <= now - REMEMBERED).order_by(API_REQUESTS.c.at)
    last = connection.execute(old.offset(FORGOTTEN_AT_ONCE - 1).limit(1)).scalar() or now - REMEMBERED
    return int(connection.execute(delete(API_REQUESTS).where(API_REQUESTS.c.at <= last)).rowcount)
