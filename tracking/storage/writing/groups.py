"""Groups: run jobs of the writer in one transaction; where one fails, split the group so that the others succeed.

No job is undone by itself, as that would cost a savepoint for each. A group of which one job fails leaves nothing; what
came before that job, the job and what comes after it are then run anew, each part in a transaction of its own.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tracking.errors import StoreBusy
from tracking.storage import counters
from tracking.storage.engines import LOCKS_NO_MORE
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.tables import ORDERS

UNCERTAIN = "the connection broke while this was saved: find out whether it is there before you repeat it"
RETRY_STATES = frozenset({"40001", "40P01"})
_NAMED = (
    ORDERS.c.id.in_(sa.bindparam("ids", expanding=True)),
    ORDERS.c.po_number.in_(sa.bindparam("po_numbers", expanding=True)),
)
_LOCK_ORDERS = sa.select(ORDERS.c.id).where(sa.or_(*_NAMED)).order_by(ORDERS.c.id).with_for_update()


@dataclass(slots=True)
class Job:
    """Work to be done in a transaction of the writer, and the future that gets its result.

    `orders` are those that it will change, by row id or PONumber, as far as that is known.
    """

    work: Callable[[Connection], Any]
    future: Future[Any]
    orders: frozenset[int | str] = frozenset()


class JobFailed(Exception):
    """A job raised `error`, and the transaction of its group is rolled back.

    `place` is the job's in its group; None where what is done for several of them at once failed.
    """

    def __init__(self, place: int | None, error: Exception) -> None:
        super().__init__(place)
        self.place, self.error = place, error

    def parts(self, group: list[Job]) -> list[list[Job]]:
        """Cut the group into what can be run anew."""
        if self.place is None:
            return [[job] for job in group]
        parts = group[: self.place], [group[self.place]], group[self.place + 1 :]
        return [part for part in parts if part]


def run(connection: Connection, jobs: list[Job], *, with_probe: bool) -> list[Any]:
    """Run the jobs in one transaction; returns the result of each once all are committed.

    With a probe something is committed first in any case: jobs without anything to write would not show that the store
    is well. A job after which nothing may be locked is the last one, and what comes after it has no result yet.
    Raises JobFailed; any other error is the transaction's: StoreBusy where nobody knows whether it was committed.
    """
    if with_probe:
        with connection.begin():
            probe(connection)
    info, results = connection.info, list[Any]()
    info.pop(LOCKS_NO_MORE, None)
    with _committed(connection), counters.summed(info):
        if len(jobs) > 1 and connection.dialect.name == "postgresql":
            with _for_all():
                lock_orders(connection, frozenset().union(*(job.orders for job in jobs)))
        for place, job in enumerate(jobs):
            try:
                results.append(job.work(connection))
            except Exception as exc:
                raise JobFailed(place, exc) from exc
            if LOCKS_NO_MORE in info:
                break
        with _for_all():
            counters.write_sums(connection)
    return results


@contextlib.contextmanager
def _committed(connection: Connection) -> Iterator[None]:
    """Commit at the end of the block. Where the connection breaks over that, nobody knows what became of it.

    To run the jobs again might do them twice. Raises StoreBusy for that.
    """
    at_the_end = False
    try:
        with connection.begin():
            yield
            at_the_end = True
    except DBAPIError as exc:
        if at_the_end and exc.connection_invalidated:
            raise StoreBusy(UNCERTAIN) from exc
        raise


@contextlib.contextmanager
def _for_all() -> Iterator[None]:
    """Within the block work is done for several jobs at once; where it fails, each job is run alone."""
    try:
        yield
    except SQLAlchemyError as exc:
        raise JobFailed(None, exc) from exc


def lock_orders(connection: Connection, named: frozenset[int | str]) -> None:
    """Lock the orders with these row ids or PONumbers, ascending by row id, as everybody does who locks several.

    Two processes that took them job by job would come to hold what the other waits for.
    """
    if len(named) > 1:
        po_numbers = [each for each in named if isinstance(each, str)]
        ids = [each for each in named if isinstance(each, int)]
        connection.execute(_LOCK_ORDERS, {"ids": ids, "po_numbers": po_numbers})


def probe(connection: Connection) -> None:
    """Make the smallest write there is: it needs all that a commit needs, and changes nothing."""
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version={version}")
    else:
        connection.execute(sa.select(sa.func.txid_current()))


def discard(connection: Connection | None) -> None:
    """Close a connection that may be broken."""
    for step in (connection.invalidate, connection.close) if connection is not None else ():
        with contextlib.suppress(SQLAlchemyError, dbapi.Error):
            step()


def may_retry(error: Exception) -> bool:
    """Tell whether to try again: a deadlock's victim or a dead connection; a locked store has been waited for."""
    error = error.error if isinstance(error, JobFailed) else error
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or is_conflict(error)


def is_conflict(error: Exception) -> bool:
    """Whether two transactions were in each other's way, so that the server ended this one."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in RETRY_STATES
