import asyncio
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fakes import NOW, Clock, FakeProvider
from histories import START

from tracking.app.housekeeping import Housekeeping
from tracking.app.web.metrics import metrics_text
from tracking.errors import SettingsError
from tracking.forecasting.incidents import LateOrders
from tracking.orders.policy.balance_threshold import BalanceThreshold
from tracking.reports.banners import health_banners
from tracking.reports.board.balance import BalanceStatus, balance_status, sentence
from tracking.reports.health import health
from tracking.settings.loading import load
from tracking.storage import counters, facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.maintenance import verify
from tracking.storage.tables import COUNTERS

HOUR = timedelta(hours=1)


def read(store: Database, *levels: int, every: timedelta = HOUR, **fact: Any) -> BalanceStatus:
    """The status after these balances were read one after the other, the last one now; in whole units."""
    before: int | None = None

    def job(connection: sa.Connection) -> None:
        nonlocal before
        for number, level in enumerate(levels):
            at = NOW - every * (len(levels) - 1 - number)
            counters.record_balance(connection, level * 100, before, at)
            before = level * 100

    store.write(job)
    value = {"available_minor": before, "offered": True, **fact}
    store.write(lambda connection: facts.set_fact(connection, FactKey.BALANCE, value, NOW))
    status = balance_status(store, NOW)
    assert status is not None
    return status


def test_how_long_it_lasts_is_a_range_between_the_busiest_and_an_average_day(store: Database) -> None:
    quiet, busy = [1000 - 2 * hour for hour in range(72)], [850 - 10 * hour for hour in range(24)]
    status = read(store, *quiet, *busy, below_minor=500_00, below_currency="USD")
    assert status.spending is not None
    assert (status.spending.spent_minor, status.spending.refilled_minor) == (380_00, 0)
    assert 229 * 100 <= status.spending.busiest_day <= 240 * 100
    assert status.days == (2, 7)
    assert status.lasts() == "lasts 2 to 7 days"
    assert not status.is_low
    assert not status.ends_soon()
    assert sentence(status, NOW) == "Balance 620.00 USD, read 0 s ago, lasts 2 to 7 days."
    assert verify.verify(store) == []


def test_what_is_paid_in_is_no_spending_and_makes_it_last_longer(store: Database) -> None:
    levels = [100 - hour for hour in range(60)]
    status = read(store, *levels[:50], *(level + 5000 for level in levels[50:]))
    assert status.spending is not None
    assert (status.spending.spent_minor, status.spending.refilled_minor) == (58_00, 4999_00)
    assert status.lasts() == "lasts 210 to 214 days"
    assert status.currency == "", "nobody named one"
    assert "(currency unknown)" in sentence(status, NOW)


def test_what_is_not_known_is_not_guessed(store: Database) -> None:
    assert balance_status(store, NOW) is None
    status = read(store, *range(40, 31, -1))
    assert (status.spending, status.days) == (None, None)
    assert status.lasts() == "not enough history (8 of 48 h)"
    status = read(store)
    assert (status.available_minor, status.is_low) == (None, False)
    assert sentence(status, NOW) == "The provider offers no balance."


def test_where_nothing_was_spent_or_next_to_nothing_no_end_is_named(store: Database) -> None:
    assert read(store, *[31] * 60).lasts() == "nothing spent"
    assert read(store, *[5_000_031] * 30, *[5_000_000] * 30).lasts() == "lasts at least 365 days"


def test_a_gap_without_readings_makes_no_day_the_busiest(store: Database) -> None:
    day = timedelta(days=1)
    status = read(store, 7000, 5000, 3000, every=2.5 * day)
    assert status.spending is not None
    assert status.spending.busiest_day == status.spending.daily == 4000_00 / 5
    assert status.days == (3, 4)


