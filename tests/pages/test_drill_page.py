"""The page of fire drills: beside an embedded sandbox alone; who opens an affected order is noted."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from histories import History
from pages.conftest import Open, forget
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from tracking.access import Person
from tracking.app import embedded_sandbox
from tracking.app.demonstration import scenarios
from tracking.app.preferences import Preferences
from tracking.errors import NotAllowed
from tracking.orders.observations import utc_now
from tracking.reports.team import audit
from tracking.reports.team.audit import AuditFilters
from tracking.reports.team.drills import Step, newest_drills, running_drill
from tracking.sandbox.server import Sandbox
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.team import drills

ANN = Person("Ann")


def texts(app: AppTest) -> str:
    assert not app.exception
    groups = (app.subheader, app.caption, app.error, app.warning)
    return "\n".join(str(each.value) for group in groups for each in group).replace("\\", "")


def test_a_drill_is_started_seen_told_and_ended_on_the_pages(
    visit: Open, history: History, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Sandbox(tmp_path / "sandbox.db")) as sandbox:
        monkeypatch.setattr(embedded_sandbox, "_at_work", [sandbox])
        app = visit("drills")
        app.session_state["preferences"] = replace(Preferences(), name="Ann")
        assert "There was no drill yet." in texts(app)
        app.button(key="start_drill").click().run()
        drill = running_drill(database)
        assert drill is not None
        assert drill.is_secret
        assert drill.scenario in scenarios.SURPRISES
        assert "Running: Not named" in texts(app)
        assert scenarios.SCENARIOS[2].title not in texts(app)
        app.button(key="end_drill").click().run()
        assert scenarios.remaining(utc_now()) == {}, "what the drill switched on ends with it"
        sandbox.provider.outage_until = utc_now().timestamp() + 90
        app.run()
        assert "Provider outage still lasts, for another 1 min" in texts(app)
        assert app.button(key="start_drill").disabled
        with pytest.raises(NotAllowed, match="“Provider outage” still lasts"):
            scenarios.start_drill("bulk", database, by=ANN, now=utc_now())
    now = utc_now()
    history.at = now
    history.place("FT-1")
    drills.begin(database, "timeout", ["FT-1"], unnamed=False, by=ANN, now=now - timedelta(seconds=90))
    forget()
    visit("order", order="FT-1")
    assert Step.OPENED in newest_drills(database)[0].at
    app = visit("drills")
    app.session_state["preferences"] = replace(Preferences(), name="Ann")
    assert "Running: Timeout after placing" in texts(app)
    assert [metric.value for metric in app.metric][1:] == ["not yet"] * 3
    app.button(key="told").click().run()
    assert app.button(key="told").disabled
    app.button(key="end_drill").click().run()
    assert running_drill(database) is None
    assert "Newest: Timeout after placing" in texts(app)
    assert len(app.dataframe[0].value) == 2


@pytest.mark.parametrize("scenario", ["timeout", "outage"])
def test_what_a_drill_makes_is_called_that_and_does_not_say_which_scenario_it_is(
    history: History, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    with closing(Sandbox(tmp_path / "sandbox.db")) as sandbox:
        monkeypatch.setattr(embedded_sandbox, "_at_work", [sandbox])
        monkeypatch.setattr(scenarios, "SURPRISES", (scenario,))
        now = utc_now()
        scenarios.start_drill(None, database, by=ANN, now=now)
        with pytest.raises(NotAllowed, match="not named; end it first"):
            scenarios.start("bulk", database, by=ANN, now=now)
        assert scenarios.end_drill(database, by=ANN, now=now).startswith("The drill is over")
        scenarios.start("bulk", database, by=ANN, now=now)
    with database.read() as connection:
        notes = list(connection.execute(select(ORDERS.c.note).order_by(ORDERS.c.id)).scalars())
    assert notes == ["Fire drill [timeout]" if scenario == "timeout" else "Fire drill", "Shown: bulk order"]
    said = [entry.text for entry in audit.entries(database, AuditFilters()).entries]
    assert said == [
        "Submitted 1 order by form for “Show me”", f"Ended the fire drill “{scenario}”",
        "Started a fire drill that is not named", "Submitted 1 order by form for a fire drill",
    ]  # fmt: skip


def test_with_a_real_provider_there_is_no_such_page(visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_API_BASE_URL", "https://provider.example")
    monkeypatch.setenv("TRACKING_API_EMAIL", "ops@example.com")
    monkeypatch.setenv("TRACKING_API_ACCESS_TOKEN", "not-a-real-token")
    forget()
    assert "imports" in str(visit()._registered_pages)
    assert "drills" not in str(visit()._registered_pages)
