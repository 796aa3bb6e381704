"""Fire drills: what the team does is timed from the orders' logs; nothing of it is done to a real provider."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from histories import History
from sqlalchemy import select

from tracking.access import Access, Person
from tracking.app.demonstration import scenarios
from tracking.errors import NotAllowed, NotPermitted
from tracking.reports.team.drills import Drill, Step, last_like, newest_drills, running_drill
from tracking.storage.database import Database
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import actions
from tracking.team import drills

ANN = Person("Ann")


def running(store: Database) -> Drill:
    drill = running_drill(store)
    assert drill is not None
    return drill


def recorded(store: Database) -> list[tuple[str, Any]]:
    entries = select(AUDIT_LOG.c.kind, AUDIT_LOG.c.detail).order_by(AUDIT_LOG.c.seq)
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(entries)]


def took(drill: Drill) -> dict[str, float]:
    return {step.value: length.total_seconds() for step in Step if (length := drill.took(step)) is not None}


def test_a_reaction_is_timed_from_the_first_look_to_the_customers(store: Database, now: datetime) -> None:
    history = History(store, now)
    for name in ("FT-1", "FT-2"):
        history.place(name)
    drills.begin(store, "timeout", ["FT-1", "FT-2"], unnamed=False, by=ANN, now=now)
    history.wait(seconds=10)
    history.accept("FT-1")
    history.lose("FT-2")
    drills.watch(store, history.at)
    assert took(running(store)) == {"trouble": 10}
    drills.note_opened(store, ["FT-9"], history.wait(seconds=10))
    assert Step.OPENED not in running(store).at
    for _ in range(2):
        drills.note_opened(store, ["FT-9", "FT-2"], history.wait(seconds=10))
    actions.add_note(store, "FT-2", by=ANN, now=history.wait(seconds=20), text="it is unconfirmed")
    drills.watch(store, history.wait(seconds=1))
    assert took(running(store)) == {"trouble": 10, "seen": 30, "acted": 60}
    history.look("FT-2", "Pending")
    drills.watch(store, history.wait(seconds=9))
    assert took(running(store)) == {"trouble": 10, "seen": 30, "acted": 60, "settled": 70}
    history.look("FT-2", "Cancelled")  # it needs a decision now
    drills.watch(store, history.wait(seconds=1))
    assert Step.SETTLED not in running(store).at
    actions.acknowledge(store, "FT-2", by=ANN, now=history.wait(seconds=9), why="Customer informed: we are sorry")
    drills.watch(store, history.wait(seconds=5))
    assert running_drill(store) is None
    [drill] = newest_drills(store)
    assert drill.ended_at == history.at
    assert took(drill) == {"trouble": 10, "seen": 30, "acted": 60, "settled": 85, "told": 80}


def test_a_drill_without_trouble_is_settled_once_its_orders_are_final(store: Database, now: datetime) -> None:
    history = History(store, now)
    history.place("FT-1")
    drills.begin(store, "duplicates", ["FT-1", "ELSE-1"], unnamed=True, by=ANN, now=now)
    history.complete("FT-1", minutes=1)
    drills.watch(store, history.at)
    assert Step.SETTLED not in running(store).at, "an order is not here yet"
    history.find_finished("ELSE-1")
    drills.record_customers_informed(store, by=ANN, now=history.wait(seconds=5))
    drills.watch(store, history.at)
    assert took(running(store)) == {"settled": 75, "told": 75}
    assert running(store).is_secret
    drills.watch(store, history.wait(hours=2))
    [drill] = newest_drills(store)
    assert drill.ended_at is not None
    assert not drill.is_secret


def test_one_drill_runs_at_a_time_and_is_ended_once(store: Database, now: datetime) -> None:
    def start(name: str) -> str:
        try:
            drills.begin(store, name, ["FT-1"], unnamed=name == "late", by=ANN, now=now)
        except NotAllowed as exc:
            return str(exc)
        return "begun"

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(start, ("late", "late")))
    assert said == ["a drill is running; end it first", "begun"]
    with pytest.raises(NotAllowed, match="a drill is running"):
        drills.check_none_runs(store)
    drills.end(store, by=ANN, now=now + timedelta(minutes=1))
    for act in (drills.end, drills.record_customers_informed):
        with pytest.raises(NotAllowed, match="no drill is running"):
            act(store, by=ANN, now=now)
    assert start("late") == "begun"
    newest, *_ = newest_drills(store)
    assert last_like(newest, newest_drills(store)) is not None
    for _ in range(2):
        drills.record_customers_informed(store, by=ANN, now=now)
    assert recorded(store) == [
        ("drill started", {}), ("drill ended", {"scenario": "late"}), ("drill started", {}),
        ("customers told in drill", {}),
    ]  # fmt: skip


def test_there_is_no_drill_without_the_embedded_sandbox_and_viewers_start_none(store: Database, now: datetime) -> None:
    for name in ("outage", None):
        with pytest.raises(NotAllowed, match="embedded sandbox alone"):
            scenarios.start_drill(name, store, by=ANN, now=now)
        with pytest.raises(NotPermitted):
            scenarios.start_drill(name, store, by=Person("Vera", Access.VIEWER), now=now)
    assert newest_drills(store) == []
    drills.watch(store, now)
    drills.note_opened(store, ["FT-1"], now)
