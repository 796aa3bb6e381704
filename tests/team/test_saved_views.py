"""Saved views: one's own and those of all, asked about before one is replaced, deleted by those who may."""

import threading
from datetime import datetime

import pytest
from sqlalchemy import select

from tracking.access import Person
from tracking.errors import InvalidNote, NotAllowed
from tracking.reports.order_list.filters import Filters
from tracking.reports.team.saved_views import MOST_VIEWS
from tracking.reports.team.saved_views import saved_views as views_of
from tracking.storage.database import Database
from tracking.storage.maintenance.verify import verify
from tracking.storage.team.tables import AUDIT_LOG
from tracking.team import saved_views

ANN, BOB = Person("Ann"), Person("Bob")
LATE = Filters(view="late", types=("Links",), page=3)


def names(store: Database, person: Person) -> list[tuple[str, bool]]:
    return [(view.name, view.shared) for view in views_of(store, person.name)]


def test_own_views_are_ones_own_and_shared_ones_everybodys(store: Database, now: datetime) -> None:
    own = saved_views.save(store, "  Slow \n links ", LATE, shared=False, by=ANN, now=now)
    shared = saved_views.save(store, "Slow links", LATE, shared=True, by=ANN, now=now)
    assert names(store, ANN) == [("Slow links", False), ("Slow links", True)]
    assert names(store, BOB) == [("Slow links", True)]
    [view, _] = views_of(store, "Ann")
    assert Filters.from_query(view.query) == (Filters(view="late", types=("Links",)), [])
    with pytest.raises(NotAllowed, match="not yours"):
        saved_views.remove(store, own, by=BOB, now=now)
    saved_views.remove(store, shared, by=BOB, now=now)
    assert names(store, ANN) == [("Slow links", False)]
    with store.read() as connection:
        entries = select(AUDIT_LOG.c.person, AUDIT_LOG.c.kind, AUDIT_LOG.c.detail).order_by(AUDIT_LOG.c.seq)
        assert [tuple(row) for row in connection.execute(entries)] == [
            ("Ann", "view saved", {"view": own, "shared": False}),
            ("Ann", "view saved", {"view": shared, "shared": True}),
            ("Bob", "view deleted", {"view": shared, "shared": True}),
        ]
    assert verify(store) == []


def test_a_name_that_is_taken_is_asked_about_and_mine_is_whoevers_looks(store: Database, now: datetime) -> None:
    first = saved_views.save(store, "Work", LATE, shared=True, by=ANN, now=now)
    mine = Filters(view="mine", assigned="Bob")
    with pytest.raises(NotAllowed, match="exists already"):
        saved_views.save(store, "Work", mine, shared=True, by=BOB, now=now)
    assert saved_views.save(store, "Work", mine, shared=True, by=BOB, now=now, replaces=True) == first
    [view] = views_of(store, "Ann")
    assert (view.query, view.created_by) == ({"view": "mine"}, "Bob")


@pytest.mark.parametrize("name", ["", " \u200b ", "x" * 61])
def test_a_name_that_is_none_is_refused(store: Database, now: datetime, name: str) -> None:
    with pytest.raises(InvalidNote, match="Name"):
        saved_views.save(store, name, LATE, shared=True, by=ANN, now=now)
    with pytest.raises(InvalidNote, match="too many orders"):
        saved_views.save(store, "x", Filters(only=("FT-1",) * 2000), shared=True, by=ANN, now=now)


def test_there_are_so_many_and_no_more(store: Database, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_VIEWS == 50
    monkeypatch.setattr(saved_views, "MOST_VIEWS", 2)
    for name in ("a", "b"):
        saved_views.save(store, name, LATE, shared=True, by=ANN, now=now)
    with pytest.raises(InvalidNote, match="delete one first"):
        saved_views.save(store, "c", LATE, shared=True, by=ANN, now=now)
    saved_views.save(store, "b", LATE, shared=True, by=ANN, now=now, replaces=True)


def test_two_who_save_one_name_at_once_make_one_view(store: Database, now: datetime) -> None:
    outcomes: list[str] = []

    def saves(person: Person) -> None:
        try:
            saved_views.save(store, "Work", LATE, shared=True, by=person, now=now)
            outcomes.append("saved")
        except NotAllowed:
            outcomes.append("asked")

    threads = [threading.Thread(target=saves, args=(person,)) for person in (ANN, BOB)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["asked", "saved"]
    assert names(store, ANN) == [("Work", True)]


def test_names_that_differ_in_case_alone_are_one_view(store: Database, now: datetime) -> None:
    first = saved_views.save(store, "My late", LATE, shared=False, by=ANN, now=now)
    with pytest.raises(NotAllowed, match="exists already"):
        saved_views.save(store, "MY LATE", LATE, shared=False, by=ANN, now=now)
    assert saved_views.save(store, "MY LATE", LATE, shared=False, by=ANN, now=now, replaces=True) == first
    assert names(store, ANN) == [("MY LATE", False)]
