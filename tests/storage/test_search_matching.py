"""What the index finds is what the texts hold: no more, no less, on either engine, whatever the letters."""

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from tracking.provider import people
from tracking.reports.finding.terms import alternatives, is_short
from tracking.storage.database import Database
from tracking.storage.search import indexing, matching, texts
from tracking.storage.search.matching import Needle
from tracking.storage.search.tables import SEARCH_TEXTS

ODD = "aAbB01-_ .\"'*%()\\^:{}[]\u00e9e\u0301\u00df\u0130\u0131\uff21\U0001f600\u3042\u05d0\ufb01\u200d\u2028\tOR"
HOSTILE = (
    'a"b', '"', '" OR "', "a* NOT b", "NEAR(a b)", "words:abc", "{words people}:abc", "-abc", "%a%", "a_b", "\\", "'--",
    "\x00abc", "abc\x00", "\ud800abc", "\U0001f600\U0001f600\U0001f600", "a" * 10_000, "ab " * 3_000, "a b", "^abc",
)  # fmt: skip


def naive(rows: Sequence[Any], asked: Sequence[Sequence[Needle]]) -> set[int]:
    """The orders one of whose alternatives is held whole, by Python's own `in`."""
    words, forms = dict[int, list[str]](), dict[int, list[str]]()
    for row in rows:
        words.setdefault(row.order_id, []).append(row.words)
        forms.setdefault(row.order_id, []).append(row.people)

    def holds(order_id: int, needle: Needle) -> bool:
        held = ((needle.words, words[order_id]), (needle.people, forms[order_id]))
        return any(part in text for parts, own in held for part in parts for text in own)

    return {order_id for order_id in words if any(all(holds(order_id, each) for each in one) for one in asked)}


def rows_of(rng: random.Random, order_id: int) -> list[dict[str, Any]]:
    def word() -> str:
        return "".join(rng.choices(ODD, k=rng.randint(1, 12)))

    keys = [people.search_key([word() for _ in range(rng.randint(0, 2))]) for _ in range(rng.randint(1, 4))]
    lines = [(word(), word(), key) for key in keys]
    rows = texts.rows_of(order_id, [word(), f"ab{order_id % 7}", word()], lines)
    return rows + texts.rows_of(order_id, [word()], ()) * (order_id % 2)


def fill(store: Database, rows: list[dict[str, Any]], now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the texts are in SQLite's index, the others wait."""
    monkeypatch.setattr(indexing, "GROUP", 1)
    store.write(lambda connection: texts.add_texts(connection, rows[: len(rows) // 2]))
    while store.write(lambda connection: indexing.step(connection, now)):
        pass
    store.write(lambda connection: texts.add_texts(connection, rows[len(rows) // 2 :]))


@pytest.mark.parametrize("chunk", [1, 1000])
def test_an_order_is_found_where_its_texts_hold_what_was_asked_for(
    store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(texts, "CHUNK", chunk)
    rng = random.Random(chunk)
    fill(store, [row for order_id in range(1, 81) for row in rows_of(rng, order_id)], now, monkeypatch)
    with store.read() as connection:
        rows = connection.execute(sa.select(SEARCH_TEXTS)).all()
        bodies = [f"{row.words}\n{row.people}" for row in rows]
        found = 0
        for number in range(150):
            body = rng.choice(bodies)
            at = rng.randrange(len(body))
            text = body[at : at + rng.choice((3, 4, 5, 8, 20))]
            text += f" {rng.choice(bodies)[:4]}" * (number % 3 == 0)
            if is_short(text):
                continue
            asked = alternatives(text)
            matches = matching.find(connection, asked)
            assert set(matches.order_ids) == naive(rows, asked), text
            assert len(set(matches.order_ids)) == len(matches.order_ids)
            assert not matches.capped
            found += bool(matches.order_ids)
    assert found > 50


def test_hostile_texts_find_what_holds_them_and_nothing_else(store: Database) -> None:
    rows = texts.rows_of(1, ['a"b', "a* not b", "%a%", "near(a b)", "words:abc", "-abc", "a\U0001f600"], ())
    store.write(lambda connection: texts.add_texts(connection, rows))
    with store.read() as connection:
        stored = connection.execute(sa.select(SEARCH_TEXTS)).all()
        for asked in (alternatives(text) for text in HOSTILE if not is_short(text)):
            assert set(matching.find(connection, asked).order_ids) == naive(stored, asked), asked


def test_where_too_many_match_the_newest_are_given_and_that_is_said(
    store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in {"ORDERS_AT_MOST": 5, "CANDIDATES_AT_MOST": 8, "SAMPLE": 10, "NEWEST": 12}.items():
        monkeypatch.setattr(matching, name, most)
    rows = [row for number in range(1, 41) for row in texts.rows_of(number, [f"po-{number:03d}", "cvs"], ())]
    fill(store, rows, now, monkeypatch)
    with store.read() as connection:

        def found(text: str) -> tuple[list[int], bool]:
            matches = matching.find(connection, alternatives(text))
            return list(matches.order_ids), matches.capped

        assert found("cvs") == ([40, 39, 38, 37, 36], True)
        assert found("po-007") == ([7], False)
        assert found("cvs 007") == ([7], False)
        assert found("007 cvs nothing") == ([], False)
        # Both words are common, and their newest are others: SQLite's index knows which texts hold both.
        assert found("po- cvs")[1]


def test_what_sqlites_index_does_not_know_is_counted_where_it_is_too_much_to_look_through(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "UNINDEXED_AT_MOST", 3)
    rows = [row for number in range(1, 8) for row in texts.rows_of(number, [f"po-{number}"], ())]
    store.write(lambda connection: texts.add_texts(connection, rows))
    with store.read() as connection:
        assert matching.unindexed(connection) == (4 if store.dialect == "sqlite" else 0)


def plan(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> str:
    """PostgreSQL's plan for the question to its index."""
    asked: list[str] = []
    real = Connection.execute

    def explained(self: Connection, statement: Any, *args: Any, **options: Any) -> Any:
        if "search_trigrams" in str(statement):
            compiled = statement.compile(self.engine, compile_kwargs={"render_postcompile": True})
            rows = self.exec_driver_sql(f"EXPLAIN {compiled}", compiled.params).scalars()
            asked.extend(rows)
        return real(self, statement, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "execute", explained)
        matching.find(connection, alternatives("po-00777"))
    return "\n".join(asked)


@pytest.mark.postgres
@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_postgresql_asks_its_index(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for number in range(1, 3001) for row in texts.rows_of(number, [f"po-{number:05d}", "cvs"], ())]
    store.write(lambda connection: texts.add_texts(connection, rows))
    store.write(lambda connection: connection.exec_driver_sql("ANALYZE search_texts"))
    with store.read() as connection:
        assert "ix_search_trigrams" in plan(connection, monkeypatch)
        assert matching.find(connection, alternatives("po-00777")) == matching.Matches([777])
