"""Whose an order is and until when it waits, on its page: the menus, what is said then, and the team's reasons."""

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from histories import History
from streamlit.testing.v1 import AppTest

import order_work
import session
import snooze_times
import times
from tracking.access import Person
from tracking.app.preferences import Preferences
from tracking.settings.loading import process_settings
from tracking.storage.database import Database
from tracking.team import work

Visit = Callable[..., AppTest]
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is at the screen has said that they are Bea."""
    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))


def row(app: AppTest) -> str:
    return " | ".join(str(caption.value).replace("\\", "") for caption in app.container(key="work").caption)


def picked(app: AppTest, menu: str, option: str) -> str:
    """Pick an option of a menu; returns the toast."""
    app.menu_button(key=menu).set_value(option).run()
    assert not app.exception
    return str(app.toast[0].value).replace("\\", "")


def test_an_order_is_given_away_and_snoozed_and_each_act_says_what_is_so(
    visit: Visit, history: History, database: Database, named: None
) -> None:
    history.place("FT-1")
    history.refuse("FT-1")
    work.assign(database, "FT-1", "Cleo *Doe*", by=Person("Ann"), now=history.at)
    app = visit("order", order="FT-1")
    assert row(app) == ":material/person: Assigned to Cleo *Doe*"
    options = [option.replace("\\", "") for option in app.menu_button(key="assign").options]
    assert options == ["Me", "Ann", "Somebody else", "Nobody"]
    assert picked(app, "assign", order_work.ME) == "Assigned to Bea."
    assert "Assigned to Bea by Bea" in str(app.container(key="story").markdown[0].value)
    assert picked(app, "assign", order_work.NOBODY) == "Assigned to nobody."
    assert row(app) == ":material/person_off: Unassigned"
    assert picked(app, "snooze", snooze_times.CHANGE) == "Snoozed until something changes."
    assert "until something changes" in row(app)
    assert not any("Needs a decision" in box.value for box in app.error)
    assert "Needs a decision" in app.info[0].value
    assert picked(app, "snooze", "tomorrow").startswith("Snoozed until ")
    assert picked(app, "snooze", order_work.END) == "No longer snoozed."
    assert "Needs a decision" in app.error[0].value


def test_what_is_over_is_not_snoozed_and_viewers_see_why_they_cannot(
    visit: Visit, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.find_finished("OUT-1")
    app = visit("order", order="OUT-1")
    assert app.menu_button(key="snooze").disabled
    assert not app.menu_button(key="assign").disabled
    monkeypatch.setattr(session, "may_not_act", lambda: "You are signed in as a viewer.")
    app.run()
    assert app.menu_button(key="assign").proto.help == "You are signed in as a viewer."
    assert app.menu_button(key="assign").disabled


def test_the_reasons_are_those_of_the_team(
    visit: Visit, history: History, named: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_REASONS", "Refunded, Called *them* ,, Refunded")
    process_settings.cache_clear()
    history.place("FT-1")
    history.refuse("FT-1")
    app = visit("order", order="FT-1")
    app.button(key="acknowledge").click().run()
    labels = [button.label.replace("\\", "") for button in app.button if str(button.key).startswith("reason_")]
    assert labels == ["Refunded", "Called *them*", "Other"]


@pytest.mark.parametrize(
    ("now", "offered"),
    [
        # A Friday; on the Sunday in between the clocks of Berlin go back.
        (datetime(2026, 10, 23, 10, tzinfo=BERLIN), ["23T11:00", "23T14:00", "24T09:00", "26T09:00"]),
        (datetime(2026, 10, 23, 13, 45, tzinfo=BERLIN), ["23T14:45", "23T17:00", "24T09:00", "26T09:00"]),
        # A Sunday evening: the afternoon is over, and tomorrow is Monday.
        (datetime(2026, 10, 25, 18, tzinfo=BERLIN), ["25T19:00", "26T09:00"]),
    ],
)  # fmt: skip
def test_times_to_snooze_until_are_those_of_the_readers_clock(
    monkeypatch: pytest.MonkeyPatch, now: datetime, offered: list[str]
) -> None:
    monkeypatch.setattr(times, "zone_name", lambda: "Europe/Berlin")
    *clocks, change = snooze_times.choices(now.astimezone(UTC)).values()
    assert [until.at and until.at.astimezone(BERLIN).isoformat()[8:16] for until in clocks] == offered
    assert change.at is None
