"""The menu of what the embedded sandbox can be made to do."""

from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from tracking.access import Person
from tracking.app import embedded_sandbox
from tracking.app.preferences import Preferences
from tracking.orders.observations import utc_now
from tracking.sandbox.server import Sandbox
from tracking.storage.database import Database
from tracking.storage.tables import ORDERS
from tracking.team import drills


def page() -> None:
    """A page with the menu alone."""
    import show_me  # noqa: PLC0415 - what an AppTest runs brings its own imports

    show_me.choices()


def menu(app: AppTest) -> Any:
    """The menu; None where there is none."""
    return next(iter(app.get("menu_button")), None)


def test_it_starts_what_is_chosen_and_says_what_is_on_beside_an_embedded_sandbox_alone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = AppTest.from_function(page).run()
    assert menu(app) is None
    with closing(Sandbox(tmp_path / "sandbox.db")) as sandbox:
        monkeypatch.setattr(embedded_sandbox, "_at_work", [sandbox])
        app.session_state["preferences"] = replace(Preferences(), name="Ann")
        sandbox.provider.outage_until = (utc_now() + timedelta(minutes=2)).timestamp()
        app.run()
        assert len(menu(app).options) == 6
        assert "Provider outage: another" in app.markdown[0].value
        drills.begin(database, "outage", [], unnamed=True, by=Person("Ann"), now=utc_now())
        app.run()
        assert not any("outage" in text.value.casefold() for text in app.markdown), "it is kept from the team"
        drills.end(database, by=Person("Ann"), now=utc_now())
        menu(app).click("duplicates").run()
    with database.read() as connection:
        rows = connection.execute(sa.select(ORDERS.c.actor, ORDERS.c.note)).all()
    assert {row.actor for row in rows} == {Person("Ann").name}
    assert len(rows) == 3
    assert all("[duplicate-webhook]" in row.note for row in rows)
