"""Changes of settings since the last start, for the audit log: names and values, of secrets the names only.

What a start leaves for the next one to compare with is a fact: values as text and, of secrets, an HMAC keyed with the
webhook secret. Where that was replaced, it says of the other secrets that they cannot be compared.

Roles belong to a process, not to the store: a worker beside a console changes nothing by having others. The first start
of a process with its roles is held against the last start there was, and what differs is told as just that.
"""

import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from tracking.access import Person
from tracking.settings.values import PREFIX, Settings
from tracking.storage import facts
from tracking.storage.database import Database
from tracking.storage.engines import file_of
from tracking.storage.facts import FactKey
from tracking.storage.team import audit_log
from tracking.storage.team.audit_log import AT_START, AuditKind

SECRETS = ("alerts", "api_access_token", "api_email", "claims_key", "database_url", "webhook_secret")
LONGEST = 500  # characters of a value
_KEY_ITSELF = "the key"


def record_changes(database: Database, settings: Settings, secrets: Sequence[str], now: datetime) -> None:
    """Compare with the last start of a process with these roles, else with the last one, and record what differs.

    Where it was a process with other roles, the entry names both: it may go on as it is, and nobody changed anything.
    `secrets` are the webhook secrets, the first one in use. Nothing is recorded at the very first start.
    """
    role_names = ",".join(sorted(settings.roles))
    plain = _plain(settings)
    current = {"plain": plain, "tags": _tags(settings, secrets[0])}

    def job(connection: Connection) -> None:
        audit_log.lock(connection, now)  # of two that start at once, the second compares with what the first left
        fact = facts.get_fact(connection, FactKey.SETTINGS)
        starts: dict[str, Any] = fact.value["starts"] if fact else {}
        compared: str = role_names if role_names in starts or fact is None else fact.value["last"]
        before = starts.get(compared)
        facts.set_fact(
            connection, FactKey.SETTINGS, {"last": role_names, "starts": starts | {role_names: current}}, now
        )
        if before is None:
            return
        changed = _changes(before["plain"], plain)
        secret_names, unclear = _changed_secrets(before["tags"], settings, secrets)
        secret_names = [name for name in secret_names if name not in changed]
        if changed or secret_names or unclear:
            detail: dict[str, Any] = {
                "changed": changed or None,
                "secrets": secret_names or None,
                "not_comparable": unclear or None,
            }
            if compared != role_names:
                detail |= {"roles": role_names, "compared_roles": compared}
            audit_log.record_act(connection, Person(AT_START), AuditKind.SETTINGS_CHANGED, now, detail=detail)

    database.write(job)


def _plain(settings: Settings) -> dict[str, str | None]:
    names = [name for name in Settings.model_fields if name not in SECRETS and name != "roles"]
    values = {name: _text(getattr(settings, name)) for name in names}
    address = make_url(_with_whole_path(settings.database_url)).set(query={}).render_as_string(hide_password=True)
    return values | {"database_url": address[:LONGEST]}


def _with_whole_path(url: str) -> str:
    """The address with the whole path of its file: two processes may write one file relative and absolute."""
    file = file_of(url)
    return url if file is None else f"sqlite:///{file.resolve()}"


def _text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case SecretStr():
            raise TypeError("a setting that is a secret must be among SECRETS")
        case frozenset() | set():
            return ", ".join(sorted(map(str, value)))[:LONGEST]
        case tuple() | list():
            return ", ".join(map(str, value))[:LONGEST]
        case _:
            return str(value)[:LONGEST]


def _changes(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> dict[str, list[str | None]]:
    """The old and the new value by name; a setting that the version before did not have is no change."""
    before = dict(before)
    if (address := before.get("database_url")) is not None:  # an earlier version wrote it down as it was set
        before["database_url"] = _with_whole_path(address)[:LONGEST]
    both = [name for name in now if name in before and before[name] != now[name]]
    return {PREFIX + name.upper(): [before[name], now[name]] for name in both}


def _tags(settings: Settings, key: str) -> dict[str, str | None]:
    values = {name: getattr(settings, name) for name in SECRETS}
    texts = {n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in values.items()}
    tags = {name: None if text is None else _tag(key, name, text) for name, text in texts.items()}
    return tags | {_KEY_ITSELF: _tag(key, _KEY_ITSELF, "")}


def _tag(key: str, name: str, text: str) -> str:
    return hmac.digest(key.encode(), f"the setting {name}\0{text}".encode(), "sha256").hex()[:32]


def _changed_secrets(
    before: Mapping[str, str | None], settings: Settings, secrets: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The names of the secrets that changed, and of those that cannot be compared."""
    candidates = [tags for secret in secrets if (tags := _tags(settings, secret))[_KEY_ITSELF] == before[_KEY_ITSELF]]
    if candidates:
        # The address of a SQLite file holds no secret: it is compared as text, as `before` may have another spelling.
        names = [name for name in SECRETS if name != "database_url" or file_of(settings.database_url) is None]
        changed = [name for name in names if name in before and candidates[0][name] != before[name]]
        return [PREFIX + name.upper() for name in changed], []
    tags = _tags(settings, secrets[0])
    set_or_not = [name for name in SECRETS if (before.get(name) is None) != (tags[name] is None)]
    changed = sorted({*set_or_not, "webhook_secret"})
    unclear = [name for name in SECRETS if name not in changed and tags[name] is not None]
    return [PREFIX + name.upper() for name in changed], [PREFIX + name.upper() for name in unclear]