def test_the_currency_is_that_of_the_threshold_else_the_only_one_of_the_catalog(store: Database) -> None:
    catalog = {"products": [{"id": "CVS", "currency": "CAD"}, {"id": "B", "currency": "CAD"}]}
    store.write(lambda connection: facts.set_fact(connection, FactKey.CATALOG, catalog, NOW))
    assert read(store, 9).currency == "CAD"
    assert read(store, 9, below_minor=1, below_currency="USD").currency == "USD"
    catalog["products"][0]["currency"] = "USD"
    store.write(lambda connection: facts.set_fact(connection, FactKey.CATALOG, catalog, NOW))
    assert read(store, 9).currency == ""


async def _minutes(work: Housekeeping, clock: Clock, provider: FakeProvider, *levels: int) -> None:
    for level in levels:
        provider.balances = {"available_minor": level, "pending_minor": 0, "offered": True}
        await work._balance()
        clock.pass_by(minutes=10)


def test_each_reading_is_a_sample_of_its_hour_and_below_the_threshold_it_is_said(store: Database) -> None:
    clock = Clock()
    provider = FakeProvider(clock)
    work = Housekeeping(store, provider, clock, BalanceThreshold.parse("500 usd"))
    asyncio.run(_minutes(work, clock, provider, 900_00, 850_00, 950_00, 700_00, 650_00, 640_00, 499_00))
    with store.read() as connection:
        columns = (COUNTERS.c.hour, COUNTERS.c.state, COUNTERS.c.value_minor)
        rows = connection.execute(sa.select(*columns).where(COUNTERS.c.name == "balance").order_by(*columns)).all()
    assert [(row.hour - NOW, row.state, row.value_minor) for row in rows] == [
        (timedelta(), "", 640_00), (timedelta(), "refilled", 100_00), (timedelta(), "spent", 360_00),
        (HOUR, "", 499_00), (HOUR, "spent", 141_00),
    ]  # fmt: skip
    [banner] = health_banners(health(store, clock.now), LateOrders(), clock.now)
    assert banner.text == "The balance is 499.00 USD, below 500.00 USD"
    text = metrics_text(store, clock.now).decode()
    assert 'tracking_balance{currency="USD"} 499.0' in text
    assert "tracking_balance_low 1.0" in text
    assert verify.verify(store) == []


def test_a_reading_of_another_process_that_comes_too_late_counts_nothing_twice(store: Database) -> None:
    clock = Clock()
    provider, other = FakeProvider(clock), FakeProvider(clock)
    work, late = Housekeeping(store, provider, clock), Housekeeping(store, other, clock)
    asyncio.run(_minutes(work, clock, provider, 900_00))
    late._asked_at = NOW - timedelta(minutes=1)
    asyncio.run(late._store_balance(FactKey.BALANCE, {"available_minor": 999_00, "offered": True}))
    asyncio.run(_minutes(work, clock, provider, 880_00))
    status = balance_status(store, clock.now)
    assert status is not None
    assert status.available_minor == 880_00
    with store.read() as connection:
        moved = sa.select(sa.func.sum(COUNTERS.c.value_minor)).where(COUNTERS.c.state == "spent")
        assert connection.execute(moved).scalar() == 20_00


def test_verify_tells_a_sample_that_cannot_be(store: Database) -> None:
    row = {"name": "balance", "hour": START, "state": "spent", "orders": 0, "units": 0, "value_minor": -5}
    future = row | {"state": "", "hour": NOW.replace(year=2100)}
    store.write(lambda connection: connection.execute(sa.insert(COUNTERS), [row, future]))
    told = verify.verify(store)
    assert ["which it cannot be" in each for each in told] == [True, False]
    assert "yet to come" in told[1]


def test_a_threshold_is_one_amount() -> None:
    assert str(BalanceThreshold.parse("1500.50 usd")) == "1,500.50 USD"
    assert BalanceThreshold.parse("500") == BalanceThreshold(500_00)
    for text in ("500 USD, 400 EUR", "much", "5,000"):
        with pytest.raises(ValueError, match=r"amount|comma"):
            BalanceThreshold.parse(text)


def test_a_threshold_that_is_none_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_BALANCE_BELOW", "little")
    with pytest.raises(SettingsError, match="TRACKING_BALANCE_BELOW"):
        load()
