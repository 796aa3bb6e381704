"""Facts: store small values under a key, such as heartbeats, the catalog and the balance. Steps of a job."""

import functools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from tracking.storage.tables import FACTS, insert_for

SELECT_FACT = select(FACTS.c.at, FACTS.c.value).where(FACTS.c.key == bindparam("wanted"))
SELECT_FACT_FOR_UPDATE = select(FACTS.c.value).where(FACTS.c.key == bindparam("wanted")).with_for_update()


def set_fact(connection: Connection, key: str, value: Mapping[str, Any], now: datetime) -> None:
    """Store a small JSON value under the key, in place of the one before."""
    statement = upsert_fact(connection.dialect.name)
    connection.execute(statement, {"key": key, "value": dict(value), "at": now})


def get_fact(connection: Connection, key: str) -> tuple[datetime, dict[str, Any]] | None:
    """Read the time and the value stored under the key; None where there is none."""
    row = connection.execute(SELECT_FACT, {"wanted": key}).one_or_none()
    return (row[0], row[1]) if row else None


@functools.cache
def insert_fact(dialect: str) -> Any:
    """Build the statement that stores a value, unless there is one under its key."""
    return insert_for(dialect, FACTS).on_conflict_do_nothing(index_elements=["key"])


@functools.cache
def upsert_fact(dialect: str) -> Any:
    """Build the statement that stores a value in place of the one under its key."""
    adding = insert_for(dialect, FACTS)
    replaced = {"value": adding.excluded.value, "at": adding.excluded.at}
    return adding.on_conflict_do_update(index_elements=["key"], set_=replaced)
