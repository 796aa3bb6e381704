"""When open orders are late follows what is learned of their class."""

import random
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from fakes import NOW, shown
from finished import times_of
from histories import History

from tracking import ingest
from tracking.forecasting import lateness
from tracking.forecasting.classes import first_late_after
from tracking.forecasting.forecasts import Forecasts, LateBasis, LateLimit
from tracking.forecasting.planner import PlanningContext
from tracking.forecasting.survival import Interval
from tracking.forecasting.waits import Policy
from tracking.orders.policy.promises import LatePromise
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import ORDERS


@pytest.fixture
def history(store: Database) -> History:
    return History(store)


def late_at(store: Database, po_number: str) -> datetime:
    with store.read() as connection:
        wanted = sa.select(ORDERS.c.late_at).where(ORDERS.c.po_number == po_number)
        found: datetime = connection.execute(wanted).scalar_one()
    return found


def renew(store: Database, forecasts: Forecasts, now: datetime) -> list[str]:
    return store.write(lambda connection: lateness.update_late_times(connection, forecasts, now))


def forecasts_of(name: str, seconds: float, orders: int = 60, promises: str = "") -> Forecasts:
    forecasts = Forecasts(promises=[LatePromise.parse(text) for text in promises.split(",") if text])
    forecasts.replace((), {name: times_of(Interval(seconds * 0.9, seconds), orders=orders)})
    return forecasts


def test_open_orders_are_late_by_what_was_learned_after_they_came(history: History, store: Database) -> None:
    placed = history.at
    history.place("A-1")
    history.accept("A-1")
    forecasts = forecasts_of("Links/1", 60.0)
    learned = forecasts.late_limit("Links", 1).after
    assert learned < first_late_after("Links", 1)
    assert renew(store, forecasts, placed) == ["Links/1"]
    assert late_at(store, "A-1") == pytest.approx(placed + learned, abs=timedelta(milliseconds=2))


def test_finished_orders_and_other_classes_stay_as_they_are(history: History, store: Database) -> None:
    history.place("DONE-1")
    history.complete("DONE-1")
    history.place("QUEUED-1")
    before = {name: late_at(store, name) for name in ("DONE-1", "QUEUED-1")}
    renew(store, forecasts_of("Links/1", 60.0), history.at)
    renew(store, forecasts_of("Codes/1", 60.0), history.at)
    assert {name: late_at(store, name) for name in before} == before


def test_only_a_change_that_matters_is_written(history: History, store: Database) -> None:
    history.place("A-1")
    history.accept("A-1")
    assert renew(store, forecasts_of("Links/1", 600.0), history.at) == ["Links/1"]
    assert renew(store, forecasts_of("Links/1", 600.0), history.at) == []
    assert renew(store, forecasts_of("Links/1", 900.0), history.at) == ["Links/1"]


def test_another_process_finds_what_was_applied(history: History, store: Database) -> None:
    forecasts = forecasts_of("Links/1", 600.0)
    forecasts.replace((), {"Codes/8": times_of(Interval(9.0, 10.0))})
    renew(store, forecasts, history.at)
    kept = store.write(store_fact)
    assert set(kept) == {"Links/1", "Codes/8"}


def store_fact(connection: sa.Connection) -> dict[str, float]:
    kept = facts.get_fact(connection, FactKey.LATENESS)
    assert kept is not None
    return kept[1]


def test_a_class_that_has_hardly_finished_an_order_is_late_by_a_generous_guess() -> None:
    few = forecasts_of("PhysicalShipment/4", 60.0, orders=5)
    assert few.late_limit("PhysicalShipment", 4).after >= first_late_after("PhysicalShipment", 4)


def test_what_is_late_stays_late_when_the_limit_moves(history: History, store: Database) -> None:
    history.place("A-1")
    history.accept("A-1")
    renew(store, forecasts_of("Links/1", 60.0), history.at)
    late = late_at(store, "A-1")
    history.wait(hours=1)
    history.place("B-1")
    history.accept("B-1")
    slowest = [Interval(55.0, 60.0)] * 90 + [Interval(7000.0, 7200.0)] * 10
    forecasts = Forecasts()
    forecasts.replace((), {"Links/1": times_of(*slowest, orders=1)})
    renew(store, forecasts, history.at)
    assert late_at(store, "A-1") == late
    assert late_at(store, "B-1") > history.at + timedelta(hours=1)


