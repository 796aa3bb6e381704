"""What alerts tell of: one by one while it is little, together once it is much, and nothing that another tells of."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from histories import History

from tracking.access import Person
from tracking.alerting import troubles
from tracking.alerting.troubles import Trouble, find_troubles, plain_name
from tracking.forecasting.incidents import Incident, LateOrders, store_late_orders
from tracking.settings.alerts import AlertRule
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import ORDERS
from tracking.team import work

MINUTE = timedelta(minutes=1)
ANN = Person("Ann")


@pytest.fixture
def history(store: Database, now: datetime) -> History:
    return History(store, now)


def found(store: Database, now: datetime, rule: AlertRule, *lasting: str) -> dict[str, Trouble]:
    """The troubles of a rule by what they are of."""
    there = find_troubles(store, now, [(rule, subject) for subject in lasting])
    return {trouble.subject: trouble for trouble in there if trouble.rule is rule}


def place(history: History, number: int, *, late: bool = True) -> list[str]:
    names = [f"FT-{each}" for each in range(number)]
    for name in names:
        history.place(name)
        history.accept(name)
    if late:
        changed = sa.update(ORDERS).values(late_at=history.at)
        history.database.write(lambda connection: connection.execute(changed).rowcount)
    return names


def store_late(history: History, number: int, *incidents: Incident, fact: Any = None) -> None:
    late = LateOrders(incidents, number, history.at)
    history.database.write(lambda connection: store_late_orders(connection, late, history.at))
    value = fact or {}
    history.database.write(lambda connection: facts.set_fact(connection, FactKey.API_CLIENT, value, history.at))


def test_few_late_orders_are_a_trouble_each_and_ten_are_one(history: History, store: Database, now: datetime) -> None:
    names = place(history, 9)
    store_late(history, 9)
    each = found(store, now + MINUTE, AlertRule.LATE)
    assert sorted(each) == names
    assert each["FT-0"] == Trouble(
        AlertRule.LATE, "FT-0", "FT-0 is late", "It should have completed by 2026-11-23 12:00:00.",
        "timeline?order=FT-0", now, covered=False,
    )  # fmt: skip
    store_late(history, 10)
    together = found(store, now + MINUTE, AlertRule.LATE, "FT-0", "FT-8", "FT-unknown")
    assert {subject: trouble.covered for subject, trouble in together.items()} == {
        "": False, "FT-0": True, "FT-8": True,
    }  # fmt: skip
    assert together[""].title == "10 orders are late, without a common cause"
    assert together[""].page == "orders?view=late"


def test_an_incident_tells_of_its_orders_by_delivery_type(history: History, store: Database, now: datetime) -> None:
    place(history, 6)
    incident = Incident(("Links/1", "Links/4", "Codes/1"), now - MINUTE, now, 6, 0, 7, now)
    store_late(history, 0, incident)
    assert sorted(found(store, now + MINUTE, AlertRule.EVERYONE_LATE)) == ["Codes", "Links"]
    assert found(store, now + MINUTE, AlertRule.LATE) == {}
    # One of which there was an alert before is late still, and the incident's alert tells of it.
    store_late(history, 1, incident)
    assert [one.covered for one in found(store, now + MINUTE, AlertRule.LATE, "FT-1").values()] == [True]


def test_what_became_late_since_no_call_is_answered_is_not_told_of(
    history: History, store: Database, now: datetime
) -> None:
    place(history, 6)
    failing = {"failing_since": now.isoformat(), "failures": 9, "last_error": "NotSent: no connection"}
    store_late(history, 6, Incident(("Links/1",), now - MINUTE, now, 6, 0, 7, now), fact=failing)
    assert {trouble.covered for trouble in found(store, now + MINUTE, AlertRule.LATE, "FT-1").values()} == {True}
    assert found(store, now + MINUTE, AlertRule.EVERYONE_LATE) == {}
    assert list(found(store, now + MINUTE, AlertRule.UNREACHABLE)) == [""]
    refused = failing | {"last_error": "CredentialsRefused: no"}
    store_late(history, 6, fact=refused)
    assert list(found(store, now + MINUTE, AlertRule.REFUSED)) == [""]
    assert found(store, now + MINUTE, AlertRule.UNREACHABLE) == {}


def test_a_late_order_that_somebody_snoozes_is_not_over_and_not_told_of(
    history: History, store: Database, now: datetime
) -> None:
    place(history, 1)
    work.snooze(store, "FT-0", now + 60 * MINUTE, by=ANN, now=now)
    store_late(history, 1)
    assert found(store, now + MINUTE, AlertRule.LATE) == {}
    assert [trouble.covered for trouble in found(store, now + MINUTE, AlertRule.LATE, "FT-0").values()] == [True]


def test_decisions_are_told_of_by_their_reason_and_many_by_their_number(
    history: History, store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        history.place(f"FT-{number}")
        history.refuse(f"FT-{number}", "422 the recipient mary@example.com is not known")
    each = found(store, now, AlertRule.DECISION)
    assert len(each) == 9
    assert each["FT-3"].title == "FT-3 needs a decision: Refused by the provider"
    assert "mary" not in repr(each)
    history.acknowledge("FT-3", "the customer was told")
    assert "FT-3" not in found(store, now, AlertRule.DECISION, "FT-3")
    for number in range(20, 23):
        history.place(f"FT-{number}")
        history.refuse(f"FT-{number}")
    together = found(store, now, AlertRule.DECISION, "FT-0")
    assert [trouble.title for trouble in together.values() if not trouble.covered] == ["11 orders need a decision"]
    monkeypatch.setattr(troubles, "SEARCHED", 10)
    assert found(store, now, AlertRule.DECISION)[""].title == "10+ orders need a decision"


def test_an_unconfirmed_order_is_told_of_unless_no_call_is_answered(
    history: History, store: Database, now: datetime
) -> None:
    history.place("FT-1")
    history.lose("FT-1")
    assert [one.covered for one in found(store, now, AlertRule.UNCONFIRMED).values()] == [False]
    store_late(history, 0, fact={"failing_since": now.isoformat(), "failures": 1})
    assert [one.covered for one in found(store, now, AlertRule.UNCONFIRMED).values()] == [True]


def test_a_low_balance_is_told_of_as_its_banner_says(store: Database, now: datetime) -> None:
    value = {"available_minor": 4200, "below_minor": 50000, "below_currency": "USD"}
    store.write(lambda connection: facts.set_fact(connection, FactKey.BALANCE, value, now))
    [trouble] = found(store, now, AlertRule.BALANCE).values()
    assert trouble.title == "The balance is 42.00 USD, below 500.00 USD"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("FT-1/2 #3", "FT-1/2 #3"),
        ("<!channel> @here", "··channel· ·here"),
        ("https://evil.example.com", "https·//evil.example.com"),
        ("[a](b)*_`~|", "·a··b··_···"),
        ("x" * 70, "x" * 64),
        ("a\nb\u202e", "a·b·"),
    ],
)
def test_names_from_outside_are_no_markup(name: str, shown: str) -> None:
    assert plain_name(name) == shown
