"""The drawer for many orders and the job's page: what is planned, started, stopped, and what it touched."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import expiry
import pytest
from histories import History
from sqlalchemy import Connection, func, insert, select, update
from streamlit.testing.v1 import AppTest

import job_words
import orders_bulk
import session
from tracking.access import Person
from tracking.app.preferences import Preferences
from tracking.reports.order_list.filters import Filters
from tracking.reports.team import jobs as reports
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.tables import BATCHES
from tracking.storage.team.tables import JOB_ORDERS, JOBS
from tracking.submissions import actions
from tracking.team import jobs
from tracking.team.job_runner import JobRunner
from tracking.team.plans import Act, Parameters

Visit = Callable[..., AppTest]
ANN = Person("Ann")


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is at the screen has said that they are Bea."""
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))


def text(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.header)
    parts = [str(element.value) for kind in kinds for element in kind] + [bar.proto.text for bar in app.get("progress")]
    return "\n".join(parts).replace("\\", "")


def refused(history: History, *names: str) -> None:
    for name in names:
        history.place(name)
        history.refuse(name)


def run_jobs(database: Database) -> None:
    """Do all steps of the jobs that run, as the backend does."""
    with database.read() as connection:
        assert connection.execute(select(JOBS.c.id)).first() is not None
    runner = JobRunner(
        database, owner="test", lease=timedelta(seconds=30), clock=lambda: datetime.now(UTC), max_rate=100
    )

    async def turns() -> None:
        while await runner.turn() is not None:
            pass

    asyncio.run(turns())


def start(app: AppTest, opener: str) -> AppTest:
    """Press the button of the drawer. A run of a test is the whole page: its opener is pressed along with it."""
    app.button(key=opener).click()
    return app.button(key="bulk_start").click().run()


