"""Table of the search's texts, and names of the indexes over it. No logic, as in `storage.tables`.

`from __future__ import annotations` must not stand here: SQLModel reads the annotations while the classes are made.
"""

from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from tracking.storage.tables import BigKey, StoredRow, key_column

INDEX = "search_index"  # on SQLite a full-text index over the table, of three letters each
TRIGRAMS = "search_trigrams"  # on PostgreSQL the function that makes the arrays which are indexed
# An index of arrays keeps the letters that nothing holds any more. Done beside writers, and in no transaction.
REBUILD_ON_POSTGRESQL = "REINDEX INDEX CONCURRENTLY ix_search_trigrams"


class SearchTexts(StoredRow, table=True):
    """A part of what an order is found by, folded: a row for most orders, more for what comes later or is long.

    `words` holds its ids, products, references and notes, each on a line of its own; `people` the keys of its lines'
    recipients. Ids grow as orders come, and are never given twice: what is older than the table counts down from 0.
    """

    __tablename__ = "search_texts"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLModel's own form

    id: int | None = key_column()
    order_id: int = Field(sa_column=sa.Column(BigKey, nullable=False, index=True))
    words: str = ""
    people: str = ""


SEARCH_TEXTS: Any = SQLModel.metadata.tables["search_texts"]
