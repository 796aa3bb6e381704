"""Tables of retention: a checkpoint for each shortened order, and the archives. No logic.

`from __future__ import annotations` must not stand here: SQLModel reads the annotations while the classes are made.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tracking.storage.tables import BigKey, StoredRow, key_column, time_column


class Checkpoints(StoredRow, table=True):
    """What stands for the events of an order that left: `seq` of them, so that its log begins after that one.

    `digest` is over what the log said by then (see `retention.checkpoints`): the order's facts, the hash of event
    `seq`, the ids of the first and the last event, and `movements`, what they added to the counters. `last_at` is when
    the last was learned. `facts` are stored once a later event changes the row, which holds them until then. `done`:
    nothing else of them is left to be deleted.
    """

    __table_args__ = (sa.Index("ix_checkpoints_unfinished", "order_id", sqlite_where=sa.text("NOT done")),)

    order_id: int = Field(sa_column=sa.Column(BigKey, primary_key=True, autoincrement=False))
    seq: int
    digest: str
    first_event: int = Field(sa_column=sa.Column(sa.BigInteger, nullable=False))
    last_event: int = Field(sa_column=sa.Column(sa.BigInteger, nullable=False))
    last_at: datetime = time_column(nullable=False)
    movements: list[Any] = Field(sa_column=sa.Column(sa.JSON, nullable=False))
    facts: dict[str, Any] | None = Field(default=None, sa_column=sa.Column(sa.JSON(none_as_null=True)))
    removed_at: datetime = time_column(nullable=False)
    archive_id: int | None = Field(default=None, sa_column=sa.Column(sa.BigInteger))
    done: bool = False


class Archives(StoredRow, table=True):
    """A Parquet file that events were written to before they left; `folder` is where that was, as it was named.

    `state` is writing, written (nothing of it left the store before that), removed, or lost: not there any more as it
    was written when the rest of it was to leave. `digest` is the file's SHA-256.
    """

    __table_args__ = (sa.UniqueConstraint("month", "part"),)

    id: int | None = key_column()
    month: str
    part: int
    folder: str
    file: str
    state: str
    digest: str | None = None
    orders: int = 0
    events: int = 0
    at: datetime = time_column(nullable=False)
    by: str
    finished_at: datetime | None = time_column()


_tables = SQLModel.metadata.tables.__getitem__
CHECKPOINTS, ARCHIVES = map(_tables, ("checkpoints", "archives"))