def test_a_class_whose_newest_orders_took_longer_is_judged_anew(history: History, store: Database) -> None:
    history.place("A-1")
    history.accept("A-1")
    renew(store, forecasts_of("Links/1", 60.0), history.at)
    history.wait(hours=1)
    renew(store, forecasts_of("Links/1", 7200.0), history.at)
    assert late_at(store, "A-1") > history.at


def test_finished_orders_replace_a_guess_and_a_borrowed_limit_for_late_orders_too(
    history: History, store: Database
) -> None:
    history.place("A-1")
    history.accept("A-1")
    history.wait(hours=1)
    renew(store, forecasts_of("Links/1", 600.0, orders=5), history.at)
    assert late_at(store, "A-1") < history.at
    renew(store, forecasts_of("Links/1", 3500.0), history.at)
    assert late_at(store, "A-1") > history.at


def test_a_promise_holds_at_once_and_its_end_too(history: History, store: Database) -> None:
    placed = history.at
    history.place("A-1")
    history.accept("A-1")
    history.place("B-1", lines=3)
    history.accept("B-1")
    history.wait(hours=1)
    assert renew(store, forecasts_of("Links/1", 60.0, promises="Links=2h,Links:3=5h"), history.at) == [
        "Links/1",
        "Links/2",
        "Links:3-3",
        "Links:4-",
    ]
    assert late_at(store, "A-1") == placed + timedelta(hours=2)
    assert late_at(store, "B-1") == placed + timedelta(hours=5)
    with store.read() as connection:
        assert [lateness.stored_limit(connection, "Links", units) for units in (0, 3, 7)] == [
            LateLimit(timedelta(hours=hours), LateBasis.PROMISE, orders, like)
            for hours, orders, like in ((2, 60, "Links/1"), (5, 0, "Links/4"), (2, 0, "Links/4"))
        ]
        assert lateness.stored_limit(connection, "Codes", 1) is None
    renew(store, forecasts_of("Links/1", 60.0), history.at)
    assert late_at(store, "A-1") < history.at


def test_a_limit_stored_before_its_basis_was_is_set_anew(history: History, store: Database) -> None:
    history.place("A-1")
    history.accept("A-1")
    history.wait(days=2)
    store.write(lambda connection: facts.set_fact(connection, FactKey.LATENESS, {"Links/1": 7e6}, history.at))
    with store.read() as connection:
        assert lateness.stored_limit(connection, "Links", 1) is None
    renew(store, forecasts_of("Links/1", 60.0), history.at)
    assert late_at(store, "A-1") < history.at


@pytest.mark.parametrize(("name", "units"), [("Links/1", 0), ("Links/1", 1), ("Links/4", 3), ("Links/64", 64)])
def test_each_order_belongs_to_the_class_it_is_counted_in(name: str, units: int, history: History) -> None:
    number = history.place("A-1")

    def job(connection: sa.Connection) -> int:
        connection.execute(sa.update(ORDERS).where(ORDERS.c.id == number).values(units=units))
        counted = sa.select(sa.func.count()).select_from(ORDERS)
        others = sum(
            connection.execute(counted.where(lateness.in_class(other))).scalar_one()
            for other in ("Links/1", "Links/2", "Links/4", "Links/8", "Links/32", "Links/64", "Links/128", "Codes/1")
        )
        assert others == 1
        return int(connection.execute(counted.where(lateness.in_class(name))).scalar_one())

    assert history.database.write(job) == 1


def test_an_order_from_elsewhere_is_late_by_what_is_known_when_it_is_discovered(store: Database) -> None:
    forecasts = forecasts_of("Links/1", 60.0)
    planner = PlanningContext(Policy(), random.Random(0), forecasts=forecasts)
    parsed = shown("BLK-1", "ELSE-1", created_at=NOW - timedelta(seconds=20))
    store.write(lambda connection: ingest.discover(connection, parsed, NOW, NOW, planner))
    expected = NOW - timedelta(seconds=20) + forecasts.late_limit("Links", 1).after
    assert late_at(store, "ELSE-1") == pytest.approx(expected, abs=timedelta(milliseconds=2))
