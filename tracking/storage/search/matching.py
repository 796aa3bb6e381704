"""Matching: which orders hold a text, or several. The index names candidates, their texts decide. Bounded reads.

SQLite's index gives the candidates newest first, and texts that are not in it yet are looked through beside it.
PostgreSQL's gives all of them at once: what the newest texts hold often is looked for among these alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, case, func, select

from tracking.storage.search import progress
from tracking.storage.search.tables import INDEX, SEARCH_TEXTS, TRIGRAMS
from tracking.storage.tables import ORDERS

LETTERS = 3  # the index knows texts by so many at a time
ORDERS_AT_MOST = 10_001
CANDIDATES_AT_MOST = 15_000
UNINDEXED_AT_MOST = 20_000  # newest texts that SQLite's index does not know
NEWEST = 30_000  # of the texts on PostgreSQL, looked through for what SAMPLE shows to be common
SAMPLE = 3_000
COMMON = 0.05
PHRASE_AT_MOST = 100  # characters of a text that SQLite's index is asked for
TRIGRAMS_AT_MOST = 32  # of a text that PostgreSQL's is asked for: more would rule out no more candidates
_INDEX = sa.table(INDEX, sa.column("rowid", sa.BigInteger), sa.column(INDEX, sa.Text))


@dataclass(frozen=True, slots=True)
class Needle:
    """What an order has to hold: one of `words` among its words, or one of `people` among its people's forms."""

    words: tuple[str, ...]
    people: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(dict.fromkeys((*self.words, *self.people)))

    @property
    def is_indexed(self) -> bool:
        """Whether the index can be asked for it."""
        return bool(self.texts) and all(len(text) >= LETTERS for text in self.texts)


@dataclass(frozen=True, slots=True)
class Matches:
    """Row ids of orders that hold what was looked for, mostly newest first; with `capped` there may be others."""

    order_ids: Sequence[int]
    capped: bool = False


def find(connection: Connection, alternatives: Iterable[Sequence[Needle]]) -> Matches:
    """Find the orders that hold every needle of one of the alternatives; in each, one at least is indexed."""
    hits, capped = dict[int, None](), False
    for needles in alternatives:
        matches = _with_all(connection, needles)
        hits |= dict.fromkeys(matches.order_ids)
        capped |= matches.capped
    order_ids = list(hits)[:ORDERS_AT_MOST]
    return Matches(order_ids, capped or len(hits) >= ORDERS_AT_MOST)


def _with_all(connection: Connection, needles: Sequence[Needle]) -> Matches:
    """Take the candidates of the rarest needle, and keep those that hold the others too."""
    candidates = {needle: _candidates(connection, [needle]) for needle in needles if needle.is_indexed}
    rarest = min(candidates, key=lambda needle: (candidates[needle].capped, len(candidates[needle].order_ids)))
    capped, order_ids = candidates[rarest].capped, list(candidates[rarest].order_ids)
    together = list[int]()
    if capped and len(candidates) > 1:  # each of them is common: the index knows which texts hold all
        together = list(_candidates(connection, [*candidates]).order_ids)
        order_ids = order_ids if len(together) < ORDERS_AT_MOST else []
    for needle in needles:
        named = candidates.get(needle)
        if needle != rarest and order_ids:
            order_ids = _both(connection, order_ids, needle, named)
        if named is None and together:
            together = _both(connection, together, needle, None)
    return Matches([*dict.fromkeys((*together, *order_ids))], capped)


def _both(connection: Connection, order_ids: Sequence[int], needle: Needle, named: Matches | None) -> list[int]:
    """Those of the orders that hold the needle too; `named` are the candidates for it."""
    fitting = _narrowed(connection, order_ids, needle) if named is None or named.capped else {*named.order_ids}
    return [order_id for order_id in order_ids if order_id in fitting]


def _narrowed(connection: Connection, order_ids: Sequence[int], needle: Needle) -> set[int]:
    texts = SEARCH_TEXTS.c
    listed = among(texts.order_id, order_ids, connection.dialect.name)
    holding = select(texts.order_id).where(listed, _holds(texts, needle, connection.dialect.name))
    return set(connection.execute(holding).scalars())


def among(column: Any, numbers: Sequence[int], dialect: str) -> ColumnElement[bool]:
    """The condition that a column is one of many numbers, in one parameter."""
    if dialect == "sqlite":
        listed = func.json_each(f"[{','.join(map(str, numbers))}]").table_valued("value")
        return column.in_(select(listed.c.value))  # type: ignore[no-any-return]
    return column == sa.any_(sa.cast(list(numbers), sa.ARRAY(sa.BigInteger)))  # type: ignore[no-any-return]


def holds_all(alternatives: Iterable[Sequence[Needle]], dialect: str) -> ColumnElement[bool]:
    """The condition for an order that holds every needle of one of the alternatives, asked of its own texts."""
    own = SEARCH_TEXTS.c.order_id == ORDERS.c.id

    def holds(needle: Needle) -> ColumnElement[bool]:
        return sa.exists().where(own, _holds(SEARCH_TEXTS.c, needle, dialect))

    return sa.or_(sa.false(), *(sa.and_(*map(holds, needles)) for needles in alternatives))


