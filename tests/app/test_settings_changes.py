"""A start says which settings are others than at the last one, and of secrets no more than that."""

from datetime import datetime
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
    # Another process with other roles is compared with the last start, and from then on with its own.
    other = {**ACCOUNT, "api_access_token": "two-kanari", "poll_floor": 2}
    assert start(FIRST, **other, roles="poller")["changed"] == {"TRACKING_ROLES": ["pages", "poller"]}
    assert start(FIRST, **other, roles="pages") is None
    assert start(FIRST, **other, roles="poller") is None


def test_a_secret_that_is_the_key_of_the_others_says_what_cannot_be_compared(start: Any) -> None:
    account = ACCOUNT | {"api_access_token": "one-kanari"}
    assert start(FIRST, **account) is None
    assert start(SECOND, FIRST, **account) == {"secrets": ["TRACKING_WEBHOOK_SECRET"]}
    assert start(SECOND, **account) == {"secrets": ["TRACKING_WEBHOOK_SECRET"]}
    assert start("a third secret kanari", **account, claims_key="A" * 43 + "=") == {
        "secrets": ["TRACKING_CLAIMS_KEY", "TRACKING_WEBHOOK_SECRET"],
        "not_comparable": ["TRACKING_API_ACCESS_TOKEN", "TRACKING_API_EMAIL", "TRACKING_DATABASE_URL"],
    }


def test_every_secret_among_the_settings_is_treated_as_one() -> None:
    hidden = {name for name, each in Settings.model_fields.items() if each.repr is False or "Secret" in repr(each)}
    assert hidden == set(SECRETS)
