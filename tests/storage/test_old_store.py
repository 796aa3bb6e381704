"""A store as an earlier version left it (revision 0003: a worker against the sandbox's faults) is read as ever."""

import gzip
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from search_index import catch_up
from test_migrations import config, on

from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.storage import database, engines
from tracking.storage.maintenance import verify
from tracking.storage.sqlite.driver import dbapi
from tracking.storage.tables import ORDERS

DUMP = Path(__file__).parent / "data" / "store-0003.sql.gz"
HEAD = "2585:b092d767e4fec35e57aa8ad1850973078575b8cf2ee2d49671af9a828a8b6ac0"
MOVED = """
    SELECT name, sum(orders), sum(CASE state WHEN 'needed' THEN orders WHEN 'settled' THEN -orders ELSE 0 END)
    FROM counters WHERE name IN ('left', 'decisions', 'late') GROUP BY name ORDER BY name
"""
WRITTEN_OTHERWISE = ("jos\u00e9 garc\u00eda", "jose garcia", "ann lee", "001-555-010-0123", "ann@example.COM", "GROSS")


@pytest.fixture
def old_url(sqlite_url: str) -> str:
    with dbapi.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.executescript(gzip.decompress(DUMP.read_bytes()).decode())
    connection.close()
    return sqlite_url


def column(url: str, name: str) -> Counter[str | None]:
    rows = on(url, lambda connection: connection.execute(sa.text(f"SELECT {name} FROM orders")).scalars().all())
    return Counter(rows)


def test_the_log_of_an_old_store_holds_after_migrating(old_url: str) -> None:
    assert engines.migrate(old_url) == "0003"
    store = database.connect(old_url)
    findings = verify.examine(store, expected=verify.LogHead.parse(HEAD))
    store.close()
    assert findings.differences == []
    assert str(findings.head) == HEAD


def test_what_moved_in_an_old_store_is_counted_by_the_hour_from_its_log(old_url: str) -> None:
    changed = """UPDATE events SET changes = '{"state"' WHERE id = (SELECT max(id) FROM events)"""
    on(old_url, lambda connection: connection.execute(sa.text(changed)))
    engines.migrate(old_url)
    rows = on(old_url, lambda connection: connection.execute(sa.text(MOVED)).all())
    assert {name: (number > 5, net) for name, number, net in rows} == {"decisions": (True, 17), "left": (True, 0)}
    store = database.connect(old_url)
    differences = verify.verify(store)
    store.close()
    assert [each for each in differences if each.startswith("counter")] == []
    assert any("its log cannot be read" in each for each in differences)


def test_why_an_old_order_needs_a_person_is_known_as_a_code(old_url: str) -> None:
    engines.migrate(old_url)
    codes: dict[str | None, int] = {"another order shown": 13, "cancelled": 3, "changed after end": 1}
    assert column(old_url, "attention_reason") == Counter({None: 21} | codes)


def test_why_an_old_order_is_polled_again_is_known_as_a_code(old_url: str) -> None:
    assert column(old_url, "next_look_why")["its lines may still change"] == 10
    engines.migrate(old_url)
    assert column(old_url, "next_look_why") == Counter({None: 10, "may have finished": 18, "lines may change": 10})


def test_reasons_nobody_wrote_down_become_other_and_the_everyday_one(old_url: str) -> None:
    strange = {"attention": "written by hand", "next_look_why": "the wait grows with its age"}
    known = sa.table("orders", *map(sa.column, strange))
    on(old_url, lambda connection: connection.execute(sa.update(known).values(strange)))
    engines.migrate(old_url)
    assert set(column(old_url, "attention_reason")) == {"other"}
    assert set(column(old_url, "next_look_why")) == {"may have finished"}


def test_the_ids_of_an_old_store_are_found_in_whatever_case(old_url: str) -> None:
    engines.migrate(old_url)
    folded = {one for one in column(old_url, "po_folded") if one}
    assert folded == {str(one).casefold() for one in column(old_url, "po_number")}
    assert {str(one).casefold() for one in column(old_url, "provider_id") if one} == {
        one for one in column(old_url, "provider_folded") if one
    }


def test_the_people_of_an_old_store_are_found_however_written(old_url: str) -> None:
    written = ["Jos\u00e9  GARC\u00cdA", "Lee, Ann", "+1 (555) 010-0123", "Ann@EXAMPLE.com", "Gro\u00df"]
    lines = sa.table("lines", *map(sa.column, ("order_id", "number", "recipient")))

    def name_them(connection: sa.Connection) -> None:
        rows = connection.execute(sa.select(lines.c.order_id, lines.c.number).limit(len(written))).all()
        for row, recipient in zip(rows, written, strict=True):
            one = lines.c.order_id == row.order_id, lines.c.number == row.number
            connection.execute(sa.update(lines).where(*one).values(recipient=recipient))

    on(old_url, name_them)
    engines.migrate(old_url)
    store = database.connect(old_url)
    catch_up(store.write, datetime.now(UTC))
    found = {text: search.orders_page(store, Filters(text=text), datetime.now(UTC)).total for text in WRITTEN_OTHERWISE}
    store.close()
    assert found == dict.fromkeys(WRITTEN_OTHERWISE, 1)


def test_going_back_gives_the_words_back(old_url: str) -> None:
    before = column(old_url, "next_look_why")
    engines.migrate(old_url)
    on(old_url, lambda connection: command.downgrade(config(connection), "0003"))
    assert column(old_url, "next_look_why") == before
    assert ORDERS.c.attention_reason.name not in on(
        old_url, lambda connection: {each["name"] for each in sa.inspect(connection).get_columns("orders")}
    )
