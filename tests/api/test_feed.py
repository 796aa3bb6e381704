"""The feed gives each event once and none too late, whoever writes beside it, and waits as long as it is asked to."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from api_client import ANN, Ask
from fakes import Clock
from histories import History

from tracking.api import feed
from tracking.api.callers.tokens import revoke_token
from tracking.api.cursors import encode
from tracking.api.edge import Api
from tracking.storage import engines
from tracking.storage.database import Database
from tracking.storage.integration.event_feed import Horizon
from tracking.storage.tables import EVENTS

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(ask: Ask) -> Read:
    def page(**query: Any) -> dict[str, Any]:
        answer = ask("/api/v1/events?" + urlencode({name: value for name, value in query.items() if value is not None}))
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    return page


def named(page: dict[str, Any]) -> list[tuple[str, int]]:
    return [(event["po_number"], event["seq"]) for event in page["events"]]


def test_each_event_comes_once_in_the_order_in_which_it_was_recorded(
    store: Database, history: History, read: Read
) -> None:
    for number in range(3):
        history.place(f"po-{number}")
        history.complete(f"po-{number}")
    with store.read() as connection:
        rows = connection.execute(sa.select(EVENTS.c.order_id, EVENTS.c.seq).order_by(EVENTS.c.id)).all()
    orders = {number: po_number for po_number, number in history.numbers.items()}
    whole, page = list[tuple[str, int]](), read(limit=4)
    while page["more"]:
        whole += named(page)
        page = read(limit=4, cursor=page["next_cursor"])
    assert whole + named(page) == [(orders[row.order_id], row.seq) for row in rows]
    last = page["next_cursor"]
    assert read(cursor=last) == {"events": [], "next_cursor": last, "more": False}
    history.place("later")
    assert named(read(cursor=last)) == [("later", 1)]
    done = read(kind="completed")["events"]
    assert [(event["po_number"], event["state"]) for event in done] == [
        (f"po-{number}", "Completed") for number in range(3)
    ]


def test_it_begins_where_it_is_asked_to(history: History, read: Read) -> None:
    history.place("before")
    begin = history.wait(minutes=5)
    history.place("after")
    assert named(read(since=begin.isoformat())) == [("after", 1)]
    ahead = read(since=(begin + timedelta(days=1)).isoformat())
    assert ahead["events"] == []
    history.place("next")
    assert named(read(cursor=ahead["next_cursor"])) == [("next", 1)]


def test_a_cursor_of_a_log_that_was_replaced_is_said_to_be_one(history: History, ask: Ask, read: Read) -> None:
    history.place("po-1")
    assert read(cursor=encode("events", [1, 1, 1]))["events"] == []
    for place in ([99, 1, 1], [1, 7, 1], [1, 1, 7]):
        answer = ask(f"/api/v1/events?cursor={encode('events', place)}")
        assert (answer.status_code, answer.json()["type"]) == (410, "/api/v1/docs#replaced")
    assert ask(f"/api/v1/events?cursor={encode('events', [None, 1, 1])}").status_code == 422


@pytest.mark.postgres
def test_what_commits_late_under_an_earlier_number_is_not_passed_over(
    postgres_store: Database, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes a number, and commits only after this one has committed later ones."""
    store = postgres_store
    history, horizon = History(store), Horizon()
    monkeypatch.setattr(feed, "SETTLED_WITHIN", 0.05)
    history.place("first")
    cursor: str | None = None
    delivered: list[tuple[str, int]] = []

    def read() -> int:
        nonlocal cursor
        page = feed.feed_document(store, horizon, feed.Asked(cursor, None, (), 500))
        cursor = page["next_cursor"]
        delivered.extend(named(page))
        return len(page["events"])

    other = engines.make_engine(store.url, writes=True)
    try:
        assert read() == 1
        with other.connect() as late:
            begun = late.begin()
            copied = sa.select(
                *(sa.literal(9) if column.name == "seq" else column for column in EVENTS.c if column.name != "id")
            )
            names = [column.name for column in EVENTS.c if column.name != "id"]
            late.execute(sa.insert(EVENTS).from_select(names, copied.limit(1)))
            history.place("second")
            assert read() == 0
            history.place("third")
            assert read() == 0
            begun.commit()
        assert read() == 3
        assert delivered == [("first", 1), ("first", 9), ("second", 1), ("third", 1)]
    finally:
        other.dispose()
        from emptying import emptied  # noqa: PLC0415 - what the fixture `store` does

        store.write(emptied)


def test_with_writers_beside_it_no_event_is_missed(store: Database, history: History, read: Read) -> None:
    """On PostgreSQL two writers at once, each with its connection."""
    other = Database(store.url) if store.dialect == "postgresql" else store
    try:
        histories = [history, History(other)]

        def write(mine: History, name: str) -> None:
            for number in range(25):
                mine.place(f"{name}-{number}")

        threads = [
            threading.Thread(target=write, args=(each, name)) for each, name in zip(histories, "ab", strict=True)
        ]
        for thread in threads:
            thread.start()
        seen, cursor = list[tuple[str, int]](), None
        while True:
            alive = any(thread.is_alive() for thread in threads)
            page = read(cursor=cursor)
            seen, cursor = seen + named(page), page["next_cursor"]
            if not alive and not page["events"]:
                break
        assert sorted(seen) == sorted((f"{name}-{number}", 1) for name in "ab" for number in range(25))
    finally:
        if other is not store:
            other.close()


def test_whoever_waits_gets_an_event_soon_and_an_empty_answer_at_the_end(
    history: History, api: Api, tokens: dict[str, str], read: Read, loop: asyncio.Runner
) -> None:
    history.place("po-1")
    cursor = read()["next_cursor"]
    begun = time.monotonic()
    assert read(cursor=cursor, wait=1)["events"] == []
    assert time.monotonic() - begun >= 1
    timer = threading.Timer(0.2, lambda: history.place("po-2"))
    timer.start()
    begun = time.monotonic()
    assert named(read(cursor=cursor, wait=20)) == [("po-2", 1)]
    assert time.monotonic() - begun < 5


def test_whoever_waits_with_a_token_that_is_revoked_meanwhile_gets_nothing(
    history: History, ask: Ask, read: Read, store: Database, clock: Clock
) -> None:
    cursor = read()["next_cursor"]

    def revoke() -> None:
        revoke_token(store, "viewer-token", by=ANN, now=clock())
        history.place("po-1")

    timer = threading.Timer(0.2, revoke)
    timer.start()
    refused = ask(f"/api/v1/events?wait=20&cursor={cursor}")
    timer.join()
    assert (refused.status_code, "po-1" in refused.text) == (401, False)


def test_only_so_many_may_wait(history: History, ask: Ask, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = read()["next_cursor"]
    monkeypatch.setattr(feed, "OF_ONE_TOKEN", 0)
    refused = ask(f"/api/v1/events?wait=5&cursor={cursor}")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert ask(f"/api/v1/events?wait=31&cursor={cursor}").status_code == 422
