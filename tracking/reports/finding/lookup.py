"""Looks a text up: the orders found, whether these are all, and notes for the reader. Bounded reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, select

from tracking.orders.model import folded_id
from tracking.orders.wording import clock
from tracking.provider.json_fields import storable
from tracking.reports.finding.terms import alternatives, is_short, readable
from tracking.storage.database import Database
from tracking.storage.search import matching, progress
from tracking.storage.tables import LINES, ORDERS

SAME_ID_AT_MOST = 10
_LAST = "\U0010ffff"  # no character sorts behind it
_FOLDED = (ORDERS.c.po_folded, ORDERS.c.provider_folded)
SHORT = "Fewer than 3 characters: only PO numbers and provider IDs that begin with them are listed."


@dataclass(frozen=True, slots=True)
class TextSearch:
    """What a text finds. `listed`: those with the very id first, then mostly the newest; all, unless `capped`.

    `matches` is the condition for all of them, for a WHERE. `short`: only what begins with the text is looked for.
    Of a store that was made before there was a search of this kind, `older` orders, placed until `older_until`, are not
    looked through yet; `waiting` of the newest texts are not.
    """

    listed: Sequence[int]
    matches: ColumnElement[bool]
    dialect: str
    capped: bool = False
    short: bool = False
    older: int = 0
    older_until: datetime | None = None
    waiting: int = 0

    @property
    def among_listed(self) -> ColumnElement[bool]:
        """The condition for those that are listed."""
        return matching.among(ORDERS.c.id, self.listed, self.dialect)

    @property
    def incomplete(self) -> bool:
        """Whether there are orders that are not looked through yet."""
        return bool(self.older or self.waiting)

    def notes(self, now: datetime) -> list[str]:
        """What the reader of the list has to know about it, in sentences."""
        sentences = [SHORT] if self.short else []
        if self.capped:
            some = f"{_rounded(len(self.listed)):,} of them are looked through"
            sentences.append(
                f"More orders hold this text than a search lists; {some}. Another word or filter shows the others."
            )
        if self.older and self.older_until:
            until = f"{self.older:,} orders placed until {clock(self.older_until, now)}"
            sentences.append(
                f"This search is incomplete: {until} are found by their whole PO number or provider ID only, until a "
                "background worker has read them, newest first. The filter for the beginning of a PO number finds all."
            )
        if self.waiting:
            sentences.append(
                f"This search is incomplete: the {self.waiting:,} latest texts are looked through in a moment."
            )
        return sentences


def _rounded(number: int) -> int:
    return number // 1000 * 1000 or number


def whole_id(text: str) -> ColumnElement[bool]:
    """The condition for the one order that has this very id, in whatever case it is written."""
    folded = folded_id(storable(text))
    return sa.or_(*(column == folded for column in _FOLDED))


def look_up(connection: Connection, text: str) -> TextSearch:
    """Look for the orders that have this id, or hold the text, or each of its words; not for an empty text."""
    dialect = connection.dialect.name
    own = list(connection.execute(select(ORDERS.c.id).where(whole_id(text)).limit(SAME_ID_AT_MOST)).scalars())
    text = readable(text)
    if is_short(text):
        order_ids, capped = _beginning(connection, text)
        return TextSearch(_unique(own, order_ids), _begins(text), dialect, capped=capped, short=True)
    asked = alternatives(text)
    matches = matching.find(connection, asked)
    holding = sa.or_(ORDERS.c.id.in_(own), matching.holds_all(asked, dialect))
    listed = _unique(own, matches.order_ids)
    condition = holding if matches.capped else matching.among(ORDERS.c.id, listed, dialect)
    return TextSearch(
        listed, condition, dialect, matches.capped, False, *_unread(connection), matching.unindexed(connection)
    )


def _unique(own: Sequence[int], others: Sequence[int]) -> list[int]:
    return list(dict.fromkeys((*own, *others)))


def _begins(text: str) -> ColumnElement[bool]:
    return sa.or_(*(column.startswith(folded_id(text), autoescape=True) for column in _FOLDED))


def _beginning(connection: Connection, text: str) -> tuple[list[int], bool]:
    """The orders whose ids begin so; on PostgreSQL, where texts may sort otherwise, of the newest alone."""
    most, folded = matching.ORDERS_AT_MOST, folded_id(text)
    if connection.dialect.name != "sqlite":
        columns = select(ORDERS.c.id, *_FOLDED).order_by(ORDERS.c.id.desc())
        newest = columns.limit(matching.NEWEST).subquery()
        begins = (column.startswith(folded, autoescape=True) for column in (newest.c[1], newest.c[2]))
        order_ids = list(connection.execute(select(newest.c.id).where(sa.or_(*begins)).limit(most)).scalars())
        others = connection.execute(select(ORDERS.c.id).offset(matching.NEWEST).limit(1)).first()
        return order_ids, others is not None or len(order_ids) >= most
    ranges = (select(ORDERS.c.id).where(column >= folded, column < folded + _LAST).limit(most) for column in _FOLDED)
    order_ids = [list(connection.execute(each).scalars()) for each in ranges]
    return _unique(*order_ids)[:most], any(len(each) >= most for each in order_ids)


def _unread(connection: Connection) -> tuple[int, datetime | None]:
    """How many orders have no texts yet, about, and when the last of them was placed."""
    older = progress.load(connection).older
    last = select(ORDERS.c.id, ORDERS.c.created_at).where(ORDERS.c.id < older).order_by(ORDERS.c.id.desc()).limit(1)
    row = connection.execute(last).one_or_none() if older else None
    return (row.id, row.created_at) if row else (0, None)


def unread_orders(connection: Connection) -> int:
    """How many orders of a store of an earlier version have no texts yet, about."""
    return _unread(connection)[0]


def notes(database: Database, text: str, now: datetime) -> list[str]:
    """What has to be said of a search for this text, in sentences; nothing of an empty one."""
    if not readable(text):
        return []
    with database.read() as connection:
        return look_up(connection, text).notes(now)


def orders_of_person(connection: Connection, forms: Sequence[str]) -> list[int]:
    """Row ids of orders with a line for a person who is written in one of these forms, whole."""
    if not forms:
        return []
    order_ids = matching.find(connection, [(matching.Needle((), tuple(f"\n{form}\n" for form in forms)),)]).order_ids
    keys = (LINES.c.recipient_key.contains(f"\n{form}\n", autoescape=True) for form in forms)
    # Before all orders are read for the search, each line of the others is looked at.
    older = select(LINES.c.order_id).where(LINES.c.order_id < progress.load(connection).older, sa.or_(*keys))
    return _unique(order_ids, list(connection.execute(older.distinct().limit(2)).scalars()))