def _holds(columns: Any, needle: Needle, dialect: str) -> ColumnElement[bool]:
    place = func.instr if dialect == "sqlite" else func.strpos
    parts = [place(columns.words, text) > 0 for text in needle.words]
    return sa.or_(sa.false(), *parts, *(place(columns.people, text) > 0 for text in needle.people))


def _candidates(connection: Connection, needles: Sequence[Needle]) -> Matches:
    """The orders one of whose texts holds all of the needles."""
    look = _on_sqlite if connection.dialect.name == "sqlite" else _on_postgresql
    order_ids, capped = look(connection, needles)
    unique = list(dict.fromkeys(order_ids))
    return Matches(unique[:ORDERS_AT_MOST], capped or len(unique) >= ORDERS_AT_MOST)


def _holds_each(columns: Any, needles: Iterable[Needle], dialect: str) -> ColumnElement[bool]:
    return sa.and_(*(_holds(columns, needle, dialect) for needle in needles))


def _on_sqlite(connection: Connection, needles: Sequence[Needle]) -> tuple[list[int], bool]:
    indexed = progress.load(connection).indexed
    waiting = _newest(UNINDEXED_AT_MOST, SEARCH_TEXTS.c.id > indexed)
    hits = list(
        connection.execute(select(waiting.c.order_id).where(_holds_each(waiting.c, needles, "sqlite"))).scalars()
    )
    named = (
        select(_INDEX.c.rowid)
        .where(_INDEX.c[INDEX].op("MATCH")(" AND ".join(f"({question(needle.texts)})" for needle in needles)))
        .order_by(_INDEX.c.rowid.desc())
        .limit(CANDIDATES_AT_MOST)
        .subquery()
    )
    candidates = named.join(SEARCH_TEXTS, SEARCH_TEXTS.c.id == named.c.rowid)
    fitting = case((_holds_each(SEARCH_TEXTS.c, needles, "sqlite"), SEARCH_TEXTS.c.order_id))
    rows = connection.execute(select(fitting).select_from(candidates)).scalars().all()
    return hits + [order_id for order_id in rows if order_id is not None], len(rows) >= CANDIDATES_AT_MOST


def question(texts: Iterable[str]) -> str:
    """Ask SQLite's index for any of the texts: each is quoted, so that none of it is syntax."""
    return " OR ".join('"' + text[:PHRASE_AT_MOST].replace('"', '""') + '"' for text in texts)


def trigrams(text: str) -> list[str]:
    """Take a text apart into three letters each, at most TRIGRAMS_AT_MOST from all over it."""
    places = range(len(text) - LETTERS + 1)
    step = -(-len(places) // TRIGRAMS_AT_MOST) or 1
    return list(dict.fromkeys(text[place : place + LETTERS] for place in places[::step]))


def _newest(at_most: int, *conditions: Any) -> Any:
    texts = SEARCH_TEXTS.c
    columns = select(texts.id, texts.order_id, texts.words, texts.people)
    return columns.where(*conditions).order_by(texts.id.desc()).limit(at_most).subquery()


def _on_postgresql(connection: Connection, needles: Sequence[Needle]) -> tuple[list[int], bool]:
    sample = _newest(SAMPLE)
    looked_at = select(func.count()).select_from(sample)
    often = looked_at.where(_holds_each(sample.c, needles, "postgresql"))
    if connection.execute(often).scalar_one() > COMMON * SAMPLE:
        newest = _newest(NEWEST)
        fitting = select(newest.c.order_id).where(_holds_each(newest.c, needles, "postgresql"))
        more = select(SEARCH_TEXTS.c.id).order_by(SEARCH_TEXTS.c.id.desc()).offset(NEWEST).limit(1)
        return list(connection.execute(fitting).scalars()), connection.execute(more).first() is not None
    kind = sa.ARRAY(sa.Text)
    body = SEARCH_TEXTS.c.words.concat(SEARCH_TEXTS.c.people)
    array = getattr(func, TRIGRAMS)(body, type_=sa.Text).collate("C")  # in the words of the index
    named = sa.and_(
        *(
            sa.or_(*(array.op("@>", is_comparison=True)(sa.cast(trigrams(text), kind)) for text in needle.texts))
            for needle in needles
        )
    )
    holding = select(SEARCH_TEXTS.c.order_id).where(named, _holds_each(SEARCH_TEXTS.c, needles, "postgresql"))
    rows = connection.execute(holding.limit(CANDIDATES_AT_MOST)).scalars().all()
    return sorted(rows, reverse=True), len(rows) >= CANDIDATES_AT_MOST


def unindexed(connection: Connection) -> int:
    """Count the texts that are neither indexed yet nor among the newest, which are looked through directly."""
    if connection.dialect.name != "sqlite":
        return 0
    waiting = SEARCH_TEXTS.c.id > progress.load(connection).indexed
    ends = select(func.min(SEARCH_TEXTS.c.id)).where(waiting), select(func.max(SEARCH_TEXTS.c.id)).where(waiting)
    first, last = (connection.execute(end).scalar() or 0 for end in ends)
    return max(0, last - first + 1 - UNINDEXED_AT_MOST)
