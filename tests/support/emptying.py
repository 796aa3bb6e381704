"""Empties the store on PostgreSQL that all tests of a worker share."""

from sqlalchemy import Connection

from tracking.storage.tables import (
    BATCHES,
    CALLBACKS,
    CLAIMS,
    COUNTERS,
    EVENTS,
    EXCHANGES,
    FACTS,
    LINES,
    ORDERS,
    OUTBOX,
    PREDICTIONS,
)

TABLES = (ORDERS, LINES, EVENTS, CLAIMS, OUTBOX, CALLBACKS, EXCHANGES, PREDICTIONS, BATCHES, COUNTERS, FACTS)
# All in one call: a tenth of what a statement for each takes, and a thirtieth of TRUNCATE, which makes new files.
_STATEMENTS = "; ".join(
    [f"DELETE FROM {table.name}" for table in TABLES]
    + [f"SELECT setval('{table.name}_id_seq', 1, false)" for table in TABLES if "id" in table.c]
)


def emptied(connection: Connection) -> None:
    """A job that leaves the store as if it had just been migrated."""
    connection.exec_driver_sql(_STATEMENTS).close()
