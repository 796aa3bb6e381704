"""Checks that each order is found by what is stored of it and by nothing else; the index by samples."""

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, bindparam, select, text

from tracking.storage.search import progress
from tracking.storage.search.matching import question, trigrams
from tracking.storage.search.tables import INDEX, SEARCH_TEXTS
from tracking.storage.search.texts import stored_rows
from tracking.storage.tables import ORDERS

ONE_IN = 20  # orders whose entry in SQLite's index is looked up
_ENDS: Any = bindparam("first"), bindparam("last")
_TEXTS = select(SEARCH_TEXTS).where(SEARCH_TEXTS.c.order_id.between(*_ENDS)).order_by(SEARCH_TEXTS.c.id)
_SHORTENED = select(ORDERS.c.id).where(ORDERS.c.id.between(*_ENDS), ORDERS.c.events_removed > 0)
_ENTRY = text(
    f"SELECT count(*) FROM {INDEX} WHERE {INDEX} MATCH :question AND rowid = :id"  # noqa: S608 - a name from `tables`  # nosec B608
)
Texts = dict[int, tuple[set[str], set[str]]]


def faults(connection: Connection, first: int, last: int) -> dict[int, str]:
    """Describe, by the order's row id, where the search's texts of these orders differ from what they are made of.

    Orders that have no texts yet are passed over. Of an order whose log began to leave, texts may be left for a while.
    """
    reached, ends = progress.load(connection), {"first": first, "last": last}
    rows = connection.execute(_TEXTS, ends).mappings().all()
    stored, expected = _by_order(rows), _by_order(stored_rows(connection, first, last))
    shortened = set(connection.execute(_SHORTENED, ends).scalars())
    result: dict[int, str] = {}
    for order_id in sorted(stored.keys() | expected.keys()):
        pairs = [*zip(stored[order_id], expected[order_id], strict=True)]
        if order_id < reached.older:
            continue
        if missing := sum(len(should - holds) for holds, should in pairs):
            result[order_id] = f"the search lacks {missing} of the texts it is found by"
        elif order_id not in shortened and (surplus := sum(len(holds - should) for holds, should in pairs)):
            result[order_id] = f"the search finds it by what it does not hold (texts: {surplus})"
    if connection.dialect.name == "sqlite":
        sample = (row for row in rows if row["order_id"] % ONE_IN == 0 and row["id"] <= reached.indexed)
        for row in sample:
            if not _is_indexed(connection, row):
                result.setdefault(row["order_id"], "the index of the search lacks a text of it")
    return result


def _by_order(rows: Any) -> Texts:
    texts: Texts = defaultdict(lambda: (set(), set()))
    for row in rows:
        for held, body in zip(texts[row["order_id"]], (row["words"], row["people"]), strict=True):
            held.update(line for line in body.split("\n") if line)
    return texts


def _is_indexed(connection: Connection, row: Any) -> bool:
    words = max(row["words"].split("\n"), key=len)
    if not trigrams(words):
        return True
    return bool(connection.execute(_ENTRY, {"question": question([words]), "id": row["id"]}).scalar())
