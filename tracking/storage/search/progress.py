"""Progress of indexing, stored as a fact in the transaction of each step."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection

from tracking.storage import facts
from tracking.storage.facts import FactKey


@dataclass(frozen=True, slots=True)
class Progress:
    """How far they are.

    `older`: orders with a lower row id, of a store from before there were texts, have none yet; 0 once all have.
    `indexed`: on SQLite, texts up to this id are in the index.
    """

    older: int = 0
    indexed: int = 0


def load(connection: Connection, *, for_update: bool = False) -> Progress:
    """Read how far they are; `for_update` keeps others from going on meanwhile."""
    statement = facts.SELECT_FACT_FOR_UPDATE if for_update else facts.SELECT_FACT
    row = connection.execute(statement, {"key": FactKey.SEARCH}).one_or_none()
    return Progress(**row.value) if row else Progress()


def store(connection: Connection, progress: Progress, now: datetime) -> None:
    """Store how far they are."""
    facts.set_fact(connection, FactKey.SEARCH, asdict(progress), now)
