"""The texts that orders are found by, and the index over them, follow what they are made of; a kill loses no step."""

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from fakes import line, request, shown
from search_index import catch_up
from sqlalchemy import Connection
from test_migrations import config, on

from tracking import ingest
from tracking.forecasting.planner import PlanningContext
from tracking.storage import database, engines
from tracking.storage.database import Database
from tracking.storage.facts import FactKey, set_fact
from tracking.storage.maintenance import verify
from tracking.storage.search import checking, indexing, progress, texts
from tracking.storage.search.tables import INDEX, SEARCH_TEXTS

Place = Callable[..., int]


@pytest.fixture
def place(store: Database, now: datetime) -> Place:
    def placed(po_number: str, *lines: dict[str, Any]) -> int:
        kind = "DigitalDelivery" if any("DigitalDeliveryAddress" in each for each in lines) else "Links"
        asked = request(po_number, *(lines or [line("CVS", 10, 1)]), kind=kind)
        return store.write(lambda connection: ingest.place(connection, asked, source="form", actor="eve", now=now))

    return placed


def stored(store: Database, order_id: int) -> tuple[set[str], set[str]]:
    """The words of an order and its people's forms, from all its rows."""
    with store.read() as connection:
        rows = connection.execute(sa.select(SEARCH_TEXTS).where(SEARCH_TEXTS.c.order_id == order_id)).all()
    words, people = ({text for row in rows for text in row[at].split("\n")} - {""} for at in (2, 3))
    return words, people


def test_all_that_an_order_is_found_by_is_written_with_it_and_what_comes_later_too(
    store: Database, place: Place, planner: PlanningContext, now: datetime
) -> None:
    mail = {"DigitalDeliveryAddress": {"Email": "Ann@Example.com"}}
    order_id = place(
        "Po-1", line("CVS", 10, 1, ExternalId="Row  7", **mail), line("CVS", 10, 1, ExternalId="Row 8", **mail)
    )
    assert stored(store, order_id) == ({"po-1", "cvs", "row 7", "row 8"}, {"ann@example.com"})
    store.write(
        lambda connection: ingest.record_note(
            connection, order_id, text="They\ncall BACK", actor="eve", now=now, acknowledges=False
        )
    )
    assert stored(store, order_id)[0] == {"po-1", "cvs", "row 7", "row 8", "they call back"}
    seen = shown("BLK-1", "elsewhere", "Pending", line("TARGET", 10, 1))
    store.write(lambda connection: ingest.discover(connection, seen, now, now, planner))
    assert stored(store, order_id + 1) == ({"elsewhere", "blk-1", "target"}, set())


def test_a_long_order_is_written_in_parts_and_its_changes_in_small_ones(store: Database, place: Place) -> None:
    lines = [line("CVS", 10, 1, ExternalId=f"reference-{number:05d}") for number in range(400)]
    order_id = place("long", *lines)
    rows = sa.select(SEARCH_TEXTS.c.words).where(SEARCH_TEXTS.c.order_id == order_id)
    with store.read() as connection:
        parts = connection.execute(rows).scalars().all()
    assert 5 < len(parts) < 10
    assert max(map(len, parts)) < 2 * texts.CHUNK
    assert stored(store, order_id)[0] == {"long", "cvs", *(f"reference-{number:05d}" for number in range(400))}


def held(connection: Connection, word: str) -> list[int]:
    """The texts that SQLite's index names for these letters, whether they are there or not."""
    match = {"match": f'"{word}"'}
    return list(
        connection.execute(sa.text("SELECT rowid FROM search_index WHERE search_index MATCH :match"), match).scalars()
    )


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_sqlites_index_follows_in_groups_each_with_how_far_it_is(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "GROUP", 2)
    ids = [place(f"abc-{number}") for number in range(5)]

    def killed(connection: Connection) -> None:
        assert indexing.step(connection, now)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write(killed)
    with store.read() as connection:
        assert held(connection, "abc") == []
    catch_up(store.write, now)
    with store.read() as connection:
        entered = held(connection, "abc")
        assert len(entered) == 4  # the last waits for another
        assert progress.load(connection).indexed == entered[-1]
    store.write(lambda connection: texts.remove_texts(connection, ids[0]))
    store.write(lambda connection: texts.replace_texts(connection, ids[1]))
    catch_up(store.write, now)
    with store.read() as connection:
        assert len(held(connection, "abc")) == 4
        assert set(held(connection, "abc")) == set(connection.execute(sa.select(SEARCH_TEXTS.c.id)).scalars())


