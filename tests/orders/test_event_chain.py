import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import NOW, line, request, shown
from test_verify import history

from tracking import ingest
from tracking.app.demonstration import seeding
from tracking.forecasting.planner import PlanningContext
from tracking.orders import event_chain as chain
from tracking.orders.model import Event, Line, Witness
from tracking.storage.database import Database
from tracking.storage.tables import EVENTS, LINES, ORDERS

EVENT = Event("noted", Witness.PERSON, NOW, NOW + timedelta(microseconds=1), {"b": None, "a": 1}, {"text": "żółw"})
LINES_MADE = [Line(1, "CVS", 1000, 2, recipient="ann@example.com"), Line(2, "CVS", 1000, 1, external_id="x")]


def one(event: Event = EVENT, po_number: str = "po", head: str = "0", count: int = 6) -> str:
    return chain.event_rows(po_number, head, count, [event])[1]


def test_a_hash_is_that_of_the_json_array_that_is_promised() -> None:
    said = ["po", 7, "noted", "person", "2026-11-23 12:00:00.000000", "2026-11-23 12:00:00.000001"]
    text = json.dumps([*said, {"a": 1, "b": None}, [], {"text": "żółw"}, "0"])
    assert one() == sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "asked"},
        {"witness": Witness.US},
        {"happened_at": NOW - timedelta(microseconds=1)},
        {"learned_at": NOW},
        {"changes": {"a": 2, "b": None}},
        {"changes": {"a": 1}},
        {"detail": {"text": "zółw"}},
        {"line_changes": [{"numbers": "1", "status": "Sent"}]},
    ],
)
def test_every_part_of_an_event_is_in_its_hash(other: dict[str, Any]) -> None:
    assert one(replace(EVENT, **other)) != one()


def test_json_is_written_as_the_standard_library_does() -> None:
    document = {"b": [1, 2.5, None, True], "a": {"żółw": '"\n', "1": {}}, "c": []}
    assert chain.as_json(document) == json.dumps(document)
    assert chain.canonical(document) == json.dumps(document, sort_keys=True)


def test_place_order_and_predecessor_are_in_the_hash() -> None:
    assert len({one(), one(po_number="po2"), one(head="1"), one(count=7)}) == 4


def test_neither_zone_nor_order_of_names_is_in_the_hash() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-5)))
    assert one(replace(EVENT, happened_at=elsewhere, changes={"a": 1, "b": None})) == one()


def test_each_event_carries_the_hash_of_the_one_before() -> None:
    rows, head = chain.event_rows("po", chain.first_hash("po"), 0, [EVENT, EVENT, EVENT])
    assert [row["seq"] for row in rows] == [1, 2, 3]
    digests = [chain.chain_entry(row).event_hash("po") for row in rows]
    assert [row["previous"] for row in rows] == [chain.first_hash("po"), *digests[:2]]
    assert head == digests[2]
    assert chain.event_rows("po", head, 3, []) == ([], head)
    assert chain.first_hash("po") != chain.first_hash("po2")


def test_recipients_are_hashed_with_a_salt_each() -> None:
    salts = iter("ab")
    first, second = chain.line_rows(LINES_MADE, lambda: next(salts))
    assert (first["recipient_salt"], first["recipient_hash"]) == ("a", chain.keyed_hash("ann@example.com", "a"))
    assert (second["recipient_salt"], second["recipient_hash"]) == (None, None)
    assert chain.keyed_hash("ann@example.com", "b") != first["recipient_hash"]
    assert "ann" not in json.dumps(first["recipient_hash"])


@pytest.mark.parametrize("name", chain.CONTENT_FIELDS)
def test_every_part_of_a_line_as_ordered_is_in_the_contents(name: str) -> None:
    rows = chain.line_rows(LINES_MADE, lambda: "s")
    told = chain.with_contents(EVENT, rows)
    assert told.detail["text"] == "żółw"
    other = [{**row, name: 9} for row in rows[:1]] + rows[1:]
    assert chain.with_contents(EVENT, other).detail["contents"] != told.detail["contents"]
    assert chain.with_contents(EVENT, rows[:1]).detail["contents"] != told.detail["contents"]


def stored(store: Database) -> list[tuple[str, list[Any], str]]:
    """The PONumber, the events as read back, and the head of each order."""
    with store.read() as connection:
        orders = connection.execute(
            sa.select(ORDERS.c.id, ORDERS.c.po_number, ORDERS.c.head).order_by(ORDERS.c.id)
        ).all()
        log = sa.select(EVENTS).order_by(EVENTS.c.seq)
        return [
            (row.po_number, list(connection.execute(log.where(EVENTS.c.order_id == row.id)).mappings()), row.head)
            for row in orders
        ]


def seeded(store: Database, planner: PlanningContext, now: datetime) -> None:
    seeding.seed(store, 20, days=2, rng=random.Random(3), now=now)


def lived(store: Database, planner: PlanningContext, now: datetime) -> None:
    store.write(history(5, planner, now))


@pytest.mark.parametrize("made", [seeded, lived])
def test_what_is_read_back_has_the_hashes_it_was_stored_with(
    store: Database,
    planner: PlanningContext,
    now: datetime,
    made: Callable[[Database, PlanningContext, datetime], None],
) -> None:
    made(store, planner, now)
    orders = stored(store)
    assert sum(len(events) for _, events, _ in orders) > 40
    for po_number, events, head in orders:
        expected = chain.first_hash(po_number)
        for event in events:
            assert event["previous"] == expected
            expected = chain.chain_entry(event).event_hash(po_number)
        assert head == expected


def test_the_texts_in_the_store_are_those_that_are_hashed(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    store.write(history(6, planner, now.astimezone(UTC) + timedelta(microseconds=123)))
    parts = (EVENTS.c.changes, EVENTS.c.line_changes, EVENTS.c.detail)
    with store.read() as connection:
        read = connection.execute(sa.select(*parts).order_by(EVENTS.c.id)).all()
        texts = connection.execute(sa.select(*(sa.cast(part, sa.Text) for part in parts)).order_by(EVENTS.c.id)).all()
    assert [tuple(map(chain.canonical, row)) for row in read] == [tuple(row) for row in texts]


def test_discovered_and_placed_lines_are_told_by_the_first_event(
    store: Database, planner: PlanningContext, now: datetime
) -> None:
    mail = line("CVS", 10, 1, DigitalDeliveryAddress={"Email": "ann@example.com"})
    asked = request("placed", mail, kind="DigitalDelivery")
    told = shown("BLK-1", "found", "Pending", mail, kind="DigitalDelivery")
    store.write(lambda connection: ingest.place(connection, asked, source="form", actor="ann", now=now))
    store.write(lambda connection: ingest.discover(connection, told, now, now, planner))
    contents = [chain.contents_hash([[row[name] for name in chain.CONTENT_FIELDS]]) for row in lines_of(store)]
    assert [events[0]["detail"]["contents"] for _, events, _ in stored(store)] == contents
    assert len(set(contents)) == 2


def lines_of(store: Database) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(sa.select(LINES).order_by(LINES.c.order_id)).mappings())