def test_all_that_match_are_acknowledged_by_one_job_whose_page_says_what_became_of_each(
    visit: Visit, history: History, database: Database, named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(history, "FT-1", "FT-2", "FT-3")
    app = visit("orders", view="attention")
    app.button(key="select_all").click().run()
    assert "**All 3 orders: Needs decision**" in text(app)
    app.button(key="acknowledge_selected").click().run()
    assert "**3** of 3 orders would be acknowledged, worth " in text(app)
    assert "No API calls" in text(app)
    assert (app.button(key="bulk_start").label, app.button(key="bulk_start").disabled) == ("Acknowledge 3 orders", True)
    app.button(key="acknowledge_selected").click()
    app.pills(key="bulk_reason").set_value("Reordered").run()
    app.text_input(key="bulk_words").set_value("as FT-9")
    start(app, "acknowledge_selected")
    assert not app.exception
    [job] = reports.jobs(database).jobs
    assert (job.act, job.parameters, job.person, job.total) == (
        "acknowledge",
        {"reason": "Reordered: as FT-9"},
        "Bea",
        3,
    )
    page = visit("jobs", job=str(job.id))
    assert "0 of 3: 0 acknowledged, 3 waiting" in text(page)
    assert [link.label for link in page.container(key="way").page_link] == ["All jobs"]
    assert "Nothing is done at the moment: no worker is running" in text(page)
    assert "Started by Bea (not signed in)" in text(page)
    assert "Needs decision · “Reordered: as FT-9”" in text(page)
    page.button(key="job_change").click().run()
    assert [toast.value.replace("\\", "") for toast in page.toast] == ["Stopped: no further order is touched."]
    assert "stay as they are" in text(page)
    page.button(key="job_change").click().run()
    run_jobs(database)
    page.run()
    assert "3 of 3: 3 acknowledged" in text(page)
    assert "job_change" not in [button.key for button in page.button]
    assert page.dataframe[0].value["outcome"].tolist() == ["Done"] * 3
    listed = visit("jobs")
    assert listed.dataframe[0].value.iloc[0][["act", "person", "done"]].tolist() == ["Acknowledge 3 orders", "Bea", 3]
    for asked in ("abc", "-1", "9" * 20):
        assert "is no number of this kind: all jobs are shown" in visit("jobs", job=asked).warning[0].value
    assert visit("orders", job=str(job.id)).dataframe[0].value["po_number"].tolist() == ["FT-3", "FT-2", "FT-1"]


def test_what_the_act_would_refuse_is_said_beside_its_plan() -> None:
    too_long = orders_bulk._refused(Act.ACKNOWLEDGE, Parameters(reason="x" * 905))
    over = orders_bulk._refused(Act.SNOOZE, Parameters(until=datetime(2020, 1, 1, tzinfo=UTC)))
    assert "has 905 characters" in str(too_long)
    assert "is over already" in str(over)
    assert orders_bulk._refused(Act.SNOOZE, Parameters()) is None


def test_the_same_opening_of_the_drawer_is_one_job_however_often_its_button_is_pressed(
    database: Database, history: History
) -> None:
    refused(history, "FT-1")
    chosen = orders_bulk.Chosen(Filters(view="attention"), "All 1 order", Act.ACKNOWLEDGE, "a-key")
    went: list[dict[str, str]] = []
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("streamlit.switch_page", lambda page, query_params: went.append(query_params))
            orders_bulk._start(chosen, Act.ACKNOWLEDGE, Parameters(reason="Reordered"), ANN)
    assert reports.jobs(database).total == 1
    assert went == [{"job": "1", "list": "page=1"}] * 2  # Back leads to the list that is named


def test_the_drawer_says_what_would_be_refused_and_asks_again_where_the_orders_changed(
    visit: Visit, history: History, database: Database, named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(history, "FT-1", "FT-2")
    monkeypatch.setattr(orders_bulk, "uuid", SimpleNamespace(uuid4=lambda: SimpleNamespace(hex="one-opening")))
    app = visit("orders", view="attention")
    app.button(key="select_all").click().run()
    app.button(key="acknowledge_selected").click().run()
    app.button(key="acknowledge_selected").click()
    app.text_input(key="bulk_words").set_value("x" * 905).run()
    button = app.button(key="bulk_start")
    assert (button.disabled, str(button.help).replace("\\", "")) == (True, "Reason: has 905 characters; at most 500")
    app.button(key="acknowledge_selected").click()
    app.text_input(key="bulk_words").set_value("as agreed").run()
    actions.acknowledge(database, "FT-1", by=ANN, now=history.at, why="as agreed")
    start(app, "acknowledge_selected")
    assert reports.jobs(database).total == 0
    assert "it was 2 of 2, and is 1 of 1 now. Press again" in app.warning[0].value
    start(app, "acknowledge_selected")
    assert [job.total for job in reports.jobs(database).jobs] == [1]


def test_selected_rows_are_snoozed_and_what_is_skipped_is_said_before(
    visit: Visit, history: History, database: Database, named: None
) -> None:
    refused(history, "FT-1", "FT-2")
    history.find_finished("OUT-1")
    app = visit("orders", sort="po number", asc="true")
    key = f"orders_table_{app.session_state['orders_snapshot'].number}_{app.session_state['orders_table_turn']}"
    app.session_state[key] = {"selection": {"rows": [0, 2], "columns": [], "cells": []}}
    app.run()
    app.menu_button(key="more_selected").set_value(Act.SNOOZE).run()
    assert "**1** of 2 orders would be snoozed" in text(app)
    assert "1 skipped: only an open order, or one that needs a decision, can be snoozed" in text(app)
    app.menu_button(key="more_selected").set_value(Act.SNOOZE)
    app.button(key="bulk_start").click().run()
    [job] = reports.jobs(database).jobs
    run_jobs(database)
    page = visit("jobs", job=str(job.id))
    assert "2 of 2: 1 snoozed, 1 skipped" in text(page)
    assert "2 selected in the list" in text(page)


def test_viewers_see_why_they_cannot_and_a_job_of_a_colleague_is_seen_on_the_orders_page(
    visit: Visit, history: History, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(history, "FT-1")
    jobs.start(
        database,
        Filters(text="FT"),
        Act.ASSIGN,
        Parameters(assignee="Cleo"),
        secret="a secret of the tests",
        key="k",
        by=ANN,
        now=history.at,
    )
    monkeypatch.setattr(session, "may_not_act", lambda: "You are signed in as a viewer.")
    app = visit("orders")
    assert "Ann\\: Assign 1 order, 0 %" in [link.label for link in app.page_link]
    app.button(key="select_all").click().run()
    button = app.button(key="acknowledge_selected")
    assert (button.disabled, button.help) == (True, "You are signed in as a viewer.")
    page = visit("jobs", job="1")
    assert page.button(key="job_change").disabled
    assert "a search by text" in text(page)
    assert "to Cleo" in text(page)
    assert "no job has the number 7" in str(visit("jobs", job="7").error[0].value)


def test_which_orders_a_filter_means_is_said_in_words() -> None:
    assert job_words.which(Filters()) == "All orders"
    assert job_words.which(Filters(view="late", types=("Links",))) == "Late, Type: Links"
    assert job_words.chosen_by({"view": "attention", "q": "hash:0a"}) == "Needs decision, a search by text"
    assert job_words.chosen_by({"view": "mine", "assigned": "hash:0a"}) == "Mine, of one name"
    assert job_words.chosen_by({"source": "hash:0a"}) == "another source"
    several = job_words.chosen_by({"state": ["Refused", "hash:0a"], "min": "12.50"})
    assert several == f"{job_words.which(Filters(states=('Refused',), min_minor=1250))}, another state"
    assert job_words.chosen_by({"import": 1, "file": "gifts.csv"}) == "the file gifts.csv"
    assert job_words.chosen_by({"import": 1}) == "Import 1"
    assert job_words.chosen_by({"po": "3 selected"}) == "3 selected in the list"


def test_the_job_of_an_import_leads_to_its_page(visit: Visit, database: Database) -> None:
    parameters, chosen = {"batch_id": 3, "source": "csv"}, {"import": 3}
    now = datetime.now(UTC)
    batch = {"id": 3, "digest": "d", "name": "*gifts*.csv", "rows": 2, "orders": 2, "created_at": now}

    def add(connection: Connection) -> None:
        connection.execute(insert(BATCHES), batch)
        jobs.add(connection, Act.IMPORT, parameters, chosen, key="k", by=ANN, now=now, total=2)

    database.write(add)
    assert visit("jobs").dataframe[0].value.iloc[0][["act", "which"]].tolist() == [
        "Import 2 orders",
        "the file *gifts*.csv",
    ]
    page = visit("jobs", job="1")
    assert not page.exception
    assert "the file *gifts*.csv" in text(page)
    [link] = [link for link in page.page_link if link.label == "The import's page"]
    assert link.proto.query_string == "import=3"


def test_no_end_is_told_of_a_job_that_needs_calls_while_none_gets_through(
    visit: Visit, history: History, database: Database
) -> None:
    for name in ("FT-1", "FT-2"):
        history.place(name)
        history.accept(name)
    now = datetime.now(UTC)
    secret, started = "s" * 32, now - timedelta(minutes=1)
    for act in (Act.POLL, Act.SNOOZE):
        jobs.start(database, Filters(), act, Parameters(), secret=secret, key=act, by=ANN, now=started)
    first = JOB_ORDERS.c.order_id == select(func.min(JOB_ORDERS.c.order_id)).scalar_subquery()
    client = {
        "failing_since": started.isoformat(),
        "failures": 9,
        "last_error": "Throttled: (503)",
    }

    def half_done(connection: Connection) -> None:
        connection.execute(update(JOB_ORDERS).where(first).values(outcome="done", at=now))
        connection.execute(update(JOBS).values(done=1))
        facts.set_fact(connection, "beat:jobs", {}, now)

    database.write(half_done)
    assert "; ends about " in text(visit("jobs", job="1"))
    database.write(lambda connection: facts.set_fact(connection, FactKey.API_CLIENT, client, now))
    expiry.expire()
    polled, snoozed = text(visit("jobs", job="1")), text(visit("jobs", job="2"))
    assert "No end can be told: the provider is unreachable since " in polled
    assert "ends about" not in polled
    assert "; ends about " in snoozed  # it needs no call
