"""A start says which settings are others than at the last one, and of secrets no more than that."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tracking.app.settings_changes import SECRETS, record_changes
from tracking.settings.values import Settings
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.facts import FactKey
from tracking.storage.team.tables import AUDIT_LOG

FIRST, SECOND = "the first secret kanari", "the second secret kanari"
ACCOUNT = {"api_base_url": "https://provider.example", "api_email": "kanari@example.com"}


@pytest.fixture
def start(store: Database, now: datetime) -> Any:
    """Starts with these settings; returns what the audit log has of it, None for nothing."""

    def started(*secrets: str, **values: Any) -> Any:
        settings = Settings(_env_file=None, webhook_secret=",".join(secrets), **values)
        with store.read() as connection:
            before = connection.execute(sa.select(sa.func.count()).select_from(AUDIT_LOG)).scalar_one()
        record_changes(store, settings, secrets, now)
        with store.read() as connection:
            query = sa.select(AUDIT_LOG.c.detail).order_by(AUDIT_LOG.c.seq).offset(before)
            assert "kanari" not in repr(facts.get_fact(connection, FactKey.SETTINGS))
            return connection.execute(query).scalar()

    return started


def test_only_what_changed_is_recorded(start: Any) -> None:
    assert start(FIRST, **ACCOUNT, api_access_token="one-kanari", roles="pages") is None
    assert start(FIRST, **ACCOUNT, api_access_token="one-kanari", roles="pages") is None
    detail = start(FIRST, **ACCOUNT, api_access_token="two-kanari", roles="pages", poll_floor=2)
    assert detail == {"changed": {"TRACKING_POLL_FLOOR": ["1.0", "2.0"]}, "secrets": ["TRACKING_API_ACCESS_TOKEN"]}


def test_roles_are_those_of_a_process_and_no_change(start: Any) -> None:
    assert start(FIRST, roles="pages,poller,sender,webhooks") is None
    assert start(FIRST, roles="poller,sender,webhooks") is None
    assert start(FIRST, roles="pages,poller,sender,webhooks") is None
    # What else differs from the last start is told of the first one, with whom it is compared; then it is its own.
    assert start(FIRST, roles="poller", poll_floor=2) == {
        "changed": {"TRACKING_POLL_FLOOR": ["1.0", "2.0"]},
        "roles": "poller",
        "compared_roles": "pages,poller,sender,webhooks",
    }
    assert start(FIRST, roles="poller", poll_floor=2) is None
    assert start(FIRST, roles="pages,poller,sender,webhooks") is None
    changed = {"changed": {"TRACKING_POLL_FLOOR": ["2.0", "1.5"]}}
    assert start(FIRST, roles="poller", poll_floor=1.5) == changed


def test_what_an_earlier_version_wrote_down_of_roles_is_no_change(start: Any, store: Database, now: datetime) -> None:
    assert start(FIRST, roles="pages") is None

    def earlier(connection: sa.Connection) -> None:
        fact = facts.get_fact(connection, FactKey.SETTINGS)
        assert fact is not None
        fact.value["starts"]["pages"]["plain"]["roles"] = "pages"
        facts.set_fact(connection, FactKey.SETTINGS, fact.value, now)

    store.write(earlier)
    assert start(FIRST, roles="pages") is None
    assert start(FIRST, roles="poller") is None


def test_a_secret_that_is_the_key_of_the_others_says_what_cannot_be_compared(start: Any) -> None:
    account = ACCOUNT | {"api_access_token": "one-kanari"}
    assert start(FIRST, **account) is None
    assert start(SECOND, FIRST, **account) == {"secrets": ["TRACKING_WEBHOOK_SECRET"]}
    assert start(SECOND, **account) == {"secrets": ["TRACKING_WEBHOOK_SECRET"]}
    assert start("a third secret kanari", **account, claims_key="A" * 43 + "=") == {
        "secrets": ["TRACKING_CLAIMS_KEY", "TRACKING_WEBHOOK_SECRET"],
        "not_comparable": ["TRACKING_API_ACCESS_TOKEN", "TRACKING_API_EMAIL", "TRACKING_DATABASE_URL"],
    }


def test_one_file_named_relative_and_absolute_is_one(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert start(FIRST, roles="poller", database_url="sqlite:///data/tracking.db") is None
    absolute = f"sqlite:///{tmp_path}/data/tracking.db"
    assert start(FIRST, roles="poller", database_url=absolute) is None
    monkeypatch.chdir("/")  # where a relative path would be another file
    assert start(FIRST, roles="poller", database_url=absolute) is None
    other = f"sqlite:///{tmp_path}/other.db"
    assert start(FIRST, roles="poller", database_url=other) == {"changed": {"TRACKING_DATABASE_URL": [absolute, other]}}


def test_what_an_earlier_version_wrote_of_a_relative_path_is_no_change(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as earlier:
        earlier.setattr("tracking.app.settings_changes._with_whole_path", lambda url: url)
        assert start(FIRST) is None
    assert start(FIRST) is None


def test_every_secret_among_the_settings_is_treated_as_one() -> None:
    hidden = {name for name, each in Settings.model_fields.items() if each.repr is False or "Secret" in repr(each)}
    assert hidden == set(SECRETS)
