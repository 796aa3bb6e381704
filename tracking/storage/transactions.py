"""One transaction with the jobs of many callers: what comes of each, and what an error means for the others.

Opens nothing and waits for nothing: when to commit, and what to try again, is the writer's in `database`.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Transaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tracking.storage.errors import translate

RETRY_STATES = frozenset({"40001", "40P01"})


@dataclass(slots=True)
class Job:
    """What a caller wants done, and where it hears what came of it."""

    work: Callable[[Connection], Any]
    future: Future[Any]


Outcome = tuple[Any, Exception | None]


class StatementFailed(Exception):
    """A job's own statement failed, and took the transaction of its group with it."""

    def __init__(self, cause: SQLAlchemyError) -> None:
        self.cause = cause
        super().__init__(str(cause))


def transaction(connection: Connection, jobs: list[Job], *, with_probe: bool) -> list[Outcome]:
    """What came of each job once all are committed.

    With a probe the transaction writes in any case: jobs that find nothing to do would not show that the store is well.

    Raises:
        StatementFailed: a statement of a job. Any other error is the transaction's own.
    """
    outcomes: list[Outcome] = []
    alone = len(jobs) == 1 and not with_probe
    with connection.begin() as whole:
        if with_probe:
            probe(connection)
        for job in jobs:
            # What one job did must be undone without the others; a job alone takes the transaction with it.
            undone: Transaction = whole if alone else connection.begin_nested()
            try:
                with contextlib.nullcontext() if alone else undone:
                    outcomes.append((job.work(connection), None))
            except SQLAlchemyError as exc:
                raise StatementFailed(exc) from exc
            except Exception as exc:  # noqa: BLE001 - the job's own error goes to its caller alone
                if alone:
                    undone.rollback()
                outcomes.append((None, exc))
    return outcomes


def probe(connection: Connection) -> None:
    """The smallest write there is: it needs all that a commit needs, and changes nothing."""
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version={version}")
    else:
        connection.execute(sa.select(sa.func.txid_current()))


def explained(error: Exception) -> Exception:
    """Ours for the driver's, any other as it is."""
    return translate(error) if isinstance(error, SQLAlchemyError | sqlite3.Error) else error


def resolve(job: Job, result: Any, error: Exception | None) -> None:
    """Lets the caller hear."""
    if error is not None:
        job.future.set_exception(error)
    else:
        job.future.set_result(result)


def drop(connection: Connection | None) -> None:
    """Lets go of a connection that may be broken."""
    if connection is not None:
        with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
            connection.invalidate()
        with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
            connection.close()


def worth_another_try(error: Exception) -> bool:
    """A deadlock's victim and a connection that died are tried again; a locked or full store has been waited for."""
    if isinstance(error, StatementFailed):
        error = error.cause
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in RETRY_STATES