def test_older_orders_get_their_texts_in_steps_newest_first(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [place(f"old-{number}", line("CVS", 10, 1, ExternalId=f"row-{number}")) for number in range(7)]

    def forget(connection: Connection) -> None:
        connection.execute(sa.delete(SEARCH_TEXTS))
        set_fact(connection, FactKey.SEARCH, {"older": ids[-1] + 1, "indexed": 0}, now)

    store.write(forget)
    newer = place("new")
    monkeypatch.setattr(indexing, "LINES_AT_ONCE", 2)
    assert store.write(lambda connection: indexing.step(connection, now))
    with store.read() as connection:
        assert 0 < progress.load(connection).older <= ids[-1]
    catch_up(store.write, now)
    assert not store.write(lambda connection: indexing.step(connection, now))
    with store.read() as connection:
        by_age = connection.execute(sa.select(SEARCH_TEXTS.c.order_id).order_by(SEARCH_TEXTS.c.id)).scalars().all()
        assert by_age == [*ids, newer]
        assert progress.load(connection).older == 0
        assert store.dialect != "sqlite" or len(held(connection, "old")) == 7
    assert stored(store, ids[3])[0] == {"old-3", "cvs", "row-3"}


def test_a_store_of_an_earlier_version_knows_that_its_orders_have_no_texts(empty_url: str, now: datetime) -> None:
    engines.migrate(empty_url)
    opened = database.connect(empty_url)
    opened.write(lambda connection: ingest.place(connection, request("a"), source="x", actor="eve", now=now))
    opened.close()
    on(empty_url, lambda connection: command.downgrade(config(connection), "0009"))
    engines.migrate(empty_url)
    opened = database.connect(empty_url)
    with opened.read() as connection:
        assert progress.load(connection) == progress.Progress(older=2)
    catch_up(opened.write, now)
    assert stored(opened, 1)[0] == {"a", "cvs"}
    opened.close()


def letters(store: Database) -> set[str]:
    """All letters beyond ASCII in the index's own pages or entries."""
    with store.read() as connection:
        if store.dialect == "sqlite":
            blocks = connection.execute(sa.text("SELECT block FROM search_index_data")).scalars()
            return {letter for letter in "\u0449\u044e\u044d" if any(letter.encode() in block for block in blocks)}
    return set()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_letters_of_what_was_deleted_stay_in_the_index(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "GROUP", 1)
    name = {"DigitalDeliveryAddress": {"Email": "\u0449\u044e\u044d@example.com"}}
    order_id = place("po-1", line("CVS", 10, 1, **name))
    place("po-2")
    catch_up(store.write, now)
    assert letters(store)
    store.write(lambda connection: texts.remove_texts(connection, order_id))
    store.write(indexing.forget_deleted)
    assert not letters(store)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_standard_librarys_sqlite_reads_and_writes_the_index(
    store: Database, place: Place, sqlite_url: str
) -> None:
    place("abc-1")
    store.close()
    code = """if True:
        import sys, sqlite3
        other = sqlite3.connect(sys.argv[1])
        other.execute("INSERT INTO search_index(rowid, words, people) SELECT id, words, people FROM search_texts")
        print(other.execute("SELECT rowid FROM search_index WHERE search_index MATCH 'abc'").fetchall())
    """
    file = sqlite_url.removeprefix("sqlite:///")
    assert subprocess.check_output([sys.executable, "-c", code, file], text=True).strip() == "[(1,)]"


def test_verify_tells_what_an_order_is_not_found_by_and_what_it_should_not_be(
    store: Database, place: Place, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "GROUP", 1)
    monkeypatch.setattr(checking, "ONE_IN", 1)
    order_id = place("po-1", line("CVS", 10, 1, ExternalId="row-1"))
    catch_up(store.write, now)
    assert verify.verify(store) == []
    for values, difference in (
        ({"words": "po-1\ncvs"}, "po-1: the search lacks 1 of the texts it is found by"),
        (
            {"words": "po-1\ncvs\nrow-1", "people": "\nann\n"},
            "po-1: the search finds it by what it does not hold (texts: 1)",
        ),
    ):
        store.write(partial(Connection.execute, statement=sa.update(SEARCH_TEXTS).values(values)))
        assert verify.verify(store) == [difference]
    store.write(
        partial(Connection.execute, statement=sa.update(SEARCH_TEXTS).values(words="po-1\ncvs\nrow-1", people=""))
    )
    if store.dialect == "sqlite":
        store.write(
            lambda connection: connection.exec_driver_sql(f"INSERT INTO {INDEX}({INDEX}) VALUES ('delete-all')")
        )
        assert verify.verify(store) == ["po-1: the index of the search lacks a text of it"]
    else:
        store.write(lambda connection: texts.replace_texts(connection, order_id))
        assert verify.verify(store) == []
