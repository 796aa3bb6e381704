"""Orders that are late together are one incident; one that is late alone is none."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from histories import START, History
from hypothesis import given
from hypothesis import strategies as st

from tracking.alerting import troubles
from tracking.forecasting.incidents import (
    FEWEST,
    Incident,
    LateOrders,
    _Placed,
    current_incidents,
    find_late_orders,
    store_late_orders,
    stored_late_orders,
    worst_run,
)
from tracking.reports import banners, explanations, health, overview
from tracking.reports.order_list import search
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_page import verdicts
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import ORDERS


def incidents_of(store: Database, now: datetime) -> list[Incident]:
    with store.read() as connection:
        return current_incidents(connection, now)


def update(store: Database, now: datetime) -> LateOrders:
    """What the worker does every ten seconds, and what pages read then."""
    with store.read() as connection:
        late = find_late_orders(connection, now)
    store.write(lambda connection: store_late_orders(connection, late, now))
    with store.read() as connection:
        assert stored_late_orders(connection) == late
    return late


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


def run(marks: str, name: str = "Links/1", begin: datetime = START) -> list[_Placed]:
    """Orders a minute apart: "." done in time, "d" done late, "L" open and late."""
    return [
        _Placed(begin + timedelta(minutes=number), name, mark in "Ld", mark == "L") for number, mark in enumerate(marks)
    ]


def counts(found: Incident | None) -> tuple[int, int, int] | None:
    return (found.late, found.done_late, found.orders) if found else None


@pytest.mark.parametrize(
    ("marks", "found"),
    [
        ("." * 500, None),
        ("." * 100 + "L" + "." * 100, None),
        (("." * 99 + "L") * 8, None),  # one in a hundred is late anyway
        ("." * 50 + "LLLL" + "." * 50, None),  # too few for a banner
        ("." * 50 + "LLLLL" + "." * 50, (5, 0, 5)),
        ("." * 50 + "LL.L.LL" + "." * 50, (5, 0, 7)),
        ("." * 50 + "LLdddLLL", (5, 3, 8)),
        ("L" * 80, (80, 0, 80)),
        ("LL" + "." * 200 + "LLL", None),  # far apart
        ("d" * 30 + "." * 50, None),  # it is over
    ],
)
def test_a_run_of_late_orders_is_an_incident(marks: str, found: tuple[int, int, int] | None) -> None:
    assert counts(worst_run(run(marks))) == found


def test_orders_placed_long_after_the_others_are_no_part_of_it() -> None:
    found = worst_run([*run("L"), *run("LLLLLL", begin=START + timedelta(hours=2))])
    assert found is not None
    assert (found.late, found.first) == (6, START + timedelta(hours=2))
    assert worst_run([*run("LLL"), *run("LLL", begin=START + timedelta(hours=2))]) is None
    assert counts(worst_run([*run("LLL"), *run("LLL", begin=START + timedelta(hours=2))], timedelta(days=1))) == (
        6,
        0,
        6,
    )


@given(st.text("Ld.", max_size=60))
def test_an_incident_begins_and_ends_with_a_late_order_and_counts_what_lies_between(marks: str) -> None:
    placed = run(marks)
    found = worst_run(placed)
    if found is not None:
        within = [one for one in placed if found.first <= one.at <= found.last]
        assert within[0].late
        assert within[-1].late
        assert len(within) == found.orders
        assert sum(one.late for one in within) == found.late + found.done_late
        assert found.late >= FEWEST


def placed(history: History, names: Sequence[str]) -> None:
    for name in names:
        history.place(name)
        history.accept(name)
        history.wait(seconds=30)


def stalled(history: History, late: int = 8) -> None:
    """Twenty orders that are done in time, then some that are not, then an hour."""
    for number in range(20):
        history.place(f"OK-{number}")
        history.complete(f"OK-{number}", minutes=1)
    placed(history, [f"LATE-{number}" for number in range(late)])
    history.wait(hours=1)
    update(history.database, history.at)


def test_late_orders_are_told_as_one_and_listed_when_wanted(history: History, store: Database) -> None:
    stalled(history)
    [found] = incidents_of(store, history.at)
    assert (found.classes, found.late, found.orders) == (("Links/1",), 8, 8)
    with store.read() as connection:
        late_at = connection.execute(sa.select(sa.func.min(ORDERS.c.late_at)).where(ORDERS.c.po_number.like("LATE-%")))
        assert found.late_since == late_at.scalar()
    stored = LateOrders((found,), 1, history.at).to_fact()
    assert LateOrders.from_fact(json.loads(json.dumps(stored))) == LateOrders((found,), 1, history.at)
    earlier = stored | {"incidents": [{k: v for k, v in stored["incidents"][0].items() if k != "late_since"}]}
    assert LateOrders.from_fact(earlier).incidents[0].late_since is None
    assert explanations.incident_text(found, history.at).startswith("8 of 8 orders placed from 10:2")
    assert "(links, 1 card)" in explanations.incident_text(found, history.at)
    assert search.orders_page(store, Filters(view="late"), history.at).total == 0
    assert search.orders_page(store, Filters(view="late", each=True), history.at).total == 8
    assert overview.overview(store, history.at).late == 8


def test_orders_that_nobody_has_polled_since_a_start_are_no_incident(history: History, store: Database) -> None:
    def poll_for(seconds: int) -> LateOrders:
        for _ in range(0, seconds, 10):
            store.write(partial(facts.beat, loop="poller", owner="a", value={}, now=history.at))
            history.wait(seconds=10)
        return update(store, history.at)

    poll_for(10)
    stalled(history)  # for an hour without us, in which these orders may have completed
    assert poll_for(30) == LateOrders()
    with store.read() as connection:
        late = troubles._late(connection, LateOrders(others=8), health.health(store, history.at), history.at, ())
        assert list(late) == []
    for number in range(8):
        history.look(f"LATE-{number}", "Processing" if number < 6 else "Completed")
    [found] = poll_for(30).incidents
    assert (found.late, found.done_late, found.orders) == (6, 0, 6)
    assert poll_for(700).incidents


def test_what_is_late_beside_an_incident_stays_in_the_list(history: History, store: Database) -> None:
    placed(history, ["ALONE-1"])
    history.wait(hours=5)
    stalled(history)
    page = search.orders_page(store, Filters(view="late"), history.at)
    assert page.rows["po_number"].tolist() == ["ALONE-1"]


def test_an_order_says_whether_it_is_late_alone(history: History, store: Database) -> None:
    placed(history, ["ALONE-1"])
    history.wait(hours=5)
    stalled(history)
    said = {
        name: " ".join(explanations.explain_next_poll(store, history.numbers[name], history.at)["reasons"])
        for name in ("ALONE-1", "LATE-3", "OK-3")
    }
    assert "Of 10 similar orders placed around the same time, none is late." in said["ALONE-1"]
    assert "Not only this order: 8 of 8 orders placed from" in said["LATE-3"]
    assert "placed around" not in said["OK-3"]
    assert any(
        "Not only this order" in text
        for text in verdicts.order_view(store, history.numbers["LATE-3"], history.at).evidence
    )


def test_few_late_orders_are_no_incident(history: History, store: Database) -> None:
    stalled(history, late=4)
    assert incidents_of(store, history.at) == []
    assert search.orders_page(store, Filters(view="late"), history.at).total == 4


def test_many_that_are_late_each_by_itself_have_a_banner_too(history: History, store: Database) -> None:
    healthy = health.health(store, history.at)
    assert banners.health_banners(healthy, update(store, history.at), history.at) == []
    for number in range(10):
        placed(history, [f"ALONE-{number}"])
        history.wait(hours=2)
        for other in range(12):
            history.place(f"OK-{number}-{other}")
            history.complete(f"OK-{number}-{other}", minutes=1)
    late = update(store, history.at)
    assert (late.incidents, late.others) == ((), 10)
    [banner] = [one for one in banners.health_banners(healthy, late, history.at) if one.icon == "schedule"]
    assert banner.text.startswith("10 orders are late")
    assert banner.orders == {"view": "late"}


def test_orders_that_are_late_by_a_guess_are_counted_and_are_no_incident(history: History, store: Database) -> None:
    stalled(history)
    assert update(store, history.at).incidents
    guess = {"after": 903.0, "basis": "guess", "orders": 4, "like": "Links/1"}
    for limit, expected in (
        (guess, (0, 8)),
        (guess | {"basis": "borrowed"}, (1, 0)),
        (guess | {"basis": "promise"}, (1, 0)),
    ):
        stored = {"Links/1": limit}
        store.write(partial(facts.set_fact, key=FactKey.LATENESS, value=stored, now=history.at))
        late = update(store, history.at)
        assert (len(late.incidents), late.others) == expected


def test_a_tenth_of_the_orders_that_hang_are_an_incident(history: History, store: Database) -> None:
    """As many as hang where one of several warehouses, or one product, stands still."""
    for number in range(12):
        for other in range(8):
            history.place(f"OK-{number}-{other}")
            history.complete(f"OK-{number}-{other}", minutes=1)
        placed(history, [f"HANGS-{number}"])
    history.wait(hours=1)
    [found] = update(store, history.at).incidents
    assert (found.late, found.orders) == (12, 100)


def test_it_is_over_when_they_are_done(history: History, store: Database) -> None:
    stalled(history)
    for number in range(8):
        history.look(f"LATE-{number}", "Completed")
    assert incidents_of(store, history.at) == []


def test_orders_that_are_not_to_be_done_yet_speak_neither_way(history: History, store: Database) -> None:
    stalled(history)
    placed(history, [f"YOUNG-{number}" for number in range(20)])
    [found] = incidents_of(store, history.at)
    assert (found.late, found.orders) == (8, 8)


def test_several_classes_late_together_are_one_incident(store: Database, history: History) -> None:
    for number in range(9):
        placed(history, [f"ONE-{number}"])
        history.place(f"TWO-{number}", lines=2)
        history.accept(f"TWO-{number}")
        history.wait(seconds=30)
    history.wait(hours=1)
    update(store, history.at)
    [found] = incidents_of(store, history.at)
    assert (set(found.classes), found.late) == ({"Links/1", "Links/2"}, 18)
    assert "(orders of 2 kinds)" in explanations.incident_text(found, history.at)
    assert search.orders_page(store, Filters(view="late"), history.at).total == 0


def test_the_filter_keeps_whether_each_is_listed() -> None:
    filters, problems = Filters.from_query(Filters(view="late", each=True).to_query())
    assert (filters.each, problems) == (True, [])
