"""Saved views of the list of orders: saved under a name for oneself or for all, replaced, deleted.

A view is a filter in the words of its address. What somebody typed into it stays here, where `erase` reaches it; the
audit log has the number of the view and no word of it.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from tracking.access import Person
from tracking.errors import InvalidNote, NotAllowed, Problem
from tracking.reports.order_list.filters import Filters
from tracking.reports.team.saved_views import MOST_VIEWS, SHARED
from tracking.storage.database import Database
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AuditKind
from tracking.storage.team.tables import SAVED_VIEWS
from tracking.team.work import LONGEST_NAME

NAME_TAKEN = "a view of this name exists already"
LONGEST_QUERY = 4000  # letters of all that the filter names


def save(
    database: Database,
    name: str,
    filters: Filters,
    *,
    shared: bool,
    by: Person,
    now: datetime,
    replaces: bool = False,
) -> int:
    """Save the filter under a name, for the person alone or for all; returns its number.

    Raises:
        NotPermitted: the person may not.
        InvalidNote: the name is empty or too long, the filter names too much, or there are too many views.
        NotAllowed: there is one of this name, and `replaces` does not say that it is to be replaced.
    """
    by.must_operate()
    more: dict[str, Any] = {"shared": shared, "by": by, "now": now, "replaces": replaces}
    return database.write(partial(save_here, name=name, filters=filters, **more))


def save_here(
    connection: Connection,
    name: str,
    filters: Filters,
    *,
    shared: bool,
    by: Person,
    now: datetime,
    replaces: bool = False,
) -> int:
    """Save it as `save` does, and raise as that: a step of a job of the writer."""
    by.must_operate()
    called = _readable(name)
    query = filters_to_save(filters)
    if len(str(query)) > LONGEST_QUERY:
        raise InvalidNote([Problem("Filter", "names too many orders or words to be saved; choose them by a filter")])
    owner = SHARED if shared else by.name
    audit_log.lock(connection, now)  # one after the other, or two at once would be one too many
    row = {"query": query, "created_by": by.name, "created_at": now}
    number = _taken_by(connection, owner, called)
    if number is not None and not replaces:
        raise NotAllowed(NAME_TAKEN)
    if number is not None:
        connection.execute(update(SAVED_VIEWS).where(SAVED_VIEWS.c.id == number).values(row | {"name": called}))
    else:
        _check_number(connection, owner)
        adding = insert(SAVED_VIEWS).values(row | {"owner": owner, "name": called})
        number = connection.execute(adding.returning(SAVED_VIEWS.c.id)).scalar_one()
    audit_log.record_act(connection, by, AuditKind.VIEW_SAVED, now, detail={"view": number, "shared": shared})
    return int(number)


def remove(database: Database, view_id: int, *, by: Person, now: datetime) -> None:
    """Delete a view of one's own, or one that all share.

    Raises:
        NotPermitted: the person may not.
        NotAllowed: it is somebody else's own, or is gone already.
    """
    by.must_operate()

    def job(connection: Connection) -> None:
        audit_log.lock(connection, now)  # first, as whoever saves one does
        theirs = SAVED_VIEWS.c.id == view_id, SAVED_VIEWS.c.owner.in_((by.name, SHARED))
        owner = connection.execute(delete(SAVED_VIEWS).where(*theirs).returning(SAVED_VIEWS.c.owner)).scalar()
        if owner is None:
            raise NotAllowed("there is no such view, or it is not yours")
        audit_log.record_act(
            connection, by, AuditKind.VIEW_DELETED, now, detail={"view": view_id, "shared": owner == SHARED}
        )

    database.write(job)


def filters_to_save(filters: Filters) -> dict[str, object]:
    """The filter as it is saved: without its page, and of the view "mine" without whose it is."""
    query = filters.to_query()
    dropped = {"page", *(["assigned"] if filters.view == "mine" else [])}
    return {name: value for name, value in query.items() if name not in dropped}


def _readable(name: str) -> str:
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    if not any(map(str.isalnum, text)):
        raise InvalidNote([Problem("Name", "is empty; give the view a name")])
    if len(text) > LONGEST_NAME:
        raise InvalidNote([Problem("Name", f"has {len(text):,} characters; at most {LONGEST_NAME}")])
    return text


def _taken_by(connection: Connection, owner: str, name: str) -> int | None:
    """The id of the owner's view with this name, ignoring case; None without one."""
    named = select(SAVED_VIEWS.c.id, SAVED_VIEWS.c.name).where(SAVED_VIEWS.c.owner == owner)
    rows = connection.execute(named.order_by(SAVED_VIEWS.c.name).limit(MOST_VIEWS)).all()
    alike = [(row.name != name, row.id) for row in rows if row.name.casefold() == name.casefold()]
    return min(alike)[1] if alike else None  # the very name, where both were saved before


def _check_number(connection: Connection, owner: str) -> None:
    counted = select(func.count()).select_from(SAVED_VIEWS).where(SAVED_VIEWS.c.owner == owner)
    if connection.execute(counted).scalar_one() >= MOST_VIEWS:
        raise InvalidNote([Problem("Views", f"there are {MOST_VIEWS} already; delete one first")])
