"""The page of alerts: what lasts, whether it was sent and where to, what is snoozed, and that nothing is set up."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import session
from tracking.access import Person
from tracking.alerting import snoozing
from tracking.app.preferences import Preferences
from tracking.storage.database import Database
from tracking.storage.integration import alerts as stored
from tracking.storage.integration.alerts import Alert, Lead

Visit = Callable[..., AppTest]
HOSTILE = "![x](https://evil.example.com/a.png)"


def written(app: AppTest) -> str:
    kinds: tuple[Any, ...] = (app.markdown, app.caption, app.warning, app.info, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def test_without_alerts_the_page_says_so_and_how_to_set_them_up(visit: Visit) -> None:
    app = visit("alerts")
    assert not app.exception
    assert "No alerts are set up" in app.info[0].value
    assert "pip install 'fulfillment-tracking[alerts]'" in app.code[0].value
    assert [each.value for each in app.subheader] == ["Rules"]
    assert "“No webhooks” is not armed yet: no webhook of the provider has come." in written(app)
    assert not [button for button in app.button if button.key == "snooze_alerts"]
    row = next(line for line in app.markdown[-1].value.splitlines() if "(webhooks)" in line)
    assert row.endswith("| at once, not in quiet hours | after 1 min |")


def test_the_page_says_what_lasts_whether_it_was_sent_and_what_is_snoozed(
    visit: Visit, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_ALERTS_QUIET", "00:00-23:59")
    monkeypatch.setenv("TRACKING_ALERTS_OFF", "balance")
    now = datetime.now(UTC)
    title = {"title": "FT-1 is late", "page": "timeline?order=FT-1"}
    together = {"title": "7 of 9", "page": "orders?view=late&each=true"}
    many = [Alert("decision", f"FT-{number}", {"title": f"FT-{number} waits"}, now, now) for number in range(9)]
    alerts = [
        Alert("late", "FT-1", title, now - timedelta(minutes=9), now, sent_at=now, sent_to=("json",)),
        Alert("everyone-late", HOSTILE, together, now, now, next_attempt_at=now - timedelta(seconds=1)),
        Alert("deliveries", "ERP", title, now, now, attempts=2, last_error="not taken by json", next_attempt_at=now),
        Alert("late", HOSTILE, {"title": HOSTILE}, now - timedelta(hours=2), now, ended_at=now - timedelta(hours=1)),
        *many,
    ]
    failing = {"mailto": now.isoformat()}
    lead = Lead("a-host/1/x", now + timedelta(minutes=1), ("json", "mailto"), failing)
    database.write(partial(stored.store_alerts, alerts=alerts))
    database.write(lambda connection: stored.store_lead(connection, lead, now))
    snoozing.snooze(database, "late", now + timedelta(hours=1), by=Person("Ann"), now=now)
    app = visit("alerts")
    assert not app.exception
    text = written(app).replace("\\", "").replace("\u2060", "")
    for part in (
        "Orders are late together: ![x](https", "Waits for the quiet hours to end, 00:00-23:59 UTC",
        "Not taken by json; tried 2 times", "And 2 more", "Order is late snoozed until", "by Ann",
        "json", "mailto, failing since", "Quiet hours 00:00-23:59 UTC",
    ):  # fmt: skip
        assert part in text, part
    assert "![x](https://evil" not in written(app)
    assert {link.label for link in app.page_link} >= {"View order", "View orders"}
    assert app.dataframe[0].value["message"].tolist() == ["not sent: over before its message was due"]
    rules = app.markdown[-1].value.splitlines()
    assert [line for line in rules if ":gray-badge[off]" in line] == [line for line in rules if "(balance)" in line]

    monkeypatch.setattr(session, "preferences", lambda: Preferences(name="Bea"))
    app.button(key="unsnooze_late").click().run()
    assert not app.exception
    assert "snoozed until" not in written(app)
    with database.read() as connection:
        assert stored.snoozes(connection, now) == []


def test_viewers_see_and_do_not_snooze(visit: Visit, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    database.write(lambda connection: stored.store_lead(connection, Lead("a/1/x", now + timedelta(minutes=1)), now))
    snoozing.snooze(database, "late", now + timedelta(hours=1), by=Person("Ann"), now=now)
    monkeypatch.setattr(session, "may_not_act", lambda: "Viewers may not act.")
    app = visit("alerts")
    assert [app.button(key=key).disabled for key in ("snooze_alerts", "unsnooze_late")] == [True, True]
    database.write(lambda connection: stored.store_lead(connection, Lead("a/1/x", now), now))
    assert "No process sends alerts since" in visit("alerts").warning[0].value
