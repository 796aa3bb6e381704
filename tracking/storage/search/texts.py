"""Texts that orders are found by, made of their ids, lines and notes. Steps of a job.

Each is written in the transaction of what it is made of. The index over them may follow later: see `indexing`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from tracking.orders.vocabulary import EventKind
from tracking.storage.engines import casefold
from tracking.storage.search import progress
from tracking.storage.search.tables import INDEX, SEARCH_TEXTS
from tracking.storage.tables import EVENTS, LINES, ORDERS

CHUNK = 1000  # characters of a row, unless one text alone has more: so much is indexed anew where one changes
NOTE_KINDS = (EventKind.NOTED, EventKind.ACKNOWLEDGED)
INSERT_TEXTS = insert(SEARCH_TEXTS)
_ENDS: Any = bindparam("first"), bindparam("last")
_ORDERS = (
    select(ORDERS.c.id, ORDERS.c.po_number, ORDERS.c.provider_id, ORDERS.c.note)
    .where(ORDERS.c.id.between(*_ENDS))
    .order_by(ORDERS.c.id)
)
_LINES = (
    select(LINES.c.order_id, LINES.c.product_id, LINES.c.external_id, LINES.c.recipient_key)
    .where(LINES.c.order_id.between(*_ENDS))
    .order_by(LINES.c.order_id, LINES.c.number)
)
_NOTES = (
    select(EVENTS.c.order_id, EVENTS.c.detail)
    # As an expression, or SQLite would read all that were ever of these kinds by their index.
    .where(EVENTS.c.order_id.between(*_ENDS), EVENTS.c.kind.concat("").in_(NOTE_KINDS))
    .order_by(EVENTS.c.order_id, EVENTS.c.seq)
)
_OF_ORDER = SEARCH_TEXTS.c.order_id == bindparam("order_id")
_DELETE = delete(SEARCH_TEXTS).where(_OF_ORDER)
# The index has to be told what it held: it keeps no texts of its own.
_LEAVE_INDEX = text(
    f"INSERT INTO {INDEX}({INDEX}, rowid, words, people)"  # noqa: S608 - a name from `tables`  # nosec B608
    " SELECT 'delete', id, words, people FROM search_texts WHERE order_id = :order_id AND id <= :indexed"
)
TextRow = dict[str, Any]
LineTexts = tuple[str, str | None, str | None]  # product, external id, recipient key


def fold(word: str) -> str:
    """Fold a text as the search compares it: without case, in one Unicode form, on one line with single spaces."""
    return casefold(" ".join(word.split())) or ""


def words_of(order_texts: Iterable[str | None], lines: Iterable[LineTexts]) -> list[str]:
    """List the texts an order is found by, except for people: each once, folded; of lines, products and references.

    `order_texts` are its ids and notes.
    """
    lines = list(lines)
    texts = dict.fromkeys([*order_texts, *[line[0] for line in lines], *[line[1] for line in lines]])
    return [word for word in dict.fromkeys([fold(each) for each in texts if each]) if word]


def people_of(lines: Iterable[LineTexts]) -> list[str]:
    """List the keys of the lines' recipients, each once."""
    return list(dict.fromkeys(key for *_, key in lines if key))


def rows_of(order_id: int, order_texts: Iterable[str | None], lines: Iterable[LineTexts]) -> list[TextRow]:
    """Make the rows of an order that is new, or written anew."""
    lines = list(lines)
    return list(_packed(order_id, words_of(order_texts, lines), people_of(lines)))


def _packed(order_id: int, words: Sequence[str], people: Sequence[str]) -> Iterator[TextRow]:
    """Put the texts into as few rows as hold them, none of them parted."""
    if 0 < sum(map(len, words)) + sum(map(len, people)) <= CHUNK:  # as of most orders
        yield {"order_id": order_id, "words": "\n".join(words), "people": "".join(people)}
        return
    pieces = [(word, "") for word in words] + [("", key) for key in people]
    size, row = 0, list[tuple[str, str]]()
    for piece in pieces:
        length = len(piece[0]) + len(piece[1])
        if row and size + length > CHUNK:
            yield _row(order_id, row)
            size, row = 0, []
        row.append(piece)
        size += length
    if row:
        yield _row(order_id, row)


def _row(order_id: int, pieces: Iterable[tuple[str, str]]) -> TextRow:
    words, people = zip(*pieces, strict=True)
    return {"order_id": order_id, "words": "\n".join(filter(None, words)), "people": "".join(people)}


def add_texts(connection: Connection, rows: Sequence[TextRow]) -> None:
    """Store rows, of one order or of many."""
    if rows:
        connection.execute(INSERT_TEXTS, rows)


def add_words(connection: Connection, order_id: int, order_texts: Iterable[str | None]) -> None:
    """Store what an order is found by from now on as well: an id of the provider's, a note."""
    add_texts(connection, rows_of(order_id, order_texts, ()))


def replace_texts(connection: Connection, order_id: int) -> None:
    """Write an order's texts anew from what is stored of it: something of it has left."""
    remove_texts(connection, order_id)
    add_texts(connection, stored_rows(connection, order_id, order_id))


def remove_texts(connection: Connection, order_id: int) -> None:
    """Delete an order's texts, from the index too."""
    if connection.dialect.name == "sqlite":
        indexed = progress.load(connection).indexed
        connection.execute(_LEAVE_INDEX, {"order_id": order_id, "indexed": indexed})
    connection.execute(_DELETE, {"order_id": order_id})


def stored_rows(connection: Connection, first: int, last: int) -> list[TextRow]:
    """Make the rows of these orders from what is stored of them, by the orders' ids."""
    ends = {"first": first, "last": last}
    lines = _by_order(connection.execute(_LINES, ends))
    notes = _by_order(connection.execute(_NOTES, ends))
    rows: list[TextRow] = []
    for order_id, *texts in connection.execute(_ORDERS, ends):
        written = [str(detail["text"]) for (detail,) in notes.get(order_id, ()) if detail.get("text")]
        rows += rows_of(order_id, [*texts, *written], lines.get(order_id, ()))
    return rows


def _by_order(rows: Iterable[Any]) -> Mapping[int, list[Any]]:
    return {key: [tuple(row[1:]) for row in group] for key, group in groupby(rows, itemgetter(0))}
