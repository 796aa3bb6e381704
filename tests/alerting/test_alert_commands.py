"""`tracking alerts ...`, the settings of alerts, and a console that is started with them."""

import json
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from alert_receivers import addresses, receivers
from typer.testing import CliRunner

from tracking.alerting import listing
from tracking.app.backend import Backend
from tracking.app.cli.main import app
from tracking.errors import SettingsError
from tracking.orders.observations import utc_now
from tracking.settings.alerts import AlertRule
from tracking.settings.loading import load
from tracking.storage.database import Database
from tracking.storage.integration import alerts as stored
from tracking.storage.integration.alerts import Alert, Lead
from tracking.webhooks.silence_alarm import Arming


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands work with no settings of whoever runs the tests."""
    (tmp_path / ".env").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("apprise.plugins.base.NotifyBase.request_rate_per_sec", 0)


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["alerts", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_each_service_is_tried_and_said_to_take_it_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "pip install" in call("test", code=2)
    with receivers() as (http, smtp):
        monkeypatch.setenv("TRACKING_ALERTS", addresses(http, smtp))
        monkeypatch.setenv("TRACKING_CONSOLE_URL", "https://console.example.com/ops/")
        assert json.loads(call("test", "--json")) == [
            {"service": "json", "taken": True},
            {"service": "mailto", "taken": True},
        ]
        http.refuses = True
        output = call("test", "--rule", "late", code=1)
        said = [line.split(maxsplit=1)[1].strip() for line in output.splitlines()[1:]]
        assert said == ["not taken: it answers 500", "taken"]
    assert http.titles == ["[SANDBOX] Test: an alert"]
    assert [subject for subject, _ in smtp.got] == ["[SANDBOX] Test: an alert", "[SANDBOX] Test: Order is late"]
    assert http.got[0]["message"].splitlines()[-1] == "https://console.example.com/ops"
    assert "kanari" not in output


def test_alerts_are_listed_with_what_became_of_their_messages_and_snoozed(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_DATABASE_URL", store.url)
    now = utc_now().replace(microsecond=0)
    over = Alert("late", "FT-1", {"title": "FT-1 is late"}, now - timedelta(hours=2), now, ended_at=now)
    lasting = Alert("store", "", {"title": "It is full"}, now - timedelta(hours=1), now, sent_at=now, sent_to=("json",))
    store.write(partial(stored.store_alerts, alerts=[over, lasting]))
    listed = json.loads(call("list", "--json").partition("\n")[2])
    assert "webhooks is not armed yet: no webhook of the provider has come" in call("list")
    assert [(one["rule"], one["state"]) for one in listed] == [
        ("store", "sent"),
        ("late", "not sent: over before its message was due"),
    ]
    assert "no process sends alerts now" in call("list")
    store.write(lambda c: stored.store_lead(c, Lead("a-host/1/x", utc_now() + timedelta(minutes=1)), now))
    assert "no process sends alerts now" not in call("list", "--limit", "1")
    assert "late: snoozed until" in call("snooze", "late", "--until", "3h", "--actor", "Ann")
    assert "by Ann" in call("list")
    assert "no longer snoozed" in call("unsnooze", "late")
    assert "is not snoozed" in call("unsnooze", "late", code=1)
    call("snooze", "nothing", "--until", "3h", code=2)


def test_the_alert_on_silent_webhooks_says_what_it_rests_on() -> None:
    few, many = Arming(heard=True, announced=8, finished=10), Arming(heard=True, announced=300, finished=310)
    nothing, too_few, enough = map(listing.silence_standing, (Arming(heard=True), few, many))
    assert nothing == (False, "not armed yet: nothing was learned of orders")
    assert (too_few[0], enough[0]) == (False, True)
    assert "8 of the newest 10 completed orders placed here, too few" in too_few[1]
    assert "300 of the newest 310 completed orders placed here; it comes once about 5 orders completed" in enough[1]


def test_the_rules_are_listed_and_those_that_are_off_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_ALERTS_OFF", "balance, late")
    rules = {rule["rule"]: rule for rule in json.loads(call("rules", "--json"))}
    assert set(rules) == {rule.value for rule in AlertRule}
    assert [name for name, rule in rules.items() if rule["off"]] == ["late", "balance"]
    assert [name for name, rule in rules.items() if rule["urgent"]] == ["store", "refused", "workers"]
    assert "TRACKING_BALANCE_BELOW" in call("rules")


def test_a_console_with_alerts_runs_their_loops_and_one_without_runs_none(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKING_WEBHOOK_SECRET", "hush-hush-hush-hush")
    assert Backend(load(), store=store)._notifier.turns == []
    monkeypatch.setenv("TRACKING_ALERTS", "json://127.0.0.1:9/kanari")
    backend = Backend(load(), store=store)
    assert [name for name, _, _ in backend._notifier.turns] == ["alerts", "store alert"]
    assert "kanari" not in repr((backend.settings, backend._notifier.status()))
    monkeypatch.setenv("TRACKING_ALERTS", "nothing://kanari")
    with pytest.raises(SettingsError) as caught:
        Backend(load(), store=store)
    assert "kanari" not in str(caught.value.problems)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("OFF", "late,nothing", "does not know nothing; use some of store"),
        ("QUIET", "at night", "must be hours as in 22:00-06:00"),
    ],
)
def test_settings_of_alerts_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(f"TRACKING_ALERTS_{name}", value)
    with pytest.raises(SettingsError, match=why):
        load()


def test_quiet_hours_are_read_with_their_zone(now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING_ALERTS_QUIET", " 9:00-14:00  Europe/Berlin ")
    quiet = load().alerts_quiet
    assert quiet is not None
    assert quiet.until(now) == now + timedelta(hours=1)
