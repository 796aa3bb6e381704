"""Who has an order, until when it waits, and what ends that: events of the order, and entries of the audit log."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from histories import History, find_order_id
from sqlalchemy import select

from tracking.access import Access, Person
from tracking.errors import InvalidNote, NotAllowed, NotPermitted, UnknownOrder
from tracking.reports.order_page import story
from tracking.storage import orders
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.team.tables import AUDIT_LOG
from tracking.submissions import actions
from tracking.team import work

ANN, BOB = Person("Ann"), Person("bob@example.com", signed_in=True)
VIEWER = Person("vi@example.com", Access.VIEWER)
LATER = timedelta(hours=3)


def stored(store: Database, po_number: str) -> Any:
    order = store.write(lambda connection: orders.find_order(connection, po_number=po_number))
    assert order is not None
    return order.order


def audit(store: Database) -> list[tuple[str, bool, str, dict[str, Any]]]:
    with store.read() as connection:
        names = ("person", "signed_in", "kind", "detail")
        query = select(*(AUDIT_LOG.c[name] for name in names)).order_by(AUDIT_LOG.c.seq)
        return [tuple(row) for row in connection.execute(query)]


def test_an_order_is_given_to_somebody_and_taken_back(store: Database, now: datetime) -> None:
    History(store, now).place("FT-1")
    work.assign(store, "FT-1", "  Cleo \n  Doe ", by=ANN, now=now)
    assert stored(store, "FT-1").assignee == "Cleo Doe"
    with pytest.raises(NotAllowed, match="assigned to Cleo Doe already"):
        work.assign(store, "FT-1", "Cleo Doe", by=BOB, now=now)
    work.assign(store, "FT-1", None, by=BOB, now=now)
    assert stored(store, "FT-1").assignee is None
    assert audit(store) == [
        ("Ann", False, "assigned", {"assignee": "Cleo Doe"}),
        ("bob@example.com", True, "assigned", {}),
    ]
    assert verify(store) == []


@pytest.mark.parametrize("name", ["cleo@example.com", " CLEO@Example.com", "Cleo <cleo@example.com>"])
def test_an_order_is_not_assigned_to_whom_it_goes_to(store: Database, now: datetime, name: str) -> None:
    history = History(store, now)
    history.place("FT-1", recipient="Cleo@example.com")
    history.place("FT-2", recipient="dora@example.com")
    with pytest.raises(NotAllowed, match="the address of somebody it goes to"):
        work.assign(store, "FT-1", name, by=ANN, now=now)
    assert (stored(store, "FT-1").assignee, audit(store)) == (None, [])
    work.assign(store, "FT-2", name, by=ANN, now=now)


def test_a_colleague_who_signs_in_is_assigned_by_that_address_whatever_they_are_sent(
    store: Database, now: datetime
) -> None:
    History(store, now).place("FT-1", recipient="Bob@Example.com")
    work.snooze(store, "FT-1", None, by=BOB, now=now)
    work.assign(store, "FT-1", "Bob@example.com", by=ANN, now=now)
    assert stored(store, "FT-1").assignee == "bob@example.com"


def test_a_snooze_until_a_time_ends_with_what_is_new_and_not_with_what_was_to_be_expected(
    store: Database, now: datetime
) -> None:
    history = History(store, now)
    history.place("FT-1")
    work.snooze(store, "FT-1", now + LATER, by=ANN, now=now, why="the provider is slow today")
    history.accept("FT-1")
    assert stored(store, "FT-1").snoozed_until == now + LATER
    work.end_snooze(store, "FT-1", by=BOB, now=now)
    assert stored(store, "FT-1").snoozed_at is None
    with pytest.raises(NotAllowed, match="it is not snoozed"):
        work.end_snooze(store, "FT-1", by=BOB, now=now)
    history.place("FT-2")
    work.snooze(store, "FT-2", now + LATER, by=ANN, now=now)
    history.refuse("FT-2")
    assert stored(store, "FT-2").snoozed_at is None
    assert verify(store) == []


def test_a_snooze_until_something_changes_ends_with_the_first_change(store: Database, now: datetime) -> None:
    history = History(store, now)
    history.place("FT-1")
    work.snooze(store, "FT-1", None, by=ANN, now=now)
    assert stored(store, "FT-1").snoozed_at == now
    actions.add_note(store, "FT-1", by=ANN, now=now, text="a note is no change")
    assert stored(store, "FT-1").snoozed_at == now
    history.accept("FT-1")
    assert stored(store, "FT-1").snoozed_at is None


def test_what_was_acknowledged_is_taken_up_again(store: Database, now: datetime) -> None:
    history = History(store, now)
    history.place("FT-1")
    history.refuse("FT-1")
    with pytest.raises(NotAllowed, match="only an acknowledged order"):
        work.reopen(store, "FT-1", by=BOB, now=now)
    actions.acknowledge(store, "FT-1", by=ANN, now=now, why="customer informed")
    work.reopen(store, "FT-1", by=BOB, now=now, why="they wrote again")
    order = stored(store, "FT-1")
    assert order.acknowledged_at is None
    assert order.attention is not None
    order_id = find_order_id(store, "FT-1")
    assert order_id is not None
    texts = [entry.text for entry in story.all_events(store, order_id)]
    assert "Reopened by bob@example.com (they wrote again)" in texts
    assert [kind for _, _, kind, _ in audit(store)] == ["acknowledged", "reopened"]
    assert verify(store) == []


@pytest.mark.parametrize("until", [-timedelta(seconds=1), timedelta(), timedelta(days=400)])
def test_a_time_that_cannot_be_meant_is_refused(store: Database, now: datetime, until: timedelta) -> None:
    History(store, now).place("FT-1")
    with pytest.raises(InvalidNote, match="Until"):
        work.snooze(store, "FT-1", now + until, by=ANN, now=now)
    assert audit(store) == []


ACTS: list[Callable[..., None]] = [
    lambda store, order, by, now: work.assign(store, order, "Cleo", by=by, now=now),
    lambda store, order, by, now: work.snooze(store, order, None, by=by, now=now),
    lambda store, order, by, now: work.end_snooze(store, order, by=by, now=now),
    lambda store, order, by, now: work.reopen(store, order, by=by, now=now),
]


@pytest.mark.parametrize("act", ACTS)
def test_viewers_can_do_none_of_it(store: Database, now: datetime, act: Callable[..., None]) -> None:
    History(store, now).place("FT-1")
    for person in (VIEWER, Person("  ")):
        with pytest.raises(NotPermitted):
            act(store, "FT-1", person, now)
    with pytest.raises(UnknownOrder):
        act(store, "FT-9", ANN, now)
    assert audit(store) == []
