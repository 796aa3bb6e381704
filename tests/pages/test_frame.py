"""The row above every page."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
import streamlit as st
from histories import History
from streamlit.testing.v1 import AppTest

import session
import times
from tracking.app.preferences import Preferences, save_preferences
from tracking.orders import wording
from tracking.storage.database import Database
from tracking.storage.team.tables import AUDIT_LOG

Visit = Callable[..., AppTest]
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def page_of(app: AppTest) -> tuple[str, str]:
    """The page that the app is at now, by what stands on it, and its order or search."""
    query = {name: values if isinstance(values, str) else values[0] for name, values in app.query_params.items()}
    return ("order", query["order"]) if "order" in query else ("orders", query.get("q", ""))


def search(visit: Visit, text: str) -> tuple[str, str]:
    app = visit("logs")
    app.text_input(key="find").set_value(text).run()
    assert not app.exception
    return page_of(app)


def test_a_search_opens_the_one_order_it_means_and_else_lists_what_matches(visit: Visit, history: History) -> None:
    for name in ("SHOP-7", "SHOP-71", "CRM-8"):
        history.place(name)
    assert search(visit, "  shop-7 ") == ("order", "SHOP-7")  # one has just this id, whatever else holds it
    assert search(visit, "crm") == ("order", "CRM-8")
    assert search(visit, "SHOP") == ("orders", "SHOP")
    assert search(visit, "nothing") == ("orders", "nothing")
    # Each is in the audit log with the number of its hits, and none of the texts is.
    with history.database.read() as connection:
        entries = connection.execute(sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.seq)).mappings().all()
    assert [(row["kind"], row["person"], row["detail"]["hits"]) for row in entries] == [
        ("searched", "no name given", number) for number in (1, 1, 2, 0)
    ]
    assert not any(text in repr(entries).casefold() for text in ("shop-7", "crm", "nothing"))


def test_the_row_counts_what_waits_and_says_who_acts_once_it_was_asked(visit: Visit, history: History) -> None:
    history.place("A-1")
    history.refuse("A-1")
    app = visit("logs")
    row = app.container(key="frame")
    assert [link.label for link in row.page_link] == ["**1 needs a decision**", "0 late"]
    assert "Who are you?" in [each.proto.popover.label for each in row.get("popover")]
    app.text_input(key="name_of_who_acts").set_value(" Ann ")
    next(each for each in app.button if each.label == "Save").click().run()
    assert "Ann" in [each.proto.popover.label for each in app.container(key="frame").get("popover")]


@pytest.mark.parametrize(
    ("display", "zone", "clock", "text"),
    [
        ("UTC", "Europe/Berlin", "2026-03-02 12:00:00", "2026-03-02 12:00:00"),
        ("local", "Europe/Berlin", "2026-03-02 13:00:00", "2026-03-02 13:00:00"),
        ("local", "Nowhere/Land", "2026-03-02 12:00:00", "2026-03-02 12:00:00"),
        ("local", None, "2026-03-02 12:00:00", "2026-03-02 12:00:00"),
        ("relative", "Asia/Kolkata", "2026-03-02 17:30:00", "1 h 0 min ago"),
        ("nonsense", "Europe/Berlin", "2026-03-02 12:00:00", "2026-03-02 12:00:00"),
    ],
)
def test_times_are_as_the_reader_chose(
    monkeypatch: pytest.MonkeyPatch, display: str, zone: str | None, clock: str, text: str
) -> None:
    monkeypatch.setattr(session, "preferences", lambda: Preferences(times=display))
    monkeypatch.setattr(st, "context", type("Context", (), {"timezone": zone}))
    now = NOON.replace(day=3, hour=0) if display != "relative" else NOON.replace(hour=13)
    before = wording.TIME_ZONE.get()
    times.apply()
    assert (wording.clock(NOON), times.text(NOON, now), times.text(None)) == (clock, text, "never")
    wording.TIME_ZONE.set(before)


def test_what_was_chosen_outlives_the_session(
    visit: Visit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_preferences_owner", lambda: "somebody")
    save_preferences(database, "somebody", Preferences(name="Ann", times="relative"), datetime.now(UTC))
    app = visit("orders")
    row = app.container(key="frame")
    assert "Ann" in [each.proto.popover.label for each in row.get("popover")]
    assert [each.proto.label for each in row.get("menu_button")] == ["Relative"]
