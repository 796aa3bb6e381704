"""Saved views: filters of the list of orders under names, one's own and those that all share. Bounded reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tracking.storage.database import Database
from tracking.storage.team.tables import SAVED_VIEWS

MOST_VIEWS = 50
"""How many of a person's own there may be, and how many shared ones."""
SHARED = ""
"""The owner of the views that all share."""


@dataclass(frozen=True, slots=True)
class SavedView:
    """A filter under a name; `query` holds the parameters of its address."""

    id: int
    name: str
    query: Mapping[str, Any]
    shared: bool
    created_by: str


def saved_views(database: Database, name: str) -> tuple[SavedView, ...]:
    """The views that somebody of this name has, then those that all share, each by its name."""
    views: list[SavedView] = []
    columns = SAVED_VIEWS.c.id, SAVED_VIEWS.c.name, SAVED_VIEWS.c.query, SAVED_VIEWS.c.created_by
    with database.read() as connection:
        for owner in dict.fromkeys((name, SHARED)):
            of_owner = select(*columns).where(SAVED_VIEWS.c.owner == owner).order_by(SAVED_VIEWS.c.name)
            rows = connection.execute(of_owner.limit(MOST_VIEWS)).mappings()
            views += [SavedView(**dict(row), shared=owner == SHARED) for row in rows]
    return tuple(views)
