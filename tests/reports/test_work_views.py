"""Whose an order is and whether it waits: what is counted, what each view shows, and through which index."""

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from histories import History

from tracking.access import Person
from tracking.forecasting import incidents
from tracking.reports import overview
from tracking.reports.board import decisions
from tracking.reports.board.figures import trend
from tracking.reports.order_list import news, search, view_counts
from tracking.reports.order_list.conditions import conditions
from tracking.reports.order_list.filters import Filters
from tracking.reports.order_list.narrowing import FLAGGED
from tracking.reports.order_page import verdicts
from tracking.reports.team import people
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.storage.team import snoozing
from tracking.storage.team.tables import JOB_ORDERS
from tracking.submissions import actions
from tracking.team import work

ANN, BOB = Person("Ann"), Person("Bob")


def listed(store: Database, now: datetime, **filters: object) -> list[str]:
    page = search.orders_page(store, Filters(sort="po number", descending=False, **filters), now)  # type: ignore[arg-type]  # as given
    return list(page.rows["po_number"])


def two_refused_two_late(history: History) -> datetime:
    """FT-1 and FT-2 need a decision, FT-3 and FT-4 are late, at the time returned."""
    for number in range(1, 5):
        history.place(f"FT-{number}")
    for number in (1, 2):
        history.refuse(f"FT-{number}")
    for number in (3, 4):
        history.accept(f"FT-{number}")
    return history.at + timedelta(days=20)


def test_a_snoozed_order_asks_for_nobody_until_its_time_is_over(history: History, store: Database) -> None:
    now = two_refused_two_late(history)
    until = now + timedelta(hours=1)
    for order in ("FT-1", "FT-3"):
        work.snooze(store, order, until, by=ANN, now=now)
    seen = overview.overview(store, now)
    assert (seen.attention, seen.attention_snoozed, seen.late, seen.late_snoozed) == (1, 1, 1, 1)
    assert seen.verdict.startswith("1 order needs a decision, 1 snoozed. 2 open, 1 late")
    figures = trend(store, now)
    assert (figures.needs_decision.now, figures.needs_decision.snoozed, figures.late.now) == (1, 1, 1)
    assert figures.needs_decision.hourly[-1] == 2
    grouped = decisions.decisions(store, now)
    assert (grouped.total, grouped.snoozed, grouped.groups[0].oldest.po_number) == (1, 1, "FT-2")
    counts = view_counts.view_counts(store, now, "Ann")
    for view, number in {"attention": 1, "unassigned": 1, "late": 1, "snoozed": 2, "mine": 0}.items():
        assert (view, counts[view].orders) == (view, number)
    assert listed(store, now, view="snoozed") == ["FT-1", "FT-3"]
    assert listed(store, now, view="attention") == ["FT-2"]
    with store.read() as connection:
        late = incidents.find_late_orders(connection, now)
        assert (late.others, incidents.late_number(connection, now)) == (1, 2)
    assert listed(store, until, view="attention") == ["FT-1", "FT-2"]
    assert listed(store, until, view="snoozed") == []
    assert overview.overview(store, until).late == 2


def test_mine_are_those_i_have_and_have_to_do_and_unassigned_those_nobody_has(
    history: History, store: Database
) -> None:
    now = two_refused_two_late(history)
    for order in ("FT-1", "FT-3"):
        work.assign(store, order, "Ann", by=BOB, now=now)
    assert listed(store, now, view="mine", assigned="Ann") == ["FT-1", "FT-3"]
    assert listed(store, now, view="mine", assigned="Bob") == []
    assert listed(store, now, view="mine") == []
    assert listed(store, now, view="unassigned") == ["FT-2"]
    actions.acknowledge(store, "FT-1", by=ANN, now=now, why="customer informed")
    assert listed(store, now, view="mine", assigned="Ann") == ["FT-3"]
    assert listed(store, now, assigned="Ann") == ["FT-1", "FT-3"]
    assert "mine" not in view_counts.view_counts(store, now)
    assert people.recent_names(store) == ["Ann", "Bob"]
    filters, problems = Filters.from_query({"assigned": "Ann", "job": "7", "view": "unassigned"})
    assert (filters.to_query(), problems) == ({"view": "unassigned", "assigned": "Ann", "job": "7"}, [])
    assert listed(store, now, job=7) == []
    row = {"job_id": 7, "order_id": 2, "outcome": "waiting"}
    store.write(lambda connection: connection.execute(sa.insert(JOB_ORDERS), row) and None)
    assert listed(store, now, job=7) == ["FT-2"]


def test_the_list_and_the_page_say_whose_it_is_and_until_when_it_waits(history: History, store: Database) -> None:
    now = two_refused_two_late(history)
    page = search.orders_page(store, Filters(), now)
    work.assign(store, "FT-1", "Ann", by=BOB, now=now)
    work.snooze(store, "FT-1", now + timedelta(hours=1), by=ANN, now=now)
    work.snooze(store, "FT-2", None, by=ANN, now=now)
    changed = {change.po_number: change.text for change in news.list_news(store, Filters(), page, now).changes}
    assert changed == {"FT-1": "assigned to Ann, snoozed", "FT-2": "snoozed"}
    order_id = next(key for key, values in page.values.items() if values["po_number"] == "FT-1")
    view = verdicts.order_view(store, order_id, now)
    assert view.is_snoozed
    assert [text.split(" until ")[0] for _, text in view.work] == ["Assigned to Ann", "Snoozed"]
    later = verdicts.order_view(store, order_id, now + timedelta(hours=2))
    assert not later.is_snoozed
    assert later.work[-1][1].endswith("it is due again")


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(view="attention"), "ix_orders_flagged"),
        (Filters(view="unassigned"), "ix_orders_flagged"),
        (Filters(view="mine", assigned="Ann"), "ix_orders_mine"),
        (Filters(view="late", each=True), "ix_orders_open"),
        (Filters(view="snoozed"), "ix_orders_snoozed"),
        (Filters(assigned="Ann"), "ix_orders_assignee"),
    ],
)
def test_the_views_use_their_indexes(sqlite_url: str, now: datetime, filters: Filters, index: str) -> None:
    from tracking.storage.database import connect  # noqa: PLC0415 - only this test needs SQLite's own plan

    opened = connect(sqlite_url)
    with opened.read() as connection:
        asleep = ORDERS.c.id.in_(sa.select(ORDERS.c.id).where(snoozing.snoozed(now)))
        for clauses, wanted in (
            (conditions(connection, filters, now), index),
            ([FLAGGED, asleep], "ix_orders_snoozed"),
        ):
            query = sa.select(sa.func.count()).select_from(ORDERS).where(*clauses)
            text = query.compile(connection, compile_kwargs={"render_postcompile": True})
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", tuple(text.params.values())).all()
            assert wanted in str(plan), str(plan)
    opened.close()
